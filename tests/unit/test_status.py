"""What replies of the API say: recorded ones, hostile ones, and any at all."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.errors import (
    AuthenticationError,
    PollError,
    Reason,
    ThrottledError,
    TransientError,
    UnexpectedReplyError,
)
from exporter.status import STATUSES, Status, describe, read_reply

RECORDED = sorted((Path(__file__).parents[1] / "fixtures" / "replies").glob("*.json"))
FIELDS = [f"endpoints_{status}" for status in STATUSES]
NOBODY = (0,) * len(STATUSES)
NEITHER = "the reply holds neither a status nor a count"
NOT_JSON = "the body is not JSON: "
NUMBER = NOT_JSON + "it holds a number that JSON does not allow, or one too long"

type_of_reason = {
    Reason.UNAUTHORIZED: AuthenticationError,
    Reason.LICENSE: AuthenticationError,
    Reason.FORBIDDEN: AuthenticationError,
    Reason.THROTTLED: ThrottledError,
    Reason.SERVER_ERROR: TransientError,
    Reason.NOT_FOUND: UnexpectedReplyError,
    Reason.CLIENT_ERROR: UnexpectedReplyError,
    Reason.REDIRECT: UnexpectedReplyError,
    Reason.BAD_RESPONSE: UnexpectedReplyError,
}


def refusal(http_status: int, body: bytes) -> tuple[type[PollError], Reason, str]:
    """Read a reply that must hold no status, and return what it gave instead."""
    with pytest.raises(PollError) as raised:
        read_reply(http_status, body)
    return type(raised.value), raised.value.reason, raised.value.detail


def bad(detail: str) -> tuple[type[PollError], Reason, str]:
    """Return what a bad answer gives."""
    return UnexpectedReplyError, Reason.BAD_RESPONSE, detail


def as_reply(**fields: Any) -> bytes:
    """Return the body of a reply with these fields."""
    return json.dumps({"reply": fields}).encode()


def in_words(message: str) -> tuple[type[PollError], Reason, str]:
    """Return what a 200 with this error message gives."""
    return refusal(200, as_reply(error_message=message, general_status="PENDING"))


@pytest.mark.parametrize("path", RECORDED, ids=lambda path: path.stem)
def test_recorded_reply_gives_what_is_written_beside_it(path: Path) -> None:
    """Each recorded answer is read as a status or as the error that its file says."""
    recorded = json.loads(path.read_text(encoding="utf-8"))
    body = recorded["body"]
    sent = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    gives = recorded["gives"]
    if "error" in gives:
        error, reason, detail = refusal(recorded["http_status"], sent)
        assert {"error": error.__name__, "reason": reason, "detail": detail} == gives
    else:
        status = read_reply(recorded["http_status"], sent)
        assert {
            "general_status": status.general_status,
            "counts": list(status.counts),
            "settled": status.settled,
        } == gives


def test_every_reason_of_a_reply_is_recorded() -> None:
    """No reason that an answer can have is without a recorded reply."""
    recorded = {json.loads(path.read_text(encoding="utf-8"))["gives"].get("reason") for path in RECORDED}
    assert recorded - {None} == set(type_of_reason)


def test_counts_arrive_in_the_order_of_the_statuses() -> None:
    """Each field of a reply has its own place, whatever its place in the reply."""
    fields = {field: number for number, field in enumerate(FIELDS, 1)}
    shuffled = dict(sorted(fields.items()))
    assert read_reply(200, as_reply(general_status="PENDING", **shuffled)) == Status(
        "PENDING", tuple(range(1, 10))
    )


@pytest.mark.parametrize("field", FIELDS)
@pytest.mark.parametrize(
    ("value", "count"), [(0, 0), (2**53, 2**53), ("0", 0), ("42", 42), ("0042", 42), (str(2**53), 2**53)]
)
def test_count_may_be_an_integer_or_its_digits(field: str, value: object, count: int) -> None:
    """Integers from 0 to 2 to the 53 are counts, as numbers and as text."""
    expected = tuple(count if name == field else 0 for name in FIELDS)
    assert read_reply(200, as_reply(**{field: value})) == Status(None, expected)


@pytest.mark.parametrize(
    "value",
    [
        *(-1, 2**53 + 1, 10**400, 0.0, 1.0, 1.5, -0.5, 1e300),
        *(True, False, None, [], [1], {}, {"count": 1}),
        *("", " ", "-1", "+1", " 1", "1 ", "1\n", "1.0", "1e3", "0x10", "1_000", "NaN", "many"),
        *("\u0663", "\u00b2", "\uff11", str(2**53 + 1), "9" * 5_000, "0" * 17),
    ],
)
def test_count_that_is_none_is_a_bad_answer(value: object) -> None:
    """Negatives, fractions, booleans, null, lists, other alphabets' digits and what is too big are refused."""
    assert refusal(200, as_reply(general_status="PENDING", endpoints_failed=value)) == bad(
        "'endpoints_failed' is not a count"
    )


