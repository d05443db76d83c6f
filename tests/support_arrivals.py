"""When requests left an exporter and arrived at a simulated tenant, and how they were spaced."""

from collections.abc import Sequence
from itertools import pairwise

from exporter.simulator.tenant import Request, SimulatedTenant

_SECONDS_PER_DAY = 86_400.0


def arrivals(tenant: SimulatedTenant, action_id: str | None = None, *, after: float = 0.0) -> list[float]:
    """Return when requests arrived after that time, by the monotonic clock, for one action or for any."""
    return [
        request.arrived_at
        for request in tenant.requests
        if request.arrived_at > after and action_id in {None, request.action_id}
    ]


def departures(requests: Sequence[Request], action_id: str | None = None) -> list[float]:
    """Return when signed requests left, by the exporter's wall clock, for one action or for any.

    How far they were apart says what the exporter did, while arrivals come in a bunch where this process was busy
    with something else. By how many days that clock is off, or was set since the first request, does not count.
    """
    times: list[float] = []
    first_offset = None
    for request in requests:
        if request.signed_at is not None and action_id in {None, request.action_id}:
            offset = request.signed_at - request.arrived_at
            first_offset = offset if first_offset is None else first_offset
            days_off = round((offset - first_offset) / _SECONDS_PER_DAY)
            times.append(request.signed_at - days_off * _SECONDS_PER_DAY)
    return sorted(times)


def gaps(times: Sequence[float]) -> list[float]:
    """Return the seconds between each time and the next."""
    return [later - earlier for earlier, later in pairwise(times)]


def longest_run(times: Sequence[float], requests_per_second: float) -> int:
    """Return how many requests in a row came four times as fast as the rate allows: four or more, or 0."""
    longest = 0
    for first in range(len(times)):
        for last in range(first + 3, len(times)):
            if times[last] - times[first] < (last - first) / requests_per_second / 4:
                longest = max(longest, last - first + 1)
    return longest
