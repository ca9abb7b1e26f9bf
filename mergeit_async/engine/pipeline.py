"""The producer and its consumers: planned topics stream as groups into concurrent merges.

The planner runs in a worker thread and hands over topic by topic; the streams are bounded, so a
planner that is ahead waits, and the first request leaves before the last topic is planned.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable

import anyio
import anyio.from_thread
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from mergeit_async.engine.mergers import Merger
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.records import Group, Outcome


class Pipeline:
    """Merges all groups of a plan that are not `finished` yet; may be told to drain."""

    def __init__(
        self,
        merger: Merger,
        load_group: Callable[[PlannedGroup], Group],
        finished: Container[int],
        *,
        workers: int,
        observe: Callable[[Outcome], None],
    ) -> None:
        self._merger = merger
        self._load_group = load_group
        self._finished = finished
        self._workers = workers
        self._observe = observe
        self._scope = anyio.CancelScope()

    @property
    def is_drained(self) -> bool:
        """Whether the run was told to drain before its end."""
        return self._scope.cancel_called

    def drain(self) -> None:
        """Start nothing more; exchanges under way are finished and committed."""
        self._scope.cancel()

    async def run(self, topics: Iterable[PlannedTopic]) -> None:
        """Merge the groups of `topics` (a blocking iterable); returns when all have ended."""
        topics_in, topics_out = anyio.create_memory_object_stream[PlannedTopic](0)
        groups_in, groups_out = anyio.create_memory_object_stream[PlannedGroup](self._workers)
        with self._scope:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(plan_into, topics_in, topics)
                tasks.start_soon(self._spread, topics_out, groups_in)
                with groups_out:
                    for _ in range(self._workers):
                        tasks.start_soon(self._consume, groups_out.clone())

    async def _spread(
        self,
        topics: MemoryObjectReceiveStream[PlannedTopic],
        groups: MemoryObjectSendStream[PlannedGroup],
    ) -> None:
        with topics, groups:
            async for topic in topics:
                for group in topic.groups:
                    if group.position not in self._finished:
                        await groups.send(group)

    async def _consume(self, groups: MemoryObjectReceiveStream[PlannedGroup]) -> None:
        with groups:
            async for planned in groups:
                self._observe(await self._merger.merge(self._load_group(planned)))


async def plan_into(
    stream: MemoryObjectSendStream[PlannedTopic], topics: Iterable[PlannedTopic]
) -> None:
    """Run the planner in a thread; each topic waits until the stream takes it."""

    def hand_over() -> None:
        for topic in topics:
            anyio.from_thread.run(stream.send, topic)

    with stream:
        # A drain does not wait for the step that is being computed: artefacts are atomic.
        await anyio.to_thread.run_sync(hand_over, abandon_on_cancel=True)
