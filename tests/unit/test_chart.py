"""The chart's values: README, schema, rules and the exporter's own configuration say the same of them."""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
import pytest
import yaml
from chart_docs.__main__ import CHART, README, rendered
from chart_docs.values import resolved, table, values
from support_rules import RULES, alerts_of

from exporter import __version__
from exporter.config import schema, web

Json = Mapping[str, Any]

VALUES: Json = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: Json = json.loads((CHART / "values.schema.json").read_text())

OPEN = {
    "affinity",
    "dnsConfig",
    "extraContainers[]",
    "extraEnvFrom[]",
    "extraEnv[]",
    "extraInitContainers[]",
    "extraManifests[]",
    "extraVolumeMounts[]",
    "extraVolumes[]",
    "global",
    "networkPolicy.egress.dnsTo[]",
    "networkPolicy.egress.to[]",
    "networkPolicy.extraEgress[]",
    "networkPolicy.extraIngress[]",
    "networkPolicy.ingress.from[]",
    "podMonitor.metricRelabelings[]",
    "podMonitor.relabelings[]",
    "podMonitor.tlsConfig",
    "podSecurityContext",
    "securityContext",
    "serviceMonitor.metricRelabelings[]",
    "serviceMonitor.relabelings[]",
    "serviceMonitor.tlsConfig",
    "tolerations[]",
    "topologySpreadConstraints[]",
    "web.config.basic_auth_users",
    "web.config.http_server_config",
    "web.config.rate_limit",
    "web.config.tls_server_config",
}
"""Objects that take any key: fields that Kubernetes or the operator checks, and texts that the exporter checks."""

WITHOUT_DEFAULT = {
    "enabled",
    "global",
    "podDisruptionBudget.minAvailable",
    "podDisruptionBudget.unhealthyPodEvictionPolicy",
    *(f"{probe}Probe.initialDelaySeconds" for probe in ("startup", "liveness", "readiness")),
    *(f"{probe}Probe.successThreshold" for probe in ("startup", "liveness", "readiness")),
    *(f"{probe}Probe.terminationGracePeriodSeconds" for probe in ("startup", "liveness")),
}
"""Values that may be given, and are none of the chart's own."""


def parts(part: Json, path: str = "") -> Iterator[tuple[str, Json]]:
    """Yield every part of the schema with its place, and those of an ``anyOf`` at the same one."""
    part = resolved(part, SCHEMA)
    yield path, part
    for name, inside in part.get("properties", {}).items():
        yield from parts(inside, f"{path}.{name}".removeprefix("."))
    if "items" in part:
        yield from parts(part["items"], f"{path}[]")
    if isinstance(part.get("additionalProperties"), dict):
        yield from parts(part["additionalProperties"], f"{path}.*")
    for choice in part.get("anyOf", []):
        yield from parts(choice, path)


def keys(given: Json, part: Json, path: str = "") -> Iterator[tuple[str, bool, bool]]:
    """Yield each key that values or the schema have in mappings that are not empty by default, and who has it."""
    known = resolved(part, SCHEMA).get("properties", {})
    for name in sorted({*given, *known}):
        place = f"{path}.{name}".removeprefix(".")
        yield place, name in given, name in known
        if isinstance(given.get(name), dict) and given[name] and resolved(known[name], SCHEMA).get("properties"):
            yield from keys(given[name], known[name], place)


def schema_of(path: str) -> Json:
    """Return the part of the schema at a place."""
    return next(part for place, part in parts(SCHEMA) if place == path)


def test_readme_is_what_values_say() -> None:
    """The README is made of the values as they are: ``make chart`` has nothing to change."""
    assert README.read_text() == rendered()


def test_every_value_is_explained() -> None:
    """No value is left without a comment above it."""
    text = (CHART / "values.yaml").read_text()
    assert [value.key for value in values(text) if not value.description] == []


