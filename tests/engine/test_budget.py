from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.engine.budget import Budget
from mergeit_async.errors import StoppedError

# Sums of dollars differ from their parts by rounding.
ROUNDING = 1e-9


@dataclass(frozen=True)
class Spender:
    """A call: what it reserves at which time, how long it takes, the share that it uses.

    `used` is None for a call whose end is unknown, and which counts with all that it reserved.
    """

    begins_at: float
    amount: float
    takes_s: float
    used: float | None

    @property
    def cost(self) -> float:
        return self.amount if self.used is None else self.amount * self.used


AMOUNTS = st.sampled_from([0.0, 0.1, 1 / 3, 0.7, 1.0]) | st.floats(0, 2)
SPENDERS = st.builds(
    Spender,
    begins_at=st.floats(0, 10),
    amount=AMOUNTS,
    takes_s=st.floats(0, 5),
    used=st.none() | st.floats(0, 1),
)


@dataclass
class Ledger:
    """A budget under watch: its cap must hold whenever anything changes."""

    budget: Budget
    granted: int = 0
    refused: int = 0
    spent: float = 0.0

    async def spend(self, spender: Spender) -> None:
        await asyncio.sleep(spender.begins_at)
        try:
            await self.budget.reserve(spender.amount)
        except StoppedError:
            self.refused += 1
            return
        self.granted += 1
        self.check()
        await asyncio.sleep(spender.takes_s)
        self.budget.settle(spender.amount, spender.cost)
        self.spent += spender.cost
        self.check()

    def check(self) -> None:
        cap = self.budget.cap
        assert cap is None or self.budget.spent + self.budget.reserved <= cap + ROUNDING


@settings(max_examples=300, deadline=None)
@given(
    spenders=st.lists(SPENDERS, max_size=30),
    cap=st.none() | st.floats(0, 8),
    spent=st.floats(0, 4),
    raises=st.lists(st.tuples(st.floats(0, 15), st.floats(0, 3)), max_size=3),
)
def test_spent_and_reserved_never_pass_the_cap_and_nobody_waits_for_ever(
    simulate, spenders, cap, spent, raises
):
    async def act() -> Ledger:
        ledger = Ledger(Budget(cap, spent))
        if spent > (cap or spent):
            ledger.check = lambda: None  # what an earlier session spent cannot be taken back

        async def raise_cap(at: float, by: float) -> None:
            await asyncio.sleep(at)
            if ledger.budget.cap is not None:
                ledger.budget.set_cap(ledger.budget.cap + by)

        with anyio.fail_after(1000):
            async with anyio.create_task_group() as tasks:
                for spender in spenders:
                    tasks.start_soon(ledger.spend, spender)
                for at, by in raises:
                    tasks.start_soon(raise_cap, at, by)
        return ledger

    ledger = simulate(act)

    assert ledger.granted + ledger.refused == len(spenders)
    assert ledger.budget.reserved == 0.0
    assert ledger.budget.spent == pytest.approx(spent + ledger.spent, abs=ROUNDING)
    if cap is None:
        assert ledger.refused == 0


def test_what_a_call_did_not_use_lets_those_who_wait_go_on(simulate):
    async def act() -> list[float]:
        ledger, times = Ledger(Budget(1.0)), []

        async def spend(spender: Spender) -> None:
            await ledger.spend(spender)
            times.append(anyio.current_time())

        async with anyio.create_task_group() as tasks:
            for begins_at in (0.0, 0.1, 0.2):
                tasks.start_soon(spend, Spender(begins_at, 1.0, 5.0, used=0.0))
        return times

    assert simulate(act) == pytest.approx([5, 10, 15], abs=0.01)


def test_a_raised_cap_lets_those_who_wait_go_on(simulate):
    async def act() -> float:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(budget.reserve, 1.0)
            await asyncio.sleep(7)
            budget.set_cap(2.0)
        return anyio.current_time()

    assert simulate(act) == pytest.approx(7.0, abs=0.01)


def test_a_lowered_cap_grants_nothing_above_it(simulate):
    async def act() -> None:
        budget = Budget(10.0)
        await budget.reserve(1.0)
        budget.set_cap(1.5)
        waiting = asyncio.ensure_future(budget.reserve(1.0))
        await asyncio.sleep(1)
        assert not waiting.done()
        budget.settle(1.0, 1.0)
        with pytest.raises(StoppedError):
            await waiting

    simulate(act)


def test_money_that_can_never_be_there_is_not_waited_for(simulate):
    async def act() -> None:
        budget = Budget(1.0, spent=0.6)
        with pytest.raises(StoppedError, match=r"\$0\.5000, and \$0\.6000 of the \$1\.0000"):
            await budget.reserve(0.5)
        await budget.reserve(0.4)

    simulate(act)


@pytest.mark.parametrize("amount", [1e-3, 0.1, 1 / 3, 77.7])
def test_rounding_leaves_nothing_reserved_that_nobody_holds(simulate, amount):
    async def act() -> None:
        budget = Budget(100_000 * amount)
        for step in range(30_000):
            await budget.reserve(amount * (1 + step % 7 / 10))
            if step % 3:
                budget.settle(amount * (1 + step % 7 / 10), 0.0)
        for step in range(0, 30_000, 3):
            budget.settle(amount * (1 + step % 7 / 10), amount)
        assert budget.reserved == 0.0
        with pytest.raises(StoppedError):
            await asyncio.wait_for(budget.reserve(1e6 * amount), 10)

    simulate(act)


def test_a_stop_ends_the_wait_of_all(simulate):
    async def act() -> list[Any]:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        waiting = [asyncio.ensure_future(budget.reserve(1.0)) for _ in range(5)]
        await asyncio.sleep(3)
        budget.stop(StoppedError("Enough."))
        return await asyncio.gather(*waiting, return_exceptions=True)

    assert [str(end) for end in simulate(act)] == ["Enough."] * 5


def test_a_cancelled_wait_reserves_nothing(simulate):
    async def act() -> float:
        budget = Budget(1.0)
        await budget.reserve(1.0)
        with anyio.move_on_after(3):
            await budget.reserve(1.0)
        budget.settle(1.0, 0.2)
        return budget.reserved

    assert simulate(act) == 0.0
