"""Asks an exporter on this machine whether it is well, for containers: ``python -m exporter.probe``.

The rule: it starts quickly, with little of the standard library, as it is started anew every few seconds.

Whoever refuses us works: 429, 401 if we had no password, a handshake that wants a certificate. No certificate is
verified, as kubelet verifies none; so nothing but loopback is asked, and gets the password.
"""

import argparse
import base64
import contextlib
import ipaddress
import socket
import ssl
import sys
import time
import urllib.parse
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

_DEFAULT_URL = "http://127.0.0.1:10642/-/healthy"
_SECONDS = 3.0
_STATUS_BYTES = len("HTTP/1.1 200")
_TLS_ALERT = b"\x15\x03"
_REFUSED_BY_TLS = -1


class _UnwellError(Exception):
    """The exporter is not well, or cannot be asked, and why."""


class _SilentError(_UnwellError):
    """The connection was closed without an answer, as by a server that wants TLS."""


class _Question(NamedTuple):
    address: tuple[str, int]
    request: bytes
    encrypted: bool


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask; return 0 if the exporter is well, else 1 with a line on standard error."""
    parser = argparse.ArgumentParser(
        prog="python -m exporter.probe", description="Ask an exporter on this machine whether it is well."
    )
    parser.add_argument(
        "--credentials", metavar="FOLDER", type=Path, help="with the files username and password, for basic auth"
    )
    parser.add_argument(
        "url",
        metavar="URL",
        nargs="?",
        default=_DEFAULT_URL,
        help="where http is refused, https is tried (%(default)s)",
    )
    flags = parser.parse_args(arguments)
    try:
        authorization = b"" if flags.credentials is None else _authorization(flags.credentials)
        _judge(_status(_question(flags.url, authorization)), named=bool(authorization))
    except _UnwellError as reason:
        print(f"not well: {reason}", file=sys.stderr)
        return 1
    return 0


def _judge(status: int, *, named: bool) -> None:
    if status not in {200, 429, _REFUSED_BY_TLS} and (status != 401 or named):
        raise _UnwellError(f"it answers with {status}")


def _authorization(folder: Path) -> bytes:
    """Return the line of the head, from files that may end in a newline."""
    try:
        name, password = ((folder / file).read_bytes().rstrip(b"\r\n") for file in ("username", "password"))
    except (OSError, ValueError) as error:
        raise _UnwellError(f"--credentials: {error}") from error
    return b"Authorization: Basic " + base64.b64encode(name + b":" + password) + b"\r\n"


def _question(url: str, authorization: bytes) -> _Question:
    try:
        parts = urllib.parse.urlsplit(url)
        host = parts.hostname or ""
        usual_port = {"http": 80, "https": 443}[parts.scheme]
        port = usual_port if parts.port is None else parts.port
        local = host == "localhost" or ipaddress.ip_address(host).is_loopback
    except (KeyError, ValueError):
        local = False
    if not local or not url.isascii() or not url.isprintable() or set(url) & set(" @"):
        # It is not shown: there may be a password in it.
        raise _UnwellError("the URL must be like http://127.0.0.1:10642/-/healthy, of loopback, and without @")
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    head = f"GET {target} HTTP/1.1\r\nHost: {parts.netloc}\r\nConnection: close\r\n".encode()
    return _Question((host, port), head + authorization + b"\r\n", parts.scheme == "https")


def _status(question: _Question) -> int:
    """Return the status that is answered; over TLS if that is asked for, or if there is no answer without."""
    deadline = time.monotonic() + _SECONDS
    try:
        if not question.encrypted:
            with contextlib.suppress(_SilentError), _connection(question, deadline) as connection:
                return _answer(connection, question, deadline)
        with _connection(question, deadline) as plain:
            return _answer_over_tls(plain, question, deadline)
    except TimeoutError:
        raise _UnwellError(f"no answer within {_SECONDS:g} s") from None
    except ssl.SSLError as error:
        raise _UnwellError(f"TLS fails: {error.reason}") from error
    except OSError as error:
        raise _UnwellError(str(error.strerror)) from error


def _connection(question: _Question, deadline: float) -> socket.socket:
    return socket.create_connection(question.address, timeout=_left(deadline))


def _context() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _answer_over_tls(plain: socket.socket, question: _Question, deadline: float) -> int:
    with _context().wrap_socket(plain, do_handshake_on_connect=False) as connection:
        try:
            connection.do_handshake()
            return _answer(connection, question, deadline)
        except (ssl.SSLError, ConnectionError, _SilentError):
            # Who agrees on a cipher and then hangs up wants a certificate: asyncio sends no alert that says so.
            if connection.cipher() is None:
                raise
            return _REFUSED_BY_TLS


def _answer(connection: socket.socket, question: _Question, deadline: float) -> int:
    # Who has refused us may have closed already, and what it said can still be read.
    with contextlib.suppress(ConnectionError):
        connection.sendall(question.request)
    start = b""
    with contextlib.suppress(ConnectionError, ssl.SSLEOFError):
        while len(start) < _STATUS_BYTES:
            connection.settimeout(_left(deadline))
            part = connection.recv(_STATUS_BYTES - len(start))
            if not part:
                break
            start += part
    if not start or start.startswith(_TLS_ALERT):
        raise _SilentError("it closes the connection without an answer")
    if not start.startswith((b"HTTP/1.0 ", b"HTTP/1.1 ")) or not (status := start[-3:]).isdigit():
        raise _UnwellError("what it answers is not HTTP")
    return int(status)


def _left(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    return left


if __name__ == "__main__":
    sys.exit(main())
