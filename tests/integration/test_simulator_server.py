"""The simulated tenant on a real socket, and its command line."""

import contextlib
import gc
import gzip
import hashlib
import os
import re
import secrets
import select
import signal
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest
import requests
import trustme

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.server import SimulatorServer
from exporter.simulator.tenant import PATH, Drop, Fault, SimulatedTenant

KEY = "a-key-of-the-tests"
BODY = {"request_data": {"action_id": "325"}}
NOT_FOUND = b'{"reply": {"err_code": 404, "err_msg": "Not Found", "err_extra": null}}'
STANDARD = {"x-xdr-auth-id": "7", "Authorization": KEY}
TIMEOUT_SECONDS = 60


def sign(key: str = KEY) -> dict[str, str]:
    """Sign a request as a client with an advanced key does."""
    nonce, timestamp = secrets.token_hex(32), str(time.time_ns() // 1_000_000)
    return {
        "x-xdr-auth-id": "7",
        "x-xdr-nonce": nonce,
        "x-xdr-timestamp": timestamp,
        "Authorization": hashlib.sha256(f"{key}{nonce}{timestamp}".encode()).hexdigest(),
    }


def make_tenant(**counts: int) -> SimulatedTenant:
    """Make a tenant with a standard key, whose requests are easy to write by hand."""
    tenant = SimulatedTenant(key_id=7, key=KEY, key_type="standard", requests_per_second=10_000)
    tenant.add(325, Fixed("IN_PROGRESS", Counts(**counts)))
    return tenant


@pytest.fixture
def tenant() -> SimulatedTenant:
    """A tenant with one action."""
    return make_tenant(pending=1, failed=2)


@pytest.fixture
def server(tenant: SimulatedTenant) -> Iterator[SimulatorServer]:
    """A server with that tenant at its root."""
    with SimulatorServer({"": tenant}) as server:
        yield server


@contextlib.contextmanager
def connect(server: SimulatorServer) -> Iterator[socket.socket]:
    """Connect, for requests written by hand."""
    with socket.create_connection((server.host, server.port), timeout=TIMEOUT_SECONDS) as connection:
        yield connection


def raw_request(
    *, path: str = PATH, body: bytes = b'{"request_data": {"action_id": "325"}}', more: str = ""
) -> bytes:
    """Write a request with a standard key."""
    head = f"POST {path} HTTP/1.1\r\nHost: x\r\nx-xdr-auth-id: 7\r\nAuthorization: {KEY}\r\n{more}"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def read_all(connection: socket.socket) -> bytes:
    """Read until the server closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def read_reply(connection: socket.socket) -> tuple[bytes, bytes]:
    """Read one answer with a Content-Length."""
    data = b""
    while b"\r\n\r\n" not in data:
        data += connection.recv(1)
    head, _, body = data.partition(b"\r\n\r\n")
    (length,) = [int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.startswith(b"Content-Length")]
    while len(body) < length:
        body += connection.recv(length - len(body))
    return head, body


def wait_for_requests(tenant: SimulatedTenant, count: int) -> None:
    """Wait until that many requests have arrived, of which nothing comes back to tell."""
    for _ in range(60_000):
        if len(tenant.requests) >= count:
            return
        select.select([], [], [], 0.001)
    pytest.fail(f"{count} requests have not arrived: {tenant.requests}")


def test_server_answers_an_advanced_key() -> None:
    """A signed request is answered, gzipped on request, and only the first time."""
    tenant = SimulatedTenant(key_id=7, key=KEY)
    tenant.add(325, Fixed("IN_PROGRESS", Counts(pending=1, failed=2)))
    with SimulatorServer({"": tenant}) as server:
        headers = sign()
        first = requests.post(server.url + PATH, json=BODY, headers=headers, timeout=TIMEOUT_SECONDS)
        again = requests.post(server.url + PATH, json=BODY, headers=headers, timeout=TIMEOUT_SECONDS)
    assert (first.status_code, first.headers["Content-Encoding"]) == (200, "gzip")
    assert first.json()["reply"] == {
        "general_status": "IN_PROGRESS",
        **{f"endpoints_{name}": count for name, count in tenant.counts(325)._asdict().items()},
        "error_message": "",
    }
    assert again.status_code == 401
    assert [request.status for request in tenant.requests] == [200, 401]


def test_server_answers_a_standard_key(server: SimulatorServer) -> None:
    """A standard key is taken as it is, and a wrong one is refused."""
    url = server.url + PATH
    with requests.Session() as session:
        assert session.post(url, json=BODY, headers=STANDARD, timeout=TIMEOUT_SECONDS).status_code == 200
        wrong = session.post(url, json=BODY, headers=sign(), timeout=TIMEOUT_SECONDS)
    assert (wrong.status_code, wrong.json()["reply"]["err_code"]) == (401, 401)


def test_server_keeps_a_connection_alive(server: SimulatorServer) -> None:
    """Requests that come together on one connection are answered in their order, until one asks to close."""
    with connect(server) as connection:
        connection.sendall(raw_request() + raw_request(path="/x?y") + raw_request(more="Connection: close\r\n"))
        data = read_all(connection)
    assert re.findall(rb"HTTP/1.1 (\d+)", data) == [b"200", b"404", b"200"]
    assert data.count(b"Connection: close") == 1


def test_server_reads_a_request_in_pieces(server: SimulatorServer) -> None:
    """A request may come byte by byte, or chunked, and its path may have a query."""
    chunked = raw_request(path=f"{PATH}/?a=b", body=b"").replace(
        b"Content-Length: 0", b"Transfer-Encoding: chunked"
    )
    body = b'{"request_data": {"action_id": "325"}}'
    with connect(server) as connection:
        for byte in chunked + b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body):
            connection.sendall(bytes([byte]))
        head, _ = read_reply(connection)
    assert head == b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: application/json" % len(_)


def test_server_does_not_compress_unasked(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """An answer is compressed where that was asked for, it is large enough, and it is no fault's own body."""
    url = server.url + PATH
    with requests.Session() as session:
        session.headers.update(STANDARD)

        def encoding(body: object = BODY, **headers: str) -> str | None:
            reply = session.post(url, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
            return reply.headers.get("Content-Encoding")

        assert encoding() == "gzip"
        assert encoding(**{"Accept-Encoding": "identity"}) is None
        assert encoding({}) is None
        tenant.inject(Fault(body=b"x" * 1000))
        assert encoding() is None


@pytest.mark.parametrize("declared", [True, False])
def test_server_bounds_a_request_body(server: SimulatorServer, *, declared: bool) -> None:
    """More than 1 MiB is refused, whether announced or not, and the client gets to see why."""
    data = b"x" * ((1 << 20) + 1)
    content = data if declared else iter([data])
    reply = requests.post(server.url + PATH, data=content, headers=STANDARD, timeout=TIMEOUT_SECONDS)
    assert (reply.status_code, reply.headers["Connection"]) == (413, "close")


def test_server_refuses_a_body_before_it_comes(server: SimulatorServer) -> None:
    """The length alone is enough to refuse a body."""
    with connect(server) as connection:
        connection.sendall(f"POST {PATH} HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000000\r\n\r\n".encode())
        assert read_reply(connection) == (
            b"HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 0\r\nConnection: close",
            b"",
        )


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n",
        raw_request(path="/") + b"nonsense\r\n\r\n",
    ],
)
def test_server_refuses_what_is_no_request(server: SimulatorServer, data: bytes) -> None:
    """What the parser rejects gets a 400, and the connection is closed."""
    with connect(server) as connection:
        connection.sendall(data)
        assert read_all(connection) == (
            b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
        )


