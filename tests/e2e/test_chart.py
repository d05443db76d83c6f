"""The chart's objects: what Kubernetes and the Prometheus operator take, and how one finds the other."""

import json
from collections.abc import Callable
from typing import Any

import jsonschema
import kubernetes_validate  # type: ignore[import-untyped]  # It has no types.
import pytest
import yaml
from golden import GOLDEN, golden_texts
from support import ROOT
from support_helm import (
    CASE_NAMES,
    CHART,
    NAMESPACE,
    RELEASE,
    Json,
    case_file,
    case_values,
    exporter_container,
    helm,
    of_kind,
    pod_template,
    render,
)

pytestmark = pytest.mark.needs("helm")

EACH_CASE = pytest.mark.parametrize("case", CASE_NAMES)
VERSIONS = ["1.28", "1.33", "1.37"]
"""The oldest Kubernetes that the chart is for, one between, and the newest that is known."""

CRDS = ROOT.parent / "shared" / "crds"
OPERATOR = "monitoring.coreos.com/v1"
TENANT: Json = {
    "config": {"api": {"url": "https://api-acme.xdr.us.paloaltonetworks.com", "key_id": 7}},
    "apiKeys": {"default": {"existingSecret": "cortex-xdr"}},
}

POD_SELECTORS: dict[str, Callable[[Json], Json]] = {
    "Service": lambda spec: {"matchLabels": spec["selector"]},
    "NetworkPolicy": lambda spec: spec["podSelector"],
    **dict.fromkeys(
        ["Deployment", "StatefulSet", "PodDisruptionBudget", "PodMonitor"], lambda spec: spec["selector"]
    ),
}


def closed(schema: Any) -> Any:
    """Return a CRD's schema that refuses what it does not name, which a cluster would silently drop."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: closed(part) for key, part in schema.items()}
    if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
        made.setdefault("additionalProperties", False)
    return made


def crd_schemas() -> dict[str, Any]:
    """Return the closed schemas of the operator's kinds by kind."""
    if not CRDS.is_dir():
        pytest.skip("the operator's CRDs are not beside the project, in ../shared/crds")
    schemas = {}
    for file in sorted(CRDS.glob("*.yaml")):
        definition = yaml.safe_load(file.read_text())["spec"]
        (version,) = (one for one in definition["versions"] if one["name"] == "v1")
        schemas[definition["names"]["kind"]] = closed(version["schema"]["openAPIV3Schema"])
    return schemas


def selects(selector: Json, labels: Json) -> bool:
    """Tell whether a selector finds what has these labels."""
    assert list(selector) == ["matchLabels"]
    return bool(selector["matchLabels"].items() <= labels.items())


@EACH_CASE
def test_chart_pleases_the_linter(case: str) -> None:
    """Helm has nothing to say against the chart, but that it has no picture."""
    run = helm("lint", "--strict", str(CHART), f"--values={case_file(case)}")
    said = f"==> Linting {CHART}\n[INFO] Chart.yaml: icon is recommended\n\n1 chart(s) linted, 0 chart(s) failed\n"
    assert (run.returncode, run.stdout, run.stderr) == (0, said, "")


@EACH_CASE
def test_rendering_is_the_golden_one(case: str) -> None:
    """The objects, and what helm says after an installation, are word for word those of ``make chart``."""
    for name, text in golden_texts(case).items():
        assert text == (GOLDEN / name).read_text(), name


def test_golden_files_are_all_of_a_case() -> None:
    """No file is left of a case that is gone."""
    names = {f"{case}{suffix}" for case in CASE_NAMES for suffix in (".yaml", ".notes.txt")}
    assert {path.name for path in GOLDEN.iterdir()} == names


@pytest.mark.parametrize("version", VERSIONS)
@EACH_CASE
def test_objects_are_what_kubernetes_takes(case: str, version: str) -> None:
    """Each object has the fields that this version knows, and no others; of custom ones, that is the metadata."""
    problems = []
    for one in render(case_values(case)).values():
        known = one
        if one["apiVersion"] == OPERATOR:
            known = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": one["metadata"]}
        try:
            assert kubernetes_validate.validate(known, version, strict=True) == version
        except kubernetes_validate.ValidationError as error:
            problems.append(f"{one['kind']}: {error.json_path}: {error.message}")
    assert problems == []


@EACH_CASE
def test_objects_are_what_the_operator_takes(case: str) -> None:
    """Each custom resource has the fields that its definition knows, and no others."""
    schemas = crd_schemas()
    problems = [
        f"{one['kind']}: {error.json_path}: {error.message}"
        for one in render(case_values(case)).values()
        if one["apiVersion"] == OPERATOR
        for error in jsonschema.Draft202012Validator(schemas[one["kind"]]).iter_errors(one)
    ]
    assert problems == []


