"""What it takes to ask a model for hours: lanes, limits, money and retries, wired together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import anyio

from mergeit_async.config import Settings, checked
from mergeit_async.engine.budget import Budget
from mergeit_async.engine.caller import Caller
from mergeit_async.engine.journal import Journal
from mergeit_async.engine.lanes import allow_connections, ceilings_of, open_lanes, watch_lanes
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.prices import Prices
from mergeit_async.errors import UsageError


class Session:
    """One stretch of work of one process on a run; use `open_session`."""

    def __init__(self, settings: Settings, limiter: Limiter, journal: Journal) -> None:
        self.limiter = limiter
        self.budget = Budget(settings.max_cost, journal.spent)
        self.caller = Caller(
            limiter,
            journal,
            self.budget,
            timeout_s=settings.timeout_s,
            max_tries=settings.max_tries,
            hedge=settings.hedge,
        )
        self._settings = settings

    @property
    def waiting(self) -> int:
        """Calls that wait: for money, for a slot, or for their next try."""
        return self.budget.waiting + self.limiter.waiting + self.caller.pausing

    def tune(self, changes: Mapping[str, Any]) -> None:
        """Change limits while calls are under way; what is unusable changes nothing."""
        settings = checked(self._settings.model_dump() | dict(changes))
        if settings.max_cost is not None and not all(
            lane.has_prices(settings.models) for lane in self.limiter.lanes
        ):
            raise UsageError("--max-cost needs --price-in and --price-out; the model has no price.")
        allow_connections(settings)
        now = anyio.current_time()
        for lane, server in zip(self.limiter.lanes, settings.servers, strict=True):
            lane.set_ceilings(ceilings_of(server), now)
        self.budget.set_cap(settings.max_cost)
        self.caller.tune(settings.timeout_s)
        self.limiter.grant()


@asynccontextmanager
async def open_session(
    settings: Settings,
    prices: Prices,
    journal: Journal,
    stop: Callable[[Exception], None],
) -> AsyncIterator[Session]:
    """A session over the servers of `settings`; `stop` is called when none can be reached."""
    async with open_lanes(settings, prices) as lanes:
        session = Session(settings, Limiter(lanes), journal)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(watch_lanes, session.limiter, stop)
            try:
                yield session
            finally:
                tasks.cancel_scope.cancel()
