"""The client against a real HTTP server: every row of the error taxonomy, as it comes over the wire."""

import contextlib
import datetime as dt
import gzip
import json
import math
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import pytest
import trustme
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from support import KEY, TIMEOUT_SECONDS, make_tenant, wait_until
from support_namespaces import needs_namespaces, run_apart

from exporter import __version__, transport
from exporter.cortex import AdvancedKey, CortexClient, StandardKey, retry_after_seconds
from exporter.errors import (
    AuthenticationError,
    ConfigurationError,
    PollError,
    Reason,
    ThrottledError,
    TransientError,
    UnexpectedReplyError,
)
from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.server import SimulatorServer
from exporter.simulator.tenant import Drop, Fault, SimulatedTenant
from exporter.status import Status
from exporter.transport import Deadline

ACTION = "22519813685366"
COUNTS = Counts(1, 2, 3, 4, 5, 6, 7, 8, 9)
STATUS = Status("IN_PROGRESS", tuple(COUNTS))
BOMB = gzip.compress(b" " * 30_000_000, 1)


@pytest.fixture
def tenant() -> SimulatedTenant:
    """Make a tenant with one action in known counts."""
    return make_tenant({ACTION: Fixed("IN_PROGRESS", COUNTS)})


@pytest.fixture
def server(tenant: SimulatedTenant) -> Iterator[SimulatorServer]:
    """Serve that tenant over plain HTTP."""
    with SimulatorServer({"": tenant}) as running:
        yield running


@contextmanager
def client_for(
    url: str,
    *,
    key: str = KEY,
    standard: bool = False,
    wall_clock: Callable[[], float] = time.time,
    ca_file: Path | None = None,
    proxy_url: str | None = None,
) -> Iterator[CortexClient]:
    """Make a client, and close it in the end."""
    secret = SecretStr(key)
    client = CortexClient(
        url,
        StandardKey("7", secret) if standard else AdvancedKey("7", secret, wall_clock=wall_clock),
        secret,
        connections=4,
        ca_file=None if ca_file is None else str(ca_file),
        proxy_url=None if proxy_url is None else SecretStr(proxy_url),
        wall_clock=wall_clock,
    )
    try:
        yield client
    finally:
        client.close()


def within(seconds: float) -> Deadline:
    """Return a deadline that ends so many seconds from now."""
    return Deadline(time.monotonic() + seconds)


def outcome(client: CortexClient, action_id: str = ACTION, *, seconds: float = 10) -> Any:
    """Return what a poll gives: the status, or the error's class, reason and detail."""
    try:
        return client.fetch(action_id, within(seconds))
    except PollError as error:
        return type(error), error.reason, error.detail


def reply(**fields: object) -> bytes:
    """Return a body of the API."""
    return json.dumps({"reply": fields}).encode()


@pytest.mark.parametrize("key_type", ["advanced", "standard"])
def test_client_reads_the_status_with_both_types_of_key(
    tenant: SimulatedTenant, server: SimulatorServer, key_type: Literal["advanced", "standard"]
) -> None:
    """The tenant, which checks signatures, nonces and time, answers a key of either type."""
    tenant.key_type = key_type
    with client_for(server.url, standard=key_type == "standard") as client:
        assert [outcome(client), outcome(client)] == [STATUS, STATUS]


