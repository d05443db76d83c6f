"""The errors that this package raises, in one tree.

A lower library's error is translated into one of these once, where it is called. No message holds a secret:
no text is taken over from a library that might quote a header.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Why a poll failed: the values of the ``reason`` label, which users' alerts are written against."""

    NOT_FOUND = "not_found"
    UNAUTHORIZED = "unauthorized"
    LICENSE = "license"
    FORBIDDEN = "forbidden"
    THROTTLED = "throttled"
    TIMEOUT = "timeout"
    CONNECTION = "connection"
    TLS = "tls"
    SERVER_ERROR = "server_error"
    CLIENT_ERROR = "client_error"
    REDIRECT = "redirect"
    BAD_RESPONSE = "bad_response"


class ExporterError(Exception):
    """The root of all errors that this package raises on purpose."""


class ConfigurationError(ExporterError):
    """The configuration cannot be used; ``problems`` has a line for each thing that is wrong with it."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class StateFileInUseError(ExporterError):
    """Another process has the state file, and both would write it."""


class BusyError(ExporterError):
    """A password is not checked: too many are waiting, or the server is about to stop."""


class PollError(ExporterError):
    """A poll gave no status; ``reason`` is its metric label, ``detail`` a sentence for the log.

    ``retry_after_seconds`` is how long the server asks to be left alone, None where it does not;
    ``key_replaced`` whether there is another key now than the one that was used.
    """

    def __init__(
        self,
        reason: Reason,
        detail: str,
        *,
        retry_after_seconds: float | None = None,
        key_replaced: bool = False,
    ) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail
        self.retry_after_seconds = retry_after_seconds
        self.key_replaced = key_replaced


class AuthenticationError(PollError):
    """The tenant refuses this key: unauthorized, license or forbidden. Asking again does not help."""


class ThrottledError(PollError):
    """Too many requests, by this exporter or by other users of the tenant's budget."""


class TransientError(PollError):
    """No answer, or the server failed: timeout, connection, tls or server_error."""


class UnexpectedReplyError(PollError):
    """An answer that holds no status: not_found, client_error, redirect or bad_response."""
