from __future__ import annotations

import anyio
import pytest

from mergeit_async.engine.limiter import Limiter, TokenBucket


async def grant_times(limiter: Limiter, sizes: list[int], hold_s: float = 0.0) -> list[float]:
    """When each request got its slot, in order of arrival."""
    times = [0.0] * len(sizes)

    async def request(place: int, tokens: int) -> None:
        async with limiter.slot(tokens):
            times[place] = anyio.current_time()
            await anyio.sleep(hold_s)

    async with anyio.create_task_group() as tasks:
        for place, tokens in enumerate(sizes):
            tasks.start_soon(request, place, tokens)
    return times


def test_no_more_than_the_places_are_in_flight(simulate):
    async def act() -> list[float]:
        return await grant_times(Limiter(max_in_flight=3), [1] * 9, hold_s=1.0)

    assert simulate(act) == pytest.approx([0, 0, 0, 1, 1, 1, 2, 2, 2], abs=0.01)


def test_a_minutes_worth_of_requests_does_not_leave_at_the_start(simulate):
    async def act() -> list[float]:
        return await grant_times(Limiter(max_in_flight=1000, rpm=600), [1] * 50)

    times = simulate(act)
    assert sum(time < 1.0 for time in times) <= 11
    assert times[-1] == pytest.approx(4.9, abs=0.2)


def test_a_high_rate_is_used_up(simulate):
    async def act() -> list[float]:
        return await grant_times(Limiter(max_in_flight=5000, rpm=60_000), [1] * 3000)

    assert simulate(act)[-1] == pytest.approx(2.9, abs=0.15)


def test_tokens_leave_at_their_rate(simulate):
    async def act() -> list[float]:
        return await grant_times(Limiter(max_in_flight=1000, tpm=60_000), [100] * 50)

    assert simulate(act)[-1] == pytest.approx(4.9, abs=0.2)


def test_a_large_request_is_not_overtaken_by_small_ones(simulate):
    async def act() -> list[float]:
        return await grant_times(Limiter(max_in_flight=100, tpm=60_000), [50, 5000, *[50] * 20])

    times = simulate(act)
    assert times == sorted(times)
    assert times[2] - times[1] == pytest.approx(5.0, abs=0.2)


def test_tokens_that_were_not_used_are_given_back(simulate):
    async def act() -> float:
        bucket = TokenBucket(60_000)
        await bucket.acquire(2000)
        bucket.give_back(1900)
        await bucket.acquire(100)
        return anyio.current_time()

    assert simulate(act) < 0.2


def test_a_cancelled_wait_leaves_no_slot_taken(simulate):
    async def act() -> int:
        limiter = Limiter(max_in_flight=2, rpm=60, tpm=600)
        with anyio.move_on_after(3):
            await grant_times(limiter, [1000] * 20, hold_s=1.0)
        return limiter.in_flight

    assert simulate(act) == 0


def test_a_lying_report_of_usage_does_not_stop_the_run(simulate):
    async def act() -> float:
        limiter = Limiter(max_in_flight=1, tpm=60_000)
        async with limiter.slot(100):
            pass
        limiter.settle(100, 10**12)
        async with limiter.slot(100):
            return anyio.current_time()

    assert simulate(act) < 1.0
