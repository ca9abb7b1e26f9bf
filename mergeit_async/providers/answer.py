"""What comes back from a server, whichever way it came, and how much of it is taken."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import NamedTuple, Protocol

from yarl import URL

MAX_HEAD_BYTES = 64 * 2**10
MAX_REPLY_BYTES = 16 * 2**20
# Of an answer without success only the beginning is shown and judged.
MAX_ERROR_BYTES = 64 * 2**10

# What zlib calls the formats; an answer that claims any other encoding cannot be read.
_GZIP, _ZLIB, _BARE_DEFLATE = 31, 15, -15


class BadAnswer(ValueError):
    """The bytes of an answer are no HTTP, or more of it than is taken."""


class NotConnected(ConnectionError):
    """No connection could be made, so nothing was sent."""


class Answer(NamedTuple):
    """One answer: its status, its headers by their names in lower case, its body.

    `broken` says why the body is not whole: a lost connection, bytes that are no HTTP, or a size
    above the limit (see `most_bytes`). The body is then what came until that.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    broken: Exception | None = None


class Transport(Protocol):
    """Carries requests to one server, each exactly once: nothing is sent again or redirected."""

    async def send(self, method: str, url: URL, body: bytes, timeout_s: float) -> Answer:
        """The answer to one request, with its body still packed as it came.

        Raises TimeoutError after `timeout_s` seconds, connecting included, another OSError for
        whatever happens on the way, and ValueError for an answer whose head cannot be read.
        """

    async def close(self) -> None:
        """End all connections."""


def most_bytes(status: int) -> int:
    """How large an answer with this status may be before it is broken off."""
    return MAX_REPLY_BYTES if 200 <= status < 300 else MAX_ERROR_BYTES


def unpack(answer: Answer) -> Answer:
    """`answer` with its body as its Content-Encoding says (RFC 9110, section 8.4).

    No encoding is asked for, but some gateways pack all the same. What cannot be unpacked, and
    what would be larger than `most_bytes`, leaves an answer that is broken and empty.
    """
    encoding = answer.headers.get("content-encoding", "").strip().lower()
    if encoding in ("", "identity") or not answer.body:
        return answer
    try:
        content = _inflate(answer.body, encoding, most_bytes(answer.status))
    except (BadAnswer, zlib.error) as error:
        # A body that is not whole cannot be unpacked whole: the first reason is the true one.
        return Answer(answer.status, answer.headers, b"", answer.broken or BadAnswer(str(error)))
    return Answer(answer.status, answer.headers, content, answer.broken)


def _inflate(body: bytes, encoding: str, limit: int) -> bytes:
    unpacker = zlib.decompressobj(_zlib_format(body, encoding))
    # Bounded: a few kilobytes can unpack to gigabytes.
    content = unpacker.decompress(body, limit + 1)
    if len(content) > limit:
        raise BadAnswer(f"the answer unpacks to more than {limit} bytes")
    if not unpacker.eof:
        raise BadAnswer(f"the answer's {encoding} data ends early")
    return content


def _zlib_format(body: bytes, encoding: str) -> int:
    if encoding in ("gzip", "x-gzip"):
        return _GZIP
    if encoding != "deflate":
        raise BadAnswer(f"the answer is encoded as {encoding!r}, which was not asked for")
    # "deflate" means zlib's format, and some servers send the bare data without its header.
    has_header = body[0] & 0x0F == 8 and int.from_bytes(body[:2], "big") % 31 == 0
    return _ZLIB if has_header else _BARE_DEFLATE
