"""Steps of a long command, shown as they run."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn


class StepProgress:
    """Shows each step's name and time on standard error, a line a step. Use it as `with`."""

    def __init__(self) -> None:
        # Standard output is for results, which scripts read.
        self._progress = Progress(
            SpinnerColumn(finished_text="[green]ok[/green]"),
            TextColumn("{task.description}"),
            TimeElapsedColumn(),
            console=Console(stderr=True),
        )
        self._running: TaskID | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._running is None:
            return  # nothing was shown, and stop() would print an empty line
        if exc is None:
            self._finish()
        self._progress.stop()

    def begin(self, step: str) -> None:
        """Show `step` as running, and the one before it as done."""
        self._progress.start()
        self._finish()
        self._running = self._progress.add_task(step, total=1)

    def _finish(self) -> None:
        if self._running is not None:
            self._progress.update(self._running, completed=1)
