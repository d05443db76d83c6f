"""Polling one tenant: take what is due, ask, record. The threads of polling live here.

The rule: decisions are made under the tenant's one lock and never wait for the network; requests are made
by workers and never hold the lock. A tenant has its own threads, so that one that hangs delays no other.
"""

import math
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Protocol

from exporter.cortex import timed_out
from exporter.errors import PollError, Reason, TransientError, UnexpectedReplyError
from exporter.journal import Journal
from exporter.ratelimit import RateLimit
from exporter.schedule import Schedule
from exporter.status import Status
from exporter.store import Phase, Store
from exporter.telemetry import TenantSnapshot, TenantTelemetry
from exporter.transport import Deadline

_MOST_WORKERS = 128


class Client(Protocol):
    """What a poller needs of :class:`exporter.cortex.CortexClient`."""

    def fetch(self, action_id: str, deadline: Deadline) -> Status:
        """Ask for an action's status, or raise a PollError."""
        ...


def max_workers(requests_per_second: float, timeout: float) -> int:
    """Return how many requests of a tenant may be under way at once.

    As many as the rate can start within the timeout, which each outlives only where a resolver hangs; but not
    so many that one silent tenant uses up the threads of the process.
    """
    return min(math.ceil(requests_per_second * timeout) + 1, _MOST_WORKERS)


class _Flight:
    """One poll on its way. It ends once: by its worker, or given up at its deadline."""

    def __init__(self, action_id: str, started: float, deadline: Deadline) -> None:
        self.action_id = action_id
        self.started = started
        self.deadline = deadline


