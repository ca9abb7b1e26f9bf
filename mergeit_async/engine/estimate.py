"""What a run will take before anything is sent: calls, tokens, money, time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from mergeit_async.config import Settings
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
    """The expected effort of a plan. `cost_usd` is None where no price is known."""

    calls: Range
    prompt_tokens: Range
    completion_tokens: Range
    cost_usd: Range | None
    seconds: Range


def estimate_run(
    groups: Iterable[Group], build: Callable[[Group, int], ChatRequest], settings: Settings
) -> Estimate:
    """The effort of merging `groups`, one request a group at least, `max_attempts` at most."""
    n_groups = prompt = expected = longest = 0
    for group in groups:
        request = build(group, 0)
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
        price_range(prompt_tokens, completion_tokens, settings),
        Range(
            least_seconds(calls.low, prompt, expected, settings, FAST),
            least_seconds(calls.high, prompt * attempts, expected * attempts, settings, SLOW),
        ),
    )


def expected_tokens(group: Group) -> int:
    """A merge keeps all of its sources: about as many tokens as they have, four bytes each."""
    return sum(len((row.text + row.output).encode()) // 4 + 1 for row in group.rows)


def price_range(prompt: Range, completion: Range, settings: Settings) -> Range | None:
    """What the tokens cost at the list price of the server at `base_url`; None if unknown.

    The price is looked up by the server's address: a model of your own that is named like a
    vendor's has no price.
    """
    # Here, not above: only `plan` needs prices, and they take long to import.
    from genai_prices import Usage, calc_price

    try:
        low, high = (
            calc_price(
                Usage(input_tokens=int(prompt_tokens), output_tokens=int(completion_tokens)),
                settings.model,
                provider_api_url=settings.base_url,
            ).total_price
            for prompt_tokens, completion_tokens in (
                (prompt.low, completion.low),
                (prompt.high, completion.high),
            )
        )
    except LookupError:
        return None
    return Range(float(low), float(high))


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
    by_rpm = calls / settings.rpm * 60 if settings.rpm else 0.0
    by_tpm = (prompt_tokens + completion_tokens) / settings.tpm * 60 if settings.tpm else 0.0
    return max(latency_s, calls * latency_s / settings.max_in_flight, by_rpm, by_tpm)
