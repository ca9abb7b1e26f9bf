from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import anyio
import pytest

from mergeit_async.engine.lane import OUT_AFTER, Lane, Slot
from mergeit_async.engine.limiter import Limiter
from mergeit_async.errors import FaultKind, ProviderError, StoppedError
from mergeit_async.records import ChatReply, Quota, RateLimits
from tests.calling import REPLY, fault, lane, request

STOP = StoppedError("Enough.")


@asynccontextmanager
async def slot(limiter: Limiter, tokens: float = 1) -> AsyncIterator[Slot]:
    granted = await limiter.acquire(tokens)
    try:
        yield granted
    finally:
        limiter.release(granted)


async def grant_times(limiter: Limiter, sizes: Sequence[int], hold_s: float = 0.0) -> list[float]:
    """When each request got its slot, in order of arrival."""
    times = [0.0] * len(sizes)

    async def hold(place: int, tokens: int) -> None:
        async with slot(limiter, tokens):
            times[place] = anyio.current_time()
            await anyio.sleep(hold_s)

    async with anyio.create_task_group() as tasks:
        for place, tokens in enumerate(sizes):
            tasks.start_soon(hold, place, tokens)
    assert limiter.in_flight == 0
    return times


def grants(simulate: Any, sizes: Sequence[int], hold_s: float = 0.0, **limits: Any) -> list[float]:
    """The times of the grants of one lane with these limits."""

    async def act() -> list[float]:
        return await grant_times(Limiter([lane(**limits)]), sizes, hold_s)

    return simulate(act)


def test_no_more_than_the_places_are_in_flight(simulate):
    times = grants(simulate, [1] * 9, hold_s=1.0, max_in_flight=3)
    assert times == pytest.approx([0, 0, 0, 1, 1, 1, 2, 2, 2], abs=0.01)


@pytest.mark.parametrize("limits", [{"rpm": 600}, {"tpm": 60_000}], ids=["requests", "tokens"])
def test_a_minutes_worth_does_not_leave_at_the_start(simulate, limits):
    times = grants(simulate, [100] * 50, max_in_flight=1000, **limits)
    assert sum(time < 1.0 for time in times) <= 11
    assert times[-1] == pytest.approx(4.9, abs=0.2)


@pytest.mark.parametrize("limits", [{"rpm": 600}, {"tpm": 60_000}], ids=["requests", "tokens"])
def test_a_minutes_worth_does_not_leave_after_a_pause_either(simulate, limits):
    async def act() -> list[float]:
        limiter = Limiter([lane(max_in_flight=1000, **limits)])
        await anyio.sleep(600)
        return await grant_times(limiter, [100] * 50)

    times = simulate(act)
    assert sum(time < 601.0 for time in times) <= 13


def test_a_high_rate_is_used_up(simulate):
    times = grants(simulate, [1] * 3000, max_in_flight=5000, rpm=60_000)
    assert times[-1] == pytest.approx(2.9, abs=0.15)


def test_tokens_leave_at_their_rate(simulate):
    times = grants(simulate, [100] * 50, max_in_flight=1000, tpm=60_000)
    assert times[-1] == pytest.approx(4.9, abs=0.2)


def test_a_large_request_is_not_overtaken_by_small_ones(simulate):
    times = grants(simulate, [50, 5000, *[50] * 20], max_in_flight=100, tpm=60_000)
    assert times == sorted(times)
    assert times[2] - times[1] == pytest.approx(5.0, abs=0.2)


def test_a_large_request_gets_its_turn_while_small_ones_keep_coming(simulate):
    async def act() -> float:
        limiter = Limiter([lane(max_in_flight=100, tpm=60_000)])

        async def keep_coming() -> None:
            while True:
                async with slot(limiter, 100):
                    pass

        async with anyio.create_task_group() as tasks:
            for _ in range(20):
                tasks.start_soon(keep_coming)
            await anyio.sleep(10)
            async with slot(limiter, 5000):
                tasks.cancel_scope.cancel()
        return anyio.current_time()

    assert simulate(act) < 13


# What becomes of the tokens that were reserved.


def settle(limiter: Limiter, granted: Slot, reply: ChatReply) -> None:
    limiter.answered(granted, request(), reply)
    limiter.release(granted)


def test_tokens_that_were_not_used_are_given_back(simulate):
    async def act() -> float:
        limiter = Limiter([lane(tpm=60_000)])
        settle(limiter, await limiter.acquire(2000), REPLY._replace(completion_tokens=95))
        async with slot(limiter, 100):
            return anyio.current_time()

    assert simulate(act) < 0.5


def test_a_lying_report_of_usage_does_not_stop_the_run(simulate):
    async def act() -> float:
        limiter = Limiter([lane(max_in_flight=1, tpm=60_000)])
        settle(limiter, await limiter.acquire(100), ChatReply("", "stop", 10**12, 10**12))
        async with slot(limiter, 100):
            return anyio.current_time()

    assert simulate(act) < 1.0


