"""What a measured exporter is given: its configuration, and a state file that spares it thousands of first polls.

The rule: nothing is written that the exporter would not write itself.
"""

import json
import time
from contextlib import closing
from pathlib import Path

import yaml
from benchmarks.tenants import ENDPOINTS, Layout
from support import api_section

from exporter import state_database
from exporter.status import Status
from exporter.store import ActionState, Record

_ACTIONS_PER_FILE = 20_000  # None may have more than 8 MiB.
_FAR_SECONDS = 86_400.0
_SETTLED = Status("COMPLETED_PARTIAL", (0, 0, 0, 3, 12, ENDPOINTS - 15, 0, 0, 0))
_RUNNING = Status("IN_PROGRESS", (ENDPOINTS, 0, 0, 0, 0, 0, 0, 0, 0))


def prepare(
    folder: Path,
    layout: Layout,
    url: str,
    *,
    interval: str = "1s",
    requests_per_second: float = 10,
    overdue: bool = False,
    state: bool = True,
) -> Path:
    """Write configuration, action files and state file into a new folder; return the configuration's path.

    Unfinished actions are due now, and with ``overdue`` since so long that after one poll each they spread over
    the interval; finished ones are not due for hours. A single tenant has no name.
    """
    folder.mkdir(parents=True)
    sections = [_tenant(folder, layout, tenant, url, requests_per_second) for tenant in range(layout.tenants)]
    configuration: dict[str, object] = {
        "poll": {"interval": interval, "settled_interval": "7d", "stale_after": "0s", "retire_after": "0s"},
        "state": {"path": str(folder / "state.sqlite") if state else None},
    }
    if layout.tenants == 1:
        del sections[0]["name"]
        configuration |= sections[0]
    else:
        configuration["tenants"] = sections
    if state:
        _write_state(folder / "state.sqlite", layout, url, overdue=overdue)
    path = folder / "config.yaml"
    path.write_text(yaml.safe_dump(configuration))
    return path


def _tenant(folder: Path, layout: Layout, tenant: int, url: str, requests_per_second: float) -> dict[str, object]:
    name = layout.name(tenant)
    entries = [
        {"id": number, "labels": {"campaign": f"c{name}", "team": "endpoint-ops"}}
        for number in layout.action_ids(tenant)
    ]
    for first in range(0, len(entries), _ACTIONS_PER_FILE):
        part = entries[first : first + _ACTIONS_PER_FILE]
        (folder / f"{name}-{first}.json").write_text(json.dumps(part))
    return {
        "name": name,
        "api": api_section(f"{url}/{name}", requests_per_second=requests_per_second),
        "action_files": [f"{name}-*.json"],
    }


def _write_state(path: Path, layout: Layout, url: str, *, overdue: bool) -> None:
    changes: state_database.Changes = {}
    at = time.time()
    due = 1.0 if overdue else at
    for tenant in range(layout.tenants):
        name = layout.name(tenant)
        for place, number in enumerate(layout.action_ids(tenant)):
            unfinished = place < layout.unfinished_of(tenant)
            state = ActionState(
                str(number),
                (),
                polled=True,
                status=_RUNNING if unfinished else _SETTLED,
                last_success=at - 60.0,
                last_change=at - 60.0,
                settled_at=None if unfinished else at - 60.0,
            )
            key = ("" if layout.tenants == 1 else name, f"{url}/{name}", str(number))
            changes[key] = Record(state, due if unfinished else at + _FAR_SECONDS, 0)
    with closing(state_database.connect(path, busy_seconds=1)) as connection:
        state_database.write(connection, changes, at)
