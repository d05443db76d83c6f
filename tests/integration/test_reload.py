"""A configuration that changes while the exporter runs, as a process with simulated tenants: all or nothing."""

import json
import signal
import threading
from collections import Counter
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trustme
from prometheus_client.parser import text_string_to_metric_families
from support import (
    KEY,
    KEY_ID,
    RUNNING,
    ExporterProcess,
    Mounted,
    StartExporter,
    StartSimulator,
    api_section,
    configuration_text,
    make_tenant,
    replace_file,
    wait_until,
    wait_until_equal,
)
from support_arrivals import departures, gaps
from support_metrics import scrape

from exporter.simulator.lives import Counts, Fixed
from exporter.simulator.tenant import Fault, SimulatedTenant

LIFECYCLE = "--web.enable-lifecycle"
NEVER = "--config.auto-reload-interval=0s"
OFTEN = "--config.auto-reload-interval=100ms"
RELOADED = (200, "The configuration was reloaded.\n")
LATER = Fixed("IN_PROGRESS", Counts(in_progress=4, failed=1))
DONE = Fixed("COMPLETED_SUCCESSFULLY", Counts(completed_successfully=5))
SLOW = {"interval": "1h", "stale_after": "0s"}
QUICK = {"interval": "100ms"}


def configuration(url: str, actions: Iterable[object], poll: object = SLOW, **api: object) -> dict[str, Any]:
    """Return a configuration of one tenant that may be asked ten times a second."""
    section = {**api_section(url, requests_per_second=10), **api}
    return {"api": section, "actions": list(actions), "poll": poll}


def ready(process: ExporterProcess) -> bool:
    """Tell whether an exporter is ready."""
    return process.get("/-/ready").status_code == 200


def polls(tenant: SimulatedTenant) -> Counter[str | None]:
    """Count a tenant's requests by action."""
    return Counter(request.action_id for request in tenant.requests)


def shown(process: ExporterProcess) -> set[str]:
    """Return the IDs of the actions that any sample is about."""
    return {dict(labels)["action_id"] for _, labels in scrape(process).executions()}


def reload_state(process: ExporterProcess) -> tuple[float | None, float | None]:
    """Return whether the last reload succeeded, and when the last one did that succeeded."""
    metrics = scrape(process)
    prefix = "exporter_config_last_reload_"
    return metrics.value(f"{prefix}successful"), metrics.value(f"{prefix}success_timestamp_seconds")


def told(process: ExporterProcess, message: str) -> list[dict[str, Any]]:
    """Return the lines of a JSON log with that message, without time and level."""
    lines = [json.loads(line) for line in process.log.splitlines()]
    return [
        {key: value for key, value in line.items() if key not in {"ts", "level", "msg"}}
        for line in lines
        if line["msg"] == message
    ]


def all_text(process: ExporterProcess) -> str:
    """Return everything that an exporter says: log, metrics, page, and its command line."""
    command = Path(f"/proc/{process.process.pid}/cmdline").read_text()
    return process.log + process.output + process.get("/metrics").text + process.get("/").text + command


@pytest.mark.parametrize("way", ["signal", "request", "file"])
def test_reload_keeps_what_stays_and_changes_the_rest(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, way: str
) -> None:
    """Removed actions are gone at once, new ones are polled, and the others keep counts, times and turn."""
    before = configuration(url, [1, {"id": 2, "labels": {"team": "red"}}, 3])
    process = exporter_process(
        before, "--log.format=json", *([OFTEN] if way == "file" else [NEVER]), *([LIFECYCLE] * (way == "request"))
    )
    wait_until(lambda: ready(process), "the first pass")
    known = scrape(process).executions()
    for action_id in "23":  # What is polled anew would be seen in its counts and times.
        tenant.add(action_id, LATER)
    after = configuration(url, [5, 3, {"id": 2, "labels": {"team": "blue", "wave": 2}}, {"id": 4, "labels": {}}])
    if way == "request":
        assert process.reload(after) == RELOADED
    else:
        process.configure(after)
        if way == "signal":
            process.process.send_signal(signal.SIGHUP)
        wait_until(lambda: scrape(process).values("script_execution_labels", action_id="4"), "the reload")
    assert shown(process) == {"2", "3", "4", "5"}
    assert sum(scrape(process).phases().values()) == 4
    wait_until_equal(lambda: scrape(process).phases(), {"active": 4.0})
    expected = {sample: value for sample, value in known.items() if dict(sample[1])["action_id"] in {"2", "3"}}
    del expected["labels", (("action_id", "2"), ("team", "red"))]
    expected["labels", (("action_id", "2"), ("team", "blue"), ("wave", "2"))] = 1.0
    found = scrape(process).executions()
    assert {key: value for key, value in found.items() if dict(key[1])["action_id"] in {"2", "3"}} == expected
    assert scrape(process).counts(action_id="5") == {key: float(n) for key, n in RUNNING.counts._asdict().items()}
    assert polls(tenant) == dict.fromkeys("12345", 1)
    assert told(process, "configuration reloaded") == [{}]
    assert told(process, "tracked actions changed") == [
        {
            "added": 2,
            "removed": 1,
            "relabelled": 1,
            "added_ids": "5 4",
            "removed_ids": "1",
            "relabelled_ids": "2",
        }
    ]
    assert process.stop() == 0
    assert KEY not in process.log


