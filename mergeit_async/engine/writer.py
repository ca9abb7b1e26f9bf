"""The process that writes a journal: it holds the one connection that may, and only commits.

    python -m mergeit_async.engine.writer DESCRIPTOR JOURNAL

Batches come in over a socket, a line of JSON each: rows of values by their SQL statement, in the
order in which to apply them. Each is answered by a line once it is on disk: `null`, or what went
wrong. As a thread, the same work takes a third of an event loop's throughput: for every row it has
to get the interpreter's lock back (docs/decisions/0009).
"""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from socket import socket
from typing import BinaryIO

import orjson
from filelock import FileLock

from mergeit_async.engine.tables import Values, connect_writer


def main(descriptor: int, journal: Path) -> None:
    """Commit batch after batch until the other end is closed, or its process is gone."""
    # Whatever ends the run, its last commits are still to be made.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with (
        suppress(BrokenPipeError, ConnectionResetError),
        socket(fileno=descriptor) as run,
        run.makefile("rwb") as stream,
        # The writer of a run that was killed a moment ago may still be at work.
        FileLock(journal.with_suffix(".lock")),
        closing(connect_writer(journal)) as connection,
    ):
        answer(stream, None)
        for line in whole_lines(stream):
            answer(stream, commit(connection, orjson.loads(line)))


def commit(connection: sqlite3.Connection, batch: Mapping[str, Sequence[Values]]) -> str | None:
    """Apply all of a batch or nothing of it; what went wrong, if something did."""
    try:
        with connection:
            for sql, rows in batch.items():
                connection.executemany(sql, rows)
    except sqlite3.Error as error:
        return str(error)
    return None


def whole_lines(stream: Iterable[bytes]) -> Iterable[bytes]:
    """The lines of a stream without a last one that was cut off."""
    return (line for line in stream if line.endswith(b"\n"))


def answer(stream: BinaryIO, error: str | None) -> None:
    """Tell the run what became of its batch."""
    stream.write(orjson.dumps(error, option=orjson.OPT_APPEND_NEWLINE))
    stream.flush()


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
