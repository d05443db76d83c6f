"""API keys that are rotated while the exporter runs, as a process with a simulated tenant."""

import json
import os
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import count
from pathlib import Path
from typing import Any

from support import (
    KEY_ID,
    ExporterProcess,
    Mounted,
    StartExporter,
    replace_file,
    wait_until,
    wait_until_equal,
)
from support_metrics import scrape

from exporter.simulator.tenant import Fault, SimulatedTenant

NEVER = "--config.auto-reload-interval=0s"
SLOW = {"interval": "6h", "stale_after": "0s"}
QUICK = {"interval": "100ms"}
SECRET = "s3cr3t"


def configuration(url: str, actions: list[int], poll: object = QUICK, **key: object) -> dict[str, Any]:
    """Return a configuration with a key from somewhere."""
    api = {"url": url, "key_id": KEY_ID, "requests_per_second": 10, **key}
    return {"api": api, "actions": actions, "poll": poll}


def answered_well(tenant: SimulatedTenant, start: int) -> bool:
    """Tell whether a request was answered well, after the first ``start`` ones."""
    return any(request.status == 200 for request in tenant.requests[start:])


def told(process: ExporterProcess, *messages: str) -> list[str]:
    """Return those messages of a JSON log, in their order."""
    lines = (json.loads(line)["msg"] for line in process.log.splitlines())
    return [line for line in lines if line in messages]


def assert_no_secret(process: ExporterProcess) -> None:
    """Fail if any key stands in anything that an exporter says."""
    command = Path(f"/proc/{process.process.pid}/cmdline").read_text()
    seen = process.log + process.output + process.get("/metrics").text + process.get("/").text + command
    assert SECRET not in seen


@contextmanager
def fed(path: Path, text: str) -> Iterator[None]:
    """Make a pipe, and give a text to whoever reads it first."""
    os.mkfifo(path)
    thread = threading.Thread(target=path.write_text, args=[text])
    thread.start()
    yield
    thread.join(60)
    assert not thread.is_alive()