def test_count_as_a_huge_literal_is_a_bad_answer() -> None:
    """A number that overflows to infinity is no count."""
    body = b'{"reply": {"endpoints_failed": 1e999}}'
    assert refusal(200, body) == bad("'endpoints_failed' is not a count")


@pytest.mark.parametrize("value", [5, 0, True, False, [], ["PENDING"], {}, "x" * 1025, "\ud800", "PENDING\udfff"])
def test_general_status_that_is_no_text_is_a_bad_answer(value: object) -> None:
    """A status has to be text of reasonable length that UTF-8 can carry."""
    assert refusal(200, as_reply(general_status=value, endpoints_failed=1)) == bad(
        "'general_status' is not a text of reasonable length"
    )


@pytest.mark.parametrize("value", ["x" * 1024, "läuft", "two words", "\U0001f600", 'a\\b"c\nd', " "])
def test_general_status_is_kept_as_spelled(value: str) -> None:
    """Any text is a general status: the set is open."""
    assert read_reply(200, as_reply(general_status=value)) == Status(value, NOBODY)


@pytest.mark.parametrize("fields", [{}, {"error_message": None}, {"general_status": None}, {"general_status": ""}])
def test_reply_that_holds_nothing_is_a_bad_answer(fields: dict[str, object]) -> None:
    """A reply without a status and without any count is not read as "all zero"."""
    assert refusal(200, as_reply(**fields)) == bad(NEITHER)


@pytest.mark.parametrize(
    ("general_status", "settled"),
    [
        ("PENDING", False),
        ("IN_PROGRESS", False),
        ("PENDING_ABORT", False),
        ("CANCELED", True),
        ("CANCELLED", True),
        ("ABORTED", True),
        ("EXPIRED", True),
        ("COMPLETED_PARTIAL", True),
        ("COMPLETED_SUCCESSFULLY", True),
        ("FAILED", True),
        ("TIMEOUT", True),
        ("SUSPENDED", False),
        ("failed", False),
        ("FAILED ", False),
        (None, False),
    ],
)
def test_status_settled_by_its_word(general_status: str | None, *, settled: bool) -> None:
    """The documented final words settle an action; the others, unknown ones and none do not."""
    assert Status(general_status, NOBODY).settled is settled


@pytest.mark.parametrize(
    ("unfinished", "settled"),
    [(name, name not in {"pending", "in_progress", "pending_abort"}) for name in STATUSES],
)
def test_status_settled_only_when_no_endpoint_has_to_move(unfinished: str, *, settled: bool) -> None:
    """Under a final word, one pending, running or aborting endpoint keeps the action unfinished."""
    counts = tuple(int(name == unfinished) for name in STATUSES)
    assert Status("COMPLETED_PARTIAL", counts).settled is settled


