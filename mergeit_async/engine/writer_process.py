"""The process that writes a journal: it holds the one connection that may, and only commits.

    python -m mergeit_async.engine.writer_process DESCRIPTOR JOURNAL

Batches come in over a socket, a line of JSON each: rows of values by their SQL statement, in the
order in which to apply them. Each is answered by a line once it is on disk: `null`, or a sentence
on what went wrong. A list of one sentence is no answer but news on the way. As a thread, the same
work slows a busy event loop down by a tenth: for every row it has to get the interpreter's lock
back (docs/decisions/0009).
"""

from __future__ import annotations

import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path
from socket import socket

import orjson
from filelock import FileLock, Timeout

from mergeit_async.engine.child import ignore_signals
from mergeit_async.engine.tables import Values, open_writer, refusal, unusable

# For the writer of a run that was killed a moment ago, which may still be at work.
PATIENCE_S = 20.0
NOTICE_S = 1.0
BUFFER_BYTES = 1 << 16


def main(descriptor: int, journal: Path) -> None:
    """Commit batch after batch until the other end is closed, or its process is gone."""
    ignore_signals()
    with (
        suppress(BrokenPipeError, ConnectionResetError),
        socket(fileno=descriptor) as run,
    ):
        serve(journal, run)


def serve(
    journal: Path, run: socket, notice_s: float = NOTICE_S, patience_s: float = PATIENCE_S
) -> None:
    """Say when all is ready, then commit what comes; or say why that cannot be."""
    try:
        with (
            run.makefile("rb", BUFFER_BYTES) as stream,
            lock(journal, run, notice_s, patience_s),
            closing(open_writer(journal)) as connection,
        ):
            answer(run, None)
            for line in whole_lines(stream):
                error = commit(connection, orjson.loads(line))
                answer(run, sentence(journal, error) if error else None)
    except (sqlite3.Error, OSError) as error:
        answer(run, sentence(journal, error))


def lock(
    journal: Path, run: socket, notice_s: float, patience_s: float
) -> AbstractContextManager[object]:
    """Keep other writers off; raises Timeout where another keeps writing."""
    own = FileLock(journal.with_suffix(".lock"))
    with suppress(Timeout):
        return own.acquire(timeout=notice_s)
    killed = "it belongs to a run that was killed"
    answer(run, [f"Waiting for the process that still writes {journal}; {killed}."])
    return own.acquire(timeout=patience_s - notice_s)


def commit(
    connection: sqlite3.Connection, batch: Mapping[str, Sequence[Values]]
) -> Exception | None:
    """Apply all of a batch or nothing of it; what went wrong, if something did."""
    try:
        with connection:
            for sql, rows in batch.items():
                connection.executemany(sql, rows)
    except Exception as error:  # whatever it is, the run must hear of it
        return error
    return None


def sentence(journal: Path, error: Exception) -> str:
    """What a person is told of `error`."""
    if isinstance(error, Timeout):
        return f"Another process still writes {journal}; wait for it or end it, then resume."
    if isinstance(error, sqlite3.DatabaseError):
        return str(refusal(journal, error))
    return str(unusable(journal, str(error) or repr(error)))


def whole_lines(stream: Iterable[bytes]) -> Iterable[bytes]:
    """The lines of a stream without a last one that was cut off."""
    return (line for line in stream if line.endswith(b"\n"))


def answer(run: socket, said: str | list[str] | None) -> None:
    """Tell the run what became of its batch, or news."""
    run.sendall(orjson.dumps(said, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
