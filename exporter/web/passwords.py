"""Passwords, held against bcrypt hashes.

The rule: checks take one core at most, and guessing costs nobody else's answers: each check is done in one thread,
clients have their turns in it, the number of those that wait is bounded, for each client and for all, and results
are remembered, the good ones out of reach of the bad.
"""

import asyncio
import contextlib
import hmac
import secrets
import threading
from collections import Counter, OrderedDict, deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import bcrypt

from exporter.errors import BusyError
from exporter.key_file import Secret

_MOST_WAITING = 32
_MOST_WAITING_OF_CLIENT = 4
_MOST_REMEMBERED = 1024  # Of each kind: 100 kB.
_LONGEST_PASSWORD_BYTES = 72  # All that bcrypt takes.


@dataclass(frozen=True, repr=False)
class _Check:
    digest: bytes
    password: bytes
    stored: bytes
    possible: bool
    loop: asyncio.AbstractEventLoop


class Passwords:
    """The passwords of users, of which only bcrypt hashes are known. All calls come from one event loop.

    ``check`` is bcrypt's: whether a password gives a hash. There must be a user.

    Whoever has no right password cannot tell by the time which users there are: each check that fails is
    followed by one at each other cost that a hash has, which is never more work than twice the costliest. A right
    password takes its own hash's time.
    """

    def __init__(
        self, users: Mapping[str, Secret], *, check: Callable[[bytes, bytes], bool] = bcrypt.checkpw
    ) -> None:
        self._stored = {user: secret.get_secret_value().encode() for user, secret in users.items()}
        self._of_cost = {_cost(stored): stored for stored in self._stored.values()}
        self._check = check
        self._secret = secrets.token_bytes(32)
        self._good: OrderedDict[bytes, None] = OrderedDict()
        self._bad: OrderedDict[bytes, None] = OrderedDict()
        self._answers: dict[bytes, asyncio.Future[bool | None]] = {}
        self._waiting: Counter[str | None] = Counter()
        self._stopped = False
        self._lock = threading.Lock()
        self._queues: OrderedDict[str | None, deque[_Check]] = OrderedDict()
        self._working = False

    async def permits(self, user: str, password: str, *, client: str | None = None) -> bool:
        """Tell whether this is the password of that user, for a client of that address.

        Raise BusyError where too many are waiting, of this client or of all, and after the stop.
        """
        given = password.encode("utf-8", "surrogatepass")
        stored = self._stored.get(user)
        digest = self._digest(user.encode("utf-8", "surrogatepass"), given, stored or b"")
        for remembered in (self._good, self._bad):
            if digest in remembered:
                remembered.move_to_end(digest)
                return remembered is self._good
        if self._stopped:
            raise _stopping()
        if self._waiting[client] >= _MOST_WAITING_OF_CLIENT or self._waiting.total() >= _MOST_WAITING:
            raise BusyError("too many passwords are waiting to be checked")
        answer = self._answers.get(digest)
        if answer is None:
            usable = len(given) <= _LONGEST_PASSWORD_BYTES and b"\0" not in given
            loop = asyncio.get_running_loop()
            # What cannot be right is checked all the same, and for as long.
            check = _Check(
                digest,
                password=given if usable else b"",
                stored=stored or next(iter(self._of_cost.values())),
                possible=usable and stored is not None,
                loop=loop,
            )
            self._hand_over(check, client)
            answer = self._answers[digest] = loop.create_future()
        with self._counted(client):
            result = await asyncio.shield(answer)  # Others may wait for the same.
        if result is None:
            raise _stopping()
        return result

    def stop(self) -> None:
        """Check no more: whoever waits is told so at once, and so is whoever asks for what is not remembered."""
        self._stopped = True
        with self._lock:
            self._queues.clear()
        for answer in self._answers.values():
            answer.set_result(None)
        self._answers.clear()

    @contextlib.contextmanager
    def _counted(self, client: str | None) -> Iterator[None]:
        self._waiting[client] += 1
        try:
            yield
        finally:
            self._waiting[client] -= 1
            if not self._waiting[client]:
                del self._waiting[client]

    def _digest(self, *parts: bytes) -> bytes:
        # With its length before each part: "ab" and "c" are not "a" and "bc".
        text = b"".join(len(part).to_bytes(8, "big") + part for part in parts)
        return hmac.digest(self._secret, text, "sha256")

    def _hand_over(self, check: _Check, client: str | None) -> None:
        """Have the thread do a check; start one if there is none, which leaves when there is nothing to do."""
        with self._lock:
            self._queues.setdefault(client, deque()).append(check)
            if self._working:
                return
            try:
                # No daemon, whatever the caller's thread is: the library aborts a process that ends in a check.
                threading.Thread(target=self._work, name="passwords", daemon=False).start()
            except RuntimeError as error:
                self._queues.clear()
                raise BusyError("the process has as many threads as it may") from error
            self._working = True

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queues or not threading.main_thread().is_alive():
                    self._working = False
                    return
                check = self._next()
            result = self._right(check)
            with contextlib.suppress(RuntimeError):  # The loop is closed: nobody waits any more.
                check.loop.call_soon_threadsafe(self._conclude, check.digest, result)

    def _next(self) -> _Check:
        """Return the first check of the client whose turn it is, who comes last then."""
        client, queue = self._queues.popitem(last=False)
        check = queue.popleft()
        if queue:
            self._queues[client] = queue
        return check

    def _right(self, check: _Check) -> bool:
        right = self._gives(check.password, check.stored) and check.possible
        if not right:
            for cost, stored in self._of_cost.items():
                if cost != _cost(check.stored) and not self._stopped:
                    self._gives(check.password, stored)
        return right

    def _gives(self, password: bytes, stored: bytes) -> bool:
        try:
            return self._check(password, stored)
        except BaseException:  # noqa: BLE001 - a panic of the library is no Exception; whoever waits gets an answer
            return False

    def _conclude(self, digest: bytes, result: bool) -> None:  # noqa: FBT001 - call_soon takes no keywords
        remembered = self._good if result else self._bad
        remembered[digest] = None
        if len(remembered) > _MOST_REMEMBERED:
            remembered.popitem(last=False)
        if (answer := self._answers.pop(digest, None)) is not None:
            answer.set_result(result)


def _cost(stored: bytes) -> bytes:
    """Return the two digits in "$2y$10$…"."""
    return stored[4:6]


def _stopping() -> BusyError:
    return BusyError("the server is about to stop")
