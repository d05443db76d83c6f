"""The answer to a query, from what is known of the tenants: filter, sort, group, sum up, cut to a page.

The rule: every action is looked at once, in a cheap form, and only what is on the page becomes a view. The same
query about the same states has the same answer, so that pages fit together.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from operator import itemgetter
from typing import Any

from exporter.judgement import explain, judge
from exporter.overview import (
    MAX_GROUPS,
    ActionView,
    Group,
    Overview,
    Section,
    Totals,
)
from exporter.query import Query, Show, Sort
from exporter.sharding import Share
from exporter.snapshot import TenantState
from exporter.status import STATUSES
from exporter.store import ActionState, Phase

_FAILED = STATUSES.index("failed")
_TIMED_OUT = STATUSES.index("timeout")
_LATE_INTERVALS = 3
_LONGEST_ESTIMATE_SECONDS = 30 * 86_400.0  # What takes longer at its pace stands still.


@dataclass(slots=True, eq=False)
class _Row:
    """An action as far as each one has to be looked at.

    ``bad`` endpoints have failed or timed out. ``age`` is that of the data in seconds, None where it is not known.
    ``pace``, in endpoints per second, is None where it is not known or has nothing to say of this moment. ``left``
    is how many endpoints are not finished, less those that have by now if the pace held since the last poll.
    """

    tenant: TenantState
    state: ActionState
    phase: Phase
    attention: bool
    counts: tuple[int, ...] | None
    total: int
    finished: int
    bad: int
    age: float | None
    late: bool
    pace: float | None
    left: float


def survey(tenants: Sequence[TenantState], query: Query, now: float, *, share: Share | None = None) -> Overview:
    """Answer a query about tenants as they are at ``now``, a wall clock's time; ``share`` is handed on."""
    rows = _sorted(_matching(tenants, query, now), query)
    groups = _groups(rows, query.group)
    begin = (query.page - 1) * query.per_page
    summed_up: dict[str | None, Group] = {}

    def sum_up(value: str | None) -> Group:
        if value not in summed_up:
            summed_up[value] = Group(value, _totals(groups[value]))
        return summed_up[value]

    page = _page({None: rows} if query.group is None else groups, begin, begin + query.per_page)
    return Overview(
        now=now,
        tenants=tuple(map(judge, tenants)),
        all_actions=sum(len(tenant.states) for tenant in tenants),
        matching=len(rows),
        totals=_totals(rows),
        groups=tuple(sum_up(value) for value in list(groups)[:MAX_GROUPS]),
        groups_left_out=max(0, len(groups) - MAX_GROUPS),
        sections=tuple(
            Section(
                None if query.group is None else sum_up(value),
                tuple(_action_view(row) for row in shown),
            )
            for value, shown in page.items()
            if shown
        ),
        page=query.page,
        pages=max(1, -(-len(rows) // query.per_page)),
        label_names=_label_names(tenants),
        named=any(tenant.name is not None for tenant in tenants),
        share=share,
    )


def _label_names(tenants: Iterable[TenantState]) -> tuple[str, ...]:
    # Thousands of actions have the same few sets of labels.
    labels = {state.labels for tenant in tenants for state in tenant.states}
    return tuple(sorted({name for name, _ in chain.from_iterable(labels)}))


def _matching(tenants: Iterable[TenantState], query: Query, now: float) -> list[_Row]:
    asked = [tenant for tenant in tenants if query.tenant in {None, tenant.name}]
    if not query.text:
        rows = [_row(tenant, state, now) for tenant in asked for state in tenant.states]
    else:
        found = _finder(query.text)
        rows = [_row(tenant, state, now) for tenant in asked for state in tenant.states if found(state)]
    if query.label is not None:
        name, value = query.label
        rows = [row for row in rows if _group_value(row, name) == value]
    shown = _SHOWN[query.show]
    return rows if query.show is Show.ALL else [row for row in rows if shown(row)]


def _row(tenant: TenantState, state: ActionState, now: float) -> _Row:
    phase, status, age = state.phase, state.status, _age(tenant, state, now)
    failing = state.failure is not None or state.stale
    if status is None or state.stale:
        return _Row(tenant, state, phase, failing and not state.retired, None, 0, 0, 0, age, False, None, 0.0)  # noqa: FBT003 - as in the class
    counts, total, unfinished = status.counts, status.total, status.unfinished
    bad = counts[_FAILED] + counts[_TIMED_OUT]
    attention = (bad > 0 or failing) and not state.retired
    late = not state.settled and (age is None or age > _LATE_INTERVALS * tenant.interval_seconds)
    pace = None
    left = float(unfinished)
    # What an endpoint does while nobody can ask, no pace of before can tell.
    if state.pace is not None and state.failure is None and age is not None and not late:
        pace = state.pace.per_second
        if pace:
            left = max(0.0, left - pace * min(age, tenant.interval_seconds))
    return _Row(tenant, state, phase, attention, counts, total, total - unfinished, bad, age, late, pace, left)


def _age(tenant: TenantState, state: ActionState, now: float) -> float | None:
    """Return how many seconds ago an action's data was read, whatever the wall clock has done since."""
    if state.last_success is None:
        return None
    if state.read_at is not None:
        return max(0.0, tenant.snapshot.at - state.read_at)
    age = now - state.last_success
    return age if age >= 0 else None  # Read by an earlier process, at a time that is still to come.


_SHOWN: Mapping[Show, Callable[[_Row], bool]] = {
    Show.ALL: lambda _: True,
    Show.ATTENTION: lambda row: row.attention,
    Show.ACTIVE: lambda row: row.phase is Phase.ACTIVE,
    Show.SETTLED: lambda row: row.phase is Phase.SETTLED,
    Show.FAILING: lambda row: row.phase is Phase.FAILING,
    Show.WAITING: lambda row: row.phase is Phase.WAITING,
    Show.STALE: lambda row: row.state.stale,
    Show.RETIRED: lambda row: row.phase is Phase.RETIRED,
}


def _finder(text: str) -> Callable[[ActionState], bool]:
    """Return what tells whether an action has that text, or that label."""
    needle = text.casefold()
    pair = re.fullmatch("([^=:]+)([=:])(.*)", needle, re.DOTALL)

    def has_label(name: str, value: str) -> bool:
        if pair is None or pair[1] != name.casefold():
            return False
        return pair[3] == value if pair[2] == "=" else pair[3] in value

    def found(state: ActionState) -> bool:
        general_status = None if state.status is None else state.status.general_status
        if needle in state.action_id.casefold() or needle in (general_status or "").casefold():
            return True
        values = [(name, value.casefold()) for name, value in state.labels]
        return any(needle in value or has_label(name, value) for name, value in values)

    return found


def _sorted(rows: list[_Row], query: Query) -> list[_Row]:
    """Put actions in order; those that are alike by ID, and those without such a value last, either way round."""
    rows.sort(key=_by_id, reverse=query.descending and query.sort is Sort.ID)
    if query.sort is Sort.ID:
        return rows
    key = _KEYS[query.sort]
    keyed = [(key(row), row) for row in rows]
    known = [pair for pair in keyed if pair[0] is not None]
    known.sort(key=itemgetter(0), reverse=query.descending)
    return [row for _, row in known] + [row for value, row in keyed if value is None]


def _by_id(row: _Row) -> tuple[int, str]:
    """Order numbers by their length, which is by their size, and before text."""
    action_id = row.state.action_id
    return len(action_id) if action_id.isdecimal() else 1000, action_id


def _by_attention(row: _Row) -> tuple[int, float]:
    if row.phase is Phase.RETIRED:
        return 5, 0.0
    if row.bad:
        return 0, -row.bad
    if row.phase is Phase.FAILING or row.state.stale:
        return 1, 0.0
    if row.phase is Phase.WAITING:
        return 3, 0.0
    return (4, 0.0) if row.phase is Phase.SETTLED else (2, _share(row.finished, row.total) or 0.0)


# Within one order all values are of one type, or None.
_KEYS: Mapping[Sort, Callable[[_Row], Any]] = {
    Sort.ATTENTION: _by_attention,
    Sort.PROGRESS: lambda row: _share(row.finished, row.total),
    Sort.FAILED: lambda row: None if row.counts is None else row.bad,
    Sort.TOTAL: lambda row: None if row.counts is None else row.total,
    Sort.ETA: lambda row: _estimate(row.left, row.pace),
    Sort.AGE: lambda row: row.age,
}


def _groups(rows: Iterable[_Row], name: str | None) -> dict[str | None, list[_Row]]:
    """Return the actions by what is grouped by, the groups that need attention first; none if nothing is."""
    groups: dict[str | None, list[_Row]] = {}
    if name is None:
        return groups
    for row in rows:
        groups.setdefault(_group_value(row, name), []).append(row)
    return dict(sorted(groups.items(), key=lambda item: _group_order(*item)))


def _group_value(row: _Row, name: str) -> str | None:
    if name == "tenant":
        return row.tenant.name
    if name == "general_status":
        return None if row.state.status is None else row.state.status.general_status
    return dict(row.state.labels).get(name)


def _group_order(value: str | None, rows: Sequence[_Row]) -> tuple[float | str, ...]:
    attention = bad = finished = total = 0
    for row in rows:
        attention += row.attention
        bad += row.bad if row.attention else 0
        finished += row.finished
        total += row.total
    return -bad, -attention, _share(finished, total) or 0.0, value is None, value or ""


def _page(groups: Mapping[str | None, list[_Row]], begin: int, end: int) -> dict[str | None, list[_Row]]:
    """Return what of each group lies between two places, were all groups in a row."""
    page = {}
    passed = 0
    for value, rows in groups.items():
        page[value] = rows[max(0, begin - passed) : max(0, end - passed)]
        passed += len(rows)
    return page


def _totals(rows: Sequence[_Row]) -> Totals:
    phases = Counter(row.phase for row in rows)
    known = [row for row in rows if row.counts is not None]
    counts = tuple(map(sum, zip(*(row.counts for row in known), strict=True))) or (0,) * len(STATUSES)
    finished = sum(row.finished for row in known)
    moving = [row for row in known if not row.state.settled]
    oldest = max(moving, key=_age_or_more, default=None)
    paces = [row.pace for row in moving if row.pace is not None]
    return Totals(
        actions=len(rows),
        phases={phase: phases[phase] for phase in Phase},
        attention=sum(row.attention for row in rows),
        stale=sum(row.state.stale for row in rows),
        unknown=len(rows) - len(known),
        late=sum(row.late or row.state.failure is not None for row in moving),
        oldest_success=None if oldest is None else oldest.state.last_success,
        oldest_age_seconds=None if oldest is None else oldest.age,
        unmeasured=len(moving) - len(paces),
        counts=counts,
        total=sum(counts),
        finished=finished,
        failed=counts[_FAILED],
        timed_out=counts[_TIMED_OUT],
        share_done=_share(finished, sum(counts)),
        pace_per_hour=_per_hour(sum(paces) if paces else None),
        remaining_seconds=_longest_estimate(rows),
    )


def _age_or_more(row: _Row) -> float:
    return float("inf") if row.age is None else row.age


def _longest_estimate(rows: Iterable[_Row]) -> float | None:
    """Return in how many seconds the last action ends, None if of one that is not finished nobody can tell."""
    longest = None
    for row in rows:
        if row.state.settled and not row.state.stale:
            continue
        seconds = 0.0 if _has_nobody_left(row) else _estimate(row.left, row.pace)
        if seconds is None:
            return None
        longest = seconds if longest is None else max(longest, seconds)
    return longest


def _has_nobody_left(row: _Row) -> bool:
    """Tell whether by new counts all endpoints have finished, even if the general status is not a final one."""
    return 0 < row.total == row.finished and not row.late and row.state.failure is None


def _action_view(row: _Row) -> ActionView:
    state, counts = row.state, row.counts
    return ActionView(
        tenant=row.tenant.name,
        action_id=state.action_id,
        labels=state.labels,
        phase=row.phase,
        settled=state.settled,
        attention=row.attention,
        general_status=None if state.status is None else state.status.general_status,
        counts=counts,
        total=None if counts is None else row.total,
        finished=None if counts is None else row.finished,
        failed=None if counts is None else counts[_FAILED],
        timed_out=None if counts is None else counts[_TIMED_OUT],
        share_done=_share(row.finished, row.total),
        pace_per_hour=_per_hour(row.pace),
        remaining_seconds=_estimate(row.left, row.pace),
        last_success=state.last_success,
        age_seconds=row.age,
        last_change=state.last_change,
        stale=state.stale,
        late=row.late,
        problem=None if state.retired else explain(state.failure, state.failure_detail),
    )


def _share(finished: int, total: int) -> float | None:
    return finished / total if total else None


def _per_hour(pace: float | None) -> float | None:
    return None if pace is None else pace * 3600


def _estimate(left: float, pace: float | None) -> float | None:
    """Return how many seconds the endpoints that are left take at a pace per second, None if that says nothing."""
    if not pace:
        return None
    seconds = left / pace
    return seconds if seconds <= _LONGEST_ESTIMATE_SECONDS else None
