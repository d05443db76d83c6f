"""The command line, and the composition root: flags, logging, signals, wiring.

The rule: this is the only module that knows all the others. It decides exit codes: 0 stopped as asked,
1 failed while running, 2 usage or configuration.
"""

import argparse
import contextlib
import os
import platform
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from pydantic import SecretStr
from structlog.typing import FilteringBoundLogger

from exporter import __version__, config, logs
from exporter.config import Action, ApiSettings, Configuration, PollSettings, Tenant
from exporter.cortex import AdvancedKey, CortexClient, StandardKey
from exporter.errors import ConfigurationError
from exporter.exposition import Exposition
from exporter.journal import Journal
from exporter.poller import TenantPoller, max_workers
from exporter.ratelimit import RateLimit
from exporter.schedule import Schedule
from exporter.store import Phase, Store
from exporter.telemetry import Telemetry
from exporter.web.app import create_app
from exporter.web.server import ListenError, Server, listen, parse_address

_PROBES = ("/-/healthy", "/-/ready")
_DEMO_INTERVAL_SECONDS = 5.0
_DEMO_SPEED = 60.0
_READY_CHECK_SECONDS = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code. ``arguments`` are those of the process by default."""
    flags = _parse(arguments)
    try:
        return _run(flags)
    except BrokenPipeError:
        # Whoever read standard output has left; it is flushed once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def _run(flags: argparse.Namespace) -> int:
    log = logs.configure(level=flags.log_level, json=flags.log_format == "json")
    with contextlib.ExitStack() as stack:
        try:
            configuration = _demo(stack) if flags.demo else config.load(flags.config_file)
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            return 2
        if flags.config_check:
            _check(configuration)
            return 0
        for warning in config.warnings(configuration):
            log.warning(warning)
        if flags.once:
            return _Exporter(configuration, log, polls_once=True).poll_once()
        try:
            sockets = [listen(host, port) for host, port in flags.web_listen_address]
        except ListenError as error:
            log.error(str(error))  # noqa: TRY400 - a user's mistake, told in one line
            return 1
        if flags.demo:
            print(_invitation(sockets[0], flags.web_telemetry_path), flush=True)
        exporter = _Exporter(configuration, log)
        return exporter.serve(sockets, telemetry_path=flags.web_telemetry_path)


class _Exporter:
    """All that runs in one process: a poller for each tenant, and what they publish."""

    def __init__(
        self, configuration: Configuration, log: FilteringBoundLogger, *, polls_once: bool = False
    ) -> None:
        self._configuration = configuration
        self._log = log
        self._exposition = Exposition()
        self._telemetry = Telemetry(named=configuration.named)
        self._telemetry.configuration_loaded(time.time())
        self._stopping = threading.Event()
        self._crashed = False
        self._stop_serving: Callable[[], None] = lambda: None
        self._pollers = [self._poller(tenant, polls_once=polls_once) for tenant in configuration.tenants]

    def serve(self, sockets: list[socket.socket], *, telemetry_path: str) -> int:
        """Poll and serve until a signal comes; return the exit code."""
        app = create_app(expose=self._expose, ready=self._is_ready, telemetry_path=telemetry_path)
        server = Server(app)
        self._stop_serving = server.stop
        with self._polling():
            self._log.info(
                "started",
                version=__version__,
                addresses=" ".join(_shown_address(opened) for opened in sockets),
                tenants=len(self._configuration.tenants),
                actions=sum(len(tenant.actions) for tenant in self._configuration.tenants),
            )
            server.run(sockets)
        self._log.info("stopped")
        return int(self._crashed)

    def poll_once(self) -> int:
        """Poll each action once and print the exposition; return the exit code."""
        with self._polling():
            while not self._is_ready():
                if self._stopping.wait(_READY_CHECK_SECONDS):
                    return 1
        sys.stdout.buffer.write(self._expose(openmetrics=False, names=None))
        sys.stdout.flush()
        return int(any(poller.snapshot().phases[Phase.FAILING] for poller in self._pollers))

    @contextlib.contextmanager
    def _polling(self) -> Iterator[None]:
        """Poll within the context, and have SIGTERM and SIGINT end what waits in it."""
        handled = (signal.SIGTERM, signal.SIGINT)
        before = [signal.signal(number, lambda *_: self._stop()) for number in handled]
        try:
            for poller in self._pollers:
                poller.start()
            yield
        finally:
            for poller in self._pollers:
                poller.stop()
            for number, handler in zip(handled, before, strict=True):
                signal.signal(number, handler)

    def _stop(self) -> None:
        self._stopping.set()
        self._stop_serving()

    def _crash(self) -> None:
        self._crashed = True
        self._stop()

    def _expose(self, *, openmetrics: bool, names: Collection[str] | None) -> bytes:
        actions = self._exposition.expose(openmetrics=openmetrics, names=names)
        return actions + self._telemetry.expose(openmetrics=openmetrics, names=names)

    def _is_ready(self) -> bool:
        return all(poller.ready for poller in self._pollers)

    def _poller(self, tenant: Tenant, *, polls_once: bool) -> TenantPoller:
        api, poll = tenant.api, self._configuration.poll
        schedule = Schedule(
            interval=float("inf") if polls_once else poll.interval_seconds,
            settled_interval=float("inf") if polls_once else poll.settled_interval_seconds,
        )
        store = Store(
            stale_after=poll.stale_after_seconds,
            retire_after=poll.retire_after_seconds,
            publish=lambda state: self._exposition.publish(tenant.name, state),
        )
        store.track((action.id, action.labels) for action in tenant.actions)
        now = time.monotonic()
        for action in tenant.actions:
            schedule.add(action.id, now)
        log = self._log if tenant.name is None else self._log.bind(tenant=tenant.name)
        poller = TenantPoller(
            tenant.name,
            client=_client(api),
            schedule=schedule,
            rate=RateLimit(api.requests_per_second),
            store=store,
            telemetry=self._telemetry.add_tenant(tenant.name),
            timeout=api.timeout_seconds,
            journal=Journal(log),
            on_crash=self._crash,
        )
        self._telemetry.watch_tenant(tenant.name, poller.snapshot)
        return poller


def _client(api: ApiSettings) -> CortexClient:
    auth = {"advanced": AdvancedKey, "standard": StandardKey}[api.key_type](api.key_id, api.key)
    return CortexClient(
        api.url,
        auth,
        api.key,
        connections=max_workers(api.requests_per_second, api.timeout_seconds),
        proxy_url=api.proxy_url,
        ca_file=None if api.ca_file is None else str(api.ca_file),
    )


def _check(configuration: Configuration) -> None:
    """Print what the configuration asks for, a line for each tenant."""
    for tenant in configuration.tenants:
        name = "" if tenant.name is None else f" tenant {tenant.name}:"
        expected = len(tenant.actions) / configuration.poll.interval_seconds
        print(
            f"{configuration.path}:{name} {len(tenant.actions)} actions, "
            f"at most {expected:.3g} requests per second expected, "
            f"budget {tenant.api.requests_per_second:g} requests per second"
        )
    for warning in config.warnings(configuration):
        print(f"warning: {warning}", file=sys.stderr)
    sys.stdout.flush()


def _demo(stack: contextlib.ExitStack) -> Configuration:
    """Start a simulated tenant that lives as long as the stack, and return a configuration for it."""
    from exporter.simulator.demo import demo_tenant  # noqa: PLC0415 - nobody else should pay for loading it
    from exporter.simulator.server import SimulatorServer  # noqa: PLC0415 - as above

    simulated, actions = demo_tenant(speed=_DEMO_SPEED)
    server = stack.enter_context(SimulatorServer({"": simulated}))
    api = ApiSettings(
        url=server.url, key_id=str(simulated.key_id), key_type="advanced", key=SecretStr(simulated.key)
    )
    tracked = tuple(Action(id=action_id, labels=tuple(sorted(labels.items()))) for action_id, labels in actions)
    return Configuration(
        tenants=(Tenant(api=api, actions=tracked),),
        poll=PollSettings(interval_seconds=_DEMO_INTERVAL_SECONDS),
    )


def _invitation(listening: socket.socket, telemetry_path: str) -> str:
    base = f"http://{_shown_address(listening)}"
    width = len(base + telemetry_path)
    return f"""\
