"""The command as a user runs it: exit codes, what it prints, and its log."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families
from support import (
    KEY,
    ROOT,
    BackgroundProcess,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    wait_until,
)
from support_namespaces import needs_namespaces, run_apart

from exporter import __version__
from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.tenant import Fault

RUNNING = Fixed("IN_PROGRESS", Counts(pending=3, in_progress=2))
DONE = Fixed("COMPLETED_SUCCESSFULLY", Counts(completed_successfully=5))


def run(*arguments: str, cwd: Path, environment: Mapping[str, str] | None = None) -> tuple[int, str, str]:
    """Run the command to its end; return exit code, standard output and standard error."""
    done = subprocess.run(
        [sys.executable, "-m", "exporter", *arguments],
        cwd=cwd,
        env={**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


def write(folder: Path, configuration: Mapping[str, object]) -> None:
    """Write config.yaml into a folder."""
    (folder / "config.yaml").write_text(yaml.safe_dump(dict(configuration)))


def test_version_is_printed(tmp_path: Path) -> None:
    """--version prints name and version and exits with 0."""
    code, output, log = run("--version", cwd=tmp_path)
    assert (code, log) == (0, "")
    assert re.fullmatch(rf"cortex-xdr-exporter, version {__version__} \(Python [\d.]+\)\n", output)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--config.fil=x"], "unrecognized arguments: --config.fil=x"),
        (["--web.config=x"], "unrecognized arguments: --web.config=x"),
        (["--log.level=loud"], "argument --log.level: invalid choice: 'loud'"),
        (["--demo", "--config.file=x"], "argument --demo: not allowed with argument --config.file"),
        (["--once", "--config.check"], "argument --config.check: not allowed with argument --once"),
        (
            ["--config.auto-reload-interval=soon"],
            "argument --config.auto-reload-interval: must be a duration such as 90s, 1h30m or 7d",
        ),
        (["--config.auto-reload-interval=-1s"], "argument --config.auto-reload-interval: must"),
        (["--web.enable-lifecycle=yes"], "argument --web.enable-lifecycle: ignored explicit argument 'yes'"),
        (["--web.listen-address=10642"], "'10642' is not an address: write [HOST]:PORT"),
        (["--web.listen-address=::1:10642"], "'::1:10642' is not an address: write [HOST]:PORT"),
        (["--web.listen-address=:99999"], "':99999' has no port from 0 to 65535"),
        (["--web.telemetry-path=metrics"], "'metrics' is not a path of its own, such as /metrics"),
        (["--web.telemetry-path=/-/ready"], "'/-/ready' is not a path of its own, such as /metrics"),
        (["--web.telemetry-path=/-/reload"], "'/-/reload' is not a path of its own, such as /metrics"),
        (["--web.telemetry-path=/api/v1/actions"], "'/api/v1/actions' is not a path of its own, such as /metrics"),
        (["--web.telemetry-path=/-/page.css"], "'/-/page.css' is not a path of its own, such as /metrics"),
        (["--web.telemetry-path=//elsewhere/metrics"], "'//elsewhere/metrics' is not a path of its own"),
        *(
            ([f"--shard.total={total}"], "argument --shard.total: must be a whole number from 1 to 1000\n")
            for total in ("0", "-1", "1001", "2.0", "three", "")
        ),
        *(
            ([f"--shard.index={index}"], "argument --shard.index: must be a whole number from 0 to 999\n")
            for index in ("-1", "1000", "0x1", "\u0661", "")
        ),
        (["--shard.index=1"], "argument --shard.index: must be 0 with --shard.total=1, not 1\n"),
        (
            ["--shard.index=3", "--shard.total=3"],
            "argument --shard.index: must be from 0 to 2 with --shard.total=3, not 3\n",
        ),
    ],
)
def test_usage_mistakes_exit_with_2(tmp_path: Path, arguments: list[str], message: str) -> None:
    """A flag that does not exist or has a wrong value is told in a sentence."""
    code, output, log = run(*arguments, cwd=tmp_path)
    assert (code, output) == (2, "")
    assert message in log
    assert "Traceback" not in log


def test_broken_configuration_exits_with_2_and_names_every_problem(tmp_path: Path) -> None:
    """Each problem is a line with the file and the dotted key, and nothing else is printed."""
    write(tmp_path, {"api": {"url": "http://acme.example", "key": KEY}, "actions": [1, True]})
    expected = (
        "config.yaml: api.url: must begin with https://; plain http is for loopback addresses only\n"
        "config.yaml: api.key_id: is missing\n"
        "config.yaml: actions[1]: must be an integer, or text of 1 to 128 printable characters without spaces "
        "(in quotes where YAML reads something else)\n"
    )
    code, output, log = run(cwd=tmp_path)
    assert (code, output) == (2, "")
    assert sorted(log.splitlines()) == sorted(expected.splitlines())
    assert run("--config.check", cwd=tmp_path) == (2, "", log)


def test_problems_of_both_configurations_are_told_at_once(tmp_path: Path) -> None:
    """The web configuration is checked together with the other one."""
    write(tmp_path, {"api": api_section("https://api-acme.example", key_id=""), "actions": [1]})
    (tmp_path / "web.yaml").write_text("http_server_config: {http2: true}\n")
    problems = (
        "config.yaml: api.key_id: must be the key's number, in plain decimal\n"
        "web.yaml: http_server_config.http2: must be false or left out: this server speaks HTTP/1.1 alone\n"
    )
    for mode in ("--config.check", "--once", "--log.level=info"):
        assert run(mode, "--web.config.file=web.yaml", cwd=tmp_path) == (2, "", problems)


def test_web_configuration_without_a_name_is_none(tmp_path: Path) -> None:
    """An empty name, as a template may leave it, is as good as no flag."""
    write(tmp_path, {"api": api_section("https://api-acme.example"), "actions": [1]})
    assert run("--config.check", "--web.config.file=", cwd=tmp_path)[0] == 0


def test_missing_configuration_exits_with_2(tmp_path: Path) -> None:
    """Without a file the default's name is told."""
    assert run(cwd=tmp_path) == (2, "", "config.yaml: cannot be read: no such file or directory\n")


