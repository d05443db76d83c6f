"""The state file in use: other processes, troubles that come and go, files that change underneath."""

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import structlog
from structlog.testing import LogCapture
from support import ROOT, TIMEOUT_SECONDS, wait_until, wait_until_equal
from support_namespaces import needs_namespaces, run_apart

from exporter.errors import StateFileInUseError
from exporter.state_file import StateFile
from exporter.status import STATUSES, Status
from exporter.store import ActionState, Record, Source

Line = dict[str, Any]
Records = dict[Source, dict[str, Record]]

WALL = 1_700_000_000.0
STAMP = "20231114T221320Z"  # WALL, as the name of a file has it.
HERE = ("", "https://api-acme.xdr.us.paloaltonetworks.com")
WRITTEN_AGAIN = {"log_level": "info", "event": "state file is written again"}

PREAMBLE = f"""
import contextlib, os, subprocess, sys, time
sys.path.insert(0, {str(ROOT / "tests" / "integration")!r})
sys.path.insert(0, {str(ROOT / "tests")!r})
from test_state_file import *
"""


def make(action_id: str, failures: int = 0) -> Record:
    """Return a record of an action, told from others by its failures."""
    status = Status("IN_PROGRESS", tuple(range(len(STATUSES))))
    state = ActionState(action_id, (), polled=True, status=status, last_success=WALL, last_change=WALL)
    return Record(state, WALL + 60, failures)


