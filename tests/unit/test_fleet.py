"""The tenants of the process, while a reload replaces one."""

from pathlib import Path

import structlog
from support import api_section, configuration_text

from exporter import config
from exporter.config import Configuration
from exporter.exposition import Exposition
from exporter.fleet import Fleet
from exporter.telemetry import Telemetry


class Watching(Telemetry):
    """Notes how many actions each tenant has, as whoever asks would see it in the midst of a reload."""

    def __init__(self) -> None:
        super().__init__()
        self.fleet: Fleet | None = None
        self.seen: list[list[int]] = []

    def add_tenant(self, tenant: str | None) -> object:  # type: ignore[override]  # Handed on as it is.
        """Look first."""
        if self.fleet is not None:
            self.seen.append([len(known.states) for known in self.fleet.tenants()])
        return super().add_tenant(tenant)


def test_tenant_that_is_replaced_is_never_without_actions(tmp_path: Path) -> None:
    """Until the tenant at another URL takes its place the old one is shown, with what it knew."""
    path = tmp_path / "config.yaml"

    def load(url: str, actions: list[int]) -> Configuration:
        path.write_text(configuration_text({"api": api_section(url), "actions": actions}))
        return config.load(path)

    telemetry, exposition = Watching(), Exposition()
    fleet = Fleet(exposition=exposition, telemetry=telemetry, log=structlog.get_logger(), on_crash=lambda: None)
    for url, actions in (("https://api-a.example", [1, 2, 3]), ("https://api-b.example", [3, 4])):
        loaded = load(url, actions)
        fleet.apply(fleet.prepare(loaded), lambda _, loaded=loaded: loaded.tenants[0].actions)  # type: ignore[misc]  # As above.
        telemetry.fleet = fleet
    assert telemetry.seen == [[3]]
    assert [(len(known.states), known.host) for known in fleet.tenants()] == [(2, "api-b.example")]
    text = b"".join(exposition.expose(openmetrics=False).plain(1000)).decode()
    assert [action_id for action_id in "1234" if f'action_id="{action_id}"' in text] == ["3", "4"]
