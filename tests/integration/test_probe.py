"""The probe of containers, as a process of its own: exporters of every kind, and whatever else may listen."""

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from support import ROOT, TIMEOUT_SECONDS, StartExporter, api_section
from support_tls import HASH, PASSWORD, certificate_of, issue

# Nobody is there, which is no matter here.
CONFIGURATION = {"api": api_section("http://127.0.0.1:1"), "actions": [1]}
OURS = trustme.CA()
SERVER = issue(OURS, "elsewhere.example")
TLS = "cert_file: tls.crt, key_file: tls.key"
MUTUAL_TLS = f"{TLS}, client_ca_file: ca.crt, client_auth_type: RequireAndVerifyClientCert"
ALICE = f"basic_auth_users: {{alice: {HASH}}}\n"
OTHER = "not-the-password"
USAGE = "the URL must be like http://127.0.0.1:10642/-/healthy, of loopback, and without @"


def probe(*arguments: str) -> tuple[int, str, str]:
    """Run the probe; return its exit code, its output, and what it says on standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter.probe", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def unwell(reason: str) -> tuple[int, str, str]:
    """Return what the probe of an exporter that is not well is like."""
    return 1, "", f"not well: {reason}\n"


WELL = (0, "", "")


@pytest.fixture
def credentials(tmp_path: Path) -> dict[str, list[str]]:
    """Return the probe's arguments: none, and Secrets as Kubernetes mounts them, one with a wrong password."""
    for name, password in (("right", PASSWORD + "\n"), ("wrong", OTHER)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "username").write_text("alice")
        (tmp_path / name / "password").write_text(password)
    return {"none": [], **{name: [f"--credentials={tmp_path / name}"] for name in ("right", "wrong")}}


@pytest.mark.parametrize(
    ("web", "secrets"),
    [
        ("", {"none": WELL, "right": WELL}),
        (ALICE, {"none": WELL, "right": WELL, "wrong": unwell("it answers with 401")}),
        (f"tls_server_config: {{{TLS}}}\n", {"none": WELL, "right": WELL}),
        (
            f"tls_server_config: {{{TLS}}}\n{ALICE}",
            {"none": WELL, "right": WELL, "wrong": unwell("it answers with 401")},
        ),
        (f"tls_server_config: {{{MUTUAL_TLS}}}\n", {"none": WELL, "right": WELL}),
        (f"tls_server_config: {{{MUTUAL_TLS}, max_version: TLS12}}\n", {"none": WELL, "right": WELL}),
        ("rate_limit: {interval: 1h, burst: 1}\n", {"none": WELL, "right": WELL}),
    ],
    ids=["plain", "password", "tls", "tls-password", "mutual-tls", "mutual-tls-1.2", "rate-limit"],
)
def test_probe_finds_an_exporter_well(
    exporter_process: StartExporter,
    tmp_path: Path,
    credentials: Mapping[str, list[str]],
    web: str,
    secrets: Mapping[str, tuple[int, str, str]],
) -> None:
    """Whatever the web port asks for, an exporter that works is well, unless we send it a wrong password."""
    files = {"tls.crt": SERVER.certificate, "tls.key": SERVER.key, "ca.crt": certificate_of(OURS), "web.yaml": web}
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    process = exporter_process(CONFIGURATION, f"--web.config.file={tmp_path / 'web.yaml'}")
    schemes = ("http", "https") if "tls" in web else ("http",)
    urls = [f"{scheme}://{process.url.removeprefix('http://')}/-/healthy" for scheme in schemes]
    found = {(name, url): probe(*credentials[name], url) for name in secrets for url in urls}
    assert found == {(name, url): secrets[name] for name in secrets for url in urls}
    assert OTHER not in process.log
    assert PASSWORD not in process.log


def test_probe_asks_for_the_path_that_it_is_given(exporter_process: StartExporter) -> None:
    """Where the exporter has nothing, it is not found well."""
    assert probe(f"{exporter_process(CONFIGURATION).url}/none?x") == unwell("it answers with 404")


@contextmanager
def listener(answer: bytes | None) -> Iterator[str]:
    """Listen, answer each request with these bytes and close; with None, say and do nothing. Yield the URL."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer or b"")

        if answer is not None:
            threading.Thread(target=serve, daemon=True).start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/"
        server.shutdown(socket.SHUT_RDWR)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"HTTP/1.1 302 Found\r\nLocation: /-/healthy\r\n\r\n", "it answers with 302"),
        (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", "it answers with 503"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", "it answers with 204"),
        (b"HTTP/1.1 000 Well\r\n\r\n", "it answers with 0"),
        (b"HTTP/1.1 2\xff0 OK\r\n\r\n", "what it answers is not HTTP"),
        (b"HTTP/1.1 \r\n", "what it answers is not HTTP"),
        (b"220 mail.example ESMTP\r\n", "what it answers is not HTTP"),
        (b"\x15\x03\x01\x00\x02\x02\x46", "TLS fails: TLSV1_ALERT_PROTOCOL_VERSION"),
        (b"", "TLS fails: UNEXPECTED_EOF_WHILE_READING"),
        (None, "no answer within 3 s"),
    ],
)
def test_probe_finds_another_answer_unwell(answer: bytes | None, reason: str) -> None:
    """Anything but a 200 is said on one line, and so is silence."""
    with listener(answer) as url:
        assert probe(url) == unwell(reason)


def test_probe_finds_nobody() -> None:
    """Where nobody listens, that is said."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    assert probe(f"http://127.0.0.1:{port}/-/healthy") == unwell("Connection refused")


@pytest.mark.parametrize(
    "url",
    [
        *(
            "",
            "healthy",
            "ftp://127.0.0.1:21/",
            "http://",
            "http://[::1",
            "http://127.0.0.1:x/",
            "http://127.0.0.1:-1/",
        ),
        *(
            "http://192.0.2.1/",
            "http://exporter.example/",
            "http://127.0.0.1/a b",
            "http://127.0.0.1/\n",
            "http://ä/",
        ),
        *("http://alice:hidden@127.0.0.1/", "http://alice:hid/den@127.0.0.1/", "http://127.0.0.1:99999/"),
    ],
)
def test_probe_refuses_a_url(url: str) -> None:
    """A URL that is none, of elsewhere or with a password is refused, and not repeated."""
    assert probe(url) == unwell(USAGE)


def test_probe_names_the_file_that_it_lacks(tmp_path: Path) -> None:
    """Credentials that are not there are an answer too."""
    missing = f"[Errno 2] No such file or directory: '{tmp_path / 'username'}'"
    assert probe(f"--credentials={tmp_path}") == unwell(f"--credentials: {missing}")


def test_probe_loads_nothing_else_of_the_exporter() -> None:
    """What is started every few seconds imports no other module of ours, and no library."""
    code = "import sys; before = set(sys.modules); import exporter.probe; print(*set(sys.modules) - before)"
    loaded = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    names = set(loaded.stdout.split())
    assert {name for name in names if name.startswith("exporter")} == {"exporter", "exporter.probe"}
    assert {name.partition(".")[0] for name in names} - {"exporter"} <= sys.stdlib_module_names
