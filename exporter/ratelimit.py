"""How fast a tenant may be asked: pure, with the clock's time and chance handed in.

The rule: the budget is the tenant's, shared with everything else that uses its API, so requests are spaced,
never bunched, and time that was not used is lost and not saved up. Throttling halves the rate at once, and
success brings it back slowly.
"""

import math
import random
from collections.abc import Callable

PACE = 0.98
"""The share of the limit that is used, so that jitter on the way does not add up to one request too many."""

_LOWEST = 0.1  # Requests per second that throttling leaves: a load to nobody, and still a way back.
_RECOVERY_SECONDS = 120.0  # From nothing to the configured rate, by successes all along.
_USE_SECONDS = 60.0  # The time constant of how much was used of late.
_SHORTEST_USE_SECONDS = 1.0  # In less, one request would look like many per second.
_LONGEST_CREDIT_SECONDS = 10.0  # What one success is good for, after however long a silence.


class RateLimit:
    """A token bucket with a burst of one: after each request the next has to wait its turn.

    ``requests_per_second`` is the limit as configured; ``longest_pause`` bounds what a server may ask for, in
    seconds. Times are those of a monotonic clock. ``jitter`` returns a number from 0 up to 1.
    """

    def __init__(
        self, requests_per_second: float, *, longest_pause: float, jitter: Callable[[], float] = random.random
    ) -> None:
        self._configured = requests_per_second
        self._allowed = requests_per_second
        self._longest_pause = longest_pause
        self._jitter = jitter
        self._began_at: float | None = None
        self._left_at = float("-inf")
        self._used = 0.0  # As of the last request; too low for the time in which nothing was counted yet.
        self._paused_until = float("-inf")
        self._reduced_at = float("-inf")
        self._grown_at = float("-inf")

    def configure(self, requests_per_second: float, *, longest_pause: float, now: float) -> None:
        """Take over another limit; what throttling has left of the old one stays the bound."""
        self._allowed = min(self._allowed, requests_per_second) if self.reduced else requests_per_second
        self._configured = requests_per_second
        self._longest_pause = longest_pause
        self._paused_until = min(self._paused_until, now + longest_pause)

    @property
    def requests_per_second(self) -> float:
        """The limit at the moment."""
        return self._allowed

    @property
    def reduced(self) -> bool:
        """Whether throttling has left less than what is configured."""
        return self._allowed < self._configured

    @property
    def ready_at(self) -> float:
        """When the next request may leave."""
        return max(self._left_at + 1 / (self._allowed * PACE), self._paused_until)

    def take(self, now: float) -> None:
        """Count a request that leaves now. It must be no earlier than :attr:`ready_at`."""
        self._used = self._faded(now) + 1 / _USE_SECONDS
        self._left_at = now
        self._began_at = now if self._began_at is None else self._began_at

    def used(self, now: float) -> float:
        """Return how many requests per second left of late, those of the last minute or so counting most."""
        if self._began_at is None:
            return 0.0
        counted_seconds = max(now - self._began_at, _SHORTEST_USE_SECONDS)
        return self._faded(now) / -math.expm1(-counted_seconds / _USE_SECONDS)

    def _faded(self, now: float) -> float:
        return self._used * math.exp(min(0.0, self._left_at - now) / _USE_SECONDS)

    def throttled(self, left_at: float, now: float) -> None:
        """Halve the rate, once for all the requests that were under way, because one of them was too many."""
        if left_at >= self._reduced_at:
            self._allowed = min(self._allowed, max(self._allowed / 2, _LOWEST))
            self._reduced_at = now
        self._grown_at = now

    def pause(self, seconds: float, now: float) -> None:
        """Send nothing for that long, as a server asks for, or for ``longest_pause`` where that is shorter.

        Up to a tenth more than asked for, by chance: other clients were sent away for just as long.
        """
        wait = min(seconds * (1 + self._jitter() / 10), self._longest_pause)
        self._paused_until = max(self._paused_until, now + wait)

    def succeeded(self, now: float) -> None:
        """Raise a reduced rate by the time that has passed since it was changed last."""
        credit = min(now - self._grown_at, _LONGEST_CREDIT_SECONDS)
        self._allowed = min(self._configured, self._allowed + self._configured * credit / _RECOVERY_SECONDS)
        self._grown_at = now
