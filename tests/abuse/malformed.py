"""Requests that are not as RFC 9112 and RFC 9110 have them, each with the clause that says so.

The rule: nothing is called malformed that a clause lets pass unchanged. Where a clause lets a server choose
between refusing and repairing, the exporter refuses.
"""

from dataclasses import dataclass, replace
from random import Random


@dataclass(frozen=True, slots=True)
class Request:
    """Bytes, and the clause on them. Where framing is in doubt, ``closes``: nothing that follows may be read."""

    name: str
    clause: str
    content: bytes
    closes: bool = True


_GET = "GET /metrics HTTP/1.1"
_POST = "POST /metrics HTTP/1.1"
_HOST = "Host: exporter"
_HIDDEN = b"GET /metrics HTTP/1.1\r\nHost: exporter\r\n\r\n"


def _head(*lines: str) -> bytes:
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _with(*lines: str, body: bytes = b"") -> bytes:
    return _head(_GET, _HOST, *lines) + body


def _chunked(body: bytes, *more: str) -> bytes:
    return _head(_POST, _HOST, "Transfer-Encoding: chunked", *more) + body


_CHUNKS = b"5\r\nhello\r\n0\r\n\r\n"
_HOSTS = {
    "with userinfo": "user@exporter",
    "with a space": "ex porter",
    "with a path": "exporter/metrics",
    "with a port that is none": "exporter:metrics",
    "with half a bracket": "[::1",
    "with a control character": "exp\x01orter",
}
_HOST_CLAUSE = "9112 3.2: an invalid value is 400; 9110 7.2: uri-host [ : port ]"
_LENGTHS = ("-1", "+5", "0x5", "5 5", "5, 6", "5;6", "1e3", "")
_LENGTH_CLAUSE = "9110 8.6: Content-Length = 1*DIGIT; 9112 6.3: else 400 and close"
_CODINGS = {
    "chunked, chunked": "9112 6.1: chunked is applied once",
    "xchunked": "9112 6.1: a coding that is not known is 501; 6.3: 400 and close",
    "chunked, gzip": "9112 6.3: chunked is not the final one: 400 and close",
    "identity": "9112 7: no longer a coding",
    "\x0bchunked": "9110 5.5: no control characters in a value",
}
_CHUNK_CLAUSE = "9112 7.1: chunk-size = 1*HEXDIG, each chunk ends with CRLF"
_BAD_CHUNKS = {
    "of no size": b"zz\r\nhello\r\n0\r\n\r\n",
    "of a negative size": b"-5\r\nhello\r\n0\r\n\r\n",
    "of a size with 0x": b"0x5\r\nhello\r\n0\r\n\r\n",
    "of a size past 64 bits": b"fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    "longer than its size": b"3\r\nhello\r\n0\r\n\r\n",
}
_VERSIONS = {
    "HTTP/0.9": "9112 2.3: HTTP/0.9 has no version in a request line",
    "HTTP/2.0": "9110 2.5: another major version is another protocol; 505",
    "HTTP/1": "9112 2.3: HTTP/DIGIT.DIGIT",
    "HTTP/1.10": "9112 2.3: HTTP/DIGIT.DIGIT",
    "http/1.1": "9112 2.3: HTTP-name is case-sensitive",
    "HTTP/1,1": "9112 2.3: HTTP/DIGIT.DIGIT",
    "HTTP/1.1 x": "9112 3: three parts",
    "ICY/1.1": "9112 2.3: the name is HTTP",
}
_METHODS = ("G\x00T", "G(T)", "G\x7fT")
_TARGETS = {
    "/metrics x": "9112 3.2: no whitespace in it",
    "metrics": "9112 3.2.1: an absolute path",
    "*": "9112 3.2.4: for OPTIONS alone",
    "/met\x00rics": "9112 3.2: a URI's characters",
    "/met\x7frics": "9112 3.2: a URI's characters",
    "/m\xe9trics": "9112 3.2: a URI's characters",
    "/metrics#fragment": "9112 3.2.1: a path and a query, no fragment",
    "/%zz": "3986 2.1: two hexadecimal digits",
}
_PATHS = (
    "/%00",
    "/../../etc/passwd",
    "/%2e%2e/%2e%2e/etc/passwd",
    "/..%2fmetrics",
    "//metrics",
    "/-/../metrics",
    "/metrics/..;/metrics",
)
_NAMES = {
    "with a space before the colon": "X-Name : x",
    "with a space in it": "X Name: x",
    "with a control character": "X-\x01Name: x",
    "with a NUL": "X-\x00Name: x",
    "that is empty": ": x",
    "with a parenthesis": "X(Name): x",
    "without a colon": "X-Name",
}

