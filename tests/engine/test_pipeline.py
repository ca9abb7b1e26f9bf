from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

import anyio
import numpy as np
import pytest

from mergeit_async.engine.pipeline import TOPICS_AHEAD, Pipeline
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.engine.waiting import Room
from mergeit_async.errors import StoppedError
from mergeit_async.records import Outcome, Status

NONE = np.zeros(0, np.int64)


def topic(number: int, n_groups: int) -> PlannedTopic:
    first = number * n_groups
    groups = tuple(PlannedGroup(first + n, number, (0, 1), 0.9) for n in range(n_groups))
    return PlannedTopic(number, first, NONE, NONE, groups)


class CountingPlanner:
    """Plans topics one after the other and counts them."""

    def __init__(self, n_topics: int, n_groups: int) -> None:
        self.planned = 0
        self._shape = n_topics, n_groups

    def topics(self) -> Iterator[PlannedTopic]:
        for number in range(self._shape[0]):
            self.planned += 1
            yield topic(number, self._shape[1])


class GatedMerger:
    """Merges only while its gate is open; remembers what had been planned at each merge."""

    def __init__(self, planner: CountingPlanner) -> None:
        self.gate = anyio.Event()
        self.planned_at_start: list[int] = []
        self.stopped_for: list[Exception] = []
        self._planner = planner

    def draft(self, planned: PlannedGroup) -> PlannedGroup:
        return planned

    async def merge(self, group: PlannedGroup) -> Outcome:
        self.planned_at_start.append(self._planner.planned)
        await self.gate.wait()
        return Outcome(group.position, str(group.position), Status.MERGED, 1)

    def stop(self, error: Exception) -> None:
        self.stopped_for.append(error)


async def settle(planner: CountingPlanner) -> None:
    """Wait until the planner has not moved for a while."""
    seen = -1
    while seen != planner.planned:
        seen = planner.planned
        await anyio.sleep(0.1)


async def test_a_full_stream_stops_the_planner_and_the_first_merge_precedes_the_last_topic():
    planner = CountingPlanner(n_topics=100, n_groups=10)
    merger = GatedMerger(planner)
    outcomes: list[Outcome] = []
    pipeline = Pipeline(merger, frozenset(), workers=4, observe=outcomes.append)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, planner.topics())
        await settle(planner)
        planned_while_full = planner.planned
        merger.gate.set()

    assert merger.planned_at_start[0] <= TOPICS_AHEAD + 2
    assert planned_while_full <= TOPICS_AHEAD + 2
    assert planner.planned == 100
    assert sorted(outcome.position for outcome in outcomes) == list(range(1000))


async def test_groups_that_have_ended_are_not_merged_again():
    planner = CountingPlanner(n_topics=3, n_groups=5)
    merger = GatedMerger(planner)
    merger.gate.set()
    outcomes: list[Outcome] = []

    await Pipeline(merger, {0, 7, 14}, workers=4, observe=outcomes.append).run(planner.topics())

    assert sorted(outcome.position for outcome in outcomes) == [
        position for position in range(15) if position not in {0, 7, 14}
    ]