@pytest.mark.parametrize(("reported", "learned"), [(20, 20), (5, 5), (10**9, 50), (0, 10)])
def test_the_estimate_of_prompts_follows_what_servers_report(simulate, reported, learned):
    async def act() -> float:
        limiter = Limiter([lane()])
        for _ in range(400):
            settle(limiter, await limiter.acquire(1), ChatReply("", "stop", reported, 1))
        return limiter.tokens_of(request()) - request().max_tokens

    assert simulate(act) == pytest.approx(learned, rel=0.01)  # ten were estimated


def test_one_odd_report_changes_the_estimate_little(simulate):
    async def act() -> float:
        limiter = Limiter([lane()])
        settle(limiter, await limiter.acquire(1), ChatReply("", "stop", 10**6, 1))
        return limiter.tokens_of(request()) - request().max_tokens

    assert 10 < simulate(act) < 11


# What can never be granted.


def test_a_request_above_the_limit_of_every_lane_is_refused(simulate):
    async def act() -> None:
        limiter = Limiter([lane(tpm=1000), lane(tpm=5000)])
        limiter.check(5000)
        with pytest.raises(ProviderError, match=r"5,001 tokens, and the limit is 5,000") as refused:
            limiter.check(5001)
        assert (refused.value.kind, refused.value.was_sent) == (FaultKind.TOO_LARGE, False)
        Limiter([lane(tpm=1000), lane()]).check(10**9)

    simulate(act)


def test_a_request_goes_to_a_lane_whose_limit_it_is_not_above(simulate):
    async def act() -> list[str]:
        small, large = lane(tpm=1000, name="small"), lane(tpm=60_000, name="large")
        limiter = Limiter([small, large])
        taken = []
        for _ in range(5):
            async with slot(limiter, 1001) as granted:
                taken.append(granted.lane.name)
        return taken

    assert simulate(act) == ["large"] * 5


def test_a_request_that_waits_is_not_forgotten_when_its_limit_is_lowered_below_it(simulate):
    async def act() -> float:
        lanes = [lane(tpm=60_000), lane(tpm=60_000)]
        limiter = Limiter(lanes)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(grant_times, limiter, [10_000] * 4)
            await anyio.sleep(1)
            for each in lanes:
                each.tokens.set_rate(6_000, anyio.current_time())
            limiter.grant()
        return anyio.current_time()

    assert simulate(act) < 250


# Several lanes.


async def share(lanes: Sequence[Lane], n_calls: int, hold_s: float) -> Counter[str]:
    """How many of many calls each lane takes."""
    limiter = Limiter(lanes)
    taken: Counter[str] = Counter()

    async def hold() -> None:
        async with slot(limiter, 10) as granted:
            taken[granted.lane.name] += 1
            await anyio.sleep(hold_s)
            limiter.answered(granted, request(), REPLY)

    async with anyio.create_task_group() as tasks:
        for _ in range(n_calls):
            tasks.start_soon(hold)
    assert limiter.in_flight == 0
    return taken


@pytest.mark.parametrize(
    ("one", "three"),
    [
        ({"max_in_flight": 4}, {"max_in_flight": 12}),
        ({"rpm": 600}, {"rpm": 1800}),
        ({"tpm": 6000}, {"tpm": 18_000}),
    ],
    ids=["places", "requests", "tokens"],
)
def test_lanes_share_the_work_in_proportion_to_their_limits(simulate, one, three):
    async def act() -> Counter[str]:
        plenty = {"max_in_flight": 100}
        lanes = [lane(name="one", **plenty | one), lane(name="three", **plenty | three)]
        return await share(lanes, 1000, hold_s=0.5)

    taken = simulate(act)
    assert taken.total() == 1000
    assert taken["three"] / taken["one"] == pytest.approx(3, rel=0.1)


def test_the_work_of_a_few_calls_is_spread_over_equal_lanes(simulate):
    async def act() -> Counter[str]:
        return await share([lane(name="a"), lane(name="b")], 6, hold_s=1.0)

    assert simulate(act) == {"a": 3, "b": 3}


def test_a_lane_that_nobody_reaches_is_taken_out_and_its_share_goes_to_the_other(simulate):
    async def act() -> Counter[str]:
        lanes = [lane(name="dead"), lane(name="alive")]
        limiter = Limiter(lanes)
        for _ in range(OUT_AFTER):
            granted = lanes[0].take(1, anyio.current_time())
            limiter.faulted(granted, fault(FaultKind.CONNECTION))
            limiter.release(granted)
        assert lanes[0].is_out
        taken: Counter[str] = Counter()
        for _ in range(20):
            async with slot(limiter) as granted:
                taken[granted.lane.name] += 1
        return taken

    assert simulate(act) == {"alive": 20}


