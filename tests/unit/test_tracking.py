"""What is tracked, as action files come, change, break and go: real files, and a look when the test says so."""

import logging
import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import structlog
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import LogCapture

from exporter.config import Action, read_actions
from exporter.errors import ConfigurationError
from exporter.tracking import ActionFiles, Entry, FileState

Line = dict[str, Any]

GOOD = FileState(read_successfully=True, duplicates=0)
BROKEN = FileState(read_successfully=False, duplicates=0)
MISSING = "cannot be read: no such file or directory"
LIST = "must be a list of IDs, or of mappings with the keys id and labels"


class Bench:
    """Action files of a folder that is the working directory, the log, and what was read."""

    def __init__(self) -> None:
        self.capture = LogCapture()
        log = structlog.wrap_logger(
            None, processors=[self.capture], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
        )
        self.while_reading: Callable[[], object] = lambda: None
        self.read: list[str] = []
        self.files = ActionFiles(read=self._read, log=log)

    def _read(self, path: Path) -> Sequence[Entry]:
        self.read.append(str(path))
        actions = read_actions(path)
        self.while_reading()
        return actions

    def select(self, *patterns: str, own: Sequence[str] = ()) -> None:
        """Select one tenant's patterns and own actions."""
        self.files.select({None: patterns}, {None: [Action(id=action_id) for action_id in own]})

    def settle(self) -> bool:
        """Look twice, as it takes to read a change; True if other actions are tracked then."""
        assert not self.files.look()
        return self.files.look()

    def rest(self) -> None:
        """Look a few times at what does not change."""
        lines, read = len(self.capture.entries), len(self.read)
        assert not any(self.files.look() for _ in range(5))
        assert (len(self.capture.entries), len(self.read)) == (lines, read)

    def ids(self, tenant: str | None = None) -> list[str]:
        """Return the IDs of what is tracked."""
        return [entry.id for entry in self.files.tracked(tenant)]

    def lines(self) -> list[Line]:
        """Return what was logged since the last call."""
        lines = list(self.capture.entries)
        self.capture.entries.clear()
        return [dict(line) for line in lines]


@pytest.fixture
def bench(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """Make tmp_path the working directory, so that names are as short as in a configuration."""
    monkeypatch.chdir(tmp_path)
    return Bench()


def write(name: str, content: str) -> None:
    """Write a file and its folders as a careful program does: as a whole or not at all."""
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".new").write_text(content)
    path.with_suffix(".new").replace(path)


def was_read(file: str, actions: int) -> Line:
    """Return the line for a file that was read."""
    return {"event": "action file read", "log_level": "info", "file": file, "actions": actions}


def recovered(file: str, actions: int) -> Line:
    """Return the line for a file that can be read again."""
    return {"event": "action file recovered", "log_level": "info", "file": file, "actions": actions}


def gone(file: str, actions: int) -> Line:
    """Return the line for a file that is no more."""
    return {"event": "action file is gone", "log_level": "info", "file": file, "actions": actions}


def failed(file: str, problem: str) -> Line:
    """Return the line for a file that cannot be read."""
    return {"event": "action file cannot be read", "log_level": "warning", "file": file, "problem": problem}


def repeats(file: str, duplicates: int, first: str) -> Line:
    """Return the line for a file that lists what is tracked already."""
    event = "action file lists tracked actions"
    return {"event": event, "log_level": "warning", "file": file, "duplicates": duplicates, "first": first}


def test_own_actions_come_first_then_files_by_pattern_and_name(bench: Bench) -> None:
    """The order is that of the configuration, and of names where a pattern stands for several."""
    for name in ("a/2.yaml", "a/10.yaml", "b.yaml", "a/sub/3.yaml"):
        write(name, f"[{name}]")
    bench.select("b.yaml", "a/**/*.yaml", "a/2.yaml", own=["y", "x"])
    assert bench.ids() == ["y", "x", "b.yaml", "a/10.yaml", "a/2.yaml", "a/sub/3.yaml"]
    assert bench.files.files == dict.fromkeys(["b.yaml", "a/10.yaml", "a/2.yaml", "a/sub/3.yaml"], GOOD)
    assert (bench.files.problems, bench.files.warnings) == ([], [])
    assert [line["file"] for line in bench.lines()] == ["b.yaml", "a/10.yaml", "a/2.yaml", "a/sub/3.yaml"]
    bench.rest()


