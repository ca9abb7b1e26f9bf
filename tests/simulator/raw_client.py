"""A plain client for the simulator's tests: bytes in, bytes out, nothing in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import orjson

from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings

PATH = "/v1/chat/completions"


def chat_body(text: str = "hi", model: str = "sim-merge", **members: Any) -> bytes:
    """A chat-completions body with one user turn."""
    turns = [{"role": "user", "content": text}]
    return orjson.dumps({"model": model, "messages": turns, **members})


def post(body: bytes, *headers: str, path: str = PATH) -> bytes:
    """A whole POST request."""
    head = [f"POST {path} HTTP/1.1", "Host: x", f"Content-Length: {len(body)}", *headers, "", ""]
    return "\r\n".join(head).encode() + body


def get(path: str, *headers: str) -> bytes:
    """A whole GET request."""
    return "\r\n".join([f"GET {path} HTTP/1.1", "Host: x", *headers, "", ""]).encode()


class Wire:
    """One connection to a server."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def head(self) -> tuple[int, dict[str, str]]:
        """The next status and headers, by lower-case name."""
        lines = (await self.reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        pairs = (line.split(": ", 1) for line in lines[1:-2])
        return int(lines[0].split()[1]), {name.lower(): value for name, value in pairs}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """The next answer, of the length it claims."""
        status, headers = await self.head()
        return status, headers, await self.reader.readexactly(int(headers["content-length"]))

    async def ask(self, body: bytes, *headers: str) -> tuple[int, dict[str, str], Any]:
        """The answer to a chat request, its body parsed."""
        self.send(post(body, *headers))
        status, told, answer = await self.answer()
        return status, told, orjson.loads(answer)

    async def look(self, path: str, *headers: str) -> Any:
        """What is at `path`, parsed."""
        self.send(get(path, *headers))
        return orjson.loads((await self.answer())[2])

    async def control(self, changes: Any) -> tuple[int, Any]:
        """Status and answer of changing the server."""
        self.send(post(orjson.dumps(changes), path="/control"))
        status, _, answer = await self.answer()
        return status, orjson.loads(answer)

    async def rest(self) -> bytes:
        """Everything until the server closes."""
        return await self.reader.read()


@asynccontextmanager
async def connect(simulator: Simulator) -> AsyncIterator[Wire]:
    """A connection of its own."""
    place = urlsplit(simulator.url)
    reader, writer = await asyncio.open_connection(place.hostname, place.port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.transport.abort()


async def until(holds: Callable[[], bool]) -> None:
    """Wait for a condition to hold."""
    for _ in range(5000):
        if holds():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("what was waited for never came")


@asynccontextmanager
async def simulated(**settings: Any) -> AsyncIterator[tuple[Simulator, Wire]]:
    """A simulator with these settings, and a connection to it."""
    async with Simulator(SimulatorSettings(**settings)) as simulator, connect(simulator) as wire:
        yield simulator, wire
