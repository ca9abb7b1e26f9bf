from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from mergeit_async.engine.estimate import Estimate, Range
from mergeit_async.engine.export import Summary
from mergeit_async.engine.portraits import TopicPortrait, TypicalRow
from mergeit_async.engine.preview import Preview
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.status import RunStatus
from mergeit_async.viewer.tables import align, preview_text, status_text, summary_text

RUN = RunDir(Path("runs/one"))
SUMMARY = Summary(
    rows_in=17_387,
    topics=93,
    groups=600,
    merged_groups=590,
    failed_groups=0,
    merged=1180,
    kept=1610,
    filtered=14_588,
    rejected=9,
    rows_out=2200,
)


def lines(text: str) -> list[str]:
    """The lines with single spaces."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_summary_accounts_for_the_rows_and_names_the_files():
    text = summary_text(SUMMARY, RUN)
    assert {
        "rows in 17,387",
        "topics 93",
        "groups 600 590 became one row each",
        "merged 1,180 rows, into 590",
        "kept 1,610 rows as they were",
        "rejected 9 records that cannot be used",
        "rows out 2,200 12.7% of the rows in",
        f"{RUN.merged} the dataset",
    } <= set(lines(text))
    assert "--retry-failed" not in text


def test_a_summary_of_nothing_divides_by_nothing():
    assert "rows out 0" in lines(summary_text(Summary(*[0] * 10), RUN))


def test_groups_without_a_reply_are_told_with_the_command_that_retries_them():
    text = summary_text(replace(SUMMARY, failed_groups=1234), RUN)
    assert "1,234 groups got no usable answer" in text
    assert text.splitlines()[-1] == "python -m mergeit_async resume runs/one --retry-failed"


ESTIMATE = Estimate(
    calls=Range(590, 1770),
    prompt_tokens=Range(1e6, 3e6),
    completion_tokens=Range(2e5, 9e5),
    cost_usd=Range(0.274, 1234.5),
    seconds=Range(42, 3700),
)
PREVIEW = Preview(
    rows=17_378,
    rejected=9,
    topics=93,
    selected=2790,
    groups=590,
    grouped_rows=1180,
    estimate=ESTIMATE,
)


def test_a_preview_tells_calls_tokens_money_and_time_as_ranges():
    text = preview_text(PREVIEW)
    assert "rows out 2,200 if every group is merged" in lines(text)
    for told in (
        "590 – 1,770",
        "1,000,000 – 3,000,000",
        "$0.2740 – $1,234.50",
        "42 s – 1 h 01 min",
    ):
        assert told in text


@pytest.mark.parametrize(
    ("estimate", "told"),
    [(None, "offline/compose asks no model"), (replace(ESTIMATE, cost_usd=None), "no list price")],
)
def test_a_preview_says_why_there_is_no_cost(estimate, told):
    text = preview_text(replace(PREVIEW, estimate=estimate))
    assert told in text
    assert "$" not in text


def test_a_status_lists_what_was_counted_and_how_to_go_on():
    status = RunStatus(
        state="stopped",
        model="a-model",
        topics_planned=12,
        groups={"merged": 1000, "kept": 3},
        reasons={"kept: fence": 3},
        calls={"accepted": 1000, "fence": 9, "unknown": 1},
        prompt_tokens=123_456,
        completion_tokens=7890,
    )
    told = lines(status_text(status, RUN))
    assert {
        "groups 1,000 merged",
        "3 kept",
        "because 3 kept: fence",
        "1 unknown",
        "tokens 123,456 in, 7,890 out reported",
    } <= set(told)
    assert told[-1] == "python -m mergeit_async resume runs/one"


PORTRAITS = [
    TopicPortrait(topic, rows, words, (TypicalRow("id", text),))
    for topic, rows, words, text in [
        (0, 3, ("soup", "recipe"), "Write a recipe for a soup of " + "onions " * 20),
        (1, 1200, (), "1 + 1"),
        *((topic, 2, ("other",), "Other.") for topic in range(2, 9)),
    ]
]


def test_a_preview_and_a_status_tell_what_the_largest_topics_are_about():
    status = RunStatus("running", "a-model", 12, portraits=PORTRAITS)
    shown = (status_text(status, RUN), preview_text(replace(PREVIEW, portraits=tuple(PORTRAITS))))
    for text in shown:
        told = lines(text)
        assert "the largest 1,200 (no words): 1 + 1" in told
        assert any(line.startswith("3 soup, recipe: Write a recipe for a soup") for line in told)
        assert sum("other: Other." in line for line in told) == 3


@pytest.mark.parametrize("state", ["running", "finished"])
def test_a_run_that_is_not_stopped_is_not_to_be_resumed(state):
    assert "resume" not in status_text(RunStatus(state, "a-model", 0), RUN)


def test_columns_are_as_wide_as_their_widest_cell_and_lines_end_without_spaces():
    assert align([("a", "bb", ""), ("ccc", "d", "e")]) == "a    bb\nccc  d   e"
    assert align([]) == ""
