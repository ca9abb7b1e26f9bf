from __future__ import annotations

import fcntl
import os
import signal
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import socketpair

import anyio
import orjson
import pytest

from mergeit_async.engine.child import spawn
from mergeit_async.engine.journal import make_journal, open_journal
from mergeit_async.engine.tables import (
    ADD_OUTCOME,
    ADD_REPLY,
    BEGIN_CALL,
    connect_reader,
    open_writer,
    outcome_values,
    read_outcomes,
    refusal,
    reply_values,
)
from mergeit_async.engine.writer import PROGRAM
from mergeit_async.engine.writer_process import serve
from mergeit_async.records import ChatReply, Outcome, Status

REPLY = ChatReply("the text", "stop", 12, 34, 5)
READY = DONE = b"null\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A journal without content."""
    make_journal(tmp_path / "journal.db")
    return tmp_path / "journal.db"


class Run:
    """What a run has of its writer."""

    def __init__(self, path: Path) -> None:
        self.socket, self.writer = spawn(PROGRAM, str(path))
        self.socket.settimeout(10)
        self._answers = self.socket.makefile("rb")

    def answer(self) -> bytes:
        return self._answers.readline()

    def close(self) -> None:
        self._answers.close()
        self.socket.close()


@contextmanager
def running(path: Path) -> Iterator[Run]:
    """A writer that is ready and has ended when the block has."""
    run = Run(path)
    try:
        assert run.answer() == READY
        yield run
    finally:
        run.close()
        run.writer.send_signal(signal.SIGCONT)  # where a test halted it
        run.writer.wait(10)


def kept(position: int, detail: str = "") -> Outcome:
    return Outcome(position, "g", Status.KEPT, 1, reason="no_json", detail=detail)


def line_of(*outcomes: Outcome) -> bytes:
    return orjson.dumps({ADD_OUTCOME: list(map(outcome_values, outcomes))}) + b"\n"


def outcomes_in(path: Path) -> list[Outcome]:
    with closing(connect_reader(path)) as reader:
        return list(read_outcomes(reader))


def test_a_batch_is_on_disk_when_it_is_answered(path: Path):
    with running(path) as run:
        run.socket.sendall(line_of(kept(1), kept(2)))
        assert run.answer() == DONE
        assert outcomes_in(path) == [kept(1), kept(2)]


def test_commits_are_synced_to_disk(path: Path):
    with closing(open_writer(path)) as writer:
        assert writer.execute("PRAGMA journal_mode").fetchone() == ("wal",)
        assert writer.execute("PRAGMA synchronous").fetchone() == (2,)


def test_a_batch_that_was_on_its_way_when_the_run_died_is_committed(path: Path):
    with running(path) as run:
        run.writer.send_signal(signal.SIGSTOP)
        run.socket.sendall(line_of(kept(1)))
        run.close()
        run.writer.send_signal(signal.SIGCONT)
    assert outcomes_in(path) == [kept(1)]


def test_a_batch_that_was_cut_off_is_no_batch(path: Path):
    with running(path) as run:
        run.socket.sendall(line_of(kept(1)))
        assert run.answer() == DONE
        run.socket.sendall(line_of(kept(2))[:-1])
    assert run.writer.returncode == 0
    assert outcomes_in(path) == [kept(1)]


def test_a_batch_of_many_megabytes_is_a_batch(path: Path):
    large = kept(1, "x" * 30_000_000)
    with running(path) as run:
        run.socket.sendall(line_of(large))
        assert run.answer() == DONE
    assert outcomes_in(path) == [large]


@pytest.mark.parametrize(
    "row",
    [
        pytest.param([2, None, "kept", 1, None, None, None, None, None], id="constraint"),
        pytest.param([2, "g", "kept", 2**63, None, None, None, None, None], id="number"),
        pytest.param([2, "g"], id="too few values"),
    ],
)
def test_nothing_of_a_batch_that_fails_is_kept_and_the_next_is_committed(path: Path, row: list):
    with running(path) as run:
        run.socket.sendall(orjson.dumps({ADD_OUTCOME: [outcome_values(kept(1)), row]}) + b"\n")
        assert isinstance(orjson.loads(run.answer()), str)
        run.socket.sendall(line_of(kept(3)))
        assert run.answer() == DONE
    assert outcomes_in(path) == [kept(3)]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_what_ends_a_run_does_not_end_its_writer(path: Path, number: signal.Signals):
    with running(path) as run:
        run.writer.send_signal(number)
        run.socket.sendall(line_of(kept(1)))
        assert run.answer() == DONE


