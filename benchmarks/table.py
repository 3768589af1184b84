"""How a result of calls is shown to people."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def calls_table(title: str, result: Mapping[str, Any]) -> Table:
    """Return the calls of a result, and the ratios that it is about."""
    ((ratio_name, ratios),) = ((key, value) for key, value in result.items() if key.endswith("ratio_to_limit"))
    table = Table(title=f"{title}: {result['model']}")
    for column in ("call", "p50 ms", "p99 ms", "CPU ms", ratio_name.replace("_", " ")):
        table.add_column(column, justify="left" if column == "call" else "right")
    for call, figures in result["calls"].items():
        ratio = ratios.get(call)
        table.add_row(call, *(f"{figures[key]:.3f}" for key in ("p50_ms", "p99_ms", "cpu_ms")), f"{ratio or ''}")
    return table
