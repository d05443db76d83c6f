"""The web configuration file at work: what a change of it, or of what it names, puts into force."""

import asyncio
import logging
import os
import resource
import threading
import weakref
from pathlib import Path

import pytest
import structlog
import trustme
from structlog.testing import LogCapture
from support import Mounted
from support_tls import HASH, Issued, client_context, issue, shake_hands

from exporter.errors import BusyError, ConfigurationError
from exporter.web.policy import Policy
from exporter.web.tls import CIPHER_SUITES
from exporter.web_file import WebFile

AUTHORITY = trustme.CA()
FIRST = issue(AUTHORITY, "first.example")
SECOND = issue(AUTHORITY, "second.example")
TLS = "tls_server_config: {cert_file: tls.crt, key_file: tls.key}\n"
LOADED = ("info", "web configuration loaded anew", None)
MISMATCH = "web.yaml: tls_server_config.key_file: is not the key of the certificate in cert_file"

STRUCTURE = (
    "web.yaml: must be a mapping with the keys tls_server_config, http_server_config, basic_auth_users, rate_limit"
)


def users(*names: str) -> str:
    """Return the users' section."""
    return "basic_auth_users:\n" + "".join(f"  {name}: {HASH}\n" for name in names)


def refused(problem: str) -> tuple[str, str, str]:
    """Return the log's line about a problem."""
    return ("error", "web configuration not loaded, what runs is kept", problem)


class Bench:
    """A web configuration file in the working directory, and what is told of it."""

    def __init__(self, text: str, *, pipe: bool = False) -> None:
        (from_pipe if pipe else replace)("web.yaml", text)
        self.results: list[bool] = []
        self.capture = LogCapture()
        log = structlog.wrap_logger(
            None, processors=[self.capture], wrapper_class=structlog.make_filtering_bound_logger(logging.DEBUG)
        )
        self.file = WebFile(Path("web.yaml"), log=log, result=self.results.append)

    def write(self, text: str) -> None:
        """Put another file in its place."""
        replace("web.yaml", text)

    def look(self, times: int = 2) -> Policy:
        """Look as often as a change needs to be seen and to have come to rest, and return what is in force."""
        for _ in range(times):
            self.file.look()
        return self.file.policy

    @property
    def lines(self) -> list[tuple[str, str, str | None]]:
        """What the log says since it was read last: level, event and problem."""
        lines = [(entry["log_level"], entry["event"], entry.get("problem")) for entry in self.capture.entries]
        self.capture.entries.clear()
        return lines


def replace(name: str, text: str) -> None:
    """Put another file in the place of one."""
    Path("new").write_text(text)
    Path("new").replace(name)


def put(issued: Issued) -> None:
    """Put a certificate and its key in place."""
    replace("tls.crt", issued.certificate)
    replace("tls.key", issued.key)