def test_status_counts_its_endpoints() -> None:
    """All of them, and those that still have to move."""
    status = Status("IN_PROGRESS", (1, 2, 4, 8, 16, 32, 64, 128, 256))
    assert (status.total, status.unfinished) == (511, 1 + 4 + 64)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Action does not exist", Reason.NOT_FOUND),
        ("action_id 325 doesn't exist", Reason.NOT_FOUND),
        ("Action 325 was not found", Reason.NOT_FOUND),
        ("The action could not be found", Reason.NOT_FOUND),
        ("the action cannot be found", Reason.NOT_FOUND),
        ("no such action: 325", Reason.NOT_FOUND),
        ("NO RESULTS", Reason.NOT_FOUND),
        ("Invalid action id", Reason.NOT_FOUND),
        ("unknown script execution", Reason.SERVER_ERROR),
        ("Unknown script action", Reason.NOT_FOUND),
        ("action id 325 is invalid", Reason.NOT_FOUND),
        ("User has no permissions for this action", Reason.FORBIDDEN),
        ("Insufficient rights", Reason.FORBIDDEN),
        ("Access denied", Reason.FORBIDDEN),
        ("You are not allowed to view scripts", Reason.FORBIDDEN),
        ("missing privileges", Reason.FORBIDDEN),
        ("too many requests", Reason.THROTTLED),
        ("rate limit reached", Reason.THROTTLED),
        ("Rate-limit", Reason.THROTTLED),
        ("ratelimited", Reason.THROTTLED),
        ("something broke", Reason.SERVER_ERROR),
        ("\ud800", Reason.SERVER_ERROR),
    ],
)
def test_error_message_is_sorted_by_its_words(message: str, reason: Reason) -> None:
    """What the message of a 200 tells of decides the reason; it is handed on as it came."""
    assert in_words(message) == (type_of_reason[reason], reason, message)


@pytest.mark.parametrize(
    ("http_status", "reason"),
    [
        (100, Reason.BAD_RESPONSE),
        (201, Reason.BAD_RESPONSE),
        (299, Reason.BAD_RESPONSE),
        (300, Reason.REDIRECT),
        (307, Reason.REDIRECT),
        (399, Reason.REDIRECT),
        (400, Reason.CLIENT_ERROR),
        (401, Reason.UNAUTHORIZED),
        (402, Reason.LICENSE),
        (403, Reason.FORBIDDEN),
        (404, Reason.CLIENT_ERROR),
        (407, Reason.CLIENT_ERROR),
        (413, Reason.CLIENT_ERROR),
        (429, Reason.THROTTLED),
        (499, Reason.CLIENT_ERROR),
        (500, Reason.SERVER_ERROR),
        (502, Reason.SERVER_ERROR),
        (503, Reason.SERVER_ERROR),
        (504, Reason.SERVER_ERROR),
        (599, Reason.SERVER_ERROR),
        (600, Reason.BAD_RESPONSE),
        (999, Reason.BAD_RESPONSE),
    ],
)
def test_http_status_decides_the_reason(http_status: int, reason: Reason) -> None:
    """A valid reply under any HTTP status but 200 is an error, sorted by that status."""
    words = "HTTP {}: redirects are not followed" if reason is Reason.REDIRECT else "HTTP {}"
    detail = words.format(http_status)
    body = as_reply(general_status="PENDING", endpoints_pending=1)
    assert refusal(http_status, body) == (type_of_reason[reason], reason, detail)


@pytest.mark.parametrize("http_status", [401, 402, 403, 404])
def test_words_of_throttling_count_only_where_the_server_failed(http_status: int) -> None:
    """A refusal stays one, whatever its text says."""
    assert refusal(http_status, b"rate limit")[1] is not Reason.THROTTLED


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        (401, Reason.UNAUTHORIZED),
        ("402", Reason.LICENSE),
        ("403", Reason.FORBIDDEN),
        (404, Reason.CLIENT_ERROR),
        (429, Reason.THROTTLED),
        (500, Reason.SERVER_ERROR),
        ("503", Reason.SERVER_ERROR),
        (302, Reason.REDIRECT),
        *((code, Reason.SERVER_ERROR) for code in (1, -1, 299, 600, 40100, "ERR-7", "\u0664\u0660\u0661", 4.01)),
        *((code, Reason.SERVER_ERROR) for code in (True, [401], {"code": 401}, 10**400, "4" * 5_000)),
    ],
)
def test_error_code_within_a_200_decides_the_reason(code: object, reason: Reason) -> None:
    """An HTTP status as the error code is read as one, anything else as the vendor's unified 500."""
    error, found, _ = refusal(200, as_reply(err_code=code, err_msg="no", err_extra=None, general_status="PENDING"))
    assert (error, found) == (type_of_reason[reason], reason)


