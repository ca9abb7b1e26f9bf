"""What a run will take before anything is sent: calls, tokens, money, time."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from math import inf
from typing import Literal, Protocol

from mergeit_async.config import Settings
from mergeit_async.engine.prices import Prices, PriceSheet, sheets_of
from mergeit_async.engine.referee import SAMPLES, SPARE
from mergeit_async.errors import UsageError
from mergeit_async.records import ChatRequest, Example, Group, Row

# What servers are seen to deliver for one stream, in tokens a second, and how long they take to
# begin; the time range spans these. Measured rates replace them as soon as a run has begun.
FAST = (100.0, 0.3)
SLOW = (25.0, 3.0)
# About what a repair adds to the prompt beside the attempt.
REPAIR_TOKENS = 300


@dataclass(frozen=True, slots=True)
class Range:
    """From everything accepted at once, replies as long as their sources, to every attempt used."""

    low: float
    high: float

    def __add__(self, other: Range) -> Range:
        return Range(self.low + other.low, self.high + other.high)


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


class Asking(Protocol):
    """Builds the requests whose effort is counted; see `requests.Requests`."""

    @property
    def can_repair(self) -> bool: ...

    @property
    def has_notes(self) -> bool: ...

    def merge(self, group: Group, sample: int) -> ChatRequest: ...

    def score(self, row: Row | Example, sample: int) -> ChatRequest: ...


@dataclass(slots=True)
class Effort:
    """Calls of one model, with their tokens; the likely ones decide how long it takes."""

    calls: Range = Range(0, 0)
    prompt_tokens: Range = Range(0, 0)
    completion_tokens: Range = Range(0, 0)
    likely_tokens: Range = Range(0, 0)

    def add(self, calls: Range, prompt: Range, completion: Range, likely: Range) -> None:
        """Some more calls."""
        self.calls += calls
        self.prompt_tokens += prompt
        self.completion_tokens += completion
        self.likely_tokens += likely


def estimate_run(
    groups: Iterable[Group], requests: Asking, settings: Settings, prices: Prices
) -> Estimate:
    """The effort of merging `groups`: one request a group at least, `max_attempts` at most.

    A judge scores each row once at least; at most, it is asked for samples, for each attempt.
    """
    merging, judging, too_large = Effort(), Effort(), 0
    most_tokens = max(server.tpm or inf for server in settings.servers)
    for group in groups:
        request = requests.merge(group, 0)
        if request.estimated_prompt_tokens + request.max_tokens > most_tokens:
            too_large += 1
            continue
        add_merge(merging, group, request, settings.max_attempts, requests)
        if settings.judge:
            scores = [requests.score(row, 0) for row in group.rows]
            add_scores(judging, scores, settings.max_attempts)
    total = Effort()
    for effort in (merging, judging):
        total.add(
            effort.calls, effort.prompt_tokens, effort.completion_tokens, effort.likely_tokens
        )
    costs = [price_range(merging, sheets_of(prices, settings.model))]
    if settings.judge:
        costs.append(price_range(judging, sheets_of(prices, settings.judge)))
    return Estimate(
        total.calls,
        total.prompt_tokens,
        total.completion_tokens,
        sum_known(costs),
        Range(*(least_seconds(end, total, settings) for end in ("low", "high"))),
        too_large,
    )


def add_merge(
    effort: Effort, group: Group, request: ChatRequest, attempts: int, asking: Asking
) -> None:
    """The calls that merge one group."""
    prompt, longest = request.estimated_prompt_tokens, request.max_tokens
    # A repair shows the attempt again, and says what is wrong with it.
    again = prompt + longest + REPAIR_TOKENS if asking.can_repair else prompt
    # Notes say all of it once more.
    likely = min(longest, expected_tokens(group) * (2 if asking.has_notes else 1))
    effort.add(
        Range(1, attempts),
        Range(prompt, prompt + (attempts - 1) * again),
        Range(likely, longest * attempts),
        Range(likely, likely * attempts),
    )


def add_scores(effort: Effort, scores: Sequence[ChatRequest], attempts: int) -> None:
    """The calls that score one group: its sources, and merges as long as all of them."""
    n_rows, most = len(scores), SAMPLES + SPARE
    prompt = sum(request.estimated_prompt_tokens for request in scores)
    longest = scores[0].max_tokens
    calls = Range(n_rows + 1, most * (n_rows + attempts))
    replies = Range(calls.low * longest / 2, calls.high * longest)
    effort.add(calls, Range(2 * prompt, most * prompt * (1 + attempts)), replies, replies)


def expected_tokens(group: Group) -> int:
    """A merge keeps all of its sources: about as many tokens as they have, four bytes each."""
    return sum(len((row.text + row.output).encode()) // 4 + 1 for row in group.rows)


def price_range(effort: Effort, prices: Collection[PriceSheet]) -> Range | None:
    """What it costs, from the cheapest server to the dearest; None without prices."""
    if not prices:
        return None
    prompt, completion = effort.prompt_tokens, effort.completion_tokens
    return Range(
        min(price.of_tokens(prompt.low, completion.low) for price in prices),
        max(price.of_tokens(prompt.high, completion.high) for price in prices),
    )


def sum_known(costs: Iterable[Range | None]) -> Range | None:
    """What several models cost together; None where one of them has no price."""
    total = Range(0.0, 0.0)
    for cost in costs:
        if cost is None:
            return None
        total += cost
    return total


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


def least_seconds(end: Literal["low", "high"], effort: Effort, settings: Settings) -> float:
    """The longest of what each limit asks for, and of one call alone, at that end of the range."""
    calls: float = getattr(effort.calls, end)
    if not calls:
        return 0.0
    prompt_tokens: float = getattr(effort.prompt_tokens, end)
    completion_tokens: float = getattr(effort.likely_tokens, end)
    tokens_per_s, first_token_s = FAST if end == "low" else SLOW
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
