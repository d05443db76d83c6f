"""The overview as a JSON document for programs: the shape that docs/api.md promises.

The rule: names and units are those of the metrics and the configuration where they have the same thing. What is
not known is null, and no number is text.
"""

import json
from collections.abc import Sequence
from typing import Any

from exporter.overview import ActionView, Group, Overview, Problem, TenantView, Totals
from exporter.query import Query
from exporter.sharding import Share
from exporter.status import STATUSES
from exporter.web.words import iso


def render(overview: Overview, query: Query) -> bytes:
    """Render the answer to a query; ASCII, so that nothing in a text from outside can break it.

    It begins, but for the spaces::

        {"time": "2026-11-24T18:40:07.512Z", "all_actions": 12, "matching": 4, "page": 1, "pages": 1,
    """
    return _encode(
        {
            "time": _time(overview.now),
            "all_actions": overview.all_actions,
            "matching": overview.matching,
            "page": overview.page,
            "pages": overview.pages,
            "per_page": query.per_page,
            "tenants": [_tenant(tenant) for tenant in overview.tenants],
            "totals": _totals(overview.totals),
            "groups": [_group(group) for group in overview.groups],
            "groups_left_out": overview.groups_left_out,
            "label_names": overview.label_names,
            "shard": _share(overview.share),
            "actions": [_action(action) for action in overview.actions],
        }
    )


def refuse(problems: Sequence[str]) -> bytes:
    """Render the answer to parameters that are no query: ``{"errors":["page: '0' is no number from 1 to …"]}``."""
    return _encode({"errors": problems})


def _encode(document: Any) -> bytes:
    return f"{json.dumps(document, allow_nan=False, separators=(',', ':'))}\n".encode("ascii")


def _tenant(tenant: TenantView) -> dict[str, Any]:
    snapshot = tenant.snapshot
    return {
        "name": tenant.name,
        "host": tenant.host,
        "up": snapshot.up,
        "health": tenant.health,
        "verdict": tenant.verdict,
        "advice": tenant.advice,
        "problem": _problem(tenant.problem),
        "phases": snapshot.phases,
        "poll_lag_seconds": _rounded(snapshot.lag_seconds, 3),
        "requests_per_second": tenant.budget,
        "request_rate_limit": _rounded(snapshot.rate_limit, 6),
        "request_rate_demand": _rounded(snapshot.rate_demand, 6),
        "request_rate_used": _rounded(snapshot.rate_used, 6),
        "throttled": snapshot.throttled,
    }


def _share(share: Share | None) -> dict[str, int] | None:
    if share is None:
        return None
    return {
        "index": share.shard.index,
        "total": share.shard.total,
        "tenants": share.tenants,
        "configured_tenants": share.configured,
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return {
        "actions": totals.actions,
        "phases": totals.phases,
        "attention": totals.attention,
        "stale": totals.stale,
        "unknown": totals.unknown,
        "late": totals.late,
        "oldest_success": _time(totals.oldest_success),
        "oldest_age_seconds": _rounded(totals.oldest_age_seconds, 3),
        "unmeasured": totals.unmeasured,
        "counts": _counts(totals.counts),
        "total": totals.total,
        "finished": totals.finished,
        "failed": totals.failed,
        "timed_out": totals.timed_out,
        "share_done": _share_done(totals.share_done),
        "pace_per_hour": _rounded(totals.pace_per_hour, 3),
        "remaining_seconds": _rounded(totals.remaining_seconds, 1),
    }


def _group(group: Group) -> dict[str, Any]:
    return {"value": group.value, "totals": _totals(group.totals)}


def _action(action: ActionView) -> dict[str, Any]:
    return {
        "tenant": action.tenant,
        "action_id": action.action_id,
        "labels": dict(action.labels),
        "phase": action.phase,
        "settled": action.settled,
        "attention": action.attention,
        "general_status": action.general_status,
        "counts": _counts(action.counts),
        "total": action.total,
        "finished": action.finished,
        "failed": action.failed,
        "timed_out": action.timed_out,
        "share_done": _share_done(action.share_done),
        "pace_per_hour": _rounded(action.pace_per_hour, 3),
        "remaining_seconds": _rounded(action.remaining_seconds, 1),
        "last_success": _time(action.last_success),
        "age_seconds": _rounded(action.age_seconds, 3),
        "last_change": _time(action.last_change),
        "stale": action.stale,
        "late": action.late,
        "problem": _problem(action.problem),
    }


def _problem(problem: Problem | None) -> dict[str, Any] | None:
    if problem is None:
        return None
    return {
        "reason": problem.reason,
        "words": problem.words,
        "advice": problem.advice,
        "detail": problem.detail,
        "said": problem.said,
    }


def _counts(counts: Sequence[int] | None) -> dict[str, int] | None:
    return None if counts is None else dict(zip(STATUSES, counts, strict=True))


def _share_done(share: float | None) -> float | None:
    """Round a share to six digits, but neither to nothing nor to all unless it is that."""
    if share is None or share in {0.0, 1.0}:
        return share
    return min(max(round(share, 6), 1e-6), 1 - 1e-6)


def _rounded(value: float | None, digits: int) -> float | None:
    return None if value is None else round(value, digits)


def _time(timestamp: float | None) -> str | None:
    """Write a time as RFC 3339 has it, in UTC with milliseconds, like the metrics' timestamps."""
    return None if timestamp is None else iso(round(timestamp, 3), timespec="milliseconds")
