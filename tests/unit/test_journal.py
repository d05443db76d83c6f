"""What of polling reaches the log: changes, and never a line per poll."""

import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture

from exporter.errors import (
    AuthenticationError,
    PollError,
    Reason,
    ThrottledError,
    TransientError,
    UnexpectedReplyError,
)
from exporter.journal import Journal
from exporter.status import STATUSES, Status
from exporter.store import ActionState, Store

Line = dict[str, Any]

KEY = "a-key-of-the-tests"
NOBODY = (0,) * len(STATUSES)
SLOW = TransientError(Reason.TIMEOUT, "no complete answer within the timeout")
BROKEN = TransientError(Reason.SERVER_ERROR, "HTTP 500")
NOT_FOUND = UnexpectedReplyError(Reason.NOT_FOUND, "Action does not exist")
REFUSED = AuthenticationError(Reason.UNAUTHORIZED, "HTTP 401: unauthorized")
THROTTLED = ThrottledError(Reason.THROTTLED, "HTTP 429")


class Bench:
    """A journal fed as a poller feeds it, and the lines that it wrote above debug."""

    def __init__(self, *actions: str) -> None:
        self.capture = LogCapture()
        log = structlog.wrap_logger(
            None, processors=[self.capture], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
        )
        self.journal = Journal(log)
        self.store = Store(stale_after=0, retire_after=0, publish=lambda _: None)
        for action_id in actions:
            self.store.track(action_id, ())

    def succeed(self, action_id: str, general_status: str | None = "PENDING") -> None:
        """Note a poll that ended well."""
        old = self.store[action_id]
        new = self.store.succeeded(action_id, Status(general_status, NOBODY), now=0.0, wall_now=0.0)
        self.journal.succeeded(old, new)

    def fail(self, action_id: str, error: PollError) -> None:
        """Note a poll that failed."""
        self.store.failed(action_id, error.reason)
        self.journal.failed(action_id, error)

    @property
    def lines(self) -> Sequence[Line]:
        """All lines above debug."""
        return [dict(entry) for entry in self.capture.entries if entry["log_level"] != "debug"]

    @property
    def debug_lines(self) -> Sequence[Line]:
        """All lines at debug."""
        return [dict(entry) for entry in self.capture.entries if entry["log_level"] == "debug"]


def because(error: PollError) -> Line:
    """Return what a line says of an error."""
    return {"reason": str(error.reason), "detail": error.detail}


def action_failing(action_id: str, error: PollError) -> Line:
    """Return the line for an action that begins to fail."""
    return {"event": "action failing", "log_level": "warning", "action_id": action_id, **because(error)}


def action_recovered(action_id: str) -> Line:
    """Return the line for an action that is well again."""
    return {"event": "action recovered", "log_level": "info", "action_id": action_id}


def tenant_failing(action_id: str, error: PollError) -> Line:
    """Return the line for a tenant that is seen to fail at a poll of this action."""
    return {"event": "tenant failing", "log_level": "warning", "action_id": action_id, **because(error)}


TENANT_RECOVERED: Line = {"event": "tenant recovered", "log_level": "info"}


def test_polls_that_go_well_are_lines_for_debugging_only() -> None:
    """A healthy tenant writes nothing above debug, and one line per poll there."""
    bench = Bench("a", "b")
    for _ in range(3):
        bench.succeed("a")
        bench.succeed("b")
    assert bench.lines == []
    assert bench.debug_lines == [
        {"event": "polled", "log_level": "debug", "action_id": action_id} for action_id in "ababab"
    ]


def test_failing_action_is_one_line_until_it_recovers() -> None:
    """However often an action fails for one reason, it is told once, and once when it is over."""
    bench = Bench("a", "b")
    bench.succeed("a")
    for _ in range(5):
        bench.fail("a", BROKEN)
        bench.succeed("b")
    bench.succeed("a")
    bench.succeed("a")
    assert bench.lines == [action_failing("a", BROKEN), action_recovered("a")]


def test_each_failed_poll_is_a_line_for_debugging() -> None:
    """At debug, each failed poll is there with its cause."""
    bench = Bench("a")
    bench.fail("a", BROKEN)
    bench.fail("a", SLOW)
    assert bench.debug_lines == [
        {"event": "poll failed", "log_level": "debug", "action_id": "a", **because(error)}
        for error in (BROKEN, SLOW)
    ]


def test_action_that_fails_again_is_told_again() -> None:
    """After a recovery the next failure is news."""
    bench = Bench("a")
    for _ in range(2):
        bench.fail("a", SLOW)
        bench.succeed("a")
    assert bench.lines == [action_failing("a", SLOW), action_recovered("a")] * 2


