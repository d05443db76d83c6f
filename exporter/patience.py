"""How a tenant is asked that refuses or is silent: pure, with the clock's time and chance handed in.

The rule: each refusal lands in the tenant's audit log, and a struggling service needs no flood. So a tenant
that is not well gets one probe at a time, at growing intervals, until it gives a good answer.
"""

import random
from collections.abc import Callable

from exporter.errors import Reason

_REFUSALS = frozenset({Reason.UNAUTHORIZED, Reason.LICENSE, Reason.FORBIDDEN})
_SILENCES = frozenset({Reason.TIMEOUT, Reason.CONNECTION, Reason.TLS})
_SILENCES_IN_A_ROW = 3
_FIRST_SHARE = 8  # The first wait is this part of the longest one.


class Patience:
    """Whether a tenant is well, and, if not, when it may be asked again.

    ``longest`` is the longest wait between two probes, in seconds; with 0 every tenant counts as well. Times
    are those of a monotonic clock. ``jitter`` returns a number from 0 up to 1.
    """

    def __init__(self, *, longest: float, jitter: Callable[[], float] = random.random) -> None:
        self._longest = longest
        self._jitter = jitter
        self._silences = 0
        self._probes = 0
        self._decided_at = float("-inf")
        self._ready_at = float("-inf")
        self.well = True

    def configure(self, *, longest: float, now: float) -> None:
        """Take over another longest wait, also for the one that goes on."""
        self._longest = longest
        self._ready_at = min(self._ready_at, now + longest)

    @property
    def ready_at(self) -> float:
        """When the next probe may leave, if no other is under way; always, where the tenant is well."""
        return self._ready_at

    def ended(self, left_at: float, now: float, failure: Reason | None) -> None:
        """Judge by a request that left at ``left_at`` and ended now, well or with a failure.

        What was under way when the tenant was last judged not to be well says nothing new.
        """
        if left_at < self._decided_at:
            return
        self._silences = self._silences + 1 if failure in _SILENCES else 0
        if failure in {None, Reason.NOT_FOUND}:
            self.well = True
            self._probes = 0
            self._ready_at = float("-inf")
        elif self._longest and (not self.well or failure in _REFUSALS or self._silences >= _SILENCES_IN_A_ROW):
            wait = min(self._longest, self._longest / _FIRST_SHARE * 2.0 ** min(self._probes, 64))
            self.well = False
            self._probes += 1
            self._decided_at = now
            self._ready_at = now + wait * (1 - self._jitter() / 4)

    def expedite(self, now: float) -> None:
        """Let the next probe leave at once, for example because the key has changed."""
        self._probes = 0
        self._decided_at = now
        self._ready_at = float("-inf")
