"""The bytes of a connection, cut into HTTP/1 requests (RFC 9112)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

# A body of 64 MiB, and something for its head and the marks of its chunks.
MAX_REQUEST_BYTES = 65 * 2**20


@dataclass(slots=True)  # not frozen: made for each request
class Request:
    """One whole request; `keep_alive` is what its sender wants."""

    method: str
    path: str
    query: str
    headers: Mapping[bytes, bytes]
    body: bytes
    keep_alive: bool

    def header(self, name: bytes) -> bytes:
        """The value of the header with this name in lower case, empty where there is none."""
        return _find_header(self.headers, name)


@dataclass(frozen=True, slots=True)
class BadRequest:
    """What to say of bytes that are no request; none that follow are one."""

    status: int
    reason: str


class RequestReader:
    """Reads requests from the bytes of one connection, in whatever pieces they come."""

    def __init__(self) -> None:
        self._ready: list[Request | BadRequest] = []
        self._is_over = False
        self._has_head = False
        self._unread_bytes = 0
        self._target: list[bytes] = []
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        # What the parser calls most need not pass through Python.
        self.on_url = self._target.append
        self.on_header = self._headers.__setitem__
        self.on_body = self._body.append
        self._parser = HttpRequestParser(self)

    @property
    def awaits_continue(self) -> bool:
        """Whether the sender holds the body back until it is told to go on."""
        if self._body or not self._has_head:
            return False
        return _find_header(self._headers, b"expect").lower() == b"100-continue"

    def feed(self, data: bytes) -> list[Request | BadRequest]:
        """The requests that `data` completes; none any more after a BadRequest."""
        if self._is_over:
            return []
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            self._ready.pop()  # without its body, which the parser takes for the other protocol
            self._give_up(400, "No other protocol is spoken here; ask without an upgrade.")
        except HttpParserError as error:
            self._give_up(400, f"This is no HTTP request: {error}.")
        if self._ready:
            ready, self._ready, self._unread_bytes = self._ready, [], 0
            return ready
        self._unread_bytes += len(data)
        if self._unread_bytes > MAX_REQUEST_BYTES:
            self._body.clear()  # and read on: who is still sending would not hear a refusal
        return []

    def on_headers_complete(self) -> None:
        """The head was read."""
        self._has_head = True

    def on_message_complete(self) -> None:
        """The request was read to its end."""
        target, headers, body, parser = self._target, self._headers, self._body, self._parser
        if self._unread_bytes > MAX_REQUEST_BYTES:
            self._give_up(413, f"A request may have {MAX_REQUEST_BYTES} bytes.")
        elif not self._is_over:
            request = Request(
                parser.get_method().decode(),
                *_split_target(target[0] if len(target) == 1 else b"".join(target)),
                headers.copy(),
                body[0] if len(body) == 1 else b"".join(body),
                parser.should_keep_alive(),
            )
            self._ready.append(request)
        target.clear()
        headers.clear()
        body.clear()
        self._has_head = False

    def _give_up(self, status: int, reason: str) -> None:
        self._is_over = True
        self._ready.append(BadRequest(status, reason))


def _find_header(headers: Mapping[bytes, bytes], wanted: bytes) -> bytes:
    return next((value for name, value in headers.items() if name.lower() == wanted), b"")


@lru_cache(maxsize=64)
def _split_target(url: bytes) -> tuple[str, str]:
    """Path and query, without scheme and host; callers that take us for a proxy name them."""
    target = url.decode("latin-1")
    if "://" in target and not target.startswith("/"):
        target = "/" + target.split("://", 1)[1].partition("/")[2]
    path, _, query = target.partition("?")
    return path, query
