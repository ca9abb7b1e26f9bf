from __future__ import annotations

import asyncio
import gc
import socket
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from yarl import URL

from mergeit_async.providers.answer import MAX_ERROR_BYTES, MAX_HEAD_BYTES, Answer, BadAnswer
from mergeit_async.providers.connection import Connection
from mergeit_async.providers.wire import MAX_IDLE_S, Wire
from tests.providers.raw_server import GOOD, Seen, chunked, http, listen, raw_server

pytestmark = pytest.mark.usefixtures("direct")


@asynccontextmanager
async def wire_to(url: str) -> AsyncIterator[Wire]:
    wire = Wire(URL(url), {"X-Test": "yes"}, None)
    try:
        yield wire
    finally:
        await wire.close()


async def ask(wire: Wire, seen: Seen, body: bytes = b"{}", timeout_s: float = 5) -> Answer:
    return await wire.send("POST", URL(f"{seen.url}/v1/chat"), body, timeout_s)


async def settle() -> None:
    """Let what is on its way over loopback arrive."""
    await asyncio.sleep(0.02)


async def test_a_request_is_its_head_and_its_body_at_once() -> None:
    async with raw_server(http(GOOD)) as seen, wire_to(seen.url) as wire:
        answer = await ask(wire, seen, b"body")

    port = URL(seen.url).port
    assert seen.requests == [
        f"POST /v1/chat HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Test: yes\r\n"
        "Content-Length: 4\r\n\r\nbody".encode()
    ]
    assert answer == Answer(200, {"content-length": str(len(GOOD))}, GOOD)


async def test_the_connection_used_last_is_used_next() -> None:
    async with raw_server(http(GOOD), keep=True) as seen, wire_to(seen.url) as wire:
        await asyncio.gather(*(ask(wire, seen) for _ in range(3)))
        last = wire._idle[-1]
        await ask(wire, seen)
        assert wire._idle[-1] is last
        assert len(wire._idle) == 3

    assert (len(seen.requests), seen.connections) == (4, 3)


async def test_the_headers_of_one_answer_are_not_those_of_the_next() -> None:
    answers = (http(GOOD, "200 OK", "Retry-After: 9"), http(GOOD, "200 OK", "X-Next: 1"), b"")
    async with raw_server(*answers) as seen, wire_to(seen.url) as wire:
        first, second = await ask(wire, seen), await ask(wire, seen)

    assert seen.connections == 1
    assert first.headers.keys() == {"content-length", "retry-after"}
    assert second.headers.keys() == {"content-length", "x-next"}


async def test_without_a_limit_every_call_has_its_connection_at_once() -> None:
    async with raw_server(http(GOOD), keep=True) as seen, wire_to(seen.url) as wire:
        await asyncio.gather(*(ask(wire, seen) for _ in range(100)))

    assert seen.connections == 100


@pytest.mark.parametrize(
    "answer",
    [
        http(GOOD, "200 OK", "Connection: close"),
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        http(GOOD) + b"!",
        http(GOOD) + http(GOOD),
        chunked(GOOD) + b"HTTP/1.1 200",
    ],
)
async def test_a_connection_that_may_hold_more_is_not_used_again(answer: bytes) -> None:
    async with raw_server(answer, keep=True) as seen, wire_to(seen.url) as wire:
        first, second = await ask(wire, seen), await ask(wire, seen)

    assert first == second
    assert (len(seen.requests), seen.connections) == (2, 2)


async def test_bytes_that_nobody_asked_for_end_an_idle_connection() -> None:
    async def answer_twice(writer: asyncio.StreamWriter) -> None:
        writer.write(http(GOOD))
        await settle()
        writer.write(http(b'"not yours"'))

    async with raw_server(answer_twice, keep=True) as seen, wire_to(seen.url) as wire:
        await ask(wire, seen)
        await settle()
        await settle()
        second = await ask(wire, seen)

    assert second.body == GOOD
    assert seen.connections == 2


async def test_a_connection_that_the_server_has_closed_is_never_picked() -> None:
    async with raw_server(http(GOOD)) as seen, wire_to(seen.url) as wire:
        for _ in range(3):
            assert (await ask(wire, seen)).status == 200
            await settle()

    assert seen.connections == 3


async def test_a_request_that_meets_a_closing_connection_is_not_sent_again() -> None:
    async with raw_server(http(GOOD), b"") as seen, wire_to(seen.url) as wire:
        await ask(wire, seen)
        with pytest.raises(ConnectionError, match="before its answer was whole"):
            await ask(wire, seen)
        await settle()

    assert (len(seen.requests), seen.connections) == (2, 1)


