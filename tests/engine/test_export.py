from __future__ import annotations

import random
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeit_async.data.store import RowStore, write_rows
from mergeit_async.engine.export import Exporter, Origin, Summary
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.tables import ADD_OUTCOME, connect_writer, outcome_values
from mergeit_async.errors import ConservationError
from mergeit_async.ids import group_id, row_id
from mergeit_async.records import Example, Outcome, Row, Status

MERGED = Example("Do both.", "", "Both are done.")


def row(number: int, of: int | None = None, **extra: Any) -> Row:
    """The `number`-th row; with `of`, a repeat of that one."""
    example = Example(f"Say {number if of is None else of}.", "", f"{number}.")
    first = None if of is None else row(of).id
    return Row(row_id(example, number), *fields(example), number, number + 1, first, extra)


def fields(example: Example | Row) -> tuple[str, str, str]:
    return example.instruction, example.input, example.output


def topic(
    number: int,
    rows: list[int],
    selected: list[int],
    *groups: PlannedGroup,
    lent: Iterable[int] = (),
) -> PlannedTopic:
    first = groups[0].position if groups else 0
    arrays = (np.array(list(numbers), int) for numbers in (rows, selected))
    return PlannedTopic(number, first, *arrays, groups, np.array(list(lent), int))


class Run:
    """A run directory with rows and journal, ready to be exported."""

    def __init__(self, path: Path, rows: Iterable[Row]) -> None:
        self.dir = RunDir(path)
        self.rows = list(rows)
        self.dir.plan.path.mkdir()
        write_rows(self.dir.plan.rows, self.rows)
        self.conclude()

    def conclude(self, *outcomes: Outcome) -> None:
        with closing(connect_writer(self.dir.journal)) as journal, journal:
            journal.executemany(ADD_OUTCOME, map(outcome_values, outcomes))

    def outcome(self, group: PlannedGroup, status: Status = Status.MERGED) -> Outcome:
        members = group_id(self.rows[member].id for member in group.rows)
        if status is Status.MERGED:
            return Outcome(group.position, members, status, 1, merged=MERGED)
        return Outcome(group.position, members, status, 2, reason="fence", detail="in a fence")

    def export(self, *topics: PlannedTopic, rejected: int = 0) -> Summary:
        with RowStore.open(self.dir.plan.rows) as store:
            origin = Origin("a model", {"merge/v1": "hash"})
            return Exporter(self.dir, store, origin).export(topics, rejected)

    def lines(self, name: str) -> list[dict[str, Any]]:
        return [orjson.loads(line) for line in (self.dir.path / name).read_bytes().splitlines()]


