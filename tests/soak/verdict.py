"""What has to be true of a run, and what is wrong where it is not: pure comparison of readings.

The rule: each function returns sentences, and none where all is well.
"""

import time
from collections import Counter

from soak import readings
from soak.plan import Size
from soak.readings import Holdings, Samples
from soak.world import KEY_MARK

_FAMILY = "cortex_xdr_script_execution"
_COMPARED = {f"{_FAMILY}_{name}" for name in ("endpoints", "info", "labels", "poll_success", "poll_error_info")}
_NOT_IN_THE_LOG = ("Traceback", "defect", "crashed", KEY_MARK)
_WELL = ("active", "settled")


def differences(expected: Samples, actual: Samples) -> list[str]:
    """Compare an exposition with what the tenants hold: every sample of an action, and what sums them up."""
    found = {key: value for key, value in actual.items() if key[0] in _COMPARED}
    wrong = [
        f"{name} {dict(labels)} is {found.get((name, labels))}, not {expected.get((name, labels))}"
        for name, labels in found.keys() | expected.keys()
        if found.get((name, labels)) != expected.get((name, labels))
    ]
    actions = set(readings.family(expected, f"{_FAMILY}_labels", "tenant", "action_id"))
    for name in ("last_success", "last_change"):
        times = readings.family(actual, f"{_FAMILY}_{name}_timestamp_seconds", "tenant", "action_id")
        if set(times) != actions or max(times.values()) > time.time():
            wrong.append(f"{name} is not there for each action, or it is in the future")
    states = readings.family(actual, "cortex_xdr_exporter_tracked_actions", "tenant", "state")
    for tenant, count in Counter(tenant for tenant, _ in actions).items():
        if sum(states.get((tenant, state), 0) for state in _WELL) != count:
            wrong.append(f"not all the {count} actions of {tenant} are {' or '.join(_WELL)}")
        if actual.get(readings.sample("cortex_xdr_up", {"tenant": tenant})) != 1:
            wrong.append(f"{tenant} is not up")
    return wrong


def grown(before: Holdings, after: Holdings, size: Size) -> list[str]:
    """Compare what a process held before the faults with what it holds after them."""
    wrong = [
        f"{name} grew from {getattr(before, name)} to {getattr(after, name)}"
        for name in ("threads", "handles", "connections")
        if getattr(after, name) > getattr(before, name) + size.more_handles
    ]
    if after.resident_megabytes > before.resident_megabytes * (1 + size.more_resident):
        wrong.append(f"memory grew from {before.resident_megabytes:.1f} MB to {after.resident_megabytes:.1f} MB")
    return wrong


def in_log(log: str) -> list[str]:
    """Look for what no log may have."""
    wrong = []
    for words in _NOT_IN_THE_LOG:
        lines = [line for line in log.split("\n") if words in line]
        if lines:
            wrong.append(f"{len(lines)} lines of the log have {words!r}, the first: {lines[0]}")
    return wrong
