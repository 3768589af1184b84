"""Who may call the standard services, health and reflection."""

from enum import StrEnum


class HealthAccess(StrEnum):
    """Who may ask whether the server takes calls: everybody, or who has any valid key."""

    OPEN = "open"
    KEY = "key"


class ReflectionAccess(StrEnum):
    """Who may ask what rpcs there are: nobody, everybody, or who has any valid key."""

    OFF = "off"
    OPEN = "open"
    KEY = "key"
