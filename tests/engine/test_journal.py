from __future__ import annotations

import os
import signal
import sqlite3
from contextlib import closing
from itertools import count
from pathlib import Path

import anyio
import anyio.from_thread
import anyio.to_thread
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mergeit_async.engine.journal import CallEnd, Journal, open_journal
from mergeit_async.engine.tables import connect_reader, read_outcomes
from mergeit_async.engine.writer import PROGRAM
from mergeit_async.errors import StoppedError, UsageError
from mergeit_async.records import (
    ChatReply,
    ChatRequest,
    Example,
    Message,
    Outcome,
    Status,
    TokenChoice,
)


def request(key: str, sample: int = 0) -> ChatRequest:
    return ChatRequest(key, "m", (Message("user", "merge"),), 0.0, 100, sample, 10)


def merged(position: int) -> Outcome:
    example = Example("Do both.", "", f"Done {position}.")
    return Outcome(position, f"group-{position}", Status.MERGED, 1, merged=example)


async def write_reply(
    journal: Journal, position: int, reply: ChatReply, outcome: Outcome | None, key: str = "k"
) -> None:
    """One call from its intent to its reply."""
    call = journal.next_call()
    await journal.begin_call(call, position, request(key), 0.25)
    end = CallEnd("accepted", 0.125, 200, None, "http://here/v1", 1.5)
    await journal.settle_call(call, request(key), reply, end, outcome)


def count_commits(path: Path) -> int:
    """The commits in SQLite's log; it begins anew with each writer (sqlite.org/fileformat2.html).

    The frame that ends a commit tells the size of the file, all others 0.
    """
    log = path.with_name(f"{path.name}-wal").read_bytes()
    page_bytes = int.from_bytes(log[8:12], "big")
    return sum(any(log[at + 4 : at + 8]) for at in range(32, len(log), 24 + page_bytes))


def children() -> list[int]:
    """The writers that this process has started and not waited for."""
    pid = os.getpid()
    if not Path(f"/proc/{pid}/task/{pid}/children").exists():
        pytest.skip("this system does not list the children of a process")
    return [
        int(child)
        for thread in Path(f"/proc/{pid}/task").iterdir()
        for child in (thread / "children").read_text().split()
        if PROGRAM in Path(f"/proc/{child}/cmdline").read_text()
    ]


REPLY = ChatReply(
    "the text", "stop", 12, 34, 5, choices=(TokenChoice("4", {"4": -0.1, "5": -2.5}),)
)


