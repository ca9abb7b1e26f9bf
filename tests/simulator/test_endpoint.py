from __future__ import annotations

import asyncio
import time
from typing import Any

import orjson
import pytest

from tests.simulator.raw_client import chat_body, connect, get, post, simulated, until


async def test_models_are_listed() -> None:
    async with simulated(models=("a", "b")) as (_, wire):
        models = await wire.look("/v1/models")

    assert [model["id"] for model in models["data"]] == ["a", "b"]


async def test_models_are_listed_for_those_with_the_key() -> None:
    async with simulated(api_key="right", models=("a",)) as (_, wire):
        refused = await wire.look("/v1/models")
        listed = await wire.look("/v1/models", "Authorization: Bearer right")

    assert refused["error"]["code"] == "invalid_api_key"
    assert listed["data"][0]["id"] == "a"


@pytest.mark.parametrize("request_bytes", [get("/v1/embeddings"), get("/control"), get("/")])
async def test_an_unknown_path_is_not_found(request_bytes: bytes) -> None:
    async with simulated() as (_, wire):
        wire.send(request_bytes)
        status, _, body = await wire.answer()

    assert (status, orjson.loads(body)["error"]["code"]) == (404, "unknown_url")


async def test_the_version_in_the_path_may_be_left_out() -> None:
    async with simulated() as (_, wire):
        wire.send(post(chat_body(), path="/chat/completions"))

        assert (await wire.answer())[0] == 200


async def test_stats_are_served_with_and_without_bodies_and_can_be_reset() -> None:
    async with simulated() as (_, wire):
        await wire.ask(chat_body())
        full, compact = await wire.look("/stats"), await wire.look("/stats?digests=0")
        wire.send(post(b"", path="/stats/reset"))
        await wire.answer()
        empty = await wire.look("/stats")

    assert list(full["requests"].values()) == [{"arrivals": 1, "answered": 1}]
    assert "requests" not in compact
    assert compact["answered"] == 1
    assert empty["arrivals"] == 0


async def test_stats_tell_load_and_limits_over_time() -> None:
    async with simulated(rpm=600, burst_s=1) as (_, wire):
        for _ in range(15):
            await wire.ask(chat_body())
        stats = await wire.look("/stats")

    arrivals, answered, refused = (sum(row[at] for row in stats["trace"]) for at in (1, 2, 3))
    assert (arrivals, answered + refused) == (15, 15)
    assert refused == stats["rejected"]["429"] > 0
    assert stats["limits"] == [[0, 600, None]]
    assert stats["limits_used"]["rpm"]["whole"] > 1
    assert stats["limits_used"]["tpm"] == {"steady": None, "whole": None}
    assert stats["started_s"] <= stats["first_arrival_s"]


async def test_settings_can_be_changed_while_the_server_runs() -> None:
    changes: dict[str, Any] = {"rpm": 60, "burst_s": 1, "faults": {"server": 1.0}}
    async with simulated() as (_, wire):
        before = (await wire.ask(chat_body()))[0]
        status, now = await wire.control(changes)
        after = [(await wire.ask(chat_body()))[0] for _ in range(2)]
        limits = (await wire.look("/stats"))["limits"]

    assert (before, status, after) == (200, 200, [500, 429])
    assert now == {
        "rpm": 60,
        "tpm": None,
        "burst_s": 1,
        "max_concurrent": None,
        "latency_s": 0,
        "latency_sigma": 0,
        "fault_rate": 0,
        "faults": {"server": 1},
        "down": False,
    }
    assert [limit[1:] for limit in limits] == [[None, None], [60, None]]


async def test_latency_and_concurrency_can_be_changed() -> None:
    async with simulated(latency_s=60) as (simulator, wire), connect(simulator) as stuck:
        stuck.send(post(chat_body()))
        await until(lambda: simulator.stats.in_flight == 1)
        await wire.control({"latency_s": 0, "max_concurrent": 1})
        refused = (await wire.ask(chat_body()))[0]
        await wire.control({"max_concurrent": 2})
        served = (await wire.ask(chat_body()))[0]

    assert (refused, served) == (429, 200)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"rpm": 0}, "rpm is 0"),
        ({"rpm": "many"}, "rpm is many"),
        ({"latency_s": None}, "latency_s is None"),
        ({"max_concurrent": 0.5}, "max_concurrent is 0.5"),
        ({"faults": {"earthquake": 0.1}}, "no fault 'earthquake'"),
        ({"faults": {"server": 2}}, "A fault rate of the simulator is 2"),
        ({"faults": 3}, "faults is 3"),
        ({"port": 80}, "cannot change 'port'"),
        ({"down": "soon"}, "down is soon"),
        ([1], "must be a JSON object"),
    ],
)
async def test_a_change_that_makes_no_sense_is_refused_and_changes_nothing(
    changes: Any, reason: str
) -> None:
    if isinstance(changes, dict):
        changes = {"fault_rate": 0.5, "down": True} | changes
    async with simulated() as (_, wire):
        status, error = await wire.control(changes)
        _, now = await wire.control({})

    assert status == 400
    assert reason in error["error"]["message"]
    assert (now["fault_rate"], now["down"]) == (0, False)


async def test_a_change_that_is_no_json_is_refused() -> None:
    async with simulated() as (_, wire):
        wire.send(post(b"{rpm: 5}", path="/control"))

        assert (await wire.answer())[0] == 400


async def test_a_server_that_is_down_closes_all_connections_old_and_new() -> None:
    async with simulated(latency_s=60) as (simulator, old), connect(simulator) as remote:
        old.send(post(chat_body()))
        await until(lambda: simulator.stats.in_flight == 1)
        status, now = await remote.control({"down": True})
        cut = await old.rest()
        async with connect(simulator) as new:
            refused = await new.rest()

        assert (status, now["down"]) == (200, True)
        assert (cut, refused) == (b"", b"")
        assert simulator.stats.in_flight == 0
        assert simulator.stats.connections_refused == 1


async def test_the_connection_that_took_a_server_down_can_bring_it_back() -> None:
    async with simulated() as (simulator, remote):
        await remote.control({"down": True})
        status, now = await remote.control({"down": False})
        async with connect(simulator) as new:
            served = (await new.ask(chat_body()))[0]

    assert (status, now["down"], served) == (200, False, 200)


async def test_nothing_else_is_served_while_the_server_is_down() -> None:
    async with simulated() as (simulator, remote):
        await remote.control({"down": True})
        remote.send(post(chat_body()))

        assert await remote.rest() == b""
        assert simulator.stats.arrivals == 0


async def test_a_downtime_may_end_by_itself() -> None:
    async with simulated() as (simulator, remote):
        began_s = time.monotonic()
        await remote.control({"down": 0.1})
        async with connect(simulator) as early:
            refused = await early.rest()
        await asyncio.sleep(0.12 - (time.monotonic() - began_s))
        async with connect(simulator) as late:
            served = (await late.ask(chat_body()))[0]

    assert (refused, served) == (b"", 200)
