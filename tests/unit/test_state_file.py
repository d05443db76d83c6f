"""The state file at rest: what goes in comes out, and what is not ours, or no more, is kept apart."""

import contextlib
import fcntl
import os
import sqlite3
import stat
import tempfile
from collections.abc import Iterable, Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import LogCapture
from support import TIMEOUT_SECONDS, wait_until

from exporter.errors import Reason, StateFileInUseError
from exporter.state_file import StateFile
from exporter.status import STATUSES, Status
from exporter.store import ActionState, Record, Source

Line = dict[str, Any]
Records = dict[Source, dict[str, Record]]

WALL = 1_700_000_000.0
STAMP = "20231114T221320Z"  # WALL, as the name of a file has it.
URL = "https://api-acme.xdr.us.paloaltonetworks.com"
HERE = ("", URL)
THERE = ("there", URL)

COUNTS = tuple(range(1, 10))
RUNNING = Status("IN_PROGRESS", COUNTS)
DONE = Status("COMPLETED_SUCCESSFULLY", (0, 0, 0, 0, 0, 3, 0, 0, 0))
POLLED = ActionState("1", (), polled=True, status=RUNNING, last_success=WALL, last_change=WALL - 5)
RECORD = Record(POLLED, WALL + 60, 0)

NOT_A_DATABASE = "file is not a database"
MALFORMED = "database disk image is malformed"


class Bench:
    """A state file in a folder, what it logged, and how often it failed."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.capture = LogCapture()
        self.failures = 0
        log = structlog.wrap_logger(
            None, processors=[self.capture], wrapper_class=structlog.make_filtering_bound_logger(0)
        )
        self.file = StateFile(
            path, everything=lambda: (), log=log, failed=self._failed, batch_seconds=0, wall_clock=lambda: WALL
        )

    def _failed(self) -> None:
        self.failures += 1

    @property
    def lines(self) -> list[Line]:
        """What was logged, without the path that each line has."""
        for line in self.capture.entries:
            assert line.get("path", str(self.path)) == str(self.path)
        return [{name: value for name, value in line.items() if name != "path"} for line in self.capture.entries]

    @property
    def names(self) -> list[str]:
        """The names of all files in the folder, but for the lock's."""
        return sorted(path.name for path in self.path.parent.iterdir() if path.suffix != ".lock")

    def close(self) -> None:
        """Close the file, and wait for that."""
        self.file.close(within_seconds=TIMEOUT_SECONDS)


def write(path: Path, records: Iterable[tuple[Source, Record]]) -> None:
    """Write a state file with these records in it."""
    bench = Bench(path)
    bench.file.open()
    bench.file.start()
    for source, record in records:
        bench.file.record(source, record)
    bench.close()
    assert (bench.lines, bench.failures) == ([], 0)


def read(path: Path) -> Records:
    """Return what is in a state file that is as it should be."""
    bench = Bench(path)
    found = bench.file.open()
    bench.close()
    assert (bench.lines, bench.failures) == ([], 0)
    return found


def make(action_id: str, failures: int = 0) -> Record:
    """Return a record of an action, told from others by its failures."""
    return Record(replace(POLLED, action_id=action_id), WALL + 60, failures)


@contextlib.contextmanager
def database(path: Path) -> Iterator[sqlite3.Connection]:
    """Open a file as any program would; what is changed is in the file afterwards."""
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        yield connection
    finally:
        connection.close()


def moved(path: Path, reason: str, number: str = "") -> Line:
    """Return the line that says that a file was moved aside."""
    return {
        "log_level": "warning",
        "event": "state file moved aside",
        "to": f"{path}.broken-{STAMP}{number}",
        "reason": reason,
    }


