"""The demo's tenant."""

from exporter.simulator.demo import demo_tenant
from exporter.simulator.lives import Snapshot
from exporter.simulator.tenant import SimulatedTenant


def history(tenant: SimulatedTenant, real_seconds: float, speed: float = 60.0) -> list[Snapshot]:
    """What the actions look like that long after birth, were all added at age 0."""
    return [life.at(real_seconds * speed) for life in tenant.actions.values()]


def test_demo_has_a_dozen_actions_in_two_campaigns() -> None:
    """Every action is in the tenant, and in a campaign of a team."""
    tenant, labelled = demo_tenant()
    assert [action_id for action_id, _ in labelled] == [str(22519813685366 + number) for number in range(12)]
    assert list(tenant.actions) == [action_id for action_id, _ in labelled]
    assert {(labels["campaign"], labels["team"]) for _, labels in labelled} == {
        ("disable-smbv1", "endpoint-ops"),
        ("rotate-local-admin", "identity"),
    }


def test_demo_moves_within_its_first_minute_and_lasts() -> None:
    """After a minute some endpoints have failed, some timed out; after ten, actions still go on."""
    tenant, _ = demo_tenant()
    born, minute, later = history(tenant, 0), history(tenant, 60), history(tenant, 600)
    assert all(before != after for before, after in zip(born, minute, strict=True))
    assert "FAILED" in {snapshot.general_status for snapshot in minute}
    assert any(snapshot.counts.timeout for snapshot in minute)
    assert "IN_PROGRESS" in {snapshot.general_status for snapshot in later}
    assert {"ABORTED", "CANCELED", "EXPIRED", "COMPLETED_PARTIAL", "COMPLETED_SUCCESSFULLY"} <= {
        snapshot.general_status for snapshot in later
    }


def test_demo_can_hold_more_actions() -> None:
    """More actions than scenes repeat the scenes with other chances."""
    tenant, labelled = demo_tenant(actions=30, first_action_id=1)
    assert [action_id for action_id, _ in labelled] == [str(number) for number in range(1, 31)]
    lives = tenant.actions
    assert lives["3"].at(3600) != lives["15"].at(3600)


def test_demo_draws_its_key() -> None:
    """The key is 128 letters and digits, another one each time, unless it is given."""
    first, second = demo_tenant()[0].key, demo_tenant()[0].key
    assert (len(first), first.isalnum(), first != second) == (128, True, True)
    assert demo_tenant(key="given")[0].key == "given"
