from __future__ import annotations

import asyncio
import io
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import pytest
from rich.console import Console

from mergeit_async.config import build_settings
from mergeit_async.engine.journal import open_journal
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.session import Session
from mergeit_async.errors import FaultKind, StoppedError
from mergeit_async.records import Outcome, Status
from mergeit_async.viewer.progress import News, Rate, bars, describe, duration, show_progress
from tests.calling import fault, lane
from tests.engine.conftest import JumpingLoop

ENDED = Counter({Status.MERGED: 1200, Status.KEPT: 30})


def merging(**fields: object) -> Progress:
    """A run at 1,330 of 5,000 groups, 100 of them from an earlier session."""
    state = {"topics": 50, "topics_planned": 50, "groups": 5000, "resumed": 100, "ended": ENDED}
    return Progress(began_at=time.monotonic() - 75, **(state | fields))


@pytest.mark.parametrize(
    ("progress", "rate", "text"),
    [
        (Progress(), 0, "reading: 0 rows"),
        (Progress("reading", 17_387), 0, "reading: 17,387 rows"),
        (Progress("embedding", 4096, 17_000), 0, "embedding: 4,096 of 17,000 rows"),
        (Progress("embedding", 0, 0), 0, "embedding: 0 rows"),
        (Progress("topics"), 0, "finding topics"),
        (Progress(topics=9), 0, "no groups yet"),
        (
            merging(topics_planned=49),
            12.4,
            "1,330 of 5,000+ groups · 1,200 merged · 30 kept · 12/s",
        ),
        (
            merging(),
            10,
            "1,330 of 5,000 groups · 1,200 merged · 30 kept · 10/s · 6 min 07 s left",
        ),
        (merging(), 0, "1,330 of 5,000 groups · 1,200 merged · 30 kept · 0/s"),
        (merging(stage="exporting"), 9, "writing the result"),
        (
            merging(ended=ENDED | Counter({Status.FAILED: 3670})),
            10,
            "5,000 of 5,000 groups · 1,200 merged · 30 kept · 3,670 failed · 10/s",
        ),
    ],
)
def test_each_stage_is_told_in_a_line_with_the_seconds_before_it(progress, rate, text):
    seconds, told = describe(progress, rate).split(" s  ", 1)
    assert told == text
    assert float(seconds) == pytest.approx(progress.elapsed_s, abs=1)


def drawn(progress: Progress, rate: float = 0.0) -> str:
    console = Console(file=io.StringIO(), width=130)
    with console.capture() as captured:
        console.print(bars(progress, rate))
    return captured.get()


@pytest.mark.parametrize(
    ("progress", "planning", "groups"),
    [
        (Progress(), "reading: 0 rows", "no groups yet"),
        (Progress("embedding", 0, 0), "embedding: 0 rows", "no groups yet"),
        (Progress(topics=9), "0 topics", "no groups yet"),
        (Progress(topics=9, topics_planned=9), "9 topics", "no groups yet"),
        (merging(), "50 topics", "1,330 of 5,000 groups"),
    ],
)
def test_both_bars_can_be_drawn_at_every_moment(progress, planning, groups):
    above, below = drawn(progress).splitlines()
    assert above.startswith("planning")
    assert planning in above
    assert below.startswith("merging")
    assert groups in below


def test_a_full_plan_with_half_of_its_groups_ended_is_a_full_bar_above_half_a_bar():
    above, below = (line.count("━") for line in drawn(merging(resumed=1270)).splitlines())
    assert (above, below) == (30, 15)


def test_the_rate_is_that_of_the_last_seconds_and_none_at_first():
    progress, rate, now = Progress(), Rate(), time.monotonic()
    assert rate.update(progress) == 0
    rate._seen.clear()
    rate._seen.extend([(now - 60, 0), (now - 10, 500)])
    progress.ended[Status.MERGED] = 540
    assert rate.update(progress) == pytest.approx(4, rel=0.05)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (61, "1 min 01 s"),
        (3599.7, "1 h 00 min"),
        (3661, "1 h 01 min"),
        (90_000, "25 h 00 min"),
    ],
)
def test_a_duration_is_told_as_a_person_would(seconds, text):
    assert duration(seconds) == text


def shown(progress: Progress, console: Console, seconds: float, *, stopped_s: float = 0.0) -> str:
    """What is displayed in so many seconds on a clock that jumps; after six it may be stopped."""

    async def act() -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(6, loop.jump, stopped_s)
        with anyio.move_on_after(seconds):
            await show_progress(progress, console)

    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        runner.run(act())
    return console.file.getvalue()


