"""What tests share: waiting, programs in the background, the exporter as a process, simulated tenants."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol, TypeVar

import pytest
import requests
import yaml

from exporter.simulator.lives import Life
from exporter.simulator.tenant import SimulatedTenant

ROOT = Path(__file__).parent.parent
KEY_ID = 7
KEY = "not-a-real-key"
TIMEOUT_SECONDS = 60.0
"""How long anything may take on a busy machine: what takes longer hangs."""

_POLL_SECONDS = 0.02
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
    """Find a program on the PATH, or where the system keeps programs even if the PATH leaves that out."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_SYSTEM_PATH]))


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


class BackgroundProcess:
    """A program that runs beside a test, with its output in files, so that no full pipe can hold it up."""

    def __init__(
        self, command: Sequence[str], folder: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
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

    def get(self, path: str, *, parameters: Mapping[str, str] | None = None, **headers: str) -> requests.Response:
        """Get a path, with headers by name: ``accept_encoding="gzip"``. No proxy, no redirects followed."""
        with requests.Session() as session:
            session.trust_env = False
            return session.get(
                self.url + path,
                params=parameters,
                headers={name.replace("_", "-"): value for name, value in headers.items()},
                allow_redirects=False,
                timeout=TIMEOUT_SECONDS,
            )


class ExporterProcess(HttpProcess):
    """``python -m exporter`` with these arguments; it is up and answers at ``url`` when this returns.

    The address is read from the line ``msg=started`` in its log, which needs the log's level info.
    """

    def __init__(
        self, arguments: Sequence[str], folder: Path, *, environment: Mapping[str, str] | None = None
    ) -> None:
        super().__init__([sys.executable, "-m", "exporter", *arguments], folder, environment=environment)
        try:
            address = self.wait_for_log(r'\baddresses(?:=|": )"?([^\s"]+)')[1]
        except BaseException:
            self.clean_up()
            raise
        self.url = f"http://{address}"


class StartExporter(Protocol):
    """What the fixture ``exporter_process`` is."""

    def __call__(
        self,
        configuration: Mapping[str, Any] | str | None = None,
        *arguments: str,
        environment: Mapping[str, str] | None = None,
    ) -> ExporterProcess:
        """Start the exporter with a configuration, as a mapping or as text, and with further arguments.

        It listens on a free port unless the arguments have a ``--web.listen-address``. With ``--demo`` there
        is no configuration.
        """
        ...


class StartSimulator(Protocol):
    """What the fixture ``simulator`` is."""

    def __call__(self, tenants: Mapping[str, SimulatedTenant]) -> str:
        """Serve tenants by path prefix until the test ends, ``""`` at the root; return the root's URL."""
        ...


def exporter_arguments(
    configuration: Mapping[str, Any] | str | None, arguments: Sequence[str], folder: Path
) -> list[str]:
    """Complete the arguments, and write the configuration to ``config.yaml`` in the folder."""
    complete = list(arguments)
    if not any(argument.startswith("--web.listen-address") for argument in arguments):
        complete.append("--web.listen-address=127.0.0.1:0")
    if configuration is not None:
        path = folder / "config.yaml"
        text = configuration if isinstance(configuration, str) else yaml.safe_dump(dict(configuration))
        path.write_text(text)
        complete.append(f"--config.file={path}")
    return complete
