"""What the load generator costs itself, beside h2load: the same calls, as many in flight, to the same server.

h2load is written in C, makes one request again and again, and looks at no status: so each is called once before, by
gRPC's own client, and has to be answered.
"""

import re
import resource
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any, TypedDict

import grpc
from rich.table import Table

from benchmarks.served import Served
from recwire_server.load.generator import LoadGenerator
from recwire_server.load.schedule import ClosedLoad
from recwire_server.load.workload import Request, Workload

IN_FLIGHT = 16
TIMEOUT_S = 5.0
INSTALL = "h2load is not installed: apt-get install nghttp2-client"
OURS, H2LOAD = "recwire-server bench", "h2load"


@dataclass(frozen=True)
class Cost:
    """Medians over rounds. client_cpu_ms, server_cpu_ms: a call."""

    calls_per_s: float
    client_cpu_ms: float
    server_cpu_ms: float
    rounds_calls_per_s: list[float]


class Overhead(TypedDict):
    """Costs by call and who makes it, as Cost has it. not_measured: why somebody is missing, by name."""

    in_flight: int
    calls: dict[str, dict[str, dict[str, Any]]]
    not_measured: dict[str, str]


@dataclass(frozen=True)
class _Round:
    calls: int
    wall_s: float
    client_cpu_s: float
    server_cpu_s: float


def cross_check(
    server: Served, generator: LoadGenerator, workloads: Mapping[str, Workload], rounds: int, duration_s: float
) -> Overhead:
    """Return what calls cost, of workloads that have one request each; the two take turns."""
    has_h2load = shutil.which("h2load") is not None
    measured: dict[str, dict[str, list[_Round]]] = {}
    for number in range(rounds + 1):
        for name, workload in workloads.items():
            ours = _ours(server, generator, workload, duration_s)
            one = {OURS: ours}
            if has_h2load:
                request = next(workload.requests(""))
                _check(server.address, request)
                one[H2LOAD] = _h2load(server, request, ours.calls)
            for who, round_ in one.items() if number else ():  # the first round is the warm-up
                measured.setdefault(name, {}).setdefault(who, []).append(round_)
    return {
        "in_flight": IN_FLIGHT,
        "calls": {
            name: {who: asdict(_cost(rounds)) for who, rounds in by_whom.items()} for name, by_whom in measured.items()
        },
        "not_measured": {} if has_h2load else {H2LOAD: INSTALL},
    }


def _ours(server: Served, generator: LoadGenerator, workload: Workload, duration_s: float) -> _Round:
    cpu_s = server.threads_cpu_s()
    outcomes = generator.run(workload, ClosedLoad(IN_FLIGHT, duration_s, 0.0, TIMEOUT_S))
    return _Round(outcomes.served, duration_s, outcomes.cpu_s, server.threads_cpu_s() - cpu_s)


def _h2load(server: Served, request: Request, calls: int) -> _Round:
    """Return what as many calls cost by h2load, the start of its process included."""
    with tempfile.NamedTemporaryFile(prefix="recwire-h2load-") as body:
        body.write(b"\0" + len(request.message).to_bytes(4, "big") + request.message)  # how gRPC frames a message
        body.flush()
        in_flight = ["-c", "1", "-t", "1", "-m", str(IN_FLIGHT), "-n", str(calls), "-d", body.name]
        headers = ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        cpu_s, server_cpu_s = _children_cpu_s(), server.threads_cpu_s()
        command = ["h2load", *in_flight, *headers, f"http://{server.address}{request.path}"]
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    succeeded, per_s = re.search(r"(\d+) succeeded", printed), re.search(r"([\d.]+) req/s", printed)
    if succeeded is None or per_s is None or int(succeeded[1]) != calls:
        raise SystemExit(f"h2load did not make {calls:,} calls:\n{printed}")
    return _Round(calls, calls / float(per_s[1]), _children_cpu_s() - cpu_s, server.threads_cpu_s() - server_cpu_s)


def _check(address: str, request: Request) -> None:
    with grpc.insecure_channel(address) as channel:
        channel.unary_unary(request.path)(request.message, timeout=TIMEOUT_S)


def _children_cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _cost(rounds: list[_Round]) -> Cost:
    calls_per_s = [round(one.calls / one.wall_s, 1) for one in rounds]
    return Cost(
        calls_per_s=round(median(calls_per_s), 1),
        client_cpu_ms=round(median(1e3 * one.client_cpu_s / one.calls for one in rounds), 4),
        server_cpu_ms=round(median(1e3 * one.server_cpu_s / one.calls for one in rounds), 4),
        rounds_calls_per_s=calls_per_s,
    )


def overhead_table(overhead: Overhead) -> Table:
    """Return the costs for people."""
    shown = Table(title=f"the generator itself, {overhead['in_flight']} in flight")
    for column in ("call", "by", "calls/s", "client CPU ms", "server CPU ms"):
        shown.add_column(column, justify="left" if column in ("call", "by") else "right")
    for call, by_whom in overhead["calls"].items():
        for who, cost in by_whom.items():
            cpu = (f"{cost[key]:.3f}" for key in ("client_cpu_ms", "server_cpu_ms"))
            shown.add_row(call, who, f"{cost['calls_per_s']:,.0f}", *cpu)
    shown.caption = "; ".join(overhead["not_measured"].values()) or None
    return shown