class TenantPoller:
    """Polls the actions of one tenant until it is stopped.

    ``timeout`` is in seconds and bounds each request as a whole. ``on_crash`` is called when a thread dies of a
    defect: polling may have ended, and whoever owns the process should not go on as if nothing had happened.
    ``idle_seconds`` is how long a worker without work stays: long enough for the gaps of an even load, short
    enough to shrink. ``clock`` is monotonic, ``wall_clock`` gives the timestamps that are shown.
    """

    def __init__(
        self,
        name: str | None,
        *,
        client: Client,
        schedule: Schedule,
        rate: RateLimit,
        store: Store,
        telemetry: TenantTelemetry,
        timeout: float,
        journal: Journal,
        on_crash: Callable[[], None],
        idle_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._name = name
        self._client = client
        self._schedule = schedule
        self._rate = rate
        self._store = store
        self._telemetry = telemetry
        self._timeout = timeout
        self._journal = journal
        self._on_crash = on_crash
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._changed = threading.Condition()
        self._stopping = False
        self._up: bool | None = None
        self._flights: dict[_Flight, None] = {}  # In the order of their deadlines.
        self._idle: list[SimpleQueue[_Flight | None]] = []
        self._workers = 0
        self._max_workers = max_workers(rate.requests_per_second, timeout)
        self._wakes_at = math.inf

    def start(self) -> None:
        """Begin to poll."""
        self._start_thread("pacer", self._pace)

    def stop(self) -> None:
        """Send no more requests, and end those under way; their threads end by themselves."""
        with self._changed:
            self._stopping = True
            for inbox in self._idle:
                inbox.put(None)
            self._idle.clear()
            flights = list(self._flights)
            self._changed.notify_all()
        for flight in flights:
            flight.deadline.expire()

    @property
    def ready(self) -> bool:
        """Whether every action has been polled, well or not."""
        with self._changed:
            return self._store.phases[Phase.WAITING] == 0

    def snapshot(self) -> TenantSnapshot:
        """Say how the tenant is at this moment."""
        with self._changed:
            return TenantSnapshot(
                up=self._up,
                phases=self._store.phases,
                lag_seconds=self._schedule.lag(self._clock()),
                rate_limit=self._rate.requests_per_second,
                rate_demand=self._schedule.demand,
            )

    def _start_thread(self, role: str, body: Callable[[], None]) -> None:
        def run() -> None:
            try:
                body()
            except Exception as error:  # noqa: BLE001 - whatever it is, polling must not end in silence
                self._on_crash()
                self._journal.crashed(error)

        threading.Thread(target=run, name=f"{role} {self._name or ''}".strip(), daemon=True).start()

    def _pace(self) -> None:
        """Send what is due as the rate allows, and give up what is overdue, until stopped."""
        with self._changed:
            while not self._stopping:
                self._step(self._clock())
                self._wakes_at = self._next_event()
                pause = max(0.0, self._wakes_at - self._clock())
                self._changed.wait(min(pause, threading.TIMEOUT_MAX))

    def _step(self, now: float) -> None:
        while self._flights and (flight := next(iter(self._flights))).deadline.at <= now:
            # Whatever its thread still waits for: the poll counts as timed out.
            flight.deadline.expire()
            self._end(flight, timed_out(), now)
        for action_id in self._store.expire(now):
            self._schedule.remove(action_id)
            self._journal.retired(action_id)
        if self._rate.ready_at <= now and self._has_room():
            due = self._schedule.take(now)
            if due is not None:
                self._launch(due, now)

    def _next_event(self) -> float:
        """Return when there will be something to do, unless something changes before."""
        times = [self._store.expires_at]
        if self._has_room():
            times.append(max(self._rate.ready_at, self._schedule.due_at()))
        if self._flights:
            times.append(next(iter(self._flights)).deadline.at)
        return min(times)

    def _has_room(self) -> bool:
        return bool(self._idle) or self._workers < self._max_workers

    def _launch(self, action_id: str, now: float) -> None:
        """Hand an action to the worker that was busy last, or to a new one if all are busy."""
        self._rate.take(now)
        flight = _Flight(action_id, now, Deadline(self._timeout, clock=self._clock))
        self._flights[flight] = None
        self._telemetry.sent()
        if self._idle:
            self._idle.pop().put(flight)
            return
        try:
            self._start_thread("worker", lambda: self._work(flight))
        except RuntimeError:  # The process has as many threads as it may.
            self._end(flight, TransientError(Reason.CONNECTION, "no thread can be started"), now)
        else:
            self._workers += 1

    def _work(self, flight: _Flight | None) -> None:
        """Poll, wait for the next flight, and leave when none comes for a while."""
        inbox: SimpleQueue[_Flight | None] = SimpleQueue()
        while flight is not None:
            outcome = self._ask(flight)
            with self._changed:
                self._end(flight, outcome, self._clock())
                if self._stopping:
                    break
                self._idle.append(inbox)
                if self._next_event() < self._wakes_at:
                    self._changed.notify_all()
            flight = self._next_flight(inbox)

    def _next_flight(self, inbox: "SimpleQueue[_Flight | None]") -> _Flight | None:
        try:
            return inbox.get(timeout=self._idle_seconds)
        except Empty:
            with self._changed:
                if inbox in self._idle:
                    self._idle.remove(inbox)
                    self._workers -= 1
                    return None
            return inbox.get()  # It was handed a flight in just that moment.

    def _ask(self, flight: _Flight) -> Status | PollError:
        try:
            return self._client.fetch(flight.action_id, flight.deadline)
        except PollError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a defect must cost this poll only, and be seen
            with self._changed:
                self._journal.defect(flight.action_id, error)
            return UnexpectedReplyError(Reason.BAD_RESPONSE, "a defect of this exporter")

    def _end(self, flight: _Flight, outcome: Status | PollError, now: float) -> None:
        """Record the end of a flight, unless it has been given up, polling stops or the action retired."""
        if flight not in self._flights or self._stopping:
            return
        del self._flights[flight]
        failure = outcome.reason if isinstance(outcome, PollError) else None
        self._telemetry.finished(now - flight.started, failure)
        # That an action does not exist is a good answer of a tenant that is well.
        self._up = failure in (None, Reason.NOT_FOUND)
        old = self._store[flight.action_id]
        if old.retired:
            return
        if isinstance(outcome, PollError):
            self._store.failed(flight.action_id, outcome.reason)
            self._schedule.failed(flight.action_id, now)
            self._journal.failed(flight.action_id, outcome)
        else:
            new = self._store.succeeded(flight.action_id, outcome, now=now, wall_now=self._wall_clock())
            self._schedule.succeeded(flight.action_id, flight.started, settled=new.settled)
            self._journal.succeeded(old, new)
