"""What a simulated server saw: arrivals and answers of each request, faults, load over time."""

from __future__ import annotations

from collections import Counter, defaultdict
from hashlib import blake2b
from typing import Any

_SLOT_S = 0.1
# Start-up and tail of a run are no steady load.
_TRIMMED_SHARE = 0.1


def body_digest(body: bytes) -> bytes:
    """What a request is counted under: the 128-bit BLAKE2b of its body."""
    return blake2b(body, digest_size=16).digest()


class Stats:
    """Counts of one server since its start or the last `reset`.

    `answered` counts whole, well-formed 200s, whatever their text; `rejected` counts refusals by
    HTTP status, `faults` and `content_faults` injected ones by kind. An injected hang that is
    waited out is both a fault and answered. Times are seconds on the monotonic clock.
    """

    def __init__(self) -> None:
        self.in_flight = 0
        self.reset()

    def reset(self) -> None:
        """Forget all counts; requests in flight stay in flight."""
        self.arrivals = 0
        self.answered = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.rejected: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.content_faults: Counter[str] = Counter()
        self.peak_in_flight = self.in_flight
        self.first_arrival_s: float | None = None
        self.last_arrival_s: float | None = None
        self._arrivals_of: defaultdict[bytes, int] = defaultdict(int)
        self._answers_of: defaultdict[bytes, int] = defaultdict(int)
        self._arrivals_in: defaultdict[int, int] = defaultdict(int)
        self._answers_in: defaultdict[int, int] = defaultdict(int)

    def arrive(self, digest: bytes, now_s: float) -> None:
        """Count a request that came in; `leave` must follow."""
        self.arrivals += 1
        self._arrivals_of[digest] += 1
        self._arrivals_in[int(now_s / _SLOT_S)] += 1
        if self.first_arrival_s is None:
            self.first_arrival_s = now_s
        self.last_arrival_s = now_s
        self.in_flight += 1
        self.peak_in_flight = max(self.peak_in_flight, self.in_flight)

    def answer(
        self, digest: bytes, prompt_tokens: int, completion_tokens: int, now_s: float
    ) -> None:
        """Count a good answer and the tokens it reports."""
        self.answered += 1
        self._answers_of[digest] += 1
        self._answers_in[int(now_s / _SLOT_S)] += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def leave(self) -> None:
        """Count a request as no longer in flight, however it ended."""
        self.in_flight -= 1

    def arrivals_of(self, body: bytes) -> int:
        """How often the request with this body came in."""
        return self._arrivals_of.get(body_digest(body), 0)

    def answers_of(self, body: bytes) -> int:
        """How often the request with this body was answered well."""
        return self._answers_of.get(body_digest(body), 0)

    def snapshot(self, digests: bool = True) -> dict[str, Any]:
        """All counts as JSON values; `digests` adds arrivals and answers of each request."""
        counts = self._totals() | self._rates()
        if digests:
            counts["requests"] = {
                digest.hex(): {"arrivals": arrivals, "answered": self._answers_of.get(digest, 0)}
                for digest, arrivals in self._arrivals_of.items()
            }
        return counts

    def _totals(self) -> dict[str, Any]:
        return {
            "arrivals": self.arrivals,
            "distinct_requests": len(self._arrivals_of),
            "answered": self.answered,
            "answered_more_than_once": sum(n > 1 for n in self._answers_of.values()),
            "rejected": {str(status): count for status, count in self.rejected.items()},
            "faults": dict(self.faults),
            "content_faults": dict(self.content_faults),
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
        }

    def _rates(self) -> dict[str, Any]:
        return {
            "first_arrival_s": self.first_arrival_s,
            "last_arrival_s": self.last_arrival_s,
            "steady_arrivals_per_s": _steady_rate(self._arrivals_in),
            "steady_answers_per_s": _steady_rate(self._answers_in),
        }


def _steady_rate(slots: dict[int, int]) -> float:
    """Events per second over the middle 80 % of the time in which there were any."""
    if not slots:
        return 0.0
    first, last = min(slots), max(slots)
    trimmed = int((last - first + 1) * _TRIMMED_SHARE)
    steady = range(first + trimmed, last - trimmed + 1)
    return sum(slots.get(slot, 0) for slot in steady) / (len(steady) * _SLOT_S)
