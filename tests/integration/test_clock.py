"""Clocks that jump and processes that stand still: what that does to polling, which is nothing."""

import signal
import subprocess
import time
from pathlib import Path

import pytest
from support import (
    KEY,
    KEY_ID,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    replace_file,
    wait_until,
    wait_until_equal,
)
from support_arrivals import arrivals, departures, longest_run
from support_metrics import Metrics, scrape
from support_state import wait_for_rows

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.tenant import SimulatedTenant

RUNNING = Fixed("IN_PROGRESS", Counts(pending=3, in_progress=2))
DONE = Fixed("COMPLETED_SUCCESSFULLY", Counts(completed_successfully=5))
SECONDS_PER_DAY = 86_400
ACTIONS = list("1234")


class WallClock:
    """A wall clock for an exporter process alone, set forward or back while it runs; by libfaketime."""

    def __init__(self, folder: Path) -> None:
        self._offset = folder / "wall-clock-offset"
        self.set(0)
        library = subprocess.run(
            ["faketime", "-f", "+0", "printenv", "LD_PRELOAD"], capture_output=True, text=True, check=True
        ).stdout.strip()
        self.environment = {
            "LD_PRELOAD": library,
            "FAKETIME_TIMESTAMP_FILE": str(self._offset),
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
            "FAKETIME_NO_CACHE": "1",
        }

    def set(self, days: int) -> None:
        """Have the clock differ from the machine's by that many days from now on."""
        replace_file(self._offset, f"{days:+}d\n")


@pytest.fixture
def wall_clock(tmp_path: Path) -> WallClock:
    """Make a wall clock that is right, for now."""
    return WallClock(tmp_path)


@pytest.fixture
def tenant() -> SimulatedTenant:
    """Make a tenant with four unfinished actions and a finished one, that takes any clock for right."""
    made = SimulatedTenant(
        key_id=KEY_ID, key=KEY, requests_per_second=1000, clock_skew_seconds=10 * SECONDS_PER_DAY
    )
    for action_id in ACTIONS:
        made.add(action_id, RUNNING)
    made.add("done", DONE)
    return made


def last_success(seen: Metrics, action_id: str) -> float:
    """Return when a scrape says that an action was last polled well."""
    value = seen.value("script_execution_last_success_timestamp_seconds", action_id=action_id)
    assert value is not None
    return value


@pytest.mark.needs("faketime")
def test_wall_clock_that_jumps_changes_nothing_about_polling(
    exporter_process: StartExporter, simulator: StartSimulator, tenant: SimulatedTenant, wall_clock: WallClock
) -> None:
    """A day forward and two back: the pace stays, nothing bursts, retires or becomes stale; timestamps follow.

    Its pace is that of a process whose clock is right, whatever the machine is busy with.
    """
    other = make_tenant(dict.fromkeys(ACTIONS, RUNNING))
    url = simulator({"jumps": tenant, "other": other})
    poll = {"interval": "600ms", "retire_after": "12h"}
    exporter_process(
        {"api": api_section(f"{url}/other", requests_per_second=10), "actions": ACTIONS, "poll": poll}
    )
    process = exporter_process(
        {
            "api": api_section(f"{url}/jumps", requests_per_second=10),
            "actions": [*ACTIONS, "done"],
            "poll": poll,
        },
        environment=wall_clock.environment,
    )
    wait_until(lambda: all(arrivals(tenant, action_id) for action_id in ACTIONS), "the first round")
    begin, others_begin = len(tenant.requests), len(other.requests)
    for days in (0, 1, -1):
        wall_clock.set(days)
        start = time.monotonic()
        wait_until(
            lambda start=start: all(  # type: ignore[misc]
                len(arrivals(tenant, action_id, after=start)) >= 4 for action_id in ACTIONS
            ),
            f"polls go on with {days:+} days",
        )
        seen = scrape(process)
        assert seen.phases() == {"active": 4, "settled": 1}
        assert seen.counts(action_id="1") == RUNNING.counts._asdict()
        assert last_success(seen, "1") - time.time() == pytest.approx(days * SECONDS_PER_DAY, abs=3600)
    assert longest_run(departures(tenant.requests), 10) == 0
    assert 0.7 < (len(tenant.requests) - begin) / (len(other.requests) - others_begin) < 1.4
    assert len(arrivals(tenant, "done")) == 1


