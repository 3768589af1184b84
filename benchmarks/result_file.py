"""Result files: what runs of benchmarks measured, with what they were run on."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

JSONObject = Mapping[str, Any]


class ResultFileError(Exception):
    """A file is no result file; the message says why."""


@dataclass(frozen=True)
class ResultFile:
    """What a run measured. stamp: what it was run on, as `environment` has it. results: by benchmark. durations_s: how
    long each took, of those of which it is known."""

    name: str
    stamp: JSONObject
    results: Mapping[str, JSONObject]
    durations_s: Mapping[str, float]


def write_result_file(
    path: Path, stamp: JSONObject, results: Mapping[str, JSONObject], durations_s: Mapping[str, float]
) -> None:
    """Write what was measured as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = {"environment": stamp, "durations_s": durations_s, "results": results}
    path.write_text(json.dumps(kept, indent=1) + "\n")


def read_result_file(path: Path) -> ResultFile:
    """Return what a run measured. Raises ResultFileError."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        results, durations_s = kept["results"], kept.get("durations_s", {})
        is_whole = all(isinstance(one, dict) for one in (kept["environment"], durations_s, results, *results.values()))
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ResultFileError(f"{path.name} is no result of a benchmark: {error!r}") from error
    if not is_whole:
        raise ResultFileError(f"{path.name} is no result of a benchmark: its environment or results are no objects")
    return ResultFile(path.name, kept["environment"], results, durations_s)
