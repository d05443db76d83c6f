"""Several exporters that share the tenants of one configuration, as processes with simulated tenants."""

import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.parser import text_string_to_metric_families
from support import (
    KEY,
    ROOT,
    RUNNING,
    TIMEOUT_SECONDS,
    ExporterProcess,
    StartExporter,
    StartSimulator,
    configuration_text,
    make_tenant,
    wait_until_equal,
)
from support_metrics import scrape
from support_namespaces import needs_namespaces

from exporter.simulator.tenant import SimulatedTenant

TOTAL = 3
SHARES = [{"three", "five"}, {"one", "four"}, {"acme", "globex", "two"}]
"""Of three shards the first, second and third, by the names of their tenants."""

NAMES = sorted(set().union(*SHARES))
SHARD = "exporter_shard_"


@pytest.fixture
def tenants() -> dict[str, SimulatedTenant]:
    """Make a tenant with two actions for each name."""
    return {name: make_tenant({"1": RUNNING, "2": RUNNING}) for name in NAMES}


@pytest.fixture
def url(simulator: StartSimulator, tenants: dict[str, SimulatedTenant]) -> str:
    """Serve these tenants."""
    return simulator(tenants)


def configuration(url: str, names: Iterable[str], folder: Path) -> dict[str, Any]:
    """Return a configuration of these tenants, each with an action, a file with another one, and a key file."""
    tenants = []
    for name in names:
        (folder / f"{name}.key").write_text(KEY)
        (folder / f"{name}.json").write_text("[2]")
        tenants.append(
            {
                "name": name,
                "api": {"url": f"{url}/{name}", "key_id": 7, "key_file": str(folder / f"{name}.key")},
                "actions": [1],
                "action_files": [str(folder / f"{name}.json")],
            }
        )
    return {"tenants": tenants, "poll": {"interval": "1h", "stale_after": "0s"}}


