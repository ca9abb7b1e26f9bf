"""The end of a run: outcomes and plan become the dataset, with the lineage of every row.

A pure function of the plan and the journal, in the order of the plan. Nothing is written unless
each input row is accounted for exactly once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, field
from typing import Any, BinaryIO

import numpy as np
import orjson

from mergeit_async.data.atomic import write_atomically
from mergeit_async.data.store import RowStore
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.engine.tables import connect_reader, read_outcomes
from mergeit_async.errors import ConservationError
from mergeit_async.ids import group_id, merged_id
from mergeit_async.records import Example, Outcome, Row, Status

NO_NEIGHBOUR = "no_neighbour"
NOT_SELECTED = "not_selected"
DUPLICATE = "duplicate"


@dataclass(frozen=True, slots=True)
class Summary:
    """What became of the input: `rows_in` = `merged` + `kept` + `filtered` + `rejected`.

    Of the `groups` planned, `merged_groups` became one row each and `failed_groups` never got a
    reply. All other numbers count rows; `rows_out` is the size of the result. `reasons` counts the
    groups whose originals stayed, by why.
    """

    rows_in: int
    topics: int
    groups: int
    merged_groups: int
    failed_groups: int
    merged: int
    kept: int
    filtered: int
    rejected: int
    rows_out: int
    reasons: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Origin:
    """What merged all rows of a run; part of each merged row's lineage.

    `prompts` are the content hashes of the prompt versions, by name.
    """

    model: str
    prompts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the result, its lineage, and the input rows that it accounts for."""

    example: Example
    lineage: dict[str, Any]
    rows: tuple[int, ...]


class Ledger:
    """Accounts for the input rows: each of them once, none twice."""

    def __init__(self, store: RowStore) -> None:
        self._store = store
        self._entered = np.zeros(len(store), bool)
        self.counts: Counter[str] = Counter()

    def enter(self, rows: Iterable[int], fate: str) -> None:
        """These rows end as `fate`; raises `ConservationError` if one had ended before."""
        for row in rows:
            if self._entered[row]:
                raise ConservationError(
                    f"Row {self._store[row].id} (line {self._store[row].line}) would end twice; "
                    "nothing was written, the plan is damaged: begin a new run with --reuse."
                )
            self._entered[row] = True
            self.counts[fate] += 1

    def close(self) -> None:
        """Raise `ConservationError` unless every row has ended."""
        lost = np.flatnonzero(~self._entered)
        if len(lost):
            row = self._store[int(lost[0])]
            raise ConservationError(
                f"{len(lost)} rows would be lost, row {row.id} (line {row.line}) first; nothing "
                "was written, the plan is damaged: begin a new run with --reuse."
            )