def mode(path: Path) -> int:
    """Return who may do what with a file."""
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where a state file is to be."""
    return tmp_path / "state.db"


def test_missing_file_is_begun(path: Path) -> None:
    """Without a file nothing is known, and an empty one is there at once."""
    bench = Bench(path)
    assert bench.file.open() == {}
    assert bench.names == ["state.db"]
    bench.close()
    assert read(path) == {}
    assert (bench.lines, bench.failures) == ([], 0)


@pytest.mark.parametrize("content", [b"", b"\n"], ids=["empty", "a line break"])
def test_empty_file_is_begun(path: Path, content: bytes) -> None:
    """A file with nothing in it is a new one; to SQLite a single byte is nothing."""
    path.write_bytes(content)
    assert read(path) == {}


def test_database_without_anything_is_begun(path: Path) -> None:
    """A database that holds nothing and is nobody's is a new one as well."""
    with database(path) as connection:
        connection.execute("VACUUM")
    assert path.stat().st_size
    write(path, [(HERE, RECORD)])
    assert read(path) == {HERE: {"1": RECORD}}


@pytest.mark.parametrize(
    "record",
    [
        RECORD,
        Record(replace(POLLED, status=Status(None, COUNTS)), WALL, 0),
        Record(replace(POLLED, failure=Reason.TIMEOUT), WALL + 0.123456, 3),
        Record(ActionState("1", (), polled=True, failure=Reason.NOT_FOUND), WALL, 1),
        Record(ActionState("1", (), polled=True), WALL, 0),
        Record(replace(POLLED, status=DONE, settled_at=WALL), WALL, 0),
        Record(replace(POLLED, status=DONE, settled_at=WALL, retired=True), WALL, 0),
    ],
    ids=["active", "without a word", "failing", "never well", "nothing known", "settled", "retired"],
)
def test_record_comes_back(path: Path, record: Record) -> None:
    """Every kind of record is read as it was written."""
    write(path, [(HERE, record)])
    assert read(path) == {HERE: {"1": record}}


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
_TIMES = st.floats(0, 253_402_300_799, allow_nan=False)
_RECORDS = st.builds(
    Record,
    st.builds(
        lambda known, **more: ActionState(
            labels=(),
            polled=True,
            **dict(zip(("status", "last_success", "last_change"), known, strict=True)),
            **more,
        ),
        st.tuples(
            st.builds(
                Status,
                st.none() | _TEXTS,
                st.tuples(*[st.integers(0, 2**53)] * len(STATUSES)),
            ),
            _TIMES,
            _TIMES,
        )
        | st.just((None, None, None)),
        action_id=_TEXTS,
        failure=st.none() | st.sampled_from(Reason),
        settled_at=st.none() | _TIMES,
        retired=st.booleans(),
    ),
    _TIMES,
    st.integers(0, 2**63 - 1),
)


@settings(deadline=None, max_examples=50)
@given(st.lists(st.tuples(st.tuples(_TEXTS, _TEXTS), _RECORDS), max_size=20))
def test_any_records_come_back(records: list[tuple[Source, Record]]) -> None:
    """Whatever texts, counts and times there are, the last record of each action is read as it was written."""
    expected: Records = {}
    for source, record in records:
        expected.setdefault(source, {})[record.state.action_id] = record
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / "state.db", records)
        assert read(Path(folder) / "state.db") == expected


def test_labels_and_staleness_are_not_kept(path: Path) -> None:
    """Labels are the configuration's, and what is stale depends on the time."""
    write(path, [(HERE, Record(replace(POLLED, labels=(("team", "x"),), stale=True), WALL, 0))])
    assert read(path) == {HERE: {"1": Record(POLLED, WALL, 0)}}


def test_tenants_are_kept_apart(path: Path) -> None:
    """The same ID at another tenant, or at another URL of a tenant, is another action."""
    records = [(("", URL), make("1", 1)), (("a", URL), make("1", 2)), (("a", f"{URL}:8443"), make("1", 3))]
    write(path, records)
    assert read(path) == {source: {"1": record} for source, record in records}


