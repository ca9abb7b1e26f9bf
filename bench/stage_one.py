"""Stage 1 as the bench runs it: topics, rows kept and pairs, held against the yardsticks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

import numpy as np
from numpy.typing import NDArray
from yardsticks import (
    Pairs,
    Rows,
    Vectors,
    cosines,
    cover_greedily,
    coverage,
    draw_subsets,
    inertia,
    pair_greedily,
    pair_overlap,
    topic_agreement,
)

from mergeit_async.filtering.neighbours import Neighbours, find_neighbours
from mergeit_async.filtering.reduce import reduce_vectors
from mergeit_async.filtering.select import topic_budgets
from mergeit_async.filtering.topic_plan import PlanSettings
from mergeit_async.filtering.topics import assign_topics, default_topic_count, smooth_topics
from mergeit_async.filtering.whole_plan import WholePlan, plan_rows

Table = list[dict[str, Any]]

PAPER = PlanSettings(selection="euclidean", pairing="first_match")
OURS = PlanSettings()
BUDGET = 2790
PER_TOPIC = 30


@dataclass(frozen=True, slots=True)
class Prepared:
    """A dataset whose topics are known, ready to be thinned and paired."""

    vectors: Vectors
    labels: NDArray[np.int32]
    neighbours: Neighbours

    def plan(
        self, settings: PlanSettings, per_topic: int | None = None, target: int | None = None
    ) -> WholePlan:
        budgets = topic_budgets(np.bincount(self.labels), per_topic, target)
        return plan_rows(self.vectors, self.labels, budgets, self.neighbours, settings)


@dataclass(frozen=True, slots=True)
class Changed:
    """What the subsets of one draw have in common, two by two, and each one's inertia."""

    overlaps: list[float]
    rand: list[float]
    inertia: list[float]


def prepare(vectors: Vectors, seed: int, is_smoothed: bool) -> Prepared:
    """Topics from smoothed rows, or in the paper's way, whose plan needs no neighbours."""
    count = default_topic_count(len(vectors))
    if not is_smoothed:
        labels = assign_topics(reduce_vectors(vectors), count, seed)
        nobody = np.empty((len(vectors), 0))
        return Prepared(vectors, labels, Neighbours(nobody.astype(np.int32), nobody))
    neighbours = find_neighbours(vectors, seed)
    smoothed = smooth_topics(vectors, neighbours, count)
    return Prepared(vectors, assign_topics(reduce_vectors(smoothed), count, seed), neighbours)


def pairs_of(plan: WholePlan) -> Pairs:
    pairs = [group.members for group in plan.groups]
    return np.array(pairs, dtype=np.int64).reshape(-1, 2)


def measure_bars(minilm: Vectors, wordllama: Vectors, seeds: int, draws: int) -> Table:
    """The yardsticks against what they have to reach: random rows, the paper's way, ours."""
    paper, ours = _prepare_both(minilm, seeds)
    return [
        *_measure_coverage(minilm, wordllama, paper, ours),
        *_measure_pairs(minilm, paper, ours),
        *_measure_stability(minilm, draws),
    ]


def compare_pairings(minilm: Vectors, wordllama: Vectors) -> Table:
    """What each order merges, and how much of the input lives on, at the default budget; seed 0."""
    table = []
    for embedder, vectors, threshold in (("minilm", minilm, 0.55), ("wordllama", wordllama, 0.60)):
        prepared = prepare(vectors, 0, is_smoothed=True)
        for per_topic in (30, 75):
            for pairing in ("first_match", "best_first", "absorb"):
                settings = replace(OURS, pairing=pairing, threshold=threshold)
                plan = prepared.plan(settings, per_topic=per_topic)
                judged, lives = cosines(minilm, pairs_of(plan)), int(plan.stays.sum())
                table.append(
                    {
                        "embedder": embedder,
                        "rows a topic": per_topic,
                        "pairing": pairing,
                        "pairs": len(judged),
                        "MiniLM similarity": round(float(judged.mean()), 4),
                        "rows whose content goes on": lives,
                        "size of the result": lives - len(judged),
                    }
                )
    return table


def _prepare_both(vectors: Vectors, seeds: int) -> list[list[Prepared]]:
    """The paper's topics and ours, for each seed."""
    return [
        [prepare(vectors, seed, is_smoothed) for seed in range(seeds)]
        for is_smoothed in (False, True)
    ]


