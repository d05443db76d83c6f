"""The tenants that are polled: a poller and a client for each, made, changed and ended as configured.

The rule: what can fail is prepared before anything changes, so that a configuration is taken up as a whole or
not at all. What stays keeps its state; a tenant at another URL is another tenant.
"""

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from structlog.typing import FilteringBoundLogger

from exporter.config import ApiSettings, Configuration, PollSettings, Tenant
from exporter.config.values import read_key
from exporter.cortex import AdvancedKey, CortexClient, StandardKey
from exporter.exposition import Exposition
from exporter.flights import max_workers
from exporter.journal import Journal
from exporter.key_file import KeyFile, Secret
from exporter.poller import Changes, Pacing, TenantPoller
from exporter.snapshot import TenantState
from exporter.store import ActionState, Phase, Record, Source
from exporter.telemetry import Telemetry
from exporter.tracking import Entry

if TYPE_CHECKING:
    from exporter.state_file import StateFile

_MOST_IDS_TOLD = 10
_FINISHED = (Phase.SETTLED, Phase.RETIRED)


Tracked = Callable[[str | None], Sequence[Entry]]
"""Which actions of a tenant are tracked, by its name."""


@dataclass(frozen=True, slots=True)
class _Access:
    """How a tenant's API is reached: the client, and its key if that follows a file."""

    client: CortexClient
    key_file: KeyFile | None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A configuration that can be taken up, with the access that is new in it, by the tenant's name."""

    configuration: Configuration
    accesses: Mapping[str | None, _Access]


@dataclass(slots=True)
class _Member:
    tenant: Tenant
    access: _Access
    poller: TenantPoller


