"""A/A: two arms of equal content on real groups. How often do the tests of the A/B raise an alarm?

    python bench/ab_null.py --data DIR [--experiments 2000] [--groups 400]

Each experiment takes a fresh subset of 700 real groups and two distinct draws of the same simulated
arm for each of them, and compares the two as an A/B does: exact McNemar, sign test, sign-flip p of
means with BCa intervals, Wilcoxon, and Holm over all metrics. No difference is there to be found.
Beside it, arms that are equal in every group, and arms without any variance, must stay silent.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import astuple
from functools import partial

import numpy as np
from arms import Draws, draw_pool, find_groups, pair_values, pick
from report import parser_of, publish

from mergeit_async.compare.experiment import ArmPair, compare_arms
from mergeit_async.compare.metrics import LEVEL, Effect
from mergeit_async.simulator.settings import SimulatorSettings

N_POOL = 700
N_DRAWS = 12
# About a quarter of the merges is refused, for flaws that the gates see and for bad form.
SETTINGS = SimulatorSettings(flaw_rate=0.2, content_fault_rate=0.1)
EXACT = ("passed", "preference")
BARS = {"exact": (0.0, 0.05), "other": (0.03, 0.07), "family": (0.0, 0.06)}
CHUNKS = 40


def run_chunk(
    pool: Draws, n_groups: int, seeds: range, *, is_tied: bool = False
) -> tuple[Counter[str], Counter[str]]:
    """Alarms by metric and kind over the experiments of these seeds, and what went wrong."""
    alarms: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    for seed in seeds:
        effects = run_experiment(pool, n_groups, seed, is_tied=is_tied)
        for effect in effects:
            alarms.update(alarms_of(effect))
            broken["NaN"] += any(
                isinstance(value, float) and not math.isfinite(value) for value in astuple(effect)
            )
        alarms["family, after Holm"] += any(effect.is_established for effect in effects)
        alarms["family, uncorrected"] += any(effect.p <= LEVEL for effect in effects)
    return alarms, broken


def run_experiment(pool: Draws, n_groups: int, seed: int, *, is_tied: bool) -> tuple[Effect, ...]:
    generator = np.random.default_rng(seed)
    at = generator.choice(N_POOL, n_groups, replace=False)
    draws = generator.permuted(np.tile(np.arange(N_DRAWS), (n_groups, 1)), axis=1)
    a, b = pick(pool, at, draws[:, 0]), pick(pool, at, draws[:, 0 if is_tied else 1])
    (found,) = compare_arms([ArmPair("A", "B", n_groups, pair_values(a, b))], seed)
    return found.effects


def alarms_of(effect: Effect) -> list[str]:
    """The tests and intervals of one effect that say there is a difference."""
    told = {
        "p": effect.p <= LEVEL,
        "wilcoxon": effect.p_wilcoxon is not None and effect.p_wilcoxon <= LEVEL,
        "interval": effect.low is not None
        and effect.high is not None
        and not effect.low <= 0 <= effect.high,
    }
    return [f"{effect.metric}, {kind}" for kind, is_told in told.items() if is_told]


def run_all(
    pool: Draws, n_groups: int, n_experiments: int, workers: int
) -> tuple[Counter[str], Counter[str]]:
    step = -(-n_experiments // CHUNKS)
    chunks = [
        range(first, min(first + step, n_experiments)) for first in range(0, n_experiments, step)
    ]
    alarms: Counter[str] = Counter()
    broken: Counter[str] = Counter()
    with ProcessPoolExecutor(workers) as executor:
        for found, wrong in executor.map(partial(run_chunk, pool, n_groups), chunks):
            alarms.update(found)
            broken.update(wrong)
    return alarms, broken


def without_variance(pool: Draws) -> Draws:
    """The pool with its first value everywhere."""
    return {
        name: np.full_like(values, values[np.isfinite(values)][0]) for name, values in pool.items()
    }


def judge_shares(shares: Mapping[str, float]) -> dict[str, bool]:
    """Whether each bar is kept."""

    def within(names: list[str], bar: str) -> bool:
        low, high = BARS[bar]
        return all(low <= shares[name] <= high for name in names)

    corrected = "family, after Holm"
    exact = [name for name in shares if name.startswith(EXACT)]
    other = [name for name in shares if not name.startswith((*EXACT, "family"))]
    return {
        "exact tests alarm in at most 5 %": within(exact, "exact"),
        "the others in 3 to 7 %": within(other, "other"),
        "family-wise at most 6 % after Holm": within([corrected], "family"),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--groups", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    pool = draw_pool(find_groups(options.data, N_POOL), SETTINGS, N_DRAWS)
    alarms, broken = run_all(pool, options.groups, options.experiments, options.workers)
    tied, tied_broken = run_chunk(pool, options.groups, range(20), is_tied=True)
    still, still_broken = run_chunk(without_variance(pool), options.groups, range(20))
    shares = {name: round(alarms[name] / options.experiments, 4) for name in sorted(alarms)}
    publish(
        {
            "command": "python bench/ab_null.py --data DIR --json bench/results/ab_null.json",
            "experiments": options.experiments,
            "groups each": options.groups,
            "groups in all": N_POOL,
            "draws of each": N_DRAWS,
            "passed the gate": round(float(pool["passed"].mean()), 4),
            "alarms": shares,
            "standard error of a share of 0.05": round(
                math.sqrt(0.05 * 0.95 / options.experiments), 4
            ),
            "values that are no number": broken["NaN"],
            "20 with all ties": {"alarms": tied.total(), "no number": tied_broken["NaN"]},
            "20 without variance": {"alarms": still.total(), "no number": still_broken["NaN"]},
            "bars kept": judge_shares(shares),
        },
        options.json,
    )


if __name__ == "__main__":
    main()
