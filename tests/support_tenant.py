"""Tenants as their pollers and the configuration describe them, well unless a test says otherwise."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

from exporter.snapshot import TenantSnapshot, TenantState
from exporter.store import ActionState, Phase


def tenant_snapshot(states: Sequence[ActionState] = (), **more: Any) -> TenantSnapshot:
    """Make the snapshot of a tenant that is well, with actions in these states."""
    phases = Counter(state.phase for state in states)
    usual: dict[str, Any] = {
        "up": True,
        "failure": None,
        "failure_detail": None,
        "phases": {phase: phases[phase] for phase in Phase},
        "lag_seconds": 0.0,
        "rate_limit": 5.0,
        "rate_demand": 1.5,
        "rate_used": 1.25,
        "throttled": False,
        "at": 1000.0,
    }
    return TenantSnapshot(**(usual | more))


def tenant_state(
    states: Sequence[ActionState], *, name: str | None = None, budget: float = 5.0, **more: Any
) -> TenantState:
    """Make the state of a tenant that is polled every minute; what is given besides belongs to its snapshot."""
    return TenantState(
        name=name,
        host="api-acme.example",
        budget=budget,
        interval_seconds=60.0,
        snapshot=tenant_snapshot(states, **more),
        states=states,
    )
