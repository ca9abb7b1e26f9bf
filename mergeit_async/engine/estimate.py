"""What a run will take before anything is sent: calls, tokens, money, time."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from math import inf

from mergeit_async.config import Settings
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.errors import UsageError
from mergeit_async.records import ChatRequest, Group

# What servers are seen to deliver for one stream, in tokens a second, and how long they take to
# begin; the time range spans these. Measured rates replace them as soon as a run has begun.
FAST = (100.0, 0.3)
SLOW = (25.0, 3.0)


@dataclass(frozen=True, slots=True)
class Range:
    """From everything accepted at once, replies as long as their sources, to every attempt used."""

    low: float
    high: float


@dataclass(frozen=True, slots=True)
class Estimate:
    """The expected effort of a plan. `cost_usd` is None where no price is known.

    `too_large` counts groups whose request no limit of tokens a minute ever lets through; they are
    not part of the rest.
    """

    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    cost_usd: Range | None
    seconds: Range
    too_large: int = 0


def estimate_run(
    groups: Iterable[Group],
    build: Callable[[Group, int], ChatRequest],
    settings: Settings,
    prices: Collection[PriceSheet] = (),
) -> Estimate:
    """The effort of merging `groups`, one request a group at least, `max_attempts` at most."""
    n_groups = prompt = expected = longest = too_large = 0
    most_tokens = max(server.tpm or inf for server in settings.servers)
    for group in groups:
        request = build(group, 0)
        if request.estimated_prompt_tokens + request.max_tokens > most_tokens:
            too_large += 1
            continue
        n_groups += 1
        prompt += request.estimated_prompt_tokens
        longest += request.max_tokens
        expected += min(request.max_tokens, expected_tokens(group))
    attempts = settings.max_attempts
    calls = Range(n_groups, n_groups * attempts)
    prompt_tokens = Range(prompt, prompt * attempts)
    completion_tokens = Range(expected, longest * attempts)
    return Estimate(
        calls,
        prompt_tokens,
        completion_tokens,
        price_range(prompt_tokens, completion_tokens, prices),
        Range(
            least_seconds(calls.low, prompt, expected, settings, FAST),
            least_seconds(calls.high, prompt * attempts, expected * attempts, settings, SLOW),
        ),
        too_large,
    )


def expected_tokens(group: Group) -> int:
    """A merge keeps all of its sources: about as many tokens as they have, four bytes each."""
    return sum(len((row.text + row.output).encode()) // 4 + 1 for row in group.rows)


def price_range(prompt: Range, completion: Range, prices: Collection[PriceSheet]) -> Range | None:
    """What the tokens cost, from the cheapest server to the dearest; None without prices."""
    if not prices:
        return None
    return Range(
        min(price.of_tokens(prompt.low, completion.low) for price in prices),
        max(price.of_tokens(prompt.high, completion.high) for price in prices),
    )


def check_room(settings: Settings, smallest: ChatRequest, prices: Collection[PriceSheet]) -> None:
    """Raise `UsageError` where the cap or the tokens a minute leave no room for a single call."""
    cap, least = settings.max_cost, max((price.ceiling(smallest) for price in prices), default=0.0)
    if cap is not None and least > cap:
        raise UsageError(
            f"--max-cost {cap:g} is less than one call may cost (${least:.6f}); raise it."
        )
    tokens = smallest.estimated_prompt_tokens + smallest.max_tokens
    most = max(server.tpm or inf for server in settings.servers)
    if tokens > most:
        raise UsageError(
            f"--tpm {most:g} is less than the smallest request may use ({tokens:,} tokens); raise "
            "it, or lower --max-output-tokens."
        )


def least_seconds(
    calls: float,
    prompt_tokens: float,
    completion_tokens: float,
    settings: Settings,
    pace: tuple[float, float],
) -> float:
    """The longest of what each limit asks for, and of one call alone."""
    if not calls:
        return 0.0
    tokens_per_s, first_token_s = pace
    latency_s = first_token_s + completion_tokens / calls / tokens_per_s
    servers = settings.servers
    in_flight = sum(server.max_in_flight or 1 for server in servers)
    rpm = total_rate(server.rpm for server in servers)
    tpm = total_rate(server.tpm for server in servers)
    by_rpm = calls / rpm * 60 if rpm else 0.0
    by_tpm = (prompt_tokens + completion_tokens) / tpm * 60 if tpm else 0.0
    return max(latency_s, calls * latency_s / in_flight, by_rpm, by_tpm)


def total_rate(rates: Iterable[int | None]) -> int | None:
    """What several servers give together; None where one of them is not limited."""
    known = list(rates)
    return None if None in known else sum(rate or 0 for rate in known)
