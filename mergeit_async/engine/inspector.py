"""Checks merges in a process of its own, many at a time, beside the event loop.

What a check needs of the CPU would hold up every call in flight; as a thread, it would hold the
interpreter's lock.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import orjson

from mergeit_async.engine.child import spawn
from mergeit_async.engine.inspector_process import FOUND, LENGTH_BYTES, STOPPED, frame_of
from mergeit_async.errors import StoppedError
from mergeit_async.merging.verdict import Inspection
from mergeit_async.records import ChatReply, Example, Refusal, Row

PROGRAM = "mergeit_async.engine.inspector_process"
# One batch is checked, the next is on its way.
BATCHES_AHEAD = 2


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
    """Hands cases to the process that checks them; use `open_inspector`."""

    def __init__(self, answers: asyncio.StreamReader, batches: asyncio.StreamWriter) -> None:
        self._answers = answers
        self._stream = batches
        self._waiting: Batch = []
        self._sent: deque[Batch] = deque()
        self._error: Exception | None = None

    async def inspect(self, reply: ChatReply | None, sources: tuple[Row, ...]) -> Inspection:
        """What both gates say of `reply`, or of the composition of `sources`.

        Raises `StoppedError` when the process is gone.
        """
        if self._error is not None:
            raise failure_of(self._error)
        said = None if reply is None else (reply.text, reply.finish_reason)
        verdict: asyncio.Future[Inspection] = asyncio.get_running_loop().create_future()
        self._waiting.append(((said, [row[:4] for row in sources]), verdict))
        if len(self._sent) < BATCHES_AHEAD:
            self._send()
        return await verdict

    async def receive(self) -> None:
        """Hand out what the process answers, until cancelled or the process is gone."""
        try:
            while True:
                length = int.from_bytes(await self._answers.readexactly(LENGTH_BYTES), "big")
                self._hand_out(*orjson.loads(await self._answers.readexactly(length)))
        except (asyncio.IncompleteReadError, ConnectionError):
            self._fail(StoppedError(GONE))

    def _send(self) -> None:
        batch, self._waiting = self._waiting, []
        self._sent.append(batch)
        if not self._stream.is_closing():
            self._stream.write(frame_of([case for case, _ in batch]))

    def _hand_out(self, word: str, content: Any) -> None:
        if word != FOUND:
            self._fail(StoppedError(content) if word == STOPPED else RuntimeError(content))
            return
        batch = self._sent.popleft()
        for (_, verdict), found in zip(batch, content, strict=True):
            if not verdict.done():
                verdict.set_result(read_inspection(*found))
        if self._waiting:
            self._send()

    def _fail(self, error: Exception) -> None:
        """Nobody will be answered any more."""
        self._error = error
        for batch in (*self._sent, self._waiting):
            for _, verdict in batch:
                if not verdict.done():
                    verdict.set_exception(failure_of(error))
        self._sent.clear()
        self._waiting = []


GONE = (
    "The process that checks merges has ended, killed or out of memory; all replies that were "
    "saved are kept."
)


@asynccontextmanager
async def open_inspector(knowledge: Knowledge) -> AsyncIterator[Inspector]:
    """An inspector with its process, which ends with the block."""
    ours, process = spawn(PROGRAM)
    try:
        answers, batches = await asyncio.open_unix_connection(sock=ours)
        with closing(batches):
            batches.write(frame_of([*knowledge[:1], str(knowledge.words), knowledge.few_shots]))
            inspector = Inspector(answers, batches)
            async with anyio.create_task_group() as tasks:
                # Those who drain while the run is cancelled still need their verdicts.
                receiving = anyio.CancelScope(shield=True)
                tasks.start_soon(receive_in, receiving, inspector)
                try:
                    yield inspector
                finally:
                    receiving.cancel()
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(process.wait)


async def receive_in(scope: anyio.CancelScope, inspector: Inspector) -> None:
    """Receive answers until the scope is cancelled."""
    with scope:
        await inspector.receive()


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
