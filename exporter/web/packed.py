"""Answers with texts that are kept compressed.

The rule: whoever reads slowly holds a slice, and between two slices all others have their turn.
"""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from exporter.packing import Packed
from exporter.web.negotiation import accepts_gzip, header

SLICE_BYTES = 32 * 1024
"""How much of an answer a slow reader may hold."""


def respond(request: Request, packed: Packed, headers: Mapping[str, str]) -> Response:
    """Answer with a text, compressed on request; ``headers`` are those that tell what it is."""
    headers = {"Vary": "Accept-Encoding", **headers}
    if accepts_gzip(header(request, "accept-encoding")):
        headers |= {"Content-Encoding": "gzip", "Content-Length": str(packed.gzip_length)}
        slices = packed.gzip(SLICE_BYTES)
    else:
        headers["Content-Length"] = str(packed.length)
        slices = packed.plain(SLICE_BYTES)
    return StreamingResponse(_in_turns(() if request.method == "HEAD" else slices), headers=headers)


async def _in_turns(slices: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in slices:
        yield piece
        await asyncio.sleep(0)  # It is the others' turn, and the moment to notice that the client has left.
