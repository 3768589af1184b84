"""A damaged database is told, with the way out; no answer of it is made up."""

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from filled_directory import filled, serving
from google.protobuf.message import Message

from recwire import Client, Event, ServerFaultError
from recwire_server.store import StoreError
from recwire_server.store.database import DATABASE_FILE

PAGE_SIZE = 4096
LOG_FILE = f"{DATABASE_FILE}-wal"
USERS = [f"u{n}" for n in range(20)]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data directory of a server that has ended; not to be changed."""
    return filled(tmp_path_factory.mktemp("stopped") / "data", 100)


@pytest.fixture(scope="module")
def killed(stopped: Path) -> Path:
    """What a server that was killed has left: some of it in the database, 50 later events only in the log."""
    data_dir = Path(shutil.copytree(stopped, stopped.parent / "running"))
    with serving(data_dir) as client:
        for n in range(50):
            client.update_user("late", [Event(event_id=str(n), item_id="i1")])
        return Path(shutil.copytree(data_dir, stopped.parent / "killed"))


def questions(client: Client) -> list[Callable[[], Message]]:
    """Return questions that read the disk."""
    return [
        *(lambda user=user: client.get_user(user) for user in USERS),
        *(lambda user=user: client.recommend(user, explain=True, include_items=True) for user in USERS),
        *(lambda n=n: client.get_item(f"i{n}") for n in (0, 1, 50, 99)),
    ]


def test_whatever_page_is_damaged_no_answer_is_made_up(stopped: Path, tmp_path: Path):
    """Either the server does not start, or answers are what they were, or DATA_LOSS; both say what to do."""
    with serving(stopped) as client:
        sound = [ask() for ask in questions(client)]
    page_count = (stopped / DATABASE_FILE).stat().st_size // PAGE_SIZE
    outcomes = []
    for page in range(page_count):
        data_dir = Path(shutil.copytree(stopped, tmp_path / str(page)))
        with (data_dir / DATABASE_FILE).open("r+b") as file:
            file.seek(page * PAGE_SIZE)
            file.write(np.random.default_rng(page).bytes(PAGE_SIZE))
        try:
            with serving(data_dir) as client:
                outcomes += [outcome_of(ask, answer) for ask, answer in zip(questions(client), sound, strict=True)]
        except StoreError as error:
            says_what_to_do = "restore a backup" in str(error) or "choose another --data-dir" in str(error)
            outcomes.append("no start" if says_what_to_do else str(error))
    assert set(outcomes) == {"no start", "told", "as it was"}


def outcome_of(ask: Callable[[], Message], sound: Message) -> str:
    try:
        return "as it was" if ask() == sound else "made up"
    except ServerFaultError as error:
        return "told" if error.reason == "STORE_DAMAGED" and "restore a backup" in error.message else "wrong error"


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_database_that_was_cut_is_not_served(share: float, stopped: Path, tmp_path: Path):
    """The error names the directory, and what to do."""
    data_dir = Path(shutil.copytree(stopped, tmp_path / "data"))
    size = (data_dir / DATABASE_FILE).stat().st_size
    with (data_dir / DATABASE_FILE).open("r+b") as file:
        file.truncate(int(size * share))
    with pytest.raises(StoreError, match="restore a backup"), serving(data_dir):
        pass


@pytest.mark.parametrize("harm", ["emptied", "removed"])
def test_a_database_that_is_gone_is_not_made_anew(harm: str, killed: Path, tmp_path: Path):
    """An empty catalogue must not serve in its place."""
    data_dir = Path(shutil.copytree(killed, tmp_path / "data"))
    (data_dir / DATABASE_FILE).unlink()
    if harm == "emptied":
        (data_dir / DATABASE_FILE).touch()
    with pytest.raises(StoreError, match="restore a backup"), serving(data_dir):
        pass


@pytest.mark.parametrize("harm", ["removed", "cut", "garbage", "garbage at the end"])
def test_a_damaged_log_leaves_an_earlier_state(harm: str, killed: Path, tmp_path: Path):
    """SQLite cannot tell it from the log of a crash: what is served is whole commits up to the damage, in order."""
    data_dir = Path(shutil.copytree(killed, tmp_path / "data"))
    log = data_dir / LOG_FILE
    content = log.read_bytes()
    half = len(content) // 2
    if harm == "removed":
        log.unlink()
    else:
        garbage = np.random.default_rng(0).bytes(half)
        log.write_bytes({"cut": content[:half], "garbage": content[:half] + garbage}.get(harm, content + garbage))
    with serving(data_dir) as client:
        assert client.get_user("u1").event_count
        appended = client.update_user("late", [Event(event_id=str(n), item_id="i1") for n in range(50)])
    known = sorted(map(int, appended.duplicate_event_ids))
    assert known == list(range(len(known)))
    assert {"removed": len(known) == 0, "garbage at the end": len(known) == 50}.get(harm, 0 < len(known) < 50)
