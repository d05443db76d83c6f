"""Action files: what they say, and each invalid one paired with its exact messages."""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from exporter.config import Action, read_actions
from exporter.config.json_loading import parse_json
from exporter.errors import ConfigurationError

ID = (
    "must be an integer, or text of 1 to 128 printable characters without spaces "
    "(in quotes where YAML reads something else)"
)
QUOTE = "put it in quotes to have it taken as written"
RESERVED = (
    "is a reserved label name, as are action_id, status, general_status, tenant, reason, job, instance and "
    "names that begin with __"
)
LABEL_NAME = "is no label name: letters, digits and underscores, not beginning with a digit"
LABEL_VALUE = f"must be text or an integer: {QUOTE}"
LIST = "must be a list of IDs, or of mappings with the keys id and labels"
EMPTY = "is empty: write [] for no actions"
ALIAS = "anchors and aliases (& and *) are not supported: write the value out, or quote it"
TWICE = "the same key is given twice"
# A busy machine is no finding.
UNTIMED = settings(deadline=None)


def read(folder: Path, name: str, content: str | bytes) -> tuple[Action, ...]:
    """Read a file of that name and content."""
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return read_actions(path)


def problems(folder: Path, name: str, content: str | bytes) -> list[str]:
    """Return what is wrong with a file of that name and content, without the folder's name."""
    with pytest.raises(ConfigurationError) as caught:
        read(folder, name, content)
    return [problem.removeprefix(f"{folder}/") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.yaml", "- 325\n- {id: '0x1F', labels: {team: blue, wave: 7}}\n- id: x\n  labels:\n- 325\n"),
        ("a.yaml", '[325, {"id": "0x1F", "labels": {"wave": 7, "team": "blue"}}, {"id": "x"}, "325"]'),
        ("a.JSON", '[325, {"id": "0x1F", "labels": {"wave": 7, "team": "blue"}}, {"id": "x"}, "325"]'),
        (
            "a.json",
            '\ufeff\n[325,\n{"labels":{"wave":7,"team":"blue"},"id":"0x1F"},{"id":"x","labels":null},325]\n',
        ),
    ],
)
def test_action_file_lists_what_actions_lists(tmp_path: Path, name: str, content: str) -> None:
    """Each entry is an action, in YAML as in JSON; an ID that stands there twice is one, too."""
    assert read(tmp_path, name, content) == (
        Action(id="325"),
        Action(id="0x1F", labels=(("team", "blue"), ("wave", "7"))),
        Action(id="x"),
        Action(id="325"),
    )


@pytest.mark.parametrize("name", ["a.yaml", "a.json", "a"])
def test_empty_list_is_no_actions(tmp_path: Path, name: str) -> None:
    """Whoever has nothing to track writes so."""
    assert read(tmp_path, name, "[]") == ()


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_many_actions_are_read(tmp_path: Path, name: str) -> None:
    """Twenty thousand labelled actions are an ordinary file, and share the labels that are alike."""
    entries = [{"id": 22519813685366 + n, "labels": {"campaign": "smbv1", "wave": n % 7}} for n in range(20_000)]
    actions = read(tmp_path, name, json.dumps(entries))
    assert len(actions) == 20_000
    assert actions[-1] == Action(id="22519813705365", labels=(("campaign", "smbv1"), ("wave", "0")))
    assert actions[7].labels is actions[14].labels


