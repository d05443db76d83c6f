"""The composition root: what the command does, from the flags to the exit code.

The rule: this is the only module that knows all the others. It decides exit codes: 0 stopped as asked,
1 failed while running, 2 usage or configuration.
"""

import contextlib
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path

from pydantic import SecretStr
from structlog.typing import FilteringBoundLogger

from exporter import __version__, config, flags, logs
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
from exporter.web.server import ListenError, Server, listen

_DEMO_INTERVAL_SECONDS = 5.0
_DEMO_SPEED = 60.0
_READY_CHECK_SECONDS = 0.05


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code. ``arguments`` are those of the process by default."""
    given = flags.parse(arguments)
    log = logs.configure(level=given.log_level, json=given.log_format == "json")
    with contextlib.ExitStack() as stack:
        try:
            configuration = _demo(stack) if given.demo else config.load(given.config_file)
            if given.config_check:
                return _check(configuration)
            exporter = _Exporter(configuration, log, polls_once=given.once)
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            return 2
        for warning in config.warnings(configuration):
            log.warning(warning)
        if given.once:
            return exporter.poll_once()
        try:
            sockets = [listen(host, port) for host, port in given.web_listen_address]
        except ListenError as error:
            log.error(str(error))  # noqa: TRY400 - a user's mistake, told in one line
            return 1
        if given.demo:
            _print(_invitation(sockets[0], given.web_telemetry_path))
        return exporter.serve(sockets, telemetry_path=given.web_telemetry_path)


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
        self._stopping = False  # No event: its lock is not for handlers of signals.
        self._crashed = False
        self._stop_serving: Callable[[], None] = lambda: None
        self._clients: list[CortexClient] = []
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
                if self._stopping:
                    self._log.warning("stopped before every action was polled")
                    return 1
                time.sleep(_READY_CHECK_SECONDS)
        if not _print(self._expose(openmetrics=False, names=None)):
            return 1
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
            for client in self._clients:
                client.close()
            for number, handler in zip(handled, before, strict=True):
                signal.signal(number, handler)

    def _stop(self) -> None:
        self._stopping = True
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
        client = _client(api)
        self._clients.append(client)
        log = self._log if tenant.name is None else self._log.bind(tenant=tenant.name)
        poller = TenantPoller(
            tenant.name,
            client=client,
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


def _print(text: str | bytes) -> bool:
    """Write to standard output, and tell whether it could be written; if not, why on standard error."""
    encoded = text if isinstance(text, bytes) else text.encode(sys.stdout.encoding, "backslashreplace")
    try:
        sys.stdout.buffer.write(encoded)
        sys.stdout.flush()
    except OSError as error:
        if not isinstance(error, BrokenPipeError):  # Whoever read the output has seen enough.
            print(f"standard output cannot be written: {error.strerror}", file=sys.stderr)
        # What is left in the buffer is written once more at the exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def _check(configuration: Configuration) -> int:
    """Print what the configuration asks for, a line for each tenant; return the exit code."""
    lines = ""
    for tenant in configuration.tenants:
        name = "" if tenant.name is None else f" tenant {tenant.name}:"
        count = len(tenant.actions)
        expected = round(count / configuration.poll.interval_seconds, 4)
        lines += (
            f"{configuration.path}:{name} {count} action{'' if count == 1 else 's'}, "
            f"at most {expected:g} requests per second expected, "
            f"budget {tenant.api.requests_per_second:g} requests per second\n"
        )
    for warning in config.warnings(configuration):
        print(f"warning: {warning}", file=sys.stderr)
    return 0 if _print(lines) else 1


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
        path=Path("demo"),
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
