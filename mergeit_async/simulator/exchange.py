"""The way back to the sender of a request: whole answers, raw bytes, streams, broken ends."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import Callable, Iterator

from mergeit_async.simulator.answers import Answer, write_head
from mergeit_async.simulator.wire import Request


class Exchange:
    """An answer in the making; over once it is sent, or broken off by either side.

    `on_over` is called once, when the exchange is over, however it ended. The request itself is
    not kept: thousands that wait for their answers would fill the processor's caches.
    """

    def __init__(
        self, request: Request, transport: asyncio.Transport, free: Callable[[], None]
    ) -> None:
        """`free` tells the connection that its next request may be answered."""
        self.on_over: Callable[[], None] | None = None
        self._keep_alive = request.keep_alive
        self._wants_body = request.method != "HEAD"
        self._transport = transport
        self._free = free
        self._timer: asyncio.Handle | None = None
        self._chunks: Iterator[bytes] | None = None
        self._interval_s = 0.0
        self._is_stalled = False

    def answer(self, answer: Answer) -> None:
        """Send a whole answer in one write; the end of the exchange."""
        head = write_head(answer, len(answer.body), closes=not self._keep_alive)
        self._transport.write(head + answer.body if self._wants_body else head)
        self.end()

    def write(self, data: bytes) -> None:
        """Send bytes as they are; `end`, `close` or a stream must follow."""
        self._transport.write(data)

    def stream(self, chunks: Iterator[bytes], interval_s: float = 0.0) -> None:
        """Send chunks `interval_s` apart, no faster than they are taken; the end follows."""
        self._chunks, self._interval_s = chunks, interval_s
        self._send_chunk()

    def later(self, delay_s: float, act: Callable[[], None]) -> None:
        """Call `act` in `delay_s` seconds, unless the exchange is over by then."""
        self._timer = asyncio.get_running_loop().call_later(delay_s, act)

    def stall(self) -> None:
        """Hold a stream back: its receiver is behind."""
        self._is_stalled = True

    def go_on(self) -> None:
        """Go on with a stream that was held back."""
        self._is_stalled = False
        if self._chunks is not None and self._timer is None:
            self._send_chunk()

    def end(self) -> None:
        """All is sent; the connection stays where the caller wants that."""
        if not self._keep_alive:
            self._transport.close()
        self.abandon()

    def close(self) -> None:
        """Close the connection once everything written is out."""
        self._transport.close()
        self.abandon()

    def reset(self) -> None:
        """Tear the connection down with a TCP reset, which overtakes what was written."""
        # Lingering for zero seconds makes the kernel send RST instead of FIN.
        linger = struct.pack("ii", 1, 0)
        connection = self._transport.get_extra_info("socket")
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._transport.abort()
        self.abandon()

    def abandon(self) -> None:
        """Do no more for this exchange: it is over."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._chunks = None
        self._free()
        if self.on_over is not None:
            self.on_over()

    def _send_chunk(self) -> None:
        self._timer = None
        if self._is_stalled or self._chunks is None:
            return
        chunk = next(self._chunks, None)
        if chunk is None:
            self.end()
        else:
            self._transport.write(chunk)
            self.later(self._interval_s, self._send_chunk)
