"""The guarded server over real sockets: deadlines, limits, and a strict reading of requests.

The application under it answers each path in its own way, and the bounds are short.
"""

import asyncio
import os
import re
import resource
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
import trustme
from starlette.types import Receive, Scope, Send
from support import wait_until
from support_tls import client_context

from exporter.web.guard import Bounds
from exporter.web.policy import Policy
from exporter.web.server import Server, listen

GET = b"GET / HTTP/1.1\r\nHost: exporter\r\n\r\n"
SHORT = Bounds(handshake=0.2, idle=0.4, head=0.2, answer=0.6, lingering=0.2)
PATIENT = Bounds(lingering=0.2)
PIECE = b"x" * 65536
PIECES = 200
WHOLE = PIECES * len(PIECE) + len("GET /long \n")


class Running:
    """A server in a thread, the abuse that it told of, and its clients, which end with it."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.noted: list[str] = []
        self.policy = Policy()
        self.tls: ssl.SSLContext | None = None
        self.clients: list[socket.socket] = []
        self.asked = 0

    async def application(self, scope: Scope, _receive: Receive, send: Send) -> None:
        """Answer ``/`` at once, ``/slow`` after a while, ``/long`` with 13 MB, and ``/once`` in one piece.

        ``/defect`` is answered, and something goes wrong beside it.
        """
        self.asked += 1
        path = scope["path"]
        if path == "/defect":
            asyncio.get_running_loop().call_soon(int, "no number, and a secret")
        if path == "/slow":
            await asyncio.sleep(0.3)
        pieces = PIECES if path in {"/long", "/once"} else 0
        text = f"{scope['method']} {path} {scope['query_string'].decode()}\n".encode()
        length = str(len(text) + pieces * len(PIECE)).encode()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
        if path == "/once":
            text = pieces * PIECE + text
            pieces = 0
        for _ in range(pieces):
            await send({"type": "http.response.body", "body": PIECE, "more_body": True})
        await send({"type": "http.response.body", "body": text})

    def connect(self, sent: bytes = b"") -> socket.socket:
        """Open a connection and send something."""
        client = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        if self.tls is not None:
            client = self.tls.wrap_socket(client, server_hostname="localhost")
        self.clients.append(client)
        client.sendall(sent)
        return client

    def ask(self, sent: bytes) -> bytes:
        """Return all that comes until the server closes the connection."""
        return read_all(self.connect(sent))


@contextmanager
def running(bounds: Bounds) -> Iterator[Running]:
    """Serve the application."""
    listening = listen("127.0.0.1", 0)
    serving = Running(listening.getsockname()[1])
    server = Server(
        serving.application,
        policy=lambda: serving.policy,
        noted=lambda kind, /, **details: serving.noted.append(" ".join(filter(None, [kind, *details.values()]))),
        bounds=bounds,
    )
    thread = threading.Thread(target=server.run, args=([listening],))
    thread.start()
    try:
        yield serving
    finally:
        for client in serving.clients:
            client.close()
        server.stop()
        thread.join()


@pytest.fixture(scope="module")
def server() -> Iterator[Running]:
    """Serve all tests of this module with the bounds that the exporter has."""
    with running(PATIENT) as serving:
        yield serving


@pytest.fixture
def patient(server: Running) -> Running:
    """Take that server, with nothing noted."""
    server.noted.clear()
    return server


@pytest.fixture(params=["plain", "tls"])
def either(request: pytest.FixtureRequest) -> Iterator[Running]:
    """Serve without and with TLS, with the bounds that the exporter has."""
    with running(PATIENT) as serving:
        if request.param == "tls":
            encrypt(serving)
        yield serving


def encrypt(serving: Running) -> None:
    """Have TLS from now on."""
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(context)
    serving.policy = Policy(context=context)
    serving.tls = client_context(authority)


@pytest.fixture
def short() -> Iterator[Running]:
    """Serve with bounds that a test can wait for."""
    with running(SHORT) as serving:
        yield serving


def read_all(client: socket.socket) -> bytes:
    """Return all that comes until the other side closes, or resets, the connection."""
    received = []
    try:
        while data := client.recv(1 << 20):
            received.append(data)
    except ConnectionResetError:
        pass
    return b"".join(received)


def read_answer(client: socket.socket) -> tuple[int, bytes]:
    """Return the status and the body of one answer."""
    received = b""
    while b"\r\n\r\n" not in received:
        data = client.recv(65536)
        assert data, f"closed after {received!r}"
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: ([0-9]+)", head.lower())
    assert length
    while len(body) < int(length[1]):
        body += client.recv(65536)
    return int(head.split(b" ")[1]), body


def body_of(answer: bytes) -> bytes:
    """Return an answer's body."""
    return answer.partition(b"\r\n\r\n")[2]


