"""What lies in deploy/, and the table of metrics: they name what a running server has, and leave out nothing."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from conftest import StartServer
from metrics_page import MetricsPage, scrape

from recwire import Event, Item, NotFoundError

ROOT = Path(__file__).parents[1]
DEPLOY = ROOT / "deploy"
# Words of PromQL, and what Prometheus has of its own.
KEYWORDS = {"and", "or", "unless"}
PROMETHEUS_METRICS, PROMETHEUS_LABELS = {"up"}, {"job", "instance", "le"}


@pytest.fixture
def metrics(start_server: StartServer) -> MetricsPage:
    """What a server tells that has done a little, and refused a little."""
    server = start_server(metrics_listen="127.0.0.1:0")
    server.client.upsert_items([Item(item_id="1", title="a film"), Item(item_id="2", title="another")])
    server.client.update_user("ada", [Event(item_id="1")])
    server.client.recommend("ada")
    with pytest.raises(NotFoundError):
        server.client.recommend(item_id="unknown")
    assert server.metrics_address is not None
    return scrape(server.metrics_address)


def dashboard() -> dict:
    return json.loads((DEPLOY / "grafana-dashboard.json").read_text())


def alerts() -> list[dict]:
    (group,) = yaml.safe_load((DEPLOY / "prometheus-alerts.yaml").read_text())["groups"]
    return group["rules"]


def expressions() -> Iterator[str]:
    """Yield all that is asked of Prometheus, Grafana's variables replaced."""
    for panel in dashboard()["panels"]:
        for target in panel.get("targets", []):
            yield target["expr"].replace("$__rate_interval", "5m")
    for variable in dashboard()["templating"]["list"]:
        asked = re.match(r"label_values\((.*), (\w+)\)$", variable.get("definition", ""))
        if asked:
            yield f"sum by ({asked[2]}) ({asked[1]})"
    for rule in alerts():
        yield rule["expr"]


def names_in(expression: str) -> tuple[set[str], set[str]]:
    """Return the metrics and the labels that a PromQL expression names."""
    text = re.sub(r'"[^"]*"', '""', expression)
    labels = {label for matchers in re.findall(r"\{([^}]*)\}", text) for label in re.findall(r"(\w+)\s*[=!]", matchers)}
    text = re.sub(r"\{[^}]*\}|\[[^]]*\]", "", text)
    clauses = r"\b(?:by|without|on|ignoring)\s*\(([^)]*)\)"
    labels |= {label for clause in re.findall(clauses, text) for label in re.findall(r"\w+", clause)}
    text = re.sub(clauses, "", text)
    return set(re.findall(r"\b[a-zA-Z_]\w*\b(?!\s*\()", text)) - KEYWORDS, labels


def test_every_metric_and_label_that_is_asked_for_exists(metrics):
    """By the dashboard and the alerts, of a server that has had a few calls."""
    asked = [names_in(expression) for expression in expressions()]
    asked_names = {name for names, _ in asked for name in names}
    asked_labels = {label for _, labels in asked for label in labels}
    assert len(asked_names) > 40
    assert asked_names - {name for one in metrics.families for name in one.sample_names} - PROMETHEUS_METRICS == set()
    assert asked_labels - {label for one in metrics.families for label in one.labels} - PROMETHEUS_LABELS == set()


def test_every_metric_is_on_the_dashboard(metrics):
    """But those of the process that it does not need."""
    asked = {name for expression in expressions() for name in names_in(expression)[0]}
    own = [one for one in metrics.families if not one.name.startswith("process_")]
    assert [one.name for one in own if not asked & set(one.sample_names)] == []


def test_the_table_in_the_documentation_is_what_the_server_says(metrics):
    """Each metric with its kind, its labels and its meaning."""
    page = (ROOT / "docs" / "observing.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| ((?:recwire|rpc)_\w+) \| (\w+) \| (.*?) \| (.*) \|$", page, re.MULTILINE)
    own = [one for one in metrics.families if not one.name.startswith("process_")]
    assert rows == [(one.name, one.kind, ", ".join(one.labels), one.meaning) for one in own]


def test_names_in_promql_are_found():
    """Metrics and labels, and not functions, words, strings, durations and numbers."""
    expression = (
        'histogram_quantile(0.99, sum by (le, a) (rate(x_bucket{b="c d", e=~"f"}[5m]))) > 1e3 and on (g) y or z'
    )
    assert names_in(expression) == ({"x_bucket", "y", "z"}, {"le", "a", "b", "e", "g"})


def test_the_dashboard_can_be_imported():
    """It has a name of its own, asks whatever data source is chosen, and its panels lie beside each other."""
    board = dashboard()
    assert (board["uid"], board["title"]) == ("recwire", "recwire")
    assert board["templating"]["list"][0]["type"] == "datasource"
    panels = board["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    cells = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        taken = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken, panel["title"]
        cells |= taken
        if panel["type"] != "row":
            assert panel["description"], panel["title"]
            assert panel["datasource"]["uid"] == "${datasource}"
            assert len({target["refId"] for target in panel["targets"]}) == len(panel["targets"]) > 0


def test_every_alert_says_what_to_do():
    """And how urgent it is, and where."""
    for rule in alerts():
        assert rule["labels"]["severity"] in ("page", "ticket")
        assert "$labels.instance" in rule["annotations"]["summary"], rule["alert"]
        assert rule["annotations"]["runbook"].endswith("."), rule["alert"]


def test_the_scrape_configuration_reads_what_is_there():
    """The alerts' file lies beside it."""
    config = yaml.safe_load((DEPLOY / "prometheus.yaml").read_text())
    assert all((DEPLOY / file).is_file() for file in config["rule_files"])
    assert [one["job_name"] for one in config["scrape_configs"]] == ["recwire"]
