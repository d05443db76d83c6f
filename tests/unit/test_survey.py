"""The overview: what an action and a tenant look like, order, filters, groups, totals, pages, and estimates."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support_tenant import tenant_snapshot, tenant_state

from exporter.advice import DEFECT, NO_THREAD, PROBLEMS
from exporter.errors import Reason
from exporter.overview import (
    MAX_GROUPS,
    ActionView,
    Group,
    Health,
    Overview,
    Problem,
    TenantView,
    Totals,
)
from exporter.pace import Pace
from exporter.query import Query, Show, Sort
from exporter.snapshot import TenantState
from exporter.status import STATUSES, Status
from exporter.store import ActionState, Labels, Phase, Store
from exporter.survey import survey

NOW = 1_700_000_000.0
INTERVAL = 60.0
NOBODY = (0,) * len(STATUSES)
HALF_A_SECOND = Pace(at=0.0, endpoints=50.0, seconds=100.0)
TIMED_OUT = Problem(Reason.TIMEOUT, *PROBLEMS[Reason.TIMEOUT], "no complete answer within the timeout", said=False)


def status(general_status: str | None = "IN_PROGRESS", **counts: int) -> Status:
    """Return a status with these counts, and 0 for the others."""
    return Status(general_status, tuple(counts.get(name, 0) for name in STATUSES))


def polled(action_id: str, found: Status, *, age: float = 10.0, **more: Any) -> ActionState:
    """Return the state of an action that was last polled well so many seconds ago, and has not changed since."""
    known: dict[str, Any] = {"polled": True, "status": found, "last_success": NOW - age, "last_change": NOW - age}
    settled_at = NOW - age if found.settled else None
    return ActionState(action_id, **({"labels": (), "settled_at": settled_at} | known | more))


def running(action_id: str, done: int = 0, left: int = 10, failed: int = 0, **more: Any) -> ActionState:
    """Return the state of an action with so many endpoints that are done, are not, and have failed."""
    return polled(action_id, status(completed_successfully=done, in_progress=left, failed=failed), **more)


def done(action_id: str, count: int = 10, failed: int = 0, **more: Any) -> ActionState:
    """Return the state of an action that is finished."""
    found = status("COMPLETED_SUCCESSFULLY", completed_successfully=count, failed=failed)
    return polled(action_id, found, **more)


def failing(state: ActionState, **more: Any) -> ActionState:
    """Return a state after a poll that had no answer."""
    return replace(state, polled=True, failure=TIMED_OUT.reason, failure_detail=TIMED_OUT.detail, **more)


def tenant(*states: ActionState, **more: Any) -> TenantState:
    """Return a tenant that is well, with actions in these states."""
    return tenant_state(states, **more)


def view(state: ActionState) -> ActionView:
    """Return how an action is shown."""
    (shown,) = survey([tenant(state)], Query(), NOW).actions
    return shown


def shown(states: Sequence[ActionState], **query: Any) -> list[str]:
    """Return the IDs of the actions that a query gives, in order."""
    return [action.action_id for action in survey([tenant(*states)], Query(**query), NOW).actions]


def totals(states: Sequence[ActionState]) -> Totals:
    """Return the totals of actions."""
    return survey([tenant(*states)], Query(), NOW).totals


def measured(action_id: str, **more: Any) -> ActionState:
    """Return the state of an action that was polled well this moment, and has a pace."""
    usual: dict[str, Any] = {"age": 0.0, "pace": HALF_A_SECOND}
    return running(action_id, **(usual | more))


WAITING_VIEW = ActionView(
    tenant=None,
    action_id="1",
    labels=(("team", "x"),),
    phase=Phase.WAITING,
    settled=False,
    attention=False,
    general_status=None,
    counts=None,
    total=None,
    finished=None,
    failed=None,
    timed_out=None,
    share_done=None,
    pace_per_hour=None,
    remaining_seconds=None,
    last_success=None,
    age_seconds=None,
    last_change=None,
    stale=False,
    late=False,
    problem=None,
)
ACTIVE = polled(
    "1", Status("IN_PROGRESS", (1, 2, 3, 4, 5, 6, 7, 8, 9)), labels=(("team", "x"),), pace=HALF_A_SECOND
)
ACTIVE_VIEW = replace(
    WAITING_VIEW,
    phase=Phase.ACTIVE,
    attention=True,
    general_status="IN_PROGRESS",
    counts=(1, 2, 3, 4, 5, 6, 7, 8, 9),
    total=45,
    finished=34,
    failed=5,
    timed_out=4,
    share_done=34 / 45,
    pace_per_hour=1800.0,
    remaining_seconds=12.0,
    last_success=NOW - 10,
    age_seconds=10.0,
    last_change=NOW - 10,
)
SETTLED = replace(done("1", 8, failed=2), labels=(("team", "x"),))
SETTLED_VIEW = replace(
    WAITING_VIEW,
    phase=Phase.SETTLED,
    settled=True,
    attention=True,
    general_status="COMPLETED_SUCCESSFULLY",
    counts=(0, 0, 0, 0, 2, 8, 0, 0, 0),
    total=10,
    finished=10,
    failed=2,
    timed_out=0,
    share_done=1.0,
    last_success=NOW - 10,
    age_seconds=10.0,
    last_change=NOW - 10,
)


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (ActionState("1", (("team", "x"),)), WAITING_VIEW),
        (ACTIVE, ACTIVE_VIEW),
        (SETTLED, SETTLED_VIEW),
        (replace(SETTLED, retired=True), replace(SETTLED_VIEW, phase=Phase.RETIRED, attention=False)),
        (
            failing(ActionState("1", (("team", "x"),))),
            replace(WAITING_VIEW, phase=Phase.FAILING, attention=True, problem=TIMED_OUT),
        ),
        (
            failing(ACTIVE),
            replace(
                ACTIVE_VIEW,
                phase=Phase.FAILING,
                pace_per_hour=None,
                remaining_seconds=None,
                problem=TIMED_OUT,
            ),
        ),
        (
            failing(SETTLED, retired=True),
            replace(SETTLED_VIEW, phase=Phase.RETIRED, attention=False),
        ),
        (failing(SETTLED), replace(SETTLED_VIEW, phase=Phase.FAILING, problem=TIMED_OUT)),
        (
            failing(replace(ACTIVE, last_success=NOW - 4000, last_change=NOW - 5000, stale=True)),
            replace(
                WAITING_VIEW,
                phase=Phase.FAILING,
                attention=True,
                general_status="IN_PROGRESS",
                last_success=NOW - 4000,
                age_seconds=4000.0,
                last_change=NOW - 5000,
                stale=True,
                problem=TIMED_OUT,
            ),
        ),
        (
            polled("1", Status(None, NOBODY), labels=(("team", "x"),)),
            replace(
                WAITING_VIEW,
                phase=Phase.ACTIVE,
                counts=NOBODY,
                total=0,
                finished=0,
                failed=0,
                timed_out=0,
                last_success=NOW - 10,
                age_seconds=10.0,
                last_change=NOW - 10,
            ),
        ),
    ],
    ids=[
        *("waiting", "active", "settled", "retired", "failing from the start", "failing", "failing and retired"),
        *("settled and failing", "stale", "without endpoints"),
    ],
)
def test_action_is_shown_as_it_is_known(state: ActionState, expected: ActionView) -> None:
    """What was read is shown with its age; what was not, or is stale, is None and never 0."""
    assert view(state) == expected


@pytest.mark.parametrize("reason", Reason)
def test_every_reason_has_words_and_advice(reason: Reason) -> None:
    """Each is a sentence and what to do, beside the API's own words; no reason is forgotten."""
    problem = view(replace(ActionState("1", ()), polled=True, failure=reason, failure_detail="HTTP 418")).problem
    by_exporter = {Reason.TIMEOUT, Reason.CONNECTION, Reason.TLS, Reason.REDIRECT, Reason.BAD_RESPONSE}
    assert problem == Problem(reason, *PROBLEMS[reason], "HTTP 418", said=reason not in by_exporter)
    for text in (problem.words, problem.advice):
        assert text[0].isupper()
        assert text.endswith(".")
        assert len(text) < 200


