"""The database of the state file: opened, checked to be a whole one of ours, its rows turned into records.

The rule: what is read is a record as one is written, or nothing. A database that is broken or another's is told
from one that cannot be used at the moment.
"""

import contextlib
import errno
import os
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from exporter.errors import Reason
from exporter.status import STATUSES, Status, shared
from exporter.store import ActionState, Record, Source

Key = tuple[str, str, str]
"""A tenant's name, its API's URL, and an action's ID."""

Changes = dict[Key, Record | None]
"""What to write by key; None stands for a row to delete."""

_Row = Sequence[Any]

_APPLICATION_ID = 0x78647265  # "xdre"
_VERSION = 1
_TABLE = f"""CREATE TABLE action (
  tenant TEXT NOT NULL,
  url TEXT NOT NULL,
  action_id TEXT NOT NULL,
  general_status TEXT,
  {" INTEGER, ".join(STATUSES)} INTEGER,
  failure TEXT,
  last_success REAL,
  last_change REAL,
  settled_at REAL,
  retired INTEGER,
  due REAL,
  failures INTEGER,
  written_at REAL,
  PRIMARY KEY (tenant, url, action_id)
) WITHOUT ROWID"""
_REPLACE = "REPLACE INTO action VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_DELETE = "DELETE FROM action WHERE tenant = ? AND url = ? AND action_id = ?"
_NO_COUNTS = (None,) * len(STATUSES)
_MAX_COUNT = 2**53  # As for a reply.
_MAX_TIME = 253_402_300_800.0  # The year 10000, which no date can tell.

# SQLITE_ERROR too: our own statements, on a table that was looked at, fail like that once it is another.
_BROKEN_CODES = {sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}
_PASSING_CODES = {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_FULL}


class UnusableError(Exception):
    """What is at the path is broken or another's; the message says how."""


class Found(NamedTuple):
    """What a database holds: records by tenant and action, and the rows that are none."""

    records: dict[Source, dict[str, Record]]
    invalid: int
    invalid_keys: list[Key]
    """Those of them that can be named, to be deleted."""


def connect(path: Path, *, busy_seconds: float) -> sqlite3.Connection:
    """Open the file, which is made if there is none; raise UnusableError for one that is not as it should be.

    Where another program has locked it, that is waited for for ``busy_seconds``.
    """
    _make(path)
    connection = sqlite3.connect(
        path.absolute(), timeout=busy_seconds, isolation_level=None, check_same_thread=False
    )
    try:
        # A flipped bit can make text that is none, over which sqlite3 would give up the whole query.
        connection.text_factory = bytes
        with _telling_broken():
            connection.execute("PRAGMA synchronous = NORMAL")
            _inspect(connection, path)
        with contextlib.suppress(OSError):
            if path.stat().st_mode & 0o077:
                path.chmod(0o600)
    except BaseException:
        connection.close()
        raise
    return connection


def wait_for_others(connection: sqlite3.Connection, *, seconds: float) -> None:
    """Have a connection wait that long from now on where another program has locked the database."""
    connection.execute(f"PRAGMA busy_timeout = {seconds * 1000:.0f}")


def read(connection: sqlite3.Connection) -> Found:
    """Read all records; raise UnusableError where the database turns out to be broken."""
    found = Found({}, 0, [])
    invalid = 0
    with _telling_broken():
        for row in connection.execute("SELECT * FROM action"):
            key = None
            try:
                key = tenant, url, action_id = _key(row)
                found.records.setdefault((tenant, url), {})[action_id] = _record(action_id, row)
            except ValueError:
                invalid += 1
                if key:
                    found.invalid_keys.append(key)
    return found._replace(invalid=invalid)


def write(connection: sqlite3.Connection, changes: Changes, now: float) -> None:
    """Write changes in one transaction; raise UnusableError where the database turns out to be broken."""
    rows = [_row(key, record, now) for key, record in changes.items() if record is not None]
    with _telling_broken():
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(_DELETE, [key for key, record in changes.items() if record is None])
        connection.executemany(_REPLACE, rows)
        connection.execute("COMMIT")


def is_passing(error: Exception) -> bool:
    """Tell whether an error leaves the connection usable: another's lock, or a full disk."""
    return _code(error) in _PASSING_CODES


