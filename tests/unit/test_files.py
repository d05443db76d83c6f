"""Files as told from outside: names, fingerprints, coming to rest, and which a pattern names."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.files import Pattern, Settling, fingerprint, shown


@pytest.mark.parametrize(
    ("path", "text"),
    [
        ("/etc/cortex/a.yaml", "/etc/cortex/a.yaml"),
        ("Größe [x].yaml", "Größe [x].yaml"),
        ("a\nb", r"'a\nb'"),
        ("\udcff", r"'\udcff'"),
    ],
)
def test_path_is_shown_as_one_line(path: str, text: str) -> None:
    """What cannot be printed is escaped."""
    assert shown(Path(path)) == text


def rewrite(path: Path) -> None:
    """Write other content of the same size, and set the time of change back to what it was."""
    before = path.stat()
    path.write_text("6")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns - 1))


def replace(path: Path) -> None:
    """Put another file in the place of one."""
    path.with_suffix(".new").write_text("5")
    path.with_suffix(".new").replace(path)


@pytest.mark.parametrize("change", [rewrite, replace, Path.unlink, lambda path: path.write_text("55")])
def test_fingerprint_differs_after_a_change(tmp_path: Path, change: Callable[[Path], object]) -> None:
    """A change of content or place is seen; without one nothing is."""
    path = tmp_path / "a.yaml"
    path.write_text("5")
    before = fingerprint(path)
    assert before is not None
    assert fingerprint(path) == before
    change(path)
    assert fingerprint(path) != before


def test_fingerprint_follows_links(tmp_path: Path) -> None:
    """A link that is moved to another file is a change."""
    for name in ("one", "two"):
        (tmp_path / name).write_text("5")
    link = tmp_path / "link"
    link.symlink_to("one")
    assert fingerprint(link) == fingerprint(tmp_path / "one")
    link.unlink()
    link.symlink_to("two")
    assert fingerprint(link) == fingerprint(tmp_path / "two") != fingerprint(tmp_path / "one")


@pytest.mark.parametrize("name", ["none", "folder", "pipe", "dangling", "loop", "a\0b", "x" * 300])
def test_what_is_no_file_has_no_fingerprint(tmp_path: Path, name: str) -> None:
    """A folder, a pipe or a name that leads nowhere cannot be read over and over."""
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "dangling").symlink_to("none")
    (tmp_path / "loop").symlink_to("loop")
    assert fingerprint(tmp_path / name) is None


def test_change_is_told_once_when_it_has_come_to_rest() -> None:
    """What looks different at each look is still moving."""
    settling = Settling("a")
    told = [(settling.look(now), settling.moving) for now in "aabcddde"]
    expected = [
        *[(False, False)] * 2,
        *[(False, True)] * 3,
        (True, False),
        (False, False),
        (False, True),
    ]
    assert told == expected


def test_change_that_is_taken_back_is_none() -> None:
    """What looks as it did when it was read last has not to be read again."""
    settling = Settling("a")
    assert [settling.look(now) for now in "abaa"] == [False] * 4


def test_change_may_be_taken_at_once() -> None:
    """Whoever cannot wait is told of a change at the first look, and not again."""
    settling = Settling("a")
    assert [settling.settle("a"), settling.settle("b"), settling.look("b")] == [False, True, False]
    assert [settling.look("c"), settling.settle("c"), settling.look("c")] == [False, True, False]


@given(st.lists(st.sampled_from("abc")))
def test_whatever_rests_is_told(sights: list[str]) -> None:
    """After two looks alike, what was told last, or seen at the start, is what is there."""
    settling, last = Settling("a"), "a"
    for now in sights:
        for _ in range(2):
            if settling.look(now):
                last = now
        assert (last, settling.moving) == (now, False)


FILES = ["a.yaml", "b.yaml", ".hidden.yaml", "c.json", "sub/d.yaml", "sub/deep/e.yaml", ".x/f.yaml", "[g].yaml"]


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("*.yaml", ["[g].yaml", "a.yaml", "b.yaml"]),
        ("*", ["[g].yaml", "a.yaml", "b.yaml", "c.json", "dangling"]),
        ("**", ["[g].yaml", "a.yaml", "b.yaml", "c.json", "dangling", "sub/d.yaml", "sub/deep/e.yaml"]),
        ("**/*.yaml", ["[g].yaml", "a.yaml", "b.yaml", "sub/d.yaml", "sub/deep/e.yaml"]),
        ("*/*.yaml", ["sub/d.yaml"]),
        ("[ab].yaml", ["a.yaml", "b.yaml"]),
        ("?.json", ["c.json"]),
        (".*.yaml", [".hidden.yaml"]),
        ("none/*", []),
        ("*.none", []),
        ("a.yaml", ["a.yaml"]),
        ("none.yaml", ["none.yaml"]),
        ("sub", ["sub"]),
        ("[[]g].yaml", ["[g].yaml"]),
        ("[*].yaml", ["*.yaml"]),
    ],
)
def test_pattern_finds_files(tmp_path: Path, pattern: str, found: list[str]) -> None:
    """Folders and hidden files are left out, a link that leads nowhere is not, and a plain name is one file."""
    for name in FILES:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "dangling").symlink_to("none")
    assert Pattern(f"{tmp_path}/{pattern}").find() == [tmp_path / name for name in found]


def test_relative_pattern_starts_at_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files are named as the pattern is written."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a.yaml").touch()
    assert Pattern("*.yaml").find() == [Path("a.yaml")]
    assert Pattern("*.yaml").obstacle(Path("b.yaml")) is None


def test_missing_file_of_a_listed_folder_is_gone(tmp_path: Path) -> None:
    """Whoever removes a file, or a folder that the pattern leaves open, means it."""
    assert Pattern(f"{tmp_path}/*.yaml").obstacle(tmp_path / "a.yaml") is None
    assert Pattern(f"{tmp_path}/**/*.yaml").obstacle(tmp_path / "sub" / "deep" / "a.yaml") is None
    (tmp_path / "sub").touch()
    assert Pattern(f"{tmp_path}/*/a.yaml").obstacle(tmp_path / "sub" / "a.yaml") is None


def test_missing_file_of_an_unlisted_folder_may_come_back(tmp_path: Path) -> None:
    """Where the pattern's own folder is missing, or none, nothing is known of the files in it."""
    pattern, file = Pattern(f"{tmp_path}/a.d/*.yaml"), tmp_path / "a.d" / "a.yaml"
    assert pattern.obstacle(file) == f"{tmp_path}/a.d cannot be listed: no such file or directory"
    (tmp_path / "a.d").touch()
    assert pattern.obstacle(file) == f"{tmp_path}/a.d cannot be listed: not a directory"


def test_folder_that_is_denied_may_hold_the_file(tmp_path: Path) -> None:
    """The rights to a folder say nothing of its files, at whichever depth."""
    denied = tmp_path / "sub"
    denied.mkdir(mode=0o300)
    if os.access(denied, os.R_OK):
        pytest.skip("this user may list everything")
    assert (
        Pattern(f"{tmp_path}/*/a.yaml").obstacle(denied / "a.yaml")
        == f"{denied} cannot be listed: permission denied"
    )
