"""What is said of abuse in the log: one line for each kind of it and minute, however much there is."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from structlog.typing import FilteringBoundLogger

_SECONDS = 60.0


class Noted(Protocol):
    """Hears of abuse: its kind, of which there are few, and details such as the client's address, if known."""

    def __call__(self, kind: str, /, **details: str | None) -> None:
        """Take note."""
        ...


@dataclass(slots=True)
class _Kind:
    told_at: float
    times: int = 0


class Complaints:
    """Counts abuse by its kind, of which there are few. For one thread."""

    def __init__(self, log: FilteringBoundLogger, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._log = log
        self._clock = clock
        self._kinds: dict[str, _Kind] = {}

    def note(self, kind: str, /, **details: str | None) -> None:
        """Count one; the line has the details of this one, and how many there were since the last line."""
        now = self._clock()
        seen = self._kinds.setdefault(kind, _Kind(now - _SECONDS))
        seen.times += 1
        if now - seen.told_at >= _SECONDS:
            self._log.warning("refused on the web port", kind=kind, times=seen.times, **details)
            seen.told_at, seen.times = now, 0