def _make(path: Path) -> None:
    """Make an empty file for its owner only, where SQLite would go by the umask, if there is no file yet.

    Of what is there and cannot be read, the system's error says more than SQLite's.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        if not path.is_file():
            raise OSError(errno.EINVAL, "Not a regular file") from None
        path.open("rb").close()
    else:
        os.fchmod(descriptor, 0o600)
        os.close(descriptor)


def _inspect(connection: sqlite3.Connection, path: Path) -> None:
    """Raise UnusableError unless the database is a whole one of ours; make it so if it is empty."""
    ((application_id,),) = connection.execute("PRAGMA application_id")
    ((version,),) = connection.execute("PRAGMA user_version")
    schema = connection.execute("SELECT sql FROM sqlite_master").fetchall()
    if not application_id and not version and not schema:
        connection.execute("BEGIN IMMEDIATE")
        connection.execute(f"PRAGMA application_id = {_APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {_VERSION}")
        connection.execute(_TABLE)
        connection.execute("COMMIT")
        return
    if application_id != _APPLICATION_ID:
        raise UnusableError("it is another program's database")
    if version != _VERSION:
        raise UnusableError(f"its schema's version is {version}, not {_VERSION}")
    if schema != [(_TABLE.encode(),)]:
        raise UnusableError("its tables are not those of a state file")
    ((page_size,),) = connection.execute("PRAGMA page_size")
    ((found,),) = connection.execute("PRAGMA quick_check(1)")
    # SQLite would go on with zeros for what is missing of the last page.
    if found != b"ok" or path.stat().st_size % page_size:
        raise UnusableError("database disk image is malformed")


@contextlib.contextmanager
def _telling_broken() -> Iterator[None]:
    """Translate those of SQLite's errors that mean that the file is of no use."""
    try:
        yield
    except sqlite3.Error as error:
        if _code(error) in _BROKEN_CODES:
            raise UnusableError(str(error)) from error
        raise
    except UnicodeDecodeError as error:
        # SQLite's message quotes the broken schema, which sqlite3 takes for text.
        raise UnusableError("malformed database schema") from error


def _code(error: Exception) -> int | None:
    """Return SQLite's primary result code, None for an error that is not its own."""
    code = getattr(error, "sqlite_errorcode", None)
    return None if code is None else code & 0xFF


def _row(key: Key, record: Record, now: float) -> _Row:
    state = record.state
    known = state.status
    return (
        *key,
        known and known.general_status,
        *(known.counts if known else _NO_COUNTS),
        state.failure,
        state.last_success,
        state.last_change,
        state.settled_at,
        state.retired,
        record.due,
        record.failures,
        now,
    )


def _key(row: _Row) -> Key:
    """Return what tells a row from others, or raise ValueError where that is no text."""
    tenant, url, action_id = row[:3]
    return _text(tenant), _text(url), _text(action_id)


def _record(action_id: str, row: _Row) -> Record:
    """Return what a row says, or raise ValueError for one that no record is written as."""
    general_status = None if row[3] is None else shared(_text(row[3]))
    counts = tuple(row[4:13])
    failure, last_success, last_change, settled_at, retired, due, failures = row[13:20]
    times = [time for time in (last_success, last_change, settled_at, due) if time is not None]
    known = counts != _NO_COUNTS
    if (
        (known and {int} != set(map(type, counts)))
        or (known and not 0 <= min(counts) <= max(counts) <= _MAX_COUNT)
        or (known is (last_success is None))
        or (known is (last_change is None))
        or (general_status is not None and not known)
        or {float} != set(map(type, times))
        or not 0.0 <= min(times) <= max(times) < _MAX_TIME
        or due is None
        or retired not in (0, 1)
        or type(failures) is not int
        or failures < 0
    ):
        raise ValueError
    state = ActionState(
        action_id,
        (),
        polled=True,
        status=Status(general_status, counts) if known else None,
        failure=None if failure is None else Reason(_text(failure)),
        last_success=last_success,
        last_change=last_change,
        settled_at=settled_at,
        retired=bool(retired),
    )
    return Record(state, due, failures)


def _text(value: Any) -> str:
    # A number in a column of text is found by quick_check, but not by that of every SQLite.
    if type(value) is not bytes:
        raise ValueError
    return value.decode()