def test_reload_has_new_actions_polled_first(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """Also where the budget does not suffice for those that are due already."""
    for number in range(100, 112):
        tenant.add(number, RUNNING)
    process = exporter_process(configuration(url, range(100, 112), QUICK), LIFECYCLE)
    wait_until(lambda: len(tenant.requests) > 14, "more is due than can be polled")
    assert process.reload(configuration(url, [*range(100, 112), 1, 2], QUICK)) == RELOADED
    start = len(tenant.requests)
    wait_until(lambda: {"1", "2"} <= polls(tenant).keys(), "the new ones are polled")
    order = [request.action_id for request in tenant.requests]
    # Of the twelve that were due before, one may have been on its way.
    assert order.index("1") <= start + 1
    assert order.index("2") == order.index("1") + 1


def test_file_that_changes_is_reloaded_however_it_is_replaced(
    exporter_process: StartExporter, url: str, tmp_path: Path
) -> None:
    """By a mounted ConfigMap's swapped link, by a rename, in place; and one that is missing is waited for."""
    texts = {number: configuration_text(configuration(url, [number])) for number in range(1, 7)}
    mounted = Mounted(tmp_path / "mounted", {"config.yaml": texts[1]})
    path = mounted.folder / "config.yaml"
    process = exporter_process(None, f"--config.file={path}", OFTEN, "--log.format=json")
    mounted.update({"config.yaml": texts[2]})
    wait_until_equal(lambda: shown(process), {"2"})
    mounted.update({"config.yaml": texts[3]})
    wait_until_equal(lambda: shown(process), {"3"})
    replace_file(path, texts[4])
    wait_until_equal(lambda: shown(process), {"4"})
    path.write_text(texts[5])
    wait_until_equal(lambda: shown(process), {"5"})
    path.unlink()
    wait_until_equal(lambda: reload_state(process)[0], 0.0)
    path.write_text(texts[5])
    wait_until_equal(lambda: reload_state(process)[0], 1.0)
    assert shown(process) == {"5"}
    path.unlink()
    wait_until_equal(lambda: reload_state(process)[0], 0.0)
    path.write_text(texts[6])
    wait_until_equal(lambda: shown(process), {"6"})
    assert len(told(process, "configuration reloaded")) == 6
    missing = {"problem": f"{path}: cannot be read: no such file or directory"}
    assert told(process, "configuration not reloaded") == [missing, missing]


def test_file_is_taken_up_when_it_has_come_to_rest(
    exporter_process: StartExporter, url: str, tmp_path: Path
) -> None:
    """What is still being written is not used, though it could be: seen by others looked at all along."""
    other = tmp_path / "other.yaml"
    other.write_text("[1]")
    start = {**configuration(url, []), "action_files": [str(other)]}
    process = exporter_process(start, "--config.auto-reload-interval=1s", "--log.format=json")
    half = configuration_text({**start, "actions": [2]})
    path = process.folder / "config.yaml"
    path.write_text(half)
    with path.open("a") as file:

        def write_on() -> set[str]:
            file.write("#\n")
            file.flush()
            return shown(process)

        replace_file(other, "[3]")
        wait_until_equal(write_on, {"3"})
        assert told(process, "configuration reloaded") == []
    path.write_text(half.replace("- 2", "- 2\n- 5"))
    wait_until_equal(lambda: shown(process), {"2", "3", "5"})
    assert len(told(process, "configuration reloaded")) == 1


def test_file_is_not_looked_at_if_so_told(exporter_process: StartExporter, url: str, tmp_path: Path) -> None:
    """With an interval of 0s a changed configuration waits for a signal; action files are watched all the same."""
    other = tmp_path / "other.yaml"
    other.write_text("[1]")
    start = {**configuration(url, []), "action_files": [str(other)]}
    process = exporter_process(start, NEVER)
    process.configure({**start, "actions": [2]})
    replace_file(other, "[3]")
    wait_until_equal(lambda: shown(process), {"3"})
    process.process.send_signal(signal.SIGHUP)
    wait_until_equal(lambda: shown(process), {"2", "3"})


def test_file_that_changes_during_the_start_is_reloaded(
    exporter_process: StartExporter, url: str, tmp_path: Path
) -> None:
    """Between its reading and the first look at it much may be read that it names: no change is lost."""
    (tmp_path / "a.yaml").write_text("[1]")
    (tmp_path / "b.json").write_text(json.dumps([{"id": n, "labels": {"of": "b"}} for n in range(9000, 49000)]))
    start = {**configuration(url, [2]), "action_files": ["../*.yaml", "../*.json"]}
    log = tmp_path / "exporter-1" / "stderr"

    def change() -> None:
        wait_until(lambda: log.exists() and "a.yaml" in log.read_text(), "the first action file is read")
        replace_file(
            log.with_name("config.yaml"), configuration_text({**start, "actions": [3], "action_files": []})
        )

    thread = threading.Thread(target=change)
    thread.start()
    process = exporter_process(start, OFTEN)
    thread.join()
    wait_until_equal(lambda: shown(process), {"3"})


def test_reload_is_done_once_for_a_change_of_authorities(
    exporter_process: StartExporter, url: str, tmp_path: Path
) -> None:
    """A file of authorities that is named newly is one change, and so is one with another content."""
    for number in range(2):
        trustme.CA().cert_pem.write_to_path(str(tmp_path / f"{number}.pem"))
    (tmp_path / "other.yaml").write_text("[]")

    def named(ca_file: str | None) -> dict[str, Any]:
        return {**configuration(url, [1], ca_file=ca_file), "action_files": ["../other.yaml"]}

    process = exporter_process(named(None), OFTEN, LIFECYCLE, "--log.format=json")
    assert process.reload(named("../0.pem")) == RELOADED
    for number in range(3, 6):  # Each takes two looks or more.
        replace_file(tmp_path / "other.yaml", f"[{number}]")
        wait_until_equal(lambda: shown(process), {"1", str(number)})
    assert told(process, "configuration reloaded") == [{"settings_changed": "api.ca_file"}]
    (tmp_path / "1.pem").replace(tmp_path / "0.pem")
    assert process.reload(named("../0.pem")) == RELOADED
    assert told(process, "configuration reloaded")[1:] == [{"settings_changed": "api.ca_file"}]


def test_broken_configuration_leaves_the_running_one(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """The answer is 500 with every problem, log and metrics tell of it, and polls go on until it is repaired."""
    start = configuration(url, [1], QUICK)
    process = exporter_process(start, LIFECYCLE, NEVER, "--log.format=json")
    path = process.folder / "config.yaml"
    assert reload_state(process)[0] == 1.0
    loaded = reload_state(process)[1]
    known = "api, actions, action_files, tenants, poll, state"
    broken: dict[str, tuple[object, list[str]]] = {
        "YAML": (
            f"api: {{url: '{url}', key_id: 7, key: s3cr3t-one\n",
            ["line 2, column 1: did not find expected ',' or '}'"],
        ),
        "unknown key": (
            {**start, "action": [5]},
            [f"action: unknown key; did you mean actions? known are: {known}"],
        ),
        "key file": (
            {**start, "api": {"url": url, "key_id": 7, "key_file": "nowhere"}},
            [f"api.key_file: {process.folder}/nowhere cannot be read: no such file or directory"],
        ),
        "several": (
            {
                "api": {
                    "url": "https://user:s3cr3t-two@acme.example",
                    "key_id": 7,
                    "key": "s3cr3t three",
                    "proxy_url": "ftp://user:s3cr3t-four@proxy.example",
                },
                "actions": [5, 6, 5],
                "poll": {"interval": "31m"},
            },
            [
                "actions[2]: 5 is the ID at actions[0] already",
                "api.key: holds no key: a key is one word of printable ASCII",
                "api.proxy_url: must begin with http:// or https://",
                "api.url: must not contain credentials: the key goes into key_file, key_env or key",
                "poll.interval: must be at most half of stale_after, which is 1h where it is not set",
            ],
        ),
    }
    problems = []
    for text, expected in broken.values():
        done = len(tenant.requests)
        lines = [f"{path}: {line}\n" for line in expected]
        assert process.reload(text) == (  # type: ignore[arg-type]  # A mapping or text.
            500,
            "Not reloaded:\n" + "".join(lines),
        )
        problems += [{"problem": line.rstrip("\n")} for line in lines]
        assert reload_state(process) == (0.0, loaded)
        assert shown(process) == {"1"}
        wait_until(partial(lambda done: len(tenant.requests) > done + 1, done), "polls go on")
    assert told(process, "configuration not reloaded") == problems
    assert told(process, "configuration reloaded") == []
    assert process.reload({**start, "actions": [1, 2]}) == RELOADED
    successful, again = reload_state(process)
    assert successful == 1.0
    assert loaded is not None
    assert again is not None
    assert again > loaded
    assert shown(process) == {"1", "2"}
    said = all_text(process)
    assert KEY not in said
    assert "s3cr3t" not in said


def test_broken_file_is_told_once_and_heals_when_what_it_lacked_is_there(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """The configuration is tried at each look, without a line for each, until the key file appears."""
    other = tmp_path / "other.yaml"
    other.write_text("[]")
    start = {**configuration(url, [1]), "action_files": [str(other)]}
    process = exporter_process(start, OFTEN, "--log.format=json")
    wait_until(lambda: ready(process), "the first pass")
    api = {"url": url, "key_id": KEY_ID, "key_file": "key"}
    changed: dict[str, Any] = {**start, "api": api, "actions": [1, 2]}
    process.configure(changed)
    wait_until_equal(lambda: reload_state(process)[0], 0.0)
    for number in range(3, 7):  # Each takes two looks or more.
        replace_file(other, f"[{number}]")
        wait_until_equal(lambda: shown(process), {"1", str(number)})
    missing = {
        "problem": f"{process.folder}/config.yaml: api.key_file: {process.folder}/key cannot be read: "
        "no such file or directory"
    }
    assert told(process, "configuration not reloaded") == [missing]
    process.configure({**changed, "actions": [1.5]})
    wait_until(lambda: len(told(process, "configuration not reloaded")) > 1, "other problems are told")
    process.configure(changed)
    wait_until(lambda: len(told(process, "configuration not reloaded")) == 4, "and the first one again")
    replace_file(process.folder / "key", "k3y-of-the-file\n")
    tenant.key = "k3y-of-the-file"
    wait_until_equal(lambda: reload_state(process)[0], 1.0)
    wait_until_equal(lambda: scrape(process).phases(), {"active": 3.0})
    assert "k3y" not in all_text(process)


def test_reload_takes_up_other_credentials(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """Another key, number or type of a key is used at once, also while the tenant refuses and is left alone."""
    tenant.key = "the-2nd-key"
    process = exporter_process(configuration(url, [1]), LIFECYCLE, "--log.format=json")
    wait_until_equal(lambda: scrape(process).value("up"), 0.0)
    refused = len(tenant.requests)
    assert process.reload(configuration(url, [1], key="the-2nd-key")) == RELOADED
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1.0})
    assert [request.status for request in tenant.requests[refused:]] == [200]
    steps: list[tuple[str, str, dict[str, object]]] = [
        ("key_id", "api.key_id", {"key": "the-2nd-key", "key_id": 8}),
        ("key_type", "api.key_type", {"key": "the-2nd-key", "key_id": 8, "key_type": "standard"}),
        ("key", "api.key", {"key": "the-3rd-key", "key_id": 8, "key_type": "standard"}),
    ]
    tenant.key_id, tenant.key_type = 8, "standard"
    tenant.key = "the-3rd-key"
    for number, (_, _, api) in enumerate(steps, start=2):
        # The last one alone is what the tenant takes; the new action asks for a request with each.
        tried = len(tenant.requests)
        assert process.reload(configuration(url, range(1, number + 1), **api)) == RELOADED
        wait_until(partial(lambda tried: len(tenant.requests) > tried, tried), "a request with these")
    wait_until_equal(lambda: scrape(process).value("up"), 1.0)
    assert tenant.requests[-1].status == 200
    assert [line.get("settings_changed") for line in told(process, "configuration reloaded")] == [
        "api.key",
        *(setting for _, setting, _ in steps),
    ]
    said = all_text(process)
    assert not [key for key in (KEY, "the-2nd", "the-3rd") if key in said]


def test_refusing_tenant_rests_over_a_reload_unless_its_access_changed(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """Another rate is no reason for another refusal in the audit log; another key is asked with at once."""
    hourly = {"interval": "1h", "stale_after": "3h"}
    process = exporter_process(configuration(url, [1, 2], hourly, key="wrong"), LIFECYCLE, NEVER)
    wait_until(lambda: scrape(process).value("up") == 0, "the refusal")
    asked = len(tenant.requests)
    for rate in (2, 3, 4):
        changed = configuration(url, [1, 2], hourly, key="wrong", requests_per_second=rate)
        assert process.reload(changed) == RELOADED
    assert len(tenant.requests) == asked
    assert process.reload(configuration(url, [1, 2], hourly)) == RELOADED
    wait_until(lambda: scrape(process).value("up") == 1, "the tenant is well")


def test_request_under_way_ends_as_it_began(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """A reload with another client neither waits for it nor takes its answer away."""
    tenant.inject(Fault(delay_seconds=1), "1")
    process = exporter_process(configuration(url, [1]), LIFECYCLE)
    wait_until(lambda: tenant.requests, "the request is under way")
    assert process.reload(configuration(url, [1], timeout="20s")) == RELOADED
    assert scrape(process).phases() == {"waiting": 1.0}
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1.0})
    assert polls(tenant) == {"1": 1}


def test_reload_changes_the_pace(exporter_process: StartExporter, tenant: SimulatedTenant, url: str) -> None:
    """Other limits and intervals count from then on, also for actions that had been planned by the old ones."""

    def reload(poll: object, rate: float) -> None:
        assert process.reload(configuration(url, [1, 2, 3], poll, requests_per_second=rate)) == RELOADED
        assert scrape(process).value("exporter_request_rate_limit") == rate

    process = exporter_process(configuration(url, [1, 2, 3], requests_per_second=0.001), LIFECYCLE, OFTEN)
    wait_until_equal(lambda: len(tenant.requests), 1)
    reload(SLOW, 10)
    wait_until(lambda: ready(process), "the others, long before the old limit allows it")
    assert polls(tenant) == dict.fromkeys("123", 1)
    assert scrape(process).value("exporter_request_rate_demand") == pytest.approx(3 / 3600)
    reload({"interval": "200ms"}, 10)
    assert scrape(process).value("exporter_request_rate_demand") == pytest.approx(15)
    wait_until(lambda: all(number > 2 for number in polls(tenant).values()), "polls, long before they were due")
    reload({"interval": "200ms"}, 2)
    start = len(tenant.requests) + 1
    wait_until(lambda: len(tenant.requests) > start + 3, "four more requests")
    assert min(gaps(departures(tenant.requests[start:]))) > 0.25
    tenant.add(1, DONE)
    wait_until_equal(lambda: scrape(process).phases(), {"active": 2.0, "settled": 1.0})
    # A finished action was to be polled in an hour.
    done = polls(tenant)["1"]
    reload({"interval": "1s", "settled_interval": "200ms"}, 10)
    wait_until(lambda: polls(tenant)["1"] > done + 1, "finished actions, too")


def test_reload_changes_for_how_long_things_count(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """Another timeout counts for the next request, and stale or retired is what the new times say."""
    poll: dict[str, object] = {"interval": "200ms", "stale_after": "1h", "retire_after": "7d"}
    process = exporter_process(configuration(url, [1, 2], poll, timeout="1h"), LIFECYCLE, OFTEN)
    tenant.add(2, DONE)
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1.0, "settled": 1.0})
    assert process.reload(configuration(url, [1, 2], poll, timeout="300ms")) == RELOADED
    done = len(tenant.requests)
    wait_until(lambda: len(tenant.requests) > done + 1, "no request is left from before")
    tenant.inject(Fault(hang=True))
    wait_until(lambda: scrape(process).values("script_execution_poll_error_info", reason="timeout"), "a timeout")
    assert scrape(process).counts(action_id="1")
    poll |= {"stale_after": "400ms"}
    assert process.reload(configuration(url, [1, 2], poll, timeout="300ms")) == RELOADED
    wait_until(lambda: not scrape(process).counts(action_id="1"), "old counts are gone")
    assert scrape(process).counts(action_id="2")
    poll |= {"retire_after": "10ms"}
    assert process.reload(configuration(url, [1, 2], poll, timeout="300ms")) == RELOADED
    wait_until_equal(lambda: shown(process), {"1"})
    assert scrape(process).phases() == {"failing": 1.0, "retired": 1.0}


def test_tenant_at_another_url_is_another_tenant(
    exporter_process: StartExporter, simulator: StartSimulator, tenant: SimulatedTenant
) -> None:
    """What the old one said is not shown for the new one, which is asked at once."""
    other = make_tenant({"1": DONE})
    other.inject(Fault(delay_seconds=0.5))
    url = simulator({"old": tenant, "new": other})
    process = exporter_process(configuration(f"{url}/old", [1, 2]), LIFECYCLE)
    wait_until(lambda: ready(process), "the first pass")
    done = {key: float(count) for key, count in DONE.counts._asdict().items()}
    assert process.reload(configuration(f"{url}/new", [1])) == RELOADED
    assert scrape(process).counts(action_id="1") in ({}, done)
    assert shown(process) == {"1"}
    wait_until_equal(lambda: scrape(process).counts(action_id="1"), done)
    assert polls(tenant) == {"1": 1, "2": 1}
    assert polls(other) == {"1": 1}


def of_tenants(process: ExporterProcess) -> dict[str | None, set[str]]:
    """Return the names of the families that have samples, by the tenant that these name."""
    found: dict[str | None, set[str]] = {}
    for family in text_string_to_metric_families(process.get("/metrics").text):
        for sample in family.samples:
            if sample.name.startswith("cortex_xdr"):
                found.setdefault(sample.labels.get("tenant"), set()).add(family.name)
    return found


def test_tenants_get_names_and_lose_them(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """From one tenant to a list and back: every metric of a tenant has the label, or none has."""
    one = configuration(url, [1])
    several = {"tenants": [{"name": "acme", "api": one["api"], "actions": [2]}], "poll": SLOW}
    process = exporter_process(one, LIFECYCLE)
    wait_until(lambda: ready(process), "the first pass")
    unnamed = of_tenants(process)
    assert unnamed.keys() == {None}
    assert process.reload(several) == RELOADED
    wait_until_equal(lambda: scrape(process).phases(tenant="acme"), {"active": 1.0})
    named = of_tenants(process)
    assert named.keys() == {None, "acme"}
    assert named[None] | named["acme"] == unnamed[None]
    assert not named[None] & named["acme"]
    assert shown(process) == {"2"}
    assert scrape(process).values("exporter_requests_total") == [1.0]
    assert process.reload(one) == RELOADED
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1.0})
    assert of_tenants(process) == unnamed
    assert shown(process) == {"1"}
    assert polls(tenant) == {"1": 2, "2": 1}


