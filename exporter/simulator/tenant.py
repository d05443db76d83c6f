"""A tenant that answers requests as Cortex XDR does: checks, limit, envelopes, and faults on demand.

The rule: every request is checked in full, and uses up its nonce and its place under the limit, whatever
fault then replaces the answer. So a client that sends the same signature twice is found out.
"""

import hashlib
import json
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from http import HTTPStatus
from itertools import repeat
from threading import Lock
from typing import Any, Literal, NamedTuple

from exporter.simulator.lives import STATUSES, Counts, Life, Snapshot

PATH = "/public_api/v1/scripts/get_script_execution_status"

_REQUESTS_KEPT = 100_000
_JSON = {"Content-Type": "application/json"}
_MESSAGES = {401: "Public API request unauthorized", 429: "Too many requests"}


class Drop(StrEnum):
    """How a connection ends before the answer does; half of the body is sent in the last three."""

    CLOSE = "close"
    """Closed without an answer."""
    RESET = "reset"
    """Reset without an answer."""
    SHORT_BODY = "short_body"
    """Closed within a body whose Content-Length says more."""
    SHORT_CHUNK = "short_chunk"
    """Closed within a chunk of a chunked body."""
    NO_LENGTH = "no_length"
    """Closed within a body that has no length, so that nothing tells the client."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is different about an answer; what is not given stays as it would have been.

    ``status``: without a ``body``, the vendor's envelope for that status comes with it.
    ``headers``: added to the answer's, and stronger, ``Content-Length`` and ``Content-Encoding`` included.
    ``body``: sent as it is, compressed only with ``gzip``, which asks for it even if the client does not.
    ``drip_bytes_per_second``: from ``drip_from`` on, the answer comes this slowly.
    ``hang``: the answer never comes.
    ``times``: how many answers it changes; None: all, until it is cleared.
    """

    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    gzip: bool = False
    delay_seconds: float = 0.0
    drop: Drop | None = None
    drip_bytes_per_second: float | None = None
    drip_from: Literal["head", "body"] = "body"
    hang: bool = False
    times: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer; where there is a ``fault``, it says how to deliver it."""

    status: int
    body: bytes
    headers: Mapping[str, str] = field(default_factory=lambda: _JSON)
    fault: Fault | None = None


class Request(NamedTuple):
    """A request as it is remembered: when it arrived, by the monotonic clock, for what, and its answer.

    ``action_id`` is None where none was understood; ``status`` is 0 where no answer is sent. ``signed_at`` is when
    it left the client, by the clock of that, to the millisecond; None where it is not signed.
    """

    arrived_at: float
    action_id: str | None
    status: int
    signed_at: float | None


class SimulatedTenant:
    """One tenant, its actions and its one API key; every method may be called from any thread.

    ``speed`` is how many seconds an action ages per second, 0 to hold it still. ``requests_per_second``, at
    least 1, is how many requests any second may hold. ``key`` may be assigned anew, as in a rotation.
    """

    def __init__(
        self,
        *,
        key_id: int,
        key: str,
        key_type: Literal["advanced", "standard"] = "advanced",
        requests_per_second: int = 10,
        speed: float = 1.0,
        clock_skew_seconds: float = 300.0,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self.key_id = key_id
        self.key = key
        self.key_type = key_type
        self._speed = speed
        self._clock_skew_seconds = clock_skew_seconds
        self._clock = clock
        self._wall_clock = wall_clock
        self._lock = Lock()
        self._actions: dict[str, tuple[Life, float, float]] = {}
        self._faults: dict[str | None, Iterator[Fault]] = {}
        self._requests: deque[Request] = deque(maxlen=_REQUESTS_KEPT)
        self._last_arrivals: deque[float] = deque(maxlen=requests_per_second)
        self._nonces: dict[str, float] = {}

    def add(self, action_id: int | str, life: Life, *, age_seconds: float = 0.0) -> None:
        """Hold an action from now on, that old already; it replaces one of the same ID."""
        with self._lock:
            self._actions[str(action_id)] = (life, self._clock(), age_seconds)

    def remove(self, action_id: int | str) -> None:
        """Forget an action: it does not exist any more. KeyError if it never did."""
        with self._lock:
            del self._actions[str(action_id)]

    @property
    def actions(self) -> dict[str, Life]:
        """The actions held now, by ID, in the order in which they were added."""
        with self._lock:
            return {action_id: life for action_id, (life, *_) in self._actions.items()}

    def snapshot(self, action_id: int | str) -> Snapshot:
        """Say what an action looks like now. KeyError if there is none."""
        with self._lock:
            return self._snapshot(str(action_id))

    def counts(self, action_id: int | str) -> Counts:
        """Say how many endpoints of an action are in each status now. KeyError if there is none."""
        return self.snapshot(action_id).counts

    def inject(self, fault: Fault, action_id: int | str | None = None) -> None:
        """Let answers go wrong: those about one action, or, without one, all, refusals included.

        It replaces an earlier fault of the same action, or of the tenant. An action's fault does not touch
        requests that are refused, and comes after the tenant's.
        """
        target = None if action_id is None else str(action_id)
        with self._lock:
            self._faults[target] = repeat(fault) if fault.times is None else repeat(fault, fault.times)

    def clear(self, action_id: int | str | None = None) -> None:
        """Take back the fault of one action, or, without one, every fault; not from answers under way."""
        with self._lock:
            if action_id is None:
                self._faults.clear()
            else:
                self._faults.pop(str(action_id), None)

    @property
    def requests(self) -> list[Request]:
        """The last 100,000 requests, oldest first."""
        with self._lock:
            return list(self._requests)

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Answer a request. Header names are in lower case; the path has no query."""
        with self._lock:
            arrived_at = self._clock()
            action_id, reply = self._answer(arrived_at, method, path, headers, body)
            fault = next(self._faults.get(None, iter(())), None)
            if fault is None and reply.status == 200:
                fault = next(self._faults.get(action_id, iter(())), None)
            if fault is not None:
                reply = _with_fault(reply, fault)
            self._requests.append(Request(arrived_at, action_id, _sent_status(reply), _signed_at(headers)))
            return reply

    def _answer(
        self, arrived_at: float, method: str, path: str, headers: Mapping[str, str], body: bytes
    ) -> tuple[str | None, Reply]:
        if method != "POST" or path.removesuffix("/") != PATH:
            return None, refusal(404)
        over_limit = self._is_over_limit(arrived_at)
        authorized = self._is_authorized(headers)
        try:
            action_id = _action_id(json.loads(body))
        except (ValueError, RecursionError):
            action_id, reply = None, refusal(400, "The body is not valid JSON")
        else:
            reply = self._status_reply(action_id)
        if not authorized:
            reply = refusal(401)
        elif over_limit:
            reply = refusal(429)
        return action_id, reply

    def _is_over_limit(self, arrived_at: float) -> bool:
        full = len(self._last_arrivals) == self._last_arrivals.maxlen
        over = full and arrived_at - self._last_arrivals[0] < 1
        self._last_arrivals.append(arrived_at)
        return over

    def _is_authorized(self, headers: Mapping[str, str]) -> bool:
        if headers.get("x-xdr-auth-id") != str(self.key_id):
            return False
        if self.key_type == "standard":
            return headers.get("authorization") == self.key
        return self._is_signed(headers)

    def _is_signed(self, headers: Mapping[str, str]) -> bool:
        nonce = headers.get("x-xdr-nonce", "")
        if not (len(nonce) == 64 and nonce.isascii() and nonce.isalnum()):
            return False
        signed_at = _signed_at(headers)
        now = self._wall_clock()
        if signed_at is None or abs(now - signed_at) > self._clock_skew_seconds:
            return False
        signature = hashlib.sha256(f"{self.key}{nonce}{headers['x-xdr-timestamp']}".encode()).hexdigest()
        return headers.get("authorization") == signature and self._is_first_use(nonce, now)

    def _is_first_use(self, nonce: str, now: float) -> bool:
        # A timestamp may be ahead by the skew, and is good until it is behind by it.
        while self._nonces and next(iter(self._nonces.values())) < now - 2 * self._clock_skew_seconds:
            del self._nonces[next(iter(self._nonces))]
        if nonce in self._nonces:
            return False
        self._nonces[nonce] = now
        return True

    def _snapshot(self, action_id: str) -> Snapshot:
        life, added_at, age_seconds = self._actions[action_id]
        return life.at(age_seconds + (self._clock() - added_at) * self._speed)

    def _status_reply(self, action_id: str | None) -> Reply:
        if action_id is None:
            return refusal(500, "The body must be request_data with action_id, a text, and nothing else")
        if action_id not in self._actions:
            return _reply(200, {"error_message": f"Action {action_id} does not exist"})
        status, counts = self._snapshot(action_id)
        endpoints = {f"endpoints_{name}": count for name, count in zip(STATUSES, counts, strict=True)}
        return _reply(200, {"general_status": status, **endpoints, "error_message": ""})


