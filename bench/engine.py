"""The merge engine beside a bare aiohttp loop over the same requests, in one run.

    python bench/engine.py --data DIR [--groups 30000] [--latency 0.05] [--in-flight 256]

Both send the same bodies to the same simulator, which runs in a process of its own. The engine
also plans nothing here: groups are pairs of the sample's rows, so that only stage 2 is measured,
with its durable journal. Runs are interleaved; figures are medians, and so is the ratio of the two
runs that follow each other, which is what counts: the speed of a shared machine changes.
Seconds and CPU of the engine include those of the processes that write its journal and check its
merges, and their start.
"""

from __future__ import annotations

import asyncio
import os
import resource
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

import aiohttp
import orjson
from report import parser_of, publish
from server import Server, serving
from workload import Workload, opened_workload

from mergeit_async.engine.budget import Budget
from mergeit_async.engine.caller import Caller
from mergeit_async.engine.inspector import open_inspector
from mergeit_async.engine.journal import open_journal
from mergeit_async.engine.lane import Ceilings, Lane
from mergeit_async.engine.limiter import Limiter
from mergeit_async.engine.mergers import ChatMerger
from mergeit_async.engine.pipeline import Pipeline
from mergeit_async.providers.http import HttpChat
from mergeit_async.records import Outcome, Status


@dataclass(frozen=True, slots=True)
class Run:
    """One measured pass over all groups; CPU in seconds of the client and of the server."""

    seconds: float
    client_cpu_s: float
    server_cpu_s: float


@asynccontextmanager
async def session_of(in_flight: int) -> AsyncIterator[aiohttp.ClientSession]:
    connector = aiohttp.TCPConnector(limit=in_flight)
    async with aiohttp.ClientSession(connector=connector) as session:
        yield session


async def run_bare(requests: list[bytes], server: Server, in_flight: int) -> int:
    """Send every body and parse its answer; nothing else."""
    bodies = iter(requests)
    answered = 0
    headers = {"Content-Type": "application/json"}

    async def send(session: aiohttp.ClientSession) -> None:
        nonlocal answered
        for body in bodies:
            url = f"{server.url}/chat/completions"
            async with session.post(url, data=body, headers=headers) as response:
                orjson.loads(await response.read())
                answered += 1

    async with session_of(in_flight) as session:
        await asyncio.gather(*(send(session) for _ in range(in_flight)))
    return answered


async def run_engine(workload: Workload, server: Server, in_flight: int, folder: Path) -> int:
    """Merge every group through the whole of stage 2."""
    merged = 0

    def count(outcome: Outcome) -> None:
        nonlocal merged
        merged += outcome.status is Status.MERGED

    async with (
        open_journal(folder / "journal.db") as journal,
        HttpChat(server.url, None) as provider,
        open_inspector(workload.knowledge) as inspector,
    ):
        lane = Lane(provider, Ceilings(in_flight), asyncio.get_running_loop().time())
        caller = Caller(Limiter([lane]), journal, Budget(), timeout_s=60, max_tries=3)
        merger = ChatMerger(
            workload.load, workload.requests, caller, journal, inspector, max_attempts=1
        )
        pipeline = Pipeline(merger, journal.finished, workers=2 * in_flight, observe=count)
        await pipeline.run(workload.topics())
    return merged


def measure(server: Server, run: object) -> Run:
    """Time a coroutine in an event loop of its own."""
    import uvloop

    server_cpu, cpu, began = server.cpu_s(), client_cpu_s(), time.perf_counter()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(run)  # type: ignore[arg-type]
    return Run(time.perf_counter() - began, client_cpu_s() - cpu, server.cpu_s() - server_cpu)


def client_cpu_s() -> float:
    """CPU of this process and of those that it has waited for: not the server, which goes on."""
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + ended.ru_utime + ended.ru_stime


def compare(
    workload: Workload, latency_s: float, in_flight: int, repeats: int
) -> dict[str, object]:
    """Interleaved runs of both; medians and the ratio."""
    bare, engine = [], []
    # The bare loop gets its bodies ready made; the engine renders each on its way.
    bodies = list(workload.bodies())
    with serving("--latency", str(latency_s)) as server:
        for _ in range(repeats):
            bare.append(measure(server, run_bare(bodies, server, in_flight)))
            with TemporaryDirectory() as folder:
                engine.append(
                    measure(server, run_engine(workload, server, in_flight, Path(folder)))
                )
    pairs = list(zip(bare, engine, strict=True))
    throughput = [one.seconds / other.seconds for one, other in pairs]
    cpu = [other.client_cpu_s / one.client_cpu_s for one, other in pairs]
    return {
        "latency_s": latency_s,
        "in_flight": in_flight,
        "groups": len(workload),
        "bare": describe(bare, len(workload)),
        "engine": describe(engine, len(workload)),
        "throughput_ratio": round(median(throughput), 3),
        "throughput_ratios": sorted(round(ratio, 3) for ratio in throughput),
        "client_cpu_ratio": round(median(cpu), 2),
    }


def describe(runs: list[Run], n_groups: int) -> dict[str, float]:
    seconds = median(run.seconds for run in runs)
    return {
        "requests_per_s": round(n_groups / seconds),
        "client_us_per_request": round(median(r.client_cpu_s for r in runs) / n_groups * 1e6),
        "server_core_share": round(median(r.server_cpu_s / r.seconds for r in runs), 2),
    }


def main() -> None:
    parser = parser_of(__doc__)
    parser.add_argument("--groups", type=int, default=30_000)
    parser.add_argument("--latency", type=float, nargs="+", default=[0.2, 0.05, 0.0])
    parser.add_argument("--in-flight", type=int, default=256)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    with opened_workload(options.data, options.groups) as workload:
        results = [
            compare(workload, latency_s, options.in_flight, options.repeats)
            for latency_s in options.latency
        ]
    command = f"python bench/engine.py --groups {options.groups} --repeats {options.repeats}"
    publish({"command": command, "cores": os.cpu_count(), "results": results}, options.json)


if __name__ == "__main__":
    main()