def status_of(answer: bytes) -> int | None:
    """Return an answer's status, None where there is none."""
    return int(answer.split(b" ")[1]) if answer.startswith(b"HTTP/1.1 ") else None


def test_connection_serves_one_request_after_the_other(patient: Running) -> None:
    """A connection is kept for the next request."""
    client = patient.connect()
    for number in range(3):
        client.sendall(b"GET /?n=%d HTTP/1.1\r\nHost: exporter:80\r\n\r\n" % number)
        assert read_answer(client) == (200, b"GET / n=%d\n" % number)
    assert patient.noted == []


@pytest.mark.parametrize(
    "request_",
    [
        b"GET / HTTP/1.0\r\n\r\n",
        b"GET / HTTP/1.0\r\nHost: exporter\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: exporter\r\nConnection: close\r\n\r\n",
    ],
)
def test_connection_ends_where_the_client_wants_no_other(patient: Running, request_: bytes) -> None:
    """HTTP/1.0 and ``Connection: close`` get their answer and the end."""
    answer = patient.ask(request_)
    assert (status_of(answer), answer.endswith(b"GET / \n")) == (200, True)


@pytest.mark.parametrize(
    "request_",
    [
        b"GET http://exporter/?a=1 HTTP/1.1\r\nHost: exporter\r\n\r\n",
        b"GET /?a=1 HTTP/1.1\r\nhost: [::1]:10642\r\n\r\n",
        b"GET /?a=1 HTTP/1.1\r\nHost:\r\n\r\n",
        b"GET /?a=1 HTTP/1.1\r\nHost: exporter\r\nContent-Length: 0\r\n\r\n",
        b"\r\nGET /?a=1 HTTP/1.1\r\nHost: exporter\r\n\r\n",
        b"GET /?a=1 HTTP/1.1\r\nHost: exporter\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
    ],
)
def test_unusual_requests_are_answered(patient: Running, request_: bytes) -> None:
    """What RFC 9112 allows is taken."""
    assert read_answer(patient.connect(request_)) == (200, b"GET / a=1\n")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET / HTTP/1.1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n", 400),
        (b"GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: user@a\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a b\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a/b\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: ::1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost : a\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX Y: z\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: a\x00b\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\n X: folded\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 1\r\n", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +0\r\n", 400),
        (b"GET /\xff HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET * HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET nothing HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET http://[ HTTP/1.1\r\nHost: a\r\n", 400),
        (b"get / HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET / HTTP/1.2\r\nHost: a\r\n", 400),
        (b"GET / HTTP/2.0\r\nHost: a\r\n", 400),
        (b"GET / RTSP/1.0\r\nHost: a\r\n", 400),
        (b"GET /\r\n", 400),
        (b"GET  / HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET /#fragment HTTP/1.1\r\nHost: a\r\n", 400),
        (b"GET http://a:b@c/ HTTP/1.1\r\nHost: a\r\n", 400),
        (b"PRI * HTTP/2.0\r\n", 400),
        (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n", 400),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
        (b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000000\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\nExpect: 100-continue\r\n", 413),
        (b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n", 413),
        (b"GET /%s HTTP/1.1\r\nHost: a\r\n" % (b"x" * 8192), 414),
        (b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 100, 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: %s\r\n" % (b"y" * 16384), 431),
        (b"GET / HTTP/1.1\r\nHost: a\r\nX: %s" % (b"y" * 1_000_000), 431),
    ],
)
def test_request_is_refused_before_more_of_it_is_read(patient: Running, head: bytes, status: int) -> None:
    """What is malformed, has a body or is too large gets its status, security headers and the end."""
    answer = patient.ask(head + b"\r\n" + GET)
    assert status_of(answer) == status
    assert answer.count(b"HTTP/1.1 ") == 1
    fields = answer.partition(b"\r\n\r\n")[0].lower().split(b"\r\n")
    assert {
        b"connection: close",
        b"x-content-type-options: nosniff",
        b"content-security-policy: default-src 'none'; frame-ancestors 'none'",
    } <= set(fields)
    assert not any(field.startswith(b"server:") for field in fields)
    assert len(patient.noted) == 1


def test_largest_request_is_answered(patient: Running) -> None:
    """A request at the limits is taken: 8 KiB of target, 100 headers, 16 KiB in all."""
    target = b"/?" + b"x" * 8190
    headers = b"".join(b"H%02d: %s\r\n" % (number, b"y" * 70) for number in range(99))
    status, body = read_answer(patient.connect(b"GET %s HTTP/1.1\r\nHost: a\r\n%s\r\n" % (target, headers)))
    assert (status, len(body)) == (200, 8190 + len("GET / \n"))


def test_requests_are_answered_one_at_a_time(patient: Running) -> None:
    """Whoever sends a second request before the answer to the first gets that one and the end."""
    answer = patient.ask(GET * 1000)
    assert answer.count(b"HTTP/1.1 200") == 1
    client = patient.connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    client.sendall(GET)
    assert read_all(client).count(b"HTTP/1.1 200") == 1


def test_first_answer_is_whole_whatever_is_asked_beside_it(either: Running) -> None:
    """Further requests that come while an answer is being read are dropped, and do not harm it."""
    client = either.connect(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: either.asked, "asked")
    for _ in range(3):
        client.sendall(GET)
        threading.Event().wait(0.05)
    assert (len(body_of(read_all(client))), either.asked) == (WHOLE, 1)


@pytest.mark.parametrize("half_closed", [False, True])
def test_connection_ends_when_an_answer_that_was_made_at_once_has_been_read(
    patient: Running, *, half_closed: bool
) -> None:
    """What comes while the last of an answer is on its way does not keep the connection."""
    before = patient.asked
    client = patient.connect(b"GET /once HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: patient.asked > before, "asked")
    threading.Event().wait(0.1)
    if half_closed:
        client.shutdown(socket.SHUT_WR)
    else:
        client.sendall(GET)
    assert len(body_of(read_all(client))) == WHOLE
    assert patient.noted == []


def test_slow_reader_gets_all_of_a_last_answer(either: Running) -> None:
    """An answer after which the connection ends has as much time as any, over TLS too."""
    with running(replace(PATIENT, lingering=0.1)) as serving:
        serving.policy, serving.tls = either.policy, either.tls
        client = serving.connect()
        client.sendall(b"GET /once HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        threading.Event().wait(0.5)
        assert len(body_of(read_all(client))) == WHOLE


def test_client_that_leaves_in_the_middle_leaves_no_trace() -> None:
    """Over TLS, without a farewell, and after a second request: its place is free for the next."""
    with running(replace(PATIENT, connections=4)) as serving:
        encrypt(serving)
        for _ in range(8):
            client = serving.connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n" * 2)
            socket.socket.shutdown(client, socket.SHUT_WR)
            socket.socket.close(client)
        wait_until(lambda: status_of(serving.ask(b"GET / HTTP/1.0\r\n\r\n")) == 200, "there is room")


def test_connections_under_other_tls_settings_end() -> None:
    """Who was let in under other settings is not answered any more, and has to come again."""
    with running(PATIENT) as serving:
        plain = serving.connect(GET)
        read_answer(plain)
        encrypt(serving)
        plain.sendall(GET)
        assert read_all(plain) == b""
        assert read_answer(serving.connect(GET))[0] == 200


@pytest.mark.parametrize("sent", [b"", b"\x16\x03\x01", GET])
def test_handshake_that_does_not_come_is_cut(sent: bytes) -> None:
    """Silence, a beginning, and plain HTTP end, and no other connection is kept waiting."""
    with running(SHORT) as serving:
        encrypt(serving)
        silent = socket.create_connection(("127.0.0.1", serving.port), timeout=20)
        serving.clients.append(silent)
        silent.sendall(sent)
        assert read_answer(serving.connect(GET))[0] == 200
        assert not read_all(silent).startswith(b"HTTP/1.1 200")
        wait_until(lambda: bool(serving.noted), "noted")
        slow = "TLS handshake too slow 127.0.0.1"
        assert serving.noted == [slow if sent != GET else "TLS handshake failed 127.0.0.1 HTTP_REQUEST"]


def test_half_closed_client_gets_its_answer(patient: Running) -> None:
    """A client that says no more than its request still listens."""
    client = patient.connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n")
    client.shutdown(socket.SHUT_WR)
    assert status_of(read_all(client)) == 200
    silent = patient.connect(b"GET /slow HTTP/1.1\r\n")
    silent.shutdown(socket.SHUT_WR)
    assert read_all(silent) == b""


@pytest.mark.parametrize("sent", [b"", GET])
def test_idle_connection_ends_without_a_word(short: Running, sent: bytes) -> None:
    """One that never asked, or does not ask again, is closed; that is no abuse."""
    client = short.connect(sent)
    if sent:
        read_answer(client)
    assert (read_all(client), short.noted) == (b"", [])


def test_slow_head_is_cut(short: Running) -> None:
    """A head has a deadline from its first byte, however many bytes follow."""
    client = short.connect()
    with pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012 - it is cut at some byte
        for byte in GET[:-1] * 10:
            client.sendall(bytes([byte]))
            threading.Event().wait(0.02)
    assert short.noted == ["request head too slow 127.0.0.1"]


def test_slow_reader_is_cut(short: Running) -> None:
    """An answer has to be read within its time."""
    client = short.connect(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
    wait_until(lambda: bool(short.noted), "noted")
    assert short.noted == ["answer read too slowly 127.0.0.1"]
    assert len(read_all(client)) < PIECES * len(PIECE)


def test_refused_client_that_goes_on_sending_is_cut(short: Running) -> None:
    """What a refused client still sends is dropped for a moment, and then it is cut."""
    client = short.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000000\r\n\r\n")
    with pytest.raises(OSError, match=r"reset|Broken pipe"):  # noqa: PT012 - it is cut at some piece
        for _ in range(1000):
            client.sendall(PIECE)
            threading.Event().wait(0.005)
    assert short.noted == ["request with a body 127.0.0.1"]


def test_oldest_idle_connection_makes_room() -> None:
    """With as many connections as there may be, the one idle for longest goes, and none that is being served."""
    with running(replace(PATIENT, connections=3)) as serving:
        busy = serving.connect(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        used = serving.connect()
        idle = serving.connect()
        used.sendall(GET)
        read_answer(used)
        newcomers = [serving.connect(GET) for _ in range(2)]
        assert [read_answer(client)[0] for client in newcomers] == [200, 200]
        assert (read_all(idle), read_all(used)) == (b"", b"")
        busy.settimeout(20)
        assert len(read_answer(busy)[1]) == WHOLE
        assert serving.noted == ["too many connections"] * 2


def test_stuck_reader_makes_room() -> None:
    """Where nobody is idle, whoever has not been reading for longest goes."""
    with running(replace(PATIENT, connections=2)) as serving:
        for _ in range(2):
            serving.connect(b"GET /long HTTP/1.1\r\nHost: a\r\n\r\n")
        assert read_answer(serving.connect(GET))[0] == 200


def test_nobody_comes_in_while_all_are_of_use() -> None:
    """A connection too many is closed at once, if each that is there is being answered."""
    with running(replace(PATIENT, connections=2)) as serving:
        served = [serving.connect(b"GET /slow HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(2)]
        wait_until(lambda: serving.asked == 2, "both are being answered")
        assert serving.ask(GET) == b""
        assert [read_answer(client)[0] for client in served] == [200, 200]


def test_connection_waits_while_there_is_no_handle_for_it(patient: Running) -> None:
    """That is noted, no busy loop, and over when there is one again."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with socket.socket() as client:
        client.settimeout(20)
        lowest_free = os.dup(client.fileno())
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            client.connect(("127.0.0.1", patient.port))
            client.sendall(GET)
            wait_until(lambda: bool(patient.noted), "noted")
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert read_answer(client)[0] == 200
    assert set(patient.noted) == {"connection not accepted Too many open files"}


def test_defect_beside_an_answer_is_told_without_its_text(patient: Running) -> None:
    """The event loop goes on, and the log says what failed and where, but not what an error's text quotes."""
    assert read_answer(patient.connect(b"GET /defect HTTP/1.1\r\nHost: a\r\n\r\n"))[0] == 200
    wait_until(lambda: bool(patient.noted), "noted")
    (noted,) = patient.noted
    assert noted.startswith("defect in the event loop ValueError")
    assert "secret" not in noted
