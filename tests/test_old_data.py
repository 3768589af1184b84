"""Data directories that older versions wrote, made by `make_old_data`, serve on."""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from make_old_data import DATA, described, settings
from test_crash_loop import check_stopped

from recwire import Client, Event, Item
from recwire_server.index.snapshot_folder import FOLDER, newest_folder
from recwire_server.testing import HashEncoder, running_server

FOLDERS = sorted(folder for folder in DATA.glob("directory-*") if folder.is_dir())


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_an_older_version_s_directory_serves_on(folder: Path, tmp_path: Path):
    """Users, items and answers are those of the version that wrote it; writes go on, and the directory opens again."""
    expected = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    encoder, named = HashEncoder(expected["dim"]), expected["settings"]
    data_dir = shutil.copytree(folder, tmp_path / "data")
    with running_server(settings(data_dir, named), encoder) as address, Client(address) as client:
        found = described(client)
        assert list(differences(found, {name: expected[name] for name in found}, "")) == []
        revision = client.update_user("ada", [Event(event_id="new", item_id="new")]).revision
        assert revision > max(user["revision"] for user in expected["users"].values())
        written = client.upsert_items([Item(item_id="new", title="new")])
        assert written.catalog_revision > expected["catalog_revision"]
    check_stopped(data_dir)
    with running_server(settings(data_dir, named), encoder) as address, Client(address) as client:
        assert client.get_user("ada").revision == revision
        assert client.get_item("new").title == "new"
        for progress in client.check_users():
            assert list(progress.differing_user_ids) == []


def test_an_index_of_this_format_is_not_built_anew(tmp_path: Path):
    """The snapshot in the directory serves, with its graph, from the start."""
    folder = DATA / "directory-schema-2-index-3"
    expected = json.loads(folder.with_suffix(".json").read_text(encoding="utf-8"))
    data_dir = shutil.copytree(folder, tmp_path / "data")
    saved = newest_folder(data_dir / FOLDER)
    assert saved is not None
    with (
        running_server(settings(data_dir, expected["settings"]), HashEncoder(expected["dim"])) as address,
        Client(address) as client,
    ):
        info = client.get_server_info()
        assert saved.name == f"generation-{info.index_generation}"
        assert info.index.method == "graph"


def differences(now: Any, then: Any, place: str) -> Iterator[str]:
    """Yield where something is no longer what it was; what is new beside it does not count."""
    match then:
        case dict() if isinstance(now, dict):
            for name, value in then.items():
                yield from differences(now.get(name), value, f"{place}.{name}")
        case list() if isinstance(now, list) and len(now) == len(then):
            for number, value in enumerate(then):
                yield from differences(now[number], value, f"{place}[{number}]")
        case float() if isinstance(now, float) and abs(now - then) <= 1e-5:
            return
        case _ if now != then:
            yield f"{place}: {now!r}, was {then!r}"


def test_there_are_directories():
    """At least that of the first version that was kept."""
    assert "directory-schema-2" in {folder.name for folder in FOLDERS}
