"""A whole run as a user starts it, on real rows, against the simulator in its own process.

    python bench/whole_run.py --data DIR [--latency 0.2] [--in-flight 256]

Prints how much of in-flight ÷ latency, the most that any client could reach, the run used over its
steady window, and what it took. A second run without a server shows the keyless default.
"""

from __future__ import annotations

import argparse
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.request import urlopen

import orjson

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
    server = subprocess.Popen(
        [*MODULE, "simulator", "--latency", str(latency_s)], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        url = next(word for word in server.stdout.readline().split() if word.startswith("http"))
        plan = ("--per-cluster", "all", "--embedder", vectors)
        send = ("--model", "sim-merge", "--base-url", url, "--max-in-flight", in_flight)
        result = run(dataset, "--out", out, *plan, *send)
        with urlopen(url.removesuffix("/v1") + "/stats?digests=0") as answer:
            seen = orjson.loads(answer.read())
    finally:
        server.terminate()
        server.wait(10)
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of the Alpaca sample")
    parser.add_argument("--latency", type=float, default=0.2)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--json", type=Path)
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
    text = orjson.dumps(results, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    print(text.decode())
    if options.json:
        options.json.write_bytes(text)


if __name__ == "__main__":
    main()