class Bench:
    """A state file, what is known, what was logged, and how often an attempt failed. Retries follow at once."""

    def __init__(self, path: Path, *, batch_seconds: float = 0.0) -> None:
        self.path = path
        self.capture = LogCapture()
        self.failures = 0
        self.known: dict[str, Record] = {}
        self.everything: Callable[[], list[tuple[Source, Record]]] = lambda: [
            (HERE, record) for record in self.known.values()
        ]
        log = structlog.wrap_logger(
            None, processors=[self.capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        self.file = StateFile(
            path,
            everything=self._everything,
            log=log,
            failed=self._failed,
            batch_seconds=batch_seconds,
            retry_seconds=0.01,
            wall_clock=lambda: WALL,
        )

    def _everything(self) -> list[tuple[Source, Record]]:
        return self.everything()

    def _failed(self) -> None:
        self.failures += 1

    @property
    def lines(self) -> list[Line]:
        """What was logged, without the path that each line has."""
        return [{name: value for name, value in line.items() if name != "path"} for line in self.capture.entries]

    def record(self, action_id: str, failures: int = 0) -> None:
        """Know a record, and have it written."""
        self.known[action_id] = make(action_id, failures)
        self.file.record(HERE, self.known[action_id])

    def wait_until_written(self) -> None:
        """Wait until the file has all that is known."""
        wait_until_equal(lambda: ids(self.path), sorted(self.known))

    def wait_until_failed(self, times: int) -> None:
        """Wait for so many failures more."""
        enough = self.failures + times
        wait_until(lambda: self.failures >= enough, f"{times} more failures")

    def close(self) -> None:
        """Close the file, and wait for that."""
        self.file.close(within_seconds=TIMEOUT_SECONDS)


@contextlib.contextmanager
def opened(path: Path, *known: str) -> Iterator[Bench]:
    """Run a state file that has written the actions that are known."""
    bench = Bench(path)
    bench.file.open()
    bench.file.start()
    try:
        for action_id in known:
            bench.record(action_id)
        if known:
            bench.wait_until_written()
        yield bench
    finally:
        bench.close()


def ids(path: Path) -> list[str] | None:
    """Return the actions that a file has by now, as another program sees it; None where it sees none."""
    with (
        contextlib.suppress(sqlite3.Error),
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
    ):
        return [row[0] for row in connection.execute("SELECT action_id FROM action ORDER BY action_id")]
    return None


def read(path: Path) -> Records:
    """Return what is in a state file that is as it should be."""
    bench = Bench(path)
    found = bench.file.open()
    bench.close()
    assert (bench.lines, bench.failures) == ([], 0)
    return found


def cannot(what: str, reason: str) -> Line:
    """Return the line that says that a trouble has begun."""
    return {"log_level": "warning", "event": f"state file cannot be {what}", "reason": reason}


def moved(path: Path, reason: str) -> Line:
    """Return the line that says that a file was moved aside."""
    return {
        "log_level": "warning",
        "event": "state file moved aside",
        "to": f"{path}.broken-{STAMP}",
        "reason": reason,
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a state file is to be, in a folder of its own."""
    folder = tmp_path / "folder"
    folder.mkdir()
    return folder / "state.db"


@contextlib.contextmanager
def process(tmp_path: Path, script: str) -> Iterator["subprocess.Popen[str]"]:
    """Run a script that has what is in this module, until it is killed; its output is a pipe."""
    program = tmp_path / "script.py"
    program.write_text(PREAMBLE + script)
    with subprocess.Popen([sys.executable, program], cwd=ROOT, stdout=subprocess.PIPE, text=True) as started:
        try:
            yield started
        finally:
            started.kill()


def test_file_is_held_until_its_process_dies(tmp_path: Path, path: Path) -> None:
    """Another process is told whose the file is; a death without a farewell gives it free."""
    script = f"""
bench = Bench(Path({str(path)!r}))
bench.file.open()
print("open", flush=True)
time.sleep(600)
"""
    with process(tmp_path, script) as other:
        assert other.stdout
        assert other.stdout.readline() == "open\n"
        bench = Bench(path)
        with pytest.raises(StateFileInUseError) as caught:
            bench.file.open()
        bench.close()
        assert str(caught.value) == (
            f"{path}: is in use by another cortex-xdr-exporter (process {other.pid});"
            " each needs a state file of its own"
        )
        assert (bench.lines, bench.failures) == ([], 0)
        other.kill()
        other.wait()
        assert read(path) == {}


def test_what_was_written_survives_a_kill(tmp_path: Path, path: Path) -> None:
    """However a process ends in the middle of writing, the file is whole and as new as it was seen to be."""
    script = f"""
bench = Bench(Path({str(path)!r}))
bench.file.open()
bench.file.start()
number = 0
while True:
    number += 1
    bench.file.record(HERE, make(str(number % 1000), number))
"""

    def newest() -> int:
        with (
            contextlib.suppress(sqlite3.Error),
            contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection,
        ):
            return int(connection.execute("SELECT max(failures) FROM action").fetchone()[0] or 0)
        return 0

    for _ in range(5):
        with process(tmp_path, script) as other:
            seen = wait_until(newest, "a record in the file")
            other.send_signal(signal.SIGKILL)
            other.wait()
        found = read(path)[HERE]
        assert found == {action_id: make(action_id, found[action_id].failures) for action_id in found}
        assert max(record.failures for record in found.values()) >= seen
        path.unlink()


def test_close_writes_what_is_pending(path: Path) -> None:
    """Nobody waits for the end of a batch that may be long."""
    bench = Bench(path, batch_seconds=3600)
    bench.file.open()
    bench.file.start()
    bench.record("1")
    bench.close()
    assert read(path) == {HERE: {"1": make("1")}}


def test_close_tries_once_more(path: Path) -> None:
    """Between two attempts that fail, close does not wait for the second, and what it can write it writes."""
    with opened(path, "1") as bench:
        bench.file._retry_seconds = 3600
        path.rename(f"{path}.away")
        path.mkdir()
        bench.record("2")
        bench.wait_until_failed(1)
        path.rmdir()
        Path(f"{path}.away").rename(path)
    assert (bench.lines, bench.failures) == ([cannot("written", "Not a regular file"), WRITTEN_AGAIN], 1)
    assert read(path) == {HERE: {"1": make("1"), "2": make("2")}}


def test_close_does_not_wait_for_a_disk_that_hangs(path: Path) -> None:
    """What hangs is left behind, with the lock: the process still has the file."""
    release = threading.Event()
    asked = threading.Event()

    def hang() -> list[tuple[Source, Record]]:
        asked.set()
        release.wait(TIMEOUT_SECONDS)
        return []

    with opened(path, "1") as bench:
        bench.everything = hang
        path.unlink()
        bench.record("2")
        assert asked.wait(TIMEOUT_SECONDS)
        bench.file.close(within_seconds=0.01)
        line = {
            "log_level": "warning",
            "event": "state file is not written to its end",
            "reason": "the disk does not answer in time",
        }
        assert (bench.lines, bench.failures) == ([line], 1)
        with pytest.raises(StateFileInUseError):
            Bench(path).file.open()
        release.set()
    assert read(path) == {HERE: {"2": make("2")}}


def test_file_that_is_locked_at_first_is_written_later(path: Path) -> None:
    """Unread rows stay until they are written over or forgotten; the trouble is told once, and its end."""
    with opened(path, "1", "2", "3"):
        pass
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with opened(path) as bench:
            bench.file.record(HERE, make("2", 7))
            bench.file.forget(HERE, ["3"])
            bench.wait_until_failed(2)
            other.execute("COMMIT")
            wait_until(lambda: WRITTEN_AGAIN in bench.lines, "the end of the trouble")
    assert bench.lines == [cannot("read", "database is locked"), WRITTEN_AGAIN]
    assert read(path) == {HERE: {"1": make("1"), "2": make("2", 7)}}


def test_file_that_is_locked_for_a_while_catches_up(path: Path) -> None:
    """What came while another program had the file is merged, and written once it can be."""
    with (
        contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other,
        opened(path, "1", "2") as bench,
    ):
        other.execute("BEGIN EXCLUSIVE")
        bench.record("2", 1)
        bench.file.forget(HERE, ["1"])
        bench.wait_until_failed(2)
        bench.record("2", 2)
        bench.record("3")
        other.execute("COMMIT")
        wait_until_equal(lambda: ids(path), ["2", "3"])
    assert bench.lines == [cannot("written", "database is locked"), WRITTEN_AGAIN]
    assert read(path) == {HERE: {"2": make("2", 2), "3": make("3")}}


def test_missing_folder_may_come_later(path: Path) -> None:
    """Without its folder the exporter runs, without lock and file; the file is begun when there is one."""
    path.parent.rmdir()
    with opened(path) as bench:
        bench.record("1")
        bench.wait_until_failed(1)
        path.parent.mkdir()
        bench.wait_until_written()
    reason = "No such file or directory"
    assert bench.lines == [
        {
            "log_level": "warning",
            "event": "state file is not locked against other exporters",
            "reason": reason,
        },
        cannot("written", reason),
        WRITTEN_AGAIN,
    ]
    assert read(path) == {HERE: {"1": make("1")}}


def test_deleted_file_is_begun_anew_with_everything(path: Path) -> None:
    """The first change after the deletion brings back all that is known, but for what was never polled."""
    with opened(path, "1", "2", "3") as bench:
        bench.known["3"] = replace(bench.known["3"], state=ActionState("3", ()))
        path.unlink()
        bench.record("1", 1)
        wait_until_equal(lambda: ids(path), ["1", "2"])
    assert (bench.lines, bench.failures) == ([], 0)
    assert read(path) == {HERE: {"1": make("1", 1), "2": make("2")}}


def test_file_of_ours_in_its_place_is_completed(tmp_path: Path, path: Path) -> None:
    """A copy that is put back keeps its rows, and gets what is known on top."""
    with opened(tmp_path / "copy.db", "0", "1"):
        pass
    with opened(path, "1", "2") as bench:
        (tmp_path / "copy.db").rename(path)
        bench.record("2", 1)
        wait_until_equal(lambda: ids(path), ["0", "1", "2"])
    assert (bench.lines, bench.failures) == ([], 0)
    assert read(path) == {HERE: {"0": make("0"), "1": make("1"), "2": make("2", 1)}}


def test_other_file_in_its_place_is_moved_aside(tmp_path: Path, path: Path) -> None:
    """What was put there is kept, and everything known is written to a new file."""
    (tmp_path / "note").write_text("hello")
    with opened(path, "1", "2") as bench:
        (tmp_path / "note").rename(path)
        bench.record("3")
        bench.wait_until_written()
    assert (bench.lines, bench.failures) == ([moved(path, "file is not a database")], 1)
    assert Path(f"{path}.broken-{STAMP}").read_text() == "hello"
    assert read(path) == {HERE: {"1": make("1"), "2": make("2"), "3": make("3")}}


def test_file_that_breaks_while_in_use_is_moved_aside(path: Path) -> None:
    """What SQLite finds to be broken in a write is begun anew with everything."""
    with opened(path, *map(str, range(200))) as bench:
        with path.open("r+b") as file:
            file.seek(24)
            file.write(b"\xff" * 4000)  # The first page, with the counter that tells that something changed.
        bench.record("1", 1)
        wait_until(lambda: bench.failures, "a failure")
        bench.wait_until_written()
    [line] = bench.lines
    assert (line, bench.failures) == (moved(path, line["reason"]), 1)
    assert line["reason"] in ("database disk image is malformed", "file is not a database")
    assert read(path) == {HERE: bench.known}


def test_table_that_another_program_drops_is_begun_anew(path: Path) -> None:
    """The file is not ours any more then; what is left of it is kept."""
    with opened(path, "1", "2") as bench:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("DROP TABLE action")
        bench.record("1", 1)
        bench.wait_until_written()
    assert (bench.lines, bench.failures) == ([moved(path, "no such table: action")], 1)
    assert read(path) == {HERE: {"1": make("1", 1), "2": make("2")}}


def test_defect_does_not_end_the_writing(path: Path) -> None:
    """An error that should not be is told by its type, its text could be anything, and it is tried again."""

    def fail() -> list[tuple[Source, Record]]:
        raise KeyError("a secret")

    with opened(path, "1") as bench:
        everything, bench.everything = bench.everything, fail
        path.unlink()
        bench.record("2")
        bench.wait_until_failed(2)
        bench.everything = everything
        bench.wait_until_written()
    assert bench.lines == [cannot("written", "a defect: KeyError"), WRITTEN_AGAIN]


def test_nothing_is_locked_while_everything_is_asked_for(path: Path) -> None:
    """Whoever holds the lock that ``everything`` takes may be recording meanwhile."""
    states = threading.Lock()
    asked, go_on = threading.Event(), threading.Event()

    def everything() -> list[tuple[Source, Record]]:
        asked.set()
        assert go_on.wait(TIMEOUT_SECONDS)
        assert states.acquire(timeout=TIMEOUT_SECONDS)
        states.release()
        return [(HERE, record) for record in bench.known.values()]

    with opened(path, "1") as bench:
        bench.everything = everything
        path.unlink()
        with states:
            bench.record("2")
            assert asked.wait(TIMEOUT_SECONDS)
            go_on.set()
            bench.record("3")
        bench.wait_until_written()
    assert (bench.lines, bench.failures) == ([], 0)


def run_script(tmp_path: Path, script: str, before: str = "true") -> list[Any]:
    """Run a script that has what is in this module and may mount things; return what it said, line by line.

    ``before`` is a shell command that runs first. The script has ``path``, and says things by ``say``.
    """
    (tmp_path / "script.py").write_text(f"""{PREAMBLE}
path = Path({str(tmp_path)!r}) / "folder" / "state.db"
bench = Bench(path)
def say(value):
    print(json.dumps(value), flush=True)
{script}
""")
    done = run_apart(f"sh -c '{before} && exec {sys.executable} {tmp_path}/script.py'")
    assert (done.stderr, done.returncode) == ("", 0)
    return [json.loads(line) for line in done.stdout.splitlines()]


def unlocked(reason: str) -> Line:
    """Return the line that says that there is no lock."""
    return {
        "log_level": "warning",
        "event": "state file is not locked against other exporters",
        "reason": reason,
    }


def read_only(folder: Path) -> str:
    """Return the command that makes a folder one that nobody can write to."""
    return f"mount --bind {folder} {folder} && mount -o remount,bind,ro {folder}"


@needs_namespaces
def test_read_only_file_is_read(tmp_path: Path, path: Path) -> None:
    """What is there is restored; what cannot be written is kept until it can be."""
    with opened(path, "1"):
        pass
    path.chmod(0o644)
    script = """
say(bench.file.open() == {HERE: {"1": make("1")}})
bench.file.start()
bench.known["1"] = make("1")
bench.record("2")
bench.wait_until_failed(2)
subprocess.run(["mount", "-o", "remount,bind,rw", path.parent], check=True)
bench.wait_until_written()
bench.close()
say(bench.lines)
"""
    assert run_script(tmp_path, script, read_only(path.parent)) == [
        True,
        [
            unlocked("Read-only file system"),
            cannot("written", "attempt to write a readonly database"),
            WRITTEN_AGAIN,
        ],
    ]
    assert read(path) == {HERE: {"1": make("1"), "2": make("2")}}


@needs_namespaces
def test_broken_file_that_cannot_be_moved_is_left_alone(tmp_path: Path, path: Path) -> None:
    """Rather no state file than one that was written over."""
    path.write_text("hello")
    script = """
say(bench.file.open() == {})
bench.file.start()
bench.record("1")
bench.wait_until_failed(2)
bench.close()
say(bench.lines)
"""
    reason = "file is not a database; it cannot be moved aside: Read-only file system"
    assert run_script(tmp_path, script, read_only(path.parent)) == [
        True,
        [unlocked("Read-only file system"), cannot("read", reason)],
    ]
    assert (path.read_text(), [found.name for found in path.parent.iterdir()]) == ("hello", ["state.db"])


@needs_namespaces
@pytest.mark.parametrize("when", ["at first", "later"])
def test_full_disk_is_waited_for(tmp_path: Path, path: Path, when: str) -> None:
    """What finds no room is kept and merged, until there is room again."""
    script = f"""
def fill():
    with contextlib.suppress(OSError), (path.parent / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(512))
if {when == "at first"}:
    fill()
say(bench.file.open() == {{}})
bench.file.start()
if {when == "later"}:
    bench.record("0")
    bench.wait_until_written()
    fill()
for number in range(300):
    bench.record(str(number), 1)
bench.wait_until_failed(2)
for number in range(0, 300, 2):
    bench.record(str(number), 2)
(path.parent / "filler").unlink()
bench.wait_until_written()
bench.close()
say(bench.lines)
say(read(path) == {{HERE: bench.known}})
"""
    said = run_script(tmp_path, script, f"mount -t tmpfs -o size=256k tmpfs {path.parent}")
    assert said == [True, [cannot("written", "database or disk is full"), WRITTEN_AGAIN], True]


@needs_namespaces
@pytest.mark.parametrize(
    ("folder", "file", "restored", "lines"),
    [
        (0o777, 0o000, False, [cannot("read", "Permission denied")]),
        (0o777, 0o444, True, [cannot("written", "attempt to write a readonly database")]),
        (
            0o755,
            0o666,
            True,
            [unlocked("Permission denied"), cannot("written", "attempt to write a readonly database")],
        ),
        (0o700, 0o666, False, [unlocked("Permission denied"), cannot("written", "Permission denied")]),
    ],
)
def test_what_is_not_permitted_is_said(
    tmp_path: Path, path: Path, folder: int, file: int, lines: list[Line], *, restored: bool
) -> None:
    """A user that may not read or write the file runs the exporter without it, as far as need be.

    It is mounted elsewhere, since the folders of pytest are their owner's only.
    """
    with opened(path, "1"):
        pass
    path.chmod(file)
    Path(f"{path}.lock").unlink()
    path.parent.chmod(folder)
    script = f"""
subprocess.run(["mount", "--bind", path.parent, "/mnt"], check=True)
bench = Bench(Path("/mnt/state.db"))
os.seteuid(65534)
say(bench.file.open() == ({{HERE: {{"1": make("1")}}}} if {restored} else {{}}))
bench.file.start()
bench.record("2")
bench.wait_until_failed(2)
bench.close()
say(bench.lines)
os.seteuid(0)
"""
    assert run_script(tmp_path, script) == [True, lines]