@pytest.mark.parametrize(
    ("state", "late"),
    [
        (running("1", age=3 * INTERVAL), False),
        (running("1", age=3 * INTERVAL + 1), True),
        (failing(running("1", age=3 * INTERVAL + 1)), True),
        (running("1", age=4000, stale=True), False),
        (done("1", age=4000), False),
        (failing(done("1", age=4000)), False),
        (done("1", age=4000, retired=True), False),
        (ActionState("1", ()), False),
    ],
)
def test_unfinished_data_is_late_after_three_intervals(state: ActionState, *, late: bool) -> None:
    """Final counts do not grow old, and what is stale is no longer late."""
    assert view(state).late is late


@pytest.mark.parametrize(
    ("read_at", "age", "late"),
    [(None, None, True), (970.0, 30.0, False), (819.0, 181.0, True), (1000.5, 0.0, False)],
)
def test_clock_that_was_set_back_makes_nothing_new(
    *, read_at: float | None, age: float | None, late: bool
) -> None:
    """The monotonic clock tells the age of what this process read; of other data from the future it is unknown."""
    state = running("1", age=-100, pace=HALF_A_SECOND, read_at=read_at)
    overview = survey([tenant(state, at=1000.0)], Query(), NOW)
    (action,) = overview.actions
    assert (action.age_seconds, action.late, action.remaining_seconds is None) == (age, late, late)
    totals = overview.totals
    assert (totals.late, totals.oldest_success, totals.oldest_age_seconds) == (late, NOW + 100, age)


