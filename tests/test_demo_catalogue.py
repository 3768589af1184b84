"""The catalogue that ships."""

import re
from collections import Counter
from itertools import combinations
from pathlib import Path

import pytest
from recording_server import RecordingServer
from typer.testing import CliRunner

from recwire.v1.event_pb2 import Event
from recwire.v1.item_pb2 import Item
from recwire_server import demo
from recwire_server.cli.imports import app


@pytest.fixture(scope="module")
def imported() -> RecordingServer:
    """A server into which both files went with no option."""
    with RecordingServer() as server:
        for command, path in (("items", demo.catalogue()), ("events", demo.behaviour())):
            result = CliRunner().invoke(app, [command, str(path), "--to", server.address])
            assert result.exit_code == 0, result.stderr
            assert "duplicates, 0 refused" in result.stdout
    return server


@pytest.fixture(scope="module")
def items(imported: RecordingServer) -> list[Item]:
    return list(imported.items.values())


@pytest.fixture(scope="module")
def events(imported: RecordingServer) -> dict[str, list[Event]]:
    return {user_id: list(events.values()) for user_id, events in imported.events.items()}


def test_every_section_has_64_items_of_its_own(items):
    """No line repeats an id, a title or a text."""
    assert len(Path(str(demo.catalogue())).read_text(encoding="utf-8").splitlines()) == len(items) == 320
    sections = Counter(item.attributes["section"].text for item in items)
    assert sections == dict.fromkeys(["shopping", "news", "music", "video", "books"], 64)
    assert len({item.title for item in items}) == 320
    assert len({item.texts[0] for item in items}) == 320


def test_every_text_is_a_description(items):
    """One or two sentences of varied words, neither a stub nor an essay."""
    for item in items:
        assert 40 <= len(item.texts[0]) <= 300, item.item_id
        assert item.texts[0][-1] in ".?!", item.item_id
        assert 5 <= len(item.title) <= 80, item.item_id


def test_no_text_is_a_template_of_another(items):
    """Two descriptions share few words."""
    words = [set(re.findall(r"\w{4,}", item.texts[0].lower())) for item in items]
    assert max(len(one & other) / len(one | other) for one, other in combinations(words, 2)) < 0.35


def test_items_have_the_attributes_of_their_section(items):
    """What filters can be shown with: prices, years, lengths, languages, dates."""
    needed = {
        "shopping": {"price", "in_stock"},
        "news": {"language"},
        "music": {"year", "minutes"},
        "video": {"year", "minutes", "language"},
        "books": {"year", "pages", "price", "language"},
    }
    for item in items:
        assert needed[item.attributes["section"].text] | {"section", "categories"} == set(item.attributes), item.item_id
        assert item.HasField("publish_time") == (item.attributes["section"].text == "news")


def test_everyone_did_something_with_items_that_exist(imported, events):
    """20 users with 12 to 30 events each, in the order of time."""
    assert len(events) == 20
    for user_id, done in events.items():
        assert 12 <= len(done) <= 30, user_id
        assert {event.item_id for event in done} <= imported.items.keys()
        assert all(event.type for event in done)
        times = [event.event_time.seconds for event in done]
        assert times == sorted(set(times))


def test_tastes_differ(events):
    """No two users did mostly the same."""
    seen = [{event.item_id for event in done} for done in events.values()]
    assert max(len(one & other) / len(one | other) for one, other in combinations(seen, 2)) < 0.25