def test_check_prints_a_line_per_tenant(tmp_path: Path) -> None:
    """Actions, expected requests and budget of each tenant; a budget that cannot suffice is warned about."""
    write(
        tmp_path,
        {
            "tenants": [
                {"name": "acme", "api": api_section("https://api-acme.example"), "actions": [1, 2, 3]},
                {
                    "name": "globex",
                    "api": api_section("https://api-globex.example", requests_per_second=0.01),
                    "actions": list(range(120)),
                },
            ]
        },
    )
    output = (
        "config.yaml: tenant acme: 3 actions, at most 0.05 requests per second expected, "
        "budget 5 requests per second\n"
        "config.yaml: tenant globex: 120 actions, at most 2 requests per second expected, "
        "budget 0.01 requests per second\n"
    )
    warning = (
        "warning: config.yaml: tenants[1] (globex): polling 120 actions once, at 0.01 requests per second, takes "
        "3h24m5s, longer than stale_after (1h): raise requests_per_second or stale_after\n"
    )
    assert run("--config.check", cwd=tmp_path) == (0, output, warning)


def test_check_counts_the_actions_of_action_files(tmp_path: Path) -> None:
    """Those that are listed twice once, with a warning for each; patterns start at the configuration's folder."""
    folder = tmp_path / "etc"
    (folder / "actions.d").mkdir(parents=True)
    (folder / "actions.d/a.yaml").write_text("- 1\n- {id: 2, labels: {team: red}}\n- 3\n")
    (folder / "actions.d/b.json").write_text('[3, {"id": "4"}, 1, 3]')
    patterns = ["actions.d/*.json", "actions.d/*", "none/*.yaml"]
    write(folder, {"api": api_section("https://api-acme.example"), "actions": [1], "action_files": patterns})
    output = (
        "etc/config.yaml: 4 actions, at most 0.0667 requests per second expected, budget 5 requests per second\n"
    )
    warnings = (
        "warning: etc/actions.d/b.json: [2]: 1 is tracked already, from the configuration\n"
        "warning: etc/actions.d/b.json: [3]: 3 is tracked already, from etc/actions.d/b.json\n"
        "warning: etc/actions.d/a.yaml: [0]: 1 is tracked already, from the configuration\n"
        "warning: etc/actions.d/a.yaml: [2]: 3 is tracked already, from etc/actions.d/b.json\n"
    )
    assert run("--config.check", "--config.file=etc/config.yaml", cwd=tmp_path) == (0, output, warnings)