@pytest.mark.parametrize(
    ("reason", "detail", "advice"),
    [
        (Reason.BAD_RESPONSE, DEFECT, "Its log has the details: take them to whoever maintains it."),
        (
            Reason.CONNECTION,
            NO_THREAD,
            "Raise the limit for processes and threads of its service, container or user.",
        ),
    ],
)
def test_exporters_own_fault_is_not_looked_for_elsewhere(reason: Reason, detail: str, advice: str) -> None:
    """Neither api.url nor the network has anything to do with it."""
    problem = view(replace(ActionState("1", ()), polled=True, failure=reason, failure_detail=detail)).problem
    assert problem is not None
    assert (problem.advice, problem.detail, problem.said) == (advice, detail, False)


# Estimates.


@pytest.mark.parametrize(
    ("pace", "left", "age", "remaining"),
    [
        (None, 10, 0.0, None),
        (Pace(0.0), 10, 0.0, None),
        (Pace(0.0, 0.0, 100.0), 10, 0.0, None),
        (Pace(0.0, -5.0, 100.0), 10, 0.0, None),
        (HALF_A_SECOND, 10, 0.0, 20.0),
        (HALF_A_SECOND, 10, 5.0, 15.0),
        (HALF_A_SECOND, 10, 50.0, 0.0),
        (HALF_A_SECOND, 100, 3 * INTERVAL, 140.0),
        (HALF_A_SECOND, 100, 3 * INTERVAL + 1, None),
        (Pace(0.0, 1.0, 1000.0), 2592, 0.0, 30 * 86_400.0),
        (Pace(0.0, 1.0, 1000.0), 2593, 0.0, None),
        (Pace(0.0, 5e-324, 900.0), 10, 0.0, None),
    ],
)
def test_estimate_is_what_is_left_at_the_pace(
    pace: Pace | None, left: int, age: float, remaining: float | None
) -> None:
    """It counts from now, for an interval after the poll; without a pace, late, or over 30 days, there is none."""
    state = running("1", left=left, age=age, pace=pace)
    assert view(state).remaining_seconds == remaining
    assert totals([state]).remaining_seconds == remaining


