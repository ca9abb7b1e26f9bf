"""Grants slots: a place in flight, a request and its tokens, on the lane that can take it first."""

from __future__ import annotations

import asyncio
from collections import Counter, deque
from collections.abc import Sequence
from math import inf

from mergeit_async.engine.lane import Lane, Slot
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.records import ChatReply, ChatRequest

# Timers of the event loop fire early or late by about this.
TICK_S = 0.001
# How fast the estimate of tokens follows what servers report, and that of intents the disk.
LEARNING_RATE = 0.02
INTENT_LEARNING_RATE = 0.05
# Calls that get a slot within this time may have their intents written, or within so many times
# what that takes: none should come late to its slot.
SOON_S = 0.1
INTENTS_AHEAD = 2


class Limiter:
    """All lanes of a run, and those who wait for a slot, in order of arrival.

    A slot covers the exchange with the server alone; backing off and journaling happen without
    one. Calls go to the lane with the largest share of free places among those whose rates allow
    it now.
    """

    def __init__(self, lanes: Sequence[Lane]) -> None:
        self.lanes = lanes
        # How often calls failed, by kind.
        self.faults: Counter[FaultKind] = Counter()
        self._waiting: deque[tuple[float, Sequence[str], asyncio.Future[Slot]]] = deque()
        self._turns: deque[tuple[float, asyncio.Future[None]]] = deque()
        self._near = 0
        self._soon_s = SOON_S
        self._timer: asyncio.TimerHandle | None = None
        self._scale = 1.0
        self._error: BaseException | None = None

    @property
    def in_flight(self) -> int:
        """Slots that are taken now, over all lanes."""
        return sum(lane.in_flight for lane in self.lanes)

    @property
    def waiting(self) -> int:
        """Calls that wait for a slot."""
        return len(self._waiting) + len(self._turns)

    @property
    def places(self) -> int:
        """Slots that the user allows at most, over all lanes."""
        return sum(lane.window.ceiling for lane in self.lanes)

    def tokens_of(self, request: ChatRequest) -> float:
        """What a request may use: its prompt as estimated, and the longest reply allowed.

        The estimate is scaled by what servers reported for earlier prompts.
        """
        return request.estimated_prompt_tokens * self._scale + request.max_tokens

    def ceiling(self, request: ChatRequest) -> float:
        """US dollars that `request` can cost at most, wherever it goes; 0 without prices."""
        return max([lane.ceiling(request) for lane in self.lanes])

    def check(self, tokens: float) -> None:
        """Raise `ProviderError` for a request that no lane can ever take."""
        most = max([lane.tokens.per_minute or inf for lane in self.lanes])
        if tokens > most:
            raise ProviderError(
                FaultKind.TOO_LARGE,
                f"the request may use {tokens:,.0f} tokens, and the limit is {most:,.0f} a minute",
                was_sent=False,
            )

    async def near(self, tokens: float) -> None:
        """Wait until a slot for such a call is near; `passed` must follow.

        An intent is made only then: what is cut off by a crash with an intent may have been sent.
        """
        if self._error is not None:
            raise self._error
        if not self._turns and self._near < self._most_near(tokens):
            self._near += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._turns.append((tokens, turn))
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled() and turn.exception() is None:
                self.passed()
            raise

    def intent_took(self, seconds: float) -> None:
        """How long the journal had a call wait for its intent."""
        ahead_s = max(SOON_S, INTENTS_AHEAD * seconds)
        self._soon_s += INTENT_LEARNING_RATE * (ahead_s - self._soon_s)

    def passed(self) -> None:
        """A call that was near has its slot, or needs none any more; others are near now."""
        self._near -= 1
        while self._turns and self._near < self._most_near(self._turns[0][0]):
            _, turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                self._near += 1

    def others(
        self, tokens: float, refused_by: Sequence[str], *, may_wait: bool = False
    ) -> list[Lane]:
        """The lanes that are there for such a call, without those named in `refused_by`.

        With `may_wait`, one that is out for trouble counts as there: it may be back in a moment.
        """
        return [
            lane
            for lane in self._able(tokens)
            if lane.name not in refused_by
            and (not lane.is_out or (may_wait and not lane.is_refusing))
        ]

    async def acquire(self, tokens: float, refused_by: Sequence[str] = ()) -> Slot:
        """Wait for a slot for a call that may use `tokens`; `release` must follow.

        It is on another lane than those named in `refused_by`, unless no other is there.
        """
        if self._error is not None:
            raise self._error
        loop = asyncio.get_running_loop()
        now = loop.time()
        if not self._waiting:
            lane, wait_s = self._first_free(tokens, refused_by, now)
            if wait_s <= 0:
                return lane.take(tokens, now)
        future: asyncio.Future[Slot] = loop.create_future()
        self._waiting.append((tokens, refused_by, future))
        self.grant()
        try:
            return await future
        except asyncio.CancelledError:
            if future.cancelled():
                self.grant()  # those behind need not wait for the turn that was given up
            elif future.exception() is None:
                self.release(future.result())
            raise

    def release(self, slot: Slot) -> None:
        """The call is over; whoever is first in line gets its turn."""
        slot.lane.release(slot)
        if self._waiting:
            self.grant()

    def grant(self) -> None:
        """Serve those who wait as far as the limits allow; call it when limits have changed."""
        loop = asyncio.get_running_loop()
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        while self._waiting:
            tokens, refused_by, future = self._waiting[0]
            if not future.done():
                now = loop.time()
                lane, wait_s = self._first_free(tokens, refused_by, now)
                if wait_s > 0:
                    if wait_s < inf:
                        self._timer = loop.call_later(max(wait_s, TICK_S), self.grant)
                    return
                future.set_result(lane.take(tokens, now))
            self._waiting.popleft()

    def stop(self, error: BaseException) -> None:
        """Grant nothing more; `error` is raised in all who wait, and in all who will."""
        self._error = error
        while self._turns:
            _, turn = self._turns.popleft()
            if not turn.done():
                turn.set_exception(error)
        while self._waiting:
            _, _, future = self._waiting.popleft()
            if not future.done():
                future.set_exception(error)

    def answered(self, slot: Slot, request: ChatRequest, reply: ChatReply) -> None:
        """A call came through: its lane learns from it, and so does the estimate of tokens."""
        slot.lane.answered(slot, reply, asyncio.get_running_loop().time())
        if reply.prompt_tokens and request.estimated_prompt_tokens:
            ratio = reply.prompt_tokens / request.estimated_prompt_tokens
            # A report that is far off says more about the server than about our estimate.
            self._scale += LEARNING_RATE * (min(max(ratio, 0.2), 5.0) - self._scale)

    def faulted(self, slot: Slot, fault: ProviderError) -> None:
        """A call failed: its lane learns from it; a lane that is lost is taken out."""
        lane = slot.lane
        self.faults[fault.kind] += 1
        lane.faulted(slot, fault, asyncio.get_running_loop().time())
        if fault.kind is FaultKind.TIMEOUT:
            lane.latencies.lose()
        self._take_out_lost(lane)

    def refuted(self, refused_by: Sequence[str]) -> None:
        """A call came through that the lanes of these names had refused."""
        for lane in self.lanes:
            if lane.name in refused_by:
                lane.refuted()
                self._take_out_lost(lane)

    def _take_out_lost(self, lane: Lane) -> None:
        if lane.is_lost and len(self.lanes) > 1:
            lane.is_out = True

    def _most_near(self, tokens: float) -> float:
        """How many calls may have an intent and no slot yet: those that get one in a moment."""
        return sum([lane.soon(tokens, self._soon_s) for lane in self.lanes if not lane.is_out]) or 1

    def _first_free(
        self, tokens: float, refused_by: Sequence[str], now: float
    ) -> tuple[Lane, float]:
        """The lane that can take a call first, and the seconds until then."""
        if len(self.lanes) == 1:
            return self.lanes[0], self.lanes[0].wait_s(tokens, now)
        lanes = self.others(tokens, refused_by) or self._able(tokens)
        return min(
            ((lane, lane.wait_s(tokens, now)) for lane in lanes),
            key=lambda lane_wait: (lane_wait[1], -lane_wait[0].headroom),
        )

    def _able(self, tokens: float) -> Sequence[Lane]:
        """The lanes that can ever take such a call: a server refuses what is above its limit."""
        return [
            lane for lane in self.lanes if tokens <= (lane.tokens.per_minute or inf)
        ] or self.lanes
