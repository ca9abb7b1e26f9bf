"""What a run has made, for a person to look at: how much merges keep, and examples to read."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass
from heapq import nsmallest
from typing import Any

from mergeit_async.engine.planner import Planner
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.run_dir import Record, RunDir
from mergeit_async.engine.status import RunStatus, read_status
from mergeit_async.engine.tables import connect_reader, read_outcomes, readable
from mergeit_async.records import Outcome, Row

LEAST_KEEPING = 12
# Examples of each reason for which originals stayed.
OF_EACH_REASON = 3


@dataclass(frozen=True, slots=True)
class Example:
    """A group with what became of it."""

    outcome: Outcome
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class RunReport:
    """A run as it stands.

    `information` holds the score of each accepted merge, and `gains` what the judge gave to the
    merges above the mean of their sources (quality × complexity); both are empty where nobody
    looked. `least` are the merges that keep least, `refused` groups whose originals stayed, by
    reason.
    """

    record: Record
    status: RunStatus
    information: list[float]
    gains: list[float]
    least: list[Example]
    refused: dict[str, list[Example]]


def read_report(run: RunDir) -> RunReport:
    """The report of `run`, also while it works; raises `UsageError` where there is none."""
    record, status = run.read_record(), read_status(run)
    outcomes: list[Outcome] = []
    if run.journal.exists() and run.journal.stat().st_size:
        with readable(run.journal), closing(connect_reader(run.journal)) as journal:
            outcomes = list(read_outcomes(journal))
    merged = [outcome for outcome in outcomes if outcome.merged is not None]
    scored = [outcome for outcome in merged if information_of(outcome) is not None]
    least = nsmallest(LEAST_KEEPING, scored, key=lambda each: (information_of(each), each.position))
    refused: dict[str, list[Outcome]] = {}
    for outcome in outcomes:
        if outcome.reason and len(refused.setdefault(outcome.reason, [])) < OF_EACH_REASON:
            refused[outcome.reason].append(outcome)
    show = Shower(run, record, [*least, *(each for some in refused.values() for each in some)])
    return RunReport(
        record,
        status,
        [value for each in scored if (value := information_of(each)) is not None],
        [gain for each in merged if (gain := gain_of(each)) is not None],
        [show(each) for each in least],
        {reason: [show(each) for each in some] for reason, some in refused.items()},
    )


class Shower:
    """Finds the rows of some groups of a plan."""

    def __init__(self, run: RunDir, record: Record, outcomes: list[Outcome]) -> None:
        planner = Planner(run, record.settings, record.identity, Progress())
        wanted = {outcome.position for outcome in outcomes}
        self._rows = {
            group.position: planner.load_group(group).rows
            for topic in planner.saved_topics()
            for group in topic.groups
            if group.position in wanted
        }

    def __call__(self, outcome: Outcome) -> Example:
        """`outcome` with its rows; without any where the plan has gone."""
        return Example(outcome, self._rows.get(outcome.position, ()))


def information_of(outcome: Outcome) -> float | None:
    """What a merge keeps of the source that it keeps least of."""
    value: float | None = (outcome.scores or {}).get("information")
    return value


def gain_of(outcome: Outcome) -> float | None:
    """What the judge gave to a merge above the mean of its sources."""
    judged = (outcome.scores or {}).get("judge")
    if not judged:
        return None
    sources = [product(each) for each in judged["sources"]]
    return product(judged["merged"]) - sum(sources) / len(sources)


def product(scores: Mapping[str, Any]) -> float:
    """Quality times complexity."""
    return float(scores["quality"] * scores["complexity"])
