"""Stage 1 against its yardsticks (coverage, pairs, stability), its speed, and thresholds.

    python bench/filtering.py --data DIR [--seeds 5] [--json OUT]

DIR holds alpaca_17k.jsonl and alpaca_17k.minilm.f16.npy. Coverage and pair similarity are always
cosines of the MiniLM vectors, whatever embedder made the plan.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import time
from collections.abc import Callable, Iterable, Sequence
from importlib.metadata import version
from itertools import combinations
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import orjson
from numpy.typing import NDArray
from report import dump, parser_of
from sklearn.cluster import KMeans
from sklearn.metrics import adjusted_rand_score

from mergeit_async.filtering.embedding import check_vectors
from mergeit_async.filtering.pair import best_first, first_match
from mergeit_async.filtering.reduce import reduce_vectors
from mergeit_async.filtering.select import facility_location
from mergeit_async.filtering.similarity import Metric
from mergeit_async.filtering.topics import assign_topics, default_topic_count
from mergeit_async.providers.embeddings import load_embedder

Vectors = NDArray[np.float32]
Rows = NDArray[np.int64]
Pairs = NDArray[np.int64]
Table = list[dict[str, Any]]
Result = TypeVar("Result")
Assign = Callable[[Vectors, int], list[Rows]]

PAPER_THRESHOLD = 0.55
THRESHOLDS = [0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75]
PER_TOPIC = 75
REPEATS = 3


def main() -> None:
    arguments = _parse_arguments()
    texts = _read_texts(arguments.data / "alpaca_17k.jsonl")
    raw = np.load(arguments.data / "alpaca_17k.minilm.f16.npy")
    minilm = check_vectors(raw, len(texts), "alpaca_17k.minilm.f16.npy")
    wordllama = load_embedder("wordllama").embed(texts)
    result = {
        "coverage at 30 rows a topic, mean over seeds": measure_coverage(minilm, arguments.seeds),
        "pairs at 0.55, all rows, mean over seeds": measure_pairs(minilm, arguments.seeds),
        "how k-means starts, mean over seeds": measure_topics(minilm, arguments.seeds),
        "stage 1 with wordllama, best of three": measure_speed(texts),
        "threshold for wordllama, seed 0": sweep_thresholds(wordllama, minilm),
    }
    for title, table in result.items():
        _print_table(title, table)
    if arguments.json:
        _write_result(arguments, len(texts), result)


def measure_coverage(vectors: Vectors, seeds: int) -> Table:
    """Which similarity, and of which vectors, covers all rows best; random rows for scale."""
    points = reduce_vectors(vectors)
    plans = [assign(points, seed) for seed in range(seeds)]

    def cover(space: Vectors, metric: Metric) -> list[float]:
        return [coverage(vectors, thin(space, topics, 30, metric)) for topics in plans]

    generator = np.random.default_rng(0)
    sizes = [sum(min(30, len(rows)) for rows in topics) for topics in plans]
    chance = [generator.choice(len(vectors), size, replace=False) for size in sizes]
    return [
        _summary("full vectors, euclidean", cover(vectors, "euclidean")),
        _summary("full vectors, cosine", cover(vectors, "cosine")),
        _summary("PCA points, euclidean", cover(points, "euclidean")),
        _summary("random rows", [coverage(vectors, rows) for rows in chance]),
    ]


def measure_pairs(vectors: Vectors, seeds: int) -> Table:
    points = reduce_vectors(vectors)
    plans = [assign(points, seed) for seed in range(seeds)]
    table = []
    for pairing in (best_first, first_match):
        found = [pair(vectors, topics, pairing, PAPER_THRESHOLD) for topics in plans]
        table.append(
            {
                "pairing": pairing.__name__,
                "pairs": round(float(np.mean([len(pairs) for pairs in found])), 1),
                "least": min(len(pairs) for pairs in found),
                "similarity": _mean([cosines(vectors, pairs).mean() for pairs in found]),
            }
        )
    return table


def measure_topics(vectors: Vectors, seeds: int) -> Table:
    """Our start of k-means against scikit-learn's: inertia and time on all rows, and stability.

    Stability: three random 90 % subsets, each planned with its own seed; what any two of them
    have in common, as a mean over `seeds` such draws.
    """
    points = reduce_vectors(vectors)
    starts: dict[str, Assign] = {
        "Ward tree (ours)": assign,
        "k-means++": lambda points, seed: _assign_by_sklearn(points, seed, 1),
        "k-means++, best of 5": lambda points, seed: _assign_by_sklearn(points, seed, 5),
    }
    table = []
    for start, assign_by in starts.items():
        begin = time.perf_counter()
        plans = [assign_by(points, seed) for seed in range(seeds)]
        seconds = (time.perf_counter() - begin) / seeds
        draws = [_draw_stability(vectors, assign_by, draw) for draw in range(seeds)]
        table.append(
            {
                "start": start,
                "seconds": round(seconds, 2),
                "inertia": round(_mean(_inertia(points, topics) for topics in plans), 1),
                "topics, adjusted Rand": _mean(rand for rand, _ in draws),
                "pairs, Jaccard": _mean(jaccard for _, jaccard in draws),
            }
        )
    return table


def measure_speed(texts: Sequence[str]) -> Table:
    embed_s, vectors = _time(lambda: load_embedder("wordllama").embed(texts))
    reduce_s, points = _time(lambda: reduce_vectors(vectors))
    topics_s, topics = _time(lambda: assign(points, 0))
    select_s, _ = _time(lambda: thin(vectors, topics, PER_TOPIC))
    pair_s, _ = _time(lambda: pair(vectors, topics, best_first, PAPER_THRESHOLD))
    steps = {
        "embed, model loading included": embed_s,
        "reduce": reduce_s,
        "topics": topics_s,
        f"select, {PER_TOPIC} a topic": select_s,
        "pair, all rows": pair_s,
        "together": embed_s + reduce_s + topics_s + select_s + pair_s,
    }
    return [
        {"step": step, "seconds": round(seconds, 3), "rows/s": round(len(texts) / seconds)}
        for step, seconds in steps.items()
    ]


def sweep_thresholds(wordllama: Vectors, minilm: Vectors) -> Table:
    """Pairs that a wordllama plan finds, judged by MiniLM; MiniLM's own plan for comparison."""
    table = _sweep("minilm", minilm, minilm, [PAPER_THRESHOLD])
    return table + _sweep("wordllama", wordllama, minilm, THRESHOLDS)


