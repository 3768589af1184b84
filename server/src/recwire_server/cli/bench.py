"""recwire-server bench: what a running server serves under load, measured from outside."""

import json
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Annotated, Any

import typer

from recwire import Client, Event, Item, NotFoundError
from recwire_server.cli.access import Access, with_access
from recwire_server.cli.bench_table import print_steps, step_name
from recwire_server.cli.leave import leave
from recwire_server.cli.progress import StepProgress
from recwire_server.load import LoadError
from recwire_server.load.schedule import ClosedLoad, Load, OpenLoad
from recwire_server.load.workload import Call, Workload

SAMPLED_ITEMS = 2_000  # of the catalogue, for ids and texts
USERS, EVENTS_A_USER = 100, 10  # made for calls that write
IN_FLIGHT = 16  # where no load is named: enough to keep a server busy, too few to be refused
WARM_UP_S = 1.0  # for a queue to become one that stands
MAX_CALLS = 1_000_000  # of a step at a rate: they are made in advance, and kept in memory


@with_access
def bench(
    address: Annotated[str, typer.Argument(metavar="ADDRESS", help="The server, HOST:PORT.", show_default=False)],
    access: Access,
    call: Annotated[Call, typer.Option(help="What is called.")] = Call.RECOMMEND,
    rate: Annotated[
        list[float],
        typer.Option(min=0.01, metavar="CALLS", help="Calls a second, whatever the server does; several: steps."),
    ] = [],  # noqa: B006 (typer makes a new list)
    in_flight: Annotated[
        list[int],
        typer.Option(min=1, metavar="CALLS", help=f"Calls in flight; several: steps. Without --rate: {IN_FLIGHT}."),
    ] = [],  # noqa: B006
    duration: Annotated[float, typer.Option(min=0.1, metavar="SECONDS", help="How long a step counts.")] = 10.0,
    timeout: Annotated[
        float, typer.Option(min=0.001, max=60, metavar="SECONDS", help="A call that takes longer is late.")
    ] = 1.0,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that call. Default: as many as cores, but one.")
    ] = None,
    users: Annotated[
        Path | None, typer.Option(metavar="FILE", help="User ids to recommend for, a line each. Default: items.")
    ] = None,
    texts: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Texts to embed, a line each. Default: those of items.")
    ] = None,
    user_prefix: Annotated[
        str, typer.Option(metavar="PREFIX", help="What the ids of users that are made begin with.")
    ] = "bench-",
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="OUT", help="Where the figures go, beside the table.")
    ] = None,
) -> None:
    """Put a load on a running server, and print what it serves and how fast.

    With --rate calls have times when they are due, and are judged from then
    on, however long the server takes: the latencies are what users would have.
    With --in-flight the next call waits for an answer: served/s is what the
    server can do.

    --call recommend asks for what is near items of the catalogue, or for
    --users; embed has texts of items, each with a number, so that none was
    embedded before; empty asks for health: the transport alone; mix is 70 %
    recommend, 20 % update_user, 10 % embed.

    update_user and mix write: they make 100 users of their own, with events on
    items, which also change what is popular, and delete them at the end.

    Run it on another machine than the server, or it takes cores from it.

    Exit status: 0 measured, 1 the server cannot be reached or refuses,
    2 usage.
    """
    loads = _loads(rate, in_flight, duration, timeout)
    given = _Given(_lines(users, "--users"), _lines(texts, "--texts"))
    with access.client(address, "ADDRESS") as client:
        info = client.get_server_info()
        with _workload(client, address, call, given, user_prefix) as workload:
            steps = _measure(address, access, workload, loads, workers)
    print_steps(f"{call} at {address}", steps)
    if json_file is not None:
        server = {"version": info.server_version, "model": info.model.name, "item_count": info.item_count}
        told = {"call": call, "server": server, "timeout_s": timeout, "warm_up_s": WARM_UP_S, "steps": steps}
        try:
            json_file.write_text(json.dumps(told, indent=1) + "\n")
        except OSError as error:
            leave(f"--json {json_file} cannot be written: {error.strerror}")


@dataclass(frozen=True)
class _Given:
    """What calls are about, as the options have it; empty: the server's own catalogue."""

    user_ids: Sequence[str]
    texts: Sequence[str]


