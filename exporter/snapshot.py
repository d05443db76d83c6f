"""How a tenant and its polling are at one moment: taken by its poller, shown by metrics, page and API."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from exporter.errors import Reason
from exporter.store import ActionState, Phase


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


@dataclass(frozen=True, slots=True)
class TenantState:
    """What is known of a tenant at one moment, from its configuration and its poller: what the survey takes.

    ``host`` is that of the API's URL, ``budget`` the configured requests per second, ``interval_seconds`` the
    interval at which unfinished actions should be polled.
    """

    name: str | None
    host: str
    budget: float
    interval_seconds: float
    snapshot: TenantSnapshot
    states: Sequence[ActionState]
