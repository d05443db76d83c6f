"""The overview: what failed, what still runs, whether it moves, and whether the data can be trusted."""

from grafana_foundation_sdk.builders.common import TableSortByFieldState
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as Timeline
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Graph

from dashboards.action import LINK
from dashboards.panels import (
    BAD_FROM_ONE,
    GENERAL_COLOURS,
    STATE_COLOURS,
    STATUS_COLOURS,
    bars,
    column,
    columns,
    dashboard,
    graph,
    mapping,
    now,
    over_time,
    rows,
    stacked,
    stat,
    table,
    timeline,
)
from dashboards.queries import (
    BAD,
    CHOSEN,
    COUNTS,
    GENERAL_STATUS,
    LAG,
    LAST_CHANGE,
    LAST_SUCCESS,
    LEFT,
    SUCCESS,
    actions,
    age,
    chosen,
    endpoints,
    estimate,
    exporter,
    labelled,
    pace,
    progress,
    recorded,
    scraped,
    share,
    tenants,
    unfinished,
)

UID = "cortex-xdr-overview"
_DURATION = "cortex_xdr_exporter_request_duration_seconds_bucket"
_CAMPAIGN = 'campaign=~"$campaign"'
_NO_COUNTS = "No counts yet"
_NOTHING_LEFT = "Nothing unfinished"

# Ten thousand actions at more points than these are more samples than Prometheus gives one query.
_POINTS = 240


def render() -> str:
    """Render the dashboard as JSON."""
    return dashboard(
        "Cortex XDR / Script executions",
        UID,
        "Script executions of Cortex XDR: what failed, what still runs, whether it moves, and what the numbers "
        "rest on.",
        *_endpoints(),
        *_trust(),
        _actions(),
        _progress(),
        _failure_ratio(),
        _campaigns(),
        "Exporter",
        *_polls(),
        *_requests(),
        *_itself(),
    )


def _endpoints() -> list[Stat]:
    return [
        stat(
            "Endpoints failed",
            "Endpoints on which a script failed. Actions without counts, not polled yet or stale, are left out.",
            now(f"sum({chosen(endpoints(['failed']))})"),
            unit="short",
            steps=BAD_FROM_ONE,
            no_value=_NO_COUNTS,
        ),
        stat(
            "Endpoints timed out",
            "Endpoints on which a script ran out of time. Actions without counts are left out.",
            now(f"sum({chosen(endpoints(['timeout']))})"),
            unit="short",
            steps=[(None, "green"), (1, "orange")],
            no_value=_NO_COUNTS,
        ),
        stat(
            "Still to run",
            "Endpoints that are pending, in progress or about to be aborted, and actions that are not known to be "
            "finished. An action that was never polled, or whose counts are stale, is not known to be.",
            now(f"sum({chosen(endpoints(LEFT))})", "endpoints"),
            now(f"count({unfinished()}) or 0 * count({CHOSEN})", "actions"),
            unit="short",
            no_value=_NO_COUNTS,
        ),
        stat(
            "All done in",
            "When the last action comes to its end at the pace of the last half hour. Actions that do not move "
            "have no estimate and are left out. Needs the recording rules.",
            now(f"max({chosen(estimate())})"),
            unit="dtdurations",
            no_value="No estimate",
        ),
        stat(
            "Pace",
            "Endpoints that come to an end in a minute, over the last half hour; 0: nothing moves. "
            "Needs the recording rules.",
            now(f"sum({chosen(pace())})"),
            unit="suffix: /min",
            no_value=_NO_COUNTS,
        ).decimals(1),
        stat(
            "Since the last change",
            "How long ago a count or the general status of any unfinished action last changed.",
            now(f"min({unfinished(age(LAST_CHANGE))})"),
            unit="dtdurations",
            steps=[(None, "green"), (1800, "yellow"), (7200, "red")],
            no_value=_NOTHING_LEFT,
        ),
    ]


