"""Overviews for tests of the status page, made the way the exporter makes them."""

from typing import Any

from exporter.overview import Overview
from exporter.query import Query
from exporter.sharding import Share
from exporter.snapshot import TenantState
from exporter.status import STATUSES, Status
from exporter.store import ActionState
from exporter.survey import survey
from exporter.web import page

NOW = 1_700_000_000.0
"""22:13:20 UTC on 14 November 2023."""


def status(general_status: str | None = "IN_PROGRESS", **counts: int) -> Status:
    """Make a status of nine counts, given by name."""
    return Status(general_status, tuple(counts.get(name, 0) for name in STATUSES))


def polled(action_id: str, found: Status, *, age_seconds: float = 5.0, **more: Any) -> ActionState:
    """Make the state of an action that was polled that long ago."""
    usual: dict[str, Any] = {"labels": (), "last_success": NOW - age_seconds, "last_change": NOW - age_seconds}
    return ActionState(action_id, polled=True, status=found, **(usual | more))


def overview_of(*tenants: TenantState, query: Query | None = None, share: Share | None = None) -> Overview:
    """Survey these tenants."""
    return survey(tenants, query or Query(), NOW, share=share)


def rendered(
    *tenants: TenantState, query: Query | None = None, refresh: int = 15, share: Share | None = None
) -> str:
    """Render the page about these tenants."""
    overview = overview_of(*tenants, query=query, share=share)
    return page.render(overview, query or Query(), telemetry_path="/metrics", refresh=refresh)
