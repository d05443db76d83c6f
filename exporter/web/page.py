"""The status page: an overview as HTML.

The rule: it decides nothing about actions, it shows what the overview says. Whatever comes from outside is shown
as text, and the page works without a script, without a style sheet, and below any path.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING

from exporter import __version__
from exporter.overview import Health, Overview
from exporter.query import Query, Show, Sort
from exporter.store import Phase
from exporter.web import bars, words
from exporter.web.links import REFRESH_SECONDS, Links, below
from exporter.web.static import STATIC, packaged

if TYPE_CHECKING:
    from jinja2 import Environment, Template

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
"""What the page may do: load its own files, ask for itself, and nothing else."""

_SORTS: Mapping[Sort, str] = {
    Sort.ATTENTION: "attention",
    Sort.FAILED: "failed and timed out",
    Sort.PROGRESS: "finished",
    Sort.ETA: "time left",
    Sort.TOTAL: "endpoints",
    Sort.AGE: "age of data",
    Sort.ID: "ID",
}
_SHOWS: Mapping[Show, str] = {
    Show.ALL: "all actions",
    Show.ATTENTION: "that need attention",
    Show.ACTIVE: "active",
    Show.SETTLED: "settled",
    Show.FAILING: "whose last poll failed",
    Show.WAITING: "not polled yet",
    Show.STALE: "with stale data",
    Show.RETIRED: "retired",
}
_PHASES: Mapping[Phase, str] = {
    Phase.ACTIVE: "active",
    Phase.SETTLED: "settled",
    Phase.FAILING: "failing",
    Phase.WAITING: "not polled yet",
    Phase.RETIRED: "retired",
}
_WORST_FIRST = (Health.UNWELL, Health.STRAINED, Health.UNKNOWN, Health.WELL)
_TENANTS_UNFOLDED = 8
_GROUPS_UNFOLDED = 20
_LABELS_TO_CHOOSE = 100


def render(overview: Overview, query: Query, *, telemetry_path: str, refresh: int) -> str:
    """Render the page; ``refresh`` is after how many seconds it fetches itself anew, 0 for never."""
    links = Links(query, refresh)
    tenants = sorted(overview.tenants, key=lambda tenant: _WORST_FIRST.index(tenant.health))
    unfolded = max(_TENANTS_UNFOLDED, sum(tenant.health != Health.WELL for tenant in tenants))
    # With a problem of the whole tenant its actions need not repeat what to do.
    told = {(tenant.name, tenant.problem.reason) for tenant in tenants if tenant.problem is not None}
    return _template("page.html").render(
        overview=overview,
        query=query,
        links=links,
        refresh=refresh,
        title=_title(overview),
        filtered=bool(query.text or query.label or query.tenant is not None or query.show != Show.ALL),
        tenants=tenants[:unfolded],
        tenants_folded=tenants[unfolded:],
        tenant_names=[tenant.name for tenant in overview.tenants if tenant.name is not None],
        told=told,
        group_names=_group_names(overview, query),
        groups_unnamed=max(0, len(overview.label_names) - _LABELS_TO_CHOOSE),
        group_links=links.groups(overview),
        groups=overview.groups[:_GROUPS_UNFOLDED],
        groups_folded=overview.groups[_GROUPS_UNFOLDED:],
        pages=_pages(overview.page, overview.pages),
        **_frame(telemetry_path),
    )


def refuse(problems: Sequence[str], *, telemetry_path: str) -> str:
    """Render the page that answers parameters which are no query; ``problems`` are told as they are."""
    return _template("refusal.html").render(problems=problems, **_frame(telemetry_path))


def _frame(telemetry_path: str) -> dict[str, object]:
    """Return what every page shows."""
    return {
        "version": __version__,
        "metrics": below(telemetry_path),
        "static": {path: f"{below(path)}?v={file.digest}" for path, file in STATIC.items()},
    }


def _title(overview: Overview) -> str:
    totals = overview.totals
    parts = []
    if totals.total:
        known = " of those known" if totals.unknown else ""
        parts.append(f"{words.share(totals.finished, totals.total, totals.unknown)}{known} finished")
    if totals.unknown:
        parts.append(f"{words.number(totals.unknown)} unknown")
    if totals.failed:
        parts.append(f"{words.number(totals.failed)} failed")
    if totals.timed_out:
        parts.append(f"{words.number(totals.timed_out)} timed out")
    return " · ".join([*([", ".join(parts)] if parts else []), "Script executions"])


def _group_names(overview: Overview, query: Query) -> list[str]:
    """List what actions can be grouped by, up to a limit, and what they are grouped by even beyond it."""
    labels = overview.label_names[:_LABELS_TO_CHOOSE]
    names = [*(["tenant"] if overview.named else []), *labels, "general_status"]
    return names if query.group is None or query.group in names else [query.group, *names]


def _pages(page: int, pages: int) -> list[int | None]:
    """List the pages to link to, None for a gap: the first, the last, and those beside the current one."""
    listed: list[int | None] = []
    last = 0
    for number in sorted({1, pages, *range(max(1, page - 1), min(pages, page + 1) + 1)}):
        if number - last == 2:
            listed.append(number - 1)
        elif number - last > 2:
            listed.append(None)
        listed.append(number)
        last = number
    return listed


@cache
def _template(name: str) -> "Template":
    return _environment().get_template(name)


@cache
def _environment() -> "Environment":
    # Many an exporter is only ever scraped, and need not load what the page alone takes.
    from jinja2 import Environment, FunctionLoader, StrictUndefined  # noqa: PLC0415 - as said above

    environment = Environment(
        loader=FunctionLoader(lambda name: (packaged("templates", name).decode(), name, None)),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "number": words.number,
        "pace": words.pace,
        "rate": words.rate,
        "span": words.span,
        "age": words.age,
        "iso": words.iso,
        "moment": words.moment,
        "visible": words.visible,
        "segments": bars.segments,
        "counted": bars.counted,
    }
    environment.globals |= {
        "percent": words.percent,
        "clock": words.clock,
        "share": words.share,
        "status_words": bars.SEGMENTS,
        "sorts": _SORTS,
        "shows": _SHOWS,
        "shows_attention": Show.ATTENTION,
        "phases": _PHASES,
        "default_refresh": REFRESH_SECONDS,
    }
    return environment