def test_nothing_is_tracked_before_it_is_selected(bench: Bench) -> None:
    """Without patterns there is nothing to look at."""
    assert not bench.files.look()
    assert bench.ids() == []
    bench.select(own=["5"])
    assert bench.ids() == ["5"]
    assert bench.files.files == {}
    assert bench.lines() == []


def test_labels_come_with_the_action(bench: Bench) -> None:
    """A change of labels alone is a change of what is tracked."""
    write("a.yaml", "[{id: 5, labels: {team: red}}]")
    bench.select("a.yaml")
    assert bench.files.tracked(None) == [Action(id="5", labels=(("team", "red"),))]
    write("a.yaml", "[{id: 5, labels: {team: blue}}]")
    assert bench.settle()
    assert bench.files.tracked(None) == [Action(id="5", labels=(("team", "blue"),))]


def test_changed_file_is_read_when_it_has_come_to_rest(bench: Bench) -> None:
    """A file that looks different at each look is still being written."""
    write("a.yaml", "[1]")
    bench.select("*.yaml")
    for size in range(2, 5):
        write("a.yaml", f"{list(range(size))}")
        assert not bench.files.look()
        assert bench.ids() == ["1"]
    assert bench.files.look()
    assert bench.ids() == ["0", "1", "2", "3"]
    assert bench.lines() == [was_read("a.yaml", 1), was_read("a.yaml", 4)]
    bench.rest()


def test_new_file_is_read_when_it_has_come_to_rest(bench: Bench) -> None:
    """A file that a pattern begins to match adds its actions, and is not known before it was read."""
    write("b.yaml", "[2]")
    bench.select("*.yaml")
    write("a.yaml", "[1]")
    assert not bench.files.look()
    assert bench.files.files == {"b.yaml": GOOD}
    assert bench.files.look()
    assert bench.ids() == ["1", "2"]
    assert bench.files.files == {"a.yaml": GOOD, "b.yaml": GOOD}
    write("c.yaml", "[]")
    assert not bench.settle()
    assert bench.files.files == {"a.yaml": GOOD, "b.yaml": GOOD, "c.yaml": GOOD}
    assert bench.lines() == [was_read("b.yaml", 1), was_read("a.yaml", 1), was_read("c.yaml", 0)]


def test_rewritten_file_of_the_same_content_is_no_news(bench: Bench) -> None:
    """Programs that write the same list every minute fill no log."""
    write("a.yaml", "[1]")
    bench.select("a.yaml")
    bench.lines()
    write("a.yaml", "[1]  # once more\n")
    assert not bench.settle()
    assert bench.read == ["a.yaml", "a.yaml"]
    assert bench.lines() == []


def test_broken_file_keeps_its_last_good_content(bench: Bench) -> None:
    """One line when it breaks, one for another problem, one when it is well again."""
    write("a.yaml", "[1, 2]")
    bench.select("*.yaml")
    write("a.yaml", "[3, 1.5]")
    assert not bench.settle()
    assert bench.ids() == ["1", "2"]
    assert bench.files.files == {"a.yaml": BROKEN}
    message = "must be an integer, or text of 1 to 128 printable characters without spaces (in quotes where YAML "
    message += "reads something else)"
    assert bench.files.problems == [f"a.yaml: [1]: {message}"]
    bench.rest()
    write("a.yaml", "[3, 1.5]")
    assert not bench.settle()
    write("a.yaml", "4")
    assert not bench.settle()
    assert bench.files.problems == [f"a.yaml: {LIST}"]
    write("a.yaml", "[1, 2]")
    assert not bench.settle()
    assert bench.files.files == {"a.yaml": GOOD}
    assert bench.files.problems == []
    assert bench.lines() == [
        was_read("a.yaml", 2),
        failed("a.yaml", f"[1]: {message}"),
        failed("a.yaml", LIST),
        recovered("a.yaml", 2),
    ]


