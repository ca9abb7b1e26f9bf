from __future__ import annotations

import asyncio

import orjson
import pytest

from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from tests.simulator.raw_client import Wire, chat_body, connect, get, post, simulated, until


async def test_one_connection_serves_many_requests() -> None:
    async with simulated() as (simulator, wire):
        for number in range(5):
            wire.send(post(chat_body(str(number))))
            assert (await wire.answer())[0] == 200

        assert simulator.stats.answered == 5


async def test_requests_sent_ahead_are_answered_in_their_order() -> None:
    bodies = [chat_body(str(number)) for number in range(200)]
    async with simulated() as (_, wire):
        wire.send(b"".join(map(post, bodies)))
        ahead = [(await wire.answer())[2] for _ in bodies]
        wire.send(post(bodies[7]))
        seventh = (await wire.answer())[2]

    assert len(set(ahead)) == 200
    assert ahead[7] == seventh


async def test_a_request_sent_ahead_waits_for_the_one_before() -> None:
    async with simulated(latency_s=0.02) as (simulator, wire):
        wire.send(post(chat_body("a")) + get("/stats"))
        await wire.answer()
        stats = orjson.loads((await wire.answer())[2])

    assert stats["answered"] == 1
    assert simulator.stats.peak_in_flight == 1


@pytest.mark.parametrize(
    "request_bytes",
    [
        post(chat_body(), "Connection: close"),
        post(chat_body()).replace(b"HTTP/1.1", b"HTTP/1.0"),
    ],
)
async def test_the_connection_is_closed_where_its_caller_wants_that(request_bytes: bytes) -> None:
    async with simulated() as (_, wire):
        wire.send(request_bytes)
        status, headers, _ = await wire.answer()
        after = await wire.rest()

    assert (status, headers["connection"], after) == (200, "close", b"")


async def test_a_body_is_asked_for_where_its_sender_holds_it_back() -> None:
    request = post(chat_body(), "Expect: 100-continue")
    async with simulated() as (_, wire):
        wire.send(request[: -len(chat_body())])
        asked = await wire.head()
        wire.send(chat_body())
        status = (await wire.answer())[0]

    assert (asked, status) == ((100, {}), 200)


async def test_what_is_no_request_is_answered_as_bad_and_ends_the_connection() -> None:
    async with simulated() as (simulator, wire):
        wire.send(get("/v1/models") + b"what?\r\n\r\n" + get("/v1/models"))
        good, bad = await wire.answer(), await wire.answer()
        after = await wire.rest()

    assert (good[0], bad[0], after) == (200, 400, b"")
    assert orjson.loads(bad[2])["error"]["type"] == "invalid_request_error"
    assert simulator.stats.arrivals == 0


async def test_a_head_is_answered_without_a_body() -> None:
    async with simulated() as (_, wire):
        wire.send(get("/nowhere").replace(b"GET", b"HEAD") + get("/v1/models"))
        status, _ = await wire.head()
        after = (await wire.answer())[0]

    assert (status, after) == (404, 200)


async def test_a_whole_answer_comes_in_one_piece() -> None:
    async with simulated() as (_, wire):
        wire.send(post(chat_body()))
        first = await wire.reader.read(2**16)

    head, _, body = first.partition(b"\r\n\r\n")
    assert b"Content-Length: %d" % len(body) in head


async def test_hundreds_of_callers_are_served_at_once() -> None:
    async def ask(simulator: Simulator, number: int) -> int:
        async with connect(simulator) as wire:
            wire.send(post(chat_body(str(number))))
            return (await wire.answer())[0]

    async with Simulator(SimulatorSettings(latency_s=0.3)) as simulator:
        statuses = await asyncio.gather(*(ask(simulator, number) for number in range(400)))

        assert set(statuses) == {200}
        assert simulator.stats.peak_in_flight > 200


async def test_a_caller_that_hangs_up_frees_its_place() -> None:
    async with simulated(latency_s=60) as (simulator, wire):
        async with connect(simulator) as other:
            other.send(post(chat_body()))
            await until(lambda: simulator.stats.in_flight == 1)
        await until(lambda: simulator.stats.in_flight == 0)
        wire.send(get("/v1/models"))

        assert (await wire.answer())[0] == 200
        assert simulator.stats.answered == 0


async def test_a_caller_that_hangs_up_is_never_answered() -> None:
    async with simulated(latency_s=0.05) as (simulator, wire):
        async with connect(simulator) as other:
            other.send(post(chat_body("gone")))
            await until(lambda: simulator.stats.in_flight == 1)
        await until(lambda: simulator.stats.in_flight == 0)
        wire.send(post(chat_body("later")))
        await wire.answer()

        assert simulator.stats.answered == 1
        assert simulator.stats.in_flight == 0


async def test_closing_cuts_off_answers_in_progress() -> None:
    async with Simulator(SimulatorSettings(latency_s=60)) as simulator:
        place = connect(simulator)
        wire: Wire = await place.__aenter__()
        wire.send(post(chat_body()))
        await until(lambda: simulator.stats.in_flight == 1)
    after = await wire.rest()
    await place.__aexit__(None, None, None)

    assert after == b""
    assert simulator.stats.in_flight == 0
