"""The state file: what is known of actions, in SQLite, so that it outlives a restart.

The rule: polling never waits for the disk, nor ends with it. Trouble is said when it begins and when it is
over, each failed attempt is counted, and what could not be written is kept and tried again. A file that is
broken or another's is moved aside, and never written to.
"""

import contextlib
import fcntl
import os
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from itertools import count
from pathlib import Path
from typing import TypeVar

from structlog.typing import FilteringBoundLogger

from exporter import state_database
from exporter.errors import StateFileInUseError
from exporter.files import Fingerprint, fingerprint
from exporter.state_database import Changes, UnusableError
from exporter.store import Record, Source

T = TypeVar("T")

_BUSY_SECONDS = 0.4  # Twice, for the attempt under way and a last one, it fits into what close waits.
_OPENING_BUSY_SECONDS = 3.0  # What cannot be read at the start is lost, so that it is worth a wait.
_LONGEST_PAUSE = 30  # As a multiple of the first one.


_TROUBLE = (OSError, sqlite3.Error, UnusableError, StateFileInUseError)


class StateFile:
    """Keeps records on disk, a batch at a time, by a thread of its own; any thread may record and forget.

    ``everything`` returns all that is known, for a file that has to be begun anew; it is called without a lock
    held, and of its records those of polled actions are written. ``failed`` is called for each failed attempt.
    A write begins at most ``batch_seconds`` after a change. After a failure the next attempt follows in
    ``retry_seconds``, and later with each further one.
    """

    def __init__(
        self,
        path: Path,
        *,
        everything: Callable[[], Iterable[tuple[Source, Record]]],
        log: FilteringBoundLogger,
        failed: Callable[[], None],
        batch_seconds: float = 0.5,
        retry_seconds: float = 1.0,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._path = path
        self._everything = everything
        self._log = log.bind(path=str(path))
        self._failed = failed
        self._batch_seconds = batch_seconds
        self._retry_seconds = retry_seconds
        self._wall_clock = wall_clock
        self._changed = threading.Condition()
        self._pending: Changes = {}
        self._closing = False
        self._thread: threading.Thread | None = None
        # What follows is used by the thread alone, once there is one.
        self._lock: int | None = None
        self._connection: sqlite3.Connection | None = None
        self._identity: Fingerprint | None = None
        self._complete = False
        self._in_trouble = False

    def open(self) -> dict[Source, dict[str, Record]]:
        """Take the file for this process, and return what is in it: nothing if it cannot be read.

        The labels of the states are left empty, and none is stale: both is for the caller to know. Raises
        StateFileInUseError if another process has the file.
        """
        try:
            self._take_lock()
        except OSError as error:
            self._log.warning("state file is not locked against other exporters", reason=_words(error))
            self._failed()
        existed = os.path.lexists(self._path)
        try:
            found = self._in_usable_file(self._read)
        except _TROUBLE as error:
            self._abandon(error)
            self._troubled("read" if existed else "written", _words(error))
            return {}
        self._complete = True
        return found

    def start(self) -> None:
        """Begin to write what is recorded."""
        if self._connection is not None:
            state_database.wait_for_others(self._connection, seconds=_BUSY_SECONDS)
        self._thread = threading.Thread(target=self._run, name="state-file", daemon=True)
        self._thread.start()

    def record(self, source: Source, record: Record) -> None:
        """Have the record of a polled action written, in place of its last one. Does not block."""
        self._change({(*source, record.state.action_id): record})

    def forget(self, source: Source, action_ids: Iterable[str]) -> None:
        """Have the rows of these actions deleted. Does not block."""
        self._change({(*source, action_id): None for action_id in action_ids})

    def close(self, *, within_seconds: float = 1.0) -> None:
        """Write what is pending, and give the file free; what takes longer is left behind, for the process to end.

        The file of the lock stays: whoever waits for it may have it open, and would lock one that is gone.
        """
        if self._thread is None:
            self._release()
            return
        with self._changed:
            self._closing = True
            self._changed.notify()
        self._thread.join(within_seconds)
        if self._thread.is_alive():
            self._log.warning("state file is not written to its end", reason="the disk does not answer in time")
            self._failed()

    def _change(self, changes: Changes) -> None:
        with self._changed:
            if not self._pending:
                self._changed.notify()
            self._pending |= changes

    def _run(self) -> None:
        pause, closing = self._batch_seconds, False
        while not closing:
            changes, closing = self._wait(pause)
            if not changes or self._save(changes):
                pause = self._batch_seconds
            else:
                pause = min(max(2 * pause, self._retry_seconds), _LONGEST_PAUSE * self._retry_seconds)
                with self._changed:
                    self._pending = changes | self._pending
        self._release()

    def _wait(self, pause: float) -> tuple[Changes, bool]:
        """Wait for changes and then for the pause, or to be closed; take the changes."""
        with self._changed:
            self._changed.wait_for(lambda: self._pending or self._closing)
            self._changed.wait_for(lambda: self._closing, pause)
            changes, self._pending = self._pending, {}
            return changes, self._closing

    def _save(self, changes: Changes) -> bool:
        """Write changes, or say why not."""
        try:
            self._in_usable_file(lambda: self._write(changes))
        except _TROUBLE as error:
            self._abandon(error)
            self._troubled("written", _words(error))
            return False
        except Exception as error:  # noqa: BLE001 - whatever it is, the thread must not end in silence
            self._abandon(error)
            self._troubled("written", f"a defect: {type(error).__name__}")
            return False
        if self._in_trouble:
            self._in_trouble = False
            self._log.info("state file is written again")
        return True

    def _in_usable_file(self, do: Callable[[], T]) -> T:
        """Do something with the file that is there; if it is of no use, with a new one instead."""
        try:
            return do()
        except UnusableError as error:
            self._disconnect()
            self._move_aside(str(error))
            return do()

    def _read(self) -> dict[Source, dict[str, Record]]:
        found = state_database.read(self._connect())
        if found.invalid:
            self._log.warning("state file has invalid rows, which are left out", rows=found.invalid)
            self._failed()
            self._pending |= dict.fromkeys(found.invalid_keys)
        return found.records

    def _write(self, changes: Changes) -> None:
        connection = self._connect()
        if not self._complete:
            known: Changes = {
                (*source, record.state.action_id): record
                for source, record in self._everything()
                if record.state.polled
            }
            # A change wins: what is known may be newer, but then that is pending by now.
            changes = known | changes
        state_database.write(connection, changes, self._wall_clock())
        self._complete = True

    def _connect(self) -> sqlite3.Connection:
        """Return a connection to the file that is at the path now."""
        if self._connection is not None and _identity(self._path) != self._identity:
            self._disconnect()
        if self._connection is None:
            if self._lock is None:
                with contextlib.suppress(OSError):  # It was told of at the start.
                    self._take_lock()
            seconds = _OPENING_BUSY_SECONDS if self._thread is None else _BUSY_SECONDS
            self._connection = state_database.connect(self._path, busy_seconds=seconds)
            self._identity = _identity(self._path)
            self._complete = False
        return self._connection

    def _abandon(self, error: Exception) -> None:
        """Give up what was begun; after most errors the connection too, as one opened for reading stays so."""
        if self._connection is not None and state_database.is_passing(error):
            with contextlib.suppress(sqlite3.Error):
                self._connection.rollback()
                return
        self._disconnect()

    def _disconnect(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def _troubled(self, what: str, reason: str) -> None:
        if not self._in_trouble:
            self._in_trouble = True
            self._log.warning(f"state file cannot be {what}", reason=reason)
        self._failed()

    def _move_aside(self, reason: str) -> None:
        """Rename the file, and what SQLite keeps beside it."""
        stamp = datetime.fromtimestamp(self._wall_clock(), UTC).strftime("%Y%m%dT%H%M%SZ")
        names = (f"{self._path}.broken-{stamp}{f'-{number}' if number else ''}" for number in count())
        target = next(name for name in names if not os.path.lexists(name))
        try:
            # The journal first: left alone, it would be applied to the new file.
            for suffix in ("-journal", "-wal", "-shm", ""):
                with contextlib.suppress(FileNotFoundError):
                    Path(f"{self._path}{suffix}").rename(f"{target}{suffix}")
        except OSError as error:
            raise UnusableError(f"{reason}; it cannot be moved aside: {_words(error)}") from error
        self._log.warning("state file moved aside", to=target, reason=reason)
        self._failed()

    def _take_lock(self) -> None:
        """Keep other processes out; raise OSError where that cannot be had, or StateFileInUseError."""
        path = Path(f"{os.path.realpath(self._path)}.lock")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            if isinstance(error, BlockingIOError):
                raise StateFileInUseError(
                    f"{self._path}: is in use by another cortex-xdr-exporter{_owner(path)};"
                    " each needs a state file of its own"
                ) from error
            raise
        self._lock = descriptor
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.write(descriptor, f"{os.getpid()}\n".encode())

    def _release(self) -> None:
        self._disconnect()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _owner(path: Path) -> str:
    """Return which process has the lock, as far as its file says so."""
    with contextlib.suppress(OSError, ValueError):
        return f" (process {int(path.read_bytes())})"
    return ""


def _identity(path: Path) -> Fingerprint | None:
    """Return what tells a file from one that was put in its place."""
    found = fingerprint(path)
    return None if found is None else found[:2]


def _words(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)
