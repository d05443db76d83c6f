"""Invalid configurations, each paired with its exact messages."""

import os
import socket
from pathlib import Path

import pytest

from exporter.config import load
from exporter.errors import ConfigurationError

FIXTURES = Path(__file__).parents[1] / "fixtures" / "config"
API = "url: https://api-acme.example, key_id: 7, key_type: advanced"
API_KEYS = (
    "known are: url, key_id, key_type, key_file, key_env, key, requests_per_second, timeout, ca_file, proxy_url"
)
API_MAPPING = API_KEYS.replace("known are:", "must be a mapping with the keys")
POLL_KEYS = "known are: interval, settled_interval, retire_after, stale_after"
FILE_KEYS = "known are: api, actions, action_files, tenants, poll, state"
HIDDEN = "an unknown key, not shown as it may be a piece of a secret"
ID = (
    "must be an integer, or text of 1 to 128 printable characters without spaces "
    "(in quotes where YAML reads something else)"
)
PRINTABLE = "must consist of printable characters"
TEXT = "must be text: put it in quotes"
QUOTE = "put it in quotes to have it taken as written"
LABEL_NAME = "is no label name: letters, digits and underscores, not beginning with a digit"
LABEL_VALUE = f"must be text or an integer: {QUOTE}"
RESERVED = (
    "is a reserved label name, as are action_id, status, general_status, tenant, reason, job, instance and "
    "names that begin with __"
)
NAME = "must be text (in quotes where YAML reads something else) of 1 to 128 printable characters"
KEY_SOURCES = "give one of key_file, key_env and key"
KEY_WORD = "holds no key: a key is one word of printable ASCII"
HOST = "must have a host: a name of ASCII letters, digits, dots and hyphens, or an address"
PORT = "must be a URL with a valid host and port"
HTTPS = "must begin with https://"
LOOPBACK = "must begin with https://; plain http is for loopback addresses only"
BLANK = "must not contain white space or control characters"
CREDENTIALS = "must not contain credentials: the key goes into key_file, key_env or key"
PROXY_END = "must end after the host and port; percent-encode special characters of a password"
RATE = "must be a number above 0 and at most 10, which is all that a tenant allows"
DURATION = "must be a duration such as 90s, 1h30m or 7d (units: y w d h m s ms, in this order)"
ALIAS = "anchors and aliases (& and *) are not supported: write the value out, or quote it"
TAG = "tags (!) are not supported: quote a value that begins with !"
TWICE = "the same key is given twice"


def problems(folder: Path, content: str | bytes) -> list[str]:
    """Return what is wrong with a file of that content, named config.yaml by a relative path."""
    (folder / "config.yaml").write_bytes(content.encode() if isinstance(content, str) else content)
    return problems_of(folder, "config.yaml")


def problems_of(folder: Path, name: str) -> list[str]:
    """Return what is wrong with a file of the folder, which is the working directory meanwhile."""
    before = Path.cwd()
    os.chdir(folder)
    try:
        with pytest.raises(ConfigurationError) as caught:
            load(Path(name))
    finally:
        os.chdir(before)
    assert str(caught.value) == "\n".join(caught.value.problems)
    return caught.value.problems


def test_all_problems_are_reported_at_once_in_the_order_of_the_file() -> None:
    """An unknown key, an invalid value, a missing one and a conflict between two do not hide each other."""
    expected = (FIXTURES / "many_problems.txt").read_text(encoding="utf-8").splitlines()
    assert problems_of(FIXTURES, "many_problems.yaml") == expected