def test_the_writer_is_in_no_process_group_of_its_run(path: Path):
    with running(path) as run:
        assert os.getsid(run.writer.pid) == run.writer.pid


def test_the_writer_imports_nothing_from_the_directory_it_is_in(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    for name in ("orjson", "signal", "mergeit_async"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('not this one')")
    monkeypatch.chdir(tmp_path)
    with running(path):
        pass


async def test_a_resumed_run_waits_for_the_writer_of_the_one_before_and_counts_its_commits(
    path: Path,
):
    with running(path) as killed:
        killed.writer.send_signal(signal.SIGSTOP)
        batch = {
            BEGIN_CALL: [[7, 1, 0, "k", 0.0, 0.5]],
            ADD_REPLY: [reply_values("k", REPLY)],
            ADD_OUTCOME: [outcome_values(kept(1))],
        }
        killed.socket.sendall(orjson.dumps(batch) + b"\n")
        killed.close()
        is_open = anyio.Event()

        async def resume() -> None:
            async with open_journal(path) as journal:
                is_open.set()
                assert journal.next_call() == 8
                assert journal.known_reply("k") == REPLY
                assert journal.finished == {1}
                assert journal.spent == 0.5

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(resume)
            await anyio.sleep(1.0)
            assert not is_open.is_set()
            killed.writer.send_signal(signal.SIGCONT)


def test_a_writer_that_waits_for_another_says_so_and_does_not_wait_for_ever(path: Path):
    ours, theirs = socketpair()
    with ours, path.with_suffix(".lock").open("w") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with theirs:
            serve(path, theirs, notice_s=0.01, patience_s=0.1)
        notice, end = map(orjson.loads, ours.makefile("rb"))
    assert notice == [
        f"Waiting for the process that still writes {path}; it belongs to a run that was killed."
    ]
    assert end == f"Another process still writes {path}; wait for it or end it, then resume."


def test_a_batch_that_meets_damage_is_told_as_damage(path: Path):
    pages = path.read_bytes()
    path.write_bytes(pages[:4096] + b"\xff" * (len(pages) - 4096))
    with running(path) as run:
        run.socket.sendall(line_of(kept(1)))
        assert "is damaged (database disk image is malformed)" in orjson.loads(run.answer())


@pytest.mark.parametrize(
    ("code", "said"),
    [
        (sqlite3.SQLITE_CORRUPT_INDEX, "is damaged"),
        (sqlite3.SQLITE_NOTADB, "is damaged"),
        (sqlite3.SQLITE_ERROR, "is damaged"),
        (sqlite3.SQLITE_IOERR_READ, "cannot be used"),
        (sqlite3.SQLITE_BUSY, "cannot be used"),
        (sqlite3.SQLITE_LOCKED, "cannot be used"),
        (sqlite3.SQLITE_NOMEM, "cannot be used"),
        (sqlite3.SQLITE_PERM, "cannot be used"),
        (sqlite3.SQLITE_PROTOCOL, "cannot be used"),
    ],
)
def test_only_what_sqlite_calls_damage_is_told_as_damage(path: Path, code: int, said: str):
    error = sqlite3.OperationalError("its words")
    error.sqlite_errorcode = code
    assert f"{path} {said} (its words)" in str(refusal(path, error))


def test_a_journal_that_cannot_be_opened_is_told_to_the_run(tmp_path: Path):
    (tmp_path / "journal.db").mkdir()
    run = Run(tmp_path / "journal.db")
    assert "unable to open" in orjson.loads(run.answer())
    run.close()
    assert run.writer.wait(10) == 0
