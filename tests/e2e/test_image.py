"""The container image, built for real and run with a read-only root, without any rights, and without a shell."""

import contextlib
import functools
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from support import KEY, ROOT, TIMEOUT_SECONDS, configuration_text, wait_until, wait_until_equal
from support_helm import case_values, exporter_container, of_kind, render
from support_image import BASE_NAME, BUILD_ARGUMENTS, Container, Store
from support_namespaces import needs_namespaces
from support_pod import EXISTING, Pod

from exporter import __version__
from exporter.simulator.demo import FIRST_ACTION_ID

pytestmark = [pytest.mark.needs("buildah", "mmdebstrap", "runc"), needs_namespaces]

FOLDER = "/etc/cortex-xdr-exporter"
STATE = "/var/lib/cortex-xdr-exporter"
DEMO = ["--demo", "--web.listen-address=127.0.0.1:0"]
TIGHT = """
import os, subprocess
def refusal(attempt, *arguments):
    try:
        attempt(*arguments)
    except OSError as error:
        return error.strerror
for folder in ("/", "/etc/cortex-xdr-exporter", "/opt/venv", "/tmp"):
    print(folder, refusal(open, folder + "/new", "w"))
for shell in ("sh", "bash"):
    print(shell, refusal(subprocess.run, [shell, "-c", "exit"]))
print(os.getresuid(), os.getresgid(), os.getgroups())
"""


class Image(NamedTuple):
    """The image as it was built."""

    store: Store
    rootfs: Path
    configuration: dict[str, Any]


class StartContainer(Protocol):
    """What the fixture ``container`` is."""

    def __call__(self, *arguments: str, **more: Any) -> Container:
        """Start the image with these arguments; ``more`` is what Container takes."""
        ...


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """Make the base. It has hundreds of megabytes, which nobody keeps."""
    folder = tmp_path_factory.mktemp("images") / "store"
    try:
        yield Store(folder)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def image(store: Store) -> Image:
    """Build the image."""
    store.build_exporter("exporter")
    return Image(store, store.mount("exporter"), store.configuration("exporter"))


@pytest.fixture
def container(image: Image, tmp_path: Path) -> Iterator[StartContainer]:
    """Run the image, until the test ends."""
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, **more: Any) -> Container:
            started = Container(image.rootfs, image.configuration, arguments, tmp_path, **more)
            stack.callback(started.clean_up)
            return started

        yield start


def files_below(folder: Path, *, but: str = "__pycache__") -> set[str]:
    """Return the names of all files in a folder and below."""
    return {
        str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file() and but not in path.parts
    }


def test_image_says_how_it_is_run(image: Image) -> None:
    """User, command, port, health check, signal to stop and labels are what orchestrators expect."""
    kept = (
        "User",
        "Entrypoint",
        "Cmd",
        "Env",
        "WorkingDir",
        "ExposedPorts",
        "Healthcheck",
        "StopSignal",
        "Labels",
    )
    label = "org.opencontainers.image"
    assert {key: image.configuration.get(key) for key in kept} == {
        "User": "65532:65532",
        "Entrypoint": ["cortex-xdr-exporter"],
        "Cmd": [],
        "Env": [
            "PATH=/opt/venv/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "PYTHONPYCACHEPREFIX=/opt/venv/bytecode",
            "PYTHONSAFEPATH=1",
        ],
        "WorkingDir": FOLDER,
        "ExposedPorts": {"10642/tcp": {}},
        "Healthcheck": {
            "Test": ["CMD", "python", "-m", "exporter.probe"],
            "Interval": 30_000_000_000,
            "Timeout": 5_000_000_000,
            "StartPeriod": 10_000_000_000,
        },
        "StopSignal": "SIGTERM",
        "Labels": {
            f"{label}.title": "cortex-xdr-exporter",
            f"{label}.description": "Prometheus exporter for the progress of Cortex XDR script executions",
            f"{label}.licenses": "Apache-2.0",
            f"{label}.version": __version__,
            f"{label}.revision": BUILD_ARGUMENTS["REVISION"],
            f"{label}.created": BUILD_ARGUMENTS["CREATED"],
        },
    }


