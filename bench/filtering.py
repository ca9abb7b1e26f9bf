"""Stage 1 against its yardsticks (coverage, pairs, stability), its speed, and thresholds.

    python bench/filtering.py --data DIR [--seeds 5] [--draws 2] [--json OUT]

DIR holds alpaca_17k.jsonl and alpaca_17k.minilm.f16.npy. Coverage and pair similarity are always
cosines of the MiniLM vectors, whatever embedder made the plan.
"""

from __future__ import annotations

import argparse
import os
import platform
import shlex
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import numpy as np
import orjson
from report import dump, parser_of
from stage_one import Table, compare_pairings, measure_bars
from yardsticks import Vectors, cosines

from mergeit_async.filtering.embedding import check_vectors
from mergeit_async.filtering.neighbours import find_neighbours
from mergeit_async.filtering.pair import best_first
from mergeit_async.filtering.reduce import reduce_vectors
from mergeit_async.filtering.select import topic_budgets
from mergeit_async.filtering.topic_plan import PlanSettings
from mergeit_async.filtering.topics import assign_topics, default_topic_count, smooth_topics
from mergeit_async.filtering.whole_plan import plan_rows
from mergeit_async.providers.embeddings import load_embedder

Result = TypeVar("Result")

PAPER_THRESHOLD = 0.55
THRESHOLDS = [0.45, 0.50, 0.55, 0.60, 0.65, 0.70, 0.75]
DEFAULT_PER_TOPIC = 75
REPEATS = 3


def main() -> None:
    arguments = _parse_arguments()
    texts = _read_texts(arguments.data / "alpaca_17k.jsonl")
    raw = np.load(arguments.data / "alpaca_17k.minilm.f16.npy")
    minilm = check_vectors(raw, len(texts), "alpaca_17k.minilm.f16.npy")
    wordllama = load_embedder("wordllama").embed(texts)
    title = f"yardsticks, MiniLM cosines, {arguments.seeds} seeds, {arguments.draws} draws"
    result = {
        title: measure_bars(minilm, wordllama, arguments.seeds, arguments.draws),
        "orders of pairing after thinning, seed 0": compare_pairings(minilm, wordllama),
        "stage 1 with wordllama, best of three": measure_speed(texts),
        "threshold for wordllama, all rows, seed 0": sweep_thresholds(wordllama, minilm),
    }
    for title, table in result.items():
        _print_table(title, table)
    if arguments.json:
        _write_result(arguments, len(texts), result)


def measure_speed(texts: Sequence[str]) -> Table:
    """The steps of stage 1 with the default embedder, up to the first group and so to all."""
    embed_s, vectors = _time(lambda: load_embedder("wordllama").embed(texts))
    count = default_topic_count(len(texts))
    near_s, neighbours = _time(lambda: find_neighbours(vectors, 0))
    smooth_s, smoothed = _time(lambda: smooth_topics(vectors, neighbours, count))
    topics_s, labels = _time(lambda: assign_topics(reduce_vectors(smoothed), count, 0))
    budgets = topic_budgets(np.bincount(labels), DEFAULT_PER_TOPIC, None)
    settings = PlanSettings(threshold=0.60)
    plan_s, _ = _time(lambda: plan_rows(vectors, labels, budgets, neighbours, settings))
    plain_s, _ = _time(lambda: assign_topics(reduce_vectors(vectors), count, 0))
    steps = {
        "embed, model loading included": embed_s,
        "neighbours": near_s,
        "smooth": smooth_s,
        "reduce, topics": topics_s,
        f"select {DEFAULT_PER_TOPIC} a topic, pair": plan_s,
        "together, which is also the time to the first group": embed_s
        + near_s
        + smooth_s
        + topics_s
        + plan_s,
        "paper preset: reduce, topics": plain_s,
        "paper preset: time to the first group": embed_s + plain_s,
    }
    return [
        {"step": step, "seconds": round(seconds, 3), "rows/s": round(len(texts) / seconds)}
        for step, seconds in steps.items()
    ]


def sweep_thresholds(wordllama: Vectors, minilm: Vectors) -> Table:
    """Pairs that a wordllama plan of all rows finds, judged by MiniLM; MiniLM's for comparison."""
    table = _sweep("minilm", minilm, minilm, [PAPER_THRESHOLD])
    return table + _sweep("wordllama", wordllama, minilm, THRESHOLDS)


def _sweep(embedder: str, vectors: Vectors, minilm: Vectors, thresholds: list[float]) -> Table:
    neighbours = find_neighbours(vectors, 0)
    table = []
    for threshold in thresholds:
        groups = best_first(vectors, neighbours, threshold, 2)
        judged = cosines(minilm, np.array([group.members for group in groups]))
        table.append(
            {
                "embedder": embedder,
                "threshold": threshold,
                "pairs": len(judged),
                "MiniLM similarity": round(float(judged.mean()), 4),
                "share below 0.55": round(float((judged < 0.55).mean()), 4),
                "share below 0.40": round(float((judged < 0.40).mean()), 4),
            }
        )
    return table


def _time(step: Callable[[], Result]) -> tuple[float, Result]:
    fastest = float("inf")
    for _ in range(REPEATS):
        start = time.perf_counter()
        result = step()
        fastest = min(fastest, time.perf_counter() - start)
    return fastest, result


def _parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--draws", type=int, default=2)
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
        f"--seeds {arguments.seeds} --draws {arguments.draws} --json {out}",
        "versions": {"python": platform.python_version()} | {n: version(n) for n in libraries},
        "cores": os.cpu_count(),
        "rows": n_rows,
        "result": result,
    }
    arguments.json.write_bytes(dump(document))


if __name__ == "__main__":
    main()
