"""docs/cortex-xdr-exporter.service, as far as it can be tried without a systemd that runs."""

import re
import shlex
import signal
import ssl
import subprocess
import sys
from pathlib import Path

import pytest
import trustme
from support import KEY, KEY_ID, ROOT, RUNNING, StartExporter, find_program, make_tenant, wait_until_equal
from support_metrics import scrape
from support_tls import HASH, PASSWORD

from exporter import flags
from exporter.simulator.server import SimulatorServer

UNIT = ROOT / "docs" / "cortex-xdr-exporter.service"
needs_systemd = pytest.mark.needs("systemd-analyze")


def analyze(*arguments: str) -> tuple[int, str]:
    """Run systemd-analyze to its end; return the exit code and all that it says."""
    program = find_program("systemd-analyze")
    assert program
    done = subprocess.run(
        [program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.returncode, done.stdout


def command() -> list[str]:
    """Return what the unit starts."""
    found = re.search(r"^ExecStart=((?:.*\\\n)*.*)$", UNIT.read_text(), re.MULTILINE)
    assert found
    return shlex.split(found[1].replace("\\\n", " "))


def test_unit_starts_the_exporter_with_flags_that_it_has() -> None:
    """The unit's command is the exporter's, with the configuration that the document names, on loopback only."""
    program, *arguments = command()
    parsed = flags.parse(arguments)
    assert program == "/opt/cortex-xdr-exporter/bin/cortex-xdr-exporter"
    assert parsed.config_file == Path("/etc/cortex-xdr-exporter/config.yaml")
    assert parsed.web_listen_address == [("127.0.0.1", 10642)]


@needs_systemd
def test_unit_is_understood_as_a_whole(tmp_path: Path) -> None:
    """Systemd knows every key and value of the unit."""
    copy = tmp_path / UNIT.name
    copy.write_text(UNIT.read_text().replace(command()[0], sys.executable))
    assert analyze("verify", "--man=no", str(copy)) == (0, "")


@needs_systemd
def test_unit_exposes_little() -> None:
    """By systemd's own measure, from 0 for the least exposed to 10, it is at most 1.5."""
    code, output = analyze("security", "--offline=yes", "--no-pager", "--threshold=15", str(UNIT))
    assert code == 0, output


@needs_systemd
def test_exporter_does_with_the_system_calls_that_the_unit_allows(
    exporter_process: StartExporter, tmp_path: Path
) -> None:
    """Under the unit's filters it polls over TLS, keeps state, checks passwords, reloads on SIGHUP, and stops."""
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    (tmp_path / "key").write_text(KEY)
    (tmp_path / "web.yaml").write_text(f"basic_auth_users: {{prometheus: {HASH}}}")
    state = tmp_path / "state.db"
    with SimulatorServer({"": make_tenant({"1": RUNNING, "2": RUNNING})}, ssl_context=context) as server:
        api = {
            "url": server.url.replace("127.0.0.1", "localhost"),
            "key_id": KEY_ID,
            "key_file": str(tmp_path / "key"),
            "ca_file": str(tmp_path / "ca.pem"),
        }
        process = exporter_process(
            {"api": api, "actions": [1], "state": {"path": str(state)}},
            f"--web.config.file={tmp_path / 'web.yaml'}",
            prefix=[sys.executable, str(ROOT / "tests" / "sandboxed.py"), str(UNIT)],
        )
        process.credentials = ("prometheus", PASSWORD)
        assert "Seccomp:\t2\n" in Path(f"/proc/{process.process.pid}/status").read_text()
        wait_until_equal(lambda: scrape(process).phases(), {"active": 1})
        process.configure({"api": api, "actions": [1, 2], "state": {"path": str(state)}})
        process.process.send_signal(signal.SIGHUP)
        wait_until_equal(lambda: scrape(process).phases(), {"active": 2})
        assert process.stop() == 0
    assert state.stat().st_size > 0
    assert "level=warn" not in process.log
    assert "level=error" not in process.log
