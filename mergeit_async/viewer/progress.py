"""What a run is doing, on stderr: live bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from math import inf

import anyio
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mergeit_async.engine.faults import RULES
from mergeit_async.engine.lane import Lane
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.session import Session
from mergeit_async.errors import FaultKind, ProviderError
from mergeit_async.records import Status

REFRESH_S = 0.25
LOG_EVERY_S = 5.0
RATE_WINDOW_S = 20.0
FAULTS_SHOWN = 4
JUDGING = "judging"
TELL_AGAIN_S = 60.0


async def show_progress(progress: Progress, console: Console) -> None:
    """Display `progress` until cancelled."""
    if console.is_terminal:
        await draw_live(progress, console)
    else:
        await log_lines(progress, console)


async def draw_live(progress: Progress, console: Console) -> None:
    """Two bars that are redrawn in place: planning above, merging below; news above both."""
    rate, news = Rate(), News()
    with (
        Live(console=console, auto_refresh=False, transient=True) as live,
        news.told(progress, live.console),
    ):
        while True:
            news.tell(progress, live.console)
            live.update(bars(progress, rate.update(progress)), refresh=True)
            await anyio.sleep(REFRESH_S)


async def log_lines(progress: Progress, console: Console) -> None:
    """One plain line every few seconds, and news at once."""
    rate, news = Rate(), News()
    with news.told(progress, console):
        next_at = anyio.current_time() + LOG_EVERY_S
        while True:
            news.tell(progress, console)
            if anyio.current_time() >= next_at:
                write_line(console, describe(progress, rate.update(progress)))
                next_at = anyio.current_time() + LOG_EVERY_S
            await anyio.sleep(REFRESH_S)


def write_line(console: Console, line: str) -> None:
    """A line as it is."""
    console.print(line, highlight=False, markup=False, soft_wrap=True)


class Rate:
    """Groups a second over the last seconds."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque([(time.monotonic(), 0)])

    def update(self, progress: Progress) -> float:
        """The rate now; 0 while nothing has ended."""
        now, ended = time.monotonic(), progress.ended.total()
        self._seen.append((now, ended))
        while now - self._seen[0][0] > RATE_WINDOW_S:
            self._seen.popleft()
        since, before = self._seen[0]
        return (ended - before) / (now - since) if now > since else 0.0


class News:
    """What a person should hear of once, when it happens."""

    def __init__(self) -> None:
        self._n_notices = 0
        self._left_out: set[str] = set()
        self._told_at: dict[str, float] = {}
        self._is_stopping = False

    @contextmanager
    def told(self, progress: Progress, console: Console) -> Iterator[None]:
        """Tell at the end of the block what happened since the last look."""
        try:
            yield
        finally:
            self.tell(progress, console)

    def tell(self, progress: Progress, console: Console) -> None:
        """Write a line for each thing that is new."""
        for line in self.update(progress):
            write_line(console, line)

    def update(self, progress: Progress) -> list[str]:
        """The sentences that are new."""
        notices = progress.notices[self._n_notices :]
        self._n_notices += len(notices)
        if progress.session is None:
            return notices
        lanes = progress.session.limiter.lanes
        return [*notices, *self._of_lanes(lanes), *self._of_stopping(progress, progress.session)]

    def _of_lanes(self, lanes: Sequence[Lane]) -> Iterator[str]:
        if all(lane.is_out for lane in lanes):  # then the run has something to say
            return
        now = time.monotonic()
        for lane in lanes:
            was_out = lane.name in self._left_out
            # One that comes and goes would fill the log of a night.
            is_due = now - self._told_at.get(lane.name, -inf) >= TELL_AGAIN_S
            if was_out and not lane.is_out:
                self._left_out.remove(lane.name)
                yield f"{lane.name} is back."
            elif lane.is_out and not was_out and is_due and lane.last_fault:
                self._left_out.add(lane.name)
                self._told_at[lane.name] = now
                yield left_out_text(lane.name, lane.last_fault)

    def _of_stopping(self, progress: Progress, session: Session) -> Iterator[str]:
        in_flight = session.limiter.in_flight
        if progress.stopping is None or self._is_stopping or not in_flight:
            return
        self._is_stopping = True
        why, at_most = str(progress.stopping).rstrip("."), f"{session.caller.timeout_s:g} s"
        calls = "call" if in_flight == 1 else "calls"
        yield f"Stopping: {why}. Waiting for {in_flight} {calls} in flight, {at_most} at most."


def left_out_text(server: str, why: ProviderError) -> str:
    """The news that a server is left out."""
    return f"{server} is left out: {why}; {RULES[why.kind].advice}. The others carry on."


