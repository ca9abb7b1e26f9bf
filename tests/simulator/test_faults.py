from __future__ import annotations

import asyncio
import gzip
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from mergeit_async.errors import UsageError
from mergeit_async.simulator.chance import Dice
from mergeit_async.simulator.faults import FAULTS, FaultPlan
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import RetryAfterStyle, SimulatorSettings
from tests.simulator.raw_client import Wire, chat_body, connect, get, post, simulated, until

BODY = chat_body()


def plan_for(settings: SimulatorSettings, arrivals: int) -> list[str | None]:
    plan = FaultPlan(settings, Dice(settings.seed))
    return [plan.due(number.to_bytes(8, "little")) for number in range(arrivals)]


def test_faults_are_a_function_of_seed_and_arrival() -> None:
    settings = SimulatorSettings(seed=3, fault_rate=0.3)

    assert plan_for(settings, 500) == plan_for(settings, 500)
    assert plan_for(settings, 500) != plan_for(SimulatorSettings(seed=4, fault_rate=0.3), 500)


def test_the_default_mix_has_every_kind_with_a_share() -> None:
    kinds = Counter(plan_for(SimulatorSettings(fault_rate=0.5), 4000))

    assert 0.46 < 1 - kinds[None] / 4000 < 0.54
    assert kinds.keys() - {None} == {kind for kind, fault in FAULTS.items() if fault.share}


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(UsageError, match="'earthquake'; choose among rate_limit, server"):
        FaultPlan(SimulatorSettings(faults={"earthquake": 0.1}), Dice(0))


@asynccontextmanager
async def met(fault: str, **settings: Any) -> AsyncIterator[tuple[Simulator, Wire]]:
    """A simulator whose every answer is this fault, and a connection that has asked for one."""
    async with simulated(faults={fault: 1.0}, **settings) as (simulator, wire):
        wire.send(post(BODY))
        yield simulator, wire


STATUSES = {
    "rate_limit": (429, "rate_limit_exceeded"),
    "quota": (429, "insufficient_quota"),
    "unauthorized": (401, "invalid_api_key"),
    "forbidden": (403, "unsupported_country_region"),
    "model_not_found": (404, "model_not_found"),
    "context_length": (400, "context_length_exceeded"),
    "bad_request": (400, "unsupported_value"),
    "request_timeout": (408, None),
    "conflict": (409, None),
    "too_large": (413, None),
    "server": (500, None),
    "unavailable": (503, None),
    "overloaded": (529, None),
}
PAGES = {"bad_gateway": 502, "gateway_timeout": 504}
SPOILED = {
    "hang", "stuck", "drip", "reset", "close_mid_body", "long_content_length",
    "short_content_length", "truncated_json", "not_json", "empty_choices", "huge", "gzip_bomb",
    "redirect",
}  # fmt: skip


def test_every_fault_is_looked_at_here() -> None:
    assert FAULTS.keys() == STATUSES.keys() | PAGES.keys() | SPOILED


def test_the_default_mix_is_what_it_always_was() -> None:
    assert {kind: fault.share for kind, fault in FAULTS.items() if fault.share} == {
        "rate_limit": 3, "server": 2, "bad_gateway": 1, "unavailable": 1, "overloaded": 1,
        "hang": 0.5, "reset": 1, "close_mid_body": 1, "truncated_json": 1, "not_json": 1,
        "empty_choices": 1,
    }  # fmt: skip


@pytest.mark.parametrize("fault", STATUSES)
async def test_an_error_has_its_status_and_code_and_keeps_the_connection(fault: str) -> None:
    async with met(fault) as (simulator, wire):
        status, _, body = await wire.answer()
        wire.send(post(BODY))
        again = await wire.answer()

    error = orjson.loads(body)["error"]
    assert (status, error["code"]) == STATUSES[fault]
    assert error["message"].endswith(("(injected).", "later."))
    assert again[0] == status
    assert simulator.stats.faults == {fault: 2}
    assert (simulator.stats.answered, simulator.stats.in_flight) == (0, 0)


@pytest.mark.parametrize("fault", PAGES)
async def test_a_gateway_answers_in_html(fault: str) -> None:
    async with met(fault) as (_, wire):
        status, headers, body = await wire.answer()

    assert status == PAGES[fault]
    assert headers["content-type"].startswith("text/html")
    assert body.startswith(b"<html>")


@pytest.mark.parametrize(
    ("style", "header", "value"),
    [
        ("seconds", "retry-after", "7"),
        ("ms", "retry-after-ms", "7000"),
        ("week", "retry-after", "604800"),
        ("none", "retry-after", None),
    ],
)
async def test_an_injected_rate_limit_says_how_long_to_wait(
    style: RetryAfterStyle, header: str, value: str | None
) -> None:
    async with met("rate_limit", fault_retry_after_s=7, retry_after_style=style) as (_, wire):
        _, headers, _ = await wire.answer()

    assert headers.get(header) == value


async def test_an_exhausted_quota_names_no_time_to_wait() -> None:
    async with met("quota") as (_, wire):
        assert "retry-after" not in (await wire.answer())[1]