@pytest.mark.parametrize(
    ("name", "content", "expected"),
    [
        ("a.yaml", "", [f": {EMPTY}"]),
        ("a.yaml", "# - 325\n", [f": {EMPTY}"]),
        ("a.json", " \n", [f": {EMPTY}"]),
        ("a.json", "null", [f": {EMPTY}"]),
        ("a.yaml", "actions: [325]", [f": {LIST}"]),
        ("a.json", '{"actions": [325]}', [f": {LIST}"]),
        ("a.yaml", "325", [f": {LIST}"]),
        (
            "a.yaml",
            "- 1.5\n- {id: a b, label: {}}\n- &a 5\n",
            [
                f": line 3, column 3: {ALIAS}",
            ],
        ),
        (
            "a.yaml",
            "- 1.5\n- {id: a b, label: {}}\n- {id: 1_000, id: 6}\n- labels: {job: x, é: null}\n",
            [
                f": [0]: {ID}",
                f": [1].id: {ID}",
                ": [1].label: unknown key; did you mean labels? known are: id, labels",
                f": [2].id: lines 3 and 3: {TWICE}",
                f": [2].id: 1_000 is read by YAML as 1000: {QUOTE}",
                f": [3].labels.job: {RESERVED}",
                rf": [3].labels.'\xe9': {LABEL_NAME}",
                rf": [3].labels.'\xe9': {LABEL_VALUE}",
                ": [3].id: is missing",
            ],
        ),
        (
            "a.yaml",
            "- {id: 5, labels: {a: b, a: c}, x: , s3,cr3t}\n",
            [
                ": [0]: an unknown key, not shown as it may be a piece of a secret; known are: id, labels",
                ": [0]: an unknown key, not shown as it may be a piece of a secret; known are: id, labels",
                ": [0]: an unknown key, not shown as it may be a piece of a secret; known are: id, labels",
                f": [0].labels.a: lines 1 and 1: {TWICE}",
            ],
        ),
        (
            "a.json",
            '[1.0, true, null, [5], -0, NaN, 0e1, {"id": -Infinity}]',
            [
                *(f": [{index}]: {ID}" for index in range(4)),
                f": [4]: -0 is read by JSON as 0: {QUOTE}",
                f": [5]: NaN is read by JSON as a number: {QUOTE}",
                f": [6]: {ID}",
                f": [7].id: -Infinity is read by JSON as a number: {QUOTE}",
            ],
        ),
        (
            "a.json",
            f'[{"9" * 129}, {"9" * 5000}, {{"id": "x", "labels": {{"a": 1.5, "b": {"9" * 129}}}}}]',
            [
                f": [0]: {ID}",
                f": [1]: {ID}",
                f": [2].labels.a: {LABEL_VALUE}",
                f": [2].labels.b: {'9' * 40}… is read by JSON as a number: {QUOTE}",
            ],
        ),
        (
            "a.json",
            r'["\ud800", {"id": "x", "labels": {"a": "\udfff", "\ud800": "b"}}]',
            [
                f": [0]: {ID}",
                ": [1].labels.a: must be text that UTF-8 can carry: a surrogate stands alone in it",
                rf": [1].labels.'\ud800': {LABEL_NAME}",
            ],
        ),
        (
            "a.json",
            '[{"id": 5, "id": 6, "labels": {"a": "b", "c": "d", "a": "b", "a": "e"}, "id": 5}]',
            [
                f": [0].id: {TWICE}",
                f": [0].labels.a: {TWICE}",
            ],
        ),
        ("a.json", "- 325\n", [": line 1, column 1: is not JSON: expecting value"]),
        ("a.json", "[1, 2", [": line 1, column 6: is not JSON: expecting ',' delimiter"]),
        ("a.json", "[1]\n[2]", [": line 2, column 1: is not JSON: extra data"]),
        ("a.json", '["s3cr3t', [": line 1, column 2: is not JSON: unterminated string starting"]),
        ("a.json", '["s3\tcr3t"]', [": line 1, column 5: is not JSON: invalid control character"]),
        ("a.json", r'["s3\cr3t"]', [r": line 1, column 5: is not JSON: invalid \escape"]),
        ("a.json", "[0x1F]", [": line 1, column 3: is not JSON: expecting ',' delimiter"]),
        ("a.json", "[" * 100_000, [": is nested more than 20 levels deep"]),
        ("a.yaml", "[" * 500, [": line 1, column 21: is nested more than 20 levels deep"]),
        ("a.json", b"[1,\n\xff]", [": line 2: is not UTF-8 text"]),
        ("a.yaml", b"- \xff", [": line 1: is not UTF-8 text"]),
        ("a.json", " " * (8 * 1024 * 1024 + 1), [": is larger than 8,388,608 bytes"]),
    ],
)
def test_wrong_action_file_is_refused(
    tmp_path: Path, name: str, content: str | bytes, expected: list[str]
) -> None:
    """Every problem is named, with its place; nothing is taken from a file with a problem."""
    assert problems(tmp_path, name, content) == [f"{name}{line}" for line in expected]


@pytest.mark.parametrize("name", ["a.yaml", "a.json"])
def test_problems_of_an_action_file_are_counted_beyond_a_hundred(tmp_path: Path, name: str) -> None:
    """A file that is wrong in each of its entries does not flood the log."""
    expected = [f"{name}: [{index}]: {ID}" for index in range(100)]
    assert problems(tmp_path, name, json.dumps([1.5] * 20_000)) == [*expected, f"{name}: … and 19900 more"]


