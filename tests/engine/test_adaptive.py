"""Limits that nobody tells, found against servers on a clock that jumps."""

from __future__ import annotations

import asyncio
import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from mergeit_async.engine.adaptive import FIRST_WINDOW, Pace, Window
from mergeit_async.engine.lane import Ceilings, Lane
from mergeit_async.engine.limiter import Limiter
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.records import ChatReply, ChatRequest

REPLY = ChatReply("text", "stop", 100, 100)
REQUEST = ChatRequest("key", "model", (), 0.0, 100, 0, 100)


@dataclass
class Server:
    """Takes `rate` calls a second from a bucket of `burst_s` seconds, `places` at once.

    `changes` are times and the factor by which the limits change then; `stray` calls are refused
    for no reason. Counts what it took and refused in each second.
    """

    rate: float = math.inf
    burst_s: float = 10.0
    places: float = math.inf
    stray: float = 0.0
    retry_after_s: float | None = None
    changes: list[tuple[float, float]] = field(default_factory=list)
    taken: Counter[int] = field(default_factory=Counter)
    refused: Counter[int] = field(default_factory=Counter)
    in_flight: int = 0
    level: float = 0.0
    seen_at: float = 0.0
    dice: random.Random = field(default_factory=lambda: random.Random(1))

    def __post_init__(self) -> None:
        self.level = self.rate * self.burst_s

    def refuses(self, now: float) -> bool:
        while self.changes and now >= self.changes[0][0]:
            factor = self.changes.pop(0)[1]
            self.rate *= factor
            self.places *= factor
        gained = (now - self.seen_at) * self.rate if self.rate < math.inf else math.inf
        self.level = min(self.rate * self.burst_s, self.level + gained)
        self.seen_at = now
        is_full = self.level < 1 or self.in_flight >= self.places
        return is_full or self.dice.random() < self.stray

    async def answer(self) -> ChatReply:
        now = asyncio.get_running_loop().time()
        if self.refuses(now):
            self.refused[int(now)] += 1
            await asyncio.sleep(0.05)
            raise ProviderError(FaultKind.RATE_LIMIT, "slow down", retry_after_s=self.retry_after_s)
        self.taken[int(now)] += 1
        self.level -= 1
        self.in_flight += 1
        await asyncio.sleep(0.5 * math.exp(0.4 * self.dice.gauss(0, 1)))
        self.in_flight -= 1
        return REPLY

    def taken_per_s(self, first: int, last: int) -> float:
        return sum(self.taken[second] for second in range(first, last)) / (last - first)

    def refused_share(self, first: int, last: int) -> float:
        refused = sum(self.refused[second] for second in range(first, last))
        return refused / (refused + self.taken_per_s(first, last) * (last - first))


@pytest.fixture
def load(simulate: Callable[..., Any]) -> Callable[..., None]:
    """Put all the load on a server that 64 calls in flight allow, for so many seconds.

    `jumps` are times and the seconds by which the clock jumps ahead then.
    """

    def drive(server: Server, seconds: float, *jumps: tuple[float, float]) -> None:
        async def main() -> None:
            loop: Any = asyncio.get_running_loop()
            for at_s, jump_s in jumps:
                loop.call_at(at_s, loop.jump, jump_s)
            limiter = Limiter([Lane(None, Ceilings(64), loop.time())])  # type: ignore[arg-type]

            async def work() -> None:
                while loop.time() < seconds:
                    slot = await limiter.acquire(200)
                    try:
                        reply = await server.answer()
                    except ProviderError as fault:
                        limiter.faulted(slot, fault)
                        limiter.release(slot)
                        await asyncio.sleep(fault.retry_after_s or 0.5)
                    else:
                        limiter.answered(slot, REQUEST, reply)
                        limiter.release(slot)

            await asyncio.gather(*(work() for _ in range(128)))

        simulate(main)

    return drive


@pytest.mark.parametrize("retry_after_s", [None, 1.0])
@pytest.mark.parametrize("burst_s", [1.0, 10.0])
def test_an_unknown_rate_is_found_and_used_without_many_refusals(load, retry_after_s, burst_s):
    server = Server(rate=50, burst_s=burst_s, retry_after_s=retry_after_s)

    load(server, 90)

    assert server.taken_per_s(30, 90) >= 0.9 * 50
    assert server.refused_share(30, 90) < 0.01


def test_a_rate_that_is_halved_and_doubled_is_found_again_within_half_a_minute(load):
    server = Server(rate=50, changes=[(60, 0.5), (130, 2.0)])

    load(server, 200)

    assert server.taken_per_s(90, 130) >= 0.9 * 25
    assert server.taken_per_s(160, 200) >= 0.9 * 50
    assert server.refused_share(30, 200) < 0.01


def test_a_rate_that_was_found_is_kept_after_a_sleep(load):
    server = Server(rate=50, burst_s=1.0)

    load(server, 3720, (60, 3600))

    assert max(server.refused.values()) < 50
    assert server.refused_share(3660, 3720) < 0.01
    assert server.taken_per_s(3665, 3720) >= 0.9 * 50


def test_an_unknown_number_of_places_is_found_and_used_without_many_refusals(load):
    server = Server(places=32)

    load(server, 90)

    # Latencies are log-normal: 0.54 seconds in the mean.
    assert server.taken_per_s(30, 90) >= 0.75 * 32 / 0.54
    assert server.refused_share(30, 90) < 0.01


def test_stray_refusals_do_not_bring_a_run_to_a_stop(load):
    server = Server(stray=0.03, retry_after_s=1.0)

    load(server, 180)

    assert server.taken_per_s(120, 180) > 4


def test_a_server_without_limits_gets_all_that_the_user_allows(load):
    server = Server()

    load(server, 30)

    assert server.taken_per_s(10, 30) >= 0.95 * 64 / 0.54


def test_a_window_opens_gradually_and_only_while_it_is_used():
    window = Window(64)
    assert window.size == FIRST_WINDOW

    for _ in range(10):
        window.answered(in_flight=3, now=1.0)
    assert window.size == FIRST_WINDOW

    for _ in range(10):
        window.answered(in_flight=window.size, now=1.0)
    assert window.size == FIRST_WINDOW + 10


def test_the_refusals_of_one_episode_cut_a_window_once():
    window = Window(64)

    for _ in range(8):
        window.limited(in_flight=16, sent_at=1.0, now=2.0)

    assert window.size == int(0.9 * 15)


def test_failures_other_than_refusals_only_pause_growth():
    pace = Pace()
    for _ in range(100):
        pace.sent(0.0)
    pace.limited(sent_at=9.0, now=10.0, is_used=True)
    cut_to = pace.per_second

    pace.troubled(10.0)
    pace.answered(11.5, is_used=True)
    assert pace.per_second == cut_to

    pace.answered(13.0, is_used=True)
    pace.answered(14.0, is_used=True)
    assert pace.per_second > cut_to


def test_a_pace_that_nobody_waits_for_neither_grows_nor_is_cut():
    pace = Pace()
    pace.sent(0.0)
    pace.limited(sent_at=0.5, now=1.0, is_used=False)
    found = pace.per_second

    pace.answered(60.0, is_used=False)
    pace.limited(sent_at=61.0, now=62.0, is_used=False)

    assert pace.per_second == found


def test_a_pace_is_measured_from_the_first_call_on():
    pace = Pace()
    for _ in range(21):
        pace.sent(100.0)

    pace.limited(sent_at=100.0, now=101.0, is_used=False)

    assert pace.per_second == pytest.approx(0.9 * 20)
