"""Answers with texts that are kept compressed."""

import asyncio
import gzip
from typing import cast

import pytest
from starlette.requests import Request
from starlette.types import Message, Receive

from exporter.packing import BLOCK_BYTES, Packed, pack
from exporter.web.packed import SLICE_BYTES, respond

TEXT = b"".join(b"<p>something %d</p>\n" % number for number in range(60_000))
PACKED = Packed(pack(TEXT))


def answered(method: str, accept_encoding: str) -> tuple[dict[str, str], list[bytes]]:
    """Return the headers of an answer, and the pieces that it is sent in."""
    request = Request(
        {"type": "http", "method": method, "headers": [(b"accept-encoding", accept_encoding.encode())]}
    )
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    response = respond(request, PACKED, {"X-More": "yes"})
    asyncio.run(response({}, cast("Receive", None), send))
    start, *bodies = sent
    assert [body.get("more_body", False) for body in bodies] == [*[True] * (len(bodies) - 1), False]
    headers = {name.decode(): value.decode() for name, value in start["headers"]}
    return headers, [body["body"] for body in bodies[:-1]]


def test_answer_is_unpacked_in_slices() -> None:
    """Who takes no gzip gets the text, in pieces of which none is large."""
    headers, pieces = answered("GET", "identity")
    assert b"".join(pieces) == TEXT
    assert max(map(len, pieces)) < SLICE_BYTES + BLOCK_BYTES
    assert headers == {"vary": "Accept-Encoding", "x-more": "yes", "content-length": str(len(TEXT))}


def test_answer_is_compressed_on_request() -> None:
    """Who takes gzip gets what is kept."""
    headers, pieces = answered("GET", "gzip")
    assert gzip.decompress(b"".join(pieces)) == TEXT
    assert headers == {
        "vary": "Accept-Encoding",
        "x-more": "yes",
        "content-encoding": "gzip",
        "content-length": str(sum(map(len, pieces))),
    }


@pytest.mark.parametrize("accept_encoding", ["identity", "gzip"])
def test_head_is_answered_without_a_body(accept_encoding: str) -> None:
    """The headers are those of the whole answer."""
    headers, pieces = answered("HEAD", accept_encoding)
    assert pieces == []
    assert headers == answered("GET", accept_encoding)[0]
