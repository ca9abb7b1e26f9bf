"""The one owner of retries: takes a request to its reply, whatever happens on the way."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass

import anyio

from mergeit_async.engine.faults import RULES, Breaker, backoff_s
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.limiter import Limiter
from mergeit_async.errors import ProviderError
from mergeit_async.providers.chat import ChatProvider
from mergeit_async.records import ChatReply, ChatRequest, Outcome

NOT_SENT = "not_sent"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a reply led to: a word for the journal, and the group's outcome if it is settled."""

    verdict: str
    outcome: Outcome | None


class GaveUp(Exception):
    """A request is out of tries, or the server judged that it never can succeed."""

    def __init__(self, fault: ProviderError) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Caller:
    """Sends requests under the limiter, journals each call, retries faults.

    Cancelling a task inside `call` drains it: what is not sent yet is given up at once, an
    exchange under way is finished and committed first.
    """

    def __init__(
        self,
        provider: ChatProvider,
        limiter: Limiter,
        journal: Journal,
        *,
        timeout_s: float,
        max_tries: int,
    ) -> None:
        self._provider = provider
        self._limiter = limiter
        self._journal = journal
        self._timeout_s = timeout_s
        self._max_tries = max_tries
        self._breaker = Breaker(limiter.max_in_flight)
        self._jitter = random.Random()

    async def call(
        self, position: int, request: ChatRequest, judge: Callable[[ChatReply], Judgement]
    ) -> Judgement:
        """Send `request` for the group at `position` until a reply comes; commit reply and verdict.

        Raises `GaveUp` when no reply can be had and `StoppedError` when the run must stop.
        """
        tries = faults = 0
        while True:
            try:
                return await self._send(position, request, judge)
            except ProviderError as fault:
                rule = RULES[fault.kind]
                tries += rule.counts
                faults += 1
                self._breaker.fault(fault)
                if not rule.retry or tries >= self._max_tries:
                    raise GaveUp(fault) from fault
                delay_s = backoff_s(fault, faults, self._jitter.random())
            await anyio.sleep(delay_s)

    async def _send(
        self, position: int, request: ChatRequest, judge: Callable[[ChatReply], Judgement]
    ) -> Judgement:
        """One exchange: the intent is durable before the slot, the end after it."""
        with anyio.CancelScope(shield=True) as exchange:
            call = await self._journal.begin_call(position, request)
            exchange.shield = False
            try:
                async with self._limiter.slot(tokens_of(request)):
                    exchange.shield = True
                    reply = await self._provider.complete(request, self._timeout_s)
            except ProviderError as fault:
                await self._journal.end_call(call, fault.kind, fault.status, fault.excerpt)
                raise
            except anyio.get_cancelled_exc_class():
                # Shielded, an exchange cannot be cancelled: this one had no slot yet.
                exchange.shield = True
                await self._journal.end_call(call, NOT_SENT)
                raise
            self._breaker.success()
            self._limiter.settle(tokens_of(request), tokens_reported(reply))
            judgement = judge(reply)
            await self._journal.settle_call(
                call, request, reply, judgement.verdict, judgement.outcome
            )
        return judgement


def tokens_of(request: ChatRequest) -> int:
    """What a request may use: its prompt as estimated, and the longest reply allowed."""
    return request.estimated_prompt_tokens + request.max_tokens


def tokens_reported(reply: ChatReply) -> int | None:
    """What a reply did use, if the server reports it."""
    if reply.prompt_tokens is None or reply.completion_tokens is None:
        return None
    return reply.prompt_tokens + reply.completion_tokens