def test_change_of_reason_is_told() -> None:
    """An action that fails for another reason than before is told with the new one, and recovers once."""
    bench = Bench("a", "b")
    for error in (SLOW, SLOW, BROKEN, BROKEN, NOT_FOUND, SLOW):
        bench.fail("a", error)
        bench.succeed("b")
    bench.succeed("a")
    assert bench.lines == [
        action_failing("a", SLOW),
        action_failing("a", BROKEN),
        action_failing("a", NOT_FOUND),
        action_failing("a", SLOW),
        action_recovered("a"),
    ]


def test_change_of_words_alone_is_not_told() -> None:
    """The same reason in other words is no news."""
    bench = Bench("a", "b")
    bench.fail("a", BROKEN)
    bench.succeed("b")
    bench.fail("a", TransientError(Reason.SERVER_ERROR, "HTTP 502"))
    assert bench.lines == [action_failing("a", BROKEN)]


@pytest.mark.parametrize(
    "error",
    [
        REFUSED,
        AuthenticationError(Reason.LICENSE, "HTTP 402"),
        AuthenticationError(Reason.FORBIDDEN, "HTTP 403"),
    ],
)
def test_refusing_tenant_is_one_line_for_all_its_actions(error: PollError) -> None:
    """A refusal is the tenant's at once: a thousand actions add no line, and its end is one line."""
    actions = [str(number) for number in range(1_000)]
    bench = Bench(*actions)
    for action_id in actions:
        bench.fail(action_id, error)
    for action_id in actions:
        bench.succeed(action_id)
    assert bench.lines == [tenant_failing("0", error), TENANT_RECOVERED]


@pytest.mark.parametrize("error", [SLOW, BROKEN, THROTTLED])
def test_three_failures_in_a_row_blame_the_tenant(error: PollError) -> None:
    """The first two are told as their actions', the third as the tenant's, and no more after it."""
    actions = [str(number) for number in range(1_000)]
    bench = Bench(*actions)
    for action_id in actions:
        bench.fail(action_id, error)
    for action_id in actions:
        bench.succeed(action_id)
    assert bench.lines == [
        action_failing("0", error),
        action_failing("1", error),
        tenant_failing("2", error),
        TENANT_RECOVERED,
        action_recovered("0"),
        action_recovered("1"),
    ]


def test_failures_with_a_success_between_do_not_blame_the_tenant() -> None:
    """A good answer ends the row."""
    bench = Bench("a", "b", "c", "d", "e")
    bench.fail("a", SLOW)
    bench.fail("b", SLOW)
    bench.succeed("c")
    bench.fail("d", SLOW)
    bench.fail("e", SLOW)
    assert bench.lines == [action_failing(action_id, SLOW) for action_id in "abde"]


def test_single_action_can_show_that_its_tenant_fails() -> None:
    """Three failures of the only action are the tenant's as well."""
    bench = Bench("a")
    for _ in range(5):
        bench.fail("a", SLOW)
    bench.succeed("a")
    assert bench.lines == [
        action_failing("a", SLOW),
        tenant_failing("a", SLOW),
        TENANT_RECOVERED,
        action_recovered("a"),
    ]


def test_missing_actions_do_not_blame_the_tenant() -> None:
    """That an action does not exist is a good answer: each is told, the tenant never."""
    bench = Bench(*"abcdef")
    for action_id in "abcdef":
        bench.fail(action_id, NOT_FOUND)
        bench.fail(action_id, NOT_FOUND)
    assert bench.lines == [action_failing(action_id, NOT_FOUND) for action_id in "abcdef"]


def test_missing_action_ends_a_row_of_failures() -> None:
    """A tenant that says of an action that it does not exist is well again."""
    bench = Bench(*"abcd")
    for action_id in "abc":
        bench.fail(action_id, SLOW)
    bench.fail("d", NOT_FOUND)
    assert bench.lines == [
        action_failing("a", SLOW),
        action_failing("b", SLOW),
        tenant_failing("c", SLOW),
        TENANT_RECOVERED,
        action_failing("d", NOT_FOUND),
    ]


def test_tenant_that_fails_again_is_told_again() -> None:
    """After its recovery a refusal is news, for the tenant and not for the action."""
    bench = Bench("a")
    for _ in range(2):
        bench.fail("a", REFUSED)
        bench.fail("a", REFUSED)
        bench.succeed("a")
    assert bench.lines == [tenant_failing("a", REFUSED), TENANT_RECOVERED] * 2