def test_file_that_is_broken_from_the_start_has_no_actions(bench: Bench) -> None:
    """Of many problems the log has the first few; all of them are there to ask for."""
    write("a.yaml", "[{}, {}, {}, {}]")
    bench.select("a.yaml", own=["5"])
    assert bench.ids() == ["5"]
    assert bench.files.files == {"a.yaml": BROKEN}
    assert bench.files.problems == [f"a.yaml: [{index}].id: is missing" for index in range(4)]
    assert bench.lines() == [
        failed("a.yaml", "[0].id: is missing; [1].id: is missing; [2].id: is missing; …"),
    ]


def test_named_file_that_is_missing_is_broken(bench: Bench) -> None:
    """What is no pattern is expected to be there, and is read when it is."""
    bench.select("a.yaml")
    assert bench.files.files == {"a.yaml": BROKEN}
    assert bench.files.problems == [f"a.yaml: {MISSING}"]
    assert not bench.files.look()
    write("a.yaml", "[1]")
    assert bench.settle()
    Path("a.yaml").unlink()
    assert not bench.settle()
    assert bench.ids() == ["1"]
    assert bench.files.files == {"a.yaml": BROKEN}
    Path("a.yaml").mkdir()
    assert not bench.files.look()
    write("b.yaml", "[2]")
    bench.select("a.yaml", "b.yaml")
    assert bench.ids() == ["1", "2"]
    assert bench.lines() == [
        failed("a.yaml", MISSING),
        recovered("a.yaml", 1),
        failed("a.yaml", MISSING),
        failed("a.yaml", "cannot be read: is a directory"),
        was_read("b.yaml", 1),
    ]


def test_matched_file_that_vanishes_takes_its_actions_with_it(bench: Bench) -> None:
    """To remove a file is to track its actions no more; a moment's absence is not."""
    write("a.d/a.yaml", "[1]")
    write("a.d/b.yaml", "[2, 3]")
    bench.select("a.d/*.yaml", "*.yaml")
    bench.lines()
    Path("a.d/a.yaml").rename("a.d/a.new")
    assert not bench.files.look()
    Path("a.d/a.new").rename("a.d/a.yaml")
    assert not bench.files.look()
    assert bench.lines() == []
    Path("a.d/b.yaml").unlink()
    assert bench.settle()
    assert bench.ids() == ["1"]
    assert bench.files.files == {"a.d/a.yaml": GOOD}
    assert bench.lines() == [gone("a.d/b.yaml", 2)]
    bench.rest()


def test_files_of_a_folder_that_vanishes_are_kept(bench: Bench) -> None:
    """Where a folder cannot be listed, nothing is known of its files; they are back with it, or gone."""
    write("a.d/a.yaml", "[1]")
    write("a.d/b.yaml", "[2]")
    bench.select("a.d/*.yaml")
    bench.lines()
    problem = "cannot be found: a.d cannot be listed: no such file or directory"
    Path("a.d").rename("elsewhere")
    assert not bench.settle()
    bench.rest()
    bench.select("a.d/*.yaml")
    assert bench.ids() == ["1", "2"]
    assert bench.files.files == {"a.d/a.yaml": BROKEN, "a.d/b.yaml": BROKEN}
    assert bench.files.problems == [f"a.d/a.yaml: {problem}", f"a.d/b.yaml: {problem}"]
    Path("elsewhere/b.yaml").unlink()
    Path("elsewhere").rename("a.d")
    assert bench.settle()
    assert bench.ids() == ["1"]
    assert bench.files.files == {"a.d/a.yaml": GOOD}
    assert bench.lines() == [
        failed("a.d/a.yaml", problem),
        failed("a.d/b.yaml", problem),
        recovered("a.d/a.yaml", 1),
        gone("a.d/b.yaml", 1),
    ]