def test_cases_have_every_kind_that_the_operator_takes() -> None:
    """Nothing that the definitions could find is left out of the cases."""
    assert set(crd_schemas()) <= {kind for case in CASE_NAMES for kind, _ in render(case_values(case))}


@pytest.mark.parametrize(
    ("kind", "key", "endpoints"),
    [
        ("ServiceMonitor", "serviceMonitor", "endpoints"),
        ("PodMonitor", "podMonitor", "podMetricsEndpoints"),
    ],
)
def test_monitor_takes_every_field_of_the_operator(kind: str, key: str, endpoints: str) -> None:
    """Whatever the definitions have, the values may have, but for what the chart alone knows."""
    fields = crd_schemas()[kind]["properties"]["spec"]["properties"]
    values = json.loads((CHART / "values.schema.json").read_text())["properties"][key]["properties"]
    ours = {"path", "port", "portNumber", "scheme", "targetPort"}
    endpoint = set(fields[endpoints]["items"]["properties"])
    assert endpoint - set(values["endpoint"]["properties"]) - set(values) == ours & endpoint
    chosen = {endpoints, "namespaceSelector", "selector"}
    assert set(fields) - set(values["spec"]["properties"]) == chosen


@EACH_CASE
def test_selectors_find_the_pods_of_the_exporter(case: str) -> None:
    """What selects pods finds those of the exporter, and not that of the chart's test."""
    objects = render(case_values(case))
    labels = pod_template(objects)["metadata"]["labels"]
    tests = [one["metadata"]["labels"] for (kind, _), one in objects.items() if kind == "Pod"]
    selectors = {
        f"{kind} {name}": POD_SELECTORS[kind](one["spec"])
        for (kind, name), one in objects.items()
        if kind in POD_SELECTORS
    }
    for constraint in pod_template(objects)["spec"].get("topologySpreadConstraints", []):
        selectors[f"spread over {constraint['topologyKey']}"] = constraint["labelSelector"]
    assert [name for name, selector in selectors.items() if not selects(selector, labels)] == []
    assert [name for name, selector in selectors.items() for test in tests if selects(selector, test)] == []


@EACH_CASE
def test_ports_are_those_of_the_container(case: str) -> None:
    """Whatever leads to the exporter names the port at which it listens."""
    objects = render(case_values(case))
    container = exporter_container(objects)
    assert [(port["name"], port["containerPort"]) for port in container["ports"]] == [("http", 10642)]
    assert "--web.listen-address=:10642" in container["args"]
    named = [port["targetPort"] for port in of_kind(objects, "Service")["spec"]["ports"]]
    for (kind, _), one in objects.items():
        match kind:
            case "NetworkPolicy":
                named += [port["port"] for port in one["spec"]["ingress"][0]["ports"]]
            case "PodMonitor":
                named += [endpoint["port"] for endpoint in one["spec"]["podMetricsEndpoints"]]
            case "ServiceMonitor":
                ports = [port["name"] for port in of_kind(objects, "Service")["spec"]["ports"]]
                assert [endpoint["port"] for endpoint in one["spec"]["endpoints"]] == ports
            case "Ingress":
                ports = [port["name"] for port in of_kind(objects, "Service")["spec"]["ports"]]
                backends = [path["backend"] for rule in one["spec"]["rules"] for path in rule["http"]["paths"]]
                service = of_kind(objects, "Service")["metadata"]["name"]
                assert backends == [{"service": {"name": service, "port": {"name": ports[0]}}}] * len(backends)
    assert set(named) == {"http"}


@pytest.mark.parametrize("kind", ["ServiceMonitor", "PodMonitor"])
@pytest.mark.parametrize("name", ["", "edr"], ids=["chart's name", "another name"])
@pytest.mark.parametrize("namespace", ["", "prometheus"], ids=["same namespace", "another namespace"])
def test_monitor_finds_its_targets_under_the_job_of_the_rules(kind: str, name: str, namespace: str) -> None:
    """What is scraped is the exporter, wherever the monitor is, and under the job that the rules are about."""
    key = kind[0].lower() + kind[1:]
    values = {
        "nameOverride": name,
        key: {"enabled": True, "namespace": namespace},
        "prometheusRule": {"enabled": True},
    }
    objects = render(TENANT | values)
    monitor = of_kind(objects, kind)
    target = of_kind(objects, "Service") if kind == "ServiceMonitor" else pod_template(objects)
    assert selects(monitor["spec"]["selector"], target["metadata"]["labels"])
    assert monitor["metadata"]["namespace"] == (namespace or NAMESPACE)
    elsewhere = {"matchNames": [NAMESPACE]} if namespace else None
    assert monitor["spec"].get("namespaceSelector") == elsewhere
    job = target["metadata"]["labels"][monitor["spec"]["jobLabel"]]
    assert job == (name or "cortex-xdr-exporter")
    assert f'job="{job}"' in str(of_kind(objects, "PrometheusRule"))


