"""A whole run as a user starts it, on real rows, against the simulator in its own process.

    python bench/whole_run.py --data DIR [--latency 0.2] [--in-flight 256]

Prints how much of in-flight ÷ latency, the most that any client could reach, the run used over its
steady window, and what it took. A second run without a server shows the keyless default.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

import orjson
from report import parser_of, publish
from server import serving

MODULE = (sys.executable, "-m", "mergeit_async")


def run(*arguments: object) -> dict[str, object]:
    """One run to its end: its summary, seconds, and the peak memory of all runs so far."""
    began = time.perf_counter()
    done = subprocess.run(
        [*MODULE, "run", *map(str, arguments), "--json"], stdout=subprocess.PIPE, check=True
    )
    seconds = time.perf_counter() - began
    peak_kb = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    summary: dict[str, object] = orjson.loads(done.stdout)
    summary.pop("run_dir")
    return summary | {"seconds": round(seconds, 1), "peak_rss_mb": round(peak_kb / 1024)}


def run_against_simulator(
    dataset: Path, vectors: Path, out: Path, latency_s: float, in_flight: int
) -> dict[str, object]:
    """A run on MiniLM vectors without thinning, with what the simulator saw of it."""
    with serving("--latency", str(latency_s)) as server:
        plan = ("--per-cluster", "all", "--embedder", vectors)
        send = ("--model", "sim-merge", "--base-url", server.url, "--max-in-flight", in_flight)
        result = run(dataset, "--out", out, *plan, *send)
        seen = server.stats()
    most = in_flight / latency_s
    steady = seen["steady_answers_per_s"]
    return result | {
        "latency_s": latency_s,
        "in_flight": in_flight,
        "requests": seen["arrivals"],
        "steady_requests_per_s": round(steady),
        "share_of_most_possible": round(steady / most, 3),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--in-flight", type=int, default=256)
    options = parser.parse_args()
    dataset = options.data / "alpaca_17k.jsonl"
    vectors = options.data / "alpaca_17k.minilm.f16.npy"
    with TemporaryDirectory() as folder:
        offline = run(dataset, "--out", Path(folder) / "offline")
        simulated = run_against_simulator(
            dataset, vectors, Path(folder) / "simulated", options.latency, options.in_flight
        )
    results = {
        "command": "python bench/whole_run.py",
        "cores": os.cpu_count(),
        "offline_compose": offline,
        "simulator_no_thinning": simulated,
    }
    publish(results, options.json)


if __name__ == "__main__":
    main()
