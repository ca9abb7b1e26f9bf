"""What a run is doing, on stderr: live bars on a terminal, log lines elsewhere."""

from __future__ import annotations

import time
from collections import deque

import anyio
from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from mergeit_async.engine.progress import Progress
from mergeit_async.records import Status

REFRESH_S = 0.25
LOG_EVERY_S = 5.0
RATE_WINDOW_S = 20.0


async def show_progress(progress: Progress, console: Console) -> None:
    """Display `progress` until cancelled."""
    if console.is_terminal:
        await draw_live(progress, console)
    else:
        await log_lines(progress, console)


async def draw_live(progress: Progress, console: Console) -> None:
    """Two bars that are redrawn in place: planning above, merging below."""
    rate = Rate()
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            live.update(bars(progress, rate.update(progress)), refresh=True)
            await anyio.sleep(REFRESH_S)


async def log_lines(progress: Progress, console: Console) -> None:
    """One plain line every few seconds."""
    rate = Rate()
    while True:
        await anyio.sleep(LOG_EVERY_S)
        line = describe(progress, rate.update(progress))
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


def bars(progress: Progress, rate: float) -> Table:
    """The live display: planning and merging, each with a bar and its numbers."""
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
    return table


def bar(done: int, total: int | None) -> ProgressBar:
    """A bar; it pulses while the total is not known."""
    return ProgressBar(total=total or None, completed=done, width=30, pulse=not total)


def describe(progress: Progress, rate: float) -> str:
    """The state of a run in one line."""
    if progress.stage == "exporting":
        return f"{progress.elapsed_s:6.0f} s  writing the result"
    if not progress.topics:
        return f"{progress.elapsed_s:6.0f} s  {planning_text(progress)}"
    return f"{progress.elapsed_s:6.0f} s  {merging_text(progress, rate)}"


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
    if session := progress.session:
        parts.append(f"{session.limiter.in_flight} in flight")
        if session.budget.spent:
            parts.append(dollars(session.budget.spent))
    left = progress.groups - progress.finished_groups
    if progress.is_planned and rate > 0 and left > 0:
        parts.append(f"{duration(left / rate)} left")
    return " · ".join(parts)


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
