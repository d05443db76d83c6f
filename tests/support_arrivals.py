"""When requests arrived at a simulated tenant, by the monotonic clock, and how they were spaced."""

from collections.abc import Sequence
from itertools import pairwise

from exporter.simulator.tenant import SimulatedTenant


def arrivals(tenant: SimulatedTenant, action_id: str | None = None, *, after: float = 0.0) -> list[float]:
    """Return when requests arrived after that time, for one action or for any."""
    return [
        request.arrived_at
        for request in tenant.requests
        if request.arrived_at > after and action_id in {None, request.action_id}
    ]


def gaps(times: Sequence[float]) -> list[float]:
    """Return the seconds between each time and the next."""
    return [later - earlier for earlier, later in pairwise(times)]


def longest_run(times: Sequence[float], requests_per_second: float) -> int:
    """Return how many requests in a row came four times as fast as the rate allows, four or more; 0 if none did.

    Single gaps may be short: what left before them may have taken longer on its way.
    """
    longest = 0
    for first in range(len(times)):
        for last in range(first + 3, len(times)):
            if times[last] - times[first] < (last - first) / requests_per_second / 4:
                longest = max(longest, last - first + 1)
    return longest
