"""What single settings have to be; each raises ValueError that says what to give."""

import json
from pathlib import Path

from pydantic import ValidationInfo

from recwire_server.event import MAX_EVENT_WEIGHT, EventType

MAX_PORT = 65_535


def checked_address(value: str) -> str:
    """Return HOST:PORT as it was given."""
    host, _, port = value.rpartition(":")
    if not host or not (port.isascii() and port.isdecimal()) or int(port) > MAX_PORT:
        raise ValueError(f"give HOST:PORT with a port of 0-{MAX_PORT}")
    return value


def checked_metrics_address(value: str | None) -> str | None:
    """Return HOST:PORT as it was given, None for none."""
    return None if value is None else checked_address(value)


def checked_url(value: str | None) -> str | None:
    """Return a URL as it was given, None for none."""
    if value is not None and not (value.startswith(("http://", "https://")) and value.partition("://")[2]):
        raise ValueError("give a URL that begins with http:// or https://")
    return value


def checked_weights(value: object) -> dict[str, float]:
    """Return weights by the lower-case names of types of events, of a table or of JSON."""
    table = json.loads(value) if isinstance(value, str) else value
    if not isinstance(table, dict):
        raise ValueError("give a table of weights by type of event")
    types = {type.name.lower() for type in EventType}
    for name, weight in table.items():
        if name not in types:
            raise ValueError(f"{name!r} is no type of event; there are {', '.join(sorted(types))}")
        if isinstance(weight, bool) or not isinstance(weight, int | float) or not abs(weight) <= MAX_EVENT_WEIGHT:
            raise ValueError(f"the weight of {name!r} is {weight!r}; give a number of at most {MAX_EVENT_WEIGHT:g}")
    return {name: float(weight) for name, weight in table.items()}


def checked_key_file(value: Path | None, info: ValidationInfo) -> Path | None:
    """Return the path of a key, which is not in the directory that it protects."""
    data_dir = info.data.get("data_dir")
    if value and data_dir and value.resolve().is_relative_to(data_dir.resolve()):
        raise ValueError(f"lies in data_dir, {data_dir}, whose copies it would travel with: move it elsewhere")
    return value


def setting_name(field: str) -> str:
    """Return a setting's name in all its spellings."""
    return f"{field} (--{field.replace('_', '-')}, RECWIRE_{field.upper()})"