def test_last_change_of_an_action_wins(path: Path) -> None:
    """Within a batch and over batches: what came last is in the file, be it a record or its deletion."""
    write(path, [(HERE, make(action_id)) for action_id in "12345"])
    bench = Bench(path)
    bench.file.open()
    bench.file.record(HERE, make("1", 1))
    bench.file.record(HERE, make("1", 2))
    bench.file.record(HERE, make("2", 3))
    bench.file.forget(HERE, ["2", "3", "not there"])
    bench.file.forget(("a", URL), ["5"])
    bench.file.forget(HERE, ["4"])
    bench.file.record(HERE, make("4", 4))
    bench.file.start()
    bench.close()
    assert read(path) == {HERE: {"1": make("1", 2), "4": make("4", 4), "5": make("5")}}


def test_file_is_laid_out_as_it_says(path: Path) -> None:
    """The layout is what other versions find: it changes with the schema's version only."""
    settled = replace(POLLED, status=DONE, failure=Reason.TLS, settled_at=WALL, retired=True)
    write(path, [(HERE, RECORD), (("a", URL), Record(settled, WALL + 1, 2))])
    with database(path) as connection:
        names = [column[1] for column in connection.execute("PRAGMA table_info(action)")]
        rows = connection.execute("SELECT * FROM action ORDER BY tenant").fetchall()
        about = [connection.execute(f"PRAGMA {name}").fetchone() for name in ("application_id", "user_version")]
    assert names == [
        *("tenant", "url", "action_id", "general_status", *STATUSES),
        *("failure", "last_success", "last_change", "settled_at", "retired", "due", "failures", "written_at"),
    ]
    assert rows == [
        ("", URL, "1", "IN_PROGRESS", *COUNTS, None, WALL, WALL - 5, None, 0, WALL + 60, 0, WALL),
        ("a", URL, "1", DONE.general_status, *DONE.counts, "tls", WALL, WALL - 5, WALL, 1, WALL + 1, 2, WALL),
    ]
    assert about == [(0x78647265,), (1,)]


@pytest.mark.parametrize("umask", [0, 0o777])
def test_files_are_their_owners_only(path: Path, umask: int) -> None:
    """Whatever the umask, nobody else may read the state file or its lock."""
    before = os.umask(umask)
    try:
        write(path, [(HERE, RECORD)])
    finally:
        os.umask(before)
    assert mode(path) == 0o600
    assert mode(Path(f"{path}.lock")) & 0o177 == 0


def test_file_that_others_may_read_is_closed_to_them(path: Path) -> None:
    """A file of before, copied or made by hand, is made its owner's only."""
    write(path, [(HERE, RECORD)])
    path.chmod(0o664)
    assert read(path) == {HERE: {"1": RECORD}}
    assert mode(path) == 0o600


@pytest.mark.parametrize(
    "change",
    [
        "pending = NULL",
        "pending = -1",
        "expired = 9007199254740993",
        "failed = 1.5",
        "failed = 'three'",
        "failed = x'03'",
        "general_status = CAST(x'ff' AS TEXT)",
        "failure = 'bad luck'",
        "failure = 7",
        "last_success = NULL",
        "last_change = NULL",
        "last_success = 9e999",
        "last_change = 'yesterday'",
        "settled_at = -1",
        "settled_at = 1e12",
        "retired = 2",
        "retired = NULL",
        "due = NULL",
        "due = -9e999",
        "due = 'soon'",
        "failures = NULL",
        "failures = -1",
        "failures = 0.5",
        "failures = 'many'",
        ", ".join(f"{name} = NULL" for name in STATUSES),
        ", ".join(f"{name} = NULL" for name in ("general_status", *STATUSES)),
        ", ".join(f"{name} = NULL" for name in ("last_success", "last_change", *STATUSES)),
    ],
)
def test_invalid_row_is_left_out_and_deleted(path: Path, change: str) -> None:
    """A row that no record is written as is told once and gone with the next batch; the others are restored."""
    write(path, [(HERE, make(action_id)) for action_id in "123"])
    with database(path) as connection:
        assert connection.execute(f"UPDATE action SET {change} WHERE action_id <> '2'").rowcount == 2
    bench = Bench(path)
    assert bench.file.open() == {HERE: {"2": make("2")}}
    bench.file.start()
    bench.close()
    assert read(path) == {HERE: {"2": make("2")}}
    assert (bench.lines, bench.failures) == (
        [{"log_level": "warning", "event": "state file has invalid rows, which are left out", "rows": 2}],
        1,
    )