class Fleet:
    """All tenants of the process. It is changed by one thread at a time, and read by any.

    ``memory`` keeps what should outlive a restart, None: nothing does; ``remembered`` is what an earlier
    process left there. ``on_crash`` is called when a thread dies of a defect. With ``once`` no action is
    polled twice.
    """

    def __init__(
        self,
        *,
        exposition: Exposition,
        telemetry: Telemetry,
        log: FilteringBoundLogger,
        on_crash: Callable[[], None],
        memory: "StateFile | None" = None,
        remembered: Mapping[Source, Mapping[str, Record]] | None = None,
        once: bool = False,
    ) -> None:
        self._exposition = exposition
        self._telemetry = telemetry
        self._log = log
        self._on_crash = on_crash
        self._memory = memory
        self._remembered = {source: dict(records) for source, records in (remembered or {}).items()}
        self._once = once
        # Replaced and never changed, for those who only read.
        self._members: Mapping[str | None, _Member] = {}
        self._poll = PollSettings()
        self._running = False
        self._was_ready = False

    def prepare(self, configuration: Configuration) -> Prepared:
        """Make what a configuration needs and may not get; raise ConfigurationError, with nothing changed."""
        accesses = {}
        for tenant in configuration.tenants:
            member = self._members.get(tenant.name)
            if member is None or member.tenant.api != tenant.api:
                accesses[tenant.name] = self._access(tenant.name, tenant.api)
        return Prepared(configuration, accesses)

    def apply(self, prepared: Prepared, tracked: Tracked) -> None:
        """Take up a configuration, and tell in the log what it changes."""
        configuration, accesses = prepared.configuration, prepared.accesses
        self._was_ready = self._running and self.ready
        wanted = {tenant.name: tenant for tenant in configuration.tenants}
        stays = {
            name: member
            for name, member in self._members.items()
            if name in wanted and _source(member.tenant) == _source(wanted[name])
        }
        ended = {name: member for name, member in self._members.items() if name not in stays}
        added = [name for name in wanted if name not in stays]
        if self._running:
            self._log.info(
                "configuration reloaded",
                tenants_added=_told(added),
                tenants_removed=_told(list(ended)),
                settings_changed=_told(self._changed_settings(configuration, stays)),
            )
        self._poll = configuration.poll
        for member in ended.values():
            self._end(member)
        self._telemetry.name_tenants(named=configuration.named)
        for name, member in stays.items():
            self._change(member, wanted[name], accesses.get(name))
        begun = {name: self._begin(wanted[name], accesses[name]) for name in added}
        members = stays | begun
        self._track(members, tracked)
        self._members = {name: members[name] for name in wanted}
        for member in ended.values():
            self._forget(_source(member.tenant), member.poller.action_ids)
        for name, member in begun.items():
            self._telemetry.watch_tenant(name, member.poller.snapshot)
            if self._running:
                member.poller.start()

    def track(self, tracked: Tracked) -> None:
        """Track these actions of each tenant and no others, and tell in the log what is new."""
        self._was_ready = self._running and self.ready
        self._track(self._members, tracked)

    def forget_the_rest(self) -> None:
        """Give up what is remembered of actions that nobody tracks."""
        for source in list(self._remembered):
            self._forget(source)

    def start(self) -> None:
        """Begin to poll."""
        self._running = True
        for member in self._members.values():
            member.poller.start()

    def stop(self) -> None:
        """Send no more requests, and end those under way."""
        self._running = False
        for member in self._members.values():
            member.poller.stop()
        for member in self._members.values():
            member.access.client.close()

    def look_at_keys(self) -> None:
        """Take up keys that have changed in their files, also of tenants that are asked nothing at the moment."""
        for member in self._members.values():
            if member.access.key_file is not None:
                member.access.key_file.look()

    def records(self) -> Iterator[tuple[Source, Record]]:
        """Yield what of every action should outlive a restart."""
        for member in self._members.values():
            source = _source(member.tenant)
            for record in member.poller.records():
                yield source, record

    def tenants(self) -> list[TenantState]:
        """Return all that is known of the tenants, of each as of one moment, in the order of the configuration."""
        interval_seconds = self._poll.interval_seconds
        tenants = []
        for member in self._members.values():
            snapshot, states = member.poller.census()
            api = member.tenant.api
            tenants.append(
                TenantState(
                    name=member.tenant.name,
                    host=urlsplit(api.url).netloc,
                    budget=api.requests_per_second,
                    interval_seconds=interval_seconds,
                    snapshot=snapshot,
                    states=states,
                )
            )
        return tenants

    @property
    def unfinished(self) -> list[int]:
        """How many actions of each tenant may still change, in the order of the configuration."""
        return [
            sum(count for phase, count in member.poller.snapshot().phases.items() if phase not in _FINISHED)
            for member in self._members.values()
        ]

    @property
    def polled(self) -> bool:
        """Whether every action has been polled, well or not."""
        return all(member.poller.polled for member in self._members.values())

    @property
    def failing(self) -> bool:
        """Whether the last poll of an action failed."""
        return any(member.poller.snapshot().phases[Phase.FAILING] for member in self._members.values())

    @property
    def ready(self) -> bool:
        """Whether every tenant has had something to show: what is tracked since does not take it back."""
        return self._was_ready or all(member.poller.has_state for member in self._members.values())

    def _track(self, members: Mapping[str | None, _Member], tracked: Tracked) -> None:
        for name, member in members.items():
            remembered = self._remembered.get(_source(member.tenant), {})
            changes = member.poller.track({entry.id: entry.labels for entry in tracked(name)}, remembered)
            for action_id in changes.added:
                remembered.pop(action_id, None)
            self._tell(name, changes)

    def _tell(self, name: str | None, changes: Changes) -> None:
        if self._running and any((changes.added, changes.removed, changes.relabelled)):
            self._log_of(name).info(
                "tracked actions changed",
                added=len(changes.added),
                removed=len(changes.removed),
                relabelled=len(changes.relabelled),
                added_ids=_told(changes.added),
                removed_ids=_told(changes.removed),
                relabelled_ids=_told(changes.relabelled),
            )

    def _changed_settings(self, configuration: Configuration, stays: Mapping[str | None, _Member]) -> list[str]:
        """Name the keys whose values differ, and not the values: some are secret."""
        changed = _differing(self._poll, configuration.poll, "poll.")
        for tenant in configuration.tenants:
            if tenant.name in stays:
                before = stays[tenant.name].tenant
                of_tenant = "" if tenant.name is None else f"{tenant.name}."
                changed += _differing(before.api, tenant.api, f"{of_tenant}api.")
                if before.action_files != tenant.action_files:
                    changed.append(f"{of_tenant}action_files")
        return changed

    def _begin(self, tenant: Tenant, access: _Access) -> _Member:
        poller = TenantPoller(
            tenant.name,
            client=access.client,
            pacing=self._pacing(tenant.api),
            audience=_Audience(self._exposition, self._memory, tenant),
            telemetry=self._telemetry.add_tenant(tenant.name),
            journal=Journal(self._log_of(tenant.name)),
            on_crash=self._on_crash,
        )
        return _Member(tenant, access, poller)

    def _change(self, member: _Member, tenant: Tenant, access: _Access | None) -> None:
        before = member.access
        same_access = access is None or _access_settings(member.tenant.api) == _access_settings(tenant.api)
        member.tenant = tenant
        member.access = access or before
        member.poller.configure(member.access.client, self._pacing(tenant.api))
        if not same_access:
            member.poller.expedite()
        if access is not None:
            before.client.close()

    def _end(self, member: _Member) -> None:
        """End a tenant's polls and series; its poller still holds its actions, for whoever reads of them now."""
        name = member.tenant.name
        member.poller.stop()
        action_ids = member.poller.action_ids
        self._exposition.withdraw(name, action_ids)
        self._tell(name, Changes(added=(), removed=action_ids, relabelled=()))
        member.access.client.close()
        self._telemetry.remove_tenant(name)

    def _forget(self, source: Source, tracked: Collection[str] = ()) -> None:
        records = self._remembered.pop(source, {})
        if self._memory is not None:
            self._memory.forget(source, [*records, *tracked])

    def _log_of(self, name: str | None) -> FilteringBoundLogger:
        return self._log if name is None else self._log.bind(tenant=name)

    def _pacing(self, api: ApiSettings) -> Pacing:
        poll = self._poll
        return Pacing(
            requests_per_second=api.requests_per_second,
            timeout=api.timeout_seconds,
            interval=math.inf if self._once else poll.interval_seconds,
            settled_interval=math.inf if self._once else poll.settled_interval_seconds,
            stale_after=poll.stale_after_seconds,
            retire_after=poll.retire_after_seconds,
            longest_probe_wait=0.0 if self._once else poll.interval_seconds,
        )

    def _access(self, name: str | None, api: ApiSettings) -> _Access:
        key: Secret = api.key
        key_file = None
        if api.key_file is not None:
            key_file = key = KeyFile(
                api.key_file,
                api.key,
                read=read_key,
                changed=lambda: self._expedite(name),
                log=self._log_of(name),
            )
        client = CortexClient(
            api.url,
            {"advanced": AdvancedKey, "standard": StandardKey}[api.key_type](api.key_id, key),
            key,
            connections=max_workers(api.requests_per_second, api.timeout_seconds),
            proxy_url=api.proxy_url,
            ca_file=None if api.ca_file is None else str(api.ca_file),
            ca_digest=api.ca_digest,
            read_key_again=(lambda: None) if key_file is None else key_file.read_again,
        )
        return _Access(client, key_file)

    def _expedite(self, name: str | None) -> None:
        member = self._members.get(name)
        if member is not None:
            member.poller.expedite()


