"""The plan of a campaign: what begins when, where and for how long.

The rule: a plan depends on the seed and the size alone, so that a run can be repeated. What a step draws
while it runs, it draws from a seed of its own.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from random import Random

from soak.faults import FAULTS

RESTARTS = ("killed", "restarted")
CHANGES = (
    "reload by SIGHUP",
    "reload by POST",
    "reload by file",
    "configuration broken",
    "tenant removed",
    "action file replaced",
    "action file rewritten",
    "action file swapped",
    "action file broken",
)
"""Of the exporter as a whole: one after the other, so that each finds what the one before has left."""

MOVES = ("counts move", "key rotated", "key rotated late")
TROUBLES = ("server stopped", *FAULTS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """How large a campaign is. ``seconds`` is how long there are faults; ``pace`` stretches each step."""

    tenants: int
    actions: int
    seconds: float
    shares: tuple[float, ...]
    """Of that time, those of the parts. All but the first are one life, and over the last nothing may grow."""
    pace: float = 1.0
    limit: int = 10
    requests_per_second: float
    timeout_seconds: float
    interval_seconds: float
    settled_interval_seconds: float
    stale_after_seconds: float
    auto_reload: str
    check_seconds: float
    quiet_seconds: float
    """How long it has to be calm before what the exporter holds is measured: idle workers leave."""
    converge_seconds: float
    more_resident: float
    """How much larger the process may be in the end, as a share."""
    more_handles: int
    """The same for threads, connections and file handles."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One thing that happens: from ``start`` on for ``seconds``, to one tenant or, without, to the exporter."""

    start: float
    seconds: float
    kind: str
    tenant: int | None
    seed: int


def draw(seed: int, size: Size) -> list[list[Step]]:
    """Draw the steps of each part, those of the first with restarts; the times of each begin at 0."""
    chance = Random(seed)
    troubles = _bag(chance, TROUBLES)
    moves = _bag(chance, MOVES)
    parts: list[list[Step]] = []
    for share in size.shares:
        kinds = CHANGES if parts else (*RESTARTS, *RESTARTS, *CHANGES)
        seconds = size.seconds * share
        steps: list[Step] = []
        for tenant in range(size.tenants):
            steps += _lane(chance, size.pace, seconds, troubles, tenant, gaps=(1, 6), lasts=(4, 15))
            steps += _lane(chance, size.pace, seconds, moves, tenant, gaps=(2, 30), lasts=(0.5, 6))
        steps += _lane(chance, size.pace, seconds, _bag(chance, kinds), None, gaps=(2, 8), lasts=(3, 8))
        parts.append(sorted(steps, key=lambda step: step.start))
    return parts


def _bag(chance: Random, kinds: Sequence[str]) -> Iterator[str]:
    """Draw each kind once, in any order, before one comes again."""
    while kinds:
        yield from chance.sample(kinds, len(kinds))


def _lane(
    chance: Random,
    pace: float,
    seconds: float,
    kinds: Iterator[str],
    tenant: int | None,
    *,
    gaps: tuple[float, float],
    lasts: tuple[float, float],
) -> Iterator[Step]:
    """Draw steps that follow each other with gaps, until the time is over."""
    start = pace * chance.uniform(0, gaps[1])
    while start < seconds:
        lasting = min(pace * chance.uniform(*lasts), seconds - start)
        yield Step(start=start, seconds=lasting, kind=next(kinds), tenant=tenant, seed=chance.getrandbits(32))
        start += lasting + pace * chance.uniform(*gaps)
