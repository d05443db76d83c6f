"""Answers with texts that are kept compressed.

The rule: whoever reads slowly holds a slice, and between two slices all others have their turn.
"""

import asyncio
from collections.abc import Iterable, Mapping

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from exporter.packing import Packed
from exporter.web.negotiation import accepts_gzip, header

SLICE_BYTES = 32 * 1024
"""An answer is sent in slices of that many bytes, or a block of the text more: what a slow reader may hold."""


def respond(request: Request, packed: Packed, headers: Mapping[str, str]) -> Response:
    """Answer with a text, compressed on request; ``headers`` are those that tell what it is."""
    headers = {"Vary": "Accept-Encoding", **headers}
    if accepts_gzip(header(request, "accept-encoding")):
        headers |= {"Content-Encoding": "gzip", "Content-Length": str(packed.gzip_length)}
        slices = packed.gzip(SLICE_BYTES)
    else:
        headers["Content-Length"] = str(packed.length)
        slices = packed.plain(SLICE_BYTES)
    return _Sliced(() if request.method == "HEAD" else slices, headers)


class _Sliced(Response):
    """A response in slices, without the group of tasks that Starlette's own makes to await a disconnection.

    Once the client has left, nothing is sent, and nothing is waited for.
    """

    def __init__(self, slices: Iterable[bytes], headers: Mapping[str, str]) -> None:
        super().__init__(headers=headers)
        self._slices = slices

    async def __call__(self, _scope: Scope, _receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for piece in self._slices:
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(0)  # It is the others' turn.
        await send({"type": "http.response.body", "body": b""})
