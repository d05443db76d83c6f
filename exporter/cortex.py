"""One tenant's API: sign, send, read within a deadline, translate every failure into one of ours.

The rule: no exception but a PollError leaves :meth:`CortexClient.fetch`, and no text of a library in it that
might quote a header with the key.
"""

import calendar
import email.utils
import functools
import hashlib
import http.client
import json
import secrets
import socket
import ssl
import time
from collections.abc import Callable

import certifi
import requests
import urllib3
from requests.auth import AuthBase

from exporter import __version__
from exporter.errors import ConfigurationError, PollError, Reason, TransientError, UnexpectedReplyError
from exporter.key_file import Secret
from exporter.status import Status, describe, read_reply
from exporter.transport import Adapter, Deadline, read_body, tls_context, within

PATH = "/public_api/v1/scripts/get_script_execution_status"
# A reply has some 500. Larger ones, many at once, would leave the process large.
_MAX_BODY_BYTES = 128 * 1024
# A reply fits into one packet as it is: unpacking it would take longer than sending it.
_HEADERS = {
    "Accept": "application/json",
    "Accept-Encoding": "identity",
    "Connection": "keep-alive",
    "Content-Type": "application/json",
    "User-Agent": f"cortex-xdr-exporter/{__version__}",
}
_LONGEST_RETRY_AFTER_DIGITS = 9  # Thirty years: nobody waits for that long anyway.


class StandardKey(AuthBase):
    """Authenticates with a standard key: the key itself travels with each request."""

    def __init__(self, key_id: str, key: Secret) -> None:
        self._key_id = key_id
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Put the key's headers on a request."""
        request.headers["x-xdr-auth-id"] = self._key_id
        request.headers["Authorization"] = self._key.get_secret_value()
        return request


class AdvancedKey(AuthBase):
    """Authenticates with an advanced key: each request is signed with a nonce and the time.

    The signature is ``hex(sha256(key + nonce + timestamp))`` (the vendor's "Get Started with Cortex XDR
    APIs"), the timestamp in milliseconds of the Unix epoch; a skewed clock is answered as unauthorized.
    """

    def __init__(
        self,
        key_id: str,
        key: Secret,
        *,
        wall_clock: Callable[[], float] = time.time,
        nonce: Callable[[], str] = lambda: secrets.token_hex(32),
    ) -> None:
        self._key_id = key_id
        self._key = key
        self._wall_clock = wall_clock
        self._nonce = nonce

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        """Sign a request anew: a nonce that comes twice is a replay."""
        nonce = self._nonce()
        timestamp = str(int(self._wall_clock() * 1000))
        signature = hashlib.sha256(f"{self._key.get_secret_value()}{nonce}{timestamp}".encode())
        request.headers["x-xdr-auth-id"] = self._key_id
        request.headers["x-xdr-nonce"] = nonce
        request.headers["x-xdr-timestamp"] = timestamp
        request.headers["Authorization"] = signature.hexdigest()
        return request