def test_server_serves_tenants_by_prefix() -> None:
    """Each tenant answers below its own prefix, and nothing else does."""
    tenants = {"t1": make_tenant(failed=1), "t2": make_tenant(failed=2)}
    with SimulatorServer(tenants) as server, requests.Session() as session:
        session.headers.update(STANDARD)

        def failed(prefix: str) -> int:
            reply = session.post(f"{server.url}/{prefix}{PATH}", json=BODY, timeout=TIMEOUT_SECONDS)
            return int(reply.json()["reply"]["endpoints_failed"])

        assert [failed("t1"), failed("t2")] == [1, 2]
        for path in (PATH, "/t3" + PATH, "/t1", "/"):
            reply = session.post(server.url + path, json=BODY, timeout=TIMEOUT_SECONDS)
            assert (reply.status_code, reply.content) == (404, NOT_FOUND)
    assert [len(tenant.requests) for tenant in tenants.values()] == [1, 1]


def test_server_does_not_mend_a_path(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """A double slash, or a target that is no path, is not found at the root either."""
    for target in (f"/{PATH}", f"http://x{PATH}"):
        with connect(server) as connection:
            connection.sendall(raw_request(path=target))
            assert read_reply(connection)[1] == NOT_FOUND
    assert [request.status for request in tenant.requests] == [404, 404]


def test_server_speaks_tls(tenant: SimulatedTenant, tmp_path: Path) -> None:
    """With a context the URL is https, and faults are delivered as well."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    bundle = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(bundle)
    with SimulatorServer({"": tenant}, ssl_context=context) as server, requests.Session() as session:
        session.headers.update(STANDARD)
        assert server.url == f"https://127.0.0.1:{server.port}"

        def post() -> requests.Response:
            return session.post(server.url + PATH, json=BODY, timeout=TIMEOUT_SECONDS, verify=str(bundle))

        assert post().status_code == 200
        for drop in Drop:
            if drop != Drop.NO_LENGTH:
                tenant.inject(Fault(drop=drop, times=1))
                with pytest.raises(requests.RequestException):
                    post()


def test_server_listens_on_ipv6(tenant: SimulatedTenant) -> None:
    """An IPv6 address is in brackets in the URL."""
    with SimulatorServer({"": tenant}, host="::1") as server:
        assert server.url == f"http://[::1]:{server.port}"
        reply = requests.post(server.url + PATH, json=BODY, headers=STANDARD, timeout=TIMEOUT_SECONDS)
        assert reply.status_code == 200


def test_server_can_be_stopped_and_started_on_its_port(server: SimulatorServer) -> None:
    """Stopping refuses connections; starting again takes the same port."""
    url = server.url + PATH
    server.stop()
    server.stop()
    with pytest.raises(requests.ConnectionError):
        requests.post(url, json=BODY, headers=STANDARD, timeout=TIMEOUT_SECONDS)
    server.start()
    assert requests.post(url, json=BODY, headers=STANDARD, timeout=TIMEOUT_SECONDS).status_code == 200


def test_server_says_that_an_address_is_taken(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """A port in use is an error of start, and leaves nothing to stop."""
    other = SimulatorServer({"": tenant}, port=server.port)
    with pytest.raises(OSError, match="in use"):
        other.start()
    other.stop()


def test_server_stops_with_every_kind_of_connection(tenant: SimulatedTenant) -> None:
    """Idle, half-sent, hanging and dripping connections and silent handshakes end, and no thread is left."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("127.0.0.1").configure_cert(context)
    threads = threading.active_count()
    with contextlib.ExitStack() as stack:
        plain = stack.enter_context(SimulatorServer({"": tenant}))
        secure = stack.enter_context(SimulatorServer({"": tenant}, ssl_context=context))
        idle, half, hanging, dripping = (stack.enter_context(connect(plain)) for _ in range(4))
        silent = stack.enter_context(connect(secure))
        idle.sendall(raw_request())
        read_reply(idle)
        half.sendall(raw_request()[:-5])
        tenant.inject(Fault(drip_bytes_per_second=1, drip_from="head"))
        dripping.sendall(raw_request())
        assert dripping.recv(1) == b"H"
        tenant.inject(Fault(hang=True))
        hanging.sendall(raw_request())
        plain.stop()
        secure.stop()
        for connection in (idle, half, hanging, dripping, silent):
            with contextlib.suppress(ConnectionResetError):
                read_all(connection)
    gc.collect()
    assert threading.active_count() == threads


def test_fault_replaces_the_answer(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """A fault's status, headers and bytes are seen on the wire."""
    tenant.inject(Fault(status=429, headers={"Retry-After": "7"}, body=b"slow down", times=1))
    with connect(server) as connection:
        connection.sendall(raw_request())
        assert read_reply(connection) == (
            (
                b"HTTP/1.1 429 Too Many Requests\r\nContent-Length: 9\r\nContent-Type: application/json\r\n"
                b"Retry-After: 7"
            ),
            b"slow down",
        )
        connection.sendall(raw_request())
        assert read_reply(connection)[0].startswith(b"HTTP/1.1 200 OK")


def test_fault_can_lie_about_the_length(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """A length in the fault's headers is sent instead of the true one."""
    tenant.inject(Fault(status=599, headers={"content-length": "2"}, body=b"{}and more"))
    with connect(server) as connection:
        connection.sendall(raw_request(more="Connection: close\r\n"))
        assert read_all(connection) == (
            b"HTTP/1.1 599 Unknown\r\nContent-Length: 2\r\nContent-Type: application/json\r\n"
            b"Connection: close\r\n\r\n{}and more"
        )


def test_fault_can_ask_for_gzip(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """A fault compresses what the client did not want compressed, and a bomb passes as it is."""
    tenant.inject(Fault(body=b"{}", gzip=True, times=1))
    with connect(server) as connection:
        connection.sendall(raw_request())
        head, body = read_reply(connection)
        assert b"Content-Encoding: gzip" in head
        assert gzip.decompress(body) == b"{}"
        bomb = gzip.compress(b" " * 1_000_000)
        tenant.inject(Fault(body=bomb, headers={"Content-Encoding": "gzip"}))
        connection.sendall(raw_request())
        assert read_reply(connection)[1] == bomb


def test_fault_drop_close_gives_no_answer(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """The connection ends in order, with nothing sent, and a request behind is not answered."""
    tenant.inject(Fault(drop=Drop.CLOSE, times=1))
    with connect(server) as connection:
        connection.sendall(raw_request() * 2)
        assert read_all(connection) == b""
    assert [request.status for request in tenant.requests] == [0]


def test_fault_drop_reset_gives_a_reset(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """The connection is reset."""
    tenant.inject(Fault(drop=Drop.RESET))
    with connect(server) as connection:
        connection.sendall(raw_request())
        with pytest.raises(ConnectionResetError):
            connection.recv(1)


@pytest.mark.parametrize(
    ("drop", "framing", "sent"),
    [
        (Drop.SHORT_BODY, "Content-Length: 10\r\nContent-Type: application/json", "01234"),
        (Drop.SHORT_CHUNK, "Content-Type: application/json\r\nTransfer-Encoding: chunked", "a\r\n01234"),
        (Drop.NO_LENGTH, "Content-Type: application/json", "01234"),
    ],
)
def test_fault_drop_cuts_the_body(
    server: SimulatorServer, tenant: SimulatedTenant, drop: Drop, framing: str, sent: str
) -> None:
    """Half of the body comes, announced in each of three ways."""
    tenant.inject(Fault(body=b"0123456789", drop=drop))
    with connect(server) as connection:
        connection.sendall(raw_request())
        received = read_all(connection).decode()
    assert received == f"HTTP/1.1 200 OK\r\n{framing}\r\nConnection: close\r\n\r\n{sent}"


def test_fault_delay_holds_one_answer_only(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """A delayed answer comes; one delayed for long, or hanging, lets other connections be answered."""
    with connect(server) as slow, connect(server) as hanging, connect(server) as other:
        tenant.inject(Fault(delay_seconds=0.01))
        slow.sendall(raw_request())
        assert read_reply(slow)[0].startswith(b"HTTP/1.1 200 OK")
        tenant.inject(Fault(delay_seconds=3600, times=1))
        slow.sendall(raw_request())
        wait_for_requests(tenant, 2)
        tenant.inject(Fault(hang=True, times=1))
        hanging.sendall(raw_request() * 2)
        wait_for_requests(tenant, 3)
        other.sendall(raw_request())
        assert read_reply(other)[0].startswith(b"HTTP/1.1 200 OK")
        assert select.select([slow, hanging], [], [], 0)[0] == []
    assert [request.status for request in tenant.requests] == [200, 200, 0, 200]


@pytest.mark.parametrize("drip_from", ["head", "body"])
def test_fault_drip_sends_the_whole_answer(
    server: SimulatorServer, tenant: SimulatedTenant, drip_from: Literal["head", "body"]
) -> None:
    """An answer that drips is whole in the end, and a request behind it waits its turn."""
    body = b"0123456789" * 5
    tenant.inject(Fault(body=body, drip_bytes_per_second=1000, drip_from=drip_from, times=1))
    with connect(server) as connection:
        connection.sendall(raw_request() * 2)
        assert read_reply(connection)[1] == body
        assert read_reply(connection)[0].startswith(b"HTTP/1.1 200 OK")


@pytest.mark.parametrize(("drip_from", "first"), [("head", b"H"), ("body", b"{")])
def test_fault_drip_is_slow(
    server: SimulatorServer, tenant: SimulatedTenant, drip_from: Literal["head", "body"], first: bytes
) -> None:
    """At a byte an hour, nothing is to be had after the first byte of the head, or of the body."""
    tenant.inject(Fault(drip_bytes_per_second=1 / 3600, drip_from=drip_from))
    with connect(server) as connection:
        connection.sendall(raw_request())
        received = b""
        while not received.endswith(first):
            received += connection.recv(1)
        assert (b"\r\n\r\n" in received) == (drip_from == "body")
        assert select.select([connection], [], [], 0)[0] == []


def test_fault_ends_with_its_client(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """A client that leaves while its answer drips takes the delivery with it."""
    tenant.inject(Fault(drip_bytes_per_second=100, drip_from="head", times=1))
    with connect(server) as connection:
        connection.sendall(raw_request())
        assert connection.recv(1) == b"H"
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    with connect(server) as connection:
        connection.sendall(raw_request())
        assert read_reply(connection)[0].startswith(b"HTTP/1.1 200 OK")


# The command line.


@contextlib.contextmanager
def run_simulator(*arguments: str, key: str | None = None) -> Iterator[subprocess.Popen[str]]:
    """Run the command line on a free port, without this process's key."""
    environment = {name: text for name, text in os.environ.items() if name != "CORTEX_XDR_SIMULATOR_KEY"}
    if key is not None:
        environment["CORTEX_XDR_SIMULATOR_KEY"] = key
    command = [sys.executable, "-m", "exporter.simulator", "--listen", "127.0.0.1:0", *arguments]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.terminate()


def read_lines(process: subprocess.Popen[str], count: int) -> list[str]:
    """Read that many lines of standard output."""
    assert process.stdout is not None
    return [process.stdout.readline().rstrip("\n") for _ in range(count)]


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
def test_command_line_serves_until_it_is_stopped(stop: signal.Signals) -> None:
    """It prints a random key, the URL and the actions, serves them, and exits with 0 when asked to."""
    with run_simulator("--actions", "2", "--speed", "1") as process:
        key_line, url, *actions = read_lines(process, 4)
        key = key_line.removeprefix("key id 7, advanced key ")
        assert len(key) == 128
        assert actions == [
            "  22519813685366  40 endpoints, all done within two minutes",
            "  22519813685367  90 endpoints, 27 of them time out after 600 s",
        ]
        body = {"request_data": {"action_id": "22519813685367"}}
        reply = requests.post(url + PATH, json=body, headers=sign(key), timeout=TIMEOUT_SECONDS)
        counts = [count for name, count in reply.json()["reply"].items() if name.startswith("endpoints_")]
        assert sum(counts) == 90
        process.send_signal(stop)
        assert process.communicate(timeout=TIMEOUT_SECONDS) == ("", "")
        assert process.returncode == 0


def test_command_line_takes_its_key_from_the_environment() -> None:
    """A key that is given is not printed; several tenants are below their prefixes."""
    with run_simulator(
        "--key-id", "12", "--key-type", "standard", "--tenants", "2", "--actions", "1", key=KEY
    ) as process:
        key_line, first, first_action, second, second_action = read_lines(process, 5)
        assert key_line == "key id 12, standard key from CORTEX_XDR_SIMULATOR_KEY"
        assert (first[-3:], second[-3:]) == ("/t1", "/t2")
        assert [line.split()[0] for line in (first_action, second_action)] == ["22519813685366", "22519813685367"]
        headers = {"x-xdr-auth-id": "12", "Authorization": KEY}
        body = {"request_data": {"action_id": "22519813685367"}}
        reply = requests.post(second + PATH, json=body, headers=headers, timeout=TIMEOUT_SECONDS)
        assert reply.json()["reply"]["error_message"] == ""


def test_command_line_takes_key_and_certificate_from_files(tmp_path: Path) -> None:
    """A key file's blanks around the key do not count; with a certificate it speaks TLS."""
    key, certificate, bundle, key_file = (tmp_path / name for name in ("tls.key", "tls.pem", "ca.pem", "key"))
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    authority.cert_pem.write_to_path(bundle)
    issued.private_key_pem.write_to_path(key)
    issued.cert_chain_pems[0].write_to_path(certificate)
    key_file.write_text(f"{KEY}\n")
    with run_simulator(
        "--key-file", str(key_file), "--tls-cert", str(certificate), "--tls-key", str(key), "--actions", "1"
    ) as process:
        key_line, url, action = read_lines(process, 3)
        assert key_line == f"key id 7, advanced key from {key_file}"
        assert url.startswith("https://127.0.0.1:")
        body = {"request_data": {"action_id": action.split()[0]}}
        reply = requests.post(url + PATH, json=body, headers=sign(), timeout=TIMEOUT_SECONDS, verify=str(bundle))
        assert reply.status_code == 200


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--listen", "0.0.0.0:0"], "0.0.0.0 is not a loopback address; a simulated tenant serves this host only"),
        (["--listen", "[::]:0"], ":: is not a loopback address; a simulated tenant serves this host only"),
        (["--listen", ":8443"], "':8443' is not an address and a port, such as 127.0.0.1:8443"),
        (["--listen", "example:8443"], "'example:8443' is not an address and a port, such as 127.0.0.1:8443"),
        (["--listen", "localhost:99999"], "'99999' is not a port"),
        (["--listen", "[::1]:x"], "'x' is not a port"),
        (["--speed", "0"], "0 is not above 0"),
        (["--speed", "nan"], "nan is not above 0"),
        (["--actions", "0"], "0 is not at least 1"),
        (["--tls-cert", "a.pem"], "--tls-cert and --tls-key: give both or neither"),
        (
            ["--tls-cert", "none.pem", "--tls-key", "none.key"],
            "--tls-cert, --tls-key: cannot load none.pem with none.key: [Errno 2] No such file or directory",
        ),
        (
            ["--key-file", "missing"],
            "--key-file: cannot read missing: [Errno 2] No such file or directory: 'missing'",
        ),
        (["--key-file", os.devnull], "--key-file: /dev/null is empty"),
    ],
)
def test_command_line_refuses_with_a_reason(arguments: list[str], message: str) -> None:
    """Each invalid argument is told, and the exit code is 2."""
    with run_simulator(*arguments) as process:
        output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, output) == (2, "")
    assert errors.splitlines()[-1].endswith(f": {message}")


def test_command_line_says_that_a_port_is_taken(server: SimulatorServer) -> None:
    """A port in use is told without a traceback, and the exit code is 1."""
    with run_simulator("--listen", f"127.0.0.1:{server.port}") as process:
        output, errors = process.communicate(timeout=TIMEOUT_SECONDS)
    assert (process.returncode, output) == (1, "")
    assert errors == f"--listen: cannot listen on 127.0.0.1:{server.port}: Address already in use\n"
