"""A million groups: memory throughout, and how soon a killed run sends again.

    python bench/million.py [--groups 1000000] [--in-flight N] [--json FILE]

The plan is prepared: 2,000,000 short rows of a vocabulary of its own, paired as they come. The run
is killed with SIGKILL half-way and resumed to its end; then no call of the second session may be
without an end, and no slot taken. The simulator answers at once, and after a second where
--in-flight asks for that many calls at a time. Memory is that of the run and of the process that
writes its journal.
"""

from __future__ import annotations

import argparse
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
from report import parser_of, publish
from server import Server, serving

from mergeit_async.cli import execute
from mergeit_async.config import build_settings
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.engine.planner import Planner
from mergeit_async.job import Job

IN_FLIGHT = 256
TOPIC_GROUPS = 1000
OPEN = "SELECT count(*) FROM calls WHERE ended_at IS NULL"
ENDED = "SELECT count(*) FROM outcomes"
VERBS = ("List", "Explain", "Compare", "Describe", "Summarise", "Rewrite", "Estimate", "Name")
THINGS = ("rivers", "metals", "sorting methods", "novels", "cheeses", "bridges", "stars", "moths")


def write_dataset(path: Path, n_rows: int) -> None:
    with path.open("wb") as file:
        for number in range(n_rows):
            verb, thing = VERBS[number % 8], THINGS[number // 8 % 8]
            row = {
                "instruction": f"{verb} {thing} of collection {number}.",
                "input": "",
                "output": f"Collection {number} holds {number % 97} {thing}; the first is number "
                f"{number * 7919 % 1000003} and the last is number {number * 104729 % 1000003}.",
            }
            file.write(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE))


def prepare(run: Path, dataset: Path, n_groups: int, in_flight: int, url: str) -> None:
    """A run whose plan is on disk whole: pairs of neighbouring rows."""
    settings = build_settings(
        {
            "dataset": dataset,
            "model": "sim-merge",
            "base_url": url,
            "max_in_flight": in_flight,
            "per_cluster": "all",
            "topics": -(-n_groups // TOPIC_GROUPS),
        }
    )
    job = Job.begin(settings, run)
    planner: Planner = job._planner
    store = planner.rows()
    folder, n_rows = job.run_dir.plan, len(store)
    vectors = np.zeros((n_rows, 1), np.float32)
    folder.write_vectors([vectors], vectors.shape, planner._made_from("vectors"))
    labels = (np.arange(n_rows) // (2 * TOPIC_GROUPS)).astype(np.int32)
    folder.write_labels(labels, planner._made_from("labels"))
    for topic in range(int(labels[-1]) + 1):
        first = topic * 2 * TOPIC_GROUPS
        rows = np.arange(first, min(first + 2 * TOPIC_GROUPS, n_rows))
        groups = tuple(
            PlannedGroup(int(row) // 2, topic, (int(row), int(row) + 1), 1.0) for row in rows[::2]
        )
        plan = PlannedTopic(topic, first // 2, rows, rows, groups)
        folder.write_topic(plan, planner._made_from("topics"))


def resume(run: Path) -> None:
    """What the command `resume` does; in the end it prints how many slots are still taken."""
    job = Job.reopen(run)
    execute(job, as_json=False)
    session = job.progress.session
    print(session.limiter.in_flight if session else 0)


class Resumed:
    """A process that goes on with a run, and the most memory it and its writer held, in MB."""

    def __init__(self, run: Path) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, __file__, "--resume", run], stdout=subprocess.PIPE
        )
        self.peak_mb = 0

    def look(self) -> None:
        main = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        with suppress(OSError):
            pids = [self.process.pid, *map(int, main.read_text().split())]
            self.peak_mb = max(self.peak_mb, sum(map(peak_kb, pids)) // 1024)

    def slots_taken(self) -> int:
        """What it said at its end."""
        assert self.process.stdout is not None
        return int(self.process.stdout.read().splitlines()[-1])


def peak_kb(pid: int) -> int:
    """The most memory that a process has held; 0 for one that has just ended."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), 0)


def count(run: Path, sql: str) -> int:
    with closing(sqlite3.connect(f"file:{run / 'journal.db'}?mode=ro", uri=True)) as journal:
        return int(journal.execute(sql).fetchone()[0])


def measure(run: Path, n_groups: int, server: Server) -> dict[str, Any]:
    def arrivals() -> int:
        return int(server.stats()["arrivals"])

    first = Resumed(run)
    while arrivals() < n_groups // 2:
        assert first.process.poll() is None, "the run ended early"
        first.look()
        time.sleep(1)
    half_s = time.monotonic() - first.began
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    time.sleep(1)  # what it sent last arrives
    before, left_by_kill = server.stats(), count(run, OPEN)
    server.reset()
    second = Resumed(run)
    while not arrivals():
        second.look()
        time.sleep(0.05)
    resumed_s = time.monotonic() - second.began
    while second.process.poll() is None and before["arrivals"] + arrivals() < n_groups:
        second.look()
        time.sleep(1)
    engine_peak = second.peak_mb
    while second.process.poll() is None:
        second.look()
        time.sleep(0.5)
    seen = server.stats()
    return {
        "groups": n_groups,
        "requests_per_s_first_half": round(n_groups / 2 / half_s),
        "peak_mb_first_half": first.peak_mb,
        "peak_mb_second_half": engine_peak,
        "peak_mb_with_export": second.peak_mb,
        "seconds_from_resume_to_first_request": round(resumed_s, 1),
        "exit_code": second.process.returncode,
        "calls": before["arrivals"] + seen["arrivals"],
        "requests_per_s_second_half": round(seen["steady_answers_per_s"]),
        "most_in_flight_seen": max(stats["peak_in_flight"] for stats in (before, seen)),
        "refused_429": sum(stats["rejected"].get("429", 0) for stats in (before, seen)),
        "faults": sum(sum(stats["faults"].values()) for stats in (before, seen)),
        "groups_ended": count(run, ENDED),
        "calls_left_open_by_kill": left_by_kill,
        "calls_left_open_at_the_end": count(run, OPEN) - left_by_kill,
        "slots_taken_at_the_end": second.slots_taken(),
    }


def main() -> None:
    parser = parser_of(__doc__, needs_data=False)
    parser.add_argument("--groups", type=int, default=1_000_000)
    parser.add_argument("--in-flight", type=int, help=f"{IN_FLIGHT} without it")
    parser.add_argument("--resume", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.resume:
        return resume(options.resume)
    in_flight = options.in_flight or IN_FLIGHT
    latency = ("--latency", "1") if options.in_flight else ()
    with TemporaryDirectory() as folder, serving(*latency) as server:
        dataset, run = Path(folder) / "rows.jsonl", Path(folder) / "run"
        write_dataset(dataset, 2 * options.groups)
        prepare(run, dataset, options.groups, in_flight, server.url)
        result = measure(run, options.groups, server)
    command = f"python bench/million.py --groups {options.groups}"
    if options.in_flight:
        command += f" --in-flight {in_flight}"
    publish(result | {"in_flight": in_flight, "command": command}, options.json)


if __name__ == "__main__":
    main()
