"""Crowds of hostile clients, in a process of their own: what they cost is not measured as anybody else's.

The rule: nothing is known of a crowd but what it says at its two moments, when all have begun and in the end.
"""

import asyncio
import multiprocessing
import resource
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from types import TracebackType
from typing import Any, NamedTuple, Self

from abuse.clients import Behaviour, Line, Outcome, Target

_START_SECONDS = 60.0
_GRACE_SECONDS = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """So many clients of one kind; they leave after ``limit_seconds`` if nobody cuts them before."""

    kind: str
    behaviour: Behaviour
    count: int
    limit_seconds: float
    per_second: float = 2000.0


class Ended(NamedTuple):
    """What a crowd says in the end: the outcomes of each kind of clients, and the share of a core that it took."""

    outcomes: dict[str, list[Outcome]]
    cpu_share: float


class Crowd:
    """Clients that come when the context begins; whoever is there in its end leaves."""

    def __init__(self, target: Target, clients: Sequence[Clients]) -> None:
        self._longest = max(kind.limit_seconds for kind in clients)
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=_run, args=(target, clients, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._began = False

    def __enter__(self) -> Self:
        """Return at once; :meth:`wait` waits."""
        return self

    def __exit__(
        self, _kind: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        """End the process."""
        self._pipe.close()
        self._process.terminate()
        self._process.join()
        self._process.close()

    def wait(self) -> None:
        """Wait until every client has begun, or was refused."""
        if not self._began:
            self._receive(_START_SECONDS)
            self._began = True

    def stop(self) -> Ended:
        """Have all leave, and return what became of them."""
        self.wait()
        self._pipe.send(None)
        return self.end()

    def end(self) -> Ended:
        """Wait until all were cut or have left, and return what became of them."""
        self.wait()
        ended: Ended = self._receive(self._longest + _GRACE_SECONDS)
        return ended

    def _receive(self, seconds: float) -> Any:
        if not self._pipe.poll(seconds):
            raise TimeoutError(f"the crowd has said nothing for {seconds:g} s")
        return self._pipe.recv()


def _run(target: Target, clients: Sequence[Clients], pipe: Connection) -> None:
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    asyncio.run(_live(target, clients, pipe))


async def _live(target: Target, clients: Sequence[Clients], pipe: Connection) -> None:
    started, cpu_before = time.monotonic(), time.process_time()
    left = sum(kind.count for kind in clients)
    context = target.context()

    def begun() -> None:
        nonlocal left
        left -= 1
        if not left:
            pipe.send(None)

    lives = [
        (kind.kind, asyncio.create_task(_live_one(Line(target, context, _once(begun)), kind, number)))
        for kind in clients
        for number in range(kind.count)
    ]
    loop = asyncio.get_running_loop()

    def leave() -> None:
        loop.remove_reader(pipe.fileno())
        for _, life in lives:
            life.cancel()

    loop.add_reader(pipe.fileno(), leave)
    outcomes: defaultdict[str, list[Outcome]] = defaultdict(list)
    for kind, life in lives:
        outcomes[kind].append(await life)
    share = (time.process_time() - cpu_before) / (time.monotonic() - started)
    pipe.send(Ended(dict(outcomes), share))


async def _live_one(line: Line, kind: Clients, number: int) -> Outcome:
    try:
        await asyncio.sleep(number / kind.per_second)
        async with asyncio.timeout(kind.limit_seconds):
            await kind.behaviour(line)
    except (TimeoutError, asyncio.CancelledError):
        pass  # Nobody has cut it.
    except (OSError, EOFError):
        line.outcome.lasted_seconds = time.monotonic() - line.since
    finally:
        line.ready()
        line.close()
    return line.outcome


def _once(call: Callable[[], None]) -> Callable[[], None]:
    """Return a function that makes a call the first time it is called itself."""
    left = [call]

    def called() -> None:
        while left:
            left.pop()()

    return called
