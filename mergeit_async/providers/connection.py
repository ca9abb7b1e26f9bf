"""One HTTP/1.1 connection (RFC 9112): a request out in one write, its answer in, then the next."""

from __future__ import annotations

import asyncio
from typing import cast

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from mergeit_async.providers.answer import MAX_HEAD_BYTES, Answer, BadAnswer, most_bytes

# An exchange whose time is up gets so much more: the loop looks at its sockets in between. With
# less than a millisecond, uvloop would not.
LAST_LOOK_S = 0.01


class Connection(asyncio.Protocol):
    """Carries one exchange at a time.

    `usable` tells whether the next exchange may begin: it is false during one, and for good after
    anything that leaves doubt about what the next bytes of the server would mean.
    """

    __slots__ = (
        "_body",
        "_has_head",
        "_headers",
        "_limit",
        "_loop",
        "_open",
        "_parser",
        "_received",
        "_status",
        "_transport",
        "_waiter",
        "closed",
        "idle_since",
        "on_body",
        "usable",
    )

    _transport: asyncio.Transport

    def __init__(self, loop: asyncio.AbstractEventLoop, open_connections: set[Connection]) -> None:
        """It is a member of `open_connections` from its first to its last moment."""
        self._loop = loop
        self._open = open_connections
        self._waiter: asyncio.Future[Answer] | None = None
        self._body: list[bytes] = []
        self._headers: dict[str, str] = {}
        self._status = self._received = self._limit = 0
        self._has_head = False
        self.usable = False
        self.idle_since = 0.0
        self.closed: asyncio.Future[None] = loop.create_future()
        # The parser looks its callbacks up once; this one needs no frame of its own.
        self.on_body = self._body.append
        self._parser = HttpResponseParser(self)

    async def exchange(self, request: bytes, timeout_s: float) -> Answer:
        """The answer to `request` (head and body) within `timeout_s` seconds.

        Raises TimeoutError, ConnectionError or BadAnswer. That and cancelling end the connection.
        """
        if not self.usable:
            raise ConnectionResetError("the server closed the connection at once")
        self.usable = self._has_head = False
        self._received, self._limit = 0, MAX_HEAD_BYTES
        waiter: asyncio.Future[Answer] = self._loop.create_future()
        self._waiter = waiter
        # Not asyncio.timeout: that costs 4 µs more.
        timer = self._loop.call_later(timeout_s, self._expire)
        self._transport.write(request)
        try:
            return await waiter
        finally:
            timer.cancel()
            self._waiter = None
            if not self.usable:
                self.abort()

    def abort(self) -> None:
        """End the connection now; `closed` is done a moment later."""
        self.usable = False
        self._transport.abort()

    # Called by the event loop.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast(asyncio.Transport, transport)
        self._open.add(self)
        self.usable = True

    def data_received(self, data: bytes) -> None:
        """Take a part of the answer; bytes that nobody asked for end the connection."""
        if self._waiter is None:
            self.abort()
            return
        self._received += len(data)
        try:
            self._parser.feed_data(data)
        except (HttpParserError, HttpParserUpgrade) as error:
            self._break(BadAnswer(f"the answer is no HTTP: {error}"))
            return
        if self._received > self._limit and self._waiter is not None:
            self._break(BadAnswer(f"the answer is larger than {self._limit} bytes"))

    def eof_received(self) -> None:
        """Take the server's end for the end of both directions."""
        self._lose(None)

    def connection_lost(self, error: Exception | None) -> None:
        """End; a waiting exchange fails."""
        self._lose(error)
        self._open.discard(self)
        if not self.closed.done():
            self.closed.set_result(None)
        # It refers to this object, which only the garbage collector would find out.
        del self._parser

    # Called by the parser.

    def on_message_begin(self) -> None:
        """Begin an answer; one more behind the whole one is more than was asked for."""
        self._headers = {}
        if self._waiter is None:
            self.usable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        """Keep a header line."""
        self._headers[name.lower().decode("latin-1")] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Tell the answer's head from those of interim answers (1xx), which are passed over."""
        self._status = self._parser.get_status_code()
        if not 100 <= self._status < 200:
            self._has_head = True
            self._limit = most_bytes(self._status)

    def on_message_complete(self) -> None:
        """Hand the answer over. A request that was not read to its end spoils the connection."""
        if self._has_head and self._waiter is not None:
            unsent = self._transport.get_write_buffer_size()
            self.usable = self._parser.should_keep_alive() and not unsent
            self._settle(None)

    def _expire(self) -> None:
        # After a stop of the process, late timers fire before what has come meanwhile is read.
        self._loop.call_later(LAST_LOOK_S, self._give_up, self._waiter)

    def _give_up(self, waiter: asyncio.Future[Answer] | None) -> None:
        if waiter is not None and waiter is self._waiter and not waiter.done():
            self.abort()
            waiter.set_exception(TimeoutError())

    def _lose(self, error: Exception | None) -> None:
        if self._has_head and error is None and self._ends_with_connection():
            self._settle(None)
        reason = error or "the server closed it before its answer was whole"
        self._break(ConnectionError(f"the connection broke: {reason}"))

    def _break(self, error: Exception) -> None:
        """End the connection; a head that has come is an answer all the same."""
        self.abort()
        self._settle(error)

    def _settle(self, error: Exception | None) -> None:
        waiter, self._waiter = self._waiter, None
        body = b"".join(self._body)
        self._body.clear()
        if waiter is None or waiter.done():  # nobody waits any more
            return
        if self._has_head:
            waiter.set_result(Answer(self._status, self._headers, body, error))
        elif error is not None:
            waiter.set_exception(error)

    def _ends_with_connection(self) -> bool:
        chunked = "chunked" in self._headers.get("transfer-encoding", "").lower()
        return not chunked and "content-length" not in self._headers