def _action_id(parsed: Any) -> str | None:
    match parsed:
        case {"request_data": {"action_id": str(action_id), **more_inside}, **more} if not (more or more_inside):
            return action_id
    return None


def _reply(status: int, content: dict[str, Any]) -> Reply:
    return Reply(status, json.dumps({"reply": content}).encode())


def refusal(status: int, extra: str | None = None) -> Reply:
    """Wrap a refusal in the vendor's envelope, in the shape that live 401s have."""
    message = _MESSAGES.get(status) or reason_phrase(status)
    return _reply(status, {"err_code": status, "err_msg": message, "err_extra": extra})


def reason_phrase(status: int) -> str:
    """Name an HTTP status, the ones that nobody registered too."""
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "Unknown"


def _with_fault(reply: Reply, fault: Fault) -> Reply:
    if fault.status is not None and fault.body is None:
        reply = refusal(fault.status)
    return Reply(
        reply.status if fault.status is None else fault.status,
        reply.body if fault.body is None else fault.body,
        {**reply.headers, **{name.title(): value for name, value in fault.headers.items()}},
        fault,
    )


def _signed_at(headers: Mapping[str, str]) -> float | None:
    timestamp = headers.get("x-xdr-timestamp", "")
    well_formed = len(timestamp) <= 15 and timestamp.isascii() and timestamp.isdigit()
    return int(timestamp) / 1000 if well_formed else None


def _sent_status(reply: Reply) -> int:
    fault = reply.fault
    unsent = fault is not None and (fault.hang or fault.drop in (Drop.CLOSE, Drop.RESET))
    return 0 if unsent else reply.status
