"""Load over time: what came in, was answered, refused and charged, and how much of the limits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass

_TICKS_PER_S = 10
# Start-up and tail of a run are no steady load.
_TRIMMED_SHARE = 0.1

Trace = list[tuple[int, int, int, int, int]]


@dataclass(slots=True)
class Tick:
    """Counts of a tenth of a second; `admitted` and `tokens` were charged to the limits."""

    arrivals: int = 0
    answered: int = 0
    rejected_429: int = 0
    admitted: int = 0
    tokens: int = 0


@dataclass(frozen=True, slots=True)
class LimitStep:
    """The limits per minute from a tick on, None for no limit."""

    tick: int
    rpm: float | None
    tpm: float | None


class Timeline:
    """Counts by time since `started_s`, on the clock of the times handed in."""

    def __init__(self, started_s: float) -> None:
        self.started_s = started_s
        self._ticks: defaultdict[int, Tick] = defaultdict(Tick)
        self._steps: list[LimitStep] = []

    def at(self, now_s: float) -> Tick:
        """The counts to add to at `now_s`."""
        return self._ticks[int((now_s - self.started_s) * _TICKS_PER_S)]

    def set_limits(self, rpm: float | None, tpm: float | None, now_s: float) -> None:
        """Note the limits that hold from `now_s` on, where they are others than before."""
        if not self._steps or (rpm, tpm) != (self._steps[-1].rpm, self._steps[-1].tpm):
            self._steps.append(LimitStep(self._number(now_s), rpm, tpm))

    def clear(self) -> None:
        """Forget all counts; the start and the limits stay."""
        self._ticks.clear()

    def trace(self) -> Trace:
        """(second, arrivals, answered, rejected_429, tokens) of each second, from first to last."""
        seconds: defaultdict[int, Tick] = defaultdict(Tick)
        for number, tick in list(self._ticks.items()):
            second = seconds[number // _TICKS_PER_S]
            second.arrivals += tick.arrivals
            second.answered += tick.answered
            second.rejected_429 += tick.rejected_429
            second.tokens += tick.tokens
        return [(number, *_traced(seconds[number])) for number in _span(seconds)]

    def limits(self) -> list[tuple[float, float | None, float | None]]:
        """(second, rpm, tpm) of each change of the limits."""
        return [(step.tick / _TICKS_PER_S, step.rpm, step.tpm) for step in self._steps]

    def steady_rate(self, count: Callable[[Tick], int]) -> float:
        """Events per second over the middle 80 % of the time in which there were any."""
        ticks = list(self._ticks.items())
        counts = {number: n for number, tick in ticks if (n := count(tick))}
        steady = _trim(_span(counts))
        total = sum(counts.get(number, 0) for number in steady)
        return total * _TICKS_PER_S / len(steady) if steady else 0.0

    def limits_used(self) -> dict[str, dict[str, float | None]]:
        """What was charged to each limit, as a share of what it gave in that time.

        `whole` counts from the first arrival to the last, and may pass 1 where a full bucket was
        emptied; `steady` is the middle 80 % of that time. What a limit gives is the integral of its
        rate, whatever it was changed to in between. Time without a limit does not count; None
        where there was no other.
        """
        whole = _span([number for number, tick in list(self._ticks.items()) if tick.arrivals])
        windows = {"steady": _trim(whole), "whole": whole}
        return {
            "rpm": {
                name: self._share_used(window, lambda step: step.rpm, lambda tick: tick.admitted)
                for name, window in windows.items()
            },
            "tpm": {
                name: self._share_used(window, lambda step: step.tpm, lambda tick: tick.tokens)
                for name, window in windows.items()
            },
        }

    def _share_used(
        self,
        window: range,
        limit_of: Callable[[LimitStep], float | None],
        charged_in: Callable[[Tick], int],
    ) -> float | None:
        given = charged = 0.0
        for step, ticks in self._stretches(window):
            if (per_minute := limit_of(step)) is not None:
                given += per_minute / 60 * len(ticks) / _TICKS_PER_S
                charged += sum(charged_in(self._ticks[n]) for n in ticks if n in self._ticks)
        return charged / given if given else None

    def _stretches(self, window: range) -> Iterator[tuple[LimitStep, range]]:
        """The parts of `window` with the limits that held in them."""
        ends = [step.tick for step in self._steps[1:]] + [window.stop]
        for step, end in zip(self._steps, ends, strict=False):
            yield step, range(max(step.tick, window.start), min(end, window.stop))

    def _number(self, now_s: float) -> int:
        return int((now_s - self.started_s) * _TICKS_PER_S)


def _traced(second: Tick) -> tuple[int, int, int, int]:
    return second.arrivals, second.answered, second.rejected_429, second.tokens


def _span(numbers: Collection[int]) -> range:
    return range(min(numbers), max(numbers) + 1) if numbers else range(0)


def _trim(span: range) -> range:
    trimmed = int(len(span) * _TRIMMED_SHARE)
    return span[trimmed : len(span) - trimmed]
