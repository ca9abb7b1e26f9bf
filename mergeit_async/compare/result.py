"""The result of an A/B run as `ab.json`, and its times as `ab_times.json`.

Both are pure functions of the plan, the journal and the judge's answers; docs/AB.md says what each
key means.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import isfinite
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from mergeit_async.compare.arms import Arm
from mergeit_async.compare.experiment import Comparison, compare_arms, count_tests
from mergeit_async.compare.judging import Verdicts
from mergeit_async.compare.measures import (
    MEASURES,
    ArmOutcomes,
    pair_latencies,
    pair_values,
    read_arms,
    read_latencies,
    tokens_of,
)
from mergeit_async.compare.metrics import STANDARD, Metric, Values
from mergeit_async.compare.power import Foresight, foresee
from mergeit_async.compare.trial_dir import Trial, TrialDir
from mergeit_async.compare.verdict import judge_all, judge_pair
from mergeit_async.config import Settings
from mergeit_async.data.atomic import write_atomically
from mergeit_async.engine.plan_folder import PlannedGroup
from mergeit_async.engine.prices import Prices, sheets_of
from mergeit_async.engine.run_dir import Record
from mergeit_async.records import Status

FORMAT = "ab/1"
DIGITS = 6
BY_JUDGE = ("preference", "judge_score")
BY_MONEY = "cost_per_merge"
QUANTILES = (0.5, 0.9, 0.99)


@dataclass(frozen=True, slots=True)
class Result:
    """What was found: `values` as `ab.json` holds it, and what they come from."""

    values: dict[str, Any]
    comparisons: tuple[Comparison, ...]
    sample: Sequence[PlannedGroup]


def write_result(
    place: TrialDir,
    trial: Trial,
    record: Record,
    sample: Sequence[PlannedGroup],
    verdicts: Verdicts | None,
) -> Result:
    """Compare all arms and write what was found."""
    names = [arm.name for arm in trial.arms]
    prices = [next(iter(sheets_of(record.prices, arm.model)), None) for arm in trial.arms]
    arms = read_arms(place.run.journal, names, sample, prices)
    comparisons = compare_arms(pair_values(arms, verdicts), record.settings.seed)
    result: dict[str, Any] = rounded(
        {
            "format": FORMAT,
            "fingerprint": record.identity.fingerprint,
            "dataset": record.identity.dataset,
            "seed": record.settings.seed,
            "n_groups": len(sample),
            "groups_wanted": trial.n_groups,
            "judge": record.settings.judge,
            "judging": trial.judging,
            "foresight": asdict(foresee_trial(trial, record.settings, record.prices, len(sample))),
            "arms": [
                describe_arm(arm, found, verdicts.scores(at) if verdicts else None)
                for at, (arm, found) in enumerate(zip(trial.arms, arms, strict=True))
            ],
            "comparisons": [describe_comparison(each) for each in comparisons],
            "verdict": asdict(judge_all(comparisons)),
            "groups": [
                describe_group(at, group, arms, verdicts) for at, group in enumerate(sample)
            ],
        }
    )
    write_json(place.result, result)
    write_times(place, names, sample, record.settings.seed)
    return Result(result, comparisons, sample)


def write_times(
    place: TrialDir, names: Sequence[str], sample: Sequence[PlannedGroup], seed: int
) -> None:
    """Latencies of all arms, and how they differ."""
    latencies = read_latencies(place.run.journal, len(names), sample)
    arms = [
        {"name": name, "calls_seconds": quantiles(seconds)}
        for name, seconds in zip(names, latencies, strict=True)
    ]
    comparisons = compare_arms(pair_latencies(names, latencies), seed)
    effects = [describe_comparison(each)["effects"][0] for each in comparisons]
    pairs = [
        {"a": each.a, "b": each.b, "effect": effect}
        for each, effect in zip(comparisons, effects, strict=True)
    ]
    write_json(place.times, rounded({"format": FORMAT, "arms": arms, "comparisons": pairs}))


def foresee_trial(trial: Trial, settings: Settings, prices: Prices, n_groups: int) -> Foresight:
    """What a sample of this size can show, corrected for all that will be tested."""
    return foresee(n_groups, count_tests(len(trial.arms), measured(trial, settings, prices)))


def measured(trial: Trial, settings: Settings, prices: Prices) -> list[Metric]:
    """What an A/B run with these settings measures of its arms."""
    has_prices = all(sheets_of(prices, arm.model) for arm in trial.arms)
    return [
        metric
        for metric in STANDARD
        if (metric.name not in BY_JUDGE or settings.judge)
        and (metric.name != BY_MONEY or has_prices)
    ]


def describe_arm(arm: Arm, found: ArmOutcomes, scores: Values | None) -> dict[str, Any]:
    """One arm and what came of it."""
    passed, costs = found.passed(), found.costs()
    n_merged = int(np.nansum(passed))
    means = {metric.name: mean(found.values(measure)) for metric, measure in MEASURES}
    told = [tokens for outcome in found.outcomes if (tokens := tokens_of(outcome))]
    return {
        **asdict(arm),
        "groups": len(found.outcomes),
        "merged": n_merged,
        "merged_at_once": sum(
            each.status is Status.MERGED and each.attempts == 1 for each in found.outcomes
        ),
        "without_reply": int(np.isnan(passed).sum()),
        "pass_rate": mean(passed),
        "reasons": found.reasons(),
        **means,
        "judge_score": None if scores is None else mean(scores),
        "prompt_tokens": sum(tokens.prompt for tokens in told),
        "completion_tokens": sum(tokens.completion for tokens in told),
        "cached_tokens": sum(tokens.cached for tokens in told),
        "price": found.price and asdict(found.price),
        "cost_usd": float(np.nansum(costs)) if np.isfinite(costs).any() else None,
        "cost_per_merge_usd": (
            float(np.nansum(costs)) / n_merged if n_merged and np.isfinite(costs).any() else None
        ),
    }


def describe_comparison(comparison: Comparison) -> dict[str, Any]:
    """Two arms and all effects between them, each with its metric."""
    effects = [
        {
            **asdict(effect),
            "label": metric.label,
            "unit": metric.unit,
            "kind": metric.kind,
            "direction": metric.direction,
            "is_established": effect.is_established,
        }
        for effect, metric in zip(comparison.effects, comparison.metrics, strict=True)
    ]
    return {
        "a": comparison.a,
        "b": comparison.b,
        "n_groups": comparison.n_groups,
        "detectable": comparison.detectable,
        "effects": effects,
        "preferences": comparison.preferences and asdict(comparison.preferences),
        "verdict": asdict(judge_pair(comparison)),
    }


def describe_group(
    at: int, group: PlannedGroup, arms: Sequence[ArmOutcomes], verdicts: Verdicts | None
) -> dict[str, Any]:
    """One sampled group and what each arm made of it."""
    return {
        "position": group.position,
        "topic": group.topic,
        "id": arms[0].outcomes[at].group_id,
        "arms": {
            arm.name: {
                "status": str(arm.outcomes[at].status),
                "reason": arm.outcomes[at].reason,
                "attempts": arm.outcomes[at].attempts,
                "information": (arm.outcomes[at].scores or {}).get("information"),
                "judge_score": float(verdicts.scores(number)[at]) if verdicts else None,
            }
            for number, arm in enumerate(arms)
        },
    }


def mean(values: Values) -> float | None:
    """The mean of those groups that have a value; None where none has."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def quantiles(seconds: Values) -> dict[str, float] | None:
    """Median and tail; None where nothing was called."""
    known = seconds[np.isfinite(seconds)]
    if not len(known):
        return None
    return {f"p{share * 100:g}": float(np.quantile(known, share)) for share in QUANTILES}


def rounded(value: Any) -> Any:
    """`value` with floats to six significant digits, and null for what is no number."""
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}") if isfinite(value) else None
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(each) for each in value]
    return value


def write_json(path: Path, value: Any) -> None:
    """Write `value`, atomically."""
    with write_atomically(path) as file:
        file.write(orjson.dumps(value, option=orjson.OPT_INDENT_2) + b"\n")
