"""Merges are checked in a process of their own, and what happens to that process is told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import anyio
import orjson
import pytest

from mergeit_async.engine.inspector import (
    PROGRAM,
    Channel,
    Inspector,
    Knowledge,
    open_inspector,
)
from mergeit_async.engine.inspector_process import answer
from mergeit_async.errors import StoppedError
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import ChatReply, Example, Refusal, Row
from tests.running import wait_until

SOURCES = (
    Row("a", "Name the longest river in France.", "", "The Loire, 1,006 km.", 0, 1),
    Row("b", "Name the longest river in Spain.", "", "The Ebro, 930 km.", 1, 2),
)
FAITHFUL = Example(
    "Name the longest river in France and the longest one in Spain.",
    "",
    "In France it is the Loire, 1,006 km long; in Spain it is the Ebro, 930 km.",
)
LOSSY = FAITHFUL._replace(output="In France it is the Loire, 1,006 km long.")


def said(row: Example) -> ChatReply:
    return ChatReply(orjson.dumps(row._asdict()).decode(), "stop")


@pytest.fixture
def words(tmp_path: Path) -> Path:
    path = tmp_path / "words.json"
    path.write_bytes(WordWeights.count(row.text for row in SOURCES).to_json())
    return path


@pytest.fixture
def structural(tmp_path: Path) -> Knowledge:
    """What the structural gate needs, which is nothing."""
    return Knowledge(0.0, tmp_path / "no-words.json")


def inspectors(of: int | None = None) -> list[int]:
    """The processes that check merges for this process, or for another."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            is_child = status.read_text().rsplit(")", 1)[1].split()[1] == str(of or os.getpid())
            if is_child and PROGRAM in (status.parent / "cmdline").read_text():
                found.append(int(status.parent.name))
    return found


def is_there(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


async def test_both_gates_are_asked_and_say_what_is_missing(words):
    async with open_inspector(Knowledge(0.5, words)) as inspector:
        good = await inspector.inspect(said(FAITHFUL), SOURCES)
        bad = await inspector.inspect(said(LOSSY), SOURCES)
    assert good.result == FAITHFUL
    assert isinstance(bad.result, Refusal)
    assert any("930" in defect for defect in bad.defects)
    assert bad.information < 0.5 < good.information
    assert bad.scores["sources"][0]["information"] > bad.scores["sources"][1]["information"]


async def test_without_a_least_information_only_the_structure_is_looked_at(structural):
    async with open_inspector(structural) as inspector:
        found = await inspector.inspect(said(LOSSY), SOURCES)
    assert (found.result, found.information, found.scores) == (LOSSY, None, None)


async def test_a_group_without_a_reply_is_composed(words):
    async with open_inspector(Knowledge(0.5, words)) as inspector:
        found = await inspector.inspect(None, SOURCES)
    assert all(row.output in found.result.output for row in SOURCES)
    assert found.information > 0.99


async def test_many_cases_go_over_in_few_batches(structural, monkeypatch):
    batches: list[int] = []
    send = Channel.send

    def count(self: Channel, batch: list[object]) -> None:
        batches.append(len(batch))
        send(self, batch)

    monkeypatch.setattr(Channel, "send", count)
    async with open_inspector(structural) as inspector:
        await inspector.inspect(said(FAITHFUL), SOURCES)
        merges = [FAITHFUL._replace(input=str(number)) for number in range(60)]
        verdicts = await asyncio.gather(
            *(inspector.inspect(said(merged), SOURCES) for merged in merges)
        )
    assert [verdict.result for verdict in verdicts] == merges
    assert batches == [1, 1, 1, 58]


async def test_more_processes_join_in_where_much_is_to_be_checked(structural, monkeypatch):
    monkeypatch.setattr("mergeit_async.engine.inspector.MOST_PROCESSES", 3)
    long = said(FAITHFUL._replace(output="one more word " * 20_000))
    async with open_inspector(structural) as inspector:
        await inspector.inspect(said(FAITHFUL), SOURCES)
        assert len(inspectors()) == 1
        for _ in range(3):
            await asyncio.gather(*(inspector.inspect(long, SOURCES) for _ in range(400)))
        assert len(inspectors()) == 3
    assert inspectors() == []


async def test_the_event_loop_goes_on_while_a_merge_is_checked(words):
    long = Row("c", "Sum up.", " ".join(f"word{n} {n}" for n in range(8_000)), "Done.", 2, 3)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0.001)
            turns += 1

    async with open_inspector(Knowledge(0.5, words)) as inspector:
        await inspector.inspect(said(FAITHFUL), SOURCES)
        began = time.monotonic()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(count)
            await asyncio.gather(
                *(inspector.inspect(said(FAITHFUL), (*SOURCES, long)) for _ in range(20))
            )
            tasks.cancel_scope.cancel()
        took_s = time.monotonic() - began
    assert turns > 100 * took_s, "of 1,000 a second"