def _measure_coverage(
    minilm: Vectors, wordllama: Vectors, paper: list[Prepared], ours: list[Prepared]
) -> Table:
    dice = np.random.default_rng(0)
    chance = [dice.choice(len(minilm), BUDGET, replace=False) for _ in paper]
    random = _mean(coverage(minilm, rows) for rows in chance)
    greedy = coverage(minilm, cover_greedily(minilm, BUDGET))
    plain, own = _prepare_both(wordllama, len(paper))
    rows = [
        ("coverage at 2,790 rows (MiniLM)", paper, greedy, ours, 0.704),
        ("the same, default embedder", plain, None, own, 0.68),
    ]
    return [
        _row(what, random, _cover(minilm, plain, PAPER), best, _cover(minilm, own, OURS), reach)
        for what, plain, best, own, reach in rows
    ]


def _cover(minilm: Vectors, plans: list[Prepared], settings: PlanSettings) -> float:
    """Coverage by the rows that thinning keeps; those that pairing adds to them do not count."""
    thinning = replace(settings, pairing="first_match", threshold=1.0)
    # The published way has a bound for each topic, and so some rows fewer in all.
    given = {"target": BUDGET} if settings.selection == "global" else {"per_topic": PER_TOPIC}
    kept = [np.flatnonzero(prepared.plan(thinning, **given).stays) for prepared in plans]
    return _mean(coverage(minilm, rows) for rows in kept)


def _measure_pairs(minilm: Vectors, paper: list[Prepared], ours: list[Prepared]) -> Table:
    found = [
        [pairs_of(prepared.plan(PAPER)) for prepared in paper],
        [pair_greedily(minilm, PAPER.threshold)],
        [pairs_of(prepared.plan(OURS)) for prepared in ours],
    ]
    similarities = [_mean(cosines(minilm, p).mean() for p in pairs) for pairs in found]
    numbers = [round(float(np.mean([len(p) for p in pairs]))) for pairs in found]
    return [
        _row("mean pair similarity at 0.55, no thinning", None, *similarities, 0.705),
        _row("pairs found, no thinning", None, *numbers, 6200),
    ]


def _measure_stability(minilm: Vectors, draws: int) -> Table:
    n = len(minilm)
    found: dict[str, list[Changed]] = {"paper": [], "ours": []}
    greedy: list[float] = []
    for draw in range(draws):
        subsets = draw_subsets(n, draw)
        pairs = [rows[pair_greedily(minilm[rows], PAPER.threshold)] for rows in subsets]
        greedy += _overlaps(pairs, subsets, n)
        found["paper"].append(_change(minilm, subsets, draw, PAPER, is_smoothed=False))
        found["ours"].append(_change(minilm, subsets, draw, OURS, is_smoothed=True))
    pairs_kept, rand, spread = (
        [_mean(value for change in found[who] for value in getattr(change, what)) for who in found]
        for what in ("overlaps", "rand", "inertia")
    )
    change = "10 % of rows changed"
    return [
        _row(f"pair stability, {change}", None, pairs_kept[0], _mean(greedy), pairs_kept[1], 0.62),
        _row(f"topic stability (ARI), {change}", None, rand[0], None, rand[1], "0.68, aim 0.75"),
        _row("its variance in topics", None, 1.0, None, spread[1] / spread[0], "at most 1.02"),
    ]


def _change(
    minilm: Vectors, subsets: list[Rows], draw: int, settings: PlanSettings, *, is_smoothed: bool
) -> Changed:
    """The subsets of one draw, each planned with a seed of its own, and what they share."""
    n = len(minilm)
    plans = [
        prepare(minilm[rows], 3 * draw + part, is_smoothed) for part, rows in enumerate(subsets)
    ]
    both = list(zip(plans, subsets, strict=True))
    labels = [_spread(plan.labels, rows, n) for plan, rows in both]
    pairs = [rows[pairs_of(plan.plan(settings))] for plan, rows in both]
    return Changed(
        overlaps=_overlaps(pairs, subsets, n),
        rand=[topic_agreement(*two) for two in combinations(labels, 2)],
        inertia=[inertia(reduce_vectors(plan.vectors), plan.labels) for plan in plans],
    )


def _overlaps(pairs: list[Pairs], subsets: list[Rows], n: int) -> list[float]:
    seen = [np.isin(np.arange(n), rows) for rows in subsets]
    couples = combinations(zip(pairs, seen, strict=True), 2)
    return [pair_overlap(left, right, one & other) for (left, one), (right, other) in couples]


def _spread(labels: NDArray[np.int32], rows: Rows, n: int) -> Rows:
    spread = np.full(n, -1)
    spread[rows] = labels
    return spread


def _row(what: str, random: Any, paper: Any, greedy: Any, ours: Any, reach: Any) -> dict[str, Any]:
    values = {"random": random, "paper preset": paper, "global greedy": greedy, "ours": ours}
    shown = {name: _shown(value) for name, value in values.items()}
    return {"yardstick": what, **shown, "must reach": reach}


def _shown(value: Any) -> Any:
    if value is None:
        return "–"
    return round(value, 4) if isinstance(value, float) else value


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)
