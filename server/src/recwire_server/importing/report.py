"""What an import did: counts, and every bad line said once."""

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import TypeVar

from recwire_server.importing import LineError, StoppedError
from recwire_server.importing.source import BadLine, Row

T = TypeVar("T")

MAX_SAID = 20  # more would push the reason of the first off the screen
MAX_NAMED = 3  # items, of those that a note is about


class Report:
    """Counts what goes in and says what does not, as `FILE:LINE: reason`.

    say: takes a bad line's message; called for the first 20. log: takes all of them. strict: the first bad
    line raises StoppedError. Of the `answered` lines, which the server has dealt with, some were `imported`
    and some `duplicates`; `refused` counts also those that were not sent. same_text_item_ids: by item, another
    with the same text.
    """

    def __init__(
        self,
        path: Path,
        say: Callable[[str], None],
        log: Callable[[str], None] | None = None,
        strict: bool = False,
    ) -> None:
        self.answered = 0
        self.imported = 0
        self.duplicates = 0
        self.refused = 0
        self.notes: list[str] = []
        self.pending_item_ids: set[str] = set()
        self.same_text_item_ids: dict[str, str] = {}
        self._path, self._say, self._log, self._strict = path, say, log, strict
        self._started = time.monotonic()

    def refuse(self, line: int, reason: str) -> None:
        """Count a line that did not go in, and say why."""
        self.refused += 1
        message = f"{self._path}:{line}: {reason}"
        if self.refused <= MAX_SAID:
            self._say(message)
        if self._log:
            self._log(message)
        if self._strict:
            raise StoppedError("stopped at the first bad line, as --strict asks; mend it and run the import again")

    def accepted(self, rows: Iterable[Row | BadLine], read: Callable[[Row], T]) -> Iterator[T]:
        """Yield what `read` makes of the rows; refuse those of which it makes nothing."""
        for row in rows:
            if isinstance(row, BadLine):
                self.refuse(row.line, row.reason)
                continue
            try:
                record = read(row)
            except LineError as error:
                self.refuse(row.line, str(error))
                continue
            yield record

    @property
    def rate(self) -> float:
        """How many lines the server answered a second, since the import began."""
        return self.answered / max(time.monotonic() - self._started, 1e-9)

    def summary(self, noun: str) -> str:
        """Return the end's report; noun: what was imported, in the plural."""
        elapsed_s = time.monotonic() - self._started
        lines = [
            f"{self._path}: imported {self.imported:,} {noun} in {elapsed_s:.1f} s"
            f" ({self.rate:,.0f} lines a second), {self.duplicates:,} duplicates, {self.refused:,} refused"
        ]
        if self.refused > MAX_SAID and not self._log:
            unsaid = self.refused - MAX_SAID
            lines.append(f"  {unsaid:,} more bad lines than shown; --errors-to FILE keeps them all")
        if self.pending_item_ids:
            named = ", ".join(sorted(self.pending_item_ids)[:MAX_NAMED])
            more = ", ..." if len(self.pending_item_ids) > MAX_NAMED else ""
            lines.append(
                f"  {len(self.pending_item_ids):,} items are not in the catalogue yet ({named}{more}):"
                " their events are kept and count once the items arrive"
            )
        if self.same_text_item_ids:
            named = ", ".join(
                f"{item_id} like {other}" for item_id, other in islice(self.same_text_item_ids.items(), MAX_NAMED)
            )
            more = ", ..." if len(self.same_text_item_ids) > MAX_NAMED else ""
            lines.append(f"  {len(self.same_text_item_ids):,} items have the same text as another: {named}{more}")
        return "\n".join([*lines, *(f"  {note}" for note in self.notes)])
