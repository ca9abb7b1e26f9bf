from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest

from mergeit_async.config import Settings, build_settings
from mergeit_async.engine.lane import OUT_AFTER, Lane
from mergeit_async.engine.lanes import (
    PATIENCE_S,
    PROBE_EVERY_S,
    find_prices,
    open_lanes,
    prepare_servers,
    watch_lanes,
)
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.engine.prompts import Prompts
from mergeit_async.errors import FaultKind, StoppedError, UsageError
from mergeit_async.simulator.server import Simulator
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.templates.version import load_prompt
from tests.calling import After, Script, fault, lane, open_desk

NOWHERE = "http://127.0.0.1:9/v1"
OPENAI = "https://api.openai.com/v1"
LIST_PRICE = find_prices(
    build_settings({"dataset": Path("r"), "model": "gpt-4o", "base_url": OPENAI}), {}
)[OPENAI]["gpt-4o"]
FROZEN = PriceSheet(7.0, 7.0, 7.0, "genai-prices")


@pytest.fixture(autouse=True)
def direct(monkeypatch: pytest.MonkeyPatch) -> None:
    """Keep keys and proxies of the machine away from the servers here."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")


def settings(*urls: str, **flags: Any) -> Settings:
    base = {"dataset": Path("rows.jsonl"), "model": "gpt-4o", "base_url": urls}
    return build_settings(base | flags)


# Prices.


@pytest.mark.parametrize(
    ("flags", "frozen", "found"),
    [
        ({}, {}, LIST_PRICE),
        ({}, {OPENAI: {"gpt-4o": FROZEN}}, FROZEN),
        ({}, {NOWHERE: {"gpt-4o": FROZEN}}, LIST_PRICE),
        (
            {"price_in": 1.0, "price_out": 2.0},
            {OPENAI: {"gpt-4o": FROZEN}},
            PriceSheet(1.0, 1.0, 2.0, "given"),
        ),
    ],
    ids=["listed", "frozen", "frozen for another", "given"],
)
def test_a_price_is_given_or_else_frozen_or_else_listed(flags, frozen, found):
    assert find_prices(settings(OPENAI, **flags), frozen) == {OPENAI: {"gpt-4o": found}}


def test_a_given_price_holds_for_every_server_and_a_listed_one_for_its_own():
    assert find_prices(settings(OPENAI, NOWHERE), {}) == {OPENAI: {"gpt-4o": LIST_PRICE}}
    given = find_prices(settings(OPENAI, NOWHERE, price_in=0, price_out=2.0), {})
    sheet = PriceSheet(0.0, 0.0, 2.0, "given")
    assert given == {OPENAI: {"gpt-4o": sheet}, NOWHERE: {"gpt-4o": sheet}}


def test_a_judge_has_a_price_of_its_own():
    flags = {"judge": "my-judge", "price_in": 1.0, "price_out": 2.0, "max_cost": 1.0}
    with pytest.raises(UsageError, match=r"no price for my-judge.*--judge-price-in"):
        find_prices(settings(NOWHERE, **flags), {})
    flags |= {"judge_price_in": 3.0, "judge_price_out": 4.0}
    assert find_prices(settings(NOWHERE, **flags), {})[NOWHERE] == {
        "gpt-4o": PriceSheet(1.0, 1.0, 2.0, "given"),
        "my-judge": PriceSheet(3.0, 3.0, 4.0, "given"),
    }


@pytest.mark.parametrize(
    "flags", [{"judge_prompt": "judge/v2"}, {"judge_price_in": 1.0, "judge_price_out": 1.0}]
)
def test_what_is_for_a_judge_needs_one(flags):
    with pytest.raises(UsageError, match="--judge"):
        settings(OPENAI, **flags)


def test_a_cap_is_refused_where_any_server_has_no_price():
    with pytest.raises(UsageError, match=f"no price for gpt-4o at {NOWHERE}.*--price-in"):
        find_prices(settings(OPENAI, NOWHERE, max_cost=1.0), {})


def test_a_cap_below_one_call_is_refused_beforehand():
    prompts = Prompts(load_prompt("merge/v1"))
    given = {"price_in": 1.0, "price_out": 1.0}
    with pytest.raises(UsageError, match="less than one call may cost"):
        prepare_servers(settings(NOWHERE, max_cost=1e-6, **given), prompts)
    assert prepare_servers(settings(NOWHERE, max_cost=1.0, **given), prompts)
    assert prepare_servers(settings(NOWHERE, max_cost=1e-6), None) == {}, "no model is asked"


# Opening.


async def opened(*urls: str, **flags: Any) -> list[tuple[str, bool, int]]:
    """Name, whether it is out, and places of each lane."""
    async with open_lanes(settings(*urls, **flags), {}) as lanes:
        return [(lane.name, lane.is_out, lane.window.ceiling) for lane in lanes]


async def test_each_server_is_a_lane_and_one_that_is_not_there_is_out():
    async with Simulator() as server:
        lanes = await opened(server.url, NOWHERE + ",in-flight=5", max_in_flight=3)
    assert lanes == [(server.url, False, 3), (NOWHERE, True, 5)]


async def test_all_servers_are_asked_at_once_before_the_first_call():
    is_asked = asyncio.Event()

    async def wait_for_the_other(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await is_asked.wait()
        writer.write(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n")
        writer.close()

    async def note(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        is_asked.set()
        writer.close()

    async with (
        await asyncio.start_server(wait_for_the_other, "127.0.0.1", 0) as first,
        await asyncio.start_server(note, "127.0.0.1", 0) as second,
    ):
        ports = [server.sockets[0].getsockname()[1] for server in (first, second)]
        lanes = await opened(*(f"http://127.0.0.1:{port}/v1" for port in ports))
    assert [is_out for _, is_out, _ in lanes] == [False, True]


async def test_a_run_does_not_begin_where_no_server_is_there():
    with pytest.raises(StoppedError, match="--base-url"):
        await opened(NOWHERE, NOWHERE + "/2")


async def test_a_server_that_refuses_the_key_is_out_and_tells_why(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    async with (
        Simulator() as open_to_all,
        Simulator(SimulatorSettings(api_key="right")) as closed,
        open_lanes(settings(open_to_all.url, closed.url), {}) as lanes,
    ):
        assert [lane.is_out for lane in lanes] == [False, True]
        assert lanes[1].last_fault.kind is FaultKind.AUTH


async def test_a_key_that_is_refused_everywhere_stops_the_run(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "wrong")
    async with Simulator(SimulatorSettings(api_key="right")) as closed:
        with pytest.raises(StoppedError, match=f"{closed.url} .*check the key"):
            await opened(NOWHERE, closed.url)


async def test_each_server_gets_the_key_of_its_own_variable(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "one")
    monkeypatch.setenv("OTHER_KEY", "two")
    one, two = SimulatorSettings(api_key="one"), SimulatorSettings(api_key="two")
    async with Simulator(one) as first, Simulator(two) as second:
        lanes = await opened(first.url, second.url + ",key-env=OTHER_KEY")
    assert [is_out for _, is_out, _ in lanes] == [False, False]


def test_a_variable_that_is_named_for_a_server_must_hold_a_key():
    with pytest.raises(UsageError, match=r"no key in \$OTHER_KEY"):
        prepare_servers(settings(NOWHERE + ",key-env=OTHER_KEY"), load_prompt("merge/v1"))


# Watching.


async def watch(
    lanes: Sequence[Lane], seconds: float, meanwhile: Callable[[], None] = lambda: None
) -> list[tuple[float, str]]:
    """Watch lanes for a while; returns when and why the run was stopped."""
    stops: list[tuple[float, str]] = []

    def stop(error: Exception) -> None:
        stops.append((anyio.current_time(), str(error)))

    asyncio.get_running_loop().call_later(seconds / 2, meanwhile)
    with anyio.move_on_after(seconds):
        await watch_lanes(Limiter(lanes), stop)
    return stops


def test_a_lane_that_is_out_is_probed_until_it_answers_and_then_taken_back(simulate):
    async def act() -> None:
        dead = Script(is_there=False)
        lanes = [lane(dead), lane(alive := Script())]
        lanes[0].is_out = True
        stops = await watch(lanes, 4 * PATIENCE_S, lambda: setattr(dead, "is_there", True))
        assert stops == []
        assert not lanes[0].is_out
        assert dead.checks == pytest.approx(2 * PATIENCE_S / PROBE_EVERY_S, abs=1)
        assert alive.checks == 0

    simulate(act)


def test_a_lane_that_is_taken_back_must_be_lost_anew_to_be_taken_out(simulate):
    async def act() -> bool:
        lanes = [lane(), lane()]
        limiter = Limiter(lanes)
        for _ in range(5):
            limiter.faulted(lanes[0].take(1, 0.0), fault(FaultKind.CONNECTION))
        assert lanes[0].is_out
        await watch(lanes, 5)
        limiter.faulted(lanes[0].take(1, 0.0), fault(FaultKind.CONNECTION))
        return lanes[0].is_out

    assert simulate(act) is False


@pytest.mark.parametrize(("probe_sees_it", "checks"), [(False, False), (True, True)])
def test_a_server_that_refused_calls_comes_back_only_where_the_probe_saw_that_too(
    simulate, probe_sees_it, checks
):
    async def act() -> bool:
        script = Script(is_there=not probe_sees_it)
        lanes = [lane(script, name="wrong"), lane(name="right")]
        limiter = Limiter(lanes)
        limiter.faulted(lanes[0].take(1, 0.0), fault(FaultKind.AUTH))
        assert lanes[0].is_out
        await watch(lanes, 20, lambda: setattr(script, "is_there", True))
        return not lanes[0].is_out

    assert simulate(act) is checks


def test_a_run_stops_when_no_server_was_there_for_a_while(simulate):
    async def act() -> None:
        lanes = [lane(Script(is_there=False)) for _ in range(2)]
        for each in lanes:
            each.is_out = True
        (at, why), *_ = await watch(lanes, 2 * PATIENCE_S)
        assert PATIENCE_S <= at <= PATIENCE_S + 3 * PROBE_EVERY_S
        assert "None of the servers" in why

    simulate(act)


def test_a_moment_without_any_server_stops_nothing(simulate):
    async def act() -> list[Any]:
        back = Script(is_there=False)
        lanes = [lane(Script(is_there=False)), lane(back)]
        for each in lanes:
            each.is_out = True
        return await watch(lanes, PATIENCE_S, lambda: setattr(back, "is_there", True))

    assert simulate(act) == []


def test_short_times_without_any_server_do_not_add_up(simulate):
    async def act() -> list[Any]:
        script = Script(is_there=False)
        lanes = [lane(script)]
        lanes[0].is_out = True

        async def come_and_go() -> None:
            for _ in range(5):
                await anyio.sleep(0.6 * PATIENCE_S)
                script.is_there = True
                await anyio.sleep(3 * PROBE_EVERY_S)
                script.is_there, lanes[0].is_out = False, True

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(come_and_go)
            return await watch(lanes, 5 * 0.6 * PATIENCE_S)

    assert simulate(act) == []


def test_calls_end_with_the_run_when_every_server_dies_on_the_way(simulate, tmp_path):
    async def act() -> tuple[float, list[Any], int, tuple[int, float]]:
        scripts = [Script(last=After(1.0)) for _ in range(2)]
        lanes = [lane(script, max_in_flight=2, name=str(n)) for n, script in enumerate(scripts)]
        async with (
            open_desk(tmp_path / "journal.db", lanes, max_tries=8) as desk,
            anyio.create_task_group() as tasks,
        ):
            tasks.start_soon(watch_lanes, desk.limiter, desk.caller.stop)
            calls = [asyncio.ensure_future(desk.call(str(n), n)) for n in range(40)]
            await asyncio.sleep(3.5)
            for script in scripts:
                script.is_there, script.last = False, After(0.1, fault(FaultKind.CONNECTION))
            ends = await asyncio.gather(*calls, return_exceptions=True)
            tasks.cancel_scope.cancel()
        sent = sum(len(script.sent) for script in scripts)
        return anyio.current_time(), ends, sent, desk.holds()

    ended_at, ends, sent, held = simulate(act)

    answered = [end for end in ends if not isinstance(end, Exception)]
    assert len(answered) == 16  # four in flight, a second each, and the last are finished
    assert {type(end) for end in ends if isinstance(end, Exception)} == {StoppedError}
    assert ended_at <= 3.5 + PATIENCE_S + 4 * PROBE_EVERY_S
    assert sent <= 16 + 2 * (OUT_AFTER + 2)
    assert held == (0, 0.0)
