"""What tests share: waiting, programs in the background, the exporter as a process, simulated tenants."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import requests
import yaml

from exporter.simulator.lives import Counts, Fixed, Life
from exporter.simulator.tenant import SimulatedTenant

ROOT = Path(__file__).parent.parent
KEY_ID = 7
KEY = "not-a-real-key"
RUNNING = Fixed("IN_PROGRESS", Counts(pending=3, in_progress=2))
TIMEOUT_SECONDS = 60.0
"""How long anything may take on a busy machine: what takes longer hangs."""

_POLL_SECONDS = 0.02
_BROUGHT_PATH = str(ROOT / ".cache" / "bin")
_SYSTEM_PATH = ("/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin")

T = TypeVar("T")


def wait_until(
    condition: Callable[[], T], message: str | Callable[[], str] = "", *, timeout: float = TIMEOUT_SECONDS
) -> T:
    """Poll a condition until it is true and return what it returned; fail the test after ``timeout`` seconds.

    ``message`` says what did not happen. Where that is a value, :func:`wait_until_equal` shows it.
    """
    deadline = time.monotonic() + timeout
    while not (result := condition()):
        if time.monotonic() > deadline:
            said = message() if callable(message) else message
            pytest.fail(f"not within {timeout:g} s: {said or condition}")
        time.sleep(_POLL_SECONDS)
    return result


def wait_until_equal(read: Callable[[], object], expected: object, *, timeout: float = TIMEOUT_SECONDS) -> None:
    """Poll a value until it is the expected one; fail the test with the difference after ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while (value := read()) != expected:
        if time.monotonic() > deadline:
            assert value == expected, f"not within {timeout:g} s"
        time.sleep(_POLL_SECONDS)


def find_program(name: str) -> str | None:
    """Find a program: one that .ci has brought, else on the PATH, else where the system keeps programs anyway."""
    return shutil.which(name, path=os.pathsep.join([_BROUGHT_PATH, os.environ.get("PATH", ""), *_SYSTEM_PATH]))


def make_tenant(
    actions: Mapping[str, Life], *, requests_per_second: int = 1000, speed: float = 1.0
) -> SimulatedTenant:
    """Make a simulated tenant with the tests' key that holds these actions.

    Its limit is far above the vendor's, so that only a test that asks for throttling gets it.
    """
    tenant = SimulatedTenant(key_id=KEY_ID, key=KEY, requests_per_second=requests_per_second, speed=speed)
    for action_id, life in actions.items():
        tenant.add(action_id, life)
    return tenant


def api_section(url: str, **more: object) -> dict[str, object]:
    """Return the configuration's ``api`` for a tenant of :func:`make_tenant` at that URL."""
    return {"url": url, "key_id": KEY_ID, "key": KEY, **more}


class Mounted:
    """A folder as kubelet mounts a ConfigMap or a Secret: files are links, and an update swaps one link.

    After kubelet's ``AtomicWriter``: a file that is no more loses its own link last.
    """

    def __init__(self, folder: Path, files: Mapping[str, str]) -> None:
        self.folder = folder
        self._updates = count()
        self._content: Path | None = None
        folder.mkdir()
        self.update(files)

    def update(self, files: Mapping[str, str]) -> None:
        """Have the folder hold these files, by their names, and no others."""
        content = self.folder / f"..content_{next(self._updates)}"
        content.mkdir()
        for name, text in files.items():
            (content / name).write_text(text)
        swapped = self.folder / "..data_tmp"
        swapped.symlink_to(content.name)
        swapped.replace(self.folder / "..data")
        for name in files:
            if not (self.folder / name).is_symlink():
                (self.folder / name).symlink_to(f"..data/{name}")
        for path in self.folder.iterdir():
            if not path.name.startswith("..") and path.name not in files:
                path.unlink()
        if self._content is not None:
            shutil.rmtree(self._content)
        self._content = content


def replace_file(path: Path, text: str) -> None:
    """Write a file beside another one, and rename it over that: at no time is there half of it."""
    beside = path.with_name(f".{path.name}.new")
    beside.write_text(text)
    beside.replace(path)