def bars(progress: Progress, rate: float) -> Group:
    """The live display: a bar and numbers for each stage, and the calls."""
    table = Table.grid(padding=(0, 1))
    table.add_column(width=9)
    table.add_column(width=30)
    table.add_column(overflow="ellipsis", no_wrap=True)
    planning = (
        (progress.topics_planned, progress.topics, f"{progress.topics_planned} topics")
        if progress.topics
        else (progress.done, progress.total, planning_text(progress))
    )
    table.add_row("planning", bar(planning[0], planning[1]), Text(planning[2]))
    total = progress.groups if progress.is_planned else None
    table.add_row(
        "merging",
        bar(progress.finished_groups, total),
        Text(merging_text(progress, rate)),
    )
    if progress.stage == JUDGING:
        table.add_row(JUDGING, bar(progress.done, progress.total), Text(judging_text(progress)))
    if progress.session is None:
        return Group(table)
    calls = f"{'calls':<9} {calls_text(progress.session)}"
    return Group(table, Text(calls, overflow="ellipsis", no_wrap=True))


def bar(done: int, total: int | None) -> ProgressBar:
    """A bar; it pulses while the total is not known."""
    return ProgressBar(total=total or None, completed=done, width=30, pulse=not total)


def describe(progress: Progress, rate: float) -> str:
    """The state of a run in one line."""
    if progress.stage == "exporting":
        return f"{progress.elapsed_s:6.0f} s  writing the result"
    if not progress.topics:
        return f"{progress.elapsed_s:6.0f} s  {planning_text(progress)}"
    calls = f" · {calls_text(progress.session)}" if progress.session else ""
    if progress.stage == JUDGING:
        return f"{progress.elapsed_s:6.0f} s  judged {judging_text(progress)}{calls}"
    return f"{progress.elapsed_s:6.0f} s  {merging_text(progress, rate)}{calls}"


def planning_text(progress: Progress) -> str:
    """What stage 1 is at."""
    if progress.stage == "topics":
        return "finding topics"
    of_total = f" of {progress.total:,}" if progress.total else ""
    return f"{progress.stage}: {progress.done:,}{of_total} rows"


def merging_text(progress: Progress, rate: float) -> str:
    """What stage 2 is at: groups ended, by status, and the time left once the plan is known."""
    if not progress.groups:
        return "no groups yet"
    ended = progress.ended
    planned = f"{progress.groups:,}" + ("" if progress.is_planned else "+")
    parts = [
        f"{progress.finished_groups:,} of {planned} groups",
        f"{ended[Status.MERGED]:,} merged",
        f"{ended[Status.KEPT]:,} kept",
    ]
    if ended[Status.FAILED]:
        parts.append(f"{ended[Status.FAILED]:,} failed")
    parts.append(f"{rate:,.0f}/s")
    if (session := progress.session) and session.budget.spent:
        parts.append(dollars(session.budget.spent))
    left = progress.groups - progress.finished_groups
    if progress.stopping:
        parts.append("stopping")
    elif progress.is_planned and rate > 0 and left > 0:
        parts.append(f"{duration(left / rate)} left")
    return " · ".join(parts)


def judging_text(progress: Progress) -> str:
    """How far the judge of an A/B run is."""
    spent = progress.session.budget.spent if progress.session else 0.0
    cost = f" · {dollars(spent)}" if spent else ""
    return f"{progress.done:,} of {progress.total or 0:,} groups{cost}"


def calls_text(session: Session) -> str:
    """The calls now, the servers that are left out, and the faults of this session by kind."""
    limiter = session.limiter
    waiting = f", {session.waiting:,} waiting" if session.waiting else ""
    parts = [f"{limiter.in_flight:,} in flight{waiting}"]
    if left_out := [lane_text(lane) for lane in limiter.lanes if lane.is_out]:
        parts.append("left out: " + ", ".join(left_out))
    if limiter.faults:
        counts = limiter.faults.most_common(FAULTS_SHOWN)
        parts.append("faults: " + ", ".join(f"{count:,} × {word(kind)}" for kind, count in counts))
    return " · ".join(parts)


def word(kind: FaultKind) -> str:
    """A kind of fault as people call it."""
    return "429" if kind is FaultKind.RATE_LIMIT else str(kind)


def lane_text(lane: Lane) -> str:
    """A server that is left out, in a few words."""
    why = f" ({lane.last_fault.kind})" if lane.last_fault else ""
    return lane.name.partition("://")[2] + why


def dollars(amount: float) -> str:
    """US dollars, small amounts with more digits."""
    return f"${amount:,.2f}" if amount >= 10 else f"${amount:.4f}"


def duration(seconds: float) -> str:
    """Seconds as a person says them."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes:02d} min"
    return f"{minutes} min {rest:02d} s" if minutes else f"{rest} s"
