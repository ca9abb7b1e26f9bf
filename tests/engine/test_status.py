from __future__ import annotations

import threading
from pathlib import Path

import pytest

from mergeit_async.config import build_settings
from mergeit_async.engine.identity import Identity
from mergeit_async.engine.journal import CallEnd, Journal, open_journal
from mergeit_async.engine.portraits import TopicPortrait, TypicalRow, dump_portraits
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.engine.run_dir import Record, RunDir, Stamp
from mergeit_async.engine.status import RunStatus, read_status, state_of
from mergeit_async.records import ChatReply, ChatRequest, Example, Message, Outcome, Status


@pytest.fixture
def run(tmp_path: Path) -> RunDir:
    """A run that was begun and has done nothing yet."""
    found = RunDir(tmp_path / "run")
    settings = build_settings({"dataset": tmp_path / "rows.jsonl", "model": "a-model"})
    found.create(Record(settings, Identity("rows", {}), Stamp(1, 2)))
    return found


def request(key: str) -> ChatRequest:
    return ChatRequest(key, "m", (Message("user", "merge"),), 0.0, 100, 0, 10)


async def begin(journal: Journal, position: int) -> int:
    """Begin a call for which a dollar is reserved."""
    call = journal.next_call()
    await journal.begin_call(call, position, request(str(position)), 1.0)
    return call


def outcome(position: int, status: Status, reason: str | None = None) -> Outcome:
    merged = Example("Do.", "", "Done.") if status is Status.MERGED else None
    return Outcome(position, str(position), status, 1, merged, reason)


def test_a_run_that_was_only_begun_is_stopped_and_empty(run):
    assert read_status(run) == RunStatus("stopped", "a-model", 0)


def test_a_status_tells_what_the_topics_are_about_once_that_is_saved(run):
    portrait = TopicPortrait(0, 7, ("soup",), (TypicalRow("a", "Cook."),))
    run.plan.path.mkdir(exist_ok=True)
    run.plan.write_portraits(dump_portraits([portrait]), "hash")
    assert read_status(run).portraits == [portrait]


async def test_groups_and_calls_are_counted_by_what_came_of_them(run):
    async with open_journal(run.journal) as journal:
        for position, (verdict, ended) in enumerate(
            [
                ("accepted", outcome(0, Status.MERGED)),
                ("accepted", outcome(1, Status.MERGED)),
                ("copy_of_source", outcome(2, Status.KEPT, "copy_of_source")),
                ("no_json", None),
            ]
        ):
            call = await begin(journal, position)
            reply = ChatReply("text", "stop", 100, None if position else 20, 30)
            end = CallEnd(verdict, 0.25)
            await journal.settle_call(call, request(str(position)), reply, end, ended)
        journal.end_call(await begin(journal, 4), CallEnd("timeout", 1.0))
        journal.end_call(await begin(journal, 5), CallEnd("not_sent"))
        await begin(journal, 6)
        await journal.add_outcome(outcome(4, Status.FAILED, "timeout"))
        status = read_status(run)

    assert status.groups == {"merged": 2, "kept": 1, "failed": 1}
    assert status.reasons == {"kept: copy_of_source": 1, "failed: timeout": 1}
    assert status.calls == {
        "accepted": 2,
        "copy_of_source": 1,
        "no_json": 1,
        "timeout": 1,
        "not_sent": 1,
        "unknown": 1,
    }
    assert (status.prompt_tokens, status.completion_tokens) == (400, 20)
    assert status.cached_tokens == 120
    assert status.spent_usd is None, "no price is known"
    (unknown,) = status.unknown_calls
    assert (unknown.position, unknown.request_key, unknown.reserved_usd) == (6, "6", 1.0)
    assert status.unknown_usd == 1.0


async def test_what_a_run_spent_counts_calls_that_were_left_open(tmp_path):
    run = RunDir(tmp_path / "run")
    settings = build_settings({"dataset": tmp_path / "rows.jsonl", "max_cost": 5.0})
    prices = {"http://here/v1": {"m": PriceSheet(1.0, 1.0, 1.0, "given")}}
    run.create(Record(settings, Identity("rows", {}), Stamp(1, 2), prices))
    async with open_journal(run.journal) as journal:
        journal.end_call(await begin(journal, 0), CallEnd("accepted", 0.25))
        await begin(journal, 1)
    status = read_status(run)
    assert (status.spent_usd, status.max_cost_usd, status.unknown_usd) == (1.25, 5.0, 1.0)
    assert status.reserved_usd == 0.0
    with run.locked():
        live = read_status(run)
    assert live.unknown_calls == [], "they are under way"
    assert (live.spent_usd, live.reserved_usd) == (0.25, 1.0)


async def test_calls_in_doubt_stay_so_while_the_run_is_resumed(tmp_path):
    run = RunDir(tmp_path / "run")
    prices = {"http://here/v1": {"m": PriceSheet(1.0, 1.0, 1.0, "given")}}
    settings = build_settings({"dataset": tmp_path / "rows.jsonl"})
    run.create(Record(settings, Identity("rows", {}), Stamp(1, 2), prices))
    async with open_journal(run.journal) as killed:
        await begin(killed, 1)
    async with open_journal(run.journal) as resumed:
        await begin(resumed, 2)
        with run.locked():
            live = read_status(run)

    assert [call.position for call in live.unknown_calls] == [1]
    assert (live.spent_usd, live.reserved_usd) == (1.0, 1.0)
    assert [call.position for call in read_status(run).unknown_calls] == [1, 2]


def test_a_run_is_running_while_it_is_locked_and_finished_once_it_has_a_result(run):
    with run.locked():
        assert read_status(run).state == "running"
        run.merged.touch()
        assert read_status(run).state == "running"
    assert read_status(run).state == "finished"


def test_any_number_of_looks_at_once_do_not_make_a_run_running(run):
    run.merged.touch()
    with run.locked():
        pass
    seen: list[str] = []

    def look() -> None:
        seen.extend(state_of(run) for _ in range(200))

    threads = [threading.Thread(target=look) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(seen) == {"finished"}


def test_a_look_at_a_run_leaves_no_file_behind(run):
    before = sorted(run.path.rglob("*"))
    assert state_of(run) == "stopped"
    assert sorted(run.path.rglob("*")) == before


def test_a_journal_that_was_only_just_made_has_nothing_to_tell(tmp_path):
    run = RunDir(tmp_path / "run")
    settings = build_settings({"dataset": tmp_path / "rows.jsonl"})
    run.create(Record(settings, Identity(dataset="d", settings={}), Stamp(0, 0)))
    run.journal.touch()
    assert read_status(run).groups == {}
