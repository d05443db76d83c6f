"""The fault campaign in short: few tenants, every kind of fault once, and the same checks as ``make soak``."""

from pathlib import Path

from soak.campaign import Campaign
from soak.faults import FAULTS
from soak.plan import CHANGES, MOVES, RESTARTS, TROUBLES, Size, draw
from soak.readings import busiest_second, parse
from soak.verdict import differences

SEED = 58
SIZE = Size(
    tenants=6,
    actions=60,
    seconds=9,
    shares=(0.4, 0.6),
    pace=0.08,
    requests_per_second=8,
    timeout_seconds=1,
    interval_seconds=4,
    settled_interval_seconds=4,
    stale_after_seconds=8,
    auto_reload="200ms",
    check_seconds=2,
    quiet_seconds=0,
    converge_seconds=60,
    more_resident=0.5,
    more_handles=50,
)


def test_plan_is_drawn_by_the_seed_alone() -> None:
    """A seed gives the same plan again, another one a different plan."""
    assert draw(SEED, SIZE) == draw(SEED, SIZE)
    assert draw(SEED, SIZE) != draw(SEED + 1, SIZE)


def test_plan_has_every_kind_of_step() -> None:
    """The short campaign leaves nothing out that the long one does."""
    assert {step.kind for steps in draw(SEED, SIZE) for step in steps} == {*TROUBLES, *MOVES, *CHANGES, *RESTARTS}
    assert set(FAULTS) < set(TROUBLES)


def test_busiest_second_is_found_wherever_it_begins() -> None:
    """A second holds what comes less than one after its beginning, and may begin at any request."""
    assert busiest_second([0.0, 0.5, 1.0, 1.2, 1.4]) == (4, 0.5)
    assert busiest_second([]) == (0, 0.0)


def test_differences_are_found_in_values_labels_and_what_is_missing() -> None:
    """Every sample that is not as it should be is told, and so is a tenant that is not up."""
    family = "cortex_xdr_script_execution"
    expected = parse(f'{family}_labels{{tenant="t",action_id="1"}} 1\n{family}_info{{tenant="t"}} 1\n')
    actual = parse(f'{family}_labels{{tenant="t",action_id="1"}} 2\n{family}_endpoints{{tenant="t"}} 1\n')
    assert len(differences(expected, actual)) == 7
    assert len(differences(expected, expected)) == 4


def test_exporter_says_the_truth_after_every_kind_of_fault(tmp_path: Path) -> None:
    """After faults, reloads and restarts every metric equals what the tenants hold, and nothing leaked."""
    said: list[str] = []
    campaign = Campaign(SEED, SIZE, tmp_path, say=said.append)
    campaign.run()
    assert campaign.problems == [], said
