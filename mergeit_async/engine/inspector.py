"""Checks merges in a process of its own, many at a time, beside the event loop.

What a check needs of the CPU would hold up every call in flight; as a thread, it would hold the
interpreter's lock.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import orjson
from anyio.abc import TaskGroup

from mergeit_async.engine.child import spawn
from mergeit_async.engine.inspector_process import FOUND, LENGTH_BYTES, STOPPED, frame_of
from mergeit_async.errors import StoppedError
from mergeit_async.merging.verdict import Inspection
from mergeit_async.records import ChatReply, Example, Refusal, Row

PROGRAM = "mergeit_async.engine.inspector_process"
# One batch is checked, the next is on its way.
BATCHES_AHEAD = 2
# No case waits behind more than so many others at one process, one of which may be huge.
MOST_IN_BATCH = 64
# So many cases that wait for a process with room call for one more of them.
CROWD = 64
MOST_PROCESSES = min(4, os.cpu_count() or 1)


class Knowledge(NamedTuple):
    """What the gates need to know.

    The least information that a merge keeps, the file of the words' weights, which is read with
    the first case (a plan has it before it has any group), and the few-shot replies of the prompt.
    """

    min_information: float
    words: Path
    few_shots: tuple[str, ...] = ()


# The text and end of a reply, if there is one, and each source by its id and fields.
Case = tuple[tuple[str, str] | None, list[tuple[str, ...]]]
Batch = list[tuple[Case, "asyncio.Future[Inspection]"]]


class Inspector:
    """Hands cases to the processes that check them; use `open_inspector`."""

    def __init__(self, knowledge: Knowledge, tasks: TaskGroup) -> None:
        self._knowledge = knowledge
        self._tasks = tasks
        self._waiting: Batch = []
        self._channels: list[Channel] = []
        self._scopes: list[anyio.CancelScope] = []
        self._error: Exception | None = None

    async def inspect(self, reply: ChatReply | None, sources: tuple[Row, ...]) -> Inspection:
        """What both gates say of `reply`, or of the composition of `sources`.

        Raises `StoppedError` when a process is gone.
        """
        if self._error is not None:
            raise failure_of(self._error)
        said = None if reply is None else (reply.text, reply.finish_reason)
        verdict: asyncio.Future[Inspection] = asyncio.get_running_loop().create_future()
        self._waiting.append(((said, [row[:4] for row in sources]), verdict))
        self.hand_over()
        return await verdict

    def hand_over(self) -> None:
        """Send what waits to the process that has least to do, if one has room."""
        channel = min(self._channels, key=lambda each: len(each.sent), default=None)
        if channel is not None and len(channel.sent) < BATCHES_AHEAD:
            batch, self._waiting = self._waiting[:MOST_IN_BATCH], self._waiting[MOST_IN_BATCH:]
            channel.send(batch)
        elif len(self._waiting) >= CROWD and len(self._scopes) < MOST_PROCESSES:
            self.hire()

    def hire(self) -> None:
        """Have one more process, which joins in as soon as it is there."""
        scope = anyio.CancelScope(shield=True)
        self._scopes.append(scope)
        self._tasks.start_soon(self._run_channel, scope)

    def close(self) -> None:
        """Let all processes go."""
        for scope in self._scopes:
            scope.cancel()

    async def _run_channel(self, scope: anyio.CancelScope) -> None:
        with scope:
            async with open_channel(self._knowledge) as channel:
                self._channels.append(channel)
                if self._waiting:
                    self.hand_over()
                await channel.receive(self)

    def fail(self, error: Exception) -> None:
        """Nobody will be answered any more."""
        self._error = error
        for batch in (*(batch for each in self._channels for batch in each.sent), self._waiting):
            for _, verdict in batch:
                if not verdict.done():
                    verdict.set_exception(failure_of(error))
        self._waiting = []
        self._channels.clear()

    @property
    def has_waiting(self) -> bool:
        """Whether cases wait for a process with room."""
        return bool(self._waiting)


class Channel:
    """The way to one process; `sent` are the batches that it has not answered yet."""

    def __init__(self, answers: asyncio.StreamReader, batches: asyncio.StreamWriter) -> None:
        self.sent: deque[Batch] = deque()
        self._answers = answers
        self._stream = batches

    def send(self, batch: Batch) -> None:
        """Have a batch checked."""
        self.sent.append(batch)
        if not self._stream.is_closing():
            self._stream.write(frame_of([case for case, _ in batch]))

    async def receive(self, inspector: Inspector) -> None:
        """Hand out what the process answers, until cancelled or the process is gone."""
        try:
            while True:
                length = int.from_bytes(await self._answers.readexactly(LENGTH_BYTES), "big")
                word, content = orjson.loads(await self._answers.readexactly(length))
                if word != FOUND:
                    inspector.fail(
                        StoppedError(content) if word == STOPPED else RuntimeError(content)
                    )
                    return
                self._hand_out(content)
                if inspector.has_waiting:
                    inspector.hand_over()
        except (asyncio.IncompleteReadError, ConnectionError):
            inspector.fail(StoppedError(GONE))

    def _hand_out(self, content: Sequence[Any]) -> None:
        for (_, verdict), found in zip(self.sent.popleft(), content, strict=True):
            if not verdict.done():
                verdict.set_result(read_inspection(*found))


GONE = (
    "The process that checks merges has ended, killed or out of memory; all replies that were "
    "saved are kept."
)


@asynccontextmanager
async def open_inspector(knowledge: Knowledge) -> AsyncIterator[Inspector]:
    """An inspector with a process, or with several where much is to be checked.

    They end with the block, and not before: those who drain while the run is cancelled still need
    their verdicts.
    """
    async with anyio.create_task_group() as tasks:
        inspector = Inspector(knowledge, tasks)
        inspector.hire()
        try:
            yield inspector
        finally:
            inspector.close()


@asynccontextmanager
async def open_channel(knowledge: Knowledge) -> AsyncIterator[Channel]:
    """The way to a new process, which ends with the block."""
    ours, process = spawn(PROGRAM)
    try:
        answers, batches = await asyncio.open_unix_connection(sock=ours)
        with closing(batches):
            batches.write(frame_of([*knowledge[:1], str(knowledge.words), knowledge.few_shots]))
            yield Channel(answers, batches)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(process.wait)


def read_inspection(
    result: list[Any], information: float | None, scores: dict[str, Any] | None, defects: list[str]
) -> Inspection:
    """An inspection from the values that stand for it (see `inspector_process.as_values`)."""
    first, second, last = result
    is_refused = isinstance(last, list)
    found = Refusal(first, second, tuple(last)) if is_refused else Example(first, second, last)
    return Inspection(found, information, scores, tuple(defects))


def failure_of(error: Exception) -> Exception:
    """An error of its own for each who waits."""
    return type(error)(*error.args)