def rollout(endpoints: int, per_second: float, *, until: float, stalls_at: float) -> list[ActionView]:
    """Poll an action every minute in simulated time, and return how it was shown right after each poll."""
    store = Store(stale_after=0, retire_after=0, publish=lambda _: None)
    store.track("1", ())
    views = []
    for poll in range(int(until // INTERVAL) + 1):
        now = poll * INTERVAL
        finished = min(endpoints, int(per_second * min(now, stalls_at)))
        found = status(completed_successfully=finished, pending=endpoints - finished)
        state = store.succeeded("1", found, now=now, wall_now=NOW + now)
        (action,) = survey([tenant(state, at=now)], Query(), NOW + now).actions
        views.append(action)
    return views


def test_steady_rollout_is_estimated_within_a_few_percent() -> None:
    """A thousand endpoints, one every ten seconds: from the second poll on the end is told within five percent."""
    views = rollout(1000, 0.1, until=9000, stalls_at=1e9)
    assert views[0].remaining_seconds is None
    for poll, action in enumerate(views[1:], start=1):
        assert action.remaining_seconds == pytest.approx(10_000 - poll * INTERVAL, rel=0.05)
        assert action.pace_per_hour == pytest.approx(360, rel=0.05)


def test_rollout_that_stalls_grows_its_estimate() -> None:
    """With each poll that finds nothing new the end is further off, up to none at all."""
    views = rollout(1000, 0.1, until=3600 + 7200, stalls_at=3600)
    estimates = [action.remaining_seconds for action in views[60:]]
    told = [estimate for estimate in estimates if estimate is not None]
    assert all(later > earlier for earlier, later in pairwise(told))
    assert told[0] == pytest.approx(6400, rel=0.05)
    assert told[30] == pytest.approx(6400 * 7.4, rel=0.1)
    assert len(told) < len(estimates)
    assert estimates[len(told) :] == [None] * (len(estimates) - len(told))


# Tenants.

WELL = TenantView(
    name="acme",
    host="api-acme.example",
    budget=5.0,
    health=Health.WELL,
    verdict="All is well.",
    advice="",
    problem=None,
    snapshot=tenant_snapshot([ActionState("1", ())]),
)
UNAUTHORIZED = Problem(Reason.UNAUTHORIZED, *PROBLEMS[Reason.UNAUTHORIZED], "HTTP 401: no", said=True)
NOT_FOUND = {"failure": Reason.NOT_FOUND, "failure_detail": "no such action"}
OVER_BUDGET = (
    "The intervals ask for more requests than the budget has: data gets older than they say.",
    "Raise requests_per_second, or poll.interval and poll.settled_interval.",
)


@pytest.mark.parametrize(
    ("known", "health", "verdict", "advice"),
    [
        ({}, Health.WELL, "All is well.", ""),
        (NOT_FOUND, Health.WELL, "All is well.", ""),
        ({"lag_seconds": 60.0, "rate_demand": 4.89}, Health.WELL, "All is well.", ""),
        ({"up": None}, Health.UNKNOWN, "No answer has come yet.", ""),
        (
            {"up": False, "failure": Reason.UNAUTHORIZED, "failure_detail": "HTTP 401: no", "throttled": True},
            Health.UNWELL,
            *PROBLEMS[Reason.UNAUTHORIZED],
        ),
        (
            {"throttled": True, "rate_limit": 2.5},
            Health.STRAINED,
            "The tenant was throttled lately; the rate comes back by itself.",
            "",
        ),
        ({"rate_demand": 4.91, "lag_seconds": 900.0}, Health.STRAINED, *OVER_BUDGET),
        (
            {"budget": 10.0, "rate_limit": 10.0, "rate_used": 2.5, "rate_demand": 9.81},
            Health.STRAINED,
            OVER_BUDGET[0],
            "A tenant cannot be asked faster than this: raise poll.interval and poll.settled_interval.",
        ),
        ({"lag_seconds": 60.1}, Health.STRAINED, "Polls are late, and catch up.", ""),
    ],
)
def test_tenant_is_judged(known: dict[str, Any], health: Health, verdict: str, advice: str) -> None:
    """Well or not, in words, with what to do; the worst comes first. An action that is missing is no fault."""
    state = tenant(ActionState("1", ()), name="acme", **known)
    overview = survey([state], Query(), NOW)
    expected = replace(
        WELL,
        budget=state.budget,
        health=health,
        verdict=verdict,
        advice=advice,
        problem=UNAUTHORIZED if health is Health.UNWELL else None,
        snapshot=state.snapshot,
    )
    assert overview.tenants == (expected,)
    assert overview.tenants[0].share_used == 0.25


@pytest.mark.parametrize(
    ("states", "known", "health", "verdict"),
    [
        (
            [done("1", retired=True)],
            {"up": None},
            Health.UNKNOWN,
            "All actions are finished and retired: nothing is asked.",
        ),
        (
            [done("1", retired=True), failing(running("2"))],
            {},
            *("strained", "Of 1 action the last poll of 1 failed."),
        ),
        (
            [running("1"), failing(running("2")), failing(running("3", stale=True)), running("4", stale=True)],
            {},
            *("strained", "Of 4 actions the last poll of 2 failed, and the data of 1 is stale."),
        ),
        (
            [running("1"), failing(running("2"))],
            {"up": False, "failure": Reason.SERVER_ERROR},
            *(
                "unwell",
                "The last request failed, though not all do. The API reports an error of its own.",
            ),
        ),
        (
            [failing(running("1")), failing(running("2"))],
            {"up": False, "failure": Reason.SERVER_ERROR},
            *("unwell", "The API reports an error of its own."),
        ),
    ],
)
def test_tenant_is_judged_by_its_actions(
    states: list[ActionState], known: dict[str, Any], health: str, verdict: str
) -> None:
    """All is not well while actions have no news; and one that fails is not the tenant."""
    (shown,) = survey([tenant(*states, **known)], Query(), NOW).tenants
    assert (shown.health, shown.verdict) == (health, verdict)


def test_tenant_without_actions_says_how_to_get_some() -> None:
    """It was asked nothing, and is neither well nor unwell."""
    (shown,) = survey([tenant(up=None)], Query(), NOW).tenants
    assert (shown.health, shown.verdict, shown.advice) == (
        *(Health.UNKNOWN, "No actions are tracked."),
        "Add their IDs to the configuration, or to a file that action_files names.",
    )


def test_tenants_are_all_shown_whatever_is_asked_for() -> None:
    """In the order of the configuration, those without a matching action as well."""
    tenants = [tenant(name="b"), tenant(running("1"), name="a")]
    overview = survey(tenants, Query(tenant="b"), NOW)
    assert [shown.name for shown in overview.tenants] == ["b", "a"]
    assert (overview.named, overview.all_actions, overview.matching) == (True, 1, 0)
    assert not survey([tenant()], Query(), NOW).named


# Order.

UNLIKE = [
    done("6", 10),
    running("4", done=4, left=1),
    ActionState("5", ()),
    polled("3", status(completed_successfully=5, in_progress=10, timeout=1)),
    done("7", 10, failed=9, retired=True),
    running("2", done=0, left=3, failed=5),
    failing(ActionState("1", ())),
    done("33", 10, failed=2),
    running("41", done=6, left=2),
    failing(running("11", failed=3, age=100)),
    running("12", age=4000, stale=True),
]


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort.ATTENTION, ["2", "11", "33", "3", "1", "12", "41", "4", "5", "6", "7"]),
        (Sort.PROGRESS, ["11", "3", "2", "41", "4", "6", "7", "33", "1", "5", "12"]),
        (Sort.FAILED, ["4", "6", "41", "3", "33", "11", "2", "7", "1", "5", "12"]),
        (Sort.TOTAL, ["4", "2", "41", "6", "33", "11", "3", "7", "1", "5", "12"]),
        (Sort.AGE, ["2", "3", "4", "6", "7", "33", "41", "11", "12", "1", "5"]),
        (Sort.ID, ["1", "2", "3", "4", "5", "6", "7", "11", "12", "33", "41"]),
    ],
)
def test_actions_are_sorted(sort: Sort, expected: list[str]) -> None:
    """By each value; those that are alike by ID, and those without such a value at the end."""
    assert shown(UNLIKE, sort=sort) == expected


