"""What one reply of the API says: pure parsing, and whether an action is settled.

The rule: a reply is either a whole, consistent :class:`Status` or a :class:`~exporter.errors.PollError` with
a reason. Nothing in between is guessed. The vendor's spelling stops here.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NoReturn

from exporter.errors import (
    AuthenticationError,
    PollError,
    Reason,
    ThrottledError,
    TransientError,
    UnexpectedReplyError,
)

STATUSES = (
    "pending",
    "canceled",
    "in_progress",
    "timeout",
    "failed",
    "completed_successfully",
    "pending_abort",
    "aborted",
    "expired",
)
"""The statuses that an endpoint can have within an action, in the order of :attr:`Status.counts`."""

_FIELDS = tuple(f"endpoints_{status}" for status in STATUSES)
_UNFINISHED = ("pending", "in_progress", "pending_abort")
_unfinished: Callable[[tuple[int, ...]], tuple[int, ...]] = itemgetter(*map(STATUSES.index, _UNFINISHED))
_FINISHED = frozenset(
    {
        "CANCELED",
        "CANCELLED",
        "ABORTED",
        "EXPIRED",
        "COMPLETED_PARTIAL",
        "COMPLETED_SUCCESSFULLY",
        "FAILED",
        "TIMEOUT",
    }
)
_KNOWN = {word: word for word in (*_FINISHED, "PENDING", "IN_PROGRESS")}

_MAX_COUNT = 2**53  # Beyond it a Prometheus sample, a float, cannot hold every integer.
_MAX_STATUS_LENGTH = 1024
_MAX_DETAIL_LENGTH = 200
_MAX_SEARCHED_LENGTH = 1024  # A search takes time quadratic in the length, and holds up every thread.

_THROTTLED_TEXT = re.compile(r"too many requests|\brate.?limit", re.IGNORECASE)
_FORBIDDEN_TEXT = re.compile(
    r"permission|privilege|forbidden|not (allowed|permitted|authorized)|access denied"
    r"|insufficient (access|right|role)",
    re.IGNORECASE,
)
_NOT_FOUND_TEXT = re.compile(
    r"(not|n't|cannot be|never) (be )?(exist|found|find)"
    r"|no (such|action|script|execution|data|record|result)s?\b(?! (is |was )?(required|needed))"
    r"|(unknown|invalid|wrong|non-?existent) (script |execution )?action"
    r"|action[ _]?id .*(unknown|invalid)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Status:
    """How far an action is: endpoints per status (see :data:`STATUSES`), and the API's word for the whole.

    ``general_status`` is as the API spells it, an open set; None where the reply had none.
    """

    general_status: str | None
    counts: tuple[int, ...]

    @property
    def settled(self) -> bool:
        """Whether the action is finished: a known final status, and no endpoint that still has to move.

        An unknown status counts as unfinished: polled too often is better than a count that is given up.
        """
        return self.general_status in _FINISHED and not any(_unfinished(self.counts))

    @property
    def total(self) -> int:
        """How many endpoints the action has."""
        return sum(self.counts)

    @property
    def unfinished(self) -> int:
        """How many endpoints still have to move: those pending, in progress, or about to be aborted."""
        return sum(_unfinished(self.counts))


def read_reply(http_status: int, body: bytes) -> Status:
    """Read a complete answer of ``get_script_execution_status``.

    Raises a PollError for everything but a 200 with a valid reply.
    """
    if http_status != 200:
        raise _refusal(http_status, f"HTTP {http_status}", body)
    try:
        document = _parse_json(body)
    except ValueError as error:
        raise _bad_response(f"the body is not JSON: {error}") from error
    if not isinstance(document, dict):
        raise _bad_response("the body is JSON, but not an object")
    reply = document.get("reply")
    code = _envelope(document).get("err_code") or document.get("err_code")
    if code:
        raise _refusal(_http_status_of(code), f"error code {code}", body)
    if not isinstance(reply, dict):
        raise _bad_response("the body has no object under 'reply'")
    message = reply.get("error_message")
    if message is not None and not isinstance(message, str):
        raise _bad_response("'error_message' is not text")
    if message:
        raise _error_in_words(message)
    status = Status(_general_status(reply), tuple(_count(reply, field) for field in _FIELDS))
    if status.general_status is None and not any(field in reply for field in _FIELDS):
        raise _bad_response("the reply holds neither a status nor a count")
    return status


def describe(text: str) -> str:
    """Return a server's text fit for one line of a log: printable, white space folded, short.

    The last step on the way out: a secret has to be taken out before, lest half of it escapes a cut.
    """
    # Most of a long text is dropped anyway, so the work is bounded before it begins.
    words = " ".join(text[: 8 * _MAX_DETAIL_LENGTH].split())
    printable = "".join(character if character.isprintable() else "?" for character in words)
    if len(printable) <= _MAX_DETAIL_LENGTH:
        return printable
    return printable[: _MAX_DETAIL_LENGTH - 1] + "…"


def _parse_json(body: bytes) -> Any:
    """Parse strictly: no NaN, no nesting that overflows the stack; every failure is a ValueError."""
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start}") from error
    except json.JSONDecodeError as error:
        raise ValueError(f"{error.msg.removesuffix(' at')} at character {error.pos}") from error
    except ValueError as error:
        # The interpreter's own limit for the digits of an integer, and the constants refused below.
        raise ValueError("it holds a number that JSON does not allow, or one too long") from error


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(name)


def _general_status(reply: Mapping[str, Any]) -> str | None:
    value = reply.get("general_status")
    if value is None or value == "":
        return None
    if not isinstance(value, str) or len(value) > _MAX_STATUS_LENGTH or not _encodable(value):
        raise _bad_response("'general_status' is not a text of reasonable length")
    return shared(value)


def shared(general_status: str) -> str:
    """Return the one text that thousands of actions share for a known general status; an unknown one as it is."""
    return _KNOWN.get(general_status, general_status)


def _encodable(text: str) -> bool:
    """Tell whether UTF-8 can carry the text: JSON's escapes can spell half a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _count(reply: Mapping[str, Any], field: str) -> int:
    value = reply.get(field, 0)  # Every field is optional: one that is left out counts nobody.
    if type(value) is str and value.isascii() and value.isdecimal() and len(value) <= 16:
        value = int(value)
    if type(value) is not int or not 0 <= value <= _MAX_COUNT:
        raise _bad_response(f"'{field}' is not a count")
    return value


