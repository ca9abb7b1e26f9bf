"""Chat requests on the simulated server, from arrival to answer.

Each is counted, checked for its key, parsed, charged to the limits, delayed, met by a fault if
one is due, and else answered.
"""

from __future__ import annotations

import hmac
import time
from dataclasses import dataclass
from functools import partial

from mergeit_async.simulator.abilities import refuse_unable
from mergeit_async.simulator.answers import INVALID, Answer, error_answer, retry_after
from mergeit_async.simulator.buckets import Limits, Rejection
from mergeit_async.simulator.calls import BodyReader, ChatCall
from mergeit_async.simulator.chance import Dice, stretch
from mergeit_async.simulator.completions import ChatAnswer
from mergeit_async.simulator.exchange import Exchange
from mergeit_async.simulator.faults import FAULTS, Case, FaultPlan
from mergeit_async.simulator.prompt_cache import PromptCache
from mergeit_async.simulator.replies import Replier
from mergeit_async.simulator.settings import SimulatorSettings
from mergeit_async.simulator.stats import Stats
from mergeit_async.simulator.wire import Request


@dataclass(slots=True)  # not frozen: made for each request
class Admitted:
    """A call that was let in: its place among all arrivals, and the answer that it is to get."""

    digest: bytes
    arrival: int
    preamble: bytes | None
    answer: ChatAnswer
    good: Answer


class Chat:
    """Answers chat requests as the settings say, and counts them in `stats`."""

    def __init__(self, settings: SimulatorSettings, stats: Stats) -> None:
        """Raises UsageError for fault kinds or rates that make no sense."""
        now_s = time.monotonic()
        self.settings = settings
        self._stats = stats
        self._dice = Dice(settings.seed)
        self._plan = FaultPlan(settings, self._dice)
        self._replier = Replier(settings, self._dice)
        self._reader = BodyReader()
        self._cache = PromptCache() if settings.prompt_cache else None
        self._limits = Limits(settings, now_s)
        # Not the count in `stats`: after a reset, a run must not meet the same faults again.
        self._next_arrival = 0
        stats.timeline.set_limits(settings.rpm, settings.tpm, now_s)

    def change(self, settings: SimulatorSettings) -> None:
        """Take other limits, latencies and faults from now on. Raises UsageError as above."""
        now_s = time.monotonic()
        self._plan = FaultPlan(settings, self._dice)
        self._limits.change(settings, now_s)
        self._stats.timeline.set_limits(settings.rpm, settings.tpm, now_s)
        self.settings = settings

    def receive(self, request: Request, exchange: Exchange) -> None:
        """Answer one request, now or later."""
        now_s = time.monotonic()
        digest, call = self._reader.read(request.body)
        arrival = self._next_arrival
        self._next_arrival += 1
        self._stats.arrive(digest, now_s)
        exchange.on_over = self._stats.leave
        accepted = self._accept(request, call, now_s)
        if isinstance(accepted, Answer):
            self._stats.reject(accepted.status, now_s)
            exchange.answer(accepted)
            return
        preamble = self._cache.mark(accepted) if self._cache else None
        cached_tokens = self._cache.cached_tokens(accepted) if self._cache else None
        answer = self._replier.answer(accepted, digest, cached_tokens)
        good = Answer(200, answer.body, self._tell_limits(now_s))
        self._delay(exchange, Admitted(digest, arrival, preamble, answer, good))

    def _delay(self, exchange: Exchange, admitted: Admitted) -> None:
        delay_s, sigma = self.settings.latency_s, self.settings.latency_sigma
        if not delay_s:
            self._answer(exchange, admitted)
            return
        if sigma:
            roll = self._dice.roll(b"latency", _key_of(admitted.arrival))
            delay_s = stretch(delay_s, sigma, roll)
        exchange.later(delay_s, partial(self._answer, exchange, admitted))

    def _answer(self, exchange: Exchange, admitted: Admitted) -> None:
        kind = None if self._plan.is_empty else self._plan.due(_key_of(admitted.arrival))
        if kind is None:
            self._count(admitted)
            exchange.answer(admitted.good)
            return
        self._stats.faults[kind] += 1
        count = partial(self._count, admitted)
        FAULTS[kind].spoil(Case(exchange, admitted.good, self.settings, count))

    def _count(self, admitted: Admitted) -> None:
        """Count a good answer that is on its way out."""
        now_s = time.monotonic()
        answer = admitted.answer
        if self._cache and admitted.preamble:
            self._cache.remember(admitted.preamble)
        if self._limits.exist and not self._limits.charges_max:
            self._limits.settle(answer.completion_tokens, now_s)
            self._stats.charge(0, answer.completion_tokens, now_s)
        self._stats.answer(
            admitted.digest,
            answer.prompt_tokens,
            answer.completion_tokens,
            now_s,
            answer.cached_tokens or 0,
        )
        self._stats.note_task(answer.task, answer.fault)

    def _accept(
        self, request: Request, call: ChatCall | ValueError, now_s: float
    ) -> ChatCall | Answer:
        settings = self.settings
        if refusal := refuse_key(request, settings.api_key):
            return refusal
        if isinstance(call, ValueError):
            return error_answer(400, f"Invalid request: {call}.", type_=INVALID)
        if settings.models and call.model not in settings.models:
            message = f"The model `{call.model}` does not exist."
            return error_answer(404, message, type_=INVALID, param="model", code="model_not_found")
        if refusal := refuse_unable(call, settings):
            return refusal
        most = settings.max_concurrent
        if most is not None and self._stats.in_flight > most:
            message = f"Too many concurrent requests: limit {most}. Please try again later."
            return error_answer(429, message, type_="requests", code="rate_limit_exceeded")
        return self._charge(call, now_s)

    def _charge(self, call: ChatCall, now_s: float) -> ChatCall | Answer:
        if not self._limits.exist:
            return call
        tokens = call.prompt_tokens
        if self._limits.charges_max and call.max_tokens:
            tokens += call.max_tokens
        rejection = self._limits.admit(tokens, now_s)
        if rejection is None:
            self._stats.charge(1, tokens, now_s)
            return call
        headers = self._tell_limits(now_s)
        if rejection.wait_s is not None:
            headers |= retry_after(self.settings.retry_after_style, rejection.wait_s)
        message = _describe(rejection)
        return error_answer(
            429, message, type_=rejection.limit, code="rate_limit_exceeded", headers=headers
        )

    def _tell_limits(self, now_s: float) -> dict[str, str]:
        told = self._limits.exist and self.settings.rate_headers
        return self._limits.headers(now_s) if told else {}


def refuse_key(request: Request, expected: str | None) -> Answer | None:
    """What a caller without the `expected` key is told, or None."""
    if expected is None:
        return None
    given = request.header(b"authorization")
    if hmac.compare_digest(given, f"Bearer {expected}".encode()):
        return None
    message = "Incorrect API key provided."
    return error_answer(401, message, type_=INVALID, code="invalid_api_key")


def _key_of(arrival: int) -> bytes:
    return arrival.to_bytes(8, "little")


def _describe(rejection: Rejection) -> str:
    limit = f"{rejection.limit} per minute: limit {rejection.per_minute:g}"
    if rejection.wait_s is None:
        return f"Request too large for {limit}."
    return f"Rate limit reached for {limit}. Please try again in {rejection.wait_s:.3f}s."
