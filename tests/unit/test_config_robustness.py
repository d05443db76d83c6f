"""Whatever stands in a file: a configuration or an error in our words, and never a secret in it."""

import contextlib
import os
import tempfile
import threading
import traceback
from pathlib import Path

import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from support import TIMEOUT_SECONDS

from exporter.config import Configuration, load
from exporter.config.problems import RefusedError
from exporter.config.values import action_id, label_value
from exporter.config.yaml_loading import parse_yaml, read_pipe
from exporter.errors import ConfigurationError

API = "url: https://api-acme.example, key_id: 7, key_type: advanced"
# A busy machine is no finding.
UNTIMED = settings(deadline=None)
VALID = f"api: {{{API}, key: k}}\nactions:\n  - 325\n  - {{id: x, labels: {{a: b}}}}\npoll: {{interval: 5s}}\n"
KEYS = st.sampled_from(
    [
        *(
            "api",
            "actions",
            "action_files",
            "tenants",
            "poll",
            "state",
            "name",
            "url",
            "key_id",
            "key_type",
            "key",
        ),
        *("key_file", "key_env", "requests_per_second", "timeout", "ca_file", "proxy_url", "id", "labels", "path"),
        *("interval", "settled_interval", "retire_after", "stale_after", "job", "other"),
    ]
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.dates()
    | st.text(max_size=20)
    | st.sampled_from(
        ["https://api-acme.example", "http://a:b@c", "advanced", "5s", "0s", "/", ".", "0x1F", "1:30"]
    )
)
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=6), max_leaves=30
)
# What YAML or a URL might take a secret for: indicators within, digits only, another scalar's form. The text that
# is looked for afterwards occurs in no message of ours.
SECRETS = st.from_regex(r"[!-~]{0,4}Zq7[!-~]{4,12}", fullmatch=True)
PLACES = [
    f"api: {{{API}, key: @}}",
    f"api: {{{API}, key: '@'}}",
    f'api: {{{API}, key: "@"}}',
    f"api: {{{API}, key: [@]}}",
    f"api: {{{API}, key: {{@: 5}}}}",
    f"api: {{{API}, key: k, proxy_url: 'http://user:@@proxy.example'}}",
    f"api: {{{API}, key: k, proxy_url: http://user:@@proxy.example}}",
    f"api: {{{API}, key: k, ca_file: none, proxy_url: 'http://user:@@proxy.example'}}",
    f"api: {{{API}, key: '@', poll: 5}}\nunknown: 5\nactions: [1.5, 0x1F]",
    "api:\n  url: https://user:@@api-acme.example\n",
    "api:\n  url: 'https://user:@@api-acme.example/public_api'\n",
    "api:\n  key: @\n",
    "api:\n  key:\n    @\n",
    "api:\n  key:\n  @\n",
    "api:\n  key:\n  @:\n",
    "api:\n  key: |\n    @\n    more\n",
    "api:\n  key: @\n bad: indent\n",
    "api:\n  key: @\n  key: @\n",
    "api: {key: @",
    "api: [@}",
    "key: '@\n",
    "api: {key: *@, b: &@, c: !@ d, e: !@!f g}",
    "%TAG !@! x\n--- !@!a b",
]