def test_problems_are_counted_beyond_a_hundred(tmp_path: Path) -> None:
    """A file that is wrong in each of its entries does not flood the terminal."""
    content = f"api: {{{API}, key: k}}\nactions:\n" + "  - 1.5\n" * 105
    expected = [f"config.yaml: actions[{index}]: {ID}" for index in range(100)]
    assert problems(tmp_path, content) == [*expected, "config.yaml: … and 5 more"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "is empty: it needs at least api (or tenants)"),
        ("# nothing\n", "is empty: it needs at least api (or tenants)"),
        ("---\n", "is empty: it needs at least api (or tenants)"),
        ("- api\n", "must be a mapping with the keys api, actions, action_files, tenants, poll, state"),
        ("api", "must be a mapping with the keys api, actions, action_files, tenants, poll, state"),
        ("api: {}\n---\napi: {}\n", "line 2, column 1: a second document begins: a file holds one"),
        (b"api:\n  key: \xff\n", "line 2: is not UTF-8 text"),
        ("api: {}".encode("utf-16"), "line 1: is not UTF-8 text"),
        ("api:\n  key: \x07s3cr3t\n", "line 2: the character U+0007 is not allowed in YAML"),
        ("api:\n  key: s3: cr3t\n", "line 2, column 10: mapping values are not allowed in this context"),
        ("api: {key: 's3cr3t\n", "line 2, column 1: found unexpected end of stream"),
        ("api:\n  key: @s3cr3t\n", "line 2, column 8: found character that cannot start any token"),
        ("api:\n\tkey: k\n", "line 2, column 1: found character that cannot start any token"),
        ("api:\n  key: !s3cr3t\n", f"line 2, column 8: {TAG}"),
        ("api:\n  key: !s3!cr3t x\n", "line 2, column 8: found undefined tag handle"),
        ("api:\n  key: &s3cr3t\n", f"line 2, column 8: {ALIAS}"),
        ("api:\n  key: *s3cr3t\n", f"line 2, column 8: {ALIAS}"),
        ("a: &a [1]\nb: &b [*a, *a]\n", f"line 1, column 4: {ALIAS}"),
        ("? [a]\n: 1\n", "line 1, column 3: a key must be plain text"),
        ("&a api: 1\n", "line 1, column 1: a key must be plain text"),
        ("!!str api: 1\n", "line 1, column 1: a key must be plain text"),
        ("[" * 500, "line 1, column 21: is nested more than 20 levels deep"),
        ("{a: " * 500, "line 1, column 81: is nested more than 20 levels deep"),
        ("# " + "x" * 8 * 1024 * 1024, "is larger than 8,388,608 bytes"),
    ],
)
def test_unreadable_content_is_refused(tmp_path: Path, content: str | bytes, message: str) -> None:
    """What is not one YAML mapping within bounds is refused with its line, never with its content."""
    assert problems(tmp_path, content) == [f"config.yaml: {message}"]


