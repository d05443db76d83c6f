"""Action files that change while the exporter runs, as a process with a simulated tenant."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from support import (
    RUNNING,
    ExporterProcess,
    Mounted,
    StartExporter,
    StartSimulator,
    api_section,
    make_tenant,
    replace_file,
    wait_until,
    wait_until_equal,
)
from support_metrics import Metrics, scrape

from exporter.simulator.tenant import Fault, SimulatedTenant

OFTEN = "--config.auto-reload-interval=100ms"
SLOW = {"interval": "1h", "stale_after": "0s"}


def configuration(url: str, *patterns: str, actions: object = ()) -> dict[str, Any]:
    """Return a configuration with these patterns of action files."""
    return {
        "api": api_section(url, requests_per_second=10),
        "actions": list(actions),  # type: ignore[call-overload]  # Entries of any kind.
        "action_files": list(patterns),
        "poll": SLOW,
    }


def labels(process: ExporterProcess) -> dict[str, dict[str, str]]:
    """Return the labels of each tracked action, by its ID."""
    of_samples = (dict(labels) for name, labels in scrape(process).executions() if name == "labels")
    return {sample.pop("action_id"): sample for sample in of_samples}


def shown(process: ExporterProcess) -> set[str]:
    """Return the IDs of the actions that any sample is about."""
    return {dict(labels)["action_id"] for _, labels in scrape(process).executions()}


def successes(metrics: Metrics, *files: Path) -> list[float | None]:
    """Return whether each file was read well."""
    return [metrics.value("exporter_action_file_last_read_successful", file=str(file)) for file in files]


def told(process: ExporterProcess, message: str) -> list[dict[str, Any]]:
    """Return the lines of a JSON log with that message, without time and level."""
    lines = [json.loads(line) for line in process.log.splitlines()]
    return [
        {key: value for key, value in line.items() if key not in {"ts", "level", "msg"}}
        for line in lines
        if line["msg"] == message
    ]


def test_action_files_are_found_from_the_configuration_and_followed(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """YAML and JSON, beside and below the configuration wherever the process runs: new, changed, gone."""
    base = tmp_path / "[base]"  # Where a pattern has special characters, a folder's own ones are none.
    for name, text in {
        "actions.d/a.yaml": "- 1\n- {id: 2, labels: {team: red}}\n",
        "actions.d/b.json": '[3, {"id": "4", "labels": {"wave": 7}}]',
        "actions.d/.hidden.yaml": "[8]",
        "actions.d/notes.txt": "[9]",
        "deep/er/still/c.yaml": "[5]",
    }.items():
        (base / name).parent.mkdir(parents=True, exist_ok=True)
        (base / name).write_text(text)
    text = json.dumps(configuration(url, "actions.d/*.yaml", "actions.d/*.json", "deep/**/*.yaml"))
    (base / "config.yaml").write_text(text)
    process = exporter_process(None, f"--config.file={base}/config.yaml", OFTEN, "--log.format=json")
    red, wave = {"team": "red"}, {"wave": "7"}
    assert labels(process) == {"1": {}, "2": red, "3": {}, "4": wave, "5": {}}
    assert told(process, "started")[0]["actions"] == 5
    wait_until_equal(lambda: scrape(process).phases(), {"active": 5.0})
    known = scrape(process).executions()
    files = [base / name for name in ("actions.d/a.yaml", "actions.d/b.json", "deep/er/still/c.yaml")]
    assert successes(scrape(process), *files) == [1.0] * 3
    replace_file(files[0], "- 1\n- {id: 2, labels: {team: blue}}\n- 6\n")
    wait_until_equal(lambda: labels(process)["2"], {"team": "blue"})
    wait_until_equal(lambda: scrape(process).phases(), {"active": 6.0})
    (base / "actions.d/d.yaml").write_text("[7]")
    wait_until(lambda: "7" in shown(process), "a new file")
    files[2].unlink()
    wait_until(lambda: "5" not in shown(process), "a file that is gone takes its actions with it")
    assert successes(scrape(process), *files) == [1.0, 1.0, None]
    wait_until_equal(lambda: scrape(process).phases(), {"active": 6.0})
    found = scrape(process).executions()
    assert {sample: value for sample, value in known.items() if sample not in found} == {
        sample: value
        for sample, value in known.items()
        if ("action_id", "5") in sample[1] or ("team", "red") in sample[1]
    }
    assert {sample: found[sample] for sample in known if sample in found} == {
        sample: value for sample, value in known.items() if sample in found
    }
    assert Counter(request.action_id for request in tenant.requests) == dict.fromkeys("1234567", 1)
    assert [line["added_ids"] for line in told(process, "tracked actions changed") if line["added"]] == ["6", "7"]
    assert told(process, "action file is gone") == [{"file": str(files[2]), "actions": 1}]


def test_action_files_of_a_mounted_config_map_are_followed(
    exporter_process: StartExporter, url: str, tmp_path: Path
) -> None:
    """Each swap of the one link is a change of every file below it, and one that is dropped is gone."""
    mounted = Mounted(tmp_path / "actions", {"a.yaml": "[1]", "b.json": "[2]"})
    process = exporter_process(configuration(url, "../actions/*"), OFTEN)
    assert shown(process) == {"1", "2"}
    mounted.update({"a.yaml": "[3]", "b.json": "[2]"})
    wait_until_equal(lambda: shown(process), {"2", "3"})
    mounted.update({"a.yaml": "[3]"})
    wait_until_equal(lambda: shown(process), {"3"})
    mounted.update({"a.yaml": "[4]", "c.yaml": "[5]"})
    wait_until_equal(lambda: shown(process), {"4", "5"})
    assert "level=warn" not in process.log
    assert scrape(process).values("exporter_action_file_last_read_successful") == [1.0, 1.0]


def test_broken_action_file_keeps_its_last_good_content(
    exporter_process: StartExporter, url: str, tmp_path: Path
) -> None:
    """Metric and log tell of it once, every other file is followed, and it recovers; a reload changes nothing."""
    folder = tmp_path / "exporter-1"
    start = configuration(url, "../*.yaml", "../one.json")
    good, other, one = (tmp_path / name for name in ("a.yaml", "b.yaml", "one.json"))
    good.write_text("[1, 2]")
    other.write_text("[3]")
    one.write_text("[4]")
    process = exporter_process(start, OFTEN, "--log.format=json", "--web.enable-lifecycle")
    shown_as = [folder / ".." / path.name for path in (good, other, one)]
    replace_file(good, "[1, 2, 5.5]\n")
    one.unlink()  # Named in full, it is missing: only what a pattern does not find is gone.
    wait_until_equal(lambda: successes(scrape(process), *shown_as), [0.0, 1.0, 0.0])
    for number in range(6, 9):  # Each takes two looks or more.
        replace_file(other, f"[{number}]")
        wait_until_equal(lambda: shown(process), {"1", "2", "4", str(number)})
    assert process.reload(start)[0] == 200
    assert shown(process) == {"1", "2", "4", "8"}
    assert successes(scrape(process), *shown_as) == [0.0, 1.0, 0.0]
    assert sorted(told(process, "action file cannot be read"), key=lambda line: line["file"]) == [
        {
            "file": str(shown_as[0]),
            "problem": (
                "[2]: must be an integer, or text of 1 to 128 printable characters without spaces "
                "(in quotes where YAML reads something else)"
            ),
        },
        {"file": str(shown_as[2]), "problem": "cannot be read: no such file or directory"},
    ]
    replace_file(good, "[1, 5]\n")
    replace_file(one, "[4]")
    wait_until_equal(lambda: shown(process), {"1", "4", "5", "8"})
    wait_until_equal(lambda: successes(scrape(process), *shown_as), [1.0] * 3)
    assert {line["file"] for line in told(process, "action file recovered")} == {
        str(shown_as[0]),
        str(shown_as[2]),
    }


def test_action_files_that_are_broken_at_the_start_leave_the_rest(
    exporter_process: StartExporter, url: str, tmp_path: Path
) -> None:
    """The exporter runs with what it can read, says so, and takes up the others when they are whole."""
    (tmp_path / "a.yaml").write_text("api: none")
    (tmp_path / "b.yaml").write_text("[2]")
    process = exporter_process(configuration(url, "../*.yaml", "../missing.json", actions=[1]), OFTEN)
    files = [process.folder / ".." / name for name in ("a.yaml", "b.yaml", "missing.json")]
    assert successes(scrape(process), *files) == [0.0, 1.0, 0.0]
    assert shown(process) == {"1", "2"}
    assert process.log.count('msg="action file cannot be read"') == 2
    wait_until_equal(lambda: scrape(process).phases(), {"active": 2.0})
    assert process.get("/-/ready").status_code == 200
    (tmp_path / "a.yaml").write_text("[3]")
    (tmp_path / "missing.json").write_text("[4]")
    wait_until_equal(lambda: shown(process), {"1", "2", "3", "4"})
    wait_until_equal(lambda: successes(scrape(process), *files), [1.0, 1.0, 1.0])


def test_action_that_is_listed_twice_is_tracked_as_listed_first(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """The configuration comes first, then files by pattern and name; metric and log count what is ignored."""
    (tmp_path / "a.yaml").write_text("[{id: 1, labels: {of: a}}, {id: 2, labels: {of: a}}, 2]")
    (tmp_path / "b.yaml").write_text("[{id: 2, labels: {of: b}}, {id: 3, labels: {of: b}}]")
    own = {"id": 1, "labels": {"of": "configuration"}}
    start = configuration(url, "../*.yaml", actions=[own])
    process = exporter_process(start, OFTEN, "--log.format=json", "--web.enable-lifecycle")
    files = [str(process.folder / ".." / name) for name in ("a.yaml", "b.yaml")]

    def duplicates() -> list[float | None]:
        return [scrape(process).value("exporter_action_file_duplicates", file=file) for file in files]

    assert labels(process) == {"1": {"of": "configuration"}, "2": {"of": "a"}, "3": {"of": "b"}}
    assert duplicates() == [2.0, 1.0]
    assert told(process, "action file lists tracked actions") == [
        {
            "file": files[0],
            "duplicates": 2,
            "first": (
                f"[0]: 1 is tracked already, from the configuration; [2]: 2 is tracked already, from {files[0]}"
            ),
        },
        {"file": files[1], "duplicates": 1, "first": f"[0]: 2 is tracked already, from {files[0]}"},
    ]
    wait_until_equal(lambda: scrape(process).phases(), {"active": 3.0})
    # What moves from one list to another is the same action, with other labels.
    assert process.reload(configuration(url, "../*.yaml"))[0] == 200
    assert labels(process)["1"] == {"of": "a"}
    assert duplicates() == [1.0, 1.0]
    (tmp_path / "a.yaml").unlink()
    wait_until_equal(lambda: labels(process), {"2": {"of": "b"}, "3": {"of": "b"}})
    assert duplicates() == [None, 0.0]
    assert Counter(request.action_id for request in tenant.requests) == dict.fromkeys("123", 1)


def test_each_tenant_has_its_own_action_files(
    exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path
) -> None:
    """One file may serve several, where the same ID is another action; other patterns come by a reload."""
    tenants = {name: make_tenant(dict.fromkeys("12345", RUNNING)) for name in ("one", "two")}
    url = simulator(tenants)
    for name, text in {"both.yaml": "[1]", "one.yaml": "[2]", "two.yaml": "[3]"}.items():
        (tmp_path / name).write_text(text)

    def several(**files: list[str]) -> dict[str, Any]:
        return {
            "tenants": [
                {"name": name, "api": api_section(f"{url}/{name}"), "action_files": patterns}
                for name, patterns in files.items()
            ],
            "poll": SLOW,
        }

    def tracked() -> dict[str, set[str]]:
        found: dict[str, set[str]] = {}
        for _, sample in scrape(process).executions():
            of = dict(sample)
            found.setdefault(of["tenant"], set()).add(of["action_id"])
        return found

    process = exporter_process(
        several(one=["../both.yaml", "../one.*"], two=["../both.yaml", "../two.*"]),
        OFTEN,
        "--web.enable-lifecycle",
    )
    assert tracked() == {"one": {"1", "2"}, "two": {"1", "3"}}
    assert scrape(process).values("exporter_action_file_duplicates") == [0.0, 0.0, 0.0]
    replace_file(tmp_path / "both.yaml", "[4]")
    wait_until_equal(tracked, {"one": {"4", "2"}, "two": {"4", "3"}})
    assert process.reload(several(one=["../both.yaml"], two=["../one.yaml"]))[0] == 200
    assert tracked() == {"one": {"4"}, "two": {"2"}}
    assert len(scrape(process).values("exporter_action_file_last_read_successful")) == 2


def test_action_that_comes_by_a_file_does_not_take_readiness_back(
    exporter_process: StartExporter, tenant: SimulatedTenant, url: str, tmp_path: Path
) -> None:
    """Who scrapes by readiness does not lose the exporter over an action that has no answer yet."""
    listed = tmp_path / "listed.yaml"
    listed.write_text("[1]")
    process = exporter_process(configuration(url, str(listed)))
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1.0})
    tenant.inject(Fault(hang=True))
    replace_file(listed, "[1, 2]")
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1.0, "waiting": 1.0})
    assert process.get("/-/ready").status_code == 200


def test_twenty_thousand_actions_come_and_go_by_a_file(
    exporter_process: StartExporter, url: str, tmp_path: Path
) -> None:
    """A large file is taken up and given up while the exporter serves, and what is not in it is polled on."""
    large = tmp_path / "large.yaml"
    process = exporter_process(configuration(url, "../*.yaml", actions=[1]), OFTEN)
    wait_until_equal(lambda: scrape(process).phases(), {"active": 1.0})
    before = scrape(process).executions()
    entries = [{"id": 10_000_000 + number, "labels": {"wave": number % 7}} for number in range(20_000)]
    large.write_text(json.dumps(entries))

    def states() -> float:
        return sum(scrape(process).phases().values())

    wait_until_equal(states, 20_001.0)
    text = process.get("/metrics", parameters={"name[]": "cortex_xdr_script_execution_labels"}).text
    assert text.count("\ncortex_xdr_script_execution_labels{") == 20_001
    assert '{action_id="10019999",wave="0"} 1\n' in text
    large.unlink()
    wait_until_equal(states, 1.0)
    assert scrape(process).executions() == before
    assert process.stop() == 0
