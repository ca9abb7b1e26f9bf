from __future__ import annotations

import asyncio
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from mergeit_async.engine.waiting import Room


class Closed(Exception):
    """What a room is closed with here."""


def test_all_inside_are_let_out_and_nobody_else(simulate):
    async def act() -> list[bool]:
        room = Room()
        turns = [room.enter() for _ in range(3)]
        room.wake()
        turns.append(room.enter())
        return [turn.done() for turn in turns]

    assert simulate(act) == [True, True, True, False]


def test_a_closed_room_ends_every_wait_and_admits_nobody(simulate):
    async def act() -> list[Any]:
        room = Room()
        waiting = [asyncio.ensure_future(room.sleep(100)) for _ in range(3)]
        await anyio.sleep(1)
        room.close(Closed())
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        with pytest.raises(Closed):
            await room.sleep(0)
        return [*map(type, ends), anyio.current_time()]

    assert simulate(act) == [Closed, Closed, Closed, pytest.approx(1, abs=0.01)]


def test_a_sleep_lasts_as_long_as_it_should_unless_all_are_woken(simulate):
    async def act() -> tuple[float, float]:
        room = Room()
        await room.sleep(7)
        slept = anyio.current_time()
        asyncio.get_running_loop().call_later(1, room.wake)
        await room.sleep(7)
        return slept, anyio.current_time()

    assert simulate(act) == pytest.approx((7, 8), abs=0.01)


def test_whoever_is_cancelled_leaves_the_room(simulate):
    async def act() -> int:
        room = Room()
        with anyio.move_on_after(1):
            await room.sleep(100)
        await anyio.lowlevel.checkpoint()
        return len(room)

    assert simulate(act) == 0