@pytest.mark.parametrize("code", [None, 0, "", False, [], {}])
def test_error_code_that_is_none_leaves_the_reply(code: object) -> None:
    """An empty error code is no error."""
    assert read_reply(200, as_reply(err_code=code, general_status="PENDING")) == Status("PENDING", NOBODY)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        (None, "HTTP 400: no"),
        ("", "HTTP 400: no"),
        ("bad ID", "HTTP 400: no; bad ID"),
        ({"field": "action_id"}, 'HTTP 400: no; {"field": "action_id"}'),
        (["a", 1, None], 'HTTP 400: no; ["a", 1, null]'),
        (7, "HTTP 400: no; 7"),
        ("\ud800", "HTTP 400: no; \ud800"),
    ],
)
@pytest.mark.parametrize("nested", [True, False])
def test_extra_of_an_error_follows_its_message(extra: object, words: str, *, nested: bool) -> None:
    """Whatever an error carries besides is told in words, from both envelopes."""
    envelope: dict[str, Any] = {"err_code": 400, "err_msg": "no", "err_extra": extra}
    body = json.dumps({"reply": envelope} if nested else envelope).encode()
    assert refusal(400, body) == (UnexpectedReplyError, Reason.CLIENT_ERROR, words)


@pytest.mark.parametrize(
    ("body", "detail"),
    [
        (b"", NOT_JSON + "Expecting value at character 0"),
        (b"{}x", NOT_JSON + "Extra data at character 2"),
        (b"[" * 100_000, NOT_JSON + "it is nested too deep"),
        (b'{"reply":' * 100_000, NOT_JSON + "it is nested too deep"),
        (b'{"reply": {"endpoints_failed": ' + b"9" * 5_000 + b"}}", NUMBER),
        (b'{"reply": {"endpoints_failed": NaN}}', NUMBER),
        (b'{"reply": {"endpoints_failed": -Infinity}}', NUMBER),
        (b'{"reply": {"general_status": "\xff"}}', NOT_JSON + "it is not UTF-8 at byte 30"),
        (b'{"reply": {"general_status": "\\ud800"}}', "'general_status' is not a text of reasonable length"),
        (b'{"reply": {"general_status": "\xed\xa0\x80"}}', "'general_status' is not a text of reasonable length"),
        (b"null", "the body is JSON, but not an object"),
        (b'"reply"', "the body is JSON, but not an object"),
        (b"{}", "the body has no object under 'reply'"),
        (b'{"reply": []}', "the body has no object under 'reply'"),
        (b'{"reply": "PENDING"}', "the body has no object under 'reply'"),
    ],
)
def test_hostile_body_is_a_bad_answer(body: bytes, detail: str) -> None:
    """What a parser could choke on is told in one sentence."""
    assert refusal(200, body) == bad(detail)


@pytest.mark.parametrize("http_status", [200, 400, 500])
@pytest.mark.parametrize(
    "envelope",
    [
        b'{"reply": {"err_code": %s, "err_msg": %s, "err_extra": %s}}',
        b'{"err_code": %s, "err_msg": %s, "err_extra": %s}',
    ],
)
def test_nesting_at_the_edge_of_the_stack_is_an_error_of_ours(http_status: int, envelope: bytes) -> None:
    """However deep an error's values nest, nothing but a poll's error comes out."""
    for depth in range(880, 1_000):
        nested = b"[" * depth + b"]" * depth
        assert issubclass(refusal(http_status, envelope % (nested, nested, nested))[0], PollError)