def assign(points: Vectors, seed: int) -> list[Rows]:
    labels = assign_topics(points, default_topic_count(len(points)), seed)
    return [np.flatnonzero(labels == topic) for topic in range(int(labels.max()) + 1)]


def thin(space: Vectors, topics: list[Rows], budget: int, metric: Metric = "euclidean") -> Rows:
    kept = [rows[facility_location(space[rows], budget, metric)] for rows in topics]
    return np.concatenate(kept)


def pair(
    vectors: Vectors, topics: list[Rows], pairing: Callable[..., Any], threshold: float
) -> Pairs:
    """Pairs inside each topic as (n_pairs, 2) row numbers."""
    found = [
        rows[list(group.members)]
        for rows in topics
        for group in pairing(vectors[rows], threshold, 2)
    ]
    return np.array(found, dtype=np.int64).reshape(-1, 2)


def coverage(vectors: Vectors, kept: Rows) -> float:
    """Mean over all rows of the largest cosine between the row and a kept row."""
    blocks = range(0, len(vectors), 2048)
    closest = [(vectors[at : at + 2048] @ vectors[kept].T).max(axis=1) for at in blocks]
    return float(np.concatenate(closest).mean())


def cosines(vectors: Vectors, pairs: Pairs) -> NDArray[np.float64]:
    first, second = vectors[pairs[:, 0]], vectors[pairs[:, 1]]
    products: NDArray[np.float64] = np.einsum("pd,pd->p", first, second, dtype=np.float64)
    return products


