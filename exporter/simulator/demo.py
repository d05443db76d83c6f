"""A tenant worth looking at: a dozen actions in two campaigns that move, fail, time out and last."""

import secrets
import string
from collections.abc import Callable
from typing import Literal

from exporter.simulator import lives
from exporter.simulator.tenant import SimulatedTenant

FIRST_ACTION_ID = 22519813685366
"""The vendor's example; the demo's action IDs count up from it."""

_KEY_CHARACTERS = string.ascii_letters + string.digits

_SMB = {"campaign": "disable-smbv1", "team": "endpoint-ops"}
_ADMIN = {"campaign": "rotate-local-admin", "team": "identity"}

# At a speed of 60, a minute of the demo is an hour of these.
_SCENES: list[tuple[dict[str, str], float, Callable[[int], lives.Life]]] = [
    (_SMB | {"wave": "pilot"}, 0, lives.quick_success),
    (_SMB | {"wave": "servers"}, 0, lambda seed: lives.timing_out(seed, endpoints=90)),
    (_SMB | {"wave": "laptops"}, 1800, lives.slow_rollout),
    (_SMB | {"wave": "desktops"}, 0, lambda seed: lives.slow_rollout(seed, spread_seconds=8 * 3600)),
    (_SMB | {"wave": "kiosks"}, 0, lambda seed: lives.expiring(seed, after_seconds=5 * 3600)),
    (_SMB | {"wave": "branches"}, -1200, lambda seed: lives.slow_rollout(seed, spread_seconds=24 * 3600)),
    (_ADMIN | {"wave": "pilot"}, -300, lambda seed: lives.quick_success(seed, endpoints=25)),
    (_ADMIN | {"wave": "legacy"}, 0, lambda seed: lives.failing(seed, endpoints=12, share=1)),
    (_ADMIN | {"wave": "servers"}, 0, lives.failing),
    (_ADMIN | {"wave": "laptops"}, 0, lives.aborted),
    (_ADMIN | {"wave": "laptops-retry"}, -2700, lambda seed: lives.slow_rollout(seed, endpoints=200)),
    (_ADMIN | {"wave": "labs"}, 0, lives.cancelled),
]


def demo_tenant(
    *,
    speed: float = 60.0,
    seed: int = 0,
    actions: int = len(_SCENES),
    first_action_id: int = FIRST_ACTION_ID,
    key_id: int = 7,
    key: str | None = None,
    key_type: Literal["advanced", "standard"] = "advanced",
    requests_per_second: int = 10,
) -> tuple[SimulatedTenant, list[tuple[str, dict[str, str]]]]:
    """Make a tenant with that many actions, and list its action IDs with a label set for each.

    Without a ``key`` it is drawn at random: read it from the tenant.
    """
    tenant = SimulatedTenant(
        key_id=key_id,
        key=key or random_key(),
        key_type=key_type,
        requests_per_second=requests_per_second,
        speed=speed,
    )
    labelled = []
    for number in range(actions):
        labels, age_seconds, life = _SCENES[number % len(_SCENES)]
        action_id = str(first_action_id + number)
        tenant.add(action_id, life(seed + number), age_seconds=age_seconds)
        labelled.append((action_id, dict(labels)))
    return tenant, labelled


def random_key() -> str:
    """Draw a key of the length that the vendor's have."""
    return "".join(secrets.choice(_KEY_CHARACTERS) for _ in range(128))