async def test_a_connection_that_was_idle_for_long_is_not_trusted_with_a_request() -> None:
    async with raw_server(http(GOOD), keep=True) as seen, wire_to(seen.url) as wire:
        await asyncio.gather(ask(wire, seen), ask(wire, seen))
        for connection in wire._idle:
            connection.idle_since -= MAX_IDLE_S
        await ask(wire, seen)
        assert len(wire._open) <= 3
        await settle()
        assert len(wire._open) == 1

    assert seen.connections == 3


async def test_old_connections_at_the_bottom_are_closed_as_others_come_back() -> None:
    async with raw_server(http(GOOD), keep=True) as seen, wire_to(seen.url) as wire:
        await asyncio.gather(*(ask(wire, seen) for _ in range(3)))
        wire._idle[0].idle_since -= 2 * MAX_IDLE_S
        await ask(wire, seen)
        await settle()
        assert len(wire._open) == 2


async def test_an_answer_before_the_whole_request_is_taken_and_ends_the_connection() -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(http(b"too large", "413 Content Too Large"))
        await writer.wait_closed()

    seen = Seen()
    async with listen(refuse, seen), wire_to(seen.url) as wire:
        answer = await ask(wire, seen, bytes(32 * 2**20))
        await settle()
        assert not wire._open

    assert (answer.status, answer.body) == (413, b"too large")


async def test_a_head_without_end_is_not_read_to_its_end() -> None:
    written = 0

    async def flood(writer: asyncio.StreamWriter) -> None:
        nonlocal written
        writer.write(b"HTTP/1.1 200 OK\r\n")
        while True:
            writer.write(b"X-Header: %d\r\n" % written)
            written += 12
            await writer.drain()

    async with raw_server(flood) as seen, wire_to(seen.url) as wire:
        with pytest.raises(BadAnswer, match=str(MAX_HEAD_BYTES)):
            await ask(wire, seen)

    assert written < 16 * 2**20


async def test_interim_answers_without_end_are_not_read_for_ever() -> None:
    async with (
        raw_server(b"HTTP/1.1 102 Processing\r\n\r\n" * 9000) as seen,
        wire_to(seen.url) as wire,
    ):
        with pytest.raises(BadAnswer, match="larger"):
            await ask(wire, seen)


async def test_of_a_large_error_page_the_beginning_is_kept() -> None:
    page = http(b"x" * 2**20, "500 Oops")
    async with raw_server(page) as seen, wire_to(seen.url) as wire:
        answer = await ask(wire, seen)

    assert answer.status == 500
    assert isinstance(answer.broken, BadAnswer)
    assert set(answer.body) == {ord("x")}
    assert len(answer.body) < 2**20


