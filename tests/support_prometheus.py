"""The real Prometheus beside a test, asked over its HTTP API."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

import yaml
from support import HttpProcess, find_program, wait_until


class ConfiguredProcess(HttpProcess):
    """A program of the Prometheus project with a configuration, on a free loopback port."""

    def __init__(
        self, program: str, configuration: Mapping[str, Any], folder: Path, storage: str, *arguments: str
    ) -> None:
        found = find_program(program)
        assert found, f"mark the test with needs({program!r})"
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / "configuration.yaml"
        file.write_text(yaml.safe_dump(dict(configuration)))
        super().__init__(
            [
                found,
                f"--config.file={file}",
                f"--{storage}={folder / 'data'}",
                "--web.listen-address=127.0.0.1:0",
                *arguments,
            ],
            folder,
        )
        try:
            self.address = self.wait_for_log(r'msg="Listening on".* address=(\S+)')[1]
            self.wait_until_ready()
        except BaseException:
            self.clean_up()
            raise
        self.url = f"http://{self.address}"

    def wait_until_ready(self) -> None:
        """Wait for what has to come after it listens."""


class PrometheusProcess(ConfiguredProcess):
    """Prometheus with a configuration."""

    def __init__(self, configuration: Mapping[str, Any], folder: Path) -> None:
        # A failed scrape is a line of that level.
        super().__init__("prometheus", configuration, folder, "storage.tsdb.path", "--log.level=debug")

    def wait_until_ready(self) -> None:
        """Wait until it answers queries."""
        self.wait_for_log("Server is ready to receive web requests")

    def api(self, path: str, **parameters: str) -> Any:
        """Ask ``/api/v1/…`` and return the answer's ``data``."""
        answer = self.get(f"/api/v1/{path}", parameters=parameters)
        content = answer.json()
        assert content["status"] == "success", content
        return content["data"]

    def query(self, promql: str, *labels: str) -> dict[tuple[str, ...], float]:
        """Evaluate PromQL now: the value of each series, by the values that these labels have on it.

        A label that a series does not have counts as empty, as in PromQL. Series that those labels do not
        tell apart fail the test.
        """
        series = self.api("query", query=promql)["result"]
        values = {
            tuple(one["metric"].get(label, "") for label in labels): float(one["value"][1]) for one in series
        }
        assert len(values) == len(series), f"{labels} do not tell apart: {series}"
        return values

    def targets(self) -> list[dict[str, Any]]:
        """Return what it scrapes, with health and last error of each."""
        active: list[dict[str, Any]] = self.api("targets", state="active")["activeTargets"]
        return active

    def wait_for_scrapes(self, times: int = 1) -> None:
        """Wait until each target has been scraped that many times more."""
        for _ in range(times):
            begun = time.time()

            def scraped(begun: float = begun) -> bool:
                return min(self.query("timestamp(up)", "instance").values(), default=0) > begun

            wait_until(scraped, "a scrape of every target")


class StartPrometheus(Protocol):
    """What the fixture ``prometheus`` is."""

    def __call__(self, targets: Sequence[str], **more: object) -> PrometheusProcess:
        """Start Prometheus on targets, as URLs of exporters; ``more`` are sections of its configuration."""
        ...


def scrape_configuration(targets: Sequence[str], **more: object) -> dict[str, object]:
    """Return a configuration that scrapes these exporters every second."""
    return {
        "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
        "scrape_configs": [
            {
                "job_name": "cortex-xdr-exporter",
                "static_configs": [{"targets": [target.removeprefix("http://") for target in targets]}],
            }
        ],
        **more,
    }
