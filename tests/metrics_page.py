"""A server's metrics, as Prometheus reads them."""

import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass

from prometheus_client.parser import text_string_to_metric_families

PATIENCE_S = 20.0


@dataclass(frozen=True)
class MetricsPage:
    """What one scrape gave. kinds: of each metric family, its type. text: the page itself."""

    text: str
    kinds: Mapping[str, str]
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
        {family.name: family.type for family in families},
        {(one.name, frozenset(one.labels.items())): one.value for family in families for one in family.samples},
    )
