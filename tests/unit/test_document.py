"""The overview as JSON: every field of it, and texts and times that are not as they should be."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.errors import Reason
from exporter.overview import (
    ActionView,
    Group,
    Health,
    Overview,
    Problem,
    Section,
    TenantView,
    Totals,
)
from exporter.query import Query
from exporter.sharding import Shard, Share
from exporter.snapshot import TenantSnapshot
from exporter.status import STATUSES
from exporter.store import Phase
from exporter.web.document import refuse, render

NOW = 1_700_000_000.5
COUNTS = (1, 2, 3, 4, 5, 6, 7, 8, 9)
PROBLEM = Problem(Reason.TIMEOUT, "Words.", "Advice.", None, said=False)
ACTION = ActionView(
    tenant="acme",
    action_id="22519813685366",
    labels=(("campaign", "x"), ("team", "")),
    phase=Phase.FAILING,
    settled=False,
    attention=True,
    general_status="IN_PROGRESS",
    counts=COUNTS,
    total=45,
    finished=34,
    failed=5,
    timed_out=4,
    share_done=34 / 45,
    pace_per_hour=100 / 3,
    remaining_seconds=1188.04,
    last_success=NOW - 10.0004,
    age_seconds=10.0004,
    last_change=NOW - 100,
    stale=False,
    late=True,
    problem=PROBLEM,
)
TOTALS = Totals(
    actions=1,
    phases={phase: int(phase is Phase.FAILING) for phase in Phase},
    attention=1,
    stale=0,
    unknown=0,
    late=1,
    oldest_success=NOW - 10.0004,
    oldest_age_seconds=10.0004,
    unmeasured=1,
    counts=COUNTS,
    total=45,
    finished=34,
    failed=5,
    timed_out=4,
    share_done=34 / 45,
    pace_per_hour=None,
    remaining_seconds=None,
)
TENANT = TenantView(
    name="acme",
    host="api-acme.example",
    budget=5.0,
    health=Health.UNWELL,
    verdict="Words.",
    advice="Advice.",
    problem=PROBLEM,
    snapshot=TenantSnapshot(
        up=False,
        failure=PROBLEM.reason,
        failure_detail=PROBLEM.detail,
        phases=TOTALS.phases,
        lag_seconds=1.23456,
        rate_limit=2.5,
        rate_demand=1 / 60,
        rate_used=1 / 3,
        throttled=True,
        at=1.0,
    ),
)
OVERVIEW = Overview(
    now=NOW,
    tenants=(TENANT,),
    all_actions=7,
    matching=1,
    totals=TOTALS,
    groups=(Group("x", TOTALS),),
    groups_left_out=3,
    sections=(Section(Group("x", TOTALS), (ACTION,)),),
    page=1,
    pages=1,
    label_names=("campaign", "team"),
    named=True,
)
COUNTS_BY_STATUS = dict(zip(STATUSES, COUNTS, strict=True))
TOLD_PROBLEM = {"reason": "timeout", "words": "Words.", "advice": "Advice.", "detail": None, "said": False}
TOLD_TOTALS = {
    "actions": 1,
    "phases": {"retired": 0, "failing": 1, "waiting": 0, "settled": 0, "active": 0},
    "attention": 1,
    "stale": 0,
    "unknown": 0,
    "late": 1,
    "oldest_success": "2023-11-14T22:13:10.500Z",
    "oldest_age_seconds": 10.0,
    "unmeasured": 1,
    "counts": COUNTS_BY_STATUS,
    "total": 45,
    "finished": 34,
    "failed": 5,
    "timed_out": 4,
    "share_done": 0.755556,
    "pace_per_hour": None,
    "remaining_seconds": None,
}
DOCUMENT: dict[str, Any] = {
    "time": "2023-11-14T22:13:20.500Z",
    "all_actions": 7,
    "matching": 1,
    "page": 1,
    "pages": 1,
    "per_page": 50,
    "tenants": [
        {
            "name": "acme",
            "host": "api-acme.example",
            "up": False,
            "health": "unwell",
            "verdict": "Words.",
            "advice": "Advice.",
            "problem": TOLD_PROBLEM,
            "phases": TOLD_TOTALS["phases"],
            "poll_lag_seconds": 1.235,
            "requests_per_second": 5.0,
            "request_rate_limit": 2.5,
            "request_rate_demand": 0.016667,
            "request_rate_used": 0.333333,
            "throttled": True,
        }
    ],
    "totals": TOLD_TOTALS,
    "groups": [{"value": "x", "totals": TOLD_TOTALS}],
    "groups_left_out": 3,
    "label_names": ["campaign", "team"],
    "shard": None,
    "actions": [
        {
            "tenant": "acme",
            "action_id": "22519813685366",
            "labels": {"campaign": "x", "team": ""},
            "phase": "failing",
            "settled": False,
            "attention": True,
            "general_status": "IN_PROGRESS",
            "counts": COUNTS_BY_STATUS,
            "total": 45,
            "finished": 34,
            "failed": 5,
            "timed_out": 4,
            "share_done": 0.755556,
            "pace_per_hour": 33.333,
            "remaining_seconds": 1188.0,
            "last_success": "2023-11-14T22:13:10.500Z",
            "age_seconds": 10.0,
            "last_change": "2023-11-14T22:11:40.500Z",
            "stale": False,
            "late": True,
            "problem": TOLD_PROBLEM,
        }
    ],
}


def read(body: bytes) -> Any:
    """Read a document that has to be one line of plain ASCII, without what only Python takes for JSON."""
    assert body.endswith(b"\n")
    assert body.count(b"\n") == 1
    return json.loads(body.decode("ascii"), parse_constant=pytest.fail)


def test_overview_is_rendered_whole() -> None:
    """Every field of it, in the order of the documentation."""
    document = read(render(OVERVIEW, Query(per_page=50)))
    assert document == DOCUMENT
    assert list(document) == list(DOCUMENT)


def test_share_is_told_where_there_are_several_shards() -> None:
    """By the flags' numbers, with the tenants of this shard and of all."""
    document = read(render(replace(OVERVIEW, share=Share(Shard(0, 3), 4, 11)), Query(per_page=50)))
    shard = {"index": 0, "total": 3, "tenants": 4, "configured_tenants": 11}
    assert document == DOCUMENT | {"shard": shard}