PAIR = PlannedGroup(0, 0, (0, 2), 0.87654321)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Five rows, the last of which repeats the first."""
    return Run(tmp_path, [*(row(number) for number in range(4)), row(4, of=0)])


@pytest.mark.parametrize(
    ("topics", "named"),
    [
        ([topic(0, [0, 1, 2], [0, 1, 2], PAIR)], r"1 rows would be lost, row \w+ \(line 4\)"),
        (
            [topic(0, [0, 1, 2, 3], [0, 1, 2, 3], PAIR), topic(1, [3], [3])],
            r"Row \w+ \(line 4\) would end twice",
        ),
        (
            [topic(0, [0, 1, 2, 3], [0, 1, 2, 3], PAIR, PlannedGroup(1, 0, (2, 3), 0.9))],
            r"Row \w+ \(line 3\) would end twice",
        ),
        (
            [topic(0, [0, 1, 2, 3], [0, 1, 2, 3], PAIR, PlannedGroup(9, 0, (1, 3), 0.9))],
            "group at position 9 has no outcome; .* resume",
        ),
        (
            [topic(0, [0, 1, 2, 3], [0, 1, 2, 3], PAIR._replace(rows=(0, 1)))],
            "outcome at position 0 is of another group",
        ),
    ],
)
def test_no_file_changes_unless_each_row_ends_exactly_once(run, topics, named):
    run.conclude(run.outcome(PAIR), run.outcome(PlannedGroup(1, 0, (2, 3), 0.9)))
    results = (run.dir.merged, run.dir.lineage, run.dir.filtered)
    for path in results:
        path.write_text("from before")

    with pytest.raises(ConservationError, match=named):
        run.export(*topics)

    assert [path.read_text() for path in results] == ["from before"] * 3
    assert not list(run.dir.path.glob(".*"))


@pytest.mark.parametrize("status", [Status.MERGED, Status.KEPT])
def test_a_row_that_a_topic_lends_to_a_group_of_another_ends_once(run, status):
    run.conclude(run.outcome(PAIR, status))

    summary = run.export(
        topic(0, [0, 1], [0, 1], PAIR), topic(1, [2, 3], [2], lent=[2]), rejected=0
    )

    assert summary.rows_in == 5
    merged = 2 if status is Status.MERGED else 0
    assert (summary.merged, summary.kept, summary.filtered) == (merged, 3 - merged, 2)


def test_lineage_names_each_topic_by_its_words(run):
    run.conclude(run.outcome(PAIR))
    with RowStore.open(run.dir.plan.rows) as store:
        exporter = Exporter(run.dir, store, Origin("a model"), [("soup", "bread"), ()])
        exporter.export([topic(0, [0, 1], [0, 1], PAIR), topic(1, [2, 3], [2, 3], lent=[2])], 0)
    named = [(line["topic"], line["topic_words"]) for line in run.lines("lineage.jsonl")]
    assert named == [(0, ["soup", "bread"]), (0, ["soup", "bread"]), (1, [])]


def test_the_order_is_that_of_the_plan_whatever_the_order_of_the_outcomes(tmp_path):
    run = Run(tmp_path, map(row, range(8)))
    groups = [
        PlannedGroup(position, position // 2, (position, 7 - position), 0.9)
        for position in range(4)
    ]
    outcomes = [
        run.outcome(group)._replace(merged=Example(f"Group {group.position}.", "", "Yes."))
        for group in groups
    ]
    run.conclude(*(outcomes[position] for position in (2, 0, 3, 1)))

    run.export(
        topic(0, [0, 1, 6, 7], [0, 1, 6, 7], *groups[:2]),
        topic(1, [2, 3, 4, 5], [2, 3, 4, 5], *groups[2:]),
    )

    assert [line["instruction"] for line in run.lines("merged.jsonl")] == [
        f"Group {position}." for position in range(4)
    ]
    assert [line["group"] for line in run.lines("lineage.jsonl")] == [
        outcome.group_id for outcome in outcomes
    ]


def test_a_merged_row_names_what_it_was_made_from_and_by_what(tmp_path):
    run = Run(tmp_path, [row(0, source="cards", tags=["a", None]), row(1), row(2)])
    outcome = run.outcome(PAIR)
    run.conclude(outcome)

    run.export(topic(0, [0, 1, 2], [0, 1, 2], PAIR))

    merged, kept = run.lines("lineage.jsonl")
    assert len(merged.pop("id")) == 32
    assert merged == {
        "kind": "merged",
        "topic": 0,
        "group": outcome.group_id,
        "similarity": 0.8765,
        "attempts": 1,
        "model": "a model",
        "prompts": {"merge/v1": "hash"},
        "sources": [
            {"id": run.rows[0].id, "line": 1, "extra": {"source": "cards", "tags": ["a", None]}},
            {"id": run.rows[2].id, "line": 3},
        ],
    }
    assert kept == {
        "id": run.rows[1].id,
        "kind": "kept",
        "topic": 0,
        "reason": "no_neighbour",
        "sources": [{"id": run.rows[1].id, "line": 2}],
    }
    assert [tuple(line.values()) for line in run.lines("merged.jsonl")] == [
        fields(MERGED),
        fields(run.rows[1]),
    ]


@pytest.mark.parametrize(
    ("status", "reason"), [(Status.KEPT, "fence"), (Status.FAILED, "failed: fence")]
)
def test_the_originals_of_a_group_without_a_merge_stay_and_say_why(tmp_path, status, reason):
    run = Run(tmp_path, [row(0, source="cards"), row(1), row(2)])
    outcome = run.outcome(PAIR, status)
    run.conclude(outcome)

    summary = run.export(topic(3, [0, 1, 2], [0, 2], PAIR._replace(topic=3)))

    assert run.lines("merged.jsonl") == [
        dict(zip(("instruction", "input", "output"), fields(run.rows[place]), strict=True))
        for place in (0, 2)
    ]
    first, _ = run.lines("lineage.jsonl")
    assert first == {
        "id": run.rows[0].id,
        "kind": "kept",
        "topic": 3,
        "group": outcome.group_id,
        "reason": reason,
        "detail": "in a fence",
        "attempts": 2,
        "sources": [{"id": run.rows[0].id, "line": 1, "extra": {"source": "cards"}}],
    }
    assert (summary.kept, summary.merged, summary.failed_groups) == (
        2,
        0,
        int(status is Status.FAILED),
    )


def test_rows_left_out_are_listed_with_their_reason(run):
    run.conclude(run.outcome(PAIR))
    run.export(topic(0, [0, 1, 2, 3], [0, 2, 3], PAIR))
    assert run.lines("filtered.jsonl") == [
        {"id": run.rows[1].id, "line": 2, "reason": "not_selected", "topic": 0},
        {"id": run.rows[4].id, "line": 5, "reason": "duplicate", "duplicate_of": run.rows[0].id},
    ]


def test_the_dataset_appears_last(run):
    run.conclude(run.outcome(PAIR))
    run.dir.lineage.mkdir()  # the last but one file cannot be written
    with pytest.raises(OSError, match="directory"):
        run.export(topic(0, [0, 1, 2, 3], [0, 1, 2, 3], PAIR))
    assert run.dir.filtered.exists()
    assert not run.dir.merged.exists()


@st.composite
def plans(draw: st.DrawFn) -> tuple[list[Row], list[PlannedTopic], list[tuple[int, Status]]]:
    """Rows of which some repeat others, topics over the rest, and how each group ends."""
    unique = draw(st.integers(0, 12))
    repeats = draw(st.lists(st.integers(0, unique - 1), max_size=4)) if unique else []
    rows = [row(number) for number in range(unique)]
    rows += [row(unique + place, of=of) for place, of in enumerate(repeats)]
    labels = draw(st.lists(st.integers(0, 2), min_size=unique, max_size=unique))
    # Within its topic: 0 is left out, 1 stays alone, 2 and 3 form a group each.
    roles = draw(st.lists(st.integers(0, 3), min_size=unique, max_size=unique))
    topics: list[PlannedTopic] = []
    ends: list[tuple[int, Status]] = []
    for label in sorted(set(labels)):
        members = [place for place in range(unique) if labels[place] == label]
        groups = []
        for role in (2, 3):
            grouped = tuple(place for place in members if roles[place] == role)
            if len(grouped) > 1:
                groups.append(PlannedGroup(len(ends), label, grouped, 0.6))
                ends.append((len(ends), draw(st.sampled_from(Status))))
        selected = [place for place in members if roles[place] > 0]
        topics.append(topic(label, members, selected, *groups))
    return rows, topics, ends


@settings(max_examples=25, deadline=None)
@given(plan=plans(), rejected=st.integers(0, 5))
def test_every_row_of_every_plan_ends_exactly_once(plan, rejected):
    rows, topics, ends = plan
    with TemporaryDirectory() as folder:
        run = Run(Path(folder), rows)
        groups = [group for topic in topics for group in topic.groups]
        outcomes = [run.outcome(groups[position], status) for position, status in ends]
        run.conclude(*random.Random(0).sample(outcomes, len(outcomes)))

        summary = run.export(*topics, rejected=rejected)

        merged, lineage = run.lines("merged.jsonl"), run.lines("lineage.jsonl")
        ids = [source["id"] for line in lineage for source in line["sources"]]
        ids += [line["id"] for line in run.lines("filtered.jsonl")]
    assert sorted(ids) == sorted(row.id for row in rows)
    assert len(rows) + rejected == summary.rows_in
    assert summary.rows_in == sum(
        (summary.merged, summary.kept, summary.filtered, summary.rejected)
    )
    assert len(merged) == len(lineage) == summary.rows_out
    assert summary.merged_groups == [line["kind"] for line in lineage].count("merged")
    assert (summary.topics, summary.groups) == (len(topics), len(groups))
