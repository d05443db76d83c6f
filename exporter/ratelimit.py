"""How fast a tenant may be asked: pure, with the clock's time handed in.

The rule: the budget is the tenant's, shared with everything else that uses its API, so requests are spaced,
never bunched, and time that was not used is lost and not saved up.
"""

PACE = 0.98
"""The share of the limit that is used, so that jitter on the way does not add up to one request too many."""


class RateLimit:
    """A token bucket with a burst of one: after each request the next has to wait its turn.

    ``requests_per_second`` is the limit as configured. Times are seconds of a monotonic clock.
    """

    def __init__(self, requests_per_second: float) -> None:
        self.requests_per_second = requests_per_second
        self._spacing = 1 / (requests_per_second * PACE)
        self._ready_at = float("-inf")

    @property
    def ready_at(self) -> float:
        """When the next request may leave."""
        return self._ready_at

    def take(self, now: float) -> None:
        """Count a request that leaves now. It must be no earlier than :attr:`ready_at`."""
        self._ready_at = now + self._spacing