def _trust() -> list[Stat]:
    up = {"0": ("Down", "red"), "1": ("Up", "green")}
    return [
        stat(
            "Oldest data",
            "How long ago the counts of an unfinished action were read, of the one for which that is longest.",
            now(f"max({unfinished(age(LAST_SUCCESS))})"),
            unit="dtdurations",
            width=5,
            steps=[(None, "green"), (600, "yellow"), (1800, "red")],
            no_value=_NOTHING_LEFT,
        ),
        stat(
            "Actions whose polls fail",
            "Actions whose last poll failed: their counts are those of the last good one.",
            now(f"sum({chosen('1 - ' + actions(SUCCESS))})"),
            unit="short",
            width=5,
            steps=BAD_FROM_ONE,
            no_value="No poll yet",
        ),
        stat(
            "API and exporter",
            "Whether the last request to each tenant's API was answered well, and whether Prometheus can scrape "
            "each "
            "exporter; down if one of them is.",
            now(f"min(max by (job, tenant) ({tenants('cortex_xdr_up')}))", "API"),
            now(f"min({scraped('up')})", "exporter"),
            unit="none",
            width=6,
            no_value="Not asked yet",
        ).mappings([mapping(up)]),
        stat(
            "Request budget",
            "Requests that the intervals ask for, as a share of those allowed at the moment, of the tenant for "
            "which "
            "that is highest. Near 100 % and above polls are late.",
            now(f"max({share(*map(_rate_of, ('demand', 'limit')))})"),
            unit="percentunit",
            steps=[(None, "green"), (0.8, "yellow"), (1, "red")],
            no_value="No tenant",
        ).decimals(0),
        stat(
            "Poll lag",
            "How late the most overdue poll of an unfinished action is.",
            now(f"max({tenants(LAG)})"),
            unit="s",
            steps=[(None, "green"), (60, "yellow"), (300, "red")],
            no_value="No tenant",
        ).decimals(0),
    ]


def _rate_of(which: str) -> str:
    return f"max by (job, tenant) ({tenants(f'cortex_xdr_exporter_request_rate_{which}')})"


def _actions() -> Table:
    panel = table(
        "Actions",
        "A row for each action, the worst first; its ID leads to what is known of it. Without counts: not "
        "polled yet, "
        "or stale. The time to completion needs the recording rules.",
        rows(CHOSEN),
        rows(chosen(actions(GENERAL_STATUS, by="general_status"))),
        rows(labelled(endpoints())),
        rows(labelled(progress())),
        rows(labelled(endpoints(["failed"]))),
        rows(labelled(endpoints(["timeout"]))),
        rows(labelled(endpoints(LEFT))),
        rows(labelled(estimate())),
        rows(labelled(age(LAST_SUCCESS))),
        rows(labelled(age(LAST_CHANGE))),
        height=12,
    )
    names = {
        "action_id": "Action",
        "tenant": "Tenant",
        "campaign": "Campaign",
        "team": "Team",
        "general_status": "Status",
        "Value #D": "Progress",
        "Value #C": "Endpoints",
        "Value #E": "Failed",
        "Value #F": "Timed out",
        "Value #G": "Left",
        "Value #H": "Done in",
        "Value #I": "Age of data",
        "Value #J": "Last change",
    }
    columns(panel, names, hidden=["Value #A", "Value #B"])
    column(panel, "Action", links=[{"title": "What is known of this action", "url": LINK}])
    statuses = {name: (name, colour) for name, colour in GENERAL_COLOURS.items()}
    column(panel, "Status", cell="color-text", mappings=[mapping(statuses)])
    _shared_columns(panel)
    column(panel, "Timed out", cell="color-text", steps=[(None, "text"), (1, "orange")])
    column(panel, "Age of data", unit="dtdurations")
    column(panel, "Last change", unit="dtdurations")
    worst = ("Failed", "Timed out", "Left")
    return panel.sort_by([TableSortByFieldState().display_name(name).desc(desc=True) for name in worst])


def _shared_columns(panel: Table) -> None:
    column(panel, "Progress", unit="percentunit", cell="gauge", steps=[(None, "green")], min=0, max=1, decimals=0)
    column(panel, "Failed", cell="color-text", steps=[(None, "text"), (1, "red")])
    column(panel, "Done in", unit="dtdurations")


def _progress() -> Graph:
    by_status = actions(COUNTS, by="status")
    panel = graph(
        "Endpoints by status",
        "Endpoints of all chosen actions, by their status. The sum grows when an action joins and falls when one "
        "retires, or loses its counts because they are stale.",
        over_time(f"sum by (status) ({chosen(by_status)})", "{{status}}"),
        unit="short",
    )
    return stacked(panel, STATUS_COLOURS).max_data_points(_POINTS)


def _failure_ratio() -> Graph:
    ratio = recorded("campaign:cortex_xdr_endpoints_failed:ratio", "tenant, campaign", _CAMPAIGN)
    return graph(
        "Failure ratio by campaign",
        "Endpoints that failed or timed out, as a share of all endpoints of the campaign. Needs the recording "
        "rules.",
        over_time(f'label_replace({ratio}, "campaign", "no campaign", "campaign", "")', "{{campaign}} {{tenant}}"),
        unit="percentunit",
    )


