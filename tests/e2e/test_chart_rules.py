"""The chart's PrometheusRule and dashboards: those of its files, but for what the values change."""

import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from support_helm import CHART, Json, of_kind, render
from support_rules import RULES, TEST_FILES, alerts_of, check_rules, load, rules_of, run_rule_tests

pytestmark = pytest.mark.needs("helm")

ALERTS = [alert["alert"] for alert in alerts_of(RULES)]


class Changed(NamedTuple):
    """What values of an alert change in its expression, and in the description that it has then."""

    values: Json
    replaced: list[tuple[str, str]]


CHANGED = {
    "CortexXDRScriptEndpointsFailed": Changed({"threshold": 5}, [("> 0", "> 5")]),
    "CortexXDRScriptEndpointsTimedOut": Changed({"threshold": 1234567}, [("> 0", "> 1.234567e+06")]),
    "CortexXDRScriptFailureRatioHigh": Changed(
        {"threshold": 0.25, "minimumEndpoints": 50}, [("> 0.1", "> 0.25"), (">= 10", ">= 50")]
    ),
    "CortexXDRScriptStalled": Changed({"threshold": 1800}, [("> 7200", "> 1800")]),
    "CortexXDRScriptDataStale": Changed({"threshold": 5400}, [("> 1800", "> 5400"), ("30m", "90m")]),
    "CortexXDRPollingBehind": Changed({"threshold": 90}, [("> 300", "> 90")]),
}


def rendered_rules(folder: Path, **values: Any) -> Path:
    """Write the rules that the chart makes of these values under ``prometheusRule`` into a file."""
    rule = of_kind(render({"prometheusRule": {"enabled": True, **values}}), "PrometheusRule")
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"], sort_keys=False, width=1000))
    return file


def named(file: Path, name: str) -> Json:
    """Return the alert of that name."""
    (alert,) = (alert for alert in alerts_of(file) if alert["alert"] == name)
    return dict(alert)


def replaced(text: str, pairs: list[tuple[str, str]]) -> str:
    """Return a text with each of these in place of the other."""
    for before, after in pairs:
        text = text.replace(before, after)
    return text


def test_rules_are_those_of_the_file(tmp_path: Path) -> None:
    """Without further values, the object has the very rules, in their order."""
    assert load(rendered_rules(tmp_path)) == load(RULES)


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.name.removesuffix(".test.yaml"))
def test_rules_do_the_same_for_another_job(file: Path, tmp_path: Path) -> None:
    """The tests of the shipped rules pass with rules about another job, if they are about that, too."""
    rules = rendered_rules(tmp_path, job="edr")
    renamed = tmp_path / f"renamed-{file.name}"
    renamed.write_text(re.sub(r'\b(job(?:="|: | ))cortex-xdr-exporter\b', r"\1edr", file.read_text()))
    run = run_rule_tests(renamed, rules, tmp_path)
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize("name", ALERTS)
def test_alert_is_what_its_values_say(name: str, tmp_path: Path) -> None:
    """An alert takes its duration, severity and threshold from the values, and is else that of the file."""
    change = CHANGED.get(name, Changed({}, []))
    rules = rendered_rules(tmp_path, alerts={name: {"for": "1h30m", "severity": "page", **change.values}})
    alert = named(RULES, name)
    alert["expr"] = replaced(alert["expr"], change.replaced)
    alert["annotations"]["description"] = replaced(alert["annotations"]["description"], change.replaced)
    assert named(rules, name) == alert | {"for": "1h30m", "labels": {"severity": "page"}}
    others = [rule for rule in rules_of(RULES) if rule.get("alert") != name]
    assert [rule for rule in rules_of(rules) if rule.get("alert") != name] == others


@pytest.mark.needs("promtool")
def test_rules_with_everything_changed_please_promtool(tmp_path: Path) -> None:
    """Whatever values can change, promtool finds no mistake in the rules."""
    rules = rendered_rules(
        tmp_path,
        alerts={name: change.values for name, change in CHANGED.items()},
        alertLabels={"channel": "soc"},
        job='the "job"',
        interval="2m",
        runbookUrl="https://wiki.example.com/cortex-xdr",
    )
    found = f"Checking {rules}\n  SUCCESS: {len(rules_of(RULES))} rules found\n\n"
    run = check_rules(rules)
    assert (run.returncode, run.stdout) == (0, found)
    assert {group["interval"] for group in load(rules)["groups"]} == {"2m"}


def test_alert_that_is_off_is_left_out_alone(tmp_path: Path) -> None:
    """The others stay, and what is recorded stays even if no alert does."""
    rules = rendered_rules(tmp_path, alerts={"CortexXDRApiDown": {"enabled": False}})
    assert rules_of(rules) == [rule for rule in rules_of(RULES) if rule.get("alert") != "CortexXDRApiDown"]
    rules = rendered_rules(tmp_path, alerts={name: {"enabled": False} for name in ALERTS})
    assert rules_of(rules) == [rule for rule in rules_of(RULES) if "record" in rule]
    assert all(group["rules"] for group in load(rules)["groups"])


def test_alerts_carry_what_all_of_them_shall(tmp_path: Path) -> None:
    """Each alert has the further labels, under its own severity, and leads to its section of another runbook."""
    runbook = "https://wiki.example.com/cortex-xdr"
    rules = rendered_rules(tmp_path, alertLabels={"channel": "soc", "severity": "none"}, runbookUrl=runbook)
    expected = alerts_of(RULES)
    for alert in expected:
        alert["labels"] = {"channel": "soc", **alert["labels"]}
        alert["annotations"]["runbook_url"] = f"{runbook}#{alert['alert'].lower()}"
    assert alerts_of(rules) == expected


def test_dashboards_are_those_of_the_files() -> None:
    """Each dashboard is in a ConfigMap of its own that Grafana's sidecar finds, word for word."""
    objects = render({"dashboards": {"enabled": True}})
    found: dict[str, str] = {}
    for (kind, _), one in objects.items():
        if kind == "ConfigMap":
            assert one["metadata"]["labels"]["grafana_dashboard"] == "1"
            found |= one["data"]
    files = (CHART / "files" / "dashboards").iterdir()
    assert found == {file.name: file.read_text() for file in files}