TAXONOMY: list[tuple[Fault, object]] = [
    (
        Fault(status=400),
        (UnexpectedReplyError, Reason.CLIENT_ERROR, "HTTP 400: Bad Request"),
    ),
    (
        Fault(status=401),
        (AuthenticationError, Reason.UNAUTHORIZED, "HTTP 401: Public API request unauthorized"),
    ),
    (
        Fault(status=401, body=b'{"err_code": "401", "err_msg": "expired", "err_extra": {"key": 7}}'),
        (AuthenticationError, Reason.UNAUTHORIZED, 'HTTP 401: expired; {"key": 7}'),
    ),
    (Fault(status=402), (AuthenticationError, Reason.LICENSE, "HTTP 402: Payment Required")),
    (Fault(status=403), (AuthenticationError, Reason.FORBIDDEN, "HTTP 403: Forbidden")),
    (Fault(status=404, body=b""), (UnexpectedReplyError, Reason.CLIENT_ERROR, "HTTP 404")),
    (Fault(status=413, body=b""), (UnexpectedReplyError, Reason.CLIENT_ERROR, "HTTP 413")),
    (Fault(status=429), (ThrottledError, Reason.THROTTLED, "HTTP 429: Too many requests")),
    (
        Fault(status=500, body=b'{"reply": {"err_code": 500, "err_msg": "Rate limit reached"}}'),
        (ThrottledError, Reason.THROTTLED, "HTTP 500: Rate limit reached"),
    ),
    (
        Fault(status=500, body=b"Too Many Requests, slow down"),
        (ThrottledError, Reason.THROTTLED, "HTTP 500: Too Many Requests, slow down"),
    ),
    (
        Fault(status=500),
        (TransientError, Reason.SERVER_ERROR, "HTTP 500: Internal Server Error"),
    ),
    (
        Fault(status=502, body=b"<html><body>Bad gateway</body></html>"),
        (TransientError, Reason.SERVER_ERROR, "HTTP 502"),
    ),
    (
        Fault(status=503, body=b"upstream\r\nis \x1b[31maway"),
        (TransientError, Reason.SERVER_ERROR, "HTTP 503: upstream is ?[31maway"),
    ),
    (
        Fault(status=302, headers={"Location": "http://127.0.0.1:9/"}),
        (UnexpectedReplyError, Reason.REDIRECT, "HTTP 302: redirects are not followed"),
    ),
    (
        Fault(status=308, headers={"Location": "nonsense://"}, body=BOMB, gzip=False),
        (UnexpectedReplyError, Reason.REDIRECT, "HTTP 308: redirects are not followed"),
    ),
    (
        Fault(status=204, body=b""),
        (UnexpectedReplyError, Reason.BAD_RESPONSE, "HTTP 204"),
    ),
    (
        Fault(body=reply(error_message="Insufficient permissions")),
        (AuthenticationError, Reason.FORBIDDEN, "Insufficient permissions"),
    ),
    (
        Fault(body=reply(err_code=401, err_msg="no", err_extra=None)),
        (AuthenticationError, Reason.UNAUTHORIZED, "error code 401: no"),
    ),
    (
        Fault(body=b"<html>login</html>"),
        (
            UnexpectedReplyError,
            Reason.BAD_RESPONSE,
            "the body is not JSON: Expecting value at character 0",
        ),
    ),
    (
        Fault(body=reply(general_status="PENDING", endpoints_failed=-1)),
        (UnexpectedReplyError, Reason.BAD_RESPONSE, "'endpoints_failed' is not a count"),
    ),
    (
        Fault(body=b"[" * 100_000),
        (UnexpectedReplyError, Reason.BAD_RESPONSE, "the body is not JSON: it is nested too deep"),
    ),
    (
        Fault(body=b"0" * 2_000_000),
        (UnexpectedReplyError, Reason.BAD_RESPONSE, "the body is longer than 131072 bytes"),
    ),
    (
        Fault(body=BOMB, headers={"Content-Encoding": "gzip"}),
        (UnexpectedReplyError, Reason.BAD_RESPONSE, "the body is longer than 131072 bytes"),
    ),
    (
        Fault(body=gzip.compress(BOMB), headers={"Content-Encoding": "gzip, gzip"}),
        (UnexpectedReplyError, Reason.BAD_RESPONSE, "the body is longer than 131072 bytes"),
    ),
    (
        Fault(body=b"no gzip", headers={"Content-Encoding": "gzip"}),
        (UnexpectedReplyError, Reason.BAD_RESPONSE, "the answer is not valid HTTP"),
    ),
    (
        Fault(headers={f"X-{number}": "x" for number in range(200)}),
        (UnexpectedReplyError, Reason.BAD_RESPONSE, "the answer is not valid HTTP"),
    ),
    (
        Fault(drop=Drop.CLOSE),
        (TransientError, Reason.CONNECTION, "the connection was closed before the whole answer came"),
    ),
    (Fault(drop=Drop.RESET), (TransientError, Reason.CONNECTION, "Connection reset by peer")),
    (
        Fault(drop=Drop.SHORT_BODY),
        (TransientError, Reason.CONNECTION, "the connection was closed before the whole answer came"),
    ),
    (
        Fault(drop=Drop.SHORT_CHUNK),
        (TransientError, Reason.CONNECTION, "the connection was closed before the whole answer came"),
    ),
    (
        Fault(drop=Drop.NO_LENGTH, body=reply(general_status="PENDING", endpoints_pending=12), gzip=False),
        (
            UnexpectedReplyError,
            Reason.BAD_RESPONSE,
            "the body is not JSON: Unterminated string starting at character 29",
        ),
    ),
]


