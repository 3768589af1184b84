"""The load generator: processes that put a load on a server together."""

import time
from contextlib import suppress
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from types import TracebackType
from typing import Any, Self

from recwire_server.load import LoadError
from recwire_server.load.outcome import Outcomes
from recwire_server.load.schedule import Load
from recwire_server.load.worker import Job, Target, default_worker_count, work
from recwire_server.load.workload import Workload

BEGIN_S = 0.1  # for the time to begin to reach all processes before it comes
END_S = 5.0  # for a process to end that has nothing to do


class LoadGenerator:
    """Puts loads on a server, one after the other. Use it as `with`; the processes live as long as the block.

    worker_count: processes; None: as many as cores, but one.
    """

    def __init__(self, target: Target, worker_count: int | None = None) -> None:
        self._target = target
        self.worker_count = worker_count or default_worker_count()
        self._job_count = 0
        self._workers: list[tuple[BaseProcess, Connection]] = []

    def __enter__(self) -> Self:
        context = get_context("spawn")  # gRPC does not live through a fork
        for worker in range(self.worker_count):
            parent, child = context.Pipe()
            arguments = (self._target, worker, self.worker_count, child)
            process = context.Process(target=work, args=arguments, daemon=True)
            process.start()
            child.close()  # or the end of the process would not be noticed
            self._workers.append((process, parent))
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        for process, connection in self._workers:
            if exc is not None:
                process.terminate()
            with suppress(OSError):
                connection.send(None)
        for process, connection in self._workers:
            process.join(END_S)
            process.kill()
            connection.close()

    def run(self, workload: Workload, load: Load) -> Outcomes:
        """Return what became of the load's calls. Raises LoadError.

        No request is sent twice by a generator, but what a workload has no more than one of.
        """
        job = Job(workload, load, self._job_count)
        self._job_count += 1
        for _, connection in self._workers:
            connection.send(job)
        for process, connection in self._workers:
            _receive(process, connection)  # it is ready
        begin_s = time.perf_counter() + BEGIN_S  # which is the same in all processes
        for _, connection in self._workers:
            connection.send(begin_s)
        outcomes = Outcomes(load.duration_s)
        for process, connection in self._workers:
            outcomes.merge(_receive(process, connection))
        return outcomes


def _receive(process: BaseProcess, connection: Connection) -> Any:
    try:
        received = connection.recv()
    except EOFError as error:
        process.join(END_S)
        raise LoadError(
            f"a process of the load ended with status {process.exitcode}; its message is above; with less to do at a"
            " time it may have enough memory"
        ) from error
    if isinstance(received, LoadError):
        raise received
    return received