def test_row_whose_key_is_no_text_is_left_out(path: Path) -> None:
    """A key that is not UTF-8 takes nothing but its own row."""
    write(path, [(HERE, make("1")), (HERE, make("2"))])
    with database(path) as connection:
        connection.execute("UPDATE action SET action_id = CAST(x'ff' AS TEXT) WHERE action_id = '1'")
    bench = Bench(path)
    assert bench.file.open() == {HERE: {"2": make("2")}}
    bench.close()
    assert (bench.lines, bench.failures) == (
        [{"log_level": "warning", "event": "state file has invalid rows, which are left out", "rows": 1}],
        1,
    )


@pytest.mark.parametrize(
    ("statements", "reason"),
    [
        (["CREATE TABLE users (name)"], "it is another program's database"),
        (["PRAGMA application_id = 7"], "it is another program's database"),
        (["PRAGMA user_version = 1"], "it is another program's database"),
        (["PRAGMA application_id = 0x78647265"], "its schema's version is 0, not 1"),
        (
            ["PRAGMA application_id = 0x78647265", "PRAGMA user_version = 2", "CREATE TABLE action (id)"],
            "its schema's version is 2, not 1",
        ),
        (
            ["PRAGMA application_id = 0x78647265", "PRAGMA user_version = 1", "CREATE TABLE action (id)"],
            "its tables are not those of a state file",
        ),
    ],
)
def test_other_database_is_moved_aside(path: Path, statements: list[str], reason: str) -> None:
    """A database of another program or version stays as it was, under another name; a new file is begun."""
    with database(path) as connection:
        for statement in statements:
            connection.execute(statement)
    content = path.read_bytes()
    bench = Bench(path)
    assert bench.file.open() == {}
    bench.file.start()
    bench.file.record(HERE, RECORD)
    bench.close()
    assert (bench.lines, bench.failures) == ([moved(path, reason)], 1)
    assert bench.names == ["state.db", f"state.db.broken-{STAMP}"]
    assert Path(f"{path}.broken-{STAMP}").read_bytes() == content
    assert read(path) == {HERE: {"1": RECORD}}


def test_database_with_further_tables_is_moved_aside(path: Path) -> None:
    """What somebody added to our tables could act on every write."""
    write(path, [(HERE, RECORD)])
    with database(path) as connection:
        connection.execute("CREATE TRIGGER t AFTER INSERT ON action BEGIN DELETE FROM action; END")
    bench = Bench(path)
    assert bench.file.open() == {}
    bench.close()
    assert bench.lines == [moved(path, "its tables are not those of a state file")]


def test_files_beside_a_database_move_with_it(path: Path) -> None:
    """What another program has not yet merged into its database is still to be had from where it is now."""
    with database(path) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE users (name)")
        connection.execute("INSERT INTO users VALUES ('root')")
        bench = Bench(path)
        bench.file.open()
        bench.close()
        aside = Path(f"{path}.broken-{STAMP}")
        assert bench.names == ["state.db", aside.name, f"{aside.name}-shm", f"{aside.name}-wal"]
    with database(aside) as connection:
        assert connection.execute("SELECT * FROM users").fetchall() == [("root",)]


def test_file_that_is_no_database_is_moved_aside(path: Path) -> None:
    """Whatever it is, it is not overwritten; nor is what was moved aside within the same second."""
    for number in ("", "-1", "-2"):
        path.write_text(f"hello{number}")
        bench = Bench(path)
        assert bench.file.open() == {}
        bench.close()
        assert (bench.lines, bench.failures) == ([moved(path, NOT_A_DATABASE, number)], 1)
        assert Path(f"{path}.broken-{STAMP}{number}").read_text() == f"hello{number}"
    assert read(path) == {}