@pytest.mark.parametrize(("fault", "expected"), TAXONOMY)
def test_client_translates_each_failure(
    tenant: SimulatedTenant, server: SimulatorServer, fault: Fault, expected: object
) -> None:
    """A failure has its reason and its words, and the next poll is well again."""
    tenant.inject(fault, ACTION)
    with client_for(server.url) as client:
        assert outcome(client) == expected
        tenant.clear()
        assert outcome(client) == STATUS


NOON = 1_700_049_600.0
"""Wed, 15 Nov 2023 12:00:00 GMT."""


@pytest.mark.parametrize(
    ("fault", "expected"),
    [
        (Fault(status=429, headers={"Retry-After": "7"}), (Reason.THROTTLED, 7.0)),
        (Fault(status=429, headers={"retry-after": " 007 "}), (Reason.THROTTLED, 7.0)),
        (Fault(status=429), (Reason.THROTTLED, None)),
        (Fault(status=429, headers={"Retry-After": "soon"}), (Reason.THROTTLED, None)),
        (
            Fault(status=429, headers={"Retry-After": "Wed, 15 Nov 2023 12:01:30 GMT"}),
            (Reason.THROTTLED, 90.0),
        ),
        (Fault(status=500, body=b"rate limit", headers={"Retry-After": "8"}), (Reason.THROTTLED, 8.0)),
        (Fault(status=503, headers={"Retry-After": "120"}), (Reason.SERVER_ERROR, 120.0)),
        (Fault(status=503, body=b"", headers={"Retry-After": "0"}), (Reason.SERVER_ERROR, 0.0)),
        (Fault(status=401, headers={"Retry-After": "9"}), (Reason.UNAUTHORIZED, 9.0)),
        (Fault(status=301, headers={"Retry-After": "9"}), (Reason.REDIRECT, 9.0)),
        (Fault(body=b"no JSON", headers={"Retry-After": "9"}), (Reason.BAD_RESPONSE, 9.0)),
        (Fault(body=b"0" * 2_000_000, headers={"Retry-After": "9"}), (Reason.BAD_RESPONSE, 9.0)),
        (Fault(hang=True, headers={"Retry-After": "9"}), (Reason.TIMEOUT, None)),
        (Fault(drop=Drop.SHORT_BODY, headers={"Retry-After": "9"}), (Reason.CONNECTION, None)),
    ],
)
def test_client_tells_how_long_the_server_asks_to_be_left_alone(
    fault: Fault, expected: object, tenant: SimulatedTenant, server: SimulatorServer
) -> None:
    """Whatever answer it comes with, in seconds or as a date; where there is no whole answer, there is no wish."""
    tenant.key_type = "standard"  # It is not signed, so that any clock will do.
    tenant.inject(fault)
    with (
        client_for(server.url, standard=True, wall_clock=lambda: NOON) as client,
        pytest.raises(PollError) as caught,
    ):
        client.fetch(ACTION, within(0.5 if fault.hang else 10))
    assert (caught.value.reason, caught.value.retry_after_seconds) == expected


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("\t120 ", 120.0),
        ("0" * 8 + "7", 7.0),
        ("1" * 4_000, 111_111_111.0),
        ("Wed, 15 Nov 2023 12:00:30 GMT", 30.0),
        ("Wednesday, 15-Nov-23 12:00:30 GMT", 30.0),
        ("Wed Nov 15 12:00:30 2023", 30.0),
        ("Wed, 15 Nov 2023 12:00:30", 30.0),
        ("Wed, 15 Nov 2023 13:00:30 +0100", 30.0),
        ("Wed, 15 Nov 2023 07:00:30 -0500", 30.0),
        ("Thu, 16 Nov 2023 12:00:00 GMT", 86_400.0),
        ("Wed, 15 Nov 2023 11:59:59 GMT", 0.0),
        ("Thu, 01 Jan 1970 00:00:00 GMT", 0.0),
        ("", None),
        (" ", None),
        ("-1", None),
        ("1.5", None),
        ("1e3", None),
        ("+5", None),
        ("1 2", None),
        ("٣", None),
        ("²", None),
        ("inf", None),
        ("nan", None),
        ("soon", None),
        ("Wed, 99 Foo 2023", None),
    ],
)
def test_retry_after_is_read_as_seconds_or_a_date(header: str, seconds: float | None) -> None:
    """Every form of RFC 9110 is understood, a date in the past is now, and anything else is no wish."""
    assert retry_after_seconds(header, NOON) == seconds


