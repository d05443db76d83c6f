"""The route of the exposition: formats, compression, and slices for whoever reads slowly.

The rule: what is sent is shared by all who scrape, but for the slice that is on its way. Between two slices all
others have their turn.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Collection
from typing import Protocol

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from exporter.exposition import (
    OPENMETRICS_CONTENT_TYPE,
    TEXT_CONTENT_TYPE,
    Text,
    accepts_gzip,
    accepts_openmetrics,
)

SLICE_BYTES = 32 * 1024
"""How much of an answer a slow reader may hold."""

_LEAST_COMPRESSED_BYTES = 16 * 1024
_LONGEST_HEADER = 1024  # Longer than any scraper's; reading one takes time that all others wait.
_GZIP_LEVEL = 1  # Nearly as small as at higher levels for text this repetitive, and several times faster.
# A window of 4 KiB, and gzip's head and trailer: lines repeat what is near, and a slow reader holds 32 KB and not
# the 256 KB of the largest.
_GZIP_WINDOW_BITS = 16 + 12
_GZIP_MEMORY_LEVEL = 5


class Expose(Protocol):
    """Gives the whole exposition, or only the families that are named."""

    def __call__(self, *, openmetrics: bool, names: Collection[str] | None) -> Text:
        """Return the text, OpenMetrics with its end mark."""
        ...


async def answer(request: Request, expose: Expose) -> Response:
    """Answer a scrape with what ``expose`` gives."""
    openmetrics = accepts_openmetrics(header(request, "accept"))
    # Without chunks, as in HTTP/1.0, the length has to be known, and compressed it is not.
    compressed = request.scope["http_version"] != "1.0" and accepts_gzip(header(request, "accept-encoding"))
    names = request.query_params.getlist("name[]") or None
    text = await run_in_threadpool(expose, openmetrics=openmetrics, names=names)
    headers = {
        "Content-Type": OPENMETRICS_CONTENT_TYPE if openmetrics else TEXT_CONTENT_TYPE,
        "Vary": "Accept, Accept-Encoding",
    }
    if compressed:
        headers["Content-Encoding"] = "gzip"
    else:
        headers["Content-Length"] = str(text.length)
    bodies = _compressed(text) if compressed else _plain(text)
    return StreamingResponse(_nothing() if request.method == "HEAD" else bodies, headers=headers)


def header(request: Request, name: str) -> str:
    """Return a request's header, of several all, and of a very long one the beginning."""
    return ",".join(request.headers.getlist(name))[:_LONGEST_HEADER]


def gzip_compressor() -> "zlib._Compress":
    """Return what compresses a text, of which a little is enough to know the rest."""
    return zlib.compressobj(_GZIP_LEVEL, wbits=_GZIP_WINDOW_BITS, memLevel=_GZIP_MEMORY_LEVEL)


async def _plain(text: Text) -> AsyncIterator[bytes]:
    for body in text.slices(SLICE_BYTES):
        yield body
        await asyncio.sleep(0)  # It is the others' turn, and the moment to notice that the client has left.


async def _compressed(text: Text) -> AsyncIterator[bytes]:
    compressor = gzip_compressor()
    body = b""
    # A slice takes a tenth of a millisecond: less than to hand it to a thread and to wait for that.
    for compressed in map(compressor.compress, text.slices(SLICE_BYTES)):
        body += compressed
        if len(body) >= _LEAST_COMPRESSED_BYTES:
            yield body
            body = b""
        await asyncio.sleep(0)  # As above.
    yield body + compressor.flush()


async def _nothing() -> AsyncIterator[bytes]:
    return
    yield b""
