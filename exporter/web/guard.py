"""One connection, guarded: uvicorn's HTTP parser with deadlines, limits and a strict reading of requests.

The rule: at any moment a connection waits for one thing, and for each there is a deadline. A request is refused
before more of it is read than its head, and whoever is refused is told why, if they listen.
"""

import asyncio
import re
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum
from http import HTTPStatus

import httptools
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from exporter.web.access import SECURITY_HEADERS
from exporter.web.complaints import Noted
from exporter.web.room import Room

_MOST_HEAD_BYTES = 16 * 1024
_MOST_URL_BYTES = 8 * 1024
_MOST_LINE_BYTES = _MOST_URL_BYTES + 64  # With the method and the version.
_MOST_HEADERS = 100
_MOST_DROPPED_BYTES = 1024 * 1024

_NO_LINGERING = struct.pack("ii", 1, 0)

_TOKEN = re.compile(rb"[!#$%&'*+.^_`|~0-9A-Za-z-]+")
_HOST = re.compile(rb"([A-Za-z0-9._~%!$&'()*+,;=-]*|\[[0-9A-Fa-f:.]+\])(:[0-9]*)?")
_LINE = re.compile(rb"(?:\r\n)?[A-Z-]+ (?:(?i:https?)://[^\s/?#@]+)?/[!\"$-~]* HTTP/1\.[01]\r\n")


@dataclass(frozen=True, slots=True)
class Bounds:
    """How long a connection may take, in seconds, for what it may be waiting for; and how many there may be.

    ``answer`` is from the end of a request to the moment when all of its answer has left; ``lingering`` how
    long what a refused client still sends is read and dropped, so that it gets to read the refusal.
    """

    handshake: float = 5.0
    idle: float = 60.0
    head: float = 5.0
    answer: float = 30.0
    lingering: float = 1.0
    connections: int = 512


class _Stage(Enum):
    """What a connection waits for."""

    IDLE = "a request"
    HEAD = "the rest of a head"
    ANSWER = "the application, or the reader of its answer"
    REFUSED = "a client that gets no more answers to leave"


class Refusal(Exception):  # noqa: N818 - a way out of the parser, which nobody sees
    """A request is not answered; ``kind`` is for the log."""

    def __init__(self, status: HTTPStatus, kind: str) -> None:
        super().__init__(kind)
        self.status = status
        self.kind = kind


def _malformed() -> Refusal:
    return Refusal(HTTPStatus.BAD_REQUEST, "malformed request")