DATES = st.builds(
    "{}, {} {} {} {}:{}:{} {}".format,
    st.sampled_from(["Wed", "Wednesday", ""]),
    *(st.integers(-1, 10**20) | st.integers(0, 60) for _ in range(1)),
    st.sampled_from(["Nov", "Foo", "11", ""]),
    *(st.integers(-1, 10**20) | st.integers(0, 3_000) for _ in range(4)),
    st.sampled_from(["GMT", "+0100", "-9999", "+99999999999999999999", "", "-", "+"]),
)


@settings(deadline=None, max_examples=500)  # A busy machine is no failure.
@given(st.text() | st.text("0123456789") | st.text(" ,:;+-()<>.0129GMTWedNov", max_size=40) | DATES)
def test_any_retry_after_is_a_number_of_seconds_or_none(header: str) -> None:
    """No text is an error, and no wait is negative, infinite or no number."""
    seconds = retry_after_seconds(header, NOON)
    assert seconds is None or 0 <= seconds < math.inf


class Rotated:
    """A key that a test changes."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.replacement = text
        self.readings = 0

    def get_secret_value(self) -> str:
        """Return the key of this moment."""
        return self.text

    def read_again(self) -> None:
        """Take the replacement up, as from a file."""
        self.readings += 1
        self.text = self.replacement


@pytest.mark.parametrize("replacement", ["wrong", KEY])
def test_client_reads_a_refused_key_again(server: SimulatorServer, replacement: str) -> None:
    """A refusal has the key read again, and says whether it is another one now."""
    key = Rotated("wrong")
    key.replacement = replacement
    client = CortexClient(server.url, AdvancedKey("7", key), key, connections=1, read_key_again=key.read_again)
    with contextlib.closing(client):
        with pytest.raises(AuthenticationError) as refused:
            client.fetch(ACTION, within(10))
        assert (key.readings, refused.value.key_replaced) == (1, replacement == KEY)


def test_client_tells_of_a_key_that_changed_under_way(tenant: SimulatedTenant, server: SimulatorServer) -> None:
    """Whoever has taken the new key up, the refusal of the old one says that there is another."""
    key = Rotated("wrong")
    tenant.inject(Fault(delay_seconds=0.5))
    client = CortexClient(server.url, AdvancedKey("7", key), key, connections=1)
    with contextlib.closing(client), ThreadPoolExecutor(1) as pool:
        poll = pool.submit(client.fetch, ACTION, within(10))
        wait_until(lambda: tenant.requests, "the request is under way")
        key.text = KEY
        error = poll.exception(TIMEOUT_SECONDS)
    assert isinstance(error, AuthenticationError)
    assert error.key_replaced


def test_client_signs_each_request_with_the_key_of_that_moment(
    tenant: SimulatedTenant, server: SimulatorServer
) -> None:
    """A key that has changed since is used without a new client, and is masked no less than the first."""
    key = Rotated("key-of-before")
    client = CortexClient(server.url, AdvancedKey("7", key), key, connections=1)
    with contextlib.closing(client):
        assert outcome(client)[1] is Reason.UNAUTHORIZED
        tenant.key = key.text = "key-of-after"
        assert outcome(client) == STATUS
        tenant.inject(Fault(status=400, body=b"you sent key-of-after"))
        assert outcome(client)[2] == "HTTP 400: you sent [key]"


def test_client_tells_an_action_that_does_not_exist(server: SimulatorServer) -> None:
    """The API answers 200 with an error message for an unknown action."""
    with client_for(server.url) as client:
        assert outcome(client, "1") == (
            UnexpectedReplyError,
            Reason.NOT_FOUND,
            "Action 1 does not exist",
        )


def test_client_is_refused_with_a_wrong_key_and_a_skewed_clock(server: SimulatorServer) -> None:
    """What the tenant says of a wrong signature, and of a timestamp ten minutes off."""
    refused = (AuthenticationError, Reason.UNAUTHORIZED, "HTTP 401: Public API request unauthorized")
    with client_for(server.url, key="another") as client:
        assert outcome(client) == refused
    with client_for(server.url, wall_clock=lambda: time.time() - 600) as client:
        assert outcome(client) == refused


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "drip"),
    [
        (b"", b""),
        (b"HTTP/1.1 200", b"K"),
        (HEAD, b"X: y\r\n"),
        (HEAD + b"Content-Length: 1000000\r\n\r\n", b" "),
        (HEAD + b"Connection: close\r\n\r\n", b" "),
        (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n1;", b"x"),
        (HEAD + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n", b"X: y\r\n"),
        (HEAD + b"Content-Encoding: gzip\r\nConnection: close\r\n\r\n\x1f\x8b\x08\x08\0\0\0\0\0\x03", b"n"),
        (b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 1000000\r\n\r\n", b" "),
    ],
    ids=[
        "silence",
        "status line",
        "headers",
        "body",
        "body without length",
        "chunk extension",
        "chunk extension, then close",
        "trailers, then close",
        "name within gzip, then close",
        "error",
    ],
)
def test_answer_that_drips_for_ever_is_ended_from_outside(answer: bytes, drip: bytes) -> None:
    """Whatever a server sends slowly and without end: a deadline that expires wakes the thread that waits."""
    with answering(answer, drip=drip) as port, client_for(f"http://127.0.0.1:{port}") as client:
        assert ended_from_outside(client) is Reason.TIMEOUT


def test_silent_tls_handshake_is_ended_from_outside(ca_file: Path) -> None:
    """A server that drips its side of the handshake does not hold the poll beyond its deadline."""
    with (
        answering(b"\x16\x03\x03\x40\x00", drip=b"\0") as port,
        client_for(f"https://127.0.0.1:{port}", ca_file=ca_file) as client,
    ):
        assert ended_from_outside(client) is Reason.TIMEOUT


def ended_from_outside(client: CortexClient) -> Reason:
    """Poll in a thread, expire the deadline once the thread waits, and return why the poll failed.

    The deadline itself is far away: only its being expired can end the poll.
    """
    deadline = within(3600)
    reasons: list[Reason] = []

    def poll() -> None:
        with pytest.raises(PollError) as caught:
            client.fetch(ACTION, deadline)
        reasons.append(caught.value.reason)

    thread = threading.Thread(target=poll, daemon=True)
    thread.start()
    wait_until(lambda: deadline._connection is not None, "the request is under way")
    thread.join(0.3)  # Anywhere in the exchange will do; this far, it mostly waits for the answer.
    deadline.expire()
    thread.join(TIMEOUT_SECONDS)
    assert not thread.is_alive()
    return reasons[0]


def test_expired_deadline_leaves_a_later_request_alone(server: SimulatorServer) -> None:
    """The connection that a finished request gave back is not shut when its deadline comes late."""
    with counting_relay(server.port) as (port, connections), client_for(f"http://127.0.0.1:{port}") as client:
        deadline = within(10)
        assert client.fetch(ACTION, deadline) == STATUS
        deadline.expire()
        assert outcome(client) == STATUS
    assert connections == [1]


def test_connection_that_was_idle_for_long_is_not_used_again(
    server: SimulatorServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server may close it in just that moment, which would fail the poll."""
    monkeypatch.setattr(transport, "_KEPT_SECONDS", 0.0)
    with counting_relay(server.port) as (port, connections), client_for(f"http://127.0.0.1:{port}") as client:
        assert [outcome(client), outcome(client)] == [STATUS, STATUS]
    assert connections == [2]


