"""Simulated tenants in a process of their own: when requests arrive is counted there, where nothing else is done.

The rule: a tenant is moved by messages only, so that comparing and reading in the campaign's process delay no
arrival.
"""

import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.managers import BaseManager
from typing import Literal, NamedTuple, cast

from soak.readings import busiest_second

from exporter.simulator.lives import Life
from exporter.simulator.server import SimulatorServer
from exporter.simulator.tenant import Fault, SimulatedTenant

KEY_ID = 7
_START_SECONDS = 10.0


class Counted(NamedTuple):
    """What a tenant has counted; ``statuses`` has 0 for what got no answer."""

    most_in_a_second: int
    at: float
    """When that second began, by the monotonic clock, which processes share."""
    statuses: Counter[int]


class Tenant:
    """A simulated tenant with a server of its own, as it is reached from another process."""

    def __init__(self, key: str, key_type: Literal["advanced", "standard"], requests_per_second: int) -> None:
        self._simulated = SimulatedTenant(
            key_id=KEY_ID, key=key, key_type=key_type, requests_per_second=requests_per_second
        )
        self._server = SimulatorServer({"": self._simulated}).start()

    def url(self) -> str:
        """Return where it is."""
        return self._server.url

    def rotate(self, key: str) -> None:
        """Accept this key from now on, and no other."""
        self._simulated.key = key

    def hold(self, lives: Mapping[str, Life]) -> None:
        """Hold these actions, in place of those of the same IDs."""
        for action_id, life in lives.items():
            self._simulated.add(action_id, life)

    def inject(self, fault: Fault, targets: Iterable[str | None]) -> None:
        """Let answers about these actions go wrong, or, for None, all."""
        for target in targets:
            self._simulated.inject(fault, target)

    def clear(self) -> None:
        """Take every fault back."""
        self._simulated.clear()

    def stop(self) -> None:
        """Refuse connections."""
        self._server.stop()

    def start(self) -> None:
        """Listen again where it did before, even if a connection that is being made holds the port."""
        deadline = time.monotonic() + _START_SECONDS
        while True:
            try:
                self._server.start()
            except OSError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.1)
            else:
                return

    def counted(self) -> Counted:
        """Return what was counted so far."""
        requests = self._simulated.requests
        return Counted(
            *busiest_second([request.arrived_at for request in requests]),
            Counter(request.status for request in requests),
        )


class TenantsProcess:
    """The process in which tenants live."""

    def __init__(self, manager: BaseManager) -> None:
        self._manager = manager

    def add(self, key: str, key_type: Literal["advanced", "standard"], requests_per_second: int) -> Tenant:
        """Start a tenant; what is returned passes each call on."""
        make = self._manager.Tenant  # type: ignore[attr-defined]  # What is registered becomes a method.
        return cast("Tenant", make(key, key_type, requests_per_second))


class _Manager(BaseManager):
    pass


_Manager.register("Tenant", Tenant)


@contextmanager
def tenants_process() -> Iterator[TenantsProcess]:
    """Run the process as long as the context lasts."""
    manager = _Manager(ctx=get_context("spawn"))
    # Each tenant has a thread, and none should wait for the others' turns with an arrival in its hands.
    manager.start(sys.setswitchinterval, (0.0005,))
    with manager:
        yield TenantsProcess(manager)
