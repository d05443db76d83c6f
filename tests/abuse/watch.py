"""What can be seen of the exporter from outside, before, during and after an abuse: scrapes, memory, handles, CPU.

The rule: nothing here knows what the readings should be, and what is said of memory and scrapes is the worst
that there was.
"""

import contextlib
import http.client
import re
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from abuse.clients import METRICS, Target
from soak.readings import cpu_seconds

_SILENCE_SECONDS = 30.0
_COUNT_SECONDS = 0.1

_RESET_PEAK = "5"
_PEAK = re.compile(r"VmHWM:\s+(\d+) kB")
_RESIDENT = re.compile(r"VmRSS:\s+(\d+) kB")


class Scrape(NamedTuple):
    """One scrape, from the connect to the last byte; ``problem`` is empty for a good one."""

    seconds: float
    size: int
    problem: str = ""


def scrape(target: Target, *, path: str = METRICS, accept_encoding: str = "gzip") -> Scrape:
    """Scrape the exporter, as long as it is not silent for half a minute."""
    headers = {"Accept-Encoding": accept_encoding, "Host": "exporter"}
    if target.authorization:
        headers["Authorization"] = target.authorization
    context = target.context()
    connection = (
        http.client.HTTPConnection(target.host, target.port, timeout=_SILENCE_SECONDS)
        if context is None
        else http.client.HTTPSConnection(target.host, target.port, timeout=_SILENCE_SECONDS, context=context)
    )
    began = time.monotonic()
    try:
        connection.request("GET", path, headers=headers)
        answer = connection.getresponse()
        size = len(answer.read())
    except (OSError, http.client.HTTPException) as error:
        return Scrape(time.monotonic() - began, 0, f"{type(error).__name__}: {error}")
    finally:
        connection.close()
    return Scrape(time.monotonic() - began, size, "" if answer.status == 200 else f"status {answer.status}")


def resident_bytes(pid: int) -> int:
    """Read how much memory a process holds."""
    return _status(pid, _RESIDENT)


def peak_bytes(pid: int) -> int:
    """Read how much it has held at most since :func:`forget_peak`."""
    return _status(pid, _PEAK)


def forget_peak(pid: int) -> None:
    """Let the peak be what is held now."""
    Path(f"/proc/{pid}/clear_refs").write_text(_RESET_PEAK)


def handles(pid: int) -> int:
    """Count the open file handles of a process."""
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


def _status(pid: int, pattern: re.Pattern[str]) -> int:
    found = pattern.search(Path(f"/proc/{pid}/status").read_text())
    assert found, "the process has ended"
    return 1024 * int(found[1])


class Seen(NamedTuple):
    """What was seen while a :class:`Watch` lasted."""

    scrapes: list[Scrape]
    seconds: float
    cpu_share: float
    """Of one core."""
    peak_bytes: int
    handles: list[tuple[float, int]]
    """How many there were, and when, by the monotonic clock."""

    @property
    def peak_handles(self) -> int:
        """The most handles that there were."""
        return max(count for _, count in self.handles)


class Watch:
    """Scrapes at a pace, and counts handles beside that, until the context ends; then ``seen`` is there."""

    seen: Seen

    def __init__(self, pid: int, take: Callable[[], Scrape], *, every_seconds: float) -> None:
        self._pid = pid
        self._take = take
        self._every_seconds = every_seconds
        self._over = threading.Event()
        self._threads = [threading.Thread(target=look, name="watch") for look in (self._scrape, self._count)]
        self._scrapes: list[Scrape] = []
        self._handles: list[tuple[float, int]] = []

    def __enter__(self) -> Self:
        """Begin."""
        forget_peak(self._pid)
        self._began = time.monotonic()
        self._cpu_before = cpu_seconds(self._pid)
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End after the scrape that is under way."""
        self._over.set()
        for thread in self._threads:
            thread.join()
        if kind is None:
            seconds = time.monotonic() - self._began
            share = (cpu_seconds(self._pid) - self._cpu_before) / seconds
            self.seen = Seen(self._scrapes, seconds, share, peak_bytes(self._pid), self._handles)

    def _scrape(self) -> None:
        while not self._over.is_set():
            began = time.monotonic()
            self._scrapes.append(self._take())
            self._over.wait(max(0.0, began + self._every_seconds - time.monotonic()))

    def _count(self) -> None:
        with contextlib.suppress(OSError):  # It has ended, which is noticed elsewhere.
            while True:
                self._handles.append((time.monotonic(), handles(self._pid)))
                if self._over.wait(_COUNT_SECONDS):
                    return