class BackgroundProcess:
    """A program that runs beside a test, with its output in files, so that no full pipe can hold it up."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
        self._output_path = folder / "stdout"
        self._log_path = folder / "stderr"
        with self._output_path.open("wb") as output, self._log_path.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env={**os.environ, **(environment or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=log,
            )

    @property
    def output(self) -> str:
        """What it has written to standard output so far."""
        return self._output_path.read_text()

    @property
    def log(self) -> str:
        """What it has written to standard error so far."""
        return self._log_path.read_text()

    def wait_for_log(self, pattern: str) -> re.Match[str]:
        """Wait until the log has a match and return it; fail the test if the program ends before."""

        def found() -> re.Match[str] | None:
            ended = self.process.poll()
            match = re.search(pattern, self.log)
            if match is None and ended is not None:
                pytest.fail(f"ended with {ended} before its log had {pattern!r}:\n{self.log}")
            return match

        match = wait_until(found, lambda: f"{pattern!r} in the log:\n{self.log}")
        assert match
        return match

    def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """End it by a signal, and return its exit code; that of before, if it had ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(TIMEOUT_SECONDS)

    def clean_up(self) -> None:
        """End it, whatever it takes. SIGTERM comes first: it lets coverage be written."""
        try:
            self.stop()
        finally:
            self.process.kill()
            self.process.wait()


class HttpProcess(BackgroundProcess):
    """A program in the background that serves HTTP at ``url``, which has no slash at its end."""

    url: str
    credentials: tuple[str, str] | None = None
    """The user name and password that requests are made with."""

    def get(self, path: str, *, parameters: Mapping[str, str] | None = None, **headers: str) -> requests.Response:
        """Get a path, with headers by name: ``accept_encoding="gzip"``. No proxy, no redirects followed."""
        return self._request("GET", path, parameters, headers)

    def post(self, path: str, **headers: str) -> requests.Response:
        """Post nothing to a path, as :meth:`get` does otherwise."""
        return self._request("POST", path, None, headers)

    def _request(
        self, method: str, path: str, parameters: Mapping[str, str] | None, headers: Mapping[str, str]
    ) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False
            return session.request(
                method,
                self.url + path,
                params=parameters,
                headers={name.replace("_", "-"): value for name, value in headers.items()},
                auth=self.credentials,
                allow_redirects=False,
                timeout=TIMEOUT_SECONDS,
            )


class ExporterProcess(HttpProcess):
    """``python -m exporter`` with these arguments; it is up and answers at ``url`` when this returns.

    The address is read from the line ``msg=started`` in its log, which needs the log's level info. A ``prefix``
    is a command that ends by executing the one that follows.
    """

    def __init__(
        self,
        arguments: Sequence[str],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> None:
        command = [*prefix, sys.executable, "-m", "exporter", *arguments]
        super().__init__(command, folder, environment=environment)
        try:
            address = self.wait_for_log(r'\baddresses(?:=|": )"?([^\s"]+)')[1]
        except BaseException:
            self.clean_up()
            raise
        self.url = f"http://{address}"

    def configure(self, configuration: Mapping[str, Any] | str) -> None:
        """Put another configuration, a mapping or text, in the place of its ``config.yaml``."""
        replace_file(self.folder / "config.yaml", configuration_text(configuration))

    def reload(self, configuration: Mapping[str, Any] | str) -> tuple[int, str]:
        """Put another configuration in place, and return what ``POST /-/reload`` answers: status and text."""
        self.configure(configuration)
        answer = self.post("/-/reload")
        return answer.status_code, answer.text


class StartExporter(Protocol):
    """What the fixture ``exporter_process`` is."""

    def __call__(
        self,
        configuration: Mapping[str, Any] | str | None = None,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
        prefix: Sequence[str] = (),
    ) -> ExporterProcess:
        """Start the exporter with a configuration, as a mapping or as text, and with further arguments.

        It listens on a free port unless the arguments have a ``--web.listen-address``. With ``--demo`` there
        is no configuration. A ``prefix`` is a command that executes what follows, such as ``unshare``.
        """
        ...


class StartSimulator(Protocol):
    """What the fixture ``simulator`` is."""

    def __call__(self, tenants: Mapping[str, SimulatedTenant]) -> str:
        """Serve tenants by path prefix until the test ends, ``""`` at the root; return the root's URL."""
        ...


def configuration_text(configuration: Mapping[str, Any] | str) -> str:
    """Return a configuration as text, which it may be already."""
    return configuration if isinstance(configuration, str) else yaml.safe_dump(dict(configuration))


def exporter_arguments(
    configuration: Mapping[str, Any] | str | None, arguments: Sequence[str], folder: Path
) -> list[str]:
    """Complete the arguments, and write the configuration to ``config.yaml`` in the folder."""
    complete = list(arguments)
    if not any(argument.startswith("--web.listen-address") for argument in arguments):
        complete.append("--web.listen-address=127.0.0.1:0")
    if configuration is not None:
        path = folder / "config.yaml"
        path.write_text(configuration_text(configuration))
        complete.append(f"--config.file={path}")
    return complete
