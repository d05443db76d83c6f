"""A clock that a test moves."""


class Clock:
    """A clock that stands still until it is moved; called, it tells the time, as the standard library's do."""

    def __init__(self, now: float = 0.0) -> None:
        self.now = now

    def __call__(self) -> float:
        """Tell the time."""
        return self.now

    def advance(self, seconds: float) -> float:
        """Move on, and return the new time."""
        self.now += seconds
        return self.now