def test_folder_that_a_pattern_leaves_open_goes_with_its_files(bench: Bench) -> None:
    """To remove a team's folder is to remove its files."""
    write("teams/red/a.yaml", "[1]")
    write("teams/blue/a.yaml", "[2]")
    bench.select("teams/*/a.yaml")
    Path("teams/red/a.yaml").unlink()
    Path("teams/red").rmdir()
    assert bench.settle()
    assert bench.ids() == ["2"]


class ConfigMap:
    """A mounted ConfigMap as kubelet writes it: visible links into ``..data``, a link that is replaced."""

    def __init__(self, folder: str) -> None:
        self._folder = Path(folder)
        self._folder.mkdir()
        self._versions = 0

    def publish(self, content: Mapping[str, str]) -> None:
        """Write a new version, move ``..data`` to it, then add and remove the visible links."""
        self._versions += 1
        data = self._folder / f"..2024_01_02_03_04_05.{self._versions}"
        data.mkdir()
        for name, text in content.items():
            (data / name).write_text(text)
        (self._folder / "..data_tmp").symlink_to(data.name)
        (self._folder / "..data_tmp").rename(self._folder / "..data")
        for name in content:
            if not (self._folder / name).is_symlink():
                (self._folder / name).symlink_to(f"..data/{name}")

    def clean(self, content: Mapping[str, str]) -> None:
        """Remove the visible links that lead nowhere, as kubelet does a moment later."""
        for path in self._folder.iterdir():
            if not path.name.startswith("..") and path.name not in content:
                path.unlink()


def test_mounted_config_map_is_followed(bench: Bench) -> None:
    """A ConfigMap changes by a link that is moved: new, changed and removed files are seen, each read once."""
    mount = ConfigMap("actions.d")
    mount.publish({"a.yaml": "[1]", "b.yaml": "[2]"})
    bench.select("actions.d/*.yaml")
    assert bench.ids() == ["1", "2"]
    bench.rest()
    changed = {"a.yaml": "[3]", "c.yaml": "[4]"}
    mount.publish(changed)
    assert not bench.files.look()
    mount.clean(changed)
    assert bench.files.look()
    assert bench.ids() == ["3", "2", "4"]
    assert bench.files.look()
    assert bench.ids() == ["3", "4"]
    assert bench.files.files == {"actions.d/a.yaml": GOOD, "actions.d/c.yaml": GOOD}
    assert bench.read == [f"actions.d/{name}.yaml" for name in "abac"]
    bench.rest()


def test_link_that_leads_nowhere_is_broken(bench: Bench) -> None:
    """A matched link whose file vanishes is a mistake, not a removal."""
    write("target", "[1]")
    Path("a.yaml").symlink_to("target")
    Path("b.yaml").symlink_to("none")
    bench.select("*.yaml")
    Path("target").unlink()
    assert not bench.settle()
    assert bench.ids() == ["1"]
    assert bench.files.files == {"a.yaml": BROKEN, "b.yaml": BROKEN}
    assert bench.files.problems == [f"a.yaml: {MISSING}", f"b.yaml: {MISSING}"]


def test_folders_are_skipped_and_pipes_refused(bench: Bench) -> None:
    """Nothing that is matched is waited for."""
    Path("folder.yaml").mkdir()
    os.mkfifo("pipe.yaml")
    bench.select("*.yaml")
    assert bench.files.files == {"pipe.yaml": BROKEN}
    assert bench.files.problems == ["pipe.yaml: is not a regular file"]