A simulated tenant with a dozen script executions of two campaigns is being polled.
A second here is a minute there, so that the numbers move while you watch.

  {base + "/":{width}}  start here
  {base + telemetry_path:{width}}  what Prometheus scrapes

  watch -n 2 "curl -s {base}{telemetry_path} | grep execution_endpoints | grep -v ' 0$'"

Stop with Ctrl-C.
"""


def _shown_address(listening: socket.socket) -> str:
    """Return an address that can be opened in a browser; all addresses are reached as localhost."""
    host, port = listening.getsockname()[:2]
    if host in {"::", "0.0.0.0"}:  # noqa: S104 - told apart, not listened on
        return f"localhost:{port}"
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="cortex-xdr-exporter",
        description="Prometheus exporter for the progress of Cortex XDR script executions.",
        allow_abbrev=False,
    )
    flag = parser.add_argument
    flag("--config.file", dest="config_file", metavar="FILE", type=Path, help="the configuration (config.yaml)")
    flag(
        "--web.listen-address",
        dest="web_listen_address",
        metavar="[HOST]:PORT",
        type=_address,
        action="append",
        help="where to serve; may be repeated (:10642)",
    )
    flag(
        "--web.telemetry-path",
        dest="web_telemetry_path",
        metavar="PATH",
        type=_telemetry_path,
        default="/metrics",
        help="where the metrics are (%(default)s)",
    )
    flag("--demo", action="store_true", help="run against a simulated tenant; needs no configuration")
    mode = parser.add_mutually_exclusive_group()
    mode.add_argument(
        "--config.check",
        dest="config_check",
        action="store_true",
        help="validate the configuration and the files it names, print a line per tenant, and exit",
    )
    mode.add_argument(
        "--once",
        action="store_true",
        help="poll each action once, print the metrics, and exit; 1 if a poll failed",
    )
    flag("--log.level", dest="log_level", choices=list(logs.LEVELS), default="info", help="(%(default)s)")
    flag("--log.format", dest="log_format", choices=["logfmt", "json"], default="logfmt", help="(%(default)s)")
    version = f"%(prog)s, version {__version__} (Python {platform.python_version()})"
    flag("--version", action="version", version=version)
    flags = parser.parse_args(arguments)
    if flags.demo and flags.config_file is not None:
        parser.error("argument --demo: not allowed with argument --config.file")
    flags.config_file = flags.config_file or Path("config.yaml")
    flags.web_listen_address = flags.web_listen_address or [("", 10642)]
    return flags


def _address(text: str) -> tuple[str, int]:
    try:
        return parse_address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _telemetry_path(text: str) -> str:
    if not text.startswith("/") or text in _PROBES or not text.isprintable() or set(text) & set(" ?#{}%"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path of its own, such as /metrics")
    return text