class GuardedProtocol(HttpToolsProtocol):
    """A connection of which ``room`` knows the state; ``admits`` tells whether it may still be served.

    ``noted`` hears of abuse.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        *,
        room: Room,
        bounds: Bounds,
        admits: Callable[["GuardedProtocol"], bool],
        noted: Noted,
    ) -> None:
        super().__init__(config, server_state, {})
        self._room = room
        self._bounds = bounds
        self._admits = admits
        self._noted = noted
        self._arriving: asyncio.Task[None]
        self._stage = _Stage.IDLE
        self._deadline: asyncio.TimerHandle | None = None
        self._deaf = False
        self._dropped_bytes = 0
        self._head_bytes = 0
        self._line = b""
        self._url_bytes = 0
        self._hosts: list[bytes] = []
        self._has_body = False

    def arrive(self, task: asyncio.Task[None]) -> None:
        """Enter the room, before there is something to serve: the task makes the connection ready."""
        self._arriving = task
        self._room.wait(self)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # As uvicorn's own.
        """Begin to wait for a request."""
        super().connection_made(transport)
        # What a slow reader has not taken yet stays where it is shared, but for one slice.
        transport.set_write_buffer_limits(high=1)
        self._enter(_Stage.IDLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the room."""
        self._room.leave(self)
        if self._deadline is not None:
            self._deadline.cancel()
        self._deaf = True
        super().connection_lost(exc)

    @property
    def address(self) -> str | None:
        """The client's address, without its port; None where it has left already."""
        return self.client[0] if self.client else None

    def evict(self) -> None:
        """End the connection at once."""
        if self.transport is None:
            self._arriving.cancel()
        else:
            self._cut()

    def data_received(self, data: bytes) -> None:
        """Read a request, or as much of it as is needed to refuse it."""
        if self._stage is _Stage.ANSWER:
            # Requests are answered one at a time: whoever does not wait for the answer gets no second one.
            self._stop_listening()
        if self._deaf:
            self._drop(data)
            return
        if not self._admits(self):
            self._leave()
            return
        if self._stage is _Stage.IDLE:
            self._head_bytes = 0
            self._line = b""
            self._enter(_Stage.HEAD)
        self._head_bytes += len(data)
        self._line += data[: _MOST_LINE_BYTES - len(self._line)]
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._stop_listening()  # What follows is in another protocol, which was not agreed on.
        except httptools.HttpParserError as error:
            self._fail(error)
        else:
            if self._stage is _Stage.HEAD and self._head_bytes > _MOST_HEAD_BYTES:
                self._refuse(Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "request head too large"))

    def eof_received(self) -> bool:  # type: ignore[override]  # uvicorn's class does not say that it may.
        """Let a client that only listens any more have its answer."""
        self._stop_listening()
        return self._stage is _Stage.ANSWER and not self._encrypted

    def on_message_begin(self) -> None:
        """Begin to read a request, unless one is being answered."""
        if self._stage is _Stage.ANSWER:
            raise _malformed()
        super().on_message_begin()
        self._url_bytes = 0
        self._hosts = []
        self._has_body = False

    def on_url(self, url: bytes) -> None:
        """Take a piece of the request's target."""
        self._url_bytes += len(url)
        if self._url_bytes > _MOST_URL_BYTES:
            raise Refusal(HTTPStatus.REQUEST_URI_TOO_LONG, "request target too long")
        super().on_url(url)

    def on_header(self, name: bytes, value: bytes) -> None:
        """Take a header."""
        super().on_header(name, value)
        if len(self.headers) > _MOST_HEADERS:
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "too many headers")
        if not _TOKEN.fullmatch(name):
            raise _malformed()
        lower = name.lower()
        if lower == b"host":
            self._hosts.append(value)
        elif lower == b"transfer-encoding":
            self._has_body = True
        elif lower == b"content-length":
            self._has_body = self._has_body or value.strip(b"0") != b""

    def on_headers_complete(self) -> None:
        """Have a request answered, or refuse it."""
        if self._head_bytes > _MOST_HEAD_BYTES and self._size_of_head() > _MOST_HEAD_BYTES:
            raise Refusal(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE, "request head too large")
        if not _LINE.match(self._line):
            raise _malformed()
        needed = 1 if self.parser.get_http_version() == "1.1" else 0
        if not needed <= len(self._hosts) <= 1 or not all(_HOST.fullmatch(host) for host in self._hosts):
            raise _malformed()
        if self._has_body:
            raise Refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "request with a body")
        self.expect_100_continue = False  # There is nothing to go on with.
        super().on_headers_complete()
        self._enter(_Stage.ANSWER)

    def on_response_complete(self) -> None:
        """Wait for the next request, once all of the answer has left."""
        super().on_response_complete()
        self._unset_keepalive_if_required()  # There is a deadline of ours.
        if not self.flow.write_paused:
            self._answered()

    def shutdown(self) -> None:
        """End the connection, after the answer that is under way."""
        if self._stage is _Stage.ANSWER:
            super().shutdown()
        else:
            self._leave()

    def pause_writing(self) -> None:
        """Note that the client reads more slowly than it could be sent."""
        super().pause_writing()
        if self._stage is _Stage.ANSWER:
            self._room.stick(self)

    def resume_writing(self) -> None:
        """Note that all that was written has left."""
        super().resume_writing()
        if self._stage is _Stage.ANSWER:
            self._room.work(self)
            if self.cycle is not None and self.cycle.response_complete:
                self._answered()

    @property
    def _encrypted(self) -> bool:
        return self.scheme == "https"

    def _answered(self) -> None:
        if self._deaf:
            # Not from within a callback of the transport, which may be about to end by itself.
            self.loop.call_soon(self.transport.close)
        elif not self.transport.is_closing():
            self._enter(_Stage.IDLE)

    def _enter(self, stage: _Stage) -> None:
        self._stage = stage
        seconds = {
            _Stage.IDLE: self._bounds.idle,
            _Stage.HEAD: self._bounds.head,
            _Stage.ANSWER: self._bounds.answer,
            _Stage.REFUSED: self._bounds.lingering,
        }[stage]
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(seconds, self._too_late)
        if stage is _Stage.ANSWER:
            self._room.work(self)
        elif stage is _Stage.IDLE or stage is _Stage.REFUSED:
            self._room.wait(self)

    def _too_late(self) -> None:
        if self._stage is _Stage.HEAD:
            self._note("request head too slow")
        elif self._stage is _Stage.ANSWER:
            self._note("answer read too slowly")
        if self._stage is _Stage.IDLE:
            self._leave()
        else:
            self._cut()

    def _cut(self) -> None:
        """End the connection at once, and what the kernel still holds for a slow reader with it."""
        if self._stage is _Stage.ANSWER:
            connection = self.transport.get_extra_info("socket")
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _NO_LINGERING)
        self.transport.abort()

    def _leave(self) -> None:
        """End the connection, with the farewell that TLS has, if the client sends its own within a moment."""
        self._deaf = True
        self._enter(_Stage.REFUSED)
        self.transport.close()

    def _drop(self, data: bytes) -> None:
        """Let a client that is not listened to send on for a little: many read no answer before they have."""
        self._dropped_bytes += len(data)
        if self._dropped_bytes > _MOST_DROPPED_BYTES:
            self._cut()

    def _stop_listening(self) -> None:
        """Read no more requests: the connection ends with the answer under way, if there is one."""
        # What comes is read and dropped: TLS that is not read does not notice that its client has left.
        self._deaf = True
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False

    def _fail(self, error: httptools.HttpParserError) -> None:
        """Deal with a request that the parser, or one of the methods that it calls, does not take."""
        if self._stage is _Stage.ANSWER:
            self._stop_listening()
            return
        reason = error.__context__
        self._refuse(reason if isinstance(reason, Refusal) else _malformed())

    def _refuse(self, refusal: Refusal) -> None:
        self._note(refusal.kind)
        self._deaf = True
        text = f"{refusal.status.phrase}\n".encode()
        head = [f"HTTP/1.1 {refusal.status.value} {refusal.status.phrase}".encode()]
        fixed = {
            "Content-Type": "text/plain; charset=utf-8",
            "Content-Length": str(len(text)),
            "Connection": "close",
            **SECURITY_HEADERS,
        }
        head += [b"%s: %s" % header for header in self.server_state.default_headers]
        head += [f"{name}: {value}".encode() for name, value in fixed.items()]
        self.transport.write(b"\r\n".join([*head, b"", text]))
        self._enter(_Stage.REFUSED)

    def _note(self, kind: str) -> None:
        self._noted(kind, client=self.address)

    def _size_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)
