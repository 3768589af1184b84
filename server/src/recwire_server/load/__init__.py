"""Load on a running server, and what became of it: `recwire-server bench`.

Open loop: calls have times when they are due, made in advance, however the server fares, and are judged from then on.
Closed loop: so many calls are in flight all the time, which finds what the server can do. Calls are those of gRPC
without the client's retries, from several processes. Needs the `bench` extra.

Read in this order: `generator` (the processes, and what they bring together), `worker` (one of them), `workload` (what
is called), `schedule` (when), `loop` (makes the calls), `timer` (waits until they are due), `outcome` (counts,
latencies), `histogram`.

Errors: `LoadError` is raised where no load can be put on the server; the message says what to do.
"""


class LoadError(Exception):
    """The server cannot be reached, or a process of the load ended."""