@pytest.mark.needs("faketime")
def test_restart_after_the_clock_was_set_back_goes_on_polling(
    exporter_process: StartExporter,
    simulator: StartSimulator,
    tenant: SimulatedTenant,
    wall_clock: WallClock,
    tmp_path: Path,
) -> None:
    """A state file from a day ahead is shown as it is, and its actions are polled within an interval."""
    state = tmp_path / "state.db"
    configuration = {
        "api": api_section(simulator({"": tenant}), requests_per_second=10),
        "actions": [*ACTIONS, "done"],
        "poll": {"interval": "1s"},
        "state": {"path": str(state)},
    }
    wall_clock.set(1)
    process = exporter_process(configuration, environment=wall_clock.environment)
    wait_for_rows(state, *ACTIONS, "done")
    assert process.stop() == 0
    before = len(tenant.requests)
    process = exporter_process(configuration)
    seen = scrape(process)
    assert seen.phases() == {"active": 4, "settled": 1}
    assert seen.counts(action_id="1") == RUNNING.counts._asdict()
    assert last_success(seen, "done") - time.time() == pytest.approx(SECONDS_PER_DAY, abs=3600)
    asked = wait_until(
        lambda: requests if len(requests := tenant.requests[before:]) >= 3 * len(ACTIONS) else [], "polls"
    )
    # Each is asked within its interval; and no finished one, whose interval is an hour.
    assert {request.action_id for request in asked[: len(ACTIONS)]} == set(ACTIONS)
    assert longest_run(departures(asked), 10) == 0
    wait_until_equal(lambda: scrape(process).phases(), {"active": 4, "settled": 1})
    assert abs(last_success(scrape(process), "1") - time.time()) < 3600


def test_process_that_stood_still_does_not_catch_up_in_a_burst(
    exporter_process: StartExporter, simulator: StartSimulator, tenant: SimulatedTenant
) -> None:
    """What was missed while it was stopped is not made up for: requests go on at the rate and at the interval."""
    other = make_tenant({"1": RUNNING})
    url = simulator({"stopped": tenant, "other": other})
    poll = {"interval": "500ms"}
    process = exporter_process(
        {"api": api_section(f"{url}/stopped", requests_per_second=10), "actions": ACTIONS, "poll": poll}
    )
    # A process that goes on tells the time.
    exporter_process({"api": api_section(f"{url}/other"), "actions": ["1"], "poll": poll})
    wait_until(lambda: all(len(arrivals(tenant, action_id)) >= 2 for action_id in ACTIONS), "two rounds")
    process.process.send_signal(signal.SIGSTOP)
    try:
        stopped_at = time.monotonic()
        wait_until(lambda: len(arrivals(other, after=stopped_at)) >= 6, "the other process polls six times")
    finally:
        process.process.send_signal(signal.SIGCONT)
    went_on_at = time.monotonic()
    wait_until(
        lambda: all(len(arrivals(tenant, action_id, after=went_on_at)) >= 4 for action_id in ACTIONS),
        "four rounds",
    )
    assert longest_run(departures([late for late in tenant.requests if late.arrived_at > went_on_at]), 10) == 0
    passed = arrivals(tenant)[-1] - went_on_at
    for action_id in ACTIONS:
        # What was late spreads over the interval anew, which may bring one more poll.
        assert len(arrivals(tenant, action_id, after=went_on_at)) <= passed / 0.5 + 3
    wait_until_equal(lambda: scrape(process).phases(), {"active": 4})
