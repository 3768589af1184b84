"""Makes a data directory for later versions to open: python tests/make_old_data.py NAME, once for each version.

It goes to `tests/data/directory-NAME`; beside it, `directory-NAME.json` says how it is served and what is in it. NAME
is what is special about the version, such as its schema. `test_old_data` serves each with the version of now; what is
there is never made again.
"""

import json
import shutil
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from server_process import PATIENCE_S

from recwire import AttributeValue, Client, Event, EventType, Item, StringSet, to_bytes
from recwire_server.setting_source import load_settings
from recwire_server.testing import HashEncoder, running_server

DATA = Path(__file__).parent / "data"
DIM = 8  # small, as the files are to be
ITEM_COUNT = 1_000  # as many as it takes for the vector space to be centred
SETTINGS = {
    "decay_per_event": 0.9,
    "popularity_half_life_s": 0,
    "exact_search_max_items": 100,
    "search_method": "graph",
    "graph_min_items": 100,
}
QUESTIONS: list[dict[str, Any]] = [
    *({"user_id": user_id, "limit": 5} for user_id in ("ada", "bea", "cleo", "dora", "nobody")),
    {"item_id": "novel", "limit": 5},
    {"text": "a lamp for the garden", "limit": 5},
]


def make(name: str) -> None:
    """Make a directory and what is said of it."""
    kept = DATA / f"directory-{name}"
    if kept.exists():
        raise SystemExit(f"{kept} is there: give the version a name of its own")
    with TemporaryDirectory() as folder:
        data_dir = Path(folder) / "data"
        with running_server(settings(data_dir, SETTINGS), HashEncoder(DIM)) as address, Client(address) as client:
            fill(client)
            content = described(client)
        shutil.copytree(data_dir, kept, ignore=shutil.ignore_patterns("lock"))
    expected = {"dim": DIM, "settings": SETTINGS, **content}
    kept.with_suffix(".json").write_text(json.dumps(expected, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def settings(data_dir: Path, named: Mapping[str, object]) -> Any:
    return load_settings({"listen": "127.0.0.1:0", "data_dir": data_dir, **named})


def fill(client: Client) -> None:
    """Write items and users of every kind, some changed, taken back or erased later, and wait for a graph of all."""
    random = np.random.default_rng(2)
    vectors = random.normal(0.3, 1, (ITEM_COUNT, DIM))
    for _ in client.import_items(Item(item_id=f"i{n}", vector=to_bytes(vector)) for n, vector in enumerate(vectors)):
        pass
    deadline_s = time.monotonic() + PATIENCE_S
    while not (info := client.get_server_info()).ef_search or info.vector_space != "centred":
        assert time.monotonic() < deadline_s, "no graph came"
    past, future = Timestamp(seconds=1_000_000_000), Timestamp(seconds=9_000_000_000)
    novel = Item(item_id="novel", title="Dune", texts=["a desert planet", "spice"], publish_time=past)
    novel.attributes["genres"].CopyFrom(AttributeValue(labels=StringSet(values=["space", "classic"])))
    novel.attributes["year"].CopyFrom(AttributeValue(number=1965))
    novel.attributes["language"].CopyFrom(AttributeValue(text="中文"))
    novel.attributes["new"].CopyFrom(AttributeValue(flag=False))
    client.upsert_items([novel, Item(item_id="lamp", title="a lamp"), Item(item_id="gone", title="a kettle")])
    client.upsert_items([Item(item_id="expired", title="old", expire_time=past)])
    client.upsert_items([Item(item_id="announced", title="news", publish_time=future)])
    client.update_user("ada", [Event(event_id="1", item_id="gone", weight=-0.5), Event(event_id="2", text="a river")])
    client.update_user("ada", [Event(event_id="3", item_id="i5", event_time=past), Event(event_id="4", item_id="late")])
    client.update_user("bea", [Event(event_id="1", vector=to_bytes(vectors[7])), Event(event_id="2", item_id="lamp")])
    client.update_user("bea", [Event(event_id="3", item_id="i9", type=EventType.EVENT_TYPE_LIKE)])
    client.update_user("cleo", [Event(event_id=str(n), item_id=f"i{n}") for n in range(40)])
    client.update_user("dora", [Event(event_id="1", item_id="lamp")])
    client.forget_events("cleo", ["3", "39"])
    client.delete_user("dora")
    client.delete_items(["gone", "i1", "i2"])
    client.upsert_items([Item(item_id="lamp", title="a lamp for the garden"), Item(item_id="i2", title="again")])


def described(client: Client) -> dict[str, Any]:
    """Return what is in a server, as JSON. Answers are of exact searches; items with a vector are only counted."""
    info = client.get_server_info()
    return {
        "info": {"item_count": info.item_count, "user_count": info.user_count, "vector_space": info.vector_space},
        "catalog_revision": info.catalog_revision,
        "users": {
            user_id: {"revision": user.revision, "events": [*map(plain, client.export_user(user_id))]}
            for user_id in ("ada", "bea", "cleo")
            for user in [client.get_user(user_id)]
        },
        "items": [plain(item) for item in client.list_items() if not item.vector],
        "answers": [
            {"question": question, "recommendations": plain(answer)["recommendations"], "revision": answer.revision}
            for question in QUESTIONS
            for answer in [client.recommend(**question, exact=True, explain=True)]
        ],
    }


def plain(message: Message) -> dict[str, Any]:
    """Return a message as JSON."""
    return MessageToDict(message, preserving_proto_field_name=True)


if __name__ == "__main__":
    (name,) = sys.argv[1:]
    make(name)