@pytest.mark.parametrize(
    ("sort", "expected"),
    [
        (Sort.PROGRESS, ["6", "7", "33", "4", "41", "2", "3", "11", "1", "5", "12"]),
        (Sort.FAILED, ["7", "2", "11", "33", "3", "4", "6", "41", "1", "5", "12"]),
        (Sort.AGE, ["12", "11", "2", "3", "4", "6", "7", "33", "41", "1", "5"]),
        (Sort.ID, ["41", "33", "12", "11", "7", "6", "5", "4", "3", "2", "1"]),
    ],
)
def test_actions_are_sorted_the_other_way_round(sort: Sort, expected: list[str]) -> None:
    """What has no such value stays at the end, and those that are alike stay in the order of their IDs."""
    assert shown(UNLIKE, sort=sort, descending=True) == expected


def test_actions_are_sorted_by_their_estimated_end() -> None:
    """The one that ends first comes first; those without an estimate last."""
    paces = {"1": None, "2": Pace(0.0, 10.0, 100.0), "3": Pace(0.0, 30.0, 100.0), "4": Pace(0.0, 0.0, 100.0)}
    states = [running(action_id, pace=pace) for action_id, pace in paces.items()]
    assert shown(states, sort=Sort.ETA) == ["3", "2", "1", "4"]
    assert shown(states, sort=Sort.ETA, descending=True) == ["2", "3", "1", "4"]


def test_ids_are_sorted_as_numbers_and_before_words() -> None:
    """Numbers by size; words by their letters, whatever their length."""
    ids = ["10", "9", "zeta", "alpha-long", "22519813685366", "b"]
    states = [ActionState(action_id, ()) for action_id in ids]
    assert shown(states, sort=Sort.ID) == ["9", "10", "22519813685366", "alpha-long", "b", "zeta"]


def test_same_id_in_two_tenants_keeps_their_order() -> None:
    """The tenants' own order decides, in both directions."""
    tenants = [tenant(ActionState("1", ()), ActionState("2", ()), name=name) for name in ("b", "a")]
    for descending, ids in ((False, "1122"), (True, "2211")):
        actions = survey(tenants, Query(sort=Sort.ID, descending=descending), NOW).actions
        assert [action.action_id for action in actions] == list(ids)
        assert [action.tenant for action in actions] == ["b", "a", "b", "a"]


# Filters.


@pytest.mark.parametrize(
    ("show", "expected"),
    [
        (Show.ALL, ["1", "2", "3", "4", "5", "6", "7", "11", "12", "33", "41"]),
        (Show.ATTENTION, ["1", "2", "3", "11", "12", "33"]),
        (Show.ACTIVE, ["2", "3", "4", "12", "41"]),
        (Show.SETTLED, ["6", "33"]),
        (Show.FAILING, ["1", "11"]),
        (Show.WAITING, ["5"]),
        (Show.STALE, ["12"]),
        (Show.RETIRED, ["7"]),
    ],
)
def test_actions_are_shown_by_what_they_are(show: Show, expected: list[str]) -> None:
    """Each kind, and no other; matching says how many."""
    overview = survey([tenant(*UNLIKE)], Query(show=show, sort=Sort.ID), NOW)
    assert [action.action_id for action in overview.actions] == expected
    assert (overview.matching, overview.all_actions) == (len(expected), len(UNLIKE))
    assert overview.totals.actions == len(expected)