def _refusal(http_status: int, told: str, body: bytes) -> PollError:
    """Translate an HTTP status other than 200, or an error code within a 200, with the server's own words."""
    words = _words(body)
    detail = f"{told}: {words}" if words else told
    known: dict[int, tuple[type[PollError], Reason]] = {
        401: (AuthenticationError, Reason.UNAUTHORIZED),
        402: (AuthenticationError, Reason.LICENSE),
        403: (AuthenticationError, Reason.FORBIDDEN),
        429: (ThrottledError, Reason.THROTTLED),
    }
    if http_status in known:
        error, reason = known[http_status]
        return error(reason, detail)
    if 300 <= http_status < 400:
        return UnexpectedReplyError(Reason.REDIRECT, f"{told}: redirects are not followed")
    if 400 <= http_status < 500:
        return UnexpectedReplyError(Reason.CLIENT_ERROR, detail)
    if 500 <= http_status < 600:
        # The vendor's 500 is a "unified status": for some tenants it is how throttling is told.
        if _THROTTLED_TEXT.search(body.decode("utf-8", "replace")):
            return ThrottledError(Reason.THROTTLED, detail)
        return TransientError(Reason.SERVER_ERROR, detail)
    return _bad_response(detail)


def _error_in_words(message: str) -> PollError:
    """Translate the ``error_message`` of a 200: documented for a missing permission or a missing action."""
    beginning = message[:_MAX_SEARCHED_LENGTH]
    if _THROTTLED_TEXT.search(beginning):
        return ThrottledError(Reason.THROTTLED, message)
    if _FORBIDDEN_TEXT.search(beginning):
        return AuthenticationError(Reason.FORBIDDEN, message)
    if _NOT_FOUND_TEXT.search(beginning):
        return UnexpectedReplyError(Reason.NOT_FOUND, message)
    return TransientError(Reason.SERVER_ERROR, message)


def _bad_response(detail: str) -> PollError:
    return UnexpectedReplyError(Reason.BAD_RESPONSE, detail)


def _envelope(document: Any) -> Mapping[str, Any]:
    """Find the error's object: under ``reply`` (live 401s) or at the root (as documented)."""
    if not isinstance(document, dict):
        return {}
    reply = document.get("reply")
    return reply if isinstance(reply, dict) else document


def _http_status_of(code: Any) -> int:
    """Return the error code within a 200 as an HTTP status: 500, the vendor's unified one, if it is none."""
    text = str(code)
    if text.isascii() and text.isdecimal() and len(text) == 3 and 300 <= int(text) < 600:
        return int(text)
    return 500


def _words(body: bytes) -> str:
    """Return what an error's body says in words; nothing for a page of markup or no text at all."""
    try:
        envelope = _envelope(_parse_json(body))
    except ValueError:
        text = body.decode("utf-8", "replace").strip()
        return "" if text.startswith("<") else text
    parts = (envelope.get("err_msg"), envelope.get("err_extra"))
    return "; ".join(_as_text(part) for part in parts if part)


def _as_text(part: Any) -> str:
    """Return text as it is, and what else an error may carry as JSON."""
    if isinstance(part, str):
        return part
    try:
        return json.dumps(part)
    except RecursionError:
        return "…"
