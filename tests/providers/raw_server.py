"""Servers that send exactly the bytes a test wants, and what a test sends to them."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import orjson

from mergeit_async.records import ChatRequest, Message

KEY = 'sk-secret/"0123456789'
SOURCES = (
    '{"instruction": "Name a river in France.", "input": "", "output": "The Loire."}\n'
    '{"instruction": "Name a river in Spain.", "input": "", "output": "The Ebro."}'
)
GOOD = orjson.dumps({"choices": [{"message": {"content": "hello"}, "finish_reason": "stop"}]})

Respond = Callable[[asyncio.StreamWriter], Awaitable[None]]
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
# An answer that never comes: the server waits until the client hangs up.
SILENCE = b"<silence>"


@dataclass
class Seen:
    """What a raw server received: whole requests, the number of connections, and those open now."""

    url: str = ""
    requests: list[bytes] = field(default_factory=list)
    connections: int = 0
    open: set[asyncio.StreamWriter] = field(default_factory=set)

    async def asked(self, times: int = 1) -> None:
        """Wait until `times` requests are here."""
        while len(self.requests) < times:  # noqa: ASYNC110, nothing else waits for this
            await asyncio.sleep(0)


@asynccontextmanager
async def raw_server(
    *answers: bytes | Respond, keep: bool = False, tls: ssl.SSLContext | None = None
) -> AsyncIterator[Seen]:
    """A server whose connections give `answers` in turn, the last one for ever if they `keep`.

    Otherwise a connection ends after the last. An answer is bytes, or writes what it likes.
    """
    seen = Seen()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        queue = list(answers)
        while queue and (got := await read_request(reader)) is not None:
            seen.requests.append(got)
            answer = queue[0] if keep and len(queue) == 1 else queue.pop(0)
            if answer is SILENCE:
                await reader.read()
            elif isinstance(answer, bytes):
                writer.write(answer)
                await writer.drain()
            else:
                await answer(writer)

    async with listen(serve, seen, tls):
        yield seen


@asynccontextmanager
async def listen(serve: Serve, seen: Seen, tls: ssl.SSLContext | None = None) -> AsyncIterator[int]:
    """The port of a server that hands its connections to `serve`, and ends them all at its end."""
    ended: list[asyncio.Task[None]] = []

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        seen.open.add(writer)
        with suppress(OSError, RuntimeError):  # the client hung up first; uvloop says the latter
            await serve(reader, writer)
        seen.open.discard(writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def begin(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        ended.append(asyncio.create_task(count(reader, writer)))

    server = await asyncio.start_server(begin, "127.0.0.1", 0, ssl=tls, backlog=1000)
    port = server.sockets[0].getsockname()[1]
    seen.url = f"https://localhost:{port}" if tls else f"http://127.0.0.1:{port}"
    async with server:
        yield port
        for writer in seen.open:
            writer.transport.abort()
        await asyncio.gather(*ended)


async def read_request(reader: asyncio.StreamReader) -> bytes | None:
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError:
        return None
    length = next(
        (int(line[15:]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-len")),
        0,
    )
    return head + await reader.readexactly(length)


def http(body: bytes, status: str = "200 OK", *headers: str) -> bytes:
    """One whole answer."""
    head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def chunked(*chunks: bytes) -> bytes:
    """One whole answer in chunks, with a trailer behind them."""
    parts = b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks)
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    return head + parts + b"0\r\nX-Trailer: end\r\n\r\n"


def request(text: str = SOURCES, sample: int = 0) -> ChatRequest:
    message = Message("user", text)
    return ChatRequest("key", "sim-merge", (message,), 0.25, 500, sample, 50)