async def test_trailers_without_end_are_not_read_for_ever() -> None:
    head = b"HTTP/1.1 500 Oops\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n"
    async with (
        raw_server(head + b"X-T: 1\r\n" * (MAX_ERROR_BYTES // 4)) as seen,
        wire_to(seen.url) as wire,
    ):
        answer = await ask(wire, seen)

    assert isinstance(answer.broken, BadAnswer)


@pytest.mark.parametrize("framing", ["Content-Length: 99", "X-Framing: until the end"])
async def test_a_reset_in_the_middle_keeps_the_head_that_has_come(framing: str) -> None:
    async def reset(writer: asyncio.StreamWriter) -> None:
        writer.write(f"HTTP/1.1 503 Busy\r\nRetry-After: 9\r\n{framing}\r\n\r\nso".encode())
        await settle()
        # Lingering for zero seconds makes the kernel send RST instead of FIN.
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()

    async with raw_server(reset) as seen, wire_to(seen.url) as wire:
        answer = await ask(wire, seen)

    assert (answer.status, answer.headers["retry-after"], answer.body) == (503, "9", b"so")
    assert isinstance(answer.broken, ConnectionError)


async def test_after_a_timeout_the_late_answer_belongs_to_nobody() -> None:
    async def answer_late(writer: asyncio.StreamWriter) -> None:
        await asyncio.sleep(0.1)
        writer.write(http(b'"late"'))

    async with raw_server(answer_late) as late, wire_to(late.url) as wire:
        with pytest.raises(TimeoutError):
            await ask(wire, late, timeout_s=0.02)
        await settle()
        assert not wire._open
        assert not wire._idle


async def test_a_time_limit_that_an_answer_has_just_met_changes_nothing() -> None:
    async with raw_server(http(GOOD), keep=True) as seen, wire_to(seen.url) as wire:
        await ask(wire, seen)
        wire._idle[0]._expire()
        assert (await ask(wire, seen)).status == 200

    assert seen.connections == 1


async def test_closing_leaves_no_connection_behind() -> None:
    async with raw_server(http(GOOD), keep=True) as seen:
        async with wire_to(seen.url) as wire:
            await asyncio.gather(*(ask(wire, seen) for _ in range(5)))
            assert len(seen.open) == 5
        assert not wire._open
        await settle()
        assert not seen.open
    # An open transport would complain here, which is an error in these tests.
    gc.collect()


async def test_a_connection_that_is_made_after_closing_is_ended_unused() -> None:
    async with raw_server(http(GOOD), keep=True) as seen, wire_to(seen.url) as wire:
        call = asyncio.create_task(ask(wire, seen))
        await asyncio.sleep(0)
        await wire.close()
        with pytest.raises(ConnectionError):
            await call
        await settle()
        assert not wire._open

    assert seen.requests == []


async def test_an_ended_connection_leaves_no_garbage_for_the_collector() -> None:
    gc.collect()
    gc.disable()
    try:
        async with raw_server(http(GOOD)) as seen, wire_to(seen.url) as wire:
            await ask(wire, seen)
            await settle()
        left = [thing for thing in gc.get_objects() if isinstance(thing, Connection)]
    finally:
        gc.enable()

    assert left == []


async def test_the_next_address_is_tried_when_the_first_is_dead_or_silent() -> None:
    silent = socket.create_server(("127.0.0.1", 0), backlog=0)
    silent.setblocking(False)
    # A full queue: the system answers no further knock.
    knocks = [socket.socket() for _ in range(3)]
    for knock in knocks:
        knock.setblocking(False)
        knock.connect_ex(silent.getsockname())
    with socket.create_server(("127.0.0.1", 0)) as closed:
        dead = closed.getsockname()

    async with raw_server(http(GOOD)) as seen, wire_to(seen.url) as wire:
        tcp = (socket.AF_INET, socket.SOCK_STREAM, 6, "")
        there = (URL(seen.url).host, URL(seen.url).port)
        wire._addresses = [(*tcp, dead), (*tcp, silent.getsockname()), (*tcp, there)]
        wire._resolved_at = time.monotonic()
        answer = await ask(wire, seen, timeout_s=3)

    for sock in (*knocks, silent):
        sock.close()
    assert answer.status == 200


async def test_connecting_counts_as_part_of_the_call() -> None:
    silent = socket.create_server(("127.0.0.1", 0), backlog=0)
    knocks = [socket.socket() for _ in range(3)]
    for knock in knocks:
        knock.setblocking(False)
        knock.connect_ex(silent.getsockname())

    url = f"http://127.0.0.1:{silent.getsockname()[1]}"
    async with wire_to(url) as wire:
        with pytest.raises(TimeoutError):
            await wire.send("POST", URL(url), b"{}", 0.05)

    for sock in (*knocks, silent):
        sock.close()


async def test_a_name_is_looked_up_once_for_many_calls_and_again_after_a_failure() -> None:
    async with raw_server(http(GOOD), keep=True) as seen:
        port = URL(seen.url).port
        async with wire_to(f"http://localhost:{port}") as wire:
            await asyncio.gather(*(ask(wire, seen) for _ in range(20)))
            looked_up_at = wire._resolved_at
            await asyncio.gather(*(ask(wire, seen) for _ in range(30)))
            assert wire._resolved_at == looked_up_at
            wire._idle.clear()
            wire._addresses = [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 1))]
            with pytest.raises(ConnectionError, match=f"localhost:{port}"):
                await ask(wire, seen)
            assert (await ask(wire, seen)).status == 200
            assert wire._resolved_at > looked_up_at


async def test_packets_are_not_held_back_and_a_silent_peer_is_probed() -> None:
    async with raw_server(http(GOOD), keep=True) as seen, wire_to(seen.url) as wire:
        await ask(wire, seen)
        sock = wire._idle[0]._transport.get_extra_info("socket")
        no_delay = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        keep_alive = sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)

    assert (bool(no_delay), bool(keep_alive)) == (True, True)
