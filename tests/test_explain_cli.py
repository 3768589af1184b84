"""`recwire-server explain` shows a person why an item has its score for a user."""

import re
from datetime import timedelta

import pytest
from conftest import RunningServer, StartServer
from typer.testing import CliRunner, Result

from recwire import Event, EventType, Item, SeenPolicy
from recwire_server.cli import app


def explain(server: RunningServer, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["explain", *arguments, "--to", server.address])


def flat(result: Result) -> str:
    """Return the output with its table's lines as plain words."""
    return re.sub(r"[\s│┃]+", " ", result.stdout)


def event(event_id: str, **fields: object) -> Event:
    made = Event(event_id=event_id, **fields)
    made.event_time.FromJsonString("2026-01-02T03:04:05Z")
    return made


@pytest.fixture
def server(hash_server: RunningServer) -> RunningServer:
    """A few items, and ada, who viewed one and searched for another."""
    titles = {"1": "red lamp", "2": "red kettle", "3": "blue [bold]chair", "4": "green table"}
    hash_server.client.upsert_items([Item(item_id=item_id, title=title) for item_id, title in titles.items()])
    hash_server.client.update_user(
        "ada",
        [
            event("e1", item_id="1", type=EventType.EVENT_TYPE_PURCHASE),
            event("e2", text="kettle", type=EventType.EVENT_TYPE_SEARCH),
            event("e3", item_id="4", type=EventType.EVENT_TYPE_DISLIKE),
        ],
    )
    return hash_server


def test_an_explanation_reads_as_what_the_user_did(server: RunningServer):
    """The item, its score, rank and strategy; a row an event, in words, with its time and weight; and the sum."""
    (one,) = server.client.recommend("ada", limit=1, explain=True).recommendations
    assert one.item_id == "2"
    values = {share.event_id: share.value for share in one.contributions}

    result = explain(server, "ada", "2")

    assert result.exit_code == 0, result.stderr
    lines = result.stdout.splitlines()
    assert lines[0] == "red kettle: item 2, for user ada"
    assert lines[1].startswith(f"score {one.score:.4f}, rank 1 among the items not in the history; personalized")
    assert f"bought red lamp 2026-01-02 03:04 +3 {values['e1']:+.4f} e1" in flat(result)
    assert f'searched for "kettle" 2026-01-02 03:04 +1 {values["e2"]:+.4f} e2' in flat(result)
    assert f"disliked green table 2026-01-02 03:04 -1 {values['e3']:+.4f} e3" in flat(result)
    assert f"the score {one.score:+.4f}" in flat(result)
    shown = [float(value) for value in re.findall(r"[+-]\d\.\d{4}", result.stdout)][:-1]
    assert shown == sorted(shown, key=abs, reverse=True)


def test_a_counterfactual_stands_beside_it(server: RunningServer):
    """With --ignore, the score without the event, which is what Recommend answers without it."""
    (without,) = server.client.recommend("ada", item_ids=["2"], ignore_event_ids=["e2"], limit=1).recommendations

    result = explain(server, "ada", "2", "--ignore", "e2")

    assert result.exit_code == 0, result.stderr
    assert f"without what is ignored: score {without.score:.4f}, rank" in result.stdout
    assert re.search(r'searched for "kettle" \S+ \S+ \+1 \S+ - e2', flat(result))
    assert flat(result).count(f"{without.score:+.4f}") == 1


def test_asking_changes_nothing(server: RunningServer):
    """What was explained does not count as served: rotation does not leave it out."""
    assert explain(server, "ada", "2").exit_code == 0

    answer = server.client.recommend("ada", rotation=timedelta(hours=1))

    assert answer.recommendations[0].item_id == "2"


def test_an_item_of_the_history_is_ranked_among_all(server: RunningServer):
    """It says that answers leave the item out, and shows its rank with the seen items."""
    all_items = server.client.recommend("ada", seen=SeenPolicy.SEEN_POLICY_INCLUDE).recommendations
    rank = [one.item_id for one in all_items].index("1") + 1

    result = explain(server, "ada", "1")

    assert f"rank {rank} among all items" in result.stdout
    assert "the item is in the user's history" in result.stdout


def test_a_title_is_no_markup(server: RunningServer):
    """Brackets in titles are shown as they are."""
    server.client.update_user("bob", [event("e1", item_id="3")])

    assert "viewed" not in explain(server, "bob", "1").stdout
    assert "event on blue [bold]chair" in flat(explain(server, "bob", "1"))


def test_the_smallest_shares_are_put_together(server: RunningServer):
    """Past --rows, one row has the sum of the rest."""
    result = explain(server, "ada", "2", "--rows", "1")

    (row,) = (line for line in result.stdout.splitlines() if "2 smaller shares" in line)
    (one,) = server.client.recommend("ada", limit=1, explain=True).recommendations
    rest = sorted((share.value for share in one.contributions), key=abs)[:2]
    assert f"{sum(rest):+.4f}" in row


def test_a_long_history_has_a_row_for_its_older_events(start_server: StartServer):
    """What is too old to count one by one is told as such."""
    server = start_server(max_history_events=1)
    server.client.upsert_items([Item(item_id=str(n), title=f"red {n}") for n in range(3)])
    server.client.update_user("ada", [event("e0", item_id="0"), event("e1", item_id="1")])

    assert "older events, together" in explain(server, "ada", "2").stdout


def test_someone_unknown_gets_the_popular(server: RunningServer):
    """It says so, and what the item's popularity is."""
    result = explain(server, "zoe", "1")

    assert result.exit_code == 0, result.stderr
    assert "score 1.0000, rank 1" in result.stdout
    assert "popular: what most users do" in result.stdout
    assert "the user has no events" in result.stdout
    assert "popularity: the item's share" in result.stdout
    assert "recent: newest first" in explain(server, "zoe", "3").stdout


def test_someone_whose_events_move_nothing_is_told_as_such(server: RunningServer):
    """Events on items that are not in the catalogue yet are counted."""
    server.client.update_user("eve", [event("e1", item_id="later")])

    assert "the user's 1 events move nothing" in explain(server, "eve", "1").stdout


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("ada", "none"), "item 'none' is not in the catalogue"),
        (("ada", "gone"), "item 'gone' is not recommended: it expired on 2020-01-01 at 00:00 UTC"),
        (("ada", "soon"), "item 'soon' is not recommended yet: it is published on 2199-01-01 at 00:00 UTC"),
        (("ada", "1", "--ignore", "e9"), "user 'ada' has no event 'e9'"),
    ],
)
def test_what_cannot_be_explained_is_told(server: RunningServer, arguments: tuple[str, ...], told: str):
    """Status 1, and why."""
    gone, soon = Item(item_id="gone", title="red"), Item(item_id="soon", title="red")
    gone.expire_time.FromJsonString("2020-01-01T00:00:00Z")
    soon.publish_time.FromJsonString("2199-01-01T00:00:00Z")
    server.client.upsert_items([gone, soon])

    result = explain(server, *arguments)

    assert result.exit_code == 1
    assert result.stderr == f"error: {told}\n"


def test_a_server_that_is_away_is_told():
    """Status 1, with its address."""
    result = CliRunner().invoke(app, ["explain", "ada", "1", "--to", "127.0.0.1:1"])

    assert result.exit_code == 1
    assert "nothing takes calls at 127.0.0.1:1" in result.stderr


def test_what_is_asked_for_is_needed():
    """Status 2 without an item."""
    assert CliRunner().invoke(app, ["explain", "ada"]).exit_code == 2
