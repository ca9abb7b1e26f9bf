"""A million groups: memory throughout, and how soon a killed run sends again.

    python bench/million.py [--groups 1000000] [--json FILE]

The plan is prepared: 2,000,000 short rows of a vocabulary of its own, paired as they come. The run
is killed with SIGKILL half-way and resumed to the end of the engine phase; the simulator answers
at once.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import orjson
from server import Server

from mergeit_async.config import build_settings
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.engine.planner import Planner
from mergeit_async.job import Job

TOPIC_GROUPS = 1000
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


def prepare(run: Path, dataset: Path, n_groups: int, url: str) -> None:
    """A run whose plan is on disk whole: pairs of neighbouring rows."""
    settings = build_settings(
        {
            "dataset": dataset,
            "model": "sim-merge",
            "base_url": url,
            "max_in_flight": 256,
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


class Watched:
    """A process and the most memory it was seen to hold, in MB."""

    def __init__(self, *arguments: object) -> None:
        self.began = time.monotonic()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "mergeit_async", *map(str, arguments)],
            stdout=subprocess.DEVNULL,
        )
        self.peak_mb = 0

    def look(self) -> None:
        try:
            lines = Path(f"/proc/{self.process.pid}/status").read_text().splitlines()
        except OSError:
            return
        for line in lines:
            if line.startswith("VmRSS:"):
                self.peak_mb = max(self.peak_mb, int(line.split()[1]) // 1024)


def arrivals(url: str) -> int:
    root = url.removesuffix("/v1")
    with urllib.request.urlopen(f"{root}/stats?digests=0") as response:
        return int(orjson.loads(response.read())["arrivals"])


def measure(run: Path, n_groups: int, url: str) -> dict[str, Any]:
    first = Watched("resume", run)
    while arrivals(url) < n_groups // 2:
        assert first.process.poll() is None, "the run ended early"
        first.look()
        time.sleep(1)
    half_s = time.monotonic() - first.began
    first.process.send_signal(signal.SIGKILL)
    first.process.wait()
    at_kill = arrivals(url)
    second = Watched("resume", run)
    while arrivals(url) == at_kill:
        second.look()
        time.sleep(0.05)
    resumed_s = time.monotonic() - second.began
    while second.process.poll() is None and arrivals(url) < n_groups:
        second.look()
        time.sleep(1)
    engine_peak = second.peak_mb
    while second.process.poll() is None:
        second.look()
        time.sleep(0.5)
    return {
        "groups": n_groups,
        "requests_per_s_first_half": round(n_groups / 2 / half_s),
        "peak_mb_first_half": first.peak_mb,
        "peak_mb_second_half": engine_peak,
        "peak_mb_with_export": second.peak_mb,
        "seconds_from_resume_to_first_request": round(resumed_s, 1),
        "exit_code": second.process.returncode,
        "calls": arrivals(url),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--groups", type=int, default=1_000_000)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    server = Server()
    try:
        with TemporaryDirectory() as folder:
            dataset, run = Path(folder) / "rows.jsonl", Path(folder) / "run"
            write_dataset(dataset, 2 * options.groups)
            prepare(run, dataset, options.groups, server.url)
            result = measure(run, options.groups, server.url)
    finally:
        server.stop()
    result |= {"command": f"python bench/million.py --groups {options.groups}"}
    text = orjson.dumps(result, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    os.write(1, text)
    if options.json:
        options.json.write_bytes(text)


if __name__ == "__main__":
    main()