def run(*arguments: str, configuration: dict[str, Any], folder: Path) -> tuple[int, str, str]:
    """Run the command to its end; return exit code, standard output and standard error."""
    path = folder / "config.yaml"
    path.write_text(configuration_text(configuration))
    done = subprocess.run(
        [sys.executable, "-m", "exporter", f"--config.file={path}", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    return done.returncode, done.stdout.replace(f"{folder}/", ""), done.stderr.replace(f"{folder}/", "")


def shard(index: int, total: int = TOTAL) -> tuple[str, str]:
    """Return the flags of one shard."""
    return f"--shard.index={index}", f"--shard.total={total}"


def named(process: ExporterProcess) -> set[str]:
    """Return the tenants that any sample is of, and make sure that no action is without one."""
    found = {}
    for family in text_string_to_metric_families(process.get("/metrics").text):
        for sample in family.samples:
            found[sample.name, sample.labels.get("tenant")] = sample
    assert not {name for name, tenant in found if name.startswith("cortex_xdr_script") and tenant is None}
    return {tenant for _, tenant in found if tenant is not None}


def told(process: ExporterProcess) -> dict[str, float | None]:
    """Return what the metrics tell of the share."""
    metrics = scrape(process)
    names = (f"{SHARD}index", "exporter_shards", f"{SHARD}tenants", "exporter_configured_tenants")
    return {name.removeprefix("exporter_"): metrics.value(name) for name in names}


def ready(process: ExporterProcess) -> bool:
    """Tell whether an exporter is ready."""
    return process.get("/-/ready").status_code == 200


def wait_for(process: ExporterProcess, tenants: int) -> None:
    """Wait until so many tenants are up, and no others are there."""
    wait_until_equal(lambda: scrape(process).values("up"), [1.0] * tenants)


def test_shards_share_the_tenants(
    exporter_process: StartExporter, tenants: dict[str, SimulatedTenant], url: str, tmp_path: Path
) -> None:
    """Each tenant is served, and polled, by exactly one, whose metrics, page, document and log tell its share."""
    whole = configuration(url, NAMES, tmp_path)
    processes = [exporter_process(whole, *shard(index)) for index in range(TOTAL)]
    for index, process in enumerate(processes):
        share = len(SHARES[index])
        wait_for(process, share)
        assert named(process) == SHARES[index]
        assert told(process) == {
            "shard_index": index,
            "shards": 3,
            "shard_tenants": share,
            "configured_tenants": 7,
        }
        assert len(scrape(process).values("exporter_action_file_last_read_successful")) == share
        document = process.get("/api/v1/actions").json()
        assert document["shard"] == {"index": index, "total": 3, "tenants": share, "configured_tenants": 7}
        assert {tenant["name"] for tenant in document["tenants"]} == SHARES[index]
        words = f"hard {index} of 3, counted from 0: {share} of 7 tenants"
        assert f'<p class="quiet">S{words}.</p>' in process.get("/").text
        assert f'tenants={share} actions={2 * share} share="s{words}"\n' in process.log
    wait_until_equal(
        lambda: {name: Counter(request.action_id for request in tenants[name].requests) for name in NAMES},
        {name: {"1": 1, "2": 1} for name in NAMES},
    )


def test_process_on_its_own_tells_of_no_shards(exporter_process: StartExporter, url: str, tmp_path: Path) -> None:
    """One shard of one is what an exporter is without flags: all tenants, and no word of a share."""
    whole = configuration(url, NAMES, tmp_path)
    for flags in ((), shard(0, 1)):
        process = exporter_process(whole, *flags)
        assert named(process) == set(NAMES)
        text = process.get("/metrics").text + process.get("/").text + process.log
        assert "shard" not in text
        assert "configured_tenants" not in text
        assert process.get("/api/v1/actions").json()["shard"] is None


def test_check_and_once_are_about_the_share(url: str, tmp_path: Path) -> None:
    """A check tells the share and then a line per tenant of it; what is polled once is the same."""
    whole = configuration(url, NAMES, tmp_path)
    for name in SHARES[0] | SHARES[2]:
        (tmp_path / f"{name}.key").unlink()  # Only its own shard needs it,
        (tmp_path / f"{name}.json").write_text("{")  # or is stopped by it.
    lines = "".join(
        f"config.yaml: tenant {name}: 2 actions, at most 0.0006 requests per second expected, "
        "budget 5 requests per second\n"
        for name in sorted(SHARES[1])
    )
    told = "config.yaml: shard 1 of 3, counted from 0: 2 of 7 tenants\n"
    assert run(*shard(1), "--config.check", configuration=whole, folder=tmp_path) == (0, told + lines, "")
    code, output, log = run(*shard(1), "--once", configuration=whole, folder=tmp_path)
    assert (code, log.count("\n")) == (0, 2)  # Of the action files that were read.
    assert set(re.findall('cortex_xdr_up{tenant="(.*)"} 1.0', output)) == SHARES[1]
    missing = "".join(
        f"config.yaml: tenants[{NAMES.index(name)}].api.key_file: {name}.key cannot be read: "
        "no such file or directory\n"
        for name in sorted(SHARES[0])
    )
    assert run(*shard(0), "--config.check", configuration=whole, folder=tmp_path) == (2, "", missing)


def test_shard_without_tenants_waits_for_some(
    exporter_process: StartExporter, tenants: dict[str, SimulatedTenant], url: str, tmp_path: Path
) -> None:
    """It is ready, and says that it has none. Reloads bring some, which are polled, and take them away."""
    few = configuration(url, SHARES[1], tmp_path)
    process = exporter_process(few, *shard(0), "--web.enable-lifecycle")
    assert ready(process)
    nothing = {"shard_index": 0.0, "shards": 3.0, "shard_tenants": 0.0, "configured_tenants": 2.0}
    assert (told(process), named(process)) == (nothing, set())
    assert scrape(process).values("exporter_requests_total") == []
    assert "This shard has no tenants." in process.get("/").text
    assert process.reload(configuration(url, NAMES, tmp_path))[0] == 200
    wait_for(process, 2)
    assert named(process) == SHARES[0]
    assert told(process) == {"shard_index": 0.0, "shards": 3.0, "shard_tenants": 2.0, "configured_tenants": 7.0}
    assert "This shard has no tenants." not in process.get("/").text
    assert process.reload(few)[0] == 200
    assert (told(process), named(process)) == (nothing, set())
    assert not any(tenants[name].requests for name in SHARES[1] | SHARES[2])
    assert process.stop() == 0


@needs_namespaces
def test_index_is_the_ordinal_of_the_host_name(exporter_process: StartExporter, url: str, tmp_path: Path) -> None:
    """As in a StatefulSet, whose pods have one flag for all; a pod beyond the total is refused."""
    whole = configuration(url, NAMES, tmp_path)

    def on_host(name: str) -> tuple[str, ...]:
        return ("unshare", "--uts", "sh", "-c", f'hostname {name} && exec "$@"', "sh")

    process = exporter_process(whole, "--shard.total=3", prefix=on_host("cortex-xdr-exporter-2"))
    assert named(process) == SHARES[2]
    done = subprocess.run(
        [*on_host("cortex-xdr-exporter-3"), sys.executable, "-m", "exporter", "--shard.total=3"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith(
        "cortex-xdr-exporter: error: argument --shard.index: must be from 0 to 2 with --shard.total=3, not 3, "
        "the ordinal of the host name 'cortex-xdr-exporter-3'\n"
    )


def test_demo_is_on_one_shard(exporter_process: StartExporter) -> None:
    """Its one tenant has no name, and is where an empty name is."""
    shares = []
    for index in range(2):
        process = exporter_process(None, "--demo", *shard(index, 2))
        shares.append(told(process))
        assert process.stop() == 0
    rest = {"shards": 2.0, "configured_tenants": 1.0}
    assert shares == [
        {"shard_index": 0.0, "shard_tenants": 1.0} | rest,
        {"shard_index": 1.0, "shard_tenants": 0.0} | rest,
    ]