@cache
def whole() -> bytes:
    """Return the content of a state file of several pages."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        write(path, [(HERE, make(str(number), number)) for number in range(200)])
        content = path.read_bytes()
    assert len(content) >= 4 * 4096
    return content


def recover(content: bytes) -> None:
    """Open a file with this content, and see that it was restored or moved aside, and that the next one works."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "state.db"
        path.write_bytes(content)
        bench = Bench(path)
        found = bench.file.open()
        bench.file.start()
        bench.file.record(HERE, RECORD)
        bench.close()
        aside = [name for name in bench.names if ".broken-" in name]
        assert bench.failures >= len(bench.lines)
        assert not (found and aside)
        if aside:
            assert [line["event"] for line in bench.lines] == ["state file moved aside"]
            assert read(path) == {HERE: {"1": RECORD}}


@pytest.mark.parametrize("length", [2, 15, 16, 99, 100, 101, 4095, 4096, 4097, 8192, -4097, -4096, -1])
def test_truncated_file_is_moved_aside(path: Path, length: int) -> None:
    """A file that ends early is broken, wherever that is."""
    path.write_bytes(whole()[:length])
    bench = Bench(path)
    assert bench.file.open() == {}
    bench.close()
    [line] = bench.lines
    assert line == moved(path, line["reason"])
    assert line["reason"] in (NOT_A_DATABASE, MALFORMED)
    assert Path(f"{path}.broken-{STAMP}").read_bytes() == whole()[:length]


_POSITIONS = st.integers(0, 2**16)


@settings(deadline=None, max_examples=100)
@given(length=_POSITIONS)
def test_any_truncation_is_survived(length: int) -> None:
    """A file cut anywhere is a new one or moved aside, and the state is kept in the next."""
    recover(whole()[: length % len(whole())])


@settings(deadline=None, max_examples=200)
@given(flips=st.lists(st.tuples(st.integers(0, 100) | _POSITIONS, st.integers(1, 255)), min_size=1, max_size=5))
def test_any_flipped_bits_are_survived(flips: list[tuple[int, int]]) -> None:
    """With bits flipped anywhere, half of them near the beginning, no error leaves the state file."""
    content = bytearray(whole())
    for position, bits in flips:
        content[position % len(whole())] ^= bits
    recover(bytes(content))


@pytest.mark.parametrize("position", range(whole().index(b"CREATE TABLE"), whole().index(b"WITHOUT ROWID"), 9))
def test_broken_schema_is_moved_aside(path: Path, position: int) -> None:
    """A schema that is no text any more is quoted in SQLite's messages, which then are none either."""
    content = bytearray(whole())
    content[position] ^= 0x80
    path.write_bytes(content)
    bench = Bench(path)
    assert bench.file.open() == {}
    bench.close()
    [line] = bench.lines
    assert line == moved(path, line["reason"])


@settings(deadline=None, max_examples=100)
@given(st.binary(max_size=5000), st.booleans())
def test_any_bytes_are_survived(content: bytes, begins_well: bool) -> None:  # noqa: FBT001 - hypothesis gives it
    """Bytes of any kind, also behind SQLite's own first ones, do not end the exporter."""
    recover(b"SQLite format 3\0" * begins_well + content)


@pytest.mark.parametrize("kind", ["folder", "pipe", "link to nowhere"])
def test_what_is_no_regular_file_is_left_alone(path: Path, kind: str) -> None:
    """The exporter runs without a state file then, and says so once."""
    if kind == "folder":
        path.mkdir()
    elif kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("nowhere")
    before = path.lstat()
    bench = Bench(path)
    assert bench.file.open() == {}
    bench.file.start()
    bench.file.record(HERE, RECORD)
    bench.close()
    assert (path.lstat().st_mode, path.lstat().st_ino) == (before.st_mode, before.st_ino)
    assert bench.names == ["state.db"]
    assert bench.lines == [
        {"log_level": "warning", "event": "state file cannot be read", "reason": "Not a regular file"}
    ]
    assert bench.failures >= 2


