"""What a run did and what it learned, durable: SQLite in WAL mode, one writer, group commit.

A call's intent is committed before the request is sent, its outcome before it is counted.
Statements of many groups share one transaction: while a process of its own commits one batch, the
next gathers.
"""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import (
    AsyncIterator,
    Awaitable,
    Callable,
    Iterable,
    Mapping,
    Sequence,
)
from contextlib import ExitStack, asynccontextmanager, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
import orjson

from mergeit_async.engine.tables import (
    ADD_OUTCOME,
    ADD_REPLY,
    BEGIN_CALL,
    DROP_OUTCOME,
    END_CALL,
    FAILED,
    FINISHED,
    LEAVE_OPEN,
    NEXT_CALL,
    REPLY,
    SPENT,
    Values,
    as_json,
    connect_reader,
    connect_writer,
    has_replies,
    outcome_values,
    read_reply,
    reply_values,
)
from mergeit_async.engine.waiting import resolve
from mergeit_async.engine.writer import Writer, start_writer, stopped_by
from mergeit_async.errors import StoppedError
from mergeit_async.records import ChatReply, ChatRequest, Outcome

IN_ORDER = (LEAVE_OPEN, BEGIN_CALL, END_CALL, ADD_REPLY, ADD_OUTCOME, DROP_OUTCOME)


class CallEnd(NamedTuple):
    """How a call ended, for the record.

    `result` is the verdict on its reply, the kind of its fault, or a word for one that was not
    sent or not waited for. `cost` is in US dollars; `lane` names the server. `scores` are those of
    a merge that was refused, as JSON values.
    """

    result: str
    cost: float = 0.0
    http_status: int | None = None
    detail: str | None = None
    lane: str | None = None
    latency_s: float | None = None
    scores: Mapping[str, Any] | None = None


@dataclass(slots=True)
class _Batch:
    """Statements that will be committed together, and the event of those who wait for that."""

    statements: dict[str, list[Values]] = field(default_factory=dict)
    waiting: list[asyncio.Future[None]] = field(default_factory=list)

    def as_line(self) -> bytes:
        """For the writer. Sorted out: a call may be begun and ended within one batch."""
        statements = {sql: self.statements[sql] for sql in IN_ORDER if sql in self.statements}
        return orjson.dumps(statements, option=orjson.OPT_APPEND_NEWLINE)

    def add(self, sql: str, values: Values) -> None:
        self.statements.setdefault(sql, []).append(values)

    def committed(self) -> asyncio.Future[None]:
        """A future that ends with the commit."""
        turn = asyncio.get_running_loop().create_future()
        self.waiting.append(turn)
        return turn

    def release(self) -> None:
        """Wake all who wait."""
        for turn in self.waiting:
            resolve(turn)


