"""How long calls take, learned from those that came through: when to doubt one that has not."""

from __future__ import annotations

from collections import deque
from math import inf

# Calls that are remembered, and how many it takes before anything is concluded from them.
REMEMBERED = 1000
ENOUGH = 100
# The quantiles are computed anew after so many further calls.
REFRESH_EVERY = 50
P99 = 0.99
# A call beyond this multiple of the 99th percentile is taken for lost. Nothing below a second:
# a pause of this process must not look like a server that died.
LOST_AT = 4.0
HEDGED_AT = 1.5
SHORTEST_DEADLINE_S = 1.0
# So many calls in a row that were taken for lost: rather, the server has become slower.
FORGET_AFTER = 10
# The mean follows about so many calls.
MEAN_OF_CALLS = 50


class Latencies:
    """The recent latencies of one server, in seconds; `mean` is 0 until a call came through."""

    def __init__(self) -> None:
        self._recent: deque[float] = deque(maxlen=REMEMBERED)
        self._seen = 0
        self._lost_in_a_row = 0
        self._p99 = inf
        self.mean = 0.0

    @property
    def p99(self) -> float:
        """The 99th percentile; infinite until enough calls came through."""
        return self._p99

    def add(self, seconds: float) -> None:
        """A call came through after `seconds`."""
        if seconds > self.deadline_s(inf):  # so this process was stopped; the server was not slow
            return
        self._recent.append(seconds)
        self.mean = seconds if not self.mean else self.mean + (seconds - self.mean) / MEAN_OF_CALLS
        self._lost_in_a_row = 0
        self._seen += 1
        if self._seen >= ENOUGH and self._seen % REFRESH_EVERY == 0:
            ordered = sorted(self._recent)
            self._p99 = ordered[int(P99 * (len(ordered) - 1))]

    def lose(self) -> None:
        """A call was given up; after many in a row, what was learned no longer holds."""
        self._lost_in_a_row += 1
        if self._lost_in_a_row == FORGET_AFTER:
            self._recent.clear()
            self._seen, self._p99 = 0, inf

    def deadline_s(self, ceiling: float) -> float:
        """Seconds after which a call is given up, at most `ceiling`."""
        return min(ceiling, max(SHORTEST_DEADLINE_S, LOST_AT * self._p99))

    def hedge_after_s(self) -> float:
        """Seconds after which a second copy may be sent; infinite until that is known."""
        return HEDGED_AT * self._p99