def test_file_that_changes_while_it_is_read_is_read_again(bench: Bench) -> None:
    """What may be half of the old and half of the new is not taken."""
    write("a.yaml", "[1]")
    bench.select("a.yaml")
    write("a.yaml", "[2]")
    bench.while_reading = lambda: write("a.yaml", "[3]")
    assert not bench.settle()
    assert bench.ids() == ["1"]
    bench.while_reading = lambda: None
    assert bench.settle()
    assert bench.ids() == ["3"]
    bench.rest()


def test_file_that_changes_while_it_is_read_first_is_better_than_none(bench: Bench) -> None:
    """At the start nobody waits for a file to come to rest; it is read again when it has."""
    write("a.yaml", "[1]")
    bench.while_reading = lambda: write("a.yaml", "[2]")
    bench.select("a.yaml")
    assert bench.ids() == ["1"]
    bench.while_reading = lambda: None
    assert bench.settle()
    assert bench.ids() == ["2"]


def test_failure_that_leaves_no_trace_is_tried_again(bench: Bench) -> None:
    """A network's file system recovers without a change to the file: it is read once a minute until it does."""

    def refuse() -> None:
        raise ConfigurationError(["a.yaml: cannot be read: input/output error"])

    write("a.yaml", "[1]")
    bench.while_reading = refuse
    bench.select("a.yaml")
    assert bench.files.files == {"a.yaml": BROKEN}
    assert [bench.files.look() for _ in range(119)] == [False] * 119
    assert bench.read == ["a.yaml"] * 2
    bench.while_reading = lambda: None
    assert bench.files.look()
    assert bench.ids() == ["1"]
    assert bench.lines() == [failed("a.yaml", "cannot be read: input/output error"), recovered("a.yaml", 1)]
    bench.rest()


def test_action_that_is_tracked_already_is_warned_about(bench: Bench) -> None:
    """The first place counts, with its labels; each file is logged once until its duplicates change."""
    write("a.yaml", "[1, {id: 2, labels: {from: a}}, 3, 3]")
    write("b.yaml", "[4, {id: 2, labels: {from: b}}, 5, 1, 6]")
    bench.select("*.yaml", own=["5", "1"])
    assert bench.ids() == ["5", "1", "2", "3", "4", "6"]
    assert bench.files.tracked(None)[2].labels == (("from", "a"),)
    assert bench.files.files == {"a.yaml": FileState(True, 2), "b.yaml": FileState(True, 3)}  # noqa: FBT003 - a pair
    assert bench.files.warnings == [
        "a.yaml: [0]: 1 is tracked already, from the configuration",
        "a.yaml: [3]: 3 is tracked already, from a.yaml",
        "b.yaml: [1]: 2 is tracked already, from a.yaml",
        "b.yaml: [2]: 5 is tracked already, from the configuration",
        "b.yaml: [3]: 1 is tracked already, from the configuration",
    ]
    first, third = (
        "[0]: 1 is tracked already, from the configuration; [3]: 3 is tracked already, from a.yaml",
        "[2]: 5 is tracked already, from the configuration",
    )
    of_b = "[1]: 2 is tracked already, from a.yaml; [2]: 5 is tracked already, from the configuration; "
    of_b += "[3]: 1 is tracked already, from the configuration"
    assert bench.lines()[2:] == [repeats("a.yaml", 2, first), repeats("b.yaml", 3, of_b)]
    bench.rest()
    write("c.yaml", "[7]")
    assert bench.settle()
    assert bench.lines() == [was_read("c.yaml", 1)]
    write("b.yaml", "[2, 8, 5]")
    assert bench.settle()
    assert bench.lines() == [
        was_read("b.yaml", 3),
        repeats("b.yaml", 2, f"[0]: 2 is tracked already, from a.yaml; {third}"),
    ]
    bench.select("*.yaml")
    assert bench.files.warnings == [
        "a.yaml: [3]: 3 is tracked already, from a.yaml",
        "b.yaml: [0]: 2 is tracked already, from a.yaml",
    ]


