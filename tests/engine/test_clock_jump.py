"""A clock that jumps ahead by an hour, as if a laptop slept: no burst, and no call is lost."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from mergeit_async.engine.latency import ENOUGH
from mergeit_async.engine.limiter import Limiter
from mergeit_async.records import Quota
from tests.calling import NEVER, UNREPORTED, After, Desk, Script, ask, lane, open_desk, request

SLEEP_S = 3600
RATE = 10
TOKENS = 100


def sleep_in(seconds: float) -> None:
    """Let the machine sleep for an hour, after so many seconds."""
    loop: Any = asyncio.get_running_loop()
    loop.call_later(seconds, loop.jump, SLEEP_S)


async def sent_each_second(limiter: Limiter, hold_s: float) -> Counter[int]:
    """How many of all the calls that there could be got a slot, by second; the 20th is an hour."""
    sent: Counter[int] = Counter()

    async def work() -> None:
        while anyio.current_time() < SLEEP_S + 40:
            slot = await limiter.acquire(TOKENS)
            sent[int(anyio.current_time())] += 1
            await anyio.sleep(hold_s)
            limiter.answered(slot, request(), UNREPORTED)
            limiter.release(slot)

    sleep_in(20)
    async with anyio.create_task_group() as tasks:
        for _ in range(100):
            tasks.start_soon(work)
    assert limiter.in_flight == 0
    return sent


def assert_goes_on_evenly(sent: Counter[int]) -> None:
    before = [sent[second] for second in range(12, 20)]
    after = [sent[second] for second in range(SLEEP_S + 20, SLEEP_S + 40)]
    assert sum(before) == pytest.approx(8 * RATE, abs=3)
    # What a bucket may gather is a quarter of a second's worth.
    assert max(after) <= RATE + 4
    assert sum(after) == pytest.approx(20 * RATE, abs=RATE)


@pytest.mark.parametrize("hold_s", [0.3, 3.0])
@pytest.mark.parametrize(
    "limits", [{"rpm": 60 * RATE}, {"tpm": 60 * RATE * TOKENS}], ids=["requests", "tokens"]
)
def test_known_rates_are_kept_after_a_sleep(simulate, limits, hold_s):
    async def act() -> Counter[int]:
        return await sent_each_second(Limiter([lane(max_in_flight=64, **limits)]), hold_s)

    assert_goes_on_evenly(simulate(act))


def test_a_rate_that_headers_tell_is_kept_after_a_sleep(simulate):
    async def act() -> Counter[int]:
        told = lane(max_in_flight=64)
        told.requests.told(Quota(per_minute=60 * RATE, remaining=5, reset_s=1), 0.0, 0.0, 0.0)
        return await sent_each_second(Limiter([told]), 0.3)

    assert_goes_on_evenly(simulate(act))


@pytest.fixture
def sleeping_call(simulate, tmp_path: Path) -> Callable[..., list[str]]:
    """Make some calls and let the machine sleep after a second; what the journal says of them."""

    def start(script: Script, prepare: Callable[[Desk], object], n_calls: int = 1) -> list[str]:
        path = tmp_path / "journal.db"

        async def act() -> None:
            async with open_desk(path, [lane(script)]) as desk:
                prepare(desk)
                sleep_in(1.0)
                calls: list[Awaitable[Any]] = [desk.call(str(n), n) for n in range(n_calls)]
                await asyncio.gather(*calls)
                assert desk.holds() == (0, 0.0)

        simulate(act)
        return [result for (result,) in ask(path, "SELECT result FROM calls ORDER BY id")]

    return start


def learn(desk: Desk) -> None:
    for _ in range(ENOUGH):
        desk.lane.latencies.add(2.0)


def learn_nothing(_: Desk) -> None:
    pass


@pytest.mark.parametrize("prepare", [learn, learn_nothing])
def test_a_reply_that_is_there_when_the_machine_wakes_counts(sleeping_call, prepare):
    assert sleeping_call(Script(last=After(3.0)), prepare) == ["accepted"]


def test_calls_that_did_not_survive_a_sleep_are_sent_again_and_fail_no_group(sleeping_call):
    script = Script([After(NEVER)] * 8, last=After(3.0))
    assert sleeping_call(script, learn, n_calls=8) == ["timeout"] * 8 + ["accepted"] * 8
