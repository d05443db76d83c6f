"""How the polling of a tenant is at one moment: its poller takes it, metrics, page and API show it."""

from collections.abc import Mapping
from dataclasses import dataclass

from exporter.errors import Reason
from exporter.store import Phase


@dataclass(frozen=True, slots=True)
class TenantSnapshot:
    """What a tenant's poller says of itself.

    ``up`` is None before the first answer. ``failure`` is why the last finished request failed, with what was
    said of it, though that may be an action's fault and not the tenant's. ``phases`` is how many actions are in
    each, ``lag_seconds`` how late the most overdue unfinished one is. Rates are in requests per second:
    ``rate_limit`` is what throttling leaves of the budget, as far as it does (``throttled``), ``rate_demand`` what
    the intervals ask for, ``rate_used`` what was sent of late, over about a minute. ``at`` is the moment, by the
    monotonic clock.
    """

    up: bool | None
    failure: Reason | None
    failure_detail: str | None
    phases: Mapping[Phase, int]
    lag_seconds: float
    rate_limit: float
    rate_demand: float
    rate_used: float
    throttled: bool
    at: float
