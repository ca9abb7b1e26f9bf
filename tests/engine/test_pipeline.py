from __future__ import annotations

import time
from collections.abc import Iterator

import anyio
import numpy as np
import pytest

from mergeit_async.engine.pipeline import TOPICS_AHEAD, Pipeline
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.records import Group, Outcome, Status

NONE = np.zeros(0, np.int64)


def topic(number: int, n_groups: int) -> PlannedTopic:
    first = number * n_groups
    groups = tuple(PlannedGroup(first + n, number, (0, 1), 0.9) for n in range(n_groups))
    return PlannedTopic(number, first, NONE, NONE, groups)


def load(planned: PlannedGroup) -> Group:
    return Group(planned.position, planned.topic, str(planned.position), (), planned.similarity)


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
        self._planner = planner

    async def merge(self, group: Group) -> Outcome:
        self.planned_at_start.append(self._planner.planned)
        await self.gate.wait()
        return Outcome(group.position, group.id, Status.MERGED, 1)


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
    pipeline = Pipeline(merger, load, frozenset(), workers=4, observe=outcomes.append)

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

    await Pipeline(merger, load, {0, 7, 14}, workers=4, observe=outcomes.append).run(
        planner.topics()
    )

    assert sorted(outcome.position for outcome in outcomes) == [
        position for position in range(15) if position not in {0, 7, 14}
    ]


async def test_a_drain_ends_the_run_while_the_planner_is_computing():
    def slow_topics() -> Iterator[PlannedTopic]:
        yield topic(0, 1)
        time.sleep(2)
        yield topic(1, 1)

    merger = GatedMerger(CountingPlanner(0, 0))
    pipeline = Pipeline(merger, load, frozenset(), workers=2, observe=lambda _: None)

    with anyio.fail_after(1.5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(pipeline.run, slow_topics())
            await anyio.sleep(0.2)
            pipeline.drain()
    assert pipeline.is_drained


async def test_an_error_in_one_merge_ends_the_run():
    class Broken:
        async def merge(self, group: Group) -> Outcome:
            raise RuntimeError("a bug")

    planner = CountingPlanner(n_topics=100, n_groups=10)
    pipeline = Pipeline(Broken(), load, frozenset(), workers=4, observe=lambda _: None)
    with pytest.raises(ExceptionGroup):
        await pipeline.run(planner.topics())
    assert planner.planned < 100
