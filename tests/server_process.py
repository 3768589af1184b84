"""A server as a process of its own, to be killed and started again."""

import json
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from recwire import Client
from recwire_server.testing import HashEncoder

LINE_START = "recwire is serving on "
HASH_DIM = HashEncoder().dim
PATIENCE_S = 60.0  # for what takes a second or two on an idle machine


class ServerProcess:
    """A server that takes calls.

    address: HOST:PORT. client: of the server. start_s: seconds from the start of the process to its line.
    """

    def __init__(self, process: subprocess.Popen[str], address: str, client: Client, start_s: float) -> None:
        self._process = process
        self.address = address
        self.client = client
        self.start_s = start_s

    @property
    def pid(self) -> int:
        """The process."""
        return self._process.pid

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process."""
        self._process.send_signal(number)

    def task_count(self) -> int:
        """Return how many asyncio tasks a server with the hash encoder has."""
        assert self._process.stdout is not None
        self._process.send_signal(signal.SIGUSR1)
        return int(self._process.stdout.readline())

    def kill9(self) -> None:
        """End the process as a crash does; returns once it is gone."""
        self._process.kill()
        self._process.wait(PATIENCE_S)

    def signal(self, number: int) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def ended(self, patience_s: float = PATIENCE_S) -> int:
        """Return the exit status once the process is gone."""
        return self._process.wait(patience_s)

    def terminate(self) -> int:
        """Send SIGTERM; return the exit status once the process is gone."""
        self.signal(signal.SIGTERM)
        return self.ended()


@contextmanager
def serving(
    model: Path,
    data_dir: Path,
    *flags: str,
    interpreter_flags: Sequence[str] = (),
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
) -> Iterator[ServerProcess]:
    """Run `recwire-server serve` on a free port for the length of the block, at whose end it is killed if it still
    runs.

    flags: further ones of `serve`. log: where its standard error goes; None: shown only if it does not start.
    environment: of the process; None: this one's.
    """
    with _running(
        [sys.executable, *interpreter_flags, *serve_command(model, data_dir, *flags)], log, environment
    ) as server:
        yield server


@contextmanager
def hash_serving(
    data_dir: Path,
    *,
    dim: int = HASH_DIM,
    wrapper: Sequence[str] = (),
    log: Path | None = None,
    environment: Mapping[str, str] | None = None,
    **settings: object,
) -> Iterator[ServerProcess]:
    """Run a server with the hash encoder, in the same way.

    settings: by their names. wrapper: a command that is given the server's, and runs it.
    """
    with _running([*wrapper, *hash_serve_command(data_dir, dim=dim, **settings)], log, environment) as server:
        yield server


def hash_serve_command(data_dir: Path, *, dim: int = HASH_DIM, **settings: object) -> list[str]:
    """Return the command that serves with the hash encoder."""
    flags = {"listen": "127.0.0.1:0", "data_dir": str(data_dir), **settings}
    return [sys.executable, str(Path(__file__).with_name("hash_server.py")), str(dim), json.dumps(flags)]


@contextmanager
def _running(
    command: Sequence[str], log: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[ServerProcess]:
    with tempfile.TemporaryFile("w+") if log is None else log.open("w+") as errors:
        begin_s = time.monotonic()
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=errors, text=True, env=environment)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            start_s = time.monotonic() - begin_s
            if not line.startswith(LINE_START):
                errors.seek(0)
                raise AssertionError(f"the server did not start: {line}{errors.read()}")
            address = line.removeprefix(LINE_START).strip()
            with Client(address) as client:
                yield ServerProcess(process, address, client, start_s)
        finally:
            process.kill()
            process.wait(PATIENCE_S)
            process.stdout.close()


def failed_start(model: Path, data_dir: Path, *flags: str) -> subprocess.CompletedProcess[str]:
    """Run a server that is to end by itself, without having served; return how it ended."""
    command = [sys.executable, *serve_command(model, data_dir, *flags)]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_S)


def serve_command(model: Path, data_dir: Path, *flags: str) -> list[str]:
    """Return the arguments of the interpreter; the last of flags given twice wins."""
    where = ["--model", str(model), "--data-dir", str(data_dir), "--listen", "127.0.0.1:0"]
    return ["-m", "recwire_server", "serve", *where, *flags]
