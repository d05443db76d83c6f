"""PromQL of the dashboards: which series are chosen, and how those of an action are put together.

Whatever is about an action is reduced to one series per action first: while another pod takes over, two instances
expose the same actions.
"""

from collections.abc import Iterable

ACTION = "job, tenant, action_id"
"""The labels that tell actions apart."""

LEFT = ("pending", "in_progress", "pending_abort")
"""The statuses of endpoints that still have to move."""

FINISHED = "CANCELED|CANCELLED|ABORTED|EXPIRED|COMPLETED_PARTIAL|COMPLETED_SUCCESSFULLY|FAILED|TIMEOUT"
"""The general statuses of actions whose counts are final; as in the rules, which need not be loaded for this."""

ONE = 'action_id="$action_id"'
"""The matcher of the one action that a dashboard is about."""

BAD = ("failed", "timeout")
"""The statuses of endpoints on which a script did not do what it should."""

BUILD = "cortex_xdr_exporter_build_info"
COUNTS = "cortex_xdr_script_execution_endpoints"
GENERAL_STATUS = "cortex_xdr_script_execution_info"
LABELS = "cortex_xdr_script_execution_labels"
LAG = "cortex_xdr_exporter_poll_lag_seconds"
SUCCESS = "cortex_xdr_script_execution_poll_success"
LAST_CHANGE = "cortex_xdr_script_execution_last_change_timestamp_seconds"
LAST_SUCCESS = "cortex_xdr_script_execution_last_success_timestamp_seconds"


def exporter(metric: str, *matchers: str) -> str:
    """Select what the chosen exporters say of themselves."""
    chosen_ones = ", ".join(('job=~"$job"', 'instance=~"$instance"', *matchers))
    return f"{metric}{{{chosen_ones}}}"


def tenants(metric: str, *matchers: str) -> str:
    """Select what is about the chosen tenants; the label is absent where tenants have no names."""
    return exporter(metric, 'tenant=~"$tenant"', *matchers)


def actions(metric: str, *matchers: str, by: str = "") -> str:
    """Select one series for each action, and for each value of another label if there is one."""
    return f"max by ({ACTION}{by and ', '}{by}) ({tenants(metric, *matchers)})"


CHOSEN = actions(LABELS, 'campaign=~"$campaign"', by="campaign, team")
"""Each action of the chosen campaigns, with the labels that the tables show; its value is 1."""


def chosen(expression: str) -> str:
    """Leave only the actions of the chosen campaigns."""
    return f"({expression}) and on ({ACTION}) {CHOSEN}"


def labelled(expression: str) -> str:
    """Give each action of the chosen campaigns its labels.

    They are the many side: an action whose labels differ between two instances is there twice, and no error.
    """
    return f"{CHOSEN} * on ({ACTION}) group_left () ({expression})"


def endpoints(statuses: Iterable[str] = (), *matchers: str) -> str:
    """Count each action's endpoints in any of these statuses, or all of them."""
    of = "|".join(statuses)
    status = (f'status=~"{of}"',) if of else ()
    series = tenants(COUNTS, *matchers, *status)
    return f"max by ({ACTION}) (sum without (status) ({series}))"


def share(part: str, whole: str) -> str:
    """Divide where there is something to divide by."""
    return f"({part}) / ({whole} > 0)"


def progress(*matchers: str) -> str:
    """Say which share of each action's endpoints has come to an end."""
    return f"1 - {share(endpoints(LEFT, *matchers), endpoints((), *matchers))}"


def age(metric: str, *matchers: str) -> str:
    """Say how long ago the time was that a metric of each action has."""
    return f"time() - {actions(metric, *matchers)}"


def unfinished(expression: str = CHOSEN) -> str:
    """Leave only the actions of the chosen campaigns that are not known to be finished.

    Counts and general status both have to say so; an action without counts is not known to be.
    """
    status = actions(GENERAL_STATUS, f'general_status=~"{FINISHED}"')
    finished = f"({endpoints(LEFT)} == 0) and on ({ACTION}) {status}"
    return f"({chosen(expression)}) unless on ({ACTION}) ({finished})"


def recorded(series: str, by: str, *matchers: str) -> str:
    """Select a series that the rules record; it has the labels of no instance."""
    of = ", ".join(('job=~"$job"', 'tenant=~"$tenant"', *matchers))
    return f"max by ({by}) ({series}{{{of}}})"


def pace(*matchers: str) -> str:
    """Say how many endpoints of each action come to an end in a minute, over the last half hour; as recorded."""
    return f"0 - 60 * {recorded('action:cortex_xdr_endpoints_left:deriv30m', ACTION, *matchers)}"


def estimate(*matchers: str) -> str:
    """Say how long each action still takes; nothing of one that does not move."""
    return recorded("action:cortex_xdr_completion_seconds:estimate", ACTION, *matchers)


def scraped(metric: str) -> str:
    """Select what Prometheus says of its scrapes, of exporters only: with every job chosen it knows many more."""
    seen = f"last_over_time({exporter(BUILD)}[$__range])"
    return f"{exporter(metric)} and on (job, instance) {seen}"
