"""The producer and its consumers: planned topics stream as groups into concurrent merges.

The planner runs in a worker thread and hands over topic by topic; the streams are bounded, so a
planner that is ahead waits, and the first request leaves before the last topic is planned.
"""

from __future__ import annotations

import gc
from collections import deque
from collections.abc import Awaitable, Callable, Container, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from types import TracebackType
from typing import Generic

import anyio
import anyio.lowlevel
import anyio.to_thread
from anyio.streams.memory import MemoryObjectReceiveStream, MemoryObjectSendStream

from mergeit_async.engine.mergers import Draft, Merger
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.errors import StoppedError
from mergeit_async.records import Outcome

# Planned while the groups of an earlier topic are being merged; then the planner waits.
TOPICS_AHEAD = 4
# Groups under way for each place in flight: while some wait for the disk, others send.
WORKERS_PER_PLACE = 2
# One after the other, drafts take a tenth of the event loop's time less than each at its turn.
DRAFTS_AT_ONCE = 32
# New objects, net of those freed, between two searches for cycles.
OBJECTS_PER_COLLECTION = 50_000


class Pipeline(Generic[Draft]):
    """Merges all groups of a plan that are not `finished` yet; may be told to drain.

    Nothing under way is ever cut off: a cancelled run drains too, and so does one in which a
    group's merge raises an error: `on_error` hears of it before the calls in flight have ended.
    """

    def __init__(
        self,
        merger: Merger[Draft],
        finished: Container[int],
        *,
        workers: int,
        observe: Callable[[Outcome], None],
        on_error: Callable[[Exception], None] = lambda _: None,
        prepare: Callable[[], Awaitable[None]] = anyio.lowlevel.checkpoint,
    ) -> None:
        """`prepare` is awaited once, before the first group is drafted."""
        self._merger = merger
        self._prepare = prepare
        self._finished = finished
        self._workers = workers
        self._observe = observe
        self._on_error = on_error
        self._planning = anyio.CancelScope()
        self._error: Exception | None = None
        self._traceback: TracebackType | None = None
        self._start_worker: Callable[[], object] | None = None

    def widen(self, workers: int) -> None:
        """Merge so many groups at once from now on, if that is more than so far."""
        more = max(0, workers - self._workers)
        self._workers += more
        if self._start_worker is not None:
            for _ in range(more):
                self._start_worker()

    def drain(self, error: Exception | None = None) -> None:
        """Start nothing more; exchanges under way are finished and committed.

        `error` is what `run` raises in the end, unless another came before it.
        """
        if self._error is None:
            self._error = error or StoppedError("Stopped on request; what was in flight is saved.")
            self._traceback = self._error.__traceback__
            self._planning.cancel()
            self._merger.stop(self._error)
            if error is not None:
                self._on_error(error)

    async def run(self, topics: Iterable[PlannedTopic]) -> None:
        """Merge the groups of `topics` (a blocking iterable); returns when all have ended.

        Raises the error that it was drained for, if it was.
        """
        done = anyio.Event()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._work, topics, done)
            try:
                await done.wait()
            except anyio.get_cancelled_exc_class():
                self.drain()
                raise
        if self._error is not None:
            # All that waited to send raised it too, and each has left a trace.
            raise self._error.with_traceback(self._traceback)

    async def _work(self, topics: Iterable[PlannedTopic], done: anyio.Event) -> None:
        send, receive = anyio.create_memory_object_stream[PlannedTopic](TOPICS_AHEAD)
        feed = Feed(receive, self._finished, self._merger.draft, self._prepare)
        with anyio.CancelScope(shield=True), receive, rare_collections():
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._plan, send, topics)
                self._start_worker = start = partial(tasks.start_soon, self._consume, feed)
                for _ in range(self._workers):
                    start()
            self._start_worker = None
        done.set()

    async def _plan(
        self, send: MemoryObjectSendStream[PlannedTopic], topics: Iterable[PlannedTopic]
    ) -> None:
        with self._planning:
            try:
                await plan_into(send, topics)
            except Exception as error:
                self.drain(error)

    async def _consume(self, feed: Feed[Draft]) -> None:
        try:
            while self._error is None:
                draft = await feed.next()
                if draft is None or self._error is not None:
                    return
                self._observe(await self._merger.merge(draft))
        except Exception as error:
            self.drain(error)


@contextmanager
def rare_collections() -> Iterator[None]:
    """Search seldom for cyclic garbage, and not at all in what there is now.

    What streams by is freed by reference counts; at Python's own thresholds the searches take 7 %
    of the event loop's time.
    """
    thresholds = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(OBJECTS_PER_COLLECTION, *thresholds[1:])
    try:
        yield
    finally:
        gc.set_threshold(*thresholds)
        gc.unfreeze()


class Feed(Generic[Draft]):
    """The groups of a stream of topics, for many workers at once; without the `finished`."""

    def __init__(
        self,
        topics: MemoryObjectReceiveStream[PlannedTopic],
        finished: Container[int],
        draft: Callable[[PlannedGroup], Draft],
        prepare: Callable[[], Awaitable[None]],
    ) -> None:
        self._topics = topics
        self._finished = finished
        self._draft = draft
        self._prepare = prepare
        self._is_prepared = False
        self._groups: Iterator[PlannedGroup] = iter(())
        self._drafts: deque[Draft] = deque()
        # One worker at a time waits for the next topic; the others wait for that worker.
        self._turn = anyio.Lock(fast_acquire=True)

    async def next(self) -> Draft | None:
        """The next draft, None at the end; waits only where the planner is behind."""
        if self._drafts or self._draft_some():
            return self._drafts.popleft()
        async with self._turn:
            while not (self._drafts or self._draft_some()):
                try:
                    topic = await self._topics.receive()
                except anyio.EndOfStream:
                    return None
                groups = [group for group in topic.groups if group.position not in self._finished]
                if groups and not self._is_prepared:
                    self._is_prepared = True  # who fails at it ends the run, none tries again
                    await self._prepare()
                self._groups = iter(groups)
            return self._drafts.popleft()

    def _draft_some(self) -> bool:
        """Draft groups of the topic at hand, if there are any left."""
        self._drafts.extend(map(self._draft, islice(self._groups, DRAFTS_AT_ONCE)))
        return bool(self._drafts)


async def plan_into(
    stream: MemoryObjectSendStream[PlannedTopic], topics: Iterable[PlannedTopic]
) -> None:
    """Plan topic by topic in a worker thread; the next is begun when the stream took the last."""
    planner = iter(topics)
    with stream:
        # A drain does not wait for the step that is being computed: artefacts are atomic.
        while topic := await anyio.to_thread.run_sync(next, planner, None, abandon_on_cancel=True):
            await stream.send(topic)