def test_second_state_file_is_refused(path: Path) -> None:
    """Only one has the file, until it is closed; the message names the process, and the first goes on."""
    first = Bench(path)
    first.file.open()
    first.file.start()
    with pytest.raises(StateFileInUseError) as caught:
        Bench(path).file.open()
    assert str(caught.value) == (
        f"{path}: is in use by another cortex-xdr-exporter (process {os.getpid()});"
        " each needs a state file of its own"
    )
    first.file.record(HERE, RECORD)
    first.close()
    assert read(path) == {HERE: {"1": RECORD}}


def test_lock_is_taken_as_soon_as_it_can_be(path: Path) -> None:
    """A folder that comes late leaves no hole: who comes second is refused, whoever began first."""
    path = path.parent / "volume" / "state.db"
    first, second = Bench(path), Bench(path)
    assert (first.file.open(), second.file.open()) == ({}, {})
    first.file.start()
    second.file.start()
    path.parent.mkdir()
    first.file.record(HERE, RECORD)
    wait_until(lambda: first.lines[-1]["event"] == "state file is written again", "the first has the file")
    with pytest.raises(StateFileInUseError):
        Bench(path).file.open()
    second.file.record(THERE, RECORD)
    wait_until(lambda: second.failures >= 3, "the second has not")
    first.close()
    second.close()
    assert set(read(path)) == {HERE, THERE}


def test_lock_is_that_of_the_file_and_not_of_its_name(path: Path) -> None:
    """Two paths that lead to one file are one file."""
    first = Bench(path)
    first.file.open()
    other = path.parent / "other.db"
    other.symlink_to(path)
    with pytest.raises(StateFileInUseError):
        Bench(other).file.open()
    first.close()


@pytest.mark.parametrize("content", ["", "somebody\n"])
def test_owner_that_does_not_say_who_it_is_is_not_named(path: Path, content: str) -> None:
    """Between the lock and the process's number in it there is a moment."""
    lock = Path(f"{path}.lock")
    lock.write_text(content)
    with lock.open() as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(StateFileInUseError) as caught:
            Bench(path).file.open()
    assert str(caught.value) == (
        f"{path}: is in use by another cortex-xdr-exporter; each needs a state file of its own"
    )
    assert read(path) == {}


@pytest.mark.parametrize(
    ("kind", "reason"), [("folder", "Is a directory"), ("link", "Too many levels of symbolic links")]
)
def test_file_without_a_lock_is_used_all_the_same(path: Path, kind: str, reason: str) -> None:
    """What cannot be locked is said so and counted; a link in the lock's place is not followed."""
    lock = Path(f"{path}.lock")
    if kind == "folder":
        lock.mkdir()
    else:
        lock.symlink_to(path.parent / "victim")
        (path.parent / "victim").write_text("content")
    bench = Bench(path)
    assert bench.file.open() == {}
    bench.file.start()
    bench.file.record(HERE, RECORD)
    bench.close()
    with database(path) as connection:
        assert connection.execute("SELECT action_id FROM action").fetchall() == [("1",)]
    line = {
        "log_level": "warning",
        "event": "state file is not locked against other exporters",
        "reason": reason,
    }
    assert (bench.lines, bench.failures) == ([line], 1)
    if kind == "link":
        assert (path.parent / "victim").read_text() == "content"


def test_close_gives_the_file_free_however_far_it_came(path: Path) -> None:
    """Before it was opened, before it was started, and a second time, close does no harm."""
    Bench(path).close()
    assert not path.parent.joinpath("state.db.lock").exists()
    bench = Bench(path)
    bench.file.open()
    bench.close()
    bench.close()
    write(path, [(HERE, RECORD)])
    bench = Bench(path)
    assert bench.file.open() == {HERE: {"1": RECORD}}
    bench.file.start()
    bench.close()
    bench.close()
    assert read(path) == {HERE: {"1": RECORD}}
