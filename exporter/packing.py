"""Texts that are kept compressed, in blocks that can be strung together.

The rule: a block is compressed once, when its text is made. A client that takes gzip gets the blocks as they are,
one that does not gets them unpacked one after the other: whoever reads slowly holds little.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from isal import isal_zlib

BLOCK_BYTES = 48 * 1024
"""How much text is compressed together at most: what a slow reader may hold of it, and few enough turns of the
interpreter's lock, which unpacking each takes."""

_RAW = -isal_zlib.MAX_WBITS  # Deflate without a head and a trailer of its own.
# The head of a gzip file (RFC 1952): no name, no time, the fastest algorithm, no system; and deflate's last block,
# of which nothing is in it (RFC 1951, 3.2.6).
_HEAD = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x04\xff"
_END = b"\x03\x00"
_TRAILER_BYTES = 8


class Block(NamedTuple):
    """A text compressed by itself: deflate up to a whole byte, the CRC-32 of the text, and how long that is."""

    deflated: bytes
    checksum: int
    length: int


def pack(text: bytes) -> tuple[Block, ...]:
    """Compress a text, which takes about a millisecond for each megabyte; one that is empty has no blocks."""
    return tuple(_deflate(text[start : start + BLOCK_BYTES]) for start in range(0, len(text), BLOCK_BYTES))


def _deflate(text: bytes) -> Block:
    compressor = isal_zlib.compressobj(isal_zlib.ISAL_BEST_SPEED, wbits=_RAW)
    deflated = compressor.compress(text) + compressor.flush(isal_zlib.Z_SYNC_FLUSH)
    return Block(deflated, isal_zlib.crc32(text), len(text))


class Packed:
    """A text in blocks, which all who read it share: ``length`` bytes, or ``gzip_length`` as one gzip member."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self._blocks = blocks
        self.length = sum(block.length for block in blocks)
        packed = sum(len(block.deflated) for block in blocks)
        self.gzip_length = len(_HEAD) + packed + len(_END) + _TRAILER_BYTES

    def plain(self, size: int) -> Iterator[bytes]:
        """Yield the text in slices of that many bytes or a block more, the last one of what is left."""
        return _in_slices(self._unpacked(), size)

    def gzip(self, size: int) -> Iterator[bytes]:
        """Yield it compressed, in slices of that many bytes or a block more, the last one of what is left."""
        return _in_slices(self._strung(), size)

    def _unpacked(self) -> Iterator[bytes]:
        for block in self._blocks:
            # Each at once: a slow reader waits with no half-read block, whose state would be larger than its text.
            yield isal_zlib.decompressobj(wbits=_RAW).decompress(block.deflated, block.length)

    def _strung(self) -> Iterator[bytes]:
        yield _HEAD
        checksum = 0
        for block in self._blocks:
            yield block.deflated
            checksum = isal_zlib.crc32_combine(checksum, block.checksum, block.length)
        yield _END + checksum.to_bytes(4, "little") + (self.length % 2**32).to_bytes(4, "little")


def _in_slices(pieces: Iterable[bytes], size: int) -> Iterator[bytes]:
    """Join pieces to slices of at least that many bytes."""
    joined: list[bytes] = []
    length = 0
    for piece in pieces:
        joined.append(piece)
        length += len(piece)
        if length >= size:
            yield b"".join(joined)
            joined.clear()
            length = 0
    yield b"".join(joined)