class Journal:
    """All that goes into `journal.db`, and what is known from it; use `open_journal`.

    `finished` holds the positions of all groups that have an outcome, `spent` what the calls of
    earlier sessions cost in US dollars.
    """

    def __init__(self, path: Path, writer: Writer, readers: Sequence[sqlite3.Connection]) -> None:
        own = readers[0]
        self.finished = {position for (position,) in own.execute(FINISHED)}
        self.spent: float = own.execute(SPENT).fetchone()[0]
        self._path = path
        self._writer = writer
        self._own = own
        # No merge of this very session is asked for again.
        self._with_replies = [reader for reader in readers if has_replies(reader)]
        self._next_call: int = own.execute(NEXT_CALL).fetchone()[0]
        self._pending = _Batch()
        self._pending.add(LEAVE_OPEN, ())
        self._wake = asyncio.Event()
        self._error: Exception | None = None

    def known_reply(self, request_key: str) -> ChatReply | None:
        """The reply that was paid for earlier, in this run or in the one that is reused."""
        for reader in self._with_replies:
            found = reader.execute(REPLY, (request_key,)).fetchone()
            if found is not None:
                return read_reply(found)
        return None

    def own_reply(self, request_key: str) -> ChatReply | None:
        """The reply that was saved in this run, also in this very session."""
        found = self._own.execute(REPLY, (request_key,)).fetchone()
        return None if found is None else read_reply(found)

    def next_call(self) -> int:
        """A number for a call, never given before."""
        call, self._next_call = self._next_call, self._next_call + 1
        return call

    async def begin_call(
        self, call: int, position: int, request: ChatRequest, reserved: float
    ) -> None:
        """Make the intent to send `request` durable; `reserved` are US dollars."""
        values = (call, position, request.sample, request.key, time.time(), reserved)
        self._pending.add(BEGIN_CALL, values)
        await self._commit()

    def end_call(self, call: int, end: CallEnd) -> None:
        """Record that a call ended without a reply; nobody needs to wait for that."""
        self._pending.add(END_CALL, end_values(call, end))
        self._wake.set()

    async def settle_call(
        self,
        call: int,
        request: ChatRequest,
        reply: ChatReply,
        end: CallEnd,
        outcome: Outcome | None,
    ) -> None:
        """Record a reply, how it was judged, and the group's outcome if that settled it."""
        batch = self._pending
        batch.add(END_CALL, end_values(call, end))
        batch.add(ADD_REPLY, reply_values(request.key, reply))
        if outcome is not None:
            batch.add(ADD_OUTCOME, outcome_values(outcome))
        await self._commit()
        if outcome is not None:
            self.finished.add(outcome.position)

    async def add_outcome(self, outcome: Outcome) -> None:
        """Record the end of a group that needed no further call."""
        self._pending.add(ADD_OUTCOME, outcome_values(outcome))
        await self._commit()
        self.finished.add(outcome.position)

    def drop_outcomes(self, positions: Iterable[int]) -> None:
        """Open these groups again, as if they had not ended."""
        for position in positions:
            self._pending.add(DROP_OUTCOME, (position,))
            self.finished.discard(position)
        self._wake.set()

    async def reopen_failed(self) -> None:
        """Open those groups again that never got a reply, so that they are sent again."""
        self.drop_outcomes([position for (position,) in self._own.execute(FAILED)])
        # Within one batch, what is dropped would go after what is added.
        await self.flush()

    async def flush(self) -> None:
        """Wait until all that was recorded is on disk, or cannot be written."""
        # Batches are answered in their order: even an empty one ends after all before it.
        with anyio.CancelScope(shield=True), suppress(StoppedError):
            await self._commit()

    async def write_batches(self) -> None:
        """Commit what gathers, batch after batch, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = asyncio.Event()
            batch, self._pending = self._pending, _Batch()
            try:
                await self._writer.commit(batch.as_line())
            except Exception as error:  # whatever it is, those who wait must hear of it
                self._error = self._error or error
            finally:
                batch.release()

    async def _commit(self) -> None:
        """Wait until what was added is on disk; raises `StoppedError` when it cannot be."""
        batch = self._pending
        self._wake.set()
        if self._error is None:
            await batch.committed()
        if self._error is not None:
            raise stopped_by(self._path, self._error)


@asynccontextmanager
async def open_journal(
    path: Path, *, reuse: Path | None = None, tell: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Journal]:
    """The journal at `path`, made if need be, with its writer running.

    `reuse` is the journal of another run whose replies count as known here; `tell` hears what it
    waits for. Raises `UsageError` when a file is no journal of this version, `StoppedError` when
    the disk or another writer does not let it be used.
    """
    await anyio.to_thread.run_sync(make_journal, path)
    async with start_writer(path, tell) as writer:
        with ExitStack() as readers:
            connections = [
                readers.enter_context(closing(connect_reader(file)))
                for file in (path, reuse)
                if file is not None
            ]
            journal = await anyio.to_thread.run_sync(Journal, path, writer, connections)
            async with anyio.create_task_group() as tasks:
                # Those who drain while the run is cancelled still need their commits: the writing
                # outlives every cancellation and ends when the body has ended.
                writing = anyio.CancelScope(shield=True)
                tasks.start_soon(_run_in, writing, journal.write_batches)
                try:
                    yield journal
                finally:
                    await journal.flush()
                    writing.cancel()


def make_journal(path: Path) -> None:
    """Make the tables of a new journal; recover what a killed run left of an old one's log."""
    connect_writer(path).close()


async def _run_in(scope: anyio.CancelScope, task: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await task()


def end_values(call: int, end: CallEnd) -> Values:
    """The end of a call as the values of its statement."""
    return (
        time.time(),
        end.result,
        end.http_status,
        end.detail,
        end.cost,
        end.lane,
        end.latency_s,
        as_json(end.scores),
        call,
    )
