"""The command line's flags, after the customs of the Prometheus exporters."""

import argparse
import platform
import re
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

from exporter import __version__, durations, logs, sharding
from exporter.web.app import OWN_PATHS
from exporter.web.server import parse_address

T = TypeVar("T")


def parse(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """Read the flags, by default those of the process; exit with 2 and a message for a mistake."""
    parser = argparse.ArgumentParser(
        prog="cortex-xdr-exporter",
        description="Prometheus exporter for the progress of Cortex XDR script executions.",
        allow_abbrev=False,
    )
    flag = parser.add_argument
    flag("--config.file", dest="config_file", metavar="FILE", type=Path, help="the configuration (config.yaml)")
    flag(
        "--config.auto-reload-interval",
        dest="config_auto_reload_interval",
        metavar="DURATION",
        type=_told(durations.parse),
        default="30s",
        help="how often the configuration file is looked at for changes; 0s: never (%(default)s)",
    )
    flag(
        "--web.listen-address",
        dest="web_listen_address",
        metavar="[HOST]:PORT",
        type=_told(parse_address),
        action="append",
        help="where to serve; may be repeated (:10642)",
    )
    flag(
        "--web.config.file",
        dest="web_config_file",
        metavar="FILE",
        type=_file,
        help="TLS, client certificates, basic auth and headers, in the exporter-toolkit's format",
    )
    flag(
        "--web.telemetry-path",
        dest="web_telemetry_path",
        metavar="PATH",
        type=_telemetry_path,
        default="/metrics",
        help="where the metrics are (%(default)s)",
    )
    flag(
        "--web.enable-lifecycle",
        dest="web_enable_lifecycle",
        action="store_true",
        help="let POST /-/reload reload the configuration",
    )
    flag(
        "--shard.total",
        dest="shard_total",
        metavar="NUMBER",
        type=_whole_number(1, sharding.MOST_SHARDS),
        default="1",
        help="over how many exporters the tenants are spread (%(default)s)",
    )
    flag(
        "--shard.index",
        dest="shard_index",
        metavar="NUMBER",
        type=_whole_number(0, sharding.MOST_SHARDS - 1),
        help="which of them this is, from 0 (the ordinal that the host name of a StatefulSet's pod ends in)",
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
    try:
        flags.shard = sharding.choose(flags.shard_index, flags.shard_total, host_name=socket.gethostname())
    except ValueError as error:
        parser.error(f"argument --shard.index: {error}")
    return flags


def _told(parse: Callable[[str], T]) -> Callable[[str], T]:
    """Have argparse show the words of a ValueError, which it would replace by its own."""

    def read(text: str) -> T:
        try:
            return parse(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from error

    return read


def _whole_number(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not re.fullmatch("[0-9]{1,9}", text) or not least <= int(text) <= most:
            raise argparse.ArgumentTypeError(f"must be a whole number from {least} to {most}")
        return int(text)

    return read


def _file(text: str) -> Path | None:
    """Read a file's name; an empty one, which a template may leave, is as good as no flag."""
    return Path(text) if text else None


def _telemetry_path(text: str) -> str:
    if text in OWN_PATHS or not re.match("/(?!/)", text) or not text.isprintable() or set(text) & set(" ?#{}%"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a path of its own, such as /metrics")
    return text
