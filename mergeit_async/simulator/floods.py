"""Answers that are too large: a flood of text, and a small gzip that unpacks to one.

Both are completions whose content is one long row of zeros; no more than a chunk of them is ever
in memory.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from functools import lru_cache
from itertools import chain, repeat

_BEFORE = (
    b'{"id":"chatcmpl-flood","object":"chat.completion","created":0,"model":"sim-merge",'
    b'"choices":[{"index":0,"message":{"role":"assistant","content":"'
)
_AFTER = b'"},"finish_reason":"stop"}]}'
_CHUNK = b"0" * 2**18
_BLOCK = b"0" * 2**20
_RAW_DEFLATE, _CRC_BITS = -15, 32
_GZIP_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # RFC 1952: deflate, no name, no time


def flood(total_bytes: int) -> Iterator[bytes]:
    """A completion of so many bytes in all (its frame at least), in pieces."""
    whole, rest = divmod(max(0, total_bytes - len(_BEFORE) - len(_AFTER)), len(_CHUNK))
    return chain([_BEFORE], repeat(_CHUNK, whole), [_CHUNK[:rest] + _AFTER])


def in_chunks(pieces: Iterator[bytes]) -> Iterator[bytes]:
    """The pieces in the chunked transfer coding (RFC 9112, section 7.1)."""
    for piece in pieces:
        yield b"%x\r\n%b\r\n" % (len(piece), piece)
    yield b"0\r\n\r\n"


def gzip_bomb(total_bytes: int) -> tuple[int, Iterator[bytes]]:
    """The gzip of such a completion: its packed length, and its pieces.

    Cheap, because one block is packed once and repeated as often as it takes.
    """
    whole, rest = divmod(max(0, total_bytes - len(_BEFORE) - len(_AFTER)), len(_BLOCK))
    last = _BLOCK[:rest] + _AFTER
    crc = zlib.crc32(last, _crc_after_blocks(zlib.crc32(_BEFORE), whole))
    size = len(_BEFORE) + whole * len(_BLOCK) + len(last)
    trailer = crc.to_bytes(4, "little") + (size % 2**32).to_bytes(4, "little")
    first, block = _GZIP_HEADER + _pack(_BEFORE), _pack(_BLOCK)
    end = _pack(last, zlib.Z_FINISH) + trailer
    length = len(first) + whole * len(block) + len(end)
    return length, chain([first], repeat(block, whole), [end])


@lru_cache(maxsize=8)
def _pack(data: bytes, flush: int = zlib.Z_FULL_FLUSH) -> bytes:
    """Deflated so that packed pieces can be put one after another (RFC 1951)."""
    packer = zlib.compressobj(9, zlib.DEFLATED, _RAW_DEFLATE)
    return packer.compress(data) + packer.flush(flush)


def _crc_after_blocks(crc: int, blocks: int) -> int:
    """The CRC-32 after so many more blocks, without reading them all.

    Over GF(2) a block changes the CRC by a matrix and a constant; squaring them doubles the blocks.
    """
    constant = zlib.crc32(_BLOCK, 0)
    columns = [zlib.crc32(_BLOCK, 1 << bit) ^ constant for bit in range(_CRC_BITS)]
    while blocks:
        if blocks & 1:
            crc = _multiply(columns, crc) ^ constant
        constant ^= _multiply(columns, constant)
        columns = [_multiply(columns, column) for column in columns]
        blocks >>= 1
    return crc


def _multiply(columns: list[int], vector: int) -> int:
    product = 0
    for bit, column in enumerate(columns):
        if vector >> bit & 1:
            product ^= column
    return product
