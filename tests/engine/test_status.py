from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.config import build_settings
from mergeit_async.engine.identity import Identity
from mergeit_async.engine.journal import open_journal
from mergeit_async.engine.run_dir import Record, RunDir, Stamp
from mergeit_async.engine.status import RunStatus, read_status
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


def outcome(position: int, status: Status, reason: str | None = None) -> Outcome:
    merged = Example("Do.", "", "Done.") if status is Status.MERGED else None
    return Outcome(position, str(position), status, 1, merged, reason)


def test_a_run_that_was_only_begun_is_stopped_and_empty(run):
    assert read_status(run) == RunStatus("stopped", "a-model", 0)


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
            call = await journal.begin_call(position, request(str(position)))
            reply = ChatReply("text", "stop", 100, None if position else 20)
            await journal.settle_call(call, request(str(position)), reply, verdict, ended)
        await journal.end_call(await journal.begin_call(4, request("4")), "timeout")
        await journal.end_call(await journal.begin_call(5, request("5")), "not_sent")
        await journal.begin_call(6, request("6"))
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


def test_a_run_is_running_while_it_is_locked_and_finished_once_it_has_a_result(run):
    with run.locked():
        assert read_status(run).state == "running"
        run.merged.touch()
        assert read_status(run).state == "running"
    assert read_status(run).state == "finished"


def test_a_journal_that_was_only_just_made_has_nothing_to_tell(tmp_path):
    run = RunDir(tmp_path / "run")
    settings = build_settings({"dataset": tmp_path / "rows.jsonl"})
    run.create(Record(settings, Identity(dataset="d", settings={}), Stamp(0, 0)))
    run.journal.touch()
    assert read_status(run).groups == {}
