"""The world around the exporter: simulated tenants, and the files that say what to track and with which keys.

The rule: every change goes through here, so that what ``/metrics`` has to say can be told at any moment.
"""

import json
import time
from collections.abc import Iterable, Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Literal

from soak.plan import Size
from soak.readings import Samples, sample
from soak.tenants import KEY_ID, TenantsProcess

from exporter.simulator.demo import FIRST_ACTION_ID
from exporter.simulator.lives import STATUSES, Counts, Fixed, general_status

KEY_MARK = "soakkey"
"""Every key that is ever used begins and ends with it, so that one search finds any."""

_SPARE_SHARE = 0.1

Labels = Mapping[str, str]


class Source(StrEnum):
    """Where an action is listed: in the configuration, or in an action file of that name."""

    CONFIGURATION = "config.yaml"
    PLAIN = "plain.yaml"
    LINKED = "linked.yaml"
    """Behind two links, as a mounted ConfigMap is."""


def draw_key(chance: Random) -> str:
    """Draw a key of the length that the vendor's have."""
    return f"{KEY_MARK}{chance.getrandbits(456):0114x}{KEY_MARK}"


def draw_life(chance: Random) -> Fixed:
    """Draw what an action looks like; one in five is finished."""
    counts = Counts(*(chance.choice((0, chance.randrange(1000))) for _ in STATUSES))
    if chance.random() < 0.2:
        counts = counts._replace(pending=0, in_progress=0, pending_abort=0, completed_successfully=1)
    return Fixed(general_status(counts), counts)


