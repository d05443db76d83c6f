"""The shipped rules: promtool checks them and runs their tests, and each keeps what all have to keep."""

import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from promql_parser import AggregateExpr, Call, MatchOp, VectorSelector
from support import ROOT
from support_rules import RULES, TEST_FILES, alerts_of, check_rules, load, nodes, rules_of, run_rule_tests

from exporter.exposition import FAMILIES
from exporter.status import _FINISHED, _UNFINISHED, STATUSES

ALERTS = alerts_of(RULES)
EXPRESSIONS = [pytest.param(rule["expr"], id=rule.get("alert") or rule["record"]) for rule in rules_of(RULES)]
EACH_ALERT = pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
RECORDING = ["action-rules.test.yaml", "campaign-rules.test.yaml"]
ENDPOINTS = FAMILIES[0].name


def kebab(name: str) -> str:
    """Turn the name of an alert into that of its file: ``cortex-xdr-api-down``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=XDR)|(?<=Cortex)", "-", name).lower()


def selectors(expression: str) -> list[VectorSelector]:
    """Return every selector of a PromQL expression, those with a range too."""
    return [node for node in nodes(expression) if isinstance(node, VectorSelector)]


@pytest.mark.needs("promtool")
def test_rules_please_promtool() -> None:
    """The file of rules has no mistake, and nothing that the linter would do otherwise."""
    check = check_rules(RULES)
    found = f"Checking {RULES}\n  SUCCESS: {len(EXPRESSIONS)} rules found\n\n"
    assert (check.returncode, check.stdout) == (0, found)


@pytest.mark.needs("promtool")
@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.name.removesuffix(".test.yaml"))
def test_rules_do_what_their_tests_say(file: Path, tmp_path: Path) -> None:
    """Alerts fire when they should and only then, with these labels and words, and rules record these values."""
    run = run_rule_tests(file, RULES, tmp_path)
    assert run.returncode == 0, run.stdout


def test_rules_have_a_test_file_each() -> None:
    """Each alert has a file named after it, the recording rules have theirs, and all test the shipped rules."""
    expected = [*RECORDING, *(f"{kebab(alert['alert'])}.test.yaml" for alert in ALERTS)]
    assert [file.name for file in TEST_FILES] == sorted(expected)
    for file in TEST_FILES:
        assert [(file.parent / rules).resolve() for rules in load(file)["rule_files"]] == [RULES]


def test_recording_rules_are_all_tested() -> None:
    """Each recorded series is asked for by a test that expects samples of it."""
    tested = {
        check["expr"]
        for name in RECORDING
        for case in load(ROOT / "tests" / "rules" / name)["tests"]
        for check in case["promql_expr_test"]
        if check["exp_samples"]
    }
    assert tested == {rule["record"] for rule in rules_of(RULES) if "record" in rule}


@EACH_ALERT
def test_alert_is_tested_firing_and_not_firing(alert: dict[str, Any]) -> None:
    """Each alert has a named case in which it fires, and one moment in which it must not."""
    cases = load(ROOT / "tests" / "rules" / f"{kebab(alert['alert'])}.test.yaml")["tests"]
    checks = [check for case in cases for check in case["alert_rule_test"]]
    assert all(case["name"] for case in cases)
    assert {check["alertname"] for check in checks} == {alert["alert"]}
    assert {bool(check["exp_alerts"]) for check in checks} == {True, False}


@EACH_ALERT
def test_alert_says_what_on_call_needs(alert: dict[str, Any]) -> None:
    """Each alert has a known severity, a fixed summary, a description, and a section in the runbook."""
    annotations = alert["annotations"]
    assert alert["labels"]["severity"] in {"critical", "warning", "info"}
    assert "$value" not in str(alert["labels"])
    assert set(annotations) == {"summary", "description", "runbook_url"}
    assert annotations["summary"]
    assert "{{" not in annotations["summary"]
    assert annotations["description"]
    assert annotations["runbook_url"].endswith(f"/docs/runbook.md#{alert['alert'].lower()}")


def test_alerts_have_one_name_and_one_section_each() -> None:
    """No name is used twice, as one could silence the other, and the runbook has each of them and no more."""
    names = Counter(alert["alert"] for alert in ALERTS)
    sections = re.findall(r"^## (CortexXDR\w+)$", (ROOT / "docs" / "runbook.md").read_text(), re.MULTILINE)
    assert Counter(sections) == names
    assert set(names.values()) == {1}


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_expression_keeps_the_rules_of_rules(expression: str) -> None:
    """Raw metrics are selected by job with plain equality; no ``topk``, and no rate, as none is a counter."""
    for selector in selectors(expression):
        if ":" not in (selector.name or ""):
            jobs = [(one.op, one.value) for one in selector.matchers.matchers if one.name == "job"]
            assert jobs == [(MatchOp.Equal, "cortex-xdr-exporter")], str(selector)
    functions = {node.func.name for node in nodes(expression) if isinstance(node, Call)}
    aggregations = {str(node.op) for node in nodes(expression) if isinstance(node, AggregateExpr)}
    assert not functions & {"rate", "irate", "increase"}
    assert "topk" not in aggregations


def test_expressions_name_what_the_exporter_knows() -> None:
    """Statuses in rules exist, and those taken for left, or for final, are those that the exporter does."""
    named: dict[str, set[str]] = {"status": set(), "general_status": set()}
    left = set()
    for param in EXPRESSIONS:
        for selector in selectors(str(param.values[0])):
            for one in selector.matchers.matchers:
                if one.name in named:
                    named[one.name].update(one.value.split("|"))
                if "pending" in one.value:
                    left.add(one.value)
    assert left == {"|".join(_UNFINISHED)}
    assert named["status"] <= set(STATUSES)
    assert named["general_status"] == _FINISHED


@pytest.mark.parametrize("file", TEST_FILES, ids=lambda file: file.name.removesuffix(".test.yaml"))
def test_simulated_actions_have_every_status(file: Path) -> None:
    """What rule tests simulate of an action is what the exporter exposes: all nine statuses."""
    for case in load(file)["tests"]:
        found: dict[str, list[str]] = {}
        for entry in case["input_series"]:
            name, _, labels = entry["series"].partition("{")
            if name == ENDPOINTS:
                target, _, status = labels.removesuffix('"}').partition(', status="')
                found.setdefault(target, []).append(status)
        assert [sorted(statuses) for statuses in found.values()] == [sorted(STATUSES)] * len(found)