@pytest.mark.parametrize(
    "values",
    [{}, {"nameOverride": "n" * 63}, {"fullnameOverride": "f" * 63}],
    ids=["release", "nameOverride", "fullnameOverride"],
)
def test_names_are_short_enough(values: Json) -> None:
    """No name is too long, nor ends in a hyphen: for a label, and for what a StatefulSet puts behind its own."""
    tenants = [{**TENANT["config"], "name": "acme"}]
    everything = {
        "config": {"tenants": tenants},
        "apiKeys": {"acme": {"value": "not-a-real-key"}},
        "actionLists": {"acme": {"lists": {"campaign": ["1"]}}},
        "shards": 2,
        "persistence": {"enabled": True},
        "dashboards": {"enabled": True},
    }
    for (kind, name), one in render(everything | values, release="r" * 53).items():
        assert len(name) <= (52 if kind == "StatefulSet" else 63), name
        assert not name.endswith("-"), name
        assert all(len(str(value)) <= 63 for value in one["metadata"]["labels"].values())


@EACH_CASE
def test_objects_say_whose_they_are(case: str) -> None:
    """Each object that is not the user's own has the ecosystem's labels, and those that the user wants."""
    values = case_values(case) | {"extraManifests": []}
    for one in render(values).values():
        labels = one["metadata"]["labels"]
        assert labels["app.kubernetes.io/instance"] == RELEASE
        assert labels["app.kubernetes.io/managed-by"] == "Helm"
        assert labels["helm.sh/chart"].startswith("cortex-xdr-exporter-")
        assert values.get("commonLabels", {}).items() <= labels.items()


@EACH_CASE
def test_mounts_are_seen_to_change(case: str) -> None:
    """Volumes are mounted as folders: what is mounted with ``subPath`` stays as it was when the pod began."""
    mounts = exporter_container(render(case_values(case))).get("volumeMounts", [])
    assert [mount for mount in mounts if "subPath" in mount or "subPathExpr" in mount] == []


def test_texts_that_look_like_something_else_stay_texts() -> None:
    """A release or a tenant whose name YAML could read as a number or a truth makes what Kubernetes takes."""
    names = ["007", "1e3", "no"]
    tenants = [{**TENANT["config"], "name": name} for name in names]
    keys = {name: {"value": "not-a-real-key"} for name in names}
    lists = {name: {"lists": {"1": ["1"]}} for name in names}
    objects = render({"config": {"tenants": tenants}, "apiKeys": keys, "actionLists": lists}, release="1e3")
    for one in objects.values():
        kubernetes_validate.validate(one, VERSIONS[0], strict=True)
        assert one["metadata"]["labels"]["app.kubernetes.io/instance"] == "1e3"
    assert set(objects["Secret", "1e3-cortex-xdr-exporter-api-keys"]["data"]) == set(names)


def test_probes_can_be_left_out() -> None:
    """A probe that is null is none."""
    probes = ("startupProbe", "livenessProbe", "readinessProbe")
    assert set(probes) <= set(exporter_container(render(TENANT)))
    assert not set(probes) & set(exporter_container(render({**TENANT, **dict.fromkeys(probes)})))


@pytest.mark.parametrize(
    ("web", "kind"),
    [
        ({}, "httpGet"),
        ({"tlsSecret": "tls"}, "httpGet"),
        ({"config": {"rate_limit": {"interval": "1s", "burst": 1}}}, "exec"),
        ({"existingSecret": {"name": "web"}}, "exec"),
    ],
)
def test_probes_are_programs_where_kubelet_could_be_refused(web: Json, kind: str) -> None:
    """A rate limit, and a file that the chart cannot look into, are for probes that know of refusals."""
    container = exporter_container(render({**TENANT, "web": web}))
    assert all(kind in asked for name, asked in container.items() if name.endswith("Probe"))


def test_only_readiness_knows_the_password() -> None:
    """A password that is changed at one end keeps nobody from seeing that the exporter works."""
    container = exporter_container(render(case_values("web")))
    commands = {name: asked["exec"]["command"] for name, asked in container.items() if name.endswith("Probe")}
    named = {name for name, command in commands.items() if any("--credentials" in word for word in command)}
    assert named == {"readinessProbe"}


@pytest.mark.parametrize("selector", [None, {"matchLabels": {"team": "soc"}}])
def test_spread_is_over_whom_it_says(selector: Json | None) -> None:
    """A constraint's own selector is left as it is; without, one is of the exporter's pods."""
    spread = {"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule"}
    given = spread if selector is None else {**spread, "labelSelector": selector}
    objects = render({**TENANT, "topologySpreadConstraints": [given]})
    pods = {"matchLabels": of_kind(objects, "Service")["spec"]["selector"]}
    made = pod_template(objects)["spec"]["topologySpreadConstraints"]
    assert made == [{**spread, "labelSelector": selector or pods}]
