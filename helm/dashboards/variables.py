"""The variables that both dashboards have, so that links between them can keep what is chosen."""

from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.models.dashboard import (
    DataSourceRef,
    VariableOption,
    VariableRefresh,
    VariableSort,
)

from dashboards.queries import BUILD, LABELS, exporter, tenants

DATA_SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")

_ALL = VariableOption(selected=True, text=["All"], value=["$__all"])


def data_source() -> builders.DatasourceVariable:
    """Choose the Prometheus."""
    default = VariableOption(selected=True, text="default", value="default")
    return builders.DatasourceVariable("datasource").label("Data source").type("prometheus").current(default)


def filters() -> list[builders.QueryVariable]:
    """Choose among exporters, tenants and campaigns; all of them at first."""
    return [
        _several("job", "Job", BUILD, ".+"),
        _several("instance", "Instance", f'{BUILD}{{job=~"$job"}}', ".+"),
        # These labels are absent where tenants have no names, and from an action without a campaign.
        _several("tenant", "Tenant", exporter("cortex_xdr_exporter_tracked_actions"), ".*"),
        _several("campaign", "Campaign", tenants(LABELS), ".*"),
    ]


def action_id() -> builders.QueryVariable:
    """Choose one action of the chosen campaigns; IDs count up, so that the newest comes first."""
    series = tenants(LABELS, 'campaign=~"$campaign"')
    return _query("action_id", "Action", series).sort(VariableSort.NUMERICAL_DESC)


def _several(name: str, label: str, series: str, all_value: str) -> builders.QueryVariable:
    several = _query(name, label, series).sort(VariableSort.ALPHABETICAL_ASC)
    return several.multi(multi=True).include_all(include_all=True).all_value(all_value).current(_ALL)


def _query(name: str, label: str, series: str) -> builders.QueryVariable:
    query: dict[str, object] = {"query": f"label_values({series}, {name})", "refId": name}
    return (
        builders.QueryVariable(name)
        .label(label)
        .datasource(DATA_SOURCE)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
    )