@pytest.mark.parametrize("flag", ["--config.check", "--once"])
def test_broken_action_files_exit_with_2(tmp_path: Path, flag: str) -> None:
    """Whoever only checks, or polls once, hears of every problem of every file, with its place."""
    (tmp_path / "a.yaml").write_text("- 1\n- {labels: {job: x}}\n- {id: 2, label: {}}\n")
    (tmp_path / "b.json").write_text("[1,\n2")
    (tmp_path / "c.yaml").write_text("[5]")
    patterns = ["*.json", "a.yaml", "c.yaml", "missing.yaml"]
    write(tmp_path, {"api": api_section("https://api-acme.example"), "action_files": patterns})
    code, output, log = run(flag, "--log.level=error", cwd=tmp_path)
    assert (code, output) == (2, "")
    assert log == (
        "b.json: line 2, column 2: is not JSON: expecting ',' delimiter\n"
        "a.yaml: [1].labels.job: is a reserved label name, as are action_id, status, general_status, tenant, "
        "reason, job, instance and names that begin with __\n"
        "a.yaml: [1].id: is missing\n"
        "a.yaml: [2].label: unknown key; did you mean labels? known are: id, labels\n"
        "missing.yaml: cannot be read: no such file or directory\n"
    )


def test_check_counts_twenty_thousand_actions(tmp_path: Path) -> None:
    """A large action file is an ordinary one; that the budget cannot suffice for it is warned about."""
    (tmp_path / "large.json").write_text(json.dumps([{"id": n, "labels": {"wave": n % 7}} for n in range(20_000)]))
    write(tmp_path, {"api": api_section("https://api-acme.example"), "action_files": ["*.json"]})
    code, output, log = run("--config.check", cwd=tmp_path)
    assert (code, output) == (
        0,
        "config.yaml: 20000 actions, at most 333.333 requests per second expected, budget 5 requests per second\n",
    )
    assert log == (
        "warning: config.yaml: actions: polling 20000 actions once, at 5 requests per second, takes 1h8m2s, "
        "longer than stale_after (1h): raise requests_per_second or stale_after\n"
    )


def test_once_polls_the_actions_of_action_files(tmp_path: Path, simulator: StartSimulator) -> None:
    """Each once, with its labels."""
    tenant = make_tenant({"1": RUNNING, "2": DONE})
    (tmp_path / "a.yaml").write_text("[{id: 2, labels: {team: red}}]")
    configuration = {"api": api_section(simulator({"": tenant})), "actions": [1], "action_files": ["*a.yaml"]}
    write(tmp_path, configuration)
    code, output, _ = run("--once", cwd=tmp_path)
    assert code == 0
    assert 'cortex_xdr_script_execution_labels{action_id="2",team="red"} 1\n' in output
    assert sorted(request.action_id or "" for request in tenant.requests) == ["1", "2"]


def test_once_prints_the_metrics_of_one_poll_each(tmp_path: Path, simulator: StartSimulator) -> None:
    """Each action is polled exactly once, and the exit code is 0 when all polls succeeded."""
    tenant = make_tenant({"1": RUNNING, "2": DONE})
    configuration = {
        "api": api_section(simulator({"": tenant})),
        "actions": [1, 2],
        "poll": {"interval": "10ms"},
    }
    write(tmp_path, configuration)
    code, output, log = run("--once", cwd=tmp_path)
    assert (code, log) == (0, "")
    samples = {
        (sample.labels["action_id"], sample.labels["status"]): sample.value
        for family in text_string_to_metric_families(output)
        for sample in family.samples
        if sample.name == "cortex_xdr_script_execution_endpoints"
    }
    assert samples == {
        (action_id, status): count
        for action_id in ("1", "2")
        for status, count in tenant.counts(action_id)._asdict().items()
    }
    assert sorted(request.action_id or "" for request in tenant.requests) == ["1", "2"]


def test_once_exits_with_1_when_a_poll_failed(tmp_path: Path, simulator: StartSimulator) -> None:
    """The metrics are printed all the same, the reason among them."""
    write(tmp_path, {"api": api_section(simulator({"": make_tenant({"1": RUNNING})})), "actions": [1, 999]})
    code, output, log = run("--once", cwd=tmp_path)
    assert code == 1
    assert 'cortex_xdr_script_execution_poll_error_info{action_id="999",reason="not_found"} 1\n' in output
    assert 'cortex_xdr_script_execution_poll_success{action_id="1"} 1\n' in output
    assert re.fullmatch(
        r'ts=\S+ level=warn msg="action failing" action_id=999 reason=not_found '
        r'detail="Action 999 does not exist"\n',
        log,
    )


