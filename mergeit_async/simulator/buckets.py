"""Limits per minute as token buckets, with the headers OpenAI uses to tell about them."""

from __future__ import annotations

from dataclasses import dataclass

from mergeit_async.simulator.settings import SimulatorSettings

# A level that should be whole comes out of the refill arithmetic a hair below it.
_ROUNDING = 1e-9


class TokenBucket:
    """Refills evenly, holds at most its capacity, and may be overdrawn by `debit`.

    Times are seconds on any clock that only moves forward.
    """

    def __init__(self, per_minute: float, burst_s: float, now_s: float) -> None:
        """Full at `now_s`; the capacity is `burst_s` seconds of refill, at least one token."""
        self.per_minute = per_minute
        self.capacity = _capacity(per_minute, burst_s)
        self._level = self.capacity
        self._as_of_s = now_s

    def level(self, now_s: float) -> float:
        """What can be taken at `now_s`; negative while overdrawn."""
        gained = (now_s - self._as_of_s) * self.per_minute / 60
        self._level = min(self.capacity, self._level + gained)
        self._as_of_s = now_s
        return self._level

    def wait_s(self, amount: float, now_s: float) -> float:
        """Seconds until `amount` can be taken if nobody else takes any; 0 when it can be now."""
        missing = amount - self.level(now_s)
        return missing * 60 / self.per_minute if missing > _ROUNDING else 0.0

    def debit(self, amount: float, now_s: float) -> None:
        """Take `amount`, whether it is there or not."""
        self._level = self.level(now_s) - amount

    def resize(self, per_minute: float, burst_s: float, now_s: float) -> None:
        """Refill at another rate from `now_s` on; the bucket stays as full in proportion."""
        share = self.level(now_s) / self.capacity
        self.per_minute = per_minute
        self.capacity = _capacity(per_minute, burst_s)
        self._level = share * self.capacity


@dataclass(frozen=True, slots=True)
class Rejection:
    """A request over a limit: which one, and the seconds to wait (None: it can never fit)."""

    limit: str
    per_minute: float
    wait_s: float | None


class Limits:
    """The limits of one server, on requests and on tokens.

    `exist` tells whether there are any; `charges_max` that a request is charged for the longest
    answer it allows, when it comes.
    """

    def __init__(self, settings: SimulatorSettings, now_s: float) -> None:
        self.charges_max = settings.tpm_charge == "prompt+max"
        self._buckets: dict[str, TokenBucket] = {}
        self.change(settings, now_s)

    def change(self, settings: SimulatorSettings, now_s: float) -> None:
        """Take other limits from `now_s` on; a limit that is new begins with a full bucket."""
        old = self._buckets
        self._buckets = {}
        for name, limit in {"requests": settings.rpm, "tokens": settings.tpm}.items():
            if limit is not None:
                bucket = old.get(name) or TokenBucket(limit, settings.burst_s, now_s)
                bucket.resize(limit, settings.burst_s, now_s)
                self._buckets[name] = bucket
        self.exist = bool(self._buckets)

    def admit(self, tokens: int, now_s: float) -> Rejection | None:
        """Charge one request to all limits, or to none of them and say which one it breaks."""
        costs = {"requests": 1, "tokens": tokens}
        for name, bucket in self._buckets.items():
            if costs[name] > bucket.capacity:
                return Rejection(name, bucket.per_minute, None)
            if wait_s := bucket.wait_s(costs[name], now_s):
                return Rejection(name, bucket.per_minute, wait_s)
        for name, bucket in self._buckets.items():
            bucket.debit(costs[name], now_s)
        return None

    def settle(self, tokens: int, now_s: float) -> None:
        """Charge tokens that could not be known before, even where that overdraws the limit."""
        if "tokens" in self._buckets:
            self._buckets["tokens"].debit(tokens, now_s)

    def headers(self, now_s: float) -> dict[str, str]:
        """What is left of each limit, and in which time it is whole again."""
        told = {}
        for name, bucket in self._buckets.items():
            left = max(0, int(bucket.level(now_s) + _ROUNDING))
            full_in_s = bucket.wait_s(bucket.capacity, now_s)
            told[f"x-ratelimit-limit-{name}"] = str(int(bucket.per_minute))
            told[f"x-ratelimit-remaining-{name}"] = str(left)
            told[f"x-ratelimit-reset-{name}"] = spell_duration(full_in_s)
        return told


def spell_duration(seconds: float) -> str:
    """A duration the way OpenAI's headers spell it: 120ms, 1.5s, 1m2s, 1h0m0s."""
    millis = round(seconds * 1000)
    if millis < 1000:
        return f"{millis}ms"
    minutes, rest = divmod(millis, 60_000)
    hours, minutes = divmod(minutes, 60)
    head = f"{hours}h{minutes}m" if hours else f"{minutes}m" if minutes else ""
    return f"{head}{rest / 1000:g}s"


def _capacity(per_minute: float, burst_s: float) -> float:
    return max(1.0, per_minute * burst_s / 60)