def test_image_is_built_from_what_it_needs(store: Store, tmp_path: Path) -> None:
    """Of the clone, only the package and what its wheel is made of is sent to the build."""
    (tmp_path / "Dockerfile").write_text("FROM scratch\nCOPY . /\n")
    store.build("context", ROOT, f"--file={tmp_path / 'Dockerfile'}")
    assert files_below(store.mount("context"), but="") == {
        *(".ci/build.lock", ".ci/requirements.lock", "LICENSE", "README.md", "pyproject.toml"),
        *(f"exporter/{name}" for name in files_below(ROOT / "exporter")),
    }


def test_image_adds_the_exporter_and_its_locked_dependencies(image: Image) -> None:
    """The base gets one folder with these distributions and no others, such as pip, and two empty ones."""
    with tarfile.open(image.store.base_folder / "base.tar") as base:
        names = {member.name.removeprefix("./") for member in base}
    added = {str(path.relative_to(image.rootfs)) for path in image.rootfs.rglob("*")} - names
    folders = {folder.removeprefix("/") for folder in ("/opt/venv", FOLDER, STATE)}
    assert {name for name in added if not name.startswith("opt/venv/")} == folders
    state = (image.rootfs / STATE.removeprefix("/")).stat()
    assert (state.st_uid, state.st_gid) == (65532, 65532)
    [packages] = (image.rootfs / "opt" / "venv" / "lib").glob("python3*/site-packages")
    installed = {path.name.removesuffix(".dist-info") for path in packages.glob("*.dist-info")}
    lock = (ROOT / ".ci" / "requirements.lock").read_text()
    pins = re.findall(r"^(\S+)==(\S+)", lock, re.MULTILINE)
    locked = {f"{name.replace('-', '_')}-{version}" for name, version in pins}
    assert installed == locked | {f"cortex_xdr_exporter-{__version__}"}
    assert files_below(packages / "exporter") == files_below(ROOT / "exporter")
    assert list((image.rootfs / "opt" / "venv" / "bin").glob("pip*")) == []


def test_container_is_bound_tightly(container: StartContainer) -> None:
    """Under what the other tests have it run, nothing can be written, no shell executed, and no right is left."""
    status = "print(*(line for line in open('/proc/1/status') if line[:3] in {'Cap', 'NoN'}), sep='')"
    none = "".join(f"Cap{which}:\t0000000000000000\n" for which in ("Inh", "Prm", "Eff", "Bnd", "Amb"))
    said = (
        "/ Read-only file system\n"
        f"{FOLDER} Read-only file system\n"
        "/opt/venv Read-only file system\n"
        "/tmp Read-only file system\n"
        "sh Permission denied\n"
        "bash Permission denied\n"
        "(65532, 65532, 65532) (65532, 65532, 65532) []\n"
        f"{none}NoNewPrivs:\t1\n\n"
    )
    assert container("-c", TIGHT + status, entrypoint=["python"]).wait() == (0, said, "")


def test_container_is_scraped_and_stops(
    container: StartContainer, image: Image, measured: Callable[[str], None]
) -> None:
    """The demo is scraped over loopback, and ends with 0 at the image's signal to stop."""
    start = time.monotonic()
    running = container(*DEMO, host_network=True)
    address = running.wait_for_log(r"\baddresses=(\S+)")[1]
    with requests.Session() as session:
        session.trust_env = False
        answer = session.get(f"http://{address}/metrics", timeout=TIMEOUT_SECONDS)
    seconds = time.monotonic() - start
    assert answer.status_code == 200
    families = {family.name for family in text_string_to_metric_families(answer.text)}
    assert "cortex_xdr_script_execution_endpoints" in families
    assert running.halt() == 0
    sizes = (image.store.size(name) for name in ("exporter", BASE_NAME))
    measured("The image has {}, its base alone {}.".format(*sizes))
    measured(f"The first scrape of a container was over {seconds:.2f} s after its start.")


def test_container_is_found_healthy(container: StartContainer, image: Image) -> None:
    """The health check of the image finds the exporter on its usual port; while nobody is there, it does not."""
    kind, *check = image.configuration["Healthcheck"]["Test"]
    assert kind == "CMD"
    running = container("--demo")
    running.wait_for_log("msg=started")
    assert running.execute(*check) == (0, "", "")
    assert running.execute(*check, "http://127.0.0.1:1/") == (1, "", "not well: Connection refused\n")