async def test_a_process_that_is_killed_stops_all_who_wait_and_all_who_come_later(structural):
    async def ask(inspector: Inspector) -> None:
        with pytest.raises(StoppedError, match="process that checks merges has ended"):
            await inspector.inspect(said(FAITHFUL), SOURCES)

    async with open_inspector(structural) as inspector:
        await inspector.inspect(said(FAITHFUL), SOURCES)
        (process,) = inspectors()
        os.kill(process, signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask, inspector)
            await anyio.sleep(0.1)
            os.kill(process, signal.SIGKILL)
        await ask(inspector)


async def test_a_fault_of_its_own_is_told_with_its_trace(structural):
    async with open_inspector(structural) as inspector:
        with pytest.raises(RuntimeError, match="TypeError"):
            await inspector.inspect(said(FAITHFUL), (SOURCES[0]._replace(output=3),))


async def test_a_reply_of_megabytes_goes_there_and_back(structural):
    long = FAITHFUL._replace(input="x" * 10**6, output="a longer answer " * 500_000)
    async with open_inspector(structural) as inspector:
        found = await inspector.inspect(
            said(long), (*SOURCES, SOURCES[0]._replace(input="x" * 10**6))
        )
    assert found.result.reason == "too_long"


async def test_no_process_is_left_when_an_inspector_is_closed(structural):
    async with open_inspector(structural) as inspector:
        await inspector.inspect(said(FAITHFUL), SOURCES)
        assert len(inspectors()) == 1
    assert inspectors() == []


async def test_weights_that_cannot_be_read_stop_the_run_with_a_sentence(tmp_path):
    words = tmp_path / "words.json"
    words.write_text("{")
    async with open_inspector(Knowledge(0.5, words)) as inspector:
        with pytest.raises(StoppedError, match=r"words\.json cannot be read .*; remove it"):
            await inspector.inspect(said(FAITHFUL), SOURCES)


def test_its_process_ends_with_a_run_that_is_killed(tmp_path):
    script = tmp_path / "run.py"
    script.write_text(
        "import anyio, pathlib\n"
        "from mergeit_async.engine.inspector import Knowledge, open_inspector\n"
        "from mergeit_async.records import Row\n"
        "ROWS = (Row('a', 'Say a.', '', 'a', 0, 1), Row('b', 'Say b.', '', 'b', 1, 2))\n"
        "async def main():\n"
        "    async with open_inspector(Knowledge(0.0, pathlib.Path('none'))) as inspector:\n"
        "        await inspector.inspect(None, ROWS)\n"
        "        print('ready', flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "anyio.run(main)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    ) as run:
        assert run.stdout.readline() == "ready\n"
        (process,) = inspectors(of=run.pid)
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)
        time.sleep(0.3)
        assert is_there(process)
        run.kill()
        wait_until(lambda: not is_there(process), within_s=5)


def test_a_check_depends_on_the_case_alone(words):
    sources = [row[:4] for row in SOURCES]
    cases = [((said(row).text, "stop"), sources) for row in (FAITHFUL, LOSSY)]
    together = answer((0.5, str(words), ()), cases)[1]
    alone = [answer((0.5, str(words), ()), [case])[1][0] for case in reversed(cases)]
    assert together == alone[::-1]
