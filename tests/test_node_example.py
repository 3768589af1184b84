"""The Node example, run as its README says, against a real server."""

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from access_files import make_certificates
from scripted_server import ScriptedServer

ROOT = Path(__file__).parent.parent
EXAMPLE = Path("client/examples/node")
COPY = ROOT / ".build/node"  # keeps what npm installed for the next run, outside the sources


@pytest.fixture
def example() -> Path:
    """The example's folder, installed, in a copy of the parts of the project that it uses."""
    folder = COPY / EXAMPLE
    package, installed = ROOT / EXAMPLE / "package.json", folder / "installed.json"
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copytree(ROOT / "protos", COPY / "protos", dirs_exist_ok=True)
    shutil.copy(ROOT / "client/service_config.json", COPY / "client")
    shutil.copytree(ROOT / EXAMPLE, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    if not installed.exists() or installed.read_bytes() != package.read_bytes():
        subprocess.run(["npm", "install", "--no-audit", "--no-fund"], cwd=folder, check=True, timeout=240)
        shutil.copy(package, installed)  # last: a broken installation is done again
    return folder


def run(example: Path, address: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = ["node", "recommend.mjs", address]
    environment = {**os.environ, **environment}
    return subprocess.run(command, cwd=example, capture_output=True, text=True, timeout=60, env=environment)


def steps(output: str) -> dict[str, list[dict[str, Any]]]:
    """The lines of the example by their step."""
    found: dict[str, list[dict[str, Any]]] = {}
    for line in map(json.loads, output.splitlines()):
        found.setdefault(line["step"], []).append(line)
    return found


def test_node_example_recommends(example, hash_server):
    """Items and events written from Node come back as explained recommendations, without what was seen."""
    finished = run(example, hash_server.address)
    assert finished.returncode == 0, finished.stderr
    step = steps(finished.stdout)
    assert step["upsertItems"][0]["upsertedCount"] == 3
    assert step["updateUser"][0]["revision"] > 0
    assert {line["itemId"] for line in step["recommend"]} == {"2", "3"}
    for line in step["recommend"]:
        assert line["strategy"] == "STRATEGY_PERSONALIZED"
        assert sum(part["value"] for part in line["contributions"]) == pytest.approx(line["score"], abs=1e-5)


def test_node_example_reads_vectors(example, hash_server):
    """The bytes of an embedding are a vector of unit length in Node too."""
    (embedded,) = steps(run(example, hash_server.address).stdout)["embed"]
    assert embedded["dimension"] > 0
    assert embedded["length"] == pytest.approx(1, abs=1e-5)


def test_node_example_reads_errors(example, hash_server):
    """A request without a target is told as what it is."""
    (error,) = steps(run(example, hash_server.address).stdout)["error"]
    assert error["code"] == "INVALID_ARGUMENT"
    assert error["message"]


def test_node_example_brings_a_key_over_tls(example, tmp_path):
    """The key is on every call, and TLS is of the authority that is named; beyond this machine no key goes without."""
    files = make_certificates(tmp_path)
    with ScriptedServer(files.server_credentials(asks_for_certificate=False)) as server:
        run(example, server.address, RECWIRE_API_KEY="a-key", RECWIRE_CA_FILE=str(files.ca))
        assert {call.authorization for call in server.received} == {"Bearer a-key"}
    refused = run(example, "recwire.example.org:443", RECWIRE_API_KEY="a-key")
    assert refused.returncode == 1
    assert "in plain text: set RECWIRE_CA_FILE" in refused.stderr


def test_node_example_fails_without_a_server(example):
    """Where nobody serves, the example says so and fails."""
    finished = run(example, "127.0.0.1:1")
    assert finished.returncode == 1
    assert finished.stderr.startswith("UNAVAILABLE: ")
