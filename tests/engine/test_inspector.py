"""Merges are checked in a process of their own, and what happens to that process is told."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import anyio
import orjson
import pytest

from mergeit_async.engine.inspector import (
    Case,
    Inspector,
    Knowledge,
    inspect_all,
    open_inspector,
)
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


def process_of(inspector: Inspector) -> int:
    (pid,) = inspector._pool._processes
    return pid


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
    async with open_inspector(structural) as inspector:
        await inspector.inspect(said(FAITHFUL), SOURCES)
        submit = inspector._pool.submit

        def count(task: object, knowledge: Knowledge, cases: list[object]) -> object:
            batches.append(len(cases))
            return submit(task, knowledge, cases)

        monkeypatch.setattr(inspector._pool, "submit", count)
        verdicts = await asyncio.gather(
            *(inspector.inspect(said(FAITHFUL._replace(input=str(n))), SOURCES) for n in range(200))
        )
    assert [verdict.result.input for verdict in verdicts] == [str(n) for n in range(200)]
    assert batches == [1, 1, 198]


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


async def test_a_process_that_is_killed_stops_the_run_with_a_sentence(structural):
    async def ask(inspector: Inspector) -> None:
        with pytest.raises(StoppedError, match="process that checks merges has ended"):
            await inspector.inspect(said(FAITHFUL), SOURCES)

    async with open_inspector(structural) as inspector:
        await inspector.inspect(said(FAITHFUL), SOURCES)
        os.kill(process_of(inspector), signal.SIGSTOP)
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(ask, inspector)
            await anyio.sleep(0.1)
            os.kill(process_of(inspector), signal.SIGKILL)
        await ask(inspector)


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
        "async def main():\n"
        "    async with open_inspector(Knowledge(0.0, pathlib.Path('none'))) as inspector:\n"
        "        await inspector.inspect(None, ())\n"
        "        print(*inspector._pool._processes, flush=True)\n"
        "        await anyio.sleep_forever()\n"
        "if __name__ == '__main__':\n"
        "    anyio.run(main)\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(
        [sys.executable, script], stdout=subprocess.PIPE, text=True, env=environment
    ) as run:
        process = int(run.stdout.readline())
        os.kill(process, signal.SIGINT)
        os.kill(process, signal.SIGTERM)
        time.sleep(0.3)
        assert is_there(process)
        run.kill()
        wait_until(lambda: not is_there(process), within_s=5)


def test_a_check_depends_on_the_case_alone(words):
    knowledge = Knowledge(0.5, words)
    sources = tuple(row[:4] for row in SOURCES)
    cases = [Case((said(row).text, "stop"), sources) for row in (FAITHFUL, LOSSY)]
    together = inspect_all(knowledge, cases)
    alone = [inspect_all(knowledge, [case])[0] for case in reversed(cases)]
    assert together == alone[::-1]
