"""A tenant that any integration test may take, where it needs none of its own."""

import pytest
from support import RUNNING, StartSimulator, make_tenant

from exporter.simulator.tenant import SimulatedTenant


@pytest.fixture
def tenant() -> SimulatedTenant:
    """Make a tenant with actions 1 to 9."""
    return make_tenant(dict.fromkeys("123456789", RUNNING))


@pytest.fixture
def url(simulator: StartSimulator, tenant: SimulatedTenant) -> str:
    """Serve that tenant."""
    return simulator({"": tenant})
