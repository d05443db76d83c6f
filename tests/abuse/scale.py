"""How large a campaign is: the bounds' own numbers, or few clients for a test on any machine."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Scale:
    """Numbers of clients, and what deadlines are multiplied by on a machine that may be slow."""

    dripping: tuple[int, ...]
    idle: tuple[int, ...]
    slow_readers: tuple[int, ...]
    handshakes: tuple[int, ...]
    """Of each kind; a number that comes again has to find room in the memory that the first has left."""
    handles: int
    connections: int
    hold_seconds: float
    bodies: int
    """How many clients send each of the things that are too large."""
    requests: int
    """How many requests come over one connection."""
    visits: int
    """How many connections come and go."""
    guessers: int
    hammers: tuple[int, ...]
    """How many clients ask without a pause; beside more than the first number a scrape may take its time."""
    scrape_timeout_seconds: float
    """Prometheus' own is ten seconds."""
    patience: float
    timed: bool
    """Whether a scrape has the bound's own time; otherwise it has to be answered, however long it takes."""

    def scrape_bound(self, seconds: float) -> float:
        """Return how long a scrape may take, where the bound says ``seconds``."""
        return seconds if self.timed else self.scrape_timeout_seconds


FULL = Scale(
    dripping=(200, 1500),
    idle=(500, 1500),
    slow_readers=(50, 600),
    handshakes=(1, 50, 50),
    handles=256,
    connections=400,
    hold_seconds=10,
    bodies=5,
    requests=10_000,
    visits=2000,
    guessers=20,
    hammers=(1, 8),
    scrape_timeout_seconds=10,
    patience=1,
    timed=True,
)
SHORT = Scale(
    dripping=(50,),
    idle=(60,),
    slow_readers=(20,),
    handshakes=(20,),
    handles=64,
    connections=100,
    hold_seconds=3,
    bodies=2,
    requests=500,
    visits=200,
    guessers=4,
    hammers=(2,),
    scrape_timeout_seconds=60,
    patience=2,
    timed=False,
)
