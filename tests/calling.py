"""Calls without a network: a server by script, and a caller with all that it works with."""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio

from mergeit_async.engine.budget import Budget
from mergeit_async.engine.caller import Caller, Judgement
from mergeit_async.engine.journal import Journal, open_journal
from mergeit_async.engine.lane import Ceilings, Lane
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.prices import PriceSheet
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.providers.chat import ChatProvider
from mergeit_async.records import ChatReply, ChatRequest, Example, Message, Outcome, Status

REPLY = ChatReply("the text", "stop", 5, 5)
UNREPORTED = ChatReply("the text", "stop")
MERGED = Outcome(0, "group", Status.MERGED, 1, merged=Example("Do both.", "", "Done."))
# A dollar for the longest reply to a `request`, half a cent for what REPLY reports.
PRICE = PriceSheet(prompt=0.0, cached=0.0, completion=1000.0, source="given")
NEVER = 1e9

End = ChatReply | ProviderError


def request(key: str = "k") -> ChatRequest:
    return ChatRequest(key, "m", (Message("user", "merge"),), 0.0, 1000, 0, 10)


def fault(
    kind: FaultKind, retry_after_s: float | None = None, *, was_sent: bool = True
) -> ProviderError:
    return ProviderError(
        kind, "the server's words", status=503, retry_after_s=retry_after_s, was_sent=was_sent
    )


async def accept(_: ChatReply) -> Judgement:
    return Judgement("accepted", MERGED)


def ask(journal: Path, sql: str) -> list[tuple[Any, ...]]:
    """What another connection sees, that is, what is committed."""
    with closing(sqlite3.connect(journal)) as connection:
        return connection.execute(sql).fetchall()


@dataclass(frozen=True)
class After:
    """An end that comes some seconds after the request."""

    seconds: float
    end: End = REPLY


@dataclass
class Script:
    """A provider that goes through its steps, then repeats `last`, and notes what it was asked."""

    steps: list[End | After] = field(default_factory=list)
    last: End | After = REPLY
    is_there: bool = True
    sent: list[str] = field(default_factory=list)
    sent_at: list[float] = field(default_factory=list)
    timeouts: list[float] = field(default_factory=list)
    checks: int = 0
    on_send: Callable[[], Awaitable[object]] = anyio.lowlevel.checkpoint

    async def complete(self, request: ChatRequest, timeout_s: float) -> ChatReply:
        self.sent.append(request.key)
        self.sent_at.append(anyio.current_time())
        self.timeouts.append(timeout_s)
        step = self.steps.pop(0) if self.steps else self.last
        await self.on_send()
        if isinstance(step, After):
            await anyio.sleep(min(step.seconds, timeout_s))
            if step.seconds > timeout_s:
                raise fault(FaultKind.TIMEOUT)
            step = step.end
        if isinstance(step, ProviderError):
            raise step
        return step

    async def check(self) -> None:
        self.checks += 1
        if not self.is_there:
            raise fault(FaultKind.CONNECTION)


@dataclass(frozen=True)
class Desk:
    """A caller and all that it works with."""

    caller: Caller
    limiter: Limiter
    budget: Budget
    journal: Journal

    async def call(self, key: str = "k", position: int = 0) -> Judgement:
        return await self.caller.call(position, request(key), accept)

    @property
    def lane(self) -> Lane:
        return self.limiter.lanes[0]

    def holds(self) -> tuple[int, float]:
        """Slots and dollars that are taken."""
        return self.limiter.in_flight, self.budget.reserved


def lane(
    provider: ChatProvider | None = None,
    *,
    max_in_flight: int = 8,
    rpm: int | None = None,
    tpm: int | None = None,
    price: PriceSheet | None = PRICE,
    name: str = "",
) -> Lane:
    """A lane that begins now."""
    ceilings = Ceilings(max_in_flight, rpm, tpm)
    prices = {"m": price} if price else {}
    return Lane(provider or Script(), ceilings, anyio.current_time(), name=name, prices=prices)


@asynccontextmanager
async def open_desk(
    path: Path,
    lanes: Sequence[Lane],
    *,
    cap: float | None = None,
    timeout_s: float = 80.0,
    max_tries: int = 3,
    hedge: bool = False,
) -> AsyncIterator[Desk]:
    """A caller over `lanes` that journals at `path`."""
    async with open_journal(path) as journal:
        limiter, budget = Limiter(lanes), Budget(cap, journal.spent)
        caller = Caller(
            limiter, journal, budget, timeout_s=timeout_s, max_tries=max_tries, hedge=hedge
        )
        yield Desk(caller, limiter, budget, journal)