def test_once_without_actions_is_well(tmp_path: Path) -> None:
    """Nothing to poll is no failure."""
    write(tmp_path, {"api": api_section("https://api-acme.example")})
    assert run("--once", cwd=tmp_path)[0] == 0


def test_once_ends_at_a_signal(tmp_path: Path, simulator: StartSimulator) -> None:
    """SIGTERM ends it before its time, with exit code 1: not every action was polled."""
    tenant = make_tenant({})
    tenant.inject(Fault(hang=True))
    write(tmp_path, {"api": api_section(simulator({"": tenant}), timeout="1h"), "actions": [1]})
    command = [sys.executable, "-m", "exporter", "--once", f"--config.file={tmp_path / 'config.yaml'}"]
    process = BackgroundProcess(command, tmp_path)
    try:
        wait_until(lambda: tenant.requests, "the poll is under way")
        assert process.stop() == 1
    finally:
        process.clean_up()
    assert re.fullmatch(r'ts=\S+ level=warn msg="stopped before every action was polled"\n', process.log)
    assert process.output == ""


def test_address_in_use_exits_with_1(tmp_path: Path) -> None:
    """The address that cannot be listened on is named."""
    write(tmp_path, {"api": api_section("https://api-acme.example")})
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        code, output, log = run(f"--web.listen-address={address}", cwd=tmp_path)
    assert (code, output) == (1, "")
    assert re.fullmatch(rf'ts=\S+ level=error msg="cannot listen on {address}: Address already in use"\n', log)


def test_host_that_is_none_exits_with_1(tmp_path: Path) -> None:
    """A host name that cannot even be looked up is told in a sentence."""
    write(tmp_path, {"api": api_section("https://api-acme.example")})
    code, output, log = run("--web.listen-address=a..b:1", cwd=tmp_path)
    assert (code, output) == (1, "")
    assert re.fullmatch(r'ts=\S+ level=error msg="cannot listen on a..b:1: this is no host name"\n', log)


def test_log_that_nobody_reads_does_not_end_polling(tmp_path: Path, simulator: StartSimulator) -> None:
    """With standard error gone, lines are lost and polling goes on."""
    tenant = make_tenant({"1": RUNNING})
    write(
        tmp_path,
        {"api": api_section(simulator({"": tenant})), "actions": [1, 2], "poll": {"interval": "100ms"}},
    )
    reader, writer = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-m", "exporter", "--web.listen-address=127.0.0.1:0", "--log.level=debug"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stderr=writer,
    )
    os.close(writer)
    os.close(reader)
    try:
        wait_until(lambda: len(tenant.requests) > 5, "polls")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_stop_it_with_0(
    exporter_process: StartExporter, simulator: StartSimulator, number: signal.Signals
) -> None:
    """A stop is asked for, so it is no failure: also with a poll under way that hangs."""
    tenant = make_tenant({})
    tenant.inject(Fault(hang=True))
    process = exporter_process({"api": api_section(simulator({"": tenant}), timeout="60s"), "actions": [1]})
    wait_until(lambda: tenant.requests, "the poll is under way")
    assert process.stop(number) == 0
    assert "msg=stopped" in process.log


def test_several_addresses_are_served(exporter_process: StartExporter) -> None:
    """--web.listen-address may be repeated, and takes IPv6."""
    process = exporter_process(
        {"api": api_section("https://api-acme.example")},
        "--web.listen-address=127.0.0.1:0",
        "--web.listen-address=[::1]:0",
    )
    addresses = re.search(r'addresses="(\S+) (\S+)"', process.log)
    assert addresses
    for address in addresses.groups():
        process.url = f"http://{address}"
        assert process.get("/-/healthy").status_code == 200


