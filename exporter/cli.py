"""The composition root: what the command does, from the flags to the exit code.

The rule: this is the only module that knows all the others. It decides exit codes: 0 stopped as asked,
1 failed while running, 2 usage or configuration.
"""

import argparse
import contextlib
import gc
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import SecretStr
from structlog.typing import FilteringBoundLogger

from exporter import __version__, config, flags, logs
from exporter.config import Action, ApiSettings, Configuration, PollSettings, Tenant
from exporter.errors import ConfigurationError, StateFileInUseError
from exporter.exposition import Exposition
from exporter.files import Fingerprint, fingerprint
from exporter.fleet import Fleet, Prepared
from exporter.packing import Packed
from exporter.sharding import Shard
from exporter.telemetry import Telemetry
from exporter.tracking import ActionFiles
from exporter.upkeep import Upkeep
from exporter.web.access import Access
from exporter.web.app import create_app
from exporter.web.complaints import Complaints
from exporter.web.policy import Policy
from exporter.web.server import ListenError, Server, listen

if TYPE_CHECKING:
    from exporter.overview import Overview
    from exporter.query import Query
    from exporter.state_file import StateFile
    from exporter.web_file import WebFile

_DEMO_INTERVAL_SECONDS = 5.0
_DEMO_SPEED = 60.0
_POLLED_CHECK_SECONDS = 0.05
_SWITCH_SECONDS = 0.0005
_OPEN = Policy()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code. ``arguments`` are those of the process by default."""
    given = flags.parse(arguments)
    # What is wrong with action files is what a check prints, and needs no lines in a log.
    log = logs.configure(level="error" if given.config_check else given.log_level, json=given.log_format == "json")
    _expect_signals(given)
    with contextlib.ExitStack() as stack:
        try:
            seen = fingerprint(given.config_file)
            telemetry = Telemetry()
            configuration, web = _load(given, stack, telemetry, log)
            files = ActionFiles(read=config.read_actions, log=log)
            _select(files, configuration)
            if given.config_check or given.once:
                _refuse_broken(files)
            if given.config_check:
                return _check(configuration, files)
            exporter = _Exporter(configuration, files, web, telemetry, log, once=given.once)
        except ConfigurationError as error:
            print(error, file=sys.stderr)
            return 2
        except StateFileInUseError as error:
            log.error(str(error))  # noqa: TRY400 - a user's mistake, told in one line
            return 1
        if given.once:
            return exporter.poll_once()
        try:
            sockets = [listen(host, port) for host, port in given.web_listen_address]
        except ListenError as error:
            log.error(str(error))  # noqa: TRY400 - as above
            return 1
        if given.demo:
            _print(_invitation(sockets[0], given.web_telemetry_path, encrypted=exporter.encrypted))
        return exporter.serve(sockets, given, seen)


class _Exporter:
    """All that runs in one process, and how it starts, changes and stops."""

    def __init__(
        self,
        configuration: Configuration,
        files: ActionFiles,
        web: "WebFile | None",
        telemetry: Telemetry,
        log: FilteringBoundLogger,
        *,
        once: bool,
    ) -> None:
        self._configuration = configuration
        self._files = files
        self._web = web
        self._log = log
        self._exposition = Exposition()
        self._telemetry = telemetry
        self._telemetry.configuration_loaded(time.time())
        self._telemetry.watch_action_files(lambda: files.files)
        self._telemetry.watch_share(lambda: self._configuration.share)
        self._stopping = False  # No event: its lock is not for handlers of signals.
        self._crashed = False
        self._warned: list[str] = []
        self._stop_serving: Callable[[], None] = lambda: None
        self._state: StateFile | None = None
        remembered = {}
        if configuration.state_path is not None and not once:
            self._state = self._state_file(configuration.state_path)
            remembered = self._state.open()
        self._fleet = Fleet(
            exposition=self._exposition,
            telemetry=self._telemetry,
            log=log,
            on_crash=self._crash,
            memory=self._state,
            remembered=remembered,
            once=once,
        )
        self._fleet.apply(self._fleet.prepare(configuration), files.tracked)
        self._conclude()

    def serve(self, sockets: list[socket.socket], given: argparse.Namespace, seen: Fingerprint | None) -> int:
        """Poll and serve until a signal comes; return the exit code.

        ``seen`` is how the configuration file looked when it was loaded.
        """
        upkeep = self._upkeep(given, seen)
        app = create_app(
            expose=self._expose,
            overview=self._overview,
            ready=lambda: self._fleet.ready,
            telemetry_path=given.web_telemetry_path,
            reload=upkeep.reload if given.web_enable_lifecycle else None,
        )
        complaints = Complaints(self._log)
        server = Server(
            Access(app, self._policy, noted=complaints.note),
            policy=self._policy,
            noted=complaints.note,
            stopping=lambda: self._stop_answering(upkeep),
        )
        self._stop_serving = server.stop
        share = self._configuration.share
        # The loop gets its turn ten times as often as by default, should a thread be at work without a pause.
        sys.setswitchinterval(_SWITCH_SECONDS)
        with self._polling(upkeep, hangup_reloads=not given.demo):
            self._log.info(
                "started",
                version=__version__,
                addresses=" ".join(_shown_address(opened) for opened in sockets),
                tenants=len(self._configuration.tenants),
                actions=sum(_counts(self._files, self._configuration)),
                **({} if share is None else {"share": share.words}),
            )
            server.run(sockets)
        self._log.info("stopped")
        return int(self._crashed)

    def poll_once(self) -> int:
        """Poll each action once and print the exposition; return the exit code."""
        with self._polling(None):
            while not self._fleet.polled:
                if self._stopping:
                    self._log.warning("stopped before every action was polled")
                    return 1
                time.sleep(_POLLED_CHECK_SECONDS)
        text = self._expose(openmetrics=False, names=None)
        if not _print(b"".join(text.plain(text.length))):
            return 1
        return int(self._fleet.failing)

    @contextlib.contextmanager
    def _polling(self, upkeep: Upkeep | None, *, hangup_reloads: bool = False) -> Iterator[None]:
        """Poll and keep up within the context, and have signals end what waits in it."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._stop_for())
        if upkeep is not None and hangup_reloads:
            signal.signal(signal.SIGHUP, lambda *_: upkeep.reload_soon())
        gc.enable()  # It was off, so that the start takes less time.
        with contextlib.ExitStack() as stack:
            if self._state is not None:
                self._state.start()
                stack.callback(self._state.close)
            stack.callback(self._fleet.stop)
            self._fleet.start()
            if upkeep is not None:
                upkeep.start()
                stack.callback(upkeep.join)
                stack.callback(upkeep.stop)
            if hangup_reloads:
                stack.callback(signal.signal, signal.SIGHUP, signal.SIG_IGN)
            yield

    def _stop_for(self) -> None:
        """Stop because of a signal; a second one ends the process as if there were no handler."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_DFL)
        self._stop()

    def _stop(self) -> None:
        self._stopping = True
        self._stop_serving()

    def _crash(self) -> None:
        self._crashed = True
        self._stop()

    def _expose(self, *, openmetrics: bool, names: Collection[str] | None) -> Packed:
        own = self._telemetry.expose(openmetrics=openmetrics, names=names)
        return self._exposition.expose(openmetrics=openmetrics, names=names, tail=own)

    def _overview(self, query: "Query") -> "Overview":
        from exporter.survey import survey  # noqa: PLC0415 - a scrape needs nothing of it

        return survey(self._fleet.tenants(), query, time.time(), share=self._configuration.share)

    def _state_file(self, path: Path) -> "StateFile":
        from exporter.state_file import StateFile  # noqa: PLC0415 - SQLite is for those who keep state

        return StateFile(
            path,
            everything=lambda: self._fleet.records(),  # noqa: PLW0108 - there is no fleet yet
            log=self._log,
            failed=self._telemetry.state_failed,
        )

    def _upkeep(self, given: argparse.Namespace, seen: Fingerprint | None) -> Upkeep:
        return Upkeep(
            reload=list if given.demo else self._reload,  # No file is behind the demo's configuration.
            reload_others=self._reload_web,
            look=self._look,
            fingerprint=lambda: fingerprint(self._configuration.path),
            seen=seen,
            interval=0 if given.demo else given.config_auto_reload_interval,
            log=self._log,
        )

    @property
    def encrypted(self) -> bool:
        """Whether it serves TLS."""
        return self._policy().context is not None

    def _stop_answering(self, upkeep: Upkeep) -> None:
        """Let nobody wait who would hold up the end."""
        upkeep.stop()
        if self._web is not None:
            self._web.stop()

    def _policy(self) -> Policy:
        return _OPEN if self._web is None else self._web.policy

    def _look(self) -> None:
        self._fleet.look_at_keys()
        if self._web is not None:
            self._web.look()
        if self._files.look():
            self._fleet.track(self._files.tracked)
            self._conclude()

    def _reload(self) -> list[str]:
        """Load the configuration anew, and take it up or return what is wrong with it."""
        with contextlib.ExitStack() as stack:
            stack.callback(self._telemetry.configuration_refused)
            try:
                running = self._configuration
                prepared = self._fleet.prepare(config.load(running.path, again=True, shard=running.shard))
            except ConfigurationError as error:
                return error.problems
            # Half of a configuration is none: whoever has started the process may start it anew.
            stack.callback(self._crash)
            self._take_up(prepared)
            stack.pop_all()
        return []

    def _reload_web(self) -> list[str]:
        """Load the web configuration anew, by itself; return what is wrong with it."""
        return [] if self._web is None else self._web.reload()

    def _take_up(self, prepared: Prepared) -> None:
        configuration = prepared.configuration
        if configuration.state_path != self._configuration.state_path:
            self._log.warning("state.path has changed, which takes effect at the next start")
        _select(self._files, configuration)
        self._configuration = configuration
        self._fleet.apply(prepared, self._files.tracked)
        self._telemetry.configuration_loaded(time.time())
        self._conclude()

    def _conclude(self) -> None:
        """Draw the conclusions from other actions being tracked."""
        if self._files.whole:  # Otherwise what is remembered may be tracked again, once a file is good.
            self._fleet.forget_the_rest()
        warnings = config.warnings(self._configuration, self._fleet.unfinished)
        if warnings != self._warned:
            self._warned = warnings
            for warning in warnings:
                self._log.warning(warning)


def _load(
    given: argparse.Namespace, stack: contextlib.ExitStack, telemetry: Telemetry, log: FilteringBoundLogger
) -> "tuple[Configuration, WebFile | None]":
    """Load both configurations; raise ConfigurationError with all that is wrong with either."""
    problems: list[str] = []
    try:
        configuration = (
            _demo(stack, given.shard) if given.demo else config.load(given.config_file, shard=given.shard)
        )
    except ConfigurationError as error:
        problems += error.problems
    web = None
    if given.web_config_file is not None:
        from exporter.web_file import WebFile  # noqa: PLC0415 - TLS and bcrypt are for those who name such a file

        try:
            web = WebFile(given.web_config_file, log=log, result=telemetry.web_configuration_loaded)
        except ConfigurationError as error:
            problems += error.problems
    if problems:
        raise ConfigurationError(problems)
    return configuration, web


def _expect_signals(given: argparse.Namespace) -> None:
    """Take signals that come before there is something to stop or to reload."""
    if given.once or given.config_check:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # Python's own handler prints a traceback.
        return
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    if not given.demo:
        # What changes from now on will be noticed. A demo ends with its terminal.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)


def _select(files: ActionFiles, configuration: Configuration) -> None:
    """Have the action files that a configuration names looked after."""
    tenants = configuration.tenants
    files.select(
        {tenant.name: tenant.action_files for tenant in tenants},
        {tenant.name: tenant.actions for tenant in tenants},
    )


def _refuse_broken(files: ActionFiles) -> None:
    """Raise ConfigurationError if an action file is broken, which a process that stays would live with."""
    if files.problems:
        raise ConfigurationError(list(files.problems))


def _counts(files: ActionFiles, configuration: Configuration) -> list[int]:
    """Count the tracked actions of each tenant."""
    return [len(files.tracked(tenant.name)) for tenant in configuration.tenants]


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


def _check(configuration: Configuration, files: ActionFiles) -> int:
    """Print what the configuration asks for, a line for each tenant of this shard; return the exit code."""
    lines = ""
    if configuration.share is not None:
        lines += f"{configuration.path}: {configuration.share.words}\n"
    counts = _counts(files, configuration)
    for tenant, count in zip(configuration.tenants, counts, strict=True):
        name = "" if tenant.name is None else f" tenant {tenant.name}:"
        expected = round(count / configuration.poll.interval_seconds, 4)
        lines += (
            f"{configuration.path}:{name} {count} action{'' if count == 1 else 's'}, "
            f"at most {expected:g} requests per second expected, "
            f"budget {tenant.api.requests_per_second:g} requests per second\n"
        )
    for warning in [*files.warnings, *config.warnings(configuration, counts)]:
        print(f"warning: {warning}", file=sys.stderr)
    return 0 if _print(lines) else 1


def _demo(stack: contextlib.ExitStack, shard: Shard) -> Configuration:
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
        tenants=(Tenant(api=api, actions=tracked),) if shard.owns(None) else (),
        names=(None,),
        shard=shard,
        poll=PollSettings(interval_seconds=_DEMO_INTERVAL_SECONDS),
        path=Path("demo"),
    )


def _invitation(listening: socket.socket, telemetry_path: str, *, encrypted: bool) -> str:
    base = f"http{'s' if encrypted else ''}://{_shown_address(listening)}"
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
