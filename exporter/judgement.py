"""How a tenant is, in words: well or not, what it suffers from most, and what to do about it.

The rule: the worst is told, and only that. An action's own fault is not the tenant's.
"""

from exporter import advice
from exporter.errors import Reason
from exporter.overview import Health, Problem, TenantView
from exporter.ratelimit import PACE
from exporter.snapshot import TenantState
from exporter.store import Phase

_BLAMES_ACTION = {Reason.SERVER_ERROR, Reason.TIMEOUT, Reason.CLIENT_ERROR, Reason.BAD_RESPONSE}
_SAID_BY_API = {
    *(Reason.NOT_FOUND, Reason.UNAUTHORIZED, Reason.LICENSE, Reason.FORBIDDEN, Reason.THROTTLED),
    *(Reason.SERVER_ERROR, Reason.CLIENT_ERROR),
}


def judge(tenant: TenantState) -> TenantView:
    """Say how a tenant is."""
    snapshot = tenant.snapshot
    problem = None if snapshot.up else explain(snapshot.failure, snapshot.failure_detail)
    health, (verdict, what_to_do) = _verdict(tenant, problem)
    return TenantView(
        name=tenant.name,
        host=tenant.host,
        budget=tenant.budget,
        health=health,
        verdict=verdict,
        advice=what_to_do,
        problem=problem,
        snapshot=snapshot,
    )


def explain(reason: Reason | None, detail: str | None) -> Problem | None:
    """Put into words why a poll failed, None if none did."""
    if reason is None:
        return None
    words, what_to_do = advice.OWN_PROBLEMS.get(detail, advice.PROBLEMS[reason])
    return Problem(reason, words, what_to_do, detail, said=detail is not None and reason in _SAID_BY_API)


def _verdict(tenant: TenantState, problem: Problem | None) -> tuple[Health, tuple[str, str]]:
    phases = tenant.snapshot.phases
    polled = sum(phases.values()) - phases[Phase.RETIRED]
    if tenant.snapshot.up is None:
        if not tenant.states:
            return Health.UNKNOWN, advice.NOTHING_TRACKED
        return Health.UNKNOWN, advice.NO_ANSWER if polled else advice.ALL_RETIRED
    if problem is not None:
        # One action can make the API fail, and the others be answered.
        answers = phases[Phase.ACTIVE] + phases[Phase.SETTLED] > 0
        apart = answers and problem.reason in _BLAMES_ACTION
        verdict = f"{advice.ONE_REQUEST} {problem.words}" if apart else problem.words
        return Health.UNWELL, (verdict, problem.advice)
    strain = _strain(tenant, polled)
    return (Health.WELL, advice.WELL) if strain is None else (Health.STRAINED, strain)


def _strain(tenant: TenantState, polled: int) -> tuple[str, str] | None:
    """Return what a tenant that answers suffers from most, None if from nothing."""
    snapshot = tenant.snapshot
    if snapshot.throttled:
        return advice.THROTTLED_LATELY
    if snapshot.rate_demand > tenant.budget * PACE:
        highest = tenant.budget >= advice.MOST_REQUESTS_PER_SECOND
        return advice.OVER_HIGHEST_BUDGET if highest else advice.OVER_BUDGET
    failing = snapshot.phases[Phase.FAILING]
    stale = sum(state.stale for state in tenant.states if state.failure is None)
    if failing or stale:
        return advice.without_news(failing, stale, polled)
    return advice.LATE if snapshot.lag_seconds > tenant.interval_seconds else None
