"""A text that is kept compressed while it is read: whoever reads it slowly holds little of it.

The rule: compressed once, by whoever has made the text, and unpacked a slice at a time for those who cannot.
"""

import asyncio
import zlib
from collections.abc import AsyncIterator, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from exporter.exposition import accepts_gzip
from exporter.web.metrics import SLICE_BYTES, gzip_compressor, header

_GZIP_WINDOW_BITS = 32 + zlib.MAX_WBITS  # As the head says.


class Packed:
    """A text that was packed; making one takes a moment, and belongs into a thread."""

    def __init__(self, text: bytes) -> None:
        compressor = gzip_compressor()
        self._length = len(text)
        self._content = compressor.compress(text) + compressor.flush()

    def response(self, request: Request, headers: Mapping[str, str], status: int = 200) -> Response:
        """Return the response to a request: compressed on request."""
        headers = {**headers, "Vary": "Accept-Encoding"}
        if accepts_gzip(header(request, "accept-encoding")):
            return Response(self._content, status, headers={**headers, "Content-Encoding": "gzip"})
        headers["Content-Length"] = str(self._length)
        return StreamingResponse(self._slices(), status, headers=headers)

    async def _slices(self) -> AsyncIterator[bytes]:
        unpacker = zlib.decompressobj(_GZIP_WINDOW_BITS)
        packed = self._content
        while not unpacker.eof:
            yield unpacker.decompress(packed, SLICE_BYTES)
            packed = unpacker.unconsumed_tail
            await asyncio.sleep(0)