async def test_a_drain_ends_the_run_while_the_planner_is_computing():
    def slow_topics() -> Iterator[PlannedTopic]:
        yield topic(0, 1)
        time.sleep(2)
        yield topic(1, 1)

    merger = GatedMerger(CountingPlanner(0, 0))
    pipeline = Pipeline(merger, frozenset(), workers=2, observe=lambda _: None)

    async def drain_soon() -> None:
        await anyio.sleep(0.2)
        pipeline.drain()
        merger.gate.set()

    with anyio.fail_after(1.5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(drain_soon)
            with pytest.raises(StoppedError, match="Stopped on request"):
                await pipeline.run(slow_topics())


class Failing:
    """Merges until a group whose merge fails; what is under way then takes its time."""

    def __init__(self, at: int, error: Exception) -> None:
        self.merged: list[int] = []
        self._at, self._error = at, error

    def draft(self, planned: PlannedGroup) -> PlannedGroup:
        return planned

    async def merge(self, group: PlannedGroup) -> Outcome:
        if group.position == self._at:
            raise self._error
        await anyio.sleep(0.1)
        self.merged.append(group.position)
        return Outcome(group.position, str(group.position), Status.MERGED, 1)

    def stop(self, error: Exception) -> None:
        assert error is self._error


async def test_an_error_in_one_merge_ends_the_run_when_the_others_under_way_are_done():
    planner = CountingPlanner(n_topics=100, n_groups=10)
    merger = Failing(at=2, error=RuntimeError("a bug"))
    outcomes: list[Outcome] = []
    pipeline = Pipeline(merger, frozenset(), workers=4, observe=outcomes.append)
    with pytest.raises(RuntimeError, match="a bug"):
        await pipeline.run(planner.topics())
    assert planner.planned < 100
    assert sorted(merger.merged) == [0, 1]
    assert len(outcomes) == 2


class BadDraft(GatedMerger):
    """Cannot draft one group."""

    def draft(self, planned: PlannedGroup) -> PlannedGroup:
        if planned.position == 5:
            raise RuntimeError("no such row")
        return planned


async def test_a_group_that_cannot_be_drafted_ends_the_run():
    planner = CountingPlanner(n_topics=100, n_groups=10)
    merger = BadDraft(planner)
    merger.gate.set()
    pipeline = Pipeline(merger, frozenset(), workers=4, observe=lambda _: None)
    with pytest.raises(RuntimeError, match="no such row") as raised:
        await pipeline.run(planner.topics())
    assert planner.planned < 100
    assert merger.stopped_for == [raised.value]


class Refused:
    """Merges nothing: one is refused, and the others hear of it when they want their turn."""

    def __init__(self) -> None:
        self._is_closed = anyio.Event()
        self._turns = Room()

    def draft(self, planned: PlannedGroup) -> PlannedGroup:
        return planned

    async def merge(self, group: PlannedGroup) -> Outcome:
        if group.position == 50:
            raise StoppedError("The key is refused.")
        await self._is_closed.wait()
        await self._turns.sleep(10**6)
        raise AssertionError

    def stop(self, error: Exception) -> None:
        self._turns.close(error)
        self._is_closed.set()


async def test_an_error_that_stops_many_bears_the_trace_of_where_it_came_from_alone():
    planner = CountingPlanner(n_topics=1, n_groups=100)
    pipeline = Pipeline(Refused(), frozenset(), workers=60, observe=lambda _: None)
    with pytest.raises(StoppedError, match="The key is refused") as raised:
        await pipeline.run(planner.topics())
    assert len(raised.traceback) < 10


async def test_an_error_of_the_planner_ends_the_run():
    def broken_topics() -> Iterator[PlannedTopic]:
        yield topic(0, 1)
        raise StoppedError("The disk is full.")

    merger = GatedMerger(CountingPlanner(0, 0))
    merger.gate.set()
    pipeline = Pipeline(merger, frozenset(), workers=2, observe=lambda _: None)
    with pytest.raises(StoppedError, match="The disk is full"):
        await pipeline.run(broken_topics())
    assert [str(error) for error in merger.stopped_for] == ["The disk is full."]


async def test_a_drain_begins_no_group_and_raises_the_error_it_is_for():
    planner = CountingPlanner(n_topics=100, n_groups=10)
    merger = GatedMerger(planner)
    outcomes: list[Outcome] = []
    pipeline = Pipeline(merger, frozenset(), workers=4, observe=outcomes.append)
    error = StoppedError("The server is gone.")

    async def drain_soon() -> None:
        await settle(planner)
        pipeline.drain(error)
        pipeline.drain(StoppedError("A later reason."))
        await anyio.sleep(0.1)
        merger.gate.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(drain_soon)
        with pytest.raises(StoppedError) as ended:
            await pipeline.run(planner.topics())

    assert ended.value is error
    assert merger.stopped_for == [error]
    assert len(outcomes) == len(merger.planned_at_start) == 4
    assert planner.planned < 100


async def test_a_cancelled_run_finishes_what_is_under_way_and_begins_nothing_more():
    planner = CountingPlanner(n_topics=100, n_groups=10)
    merger = GatedMerger(planner)
    outcomes: list[Outcome] = []
    pipeline = Pipeline(merger, frozenset(), workers=4, observe=outcomes.append)

    with anyio.CancelScope() as scope:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.run, planner.topics())
            await settle(planner)
            asyncio.get_running_loop().call_later(0.2, merger.gate.set)
            scope.cancel()

    assert scope.cancelled_caught
    assert len(outcomes) == len(merger.planned_at_start) == 4
    assert len(merger.stopped_for) == 1


async def test_more_groups_are_merged_at_once_when_the_run_is_widened():
    planner = CountingPlanner(n_topics=10, n_groups=10)
    merger = GatedMerger(planner)
    outcomes: list[Outcome] = []
    pipeline = Pipeline(merger, frozenset(), workers=4, observe=outcomes.append)
    under_way: list[int] = []

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pipeline.run, planner.topics())
        for workers in (3, 7, 5, 20):
            await settle(planner)
            under_way.append(len(merger.planned_at_start))
            pipeline.widen(workers)
        await settle(planner)
        under_way.append(len(merger.planned_at_start))
        merger.gate.set()

    assert under_way == [4, 4, 7, 7, 20]
    assert sorted(outcome.position for outcome in outcomes) == list(range(100))
    pipeline.widen(100)  # nothing is left to do
