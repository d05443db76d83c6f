"""The drill-down: everything that is known of one action."""

from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as Timeline
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Graph

from dashboards.panels import (
    GENERAL_COLOURS,
    STATUS_COLOURS,
    coloured,
    columns,
    dashboard,
    graph,
    now,
    over_time,
    rows,
    stacked,
    stat,
    table,
    timeline,
    word,
)
from dashboards.queries import (
    BAD,
    COUNTS,
    GENERAL_STATUS,
    LABELS,
    LAST_CHANGE,
    LAST_SUCCESS,
    LEFT,
    ONE,
    SUCCESS,
    actions,
    age,
    endpoints,
    estimate,
    pace,
    progress,
    share,
    tenants,
)

UID = "cortex-xdr-action"
LINK = f"/d/{UID}?${{__all_variables}}&${{__url_time_range}}&var-action_id=${{__value.raw:percentencode}}"
"""Where the ID of an action in another dashboard leads to."""

_OF_TARGETS = "job, instance, namespace, service, pod, container, endpoint"
_ERROR = "cortex_xdr_script_execution_poll_error_info"
_NO_COUNTS = "No counts"
_NOT_POLLED = "Never polled well"


def render() -> str:
    """Render the dashboard as JSON."""
    return dashboard(
        "Cortex XDR / Script execution",
        UID,
        "One script execution of Cortex XDR: its endpoints, its pace, and how its polls went.",
        *_summary(),
        _counts(),
        *_polls(),
        _labels(),
        *_over_time(),
        *_timelines(),
        of_one_action=True,
    )


def _summary() -> list[Stat]:
    return [
        coloured(
            word(
                "General status",
                "The status of the whole, as the API spells it.",
                now(actions(GENERAL_STATUS, ONE, by="general_status"), "{{general_status}}"),
                width=7,
                no_value=_NOT_POLLED,
            ),
            GENERAL_COLOURS,
        ),
        stat(
            "Progress",
            "Endpoints that have come to an end, well or not, as a share of all.",
            now(progress(ONE)),
            unit="percentunit",
            no_value=_NO_COUNTS,
        ).decimals(0),
        stat(
            "Endpoints left",
            "Endpoints that are pending, in progress or about to be aborted.",
            now(endpoints(LEFT, ONE)),
            unit="short",
            no_value=_NO_COUNTS,
        ),
        stat(
            "Done in",
            "How long what is left takes at the pace of the last half hour. Needs the recording rules.",
            now(estimate(ONE)),
            unit="dtdurations",
            width=5,
            no_value="No estimate",
        ),
        stat(
            "Pace",
            "Endpoints that come to an end in a minute, over the last half hour; 0: nothing moves. "
            "Needs the recording rules.",
            now(pace(ONE)),
            unit="suffix: /min",
            no_value=_NO_COUNTS,
        ).decimals(1),
    ]


def _counts() -> Stat:
    return coloured(
        stat(
            "Endpoints by status",
            "The nine counts, as of the last good poll. No counts: not polled yet, or stale.",
            *(now(endpoints([status], ONE), status) for status in STATUS_COLOURS),
            unit="short",
            width=24,
            no_value=_NO_COUNTS,
        ),
        STATUS_COLOURS,
    )


def _polls() -> list[Stat]:
    return [
        coloured(
            word(
                "Last poll",
                "Whether the last poll succeeded, and else the reason why not.",
                now(f"{actions(SUCCESS, ONE)} == 1", "succeeded"),
                now(actions(_ERROR, ONE, by="reason"), "{{reason}}"),
                width=6,
                no_value="Not polled yet",
            ),
            {"succeeded": "green"},
        ),
        stat(
            "Age of data",
            "How long ago the counts were read. A finished action is polled seldom: its counts are final.",
            now(age(LAST_SUCCESS, ONE)),
            unit="dtdurations",
            no_value=_NOT_POLLED,
        ),
        stat(
            "Last change",
            "How long ago a count or the general status last changed.",
            now(age(LAST_CHANGE, ONE)),
            unit="dtdurations",
            no_value=_NOT_POLLED,
        ),
    ]


def _labels() -> Table:
    panel = table(
        "Labels",
        "The action's own labels, from the configuration.",
        rows(f"max without ({_OF_TARGETS}) ({tenants(LABELS, ONE)})"),
        width=10,
        height=4,
    )
    return columns(panel, {"action_id": "Action", "tenant": "Tenant"}, hidden=["Value"])


def _over_time() -> list[Graph]:
    bad = endpoints(BAD, ONE)
    return [
        stacked(
            graph(
                "Endpoints over time",
                "The action's endpoints by their status, as of the last good poll at the time.",
                over_time(f"sum by (status) ({actions(COUNTS, ONE, by='status')})", "{{status}}"),
                unit="short",
                width=24,
            ),
            STATUS_COLOURS,
        ),
        graph(
            "Failure ratio",
            "Endpoints that failed or timed out, as a share of all.",
            over_time(share(bad, endpoints((), ONE)), "failed or timed out"),
            unit="percentunit",
        ),
        graph(
            "Pace over time",
            "Endpoints that came to an end in a minute, over the half hour before. Needs the recording rules.",
            over_time(pace(ONE), "endpoints"),
            unit="suffix: /min",
        ),
    ]


def _timelines() -> list[Timeline]:
    return [
        coloured(
            timeline(
                "General status over time",
                "When the action had which general status, as the API spells it.",
                over_time(actions(GENERAL_STATUS, ONE, by="general_status"), "{{general_status}}"),
                words={},
            ),
            GENERAL_COLOURS,
        ),
        timeline(
            "Polls over time",
            "Whether the last poll succeeded, and while it did not, the reason.",
            over_time(actions(SUCCESS, ONE), "success"),
            over_time(f"0 * {actions(_ERROR, ONE, by='reason')}", "{{reason}}"),
            words={"0": ("failed", "red"), "1": ("succeeded", "green")},
        ),
    ]
