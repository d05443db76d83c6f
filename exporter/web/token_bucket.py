"""How many requests are answered: pure, with the clock's time handed in."""


class TokenBucket:
    """Lets a request through each ``interval_seconds``, and after a pause up to ``burst`` at once."""

    def __init__(self, interval_seconds: float, burst: int) -> None:
        self._interval_seconds = interval_seconds
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = float("-inf")

    def take(self, now: float) -> float:
        """Take a token for a request, and return 0; where there is none, the seconds until there will be one."""
        passed = max(0.0, now - self._filled_at)
        self._tokens = min(float(self._burst), self._tokens + passed / self._interval_seconds)
        self._filled_at = now
        if self._tokens >= 1:
            self._tokens -= 1
            return 0.0
        return (1 - self._tokens) * self._interval_seconds
