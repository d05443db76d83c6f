"""What of polling is worth a line in the log: changes, not polls.

The rule: one line when an action or a tenant begins to fail or recovers, and per change of a general
status. Where the tenant is to blame there is one line for it, and none for each of its actions.
"""

from structlog.typing import FilteringBoundLogger

from exporter.errors import AuthenticationError, PollError, Reason
from exporter.logs import origin
from exporter.store import ActionState

_FAILURES_TO_BLAME_TENANT = 3
"""Failures in a row, of whichever actions, after which the tenant is said to fail. A refusal counts at once."""


class Journal:
    """Writes the log of one tenant's polling. Not thread-safe, but for :meth:`crashed`: its owner holds a lock."""

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._failures_in_a_row = 0
        self._tenant_failing = False
        self._announced: dict[str, Reason] = {}

    def succeeded(self, old: ActionState, new: ActionState) -> None:
        """Note a successful poll that led from one state to the next."""
        self._answered_well()
        action_id = new.action_id
        self._log.debug("polled", action_id=action_id)
        if self._announced.pop(action_id, None) is not None:
            self._log.info("action recovered", action_id=action_id)
        if old.status is None or new.status is None:
            return
        before, after = old.status.general_status, new.status.general_status
        if before != after:
            self._log.info("general status changed", action_id=action_id, before=before, after=after)

    def failed(self, action_id: str, error: PollError) -> None:
        """Note a failed poll."""
        if error.reason is Reason.NOT_FOUND:
            self._answered_well()
        else:
            self._failures_in_a_row += 1
        cause = {"reason": str(error.reason), "detail": error.detail}
        self._log.debug("poll failed", action_id=action_id, **cause)
        to_blame = self._failures_in_a_row >= _FAILURES_TO_BLAME_TENANT
        if (to_blame or isinstance(error, AuthenticationError)) and not self._tenant_failing:
            self._tenant_failing = True
            self._log.warning("tenant failing", action_id=action_id, **cause)
        if self._announced.get(action_id) is not error.reason and not self._tenant_failing:
            self._announced[action_id] = error.reason
            self._log.warning("action failing", action_id=action_id, **cause)

    def retired(self, action_id: str) -> None:
        """Note that an action is polled and shown no more."""
        self._announced.pop(action_id, None)
        self._log.info("action retired", action_id=action_id)

    def removed(self, action_id: str) -> None:
        """Forget an action that is tracked no more."""
        self._announced.pop(action_id, None)

    def defect(self, action_id: str, error: Exception) -> None:
        """Note an error that should not be, and that cost one poll."""
        self._log.error("defect in a poll", action_id=action_id, **origin(error))

    def crashed(self, error: Exception) -> None:
        """Note an error that should not be, and that has ended polling."""
        self._log.critical("polling has crashed", **origin(error))

    def _answered_well(self) -> None:
        self._failures_in_a_row = 0
        if self._tenant_failing:
            self._tenant_failing = False
            self._log.info("tenant recovered")
