"""Whether a stopped server's data directory, or a backup, is sound.

Read in this order: this module (what an outcome is), `directory` (all checks in their order), `backup_file` (files
against their manifest), `database` (the database against itself), `index` (the snapshot of the index against the
database).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Checked:
    """What was checked: how many of what, and what is wrong, a sentence each."""

    what: str
    count: int
    problems: Sequence[str]


@dataclass(frozen=True)
class CheckedDirectory:
    """The outcome of all checks. meta: see store.stopped.read_meta; empty where the file is too damaged to tell."""

    meta: Mapping[str, str]
    checks: Sequence[Checked]

    @property
    def is_sound(self) -> bool:
        """Whether nothing is wrong."""
        return not any(check.problems for check in self.checks)