def test_where_there_is_no_terminal_a_line_is_written_every_few_seconds():
    console = Console(file=io.StringIO(), width=20)  # narrower than the line
    text = shown(merging(), console, seconds=17)
    assert [line[10:24] for line in text.splitlines()] == ["1,330 of 5,000"] * 3


def test_a_process_that_was_stopped_for_a_while_does_not_make_up_for_lines():
    console = Console(file=io.StringIO(), width=20)
    text = shown(merging(), console, seconds=70, stopped_s=60)
    assert len(text.splitlines()) == 2


def test_on_a_terminal_the_bars_are_redrawn_in_place_and_cleared_at_the_end():
    console = Console(file=io.StringIO(), width=100, force_terminal=True)
    progress = merging(ended=Counter())
    progress.count(Outcome(0, "group", Status.KEPT, 3, reason="fence"))
    text = shown(progress, console, seconds=2)
    assert text.count("1 kept") >= 8
    assert text.endswith("\x1b[2K")


# What goes wrong.

URLS = ("http://127.0.0.1:8001/v1", "http://127.0.0.1:8002/v1")


@asynccontextmanager
async def at_work(folder: Path) -> AsyncIterator[Progress]:
    """A run on two servers, with two calls in flight and one that waits."""
    settings = build_settings({"dataset": Path("r.jsonl"), "model": "m", "base_url": URLS})
    async with open_journal(folder / "journal.db") as journal:
        limiter = Limiter([lane(name=url, max_in_flight=1) for url in URLS])
        for _ in URLS:
            await limiter.acquire(1)
        third = asyncio.ensure_future(limiter.acquire(1))
        await asyncio.sleep(0)
        yield merging(session=Session(settings, limiter, journal))
        third.cancel()


def fail(progress: Progress, place: int, kind: FaultKind, times: int = 1) -> None:
    limiter = progress.session.limiter
    for _ in range(times):
        slot = limiter.lanes[place].take(1, anyio.current_time())
        limiter.faulted(slot, fault(kind))
        limiter.lanes[place].release(slot)


async def test_a_run_without_trouble_tells_only_what_is_in_flight_and_what_waits(tmp_path):
    async with at_work(tmp_path) as progress:
        text = describe(progress, 10)
    assert text.endswith(" · 10/s · 6 min 07 s left · 2 in flight, 1 waiting")


async def test_faults_and_the_servers_left_out_are_told_with_the_calls(tmp_path):
    async with at_work(tmp_path) as progress:
        fail(progress, 0, FaultKind.RATE_LIMIT, 18)
        fail(progress, 0, FaultKind.SERVER, 2)
        fail(progress, 1, FaultKind.AUTH)
        line, drawing = describe(progress, 10), drawn(progress, 10).splitlines()
    calls = (
        "2 in flight, 1 waiting · left out: 127.0.0.1:8002/v1 (auth)"
        " · faults: 18 × 429, 2 × server, 1 × auth"
    )
    assert line.endswith(f" left · {calls}")
    assert drawing[2].rstrip() == f"calls     {calls}"


async def test_a_server_left_out_and_one_that_is_back_are_news_once(tmp_path):
    async with at_work(tmp_path) as progress:
        news = News()
        assert news.update(progress) == []
        fail(progress, 1, FaultKind.AUTH)
        (line,) = news.update(progress)
        assert line.startswith(f"{URLS[1]} is left out: auth (HTTP 503): the server's words; check")
        assert news.update(progress) == []
        progress.session.limiter.lanes[1].revive()
        assert news.update(progress) == [f"{URLS[1]} is back."]
        fail(progress, 1, FaultKind.AUTH)
        assert news.update(progress) == [], "it comes and goes: once a minute is enough"
        fail(progress, 0, FaultKind.AUTH)
        assert news.update(progress) == [], "the run stops, and says why"


async def test_why_a_run_stops_is_news_as_long_as_calls_are_in_flight(tmp_path):
    async with at_work(tmp_path) as progress:
        news = News()
        progress.stopping = StoppedError("The account is empty.")
        (line,) = news.update(progress)
        assert (
            line == "Stopping: The account is empty. Waiting for 2 calls in flight, 80 s at most."
        )
        assert news.update(progress) == []
        assert " · stopping" in describe(progress, 10)
        progress.session.limiter.lanes[0].in_flight = 0
        progress.session.limiter.lanes[1].in_flight = 0
        assert News().update(progress) == []


def test_news_is_told_at_once_and_not_lost_at_the_end():
    console = Console(file=io.StringIO(), width=20)
    text = shown(merging(notices=["Look here."]), console, seconds=0.1)
    assert text == "Look here.\n"
