"""What each kind of step does when it begins and when it ends.

The rule: an end takes back whatever was a fault; what is a change stays, and the world knows of it. A step
that finds the exporter wrong raises AssertionError.
"""

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from random import Random

from soak.faults import FAULTS
from soak.lives import Lives
from soak.plan import CHANGES, MOVES, RESTARTS, TROUBLES, Size, Step
from soak.readings import Samples, family
from soak.world import Source, TenantWorld, World, draw_key, overwrite, replace

_FAMILY = "cortex_xdr_script_execution"
_BROKEN_CONFIGURATIONS = (
    "tenants: [",
    "",
    "tenants: []\n",
    "tenants: [{name: t0, api: {url: 'https://api-a.xdr.us.paloaltonetworks.com', key_id: 7, key_file: none}}]\n",
    "unknown: 1\n",
)
_BROKEN_ACTION_FILES = ("- 1\n- [", "actions: 3\n", "- {id: true}\n", "- 7\n- 7.5\n", "\x00")
_STATE_DELAY_SECONDS = 10.0


class Stage:
    """What steps act upon."""

    def __init__(self, world: World, lives: Lives, size: Size) -> None:
        self.world = world
        self.lives = lives
        self.size = size


def perform(stage: Stage, step: Step) -> AbstractContextManager[None]:
    """Return a context: entering it begins the step, leaving it ends the step."""
    chance = Random(step.seed)
    if step.tenant is None:
        return _OF_THE_EXPORTER[step.kind](stage, chance)
    tenant = stage.world.tenants[step.tenant]
    if step.kind in FAULTS:
        return _fault(stage, chance, tenant, step.kind)
    return _OF_A_TENANT[step.kind](tenant, chance)