async def test_a_redirect_names_another_place() -> None:
    async with met("redirect", redirect_to="http://127.0.0.1:9/x") as (_, wire):
        status, headers, body = await wire.answer()

    assert (status, headers["location"], body) == (307, "http://127.0.0.1:9/x", b"")


async def test_a_hang_answers_well_after_a_while() -> None:
    async with met("hang", hang_s=0.05) as (simulator, wire):
        began_s = time.monotonic()
        status, _, body = await wire.answer()

    assert time.monotonic() - began_s > 0.04
    assert status == 200
    assert orjson.loads(body)["choices"]
    assert simulator.stats.answered == 1


async def test_a_stuck_call_is_never_answered_and_ends_with_its_caller() -> None:
    async with met("stuck") as (simulator, wire):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(wire.reader.read(1), 0.1)
        held = simulator.stats.in_flight
        wire.writer.close()
        await until(lambda: simulator.stats.in_flight == 0)

    assert held == 1
    assert simulator.stats.answered == 0


async def test_a_drip_comes_byte_by_byte() -> None:
    async with met("drip", drip_interval_s=0.02) as (_, wire):
        status, headers = await wire.head()
        pieces = [await wire.reader.read(100) for _ in range(4)]

    assert (status, pieces) == (200, [b"{", b'"', b"i", b"d"])
    assert int(headers["content-length"]) > 200


async def test_a_drip_that_is_waited_for_is_a_good_answer() -> None:
    async with met("drip", drip_interval_s=0) as (simulator, wire):
        _, _, body = await wire.answer()
        before_s = simulator.stats.answered
        wire.send(get("/v1/models"))
        after = (await wire.answer())[0]

    assert orjson.loads(body)["choices"]
    assert (before_s, after) == (1, 200)


async def test_a_drip_stops_where_its_caller_hangs_up() -> None:
    async with met("drip", drip_interval_s=0.01) as (simulator, wire):
        await wire.head()
        wire.writer.transport.abort()
        await until(lambda: simulator.stats.in_flight == 0)

    assert simulator.stats.answered == 0


async def test_a_reset_is_a_reset_and_no_orderly_end() -> None:
    async with met("reset") as (_, wire):
        with pytest.raises(ConnectionResetError):
            await wire.rest()


async def test_a_close_mid_body_leaves_half_an_answer() -> None:
    async with met("close_mid_body") as (_, wire):
        _, headers = await wire.head()
        rest = await wire.rest()

    assert 0 < len(rest) == int(headers["content-length"]) // 2


async def test_a_long_content_length_is_never_filled() -> None:
    async with met("long_content_length") as (simulator, wire):
        _, headers = await wire.head()
        rest = await wire.rest()

    assert orjson.loads(rest)["choices"]
    assert int(headers["content-length"]) > len(rest)
    assert simulator.stats.answered == 0


async def test_a_short_content_length_leaves_bytes_before_the_next_answer() -> None:
    async with met("short_content_length") as (_, wire):
        _, _, body = await wire.answer()
        wire.send(get("/v1/models"))
        left = await wire.reader.readuntil(b"HTTP/1.1 ")

    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)
    assert orjson.loads(body + left.removesuffix(b"HTTP/1.1 "))["choices"]


async def test_a_truncated_answer_arrives_whole_as_broken_json() -> None:
    async with met("truncated_json") as (_, wire):
        status, _, body = await wire.answer()

    assert status == 200
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)


async def test_an_answer_may_be_no_json_at_all() -> None:
    async with met("not_json") as (_, wire):
        status, headers, body = await wire.answer()

    assert (status, headers["content-type"]) == (200, "text/plain; charset=utf-8")
    assert body.startswith(b"upstream")


async def test_an_answer_may_hold_no_choice() -> None:
    async with met("empty_choices") as (_, wire):
        assert orjson.loads((await wire.answer())[2])["choices"] == []


async def test_a_huge_answer_does_not_say_how_long_it_is() -> None:
    async with met("huge", huge_bytes=3_000_000) as (_, wire):
        _, headers = await wire.head()
        body = b""
        while size := int(await wire.reader.readuntil(b"\r\n"), 16):
            body += (await wire.reader.readexactly(size + 2))[:-2]
        await wire.reader.readexactly(2)
        wire.send(get("/v1/models"))
        after = (await wire.answer())[0]

    assert headers["transfer-encoding"] == "chunked"
    assert "content-length" not in headers
    assert len(body) == 3_000_000
    assert len(orjson.loads(body)["choices"][0]["message"]["content"]) > 2_999_000
    assert after == 200


async def test_others_are_served_while_a_huge_answer_is_not_read() -> None:
    async with met("huge") as (simulator, wire), connect(simulator) as other:
        await wire.head()
        other.send(get("/v1/models"))
        status = (await other.answer())[0]

    assert status == 200


async def test_a_gzip_bomb_looks_small() -> None:
    async with met("gzip_bomb", bomb_bytes=20_000_000) as (_, wire):
        _, headers, body = await wire.answer()

    assert headers["content-encoding"] == "gzip"
    assert len(body) < 30_000
    assert len(gzip.decompress(body)) == 20_000_000