def test_action_that_still_fails_when_its_tenant_has_recovered_is_told() -> None:
    """An action that began to fail with its tenant and goes on alone, for the same reason, is told then."""
    bench = Bench("a", "b", "c", "d")
    for action_id in "abcd":
        bench.fail(action_id, SLOW)
    for action_id in "abc":
        bench.succeed(action_id)
    bench.fail("d", SLOW)
    bench.succeed("a")
    bench.fail("d", SLOW)
    bench.succeed("d")
    assert bench.lines[4:] == [
        action_recovered("a"),
        action_recovered("b"),
        action_failing("d", SLOW),
        action_recovered("d"),
    ]


def test_change_of_general_status_is_told() -> None:
    """The first status is no change, nor the same again; each other one is a line with both words."""
    bench = Bench("a")
    for general_status in ("PENDING", "PENDING", "IN_PROGRESS", "IN_PROGRESS", None, "FAILED"):
        bench.succeed("a", general_status)
    changes: list[tuple[str | None, str | None]] = [
        ("PENDING", "IN_PROGRESS"),
        ("IN_PROGRESS", None),
        (None, "FAILED"),
    ]
    assert bench.lines == [
        {
            "event": "general status changed",
            "log_level": "info",
            "action_id": "a",
            "before": before,
            "after": after,
        }
        for before, after in changes
    ]


def test_change_of_counts_is_not_told() -> None:
    """Counts move all the time and are metrics, not news."""
    bench = Bench("a")
    old = ActionState("a", (), polled=True, status=Status("PENDING", NOBODY))
    new = ActionState("a", (), polled=True, status=Status("PENDING", (1, *NOBODY[1:])))
    bench.journal.succeeded(old, new)
    assert bench.lines == []


def test_change_across_failures_is_told() -> None:
    """A status that changed while polls failed is told with the recovery."""
    bench = Bench("a")
    bench.succeed("a", "PENDING")
    bench.fail("a", SLOW)
    bench.succeed("a", "FAILED")
    assert bench.lines[1:] == [
        action_recovered("a"),
        {
            "event": "general status changed",
            "log_level": "info",
            "action_id": "a",
            "before": "PENDING",
            "after": "FAILED",
        },
    ]


def test_retirement_is_told() -> None:
    """An action that leaves the metrics says so."""
    bench = Bench("a")
    bench.journal.retired("a")
    assert bench.lines == [{"event": "action retired", "log_level": "info", "action_id": "a"}]


def test_removed_action_is_forgotten() -> None:
    """An action that is taken out while it fails says nothing, and if it comes back and fails that is news."""
    bench = Bench("a", "b")
    bench.fail("a", SLOW)
    bench.succeed("b")
    bench.journal.removed("a")
    bench.journal.removed("b")
    bench.succeed("a")
    bench.fail("a", SLOW)
    assert bench.lines == [action_failing("a", SLOW)] * 2


def test_removal_does_not_end_a_tenants_failure() -> None:
    """A tenant that refuses still does when the action that showed it is tracked no more."""
    bench = Bench("a", "b")
    bench.fail("a", REFUSED)
    bench.journal.removed("a")
    bench.fail("b", REFUSED)
    bench.succeed("b")
    assert bench.lines == [tenant_failing("a", REFUSED), TENANT_RECOVERED]


def test_retired_action_that_failed_is_forgotten() -> None:
    """What was told of an action ends with its retirement: nobody hears that it recovered."""
    bench = Bench("a")
    bench.fail("a", SLOW)
    bench.journal.retired("a")
    bench.succeed("a")
    assert bench.lines == [
        action_failing("a", SLOW),
        {"event": "action retired", "log_level": "info", "action_id": "a"},
    ]


def broken(secret: str) -> None:
    """Raise what a library raises that quotes a header, with another error as its cause."""
    headers: dict[str, str] = {}
    try:
        headers[secret].encode()
    except KeyError as error:
        raise ValueError(f"invalid header: {secret}") from error


def defect() -> ValueError:
    """Return an error as it is when it has been caught."""
    try:
        broken(KEY)
    except ValueError as error:
        return error
    raise AssertionError


@pytest.mark.parametrize("crash", [False, True])
def test_defect_is_told_without_the_text_of_its_error(*, crash: bool) -> None:
    """A defect's line says what was raised and where, the innermost first; what a library quotes stays out."""
    bench = Bench("a")
    if crash:
        bench.journal.crashed(defect())
        what = {"event": "polling has crashed", "log_level": "critical"}
    else:
        bench.journal.defect("a", defect())
        what = {"event": "defect in a poll", "log_level": "error", "action_id": "a"}
    (line,) = bench.lines
    raised_in = re.sub(r":\d+\)", ":…)", line.pop("raised_in"))
    assert line == {**what, "error": "ValueError"}
    assert raised_in == f"broken ({__file__}:…) < defect ({__file__}:…)"
