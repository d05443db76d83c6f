"""What changes from outside while the exporter runs: reloads that are asked for, and files that are watched.

The rule: one thread does it all, one thing after the other, and survives whatever it meets there.
"""

import contextlib
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future, InvalidStateError
from enum import Enum
from queue import Empty, SimpleQueue

from structlog.typing import FilteringBoundLogger

from exporter.files import Settling
from exporter.logs import origin

_STOP_SECONDS = 0.5
_DEFECT = "a defect of this exporter, see its log"
_STOPPING = ["the exporter is stopping"]


class _Order(Enum):
    RELOAD = "reload"
    STOP = "stop"


class FileWatch:
    """Tells when a configuration file should be loaded again: pure, with the clock's time handed in.

    Each ``interval`` seconds, 0 for never, it is looked at; a change is taken up when it has come to rest. A
    configuration that could not be used is tried again at each look: what it lacked may be there by then.
    """

    def __init__(self, seen: object, *, interval: float, now: float) -> None:
        self._interval = interval or float("inf")
        self._settling = Settling(seen)
        self._look_at = now + self._interval
        self._refused = False

    def loaded(self, seen: object, *, refused: bool) -> None:
        """Note that the file was loaded as it looked then, and whether that was of use."""
        self._settling = Settling(seen)
        self._refused = refused

    def look(self, fingerprint: Callable[[], object], now: float) -> bool:
        """Look, if it is time to, and tell whether the file should be loaded."""
        due = now >= self._look_at
        if not due and not self._settling.moving:
            return False
        if due:
            self._look_at = now + self._interval
        return self._settling.look(fingerprint()) or (due and self._refused and not self._settling.moving)


class Upkeep:
    """A thread that reloads the configuration and looks at files until it is stopped.

    ``reload`` loads and takes up the configuration, and returns what is wrong with it if it cannot be used.
    ``reload_others`` does the like for what else is read anew when somebody asks, and tells of it itself.
    ``look`` looks at all other files, each ``look_seconds``. ``fingerprint`` says how the configuration file looks
    from outside, ``seen`` how it did when it was loaded at the start; it is looked at each ``interval`` seconds, 0
    for never.
    """

    def __init__(
        self,
        *,
        reload: Callable[[], list[str]],
        reload_others: Callable[[], list[str]] = list,
        look: Callable[[], None],
        fingerprint: Callable[[], object],
        seen: object,
        interval: float,
        look_seconds: float = 1.0,
        log: FilteringBoundLogger,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._reload = reload
        self._reload_others = reload_others
        self._look = look
        self._fingerprint = fingerprint
        self._log = log
        # Not a fleet of exporters all at the same moment, after they were started by one hand.
        now = time.monotonic() - jitter() * interval
        self._watch = FileWatch(seen, interval=interval, now=now)
        self._look_seconds = look_seconds
        self._tick_seconds = min(interval or look_seconds, look_seconds)
        self._tick_at = self._look_at = time.monotonic()
        self._orders: SimpleQueue[_Order] = SimpleQueue()
        self._lock = threading.Lock()
        self._waiting: list[Future[list[str]]] = []
        self._stopping = False
        self._told: list[str] = []
        self._thread = threading.Thread(target=self._run, name="upkeep", daemon=True)

    def start(self) -> None:
        """Begin to look after things."""
        self._thread.start()

    def stop(self) -> None:
        """Do nothing more, and let nobody wait for what is under way."""
        self._orders.put(_Order.STOP)
        with self._lock:
            self._stopping = True
        self._answer(list(self._waiting), _STOPPING)

    def join(self) -> None:
        """Give what is under way a moment to end."""
        self._thread.join(_STOP_SECONDS)

    def reload_soon(self) -> None:
        """Have the configuration reloaded. May be called by the handler of a signal."""
        self._orders.put(_Order.RELOAD)

    def reload(self) -> "Future[list[str]]":
        """Have the configuration reloaded; the future has what is wrong with it, nothing if it is in use now."""
        answer: Future[list[str]] = Future()
        with self._lock:
            if self._stopping:
                answer.set_result(_STOPPING)
                return answer
            self._waiting.append(answer)
        self._orders.put(_Order.RELOAD)
        return answer

    def _run(self) -> None:
        while (order := self._next_order()) is not _Order.STOP:
            if order is _Order.RELOAD:
                with self._lock:
                    waiting = list(self._waiting)
                self._answer(waiting, self._load_all())
            now = time.monotonic()
            if now >= self._tick_at:
                self._tick_at = now + self._tick_seconds
                self._tick(now)

    def _next_order(self) -> _Order | None:
        """Return what to do, one reload for all that have asked for one; None when it is time to look around."""
        order = None
        with contextlib.suppress(Empty):
            order = self._orders.get(timeout=max(0.0, self._tick_at - time.monotonic()))
            while order is not _Order.STOP:
                order = self._orders.get_nowait()
        return order

    def _answer(self, waiting: list["Future[list[str]]"], problems: list[str]) -> None:
        with self._lock:
            self._waiting = [answer for answer in self._waiting if answer not in waiting]
        for answer in waiting:
            with contextlib.suppress(InvalidStateError):  # Whoever waited has left, or was sent away.
                answer.set_result(problems)

    def _tick(self, now: float) -> None:
        try:
            if now >= self._look_at:
                self._look_at = now + self._look_seconds
                self._look()
            changed = self._watch.look(self._fingerprint, now)
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look may be well
            self._log.error("defect in looking at files", **origin(error))
        else:
            if changed:
                self._load(asked=False)

    def _load_all(self) -> list[str]:
        problems = self._load(asked=True)
        try:
            return [*problems, *self._reload_others()]
        except Exception as error:  # noqa: BLE001 - what runs goes on
            self._log.error("defect in a reload", **origin(error))
            return [*problems, _DEFECT]

    def _load(self, *, asked: bool) -> list[str]:
        """Reload, and tell what is wrong: again only if somebody asked for it, or it is something else."""
        try:
            seen = self._fingerprint()
            problems = self._reload()
            self._watch.loaded(seen, refused=bool(problems))
        except Exception as error:  # noqa: BLE001 - what runs goes on
            self._log.error("defect in a reload", **origin(error))
            problems = [_DEFECT]
        if asked or problems != self._told:
            for problem in problems:
                self._log.error("configuration not reloaded", problem=problem)
        self._told = problems
        return problems
