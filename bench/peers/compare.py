"""Our engine beside its rivals: the same prompts, the same server, the same calls in flight.

    python bench/peers/install.py
    python bench/peers/compare.py --data DIR [--groups 4000] [--in-flight 256] [--json OUT]

Every pass has a process of its own, and the simulator another; passes are interleaved, figures
are medians. Seconds and CPU are those of the send phase: no imports, no start-up. A pass counts
only if each prompt was answered and the server saw no request more than it should have.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from install import HERE, PEERS, python_of
from report import parser_of, publish
from server import Server, serving
from workload import opened_workload

OURS = "mergeit-async"
PASS_WITHIN_S = 600


@dataclass(frozen=True, slots=True)
class Prompts:
    """The same groups twice: from `data` for our engine to render, ready bodies for rivals."""

    data: Path
    bodies: Path
    n_groups: int

    def command(self, peer: str) -> list[str | Path]:
        if peer == OURS:
            return [sys.executable, HERE / "ours.py", self.data, "--groups", str(self.n_groups)]
        return [python_of(peer), "-I", HERE / "drive.py", peer, self.bodies]


@dataclass(frozen=True, slots=True)
class Pass:
    """What one process reports of its send phase, how long it took with its start-up and all,
    and what the server saw of it."""

    report: dict[str, Any]
    total_s: float
    stats: dict[str, Any]
    server_cpu_s: float


def main() -> None:
    options = parse_arguments()
    latency = ("--latency", str(options.latency))
    with prepare(options.data, options.groups) as prompts, serving(*latency) as server:
        passes = run_passes(prompts, server, options)
    result = {
        "command": f"python bench/peers/compare.py --groups {options.groups} "
        f"--in-flight {options.in_flight} --latency {options.latency} "
        f"--repeats {options.repeats}",
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "in_flight": options.in_flight,
        "latency_s": options.latency,
        **summarise(passes),
    }
    publish(result, options.json)


def parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__)
    parser.add_argument("--groups", type=int, default=4000)
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--latency", type=float, default=0.05)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS)
    options = parser.parse_args()
    for peer in options.peers:
        if not python_of(peer).exists():
            parser.error(f"{peer} is not installed; run bench/peers/install.py first.")
    return options


@contextmanager
def prepare(data: Path, n_groups: int) -> Iterator[Prompts]:
    with TemporaryDirectory() as folder:
        bodies = Path(folder) / "bodies.jsonl"
        with opened_workload(data, n_groups) as workload, bodies.open("wb") as file:
            file.writelines(body + b"\n" for body in workload.bodies())
        yield Prompts(data, bodies, n_groups)


def run_passes(
    prompts: Prompts, server: Server, options: argparse.Namespace
) -> dict[str, list[Pass]]:
    passes: dict[str, list[Pass]] = {peer: [] for peer in (OURS, *options.peers)}
    for _ in range(options.repeats):
        for peer, so_far in passes.items():
            so_far.append(run_pass(peer, prompts, server, options.in_flight))
            check(peer, so_far[-1], passes[OURS][0])
            rate = prompts.n_groups / so_far[-1].report["seconds"]
            print(f"{peer}: {rate:.0f} requests/s", file=sys.stderr)
    return passes


def run_pass(peer: str, prompts: Prompts, server: Server, in_flight: int) -> Pass:
    server.reset()
    command = [*prompts.command(peer), "--url", server.url, "--in-flight", str(in_flight)]
    began, cpu_s = time.perf_counter(), server.cpu_s()
    done = subprocess.run(command, capture_output=True, text=True, timeout=PASS_WITHIN_S)
    total_s, cpu_s = time.perf_counter() - began, server.cpu_s() - cpu_s
    if done.returncode:
        raise SystemExit(f"{peer} failed:\n{done.stderr[-2000:]}")
    report = json.loads(done.stdout.splitlines()[-1])
    return Pass(report, total_s, server.stats(), cpu_s)


def check(peer: str, done: Pass, first: Pass) -> None:
    """Stop at a pass that lost, repeated or changed a prompt: its speed would mean nothing."""
    requests = done.report["requests"]
    seen = {
        "answers": (done.report["answered"], requests),
        "answers sent": (done.stats["answered"], requests),
        "arrivals": (done.stats["arrivals"], requests + done.report["probes"]),
        "prompt tokens": (done.stats["prompt_tokens"], first.stats["prompt_tokens"]),
    }
    for what, (found, due) in seen.items():
        if found != due:
            raise SystemExit(f"{peer}: {found} {what} instead of {due}.")


def summarise(passes: dict[str, list[Pass]]) -> dict[str, Any]:
    peers = {peer: summarise_peer(done) for peer, done in passes.items()}
    rates = {peer: figures["requests_per_s"] for peer, figures in peers.items()}
    ours = rates.pop(OURS)
    fastest = max(rates, key=lambda peer: rates[peer])
    return {
        "peers": peers,
        "ours_is_faster_by": {peer: round(ours / rate, 2) for peer, rate in rates.items()},
        "fastest_rival": fastest,
        "ours_over_fastest_rival": round(ours / rates[fastest], 2),
    }


def summarise_peer(passes: list[Pass]) -> dict[str, Any]:
    requests = passes[0].report["requests"]
    seconds = [done.report["seconds"] for done in passes]
    cpu_s = median(done.report["client_cpu_s"] for done in passes)
    return {
        "version": passes[0].report["version"],
        "requests": requests,
        "requests_per_s": round(requests / median(seconds)),
        "span_per_s": [round(requests / limit) for limit in (max(seconds), min(seconds))],
        "seconds": round(median(seconds), 2),
        "seconds_with_start_up": round(median(done.total_s for done in passes), 2),
        "client_us_per_request": round(cpu_s / requests * 1e6),
        "server_us_per_request": round(
            median(done.server_cpu_s for done in passes) / requests * 1e6
        ),
        "peak_in_flight": max(done.stats["peak_in_flight"] for done in passes),
    }


if __name__ == "__main__":
    main()
