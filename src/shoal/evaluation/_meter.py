"""What a piece of work costs: wall clock and the largest resident memory of this process."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from time import perf_counter

MB = 1e6
_PROCESS = Path("/proc/self")


class Meter:
    """Seconds and peak memory since it was made.

    Linux can forget the peak of what came before (``clear_refs``). On other systems the peak is
    that of the whole process so far.
    """

    def __init__(self) -> None:
        with suppress(OSError):
            (_PROCESS / "clear_refs").write_text("5", encoding="ascii")
        self._start = perf_counter()

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return perf_counter() - self._start

    @property
    def peak_mb(self) -> float | None:
        """Largest resident memory so far in MB (10⁶ bytes); ``None`` where it is not known."""
        with suppress(OSError, StopIteration):
            lines = (_PROCESS / "status").read_text(encoding="ascii", errors="replace").splitlines()
            peak_kb = int(next(line for line in lines if line.startswith("VmHWM")).split()[1])
            return peak_kb * 1024 / MB
        try:
            import resource
        except ImportError:  # not on Windows
            return None
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak * (1 if sys.platform == "darwin" else 1024) / MB