def serves(policy: Policy) -> str:
    """Return the name on the certificate that a policy has served."""
    assert policy.context is not None
    client = client_context(AUTHORITY)
    client.check_hostname = False
    certificate = shake_hands(policy.context, client).client.getpeercert()
    assert certificate is not None
    names: tuple[tuple[str, str], ...] = certificate["subjectAltName"]  # type: ignore[assignment] # of any shape
    return names[0][1]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Be in a folder with a certificate and its key."""
    monkeypatch.chdir(tmp_path)
    put(FIRST)
    return tmp_path


def test_everything_in_the_file_is_in_force() -> None:
    """Each section has become a part of the policy."""
    policy = Bench(
        TLS.replace("}", ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: tls.crt")
        + ", client_allowed_sans: [a, b]}\n"
        + users("alice")
        + "http_server_config: {headers: {X-Frame-Options: deny}}\nrate_limit: {interval: 10s, burst: 1}\n"
    ).file.policy
    assert policy.allowed_sans == {"a", "b"}
    assert policy.headers == {"X-Frame-Options": "deny"}
    assert policy.passwords is not None
    assert policy.limit is not None
    assert [policy.limit.take(0), policy.limit.take(0)] == [0, 10]


def test_empty_file_is_plain_http_for_everybody() -> None:
    """It is a valid one, and its policy asks for nothing."""
    bench = Bench("")
    assert bench.file.policy == Policy()
    assert (bench.results, bench.lines) == ([True], [])


def test_file_of_no_use_is_refused_at_the_start() -> None:
    """There is nothing to go on with: the process ends with the problems, and nothing is logged."""
    replace("tls.key", SECOND.key)
    with pytest.raises(ConfigurationError) as caught:
        Bench(TLS)
    assert caught.value.problems == [MISMATCH]


def test_file_that_does_not_change_is_no_news() -> None:
    """Nothing is loaded again, or told."""
    bench = Bench(TLS + users("alice"))
    before = bench.file.policy
    assert bench.look(200) is before
    assert (bench.results, bench.lines) == ([True], [])


def test_changed_certificate_is_served() -> None:
    """A renewed certificate needs no restart; users and what is known of their passwords stay."""
    bench = Bench(TLS + users("alice"))
    before = bench.file.policy
    assert serves(before) == "first.example"
    put(SECOND)
    after = bench.look()
    assert serves(after) == "second.example"
    assert after.passwords is before.passwords
    assert (bench.results, bench.lines) == ([True, True], [LOADED])


def test_changed_users_are_in_force() -> None:
    """Another list of users takes no new certificate: connections go on."""
    bench = Bench(TLS + users("alice") + "rate_limit: {interval: 1s, burst: 1}\n")
    before = bench.file.policy
    bench.write(TLS + users("bob") + "rate_limit: {interval: 1s, burst: 1}\n")
    after = bench.look()
    assert after.passwords is not before.passwords
    assert (after.context, after.limit) == (before.context, before.limit)
    bench.write(TLS)
    assert (bench.look().passwords, bench.file.policy.limit) == (None, None)
    assert bench.lines == [LOADED, LOADED]


def test_change_is_read_when_it_has_come_to_rest() -> None:
    """What is still being written is not read half: a look that finds it changed waits for the next."""
    bench = Bench(TLS)
    before = bench.file.policy
    put(SECOND)
    assert bench.look(1) is before
    replace("tls.crt", FIRST.certificate)
    assert bench.look(1) is before
    put(SECOND)
    assert bench.look(1) is before
    assert serves(bench.look(1)) == "second.example"
    assert bench.lines == [LOADED]


def test_file_that_says_the_same_is_no_news() -> None:
    """Touched, or written anew by a tool that always does: what runs goes on, in silence."""
    bench = Bench(TLS + users("alice"))
    before = bench.file.policy
    put(FIRST)
    bench.write(TLS + "# the same\n" + users("alice"))
    assert bench.look(5) is before
    assert bench.lines == []


def test_broken_change_keeps_what_runs_and_is_told_once() -> None:
    """Each problem is a line, however long it stays, and the metric is 0 until there is a good file."""
    bench = Bench(TLS)
    before = bench.file.policy
    bench.write(TLS + "rate_limit: {interval: x, burst: y}\n")
    assert bench.look(150) is before
    duration, burst = bench.lines
    assert duration[2] is not None
    assert duration[2].startswith("web.yaml: rate_limit.interval: must be a duration")
    assert burst == refused("web.yaml: rate_limit.burst: must be an integer from 0 to 1,000,000,000")
    assert bench.results[0] is True
    assert set(bench.results[1:]) == {False}
    bench.write(TLS + "rate_limit: {interval: 1s, burst: y}\n")
    assert bench.look() is before
    assert bench.lines == []
    bench.write(TLS + "rate_limit: {interval: 1s, burst: 0}\n")
    assert bench.look() is before
    assert bench.lines == [
        refused("web.yaml: rate_limit.burst: must be at least 1: otherwise no request is answered at all")
    ]
    bench.write(TLS)
    assert bench.look() is before
    assert (bench.lines, bench.results[-1]) == ([LOADED], True)


def test_half_a_renewal_keeps_what_runs() -> None:
    """A certificate whose key comes later is taken up when the key is there."""
    bench = Bench(TLS)
    replace("tls.crt", SECOND.certificate)
    assert serves(bench.look()) == "first.example"
    assert bench.lines == [refused(MISMATCH)]
    replace("tls.key", SECOND.key)
    assert serves(bench.look()) == "second.example"
    assert bench.lines == [LOADED]


@pytest.mark.parametrize("name", ["web.yaml", "tls.crt", "tls.key"])
def test_file_that_is_gone_keeps_what_runs(name: str) -> None:
    """A file that is missing for a while is told, and taken up again when it is back."""
    bench = Bench(TLS)
    before = bench.file.policy
    Path(name).rename("away")
    assert bench.look() is before
    where = {"tls.crt": " tls_server_config.cert_file: tls.crt", "tls.key": " tls_server_config.key_file: tls.key"}
    path = f"web.yaml:{where.get(name, '')}"
    assert bench.lines == [refused(f"{path} cannot be read: no such file or directory")]
    Path("away").rename(name)
    assert bench.look() is before
    assert bench.lines == [LOADED]


def test_files_that_appear_are_taken_up() -> None:
    """A file that names others before they are there is in force as soon as they are whole."""
    bench = Bench("")
    bench.write(TLS.replace("tls.", "new."))
    bench.look()
    missing = "cannot be read: no such file or directory"
    assert bench.lines == [
        refused(f"web.yaml: tls_server_config.cert_file: new.crt {missing}"),
        refused(f"web.yaml: tls_server_config.key_file: new.key {missing}"),
    ]
    Path("new.key").write_text(FIRST.key)
    Path("new.crt").write_text(FIRST.certificate[:200])
    assert bench.look(1).context is None
    Path("new.crt").write_text(FIRST.certificate)
    assert bench.look(1).context is None
    assert bench.lines == [], "what was being written was not read"
    assert serves(bench.look(1)) == "first.example"
    assert (bench.lines, bench.results[-1]) == ([LOADED], True)


def test_obstacle_that_leaves_no_trace_is_overcome() -> None:
    """What cannot be used is tried at each look: files may be as they were, and can be read again."""
    bench = Bench(TLS)
    before = bench.file.policy
    replace("tls.crt", SECOND.certificate)
    replace("tls.key", SECOND.key)
    bench.look(1)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))
    try:
        bench.look(1)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert bench.lines == [refused("web.yaml: cannot be read: too many open files")]
    assert (bench.file.policy, bench.results[-1]) == (before, False)
    assert serves(bench.look(1)) == "second.example"
    assert (bench.lines, bench.results[-1]) == ([LOADED], True)


def test_file_that_is_back_after_a_refused_reload_is_in_force() -> None:
    """Though for a look nothing has changed: the metric is about the file as it is."""
    bench = Bench(TLS)
    before = bench.file.policy
    Path("web.yaml").rename("away")
    bench.write("x")
    assert bench.file.reload() == [STRUCTURE]
    Path("away").replace("web.yaml")
    assert bench.look() is before
    assert (bench.lines, bench.results) == ([refused(STRUCTURE), LOADED], [True, False, True])


def test_defect_is_seen_in_the_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    """An attempt that ends in an error of ours has put nothing into force; the next change is taken up."""
    bench = Bench(TLS)
    before = bench.file.policy
    monkeypatch.setitem(CIPHER_SUITES, next(iter(CIPHER_SUITES)), None)
    bench.write(TLS.replace("}", f", cipher_suites: [{next(iter(CIPHER_SUITES))}]}}"))
    bench.look(1)
    with pytest.raises(TypeError):
        bench.look(1)
    assert bench.look(5) is before
    assert (bench.results, bench.lines) == ([True, False], [])
    put(SECOND)
    with pytest.raises(TypeError):
        bench.look()
    bench.write(TLS)
    assert serves(bench.look()) == "second.example"
    assert (bench.results[-1], bench.lines) == (True, [LOADED])


def test_new_files_are_watched_and_old_ones_are_not(folder: Path) -> None:
    """After a change of the file, what it names now counts."""
    (folder / "sub").mkdir()
    Path("sub", "tls.crt").write_text(SECOND.certificate)
    Path("sub", "tls.key").write_text(SECOND.key)
    bench = Bench(TLS)
    bench.write(TLS.replace("tls.crt", "sub/tls.crt").replace("tls.key", "sub/tls.key"))
    assert serves(bench.look()) == "second.example"
    Path("tls.crt").unlink()
    assert bench.lines == [LOADED]
    bench.look()
    assert bench.lines == []
    Path("sub", "tls.crt").write_text(FIRST.certificate)
    Path("sub", "tls.key").write_text(FIRST.key)
    assert serves(bench.look()) == "first.example"


def test_secret_that_kubelet_swaps_is_taken_up(folder: Path) -> None:
    """All files change at once behind one link, as in a mounted Secret that cert-manager renews."""
    mounted = Mounted(folder / "mounted", {"tls.crt": FIRST.certificate, "tls.key": FIRST.key})
    bench = Bench("tls_server_config: {cert_file: mounted/tls.crt, key_file: mounted/tls.key}\n")
    mounted.update({"tls.crt": SECOND.certificate, "tls.key": SECOND.key})
    assert serves(bench.look()) == "second.example"
    assert bench.lines == [LOADED]


def test_change_between_reading_and_the_first_look_is_seen() -> None:
    """How the files looked was noted before they were read, so nothing falls between."""
    bench = Bench(TLS)
    put(SECOND)
    assert serves(bench.look()) == "second.example"


def test_reload_takes_up_at_once() -> None:
    """What is asked for need not have come to rest, and is no news to the next look."""
    bench = Bench(TLS)
    put(SECOND)
    assert bench.file.reload() == []
    after = bench.file.policy
    assert serves(after) == "second.example"
    assert bench.look(5) is after
    assert (bench.results, bench.lines) == ([True, True], [LOADED])


def test_reload_of_the_same_is_no_news() -> None:
    """Whoever asks hears that it is in force; nothing is told in the log."""
    bench = Bench(TLS + users("alice"))
    before = bench.file.policy
    assert bench.file.reload() == []
    assert bench.file.policy is before
    assert (bench.results, bench.lines) == ([True, True], [])


def test_refused_reload_is_told_each_time_that_it_is_asked_for() -> None:
    """To whoever asked and in the log; looking tells it no more, and the metric is 0 until it is good."""
    bench = Bench(TLS)
    before = bench.file.policy
    replace("tls.key", SECOND.key)
    for _ in range(2):
        assert bench.file.reload() == [MISMATCH]
        assert bench.lines == [refused(MISMATCH)]
    assert bench.look(70) is before
    assert bench.lines == []
    assert set(bench.results[1:]) == {False}
    replace("tls.key", FIRST.key)
    assert bench.file.reload() == []
    assert (bench.lines, bench.results[-1]) == ([LOADED], True)


def from_pipe(name: str, text: str) -> None:
    """Have a pipe give a text once."""
    Path(name).unlink(missing_ok=True)
    os.mkfifo(name)
    # It ends when the text is read.
    threading.Thread(target=Path(name).write_text, args=[text]).start()


def test_file_from_a_pipe_is_read_once() -> None:
    """A process substitution in the shell gives it once: it is in force as it was, whatever is asked for."""
    bench = Bench(TLS + users("alice"), pipe=True)
    before = bench.file.policy
    assert bench.look(5) is before
    assert bench.results == [True]
    given = "web.yaml: is not a regular file, and cannot be read a second time"
    for _ in range(2):
        assert bench.file.reload() == [given]
        assert bench.lines == [refused(given)]
    assert bench.look(5) is before
    assert bench.lines == []
    assert set(bench.results[1:]) == {False}
    assert serves(before) == "first.example"


def test_renewal_beside_a_file_from_a_pipe_is_told() -> None:
    """It cannot be taken up without the file, of which nobody would know before the certificate expires."""
    bench = Bench(TLS, pipe=True)
    put(SECOND)
    assert serves(bench.look(5)) == "first.example"
    assert bench.lines == [refused("web.yaml: is not a regular file, and cannot be read a second time")]
    assert bench.results[-1] is False


def test_key_from_a_pipe_is_read_once() -> None:
    """A pipe in its place later on is not waited for, and no key is kept in its stead."""
    from_pipe("tls.key", FIRST.key)
    bench = Bench(TLS)
    from_pipe("other", "")
    Path("other").read_bytes()
    Path("other").replace("tls.key")
    bench.write(TLS + users("alice"))
    given = "web.yaml: tls_server_config.key_file: tls.key is not a regular file, and cannot be read a second time"
    assert bench.look(5).passwords is None
    assert (bench.lines, bench.results[-1]) == ([refused(given)], False)
    replace("tls.key", FIRST.key)
    assert bench.look().passwords is not None
    assert (bench.lines, bench.results[-1]) == ([LOADED], True)


def test_stop_ends_checks_of_passwords() -> None:
    """Those of the users in force and of those before them, who may still have somebody waiting."""
    bench = Bench(users("alice"))
    replaced = bench.file.policy.passwords
    bench.write(users("bob"))
    present = bench.look().passwords
    assert replaced is not None
    assert present is not None
    assert present is not replaced
    bench.file.stop()
    for passwords in (replaced, present):
        with pytest.raises(BusyError, match=r"^the server is about to stop$"):
            asyncio.run(passwords.permits("alice", "x"))


def test_stop_lets_nothing_be_taken_up() -> None:
    """A reload that was under way brings no users for whom passwords would be checked."""
    bench = Bench(users("alice"))
    bench.write(users("bob"))
    before = bench.file.policy
    bench.file.stop()
    assert bench.file.reload() == []
    assert bench.look() is before
    assert (bench.results, bench.lines) == ([True], [])


def test_replaced_users_are_not_kept() -> None:
    """Only whoever waits for them keeps them."""
    bench = Bench(users("alice"))
    passwords = weakref.ref(bench.file.policy.passwords)
    bench.write(users("bob"))
    bench.look()
    assert passwords() is None
    bench.write("")
    bench.look()
    bench.file.stop()


def test_log_shows_no_secret() -> None:
    """Neither a hash nor a key stands in it, whatever goes wrong."""
    bench = Bench(TLS)
    bench.write(
        f"tls_server_config: {{cert_file: tls.crt, key_file: '{HASH}'}}\nbasic_auth_users: {{'{HASH}': x}}\n"
    )
    bench.look()
    told = str(bench.capture.entries)
    assert len(bench.lines) == 2
    assert HASH not in told
