"""Limits that nobody tells: how many calls in flight, and how many a second, a server takes.

Both are AIMD controllers in the manner of congestion control. Only a refusal for too many
requests cuts, once an episode: what becomes of calls sent before the cut says nothing new. Other
trouble pauses growth, and a limit that is not used does not grow. Pure: the caller tells the time.
"""

from __future__ import annotations

from math import inf

# In flight at the start; doubles with each round of answers until the first refusal.
FIRST_WINDOW = 16
# A limit is used when four fifths of it are (as in inspect_ai).
USED_SHARE = 0.8
CUT = 0.9
# The cubic of RFC 9438: flat around the value at which the last refusal came, steeper beyond it,
# so that a limit which was lifted to its double is found again within half a minute.
PLATEAU_S = 8.0
STEEPNESS = (1 - CUT) / PLATEAU_S**3
# Below the rate that a server is known to take, a refusal is a stray one or the limit has fallen:
# it counts only where more than this share of the last calls was refused.
DENSE_SHARE = 0.1
SHARE_OF_CALLS = 30
# Calls in a shorter time than this are too few to measure a rate by.
SHORTEST_EPISODE_S = 1.0
# After trouble on the server's side nothing grows for so long.
PAUSE_S = 2.0
# The machine may have slept, or the process been stopped: from one event to the next, a limit
# grows for no longer than the first, and a rate is not measured over more than the second. That
# is the longest for which a server may ask to be left alone.
LONGEST_GROWTH_S = 1.0
LONGEST_SILENCE_S = 60.0


class Curve:
    """A limit that was found by refusals: what it was cut to, and how it grows from there.

    Infinite until the first refusal.
    """

    def __init__(self) -> None:
        self.cut_at = -inf
        self._lived_s = 0.0
        self._refused_share = 0.0
        self._peak = inf
        self._age_s = 0.0
        self._seen_at = 0.0
        self._paused_until = -inf

    @property
    def value(self) -> float:
        """The limit now."""
        return self._peak * (1.0 + STEEPNESS * (self._age_s - PLATEAU_S) ** 3)

    @property
    def is_dense(self) -> bool:
        """Whether too many of the last calls were refused for stray refusals."""
        return self._refused_share > DENSE_SHARE

    def begin(self, now: float) -> None:
        """The first call leaves."""
        self._seen_at = now

    def advance(self, now: float, *, is_used: bool) -> bool:
        """A call came through; only time in which the limit was used lets it grow."""
        self._refused_share *= 1 - 1 / SHARE_OF_CALLS
        grows = is_used and now >= self._paused_until
        if grows:
            self._age_s += min(now - self._seen_at, LONGEST_GROWTH_S)
        self._lived_s, self._seen_at = self.episode_s(now), now
        return grows

    def episode_s(self, now: float) -> float:
        """Seconds since the last cut, or since the beginning."""
        silence_s = now - self._seen_at
        return self._lived_s + (silence_s if silence_s <= LONGEST_SILENCE_S else 0.0)

    @property
    def is_news(self) -> bool:
        """Whether a refusal now tells that the limit lies lower than thought."""
        return self.value >= self._peak or self.is_dense

    def cut(self, measured: float, now: float) -> None:
        """Begin anew below what was `measured` when a call was refused."""
        self._peak, self._age_s, self._lived_s = measured, 0.0, 0.0
        self.cut_at = self._seen_at = now

    def refused(self) -> None:
        """A call was refused."""
        self._refused_share += (1 - self._refused_share) / SHARE_OF_CALLS

    def pause(self, now: float) -> None:
        """Do not grow for a while."""
        self._paused_until = now + PAUSE_S


class Window:
    """How many calls may be in flight: at least one, at most what the user allows."""

    def __init__(self, ceiling: int) -> None:
        self._curve = Curve()
        self._opened = float(FIRST_WINDOW)
        # Calls that ended since the last refusal.
        self._since_refusal = inf
        self.set_ceiling(ceiling)

    def set_ceiling(self, ceiling: int) -> None:
        """What the user allows from now on."""
        self.ceiling = ceiling
        self._resize()

    def answered(self, in_flight: int, now: float) -> None:
        """A call came through while `in_flight` were out, itself included."""
        self._since_refusal += 1
        grows = self._curve.advance(now, is_used=in_flight >= USED_SHARE * self.size)
        if grows and self.size < self.ceiling:
            self._opened += 1
            self._resize()

    def limited(self, in_flight: int, sent_at: float, now: float) -> None:
        """A call sent at `sent_at` was refused while `in_flight` were out, itself included.

        It takes two in one round: a server that is full refuses each further call. And it is no
        news about a window with free places.
        """
        self._curve.refused()
        is_second, self._since_refusal = self._since_refusal < self.size, 0
        is_news = sent_at > self._curve.cut_at and self._curve.is_news
        if is_second and is_news and in_flight >= USED_SHARE * self.size:
            self._curve.cut(max(1.0, in_flight - 1), now)
            # From here on the curve alone decides.
            self._opened = inf
            self._resize()

    def troubled(self, now: float) -> None:
        """The server failed otherwise: no growth for a while."""
        self._curve.pause(now)

    def _resize(self) -> None:
        """Calls that may be in flight from now on."""
        self.size = max(1, int(min(self.ceiling, self._opened, self._curve.value)))


class Pace:
    """How many calls a second may leave; unlimited until the first refusal.

    Between two refusals a server took exactly what it can take.
    """

    def __init__(self) -> None:
        self._curve = Curve()
        self._accepted = 0

    @property
    def per_second(self) -> float:
        """Calls a second that may leave; infinite before the first refusal."""
        return self._curve.value

    def sent(self, now: float) -> None:
        """A call leaves."""
        if not self._accepted and self._curve.cut_at == -inf:
            # Before it nothing was asked of the server, so nothing can be measured.
            self._curve.begin(now)
        self._accepted += 1

    def answered(self, now: float, *, is_used: bool) -> None:
        """A call came through; `is_used` tells whether calls wait for this limit."""
        self._curve.advance(now, is_used=is_used)

    def limited(self, sent_at: float, now: float, *, is_used: bool) -> bool:
        """A call sent at `sent_at` was refused; whether a pause is due beside the lower pace.

        It is no news about a pace that nobody waits for, nor while calls of before the cut end.
        """
        curve = self._curve
        curve.refused()
        if sent_at <= curve.cut_at or not curve.is_news or not (is_used or curve.value == inf):
            return False
        needs_pause = curve.value == inf or curve.is_dense
        episode_s = curve.episode_s(now)
        measured = max(1, self._accepted - 1) / max(episode_s, 0.1)
        is_measured = episode_s >= SHORTEST_EPISODE_S or curve.value == inf
        curve.cut(measured if is_measured else CUT * curve.value, now)
        self._accepted = 0
        return needs_pause

    def troubled(self, now: float) -> None:
        """The server failed otherwise: no growth for a while."""
        self._curve.pause(now)