def test_tenants_come_and_go(exporter_process: StartExporter, simulator: StartSimulator) -> None:
    """A removed tenant leaves every family, a new one is polled, and one that stays notices nothing."""
    names = ["one", "two", "three"]
    tenants = {name: make_tenant({"1": RUNNING}) for name in names}
    url = simulator(tenants)

    def several(*names: str) -> dict[str, Any]:
        return {
            "tenants": [{"name": name, "api": api_section(f"{url}/{name}"), "actions": [1]} for name in names],
            "poll": SLOW,
        }

    process = exporter_process(several("one", "two"), LIFECYCLE, "--log.format=json")
    wait_until(lambda: ready(process), "the first pass")
    before = {key: value for key, value in scrape(process).executions().items() if ("tenant", "two") in key[1]}
    families = of_tenants(process)
    assert process.reload(several("three", "two")) == RELOADED
    assert of_tenants(process).keys() == {None, "two", "three"}
    wait_until_equal(lambda: scrape(process).phases(tenant="three"), {"active": 1.0})
    assert of_tenants(process) == {None: families[None], "two": families["two"], "three": families["one"]}
    found = scrape(process).executions()
    assert {key: value for key, value in found.items() if ("tenant", "two") in key[1]} == before
    assert {name: dict(polls(tenants[name])) for name in names} == {name: {"1": 1} for name in names}
    assert told(process, "configuration reloaded") == [{"tenants_added": "three", "tenants_removed": "one"}]
    assert process.reload(several("one", "two", "three")) == RELOADED
    wait_until_equal(lambda: polls(tenants["one"]), {"1": 2})
    # Counters of a tenant that was away begin anew.
    assert scrape(process).values("exporter_requests_total", tenant="one") == [1.0]
    assert process.stop() == 0


