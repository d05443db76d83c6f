"""A key in a file: rotation in each way that editors and Kubernetes have, trouble with the file, threads."""

import logging
import os
import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest
import structlog
from pydantic import SecretStr
from structlog.testing import LogCapture
from support import wait_until

from exporter.key_file import KeyFile


def read(path: Path) -> SecretStr:
    """Read a key as the configuration does, and refuse an empty one."""
    try:
        text = path.read_text().strip()
    except OSError as error:
        raise ValueError((error.strerror or "").lower()) from error
    if not text:
        raise ValueError("it is empty")
    return SecretStr(text)


class Bench:
    """A key file, what it was read as, and what is told of it."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "key"
        self.path.write_text("first\n")
        self.reads = 0
        self.changes: list[str] = []
        self.capture = LogCapture()
        log = structlog.wrap_logger(
            None, processors=[self.capture], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
        )
        self.key = KeyFile(self.path, read(self.path), read=self._read, changed=self._changed, log=log)

    def replace(self, text: str) -> None:
        """Put another file in the place of the key file."""
        new = self.path.with_name("new")
        new.write_text(text)
        new.replace(self.path)

    @property
    def lines(self) -> list[tuple[str, str, str | None]]:
        """What the log says: level, event and problem; each line names the file."""
        assert {entry["file"] for entry in self.capture.entries} <= {str(self.path)}
        return [(entry["log_level"], entry["event"], entry.get("problem")) for entry in self.capture.entries]

    def _read(self, path: Path) -> SecretStr:
        self.reads += 1
        return read(path)

    def _changed(self) -> None:
        # Whoever hears of it may use the key, so it is in use and nothing is locked.
        self.changes.append(self.key.get_secret_value())


READ_ANEW = ("info", "key read anew", None)
READABLE = ("info", "key file can be read again", None)
CANNOT_BE_READ = "key file cannot be read, its last key is used"


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    """Make a key file."""
    return Bench(tmp_path)


def test_key_that_does_not_change_is_no_news(bench: Bench) -> None:
    """Used again and again it is read once more at most, and nothing is told."""
    assert [bench.key.get_secret_value() for _ in range(10)] == ["first"] * 10
    assert bench.reads <= 1
    assert (bench.changes, bench.lines) == ([], [])


def test_replaced_file_is_read_at_the_next_use(bench: Bench) -> None:
    """A rotated key is used from the next request on, and told once, without its text."""
    bench.key.look()
    bench.replace("second\n")
    assert bench.key.get_secret_value() == "second"
    assert bench.key.get_secret_value() == "second"
    assert (bench.changes, bench.lines) == (["second"], [READ_ANEW])
    assert "second" not in str(bench.capture.entries)


def test_look_takes_a_new_key_up(bench: Bench) -> None:
    """A tenant that is asked nothing at the moment hears of its new key as well."""
    bench.key.look()
    bench.replace("second")
    bench.key.look()
    bench.key.look()
    assert bench.changes == ["second"]


def test_file_written_in_place_is_read(bench: Bench) -> None:
    """Not only a file put in its place counts, but also other content."""
    bench.key.look()
    bench.path.write_text("a longer key\n")
    assert bench.key.get_secret_value() == "a longer key"


def test_link_that_is_moved_is_a_change(bench: Bench, tmp_path: Path) -> None:
    """As Kubernetes rotates a mounted secret: the folder behind a link is another one."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key").write_text(name)
    (tmp_path / "data").symlink_to("one")
    bench.path.unlink()
    bench.path.symlink_to(Path("data", "key"))
    assert bench.key.get_secret_value() == "one"
    (tmp_path / "link").symlink_to("two")
    (tmp_path / "link").replace(tmp_path / "data")
    assert bench.key.get_secret_value() == "two"
    assert bench.changes == ["one", "two"]


def test_same_key_in_another_file_is_no_change(bench: Bench) -> None:
    """A file that was touched or written anew with the same key is read, and nothing is told."""
    bench.key.look()
    bench.replace("first\n\n")
    os.utime(bench.path, ns=(1, 1))
    assert bench.key.get_secret_value() == "first"
    assert (bench.changes, bench.lines) == ([], [])


def test_reading_again_finds_a_key_that_the_file_hides(bench: Bench) -> None:
    """After a refusal the file is read even where it looks as before: as large, as old, the same file."""
    bench.key.look()
    seen = bench.path.stat()
    bench.key.read_again()
    bench.path.write_text("other\n")
    os.utime(bench.path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    bench.key.read_again()
    bench.key.read_again()
    assert bench.key.get_secret_value() == "other"
    assert (bench.changes, bench.lines) == (["other"], [READ_ANEW])


def remove(path: Path) -> None:
    """Take a file away."""
    path.unlink()


def empty(path: Path) -> None:
    """Leave nothing in a file."""
    path.write_text("")


@pytest.mark.parametrize(
    ("spoil", "problem"), [(remove, "no such file or directory"), (empty, "it is empty")], ids=["missing", "empty"]
)
def test_file_that_cannot_be_read_keeps_its_last_key(
    bench: Bench, spoil: Callable[[Path], None], problem: str
) -> None:
    """The key of before is used, which is told once, however many requests there are."""
    bench.key.look()
    spoil(bench.path)
    assert [bench.key.get_secret_value() for _ in range(5)] == ["first"] * 5
    bench.key.read_again()
    assert (bench.changes, bench.lines) == ([], [("warning", CANNOT_BE_READ, problem)])


def test_file_that_comes_back_is_read(bench: Bench) -> None:
    """A rotation in two steps ends well, and what cannot be read after it is told again."""
    bench.key.look()
    bench.path.unlink()
    assert bench.key.get_secret_value() == "first"
    bench.path.write_text("second")
    assert bench.key.get_secret_value() == "second"
    bench.path.unlink()
    assert bench.key.get_secret_value() == "second"
    missing = ("warning", CANNOT_BE_READ, "no such file or directory")
    assert (bench.changes, bench.lines) == (["second"], [missing, READABLE, READ_ANEW, missing])


def test_other_trouble_with_a_file_is_told(bench: Bench) -> None:
    """One line for each thing that is wrong in a row."""
    bench.key.look()
    bench.path.unlink()
    bench.key.look()
    bench.path.write_text("")
    bench.key.look()
    assert [problem for *_, problem in bench.lines] == ["no such file or directory", "it is empty"]


def test_pipe_gives_its_key_once(tmp_path: Path) -> None:
    """A pipe has given its key at the start: it is not read again, which would wait for ever, nor told of."""
    bench = Bench(tmp_path)
    bench.path.unlink()
    os.mkfifo(bench.path)
    assert bench.key.get_secret_value() == "first"
    bench.key.read_again()
    assert (bench.reads, bench.changes, bench.lines) == (0, [], [])


def test_rotation_under_load_gives_whole_keys(bench: Bench) -> None:
    """Threads that use the key while it is rotated have one of the keys, and each change is told once."""
    keys = [f"key-{number}" * 100 for number in range(20)]
    used: set[str] = set()
    done = threading.Event()

    def use() -> None:
        while not done.is_set():
            used.add(bench.key.get_secret_value())

    threads = [threading.Thread(target=use) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        for key in keys:
            bench.replace(key)
            wait_until(partial(bench.changes.count, key), "the key is taken up")
    finally:
        done.set()
        for thread in threads:
            thread.join()
    assert used <= {"first", *keys}
    assert (bench.changes, bench.lines) == (keys, [READ_ANEW] * 20)