class CortexClient:
    """Asks one tenant for the status of script actions; safe to use from several threads.

    ``url`` is the tenant's API address without the path, ``connections`` how many are kept for reuse.
    ``proxy_url`` and ``ca_file`` replace what the environment says (``HTTPS_PROXY``, ``NO_PROXY``,
    ``REQUESTS_CA_BUNDLE``); ``.netrc`` has no say. ``ca_digest`` tells a CA file's content from an earlier one.
    ``read_key_again`` looks for another key, after a refusal. Raises ConfigurationError where the environment
    names no usable authorities.
    """

    def __init__(
        self,
        url: str,
        auth: AuthBase,
        key: Secret,
        *,
        connections: int,
        proxy_url: Secret | None = None,
        ca_file: str | None = None,
        ca_digest: str | None = None,
        read_key_again: Callable[[], None] = lambda: None,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._url = url + PATH
        self._auth = auth
        self._key = key
        self._read_key_again = read_key_again
        self._wall_clock = wall_clock
        environment = requests.Session().merge_environment_settings(
            self._url, {}, stream=True, verify=None, cert=None
        )
        trusted = ca_file or environment["verify"]
        trusted = trusted if isinstance(trusted, str) else certifi.where()
        if url.startswith("https"):
            try:
                tls_context(trusted, ca_digest)
            except OSError as error:
                words = error.strerror or "it holds no certificate"
                problem = f"REQUESTS_CA_BUNDLE or CURL_CA_BUNDLE: {trusted} cannot be used: {words}"
                raise ConfigurationError([problem]) from error
        self._proxies = dict(environment["proxies"])
        if proxy_url is not None:
            self._proxies = dict.fromkeys(("http", "https"), proxy_url.get_secret_value())
        self._adapter = Adapter(connections=connections, ca_file=trusted, ca_digest=ca_digest)

    def fetch(self, action_id: str, deadline: Deadline) -> Status:
        """Ask for an action's status. Blocks until the deadline at most, but for a resolver that hangs.

        Raises PollError.
        """
        key = self._key.get_secret_value()
        wait = None
        try:
            http_status, body, retry_after = self._exchange(action_id, deadline)
            wait = retry_after_seconds(retry_after, self._wall_clock())
            if http_status == 200 and len(body) > _MAX_BODY_BYTES:
                raise UnexpectedReplyError(Reason.BAD_RESPONSE, f"the body is longer than {_MAX_BODY_BYTES} bytes")
            return read_reply(http_status, body)
        except PollError as error:
            if error.reason is Reason.UNAUTHORIZED:
                self._read_key_again()
            current = self._key.get_secret_value()
            # A gateway's error page may quote the request, and with a standard key that is the key: the one of
            # before, or one that has taken its place in the meantime.
            detail = error.detail.replace(key, "[key]").replace(current, "[key]")
            raise type(error)(
                error.reason, describe(detail), retry_after_seconds=wait, key_replaced=current != key
            ) from error.__cause__

    def close(self) -> None:
        """Close the kept connections."""
        self._adapter.close()

    def _exchange(self, action_id: str, deadline: Deadline) -> tuple[int, bytes, str]:
        """Send one request; return the HTTP status, the body, cut where it is too long, and ``Retry-After``."""
        asked = json.dumps({"request_data": {"action_id": action_id}}).encode()
        try:
            request = self._template.copy()
            request.body = asked
            request.headers["Content-Length"] = str(len(asked))
            with (
                within(deadline),
                self._adapter.send(
                    self._auth(request), stream=True, timeout=deadline.remaining, proxies=self._proxies
                ) as response,
            ):
                body = read_body(response, deadline, max_bytes=_MAX_BODY_BYTES)
                return response.status_code, body, response.headers.get("Retry-After", "")
        except (requests.RequestException, urllib3.exceptions.HTTPError, http.client.HTTPException, OSError) as e:
            raise translate(e, deadline) from e

    @functools.cached_property
    def _template(self) -> requests.PreparedRequest:
        """What all requests have in common. Preparing takes about as long as sending, so it is done once."""
        return requests.Request("POST", self._url, headers=_HEADERS).prepare()


def timed_out() -> PollError:
    """Return the error of a poll that had no complete answer by its deadline."""
    return TransientError(Reason.TIMEOUT, "no complete answer within the timeout")


def retry_after_seconds(header: str, wall_now: float) -> float | None:
    """Read ``Retry-After``, seconds or a date (RFC 9110, 10.2.3); None where it is missing or neither."""
    text = header.strip()
    if text.isascii() and text.isdecimal():
        return float(text[:_LONGEST_RETRY_AFTER_DIGITS])
    try:
        date = email.utils.parsedate_tz(text)
        if date is None:
            return None
        # A date without a zone is in UTC, as all of HTTP's are.
        return max(0.0, calendar.timegm((*date[:6], 0, 0, 0)) - (date[9] or 0) - wall_now)
    except (ValueError, OverflowError):
        return None


def translate(error: Exception, deadline: Deadline) -> PollError:
    """Say in one of our reasons why a request got no answer, from the first cause that tells."""
    chain = _causes(error)
    if deadline.passed or any(isinstance(cause, TimeoutError | requests.Timeout) for cause in chain):
        return timed_out()
    verdicts = (_verdict(cause) for cause in reversed(chain))
    unknown = TransientError(Reason.CONNECTION, "the connection failed")
    return next((verdict for verdict in verdicts if verdict is not None), unknown)


def _causes(error: BaseException) -> list[BaseException]:
    """Return an error and what led to it, the first cause last."""
    chain: list[BaseException] = []
    current: BaseException | None = error
    while current is not None and current not in chain:
        chain.append(current)
        current = current.__cause__ or current.__context__
    return chain


def _verdict(cause: BaseException) -> PollError | None:  # noqa: PLR0911 - one for each kind of cause
    """Translate one error of the libraries below; None for one that only wraps another."""
    match cause:
        case ssl.SSLCertVerificationError():
            return TransientError(Reason.TLS, f"the certificate is refused: {cause.verify_message}")
        case ssl.SSLError():
            return TransientError(Reason.TLS, f"the TLS connection failed: {cause.reason or 'closed'}")
        case urllib3.exceptions.NameResolutionError() | socket.gaierror():
            return TransientError(Reason.CONNECTION, "the host's name cannot be resolved")
        case http.client.RemoteDisconnected() | http.client.IncompleteRead():
            return TransientError(Reason.CONNECTION, "the connection was closed before the whole answer came")
        case http.client.HTTPException() | urllib3.exceptions.DecodeError() | urllib3.exceptions.InvalidHeader():
            return UnexpectedReplyError(Reason.BAD_RESPONSE, "the answer is not valid HTTP")
        case requests.RequestException():  # An OSError by descent, whose text quotes what it wraps.
            return None
        case OSError() if cause.strerror:
            return TransientError(Reason.CONNECTION, cause.strerror)
        case urllib3.exceptions.ProxyError():
            return TransientError(Reason.CONNECTION, "the proxy refused the connection")
    return None