def test_many_duplicates_are_counted(bench: Bench) -> None:
    """Somebody who copies a file is not told of each of its lines."""
    write("a.yaml", f"{list(range(37))}")
    write("b.yaml", f"{list(range(37))}")
    bench.select("*.yaml")
    assert bench.files.warnings == [
        *(f"b.yaml: [{index}]: {index} is tracked already, from a.yaml" for index in range(20)),
        "b.yaml: … and 17 more",
    ]
    assert bench.files.files["b.yaml"] == FileState(read_successfully=True, duplicates=37)
    first = "; ".join(f"[{index}]: {index} is tracked already, from a.yaml" for index in range(3))
    assert bench.lines()[2:] == [repeats("b.yaml", 37, f"{first}; …")]


def test_file_of_two_tenants_is_read_once(bench: Bench) -> None:
    """Each tenant tracks it beside its own; a duplicate is one within a tenant."""
    write("all.yaml", "[1, 2]")
    write("acme.yaml", "[2]")
    bench.files.select(
        {"acme": ["all.yaml", "acme.yaml"], "globex": ["all.yaml"], "initech": []},
        {"acme": [], "globex": [Action(id="1")], "initech": [Action(id="1")]},
    )
    assert bench.read == ["all.yaml", "acme.yaml"]
    assert [bench.ids(tenant) for tenant in ("acme", "globex", "initech", "other")] == [
        ["1", "2"],
        ["1", "2"],
        ["1"],
        [],
    ]
    assert bench.files.warnings == [
        "all.yaml: [0]: 1 is tracked already for tenant globex, from the configuration",
        "acme.yaml: [0]: 2 is tracked already for tenant acme, from all.yaml",
    ]
    write("all.yaml", "[3]")
    assert bench.settle()
    assert [bench.ids(tenant) for tenant in ("acme", "globex")] == [["3", "2"], ["1", "3"]]


def test_pattern_that_matches_nothing_is_said_once(bench: Bench) -> None:
    """It may be meant so, or be a slip."""
    bench.select("a.d/*.yaml", "*.yaml")
    warning = {"event": "no action file matches", "log_level": "warning"}
    assert bench.lines() == [{**warning, "pattern": "a.d/*.yaml"}, {**warning, "pattern": "*.yaml"}]
    assert bench.files.files == {}
    bench.rest()
    write("a.d/a.yaml", "[1]")
    assert bench.settle()
    assert bench.lines() == [was_read("a.d/a.yaml", 1)]


def test_another_selection_reads_what_is_new_and_forgets_the_rest(bench: Bench) -> None:
    """A reload takes over what is known, reads at once what is new, and says nothing of what is left out.

    What has changed may be half written, and waits for its rest as ever.
    """
    for name in ("a.yaml", "b.yaml", "c.json"):
        write(name, f'["{name}"]')
    bench.select("*.yaml")
    bench.read.clear()
    bench.lines()
    write("b.yaml", "[new]")
    bench.select("b.yaml", "*.json")
    assert bench.ids() == ["b.yaml", "c.json"]
    assert bench.read == ["c.json"]
    assert bench.files.files == {"b.yaml": GOOD, "c.json": GOOD}
    assert bench.lines() == [was_read("c.json", 1)]
    assert bench.files.look()
    assert bench.ids() == ["new", "c.json"]
    assert bench.read == ["c.json", "b.yaml"]
    Path("c.json").unlink()
    bench.select("b.yaml", "*.json")
    assert bench.files.look()
    assert bench.ids() == ["new"]
    bench.rest()


def test_what_other_threads_see_is_replaced_and_never_changed(bench: Bench) -> None:
    """Whoever took the files' states before a change has them still."""
    bench.select("a.yaml", own=["5"])
    before = bench.files.files, bench.files.problems, bench.files.warnings
    write("a.yaml", "[5]")
    assert not bench.settle()
    assert before == ({"a.yaml": BROKEN}, [f"a.yaml: {MISSING}"], [])
    assert bench.files.files == {"a.yaml": FileState(read_successfully=True, duplicates=1)}


