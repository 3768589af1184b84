"""What a server that stops, or is stopped, leaves behind, and how it comes back."""

import asyncio
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from filled_directory import lasting
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from large_store import write_items_and_users
from server_process import PATIENCE_S, ServerProcess, failed_start, serving
from waiting import wait_until, wait_until_built

from recwire import AttributeValue, Client, Event, EventType, Item, SeenPolicy, UnavailableError, to_bytes
from recwire_server.setting_source import load_settings
from recwire_server.store import DataDirectoryError
from recwire_server.testing import HashEncoder, running_server

DIM = 384
WITH_GRAPH = ("--exact-search-max-items", "500", "--search-method", "graph", "--graph-min-items", "500")
MAX_START_S = 3.0
MAX_RESTART_S = 5.0  # an idle machine takes 1.5 s for 20,000 items and users


@pytest.fixture(scope="module")
def large_data(int8_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data directory with 1,500 items, written by a server without a graph."""
    data_dir = tmp_path_factory.mktemp("large") / "data"
    with serving(int8_model, data_dir) as server:
        list(server.client.import_items(vector_items(1_500)))
        assert server.terminate() == 0
    return data_dir


@pytest.fixture(params=["few items", "a graph"])
def serve(request: pytest.FixtureRequest, int8_model: Path, tmp_path: Path) -> Callable:
    """Starts a server on one data directory: with an empty catalogue, or 1,500 items and a graph that is ready."""
    data_dir = tmp_path / "data"
    has_graph = request.param == "a graph"
    if has_graph:
        shutil.copytree(request.getfixturevalue("large_data"), data_dir)

    @contextmanager
    def start() -> Iterator[ServerProcess]:
        with serving(int8_model, data_dir, *(WITH_GRAPH if has_graph else ())) as server:
            if has_graph:
                wait_until(server.client, lambda: server.client.get_server_info().ef_search > 0)
            yield server

    return start


def vector_items(count: int, first: int = 0) -> list[Item]:
    """Items with vectors that have much in common, as texts' have."""
    random = np.random.default_rng(first)
    vectors = random.standard_normal((count, DIM)) + 2 * np.random.default_rng(7).standard_normal(DIM)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return [Item(item_id=f"v{first + n}", vector=to_bytes(vector)) for n, vector in enumerate(vectors)]


def write_everything(client: Client) -> None:
    """Write items and users of every kind; items of one call in no order of theirs, some changed or deleted later."""
    past, future = Timestamp(seconds=1_000_000_000), Timestamp(seconds=4_000_000_000)
    novel = Item(item_id="novel", title="Dune", texts=["A desert planet", "Spice"], publish_time=past)
    novel.attributes["genres"].CopyFrom(AttributeValue(text="sci-fi"))
    client.upsert_items(
        [
            Item(item_id="tent", texts=["A light tent for hiking"]),
            novel,
            Item(item_id="car", title="A guide to electric cars"),
            Item(item_id="gone", texts=["Horses"]),
            Item(item_id="expired", texts=["Old news"], expire_time=past),
            Item(item_id="announced", texts=["News of tomorrow"], publish_time=future),
            Item(item_id="boots", texts=["Boots for the mountains"]),
        ]
    )
    client.upsert_items(reversed(vector_items(100, first=1_450)))
    client.update_user("ada", [Event(item_id="gone", weight=-0.5), Event(item_id="novel"), Event(text="robots")])
    client.update_user("bea", [Event(vector=vector_items(1, 3)[0].vector), Event(item_id="pending")])
    client.update_user("cleo", [Event(item_id="v1460", type=EventType.EVENT_TYPE_LIKE), Event(item_id="car")])
    client.update_user("dora", [Event(item_id="tent")])
    client.delete_user("dora")
    client.upsert_items([Item(item_id="boots", texts=["Boots for the city"])])
    client.delete_items(["gone", *(f"v{n}" for n in range(1_460, 1_500))])
    client.update_user("ada", [Event(item_id="boots")])


def everything(client: Client) -> list[Message]:
    """Return the answers to all kinds of questions."""
    session = [Event(event_id="1", item_id="car"), Event(event_id="2", text="mountains", weight=2)]
    targets = [
        *({"user_id": user_id} for user_id in ("ada", "bea", "cleo", "dora", "nobody")),
        {"session": session},
        {"item_id": "boots"},
        {"text": "a story in space"},
        {"vector": vector_items(1, 5)[0].vector},
    ]
    return [
        lasting(client.get_server_info()),
        *(client.get_user(user_id) for user_id in ("ada", "bea", "cleo")),
        *client.list_items(),
        *(
            client.recommend(**target, limit=limit, seen=seen, explain=True, include_items=True)
            for target in targets
            for limit in (10, 1_000)
            for seen in (SeenPolicy.SEEN_POLICY_EXCLUDE, SeenPolicy.SEEN_POLICY_INCLUDE)
        ),
    ]


def test_a_kill_changes_no_answer(serve):
    """After kill -9 and a restart every answer is the same, to the last bit: users, items, recommendations, index."""
    with serve() as server:
        write_everything(server.client)
        before = everything(server.client)
        server.kill9()
    with serve() as server:
        after = everything(server.client)
    assert len(after) == len(before)
    for was, now in zip(before, after, strict=True):
        assert now == was


class Writer(threading.Thread):
    """Writes a user's events, and items, until the server goes away; knows what was sent and what acknowledged."""

    def __init__(self, client: Client, name: str, enough: threading.Barrier) -> None:
        super().__init__(name=name)
        self._client = client
        self._enough = enough
        self.sent: list[list[Event]] = []
        self.upserted: list[str] = []
        self.deleted: list[str] = []
        self.acknowledged_count = 0
        self.error: Exception | None = None

    def run(self) -> None:
        try:
            while True:
                self._write(len(self.sent))
                if len(self.sent) == 20:
                    self._enough.wait(PATIENCE_S)
        except UnavailableError:
            pass
        except Exception as error:
            self.error = error

    def _write(self, n: int) -> None:
        subjects = [{"item_id": f"v{n}"}, {"text": "red shoes"}, {"vector": vector_items(1, n)[0].vector}]
        events = [Event(event_id=f"{n}-{m}", **subject) for m, subject in enumerate(subjects)]
        self.sent.append(events)
        assert self._client.update_user(self.name, events).applied_count == len(events)
        self.acknowledged_count += 1
        item_id = f"{self.name}-{n}"
        self._client.upsert_items([Item(item_id=item_id, vector=vector_items(1, n)[0].vector)])
        self.upserted.append(item_id)
        if n % 2:
            self.upserted.remove(item_id)
            self._client.delete_items([item_id])
            self.deleted.append(item_id)


@pytest.fixture
def writers_after_kill(serve) -> list[Writer]:
    """Four writers in whose midst the server was killed, after each had 20 writes acknowledged."""
    enough = threading.Barrier(5)
    with serve() as server:
        writers = [Writer(server.client, f"user{n}", enough) for n in range(4)]
        for writer in writers:
            writer.start()
        enough.wait(PATIENCE_S)
        server.kill9()
        for writer in writers:
            writer.join(PATIENCE_S)
    assert [writer.error for writer in writers] == [None] * 4
    return writers


def test_a_kill_during_updates_loses_and_doubles_no_event(serve, writers_after_kill):
    """What was acknowledged is there; a call that was cut off is there as a whole or not at all; all can be resent."""
    with serve() as server:
        for writer in writers_after_kill:
            acknowledged, cut_off = writer.sent[: writer.acknowledged_count], writer.sent[writer.acknowledged_count :]
            assert server.client.get_user(writer.name).event_count >= 3 * len(acknowledged)
            for events in acknowledged:
                again = server.client.update_user(writer.name, events)
                assert list(again.duplicate_event_ids) == [event.event_id for event in events]
            for events in cut_off:
                assert server.client.update_user(writer.name, events).applied_count in (0, len(events))
            assert server.client.get_user(writer.name).event_count == 3 * len(writer.sent)


def test_a_kill_during_writes_keeps_the_catalogue(serve, writers_after_kill):
    """Acknowledged items are there and can be recommended; deleted ones are neither."""
    with serve() as server:
        listed = {item.item_id for item in server.client.list_items()}
        for writer in writers_after_kill:
            assert listed.issuperset(writer.upserted)
            assert listed.isdisjoint(writer.deleted)
            nearest = server.client.recommend(item_id=writer.upserted[-1], limit=1_000, exact=True)
            assert {recommendation.item_id for recommendation in nearest.recommendations} <= listed
            like_it = server.client.recommend(vector=server.client.get_item(writer.upserted[-1]).vector, limit=8)
            assert writer.upserted[-1] in {recommendation.item_id for recommendation in like_it.recommendations}
        assert server.client.get_server_info().item_count == len(listed)


def test_a_start_is_quick(int8_model, tmp_path, capsys):
    """With 10,000 items of 384 dimensions, and their index, a server serves within 3 s of its process's start."""
    with serving(int8_model, tmp_path) as server:
        list(server.client.import_items(vector_items(10_000)))
        wait_until_built(server.client)
        assert server.terminate() == 0
    with serving(int8_model, tmp_path) as server:
        info = server.client.get_server_info()
        with capsys.disabled():
            print(f"\nserve starts in {server.start_s:.2f} s with {info.item_count:,} items")
    assert info.item_count == 10_000
    assert info.index.method in ("scan", "graph")
    assert server.start_s < MAX_START_S


@pytest.mark.parametrize("count", [20_000, pytest.param(100_000, marks=[pytest.mark.long, pytest.mark.timeout(1_200)])])
def test_a_restart_with_many_users_is_quick(count, int8_encoder, int8_model, tmp_path, capsys):
    """With so many items and their index, and so many users, a server serves within 5 s of its process's start, also
    after kill -9."""
    asyncio.run(write_items_and_users(tmp_path, int8_encoder, count))
    with serving(int8_model, tmp_path) as server:
        wait_until_built(server.client)
        server.client.update_user("ada", [Event(item_id="v1")])
        user_count = server.client.get_server_info().user_count
        server.kill9()
    with serving(int8_model, tmp_path) as server:
        info = server.client.get_server_info()
        with capsys.disabled():
            print(f"\nserve starts in {server.start_s:.2f} s with {count:,} items and users")
    assert (info.item_count, info.user_count) == (count, user_count)
    assert user_count > count
    assert info.index.method in ("scan", "graph")
    assert server.start_s < MAX_RESTART_S


def test_serving_imports_no_training_library(int8_model, tmp_path):
    """Neither torch nor transformers is imported to serve, whether or not they are installed."""
    log = tmp_path / "log"
    with serving(int8_model, tmp_path / "data", interpreter_flags=["-X", "importtime"], log=log) as server:
        server.client.embed(["a text"])
        server.client.upsert_items([Item(item_id="1", texts=["a text"])])
        server.client.recommend(text="a text")
        libraries = Path(f"/proc/{server.pid}/maps")
        assert "libtorch" not in (libraries.read_text() if libraries.exists() else "")
        assert server.terminate() == 0
    imported = {line.rpartition("|")[2].strip() for line in log.read_text().splitlines()}
    assert "recwire_server.app" in imported
    assert imported.isdisjoint({"torch", "transformers", "optimum", "sentence_transformers"})


def test_a_second_server_is_refused(int8_model, tmp_path):
    """A data directory serves one server; the second is told the process that has it."""
    with serving(int8_model, tmp_path) as server:
        second = failed_start(int8_model, tmp_path)
        assert server.client.get_server_info().item_count == 0
    assert (second.returncode, second.stdout) == (1, "")
    assert f"in use by process {server.pid}:" in second.stderr
    assert "--data-dir" in second.stderr


def test_another_models_data_is_refused(start_server, tmp_path):
    """A data directory belongs to one model; another is refused with the way out, and nothing is harmed."""
    settings = load_settings({"listen": "127.0.0.1:0", "data_dir": tmp_path / "data"})
    with running_server(settings, HashEncoder(dim=16)) as address, Client(address) as client:
        client.upsert_items([Item(item_id="1", texts=["one"])])
    with pytest.raises(DataDirectoryError, match=r"16 dimensions.*32 dimensions.*--model.*--data-dir"):
        start_server(HashEncoder(dim=32))
    assert start_server(HashEncoder(dim=16)).client.get_item("1").texts == ["one"]


def test_a_taken_port_is_told(int8_model, tmp_path):
    """Where something listens already, the server ends with status 1 and names the address."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ended = failed_start(int8_model, tmp_path, "--listen", address)
    assert (ended.returncode, ended.stdout) == (1, "")
    assert f"error: cannot listen on {address}" in ended.stderr
    assert "Traceback" not in ended.stderr


@pytest.mark.parametrize(
    ("flag", "value"), [("--decay-per-event", "2"), ("--listen", "nowhere"), ("--config", "no.toml")]
)
def test_a_bad_setting_is_a_usage_error(int8_model, tmp_path, flag, value):
    """A setting that cannot be ends the server with status 2 and is named with its value."""
    ended = failed_start(int8_model, tmp_path / "data", flag, value)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert flag in ended.stderr
    assert value in ended.stderr
    assert not (tmp_path / "data").exists()