@pytest.mark.parametrize("between", [FaultKind.RATE_LIMIT, FaultKind.BAD_REQUEST, None])
def test_a_lane_that_answers_in_any_way_stays_in(simulate, between):
    async def act() -> bool:
        lanes = [lane(), lane()]
        limiter = Limiter(lanes)
        for call in range(4 * OUT_AFTER):
            granted = lanes[0].take(1, anyio.current_time())
            if call % OUT_AFTER:
                limiter.faulted(granted, fault(FaultKind.CONNECTION))
            elif between is None:
                limiter.answered(granted, request(), REPLY)
            else:
                limiter.faulted(granted, fault(between))
            limiter.release(granted)
        return lanes[0].is_out

    assert simulate(act) is False


def test_the_only_lane_is_never_taken_out(simulate):
    async def act() -> bool:
        limiter = Limiter([lane()])
        for _ in range(5 * OUT_AFTER):
            async with slot(limiter) as granted:
                limiter.faulted(granted, fault(FaultKind.CONNECTION))
        return limiter.lanes[0].is_out

    assert simulate(act) is False


def test_those_who_wait_go_on_when_a_lane_is_back(simulate):
    async def act() -> float:
        lanes = [lane(), lane()]
        for each in lanes:
            each.is_out = True
        limiter = Limiter(lanes)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(grant_times, limiter, [1] * 5)
            await anyio.sleep(9)
            lanes[1].revive()
            limiter.grant()
        return anyio.current_time()

    assert simulate(act) == pytest.approx(9, abs=0.1)


def test_what_a_server_says_is_left_is_obeyed_before_the_first_refusal(simulate):
    async def act() -> float:
        limiter = Limiter([lane()])
        limits = RateLimits(requests=Quota(per_minute=600, remaining=0, reset_s=5))
        settle(limiter, await limiter.acquire(1), REPLY._replace(limits=limits))
        told_at = anyio.current_time()
        await grant_times(limiter, [1] * 10)
        return anyio.current_time() - told_at

    assert simulate(act) == pytest.approx(1.0, abs=0.15)


# No slot is leaked, whatever happens to those who hold or wait for one.


@pytest.mark.parametrize("limits", [{"max_in_flight": 2}, {"rpm": 60}, {"tpm": 600}])
def test_cancelled_waits_leave_no_slot_taken(simulate, limits):
    async def act() -> int:
        limiter = Limiter([lane(**limits)])
        with anyio.move_on_after(3):
            await grant_times(limiter, [1000] * 20, hold_s=1.0)
        return limiter.in_flight

    assert simulate(act) == 0


def test_a_wait_that_is_cancelled_right_after_its_grant_leaves_no_slot_taken(simulate):
    async def act() -> int:
        limiter = Limiter([lane(max_in_flight=1)])
        held = await limiter.acquire(1)
        waiting = [asyncio.ensure_future(limiter.acquire(1)) for _ in range(2)]
        await anyio.sleep(1)
        limiter.release(held)  # grants the first of those who wait, which does not run yet
        waiting[0].cancel()
        granted = await waiting[1]
        assert waiting[0].cancelled()
        limiter.release(granted)
        return limiter.in_flight

    assert simulate(act) == 0


def test_those_behind_a_cancelled_wait_do_not_wait_for_its_turn(simulate):
    async def act() -> float:
        limiter = Limiter([lane(tpm=1000), lane(tpm=60_000, max_in_flight=1)])
        held = await limiter.acquire(5000)
        large = asyncio.ensure_future(limiter.acquire(5000))
        small = asyncio.ensure_future(limiter.acquire(1))
        await anyio.sleep(10)
        assert not small.done()
        large.cancel()
        limiter.release(await small)
        limiter.release(held)
        return anyio.current_time()

    assert simulate(act) == pytest.approx(10, abs=0.5)


def test_a_stop_ends_every_wait_and_grants_nothing_more(simulate):
    async def act() -> list[Any]:
        limiter = Limiter([lane(max_in_flight=1)])
        held = await limiter.acquire(1)
        waiting = [asyncio.ensure_future(limiter.acquire(1)) for _ in range(3)]
        await anyio.sleep(1)
        limiter.stop(STOP)
        limiter.release(held)
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(StoppedError):
            await limiter.acquire(1)
        return [*ends, limiter.in_flight]

    assert simulate(act) == [STOP, STOP, STOP, 0]


def test_a_wait_that_is_stopped_and_cancelled_at_once_is_cancelled(simulate):
    async def act() -> bool:
        limiter = Limiter([lane(max_in_flight=1)])
        await limiter.acquire(1)
        waiting = asyncio.ensure_future(limiter.acquire(1))
        await anyio.sleep(1)
        limiter.stop(STOP)
        waiting.cancel()
        await asyncio.wait([waiting])
        return waiting.cancelled()

    assert simulate(act)


def test_a_raised_limit_lets_those_who_wait_go_on(simulate):
    async def act() -> float:
        limiter = Limiter([lane(max_in_flight=1, rpm=1)])
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(grant_times, limiter, [1] * 5)
            await anyio.sleep(61)
            limiter.lanes[0].requests.set_rate(600, anyio.current_time())
            limiter.grant()
        return anyio.current_time()

    assert simulate(act) < 63
