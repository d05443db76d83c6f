"""Polling one tenant: take what is due, ask, record.

The rule: decisions are made under the tenant's one lock and never wait for the network; requests are made
by workers and never hold the lock. A tenant has its own threads, so that one that hangs delays no other.
"""

import math
import random
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

from exporter.advice import DEFECT, NO_THREAD
from exporter.cortex import timed_out
from exporter.errors import (
    PollError,
    Reason,
    ThrottledError,
    TransientError,
    UnexpectedReplyError,
)
from exporter.flights import Client, Flight, Flights, max_workers
from exporter.journal import Journal
from exporter.patience import Patience
from exporter.ratelimit import RateLimit
from exporter.schedule import Schedule
from exporter.snapshot import TenantSnapshot
from exporter.status import Status
from exporter.store import ActionState, Audience, Labels, Phase, Record, Store
from exporter.telemetry import TenantTelemetry
from exporter.transport import Deadline
from exporter.workers import Workers

_SHORTEST_LONGEST_PAUSE_SECONDS = 60.0  # What a server may ask for, with however short an interval.


@dataclass(frozen=True, slots=True)
class Pacing:
    """How a tenant is polled: its budget, and durations in seconds as the configuration has them."""

    requests_per_second: float
    timeout: float
    interval: float
    settled_interval: float
    stale_after: float
    retire_after: float
    longest_probe_wait: float

    @property
    def longest_pause(self) -> float:
        """The longest time for which a server's wish to be left alone is granted."""
        return max(_SHORTEST_LONGEST_PAUSE_SECONDS, self.longest_probe_wait)


