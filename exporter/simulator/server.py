"""Simulated tenants on a loopback socket: HTTP/1.1 with keep-alive, TLS, and faults as they are asked for.

The rule: what is answered is the tenant's business; this only delivers it, byte by byte where it must. Each
answer without a fault is written in the callback that completed the request, so that benchmarks measure the
client.
"""

import asyncio
import gzip
import socket
import struct
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future
from ssl import SSLContext
from threading import Thread
from typing import NamedTuple, Self, cast

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from exporter.simulator.tenant import Drop, Fault, Reply, SimulatedTenant, reason_phrase, refusal

_MAX_BODY_BYTES = 1 << 20
_GZIP_FROM_BYTES = 200
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)


class SimulatorServer:
    """Serve tenants by path prefix, from a thread of its own: ``""`` at the root, ``"t1"`` below ``/t1/``.

    ``port`` 0 takes a free one, and keeps it over :meth:`stop` and :meth:`start`.
    """

    def __init__(
        self,
        tenants: Mapping[str, SimulatedTenant],
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        ssl_context: SSLContext | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._tenants = tenants
        self._ssl_context = ssl_context
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop
        self._stopping: asyncio.Event

    @property
    def url(self) -> str:
        """Where the root is, without a slash at its end."""
        scheme = "http" if self._ssl_context is None else "https"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{scheme}://{host}:{self.port}"

    def start(self) -> Self:
        """Listen, and return once connections are accepted; again is no error. OSError if that fails."""
        if self._thread is None:
            listening: Future[int] = Future()
            thread = Thread(target=self._run, args=[listening], name="simulator", daemon=True)
            thread.start()
            self.port = listening.result()
            self._thread = thread
        return self

    def stop(self) -> None:
        """Close every connection as it is, and the socket, and wait for the thread. Again is no error."""
        if self._thread is not None:
            self._loop.call_soon_threadsafe(self._stopping.set)
            self._thread.join()
            self._thread = None

    def __enter__(self) -> Self:
        """Start, unless that was done."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    def _run(self, listening: Future[int]) -> None:
        try:
            asyncio.run(self._serve(listening))
        except OSError as error:
            listening.set_exception(error)

    async def _serve(self, listening: Future[int]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        connections: set[_Connection] = set()
        server = await self._loop.create_server(
            lambda: _Connection(self._tenants, connections),
            self.host,
            self.port,
            ssl=self._ssl_context,
            backlog=1024,
        )
        listening.set_result(server.sockets[0].getsockname()[1])
        await self._stopping.wait()
        server.close()
        # A transport closes its socket in a later turn of the loop, which must not end before; and a
        # connection that was just accepted is made in a later turn, too.
        while connections:
            for connection in connections:
                connection.transport.abort()
            await asyncio.sleep(0)


class _Request(NamedTuple):
    method: str
    target: bytes
    headers: dict[str, str]
    body: bytes
    keep_alive: bool


class _Connection(asyncio.Protocol):
    """One client; its requests are answered one after the other."""

    transport: asyncio.Transport

    def __init__(self, tenants: Mapping[str, SimulatedTenant], connections: "set[_Connection]") -> None:
        self._tenants = tenants
        self._connections = connections
        self._parser = HttpRequestParser(self)
        self._waiting: deque[_Request] = deque()
        self._delivery: asyncio.Task[None] | None = None
        self._refused = False
        self.on_message_begin()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self._connections.add(self)

    def connection_lost(self, _error: Exception | None) -> None:
        self._connections.discard(self)
        if self._delivery is not None:
            self._delivery.cancel()

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade):
            self._refuse(400)
            self._close()
        self._answer_waiting()

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers: dict[str, str] = {}
        self._body = bytearray()

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        if int(self._headers.get("content-length", "0")) > _MAX_BODY_BYTES:
            self._refuse(413)

    def on_body(self, body: bytes) -> None:
        # A refused body is read to its end all the same: closing would reset the connection, and the client
        # would never see why.
        if not self._refused:
            self._body += body
            if len(self._body) > _MAX_BODY_BYTES:
                self._refuse(413)

    def on_message_complete(self) -> None:
        if self._refused:
            self.transport.close()
            return
        method = self._parser.get_method().decode()
        keep_alive = self._parser.should_keep_alive()
        self._waiting.append(_Request(method, self._target, self._headers, bytes(self._body), keep_alive))

    def _refuse(self, status: int) -> None:
        if not self._refused:
            self._refused = True
            self.transport.write(_head(status, {"Content-Length": "0", "Connection": "close"}))

    def _answer_waiting(self) -> None:
        while self._waiting and self._delivery is None:
            request = self._waiting.popleft()
            reply = self._ask(request)
            if reply.fault is None:
                self.transport.write(b"".join(_encode(reply, request)))
                if not request.keep_alive:
                    self._close()
            else:
                self._delivery = asyncio.create_task(self._deliver(reply, reply.fault, request))

    def _ask(self, request: _Request) -> Reply:
        path = request.target.decode("latin-1").partition("?")[0]
        _, prefix, *rest = path.split("/", 2) if path.startswith("/") else ("", "")
        if prefix and rest and prefix in self._tenants:
            tenant, path = self._tenants[prefix], f"/{rest[0]}"
        elif "" in self._tenants:
            tenant = self._tenants[""]
        else:
            return refusal(404)
        return tenant.answer(request.method, path, request.headers, request.body)

    def _close(self) -> None:
        self._waiting.clear()
        self.transport.close()

    async def _deliver(self, reply: Reply, fault: Fault, request: _Request) -> None:
        await asyncio.sleep(fault.delay_seconds)
        if fault.hang:
            await asyncio.get_running_loop().create_future()
        if fault.drop == Drop.RESET:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
            self.transport.abort()
        elif fault.drop != Drop.CLOSE:
            head, body = _encode(reply, request)
            for part, drips in ((head, fault.drip_from == "head"), (body, True)):
                if fault.drip_bytes_per_second is None or not drips:
                    self.transport.write(part)
                    continue
                for piece, seconds in _pieces(part, fault.drip_bytes_per_second):
                    self.transport.write(piece)
                    await asyncio.sleep(seconds)
        self._delivery = None
        if fault.drop is not None or not request.keep_alive:
            self._close()
        self._answer_waiting()


def _encode(reply: Reply, request: _Request) -> tuple[bytes, bytes]:
    """Turn an answer into its head and as much of its body as is sent."""
    fault = reply.fault or Fault()
    headers, body = dict(reply.headers), reply.body
    accepted = fault.body is None and "gzip" in request.headers.get("accept-encoding", "")
    if fault.gzip or (accepted and len(body) > _GZIP_FROM_BYTES):
        body = gzip.compress(body, compresslevel=1)
        headers = {"Content-Encoding": "gzip", **headers}
    size = len(body)
    if fault.drop is not None:
        body = body[: size // 2]
    if fault.drop == Drop.SHORT_CHUNK:
        headers["Transfer-Encoding"] = "chunked"
        body = b"%x\r\n%b" % (size, body)
    elif fault.drop != Drop.NO_LENGTH:
        headers = {"Content-Length": str(size), **headers}
    if fault.drop is not None or not request.keep_alive:
        headers["Connection"] = "close"
    return _head(reply.status, headers), body


def _head(status: int, headers: Mapping[str, str]) -> bytes:
    lines = [
        f"HTTP/1.1 {status} {reason_phrase(status)}",
        *(f"{name}: {value}" for name, value in headers.items()),
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def _pieces(data: bytes, bytes_per_second: float) -> Iterator[tuple[bytes, float]]:
    """Cut bytes into pieces, each with the seconds to wait after it; at most some twenty a second."""
    size = max(1, round(bytes_per_second / 20))
    for start in range(0, len(data), size):
        yield data[start : start + size], size / bytes_per_second