async def test_an_outcome_is_there_when_its_write_returns(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        await write_reply(journal, 7, REPLY, merged(7))
        with closing(connect_reader(path)) as reader:
            assert list(read_outcomes(reader)) == [merged(7)]


async def test_an_intent_without_an_end_is_found_after_a_crash(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        await journal.begin_call(journal.next_call(), 3, request("k"), 0.25)
    with closing(connect_reader(path)) as reader:
        found = reader.execute("SELECT position, ended_at, cost, reserved FROM calls").fetchall()
    assert found == [(3, None, None, 0.25)]


async def test_a_paid_reply_is_known_in_the_next_session(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        await write_reply(journal, 0, REPLY, None)
    async with open_journal(path) as journal:
        assert journal.known_reply("k") == REPLY
        assert journal.known_reply("other") is None
        assert journal.finished == set()


async def test_replies_of_another_run_are_known(tmp_path: Path):
    async with open_journal(tmp_path / "old.db") as old:
        await write_reply(old, 0, REPLY, merged(0))
    async with open_journal(tmp_path / "new.db", reuse=tmp_path / "old.db") as new:
        assert new.known_reply("k") == REPLY
        assert new.finished == set()


async def test_a_call_is_kept_with_its_money_its_server_and_its_time(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        await write_reply(journal, 7, REPLY, None)
    with closing(connect_reader(path)) as reader:
        found = reader.execute(
            "SELECT id, result, http_status, reserved, cost, lane, latency_s FROM calls"
        ).fetchall()
    assert found == [(1, "accepted", 200, 0.25, 0.125, "http://here/v1", 1.5)]


async def test_a_call_begun_and_ended_in_one_batch_is_kept_as_ended(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        async with anyio.create_task_group() as tasks:
            for position in range(3):
                call = journal.next_call()
                tasks.start_soon(journal.begin_call, call, position, request("k"), 0.25)
            await anyio.lowlevel.checkpoint()
            for call in range(1, 4):
                journal.end_call(call, CallEnd("not_sent"))
        assert count_commits(path) == 1
    with closing(connect_reader(path)) as reader:
        found = reader.execute("SELECT id, result, cost FROM calls WHERE ended_at NOT NULL")
        assert found.fetchall() == [(call, "not_sent", 0.0) for call in range(1, 4)]


async def test_what_was_recorded_last_is_on_disk_when_the_journal_is_closed(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        call = journal.next_call()
        await journal.begin_call(call, 0, request("k"), 0.25)
        journal.end_call(call, CallEnd("timeout", 0.25))
    with closing(connect_reader(path)) as reader:
        assert reader.execute("SELECT result FROM calls").fetchall() == [("timeout",)]


async def test_calls_left_open_count_as_spent_with_all_that_was_reserved(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        assert journal.spent == 0.0
        await write_reply(journal, 0, REPLY, None)
        for cost in (None, 0.5, 0.0):
            call = journal.next_call()
            await journal.begin_call(call, 1, request("k"), 2.0)
            if cost is not None:
                journal.end_call(call, CallEnd("timeout", cost))
    async with open_journal(path) as journal:
        assert journal.spent == 0.125 + 2.0 + 0.5


async def test_a_call_has_a_number_that_no_earlier_session_gave(tmp_path: Path):
    numbers = []
    for _ in range(3):
        async with open_journal(tmp_path / "journal.db") as journal:
            for _ in range(2):
                numbers.append(journal.next_call())
                await journal.begin_call(numbers[-1], 0, request("k"), 0.0)
    assert numbers == list(range(1, 7))


async def test_many_writers_share_few_commits(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        async with anyio.create_task_group() as tasks:
            for position in range(500):
                tasks.start_soon(journal.add_outcome, merged(position))
        assert len(journal.finished) == 500
        assert count_commits(path) < 50


async def test_a_cancelled_run_still_commits_what_is_shielded(tmp_path: Path):
    path = tmp_path / "journal.db"
    with anyio.CancelScope() as run:
        async with open_journal(path) as journal:
            run.cancel()
            with anyio.CancelScope(shield=True):
                await journal.add_outcome(merged(1))
    with closing(connect_reader(path)) as reader:
        assert list(read_outcomes(reader)) == [merged(1)]


async def test_a_write_that_fails_stops_the_run_for_all_that_wait(tmp_path: Path):
    path = tmp_path / "journal.db"
    stopped = 0

    async def write(position: int) -> None:
        nonlocal stopped
        with pytest.raises(StoppedError, match=r"journal\.db .*a broken disk"):
            await journal.add_outcome(merged(position))
        stopped += 1

    async with open_journal(path) as journal:
        await journal.add_outcome(merged(0))
        with closing(sqlite3.connect(path)) as other:
            other.execute(
                "CREATE TRIGGER fault BEFORE INSERT ON outcomes"
                " BEGIN SELECT RAISE(ABORT, 'a broken disk'); END"
            )
        async with anyio.create_task_group() as tasks:
            for position in range(1, 20):
                tasks.start_soon(write, position)
    assert stopped == 19


async def test_a_damaged_journal_is_refused_by_name(tmp_path: Path):
    path = tmp_path / "journal.db"
    path.write_bytes(b"this is no database" * 500)
    with pytest.raises(UsageError, match=r"journal\.db is damaged"):
        async with open_journal(path):
            pass


async def test_a_journal_of_a_later_format_is_refused(tmp_path: Path):
    path = tmp_path / "journal.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(UsageError, match="format 99"):
        async with open_journal(path):
            pass


async def test_any_text_comes_back_as_it_was_written(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        await write_reply(journal, 0, REPLY, None)
    positions = count(1)

    @settings(deadline=None, max_examples=40)
    @example(text="a\x00b", excerpt='\x00"\\ \u2028')
    @given(text=st.text(), excerpt=st.text())
    def check(text: str, excerpt: str) -> None:
        position = next(positions)
        reply = ChatReply(text, "stop", None, 7)
        outcome = Outcome(position, "g", Status.KEPT, 2, reason="no_json", detail=excerpt)
        anyio.from_thread.run(write_reply, journal, position, reply, outcome, f"k{position}")
        assert journal.known_reply(f"k{position}") == reply
        assert list(read_outcomes(reader))[-1] == outcome

    async with open_journal(path) as journal:
        with closing(connect_reader(path)) as reader:
            await anyio.to_thread.run_sync(check)


@pytest.mark.parametrize("tokens", [2**63, 2**64])
async def test_a_value_that_cannot_be_stored_stops_the_run_instead_of_hanging_it(
    tmp_path: Path, tokens: int
):
    too_large = ChatReply("text", "stop", tokens, 1)
    async with open_journal(tmp_path / "journal.db") as journal:
        with anyio.fail_after(5), pytest.raises(StoppedError):
            await write_reply(journal, 0, too_large, merged(0))
        with anyio.fail_after(5), pytest.raises(StoppedError):
            await journal.add_outcome(merged(1))
        assert journal.finished == set()


async def test_what_nobody_waits_for_is_on_disk_even_if_its_batch_is_the_last(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        await journal.add_outcome(merged(0))
        journal.drop_outcomes([0])
        await anyio.lowlevel.checkpoint()  # its batch is on its way
        await journal.flush()
        with closing(connect_reader(path)) as reader:
            assert list(read_outcomes(reader)) == []


async def test_a_writer_that_is_killed_stops_all_who_wait_and_all_who_come_later(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
):
    path = tmp_path / "journal.db"
    async with open_journal(path) as journal:
        await journal.add_outcome(merged(0))
        (writer,) = children()
        os.kill(writer, signal.SIGKILL)
        for position in range(1, 20):
            with anyio.fail_after(5), pytest.raises(StoppedError, match="has ended, killed"):
                await journal.add_outcome(merged(position))
            await anyio.wait_all_tasks_blocked()
    assert caplog.records == []
    async with open_journal(path) as journal:
        assert journal.finished == {0}


async def test_no_process_is_left_when_a_journal_is_closed(tmp_path: Path):
    async with open_journal(tmp_path / "journal.db"):
        assert len(children()) == 1
    assert children() == []


async def test_a_run_may_give_up_while_its_writer_waits_for_another(tmp_path: Path):
    path = tmp_path / "journal.db"
    async with open_journal(path):
        with anyio.fail_after(5), anyio.move_on_after(0.5) as waiting:
            async with open_journal(path):
                raise AssertionError("two writers of one journal")
        assert waiting.cancelled_caught
        assert len(children()) == 1
