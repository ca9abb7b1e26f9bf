"""The direct way to a server: keep-alive connections of our own, HTTP/1.1, with or without TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
import time
from collections import deque
from collections.abc import Mapping, Sequence

from aiohappyeyeballs import AddrInfoType, start_connection
from yarl import URL

from mergeit_async.providers.answer import Answer, NotConnected
from mergeit_async.providers.connection import Connection

# Long-lived connections are dropped without a word by servers and by routers in between; one that
# was idle for longer is not trusted with a request, which must not be sent twice.
MAX_IDLE_S = 15.0
# How long one address of a host is tried alone before the next (RFC 8305, section 5).
_NEXT_ADDRESS_AFTER_S = 0.25
_ADDRESSES_TTL_S = 60.0
# Without a sign of life for so long, a router may forget a call that the server still works on.
_SIGN_OF_LIFE_AFTER_S = 60


class Wire:
    """A pool of connections to the host of `base`; the one used last is used next."""

    def __init__(
        self,
        base: URL,
        headers: Mapping[str, str],
        tls: ssl.SSLContext | None,
    ) -> None:
        """`tls` is None for plain HTTP. There are as many connections as there are calls."""
        self._loop = asyncio.get_running_loop()
        self._host, self._port = str(base.raw_host), base.port
        self._headers = "".join(
            f"{name}: {value}\r\n"
            for name, value in {"Host": base.host_port_subcomponent, **headers}.items()
        )
        self._tls = tls
        self._idle: deque[Connection] = deque()
        self._open: set[Connection] = set()
        self._resolving = asyncio.Lock()
        self._addresses: Sequence[AddrInfoType] = ()
        self._resolved_at = 0.0
        self._closed = False

    async def send(self, method: str, url: URL, body: bytes, timeout_s: float) -> Answer:
        """See `Transport`."""
        length = f"Content-Length: {len(body)}\r\n" if body else ""
        head = f"{method} {url.raw_path} HTTP/1.1\r\n{self._headers}{length}\r\n"
        return await self._exchange(head.encode("latin-1") + body, timeout_s)

    async def close(self) -> None:
        """End all connections, and see them ended."""
        self._closed = True
        self._idle.clear()
        while self._open:
            for connection in self._open:
                connection.abort()
            await asyncio.wait([connection.closed for connection in self._open])

    async def _exchange(self, request: bytes, timeout_s: float) -> Answer:
        connection = self._take_idle()
        if connection is None:
            deadline = self._loop.time() + timeout_s
            async with asyncio.timeout_at(deadline):
                connection = await self._connect()
            timeout_s = deadline - self._loop.time()
        try:
            return await connection.exchange(request, timeout_s)
        finally:
            if connection.usable:
                self._put_back(connection)

    def _take_idle(self) -> Connection | None:
        while self._idle:
            connection = self._idle.pop()
            fresh = self._loop.time() - connection.idle_since < MAX_IDLE_S
            if connection.usable and fresh:
                return connection
            connection.abort()
        return None

    def _put_back(self, connection: Connection) -> None:
        now = connection.idle_since = self._loop.time()
        self._idle.append(connection)
        while now - self._idle[0].idle_since > MAX_IDLE_S:
            self._idle.popleft().abort()

    async def _connect(self) -> Connection:
        try:
            # uvloop does not know the addresses' race that asyncio's create_connection offers.
            sock = await start_connection(
                await self._resolve(), happy_eyeballs_delay=_NEXT_ADDRESS_AFTER_S
            )
            _keep_alive(sock)
            _, connection = await self._loop.create_connection(
                lambda: Connection(self._loop, self._open),
                sock=sock,
                ssl=self._tls,
                server_hostname=self._host if self._tls else None,
            )
        # A host that no lookup can spell is a UnicodeError; uvloop knows a RuntimeError here.
        except (OSError, UnicodeError, RuntimeError) as error:
            self._addresses = ()
            raise NotConnected(f"cannot connect to {self._host}:{self._port}: {error}") from None
        if self._closed:
            connection.abort()
        return connection

    async def _resolve(self) -> Sequence[AddrInfoType]:
        """The host's addresses; many calls that begin at once look them up once."""
        async with self._resolving:
            if not self._addresses or time.monotonic() - self._resolved_at > _ADDRESSES_TTL_S:
                self._addresses = await self._loop.getaddrinfo(
                    self._host, self._port, type=socket.SOCK_STREAM
                )
                self._resolved_at = time.monotonic()
            return self._addresses


def _keep_alive(sock: socket.socket) -> None:
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if hasattr(socket, "TCP_KEEPIDLE"):  # not on every platform
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, _SIGN_OF_LIFE_AFTER_S)
