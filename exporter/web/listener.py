"""A listening socket: connections are accepted, put under TLS, and handed to the protocol that serves them.

The rule: accepting never waits for a client. Whoever is missed least makes room for one more; where each is of
use, the newcomer goes.
"""

import asyncio
import contextlib
import errno
import os
import socket
import ssl
from collections.abc import Callable

from exporter.web.complaints import Noted
from exporter.web.guard import Bounds, GuardedProtocol
from exporter.web.policy import Policy
from exporter.web.room import Room

_OUT_OF_RESOURCES = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PAUSE_SECONDS = 0.1
# What the kernel takes in advance for a reader, half of what it sets aside. Left to itself it takes megabytes.
_SEND_BUFFER_BYTES = 128 * 1024


class Listener:
    """Accepts the connections of one listening socket, and makes TLS of them where the ``policy`` wants it.

    ``protocol`` makes what serves a connection, under the policy that was in force when it was accepted.
    """

    def __init__(
        self,
        listening: socket.socket,
        room: Room,
        *,
        protocol: Callable[[Policy], GuardedProtocol],
        policy: Callable[[], Policy],
        bounds: Bounds,
        noted: Noted,
    ) -> None:
        self._listening = listening
        self._room = room
        self._protocol = protocol
        self._policy = policy
        self._bounds = bounds
        self._noted = noted
        self._arriving: set[asyncio.Task[None]] = set()
        listening.setblocking(False)  # noqa: FBT003 - the only way
        self._accepting = asyncio.get_running_loop().create_task(self._accept())

    def close(self) -> None:
        """Accept nobody any more, and let go of those who are still arriving."""
        for task in (self._accepting, *self._arriving):
            task.cancel()

    async def wait_closed(self) -> None:
        """Wait for what was closed to have ended."""
        await asyncio.gather(self._accepting, *self._arriving, return_exceptions=True)

    async def _accept(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(self._listening)
            except ConnectionError:
                continue  # The client has left while it was waiting.
            except OSError as error:
                self._noted("connection not accepted", reason=os.strerror(error.errno or 0))
                if error.errno in _OUT_OF_RESOURCES:
                    self._room.evict_one()
                await asyncio.sleep(_PAUSE_SECONDS)
                continue
            if len(self._room) >= self._room.most:
                self._noted("too many connections")
            if not self._room.make_room():
                connection.close()
            else:
                with contextlib.suppress(OSError):
                    # asyncio sees to this only where the socket was made for TCP by name.
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
                self._welcome(connection)
            await asyncio.sleep(0)  # Accepting many at once must not hold up those who are there.

    def _welcome(self, connection: socket.socket) -> None:
        policy = self._policy()
        protocol = self._protocol(policy)
        arriving = asyncio.get_running_loop().create_task(self._let_in(connection, protocol, policy))
        protocol.arrive(arriving)
        self._arriving.add(arriving)

        def arrived(task: asyncio.Task[None]) -> None:
            self._arriving.discard(task)
            if protocol.transport is None:  # There is nothing to serve, after all.
                self._room.leave(protocol)
                connection.close()

        arriving.add_done_callback(arrived)

    async def _let_in(self, connection: socket.socket, protocol: GuardedProtocol, policy: Policy) -> None:
        encrypted = policy.context is not None
        client = _address(connection)
        try:
            await asyncio.get_running_loop().connect_accepted_socket(
                lambda: protocol,
                connection,
                ssl=policy.context,
                ssl_handshake_timeout=self._bounds.handshake if encrypted else None,
                ssl_shutdown_timeout=self._bounds.answer if encrypted else None,
            )
        except ConnectionAbortedError:
            self._noted("TLS handshake too slow", client=client)
        except ssl.SSLError as error:
            self._noted("TLS handshake failed", client=client, reason=error.reason)
        except OSError:
            pass  # The client has left.


def _address(connection: socket.socket) -> str | None:
    """Return the client's address; None when it has left already."""
    try:
        return str(connection.getpeername()[0])
    except OSError:
        return None