def _campaigns() -> Table:
    def of(expression: str) -> str:
        return f"sum by (tenant, campaign) ({labelled(expression)})"

    bad = of(endpoints(BAD))
    still = recorded("campaign:cortex_xdr_completion_seconds:estimate", "tenant, campaign", _CAMPAIGN)
    panel = table(
        "Campaigns",
        "A row for each campaign, the worst first; the one without a name is of the actions that have none. The "
        "time to completion needs the recording rules.",
        rows(f"count by (tenant, campaign) ({CHOSEN})"),
        rows(of(endpoints())),
        rows(f"1 - {share(of(endpoints(LEFT)), of(endpoints()))}"),
        rows(bad),
        rows(share(bad, of(endpoints()))),
        rows(of(endpoints(LEFT))),
        rows(still),
        height=7,
    )
    names = {
        "campaign": "Campaign",
        "tenant": "Tenant",
        "Value #A": "Actions",
        "Value #C": "Progress",
        "Value #B": "Endpoints",
        "Value #D": "Failed",
        "Value #E": "Failure ratio",
        "Value #F": "Left",
        "Value #G": "Done in",
    }
    columns(panel, names)
    _shared_columns(panel)
    steps: list[tuple[float | None, str]] = [(None, "text"), (0.01, "orange"), (0.1, "red")]
    column(panel, "Failure ratio", unit="percentunit", cell="color-text", steps=steps, decimals=1)
    return panel.sort_by([TableSortByFieldState().display_name("Failure ratio").desc(desc=True)])


def _polls() -> list[Graph]:
    outcome = actions(SUCCESS)
    ages = unfinished(age(LAST_SUCCESS))
    return [
        graph(
            "Poll success",
            "Actions whose last poll succeeded, as a share of those that have been polled.",
            over_time(f"avg({chosen(outcome)})", "succeeded"),
            unit="percentunit",
        )
        .max(1)
        .max_data_points(_POINTS),
        graph(
            "Age of data",
            "How long ago the counts of unfinished actions were read.",
            over_time(f"max({ages})", "oldest"),
            over_time(f"avg({ages})", "mean"),
            unit="s",
        ).max_data_points(_POINTS),
    ]


def _requests() -> list[Graph]:
    buckets = f"sum by (le) (rate({tenants(_DURATION)}[$__rate_interval]))"
    sent = tenants("cortex_xdr_exporter_requests_total")
    failures = tenants("cortex_xdr_exporter_request_failures_total")
    return [
        graph(
            "API latency",
            "How long requests to the API take, up to their last byte.",
            *(
                over_time(f"histogram_quantile({quantile}, {buckets})", f"{quantile:.0%}")
                for quantile in (0.5, 0.9, 0.99)
            ),
            unit="s",
        ),
        graph(
            "Requests",
            "Requests per second to the API of each tenant: those sent, those that the intervals ask for, and "
            "those allowed at the moment.",
            over_time(f"sum by (job, tenant) (rate({sent}[$__rate_interval]))", "sent {{tenant}}"),
            over_time(_rate_of("demand"), "asked for {{tenant}}"),
            over_time(_rate_of("limit"), "allowed {{tenant}}"),
            unit="reqps",
        ),
        bars(
            graph(
                "Failed requests by reason",
                "Requests per second that failed, by reason.",
                over_time(f"sum by (reason) (rate({failures}[$__rate_interval]))", "{{reason}}"),
                unit="reqps",
            )
        ),
        graph(
            "Poll lag by tenant",
            "How late the most overdue poll of an unfinished action is.",
            over_time(f"max by (job, tenant) ({tenants(LAG)})", "lag {{tenant}}"),
            unit="s",
        ),
    ]


def _itself() -> list[Graph | Timeline]:
    tracked = f"max by (job, tenant, state) ({tenants('cortex_xdr_exporter_tracked_actions')})"
    prefix = "cortex_xdr_exporter"
    return [
        stacked(
            graph(
                "Tracked actions by state",
                "Actions by state: active, settled, failing (last poll failed), waiting (not polled yet) or "
                "retired.",
                over_time(f"sum by (state) ({tracked})", "{{state}}"),
                unit="short",
                width=8,
            ),
            STATE_COLOURS,
        ),
        timeline(
            "Configuration and action files",
            "Whether the configuration, the web configuration and each action file can be used as they are. "
            "While one cannot, its last good content counts.",
            over_time(exporter(f"{prefix}_config_last_reload_successful"), "configuration {{instance}}"),
            over_time(exporter(f"{prefix}_web_config_last_reload_successful"), "web configuration {{instance}}"),
            over_time(exporter(f"{prefix}_action_file_last_read_successful"), "{{file}} {{instance}}"),
            words={"0": ("broken", "red"), "1": ("good", "green")},
            width=8,
        ),
        graph(
            "Scrape duration",
            "How long Prometheus' scrapes of the exporter take.",
            over_time(scraped("scrape_duration_seconds"), "{{instance}}"),
            unit="s",
            width=8,
        ),
    ]
