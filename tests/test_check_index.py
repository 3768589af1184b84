"""`recwire-server check` compares the snapshot of the index with the database, row by row."""

import json
import shutil
import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
from filled_directory import DIM, fill, filled, serving, vectors
from typer.testing import CliRunner, Result
from waiting import wait_until

from recwire import Item
from recwire_server.cli import app
from recwire_server.index.snapshot_folder import (
    FOLDER,
    FORMAT,
    GRAPH,
    HEADER,
    KEYS,
    PROJECTION,
    ROWS,
    Key,
    folder_of,
    newest_folder,
    read_content,
    write_header,
)
from recwire_server.store.database import DATABASE_FILE


def check(data_dir: Path) -> Result:
    return CliRunner().invoke(app, ["check", "--data-dir", str(data_dir)], env={"COLUMNS": "200"})


def assert_told(data_dir: Path, told: str) -> None:
    result = check(data_dir)
    assert result.exit_code == 1, result.output
    assert told in result.stdout
    assert result.stdout.endswith("is damaged\n")


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a graph, after which items were changed and deleted; not to be changed."""
    return filled(tmp_path_factory.mktemp("sound") / "data", 300)


@pytest.fixture
def data_dir(sound: Path, tmp_path: Path) -> Path:
    """A copy that may be changed."""
    return Path(shutil.copytree(sound, tmp_path / "data"))


def run_sql(data_dir: Path, sql: str, *values: object) -> list[tuple[int]]:
    connection = sqlite3.connect(data_dir / DATABASE_FILE)
    rows = connection.execute(sql, values).fetchall()
    connection.commit()
    connection.close()
    return rows


def generation_of(data_dir: Path) -> int:
    return run_sql(data_dir, "SELECT MAX(generation) FROM generations")[0][0]


def snapshot_of(data_dir: Path) -> Path:
    folder = newest_folder(data_dir / FOLDER)
    assert folder is not None
    return folder


def rewrite(data_dir: Path, change: Callable[[list[Key]], Sequence[Key]], later: int = 0, dim: int = DIM) -> None:
    """Write the snapshot anew, whole, with other keys, or of a later generation or another dimension."""
    folder = snapshot_of(data_dir)
    content = read_content(folder)
    assert content is not None
    (folder / HEADER).unlink()
    (folder / KEYS).write_text(json.dumps(change(list(content.keys))))
    fields = {**content.fields, "dim": dim, "generation": content.generation + later}
    write_header(folder, fields)
    folder.rename(folder_of(data_dir / FOLDER, content.generation + later))


def test_a_snapshot_that_fits_is_counted(data_dir: Path):
    """Its rows are; that items were changed and deleted since is as it should be."""
    result = check(data_dir)
    (row,) = (line for line in result.stdout.splitlines() if "rows of the index snapshot" in line)
    assert result.exit_code == 0, result.output
    content = read_content(snapshot_of(data_dir))
    assert content is not None
    assert [cell.strip() for cell in row.split("│")[2:4]] == [str(len(content.keys)), "0"]


@pytest.mark.parametrize("harm", ["removed", "another format", "outdated", "of a generation not served yet"])
def test_no_snapshot_is_no_damage(harm: str, data_dir: Path):
    """Where one is missing or outdated, it says what comes of that; one that was saved just before a kill is fine."""
    folder = snapshot_of(data_dir)
    if harm == "removed":
        shutil.rmtree(folder)
    elif harm == "another format":
        header = folder / HEADER
        header.write_text(header.read_text().replace(f'"format": {FORMAT}', '"format": 0'))
    elif harm == "outdated":
        run_sql(data_dir, "INSERT INTO generations VALUES (?, NULL, 0)", generation_of(data_dir) + 1)
    else:
        rewrite(data_dir, list, later=1)
    told = {"removed": "none; it is built", "another format": "none; it is built", "outdated": "outdated; it is built"}
    result = check(data_dir)
    assert result.exit_code == 0, result.output
    assert told.get(harm, "rows of the index snapshot") in result.stdout


@pytest.mark.parametrize("harm", ["flipped", "cut", "removed"])
@pytest.mark.parametrize("name", [HEADER, ROWS, KEYS, PROJECTION, GRAPH])
def test_a_damaged_file_is_damage(harm: str, name: str, data_dir: Path):
    """Whichever it is; a server that starts builds the index anew, and says so."""
    path = snapshot_of(data_dir) / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0x80
    if harm == "removed":
        path.unlink()
    else:
        path.write_bytes(content if harm == "flipped" else content[: len(content) // 2])
    assert_told(data_dir, "the index snapshot is damaged, and it is built at the next start: ")
    with serving(data_dir) as client:
        assert client.recommend("u1").recommendations


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda keys: [("stranger", 1), *keys[1:]], "item 'stranger' is in it, but in no row of the table items"),
        (lambda keys: [(keys[0][0], 99), *keys[1:]], "has revision 99 in it, but"),
        (lambda keys: [keys[1], *keys[1:]], "is in it more than once"),
        (lambda keys: keys[1:], " keys for "),
    ],
)
def test_a_row_that_is_not_the_databases_is_damage(
    change: Callable[[list[Key]], Sequence[Key]], told: str, data_dir: Path
):
    """Each kind is named, with the item."""
    rewrite(data_dir, change)
    assert_told(data_dir, told)


def test_a_vector_that_is_not_the_databases_is_damage(data_dir: Path):
    """Each row is what the table's vector makes, in the generation's vector space."""
    run_sql(data_dir, "UPDATE items SET vector = (SELECT vector FROM items WHERE item_id = 'i9') WHERE item_id = 'i6'")
    assert_told(data_dir, "item 'i6' has another vector in it than in the table")


def test_a_generation_that_nobody_numbered_is_damage(data_dir: Path):
    """More than one ahead of the database: it is another directory's."""
    rewrite(data_dir, list, later=2)
    newest = generation_of(data_dir)
    assert_told(data_dir, f"it is of generation {newest + 2}; the newest in the database is {newest}")


def test_another_dimension_is_damage(data_dir: Path):
    """It is another model's."""
    rewrite(data_dir, list, dim=8)
    assert_told(data_dir, f"its vectors have 8 dimensions; the directory's have {DIM}")


def test_a_mean_of_another_dimension_is_damage(data_dir: Path):
    """The vector space is part of what is served."""
    run_sql(data_dir, "UPDATE generations SET mean = x'0000803f'")
    assert_told(data_dir, "the mean of generation 1: its vector has 4 bytes; 32 dimensions take 128")


def test_a_database_whose_log_was_removed_is_noticed_by_its_snapshot(tmp_path: Path):
    """Alone it is an earlier state of itself, and sound; but the snapshot knows later items."""
    with serving(tmp_path / "data") as client:
        fill(client, 300)
        generation = client.get_server_info().index_generation
        run_sql(tmp_path / "data", "PRAGMA wal_checkpoint(TRUNCATE)")
        later = [Item(item_id=f"later{n}", vector=vector) for n, vector in enumerate(vectors(400, 3))]
        list(client.import_items(later))
        wait_until(client, lambda: client.get_server_info().index_generation > generation)
        shutil.copytree(tmp_path / "data", tmp_path / "killed")
    (tmp_path / "killed" / f"{DATABASE_FILE}-wal").unlink()
    assert_told(tmp_path / "killed", "item 'later0' is in it, but in no row of the table items: the database is older")
