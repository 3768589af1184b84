"""An index on disk: whole and the same, or not used."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from sealed_index import DIM, METHODS, NO_USERS, keys, load, queries, rules

from recwire_server.index import snapshot
from recwire_server.index.adaptive import AdaptiveIndex
from recwire_server.index.sealed import SearchMethod
from recwire_server.index.snapshot import Draft
from recwire_server.index.snapshot_folder import remove_others


def flip_a_byte(folder: Path, name: str = "graph.hnsw") -> None:
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / name).write_bytes(data)


def flip_a_byte_of_the_rows(folder: Path) -> None:
    flip_a_byte(folder, "rows.f32")


def flip_a_byte_of_the_axes(folder: Path) -> None:
    flip_a_byte(folder, "projection.npy")


def change_a_key(folder: Path) -> None:
    text = (folder / "keys.json").read_text()
    (folder / "keys.json").write_text(text.replace('["3", 1]', '["4", 1]'))


def cut_off(folder: Path) -> None:
    data = (folder / "rows.f32").read_bytes()
    (folder / "rows.f32").write_bytes(data[: len(data) // 2])


def break_the_header(folder: Path) -> None:
    (folder / "header.json").write_text("{")


def change_the_width(folder: Path) -> None:
    text = (folder / "header.json").read_text()
    (folder / "header.json").write_text(re.sub('"width": [0-9]+', '"width": 1', text))


def write_another_format(folder: Path) -> None:
    first, _, second = (folder / "header.json").read_text().partition("\n")
    (folder / "header.json").write_text(json.dumps({**json.loads(first), "format": 99}) + "\n" + second)


def take_the_graph_away(folder: Path) -> None:
    (folder / "graph.hnsw").unlink()


@pytest.mark.parametrize(
    "damage",
    [
        flip_a_byte,
        flip_a_byte_of_the_rows,
        flip_a_byte_of_the_axes,
        change_a_key,
        cut_off,
        break_the_header,
        change_the_width,
        write_another_format,
        take_the_graph_away,
    ],
)
def test_a_damaged_snapshot_is_no_snapshot(damage, saved_indexes, tmp_path: Path):
    """It is left aside, never answered from."""
    shutil.copytree(saved_indexes[SearchMethod.GRAPH], tmp_path, dirs_exist_ok=True)
    assert snapshot.load(tmp_path, 1, DIM, "plain") is not None
    damage(tmp_path / "generation-1")
    assert snapshot.load(tmp_path, 1, DIM, "plain") is None


@pytest.mark.parametrize("method", METHODS)
def test_a_snapshot_belongs_to_its_generation(method, saved_indexes, tmp_path: Path):
    """Of another generation, dimension or vector space it is no snapshot."""
    assert snapshot.load(saved_indexes[method], 2, DIM, "plain") is None
    assert snapshot.load(saved_indexes[method], 1, DIM + 1, "plain") is None
    assert snapshot.load(saved_indexes[method], 1, DIM, "another space") is None
    found = snapshot.load(saved_indexes[method], 1, DIM, "plain")
    assert found is not None
    assert found.keys[3] == ("3", 1)


def test_an_index_is_the_same_after_it_was_saved(rows, tmp_path: Path):
    """It finds the same rows with the same scores, and is as wide."""
    for method in METHODS:
        index, draft = AdaptiveIndex(DIM), Draft(tmp_path / method, 1, "plain")
        index.add(rows)
        draft.spill(index)
        index.remove([3, 4, 5, 100])
        index.adopt(index.sealed_anew(rules(method), NO_USERS))
        draft.save(index, keys())
        again = load(tmp_path / method)
        again.remove([3, 4, 5, 100])
        assert again.sealed is not None
        assert index.sealed is not None
        assert again.sealed.calibration == index.sealed.calibration
        for query in queries(rows, "20 items, 20 topics")[:20]:
            a, b = index.search(query, 20), again.search(query, 20)
            assert (a.labels.tolist(), a.scores.tolist()) == (b.labels.tolist(), b.scores.tolist())


def test_an_older_snapshot_and_drafts_are_removed(rows, tmp_path: Path):
    """The directory holds one snapshot, whatever was left by a crash or by a version before."""
    (tmp_path / "generation-1.draft").mkdir()
    (tmp_path / "graph.json").write_text("of format 2")
    for generation in (1, 2):
        index, draft = AdaptiveIndex(DIM), Draft(tmp_path, generation, "plain")
        index.add(rows[:1_000])
        draft.spill(index)
        index.adopt(index.sealed_anew(rules(SearchMethod.SCAN), NO_USERS))
        draft.save(index, keys(1_000))
    remove_others(tmp_path, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["generation-2"]


def test_a_snapshot_that_cannot_be_written_costs_no_search(rows, tmp_path: Path):
    """The rows stay in memory and are found; nothing is left on the disk."""
    (tmp_path / "index").write_text("a file where the directory should be")
    index, draft = AdaptiveIndex(DIM), Draft(tmp_path / "index", 1, "plain")
    index.add(rows)
    draft.spill(index)
    index.adopt(index.sealed_anew(rules(SearchMethod.SCAN), NO_USERS))
    draft.save(index, keys())
    assert index.search(rows[7].astype(np.float64), 1).labels.tolist() == [7]
    assert [path.name for path in tmp_path.iterdir()] == ["index"]
