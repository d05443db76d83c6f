"""Sockets for requests that end on time: one deadline from the name's resolution to the last byte.

The rule: nothing a server, a proxy or a network does makes a request outlive its deadline by more than the
thread that waits for it. requests' own timeout is per receive, and so lets headers or a body that drip one
byte a second run on; here whoever holds the :class:`Deadline` ends the request from outside.
"""

import contextlib
import functools
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import requests
import requests.adapters
import urllib3
import urllib3.connection
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

_current = threading.local()
"""The deadline of the request that this thread is in: requests has no way to hand it down to a connection."""


_KEPT_SECONDS = 10.0
"""How long an idle connection may be used again: below the usual time-outs of servers and gateways."""


class Deadline:
    """When one request has to end: at the time ``at`` of ``clock``, which is monotonic."""

    def __init__(self, at: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self.at = at
        self._clock = clock
        self._lock = threading.Lock()
        self._connection: _Watched | None = None
        self.expired = False

    @property
    def remaining(self) -> float:
        """Seconds that are left, never less than a moment: sockets read 0 as "do not block"."""
        return max(0.001, self.at - self._clock())

    @property
    def passed(self) -> bool:
        """Whether the request's time is over, by the clock or because it was ended."""
        return self.expired or self._clock() >= self.at

    def expire(self) -> None:
        """End the request now, from another thread: its socket is shut, so that whoever waits for it wakes."""
        with self._lock:
            self.expired = True
            connection = self._connection
        if connection is not None:
            connection.shut_for(self)

    def end(self) -> None:
        """Let go of the connection: the request is over, and must not be ended any more."""
        with self._lock:
            connection = self._connection
        if connection is not None:
            connection.leave(self)

    def watch(self, connection: "_Watched") -> None:
        """Note the connection that the request now uses."""
        with self._lock:
            self._connection = connection
            expired = self.expired
        if expired:
            connection.shut_for(self)


class _Watched(urllib3.connection.HTTPConnection):
    """A connection whose socket can be shut from outside, by the deadline of the request that uses it.

    A TLS handshake takes the socket object over, and http.client lets go of it before it reads the body of an
    answer that ends with the connection. So a duplicate of its handle is kept for shutting, until the request
    is over.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._handle_lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._owner: Deadline | None = None
        self._used_at = 0.0
        self._held: bytearray | None = None

    @property
    def is_connected(self) -> bool:
        """Whether the connection may serve another request.

        One that was idle for long may be closed by the server in just that moment, which would cost a poll.
        """
        return super().is_connected and time.monotonic() - self._used_at < _KEPT_SECONDS

    def shut_for(self, deadline: Deadline) -> None:
        """Shut the socket, if the connection still serves that deadline's request and not a later one."""
        with self._handle_lock:
            if self._owner is deadline and self._handle is not None:
                with contextlib.suppress(OSError):  # The other side was faster.
                    self._handle.shutdown(socket.SHUT_RDWR)

    def request(self, *args: Any, **kwargs: Any) -> None:
        """Send a request, on a connection that may be kept from an earlier one, its head and body in one piece."""
        self._serve(_current.deadline)
        self._held = held = bytearray()
        try:
            super().request(*args, **kwargs)
        finally:
            self._held = None
        self.send(held)

    def send(self, data: Any) -> None:
        """Send bytes, or hold them back while a request is being put together: each sending wakes both sides."""
        if self._held is None:
            super().send(data)
        else:
            self._held += data

    def leave(self, deadline: Deadline | None = None) -> None:
        """Serve that deadline's request no more, or, without one, whichever it is."""
        with self._handle_lock:
            if deadline in {None, self._owner}:
                self._owner = None
                self._used_at = time.monotonic()
                if self.sock is None:
                    self._drop_handle()

    def close(self) -> None:
        """Close the connection, but keep its handle while a request may still read the end of its answer."""
        super().close()
        with self._handle_lock:
            if self._owner is None:
                self._drop_handle()

    def _new_conn(self) -> socket.socket:
        """Connect to the first address that answers, each with a fair share of the time that is left.

        A dead address must not use up the time of a living one: a broken IPv6 route beside a working IPv4.
        """
        deadline: Deadline = _current.deadline
        try:
            addresses = socket.getaddrinfo(self._dns_host, self.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            reason = error if isinstance(error, socket.gaierror) else socket.gaierror(str(error))
            raise NameResolutionError(self.host, self, reason) from error
        failure: OSError = OSError("the name has no address")
        for index, (family, kind, protocol, _, address) in enumerate(addresses):
            if deadline.passed:
                break
            candidate = None
            try:
                candidate = socket.socket(family, kind, protocol)
                candidate.settimeout(deadline.remaining / (len(addresses) - index))
                candidate.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                candidate.connect(address)
            except OSError as error:
                if candidate is not None:
                    candidate.close()
                failure = error
                continue
            candidate.settimeout(deadline.remaining)
            with self._handle_lock:
                self._drop_handle()
                self._handle = candidate.dup()
            self._serve(deadline)
            return candidate
        if isinstance(failure, TimeoutError) or deadline.passed:
            raise ConnectTimeoutError(self, "no address answered in time") from failure
        raise NewConnectionError(self, "no address accepted") from failure

    def _drop_handle(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _serve(self, deadline: Deadline) -> None:
        with self._handle_lock:
            self._owner = deadline
        deadline.watch(self)


class _WatchedTLS(_Watched, urllib3.connection.HTTPSConnection):
    """The same over TLS."""


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Watched

    def _put_conn(self, conn: Any) -> None:
        """Take a connection back, which no deadline may shut from now on: it may serve another request soon."""
        if conn is not None:
            conn.leave()
        super()._put_conn(conn)


class _TLSPool(_Pool, urllib3.HTTPSConnectionPool):
    ConnectionCls = _WatchedTLS


_POOLS = {"http": _Pool, "https": _TLSPool}


class Adapter(requests.adapters.HTTPAdapter):
    """Sends requests' requests to one URL over watched connections, with one TLS context for all of them.

    ``connections`` is how many may be kept for reuse; ``ca_file`` a file or folder of the authorities to
    trust, ``ca_digest`` of its content where that may change. Every :meth:`send` has to be within :func:`within`.
    """

    def __init__(self, *, connections: int, ca_file: str, ca_digest: str | None = None) -> None:
        self._trusted = (ca_file, ca_digest)
        self._pool: Any = None
        super().__init__(pool_connections=2, pool_maxsize=connections)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pools' manager, with pools of ours."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Make the manager of pools behind a proxy, with pools of ours."""
        if proxy.lower().startswith("https"):
            kwargs["proxy_ssl_context"] = tls_context(*self._trusted)
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Give all connections our TLS context: requests would read the authorities for each anew."""
        host, _ = super().build_connection_pool_key_attributes(request, verify, cert)
        return host, {"ssl_context": tls_context(*self._trusted)} if host["scheme"] == "https" else {}

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the pool of connections, which is looked for once: one URL and one proxy have one."""
        pool = self._pool
        if pool is None:
            pool = self._pool = super().get_connection_with_tls_context(*args, **kwargs)
        return pool

    def close(self) -> None:
        """Close the kept connections now: urllib3 leaves that to the garbage collector."""
        self._pool = None  # A request that had not left yet makes another one.
        for manager in (self.poolmanager, *self.proxy_manager.values()):
            for key in manager.pools.keys():  # noqa: SIM118 - no mapping: iterating it is refused
                manager.pools[key].close()
        super().close()

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Leave the verification to the context, which requires and checks certificates."""


@contextlib.contextmanager
def within(deadline: Deadline) -> Iterator[None]:
    """Put what this thread sends under a deadline."""
    _current.deadline = deadline
    try:
        yield
    finally:
        del _current.deadline
        deadline.end()


@functools.lru_cache(maxsize=128)
def tls_context(ca_file: str, _digest: str | None = None) -> ssl.SSLContext:
    """Return the context that trusts these authorities; reading them takes milliseconds, so it is kept.

    A file whose content has another digest is read anew.
    """
    if Path(ca_file).is_dir():
        return ssl.create_default_context(capath=ca_file)
    return ssl.create_default_context(cafile=ca_file)


def read_body(response: requests.Response, deadline: Deadline, *, max_bytes: int) -> bytes:
    """Read and decode a body; one that comes back longer than ``max_bytes`` is the beginning of such a one.

    Small pieces and a look at the clock before each: a body that drips, or one that unpacks to a
    thousandfold, is cut where it passes its bound. Raises TimeoutError, or what the libraries below raise.
    """
    body = bytearray()
    while len(body) <= max_bytes:
        if deadline.passed:
            raise TimeoutError
        piece = response.raw.read1(65536, decode_content=True)
        if not piece:
            if deadline.expired:  # A socket that was shut reads like the end of a body without a length.
                raise TimeoutError
            break
        body += piece
    return bytes(body)
