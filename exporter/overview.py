"""What a person wants to know of all tenants and actions, as data: totals first, then a page of actions.

The rule: it is derived from what polls have found and from nothing else. What is not known is None and never 0;
an estimate is called one.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from exporter.errors import Reason
from exporter.sharding import Share
from exporter.snapshot import TenantSnapshot
from exporter.store import Labels, Phase

MAX_GROUPS = 100
"""How many groups an overview sums up; of further ones it says how many there are."""


class Health(StrEnum):
    """How a tenant is: ``unknown`` before its first answer, ``strained`` if polls are too slow or throttled."""

    WELL = "well"
    STRAINED = "strained"
    UNWELL = "unwell"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a poll failed, in words, and what to do about it; ``detail`` is what is known besides, if anything.

    With ``said`` it is what the API answered, else what went wrong on the way to it, or with its answer. It is
    another's text: one printable line of at most 200 characters, to be escaped where it is shown.
    """

    reason: Reason
    words: str
    advice: str
    detail: str | None
    said: bool


@dataclass(frozen=True, slots=True)
class TenantView:
    """How a tenant is.

    ``name`` is None for the only, unnamed one, ``host`` that of the API's URL. ``budget`` is the configured limit,
    in requests per second. ``verdict`` is a sentence, ``advice`` what to do, empty where there is nothing to do;
    ``problem`` is why the last request failed, where the tenant is not up.
    """

    name: str | None
    host: str
    budget: float
    health: Health
    verdict: str
    advice: str
    problem: Problem | None
    snapshot: TenantSnapshot

    @property
    def share_used(self) -> float:
        """What was sent of late as a share of the budget, from 0 to about 1."""
        return self.snapshot.rate_used / self.budget


@dataclass(frozen=True, slots=True)
class ActionView:
    """How far an action is, and how well that is known.

    ``tenant`` is None where tenants have no names. ``counts`` are in the order of
    :data:`exporter.status.STATUSES`. They, and ``total``, ``finished`` (endpoints in a final status), ``failed``
    and ``timed_out``, are None before the first successful poll and while they are stale. ``share_done`` is
    ``finished / total``, from 0 to 1; None also where there is no endpoint.

    ``pace_per_hour`` is how many endpoints have finished per hour of late, None where that is not known: after the
    first poll, when the action is settled, and while its last poll failed or its data is late.
    ``remaining_seconds`` is the time that the others take at that pace, None without a pace above 0. Both are
    estimates.

    Timestamps are wall-clock seconds of the Unix epoch: ``last_success`` is when the counts were read,
    ``age_seconds`` how long ago that was, None also where a clock that was set back hides it, ``last_change`` when
    a count or the general status last changed. ``settled`` says that the counts are final, ``stale`` that they are
    too old to be shown, ``late`` that they are not final, older than three intervals, or of an unknown age, and
    not stale yet. ``attention`` is whether somebody should look: endpoints have failed or timed out, the last poll
    failed or the data is stale, and the action is not retired. ``problem`` is why the last poll failed, None if it
    did not or the action is retired.
    """

    tenant: str | None
    action_id: str
    labels: Labels
    phase: Phase
    settled: bool
    attention: bool
    general_status: str | None
    counts: tuple[int, ...] | None
    total: int | None
    finished: int | None
    failed: int | None
    timed_out: int | None
    share_done: float | None
    pace_per_hour: float | None
    remaining_seconds: float | None
    last_success: float | None
    age_seconds: float | None
    last_change: float | None
    stale: bool
    late: bool
    problem: Problem | None


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over actions, retired ones included: a campaign does not shrink when its actions retire.

    ``phases`` has every phase; ``attention`` and ``stale`` are numbers of actions, ``unknown`` of those without
    counts, which are in ``actions`` and in no other sum. Of unfinished actions with counts, ``late`` is how many
    are in the sums with old ones, because their data is late or their last poll failed; ``oldest_success`` is when
    the oldest counts were read, ``oldest_age_seconds`` how long ago that was, None where there are none or it is
    not known; and ``unmeasured`` is how many have no pace.

    ``counts`` are in the order of :data:`exporter.status.STATUSES`; ``total``, ``finished``, ``failed`` and
    ``timed_out`` are endpoints. ``share_done`` is that of the actions with counts, None where there is no
    endpoint. ``pace_per_hour`` is the sum of what is measured, None if nothing is. ``remaining_seconds`` is the
    longest estimate of an action, and None while one that is not finished has none, be it that it has no counts:
    the end of all is not known then.
    """

    actions: int
    phases: Mapping[Phase, int]
    attention: int
    stale: int
    unknown: int
    late: int
    oldest_success: float | None
    oldest_age_seconds: float | None
    unmeasured: int
    counts: tuple[int, ...]
    total: int
    finished: int
    failed: int
    timed_out: int
    share_done: float | None
    pace_per_hour: float | None
    remaining_seconds: float | None


@dataclass(frozen=True, slots=True)
class Group:
    """The actions that have one value of the label that is grouped by; None: those without that label."""

    value: str | None
    totals: Totals


@dataclass(frozen=True, slots=True)
class Section:
    """What of one group is on the page; ``group`` is None, and there is one section, where nothing is grouped."""

    group: Group | None
    actions: tuple[ActionView, ...]


@dataclass(frozen=True, slots=True)
class Overview:
    """The answer to a query.

    ``now`` is the wall-clock time that it is of. ``tenants`` are all, whatever the query. ``totals`` and
    ``groups`` are of all actions that match, not only of the page's: ``matching`` of ``all_actions``. The groups
    are in order, those that need attention first, at most :data:`MAX_GROUPS`; ``groups_left_out`` is how many more
    there are.
    ``sections`` are the page's actions: group after group, in a group as sorted. ``pages`` is at least 1, and a
    ``page`` beyond has no sections. ``label_names`` are the names of all actions' labels, sorted; ``named`` is
    whether tenants have names. ``share`` is which of the configured tenants these are, None where they are all.
    """

    now: float
    tenants: tuple[TenantView, ...]
    all_actions: int
    matching: int
    totals: Totals
    groups: tuple[Group, ...]
    groups_left_out: int
    sections: tuple[Section, ...]
    page: int
    pages: int
    label_names: tuple[str, ...]
    named: bool
    share: Share | None = None

    @property
    def actions(self) -> tuple[ActionView, ...]:
        """The page's actions, without their groups."""
        return tuple(action for section in self.sections for action in section.actions)
