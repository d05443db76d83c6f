"""What hostile clients do: coroutines, each of which drives one client until it is cut or has done its worst.

The rule: a client only notes what happens to it, and judges nothing.
"""

import asyncio
import base64
import os
import re
import select
import socket
import ssl
import struct
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple, NoReturn

METRICS = "/metrics"
HEALTHY = "/-/healthy"

_KEPT_BYTES = 4 << 20
_STATUS = re.compile(rb"HTTP/1\.[01] (\d{3})[ \r]")
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_RESET_ON_CLOSE = struct.pack("ii", 1, 0)
_TINY_BUFFER_BYTES = 4096
_LOOK_SECONDS = 0.25
_PAUSE_SECONDS = 0.05


class Target(NamedTuple):
    """Where the exporter listens, and what it asks of those who come; with ``ca_file`` it speaks TLS."""

    host: str
    port: int
    ca_file: Path | None = None
    authorization: str | None = None

    def context(self) -> ssl.SSLContext | None:
        """Make the context of a client that trusts this exporter, and nobody else; None for plain HTTP."""
        return None if self.ca_file is None else ssl.create_default_context(cafile=self.ca_file)

    def request(self, path: str, *, accept_encoding: str = "identity", authorization: str | None = None) -> bytes:
        """Return a good request."""
        lines = [f"GET {path} HTTP/1.1", "Host: exporter", f"Accept-Encoding: {accept_encoding}"]
        if authorization or self.authorization:
            lines.append(f"Authorization: {authorization or self.authorization}")
        return "\r\n".join([*lines, "", ""]).encode()


def basic(name: str, password: str) -> str:
    """Return the value of an Authorization header, after RFC 7617."""
    return "Basic " + base64.b64encode(f"{name}:{password}".encode()).decode()


@dataclass(slots=True)
class Outcome:
    """What became of one client."""

    connected: bool = False
    lasted_seconds: float | None = None
    """How long it was there until it was cut, from the moment at which it turned hostile; None if it never was."""
    sent: int = 0
    received: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    """How many whole answers it had, by status; of one that sends raw bytes, every status line that came."""
    interruptions: int = 0
    """How often one that comes back each time was refused or cut."""


class Line:
    """One client's connection, which may be opened again; ``ready`` is called once its part has begun."""

    def __init__(self, target: Target, context: ssl.SSLContext | None, ready: Callable[[], None]) -> None:
        self.target = target
        self.ready = ready
        self.outcome = Outcome()
        self.since = time.monotonic()
        self._context = context
        self._reader: asyncio.StreamReader
        self._writer: asyncio.StreamWriter | None = None

    async def open(self, *, tiny_buffers: bool = False, plain: bool = False) -> None:
        """Connect, or raise OSError. ``plain`` speaks no TLS, whatever the exporter expects."""
        self.close()
        # Small from the start: the window that was advertised once is not taken back.
        connection = socket.socket()
        if tiny_buffers:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _TINY_BUFFER_BYTES)
        connection.setblocking(False)  # noqa: FBT003 - the standard library's
        try:
            await asyncio.get_running_loop().sock_connect(connection, (self.target.host, self.target.port))
            self.since = time.monotonic()
            context = None if plain else self._context
            self._reader, self._writer = await asyncio.open_connection(
                sock=connection,
                limit=_TINY_BUFFER_BYTES if tiny_buffers else 1 << 16,
                ssl=context,
                server_hostname=self.target.host if context else None,
            )
        except BaseException:
            connection.close()
            raise
        self.outcome.connected = True

    def begin(self) -> None:
        """Count from now on how long it lasts."""
        self.since = time.monotonic()
        self.ready()

    async def send(self, data: bytes) -> None:
        """Send, and wait while the other side takes no more."""
        assert self._writer is not None
        self._writer.write(data)
        await self._writer.drain()
        self.outcome.sent += len(data)

    async def receive(self, most: int = 1 << 16) -> bytes:
        """Return what has come, or wait for it; raise EOFError or OSError once it is cut."""
        data = await self._reader.read(most)
        if not data:
            raise EOFError
        self.outcome.received += len(data)
        return data

    async def until_cut(self) -> NoReturn:
        """Take what comes, until EOFError or OSError."""
        while True:
            await self.receive()

    async def until_cut_beside(self, sending: Coroutine[None, None, None]) -> NoReturn:
        """Send, and notice at once when it is cut, however much is left to send."""
        talking = asyncio.create_task(sending)
        try:
            await self.until_cut()
        finally:
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)

    async def head(self) -> bytes:
        """Read an answer's head."""
        head = await self._reader.readuntil(b"\r\n\r\n")
        self.outcome.received += len(head)
        return head

    async def answer(self, *, seconds: float = 0) -> int:
        """Read one whole answer, spread over that many seconds, count it and return its status."""
        head = await self.head()
        found = _STATUS.match(head)
        length = _LENGTH.search(head)
        if found is None or length is None:
            raise EOFError
        size = int(length[1])
        if not seconds:
            await self._reader.readexactly(size)
        began, left = time.monotonic(), size
        while seconds and left:
            due = size - size * min(1.0, (time.monotonic() - began) / seconds)
            if left > due:
                left -= len(await self.receive(min(left, 1 << 16)))
            else:
                await asyncio.sleep(_PAUSE_SECONDS)
        self.outcome.answers[int(found[1])] += 1
        return int(found[1])

    def check_reset(self) -> None:
        """Raise ConnectionResetError if it was reset, which what has come before can hide for long."""
        assert self._writer is not None
        look = select.poll()
        look.register(self._writer.get_extra_info("socket").fileno(), 0)
        if look.poll(0):
            raise ConnectionResetError

    def half_close(self) -> None:
        """Say that nothing more will be sent."""
        assert self._writer is not None
        self._writer.write_eof()

    def reset(self) -> None:
        """End it without a goodbye."""
        assert self._writer is not None
        connection = self._writer.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_ON_CLOSE)
        self._writer.transport.abort()

    def close(self) -> None:
        """End it, if it is open."""
        if self._writer is not None:
            self._writer.transport.abort()
            self._writer = None


