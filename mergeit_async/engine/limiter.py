"""The slot that one request needs: a place in flight, a request and its tokens within the rates."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio
from aiolimiter import AsyncLimiter

MINUTE_S = 60.0
# Rates are granted in portions of this length, so that no minute's worth leaves at the start.
WINDOW_S = 0.1


class TokenBucket:
    """Tokens at a steady rate, in order of arrival.

    A large request waits for its turn and not for a bucket as large as itself: it may overdraw,
    and those behind it wait until the debt is paid. What was reserved too much is given back.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_second = per_minute / MINUTE_S
        self._capacity = self._per_second * WINDOW_S
        self._level = self._capacity
        self._filled_at = anyio.current_time()
        # Only the first in line looks at the level: small requests cannot overtake a large one.
        self._turn = anyio.Lock(fast_acquire=True)

    @property
    def level(self) -> float:
        """Tokens that may leave now; negative while a debt is paid."""
        now = anyio.current_time()
        grown = self._level + (now - self._filled_at) * self._per_second
        self._level, self._filled_at = min(self._capacity, grown), now
        return self._level

    async def acquire(self, tokens: int) -> None:
        """Wait until `tokens` may leave."""
        async with self._turn:
            # Only time fills the bucket; nobody could signal it.
            while (missing := min(tokens, self._capacity) - self.level) > 1e-6:  # noqa: ASYNC110
                await anyio.sleep(missing / self._per_second)
            self._level -= tokens

    def give_back(self, tokens: int) -> None:
        """Correct a reservation by what was not used (negative: by what was used beyond it)."""
        self._level += tokens


class Limiter:
    """Grants slots under a number in flight, requests a minute and tokens a minute.

    A slot covers the exchange with the server alone; backing off and journaling happen without
    one. None means that a rate is not limited.
    """

    def __init__(self, max_in_flight: int, rpm: int | None = None, tpm: int | None = None) -> None:
        self._places = anyio.Semaphore(max_in_flight, max_value=max_in_flight, fast_acquire=True)
        self._requests = even_rate(rpm) if rpm else None
        self._tokens = TokenBucket(tpm) if tpm else None
        self.max_in_flight = max_in_flight

    @property
    def in_flight(self) -> int:
        """Slots that are taken now."""
        return self.max_in_flight - self._places.value

    @asynccontextmanager
    async def slot(self, tokens: int) -> AsyncIterator[None]:
        """Hold a slot for a request that will use about `tokens`.

        The place in flight comes first: a rate is spent at the moment of sending, never saved up
        while waiting for a place.
        """
        async with self._places:
            if self._requests is not None:
                await self._requests.acquire()
            if self._tokens is not None:
                await self._tokens.acquire(tokens)
            yield

    def settle(self, reserved: int, used: int | None) -> None:
        """Correct the tokens reserved for a call by those the server reported.

        No report counts for more than twice the reservation: a wrong one must not stop the run.
        """
        if self._tokens is not None and used is not None:
            self._tokens.give_back(reserved - min(used, 2 * reserved))


def even_rate(per_minute: int) -> AsyncLimiter:
    """A limiter that spreads a minute's requests evenly: small portions, often."""
    portion = max(1.0, per_minute * WINDOW_S / MINUTE_S)
    return AsyncLimiter(portion, portion * MINUTE_S / per_minute)
