"""Texts that are kept compressed while they are read."""

import asyncio
import gzip

from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from exporter.web.metrics import SLICE_BYTES
from exporter.web.packed import Packed


def request(accept_encoding: str) -> Request:
    """Make a request with that header."""
    return Request({"type": "http", "headers": [(b"accept-encoding", accept_encoding.encode())]})


def slices(response: Response) -> list[bytes]:
    """Return the pieces that a response is sent in."""

    async def collect() -> list[bytes]:
        assert isinstance(response, StreamingResponse)
        return [bytes(piece) async for piece in response.body_iterator]  # type: ignore[arg-type]  # No text here.

    return asyncio.run(collect())


@given(st.binary(max_size=200), st.integers(0, 2000))
def test_text_is_as_it_was(text: bytes, times: int) -> None:
    """Whether it is unpacked here, a slice at a time, or by the client."""
    packed = Packed(text * times)
    plain = packed.response(request("identity"), {})
    assert b"".join(slices(plain)) == text * times
    assert plain.headers["content-length"] == str(len(text) * times)
    compressed = packed.response(request("gzip"), {"X-More": "yes"}, 400)
    assert gzip.decompress(bytes(compressed.body)) == text * times
    assert (compressed.status_code, dict(compressed.headers)) == (
        400,
        {
            "x-more": "yes",
            "vary": "Accept-Encoding",
            "content-encoding": "gzip",
            "content-length": str(len(compressed.body)),
        },
    )


def test_no_slice_is_large() -> None:
    """A text of a megabyte is held in pieces of 32 KiB at most."""
    pieces = slices(Packed(b"<p>something</p>\n" * 60_000).response(request(""), {}))
    assert max(map(len, pieces)) <= SLICE_BYTES
    assert len(pieces) > 10