class Exporter:
    """Writes the files of one finished run."""

    def __init__(
        self,
        run: RunDir,
        store: RowStore,
        origin: Origin,
        topic_words: Sequence[Sequence[str]] = (),
    ) -> None:
        """`topic_words` name the topics, by their numbers."""
        self._topic_words = topic_words
        self._run = run
        self._store = store
        self._origin = {name: value for name, value in asdict(origin).items() if value}
        self._ledger = Ledger(store)
        self._groups: Counter[Status] = Counter()
        self._reasons: Counter[str] = Counter()
        self._n_topics = 0

    def export(self, topics: Iterable[PlannedTopic], rejected: int) -> Summary:
        """Write filtered, lineage and merged rows; the last file appears last.

        Raises `ConservationError`, with no file changed, unless each row ends exactly once.
        """
        with (
            write_atomically(self._run.merged) as merged,
            write_atomically(self._run.lineage) as lineage,
            write_atomically(self._run.filtered) as filtered,
            closing(connect_reader(self._run.journal)) as journal,
        ):
            outcomes = read_outcomes(journal)
            for topic in topics:
                self._n_topics += 1
                for entry in self._topic_entries(topic, outcomes):
                    write_line(merged, entry.example._asdict())
                    write_line(lineage, entry.lineage)
                for record in self._left_out(topic):
                    write_line(filtered, record)
            for record in self._duplicates():
                write_line(filtered, record)
            self._ledger.close()
        return self._summary(rejected)

    def _topic_entries(self, topic: PlannedTopic, outcomes: Iterator[Outcome]) -> Iterator[Entry]:
        """The rows of a topic's groups in order, then those that are in no group."""
        grouped: set[int] = set(topic.lent.tolist())
        for group in topic.groups:
            grouped.update(group.rows)
            for entry in self._group_entries(group, outcome_of(group, outcomes)):
                self._ledger.enter(entry.rows, entry.lineage["kind"])
                yield entry
        for row in topic.selected.tolist():
            if row not in grouped:
                self._ledger.enter([row], "kept")
                yield self._kept(row, topic.topic, {"reason": NO_NEIGHBOUR})

    def _group_entries(self, group: PlannedGroup, outcome: Outcome) -> Iterator[Entry]:
        self._groups[outcome.status] += 1
        sources = [self._store[row] for row in group.rows]
        if outcome.group_id != group_id(source.id for source in sources):
            raise ConservationError(
                f"The outcome at position {group.position} is of another group; nothing was "
                "written, journal and plan do not belong together."
            )
        if outcome.merged is not None:
            yield self._merged(group, outcome, outcome.merged, sources)
            return
        self._reasons[f"{outcome.status}: {outcome.reason}"] += 1
        why: dict[str, Any] = {
            "reason": outcome.reason,
            "detail": outcome.detail,
            "attempts": outcome.attempts,
            **({"scores": outcome.scores} if outcome.scores else {}),
        }
        if outcome.status is Status.FAILED:
            why["reason"] = f"failed: {outcome.reason}"
        for row in group.rows:
            yield self._kept(row, group.topic, {"group": outcome.group_id, **why})

    def _merged(
        self, group: PlannedGroup, outcome: Outcome, merged: Example, sources: list[Row]
    ) -> Entry:
        lineage = {
            "id": merged_id(merged, outcome.group_id),
            "kind": "merged",
            **self._name(group.topic),
            "group": outcome.group_id,
            "similarity": round(group.similarity, 4),
            "attempts": outcome.attempts,
            **self._origin,
            **({"scores": outcome.scores} if outcome.scores else {}),
            "sources": [source_of(source) for source in sources],
        }
        return Entry(merged, lineage, group.rows)

    def _kept(self, index: int, topic: int, why: dict[str, Any]) -> Entry:
        row = self._store[index]
        lineage = {
            "id": row.id,
            "kind": "kept",
            **self._name(topic),
            **why,
            "sources": [source_of(row)],
        }
        return Entry(Example(row.instruction, row.input, row.output), lineage, (index,))

    def _name(self, topic: int) -> dict[str, Any]:
        """The topic's number, and its words where they are known."""
        if not self._topic_words:
            return {"topic": topic}
        return {"topic": topic, "topic_words": self._topic_words[topic]}

    def _left_out(self, topic: PlannedTopic) -> Iterator[dict[str, Any]]:
        """The rows of a topic that thinning left out."""
        for index in np.setdiff1d(topic.rows, topic.selected).tolist():
            yield self._filtered(index, NOT_SELECTED) | {"topic": topic.topic}

    def _duplicates(self) -> Iterator[dict[str, Any]]:
        """The rows that repeat an earlier one."""
        for index in np.flatnonzero(self._store.duplicates()).tolist():
            yield self._filtered(index, DUPLICATE) | {
                "duplicate_of": self._store[index].duplicate_of
            }

    def _filtered(self, index: int, reason: str) -> dict[str, Any]:
        self._ledger.enter([index], "filtered")
        row = self._store[index]
        return {"id": row.id, "line": row.line, "reason": reason}

    def _summary(self, rejected: int) -> Summary:
        counts, groups = self._ledger.counts, self._groups
        return Summary(
            rows_in=counts.total() + rejected,
            topics=self._n_topics,
            groups=groups.total(),
            merged_groups=groups[Status.MERGED],
            failed_groups=groups[Status.FAILED],
            merged=counts["merged"],
            kept=counts["kept"],
            filtered=counts["filtered"],
            rejected=rejected,
            rows_out=groups[Status.MERGED] + counts["kept"],
            reasons=dict(self._reasons.most_common()),
        )


def outcome_of(group: PlannedGroup, outcomes: Iterator[Outcome]) -> Outcome:
    """The next outcome, which must be the group's: both come in the order of the plan."""
    outcome = next(outcomes, None)
    if outcome is None or outcome.position != group.position:
        raise ConservationError(
            f"The group at position {group.position} has no outcome; nothing was written, resume "
            "the run."
        )
    return outcome


def source_of(row: Row) -> dict[str, Any]:
    """What lineage tells of an input row: id, line, and all its other columns."""
    return {"id": row.id, "line": row.line} | ({"extra": row.extra} if row.extra else {})


def write_line(file: BinaryIO, record: dict[str, Any]) -> None:
    """One JSON line."""
    file.write(orjson.dumps(record, option=orjson.OPT_APPEND_NEWLINE))