def test_wrong_labels_are_counted_beyond_a_hundred(tmp_path: Path) -> None:
    """One entry with more wrong labels than anybody would write is as quickly refused."""
    content = json.dumps([{"id": 5, "labels": {f"{number}": "x" for number in range(20_000)}}])
    assert problems(tmp_path, "a.json", content)[-1] == "a.json: … and 19900 more"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none.yaml", "cannot be read: no such file or directory"),
        ("none.json", "cannot be read: no such file or directory"),
        ("folder", "cannot be read: is a directory"),
        ("loop", "cannot be read: too many levels of symbolic links"),
        ("dangling", "cannot be read: no such file or directory"),
        ("pipe", "is not a regular file"),
        ("to-pipe", "is not a regular file"),
    ],
)
def test_what_is_no_file_is_refused(tmp_path: Path, name: str, message: str) -> None:
    """A pipe is not waited for."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "dangling").symlink_to("none")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "to-pipe").symlink_to("pipe")
    with pytest.raises(ConfigurationError) as caught:
        read_actions(tmp_path / name)
    assert caught.value.problems == [f"{tmp_path / name}: {message}"]


def test_device_is_refused() -> None:
    """What has no end is not read."""
    with pytest.raises(ConfigurationError) as caught:
        read_actions(Path("/dev/zero"))
    assert caught.value.problems == ["/dev/zero: is not a regular file"]


def test_name_that_cannot_be_printed_is_shown_escaped(tmp_path: Path) -> None:
    """A message stays one line of UTF-8 whatever a file is called."""
    path = tmp_path / os.fsdecode(b"a\n\xff.yaml")
    path.write_text("5")
    with pytest.raises(ConfigurationError) as caught:
        read_actions(path)
    assert caught.value.problems == [rf"'{tmp_path}/a\n\udcff.yaml': {LIST}"]


def outcome(name: str, content: bytes) -> None:
    """Read a file of that name; anything but actions or an error in our words fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            actions = read_actions(path)
        except ConfigurationError as error:
            refused = error
        else:
            assert all(type(action) is Action for action in actions)
            assert f"{actions}".encode()
            return
    assert refused.problems
    assert all(problem.startswith(f"{path}: ") for problem in refused.problems)
    assert "\n" not in "".join(refused.problems)
    assert str(refused).encode()


NAMES = st.sampled_from(["a.yaml", "a.json"])
SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10)
KEYS = st.sampled_from(["id", "labels", "team", "job"]) | st.text(max_size=3)
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4), max_leaves=20
)


@UNTIMED
@given(NAMES, st.binary() | st.text().map(str.encode))
@example("a.json", b"\xef\xbb\xbf")
@example("a.json", b'{"a": ' * 100_000)
@example("a.json", b"[" + b"1" * 100_000 + b"]")
def test_any_bytes_are_actions_or_their_error(name: str, content: bytes) -> None:
    """No file ends in another exception."""
    outcome(name, content)


@UNTIMED
@given(NAMES, st.lists(JSON))
def test_any_values_are_actions_or_their_error(name: str, entries: list[Any]) -> None:
    """No value of any type in any place ends in another exception."""
    outcome(name, json.dumps(entries).encode())


@UNTIMED
@given(st.lists(st.dictionaries(KEYS, JSON, max_size=4), max_size=4))
def test_json_is_read_as_it_is(tree: list[Any]) -> None:
    """What is no number that surprises comes out as it was written."""
    text = json.dumps(tree)
    if "NaN" not in text and "Infinity" not in text:
        assert parse_json(text) == (tree, [])


IDS = st.integers().map(str) | st.text("abc-0x1", min_size=1, max_size=5)
# Beyond these, JSON escapes a character as two surrogates, which YAML refuses.
TEXTS = st.text(st.characters(max_codepoint=0xD7FF), max_size=5)
LABELS = st.dictionaries(st.sampled_from(["team", "wave", "a"]), TEXTS)


@UNTIMED
@given(st.lists(st.tuples(IDS, LABELS)))
def test_yaml_and_json_give_the_same_actions(entries: list[tuple[str, dict[str, str]]]) -> None:
    """A program may write either."""
    content = json.dumps([{"id": action_id, "labels": labels} for action_id, labels in entries])
    expected = tuple(Action(id=action_id, labels=tuple(sorted(labels.items()))) for action_id, labels in entries)
    with tempfile.TemporaryDirectory() as folder:
        assert read(Path(folder), "a.json", content) == expected
        assert read(Path(folder), "a.yaml", content) == expected