LABELLED: dict[str, Labels] = {
    "100": (("campaign", "Disable-SMBv1"), ("Team", "Endpoint Ops")),
    "101": (("campaign", "disable-smbv1-retry"), ("team", "")),
    "200": (("note", "campaign=x: see 100\nand 101"), ("team", "STRASSE")),
    "Abc": (),
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10", ["100", "101", "200"]),
        ("abc", ["Abc"]),
        ("smb", ["100", "101"]),
        ("endpoint ops", ["100"]),
        ("straße", ["200"]),
        ("in_prog", ["Abc"]),
        ("campaign=disable-smbv1", ["100"]),
        ("CAMPAIGN=DISABLE-SMBV1", ["100"]),
        ("campaign:disable-smbv1", ["100", "101"]),
        ("campaign:", ["100", "101"]),
        ("team=", ["101"]),
        ("campaign=x", ["200"]),
        ("team=endpoint ops", ["100"]),
        ("campaign=x: see 100", ["200"]),
        ("note:campaign=x", ["200"]),
        ("note=campaign=x: see 100\nand 101", ["200"]),
        ("note=campaign=x: see 100", []),
        ("campaign", ["200"]),
        ("=", ["200"]),
        ("nowhere", []),
    ],
)
def test_text_finds_actions(text: str, expected: list[str]) -> None:
    """In IDs, values and general statuses, not in names; name=value is a whole value, name:value a part of one."""
    states = [ActionState(action_id, labels) for action_id, labels in LABELLED.items()]
    states[-1] = polled("Abc", status("IN_PROGRESS"))
    assert shown(states, text=text, sort=Sort.ID) == expected


@pytest.mark.parametrize(
    ("label", "expected"),
    [
        (("campaign", "SMB"), ["1"]),
        (("campaign", "smb"), ["2"]),
        (("campaign", ""), ["4"]),
        (("campaign", None), ["3"]),
        (("tenant", "acme"), ["1", "2", "3", "4"]),
        (("tenant", None), []),
        (("general_status", "IN_PROGRESS"), ["3"]),
        (("general_status", None), ["1", "2", "4"]),
    ],
)
def test_label_is_met_to_the_letter(label: tuple[str, str | None], expected: list[str]) -> None:
    """It leads to what a group of the same name and value holds, to no other action's label, and no further."""
    states = [
        ActionState("1", (("campaign", "SMB"),)),
        ActionState("2", (("campaign", "smb"),)),
        running("3", labels=(("note", "campaign=smb"),)),
        ActionState("4", (("campaign", ""),)),
    ]
    tenants = [tenant(*states, name="acme")]
    overview = survey(tenants, Query(label=label, sort=Sort.ID), NOW)
    assert [action.action_id for action in overview.actions] == expected
    groups = {group.value: group.totals for group in survey(tenants, Query(group=label[0]), NOW).groups}
    assert overview.totals == groups.get(label[1], totals([]))
    assert survey(tenants, Query(label=label, text="4"), NOW).matching == int("4" in expected)


def test_tenant_is_chosen_by_name() -> None:
    """The whole name; where there are no names none has it."""
    tenants = [tenant(ActionState(name, ()), name=name) for name in ("a", "ab")]
    assert [action.tenant for action in survey(tenants, Query(tenant="a"), NOW).actions] == ["a"]
    assert shown(UNLIKE, tenant="a") == []


# Totals, groups and pages.


def test_totals_are_sums() -> None:
    """Of all that match; without counts an action is counted as one that is not known, and nowhere else."""
    states = [ACTIVE, SETTLED, replace(SETTLED, retired=True), failing(ACTIVE, stale=True), ActionState("9", ())]
    assert totals(states) == Totals(
        actions=5,
        phases={Phase.RETIRED: 1, Phase.FAILING: 1, Phase.WAITING: 1, Phase.SETTLED: 1, Phase.ACTIVE: 1},
        attention=3,
        stale=1,
        unknown=2,
        late=0,
        oldest_success=NOW - 10,
        oldest_age_seconds=10.0,
        unmeasured=0,
        counts=(1, 2, 3, 4, 9, 22, 7, 8, 9),
        total=65,
        finished=54,
        failed=9,
        timed_out=4,
        share_done=54 / 65,
        pace_per_hour=1800.0,
        remaining_seconds=None,
    )


def test_totals_of_nothing() -> None:
    """Nothing is 0 endpoints, and has neither a share nor a pace."""
    assert totals([]) == Totals(
        actions=0,
        phases=dict.fromkeys(Phase, 0),
        attention=0,
        stale=0,
        unknown=0,
        late=0,
        oldest_success=None,
        oldest_age_seconds=None,
        unmeasured=0,
        counts=NOBODY,
        total=0,
        finished=0,
        failed=0,
        timed_out=0,
        share_done=None,
        pace_per_hour=None,
        remaining_seconds=None,
    )


