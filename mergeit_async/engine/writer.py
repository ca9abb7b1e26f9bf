"""The way from a run to the process that writes its journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import orjson

from mergeit_async.engine.child import spawn
from mergeit_async.engine.tables import unusable
from mergeit_async.errors import StoppedError

PROGRAM = "mergeit_async.engine.writer_process"


class Writer:
    """The process that commits what it is given, one batch after the other."""

    def __init__(
        self,
        answers: asyncio.StreamReader,
        batches: asyncio.StreamWriter,
        tell: Callable[[str], None],
    ) -> None:
        self._answers = answers
        self._batches = batches
        self._tell = tell

    async def commit(self, line: bytes) -> None:
        """Return when the batch is on disk; raises as `answer` does when it cannot be written."""
        if not self._batches.is_closing():
            self._batches.write(line)
        await self.answer()

    async def answer(self) -> None:
        """Wait for the next answer of the process.

        Raises StoppedError with what it says, ConnectionError when it has ended.
        """
        while isinstance(said := await self._hear(), list):
            self._tell(*said)
        if said is not None:
            raise StoppedError(said)

    async def _hear(self) -> Any:
        line = await self._answers.readline()
        if not line.endswith(b"\n"):
            raise ConnectionResetError("the process that writes it has ended")
        return orjson.loads(line)

    def close(self) -> None:
        """Tell the process that no more will come; it ends when all it was given is on disk."""
        if not self._batches.is_closing():
            # A process that was forked off this one may hold the socket open.
            self._batches.write_eof()
        self._batches.close()


@asynccontextmanager
async def start_writer(
    path: Path, tell: Callable[[str], None] = lambda _: None
) -> AsyncIterator[Writer]:
    """A writer of the journal at `path`, ready, with no other at work.

    `tell` hears that another is waited for. Raises `StoppedError` when it cannot begin.
    """
    ours, process = spawn(PROGRAM, str(path))
    try:
        answers, batches = await asyncio.open_unix_connection(sock=ours)
        with closing(Writer(answers, batches, tell)) as writer:
            try:
                await writer.answer()
            except ConnectionError as error:
                raise stopped_by(path, error) from error
            except asyncio.CancelledError:
                process.kill()  # it was given nothing yet, and may wait for another writer
                raise
            yield writer
    finally:
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(process.wait)


def stopped_by(path: Path, error: Exception) -> StoppedError:
    """The error for a run whose journal is not written any more."""
    if isinstance(error, ConnectionError):
        return StoppedError(
            f"The process that writes {path} has ended, killed or out of memory; all that it "
            "committed is kept."
        )
    if isinstance(error, StoppedError):
        return StoppedError(str(error))  # each who waits raises one of its own
    return unusable(path, error)
