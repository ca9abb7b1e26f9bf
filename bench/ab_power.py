"""Planted differences: are they found as often as was stated before?

    python bench/ab_power.py --data DIR [--experiments 2000] [--groups 400]

Arm A is a simulator that says a share of its merges with a flaw, arm B one with fewer flaws; the
gates see most of them. B's rate of flaws is set so that the arms differ by what is planted, in the
rate of passing or in the mean information (in standard deviations of the paired differences). What
compare/power.py states is compared with the share of experiments in which the test finds it. Each
experiment draws real groups anew, with replacement, and a draw of either arm for each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from arms import Draws, draw_pool, find_groups, pick
from numpy.typing import NDArray
from report import parser_of, publish
from scipy.optimize import brentq
from scipy.stats import binomtest

from mergeit_async.compare.discordant import paired_difference
from mergeit_async.compare.effects import measure_effect
from mergeit_async.compare.metrics import INFORMATION, LEVEL, PASSED, POWER, Paired
from mergeit_async.compare.power import (
    mcnemar_power,
    mean_power,
    smallest_mean_difference,
    smallest_pass_difference,
)
from mergeit_async.simulator.settings import SimulatorSettings

N_POOL = 700
N_DRAWS = 12
# Both arms say a tenth in bad form; A adds flaws to a third, and B to as many less.
FLAWED = SimulatorSettings(flaw_rate=1 / 3, content_fault_rate=0.1)
FLAWLESS = SimulatorSettings(flaw_rate=0.0, content_fault_rate=0.1)
# The hardest level that Holm asks for with seven metrics.
CORRECTED = LEVEL / 7
PASS_DIFFERENCES = (0.04, 0.06, 0.08, 0.12)
SHIFTS = (0.1, 0.15, 0.2)
WITHIN = 0.05
CHUNKS = 20
COVERED = ((0.0, 0.2), (0.05, 0.2), (0.05, 0.06), (0.03, 0.03), (0.15, 0.3))


@dataclass(frozen=True, slots=True)
class Pools:
    """Draws of arm A, of an arm as flawed as A, and of one without flaws: B is a mix of these."""

    a: Draws
    flawed: Draws
    flawless: Draws

    def mix(self, name: str, share: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """The means per group, (n_groups,), of both arms where B lacks this share of the flaws."""
        b = share * self.flawless[name].mean(1) + (1 - share) * self.flawed[name].mean(1)
        return self.a[name].mean(1), b


@dataclass(frozen=True, slots=True)
class Case:
    """A planted difference: B lacks `share` of the flaws; `stated` is the power for it."""

    metric: str
    planted: float
    level: float
    share: float
    stated: float
    note: str = ""


def draw_pools(data: Any) -> Pools:
    groups = find_groups(data, N_POOL)
    both = draw_pool(groups, FLAWED, 2 * N_DRAWS)
    return Pools(
        {name: values[:, :N_DRAWS] for name, values in both.items()},
        {name: values[:, N_DRAWS:] for name, values in both.items()},
        draw_pool(groups, FLAWLESS, N_DRAWS, first=2 * N_DRAWS),
    )


def sample(
    pools: Pools, share: float, n: int, generator: np.random.Generator
) -> tuple[dict[str, NDArray[np.float64]], dict[str, NDArray[np.float64]]]:
    """The values of both arms on `n` groups."""
    at = generator.integers(0, N_POOL, n)
    draws = generator.integers(0, N_DRAWS, (3, n))
    is_flawless = generator.random(n) < share
    flawed, flawless = pick(pools.flawed, at, draws[1]), pick(pools.flawless, at, draws[2])
    b = {name: np.where(is_flawless, flawless[name], flawed[name]) for name in flawed}
    return dict(pick(pools.a, at, draws[0])), b


def pass_truth(pools: Pools, share: float) -> tuple[float, float]:
    """The true difference of pass rates, and the true share of discordant groups."""
    a, b = pools.mix("passed", share)
    return float((b - a).mean()), float((a * (1 - b) + b * (1 - a)).mean())


def shift_truth(pools: Pools, share: float) -> tuple[float, float]:
    """The true mean difference of information in standard deviations, and the share with values."""
    a, b = sample(pools, share, 1_000_000, np.random.default_rng(0))
    found = b["information"] - a["information"]
    known = found[np.isfinite(found)]
    return float(known.mean() / known.std()), len(known) / len(found)


def plan_passes(pools: Pools, n: int) -> Iterator[Case]:
    """Differences of pass rates, and the smallest ones that are stated before sending."""
    zero, whole = (pass_truth(pools, share)[0] for share in (0.0, 1.0))

    def case(planted: float, level: float, note: str = "") -> Case:
        share = min(1.0, max(0.0, (planted - zero) / (whole - zero)))
        difference, discordant = pass_truth(pools, share)
        stated = mcnemar_power(n, difference, discordant, level)
        return Case("passed", difference, level, share, stated, note)

    for planted in PASS_DIFFERENCES:
        yield case(planted, LEVEL)
    a, _ = pools.mix("passed", 0.0)
    for level in (LEVEL, CORRECTED):
        found = smallest_pass_difference(n, level, pass_rate=float(a.mean()) + 0.04)
        assert found is not None
        smallest = case(found, level)
        yield Case(
            "passed",
            smallest.planted,
            level,
            smallest.share,
            POWER,
            "the smallest that is stated before sending, without knowing how far arms agree",
        )
        yield case(found, level, "the same, knowing how far arms agree")


def plan_means(pools: Pools, n: int) -> Iterator[Case]:
    """Shifts of the mean information, and the smallest that is stated for the corrected level."""

    def case(planted: float, level: float, note: str = "") -> Case:
        share = float(brentq(lambda x: shift_truth(pools, x)[0] - planted, 0, 1, xtol=1e-3))
        shift, known = shift_truth(pools, share)
        return Case(
            "information", shift, level, share, mean_power(round(n * known), shift, level), note
        )

    for planted in SHIFTS:
        yield case(planted, LEVEL)
    found = smallest_mean_difference(n, CORRECTED)
    assert found is not None
    yield case(found, CORRECTED, "the smallest that is stated before sending, if no value lacks")


def try_case(pools: Pools, n: int, case: Case, seeds: range) -> NDArray[np.int64]:
    """How often the difference is found, the interval holds the truth, and Wilcoxon finds it."""
    metric = PASSED if case.metric == "passed" else INFORMATION
    truth = mean_truth(pools, case)
    found = np.zeros(3, np.int64)
    for seed in seeds:
        a, b = sample(pools, case.share, n, np.random.default_rng(seed))
        effect = measure_effect(Paired(metric, a[metric.name], b[metric.name]), seed)
        assert effect.low is not None and effect.high is not None
        found += [
            effect.p <= case.level,
            effect.low <= truth <= effect.high,
            effect.p_wilcoxon is not None and effect.p_wilcoxon <= case.level,
        ]
    return found


def mean_truth(pools: Pools, case: Case) -> float:
    """The true difference in the metric's own unit."""
    if case.metric == "passed":
        return case.planted
    a, b = sample(pools, case.share, 1_000_000, np.random.default_rng(0))
    return float(np.nanmean(b["information"] - a["information"]))


