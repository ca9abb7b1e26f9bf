"""What a simulated server saw: arrivals and answers of each request, faults, load over time."""

from __future__ import annotations

from collections import Counter, defaultdict
from typing import Any

from mergeit_async.simulator.calls import body_digest
from mergeit_async.simulator.completions import Task
from mergeit_async.simulator.timeline import Timeline


class Stats:
    """Counts of one server since its start or the last `reset`.

    `answered` counts whole, well-formed 200s, whatever their text; `rejected` counts refusals by
    HTTP status, `faults` and `content_faults` injected ones by kind, `judge_faults` those of the
    answers that are `judged`. A flawed answer to one of the `repairs` is no content fault, but one
    of `repairs_failed`. An injected hang that is
    waited out is both a fault and answered. `tokens_charged` is what requests cost under the
    limits, 0 while there are none. `timeline` holds the same over time. Times are seconds on the
    monotonic clock.
    """

    def __init__(self, started_s: float = 0.0) -> None:
        """`started_s` is where the seconds of the timeline are counted from."""
        self.in_flight = 0
        self.timeline = Timeline(started_s)
        self.reset()

    def reset(self) -> None:
        """Forget all counts; requests in flight stay in flight."""
        self.arrivals = 0
        self.answered = 0
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self.cached_tokens = 0
        self.tokens_charged = 0
        self.rejected: Counter[int] = Counter()
        self.faults: Counter[str] = Counter()
        self.content_faults: Counter[str] = Counter()
        self.judge_faults: Counter[str] = Counter()
        self.judged = 0
        self.repairs = 0
        self.repairs_failed = 0
        self.connections_refused = 0
        self.peak_in_flight = self.in_flight
        self.first_arrival_s: float | None = None
        self.last_arrival_s: float | None = None
        self.timeline.clear()
        self._arrivals_of: defaultdict[bytes, int] = defaultdict(int)
        self._answers_of: defaultdict[bytes, int] = defaultdict(int)

    def arrive(self, digest: bytes, now_s: float) -> None:
        """Count a request that came in; `leave` must follow."""
        self.arrivals += 1
        self._arrivals_of[digest] += 1
        self.timeline.at(now_s).arrivals += 1
        if self.first_arrival_s is None:
            self.first_arrival_s = now_s
        self.last_arrival_s = now_s
        self.in_flight += 1
        if self.in_flight > self.peak_in_flight:
            self.peak_in_flight = self.in_flight

    def reject(self, status: int, now_s: float) -> None:
        """Count a refusal that is no injected fault."""
        self.rejected[status] += 1
        if status == 429:
            self.timeline.at(now_s).rejected_429 += 1

    def charge(self, requests: int, tokens: int, now_s: float) -> None:
        """Count what is charged to the limits."""
        self.tokens_charged += tokens
        tick = self.timeline.at(now_s)
        tick.admitted += requests
        tick.tokens += tokens

    def answer(
        self,
        digest: bytes,
        prompt_tokens: int,
        completion_tokens: int,
        now_s: float,
        cached_tokens: int = 0,
    ) -> None:
        """Count a good answer and the tokens it reports."""
        self.answered += 1
        self._answers_of[digest] += 1
        self.timeline.at(now_s).answered += 1
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens
        self.cached_tokens += cached_tokens

    def note_task(self, task: Task, fault: str | None) -> None:
        """Count what a good answer was about, and the fault in its text."""
        self.judged += task == "judge"
        self.repairs += task == "repair"
        if fault is None:
            return
        if task == "repair":
            self.repairs_failed += 1
        else:
            by_kind = self.judge_faults if task == "judge" else self.content_faults
            by_kind[fault] += 1

    def refuse_connection(self) -> None:
        """Count a connection that was closed at once, because the server is down."""
        self.connections_refused += 1

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
        counts = self._totals() | self._over_time()
        if digests:
            counts["requests"] = {
                digest.hex(): {"arrivals": arrivals, "answered": self._answers_of.get(digest, 0)}
                for digest, arrivals in list(self._arrivals_of.items())
            }
        return counts

    def _totals(self) -> dict[str, Any]:
        return {
            "arrivals": self.arrivals,
            "distinct_requests": len(self._arrivals_of),
            "answered": self.answered,
            "answered_more_than_once": sum(n > 1 for n in list(self._answers_of.values())),
            "rejected": {str(status): count for status, count in self.rejected.items()},
            "faults": dict(self.faults),
            "content_faults": dict(self.content_faults),
            "judge_faults": dict(self.judge_faults),
            "judged": self.judged,
            "repairs": self.repairs,
            "repairs_failed": self.repairs_failed,
            "prompt_tokens": self.prompt_tokens,
            "completion_tokens": self.completion_tokens,
            "cached_tokens": self.cached_tokens,
            "tokens_charged": self.tokens_charged,
            "connections_refused": self.connections_refused,
            "in_flight": self.in_flight,
            "peak_in_flight": self.peak_in_flight,
        }

    def _over_time(self) -> dict[str, Any]:
        timeline = self.timeline
        return {
            "started_s": timeline.started_s,
            "first_arrival_s": self.first_arrival_s,
            "last_arrival_s": self.last_arrival_s,
            "steady_arrivals_per_s": timeline.steady_rate(lambda tick: tick.arrivals),
            "steady_answers_per_s": timeline.steady_rate(lambda tick: tick.answered),
            "limits": timeline.limits(),
            "limits_used": timeline.limits_used(),
            "trace": timeline.trace(),
        }
