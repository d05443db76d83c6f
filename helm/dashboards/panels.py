"""Panels as the dashboards have them: one look, and one colour for a status everywhere."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, Self, TypeVar

from grafana_foundation_sdk.builders import common
from grafana_foundation_sdk.builders import dashboard as builders
from grafana_foundation_sdk.builders.prometheus import Dataquery
from grafana_foundation_sdk.builders.stat import Panel as Stat
from grafana_foundation_sdk.builders.statetimeline import Panel as Timeline
from grafana_foundation_sdk.builders.table import Panel as Table
from grafana_foundation_sdk.builders.timeseries import Panel as Graph
from grafana_foundation_sdk.cog import variants
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    BigValueGraphMode,
    BigValueTextMode,
    GraphDrawStyle,
    LegendDisplayMode,
    LegendPlacement,
    SortOrder,
    StackingMode,
    TooltipDisplayMode,
    VisibilityMode,
)
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.variables import DATA_SOURCE, action_id, data_source, filters

TAG = "cortex-xdr"
STATUS_COLOURS = {
    "completed_successfully": "green",
    "failed": "red",
    "timeout": "orange",
    "in_progress": "blue",
    "pending": "#8e8e8e",
    "pending_abort": "#b8b8b8",
    "aborted": "purple",
    "canceled": "dark-purple",
    "expired": "yellow",
}
"""The nine statuses of endpoints, in the order in which they are shown."""

GENERAL_COLOURS = {
    "COMPLETED_SUCCESSFULLY": "green",
    "COMPLETED_PARTIAL": "orange",
    "FAILED": "red",
    "TIMEOUT": "orange",
    "IN_PROGRESS": "blue",
    "PENDING": "#8e8e8e",
    "PENDING_ABORT": "#b8b8b8",
    "ABORTED": "purple",
    "CANCELED": "dark-purple",
    "CANCELLED": "dark-purple",
    "EXPIRED": "yellow",
}
STATE_COLOURS = {
    "active": "blue",
    "settled": "green",
    "failing": "red",
    "waiting": "#8e8e8e",
    "retired": "purple",
}

Steps = Sequence[tuple[float | None, str]]
"""From which value on which colour; the first has none."""

NEUTRAL: Steps = [(None, "blue")]
BAD_FROM_ONE: Steps = [(None, "green"), (1, "red")]


class _Panel(Protocol):
    def title(self, title: str) -> Self: ...
    def description(self, description: str) -> Self: ...
    def datasource(self, datasource: models.DataSourceRef) -> Self: ...
    def height(self, h: int) -> Self: ...
    def span(self, w: int) -> Self: ...
    def targets(self, targets: list[Builder[variants.Dataquery]]) -> Self: ...
    def unit(self, unit: str) -> Self: ...
    def decimals(self, decimals: float) -> Self: ...
    def mappings(self, mappings: list[models.ValueMapping]) -> Self: ...
    def thresholds(self, thresholds: Builder[models.ThresholdsConfig]) -> Self: ...
    def no_value(self, no_value: str) -> Self: ...
    def override_by_name(self, name: str, properties: list[models.DynamicConfigValue]) -> Self: ...


_AnyPanel = TypeVar("_AnyPanel", bound=_Panel)


def now(expression: str, legend: str = "") -> Dataquery:
    """Ask for the values of now."""
    return Dataquery().expr(expression).instant().legend_format(legend)


def rows(expression: str) -> Dataquery:
    """Ask for the values of now, with each label as a column."""
    return Dataquery().expr(expression).instant().format(PromQueryFormat.TABLE)


def over_time(expression: str, legend: str) -> Dataquery:
    """Ask for the values in the range that is shown."""
    return Dataquery().expr(expression).range().legend_format(legend)


def stat(
    title: str,
    description: str,
    *queries: Dataquery,
    unit: str,
    no_value: str,
    width: int = 4,
    steps: Steps = NEUTRAL,
) -> Stat:
    """Make a big number; ``no_value`` says what it means that there is none."""
    panel = _common(Stat(), title, description, queries, unit=unit, width=width, height=4)
    return (
        panel.thresholds(_thresholds(steps))
        .no_value(no_value)
        .reduce_options(common.ReduceDataOptions().calcs(["lastNotNull"]).values(values=False))
        .color_mode(BigValueColorMode.BACKGROUND if steps is not NEUTRAL else BigValueColorMode.VALUE)
        .graph_mode(BigValueGraphMode.NONE)
    )


def word(title: str, description: str, *queries: Dataquery, width: int, no_value: str) -> Stat:
    """Make a big word: the name of the series."""
    panel = stat(title, description, *queries, unit="none", width=width, no_value=no_value)
    return panel.text_mode(BigValueTextMode.NAME)


def graph(title: str, description: str, *queries: Dataquery, unit: str, width: int = 12, height: int = 8) -> Graph:
    """Make lines over time."""
    panel = _common(Graph(), title, description, queries, unit=unit, width=width, height=height)
    legend = common.VizLegendOptions().show_legend(show_legend=True).placement(LegendPlacement.BOTTOM)
    tooltip = common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI).sort(SortOrder.DESCENDING)
    return (
        panel.min(0)
        .show_points(VisibilityMode.NEVER)
        .fill_opacity(10)
        .legend(legend.display_mode(LegendDisplayMode.LIST).calcs([]))
        .tooltip(tooltip)
    )


def stacked(panel: Graph, colours: Mapping[str, str]) -> Graph:
    """Stack the lines of a graph, in the colours of their names."""
    panel.stacking(common.StackingConfig().mode(StackingMode.NORMAL).group("A")).fill_opacity(70).line_width(0)
    return coloured(panel, colours)


def bars(panel: Graph) -> Graph:
    """Stack bars instead of drawing lines."""
    return stacked(panel, {}).draw_style(GraphDrawStyle.BARS)


def timeline(
    title: str, description: str, *queries: Dataquery, words: Mapping[str, tuple[str, str]], width: int = 12
) -> Timeline:
    """Make a row per series that shows when it had which value: a word and a colour each."""
    panel = _common(Timeline(), title, description, queries, unit="none", width=width, height=8)
    legend = common.VizLegendOptions().show_legend(show_legend=False).placement(LegendPlacement.BOTTOM)
    return (
        panel.mappings([mapping(words)])
        .thresholds(_thresholds(NEUTRAL))
        .show_value(VisibilityMode.NEVER)
        .merge_values(merge_values=True)
        .row_height(0.8)
        .fill_opacity(80)
        .legend(legend.display_mode(LegendDisplayMode.LIST).calcs([]))
    )


def table(title: str, description: str, *queries: Dataquery, width: int = 24, height: int = 10) -> Table:
    """Make a table; :func:`columns` puts its queries side by side."""
    panel = _common(Table(), title, description, queries, unit="short", width=width, height=height)
    return panel.show_header(show_header=True)


def columns(panel: Table, names: Mapping[str, str], hidden: Iterable[str] = ()) -> Table:
    """Merge the queries of a table into one row for each set of labels; order and name its columns."""
    options = {
        "excludeByName": dict.fromkeys(["Time", "job", *hidden], True),
        "indexByName": {name: place for place, name in enumerate(names)},
        "renameByName": dict(names),
    }
    panel.with_transformation(models.DataTransformerConfig(id_val="merge", options={}))
    return panel.with_transformation(models.DataTransformerConfig(id_val="organize", options=options))


def column(
    panel: Table,
    name: str,
    *,
    unit: str | None = None,
    steps: Steps | None = None,
    cell: str | None = None,
    **more: object,
) -> None:
    """Say how one column looks: its unit, from where on it has which colour, the kind of its cells."""
    properties = [models.DynamicConfigValue(id_val=name, value=value) for name, value in more.items()]
    if unit is not None:
        properties.append(models.DynamicConfigValue(id_val="unit", value=unit))
    if steps is not None:
        properties.append(models.DynamicConfigValue(id_val="thresholds", value=_thresholds(steps).build()))
    if cell is not None:
        options = {"type": cell} | ({"mode": "basic", "valueDisplayMode": "text"} if cell == "gauge" else {})
        properties.append(models.DynamicConfigValue(id_val="custom.cellOptions", value=options))
    panel.override_by_name(name, properties)


def mapping(words: Mapping[str, tuple[str, str]]) -> models.ValueMap:
    """Show a word in a colour for each of these values."""
    return models.ValueMap(
        options={
            value: models.ValueMappingResult(text=text, color=colour, index=index)
            for index, (value, (text, colour)) in enumerate(words.items())
        }
    )


def coloured(panel: _AnyPanel, colours: Mapping[str, str]) -> _AnyPanel:
    """Give each series the colour of its name."""
    for name, colour in colours.items():
        value = {"mode": "fixed", "fixedColor": colour}
        panel.override_by_name(name, [models.DynamicConfigValue(id_val="color", value=value)])
    return panel


def dashboard(
    title: str, uid: str, description: str, *contents: Builder[models.Panel] | str, of_one_action: bool = False
) -> str:
    """Put panels side by side, and rows of them under a name, into a dashboard; render it as JSON."""
    built = (
        builders.Dashboard(title)
        .uid(uid)
        .description(description)
        .tags([TAG])
        .readonly()
        .timezone("browser")
        .time("now-24h", "now")
        .refresh("1m")
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .link(
            builders.DashboardLink("Cortex XDR")
            .type(models.DashboardLinkType.DASHBOARDS)
            .tags([TAG])
            .include_vars(include_vars=True)
            .keep_time(keep_time=True)
        )
        .variables([data_source(), *filters(), *([action_id()] if of_one_action else [])])
    )
    for content in contents:
        if isinstance(content, str):
            built.with_row(builders.Row(content))
        else:
            built.with_panel(content)
    model = built.build()
    for number, panel in enumerate(model.panels or [], 1):
        panel.id_val = number
    return json.dumps(model, cls=JSONEncoder, ensure_ascii=False, indent=2, sort_keys=True) + "\n"


def _common(
    panel: _AnyPanel,
    title: str,
    description: str,
    queries: Iterable[Dataquery],
    *,
    unit: str,
    width: int,
    height: int,
) -> _AnyPanel:
    named = [query.ref_id(chr(ord("A") + number)).datasource(DATA_SOURCE) for number, query in enumerate(queries)]
    return (
        panel.title(title)
        .description(description)
        .datasource(DATA_SOURCE)
        .targets([*named])
        .unit(unit)
        .span(width)
        .height(height)
    )


def _thresholds(steps: Steps) -> builders.ThresholdsConfig:
    found = [models.Threshold(value=value, color=colour) for value, colour in steps]
    return builders.ThresholdsConfig().mode(models.ThresholdsMode.ABSOLUTE).steps(found)
