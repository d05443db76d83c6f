"""How fast an action's endpoints finish: an average that leans to the recent past; pure, with the time handed in.

The rule: only what was polled counts. What finishes between two polls counts as spread evenly over that time,
and what was never measured is not taken for slow.
"""

import math
from dataclasses import dataclass

TIME_CONSTANT_SECONDS = 900.0
"""After that long a measurement has 1/e of its weight, about 37 percent."""

_SHORTEST_MEASURE_SECONDS = 1.0  # Anything can happen in less.


@dataclass(frozen=True, slots=True)
class Pace:
    """An exponentially weighted average, begun by a first poll ``at`` a monotonic clock's time.

    ``endpoints`` and ``seconds`` are how many endpoints finished, and in which time, each weighted by its age. The
    weights of both are the same, and so their quotient has no bias to 0 while there is little to average.
    """

    at: float
    endpoints: float = 0.0
    seconds: float = 0.0

    @property
    def per_second(self) -> float | None:
        """How many endpoints finish per second of late, 0 or more; None while next to nothing was measured."""
        if self.seconds < _SHORTEST_MEASURE_SECONDS:
            return None
        return max(0.0, self.endpoints / self.seconds)

    def after(self, finished: int, now: float) -> "Pace":
        """Return the pace as of the next poll, up to which that many more endpoints have finished.

        A negative number, of counts that went back, counts against what had finished before: counts that drop and
        come back are no progress.
        """
        elapsed = max(0.0, now - self.at)
        kept = math.exp(-elapsed / TIME_CONSTANT_SECONDS)
        # The weight of each moment since the last poll, summed over that time.
        weighted = -math.expm1(-elapsed / TIME_CONSTANT_SECONDS) * TIME_CONSTANT_SECONDS
        share = weighted / elapsed if elapsed > 0 else 1.0
        return Pace(now, self.endpoints * kept + finished * share, self.seconds * kept + weighted)
