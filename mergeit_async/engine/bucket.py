"""One limit of one server, requests or tokens a minute, as a bucket that fills evenly.

Pure: times are seconds on a clock that only moves forward, and are given by the caller.
"""

from __future__ import annotations

from math import inf

from mergeit_async.records import Quota

MINUTE_S = 60.0
# What may gather while nobody sends. No minute's worth leaves at once, not after a pause either.
WINDOW_S = 0.25
# A level that should be whole comes out of the refill arithmetic a hair below it.
_ROUNDING = 1e-6


class Bucket:
    """Grants amounts at a steady rate; empty at the start, so that nothing begins with a burst.

    A request larger than what ever gathers waits for a full bucket, not for one as large as
    itself: it overdraws, and those behind it wait until its debt is paid.
    """

    def __init__(self, per_minute: float, now: float) -> None:
        self._level = 0.0
        self._filled_at = now
        self._per_second = 0.0
        self._capacity = 0.0
        self.set_rate(per_minute, now)

    @property
    def per_minute(self) -> float:
        """The rate at which it fills."""
        return self._per_second * MINUTE_S

    def set_rate(self, per_minute: float, now: float) -> None:
        """Fill at another rate from `now` on."""
        self._fill(now)
        self._per_second = per_minute / MINUTE_S
        self._capacity = max(1.0, self._per_second * WINDOW_S)

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` may leave if nothing else does; 0 when it may now."""
        self._fill(now)
        missing = min(amount, self._capacity) - self._level
        return missing / self._per_second if missing > _ROUNDING else 0.0

    def is_used(self, now: float) -> bool:
        """Whether it holds anybody back: one that nobody empties is full."""
        self._fill(now)
        return self._level < self._capacity

    def take(self, amount: float) -> None:
        """Take `amount`; a negative one gives back what was taken too much."""
        self._level -= amount

    def _fill(self, now: float) -> None:
        gained = (now - self._filled_at) * self._per_second
        self._level = min(max(self._capacity, self._level), self._level + gained)
        self._filled_at = now


class Allowance:
    """What may be sent under one limit: by a rate, and by what the server says is left.

    The rate is the user's, else the one that the server's headers tell, else unlimited. What is
    left as told beside an answer is corrected by what was sent since that request and by what
    has been refilled, so that a quota shared with others is obeyed before it is broken.
    """

    def __init__(self, per_minute: float | None, now: float) -> None:
        self._set_by_user = per_minute
        self._bucket = Bucket(per_minute, now) if per_minute else None
        self._taken = 0.0
        self._left = inf
        self._left_at = now
        self._told_per_second = 0.0
        self._whole_at = now

    @property
    def per_minute(self) -> float | None:
        """The rate in force; None while none is known."""
        return self._bucket.per_minute if self._bucket else None

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until `amount` may leave if nothing else does."""
        by_rate = self._bucket.wait_s(amount, now) if self._bucket else 0.0
        return max(by_rate, self._wait_for_server(amount, now)) if self._left < inf else by_rate

    def take(self, amount: float) -> float:
        """Take `amount`; returns the mark to hand to `told` with the answer to this request."""
        if self._bucket:
            self._bucket.take(amount)
        self._taken += amount
        self._left -= amount
        return self._taken

    def give_back(self, amount: float) -> None:
        """Correct a reservation by what was not used; what the server says is left is no guess."""
        if self._bucket:
            self._bucket.take(-amount)

    def set_rate(self, per_minute: float | None, now: float) -> None:
        """The user's own rate from now on; None leaves it to the server."""
        self._set_by_user = per_minute
        self._apply(per_minute or self._told_per_second * MINUTE_S or None, now)

    def told(self, quota: Quota, mark: float, sent_at: float, now: float) -> None:
        """The headers of an answer to the request with this mark, sent at `sent_at`."""
        if quota.per_minute:
            self._told_per_second = quota.per_minute / MINUTE_S
            rate = min(quota.per_minute, self._set_by_user or inf)
            if self.per_minute != rate:
                self._apply(rate, now)
        if quota.remaining is not None:
            self._left = quota.remaining - (self._taken - mark)
            self._left_at = sent_at
            self._whole_at = now + (quota.reset_s if quota.reset_s is not None else MINUTE_S)

    def _apply(self, per_minute: float | None, now: float) -> None:
        if per_minute is None:
            self._bucket = None
        elif self._bucket is None:
            self._bucket = Bucket(per_minute, now)
        else:
            self._bucket.set_rate(per_minute, now)

    def _wait_for_server(self, amount: float, now: float) -> float:
        """Seconds until the server has `amount` again, by its own account."""
        self._left += max(0.0, now - self._left_at) * self._told_per_second
        self._left_at = max(now, self._left_at)
        missing = amount - self._left
        if missing <= 0:
            return 0.0
        until_whole = max(0.0, self._whole_at - now)
        if not self._told_per_second:
            if not until_whole:
                self._left = inf
            return until_whole
        return min(missing / self._told_per_second, max(until_whole, 1.0))