def test_what_is_not_known_is_null() -> None:
    """An action that was never polled, of a tenant without a name, in a group without a value."""
    unknown = dict.fromkeys(
        [
            *("tenant", "general_status", "counts", "total", "finished", "failed", "timed_out", "share_done"),
            *("pace_per_hour", "remaining_seconds", "last_success", "age_seconds", "last_change", "problem"),
        ]
    )
    overview = replace(
        OVERVIEW,
        tenants=(replace(TENANT, name=None, problem=None, snapshot=replace(TENANT.snapshot, up=None)),),
        groups=(Group(None, TOTALS),),
        sections=(Section(Group(None, TOTALS), (replace(ACTION, **unknown),)),),  # type: ignore[arg-type]  # All of them may be None.
    )
    document = read(render(overview, Query()))
    (action,) = document["actions"]
    assert action == DOCUMENT["actions"][0] | unknown
    assert document["tenants"][0] == DOCUMENT["tenants"][0] | {"name": None, "up": None, "problem": None}
    assert document["groups"][0]["value"] is None


@pytest.mark.parametrize(
    ("share", "told"),
    [(0.0, 0.0), (1e-9, 0.000001), (1 / 3, 0.333333), (1 - 1e-9, 0.999999), (1.0, 1.0), (None, None)],
)
def test_share_is_neither_nothing_nor_all_unless_it_is_so(share: float | None, told: float | None) -> None:
    """One endpoint of ten million that is left is left."""
    overview = replace(OVERVIEW, totals=replace(TOTALS, share_done=share))
    overview = replace(overview, sections=(Section(None, (replace(ACTION, share_done=share),)),))
    document = read(render(overview, Query()))
    assert (document["totals"]["share_done"], document["actions"][0]["share_done"]) == (told, told)


@pytest.mark.parametrize(
    ("timestamp", "told"),
    [
        (0.0, "1970-01-01T00:00:00.000Z"),
        (-0.25, "1970-01-01T00:00:00.000Z"),
        (1_700_000_000.0004, "2023-11-14T22:13:20.000Z"),
        (1_700_000_000.9996, "2023-11-14T22:13:21.000Z"),
        (253_402_300_799.9999, "9999-12-31T23:59:59.000Z"),
        (1e12, "9999-12-31T23:59:59.000Z"),
    ],
)
def test_times_are_rfc_3339(timestamp: float, told: str) -> None:
    """In UTC, rounded to milliseconds as in the metrics; beyond the year 9999 there are no dates."""
    assert read(render(replace(OVERVIEW, now=timestamp), Query()))["time"] == told


@settings(deadline=None)  # A busy machine is no failure.
@given(st.floats(0, 4e9))
def test_times_are_those_of_the_metrics(timestamp: float) -> None:
    """What is parsed from the document is what the exposition writes with three digits."""
    told = read(render(replace(OVERVIEW, now=timestamp), Query()))["time"]
    assert datetime.fromisoformat(told) == datetime.fromtimestamp(float(f"{timestamp:.3f}"), UTC)


@settings(deadline=None)
@given(st.text(), st.text(), st.integers(0, 2**53 * 10_000))
def test_any_text_and_number_survives(detail: str, value: str, total: int) -> None:
    """Control characters, halves of surrogate pairs and large numbers come out as they went in."""
    action = replace(ACTION, labels=(("team", value),), total=total, problem=replace(PROBLEM, detail=detail))
    overview = replace(OVERVIEW, sections=(Section(None, (action,)),))
    (told,) = read(render(overview, Query()))["actions"]
    assert (told["labels"]["team"], told["total"], told["problem"]["detail"]) == (value, total, detail)


def test_refusal_names_all_problems() -> None:
    """One after the other, in a list."""
    assert refuse(["page: 'é' is no number", "\ud800"]) == (
        b'{"errors":["page: \'\\u00e9\' is no number","\\ud800"]}\n'
    )
