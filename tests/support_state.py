"""A state file as seen from outside, and changed there while no exporter has it."""

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from support import wait_until

Row = Mapping[str, Any]


def state_rows(path: Path) -> dict[str, Row]:
    """Return the rows of a state file by the action's ID; nothing while there is no table yet."""
    if not path.exists():
        return {}
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        connection.row_factory = sqlite3.Row
        if not connection.execute("SELECT 1 FROM sqlite_master").fetchall():
            return {}
        return {row["action_id"]: dict(row) for row in connection.execute("SELECT * FROM action")}


def wait_for_rows(path: Path, *action_ids: str) -> dict[str, Row]:
    """Wait until a state file has rows of these actions and no others, and return them."""
    wait_until(lambda: set(state_rows(path)) == set(action_ids), lambda: f"rows are {sorted(state_rows(path))}")
    return state_rows(path)


def change_state(path: Path, assignments: str, *action_ids: str) -> None:
    """Change rows of a state file, as in ``settled_at = settled_at - 60``; all rows where no action is named."""
    marks = ", ".join("?" * len(action_ids))
    where = f" WHERE action_id IN ({marks})" if action_ids else ""
    with contextlib.closing(sqlite3.connect(path, timeout=30)) as connection, connection:
        connection.execute(f"UPDATE action SET {assignments}{where}", action_ids)


@contextlib.contextmanager
def locked_state(path: Path) -> Iterator[None]:
    """Keep everybody else from reading and writing a state file, as a tool that looks at it might."""
    with contextlib.closing(sqlite3.connect(path, timeout=30, isolation_level=None)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
