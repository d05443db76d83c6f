"""Texts in compressed blocks: as one gzip member, and unpacked a slice at a time."""

import gzip
import random
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.packing import BLOCK_BYTES, Packed, pack

texts = st.lists(
    st.builds(lambda text, times: text * times, st.binary(max_size=200), st.integers(0, 1000)), max_size=8
)


@settings(deadline=None)  # A busy machine is no failure.
@given(texts, st.integers(1, 50_000))
def test_blocks_make_one_text(blocks: list[bytes], size: int) -> None:
    """Whether it is unpacked here or by the client, the text is that of the blocks, and as long as was said."""
    packed = Packed([block for text in blocks for block in pack(text)])
    assert b"".join(packed.plain(size)) == b"".join(blocks)
    assert packed.length == sum(map(len, blocks))
    compressed = b"".join(packed.gzip(size))
    assert len(compressed) == packed.gzip_length
    reader = zlib.decompressobj(16 + zlib.MAX_WBITS)
    assert reader.decompress(compressed) == b"".join(blocks)
    assert (reader.eof, reader.unused_data) == (True, b"")


def test_checksum_and_length_are_of_the_whole() -> None:
    """A reader that checks them finds one byte changed."""
    compressed = bytearray(b"".join(Packed([*pack(b"one"), *pack(b"two")]).gzip(1)))
    assert gzip.decompress(compressed) == b"onetwo"
    for place in (-1, -5):
        broken = bytearray(compressed)
        broken[place] ^= 1
        with pytest.raises(gzip.BadGzipFile):
            gzip.decompress(broken)


@pytest.mark.parametrize("size", [1000, 32 * 1024])
def test_no_slice_is_large(size: int) -> None:
    """A text comes in slices of that size up to a block more, unpacked and compressed."""
    text = random.Random(1).randbytes(250_000).hex().encode()
    packed = Packed([block for piece in (text, b"short", b"", text) for block in pack(piece)])
    for pieces in (list(packed.plain(size)), list(packed.gzip(size))):
        assert all(size <= len(piece) < size + BLOCK_BYTES for piece in pieces[:-1])
        assert sum(map(len, pieces)) / (size + BLOCK_BYTES) < len(pieces)
