"""One tenant's poller with its real client, against a real server: pace, workers, deadlines, isolation."""

import threading
from collections.abc import Callable, Collection, Iterator
from itertools import pairwise
from typing import ClassVar, Self

import pytest
import structlog
from pydantic import SecretStr
from support import KEY, make_tenant, wait_until

from exporter.cortex import AdvancedKey, CortexClient
from exporter.errors import Reason
from exporter.flights import max_workers
from exporter.journal import Journal
from exporter.poller import Pacing, TenantPoller
from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.server import SimulatorServer
from exporter.simulator.tenant import Fault, SimulatedTenant
from exporter.status import Status
from exporter.store import ActionState, Phase, Record
from exporter.telemetry import Telemetry
from exporter.transport import Deadline

WELL = Fixed("IN_PROGRESS", Counts(pending=3, in_progress=2))


class Bench:
    """A poller with all that it needs, and what it published."""

    def __init__(
        self,
        url: str,
        actions: list[str],
        *,
        rate: float = 10,
        interval: float = 0.5,
        timeout: float = 10,
        idle: float = 30,
    ) -> None:
        self.states: dict[str, ActionState] = {}
        self.crashed = threading.Event()
        self.log = structlog.testing.CapturingLogger()
        key = SecretStr(KEY)
        self._client = CortexClient(url, AdvancedKey("7", key), key, connections=max_workers(rate, timeout))
        self.poller = TenantPoller(
            self._name,
            client=self._client,
            pacing=Pacing(
                requests_per_second=rate,
                timeout=timeout,
                interval=interval,
                settled_interval=3600,
                stale_after=3600,
                retire_after=0,
                longest_probe_wait=interval,
            ),
            audience=self,
            telemetry=Telemetry(named=True).add_tenant(self._name),
            journal=Journal(structlog.wrap_logger(self.log, processors=[])),
            on_crash=self.crashed.set,
            idle_seconds=idle,
        )
        self.poller.track(dict.fromkeys(actions, ()), {})

    _name = "acme"

    def publish(self, state: ActionState) -> None:
        """Hear of a new state."""
        self.states[state.action_id] = state

    def remember(self, record: Record) -> None:
        """Hear of what should outlive a restart."""

    def withdraw(self, action_ids: Collection[str]) -> None:
        """Hear of actions that are not tracked any more."""
        for action_id in action_ids:
            self.states.pop(action_id)

    def __enter__(self) -> Self:
        """Begin to poll."""
        self.poller.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop, and wait for the threads."""
        self.poller.stop()
        self._client.close()
        wait_until(lambda: not self.threads(""), "every thread has ended")
        assert not self.crashed.is_set()

    @staticmethod
    def threads(kind: str) -> list[str]:
        """List the threads of pollers, of a kind: pacer or worker."""
        names = (thread.name for thread in threading.enumerate())
        return [name for name in names if name.startswith(kind) and name.endswith(Bench._name)]


@pytest.fixture
def tenant() -> SimulatedTenant:
    """Make a tenant with six actions."""
    return make_tenant(dict.fromkeys("012345", WELL))


@pytest.fixture
def server(tenant: SimulatedTenant) -> Iterator[SimulatorServer]:
    """Serve that tenant."""
    with SimulatorServer({"": tenant}) as running:
        yield running


def test_poller_publishes_what_the_tenant_holds_and_follows_it(
    tenant: SimulatedTenant, server: SimulatorServer
) -> None:
    """Counts are those of the tenant, also after they changed there."""
    with Bench(server.url, ["0", "1"], interval=0.2) as bench:
        wait_until(lambda: bench.poller.polled, "both actions are polled")
        assert {key: state.status.counts for key, state in bench.states.items() if state.status} == {
            "0": tuple(WELL.counts),
            "1": tuple(WELL.counts),
        }
        tenant.add(1, Fixed("FAILED", Counts(failed=5)))
        wait_until(lambda: bench.states["1"].settled, "the change is seen")
        assert bench.states["1"].status == Status("FAILED", tuple(Counts(failed=5)))
        assert bench.poller.snapshot().phases[Phase.SETTLED] == 1


def test_as_many_workers_as_polls_are_under_way(tenant: SimulatedTenant, server: SimulatorServer) -> None:
    """Six polls that get no answer take six threads, and a seventh is not there."""
    tenant.inject(Fault(hang=True))
    with Bench(server.url, list("012345"), timeout=60):
        wait_until(lambda: len(tenant.requests) == 6, "six polls are under way")
        assert len(Bench.threads("worker")) == 6


def test_workers_leave_when_they_are_not_needed_any_more(tenant: SimulatedTenant, server: SimulatorServer) -> None:
    """After slow answers became fast again, one worker is left; and it leaves, too, when nothing is due."""
    tenant.inject(Fault(delay_seconds=0.5))
    with Bench(server.url, ["0", "1", "2", "3"], rate=10, interval=0.2, idle=0.5) as bench:
        wait_until(lambda: len(Bench.threads("worker")) >= 3, "three workers")
        tenant.clear()
        wait_until(lambda: len(Bench.threads("worker")) <= 1, "one worker")
        for number in range(4):
            tenant.add(number, Fixed("ABORTED", Counts(aborted=5)))
        wait_until(lambda: bench.poller.snapshot().phases[Phase.SETTLED] == 4, "all are settled")
        wait_until(lambda: not Bench.threads("worker"), "no worker")


def test_hanging_polls_are_given_up_and_their_threads_return(
    tenant: SimulatedTenant, server: SimulatorServer
) -> None:
    """An action that never gets an answer is failing by timeout; the others go on, and threads do not pile up."""
    tenant.inject(Fault(hang=True), "0")
    with Bench(server.url, ["0", "1"], interval=0.2, timeout=0.5) as bench:
        wait_until(lambda: bench.states["0"].failure is Reason.TIMEOUT, "the silent action has failed")
        wait_until(lambda: polls(tenant, "1") > 3, "the other action is polled on")
        tenant.clear()
        wait_until(lambda: bench.states["0"].failure is None, "it recovers")
        wait_until(lambda: bench.poller.snapshot().up is True, "and the tenant is up")


def test_one_bad_action_touches_no_other(tenant: SimulatedTenant, server: SimulatorServer) -> None:
    """Beside an action with bad answers all others are polled on, and the failing one less and less."""
    tenant.inject(Fault(body=b"nonsense"), "0")
    with Bench(server.url, ["0", "1", "2"], interval=0.2):
        wait_until(lambda: polls(tenant, "1") >= 8, "a healthy action was polled eight times")
        wait_until(lambda: polls(tenant, "2") >= 7, "so was the other")
        assert polls(tenant, "0") < polls(tenant, "1") / 2 + 2


def test_requests_leave_no_closer_than_the_rate_allows(server: SimulatorServer) -> None:
    """Asked for far more than the budget, requests are spaced, two percent slower than the rate."""
    timeout = 60.0

    class Recording:
        left_at: ClassVar[list[float]] = []

        def fetch(self, action_id: str, deadline: Deadline) -> Status:
            del action_id
            self.left_at.append(deadline.at - timeout)
            return Status("PENDING", (1,) * 9)

    bench = Bench(server.url, list("012345"), rate=10, interval=0.01, timeout=timeout)
    bench.poller._client = Recording()
    with bench:
        wait_until(lambda: len(Recording.left_at) >= 25, "25 polls")
    left_at = sorted(Recording.left_at)
    assert min(later - earlier for earlier, later in pairwise(left_at)) >= 1 / 9.8 - 1e-9


def test_no_thread_to_be_had_fails_the_poll_and_not_the_process(server: SimulatorServer) -> None:
    """Where no thread can be started, the poll fails like one without a connection, and is tried again."""
    bench = Bench(server.url, ["0"], interval=0.1)
    start = bench.poller._start_thread

    def refuse_once(role: str, body: Callable[[], None]) -> None:
        if role == "worker":
            bench.poller._start_thread = start  # type: ignore[method-assign]  # For this once.
            raise RuntimeError("can't start new thread")
        start(role, body)

    bench.poller._start_thread = refuse_once  # type: ignore[method-assign]  # No machine is to be driven there.
    with bench:
        wait_until(lambda: bench.states["0"].failure is Reason.CONNECTION, "the poll has failed")
        wait_until(lambda: bench.states["0"].failure is None, "the next one is well")


def test_stop_ends_requests_under_way(tenant: SimulatedTenant, server: SimulatorServer) -> None:
    """A poll that hangs does not outlive the poller, and is not recorded as a failure."""
    tenant.inject(Fault(hang=True))
    with Bench(server.url, ["0"], timeout=60) as bench:
        wait_until(lambda: bool(tenant.requests), "the poll is under way")
    assert bench.states["0"].failure is None


def test_defect_in_a_client_costs_one_poll(server: SimulatorServer) -> None:
    """An error that should not be fails the poll, is logged without its text, and polling goes on."""

    class Defective:
        calls = 0

        def fetch(self, action_id: str, deadline: Deadline) -> Status:
            del deadline
            self.calls += 1
            if self.calls == 1:
                raise ZeroDivisionError("a text that could quote a key")
            return Status("PENDING", (int(action_id),) * 9)

    bench = Bench(server.url, ["1"], interval=0.1)
    bench.poller._client = Defective()
    with bench:
        wait_until(lambda: bench.states["1"].failure is Reason.BAD_RESPONSE, "the poll has failed")
        wait_until(lambda: bench.states["1"].failure is None, "the next one is well")
    assert "ZeroDivisionError" in str(bench.log.calls)
    assert "could quote a key" not in str(bench.log.calls)


def test_defect_in_pacing_is_told(server: SimulatorServer) -> None:
    """When the pacing thread dies, the owner is told: polling must not end in silence."""
    bench = Bench(server.url, ["1"])
    del bench.poller._schedule
    bench.poller.start()
    assert bench.crashed.wait(10)
    wait_until(lambda: not Bench.threads(""), "the thread has ended")
    assert "polling has crashed" in str(bench.log.calls)


def polls(tenant: SimulatedTenant, action_id: str) -> int:
    """Count the requests for an action."""
    return sum(request.action_id == action_id for request in tenant.requests)