@contextmanager
def _fault(stage: Stage, chance: Random, tenant: TenantWorld, kind: str) -> Iterator[None]:
    """Let all answers of a tenant go wrong, or those about half of its actions."""
    fault = FAULTS[kind](stage.size.timeout_seconds)
    actions = sorted(tenant.actions)
    tenant.simulated.inject(fault, chance.choice(([None], chance.sample(actions, len(actions) // 2))))
    yield
    tenant.simulated.clear()


@contextmanager
def _server_stopped(tenant: TenantWorld, _: Random) -> Iterator[None]:
    tenant.simulated.stop()
    yield
    tenant.simulated.start()


@contextmanager
def _counts_move(tenant: TenantWorld, chance: Random) -> Iterator[None]:
    tenant.move(chance.sample(sorted(tenant.lives), len(tenant.lives) // 4), chance)
    yield


@contextmanager
def _key_rotated(tenant: TenantWorld, chance: Random) -> Iterator[None]:
    key = draw_key(chance)
    tenant.write_key(key)
    yield
    tenant.simulated.rotate(key)


@contextmanager
def _key_rotated_late(tenant: TenantWorld, chance: Random) -> Iterator[None]:
    key = draw_key(chance)
    tenant.simulated.rotate(key)
    yield
    tenant.write_key(key)


@contextmanager
def _reloaded(stage: Stage, chance: Random, way: str) -> Iterator[None]:
    """Change actions, labels and limits of a few tenants in the configuration."""
    changes = {}
    for tenant in chance.sample(stage.world.tenants, max(1, len(stage.world.tenants) // 5)):
        changes[tenant.name] = tenant.edit(Source.CONFIGURATION, chance)
        highest = stage.size.requests_per_second
        tenant.requests_per_second = chance.choice((highest, highest * 0.9))
        tenant.timeout_seconds = stage.size.timeout_seconds * chance.choice((1, 1.5))
    stage.world.write_configuration()
    status = stage.lives.reload(way)
    if status is not None:
        assert status == 200, f"POST /-/reload answered {status} to a good configuration"
        there = set(_tracked(stage.lives.scrape()[1]))
        for name, (removed, added) in changes.items():
            kept = sorted(action_id for action_id in removed if (name, action_id) in there)
            missing = sorted(action_id for action_id in added if (name, action_id) not in there)
            assert not kept, f"after the reload {name} still has {kept}"
            assert not missing, f"after the reload {name} has no {missing}"
    yield


@contextmanager
def _configuration_broken(stage: Stage, chance: Random) -> Iterator[None]:
    ways = ("SIGHUP", "POST", "file")
    write = chance.choice((replace, overwrite))
    write(stage.world.configuration_path, chance.choice(_BROKEN_CONFIGURATIONS))
    status = stage.lives.reload(chance.choice(ways))
    assert status in {None, 500}, f"POST /-/reload answered {status} to a broken configuration"
    yield
    stage.lives.wait_for_reload(successful=False)
    stage.world.write_configuration()
    stage.lives.reload(chance.choice(ways))
    stage.lives.wait_for_reload(successful=True)


@contextmanager
def _tenant_removed(stage: Stage, chance: Random) -> Iterator[None]:
    tenant = chance.choice(stage.world.tenants)
    tenant.tracked = False
    stage.world.write_configuration()
    status = stage.lives.reload("POST")
    assert status == 200, f"POST /-/reload answered {status} when a tenant was left out"
    left = [key for key in stage.lives.scrape()[1] if ("tenant", tenant.name) in key[1]]
    assert not left, f"{tenant.name} was removed and is still there: {left[:3]}"
    yield
    tenant.tracked = True
    tenant.changed_at.update(dict.fromkeys(tenant.lives, time.monotonic()))
    stage.world.write_configuration()
    stage.lives.reload("SIGHUP")


@contextmanager
def _action_file_changed(stage: Stage, chance: Random, source: Source, *, in_place: bool) -> Iterator[None]:
    for tenant in chance.sample(stage.world.tenants, max(1, len(stage.world.tenants) // 5)):
        tenant.edit(source, chance)
        tenant.write(source, in_place=in_place)
    yield


@contextmanager
def _action_file_broken(stage: Stage, chance: Random) -> Iterator[None]:
    tenant = chance.choice(stage.world.tenants)
    write = chance.choice((replace, overwrite))
    write(tenant.folder / Source.PLAIN, chance.choice(_BROKEN_ACTION_FILES))
    yield
    stage.lives.wait_for(lambda samples: _broken_files(samples) == 1, "one action file that cannot be read")
    tenant.edit(Source.PLAIN, chance)
    tenant.write(Source.PLAIN)
    stage.lives.wait_for(lambda samples: not _broken_files(samples), "action files that can be read again")


@contextmanager
def _started_anew(stage: Stage, _: Random, number: signal.Signals) -> Iterator[None]:
    """End the exporter and start it: what it said a while before must be there at once."""
    before = stage.lives.scrape()[1]
    read_at = time.time()
    yield
    code = stage.lives.end(number)
    expected = 0 if number is signal.SIGTERM else -number
    assert code == expected, f"ended with {code}, not {expected}, by {number.name}"
    stage.lives.start()
    after = stage.lives.scrape()[1]
    there = set(_tracked(after))
    lost = []
    times, times_before = _last_successes(after), _last_successes(before)
    for action, at in times_before.items():
        # Written behind the polls: what is only just known may be lost, and what grows old is withdrawn.
        if action in there and at < read_at - _STATE_DELAY_SECONDS and times.get(action, 0) < at:
            lost.append(action)
    assert not lost, f"{len(lost)} actions have forgotten what they were, such as {lost[0]}"
    withdrawn_before = read_at - stage.size.stale_after_seconds / 2
    counted = family(after, f"{_FAMILY}_endpoints", "tenant", "action_id")
    for action, at in times_before.items():
        if action in there and withdrawn_before < at < read_at - _STATE_DELAY_SECONDS:
            assert action in counted, f"{action} has no counts after the restart"


def _tracked(samples: Samples) -> dict[tuple[str, ...], float]:
    return family(samples, f"{_FAMILY}_labels", "tenant", "action_id")


def _last_successes(samples: Samples) -> dict[tuple[str, ...], float]:
    return family(samples, f"{_FAMILY}_last_success_timestamp_seconds", "tenant", "action_id")


def _broken_files(samples: Samples) -> int:
    read = family(samples, "cortex_xdr_exporter_action_file_last_read_successful", "tenant", "file")
    return list(read.values()).count(0)


_OF_A_TENANT: dict[str, Callable[[TenantWorld, Random], AbstractContextManager[None]]] = {
    "server stopped": _server_stopped,
    "counts move": _counts_move,
    "key rotated": _key_rotated,
    "key rotated late": _key_rotated_late,
}
_OF_THE_EXPORTER: dict[str, Callable[[Stage, Random], AbstractContextManager[None]]] = {
    "killed": lambda stage, chance: _started_anew(stage, chance, signal.SIGKILL),
    "restarted": lambda stage, chance: _started_anew(stage, chance, signal.SIGTERM),
    "reload by SIGHUP": lambda stage, chance: _reloaded(stage, chance, "SIGHUP"),
    "reload by POST": lambda stage, chance: _reloaded(stage, chance, "POST"),
    "reload by file": lambda stage, chance: _reloaded(stage, chance, "file"),
    "configuration broken": _configuration_broken,
    "tenant removed": _tenant_removed,
    "action file replaced": lambda s, c: _action_file_changed(s, c, Source.PLAIN, in_place=False),
    "action file rewritten": lambda s, c: _action_file_changed(s, c, Source.PLAIN, in_place=True),
    "action file swapped": lambda s, c: _action_file_changed(s, c, Source.LINKED, in_place=False),
    "action file broken": _action_file_broken,
}

assert {*_OF_A_TENANT, *_OF_THE_EXPORTER, *FAULTS} == {*TROUBLES, *MOVES, *CHANGES, *RESTARTS}