def test_container_checks_a_mounted_configuration(container: StartContainer, tmp_path: Path) -> None:
    """The configuration is looked for where the image says, and its files beside it."""
    configuration = tmp_path / "configuration"
    configuration.mkdir()
    api = {"url": "https://api-acme.xdr.us.paloaltonetworks.com", "key_id": 7, "key_file": "key"}
    text = configuration_text({"api": api, "actions": [1, 2]})
    (configuration / "config.yaml").write_text(text)
    (configuration / "key").write_text("not-a-real-key")
    assert container("--config.check", mounts={FOLDER: configuration}).wait() == (
        0,
        "config.yaml: 2 actions, at most 0.0333 requests per second expected, budget 5 requests per second\n",
        "",
    )


def test_container_loads_no_code_from_its_configuration(container: StartContainer, tmp_path: Path) -> None:
    """A module among the configuration's files, where a probe is started, takes the place of no other."""
    configuration = tmp_path / "configuration"
    configuration.mkdir()
    (configuration / "argparse.py").write_text("raise SystemExit")
    asked = container(
        "-m", "exporter.probe", "http://127.0.0.1:1/", entrypoint=["python"], mounts={FOLDER: configuration}
    )
    assert asked.wait() == (1, "", "not well: Connection refused\n")


def test_container_without_configuration_says_so(container: StartContainer) -> None:
    """A container that was given nothing ends with 2 and a message."""
    assert container().wait() == (2, "", "config.yaml: cannot be read: no such file or directory\n")


def test_container_prints_its_version(container: StartContainer) -> None:
    """--version prints it, and the Python of the base."""
    code, output, log = container("--version").wait()
    assert (code, log) == (0, "")
    assert re.fullmatch(rf"cortex-xdr-exporter, version {__version__} \(Python 3\.11\.\d+\)\n", output)


@pytest.mark.parametrize("arguments", [["exporter", "--demo", "--once"], ["exporter.probe", "--help"]])
def test_container_compiles_nothing(container: StartContainer, arguments: list[str]) -> None:
    """Whatever a start loads was compiled when the image was built: a read-only root would not keep it."""
    started = container("-v", "-m", *arguments, entrypoint=["python"])
    assert started.wait()[0] == 0
    loaded = re.findall(r"^# code object from '?([^'\s]+)", started.log, re.MULTILINE)
    assert [name for name in loaded if not name.startswith("/opt/venv/bytecode/")] == []
    assert loaded


@pytest.mark.needs("helm")
def test_image_runs_as_the_chart_has_it(container: StartContainer, tmp_path: Path) -> None:
    """Flags, files, probes and scrape of a rendered pod do what they are for, and a longer list is taken up."""
    keys = tmp_path / "keys"
    keys.mkdir()
    (keys / "key").write_text(KEY)
    simulated = container(
        f"--key-file={FOLDER}/key", entrypoint=["python", "-m", "exporter.simulator"], mounts={FOLDER: keys}
    )
    wait_until(lambda: simulated.output, "the simulated tenant says where it is")
    values = case_values("web")
    values["config"]["api"]["url"] = "http://127.0.0.1:8443"
    values["actionLists"] = {"default": {"lists": {"campaign": [FIRST_ACTION_ID]}}}
    objects = render(values)
    pod = Pod(objects, tmp_path / "pod", existing=EXISTING, in_place=True)
    mounts = {FOLDER: pod.folder / FOLDER.removeprefix("/")}
    running = container(*pod.arguments, mounts=mounts, network_of=simulated)
    running.wait_for_log("msg=started")

    probes = [asked["exec"] for name, asked in exporter_container(objects).items() if name.endswith("Probe")]
    assert len(probes) == 3
    for probe in probes:
        wait_until_equal(functools.partial(running.execute, *probe["command"]), (0, "", ""))
    (test,) = of_kind(objects, "Pod")["spec"]["containers"]
    *python, script, url = test["command"]
    url = re.sub("//[a-z.-]+:", "//127.0.0.1:", url)
    code, output, log = running.execute(*python, script, url)
    assert (code, log) == (0, "")
    assert output.startswith("cortex_xdr_exporter_build_info{")

    values["actionLists"]["default"]["lists"]["campaign"].append(FIRST_ACTION_ID + 1)
    pod.update(render(values))
    good = "cortex_xdr_script_execution_poll_success"
    script = script.replace("cortex_xdr_exporter_build_info", good)
    expected = "".join(f'{good}{{action_id="{FIRST_ACTION_ID + number}"}} 1\n' for number in range(2))
    wait_until_equal(lambda: running.execute(*python, script, url), (0, expected, ""))
    assert running.halt() == 0