def test_authorities_of_the_environment_that_are_missing_are_a_configuration_error(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """REQUESTS_CA_BUNDLE counts where there is no ca_file, so a mistake in it is told at the start."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "none.pem"))
    with pytest.raises(ConfigurationError) as caught, client_for("https://127.0.0.1:9"):
        pass
    assert caught.value.problems == [
        f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE: {tmp_path}/none.pem cannot be used: No such file or directory"
    ]


def test_client_reads_an_answer_that_is_compressed_unasked(
    tenant: SimulatedTenant, server: SimulatorServer
) -> None:
    """A gateway may compress whatever it likes."""
    tenant.inject(Fault(gzip=True), ACTION)
    with client_for(server.url) as client:
        assert outcome(client) == STATUS


def test_client_keeps_one_connection_for_polls_in_a_row(server: SimulatorServer) -> None:
    """Connections are reused: a listener in between counts one for ten polls."""
    with counting_relay(server.port) as (port, connections), client_for(f"http://127.0.0.1:{port}") as client:
        for _ in range(10):
            assert outcome(client) == STATUS
        assert connections == [1]


def test_client_leaves_no_file_open(server: SimulatorServer, tenant: SimulatedTenant) -> None:
    """After polls that went well, failed and were cut, the process has as many files open as before."""
    before = open_files()
    with client_for(server.url) as client:
        for fault in (None, Fault(drop=Drop.RESET), Fault(body=b"0" * 2_000_000), Fault(hang=True), None):
            tenant.clear()
            if fault is not None:
                tenant.inject(fault, ACTION)
            outcome(client, seconds=0.2 if fault and fault.hang else 10)
    # The server's side of these connections is in this process, too.
    wait_until(lambda: open_files() <= before, "the files are closed")


def test_client_ignores_netrc(server: SimulatorServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .netrc entry for the host does not replace the signature."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password something\n")
    monkeypatch.setenv("NETRC", str(netrc))
    with client_for(server.url) as client:
        assert outcome(client) == STATUS


def test_redirect_is_not_followed_with_the_key(tenant: SimulatedTenant, server: SimulatorServer) -> None:
    """Another host named in a redirect never sees a request."""
    with socket.create_server(("127.0.0.1", 0)) as elsewhere:
        elsewhere.settimeout(0)
        port = elsewhere.getsockname()[1]
        tenant.inject(Fault(status=307, headers={"Location": f"http://127.0.0.1:{port}/"}), ACTION)
        with client_for(server.url) as client:
            assert outcome(client)[1] is Reason.REDIRECT
        with pytest.raises(BlockingIOError):
            elsewhere.accept()


def test_error_page_that_quotes_the_key_is_masked(tenant: SimulatedTenant, server: SimulatorServer) -> None:
    """A gateway that echoes the request's headers does not bring the key into our log."""
    tenant.key_type = "standard"
    tenant.inject(Fault(status=502, body=f"{'x' * 190} Authorization: {KEY}".encode()), ACTION)
    with client_for(server.url, standard=True) as client:
        detail = outcome(client)[2]
    assert detail == f"HTTP 502: {'x' * 189}…"
    tenant.inject(Fault(status=502, body=f"Authorization: {KEY}".encode()), ACTION)
    with client_for(server.url, standard=True) as client:
        assert outcome(client)[2] == "HTTP 502: Authorization: [key]"


def test_nobody_listening_is_a_connection_failure() -> None:
    """A port that nothing listens on is told in the system's words."""
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    with client_for(f"http://127.0.0.1:{port}") as client:
        assert outcome(client) == (TransientError, Reason.CONNECTION, "Connection refused")


def test_name_that_does_not_exist_is_a_connection_failure() -> None:
    """A host that cannot be resolved, or not even asked for, is told so."""
    for name in ("nowhere.invalid", f"{'x' * 64}.invalid"):
        with client_for(f"https://{name}") as client:
            assert outcome(client) == (
                TransientError,
                Reason.CONNECTION,
                "the host's name cannot be resolved",
            )


def test_server_that_speaks_no_http_is_a_bad_response() -> None:
    """Bytes that are no HTTP are told so."""
    with answering(b"SSH-2.0-OpenSSH_9.2\r\n") as port, client_for(f"http://127.0.0.1:{port}") as client:
        assert outcome(client) == (
            UnexpectedReplyError,
            Reason.BAD_RESPONSE,
            "the answer is not valid HTTP",
        )


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """Make a certificate authority."""
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    """Write the authority's certificate."""
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(path))
    return path


def tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    """Make a server's context with a certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


def test_tls_is_verified_against_the_ca_file(
    tenant: SimulatedTenant, authority: trustme.CA, ca_file: Path
) -> None:
    """A certificate of the authority in ca_file is trusted for its name and its address."""
    context = tls(authority.issue_cert("127.0.0.1", "localhost"))
    with SimulatorServer({"": tenant}, ssl_context=context) as server:
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            with client_for(url, ca_file=ca_file) as client:
                assert [outcome(client), outcome(client)] == [STATUS, STATUS]


def test_tls_failures_are_told_apart(tenant: SimulatedTenant, authority: trustme.CA, ca_file: Path) -> None:
    """Another name, an unknown authority and an expired certificate are each refused in their own words."""
    expired = authority.issue_cert("127.0.0.1", not_after=dt.datetime(2020, 1, 1, tzinfo=dt.UTC))
    cases = [
        (authority.issue_cert("example.org"), ca_file, "IP address mismatch"),
        (authority.issue_cert("127.0.0.1"), None, "unable to get local issuer certificate"),
        (expired, ca_file, "certificate has expired"),
    ]
    for certificate, trusted, words in cases:
        with (
            SimulatorServer({"": tenant}, ssl_context=tls(certificate)) as server,
            client_for(server.url, ca_file=trusted) as client,
        ):
            error, reason, detail = outcome(client)
            assert (error, reason) == (TransientError, Reason.TLS)
            assert words in detail


def test_plain_http_on_a_tls_port_is_a_tls_failure(server: SimulatorServer) -> None:
    """A server that speaks no TLS is not asked in plain text instead."""
    with client_for(server.url.replace("http", "https")) as client:
        assert outcome(client)[:2] == (TransientError, Reason.TLS)


def test_proxy_carries_the_request(
    server: SimulatorServer, tenant: SimulatedTenant, authority: trustme.CA, ca_file: Path
) -> None:
    """The configured proxy is used: told the whole URL for http, asked for a tunnel for https."""
    with proxy() as (proxy_port, seen):
        with client_for(server.url, proxy_url=f"http://user:pass@127.0.0.1:{proxy_port}") as client:
            assert outcome(client) == STATUS
        context = tls(authority.issue_cert("127.0.0.1"))
        with (
            SimulatorServer({"": tenant}, ssl_context=context) as secure,
            client_for(secure.url, ca_file=ca_file, proxy_url=f"http://127.0.0.1:{proxy_port}") as client,
        ):
            assert outcome(client) == STATUS
    path = "/public_api/v1/scripts/get_script_execution_status"
    assert seen == [f"POST {server.url}{path}", f"CONNECT 127.0.0.1:{secure.port}"]


def test_proxy_of_the_environment_is_used(server: SimulatorServer, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without proxy_url the usual variables count, NO_PROXY too."""
    with proxy() as (proxy_port, seen):
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy_port}")
        monkeypatch.setenv("no_proxy", "")
        with client_for(server.url) as client:
            assert outcome(client) == STATUS
        monkeypatch.setenv("no_proxy", "127.0.0.1")
        with client_for(server.url) as client:
            assert outcome(client) == STATUS
    assert len(seen) == 1


