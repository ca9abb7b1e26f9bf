from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import aiohttp
import orjson
import pytest

from mergeit_async.errors import UsageError
from mergeit_async.simulator.chance import Dice
from mergeit_async.simulator.faults import FAULTS, FaultPlan
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings

BODY = orjson.dumps({"model": "sim-merge", "messages": [{"role": "user", "content": "hi"}]})


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


async def post(fault: str, **settings: Any) -> tuple[int, Mapping[str, str], bytes]:
    async with (
        Simulator(SimulatorSettings(faults={fault: 1.0}, **settings)) as simulator,
        aiohttp.ClientSession() as session,
        session.post(f"{simulator.url}/chat/completions", data=BODY) as response,
    ):
        return response.status, response.headers, await response.read()


@pytest.mark.parametrize(
    ("fault", "status"),
    [
        ("rate_limit", 429),
        ("server", 500),
        ("bad_gateway", 502),
        ("unavailable", 503),
        ("overloaded", 529),
        ("truncated_json", 200),
        ("not_json", 200),
        ("empty_choices", 200),
        ("hang", 200),
    ],
)
async def test_a_fault_that_answers_has_its_status(fault: str, status: int) -> None:
    assert (await post(fault, hang_s=0))[0] == status


async def test_an_injected_rate_limit_says_how_long_to_wait() -> None:
    _, headers, _ = await post("rate_limit", fault_retry_after_s=7)

    assert headers["Retry-After"] == "7"


async def test_a_gateway_answers_in_html() -> None:
    _, headers, body = await post("bad_gateway")

    assert headers["Content-Type"].startswith("text/html")
    assert body.startswith(b"<html>")


async def test_a_truncated_answer_arrives_whole_as_broken_json() -> None:
    _, headers, body = await post("truncated_json")

    assert int(headers["Content-Length"]) == len(body)
    with pytest.raises(orjson.JSONDecodeError):
        orjson.loads(body)


async def test_a_reset_is_a_reset_and_no_orderly_end() -> None:
    with pytest.raises(aiohttp.ClientOSError, match="reset"):
        await post("reset")


async def test_a_close_mid_body_leaves_half_an_answer() -> None:
    with pytest.raises(aiohttp.ClientPayloadError, match="Not enough data"):
        await post("close_mid_body")
