"""A library that makes a process's wall clock step, as a wrong time server or a person does."""

import os
import subprocess
from pathlib import Path

LIBRARY_SOURCE = Path(__file__).with_suffix(".c")


class SteppingClock:
    """The wall clock of a process that was started with `environment`."""

    def __init__(self, scratch: Path) -> None:
        self._control = scratch / "step"
        library = scratch / "stepping_clock.so"
        subprocess.run(["cc", "-O1", "-shared", "-fPIC", "-o", str(library), str(LIBRARY_SOURCE)], check=True)
        self.environment = {**os.environ, "LD_PRELOAD": str(library), "STEPPING_CLOCK": str(self._control)}

    def step_to(self, offset_s: int) -> None:
        """Let the clock be off by so many seconds from now on."""
        draft = self._control.with_suffix(".draft")
        draft.write_text(str(offset_s))
        draft.rename(self._control)