def test_byte_order_mark_is_skipped() -> None:
    """A body that begins with a byte order mark is read as one without."""
    assert read_reply(200, b"\xef\xbb\xbf" + as_reply(general_status="PENDING")) == Status("PENDING", NOBODY)


def outcome(http_status: int, body: bytes) -> Status | PollError:
    """Read a reply; any other exception than a PollError fails the test."""
    try:
        return read_reply(http_status, body)
    except PollError as error:
        assert type_of_reason[error.reason] is type(error)  # noqa: PT017 - the status is the other good end
        return error


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(), values, max_size=4),
    max_leaves=12,
)
field_values = (
    st.integers(-2, 2**53 + 2)
    | st.integers(0, 9).map(str)
    | st.sampled_from(["PENDING", "FAILED", "CANCELLED", "", None, 401, "500", "not found", "rate limit"])
    | json_values
)
near_replies = st.dictionaries(
    st.sampled_from([*FIELDS, "general_status", "error_message", "err_code", "err_msg", "err_extra"]),
    field_values,
    max_size=8,
)


@settings(deadline=None)  # A busy machine is no failure.
@given(st.integers(-1, 1_000) | st.sampled_from([200, 401, 500]), st.binary())
@example(200, b"\xff\xfe[\x00]\x00")
def test_any_bytes_give_a_status_or_a_poll_error(http_status: int, body: bytes) -> None:
    """No body under any HTTP status raises anything else."""
    result = outcome(http_status, body)
    assert http_status == 200 or isinstance(result, PollError)


@settings(deadline=None)  # A busy machine is no failure.
@given(st.sampled_from([200, 400, 401, 500, 503]), json_values)
def test_any_json_gives_a_status_or_a_poll_error(http_status: int, document: object) -> None:
    """No JSON value raises anything else, alone or as the reply."""
    outcome(http_status, json.dumps(document).encode())
    outcome(http_status, json.dumps({"reply": document}).encode())


@settings(deadline=None)  # A busy machine is no failure.
@given(st.sampled_from([200, 200, 200, 500]), near_replies, near_replies)
def test_any_near_valid_reply_gives_a_whole_status_or_a_poll_error(
    http_status: int, reply: dict[str, object], root: dict[str, object]
) -> None:
    """Known fields with any values give counts that a sample can hold and a status that encodes, or an error."""
    result = outcome(http_status, json.dumps({**root, "reply": reply}).encode())
    if isinstance(result, Status):
        assert http_status == 200
        assert [0 <= count <= 2**53 for count in result.counts] == [True] * len(STATUSES)
        assert result.counts == tuple(int(str(reply.get(field, 0))) for field in FIELDS)
        assert result.general_status == (reply.get("general_status") or None)
        (result.general_status or "").encode()


@settings(deadline=None)  # A busy machine is no failure.
@given(st.text() | st.text(st.characters(categories=["Cc", "Cs", "Zs", "Zl", "Cf", "Co"]), max_size=3_000))
def test_describe_gives_one_printable_line(text: str) -> None:
    """Whatever a server says becomes at most 200 printable characters."""
    described = describe(text)
    assert described.isprintable()
    assert len(described) <= 200


@pytest.mark.parametrize(
    ("text", "described"),
    [
        ("", ""),
        (" two \t\r\n words\u00a0\u2028 ", "two words"),
        ("bell\a and \ud800 half", "bell? and ? half"),
        ("x" * 200, "x" * 200),
        ("x" * 201, "x" * 199 + "…"),
        ("\0" * 5_000, "?" * 199 + "…"),
        ("übel \U0001f600", "übel \U0001f600"),
    ],
)
def test_describe_folds_replaces_and_cuts(text: str, described: str) -> None:
    """White space is folded, what cannot be printed is a question mark, and a cut is seen."""
    assert describe(text) == described
