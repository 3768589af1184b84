"""A server's metrics, as Prometheus reads them."""

import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 20.0


@dataclass(frozen=True)
class Family:
    """A metric: what it is called, counts and means, the labels of its series, and the names of its samples."""

    name: str
    kind: str
    labels: tuple[str, ...]
    meaning: str
    sample_names: tuple[str, ...]


@dataclass(frozen=True)
class MetricsPage:
    """What one scrape gave. text: the page itself."""

    text: str
    families: Sequence[Family]
    samples: Mapping[tuple[str, frozenset[tuple[str, str]]], float]

    def value(self, name: str, **labels: str) -> float:
        """Return a sample's value; 0 if there is no such sample. labels: all that it has."""
        return self.samples.get((name, frozenset(labels.items())), 0.0)

    def calls(self, rpc: str, code: str) -> float:
        """Return how many calls of an rpc (package.Service/Rpc) ended with a code."""
        labels = {"rpc_system_name": "grpc", "rpc_method": rpc, "rpc_response_status_code": code}
        return self.value("rpc_server_call_duration_seconds_count", **labels)


def scrape(address: str) -> MetricsPage:
    """Return the metrics of now."""
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=PATIENCE_S) as response:
        text = response.read().decode()
    families = list(text_string_to_metric_families(text))
    return MetricsPage(
        text,
        [_family(one) for one in families if not one.name.endswith("_created")],
        {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples},
    )


def _family(metric: Metric) -> Family:
    labels = dict.fromkeys(label for sample in metric.samples for label in sample.labels if label != "le")
    suffixes = {"counter": ["_total"], "histogram": ["_bucket", "_sum", "_count"]}.get(metric.type, [""])
    sample_names = tuple(f"{metric.name}{suffix}" for suffix in suffixes)
    name = sample_names[0] if len(sample_names) == 1 else metric.name
    return Family(name, metric.type, tuple(labels), metric.documentation, sample_names)