def test_rotated_key_is_used_however_its_file_is_replaced(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """By a mounted Secret's swapped link, a rename, in place: for the next request, and without a reload."""
    keys = (f"{SECRET}-{number}" for number in count())
    tenant.key = next(keys)
    mounted = Mounted(tmp_path / "mounted", {"key": tenant.key})
    path = mounted.folder / "key"
    process = exporter_process(
        configuration(url, [1, 2], key_file="../mounted/key"), NEVER, "--log.format=json", "--log.level=debug"
    )
    wait_until(lambda: answered_well(tenant, 0), "polls")

    def rotate(how: str) -> None:
        tenant.key = next(keys)
        if how == "mount":
            mounted.update({"key": tenant.key})
        elif how == "rename":
            replace_file(path, f"{tenant.key}\n")
        else:
            path.write_text(f"\n  {tenant.key} \n")

    for how in ("mount", "mount", "rename", "in place", "in place"):
        before = len(tenant.requests)
        rotate(how)
        wait_until(partial(answered_well, tenant, before), how)
    assert told(process, "key read anew") == ["key read anew"] * 5
    assert "configuration reloaded" not in process.log
    wait_until_equal(lambda: scrape(process).phases(), {"active": 2.0})
    assert_no_secret(process)


def test_key_that_is_put_right_is_used_at_once(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """A tenant that refuses is left alone for hours, but not when its key file has changed."""
    tenant.key = f"{SECRET}-right"
    process = exporter_process(
        configuration(url, [1, 2, 3], SLOW, key="to-be-replaced"), "--web.enable-lifecycle", "--log.format=json"
    )
    path = process.folder / "key"
    path.write_text(f"{SECRET}-wrong")
    assert process.reload(configuration(url, [1, 2, 3], SLOW, key_file="key"))[0] == 200
    wait_until(lambda: len(tenant.requests) >= 2, "the key in the file was tried")
    wait_until_equal(lambda: scrape(process).value("up"), 0.0)
    refused = len(tenant.requests)
    path.write_text(tenant.key)
    wait_until_equal(lambda: scrape(process).value("up"), 1.0)
    assert {request.status for request in tenant.requests[:refused]} == {401}
    assert {request.status for request in tenant.requests[refused:]} == {200}
    assert told(process, "tenant failing", "tenant recovered") == ["tenant failing", "tenant recovered"]
    assert_no_secret(process)


def test_key_file_is_read_after_a_refusal_however_it_looks(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """A key of the same size and age is another key all the same: the refused poll is repeated at once."""
    path = tmp_path / "key"
    path.write_text(f"{SECRET}-1")
    tenant.key = f"{SECRET}-1"
    tenant.inject(Fault(status=401, delay_seconds=0.3, times=1))
    process = exporter_process(configuration(url, [1], SLOW, key_file="../key"), NEVER)
    wait_until(lambda: tenant.requests, "a request is under way that will be refused")
    found = path.stat()
    tenant.key = f"{SECRET}-2"
    path.write_text(tenant.key)
    os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1.0})
    assert [request.status for request in tenant.requests] == [401, 200]
    assert_no_secret(process)


def test_polls_that_a_rotation_met_under_way_are_repeated_at_once(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """All requests that left with the old key are refused; none of their actions waits for its interval."""
    path = tmp_path / "key"
    path.write_text(f"{SECRET}-1")
    tenant.key = f"{SECRET}-1"
    tenant.inject(Fault(status=401, delay_seconds=2, times=3))
    process = exporter_process(configuration(url, [1, 2, 3], SLOW, key_file="../key"), NEVER, "--log.format=json")
    wait_until(lambda: len(tenant.requests) == 3, "three requests are under way that will be refused")
    tenant.key = f"{SECRET}-2"
    path.write_text(tenant.key)
    wait_until(lambda: told(process, "key read anew"), "the new key is known before")
    wait_until_equal(lambda: scrape(process).value("exporter_request_duration_seconds_count"), 6.0)
    assert scrape(process).phases() == {"active": 3.0}
    assert Counter(request.status for request in tenant.requests) == {401: 3, 200: 3}


def test_key_that_cannot_be_read_is_kept(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """Whatever becomes of the file, the last key is used, and the log says once why; what comes next is used."""
    path = tmp_path / "key"
    path.write_text(f"{SECRET}-1")
    tenant.key = f"{SECRET}-1"
    process = exporter_process(
        configuration(url, [1], key_file="../key"), NEVER, "--log.format=json", "--log.level=debug"
    )
    folder = process.folder / ".." / "key"
    problems = []

    def polls_go_on() -> None:
        before = len(tenant.requests)
        wait_until(lambda: len(tenant.requests) > before + 4, "polls go on")
        assert {request.status for request in tenant.requests[before:]} == {200}

    polls_go_on()
    for text, problem in {
        f"{SECRET} of two words": "holds no key: a key is one word of printable ASCII",
        "\n": "holds no key: it is empty",
        SECRET * 1000: "is larger than 4,096 bytes",
        None: "cannot be read: no such file or directory",
    }.items():
        if text is None:
            path.unlink()
        else:
            replace_file(path, text)
        problems.append({"file": str(folder), "problem": problem})
        polls_go_on()
    lines = [json.loads(line) for line in process.log.splitlines()]
    assert [
        {"file": line["file"], "problem": line["problem"]}
        for line in lines
        if line["msg"] == "key file cannot be read, its last key is used"
    ] == problems
    before = len(tenant.requests)
    tenant.key = f"{SECRET}-2"
    replace_file(path, tenant.key)
    wait_until(lambda: answered_well(tenant, before), "the new key is used")
    assert told(process, "key read anew") == ["key read anew"]
    path.unlink()
    wait_until(lambda: process.log.count("no such file or directory") == 2, "the next time is told again")
    assert_no_secret(process)


def test_key_of_the_environment_is_used(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """And not told to anybody, also when the tenant refuses it."""
    tenant.key_type = "standard"
    tenant.key = f"{SECRET}-1"
    process = exporter_process(
        configuration(url, [1], key_env="XDR_KEY", key_type="standard"),
        "--log.level=debug",
        "--web.enable-lifecycle",
        environment={"XDR_KEY": f"{SECRET}-1"},
    )
    wait_until(lambda: answered_well(tenant, 0), "the key is used")
    tenant.inject(Fault(status=401, body=f"no: {SECRET}-1".encode()))
    wait_until_equal(lambda: scrape(process).value("up"), 0.0)
    status, text = process.reload(configuration(url, [1], key_env="XDR_KEYS", key_type="standard"))
    assert (status, "api.key_env: the environment variable XDR_KEYS is not set" in text) == (500, True)
    assert_no_secret(process)


def test_key_of_a_pipe_is_read_once(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """A named pipe gives its key at the start, and is not waited for again: not by polls, nor after a refusal."""
    tenant.key = f"{SECRET}-1"
    with fed(tmp_path / "key", tenant.key):
        process = exporter_process(configuration(url, [1], key_file="../key"), NEVER, "--log.format=json")
    wait_until(lambda: len(tenant.requests) > 5, "polls")
    tenant.inject(Fault(status=401, times=2))
    wait_until(lambda: told(process, "tenant recovered"), "it is refused and asked again")
    before = len(tenant.requests)
    wait_until(lambda: len(tenant.requests) > before + 5, "polls go on")
    assert "key file" not in process.log
    assert process.stop() == 0
    assert SECRET not in process.log


def test_key_of_a_pipe_outlives_a_reload(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """A reload neither waits for a pipe that nobody feeds, nor does it hold up what else is looked after."""
    tenant.key = f"{SECRET}-1"
    other = tmp_path / "other.yaml"
    other.write_text("[2]")
    start = {**configuration(url, [1], key_file="../key"), "action_files": ["../other.yaml"]}
    with fed(tmp_path / "key", tenant.key):
        process = exporter_process(start, NEVER, "--web.enable-lifecycle")
    wait_until(lambda: answered_well(tenant, 0), "polls")
    try:
        status, _ = process.reload({**start, "actions": [1, 3]})
        replace_file(other, "[4]")
        wait_until(lambda: scrape(process).values("script_execution_labels", action_id="4"), "files are followed")
    finally:  # Whoever waits for the pipe is let go.
        os.close(os.open(tmp_path / "key", os.O_RDWR | os.O_NONBLOCK))
    assert status == 200
    wait_until_equal(lambda: scrape(process).phases(), {"active": 3.0})


def test_key_of_a_process_substitution_outlives_a_reload(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """``key_file: /dev/fd/9`` with ``9< <(pass show key)`` is used at the start and from then on."""
    tenant.key = f"{SECRET}-1"
    process = exporter_process(
        configuration(url, [1], key_file="/dev/fd/9"),
        NEVER,
        "--web.enable-lifecycle",
        environment={"FOR_THE_PIPE": tenant.key},
        prefix=["bash", "-c", 'exec 9< <(printf %s "$FOR_THE_PIPE"); unset FOR_THE_PIPE; exec "$@"', "bash"],
    )
    wait_until(lambda: answered_well(tenant, 0), "the key is used")
    tenant.inject(Fault(status=401, times=1))
    before = len(tenant.requests)
    wait_until(lambda: len(tenant.requests) > before + 5, "polls go on, after a refusal, too")
    assert_no_secret(process)
    assert process.reload(configuration(url, [1, 2], key_file="/dev/fd/9"))[0] == 200
    wait_until_equal(lambda: scrape(process).phases(), {"active": 2.0})