def test_reload_waits_for_no_tenant(
    exporter_process: StartExporter, tenant: SimulatedTenant, simulator: StartSimulator
) -> None:
    """Not for one that hangs, be it that it stays or that it is removed."""
    silent = make_tenant({})
    silent.inject(Fault(hang=True))
    url = simulator({"well": tenant, "silent": silent})
    hanging = {"name": "silent", "api": api_section(f"{url}/silent", timeout="1h", requests_per_second=10)}
    well = {"name": "well", "api": api_section(f"{url}/well", requests_per_second=10)}
    several = [{**hanging, "actions": [1, 2, 3]}, {**well, "actions": [1]}]
    process = exporter_process({"tenants": several, "poll": SLOW}, LIFECYCLE)
    wait_until(lambda: len(silent.requests) == 3, "all requests hang")
    several[1]["actions"] = [2]
    hanging["api"] = api_section(f"{url}/silent", timeout="2h", requests_per_second=9)
    several[0] = {**hanging, "actions": [1, 2]}
    assert process.reload({"tenants": several, "poll": SLOW}) == RELOADED
    wait_until_equal(lambda: scrape(process).phases(tenant="well"), {"active": 1.0})
    assert scrape(process).phases(tenant="silent") == {"waiting": 2.0}
    assert process.reload({"tenants": several[1:], "poll": SLOW}) == RELOADED
    assert of_tenants(process).keys() == {None, "well"}
    assert polls(silent) == {"1": 1, "2": 1, "3": 1}
    assert process.stop() == 0


