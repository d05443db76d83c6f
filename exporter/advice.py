"""What is wrong in words, and what to do about it: for each reason of a failed poll, and for a tenant as a whole.

The rule: a sentence says what is the case, advice what the reader can change, by the names that it has in the
configuration. Neither quotes anything from outside.
"""

from collections.abc import Mapping

from exporter.errors import Reason

WELL = ("All is well.", "")
NO_ANSWER = ("No answer has come yet.", "")
ALL_RETIRED = ("All actions are finished and retired: nothing is asked.", "")
NOTHING_TRACKED = (
    "No actions are tracked.",
    "Add their IDs to the configuration, or to a file that action_files names.",
)
OVER_BUDGET = (
    "The intervals ask for more requests than the budget has: data gets older than they say.",
    "Raise requests_per_second, or poll.interval and poll.settled_interval.",
)
OVER_HIGHEST_BUDGET = (
    OVER_BUDGET[0],
    "A tenant cannot be asked faster than this: raise poll.interval and poll.settled_interval.",
)
LATE = ("Polls are late, and catch up.", "")
THROTTLED_LATELY = ("The tenant was throttled lately; the rate comes back by itself.", "")
ONE_REQUEST = "The last request failed, though not all do."

MOST_REQUESTS_PER_SECOND = 10
"""The highest budget that a tenant can be configured to have: the vendor's limit for all its API clients."""

DEFECT = "a defect of this exporter"
NO_THREAD = "no thread can be started"

OWN_PROBLEMS: Mapping[str | None, tuple[str, str]] = {
    DEFECT: (
        "A poll hit a defect of this exporter.",
        "Its log has the details: take them to whoever maintains it.",
    ),
    NO_THREAD: (
        "The exporter cannot start another thread.",
        "Raise the limit for processes and threads of its service, container or user.",
    ),
}
"""What the poller says where the exporter itself is to blame, with what it means, and what to do about it."""


def without_news(failing: int, stale: int, polled: int) -> tuple[str, str]:
    """Say how many of the actions that are polled have no news: ``Of 9 actions the last poll of 2 failed.``."""
    parts = []
    if failing:
        parts.append(f"the last poll of {failing} failed")
    if stale:
        parts.append(f"the data of {stale} is stale")
    actions = "action" if polled == 1 else "actions"
    return f"Of {polled} {actions} {', and '.join(parts)}.", "See the actions that need attention."


_URL = "Check api.url: https://api- and the tenant's FQDN, without a path"

PROBLEMS: Mapping[Reason, tuple[str, str]] = {
    Reason.NOT_FOUND: (
        "The API knows no such action.",
        "Compare the ID with the console's Action Center, in this tenant; then correct its entry or take it out.",
    ),
    Reason.UNAUTHORIZED: (
        "The API refuses the key.",
        (
            "Check the key, key_id and key_type, the key's expiration date, and this computer's clock. "
            "A new one is used at once from key_file, after a reload from key, after a restart from key_env."
        ),
    ),
    Reason.LICENSE: (
        "The tenant's licence does not cover this API.",
        "Reading script executions needs a Cortex XDR Pro licence: ask whoever manages the tenant's licences.",
    ),
    Reason.FORBIDDEN: (
        "The key's role lacks the permission.",
        "Give the key a role that may view the Action Center and scripts.",
    ),
    Reason.THROTTLED: (
        "The tenant gets more requests than it allows.",
        (
            "All its API clients share 10 requests per second: lower requests_per_second, or what others send. "
            "Until then the exporter slows down by itself."
        ),
    ),
    Reason.TIMEOUT: (
        "No complete answer came in time.",
        "Check the network and any proxy on the way; raise api.timeout if the API is only slow.",
    ),
    Reason.CONNECTION: (
        "The API cannot be reached.",
        "Check the host in api.url, DNS, the firewall, and proxy_url.",
    ),
    Reason.TLS: (
        "No trusted TLS connection to the API.",
        "Check the host in api.url. Where a proxy inspects TLS, set ca_file to a file with its authority.",
    ),
    Reason.SERVER_ERROR: (
        "The API reports an error of its own.",
        "It is asked again, later and later. If that does not help, take its words to the vendor's support.",
    ),
    Reason.CLIENT_ERROR: ("The API does not take the request.", f"{_URL}."),
    Reason.REDIRECT: (
        "The answer is a redirect, and none is followed.",
        f"{_URL}, and that no proxy or login page answers in its place.",
    ),
    Reason.BAD_RESPONSE: (
        "The answer is not one of this API.",
        f"{_URL}, and that no proxy or login page answers in its place.",
    ),
}
"""What each reason means, and what to do about it."""