@dataclass(frozen=True, slots=True)
class Changes:
    """The IDs of actions that are tracked now and were not, the other way round, and with other labels."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    relabelled: tuple[str, ...]


class TenantPoller:
    """Polls the actions of one tenant until it is stopped.

    ``on_crash`` is called when a thread dies of a defect: polling may have ended, and whoever owns the process
    should not go on as if nothing had happened. ``idle_seconds`` is how long a worker without work stays: long
    enough for the gaps of an even load, short enough to shrink. ``clock`` is monotonic, ``wall_clock`` gives
    the timestamps that are shown, ``jitter`` numbers from 0 up to 1.
    """

    def __init__(
        self,
        name: str | None,
        *,
        client: Client,
        pacing: Pacing,
        audience: Audience,
        telemetry: TenantTelemetry,
        journal: Journal,
        on_crash: Callable[[], None],
        idle_seconds: float = 30.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._name = name
        self._client = client
        self._audience = audience
        self._telemetry = telemetry
        self._journal = journal
        self._on_crash = on_crash
        self._clock = clock
        self._wall_clock = wall_clock
        self._timeout = pacing.timeout
        self._schedule = Schedule(
            interval=pacing.interval, settled_interval=pacing.settled_interval, jitter=jitter
        )
        self._rate = RateLimit(pacing.requests_per_second, longest_pause=pacing.longest_pause, jitter=jitter)
        self._patience = Patience(longest=pacing.longest_probe_wait, jitter=jitter)
        self._store = Store(
            stale_after=pacing.stale_after, retire_after=pacing.retire_after, publish=audience.publish
        )
        self._changed = threading.Condition()
        self._stopping = False
        self._restored = False
        self._up: bool | None = None
        # Of the last finished request, in words: an error would keep its stack alive.
        self._failure: tuple[Reason, str] | None = None
        self._flights = Flights()
        self._wakes_at = math.inf
        self._workers: Workers[Flight] = Workers(
            self._changed,
            most=max_workers(pacing.requests_per_second, pacing.timeout),
            start_thread=lambda body: self._start_thread("worker", body),
            work=self._carry,
            idle=self._wake,
            idle_seconds=idle_seconds,
        )

    def start(self) -> None:
        """Begin to poll."""
        self._start_thread("pacer", self._pace)

    def stop(self) -> None:
        """Send no more requests, and end those under way; their threads end by themselves."""
        with self._changed:
            self._stopping = True
            self._workers.stop()
            flights = list(self._flights)
            self._changed.notify_all()
        for flight in flights:
            flight.deadline.expire()

    def configure(self, client: Client, pacing: Pacing) -> None:
        """Go on with another client, or at another pace; requests under way end as they began.

        A client that is replaced has to be closed by whoever made it.
        """
        with self._changed:
            now = self._clock()
            self._client = client
            self._timeout = pacing.timeout
            self._workers.most = max_workers(pacing.requests_per_second, pacing.timeout)
            self._schedule.configure(interval=pacing.interval, settled_interval=pacing.settled_interval, now=now)
            self._rate.configure(pacing.requests_per_second, longest_pause=pacing.longest_pause, now=now)
            self._patience.configure(longest=pacing.longest_probe_wait, now=now)
            self._store.configure(stale_after=pacing.stale_after, retire_after=pacing.retire_after)
            self._changed.notify_all()

    def track(self, actions: Mapping[str, Labels], remembered: Mapping[str, Record]) -> Changes:
        """Track these actions and no others. Those that stay keep their state and their place.

        New ones take up what is remembered of them; those of which nothing is are polled first.
        """
        with self._changed:
            now = self._clock()
            removed = [action_id for action_id in self._store if action_id not in actions]
            for action_id in removed:
                if not self._store[action_id].retired:
                    self._schedule.remove(action_id)
                self._store.remove(action_id)
                self._journal.removed(action_id)
            self._flights.disown(set(removed))
            self._audience.withdraw(removed)
            added = [action_id for action_id in actions if action_id not in self._store]
            self._restore(
                [
                    # With the ID and the labels as they are tracked: what was read from a file need not stay.
                    replace(record, state=replace(record.state, action_id=action_id, labels=actions[action_id]))
                    for action_id in added
                    if (record := remembered.get(action_id)) is not None
                ]
            )
            relabelled = []
            for action_id, labels in actions.items():
                if action_id not in self._store:
                    self._store.track(action_id, labels)
                    self._schedule.add(action_id, now)
                elif self._store[action_id].labels != labels:
                    self._store.track(action_id, labels)
                    relabelled.append(action_id)
            self._changed.notify_all()
        return Changes(tuple(added), tuple(removed), tuple(relabelled))

    @property
    def action_ids(self) -> tuple[str, ...]:
        """The IDs of the tracked actions."""
        with self._changed:
            return tuple(self._store)

    def records(self) -> list[Record]:
        """Return what is known of every action, polled or not, as it should outlive a restart."""
        with self._changed:
            return [self._record(action_id) for action_id in self._store]

    def expedite(self) -> None:
        """Let a tenant that is being probed be asked at once: its key has changed."""
        with self._changed:
            self._patience.expedite(self._clock())
            self._changed.notify_all()

    @property
    def polled(self) -> bool:
        """Whether every action has been polled, well or not."""
        with self._changed:
            return self._store.phases[Phase.WAITING] == 0

    @property
    def has_state(self) -> bool:
        """Whether there is something to show: restored, or polled, or that the tenant is not well.

        A tenant that refuses, throttles or is silent keeps the others of the process from nothing.
        """
        with self._changed:
            return self._restored or not self._patience.well or self._rate.reduced or self.polled

    def snapshot(self) -> TenantSnapshot:
        """Say how the tenant is at this moment."""
        with self._changed:
            return self._snapshot()

    def census(self) -> tuple[TenantSnapshot, list[ActionState]]:
        """Say how the tenant and each of its actions are, all at one moment."""
        with self._changed:
            return self._snapshot(), self._store.states

    def _snapshot(self) -> TenantSnapshot:
        now = self._clock()
        reason, detail = self._failure or (None, None)
        return TenantSnapshot(
            up=self._up,
            failure=reason,
            failure_detail=detail,
            phases=self._store.phases,
            lag_seconds=self._schedule.lag(now),
            rate_limit=self._rate.requests_per_second,
            rate_demand=self._schedule.demand,
            rate_used=self._rate.used(now),
            throttled=self._rate.reduced,
            at=now,
        )

    def _restore(self, records: list[Record]) -> None:
        now, wall_now = self._clock(), self._wall_clock()
        self._store.restore([record.state for record in records], now=now, wall_now=wall_now)
        for record in sorted(records, key=lambda record: record.due):
            if not record.state.retired:
                self._schedule.restore(
                    record.state.action_id,
                    now + (record.due - wall_now),
                    now,
                    settled=record.state.settled,
                    failures=record.failures,
                )
        self._restored = self._restored or bool(records)

    def _record(self, action_id: str) -> Record:
        state = self._store[action_id]
        if state.retired:
            return Record(state, self._wall_clock(), 0)
        due, failures = self._schedule.place(action_id)
        return Record(state, self._wall_clock() + (due - self._clock()), failures)

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
                self._step()
                self._wakes_at = self._next_event()
                pause = max(0.0, self._wakes_at - self._clock())
                self._changed.wait(min(pause, threading.TIMEOUT_MAX))

    def _step(self) -> None:
        self._retire(self._clock())
        self._depart(self._clock())  # Read anew: requests are spaced by when they really leave.

    def _retire(self, now: float) -> None:
        """Give up requests that are overdue, and let go of actions that settled long ago."""
        for flight in self._flights.overdue(now):
            # Whatever its thread still waits for: the poll counts as timed out.
            flight.deadline.expire()
            self._end(flight, timed_out(), now)
        for action_id in self._store.expire(now):
            self._schedule.remove(action_id)
            self._journal.retired(action_id)
            self._audience.remember(self._record(action_id))

    def _depart(self, now: float) -> None:
        """Send the request that may leave now, if there is one."""
        if self._next_departure() <= now:
            due = self._schedule.take(now, early=not self._patience.well)
            if due is not None:
                self._launch(due, now)

    def _next_event(self) -> float:
        """Return when there will be something to do, unless something changes before."""
        return min(self._store.expires_at, self._next_departure(), self._flights.ends_at)

    def _next_departure(self) -> float:
        """Return when the next request may leave, and has a reason to."""
        if not self._workers.have_room:
            return math.inf
        due_at = self._schedule.due_at()
        if self._patience.well:
            return max(self._rate.ready_at, due_at)
        if self._flights or due_at == math.inf:  # One probe at a time.
            return math.inf
        return max(self._rate.ready_at, self._patience.ready_at)

    def _launch(self, action_id: str, now: float) -> None:
        self._rate.take(now)
        flight = Flight(action_id, self._client, now, Deadline(now + self._timeout, clock=self._clock))
        self._flights[flight] = None
        self._telemetry.sent()
        try:
            self._workers.take(flight)
        except RuntimeError:  # The process has as many threads as it may.
            self._end(flight, TransientError(Reason.CONNECTION, NO_THREAD), now)

    def _carry(self, flight: Flight) -> None:
        outcome = self._ask(flight)
        with self._changed:
            self._end(flight, outcome, self._clock())

    def _wake(self) -> None:
        """Have the pacer look again, if there is something to do before it would."""
        if self._next_event() < self._wakes_at:
            self._changed.notify_all()

    def _ask(self, flight: Flight) -> Status | PollError:
        try:
            return flight.client.fetch(flight.action_id, flight.deadline)
        except PollError as error:
            return error
        except Exception as error:  # noqa: BLE001 - a defect must cost this poll only, and be seen
            with self._changed:
                self._journal.defect(flight.action_id, error)
            return UnexpectedReplyError(Reason.BAD_RESPONSE, DEFECT)

    def _end(self, flight: Flight, outcome: Status | PollError, now: float) -> None:
        """Record the end of a flight, unless it has been given up or polling stops."""
        if flight not in self._flights or self._stopping:
            return
        del self._flights[flight]
        failure = outcome.reason if isinstance(outcome, PollError) else None
        self._telemetry.finished(now - flight.started, failure)
        # That an action does not exist is a good answer of a tenant that is well.
        self._up = failure in (None, Reason.NOT_FOUND)
        self._failure = (outcome.reason, outcome.detail) if isinstance(outcome, PollError) else None
        was_well = self._patience.well
        self._adapt(flight, outcome, now)
        # An action may have retired, or be tracked no more, or again, since the flight left.
        if not flight.wanted or self._store[flight.action_id].retired:
            return
        if isinstance(outcome, PollError):
            self._store.failed(flight.action_id, outcome.reason, outcome.detail)
            self._plan_after(flight, outcome, now, was_well=was_well)
            self._journal.failed(flight.action_id, outcome)
        else:
            old = self._store[flight.action_id]
            new = self._store.succeeded(flight.action_id, outcome, now=now, wall_now=self._wall_clock())
            self._schedule.succeeded(flight.action_id, flight.started, settled=new.settled)
            self._journal.succeeded(old, new)
        self._audience.remember(self._record(flight.action_id))

    def _adapt(self, flight: Flight, outcome: Status | PollError, now: float) -> None:
        """Let rate and patience learn from how a request ended."""
        if isinstance(outcome, PollError):
            self._patience.ended(flight.started, now, outcome.reason)
            if isinstance(outcome, ThrottledError):
                self._rate.throttled(flight.started, now)
            if outcome.retry_after_seconds is not None:
                self._rate.pause(outcome.retry_after_seconds, now)
        else:
            self._patience.ended(flight.started, now, None)
            self._rate.succeeded(now)

    def _plan_after(self, flight: Flight, error: PollError, now: float, *, was_well: bool) -> None:
        """Plan the next poll of an action whose poll failed: later and later only if it is itself to blame."""
        at_once = error.reason is Reason.UNAUTHORIZED and error.key_replaced
        if at_once or not was_well or isinstance(error, ThrottledError):
            self._schedule.deferred(flight.action_id, now, at_once=at_once)
        else:
            self._schedule.failed(flight.action_id, now)