def _sweep(embedder: str, vectors: Vectors, minilm: Vectors, thresholds: list[float]) -> Table:
    topics = assign(reduce_vectors(vectors), 0)
    thinned = [
        rows[np.sort(facility_location(vectors[rows], PER_TOPIC, "euclidean"))] for rows in topics
    ]
    table = []
    for kept, groups in (("all rows", topics), (f"{PER_TOPIC} a topic", thinned)):
        for threshold in thresholds:
            judged = cosines(minilm, pair(vectors, groups, best_first, threshold))
            table.append(
                {
                    "embedder": embedder,
                    "rows kept": kept,
                    "threshold": threshold,
                    "pairs": len(judged),
                    "MiniLM similarity": round(float(judged.mean()), 4),
                    "share below 0.55": round(float((judged < 0.55).mean()), 4),
                    "share below 0.40": round(float((judged < 0.40).mean()), 4),
                }
            )
    return table


def _assign_by_sklearn(points: Vectors, seed: int, n_init: int) -> list[Rows]:
    count = default_topic_count(len(points))
    labels = KMeans(count, n_init=n_init, random_state=seed).fit(points).labels_
    return [np.flatnonzero(labels == topic) for topic in range(count)]


def _inertia(points: Vectors, topics: list[Rows]) -> float:
    return sum(float(points[rows].var(axis=0).sum()) * len(rows) for rows in topics)


def _draw_stability(vectors: Vectors, assign_by: Assign, draw: int) -> tuple[float, float]:
    generator = np.random.default_rng(draw)
    labels, pair_sets = [], []
    for part in range(3):
        subset = np.sort(generator.permutation(len(vectors))[: int(0.9 * len(vectors))])
        topics = assign_by(reduce_vectors(vectors[subset]), 3 * draw + part)
        label = np.full(len(vectors), -1)
        for number, rows in enumerate(topics):
            label[subset[rows]] = number
        labels.append(label)
        pair_sets.append(subset[pair(vectors[subset], topics, best_first, PAPER_THRESHOLD)])
    couples = list(combinations(range(3), 2))
    overlaps = [
        _overlap(pair_sets[i], pair_sets[j], (labels[i] >= 0) & (labels[j] >= 0))
        for i, j in couples
    ]
    return _mean(_agreement(labels[i], labels[j]) for i, j in couples), _mean(overlaps)


def _agreement(first: Rows, second: Rows) -> float:
    common = (first >= 0) & (second >= 0)
    return float(adjusted_rand_score(first[common], second[common]))


def _overlap(first: Pairs, second: Pairs, common: NDArray[np.bool_]) -> float:
    sets = [set(map(tuple, pairs[common[pairs].all(axis=1)])) for pairs in (first, second)]
    return len(sets[0] & sets[1]) / len(sets[0] | sets[1])


def _time(step: Callable[[], Result]) -> tuple[float, Result]:
    fastest = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = step()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest, result


def _summary(name: str, values: list[float]) -> dict[str, Any]:
    return {
        "selection": name,
        "coverage": _mean(values),
        "least": round(min(values), 4),
        "most": round(max(values), 4),
    }


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)


def _parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    return parser.parse_args()


def _read_texts(path: Path) -> list[str]:
    with path.open("rb") as file:
        rows = [orjson.loads(line) for line in file]
    return [f"{row['instruction']} {row['input']}".strip() for row in rows]


def _print_table(title: str, table: Table) -> None:
    widths = [max(len(str(row[key])) for row in [*table, {key: key}]) for key in table[0]]
    print(f"\n{title}")
    for cells in [list(table[0]), *([*row.values()] for row in table)]:
        line = [str(cell).ljust(width) for cell, width in zip(cells, widths, strict=True)]
        print("  " + "  ".join(line).rstrip())


def _write_result(arguments: argparse.Namespace, n_rows: int, result: dict[str, Table]) -> None:
    out = shlex.quote(f"bench/results/{arguments.json.name}")
    threads = os.environ.get("OPENBLAS_NUM_THREADS")
    setting = f"OPENBLAS_NUM_THREADS={threads} " if threads else ""
    libraries = ("numpy", "scipy", "scikit-learn", "wordllama", "mergeit-async")
    document = {
        "command": f"{setting}python bench/filtering.py --data DIR "
        f"--seeds {arguments.seeds} --json {out}",
        "versions": {"python": platform.python_version()} | {n: version(n) for n in libraries},
        "cores": os.cpu_count(),
        "rows": n_rows,
        "result": result,
    }
    arguments.json.write_bytes(dump(document))


if __name__ == "__main__":
    main()
