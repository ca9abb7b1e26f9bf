"""The process that writes a journal: it holds the one connection that may, and only commits.

    python -m mergeit_async.engine.writer_process DESCRIPTOR JOURNAL

Batches come in over a socket, a line of JSON each: rows of values by their SQL statement, in the
order in which to apply them. Each is answered by a line once it is on disk: `null`, or what went
wrong. As a thread, the same work slows a busy event loop down by a tenth: for every row it has to
get the interpreter's lock back (docs/decisions/0009).
"""

from __future__ import annotations

import signal
import sqlite3
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import closing, suppress
from pathlib import Path
from socket import socket

import orjson
from filelock import FileLock, Timeout

from mergeit_async.engine.tables import Values, open_writer

# For the writer of a run that was killed a moment ago, which may still be at work.
PATIENCE_S = 60.0
BUFFER_BYTES = 1 << 16


def main(descriptor: int, journal: Path) -> None:
    """Commit batch after batch until the other end is closed, or its process is gone."""
    # Whatever ends the run, its last commits are still to be made.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    with (
        suppress(BrokenPipeError, ConnectionResetError),
        socket(fileno=descriptor) as run,
    ):
        try:
            write(journal, run)
        except Timeout:
            answer(run, "another process still writes it")
        except (sqlite3.Error, OSError) as error:
            answer(run, str(error))


def write(journal: Path, run: socket, patience_s: float = PATIENCE_S) -> None:
    """Say when all is ready, then commit what comes; raises Timeout where another keeps writing."""
    with (
        run.makefile("rb", BUFFER_BYTES) as stream,
        FileLock(journal.with_suffix(".lock"), timeout=patience_s),
        closing(open_writer(journal)) as connection,
    ):
        answer(run, None)
        for line in whole_lines(stream):
            answer(run, commit(connection, orjson.loads(line)))


def commit(connection: sqlite3.Connection, batch: Mapping[str, Sequence[Values]]) -> str | None:
    """Apply all of a batch or nothing of it; what went wrong, if something did."""
    try:
        with connection:
            for sql, rows in batch.items():
                connection.executemany(sql, rows)
    except Exception as error:  # whatever it is, the run must hear of it
        return str(error) or repr(error)
    return None


def whole_lines(stream: Iterable[bytes]) -> Iterable[bytes]:
    """The lines of a stream without a last one that was cut off."""
    return (line for line in stream if line.endswith(b"\n"))


def answer(run: socket, error: str | None) -> None:
    """Tell the run what became of its batch."""
    run.sendall(orjson.dumps(error, option=orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main(int(sys.argv[1]), Path(sys.argv[2]))
