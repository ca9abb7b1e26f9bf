"""One server at work: its limits, what it has been seen to take, and whether it is there."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import inf

from mergeit_async.engine.adaptive import Pace, Window
from mergeit_async.engine.bucket import MINUTE_S, Allowance, Bucket
from mergeit_async.engine.faults import RULES
from mergeit_async.engine.latency import Latencies
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.providers.chat import ChatProvider
from mergeit_async.records import ChatReply, ChatRequest, RateLimits

# A server that asks for a longer pause is asked again after this one.
LONGEST_PAUSE_S = 60.0
# So many calls in a row to which no usable answer came, or which another server took: the server
# is taken out.
OUT_AFTER = 5
# How often a call without a deadline looks whether there is one by now.
LOOK_AGAIN_S = 0.5
# How many calls may have an intent and no slot yet: before any latency is known, and at least.
FIRST_SOON = 16
FEWEST_SOON = 2
TROUBLE = (FaultKind.SERVER, FaultKind.TIMEOUT, FaultKind.CONNECTION)
# To such calls came no usable answer.
LOST = (*TROUBLE, FaultKind.MALFORMED)


@dataclass(frozen=True, slots=True)
class Ceilings:
    """What the user allows for one server; rates are per minute, None where not limited."""

    max_in_flight: int
    rpm: int | None = None
    tpm: int | None = None


@dataclass(slots=True)
class Slot:
    """A place in flight with its request and tokens, granted on one lane."""

    lane: Lane
    tokens: float
    sent_at: float
    request_mark: float
    token_mark: float
    latency_s: float | None = None

    def slow_in_s(self, now: float) -> float:
        """Seconds until the call takes so long that a second copy of it may be faster."""
        return self.lane.latencies.hedge_after_s() - (now - self.sent_at)


class Lane:
    """The way to one server. All times are seconds on the event loop's clock."""

    def __init__(
        self,
        provider: ChatProvider,
        ceilings: Ceilings,
        now: float,
        *,
        name: str = "",
        prices: Mapping[str, PriceSheet] | None = None,
    ) -> None:
        """`prices` are those of each model that is asked here, as far as they are known."""
        self.name = name
        self.provider = provider
        self._prices = prices or {}
        self.in_flight = 0
        self.latencies = Latencies()
        self.window = Window(ceilings.max_in_flight)
        self.requests = Allowance(ceilings.rpm, now)
        self.tokens = Allowance(ceilings.tpm, now)
        self.is_out = False
        self.last_fault: ProviderError | None = None
        self._pace = Pace()
        self._paced: Bucket | None = None
        self._paused_until = now
        self._lost_in_a_row = 0
        self._refuted_in_a_row = 0
        # Whether this server charges the longest reply allowed, whatever the reply really is.
        self._charges_longest = False

    @property
    def headroom(self) -> float:
        """The share of its places that is free."""
        return 1.0 - self.in_flight / self.window.size

    def set_ceilings(self, ceilings: Ceilings, now: float) -> None:
        """Other limits of the user's from `now` on."""
        self.window.set_ceiling(ceilings.max_in_flight)
        self.requests.set_rate(ceilings.rpm, now)
        self.tokens.set_rate(ceilings.tpm, now)

    def wait_s(self, tokens: float, now: float) -> float:
        """Seconds until a call may leave; infinite where only another event can tell."""
        if self.is_out or self.in_flight >= self.window.size:
            return inf
        wait = max(self.requests.wait_s(1, now), self.tokens.wait_s(tokens, now))
        if self._paced is not None:
            wait = max(wait, self._paced.wait_s(1, now), self._paused_until - now)
        return wait

    def soon(self, tokens: float, within_s: float) -> float:
        """About how many calls of `tokens` will get a slot here within so many seconds."""
        latency_s = self.latencies.mean
        by_latency = self.window.size / latency_s if latency_s else FIRST_SOON / within_s
        rate = min(by_latency, self._pace.per_second)
        if self.requests.per_minute:
            rate = min(rate, self.requests.per_minute / MINUTE_S)
        if self.tokens.per_minute:
            rate = min(rate, self.tokens.per_minute / MINUTE_S / max(tokens, 1))
        return max(FEWEST_SOON, rate * within_s)

    def take(self, tokens: float, now: float) -> Slot:
        """Grant a slot; `wait_s` must have been 0."""
        self.in_flight += 1
        self._pace.sent(now)
        if self._paced is not None:
            self._paced.take(1)
        return Slot(self, tokens, now, self.requests.take(1), self.tokens.take(tokens))

    def release(self, slot: Slot) -> None:
        """The call is over; its place is free."""
        self.in_flight -= 1

    async def complete(self, request: ChatRequest, ceiling_s: float) -> ChatReply:
        """The server's reply within the learned deadline, at most `ceiling_s` seconds.

        A call that was sent before anything was learned gets its deadline as soon as something is.
        """
        if self.latencies.p99 < inf:
            return await self.provider.complete(request, self.latencies.deadline_s(ceiling_s))
        loop = asyncio.get_running_loop()
        sent_at = loop.time()
        call = loop.create_task(self.provider.complete(request, ceiling_s))
        is_late = False
        try:
            while not is_late:
                deadline_s = self.latencies.deadline_s(ceiling_s)
                # Looked at before the wait: a reply that came while this process was stopped is
                # not there before the loop's next turn.
                is_late = loop.time() - sent_at > deadline_s
                await asyncio.wait({call}, timeout=LOOK_AGAIN_S)
                if call.done():
                    return call.result()
        finally:
            call.cancel()
        raise ProviderError(FaultKind.TIMEOUT, f"no whole answer within {deadline_s:.3g} s")

    def ceiling(self, request: ChatRequest) -> float:
        """US dollars that `request` can cost here at most; 0 where no price is known."""
        price = self._prices.get(request.model)
        return price.ceiling(request) if price else 0.0

    def cost(self, request: ChatRequest, reply: ChatReply, reserved: float) -> float:
        """US dollars for the `reply` to `request`: as reported, else all that was reserved."""
        price = self._prices.get(request.model)
        cost = price.cost(reply) if price else 0.0
        return reserved if cost is None else cost

    def has_prices(self, models: Iterable[str]) -> bool:
        """Whether the price of each of these models is known here."""
        return all(model in self._prices for model in models)

    def answered(self, slot: Slot, reply: ChatReply, now: float) -> None:
        """The call came through."""
        self._lost_in_a_row = self._refuted_in_a_row = 0
        slot.latency_s = now - slot.sent_at
        self.latencies.add(slot.latency_s)
        self.window.answered(self.in_flight, now)
        if self._paced is None:
            self._pace.answered(now, is_used=False)
        else:
            self._pace.answered(now, is_used=self._paced.is_used(now))
            self._paced.set_rate(self._pace.per_second * MINUTE_S, now)
        used = tokens_reported(reply)
        if used is not None and not self._charges_longest:
            # No report counts for more than twice the reservation: a wrong one must not stop us.
            self.tokens.give_back(slot.tokens - min(used, 2 * slot.tokens))
        self._heed(slot, reply.limits, now)

    def faulted(self, slot: Slot, fault: ProviderError, now: float) -> None:
        """The call failed; draws what follows for the calls after it."""
        self.last_fault = fault
        self._lost_in_a_row = self._lost_in_a_row + 1 if fault.kind in LOST else 0
        if RULES[fault.kind].of_server:
            self._refuted_in_a_row = OUT_AFTER
        if fault.kind is FaultKind.RATE_LIMIT:
            self._limit(slot, fault, now)
        elif fault.kind in TROUBLE:
            self.window.troubled(now)
            self._pace.troubled(now)
        self._heed(slot, fault.limits, now)

    def refuted(self) -> None:
        """Another server took a call that this one had refused."""
        self._refuted_in_a_row += 1

    @property
    def is_lost(self) -> bool:
        """Whether so many calls in a row failed at the server that it should be taken out."""
        return self._lost_in_a_row >= OUT_AFTER or self.is_wrong

    @property
    def is_wrong(self) -> bool:
        """Whether the server refuses calls that others take, and no probe has shown that since."""
        return self._refuted_in_a_row >= OUT_AFTER

    @property
    def is_refusing(self) -> bool:
        """Whether the server refuses calls, or was last heard refusing its key or the like."""
        fault = self.last_fault
        return self.is_wrong or (fault is not None and RULES[fault.kind].of_server)

    def missed(self, fault: ProviderError) -> None:
        """A probe failed, so the next that does not fail tells that all is well."""
        self.last_fault = fault
        self._refuted_in_a_row = 0

    def revive(self) -> None:
        """The server is there again."""
        self.is_out, self._lost_in_a_row = False, 0

    def _limit(self, slot: Slot, fault: ProviderError, now: float) -> None:
        self.window.limited(self.in_flight, slot.sent_at, now)
        is_used = self._paced is not None and self._paced.is_used(now)
        if self._pace.limited(slot.sent_at, now, is_used=is_used):
            pause_s = min(fault.retry_after_s or 0.0, LONGEST_PAUSE_S)
            self._paused_until = max(self._paused_until, now + pause_s)
        rate = self._pace.per_second * MINUTE_S
        if self._paced is None:
            self._paced = Bucket(rate, now)
        else:
            self._paced.set_rate(rate, now)
        # We kept to the limit as if replies cost what they use; so they do not.
        self._charges_longest |= self.tokens.per_minute is not None

    def _heed(self, slot: Slot, limits: RateLimits | None, now: float) -> None:
        if limits is None:
            return
        if limits.requests is not None:
            self.requests.told(limits.requests, slot.request_mark, slot.sent_at, now)
        if limits.tokens is not None:
            self.tokens.told(limits.tokens, slot.token_mark, slot.sent_at, now)


def tokens_reported(reply: ChatReply) -> int | None:
    """What a reply used, if the server reports it."""
    if reply.prompt_tokens is None or reply.completion_tokens is None:
        return None
    return reply.prompt_tokens + reply.completion_tokens