def test_name_that_cannot_be_printed_is_shown_escaped(bench: Bench) -> None:
    """A file's name is a metric's label and part of a log line."""
    Path(os.fsdecode(b"a\n\xff.yaml")).write_text("5")
    bench.select("*.yaml")
    name = r"'a\n\udcff.yaml'"
    assert bench.files.files == {name: BROKEN}
    assert bench.files.problems == [f"{name}: {LIST}"]
    assert bench.lines() == [failed(name, LIST)]


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_many_actions_are_tracked(bench: Bench, name: str) -> None:
    """Twenty thousand actions of a file, half of them listed twice."""
    write(name, f"{[*range(10_000), *range(10_000)]}")
    bench.select(name)
    assert len(bench.ids()) == 10_000
    assert bench.files.files == {name: FileState(read_successfully=True, duplicates=10_000)}


def test_denied_file_is_broken(bench: Bench) -> None:
    """A file of another user keeps what was read before."""
    write("a.yaml", "[1]")
    bench.select("*.yaml")
    Path("a.yaml").chmod(0)
    if os.access("a.yaml", os.R_OK):
        pytest.skip("this user may read everything")
    assert not bench.settle()
    assert bench.ids() == ["1"]
    assert bench.files.problems == ["a.yaml: cannot be read: permission denied"]


IDS = st.lists(st.sampled_from("abcdefgh"), max_size=6)


@settings(deadline=None)
@given(own=st.lists(st.sampled_from("abcdefgh"), unique=True), files=st.lists(IDS, max_size=4))
def test_merge_has_each_action_once_in_the_order_of_its_first_place(
    own: list[str], files: list[list[str]]
) -> None:
    """What is tracked, and what is counted as tracked already, are together all that is listed."""
    bench = Bench()
    with tempfile.TemporaryDirectory() as folder:
        for number, ids in enumerate(files):
            (Path(folder) / f"{number}.yaml").write_text(f"{ids}")
        bench.select(f"{folder}/*.yaml", own=own)
    listed = [*own, *(action_id for ids in files for action_id in ids)]
    assert bench.ids() == list(dict.fromkeys(listed))
    duplicates = sum(state.duplicates for state in bench.files.files.values())
    assert duplicates == len(bench.files.warnings) == len(listed) - len(bench.ids())


CHANGES = st.lists(
    st.tuples(st.sampled_from(["a.yaml", "b.yaml"]), st.sampled_from(["[1]", "[2, 3]", "[]", "{", None])),
    max_size=8,
)


@settings(deadline=None)
@given(CHANGES)
def test_whatever_happens_a_look_or_two_later_it_is_known(changes: list[tuple[str, str | None]]) -> None:
    """The last good content of each file that is there is tracked, as a model of it says."""
    bench = Bench()
    good: dict[str, list[str]] = {}
    broken: set[str] = set()
    with tempfile.TemporaryDirectory() as folder:
        bench.select(f"{folder}/*.yaml")
        for name, content in changes:
            path = Path(folder) / name
            if content is None:
                path.unlink(missing_ok=True)
                good.pop(name, None)
                broken.discard(name)
            else:
                write(str(path), content)
                broken.discard(name)
                if content == "{":
                    broken.add(name)
                else:
                    good[name] = [] if content == "[]" else content.strip("[]").split(", ")
            bench.files.look()
            bench.files.look()
            expected = [action_id for name in sorted(good) for action_id in good[name]]
            assert bench.ids() == list(dict.fromkeys(expected))
            assert {Path(file).name: state.read_successfully for file, state in bench.files.files.items()} == {
                **dict.fromkeys(good, True),
                **dict.fromkeys(broken, False),
            }
            assert len(bench.files.problems) == len(broken)
