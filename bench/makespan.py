"""How long stuck calls hold up a run, with hedging and without.

    python bench/makespan.py --data DIR [--groups 10000] [--in-flight 64] [--json FILE]

Latencies are log-normal and one call in a hundred is never answered. The measure is the ideal
list schedule: the latencies of the calls that were answered, dealt in order to the place that is
free first.
"""

from __future__ import annotations

import asyncio
import heapq
import sqlite3
import time
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import uvloop
from report import parser_of, publish
from server import serving
from workload import Workload, opened_pipeline, opened_workload

SIMULATOR = ("--latency", "0.5", "--latency-sigma", "0.6", "--fault", "stuck=0.01")
ANSWERED = "SELECT latency_s FROM calls WHERE latency_s IS NOT NULL ORDER BY id"
BY_RESULT = "SELECT result, count(*) FROM calls GROUP BY 1 ORDER BY 2 DESC"


async def run(workload: Workload, url: str, journal: Path, in_flight: int, hedge: bool) -> float:
    """The seconds that merging all groups takes."""
    settings = {"max_in_flight": in_flight, "timeout_s": 60, "hedge": hedge}
    async with opened_pipeline(workload, url, journal, settings) as pipeline:
        began = time.perf_counter()
        await pipeline.run(workload.topics())
        return time.perf_counter() - began


def list_schedule(latencies: list[float], places: int) -> float:
    """The end of the last call when each goes to the place that is free first."""
    free_at = [0.0] * places
    for latency in latencies:
        heapq.heapreplace(free_at, free_at[0] + latency)
    return max(free_at)


def measure(workload: Workload, in_flight: int, hedge: bool) -> dict[str, Any]:
    with serving(*SIMULATOR) as server, TemporaryDirectory() as folder:
        path = Path(folder) / "journal.db"
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            seconds = runner.run(run(workload, server.url, path, in_flight, hedge))
        with closing(sqlite3.connect(path)) as journal:
            latencies = [latency for (latency,) in journal.execute(ANSWERED)]
            results = dict(journal.execute(BY_RESULT))
    ideal = list_schedule(latencies, in_flight)
    return {
        "hedge": hedge,
        "seconds": round(seconds, 2),
        "ideal_seconds": round(ideal, 2),
        "ratio": round(seconds / ideal, 3),
        "calls": results,
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--groups", type=int, default=10_000)
    parser.add_argument("--in-flight", type=int, default=64)
    options = parser.parse_args()
    with opened_workload(options.data, options.groups) as workload:
        results = [measure(workload, options.in_flight, hedge) for hedge in (True, False)]
    command = f"python bench/makespan.py --groups {options.groups} --in-flight {options.in_flight}"
    publish({"command": command, "results": results}, options.json)


if __name__ == "__main__":
    main()
