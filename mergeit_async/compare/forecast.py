"""What an A/B run will take before anything is sent."""

from __future__ import annotations

from collections.abc import Sequence
from math import comb

from mergeit_async.compare.arms import requests_of, settings_of
from mergeit_async.compare.preferring import MOST_REPLIES
from mergeit_async.compare.trial_dir import PAIR_PROMPT, Trial
from mergeit_async.config import Settings
from mergeit_async.engine.estimate import (
    Effort,
    Estimate,
    Range,
    estimate_run,
    least_seconds,
    price_range,
    sum_known,
)
from mergeit_async.engine.prices import Prices, sheets_of
from mergeit_async.engine.referee import SAMPLES, SPARE
from mergeit_async.merging.compose import compose
from mergeit_async.merging.pairwise import build_preference_request
from mergeit_async.records import ChatRequest, Group
from mergeit_async.templates.judge import load_pair_judge

NOTHING = Estimate(Range(0, 0), Range(0, 0), Range(0, 0), Range(0, 0), Range(0, 0))


def forecast(trial: Trial, settings: Settings, prices: Prices, groups: Sequence[Group]) -> Estimate:
    """The effort of merging `groups` by all arms, and of judging what comes of it."""
    total = NOTHING
    for arm in trial.arms:
        chosen = settings_of(arm, settings).model_copy(update={"judge": None})
        requests = requests_of(arm, settings)
        total = add(total, estimate_run(groups, requests, chosen, prices))
    if settings.judge is not None:
        total = add(total, estimate_judging(trial, settings, prices, groups))
    return total


def estimate_judging(
    trial: Trial, settings: Settings, prices: Prices, groups: Sequence[Group]
) -> Estimate:
    """Scores of each merge, and both orders of each pair; if every reply can be read, or none."""
    assert settings.judge is not None, "a run without a judge"
    requests = requests_of(trial.arms[0], settings)
    prompt = load_pair_judge(PAIR_PROMPT, settings.prompts)
    n_arms, n_orders = len(trial.arms), 2 * comb(len(trial.arms), 2)
    effort = Effort()
    for group in groups:
        merged = compose(group.rows)  # stands for a merge, which is about as long
        score = requests.score(merged, 0)
        pair = build_preference_request(
            prompt,
            group.rows,
            merged,
            merged,
            endpoint=settings.endpoint,
            model=settings.judge,
        )
        add_calls(effort, score, n_arms, SAMPLES + SPARE)
        add_calls(effort, pair, n_orders, MOST_REPLIES)
    return Estimate(
        effort.calls,
        effort.prompt_tokens,
        effort.completion_tokens,
        price_range(effort, sheets_of(prices, settings.judge)),
        Range(
            least_seconds("low", effort, settings),
            least_seconds("high", effort, settings),
        ),
    )


def add_calls(effort: Effort, request: ChatRequest, least: int, times: int) -> None:
    """`least` calls like `request`, or `times` as many."""
    calls = Range(least, least * times)
    prompt = request.estimated_prompt_tokens
    replies = Range(calls.low, calls.high * request.max_tokens)
    effort.add(calls, Range(calls.low * prompt, calls.high * prompt), replies, replies)


def add(one: Estimate, other: Estimate) -> Estimate:
    """Two efforts, one after the other."""
    return Estimate(
        one.calls + other.calls,
        one.prompt_tokens + other.prompt_tokens,
        one.completion_tokens + other.completion_tokens,
        sum_known([one.cost_usd, other.cost_usd]),
        one.seconds + other.seconds,
        one.too_large + other.too_large,
    )
