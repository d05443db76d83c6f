"""Who gets an answer: the rate limit, basic auth, and the headers that every answer carries.

The rule: no path is left out. A request is counted before its password is looked at. An error's text, which could
quote a secret, reaches neither the answer nor the server, which would log it.
"""

import math
import time
from base64 import b64decode
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from starlette.responses import PlainTextResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from exporter.errors import BusyError
from exporter.logs import origin
from exporter.web.complaints import Noted
from exporter.web.policy import Policy

if TYPE_CHECKING:
    from exporter.web.passwords import Passwords

SECURITY_HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""What an answer carries where neither the application nor the configuration says otherwise."""

OVER_RATE_LIMIT = "requests over rate_limit"
WRONG_PASSWORD = "wrong password"  # noqa: S105 - a kind of event
MALFORMED_CREDENTIALS = "malformed credentials"
PASSWORDS_WAITING = "too many passwords to check"
DEFECT = "defect in answering"

_LONGEST_CREDENTIALS = 4096
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="cortex-xdr-exporter", charset="UTF-8"'}


class Access:
    """Hands on to an application what may be answered, as the policy says at that moment.

    ``noted`` is called with one of this module's kinds of refusal, and of a defect with where it is. ``clock`` is
    a monotonic one.
    """

    def __init__(
        self,
        app: ASGIApp,
        policy: Callable[[], Policy],
        *,
        noted: Noted = lambda _, /, **__: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._app = app
        self._policy = policy
        self._noted = noted
        self._clock = clock

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or have it answered; an answer that has begun when something fails ends there."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        policy = self._policy()
        sending = _Sending(send, policy.headers)
        try:
            answer = await self._refusal(policy, scope) or self._app
            await answer(scope, receive, sending)
        except Exception as error:  # noqa: BLE001 - of any type, as any may have a text
            self._noted(DEFECT, **origin(error))
            if not sending.begun:
                await PlainTextResponse("Internal server error\n", 500)(scope, receive, sending)

    async def _refusal(self, policy: Policy, scope: Scope) -> Response | None:
        wait_seconds = policy.limit.take(self._clock()) if policy.limit is not None else 0.0
        if wait_seconds > 0:
            self._noted(OVER_RATE_LIMIT, client=_client(scope))
            headers = {"Retry-After": str(math.ceil(wait_seconds))}
            return PlainTextResponse("Too many requests\n", 429, headers=headers)
        if policy.passwords is None:
            return None
        return await self._check(policy.passwords, scope)

    async def _check(self, passwords: "Passwords", scope: Scope) -> Response | None:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        try:
            credentials = _credentials(given)
            if credentials is not None:
                if await passwords.permits(*credentials, client=_client(scope)):
                    return None
                self._noted(WRONG_PASSWORD, client=_client(scope))
        except ValueError:
            self._noted(MALFORMED_CREDENTIALS, client=_client(scope))
        except BusyError:
            self._noted(PASSWORDS_WAITING, client=_client(scope))
            return PlainTextResponse("Too many passwords to check\n", 503, headers={"Retry-After": "1"})
        return PlainTextResponse("A user name and password are needed\n", 401, headers=_CHALLENGE)


def _client(scope: Scope) -> str | None:
    """Return the client's address, None where it has left already."""
    client = scope.get("client")
    return client[0] if client else None


def _credentials(given: list[bytes]) -> tuple[str, str] | None:
    """Return the name and password of Authorization headers (RFC 7617); None without any; raise ValueError."""
    if not given:
        return None
    if len(given) > 1 or len(given[0]) > _LONGEST_CREDENTIALS:
        raise ValueError("must be one header, and not a huge one")
    scheme, _, encoded = given[0].strip().partition(b" ")
    if scheme.lower() != b"basic":
        raise ValueError("must be Basic")
    user, colon, password = b64decode(encoded.strip(b" "), validate=True).decode().partition(":")
    if not colon:
        raise ValueError("must have a colon")
    return user, password


class _Sending:
    """Sends an answer with the headers that each carries, and knows whether it has begun."""

    def __init__(self, send: Send, configured: Mapping[str, str]) -> None:
        self.begun = False
        self._send = send
        self._configured = configured

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.begun = True
            message["headers"] = _merged(message["headers"], self._configured)
        await self._send(message)


def _merged(headers: list[tuple[bytes, bytes]], configured: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    ours = {name.lower().encode(): value.encode() for name, value in configured.items()}
    kept = [(name, value) for name, value in headers if name.lower() not in ours]
    taken = {name.lower() for name, _ in kept} | set(ours)
    defaults = ((name.lower().encode(), value.encode()) for name, value in SECURITY_HEADERS.items())
    return [*kept, *(header for header in defaults if header[0] not in taken), *ours.items()]