def measure(pools: Pools, n: int, cases: Sequence[Case], n_experiments: int, workers: int) -> Any:
    step = -(-n_experiments // CHUNKS)
    chunks = [
        range(first, min(first + step, n_experiments)) for first in range(0, n_experiments, step)
    ]
    table = []
    with ProcessPoolExecutor(workers) as executor:
        for case in cases:
            counts = sum(executor.map(partial(try_case, pools, n, case), chunks))
            found, held, wilcoxon = (counts / n_experiments).tolist()
            row = {
                "planted": round(case.planted, 4),
                "level": round(case.level, 5),
                "power stated": round(case.stated, 4),
                "found": round(found, 4),
                "stated within 5 points": abs(found - case.stated) <= WITHIN,
                "intervals that hold the truth": round(held, 4),
            }
            if case.metric != "passed":
                row["found by Wilcoxon"] = round(wilcoxon, 4)
            table.append(row | ({"note": case.note} if case.note else {}))
    return table


def measure_coverage(n: int, n_experiments: int) -> Any:
    """How often intervals of a difference of pass rates hold it, with and without MOVER."""
    table = []
    for difference, discordant in COVERED:
        generator = np.random.default_rng(0)
        sides = [(discordant + difference) / 2, (discordant - difference) / 2]
        counts = generator.multinomial(n, [*sides, 1 - discordant], n_experiments)
        scaled = ours = 0
        for only_b, only_a, _ in counts.tolist():
            both = only_a + only_b
            if not both:
                continue
            share = binomtest(only_b, both).proportion_ci(method="exact")
            low, high = ((2 * end - 1) * both / n for end in share)
            scaled += low <= difference <= high
            found = paired_difference(only_a, only_b, n)
            ours += found.low <= difference <= found.high
        table.append(
            {
                "difference": difference,
                "discordant": discordant,
                "scaled alone": round(scaled / n_experiments, 4),
                "as we have it": round(ours / n_experiments, 4),
            }
        )
    return table


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--groups", type=int, default=400)
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    n, tries = options.groups, options.experiments
    pools = draw_pools(options.data)
    a, _ = pools.mix("passed", 0.0)
    within = 1 - (a * (1 - a)).mean() / (a.mean() * (1 - a.mean()))
    passes = measure(pools, n, list(plan_passes(pools, n)), tries, options.workers)
    means = measure(pools, n, list(plan_means(pools, n)), tries, options.workers)
    publish(
        {
            "command": "python bench/ab_power.py --data DIR --json bench/results/ab_power.json",
            "experiments each": tries,
            "groups each": n,
            "A passes": round(float(a.mean()), 4),
            "two draws of A agree, as a correlation": round(float(within), 4),
            "difference of pass rates": passes,
            "mean information, in standard deviations": means,
            "interval of pass rates, share that holds the truth": measure_coverage(n, tries),
        },
        options.json,
    )


if __name__ == "__main__":
    main()