def test_table_takes_comments_defaults_and_types() -> None:
    """A comment is about the key below it, a mapping without one inside is a value, the schema has the types."""
    text = (
        "# Of the file.\n\n# How many:\n# one | two.\ncount: 1\nplain: {a: [1, é]}\n# About the group.\ngroup:\n"
        '  # Inside.\n  name: ""\n  silent: null\n# Open.\nopen:\n  any:\n    a: 1\n'
    )
    properties = {
        "count": {"type": ["integer", "null"]},
        "plain": {"$ref": "#/definitions/map"},
        "group": {"type": "object", "properties": {"name": {"enum": ["", "x"]}, "silent": {"type": "null"}}},
        "open": {"type": "object"},
    }
    assert table(text, {"properties": properties, "definitions": {"map": {"type": "object"}}}) == (
        "| value | type | default | meaning |\n"
        "|---|---|---|---|\n"
        "| `count` | integer or null | `1` | How many: one \\| two. |\n"
        '| `plain` | object | `{"a": [1, "é"]}` |  |\n'
        "| `group` | object |  | About the group. |\n"
        '| `group.name` | `""` or `"x"` | `""` | Inside. |\n'
        "| `group.silent` | null | `null` |  |\n"
        '| `open` | object | `{"any": {"a": 1}}` | Open. |\n'
    )


def test_defaults_please_the_schema() -> None:
    """The schema is one, and the chart's own values pass it."""
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    assert [error.message for error in jsonschema.Draft7Validator(SCHEMA).iter_errors(VALUES)] == []


def test_schema_and_values_have_the_same_keys() -> None:
    """Each value is in the schema, and the schema has no value that ``values.yaml`` does not show."""
    found = list(keys(VALUES, SCHEMA))
    assert len(found) > 100
    assert [place for place, _, known in found if not known and not place.startswith(tuple(OPEN))] == []
    assert {place for place, has, _ in found if not has} == WITHOUT_DEFAULT


def test_schema_refuses_unknown_keys_but_where_it_says() -> None:
    """Each object is closed, or maps names to what is checked, or is one that others check."""
    is_open = {
        path
        for path, part in parts(SCHEMA)
        if "object" in part.get("type", ()) and not isinstance(part.get("additionalProperties"), dict)
        if part.get("additionalProperties") is not False
    }
    assert is_open == OPEN


@pytest.mark.parametrize(
    ("path", "model"),
    [
        ("config", schema.FileSection),
        ("config.api", schema.ApiSection),
        ("config.tenants[]", schema.TenantSection),
        ("config.tenants[].api", schema.ApiSection),
        ("config.poll", schema.PollSection),
        ("config.state", schema.StateSection),
    ],
)
def test_configuration_has_the_keys_of_the_exporter(path: str, model: type[schema.Section]) -> None:
    """What the exporter's files may have is what the values may have, and what they must have too."""
    part = schema_of(path)
    required = {name for name, field in model.model_fields.items() if field.is_required()}
    assert set(part["properties"]) == set(model.model_fields)
    assert set(part.get("required", [])) == required


def test_web_configuration_has_the_sections_of_the_exporter() -> None:
    """The values may have each section of the web configuration file, and no other."""
    assert set(schema_of("web.config")["properties"]) == set(web._KEYS)


def test_alerts_are_those_of_the_rules() -> None:
    """The values have each alert of the rules, with its duration, severity and threshold there."""
    expected = {}
    for alert in alerts_of(RULES):
        told = {"enabled": True, "for": alert.get("for", "0s"), "severity": alert["labels"]["severity"]}
        for key, pattern in (("threshold", "> ([0-9.]+)$"), ("minimumEndpoints", ">= ([0-9]+)$")):
            if found := set(re.findall(pattern, alert["expr"], re.MULTILINE)):
                (number,) = found
                told[key] = json.loads(number)
        expected[alert["alert"]] = told
    assert VALUES["prometheusRule"]["alerts"] == expected
    assert set(schema_of("prometheusRule.alerts")["properties"]) == set(expected)


def test_chart_runs_this_exporter() -> None:
    """The chart's ``appVersion``, which is the image's tag by default, is the exporter's."""
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == __version__