@pytest.mark.parametrize(
    ("name", "shown", "message"),
    [
        (".", ".", "cannot be read: is a directory"),
        ("none.yaml", "none.yaml", "cannot be read: no such file or directory"),
        ("socket", "socket", "cannot be read: no such device or address"),
        ("a\0b", r"'a\x00b'", "cannot be read: this is no file name"),
    ],
)
def test_unreadable_file_is_refused(tmp_path: Path, name: str, shown: str, message: str) -> None:
    """A path that gives no content says why."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
        assert problems_of(tmp_path, name) == [f"{shown}: {message}"]


def test_pipe_is_not_read_a_second_time(tmp_path: Path) -> None:
    """What it gave at the start it does not give to a reload, which does not wait for it either."""
    path = tmp_path / "config.yaml"
    os.mkfifo(path)
    with pytest.raises(ConfigurationError) as caught:
        load(path, again=True)
    assert caught.value.problems == [f"{path}: is not a regular file, and cannot be read a second time"]


def test_denied_file_is_refused(tmp_path: Path) -> None:
    """A file of another user says so."""
    path = tmp_path / "config.yaml"
    path.touch(mode=0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    assert problems_of(tmp_path, "config.yaml") == ["config.yaml: cannot be read: permission denied"]


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("poll: {}", ["api: is missing (or tenants, a list of several)"]),
        ("api:", ["api: is missing (or tenants, a list of several)"]),
        (
            "{a: 1, Polls: 2, ab1c: 3, b: }",
            [
                f"{HIDDEN}; {FILE_KEYS}",
                f"a: unknown key; {FILE_KEYS}",
                f"Polls: unknown key; did you mean poll? {FILE_KEYS}",
                f"ab1c: unknown key; {FILE_KEYS}",
                "api: is missing (or tenants, a list of several)",
            ],
        ),
        (
            f"api: {{{API}, key: k}}\nactions: 5\naction_files: x\npoll: []\nstate: x",
            [
                "actions: must be a list",
                "action_files: must be a list",
                "poll: must be a mapping with the keys interval, settled_interval, retire_after, stale_after",
                "state: must be a mapping with the keys path",
            ],
        ),
        (f"api: {{{API}, key: k}}\npoll: {{}}\npoll: {{}}", [f"poll: lines 2 and 3: {TWICE}"]),
        (
            f"api: {{{API}, key: k}}\npoll:\n  interval: 9s\n\n  'interval': 9s",
            [f"poll.interval: lines 3 and 5: {TWICE}"],
        ),
        (
            f"api: {{{API}, key: k}}\nactions: []\ntenants: []",
            [
                "api: does not go with tenants: move it into one of them",
                "actions: does not go with tenants: move it into one of them",
                "tenants: must not be empty",
            ],
        ),
        ("tenants:", ["tenants: must be a list"]),
        (
            "tenants: [{name: '', api: x, url: y}, {name: 7}, 5]",
            [
                f"tenants[0].name: {NAME}",
                f"tenants[0].api: {API_MAPPING}",
                "tenants[0].url: unknown key; known are: name, api, actions, action_files",
                f"tenants[1].name: {NAME}",
                "tenants[1].api: is missing",
                "tenants[2]: must be a mapping with the keys name, api, actions, action_files",
            ],
        ),
        (
            "tenants: [{name: a, api: &, actions: [5, 5]}, {name: a, api: &}]".replace("&", f"{{{API}, key: k}}"),
            [
                "tenants[0].actions[1]: 5 is the ID at actions[0] already",
                "tenants[1].name: is the name of tenants[0] already",
            ],
        ),
    ],
)
def test_wrong_structure_is_refused(tmp_path: Path, content: str, expected: list[str]) -> None:
    """Unknown, missing, doubled and misshapen keys are named."""
    assert problems(tmp_path, content) == [f"config.yaml: {line}" for line in expected]


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ("", ["key_id: is missing", "url: is missing"]),
        ("url: ''", ["url: must not be empty"]),
        ("url: [a]", [f"url: {TEXT}"]),
        ("url: api-acme.example", [f"url: {HTTPS}"]),
        ("url: api-acme.example:443", [f"url: {HTTPS}"]),
        ("url: ftp://api-acme.example", [f"url: {HTTPS}"]),
        ("url: http://api-acme.example", [f"url: {LOOPBACK}"]),
        ("url: http://128.0.0.1", [f"url: {LOOPBACK}"]),
        ("url: http://127.1", [f"url: {LOOPBACK}"]),
        ("url: http://localhost.example", [f"url: {LOOPBACK}"]),
        ("url: 'http://[::2]'", [f"url: {LOOPBACK}"]),
        ("url: https://", [f"url: {HOST}"]),
        ("url: https:/api-acme.example", [f"url: {HOST}"]),
        ("url: https://a..example", [f"url: {HOST}"]),
        ("url: https://ä.example", [f"url: {HOST}"]),
        ("url: 'https://{fqdn}'", [f"url: {HOST}"]),
        ("url: 'https://[::1%eth0]'", [f"url: {HOST}"]),
        ("url: 'https://[::1'", [f"url: {PORT}"]),
        ("url: https://api-acme.example:0", [f"url: {PORT}"]),
        ("url: https://api-acme.example:65536", [f"url: {PORT}"]),
        ("url: https://api-acme.example:x", [f"url: {PORT}"]),
        ("url: 'https://api-acme.example:'", [f"url: {PORT}"]),
        ("url: https://user:s3cr3t@api-acme.example", [f"url: {CREDENTIALS}"]),
        ("url: https://user@api-acme.example", [f"url: {CREDENTIALS}"]),
        ("url: https://api-acme.example/?a", ["url: must not have a query or a fragment (? or #)"]),
        ("url: 'https://api-acme.example?'", ["url: must not have a query or a fragment (? or #)"]),
        ("url: https://api-acme.example#a", ["url: must not have a query or a fragment (? or #)"]),
        ("url: https://api-acme.example/a b", [f"url: {BLANK}"]),
        ('url: "https://api-acme.example\\n"', [f"url: {BLANK}"]),
        (
            "url: https://API-API-acme.example",
            ["url: must not begin with api-api-: the host is api- and the tenant's FQDN"],
        ),
        (
            "url: https://api-acme.example/public_api/v1/",
            ["url: must end before /public_api: the exporter adds the path of each call"],
        ),
        ("url: 'https://api-acme.example/ä'", ["url: must have its special characters percent-encoded"]),
        ("key_id: -1", ["key_id: must be the key's number, in plain decimal"]),
        ("key_id: 0x7", ["key_id: must be the key's number, in plain decimal"]),
        ("key_id: true", ["key_id: must be the key's number, in plain decimal"]),
        ("key_id: 7.0", ["key_id: must be the key's number, in plain decimal"]),
        ("key_id: '\u0667'", ["key_id: must be the key's number, in plain decimal"]),
        ("key_id: '7\n  8'", ["key_id: must be the key's number, in plain decimal"]),
        ("key_type: Advanced", ["key_type: must be advanced or standard, as chosen when the key was made"]),
        ("key_type: [advanced]", ["key_type: must be advanced or standard, as chosen when the key was made"]),
        ("requests_per_second: 0", [f"requests_per_second: {RATE}"]),
        ("requests_per_second: 1.0e-320", [f"requests_per_second: {RATE}"]),
        ("requests_per_second: 10.01", [f"requests_per_second: {RATE}"]),
        ("requests_per_second: -.inf", [f"requests_per_second: {RATE}"]),
        ("requests_per_second: .nan", [f"requests_per_second: {RATE}"]),
        ("requests_per_second: '5'", [f"requests_per_second: {RATE}"]),
        ("requests_per_second: true", [f"requests_per_second: {RATE}"]),
        ("requests_per_second: 0b101", [f"requests_per_second: {RATE}"]),
        (f"requests_per_second: {'9' * 128}", [f"requests_per_second: {RATE}"]),
        ("timeout: 0s", ["timeout: must be above 0s"]),
        ("timeout: 0", ["timeout: must be above 0s"]),
        ("timeout: 25h", ["timeout: must be at most 1d"]),
        ("timeout: 10", ["timeout: needs a unit: write 10s"]),
        ("timeout: -10", ["timeout: must not be negative"]),
        ("timeout: 1.5", [f"timeout: {DURATION}"]),
        ("timeout: true", [f"timeout: {DURATION}"]),
        ("timeout: false", [f"timeout: {DURATION}"]),
        ("timeout: 1:30", [f"timeout: {DURATION}"]),
        ("timeout:", [f"timeout: {DURATION}"]),
        ("timeout: 300y", ["timeout: must be a duration of at most 292y"]),
        ("ca_file: ''", ["ca_file: must not be empty"]),
        ("ca_file: 5", [f"ca_file: {TEXT}"]),
        ("ca_file: ca.pem", ["ca_file: ca.pem cannot be read: no such file or directory"]),
        ("ca_file: config.yaml", ["ca_file: config.yaml holds no CA certificates in PEM format"]),
        ("proxy_url: ''", ["proxy_url: must not be empty"]),
        ("proxy_url: socks5://proxy.example", ["proxy_url: must begin with http:// or https://"]),
        ("proxy_url: http://user:s3cr3t@", [f"proxy_url: {HOST}"]),
        ("proxy_url: http://user:s3/cr3t@proxy.example", [f"proxy_url: {PORT}"]),
        ("proxy_url: 'http://user:s3#cr3t@proxy.example'", [f"proxy_url: {PORT}"]),
        ("proxy_url: http://proxy.example/path", [f"proxy_url: {PROXY_END}"]),
        ("proxy_url: http://proxy.example?s3cr3t", [f"proxy_url: {PROXY_END}"]),
        (
            "proxy_url: 'http://user:s3 cr3t@proxy.example'",
            ["proxy_url: must be ASCII without white space: percent-encode other characters"],
        ),
        ("verify: false", [f"verify: unknown key; {API_KEYS}"]),
        ("timeouts: 5s", [f"timeouts: unknown key; did you mean timeout? {API_KEYS}"]),
    ],
)
def test_wrong_api_is_refused(tmp_path: Path, keys: str, expected: list[str]) -> None:
    """Each key of `api` says what it takes; a refused URL is never shown, it may hold a password."""
    api = {"url": "https://api-acme.example", "key_id": "7", "key_type": "advanced"}
    given = keys.partition(":")[0]
    lines = [f"{key}: {value}" for key, value in api.items() if keys and key != given]
    content = "\n  ".join(["api:", "key: k", *lines, keys])
    assert sorted(problems(tmp_path, content)) == [f"config.yaml: api.{line}" for line in expected]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", [f"api: the key is missing: {KEY_SOURCES}"]),
        ("key: k, key_file: good", [f"api.key_file: does not go with key: {KEY_SOURCES}"]),
        (
            "key_file: none, key: '', key_env: CORTEX_GOOD",
            [
                "api.key_file: none cannot be read: no such file or directory",
                f"api.key: does not go with key_file: {KEY_SOURCES}",
                "api.key: must not be empty",
                f"api.key_env: does not go with key_file: {KEY_SOURCES}",
            ],
        ),
        ("key: ", ["api.key: must not be empty"]),
        ("key: 5", [f"api.key: {TEXT}"]),
        ("key: {s3cr3t: x}", [f"api.key: {TEXT}"]),
        ("key: ' '", ["api.key: holds no key: it is empty"]),
        ("key: s3 cr3t", [f"api.key: {KEY_WORD}"]),
        ('key: "s3\\ncr3t"', [f"api.key: {KEY_WORD}"]),
        ("key: s3crét", [f"api.key: {KEY_WORD}"]),
        (f"key: {'s3cr3t' * 700}", ["api.key: is larger than 4,096 bytes"]),
        ("key: s3,cr3t", [f"api: {HIDDEN}; {API_KEYS}"]),
        ("key: s3,cret,cret", [f"api: lines 1 and 1: {TWICE}", f"api: {HIDDEN}; {API_KEYS}"]),
        ("key_env: ''", ["api.key_env: must not be empty"]),
        ("key_env: s3-cr3t", ["api.key_env: must be the name of an environment variable"]),
        ("key_env: CORTEX_NONE", ["api.key_env: the environment variable CORTEX_NONE is not set"]),
        (
            "key_env: CORTEX_EMPTY",
            ["api.key_env: the environment variable CORTEX_EMPTY holds no key: it is empty"],
        ),
        ("key_env: CORTEX_TWO", [f"api.key_env: the environment variable CORTEX_TWO {KEY_WORD}"]),
        (f"key_env: {'s3cr3t' * 20}", ["api.key_env: the environment variable of that name is not set"]),
        ("key_file: 5", [f"api.key_file: {TEXT}"]),
        ("key_file: .", ["api.key_file: . cannot be read: is a directory"]),
        ("key_file: keys/none", ["api.key_file: keys/none cannot be read: no such file or directory"]),
        ("key_file: /none", ["api.key_file: /none cannot be read: no such file or directory"]),
        ('key_file: "a\\0b"', ["api.key_file: the file of that name cannot be read: this is no file name"]),
        (
            f"key_file: {'s3cr3t' * 20}",
            ["api.key_file: the file of that name cannot be read: no such file or directory"],
        ),
        ("key_file: empty", ["api.key_file: empty holds no key: it is empty"]),
        ("key_file: two", [f"api.key_file: two {KEY_WORD}"]),
        ("key_file: binary", [f"api.key_file: binary {KEY_WORD}"]),
        ("key_file: large", ["api.key_file: large is larger than 4,096 bytes"]),
    ],
)
def test_wrong_key_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, expected: list[str]
) -> None:
    """A key comes from exactly one place and is one word; neither it nor a piece of it is shown."""
    for name, text in {"GOOD": "k", "EMPTY": "\n", "TWO": "s3 cr3t"}.items():
        monkeypatch.setenv(f"CORTEX_{name}", text)
    files = {"good": b"k", "empty": b"\n", "two": b"s3\ncr3t\n", "binary": b"s3\xff", "large": b"k" * 4097}
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    assert problems(tmp_path, f"api: {{{API}, {source}}}") == [f"config.yaml: {line}" for line in expected]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("true", [f": {ID}"]),
        ("no", [f": {ID}"]),
        ("1.5", [f": {ID}"]),
        (".inf", [f": {ID}"]),
        ("null", [f": {ID}"]),
        ("", [f": {ID}"]),
        ("''", [f": {ID}"]),
        ("[5]", [f": {ID}"]),
        ("a b", [f": {ID}"]),
        ('"a\\tb"', [f": {ID}"]),
        ('"a\\u2028b"', [f": {ID}"]),
        ("x" * 129, [f": {ID}"]),
        ("9" * 129, [f": {ID}"]),
        ("9" * 5000, [f": {ID}"]),
        ("9" * 41 + "_", [f": {'9' * 40}… is read by YAML as a number: {QUOTE}"]),
        ("0x1F", [f": 0x1F is read by YAML as 31: {QUOTE}"]),
        ("1_000", [f": 1_000 is read by YAML as 1000: {QUOTE}"]),
        ("0123", [f": 0123 is read by YAML as 83: {QUOTE}"]),
        ("00", [f": 00 is read by YAML as 0: {QUOTE}"]),
        ("0b1", [f": 0b1 is read by YAML as 1: {QUOTE}"]),
        ("0x_", [f": 0x_ is read by YAML as a number: {QUOTE}"]),
        ("1:30", [f": 1:30 is read by YAML as 90: {QUOTE}"]),
        ("+5", [f": +5 is read by YAML as 5: {QUOTE}"]),
        ("-0", [f": -0 is read by YAML as 0: {QUOTE}"]),
        ("2026-13-45", [f": 2026-13-45 is read by YAML as a date: {QUOTE}"]),
        ("{}", [".id: is missing"]),
        ("{id: 0x1F}", [f".id: 0x1F is read by YAML as 31: {QUOTE}"]),
        ("{id: 5, label: {}}", [".label: unknown key; did you mean labels? known are: id, labels"]),
        ("{id: 5, labels: x}", [".labels: must be a mapping of label names to values"]),
        ("{id: 5, labels: [a]}", [".labels: must be a mapping of label names to values"]),
        ("{id: 5, labels: {a-b: x}}", [f".labels.a-b: {LABEL_NAME}"]),
        ("{id: 5, labels: {'': x}}", [f".labels.'': {LABEL_NAME}"]),
        ("{id: 5, labels: {'a\\n': x}}", [f".labels.'a\\\\n': {LABEL_NAME}"]),
        ("{id: 5, labels: {é: x}}", [f".labels.'\\xe9': {LABEL_NAME}"]),
        ("{id: 5, labels: {7: x}}", [f".labels.7: {LABEL_NAME}"]),
        ("{id: 5, labels: {<<: {a: b}}}", [f".labels.'<<': {LABEL_NAME}", f".labels.'<<': {LABEL_VALUE}"]),
        ("{id: 5, labels: {job: x, __a: x}}", [f".labels.job: {RESERVED}", f".labels.__a: {RESERVED}"]),
        ("{id: 5, labels: {a: true, b: 1.5}}", [f".labels.a: {LABEL_VALUE}", f".labels.b: {LABEL_VALUE}"]),
        ("{id: 5, labels: {a: null}}", [f".labels.a: {LABEL_VALUE}"]),
        ("{id: 5, labels: {a: 2026-01-02}}", [f".labels.a: 2026-01-02 is read by YAML as a date: {QUOTE}"]),
        ("5\n  - '5'", [": 5 is the ID at actions[0] already"]),
        (
            "{id: 5}\n  - {id: '5', labels: 7}",
            [".id: 5 is the ID at actions[0].id already", ".labels: must be a mapping of label names to values"],
        ),
    ],
)
def test_wrong_action_is_refused(tmp_path: Path, entry: str, expected: list[str]) -> None:
    """An ID or a label that YAML might read as something else goes in quotes; nothing is converted."""
    place = f"config.yaml: actions[{entry.count('- ')}]"
    content = f"api: {{{API}, key: k}}\nactions:\n  - {entry}\n"
    assert problems(tmp_path, content) == [f"{place}{line}" for line in expected]


@pytest.mark.parametrize(
    "name", ["action_id", "status", "general_status", "tenant", "reason", "job", "instance", "__x"]
)
def test_reserved_label_is_refused(tmp_path: Path, name: str) -> None:
    """No own label may take the place of one that the exporter or Prometheus sets."""
    content = f"api: {{{API}, key: k}}\nactions: [{{id: 5, labels: {{{name}: x}}}}]"
    assert problems(tmp_path, content) == [f"config.yaml: actions[0].labels.{name}: {RESERVED}"]


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        ("poll: {interval: 0s}", ["poll.interval: must be above 0s"]),
        ("poll: {settled_interval: 0}", ["poll.settled_interval: must be above 0s"]),
        ("poll: {retire_after: never}", [f"poll.retire_after: {DURATION}"]),
        ("poll: {stale_after: 5}", ["poll.stale_after: needs a unit: write 5s"]),
        ("poll: {intervall: 5s}", [f"poll.intervall: unknown key; did you mean interval? {POLL_KEYS}"]),
        (
            "poll: {interval: 30m1s}",
            ["poll.interval: must be at most half of stale_after, which is 1h where it is not set"],
        ),
        (
            "poll: {stale_after: 119s}",
            ["poll.stale_after: must be at least twice the interval, 2m, or 0s for never"],
        ),
        (
            "poll: {stale_after: 1h, interval: 45m}",
            ["poll.stale_after: must be at least twice the interval, 1h30m, or 0s for never"],
        ),
        ("state: {path: 5}", [f"state.path: {TEXT}"]),
        ("state: {path: ''}", ["state.path: must not be empty"]),
        ('state: {path: "a\\nb"}', [f"state.path: {PRINTABLE}"]),
        (
            "action_files: ['', 5, \"a\\0b\", ]",
            [
                "action_files[0]: must not be empty",
                f"action_files[1]: {TEXT}",
                f"action_files[2]: {PRINTABLE}",
            ],
        ),
        ("action_files: [null, {}]", ["action_files[0]: must not be empty", f"action_files[1]: {TEXT}"]),
    ],
)
def test_wrong_rest_is_refused(tmp_path: Path, rest: str, expected: list[str]) -> None:
    """Intervals that cannot work, and names that no file should have, are refused."""
    content = f"api: {{{API}, key: k}}\n{rest}"
    assert problems(tmp_path, content) == [f"config.yaml: {line}" for line in expected]


@pytest.mark.parametrize(
    "intervals", ["interval: 30m", "interval: 1h, stale_after: 2h", "interval: 1h, stale_after: 0"]
)
def test_stale_after_may_be_twice_the_interval_or_never(tmp_path: Path, intervals: str) -> None:
    """The bound itself is allowed."""
    (tmp_path / "config.yaml").write_text(f"api: {{{API}, key: k}}\npoll: {{{intervals}}}")
    load(tmp_path / "config.yaml")
