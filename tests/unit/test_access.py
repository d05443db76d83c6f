"""Who gets an answer and which headers it carries, asked as a server asks an application; and the token bucket."""

import asyncio
import base64
from collections.abc import Mapping
from typing import NamedTuple

import bcrypt
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from support_clock import Clock
from support_tls import HASH, PASSWORD

from exporter.errors import BusyError
from exporter.web.access import SECURITY_HEADERS, Access
from exporter.web.passwords import Passwords
from exporter.web.policy import Policy
from exporter.web.token_bucket import TokenBucket

ANSWER = {"content-length": "3", "content-type": "text/plain; charset=utf-8"}
DEFAULTS = {name.lower(): value for name, value in SECURITY_HEADERS.items()}
CHALLENGE = {"www-authenticate": 'Basic realm="cortex-xdr-exporter", charset="UTF-8"'}


class Answer(NamedTuple):
    """What a client sees."""

    status: int
    headers: dict[str, str]
    text: str


class Bench:
    """Access before an application, and what is noted."""

    def __init__(self, policy: Policy, answer: ASGIApp | None = None) -> None:
        self.policy = policy
        self.clock = Clock()
        self.client: tuple[str, int] | None = ("10.0.0.1", 5)
        self.noted: list[str] = []
        self.details: list[dict[str, str | None]] = []
        self.reached = 0
        self._answer = answer or PlainTextResponse("ok\n")
        self._access = Access(self._app, lambda: self.policy, noted=self._note, clock=self.clock)

    def ask(self, *authorization: bytes | str, path: str = "/metrics", method: str = "GET") -> Answer:
        """Ask with such Authorization headers."""
        messages = self.messages(*authorization, path=path, method=method)
        assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
        raw = [(name.decode(), value.decode()) for name, value in messages[0]["headers"]]
        assert len(dict(raw)) == len(raw), "no header comes twice"
        return Answer(messages[0]["status"], dict(raw), messages[1]["body"].decode())

    def messages(self, *authorization: bytes | str, path: str = "/metrics", method: str = "GET") -> list[Message]:
        """Ask, and return what the server is told to send."""
        return asyncio.run(self._ask(authorization, path, method))

    async def _ask(self, authorization: tuple[bytes | str, ...], path: str, method: str) -> list[Message]:
        values = [value.encode() if isinstance(value, str) else value for value in authorization]
        messages: list[Message] = []

        async def send(message: Message) -> None:
            messages.append(message)

        async def receive() -> Message:
            return {"type": "http.request"}

        headers = [(b"host", b"x"), *((b"authorization", value) for value in values)]
        scope = {"type": "http", "method": method, "path": path, "headers": headers, "client": self.client}
        await self._access(scope, receive, send)
        return messages

    def _note(self, kind: str, /, **details: str | None) -> None:
        self.noted.append(kind)
        self.details.append(details)

    async def _app(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.reached += 1
        await self._answer(scope, receive, send)


def basic(user: str, password: str) -> str:
    """Return the Authorization header of a user."""
    return f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"


def refused(status: int, text: str, **headers: str) -> Answer:
    """Return what a client sees of a refusal."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    plain = {"content-length": str(len(text)), "content-type": "text/plain; charset=utf-8"}
    return Answer(status, {**plain, **named, **DEFAULTS}, text)


UNAUTHORIZED = refused(401, "A user name and password are needed\n", **CHALLENGE)


def with_users() -> Bench:
    """Return what alice alone may ask."""
    return Bench(Policy(passwords=Passwords({"alice": SecretStr(HASH)})))


def test_everybody_is_answered_without_a_policy() -> None:
    """The application's answer passes, and gets the headers that keep browsers from mischief."""
    bench = Bench(Policy())
    assert bench.ask() == Answer(200, ANSWER | DEFAULTS, "ok\n")
    assert bench.ask("Basic x") == Answer(200, ANSWER | DEFAULTS, "ok\n")
    assert bench.noted == []


def test_security_headers_are_these() -> None:
    """They are part of what users and their scanners see."""
    assert SECURITY_HEADERS == {
        "X-Content-Type-Options": "nosniff",
        "X-Frame-Options": "DENY",
        "Referrer-Policy": "no-referrer",
        "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Cache-Control": "no-store",
    }


def test_headers_of_the_application_stay() -> None:
    """A page has a policy of its own."""
    own = {"Content-Security-Policy": "default-src 'self'", "Cache-Control": "max-age=5"}
    bench = Bench(Policy(), PlainTextResponse("ok\n", headers=own))
    lower = {name.lower(): value for name, value in own.items()}
    assert bench.ask() == Answer(200, {**ANSWER, **DEFAULTS, **lower}, "ok\n")


@pytest.mark.parametrize("own", [{}, {"Content-Security-Policy": "default-src 'self'"}])
def test_configured_headers_replace_all_others(own: Mapping[str, str]) -> None:
    """What the configuration says goes before ours and the application's, on refusals too."""
    configured = {"Content-Security-Policy": "img-src *", "Strict-Transport-Security": "max-age=1"}
    lower = {name.lower(): value for name, value in configured.items()}
    policy = Policy(headers=configured, passwords=Passwords({"alice": SecretStr(HASH)}))
    bench = Bench(policy, PlainTextResponse("ok\n", headers=own))
    assert bench.ask(basic("alice", PASSWORD)) == Answer(200, {**ANSWER, **DEFAULTS, **lower}, "ok\n")
    assert bench.ask() == UNAUTHORIZED._replace(headers={**UNAUTHORIZED.headers, **lower})


@pytest.mark.parametrize("path", ["/metrics", "/", "/-/healthy", "/-/ready", "/-/reload", "/none", "*"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "OPTIONS"])
def test_no_path_or_method_is_left_out(path: str, method: str) -> None:
    """Without the password, no request reaches the application, whatever it is for."""
    bench = with_users()
    assert bench.ask(path=path, method=method) == UNAUTHORIZED
    assert bench.reached == 0
    assert bench.ask(basic("alice", PASSWORD), path=path, method=method).status == 200
    assert bench.noted == []


@pytest.mark.parametrize("scheme", ["Basic", "basic", "BASIC"])
@pytest.mark.parametrize("space", [" ", "   "])
def test_right_password_is_answered(scheme: str, space: str) -> None:
    """The scheme may be written in any case (RFC 7617)."""
    bench = with_users()
    token = basic("alice", PASSWORD).partition(" ")[2]
    assert bench.ask(f"{scheme}{space}{token}").status == 200
    assert bench.noted == []


def test_password_may_have_colons_and_any_letters() -> None:
    """The first colon ends the name, and the text is UTF-8."""
    stored = SecretStr(bcrypt.hashpw("p:ä".encode(), bcrypt.gensalt(4)).decode())
    bench = Bench(Policy(passwords=Passwords({"älice": stored})))
    assert bench.ask(basic("älice", "p:ä")).status == 200


@pytest.mark.parametrize("pair", [("alice", "guess"), ("mallory", PASSWORD), ("", ""), ("alice", "x" * 73)])
def test_wrong_password_is_refused(pair: tuple[str, str]) -> None:
    """The answer does not tell whether there is such a user, and it is noted."""
    bench = with_users()
    assert bench.ask(basic(*pair)) == UNAUTHORIZED
    assert bench.ask(basic(*pair)) == UNAUTHORIZED
    assert (bench.noted, bench.reached) == (["wrong password"] * 2, 0)


RIGHT = basic("alice", PASSWORD)


@pytest.mark.parametrize(
    "authorization",
    [
        [""],
        ["Basic"],
        ["Basic "],
        [RIGHT.replace("Basic ", "Bearer ")],
        [RIGHT.replace("Basic ", "Basic\t")],
        [RIGHT.replace("Basic ", "")],
        [RIGHT + "!"],
        [RIGHT.rstrip("=")[:-1]],
        [f"{RIGHT[:12]} {RIGHT[12:]}"],
        [f"{RIGHT}, {RIGHT}"],
        ["Basic " + base64.b64encode(b"alice").decode()],
        ["Basic " + base64.b64encode(b"alice:\xe4").decode()],
        ["Basic " + base64.b64encode(b"\xff\xfe:x").decode()],
        ["Basic \xe4"],
        [b"Basic \xe4"],
        ["Digest username=alice"],
        [RIGHT, RIGHT],
        ["", RIGHT],
        ["Basic " + "A" * 4096],
    ],
)
def test_malformed_credentials_are_refused(authorization: list[str | bytes]) -> None:
    """What RFC 7617 does not know gets the same answer, and costs no check."""
    bench = with_users()
    assert bench.ask(*authorization) == UNAUTHORIZED
    assert (bench.noted, bench.reached) == (["malformed credentials"], 0)


@settings(deadline=None)  # A busy machine is no failure.
@given(values=st.lists(st.binary(max_size=40), max_size=2), prefixed=st.booleans())
def test_no_bytes_break_it(values: list[bytes], *, prefixed: bool) -> None:
    """Whatever is sent for credentials is answered, and by 401 alone."""
    bench = Bench(Policy(passwords=Passwords({"alice": SecretStr(HASH)}, check=lambda *_: False)))
    headers = [b"Basic " + base64.b64encode(value) if prefixed else value for value in values]
    assert bench.ask(*headers) == UNAUTHORIZED


def test_too_many_passwords_are_not_checked() -> None:
    """Where the queue is full, the client should come again; it is not told that its password is wrong."""

    class Busy(Passwords):
        async def permits(self, user: str, password: str, *, client: str | None = None) -> bool:
            raise BusyError(f"too many to check {user} and {password} for {client}")

    bench = Bench(Policy(passwords=Busy({"alice": SecretStr(HASH)})))
    assert bench.ask(RIGHT) == refused(503, "Too many passwords to check\n", retry_after="1")
    assert bench.noted == ["too many passwords to check"]


@pytest.mark.parametrize(("given", "expected"), [(("10.0.0.1", 5), "10.0.0.1"), (None, None)])
def test_passwords_are_checked_for_an_address(given: tuple[str, int] | None, expected: str | None) -> None:
    """So that one client's guesses do not take the turns of another, whatever ports they come from."""
    clients: list[str | None] = []

    class Listed(Passwords):
        async def permits(self, user: str, password: str, *, client: str | None = None) -> bool:
            clients.append(client)
            return await super().permits(user, password, client=client)

    bench = Bench(Policy(passwords=Listed({"alice": SecretStr(HASH)})))
    bench.client = given
    assert bench.ask(RIGHT).status == 200
    assert clients == [expected]


TEXT = "quotes a s3cr3t"


def test_error_of_the_application_is_an_answer() -> None:
    """It says nothing of the error; what is noted says what and where it was, without its text."""

    async def failing(*_: object) -> None:
        raise ValueError(TEXT)

    bench = Bench(Policy(headers={"X-Frame-Options": "sameorigin"}), failing)
    plain = refused(500, "Internal server error\n")
    assert bench.ask() == plain._replace(headers={**plain.headers, "x-frame-options": "sameorigin"})
    assert bench.noted == ["defect in answering"]
    assert bench.details[0].keys() == {"error", "raised_in"}
    assert bench.details[0]["error"] == "ValueError"
    assert str(bench.details[0]["raised_in"]).startswith(f"failing ({__file__}:")
    assert TEXT not in str(bench.details)


def test_error_of_a_starlette_application_is_its_own_answer() -> None:
    """Starlette answers and raises it again: nothing is sent twice, and the server hears nothing of it."""

    async def failing(_: object) -> Response:
        raise ValueError(TEXT)

    bench = Bench(Policy(), Starlette(routes=[Route("/metrics", failing)]))
    assert bench.ask() == refused(500, "Internal Server Error")
    assert bench.noted == ["defect in answering"]
    assert TEXT not in str(bench.details)


def test_error_in_the_middle_ends_the_answer_there() -> None:
    """What has begun gets no second head: it stays incomplete, by which the client sees that it is not whole."""

    async def failing(_: Scope, __: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError(TEXT)

    bench = Bench(Policy(), failing)
    assert [message["type"] for message in bench.messages()] == ["http.response.start"]
    assert bench.noted == ["defect in answering"]


def test_error_of_a_password_check_is_an_answer() -> None:
    """What fails before the application has its turn lets nobody in."""

    class Broken(Passwords):
        async def permits(self, user: str, password: str, *, client: str | None = None) -> bool:
            raise KeyError(user, password, client)

    bench = Bench(Policy(passwords=Broken({"alice": SecretStr(HASH)})))
    assert bench.ask(RIGHT) == refused(500, "Internal server error\n")
    assert (bench.noted, bench.reached) == (["defect in answering"], 0)


def test_cancellation_passes() -> None:
    """It is how the server ends what takes too long, and no defect."""

    async def cancelled(*_: object) -> None:
        raise asyncio.CancelledError

    bench = Bench(Policy(), cancelled)
    with pytest.raises(asyncio.CancelledError):
        bench.ask()
    assert bench.noted == []


def test_requests_over_the_limit_are_refused() -> None:
    """A burst is answered, then one each interval; the others are told when to come again, and noted."""
    bench = Bench(Policy(limit=TokenBucket(2.5, burst=2)))
    assert [bench.ask().status for _ in range(4)] == [200, 200, 429, 429]
    assert bench.ask() == refused(429, "Too many requests\n", retry_after="3")
    bench.clock.advance(1)
    assert bench.ask() == refused(429, "Too many requests\n", retry_after="2")
    bench.clock.advance(1.5)
    assert [bench.ask().status for _ in range(2)] == [200, 429]
    assert bench.noted == ["requests over rate_limit"] * 5


def test_requests_are_counted_before_passwords_are_checked() -> None:
    """Guessing is limited as well, as in exporter-toolkit: a refused password has taken its token."""
    bench = Bench(Policy(passwords=Passwords({"alice": SecretStr(HASH)}), limit=TokenBucket(1, burst=2)))
    assert [bench.ask(basic("alice", str(number))).status for number in range(3)] == [401, 401, 429]
    assert bench.ask(RIGHT).status == 429
    assert bench.noted == ["wrong password"] * 2 + ["requests over rate_limit"] * 2


def test_policy_is_asked_for_each_request() -> None:
    """A change of the configuration counts for the next request, whatever connection it comes by."""
    bench = Bench(Policy())
    assert bench.ask().status == 200
    bench.policy = Policy(passwords=Passwords({"alice": SecretStr(HASH)}))
    assert bench.ask().status == 401
    bench.policy = Policy(passwords=Passwords({"bob": SecretStr(HASH)}))
    assert [bench.ask(RIGHT).status, bench.ask(basic("bob", PASSWORD)).status] == [401, 200]


def test_what_is_no_request_passes() -> None:
    """The server's own messages about starting and stopping are for the application."""
    seen: list[str] = []

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        del receive, send
        seen.append(scope["type"])

    async def never() -> Message:
        raise AssertionError

    async def nothing(_: Message) -> None:
        raise AssertionError

    asyncio.run(Access(app, Policy)({"type": "lifespan"}, never, nothing))
    assert seen == ["lifespan"]


def test_bucket_is_full_at_first_and_never_fuller() -> None:
    """After however long a pause, no more than the burst is let through at once."""
    bucket = TokenBucket(10, burst=3)
    assert [bucket.take(1000) for _ in range(4)] == [0, 0, 0, 10]
    assert [bucket.take(1_000_000) for _ in range(4)] == [0, 0, 0, 10]


def test_bucket_bears_a_clock_that_stands_still() -> None:
    """Time that does not pass fills nothing, and one that goes back takes nothing."""
    bucket = TokenBucket(10, burst=1)
    assert [bucket.take(5), bucket.take(5), bucket.take(1), bucket.take(6)] == [0, 10, 10, pytest.approx(5)]


@settings(deadline=None)  # A busy machine is no failure.
@given(
    interval=st.floats(1e-6, 1e6),
    burst=st.integers(1, 1000),
    steps=st.lists(st.floats(0, 100), max_size=60),
)
def test_bucket_lets_no_more_through_than_it_may(interval: float, burst: int, steps: list[float]) -> None:
    """In all, the burst and one for each interval that has passed; who waits as told is let through."""
    bucket = TokenBucket(interval, burst)
    now, let_through = 0.0, 0
    for step in steps:
        now += step
        wait = bucket.take(now)
        let_through += wait == 0
        assert wait <= interval
    assert let_through <= burst + sum(steps) / interval * (1 + 1e-9) + 1e-6
    wait = bucket.take(now)
    assert wait == 0 or bucket.take(now + wait * (1 + 1e-9) + 1e-6) == 0
