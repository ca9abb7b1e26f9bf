"""Checks merges in a process of its own, many at a time, beside the event loop.

What a check needs of the CPU would hold up every call in flight; as a thread, it would hold the
interpreter's lock.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import asynccontextmanager
from functools import cache, partial
from pathlib import Path
from typing import NamedTuple

import anyio
import anyio.to_thread

from mergeit_async.errors import StoppedError
from mergeit_async.merging.compose import compose
from mergeit_async.merging.information import measure_information
from mergeit_async.merging.verdict import Gate, Inspection
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import ChatReply, Row

# One batch is checked, the next is on its way.
BATCHES_AHEAD = 2


class Case(NamedTuple):
    """What the process is told: a reply by its text and end, and each source by id and fields.

    Without a reply, the sources are composed. Nothing else of reply and rows is looked at, and
    much of it could not be sent.
    """

    said: tuple[str, str] | None
    sources: tuple[tuple[str, str, str, str], ...]


class Knowledge(NamedTuple):
    """What the gates need to know.

    The least information that a merge keeps, the file of the words' weights, which is read with
    the first case (a plan has it before it has any group), and the few-shot replies of the prompt.
    """

    min_information: float
    words: Path
    few_shots: tuple[str, ...] = ()


Waiting = list[tuple[Case, "asyncio.Future[Inspection]"]]


class Inspector:
    """Hands cases to the process that checks them; use `open_inspector`."""

    def __init__(self, pool: ProcessPoolExecutor, knowledge: Knowledge) -> None:
        self._pool = pool
        self._knowledge = knowledge
        self._waiting: Waiting = []
        self._batches = 0

    async def inspect(self, reply: ChatReply | None, sources: tuple[Row, ...]) -> Inspection:
        """What both gates say of `reply`, or of the composition of `sources`.

        Raises `StoppedError` when the process is gone.
        """
        verdict: asyncio.Future[Inspection] = asyncio.get_running_loop().create_future()
        said = None if reply is None else (reply.text, reply.finish_reason)
        self._waiting.append((Case(said, tuple([row[:4] for row in sources])), verdict))
        if self._batches < BATCHES_AHEAD:
            self._send()
        return await verdict

    def _send(self) -> None:
        batch, self._waiting = self._waiting, []
        self._batches += 1
        try:
            checked = self._pool.submit(inspect_all, self._knowledge, [case for case, _ in batch])
        except BrokenProcessPool as error:
            self._fail(batch, error)
            return
        asyncio.wrap_future(checked).add_done_callback(partial(self._receive, batch))

    def _receive(self, batch: Waiting, checked: asyncio.Future[list[Inspection]]) -> None:
        if checked.cancelled():  # the run is over, nobody waits
            return
        if error := checked.exception():
            self._fail(batch, error)
            return
        self._batches -= 1
        for (_, verdict), found in zip(batch, checked.result(), strict=True):
            if not verdict.done():
                verdict.set_result(found)
        if self._waiting:
            self._send()

    def _fail(self, batch: Waiting, error: BaseException) -> None:
        self._batches -= 1
        for _, verdict in [*batch, *self._waiting]:
            if not verdict.done():
                verdict.set_exception(stopped_by(error))
        self._waiting = []


@asynccontextmanager
async def open_inspector(knowledge: Knowledge) -> AsyncIterator[Inspector]:
    """An inspector; its process starts with the first case and ends with the block."""
    pool = ProcessPoolExecutor(
        1,
        # A fork would take along locks that threads of this process hold.
        mp_context=multiprocessing.get_context("spawn"),
        initializer=get_ready,
    )
    try:
        yield Inspector(pool, knowledge)
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(partial(pool.shutdown, cancel_futures=True))


def stopped_by(error: BaseException) -> BaseException:
    """What a run is told when a batch could not be checked; bugs stay what they are."""
    if isinstance(error, StoppedError):
        return StoppedError(str(error))  # each who waits raises one of its own
    if isinstance(error, BrokenProcessPool):
        return StoppedError(
            "The process that checks merges has ended, killed or out of memory; all replies that "
            "were saved are kept."
        )
    return error


def get_ready() -> None:
    """Let the process end with its run, and not before."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def inspect_all(knowledge: Knowledge, cases: Sequence[Case]) -> list[Inspection]:
    """What the gates say of each case."""
    gate = build_gate(knowledge)
    return [inspect(gate, case) for case in cases]


@cache
def build_gate(knowledge: Knowledge) -> Gate:
    """The gates as a run asks for them; the embedded model is loaded only where it is needed.

    Raises `StoppedError` where the weights of words cannot be read.
    """
    least, words, few_shots = knowledge
    if not least:
        return Gate(few_shots=few_shots)
    from mergeit_async.providers.word_vectors import WordVectors

    try:
        weights = WordWeights.from_json(words.read_bytes())
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise StoppedError(
            f"{words} cannot be read ({error}); remove it, then resume makes it anew."
        ) from error
    measure = partial(measure_information, weights=weights, encoder=WordVectors())
    return Gate(measure, least, few_shots)


def inspect(gate: Gate, case: Case) -> Inspection:
    """What `gate` says of one case."""
    sources = tuple(Row(*fields, record=0, line=0) for fields in case.sources)
    if case.said is None:
        return gate.examine(compose(sources), sources)
    return gate.inspect(ChatReply(*case.said), sources)


def _end_with_parent() -> None:
    """A run that was killed cannot tell its pool; left alone, the process would wait for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(0)
