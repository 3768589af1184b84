"""recwire-server demo: a server, a catalogue, what people did, and what they get."""

import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from recwire import Client, NotFoundError
from recwire.v1.event_pb2 import EventType
from recwire.v1.recommendation_pb2 import Recommendation
from recwire.v1.user_service_pb2 import GetUserResponse, StoredEvent
from recwire_server import demo as shipped
from recwire_server.importing.event import EventReader
from recwire_server.importing.source import BadLine, SourceFile

SHOWN_USERS = 3
SHOWN_ROWS = 8
# The users to show are chosen among so many: enough for different tastes, and quickly asked for.
CONSIDERED_USERS = 60

console = Console(width=None if sys.stdout.isatty() else 140, highlight=False)


def demo(
    items: Annotated[Path | None, typer.Option(help="File of items; default: the catalogue that ships.")] = None,
    events: Annotated[Path | None, typer.Option(help="File of events; default: the behaviour that ships.")] = None,
    data_dir: Annotated[Path, typer.Option(help="Where the server keeps its data; a second run is quick.")] = Path(
        "recwire-demo"
    ),
    listen: Annotated[str, typer.Option(help="HOST:PORT; port 0 picks a free one.")] = "127.0.0.1:0",
    stay: Annotated[bool, typer.Option("--stay", help="Leave the server up until Ctrl-C.")] = False,
) -> None:
    """Start a server, import a catalogue and behaviour, and show what three users did and what they get."""
    items_file = items or Path(str(shipped.catalogue()))
    events_file = events or Path(str(shipped.behaviour()))
    with _serving(data_dir, listen) as (server, address):
        _run("import", "items", str(items_file), "--to", address)
        _run("import", "events", str(events_file), "--to", address)
        with Client(address) as client:
            for user in _different(client, _first_users(events_file)):
                console.print(_table(client, user))
        if stay:
            console.print(f"The server stays up on {address}; Ctrl-C ends it.")
            server.wait()


@contextmanager
def _serving(data_dir: Path, listen: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run `recwire-server serve` for the length of the block; yield its process and its HOST:PORT."""
    command = _command("serve", "--data-dir", str(data_dir), "--listen", listen, "--log-level", "warning")
    # A demo that is ended takes its server with it, by whichever signal.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line:  # its own message says why
            raise typer.Exit(process.wait())
        console.print(line.strip())
        try:
            yield process, line.split()[-1]
        except KeyboardInterrupt:
            pass
        finally:
            process.terminate()


def _run(*arguments: str) -> None:
    """Run a command as a user would; leave if it fails."""
    status = subprocess.run(_command(*arguments), check=False).returncode
    if status:
        raise typer.Exit(status)


def _command(*arguments: str) -> list[str]:
    console.print(f"$ recwire-server {shlex.join(arguments)}", style="bold", soft_wrap=True)
    return [sys.executable, "-m", "recwire_server", *arguments]


def _first_users(events_file: Path) -> list[str]:
    """Return the first users that a file of events names."""
    reader = EventReader()
    with SourceFile(events_file) as source:
        user_ids = (reader.read(row).user_id for row in source.rows() if not isinstance(row, BadLine))
        seen: dict[str, None] = {}
        for user_id in user_ids:
            seen.setdefault(user_id)
            if len(seen) == CONSIDERED_USERS:
                break
    return list(seen)


def _different(client: Client, user_ids: Sequence[str]) -> list[GetUserResponse]:
    """Return users of clear and different tastes: of those with the longest vectors, the ones furthest apart."""
    users = [client.get_user(user_id) for user_id in user_ids]
    users.sort(key=lambda user: -float(np.linalg.norm(np.frombuffer(user.vector, "<f4"))))
    users = users[: max(SHOWN_USERS, len(users) // 3)]
    vectors = np.stack([np.frombuffer(user.vector, "<f4") for user in users])
    vectors = vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)
    chosen = [0]
    while len(chosen) < min(SHOWN_USERS, len(users)):
        nearest = (vectors @ vectors[chosen].T).max(axis=1)
        nearest[chosen] = np.inf
        chosen.append(int(nearest.argmin()))
    return [users[place] for place in chosen]


def _table(client: Client, user: GetUserResponse) -> Table:
    """Return what a user did, newest first, beside what the user gets, best first."""
    did = [_event(client, stored) for stored in islice(user.newest_events, SHOWN_ROWS)]
    answer = client.recommend(user.user_id, limit=SHOWN_ROWS, include_items=True, explain=True)
    gets = [_recommendation(client, recommendation) for recommendation in answer.recommendations]
    table = Table(title=f"User {user.user_id}: {user.event_count} events", title_justify="left", title_style="bold")
    table.add_column("did last", ratio=4)
    table.add_column("weight", justify="right")
    table.add_column("gets", ratio=4)
    table.add_column("score", justify="right")
    table.add_column("mostly because of", ratio=4)
    for row in range(max(len(did), len(gets))):
        cells = (*(did[row] if row < len(did) else ("", "")), *(gets[row] if row < len(gets) else ("", "", "")))
        table.add_row(*map(Text, cells))  # a title in square brackets is no style
    return table


def _event(client: Client, stored: StoredEvent) -> tuple[str, str]:
    event = stored.event
    subject = f"{event.text!r}" if event.text else _title(client, event.item_id)
    return (
        f"{EventType.Name(event.type).removeprefix('EVENT_TYPE_').lower()} {subject}",
        f"{stored.effective_weight:+.1f}",
    )


def _recommendation(client: Client, recommendation: Recommendation) -> tuple[str, str, str]:
    most = max(recommendation.contributions, key=lambda contribution: contribution.value, default=None)
    reason = f"{_title(client, most.item_id)} ({most.value:+.3f})" if most and most.item_id else ""
    return recommendation.item.title or recommendation.item_id, f"{recommendation.score:.3f}", reason


def _title(client: Client, item_id: str) -> str:
    try:
        return client.get_item(item_id).title or item_id
    except NotFoundError:
        return item_id
