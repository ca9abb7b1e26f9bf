"""What a run did and what it learned, durable: SQLite in WAL mode, one writer, group commit.

A call's intent is committed before the request is sent, its outcome before it is counted.
Statements of many groups share one transaction: while one commit waits for the disk, the next
batch gathers.
"""

from __future__ import annotations

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
from contextlib import ExitStack, asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path

import anyio
import anyio.to_thread
from anyio import CapacityLimiter

from mergeit_async.engine.tables import (
    ADD_OUTCOME,
    ADD_REPLY,
    BEGIN_CALL,
    END_CALL,
    FINISHED,
    NEXT_CALL,
    REPLY,
    Values,
    connect_reader,
    connect_writer,
    has_replies,
    outcome_values,
    reply_values,
)
from mergeit_async.errors import StoppedError
from mergeit_async.records import ChatReply, ChatRequest, Outcome

Statement = tuple[str, Values]


@dataclass(slots=True)
class _Batch:
    """Statements that will be committed together, and the event of those who wait for that."""

    statements: dict[str, list[Values]] = field(default_factory=dict)
    committed: anyio.Event = field(default_factory=anyio.Event)

    def add(self, statements: Iterable[Statement]) -> None:
        for sql, values in statements:
            self.statements.setdefault(sql, []).append(values)


class Journal:
    """The one writer of `journal.db`; use `open_journal`.

    `finished` holds the positions of all groups that have an outcome.
    """

    def __init__(
        self, connection: sqlite3.Connection, path: Path, readers: Sequence[sqlite3.Connection]
    ) -> None:
        self.finished = {position for (position,) in connection.execute(FINISHED)}
        self._connection = connection
        self._path = path
        self._readers = readers
        self._next_call: int = connection.execute(NEXT_CALL).fetchone()[0]
        self._pending = _Batch()
        self._wake = anyio.Event()
        # One thread: commits stay in the order in which they were gathered.
        self._thread = CapacityLimiter(1)
        self._error: Exception | None = None

    def known_reply(self, request_key: str) -> ChatReply | None:
        """The reply that was paid for earlier, in this run or in the one that is reused."""
        for reader in self._readers:
            found = reader.execute(REPLY, (request_key,)).fetchone()
            if found is not None:
                return ChatReply(*found)
        return None

    async def begin_call(self, position: int, request: ChatRequest) -> int:
        """Make the intent to send `request` durable; returns the id of the call."""
        call, self._next_call = self._next_call, self._next_call + 1
        values = (call, position, request.sample, request.key, time.time())
        await self._commit([(BEGIN_CALL, values)])
        return call

    async def end_call(
        self, call: int, result: str, http_status: int | None = None, detail: str | None = None
    ) -> None:
        """Record that a call ended without a reply; `result` is the kind of fault."""
        await self._commit([(END_CALL, (time.time(), result, http_status, detail, call))])

    async def settle_call(
        self,
        call: int,
        request: ChatRequest,
        reply: ChatReply,
        verdict: str,
        outcome: Outcome | None,
    ) -> None:
        """Record a reply, how it was judged, and the group's outcome if that settled it."""
        statements: list[Statement] = [
            (END_CALL, (time.time(), verdict, 200, None, call)),
            (ADD_REPLY, reply_values(request.key, reply)),
        ]
        if outcome is not None:
            statements.append((ADD_OUTCOME, outcome_values(outcome)))
        await self._commit(statements)
        if outcome is not None:
            self.finished.add(outcome.position)

    async def add_outcome(self, outcome: Outcome) -> None:
        """Record the end of a group that needed no further call."""
        await self._commit([(ADD_OUTCOME, outcome_values(outcome))])
        self.finished.add(outcome.position)

    async def write_batches(self) -> None:
        """Commit what gathers, batch after batch, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake = anyio.Event()
            batch, self._pending = self._pending, _Batch()
            try:
                await anyio.to_thread.run_sync(self._apply, batch.statements, limiter=self._thread)
            except Exception as error:  # whatever it is, those who wait must hear of it
                self._error = error
            finally:
                batch.committed.set()

    async def _commit(self, statements: Iterable[Statement]) -> None:
        """Wait until `statements` are on disk; raises `StoppedError` when they cannot be."""
        batch = self._pending
        batch.add(statements)
        self._wake.set()
        if self._error is None:
            await batch.committed.wait()
        if self._error is not None:
            raise StoppedError(
                f"The journal {self._path} cannot be written ({self._error}); make room or mend "
                "the disk."
            )

    def _apply(self, statements: Mapping[str, Sequence[Values]]) -> None:
        with self._connection:
            for sql, values in statements.items():
                self._connection.executemany(sql, values)


@asynccontextmanager
async def open_journal(path: Path, *, reuse: Path | None = None) -> AsyncIterator[Journal]:
    """The journal at `path`, made if need be, with its writer running.

    `reuse` is the journal of another run whose replies count as known here. Raises `UsageError`
    when a file is no journal of this version.
    """
    with ExitStack() as connections:
        written = connections.enter_context(closing(connect_writer(path)))
        others = [path] if has_replies(written) else []
        others += [reuse] if reuse else []
        readers = [connections.enter_context(closing(connect_reader(other))) for other in others]
        journal = Journal(written, path, readers)
        async with anyio.create_task_group() as tasks:
            # Those who drain while the run is cancelled still need their commits: the writer
            # outlives every cancellation and ends when the body has ended.
            writer = anyio.CancelScope(shield=True)
            tasks.start_soon(_run_in, writer, journal.write_batches)
            try:
                yield journal
            finally:
                writer.cancel()


async def _run_in(scope: anyio.CancelScope, task: Callable[[], Awaitable[None]]) -> None:
    with scope:
        await task()
