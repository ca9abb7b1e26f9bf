"""The money of a run: what is spent, what is reserved for calls under way, and a hard cap."""

from __future__ import annotations

import math

from mergeit_async.engine.waiting import Room
from mergeit_async.errors import StoppedError


class Budget:
    """US dollars. `spent + reserved` never passes `cap` (None: no cap).

    What a call may cost at most is reserved before its intent is written, and is settled by what
    it did cost. A call whose end is unknown counts with all that was reserved for it. Only a
    server that reports more than it was allowed to use can make `spent` pass the cap.
    """

    def __init__(self, cap: float | None = None, spent: float = 0.0) -> None:
        self.cap = cap
        self.spent = spent
        self.reserved = 0.0
        self._under_way = 0
        self._room = Room()

    @property
    def waiting(self) -> int:
        """Calls that wait for money."""
        return len(self._room)

    async def reserve(self, amount: float) -> None:
        """Set `amount` aside; waits while calls under way may turn out to be cheaper.

        Raises `StoppedError` when nothing is under way and the cap leaves no room.
        """
        while not self._fits(amount):
            if not self._under_way:
                raise StoppedError(
                    f"The next call may cost ${amount:.4f}, and ${self.spent:.4f} of the "
                    f"${self.cap:.4f} of --max-cost are spent; raise --max-cost to go on.",
                    resume_with=f"--max-cost {self._more(amount):g}",
                )
            await self._room.enter()
        self.reserved += amount
        self._under_way += 1

    def settle(self, reserved: float, cost: float) -> None:
        """The call for which `reserved` was set aside did cost `cost`."""
        self._under_way -= 1
        # What is given back differs from the sum by rounding.
        self.reserved = self.reserved - reserved if self._under_way else 0.0
        self.spent += cost
        self._room.wake()

    def set_cap(self, cap: float | None) -> None:
        """Another cap from now on."""
        self.cap = cap
        self._room.wake()

    def stop(self, error: BaseException) -> None:
        """Raise `error` in all who wait for money."""
        self._room.close(error)

    def _more(self, amount: float) -> float:
        """A cap with which a run gets further: twice this one, or what the next call takes."""
        return math.ceil(100 * max(2 * (self.cap or 0.0), self.spent + amount)) / 100

    def _fits(self, amount: float) -> bool:
        return self.cap is None or self.spent + self.reserved + amount <= self.cap