def test_reloads_at_the_same_time_are_all_answered(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """Each gets the answer of a reload that began after it was asked for; scrapes go on beside them."""
    process = exporter_process(configuration(url, [1]), LIFECYCLE)
    wait_until(lambda: ready(process), "the first pass")
    process.configure(configuration(url, [1, 2]))
    answers: list[tuple[int, str]] = []

    def ask() -> None:
        answer = process.post("/-/reload")
        answers.append((answer.status_code, answer.text))

    threads = [threading.Thread(target=ask) for _ in range(30)]
    for thread in threads:
        thread.start()
    for _ in range(5):
        process.process.send_signal(signal.SIGHUP)
        assert process.get("/metrics").status_code == 200
    for thread in threads:
        thread.join(60)
    assert answers == [RELOADED] * 30
    assert shown(process) == {"1", "2"}
    wait_until_equal(lambda: polls(tenant), {"1": 1, "2": 1})


def test_answer_to_a_poll_of_a_removed_action_does_not_bring_it_back(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str
) -> None:
    """What was under way is counted as a request and is nothing to any action, not even to one added again."""

    def finished() -> float | None:
        return scrape(process).value("exporter_request_duration_seconds_count")

    tenant.inject(Fault(delay_seconds=1, times=2))
    process = exporter_process(configuration(url, [1, 2]), LIFECYCLE)
    wait_until(lambda: len(tenant.requests) == 2, "two requests are under way")
    tenant.inject(Fault(hang=True))
    assert process.reload(configuration(url, [])) == RELOADED
    assert shown(process) == set()
    assert process.reload(configuration(url, [2])) == RELOADED
    wait_until_equal(finished, 2.0)
    assert scrape(process).executions() == {("labels", (("action_id", "2"),)): 1.0}
    assert scrape(process).phases() == {"waiting": 1.0}
    wait_until_equal(lambda: polls(tenant), {"1": 1, "2": 2})
