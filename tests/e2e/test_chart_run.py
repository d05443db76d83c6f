"""What the chart renders, handed to the very exporter: its configuration, its flags, its probes, and changes."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest
import requests
from support import (
    KEY,
    ROOT,
    RUNNING,
    TIMEOUT_SECONDS,
    ExporterProcess,
    HttpProcess,
    StartExporter,
    StartSimulator,
    make_tenant,
    wait_until_equal,
)
from support_helm import CASE_NAMES, Json, case_values, exporter_container, render
from support_metrics import scrape
from support_pod import CA, EXISTING, Pod

from exporter.config.yaml_loading import parse_yaml

pytestmark = pytest.mark.needs("helm")

GOOD = ("poll_success", 1.0)
ADDRESS = re.compile(r"^(https?://)[a-z0-9.-]+:10642(/|$)")
"""A URL of the exporter, as a container has it among its arguments."""

OTHERS = {"/vault/secrets/cortex-xdr": KEY}
"""Files that somebody else puts into the pod."""

ENVIRONMENT = {"INITECH_KEY": KEY, "HTTPS_PROXY": "http://proxy.example.com:3128"}
"""Values of the variables that the cases take from Secrets."""


CHECKED = {
    "defaults": ["demo: 12 actions, at most 2.4 requests per second expected, budget 5 requests per second"],
    "client-certificates": [
        "config.yaml: 0 actions, at most 0 requests per second expected, budget 5 requests per second"
    ],
    "everything": ["config.yaml: 0 actions, at most 0 requests per second expected, budget 5 requests per second"],
    "shards": [
        "config.yaml: shard 0 of 3, counted from 0: 1 of 3 tenants",
        (
            "config.yaml: tenant Globex (Europe): 1 action, at most 0.0167 requests per second expected, "
            "budget 2 requests per second"
        ),
    ],
    "tenant": [
        "config.yaml: 5 actions, at most 0.1667 requests per second expected, budget 5 requests per second"
    ],
    "web": ["config.yaml: 0 actions, at most 0 requests per second expected, budget 5 requests per second"],
}
"""What the exporter says of each case; of several shards, the first one."""


def check(pod: Pod, *more: str) -> "subprocess.CompletedProcess[str]":
    """Let the exporter check the configuration of a pod, under the pod's flags and more, and say it short."""
    run = subprocess.run(
        [sys.executable, "-m", "exporter", *pod.arguments, "--config.check", *more],
        cwd=ROOT,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    run.stdout = run.stdout.replace(f"{pod.folder}/etc/cortex-xdr-exporter/config/", "")
    return run


@pytest.mark.parametrize("case", CASE_NAMES)
def test_configuration_passes_the_check_of_the_exporter(case: str, tmp_path: Path) -> None:
    """The files that the chart mounts, under the flags that it gives, are a configuration without a mistake."""
    pod = Pod(render(case_values(case)), tmp_path, existing=EXISTING, others=OTHERS)
    run = check(pod, "--shard.index=0")
    assert (run.returncode, run.stdout.splitlines(), run.stderr) == (0, CHECKED[case], "")


def test_every_shard_finds_what_its_tenants_need(tmp_path: Path) -> None:
    """Whichever shard polls a tenant, its key and its lists of actions are there."""
    pod = Pod(render(case_values("shards")), tmp_path, existing=EXISTING)
    tenants = []
    for shard in range(3):
        run = check(pod, f"--shard.index={shard}")
        assert (run.returncode, run.stderr) == (0, "")
        tenants += [line.partition(": tenant ")[2].partition(",")[0] for line in run.stdout.splitlines()[1:]]
    assert sorted(tenants) == ["Globex (Europe): 1 action", "acme: 1 action", "initech: 2 actions"]


def test_actions_reach_the_exporter_as_written() -> None:
    """IDs and labels that YAML could take for something else, and the largest number, come out as they went in."""
    texts = [
        "0x1F",
        "1_000",
        "1e3",
        "0o17",
        "017",
        "1:30",
        "yes",
        "~",
        "2024-01-01",
        "'",
        "#x",
        "{{.Values}}",
        "&a",
        "|",
    ]
    labelled = {"id": "1", "labels": {"lines": "two\nlines\n", "empty": "", "off": "off", "number": 7}}
    actions = [*texts, 2**53 - 1, labelled]
    values = simulated("https://api-acme.xdr.us.paloaltonetworks.com")
    values["config"]["actions"] = actions
    values["actionLists"]["default"]["lists"] = {"campaign": actions}
    files: dict[str, str] = {}
    for (kind, _), one in render(values).items():
        if kind == "ConfigMap":
            files |= one["data"]
    configuration, repeated = parse_yaml(files["config.yaml"])
    assert (configuration["actions"], repeated) == (actions, [])
    assert parse_yaml(files["default.campaign.yaml"]) == (actions, [])


def simulated(url: str, **more: Json) -> Json:
    """Return values for a tenant at that URL, whose files are looked at ten times a second."""
    return {
        "config": {"api": {"url": url, "key_id": 7}, "actions": ["1"]},
        "apiKeys": {"default": {"value": KEY}},
        "actionLists": {"default": {"lists": {"campaign": ["2"]}}},
        "persistence": {"enabled": True},
        "extraArgs": ["--config.auto-reload-interval=100ms"],
        **more,
    }


def started(pod: Pod, exporter_process: StartExporter) -> ExporterProcess:
    """Start the exporter of a pod, on a free port."""
    arguments = [argument for argument in pod.arguments if not argument.startswith("--web.listen-address=")]
    return exporter_process(None, *arguments)


def polled(process: HttpProcess) -> set[str]:
    """Return the actions whose last poll went well."""
    executions = scrape(process).executions()
    return {dict(labels)["action_id"] for (name, labels), value in executions.items() if (name, value) == GOOD}


def test_changes_reach_the_exporter_in_a_running_pod(
    exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path
) -> None:
    """Upgrades that change the configuration, a list of actions and the key are taken up without a restart."""
    tenant = make_tenant({"1": RUNNING, "2": RUNNING, "3": RUNNING, "4": RUNNING})
    values = simulated(simulator({"": tenant}))
    pod = Pod(render(values), tmp_path / "pod", existing={})
    process = started(pod, exporter_process)
    wait_until_equal(lambda: polled(process), {"1", "2"})

    values["config"]["actions"] = ["1", "3"]
    values["actionLists"]["default"]["lists"] = {"campaign": ["2", "4"]}
    pod.update(render(values))
    wait_until_equal(lambda: polled(process), {"1", "2", "3", "4"})

    tenant.key = "another-key"
    tenant.add("5", RUNNING)
    values["apiKeys"]["default"]["value"] = tenant.key
    values["config"]["actions"] = ["5"]
    pod.update(render(values))
    wait_until_equal(lambda: polled(process), {"2", "4", "5"})
    assert (pod.folder / "var/lib/cortex-xdr-exporter/state.db").exists()


def probe(pod: Pod, asked: Json, address: str) -> bool:
    """Ask as kubelet would, with what a probe has in a pod template, and tell whether the answer is a good one."""
    if "exec" in asked:
        return run_in(pod, asked["exec"]["command"], address).returncode == 0
    url = f"{asked['httpGet']['scheme'].lower()}://{address}{asked['httpGet']['path']}"
    with requests.Session() as session:
        session.trust_env = False
        # Kubelet verifies no certificate, which requests does not like.
        session.verify = str(pod.folder / "ca.crt")
        return session.get(url, timeout=TIMEOUT_SECONDS).status_code == 200


def run_in(pod: Pod, command: Sequence[str], address: str) -> "subprocess.CompletedProcess[str]":
    """Run what a container would, with Python, against the exporter at this address instead of the pod's."""
    assert command[0] == "python"
    arguments = [ADDRESS.sub(rf"\g<1>{address}\g<2>", pod.led(argument)) for argument in command[1:]]
    return subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )


@pytest.mark.parametrize(
    ("web", "kinds"),
    [
        pytest.param({}, {"httpGet"}, id="plain"),
        pytest.param({"tlsSecret": "cortex-xdr-exporter-tls"}, {"httpGet"}, id="tls"),
        pytest.param(case_values("web")["web"], {"exec"}, id="passwords"),
        pytest.param(case_values("client-certificates")["web"], {"exec"}, id="client certificates"),
    ],
)
def test_probes_and_scrape_find_the_exporter_well(
    web: Json, kinds: set[str], exporter_process: StartExporter, simulator: StartSimulator, tmp_path: Path
) -> None:
    """Each probe gets a good answer, and so does the chart's test, whatever the web configuration asks of them."""
    objects = render(simulated(simulator({"": make_tenant({"1": RUNNING, "2": RUNNING})}), web=web))
    pod = Pod(objects, tmp_path / "pod", existing=EXISTING)
    (pod.folder / "ca.crt").write_text(CA)
    address = started(pod, exporter_process).url.removeprefix("http://")
    container = exporter_container(objects)
    probes = {name: asked for name, asked in container.items() if name.endswith("Probe")}
    assert {kind for asked in probes.values() for kind in asked if kind in {"httpGet", "exec"}} == kinds
    wait_until_equal(
        lambda: {name: probe(pod, asked, address) for name, asked in probes.items()},
        {"startupProbe": True, "livenessProbe": True, "readinessProbe": True},
    )
    for (kind, _), one in objects.items():
        if kind == "Pod":
            (scrape_container,) = one["spec"]["containers"]
            test = run_in(pod, scrape_container["command"], address)
            assert (test.returncode, test.stderr) == (0, "")
            assert test.stdout.startswith("cortex_xdr_exporter_build_info{")