def test_proxy_that_refuses_is_a_connection_failure() -> None:
    """A tunnel that the proxy does not give is a connection that failed, and shows no password."""
    with (
        answering(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n") as port,
        client_for("https://127.0.0.1:9", proxy_url=f"http://user:hidden@127.0.0.1:{port}") as client,
    ):
        assert outcome(client) == (TransientError, Reason.CONNECTION, "the proxy refused the connection")


def test_request_is_sent_in_one_piece_and_keeps_no_cookie() -> None:
    """Head and body arrive together, and what is sent does not depend on the answer before."""
    body = reply(general_status="PENDING")
    answer = b"HTTP/1.1 200 OK\r\nSet-Cookie: pinned=1; Path=/\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    pieces: list[bytes] = []

    def handle(connection: socket.socket) -> None:
        while piece := connection.recv(65536):
            pieces.append(piece)
            connection.sendall(answer)

    with listening(handle) as port, client_for(f"http://127.0.0.1:{port}", standard=True) as client:
        outcomes = [outcome(client, action_id) for action_id in ("1", "23")]
    assert outcomes == [Status("PENDING", (0,) * 9)] * 2
    assert [piece.decode().splitlines() for piece in pieces] == [
        [
            "POST /public_api/v1/scripts/get_script_execution_status HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            "Accept: application/json",
            "Accept-Encoding: identity",
            "Connection: keep-alive",
            "Content-Type: application/json",
            f"User-Agent: cortex-xdr-exporter/{__version__}",
            f"Content-Length: {length}",
            "x-xdr-auth-id: 7",
            f"Authorization: {KEY}",
            "",
            f'{{"request_data": {{"action_id": "{action_id}"}}}}',
        ]
        for action_id, length in (("1", 36), ("23", 37))
    ]


@needs_namespaces
def test_dead_address_leaves_time_for_a_living_one(tenant: SimulatedTenant, tmp_path: Path) -> None:
    """Where the first address of a name does not answer, the next one is tried within the deadline."""
    (tmp_path / "hosts").write_text("127.0.0.1 both.example\n127.0.0.2 both.example\n")
    with SimulatorServer({"": tenant}, host="127.0.0.2") as server:
        script = f"""
import socket
import time
from pydantic import SecretStr
from exporter.cortex import CortexClient, StandardKey
from exporter.transport import Deadline
dead = ("127.0.0.1", {server.port})
full = socket.socket()
full.bind(dead)
full.listen(0)
fillers = [socket.socket() for _ in range(8)]
for filler in fillers:
    filler.setblocking(False)
    filler.connect_ex(dead)
print(socket.getaddrinfo("both.example", {server.port}, type=socket.SOCK_STREAM)[0][4] == dead)
key = SecretStr("k")
client = CortexClient("http://both.example:{server.port}", StandardKey("7", key), key, connections=1)
try:
    client.fetch("1", Deadline(time.monotonic() + 4))
except Exception as error:
    print(error)
"""
        (tmp_path / "script.py").write_text(script)
        done = run_apart(f"{sys.executable} {tmp_path}/script.py", instead={"/etc/hosts": tmp_path / "hosts"})
    assert (done.stdout, done.stderr) == ("True\nunauthorized: HTTP 401: Public API request unauthorized\n", "")


def open_files() -> int:
    """Count the files that this process has open."""
    return len(list(Path("/proc/self/fd").iterdir()))


@contextmanager
def listening(handle: Callable[[socket.socket], None]) -> Iterator[int]:
    """Listen, hand each connection to a function in a thread of its own, and wait for all in the end."""
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection, contextlib.suppress(OSError):
            handle(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threads.append(threading.Thread(target=serve, args=(connection,)))
                threads[-1].start()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        acceptor = threading.Thread(target=accept)
        acceptor.start()
        try:
            yield listener.getsockname()[1]
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            acceptor.join()
            for thread in threads:
                thread.join()


@contextmanager
def answering(answer: bytes, *, drip: bytes | None = None) -> Iterator[int]:
    """Answer each connection with these bytes, and then with the drip again and again for ever."""
    done = threading.Event()

    def handle(connection: socket.socket) -> None:
        connection.recv(65536)
        connection.sendall(answer)
        while drip is not None and not done.wait(0.02):
            connection.sendall(drip)

    with listening(handle) as port:
        try:
            yield port
        finally:
            done.set()


@contextmanager
def relaying(target: Callable[[bytes], tuple[str, int, bytes, bytes]]) -> Iterator[int]:
    """Pass each connection on: ``target`` says of its first bytes where to, and what to send first."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while piece := source.recv(65536):
                sink.sendall(piece)
            sink.shutdown(socket.SHUT_WR)

    def handle(client: socket.socket) -> None:
        head = client.recv(65536)
        if not head:
            return
        host, port, to_server, to_client = target(head)
        with socket.create_connection((host, port)) as server:
            server.sendall(to_server)
            client.sendall(to_client)
            back = threading.Thread(target=pump, args=(server, client))
            back.start()
            pump(client, server)
            back.join()

    with listening(handle) as port:
        yield port


@contextmanager
def counting_relay(port: int) -> Iterator[tuple[int, list[int]]]:
    """Pass connections on to a port, and count them."""
    count = [0]

    def target(head: bytes) -> tuple[str, int, bytes, bytes]:
        count[0] += 1
        return "127.0.0.1", port, head, b""

    with relaying(target) as relay_port:
        yield relay_port, count


@contextmanager
def proxy() -> Iterator[tuple[int, list[str]]]:
    """Run an HTTP proxy that also tunnels, and list the request lines that it sees."""
    seen: list[str] = []

    def target(head: bytes) -> tuple[str, int, bytes, bytes]:
        line = head.partition(b"\r\n")[0].decode()
        method, url, _ = line.split()
        seen.append(f"{method} {url}")
        host, _, port = url.removeprefix("http://").partition("/")[0].partition(":")
        if method == "CONNECT":
            return host, int(port), b"", b"HTTP/1.1 200 Connection established\r\n\r\n"
        return host, int(port), head.replace(f"http://{host}:{port}".encode(), b"", 1), b""

    with relaying(target) as port:
        yield port, seen