def test_totals_end_with_the_last_action() -> None:
    """Paces add up, times do not; what is finished, or has nobody left, takes no time."""
    states = [measured("1", left=100), measured("2", left=50, pace=Pace(0.0, 150.0, 100.0)), done("3")]
    states.append(running("4", done=5, left=0))
    assert (totals(states).pace_per_hour, totals(states).remaining_seconds) == (7200.0, 200.0)
    assert totals(states).unmeasured == 1


@pytest.mark.parametrize(
    ("state", "unmeasured", "late"),
    [
        (ActionState("2", ()), 0, 0),
        (measured("2", age=4000, stale=True), 0, 0),
        (running("2", age=0), 1, 0),
        (measured("2", pace=Pace(0.0, 0.0, 100.0)), 0, 0),
        (failing(measured("2")), 1, 1),
        (measured("2", age=3 * INTERVAL + 1), 1, 1),
        (failing(running("2", done=5, left=0)), 1, 1),
    ],
    ids=["waiting", "stale", "not measured", "still", "failing", "late", "failing with nobody left"],
)
def test_totals_have_no_end_while_one_action_has_none(state: ActionState, unmeasured: int, late: int) -> None:
    """An estimate for a part of them would pass for one of all."""
    sums = totals([measured("1"), state])
    assert (sums.remaining_seconds, sums.unmeasured, sums.late) == (None, unmeasured, late)
    assert totals([measured("1")]).remaining_seconds == 20.0


def of(value: str | None, *states: ActionState) -> list[ActionState]:
    """Give actions a label, or none."""
    labels = () if value is None else (("wave", value),)
    return [replace(state, labels=labels) for state in states]


GROUPED = [
    *of("finished", done("1"), done("2")),
    *of(None, running("3", done=3, left=7)),
    *of("", running("4", done=3, left=7)),
    *of("half", running("5", done=5, left=5)),
    *of("one failed", running("6", failed=1), running("7")),
    *of("polls fail", failing(running("8")), failing(running("9"))),
    *of("a poll fails", failing(running("13"))),
    *of("many failed", done("10", failed=7), running("11", failed=1)),
    *of("retired failed", done("12", failed=100, retired=True)),
]


def test_groups_that_need_attention_come_first() -> None:
    """By failed and timed-out endpoints, then failing polls; then the least done; a missing label comes last."""
    overview = survey([tenant(*GROUPED)], Query(group="wave"), NOW)
    assert [group.value for group in overview.groups] == [
        *(
            "many failed",
            "one failed",
            "polls fail",
            "a poll fails",
            "",
            None,
            "half",
            "finished",
            "retired failed",
        ),
    ]
    assert overview.groups_left_out == 0
    for group in overview.groups:
        states = [state for state in GROUPED if dict(state.labels).get("wave") == group.value]
        assert group.totals == totals(states)


def test_actions_stay_in_their_groups() -> None:
    """Group after group, each sorted as asked for, over the ends of pages."""
    query = Query(group="wave", sort=Sort.ID, descending=True, per_page=4)
    pages = [survey([tenant(*GROUPED)], replace(query, page=page), NOW) for page in (1, 2, 3, 4, 5)]
    sections = [
        [
            (section.group and section.group.value, [action.action_id for action in section.actions])
            for section in overview.sections
        ]
        for overview in pages
    ]
    assert sections == [
        [("many failed", ["11", "10"]), ("one failed", ["7", "6"])],
        [("polls fail", ["9", "8"]), ("a poll fails", ["13"]), ("", ["4"])],
        [(None, ["3"]), ("half", ["5"]), ("finished", ["2", "1"])],
        [("retired failed", ["12"])],
        [],
    ]
    assert [(overview.page, overview.pages, overview.matching) for overview in pages] == [
        (page, 4, 13) for page in (1, 2, 3, 4, 5)
    ]


def test_groups_can_be_tenants_or_general_statuses() -> None:
    """Both are names that no label may have."""
    tenants = [
        tenant(running("1"), name="a"),
        tenant(done("2"), polled("3", status(None)), ActionState("4", ()), name="b"),
    ]
    by_tenant = survey(tenants, Query(group="tenant"), NOW)
    assert [(group.value, group.totals.actions) for group in by_tenant.groups] == [("a", 1), ("b", 3)]
    by_status = survey(tenants, Query(group="general_status"), NOW)
    assert [(group.value, group.totals.actions) for group in by_status.groups] == [
        ("IN_PROGRESS", 1),
        (None, 2),
        ("COMPLETED_SUCCESSFULLY", 1),
    ]


