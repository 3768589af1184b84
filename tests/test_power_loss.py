"""When the power goes, what was acknowledged is on the disk: also if all is lost that was not synced."""

import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

from power_loss import Disk, calls, strace
from server_process import ServerProcess, hash_serving
from sudden_end import watching

from recwire import Event, Item
from recwire_server.store.database import DATABASE_FILE, StoredModel, open_database
from recwire_server.testing import HashEncoder

CALL_COUNT = 120
LONG_TEXT = "x" * 30_000  # so that the write-ahead log is worked into the database meanwhile (at 1,000 pages)
ENCODER = HashEncoder()
MODEL = StoredModel(ENCODER.model.name, ENCODER.model.version, ENCODER.dim)


def test_an_acknowledged_write_survives_a_power_loss(tmp_path: Path):
    """Whenever the server sends an acknowledgement, the events and items that it acknowledged are safe: in what was
    synced until then, with none or any of what was not. So they are after the server has stopped; and a directory whose
    making was cut off can be opened.

    The index's snapshot need not be synced: it is made anew if it does not match its hash (test_generation).
    The lock file is made anew by every start, and the -shm file, which is no more than an index of the log.
    """
    disk_root, trace = tmp_path / "disk", tmp_path / "trace"
    disk_root.mkdir()
    write_traced(disk_root, trace)
    disk, acknowledged = Disk(disk_root), set[str]()
    for call in calls(trace):
        if call.name.endswith("sync"):  # when most is not safe
            check_survivors(disk, acknowledged)
        if call.name == "sendmsg":
            sent = {id_.decode() for id_ in re.findall(rb"(?:event|item)-\d+!", b"".join(call.texts))}
            acknowledged |= sent
            if sent:
                check_survivors(disk, acknowledged)
        else:
            disk.apply(call)
    assert len(acknowledged) == CALL_COUNT
    check_survivors(disk, acknowledged)
    trace.unlink()  # some 30 MB


def write_traced(disk_root: Path, trace: Path) -> None:
    """Write events and items from four clients at once; each answer has the id of what it acknowledges."""
    with watching(trace.parent) as folder, hash_serving(disk_root / "new/data", wrapper=strace(trace)) as server:
        server.client.upsert_items([Item(item_id="first", title="the same")])
        with ThreadPoolExecutor(4) as threads:
            list(threads.map(lambda number: write(server, number), range(CALL_COUNT)))
        assert server.terminate() == 0
        while not re.search(r"\+\+\+ exited with 0 \+\+\+$", trace.read_text()):
            folder.wait_for(trace.name)


def write(server: ServerProcess, number: int) -> None:
    if number % 4:
        id_ = f"event-{number}!"  # also of an item that is not there, which the answer names
        events = [Event(event_id=id_, item_id=id_), Event(event_id=f"text-{number}", text=LONG_TEXT)]
        server.client.update_user(f"user-{number % 7}", events)
    else:  # the text of another item, which the answer names
        server.client.upsert_items([Item(item_id=f"item-{number}!", title="the same")])


def check_survivors(disk: Disk, acknowledged: set[str]) -> None:
    """What is left can be opened, and has what was acknowledged."""
    for random in (None, Random(len(acknowledged))):
        with TemporaryDirectory() as folder:
            for path, content in disk.survivors(random).items():
                Path(folder, path.name).write_bytes(content)
            with closing(opened(Path(folder), is_begun=not acknowledged)) as database:
                found = database.execute("SELECT event_id FROM events UNION SELECT item_id FROM items").fetchall()
        assert acknowledged <= {row[0] for row in found}


def opened(data_dir: Path, is_begun: bool) -> sqlite3.Connection:
    """Return a connection: a server's own while the directory is only begun, then one that syncs nothing, for speed."""
    if is_begun:
        return open_database(data_dir, MODEL)
    database = sqlite3.connect(data_dir / DATABASE_FILE)
    database.execute("PRAGMA synchronous = OFF")
    return database