_BEHIND = f"Content-Length: {len(_HIDDEN)}"
_HELLO = bytes.fromhex("16030100c8010000c40303") + bytes(189)

_OPEN = [
    Request("no Host", "9112 3.2: 400", _head(_GET), closes=False),
    Request("two Hosts", "9112 3.2: 400", _head(_GET, _HOST, "Host: other"), closes=False),
    Request("two equal Hosts", "9112 3.2: 400", _head(_GET, _HOST, _HOST), closes=False),
    *(
        Request(f"Host {what}", _HOST_CLAUSE, _head(_GET, f"Host: {value}"), closes=False)
        for what, value in _HOSTS.items()
    ),
    Request("no Host, absolute", "9112 3.2: 400", _head("GET http://exporter/metrics HTTP/1.1"), closes=False),
    *(
        Request(f"target {target!r}", clause, _head(f"GET {target} HTTP/1.1", _HOST), closes=False)
        for target, clause in _TARGETS.items()
    ),
]
"""Their framing is plain."""

MALFORMED = [
    *_OPEN,
    *(
        Request(f"header name {what}", "9112 5.1, 9110 5.1: a token, then at once a colon", _with(line))
        for what, line in _NAMES.items()
    ),
    Request("header that is folded", "9112 5.2: refuse, or make it a space", _with("X-Name: a", " b")),
    Request("space before the first header", "9112 2.2: refuse, or leave it out", _head(_GET, f" {_HOST}", _HOST)),
    Request("NUL in a value", "9110 5.5: refuse, or make it a space", _with("X-Name: a\x00b")),
    Request("CR in a value", "9112 2.2: refuse, or make it a space", _with("X-Name: a\rb")),
    Request("CR for CRLF", "9112 2.2: refuse, or make it a space", _with().replace(b"\r\n", b"\r")),
    *(
        Request(f"Content-Length {value!r}", _LENGTH_CLAUSE, _with(f"Content-Length: {value}", body=_HIDDEN))
        for value in _LENGTHS
    ),
    Request("Content-Length past 64 bits", "9110 8.6: no overflow", _with(f"Content-Length: {2**64 + 5}")),
    Request(
        "two Content-Lengths",
        "9112 6.3: 400 and close",
        _with("Content-Length: 5", "Content-Length: 6", body=b"hello" + _HIDDEN),
    ),
    Request(
        "Content-Length and Transfer-Encoding",
        "9112 6.1, 6.3: refuse, or take the latter and close",
        _chunked(_CHUNKS + _HIDDEN, "Content-Length: 5"),
    ),
    *(
        Request(f"Transfer-Encoding {value!r}", clause, _with(f"Transfer-Encoding: {value}", body=_CHUNKS))
        for value, clause in _CODINGS.items()
    ),
    Request(
        "Transfer-Encoding in HTTP/1.0",
        "9112 6.1: the framing is faulty; close",
        _head("POST /metrics HTTP/1.0", _HOST, "Transfer-Encoding: chunked") + _CHUNKS + _HIDDEN,
    ),
    *(Request(f"chunk {what}", _CHUNK_CLAUSE, _chunked(chunks + _HIDDEN)) for what, chunks in _BAD_CHUNKS.items()),
    *(
        Request(f"version {version!r}", clause, _head(f"GET /metrics {version}", _HOST))
        for version, clause in _VERSIONS.items()
    ),
    Request("no version", "9112 2.3, 3: there is always one", b"GET /metrics\r\n\r\n"),
    Request("preface of HTTP/2", "9113 3.4: another protocol", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"),
    *(
        Request(f"method {method!r}", "9110 9.1: a token", _head(f"{method} /metrics HTTP/1.1", _HOST))
        for method in _METHODS
    ),
    Request("a space before the method", "9112 3: refuse, or leave it out", _head(f" {_GET}", _HOST)),
    Request("a handshake of TLS", "9112 3: no request line", _HELLO),
    Request("zeros", "9112 3: no request line", bytes(4096)),
    Request("noise", "9112 3: no request line", Random(0).randbytes(65536)),
]
"""None of these is answered with a 2xx, nor anything that follows them."""

SMUGGLING = [
    Request("behind a body", "9110 15.5.14: 413 may close", _head(_POST, _HOST, _BEHIND) + _HIDDEN),
    Request("behind a chunked body", "9110 15.5.14: 413 may close", _chunked(_CHUNKS + _HIDDEN)),
    Request("in a body of GET", "9110 9.3.1: refuse and close", _with(_BEHIND, body=_HIDDEN)),
    Request(
        "behind Expect",
        "9110 10.1.1: a final status, then close",
        _with(_BEHIND, "Expect: 100-continue") + _HIDDEN,
    ),
    Request(
        "behind CONNECT", "9110 9.3.6: no tunnels here", _head("CONNECT x:443 HTTP/1.1", "Host: x:443") + _HIDDEN
    ),
]
"""A request where a body is or would be; none is answered with a 2xx either."""

FOLLOWED = [
    Request("garbage", "9112 9.3.2: pipelining, which ends with the first answer", _HIDDEN + bytes(64)),
    Request("another request", "9112 9.3.2: as above", _HIDDEN + _HIDDEN),
    Request("another after close", "9112 9.6: nothing after it is read", _with("Connection: close", body=_HIDDEN)),
]
"""What comes with a good request in one piece: that one is answered with a 2xx, and then the connection ends."""

ELSEWHERE = [
    *(
        Request(f"path {path}", "no such path", _head(f"GET {path} HTTP/1.1", _HOST), closes=False)
        for path in _PATHS
    ),
    *(
        Request(
            f"method {method}", "9110 9.1: not known", _head(f"{method} /metrics HTTP/1.1", _HOST), closes=False
        )
        for method in ("get", "BREW", "TRACE", "DELETE")
    ),
    Request("OPTIONS *", "9110 9.3.7: may be refused", _head("OPTIONS * HTTP/1.1", _HOST), closes=False),
]
"""Well formed, but not for what is there: no 2xx."""

_UNUSUAL = [
    Request("LF for CRLF", "9112 2.2: may be taken", _with().replace(b"\r\n", b"\n")),
    Request("two spaces", "9112 3: any whitespace may be taken", _head("GET  /metrics  HTTP/1.1", _HOST)),
    Request("tabs for spaces", "9112 3: any whitespace may be taken", _head("GET\t/metrics\tHTTP/1.1", _HOST)),
    Request("an empty line first", "9112 2.2: one is passed over", b"\r\n" + _with()),
    Request("HTTP/1.0 without Host", "9112 3.2: needed from HTTP/1.1 on", _head("GET /metrics HTTP/1.0")),
    Request("HTTP/1.2", "9110 2.5: as the highest minor version known", _head("GET /metrics HTTP/1.2", _HOST)),
    Request(
        "an empty Host", "9112 3.2: where there is no authority; 9110 4.2.1: not in http", _head(_GET, "Host:")
    ),
    Request("another Host", "9112 3.2.2: Host is ignored", _head("GET http://other/metrics HTTP/1.1", _HOST)),
    Request("Content-Length 0", "9110 8.6: no body", _with("Content-Length: 0")),
    Request("Content-Length 0 twice", "9110 8.6: may be taken", _with("Content-Length: 0", "Content-Length: 0")),
    Request("Content-Length 0, 0", "9110 8.6: may be taken", _with("Content-Length: 0, 0")),
    Request("an unknown Expect", "9110 10.1.1: may be 417", _with("Expect: nothing")),
    Request("an upgrade to HTTP/2", "9110 7.8: may be ignored", _with("Connection: Upgrade", "Upgrade: h2c")),
    Request(
        "an upgrade to WebSocket", "9110 7.8: may be ignored", _with("Connection: Upgrade", "Upgrade: websocket")
    ),
    Request("Latin-1 in a value", "9110 5.5: obs-text", _with("X-Name: \xe9")),
]
UNUSUAL = [replace(request, closes=False) for request in _UNUSUAL]
"""These may be answered well or be refused, but not by a 5xx other than 501 and 505."""