def _loads(rates: Sequence[float], in_flight: Sequence[int], duration_s: float, timeout_s: float) -> list[Load]:
    for rate in rates:
        if rate * duration_s > MAX_CALLS:
            leave(
                f"--rate {rate:g} for --duration {duration_s:g} is {rate * duration_s:,.0f} calls; the limit is"
                f" {MAX_CALLS:,}, for they are made in advance: give a shorter duration",
                2,
            )
    if not rates and not in_flight:
        in_flight = [IN_FLIGHT]
    return [
        *(ClosedLoad(count, duration_s, WARM_UP_S, timeout_s) for count in in_flight),
        *(OpenLoad(rate, duration_s, WARM_UP_S, timeout_s) for rate in rates),
    ]


def _lines(path: Path | None, option: str) -> list[str]:
    """Return the lines of a file that are not empty; none where no file is given."""
    if path is None:
        return []
    try:
        lines = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        leave(f"{option} {path} cannot be read: {error}", 2)
    if not any(lines):
        leave(f"{option} {path} is empty: give a file with a line each", 2)
    return [line for line in lines if line]


@contextmanager
def _workload(client: Client, address: str, call: Call, given: _Given, user_prefix: str) -> Iterator[Workload]:
    """Give what to call, tried once; users that are made for it are deleted at the end of the block."""
    seed = secrets.randbelow(2**32)  # another one each time: a server remembers texts, and events by their ids
    if call is Call.EMPTY:
        yield Workload(call, seed)
        return
    items = list(islice(client.list_items(), SAMPLED_ITEMS))
    if not items:
        leave(f"the server has no items: recwire-server import items FILE --to {address}")
    item_ids, texts = [item.item_id for item in items], given.texts or _texts(items)
    if call in (Call.EMBED, Call.MIX):
        if not texts:
            leave(f"none of the first {len(items):,} items has a text: give texts to embed with --texts FILE")
        client.embed(texts[:1])
    if call in (Call.UPDATE_USER, Call.MIX):
        with _made_users(client, item_ids, user_prefix) as user_ids:
            yield Workload(call, seed, user_ids, item_ids, texts)
        return
    if call is Call.RECOMMEND:
        _ = client.recommend(given.user_ids[0]) if given.user_ids else client.recommend(item_id=item_ids[0])
    yield Workload(call, seed, given.user_ids, item_ids, texts)


def _texts(items: Sequence[Item]) -> list[str]:
    return [text for item in items if (text := ". ".join(filter(None, [item.title, *item.texts])))]


@contextmanager
def _made_users(client: Client, item_ids: Sequence[str], prefix: str) -> Iterator[list[str]]:
    """Give the ids of users with some events, who live as long as the block; nobody else has such an id."""
    prefix = f"{prefix}{secrets.token_hex(4)}-"
    user_ids = [f"{prefix}{number}" for number in range(USERS)]
    typer.echo(f"writes: {USERS} users {prefix}0 ... are made, and deleted at the end", err=True)
    try:
        for user_id in user_ids:
            client.update_user(user_id, [Event(item_id=secrets.choice(item_ids)) for _ in range(EVENTS_A_USER)])
        yield user_ids
    finally:
        for user_id in user_ids:
            with suppress(NotFoundError):
                client.delete_user(user_id)


def _measure(
    address: str, access: Access, workload: Workload, loads: Sequence[Load], worker_count: int | None
) -> list[dict[str, Any]]:
    try:
        from recwire_server.load.generator import LoadGenerator
        from recwire_server.load.worker import Target
    except ModuleNotFoundError as error:
        leave(f"{error}: pip install 'recwire-server[bench]'")
    steps = []
    target = Target(address, access.api_key, access.make_credentials)
    try:
        with LoadGenerator(target, worker_count) as generator, StepProgress() as progress:
            for load in loads:
                progress.begin(f"{step_name(asdict(load))} for {load.duration_s:g} s")
                outcomes = generator.run(workload, load)
                steps.append(asdict(load) | outcomes.told() | {"worker_count": generator.worker_count})
    except LoadError as error:
        leave(str(error))
    return steps