class TenantWorld:
    """One tenant, its server, its key file, and its actions, listed or not."""

    def __init__(self, name: str, folder: Path, chance: Random, size: Size, *, process: TenantsProcess) -> None:
        self.name = name
        folder.mkdir()
        self.folder = folder
        self.key_path = folder / "key"
        self.tracked = True
        self.requests_per_second = size.requests_per_second
        self.timeout_seconds = size.timeout_seconds
        key_type: Literal["advanced", "standard"] = chance.choice(("advanced", "standard"))
        self.key_type = key_type
        key = draw_key(chance)
        self.write_key(key)
        self.simulated = process.add(key, key_type, size.limit)
        self.url = self.simulated.url()
        self.lives: dict[str, Fixed] = {}
        self.listed: dict[Source, dict[str, Labels]] = {source: {} for source in Source}
        self.changed_at: dict[str, float] = {}
        self._versions = 0
        each = size.actions // size.tenants
        for number in range(round(each * (1 + _SPARE_SHARE))):
            # Some IDs are text, with what has to be escaped in it.
            action_id = str(FIRST_ACTION_ID + number) + chance.choice(("", "", "", '"\\'))
            self.lives[action_id] = draw_life(chance)
            if number < each:
                self.listed[chance.choice(list(Source))][action_id] = _labels(chance)
        self.simulated.hold(self.lives)
        for source in Source:
            self.write(source)

    @property
    def actions(self) -> dict[str, Labels]:
        """The actions that are listed anywhere, with their labels."""
        return {action_id: labels for listed in self.listed.values() for action_id, labels in listed.items()}

    def section(self) -> dict[str, object]:
        """Return the tenant's entry in the configuration."""
        api = {
            "url": self.url,
            "key_id": KEY_ID,
            "key_type": self.key_type,
            "key_file": str(self.key_path),
            "requests_per_second": self.requests_per_second,
            "timeout": f"{round(1000 * self.timeout_seconds)}ms",
        }
        return {
            "name": self.name,
            "api": api,
            "actions": _entries(self.listed[Source.CONFIGURATION]),
            "action_files": [f"{self.folder.name}/*.yaml"],
        }

    def write_key(self, key: str) -> None:
        """Put a key into the key file."""
        replace(self.key_path, key + "\n")

    def edit(self, source: Source, chance: Random) -> tuple[set[str], set[str]]:
        """List a few actions no more, others anew, some with other labels; return which were removed and added.

        The file is another matter.
        """
        listed = self.listed[source]
        few = max(1, len(listed) // 10)
        spare = [action_id for action_id in self.lives if action_id not in self.actions]
        removed = set(chance.sample(sorted(listed), chance.randint(0, min(few, len(listed)))))
        added = set(chance.sample(spare, chance.randint(0, min(few, len(spare)))))
        for action_id in removed:
            del listed[action_id]
        for action_id in [*sorted(added), *chance.sample(sorted(listed), min(few, len(listed)))]:
            listed[action_id] = _labels(chance)
        self.changed_at.update(dict.fromkeys(removed | added, time.monotonic()))
        return removed, added

    def write(self, source: Source, *, in_place: bool = False) -> None:
        """Write an action file as it should be; the configuration is the world's."""
        text = json.dumps(_entries(self.listed[source]), indent=1)
        if source is Source.LINKED:
            self._versions += 1
            version = self.folder / f"..{self._versions}"
            version.mkdir()
            (version / source).write_text(text)
            _link(self.folder / "..data", version.name)
            _link(self.folder / source, f"..data/{source}")
            old = self.folder / f"..{self._versions - 1}"
            if old.exists():
                (old / source).unlink()
                old.rmdir()
        elif source is Source.PLAIN:
            write = overwrite if in_place else replace
            write(self.folder / source, text)

    def move(self, action_ids: Iterable[str], chance: Random) -> None:
        """Let these actions have other counts."""
        moved = {action_id: draw_life(chance) for action_id in action_ids}
        self.lives.update(moved)
        self.simulated.hold(moved)


class World:
    """All tenants and the configuration, in one folder."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        size: Size,
        process: TenantsProcess,
    ) -> None:
        self.folder = folder
        self.configuration_path = folder / "config.yaml"
        self.state_path = folder / "state.sqlite"
        self._size = size
        chance = Random(f"{seed} world")
        self.tenants = [
            TenantWorld(f"t{number}", folder / f"t{number}", chance, size, process=process)
            for number in range(size.tenants)
        ]
        self.write_configuration()

    def write_configuration(self) -> None:
        """Write the configuration as it should be."""
        poll = {
            "interval": f"{round(1000 * self._size.interval_seconds)}ms",
            "settled_interval": f"{round(1000 * self._size.settled_interval_seconds)}ms",
            "stale_after": f"{round(1000 * self._size.stale_after_seconds)}ms",
            "retire_after": "0s",
        }
        configuration = {
            "tenants": [tenant.section() for tenant in self.tenants if tenant.tracked],
            "poll": poll,
            "state": {"path": str(self.state_path)},
        }
        replace(self.configuration_path, json.dumps(configuration, indent=1))

    def state_bytes(self) -> bytes:
        """Return what is in the state file, and in those beside it."""
        return b"".join(path.read_bytes() for path in self.folder.glob(f"{self.state_path.name}*"))

    def expected(self) -> Samples:
        """Return the samples of the actions once every one is polled well."""
        return {key: value for tenant in self.tenants if tenant.tracked for key, value in _samples(tenant)}

    def wrongly_tracked(self, seen: set[tuple[str, str]], *, grace_seconds: float) -> list[str]:
        """Say which actions are there but should not be, or not but should, unless that changed just now."""
        should = {
            (tenant.name, action_id) for tenant in self.tenants if tenant.tracked for action_id in tenant.actions
        }
        changed_at = {
            (tenant.name, action_id): at for tenant in self.tenants for action_id, at in tenant.changed_at.items()
        }
        before = time.monotonic() - grace_seconds
        wrong = [action for action in seen ^ should if changed_at.get(action, 0.0) < before]
        words = ("is missing", "should not be there")
        return [
            f"action {action_id} of {tenant} {words[(tenant, action_id) in seen]}" for tenant, action_id in wrong
        ]


def _samples(tenant: TenantWorld) -> Iterator[tuple[tuple[str, frozenset[tuple[str, str]]], float]]:
    family = "cortex_xdr_script_execution"
    for action_id, labels in tenant.actions.items():
        identity = {"tenant": tenant.name, "action_id": action_id}
        life = tenant.lives[action_id]
        for status, count in zip(STATUSES, life.counts, strict=True):
            yield sample(f"{family}_endpoints", {**identity, "status": status}), count
        yield sample(f"{family}_info", {**identity, "general_status": life.general_status}), 1
        yield sample(f"{family}_labels", {**identity, **labels}), 1
        yield sample(f"{family}_poll_success", identity), 1


def _entries(listed: Mapping[str, Labels]) -> list[object]:
    return [
        {"id": int(action_id) if action_id.isdecimal() else action_id, "labels": dict(labels)}
        for action_id, labels in listed.items()
    ]


def _labels(chance: Random) -> Labels:
    labels = {"campaign": f"c{chance.randrange(10)}", "wave": chance.choice(("pilot", "broad"))}
    if chance.random() < 0.1:
        labels["note"] = 'a "quoted" back\\slash\nand ümläut'
    return labels


def replace(path: Path, text: str) -> None:
    """Write a file so that no reader sees half of it."""
    new = path.with_name(f".{path.name}.new")
    new.write_text(text)
    new.replace(path)


def overwrite(path: Path, text: str) -> None:
    """Write a file as an editor without manners does: empty for a moment, then in two pieces."""
    with path.open("w") as file:
        file.write(text[: len(text) // 2])
        file.flush()
        time.sleep(0.02)
        file.write(text[len(text) // 2 :])


def _link(path: Path, target: str) -> None:
    new = path.with_name(f".{path.name}.new")
    new.unlink(missing_ok=True)
    new.symlink_to(target)
    new.replace(path)