def test_groups_are_bounded() -> None:
    """Of many groups the first hundred are summed up, and those of which something is on the page."""
    states = [replace(running(str(number)), labels=(("host", f"h{number:03}"),)) for number in range(250)]
    overview = survey([tenant(*states)], Query(group="host", page=25, per_page=10), NOW)
    assert [group.value for group in overview.groups] == [f"h{number:03}" for number in range(MAX_GROUPS)]
    assert (overview.groups_left_out, overview.pages) == (150, 25)
    assert [section.group for section in overview.sections] == [
        Group(f"h{number}", totals([states[number]])) for number in range(240, 250)
    ]


def test_label_names_are_those_of_all_actions() -> None:
    """Sorted, each once, whatever the query."""
    states = [ActionState("1", (("b", "1"), ("c", "2"))), ActionState("2", (("a", "1"), ("c", "3")))]
    assert survey([tenant(*states)], Query(text="nowhere"), NOW).label_names == ("a", "b", "c")


def test_nothing_is_one_empty_page() -> None:
    """Without tenants, or without actions, there is a page with nothing on it."""
    assert survey([], Query(group="team"), NOW) == Overview(
        now=NOW,
        tenants=(),
        all_actions=0,
        matching=0,
        totals=totals([]),
        groups=(),
        groups_left_out=0,
        sections=(),
        page=1,
        pages=1,
        label_names=(),
        named=False,
    )


COUNTS = st.tuples(*[st.just(0) | st.integers(0, 2**53)] * len(STATUSES))
STATUS = st.builds(
    Status, st.sampled_from([None, "IN_PROGRESS", "COMPLETED_SUCCESSFULLY", "FAILED", "ODD"]), COUNTS
)
PACES = st.none() | st.builds(Pace, st.just(0.0), st.floats(-1e6, 1e6), st.floats(0, 900))


@st.composite
def action_states(draw: st.DrawFn) -> list[ActionState]:
    """Draw actions as they may be, each with an ID of its own."""
    states = []
    for action_id in draw(st.lists(st.integers(1, 99), unique=True, max_size=12)):
        names = draw(st.sampled_from(["", "a", "ab"]))
        labels = tuple((name, draw(st.sampled_from(["x", "y"]))) for name in names)
        found = draw(st.none() | STATUS)
        known: dict[str, Any] = {}
        if found is not None:
            known = {"status": found, "last_success": NOW - draw(st.floats(-10, 1e6)), "last_change": NOW - 1e6}
            # What is final can retire, and what is not can grow stale.
            known["retired" if found.settled else "stale"] = draw(st.booleans())
        failure = draw(st.none() | st.sampled_from(Reason))
        pace = None if found is None or found.settled else draw(PACES)
        polled = found is not None or failure is not None
        states.append(ActionState(str(action_id), labels, polled=polled, failure=failure, pace=pace, **known))
    return states


QUERIES = st.builds(
    Query,
    group=st.sampled_from([None, "a", "b", "tenant", "general_status"]),
    sort=st.sampled_from(Sort),
    show=st.sampled_from([Show.ALL, Show.ALL, Show.ATTENTION, Show.ACTIVE]),
    descending=st.booleans(),
    per_page=st.integers(1, 5),
)


@settings(deadline=None, max_examples=60)  # A busy machine is no failure.
@given(action_states(), action_states(), QUERIES)
def test_pages_hold_each_action_once(one: list[ActionState], two: list[ActionState], query: Query) -> None:
    """Whatever is asked of whichever actions: pages make up the whole, and groups add up to the totals."""
    tenants = [tenant(*one, name="one"), tenant(*two, name="two")]
    whole = survey(tenants, replace(query, per_page=1000), NOW)
    first = survey(tenants, query, NOW)
    paged = [first, *(survey(tenants, replace(query, page=page), NOW) for page in range(2, first.pages + 1))]
    assert [action for overview in paged for action in overview.actions] == list(whole.actions)
    assert all(len(overview.actions) == query.per_page for overview in paged[:-1])
    assert all(overview.totals == whole.totals and overview.groups == whole.groups for overview in paged)
    assert len(whole.actions) == whole.matching == whole.totals.actions
    assert len({(action.tenant, action.action_id) for action in whole.actions}) == whole.matching
    if query.show is Show.ALL:
        assert whole.matching == whole.all_actions == len(one) + len(two)
    known = [action.counts for action in whole.actions if action.counts is not None]
    assert whole.totals.counts == tuple(sum(column) for column in zip(NOBODY, *known, strict=True))
    if query.group is not None:
        sums = [group.totals for group in whole.groups]
        assert sum(group.actions for group in sums) == whole.matching
        assert sum(group.total for group in sums) == whole.totals.total
        assert [section.group for section in whole.sections] == list(whole.groups)
    for action in whole.actions:
        assert action.remaining_seconds is None or 0 <= action.remaining_seconds <= 30 * 86_400
        assert action.share_done is None or 0 <= action.share_done <= 1
