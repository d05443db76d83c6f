"""The server: listening sockets, and uvicorn's machinery on their connections until it is told to stop."""

import asyncio
import contextlib
import errno
import os
import resource
import socket
from asyncio.sslproto import SSLProtocol
from collections.abc import Callable, Iterator
from typing import Any

import uvicorn
from starlette.types import ASGIApp

from exporter.errors import ExporterError
from exporter.logs import origin
from exporter.web.complaints import Noted
from exporter.web.guard import Bounds, GuardedProtocol
from exporter.web.listener import Listener
from exporter.web.policy import Policy, permitted
from exporter.web.room import Room

# When the server stops: how long answers on their way may take to end, and how long the server may.
_CUT_SECONDS = 4.5
_STOP_SECONDS = 5
_BACKLOG = 2048
_TLS_BUFFER_BYTES = 32 * 1024


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
            return socket.create_server((address[0], port), family=family, backlog=_BACKLOG)
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
            return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=_BACKLOG)
        except OSError as error:
            if error.errno not in {errno.EAFNOSUPPORT, errno.EADDRNOTAVAIL}:
                raise
    return socket.create_server(("", port), backlog=_BACKLOG)


class Server:
    """Serves an application on listening sockets, in the thread that calls :meth:`run`.

    ``policy`` is asked for each connection: its TLS, and the names that client certificates may have. A
    connection that was made under another TLS is not served any more. ``stopping`` is called when the server
    begins to stop, before it waits for answers on their way. ``noted`` hears of abuse.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        policy: Callable[[], Policy] = Policy,
        noted: Noted = lambda _, /, **__: None,
        stopping: Callable[[], None] = lambda: None,
        bounds: Bounds = Bounds(),  # noqa: B008 - immutable
    ) -> None:
        config = uvicorn.Config(
            app,
            interface="asgi3",
            http="httptools",
            loop="asyncio",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=_STOP_SECONDS,
        )
        self._server = _Server(config, policy=policy, noted=noted, stopping=stopping, bounds=bounds)

    def run(self, sockets: list[socket.socket]) -> None:
        """Serve until stopped; answers on their way may end."""
        self._server.run(sockets=sockets)

    def stop(self) -> None:
        """End :meth:`run` soon; from any thread or a signal's handler."""
        self._server.should_exit = True


class _Server(uvicorn.Server):
    """uvicorn with another way to accept, and without its signal handlers.

    Those end the process by the signal and not with exit code 0.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        policy: Callable[[], Policy],
        noted: Noted,
        stopping: Callable[[], None],
        bounds: Bounds,
    ) -> None:
        super().__init__(config)
        self._policy = policy
        self._noted = noted
        self._stopping = stopping
        self._bounds = bounds

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(self._note_defect)
        # asyncio sets a buffer of that size aside for each TLS connection, by default one of 256 KiB.
        SSLProtocol.max_size = _TLS_BUFFER_BYTES
        room = Room(_most_connections(self._bounds.connections))
        self.servers: list[Any] = [
            Listener(
                listening,
                room,
                protocol=lambda policy: self._protocol(room, policy),
                policy=self._policy,
                bounds=self._bounds,
                noted=self._noted,
            )
            for listening in sockets or []
        ]
        self.started = True

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stopping()
        cut = asyncio.get_running_loop().call_later(_CUT_SECONDS, self._cut)
        await super().shutdown(sockets)
        cut.cancel()

    def _note_defect(self, _: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """Tell of what went wrong in a callback of the event loop, which goes on."""
        error = context.get("exception")
        self._noted("defect in the event loop", **(origin(error) if isinstance(error, Exception) else {}))

    def _cut(self) -> None:
        """End what is left of connections: their answers end with them, and not in the middle of something."""
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _protocol(self, room: Room, policy: Policy) -> GuardedProtocol:
        def admits(connection: GuardedProtocol) -> bool:
            now = self._policy()
            if now.context is not policy.context:
                return False
            certificate = connection.transport.get_extra_info("peercert")
            if permitted(certificate, now.allowed_sans):
                return True
            self._noted("client certificate of another name", client=connection.address)
            return False

        return GuardedProtocol(
            self.config, self.server_state, room=room, bounds=self._bounds, admits=admits, noted=self._noted
        )


def _most_connections(wanted: int) -> int:
    """Return how many connections there may be: never more than half of the file handles that there are."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else max(1, min(wanted, soft // 2))