def outcome(content: bytes) -> Configuration | ConfigurationError:
    """Load a file of that content; anything but a configuration or its error fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "config.yaml"
        path.write_bytes(content)
        try:
            return load(path)
        except ConfigurationError as error:
            refused = error
    assert refused.problems
    assert all(problem.startswith(f"{path}: ") for problem in refused.problems)
    assert not any("\n" in problem or "Input should" in problem for problem in refused.problems)
    return refused


@UNTIMED
@given(st.binary() | st.text().map(str.encode))
@example(b"\xef\xbb\xbf")
@example(b"\x00")
@example(b"%YAML 9.9\n---\n")
@example(b"? \n")
@example(b"!!int {}: !!timestamp x")
@example(b"<<: {a: b}\n=: 5\n")
@example(b"a: " + b"1:" * 100_000 + b"1")
@example(b"actions: [" + b"9" * 100_000 + b", " + b"0x" + b"f" * 100_000 + b"]")
def test_any_bytes_are_a_configuration_or_its_error(content: bytes) -> None:
    """No file ends in another exception."""
    outcome(content)


@UNTIMED
@given(st.dictionaries(KEYS, TREES, max_size=6))
def test_any_values_under_our_keys_are_a_configuration_or_its_error(tree: dict[str, object]) -> None:
    """No value of any type in any place ends in another exception."""
    outcome(yaml.safe_dump(tree, sort_keys=False, allow_unicode=True).encode())


@UNTIMED
@given(st.integers(0, len(VALID)), st.integers(0, 8), st.text("[]{}:-,*&!|>'\"%@`#? \n\tab01", max_size=8))
def test_any_slip_in_a_valid_file_is_a_configuration_or_its_error(start: int, cut: int, inserted: str) -> None:
    """Some characters lost or typed in between do not end in another exception."""
    outcome(f"{VALID[:start]}{inserted}{VALID[start + cut :]}".encode())


@pytest.mark.parametrize("place", PLACES)
@UNTIMED
@given(secret=SECRETS)
@example(secret="Zq7abcd,Zq7abcd,Zq7abcd")
@example(secret="Zq7abcd:")
@example(secret="!Zq7!abcd")
@example(secret="Zq7/ab@cd#ef?gh")
@example(secret="[Zq7abcd]")
def test_secret_is_never_shown(place: str, secret: str) -> None:
    """A secret, in its place or torn apart by YAML, is in no message, traceback or text of a result."""
    result = outcome(place.replace("@", secret, 1).replace("@", secret if "!@" in place else "@").encode())
    texts = [str(result), repr(result)]
    if isinstance(result, ConfigurationError):
        texts += traceback.format_exception(result)
        texts += [str(error) for error in (result.__cause__, result.__context__)]
    assert not [text for text in texts if "Zq7" in text]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: !s3!c b", "line 1, column 4: found undefined tag handle"),
        ("a: [b}", "line 1, column 6: expected ',' or ']', but got '}'"),
        ("a: `s3`", "line 1, column 4: found character '`' that cannot start any token"),
        ("a: \u0007", "line 1: the character U+0007 is not allowed in YAML"),
    ],
)
def test_parser_in_python_shows_no_content_either(text: str, message: str) -> None:
    """Where PyYAML is built without libyaml, its errors name single characters and tokens only."""
    with pytest.raises(RefusedError) as caught:
        parse_yaml(text, loader=yaml.SafeLoader)
    assert str(caught.value) == message


def test_parser_in_python_reads_the_same() -> None:
    """Both parsers give the same values, and the same keys given twice."""
    text = f"{VALID}more: [0x1F, 1.5, 1_0.5, yes, ~, 2026-01-02, '5', \"é\", '', <<, =]\npoll: 5\n"
    assert parse_yaml(text, loader=yaml.SafeLoader) == parse_yaml(text)


def test_lone_surrogate_is_refused() -> None:
    """What UTF-8 cannot carry reaches no label and no ID; libyaml refuses the escape, the parser in Python not."""
    values, _ = parse_yaml('"\\ud800"', loader=yaml.SafeLoader)
    with pytest.raises(RefusedError, match=r"^must be text that UTF-8 can carry: a surrogate stands alone in it$"):
        label_value(values)
    with pytest.raises(RefusedError, match=r"^must be an integer, or text of 1 to 128 printable characters"):
        action_id(values)
    with pytest.raises(RefusedError, match=r"^line 1, column 4: found invalid Unicode character escape code$"):
        parse_yaml('"\\ud800"')


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 100_000])
def test_nesting_without_end_is_refused(text: str) -> None:
    """Whoever notices first, we or the parser, which has a limit of its own in some versions: it has a place."""
    with pytest.raises(RefusedError, match=r"^line 1, column \d+: [a-z]"):
        parse_yaml(text)


@pytest.mark.parametrize("content", [b"", b"a key\n", b"k" * 5000])
def test_pipe_is_read_to_its_end(tmp_path: Path, content: bytes) -> None:
    """What somebody writes into it, now or in a moment, within bounds."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=pipe.write_bytes, args=[content])
    writer.start()
    try:
        if len(content) > 4096:
            with pytest.raises(RefusedError, match="is larger than 4,096 bytes"):
                read_pipe(pipe, 4096, seconds=TIMEOUT_SECONDS)
        else:
            assert read_pipe(pipe, 4096, seconds=TIMEOUT_SECONDS) == content
    finally:
        writer.join()


@pytest.mark.parametrize("writes", [False, True])
def test_pipe_that_does_not_end_is_given_up(tmp_path: Path, *, writes: bool) -> None:
    """Nobody waits for ever for a writer, or for the end of what it writes."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with contextlib.ExitStack() as stack:
        if writes:
            keeps_open = stack.enter_context(os.fdopen(os.open(pipe, os.O_RDWR), "wb", buffering=0))
            keeps_open.write(b"half a k")
        with pytest.raises(RefusedError) as refused:
            read_pipe(pipe, 4096, seconds=0.1)
    assert str(refused.value) == "is a pipe that did not come to its end within 0.1 s"


def test_pipe_that_cannot_be_opened_is_refused(tmp_path: Path) -> None:
    """The system's words say why, as for a file."""
    with pytest.raises(RefusedError, match="cannot be read: no such file or directory"):
        read_pipe(tmp_path / "pipe", 4096, seconds=1)