def test_log_has_a_line_per_change_and_none_per_poll(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """A start, a changed general status, an action that begins to fail and recovers: a line of JSON each."""
    tenant = make_tenant({"1": RUNNING, "2": RUNNING})
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), requests_per_second=10),
            "actions": [1, 2],
            "poll": {"interval": "300ms"},
        },
        "--log.format=json",
    )
    wait_until(lambda: len(tenant.requests) > 4, "two polls of each action")
    tenant.inject(Fault(status=500), "1")
    wait_until(lambda: "action failing" in process.log, "the failure is told")
    tenant.clear()
    wait_until(lambda: "action recovered" in process.log, "and the recovery")
    tenant.add("2", DONE)
    wait_until(lambda: "general status changed" in process.log, "and the change")
    assert process.stop() == 0
    lines = [json.loads(line) for line in process.log.splitlines()]
    assert all(line.pop("ts").endswith("Z") for line in lines)
    started = lines.pop(0)
    assert (started["msg"], started["version"], started["tenants"], started["actions"]) == (
        "started",
        __version__,
        1,
        2,
    )
    assert lines == [
        {
            "level": "warn",
            "msg": "action failing",
            "action_id": "1",
            "reason": "server_error",
            "detail": "HTTP 500: Internal Server Error",
        },
        {"level": "info", "msg": "action recovered", "action_id": "1"},
        {
            "level": "info",
            "msg": "general status changed",
            "action_id": "2",
            "before": "IN_PROGRESS",
            "after": "COMPLETED_SUCCESSFULLY",
        },
        {"level": "info", "msg": "stopped"},
    ]


def test_debug_log_has_a_line_per_poll_and_no_key(
    exporter_process: StartExporter, simulator: StartSimulator
) -> None:
    """Everything is told at level debug, but the key nowhere: not in log, metrics, page or process list."""
    tenant = make_tenant({"1": RUNNING})
    tenant.key_type = "standard"
    tenant.inject(Fault(status=502, body=f"you sent Authorization: {KEY}".encode(), times=1), "1")
    process = exporter_process(
        {
            "api": api_section(simulator({"": tenant}), key_type="standard"),
            "actions": [1],
            "poll": {"interval": "100ms"},
        },
        "--log.level=debug",
    )
    wait_until(lambda: "level=debug msg=polled action_id=1" in process.log, "a poll is told")
    command = Path(f"/proc/{process.process.pid}/cmdline").read_text()
    seen = process.log + process.get("/metrics").text + process.get("/").text + command
    assert "you sent Authorization: [key]" in seen
    assert KEY not in seen


@pytest.mark.parametrize("flag", ["--once", "--config.check"])
def test_output_that_cannot_be_written_exits_with_1(tmp_path: Path, flag: str) -> None:
    """A full disk is told in a sentence; that the reader left early (`| head -1`) is not worth one."""
    write(tmp_path, {"api": api_section("https://api-acme.example"), "actions": []})
    reader, writer = os.pipe()
    os.close(reader)
    full = os.open("/dev/full", os.O_WRONLY)
    said = {}
    for name, output in {"left": writer, "full": full}.items():
        done = subprocess.run(
            [sys.executable, "-m", "exporter", flag],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=output,
            stderr=subprocess.PIPE,
            text=True,
            timeout=60,
            check=False,
        )
        os.close(output)
        said[name] = done.returncode, done.stderr
    assert said == {
        "left": (1, ""),
        "full": (1, "standard output cannot be written: No space left on device\n"),
    }


def test_output_that_cannot_spell_a_name_escapes_it(tmp_path: Path) -> None:
    """A tenant's name beyond the terminal's character set is no traceback."""
    write(tmp_path, {"tenants": [{"name": "\u2603", "api": api_section("https://api-acme.example")}]})
    code, output, log = run("--config.check", cwd=tmp_path, environment={"PYTHONIOENCODING": "ascii"})
    assert (code, log) == (0, "")
    assert output.startswith(r"config.yaml: tenant \u2603: 0 actions, ")


@needs_namespaces
def test_resolver_that_hangs_does_not_hold_a_poll(tmp_path: Path) -> None:
    """A poll counts as timed out at its deadline, whatever its thread still waits for."""
    (tmp_path / "resolv.conf").write_text("nameserver 127.0.11.53\noptions timeout:30 attempts:4\n")
    write(tmp_path, {"api": api_section("https://api-acme.example.com", timeout="500ms"), "actions": [1]})
    asked = threading.Event()

    def listen() -> None:
        server.recv(512)
        asked.set()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.11.53", 53))
        server.settimeout(60)
        thread = threading.Thread(target=listen)
        thread.start()
        done = run_apart(
            f"{sys.executable} -m exporter --once --config.file={tmp_path}/config.yaml",
            instead={"/etc/resolv.conf": tmp_path / "resolv.conf"},
            timeout=90,  # Below the resolver's two minutes, which is what tells the two apart.
        )
        thread.join()
    assert asked.is_set()
    assert 'poll_error_info{action_id="1",reason="timeout"} 1' in done.stdout
    assert done.returncode == 1
