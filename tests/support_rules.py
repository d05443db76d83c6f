"""Rules of Prometheus and their unit tests, as promtool runs them and as they are parsed."""

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import promql_parser
import yaml
from support import ROOT, find_program

RULES = ROOT / "helm" / "cortex-xdr-exporter" / "files" / "rules.yaml"
TEST_FILES = sorted((ROOT / "tests" / "rules").glob("*.test.yaml"))

_DURATION = re.compile(r"\b(\d+)(s|m|h)\b")
_SECONDS = {"s": 1, "m": 60, "h": 3600}


def promtool(*arguments: str) -> "subprocess.CompletedProcess[str]":
    """Run promtool, with what it says on either stream in ``stdout``."""
    program = find_program("promtool")
    assert program, "mark the test with needs('promtool')"
    return subprocess.run(
        [program, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60, check=False
    )


def check_rules(rules: Path) -> "subprocess.CompletedProcess[str]":
    """Let promtool check a file of rules, with everything that its linter knows."""
    return promtool("check", "rules", "--lint=all", str(rules))


def run_rule_tests(test_file: Path, rules: Path, folder: Path) -> "subprocess.CompletedProcess[str]":
    """Run a file of rule tests against these rules, which need not be those that it names."""
    copy = folder / test_file.name
    content = load(test_file) | {"rule_files": [str(rules)]}
    copy.write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False))
    return promtool("test", "rules", str(copy))


def load(file: Path) -> dict[str, Any]:
    """Read a YAML file."""
    content: dict[str, Any] = yaml.safe_load(file.read_text())
    return content


def rules_of(file: Path) -> list[dict[str, Any]]:
    """Return the rules of all groups of a file, in its order."""
    return [rule for group in load(file)["groups"] for rule in group["rules"]]


def alerts_of(file: Path) -> list[dict[str, Any]]:
    """Return the alerting rules of a file, in its order."""
    return [rule for rule in rules_of(file) if "alert" in rule]


def nodes(expression: str) -> list[promql_parser.Expr]:
    """Return every part of a PromQL expression, the outermost first."""
    found: list[promql_parser.Expr] = []
    promql_parser.walk(promql_parser.parse(expression), found.append)
    return found


def shortened_rules(factor: int) -> dict[str, Any]:
    """Return the shipped rules with each duration, and each threshold in seconds, divided by the factor."""
    rules = load(RULES)
    for rule in (rule for group in rules["groups"] for rule in group["rules"]):
        rule["expr"] = re.sub(
            r"> (\d{3,})$",
            lambda match: f"> {int(match[1]) / factor:g}",
            _shorten(rule["expr"], factor),
            flags=re.MULTILINE,
        )
        if "for" in rule:
            rule["for"] = _shorten(rule["for"], factor)
    return rules


def _shorten(text: str, factor: int) -> str:
    return _DURATION.sub(lambda match: f"{round(1000 * int(match[1]) * _SECONDS[match[2]] / factor)}ms", text)


def loading(rules: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Write rules into the folder; return what of a Prometheus configuration loads them."""
    file = folder / "rules.yaml"
    file.write_text(yaml.safe_dump(dict(rules)))
    return {"rule_files": [str(file)]}
