"""The server: listening sockets, and uvicorn on them until it is told to stop."""

import contextlib
import errno
import os
import socket
from collections.abc import Callable, Iterator

import uvicorn
from starlette.types import ASGIApp

from exporter.errors import ExporterError

_STOP_SECONDS = 5  # How long an answer on its way may take to end when the server stops.


class ListenError(ExporterError):
    """An address cannot be listened on."""


def parse_address(text: str) -> tuple[str, int]:
    """Read a listen address as the Prometheus exporters take it: ``:10642``, ``127.0.0.1:10642``, ``[::]:10642``.

    Returns host, empty for all addresses, and port. Raises ValueError with a message.
    """
    host, colon, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or (":" in host and not bracketed):
        raise ValueError(f"{text!r} is not an address: write [HOST]:PORT, as in :10642 or 127.0.0.1:10642")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ValueError(f"{text!r} has no port from 0 to 65535")
    return host.strip("[]"), int(port)


def listen(host: str, port: int) -> socket.socket:
    """Open the listening socket for an address; without a host, for every address of the machine.

    Raises ListenError.
    """
    shown = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        if host:
            family, _, _, _, address = socket.getaddrinfo(
                host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
            )[0]
            return socket.create_server((address[0], port), family=family)
        return _listen_on_all(port)
    except UnicodeError as error:
        raise ListenError(f"cannot listen on {shown}: this is no host name") from error
    except OSError as error:
        # The library adds where it was to the system's words, which is said already.
        words = error.strerror if isinstance(error, socket.gaierror) else os.strerror(error.errno or 0)
        raise ListenError(f"cannot listen on {shown}: {words}") from error


def _listen_on_all(port: int) -> socket.socket:
    """Listen on every address of both families; of IPv4's alone where the kernel has no IPv6."""
    if socket.has_dualstack_ipv6():
        try:
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
    return socket.create_server(("", port))


class Server:
    """Serves an application on listening sockets, in the thread that calls :meth:`run`.

    ``stopping`` is called when it begins to stop, before it waits for answers on their way.
    """

    def __init__(self, app: ASGIApp, *, stopping: Callable[[], None] = lambda: None) -> None:
        self._server = _Server(
            stopping,
            uvicorn.Config(
                app,
                http="httptools",
                loop="asyncio",
                ws="none",
                lifespan="off",
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=False,
                timeout_graceful_shutdown=_STOP_SECONDS,
            ),
        )

    def run(self, sockets: list[socket.socket]) -> None:
        """Serve until stopped; answers on their way may end."""
        self._server.run(sockets=sockets)

    def stop(self) -> None:
        """End :meth:`run` soon; from any thread or a signal's handler."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers, which end the process by the signal and not with exit code 0."""

    def __init__(self, stopping: Callable[[], None], config: uvicorn.Config) -> None:
        super().__init__(config)
        self._stopping = stopping

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        await super().shutdown(sockets)
