"""infinity-emb as a server of one's own to measure: in a virtual environment of its own, on a folder of weights."""

import json
import os
import socket
import subprocess
import time
from base64 import b64decode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import urllib3

from benchmarks.rivals.server import free_port
from benchmarks.served import Served
from recwire_server.encoder import Vector

PYTHON_VARIABLE = "RECWIRE_INFINITY_PYTHON"  # the interpreter of the environment that has it
PACKAGES = ("infinity-emb", "numpy", "onnxruntime", "optimum", "torch", "transformers")
LAUNCHER = Path(__file__).with_name("infinity_on_one_thread.py")
READY_TIMEOUT_S = 120.0  # it imports torch, transformers and Optimum
POLL_S = 0.2  # with its log level on errors it tells nobody that it is ready
ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "TOKENIZERS_PARALLELISM": "false"}
OFFLINE = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}  # the weights are a folder; nothing is sent to anybody


class InfinityError(Exception):
    """infinity-emb cannot be had here; the message says why and the way out."""


def find_python() -> str:
    """Return the interpreter that has infinity-emb. Raises InfinityError."""
    python = os.environ.get(PYTHON_VARIABLE)
    if not python:
        raise InfinityError(
            f"{PYTHON_VARIABLE} names no python: python3 -m venv INFINITY, then INFINITY/bin/pip install -r "
            f"benchmarks/infinity-requirements.txt, then {PYTHON_VARIABLE}=INFINITY/bin/python"
        )
    try:
        installed_versions(python)
    except (OSError, subprocess.CalledProcessError) as error:
        raise InfinityError(
            f"{PYTHON_VARIABLE}: {error}; install there with pip install -r benchmarks/infinity-requirements.txt"
        ) from error
    return python


def installed_versions(python: str) -> dict[str, str]:
    """Return the versions of what counts in the interpreter's environment, by package."""
    told = (
        f"import json; from importlib.metadata import version; print(json.dumps({{n: version(n) for n in {PACKAGES}}}))"
    )
    versions: dict[str, str] = json.loads(subprocess.check_output([python, "-c", told], env=_environment(), text=True))
    return versions


@contextmanager
def infinity(python: str, folder: Path, engine: str, log: Path) -> Iterator[Served]:
    """Run infinity-emb on a folder of weights for the length of the block, on one thread.

    engine: torch or optimum, which is ONNX Runtime. log: where its output goes. Raises InfinityError.
    """
    port = free_port()
    flags = {"--model-id": str(folder), "--served-model-name": "model", "--engine": engine, "--device": "cpu"}
    flags |= {"--host": "127.0.0.1", "--port": str(port), "--log-level": "error", "--dtype": "float32"}
    flags["--pooling-method"] = "mean"  # else its engine `optimum` takes the first token's vector
    command = [
        python,
        "-P",
        str(LAUNCHER),
        "v2",
        "--no-model-warmup",
        *(word for flag in flags.items() for word in flag),
    ]
    with (
        log.open("w") as output,
        subprocess.Popen(command, stdout=output, stderr=output, env=_environment() | OFFLINE | ONE_THREAD) as process,
    ):
        try:
            _wait_until_ready(process, port, log)
            yield Served(f"127.0.0.1:{port}", psutil.Process(process.pid))
        finally:
            process.terminate()


class InfinityClient:
    """Calls infinity-emb over connections that stay open. Safe to call from `connections` threads at a time."""

    def __init__(self, address: str, connections: int) -> None:
        host, _, port = address.rpartition(":")
        self._pool = urllib3.HTTPConnectionPool(host, int(port), maxsize=connections, block=True)

    def embed(self, texts: Sequence[str]) -> Vector:
        """Return the vectors of texts, (len(texts), dim). They come in base64, of what it offers the cheapest."""
        body = json.dumps({"model": "model", "input": list(texts), "encoding_format": "base64"})
        answer = self._pool.request("POST", "/embeddings", body=body, headers={"Content-Type": "application/json"})
        if answer.status != 200:
            raise RuntimeError(f"infinity-emb answers {answer.status}: {answer.data[:200]!r}")
        rows = [b64decode(one["embedding"]) for one in json.loads(answer.data)["data"]]
        return np.stack([np.frombuffer(row, np.float32) for row in rows])


def _environment() -> dict[str, str]:
    """Return this process's, without the folders of packages that are meant for this interpreter."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def _wait_until_ready(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    deadline_s = time.monotonic() + READY_TIMEOUT_S
    while time.monotonic() < deadline_s and process.poll() is None:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
        except OSError:
            time.sleep(POLL_S)
        else:
            return
    raise InfinityError(f"infinity-emb does not start: {log.read_text().strip().splitlines()[-1:]}")
