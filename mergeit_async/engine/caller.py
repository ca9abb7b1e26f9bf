"""The one owner of retries: takes a request to its reply, whatever happens on the way.

reserve money → intent durable → slot → exchange → slot free → judge → reply and outcome durable
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import anyio

from mergeit_async.engine.budget import Budget
from mergeit_async.engine.faults import RULES, Breaker, Rule, backoff_s, cost_of
from mergeit_async.engine.journal import CallEnd, Journal
from mergeit_async.engine.lane import LOOK_AGAIN_S, Slot
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.waiting import Room
from mergeit_async.errors import ProviderError
from mergeit_async.records import ChatReply, ChatRequest, Outcome

NOT_SENT = "not_sent"
# Nobody waits for the reply any more: the other copy of a hedged call came first.
ABANDONED = "abandoned"
UNJUDGED = "unjudged"


class Judgement(NamedTuple):
    """What a reply led to: a word for the journal, and the group's outcome if it is settled.

    `detail` and `scores` are for the journal too: of a merge that was refused.
    """

    verdict: str
    outcome: Outcome | None = None
    detail: str | None = None
    scores: Mapping[str, Any] | None = None


# Looks at a reply that has come; it may take its time, as the slot is free by then.
Judge = Callable[[ChatReply], Awaitable[Judgement]]


class GaveUp(Exception):
    """A request is out of tries, or the server judged that it never can succeed."""

    def __init__(self, fault: ProviderError) -> None:
        super().__init__(str(fault))
        self.fault = fault


class Call(NamedTuple):
    """One call under way: its number in the journal, what is set aside for it, and its slot."""

    number: int
    reserved: float
    slot: Slot


Answered = tuple[Call, ChatReply]


class Caller:
    """Sends requests under the limits and the budget, journals each call, retries faults.

    After `stop`, nothing more is sent: whoever waits to send gets the error, an exchange under
    way is finished and committed.
    """

    def __init__(
        self,
        limiter: Limiter,
        journal: Journal,
        budget: Budget,
        *,
        timeout_s: float,
        max_tries: int,
        hedge: bool = False,
    ) -> None:
        self.timeout_s = timeout_s
        self._limiter = limiter
        self._journal = journal
        self._budget = budget
        self._max_tries = max_tries
        self._hedge = hedge
        self._pauses = Room()
        self._breaker = Breaker(limiter.places, clock=anyio.current_time)
        self._jitter = random.Random()

    @property
    def pausing(self) -> int:
        """Calls that wait for their next try."""
        return len(self._pauses)

    def tune(self, timeout_s: float) -> None:
        """Another deadline from now on, and the places that the limiter has by now."""
        self.timeout_s = timeout_s
        self._breaker.in_flight = self._limiter.places

    def stop(self, error: Exception) -> None:
        """Send nothing more; `error` is raised in all who wait to send, and who will."""
        self._limiter.stop(error)
        self._budget.stop(error)
        self._pauses.close(error)

    async def call(
        self,
        position: int,
        request: ChatRequest,
        judge: Judge,
    ) -> Judgement:
        """Send `request` for the group at `position` until a reply comes; commit reply and verdict.

        Raises `GaveUp` when no reply can be had and `StoppedError` when the run must stop.
        """
        tries = faults = 0
        refused_by: tuple[str, ...] = ()
        while True:
            try:
                call, reply = await self._exchange(position, request, refused_by)
            except ProviderError as fault:
                rule = RULES[fault.kind]
                refusing = (*refused_by, fault.server)
                if rule.elsewhere and self._has_other(request, refusing, rule):
                    refused_by = refusing
                    continue
                tries += rule.counts
                faults += 1
                self._breaker.fault(fault)
                if not rule.retry or tries >= self._max_tries:
                    raise GaveUp(fault) from fault
                await self.pause(fault, faults)
            else:
                if refused_by:
                    self._limiter.refuted(refused_by)
                return await self._settle(call, request, reply, judge)

    async def attempt(
        self, position: int, request: ChatRequest, judge: Judge, avoid: Sequence[str]
    ) -> Judgement:
        """Send `request` once, to none of the servers named in `avoid` if another is there.

        Raises `ProviderError` for a fault and `StoppedError` when the run is stopped meanwhile.
        """
        call, reply = await self._exchange(position, request, avoid)
        return await self._settle(call, request, reply, judge)

    async def pause(self, fault: ProviderError, faults: int) -> None:
        """Wait before the next try after the `faults`-th fault of a request, or until stopped."""
        await self._pauses.sleep(backoff_s(fault, faults, self._jitter.random()))

    def _has_other(self, request: ChatRequest, refused_by: Sequence[str], rule: Rule) -> bool:
        tokens = self._limiter.tokens_of(request)
        # A refused payload waits for nobody: first in line, it would keep back those behind it.
        return bool(self._limiter.others(tokens, refused_by, may_wait=rule.of_server))

    async def _exchange(
        self, position: int, request: ChatRequest, refused_by: Sequence[str]
    ) -> Answered:
        """One call from its intent to its reply, or to the fault that ended it."""
        call = await self._begin(position, request, refused_by)
        if self._hedge:
            return await self._race(position, request, refused_by, call)
        return await self._send(call, request)

    async def _begin(self, position: int, request: ChatRequest, refused_by: Sequence[str]) -> Call:
        """A call whose intent is durable and which holds a slot."""
        tokens = self._limiter.tokens_of(request)
        self._limiter.check(tokens)
        reserved = self._limiter.ceiling(request)
        await self._limiter.near(tokens)
        try:
            await self._budget.reserve(reserved)
            number = self._journal.next_call()
            clock = asyncio.get_running_loop().time
            asked_at = clock()
            try:
                await self._journal.begin_call(number, position, request, reserved)
                self._limiter.intent_took(clock() - asked_at)
                slot = await self._limiter.acquire(tokens, refused_by)
            except BaseException:
                self._end(number, reserved, CallEnd(NOT_SENT))
                raise
        finally:
            self._limiter.passed()
        return Call(number, reserved, slot)

    async def _send(self, call: Call, request: ChatRequest) -> Answered:
        """The exchange with the server; the slot is free when it ends."""
        slot, lane = call.slot, call.slot.lane
        try:
            reply = await lane.complete(request, self.timeout_s)
        except ProviderError as fault:
            self._limiter.faulted(slot, fault)
            fault.server = lane.name
            cost = cost_of(fault, call.reserved)
            end = CallEnd(fault.kind, cost, fault.status, fault.excerpt, lane.name)
            self._end(call.number, call.reserved, end)
            raise
        except asyncio.CancelledError:
            end = CallEnd(ABANDONED, call.reserved, lane=lane.name)
            self._end(call.number, call.reserved, end)
            raise
        else:
            self._limiter.answered(slot, request, reply)
            return call, reply
        finally:
            self._limiter.release(slot)

    async def _settle(
        self,
        call: Call,
        request: ChatRequest,
        reply: ChatReply,
        judge: Judge,
    ) -> Judgement:
        """Commit a reply and what came of it; only then it counts."""
        self._breaker.success()
        lane = call.slot.lane
        cost = lane.cost(request, reply, call.reserved)
        self._budget.settle(call.reserved, cost)
        failure = None
        try:
            judgement = await judge(reply)
        except Exception as error:  # the reply is paid for, whatever is wrong with its judge
            judgement, failure = Judgement(UNJUDGED), error
        verdict, _, detail, scores = judgement
        end = CallEnd(verdict, cost, 200, detail, lane.name, call.slot.latency_s, scores)
        await self._journal.settle_call(call.number, request, reply, end, judgement.outcome)
        if failure is not None:
            raise failure
        return judgement

    async def _race(
        self, position: int, request: ChatRequest, refused_by: Sequence[str], call: Call
    ) -> Answered:
        """Send a second copy when the first takes unusually long; the first reply counts."""

        async def send_copy() -> Answered:
            return await self._send(await self._begin(position, request, refused_by), request)

        first = asyncio.ensure_future(self._send(call, request))
        copies, winner = [first], None
        try:
            await patience(first, call.slot)
            if not first.done():
                copies.append(asyncio.ensure_future(send_copy()))
            winner = await first_success(copies)
            return winner.result()
        finally:
            for copy in copies:
                if copy is not winner:
                    self._abandon(request, copy)

    def _abandon(self, request: ChatRequest, copy: asyncio.Future[Answered]) -> None:
        """Nobody waits for this copy any more; what it costs counts all the same."""
        if not copy.cancel() and copy.exception() is None:  # a reply in the same moment
            call, reply = copy.result()
            lane = call.slot.lane
            cost = lane.cost(request, reply, call.reserved)
            end = CallEnd(ABANDONED, cost, 200, lane=lane.name)
            self._end(call.number, call.reserved, end)

    def _end(self, call: int, reserved: float, end: CallEnd) -> None:
        self._budget.settle(reserved, end.cost)
        self._journal.end_call(call, end)


async def patience(call: asyncio.Future[Answered], slot: Slot) -> None:
    """Wait until `call` is done or slow; what counts as slow is learned on the way."""
    clock = asyncio.get_running_loop().time
    while not call.done() and (slow_in_s := slot.slow_in_s(clock())) > 0:
        await asyncio.wait({call}, timeout=min(slow_in_s, LOOK_AGAIN_S))


async def first_success(
    copies: Iterable[asyncio.Future[Answered]],
) -> asyncio.Future[Answered]:
    """The copy of a call that got a reply first; if none did, one of those that failed last."""
    running = set(copies)
    while True:
        done, running = await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        for copy in done:
            if copy.exception() is None:
                return copy
        if not running:
            return copy
