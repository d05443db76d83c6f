"""The real Prometheus scrapes the exporter over mutual TLS with a password, and only with the right ones."""

from collections.abc import Mapping
from pathlib import Path

import pytest
import trustme
from support import StartExporter, api_section, replace_file, wait_until, wait_until_equal
from support_prometheus import PrometheusProcess, StartPrometheus
from support_tls import HASH, PASSWORD, Issued, certificate_of, issue

pytestmark = pytest.mark.needs("prometheus")

# Nobody is there, which is no matter here.
CONFIGURATION = {"api": api_section("http://127.0.0.1:1"), "actions": [1], "poll": {"interval": "30m"}}
WEB = f"""
tls_server_config:
  cert_file: tls.crt
  key_file: tls.key
  client_auth_type: RequireAndVerifyClientCert
  client_ca_file: ca.crt
  client_allowed_sans: [prometheus.example]
  min_version: TLS13
basic_auth_users:
  prometheus: {HASH}
"""
UNAUTHORIZED = "server returned HTTP status 401 Unauthorized"


def job(name: str, address: str, folder: Path, own: str | None, password: str | None) -> dict[str, object]:
    """Return what scrapes the exporter with that certificate and password."""
    tls: dict[str, object] = {"ca_file": str(folder / "ca.crt")}
    if own is not None:
        tls |= {"cert_file": str(folder / f"{own}.crt"), "key_file": str(folder / f"{own}.key")}
    credentials = {} if password is None else {"basic_auth": {"username": "prometheus", "password": password}}
    return {
        "job_name": name,
        "scheme": "https",
        "tls_config": tls,
        "static_configs": [{"targets": [address], "labels": {"instance": name}}],
        **credentials,
    }


def put(folder: Path, name: str, issued: Issued) -> None:
    """Put a certificate and its key in place."""
    replace_file(folder / f"{name}.crt", issued.certificate)
    replace_file(folder / f"{name}.key", issued.key)


def up(server: PrometheusProcess) -> Mapping[tuple[str, ...], float]:
    """Return which could be scraped."""
    return server.query("up", "instance")


def errors(server: PrometheusProcess) -> dict[str, str]:
    """Return why they could not."""
    return {target["scrapePool"]: target["lastError"] for target in server.targets()}


def test_prometheus_is_let_in_with_certificate_and_password(
    exporter_process: StartExporter, prometheus: StartPrometheus, tmp_path: Path
) -> None:
    """Up is 1 with both, and 0 with a foreign certificate, another's name, none, or a wrong password."""
    authority, other = trustme.CA(), trustme.CA()
    (tmp_path / "ca.crt").write_text(certificate_of(authority))
    (tmp_path / "web.yaml").write_text(WEB)
    put(tmp_path, "tls", issue(authority, "127.0.0.1"))
    put(tmp_path, "own", issue(authority, "prometheus.example"))
    put(tmp_path, "named", issue(authority, "other.example"))
    put(tmp_path, "foreign", issue(other, "prometheus.example"))
    exporter = exporter_process(CONFIGURATION, f"--web.config.file={tmp_path / 'web.yaml'}")
    address = exporter.url.removeprefix("http://")
    jobs = {
        "right": ("own", PASSWORD),
        "wrong password": ("own", "guess"),
        "no password": ("own", None),
        "another's name": ("named", PASSWORD),
        "foreign certificate": ("foreign", PASSWORD),
        "no certificate": (None, PASSWORD),
    }
    scrapes = [job(name, address, tmp_path, *how) for name, how in jobs.items()]
    server = prometheus([], scrape_configs=scrapes)
    expected = {(name,): float(name == "right") for name in jobs}
    wait_until_equal(lambda: up(server), expected)
    server.wait_for_scrapes()
    assert up(server) == expected
    told = errors(server)
    assert (told["right"], told["wrong password"], told["no password"]) == ("", UNAUTHORIZED, UNAUTHORIZED)
    assert all(told[name] for name in jobs if name != "right")
    assert server.query("cortex_xdr_exporter_web_config_last_reload_successful", "instance") == {("right",): 1.0}

    # A renewed certificate, and a key that is rotated on both sides, are no gap in the data.
    put(tmp_path, "tls", issue(authority, "127.0.0.1"))
    put(tmp_path, "own", issue(authority, "prometheus.example"))
    wait_until(lambda: "web configuration loaded anew" in exporter.log)
    server.wait_for_scrapes(2)
    assert up(server) == expected
