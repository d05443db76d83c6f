"""Run simulated tenants by hand: ``python -m exporter.simulator``."""

import argparse
import os
import signal
import ssl
import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

from exporter.simulator.demo import FIRST_ACTION_ID, demo_tenant, random_key
from exporter.simulator.server import SimulatorServer
from exporter.simulator.tenant import SimulatedTenant

KEY_VARIABLE = "CORTEX_XDR_SIMULATOR_KEY"


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGINT or SIGTERM, and say on standard output where, with which key, and what."""
    parser = _parser()
    options = parser.parse_args(arguments)
    key, origin = _key(parser, options.key_file)
    tenants = _tenants(options, key)
    host, port = options.listen
    context = _tls_context(parser, options.tls_cert, options.tls_key)
    # Blocked before the server's thread starts, which inherits this, so that only sigwait sees them.
    stops = {signal.SIGINT, signal.SIGTERM}
    signal.pthread_sigmask(signal.SIG_BLOCK, stops)
    try:
        server = SimulatorServer(tenants, host=host, port=port, ssl_context=context).start()
    except OSError as error:
        print(f"--listen: cannot listen on {host}:{port}: {os.strerror(error.errno or 0)}", file=sys.stderr)
        return 1
    with server:
        print(f"key id {options.key_id}, {options.key_type} key {origin}")
        for prefix, tenant in tenants.items():
            print(f"{server.url}/{prefix}".rstrip("/"))
            for action_id, life in tenant.actions.items():
                print(f"  {action_id}  {life}")
        sys.stdout.flush()
        signal.sigwait(stops)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m exporter.simulator", description=__doc__)
    parser.add_argument("--listen", type=_loopback, default="127.0.0.1:8443", metavar="HOST:PORT")
    parser.add_argument("--key-id", type=int, default=7)
    parser.add_argument("--key-type", choices=["advanced", "standard"], default="advanced")
    parser.add_argument(
        "--key-file", type=Path, help=f"else the variable {KEY_VARIABLE}, else a random key, printed at start"
    )
    parser.add_argument("--speed", type=_positive, default=60.0, help="seconds that an action ages per second")
    parser.add_argument("--requests-per-second", type=_count, default=10, help="the limit of each tenant")
    parser.add_argument("--actions", type=_count, default=12, help="how many, in each tenant")
    parser.add_argument("--tenants", type=_count, default=1, help="more than one: below /t1, /t2, ...")
    parser.add_argument("--tls-cert", type=Path)
    parser.add_argument("--tls-key", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    return parser


def _loopback(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    host = "127.0.0.1" if host == "localhost" else host.removeprefix("[").removesuffix("]")
    try:
        address = ip_address(host)
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not an address and a port, such as 127.0.0.1:8443"
        ) from None
    if not address.is_loopback:
        raise argparse.ArgumentTypeError(
            f"{host} is not a loopback address; a simulated tenant serves this host only"
        )
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise argparse.ArgumentTypeError(f"{port!r} is not a port")
    return host, int(port)


def _positive(text: str) -> float:
    number = float(text)
    if not 0 < number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is not above 0")
    return number


def _count(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not at least 1")
    return number


def _key(parser: argparse.ArgumentParser, file: Path | None) -> tuple[str, str]:
    """Find the key, and say where it is from: in full only if nobody knows it yet."""
    if file is not None:
        try:
            key, origin = file.read_text().strip(), f"from {file}"
        except (OSError, UnicodeDecodeError) as error:
            parser.error(f"--key-file: cannot read {file}: {error}")
    elif key := os.environ.get(KEY_VARIABLE, "").strip():
        origin = f"from {KEY_VARIABLE}"
    else:
        key = random_key()
        origin = key
    if not key:
        parser.error(f"--key-file: {file} is empty")
    return key, origin


def _tenants(options: argparse.Namespace, key: str) -> dict[str, SimulatedTenant]:
    prefixes = [f"t{number}" for number in range(1, options.tenants + 1)] if options.tenants > 1 else [""]
    return {
        prefix: demo_tenant(
            speed=options.speed,
            seed=options.seed + number * options.actions,
            actions=options.actions,
            first_action_id=FIRST_ACTION_ID + number * options.actions,
            key_id=options.key_id,
            key=key,
            key_type=options.key_type,
            requests_per_second=options.requests_per_second,
        )[0]
        for number, prefix in enumerate(prefixes)
    }


def _tls_context(
    parser: argparse.ArgumentParser, certificate: Path | None, key: Path | None
) -> ssl.SSLContext | None:
    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        parser.error("--tls-cert and --tls-key: give both or neither")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    try:
        context.load_cert_chain(certificate, key)
    except OSError as error:
        parser.error(f"--tls-cert, --tls-key: cannot load {certificate} with {key}: {error}")
    return context


if __name__ == "__main__":
    sys.exit(main())
