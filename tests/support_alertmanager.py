"""The real Alertmanager beside a test, and who is notified by it."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Self

from support import ROOT
from support_prometheus import ConfiguredProcess
from support_rules import load

EXAMPLE = ROOT / "docs" / "alertmanager.yml"


class Notified:
    """A webhook receiver on loopback: what each receiver's last notification of an alert said.

    A receiver is the path that is posted to. An alert is known by its labels ``alertname`` and ``action_id``.
    """

    def __init__(self) -> None:
        self.alerts: dict[tuple[str, str, str], dict[str, Any]] = {}
        handler = type("Handler", (_Handler,), {"notified": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        """Begin to listen."""
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._server.shutdown()
        self._server.server_close()

    def take(self, receiver: str, notification: Mapping[str, Any]) -> None:
        """Note what has come for a receiver."""
        for alert in notification["alerts"]:
            labels = alert["labels"]
            self.alerts[receiver, labels["alertname"], labels.get("action_id", "")] = alert

    def statuses(self) -> dict[tuple[str, str, str], str]:
        """Return ``firing`` or ``resolved`` by receiver, alert and action."""
        return {key: alert["status"] for key, alert in self.alerts.copy().items()}


class _Handler(BaseHTTPRequestHandler):
    notified: Notified

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.notified.take(self.path.removeprefix("/"), json.loads(body))
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep quiet."""


class AlertmanagerProcess(ConfiguredProcess):
    """Alertmanager with a configuration, alone."""

    def __init__(self, configuration: Mapping[str, Any], folder: Path) -> None:
        super().__init__(
            "prometheus-alertmanager", configuration, folder, "storage.path", "--cluster.listen-address="
        )


def example_configuration(notified: Notified) -> dict[str, Any]:
    """Return the documentation's example, hurried, with each receiver a path of the webhook's."""
    configuration = load(EXAMPLE)
    configuration["route"] |= {"group_wait": "2s", "group_interval": "1s"}
    configuration["receivers"] = [
        {"name": one["name"], "webhook_configs": [{"url": f"{notified.url}/{one['name']}"}]}
        for one in configuration["receivers"]
    ]
    return configuration


def alerting(alertmanager: AlertmanagerProcess) -> dict[str, Any]:
    """Return what of a Prometheus configuration tells Alertmanager of alerts."""
    return {"alerting": {"alertmanagers": [{"static_configs": [{"targets": [alertmanager.address]}]}]}}