class _Audience:
    """Hands what a poller says to the exposition and to the memory, in the tenant's name."""

    def __init__(self, exposition: Exposition, memory: "StateFile | None", tenant: Tenant) -> None:
        self._exposition = exposition
        self._memory = memory
        self._name = tenant.name
        self._source = _source(tenant)

    def publish(self, state: ActionState) -> None:
        self._exposition.publish(self._name, state)

    def remember(self, record: Record) -> None:
        if self._memory is not None:
            self._memory.record(self._source, record)

    def withdraw(self, action_ids: Collection[str]) -> None:
        self._exposition.withdraw(self._name, action_ids)
        if self._memory is not None:
            self._memory.forget(self._source, action_ids)


def _source(tenant: Tenant) -> Source:
    return tenant.name or "", tenant.api.url


def _access_settings(api: ApiSettings) -> ApiSettings:
    """Return what decides how a tenant's API is reached, the pace left out."""
    return api.model_copy(update={"requests_per_second": 0, "timeout_seconds": 0})


def _differing(before: ApiSettings | PollSettings, after: ApiSettings | PollSettings, prefix: str) -> list[str]:
    """Name the keys of a section that differ."""
    fields = [name for name in type(after).model_fields if getattr(before, name) != getattr(after, name)]
    keys = [name.removesuffix("_seconds").replace("ca_digest", "ca_file") for name in fields]
    return [f"{prefix}{key}" for key in dict.fromkeys(keys)]


def _told(names: Sequence[str | None]) -> str | None:
    """Write names for the log, the first few of many; None, which is left out, for none."""
    shown = [name or "(unnamed)" for name in names[:_MOST_IDS_TOLD]]
    if len(names) > _MOST_IDS_TOLD:
        shown.append(f"… and {len(names) - _MOST_IDS_TOLD} more")
    return " ".join(shown) or None