Behaviour = Callable[[Line], Coroutine[None, None, None]]
"""What one client does; where it is a function with options, ``functools.partial`` gives them."""


class Repeated(NamedTuple):
    """A piece of what is sent, over and over; without ``times`` it never ends."""

    piece: bytes
    times: int | None = None


async def stay_silent(line: Line, *, after_request: bool = False, opening: bytes = b"") -> None:
    """Connect, and say nothing more: after nothing at all, after a good request, or after a few bytes.

    With ``opening`` or nothing it speaks no TLS, so that a handshake never ends.
    """
    await line.open(plain=not after_request)
    if opening:
        await line.send(opening)
    if after_request:
        await line.send(line.target.request(HEALTHY))
        await line.answer()
    line.begin()
    await line.until_cut()


async def drip(line: Line, *, every_seconds: float = 1.0) -> None:
    """Send a request's head that never ends, byte by byte."""
    await line.open()
    line.begin()

    async def sending() -> None:
        for byte in line.target.request(METRICS)[:-2] + b"X-Slow: " + bytes([ord("x")]) * 10_000:
            await line.send(bytes([byte]))
            await asyncio.sleep(every_seconds)

    await line.until_cut_beside(sending())


async def read_slowly(line: Line, *, accept_encoding: str = "identity", bytes_per_second: int = 4096) -> None:
    """Ask for the metrics, and take them in small bits."""
    await line.open(tiny_buffers=True)
    await line.send(line.target.request(METRICS, accept_encoding=accept_encoding))
    line.begin()
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        line.check_reset()
        await line.receive(round(bytes_per_second * _LOOK_SECONDS))


async def read_steadily(line: Line, *, seconds: float) -> None:
    """Ask for the metrics, and take the whole answer over so many seconds."""
    await line.open()
    await line.send(line.target.request(METRICS))
    line.begin()
    await line.answer(seconds=seconds)


async def say(
    line: Line, *, script: Sequence[bytes | Repeated], listen_seconds: float = 8.0, plain: bool = False
) -> None:
    """Send raw bytes, and listen for a while to whatever comes back."""
    await line.open(plain=plain)
    line.begin()
    heard = bytearray()

    async def sending() -> None:
        for part in script:
            piece, times = part if isinstance(part, Repeated) else (part, 1)
            while times is None or times > 0:
                await line.send(piece)
                times = None if times is None else times - 1

    async def listening() -> None:
        while True:
            data = await line.receive()
            heard.extend(data[: _KEPT_BYTES - len(heard)])

    talking = asyncio.create_task(sending())
    try:
        async with asyncio.timeout(listen_seconds):
            await listening()
    finally:
        talking.cancel()
        await asyncio.gather(talking, return_exceptions=True)
        line.outcome.answers.update(int(status) for status in _STATUS.findall(bytes(heard)))


async def keep_asking(line: Line, *, path: str, times: int | None = None, returns: bool = True) -> None:
    """Send one good request after the other over one connection, and open another if it is cut."""
    await _ask(line, lambda: line.target.request(path), times=times, returns=returns)


async def guess_passwords(line: Line, *, name: str) -> None:
    """Send requests with a wrong password, each time another one."""
    await _ask(line, lambda: line.target.request(METRICS, authorization=basic(name, os.urandom(9).hex())))


async def _ask(
    line: Line, request: Callable[[], bytes], *, times: int | None = None, returns: bool = True
) -> None:
    opened = False
    asked = 0
    while times is None or asked < times:
        try:
            if not opened:
                await line.open()
                opened = True
                line.begin()
            await line.send(request())
            await line.answer()
            asked += 1
        except (OSError, EOFError):
            if not returns:
                raise
            line.outcome.interruptions += 1
            opened = False
            await asyncio.sleep(_PAUSE_SECONDS)


async def come_and_go(line: Line, *, times: int) -> None:
    """Connect and leave, again and again."""
    for number in range(times):
        try:
            await line.open(plain=True)
        except OSError:
            line.outcome.interruptions += 1
        if not number:
            line.begin()
        line.close()
        await asyncio.sleep(0)


async def close_one_half(line: Line, *, after_request: bool) -> None:
    """Say that nothing more will come, after a request or without, and wait for what the other side does."""
    await line.open()
    if after_request:
        await line.send(line.target.request(METRICS))
    line.half_close()
    line.begin()
    if after_request:
        await line.answer()
    await line.until_cut()


async def leave_midway(line: Line, *, times: int) -> None:
    """Ask for the metrics, take some of them, and reset the connection."""
    for number in range(times):
        try:
            await line.open()
            await line.send(line.target.request(METRICS))
            await line.receive()
            line.reset()
        except (OSError, EOFError):
            line.outcome.interruptions += 1
        if not number:
            line.begin()
