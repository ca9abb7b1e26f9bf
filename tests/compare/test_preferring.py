"""Which of two merges a judge prefers, asked for through the journal."""

from __future__ import annotations

from pathlib import Path

import pytest

from mergeit_async.compare.preferring import MOST_REPLIES, Preferring
from mergeit_async.engine.budget import Budget
from mergeit_async.engine.caller import Caller
from mergeit_async.engine.journal import open_journal
from mergeit_async.engine.limiter import Limiter
from mergeit_async.records import ChatReply, Example, Row
from mergeit_async.templates.judge import load_pair_judge
from tests.calling import Script, ask, lane

SOURCES = (Row("a", "Name a river.", "", "Loire.", 0, 1), Row("b", "A hill?", "", "Rigi.", 1, 2))
FIRST, SECOND = Example("Name both.", "", "Loire, Rigi."), Example("Name one.", "", "Loire.")
PROSE = ChatReply("Hard to say.", "stop", 5, 5)


async def compare(path: Path, *texts: str, rows: tuple[Example, Example] = (FIRST, SECOND)):
    """What is found, and how often the judge was asked."""
    script = Script([ChatReply(text, "stop", 5, 5) for text in texts], last=PROSE)
    async with open_journal(path) as journal:
        caller = Caller(Limiter([lane(script)]), journal, Budget(), timeout_s=5.0, max_tries=2)
        judge = Preferring(load_pair_judge("judge/v2"), "judge", "chat", caller, journal)
        return await judge.compare(-2, SOURCES, *rows), len(script.sent)


@pytest.mark.parametrize(("said", "found"), [("A", 1.0), ("B", -1.0), ("T", 0.0)])
async def test_the_row_shown_first_is_told_from_the_second(tmp_path, said, found):
    assert await compare(tmp_path / "journal.db", said) == (found, 1)


async def test_equal_rows_are_a_tie_that_costs_nothing(tmp_path):
    assert await compare(tmp_path / "journal.db", rows=(FIRST, FIRST)) == (0.0, 0)


async def test_an_answer_that_cannot_be_read_is_asked_for_again(tmp_path):
    assert await compare(tmp_path / "journal.db", "Hm.", "B") == (-1.0, 2)
    words = ask(tmp_path / "journal.db", "SELECT result FROM calls ORDER BY id")
    assert words == [("judge_unreadable",), ("prefers_b",)]


async def test_a_judge_that_is_never_clear_has_no_preference(tmp_path):
    assert await compare(tmp_path / "journal.db") == (None, MOST_REPLIES)


async def test_what_was_answered_is_not_asked_again(tmp_path):
    first = await compare(tmp_path / "journal.db", "Hm.", "B")
    assert await compare(tmp_path / "journal.db") == (first[0], 0)
