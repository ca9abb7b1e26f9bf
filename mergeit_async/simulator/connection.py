"""The connections of a simulated server: each answers its requests one after another."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import cast

from mergeit_async.simulator.answers import INVALID, error_answer, write_head
from mergeit_async.simulator.exchange import Exchange
from mergeit_async.simulator.wire import BadRequest, Request, RequestReader

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"


class Connections:
    """The open connections of one server; while they are shut, new ones are closed at once."""

    def __init__(
        self, handle: Callable[[Request, Exchange], None], on_refused: Callable[[], None]
    ) -> None:
        """`handle` answers each request, at once or later; `on_refused` counts closed ones."""
        self.handle = handle
        self.are_shut = False
        self._on_refused = on_refused
        self._open: set[Connection] = set()

    def accept(self) -> Connection:
        """A protocol for a new connection; a factory for `loop.create_server`."""
        return Connection(self)

    def add(self, connection: Connection) -> None:
        """Take a connection in, or close it at once."""
        if self.are_shut:
            self._on_refused()
            connection.abort()
        else:
            self._open.add(connection)

    def discard(self, connection: Connection) -> None:
        """Forget a connection that is lost."""
        self._open.discard(connection)

    def shut(self, spared: Exchange | None = None) -> None:
        """Cut all connections off, but for that of `spared`, and take no new ones."""
        self.are_shut = True
        for connection in list(self._open):
            if spared is None or connection.current is not spared:
                connection.abort()

    def reopen(self) -> None:
        """Take new connections again."""
        self.are_shut = False


class Connection(asyncio.Protocol):
    """One connection; `current` is the exchange in progress."""

    def __init__(self, connections: Connections) -> None:
        self.current: Exchange | None = None
        self._connections = connections
        self._reader = RequestReader()
        self._waiting: deque[Request | BadRequest] = deque()

    def abort(self) -> None:
        """Close now, whatever was written and not sent yet."""
        self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take part, where the server takes connections."""
        self._transport = cast(asyncio.Transport, transport)
        self._connections.add(self)

    def data_received(self, data: bytes) -> None:
        """Answer what is complete, in its order."""
        if requests := self._reader.feed(data):
            self._waiting += requests
            self._work()
        elif self._reader.awaits_continue:
            self._transport.write(_CONTINUE)

    def connection_lost(self, exc: Exception | None) -> None:
        """Nobody waits for an answer any more."""
        self._connections.discard(self)
        self._waiting.clear()
        if self.current is not None:
            self.current.abandon()

    def pause_writing(self) -> None:
        """The receiver is behind."""
        if self.current is not None:
            self.current.stall()

    def resume_writing(self) -> None:
        """The receiver has caught up."""
        if self.current is not None:
            self.current.go_on()

    def _work(self) -> None:
        while self._waiting and self.current is None and not self._transport.is_closing():
            request = self._waiting.popleft()
            if isinstance(request, BadRequest):
                self._refuse(request)
            else:
                self.current = Exchange(request, self._transport, self._free)
                self._connections.handle(request, self.current)

    def _free(self) -> None:
        self.current = None
        if self._waiting:
            # Not at once: a caller that sends a thousand requests in one go would nest as deep.
            asyncio.get_running_loop().call_soon(self._work)

    def _refuse(self, bad: BadRequest) -> None:
        answer = error_answer(bad.status, bad.reason, type_=INVALID)
        self._transport.write(write_head(answer, len(answer.body), closes=True) + answer.body)
        self._transport.close()
