"""The producer and its consumers: planned topics stream as groups into concurrent merges.

The planner runs in a worker thread and hands over topic by topic; the streams are bounded, so a
planner that is ahead waits, and the first request leaves before the last topic is planned.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator

import anyio
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from mergeit_async.engine.mergers import Merger
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.records import Group, Outcome

# Planned while the groups of an earlier topic are being merged; then the planner waits.
TOPICS_AHEAD = 4


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
        send, receive = anyio.create_memory_object_stream[PlannedTopic](TOPICS_AHEAD)
        feed = Feed(receive)
        with self._scope, receive:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(plan_into, send, topics)
                for _ in range(self._workers):
                    tasks.start_soon(self._consume, feed)

    async def _consume(self, feed: Feed) -> None:
        async for planned in feed:
            if planned.position not in self._finished:
                self._observe(await self._merger.merge(self._load_group(planned)))


class Feed:
    """The groups of a stream of topics, one by one, for many workers at once."""

    def __init__(self, topics: MemoryObjectReceiveStream[PlannedTopic]) -> None:
        self._topics = topics
        self._groups: Iterator[PlannedGroup] = iter(())
        # One worker at a time waits for the next topic; the others wait for that worker.
        self._turn = anyio.Lock(fast_acquire=True)

    def __aiter__(self) -> Feed:
        return self

    async def __anext__(self) -> PlannedGroup:
        """The next group; waits only where the planner is behind."""
        if (group := next(self._groups, None)) is not None:
            return group
        async with self._turn:
            while (group := next(self._groups, None)) is None:
                try:
                    topic = await self._topics.receive()
                except anyio.EndOfStream:
                    raise StopAsyncIteration from None
                self._groups = iter(topic.groups)
            return group


async def plan_into(
    stream: MemoryObjectSendStream[PlannedTopic], topics: Iterable[PlannedTopic]
) -> None:
    """Plan topic by topic in a worker thread; the next is begun when the stream took the last."""
    planner = iter(topics)
    with stream:
        # A drain does not wait for the step that is being computed: artefacts are atomic.
        while topic := await anyio.to_thread.run_sync(next, planner, None, abandon_on_cancel=True):
            await stream.send(topic)
