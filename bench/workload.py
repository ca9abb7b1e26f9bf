"""Pairs of real rows as the groups of a prepared plan, so that only stage 2 is measured."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from mergeit_async.config import MIN_INFORMATION, build_settings
from mergeit_async.data.dataset import read_rows
from mergeit_async.data.store import RowStore, write_rows
from mergeit_async.engine.inspector import Knowledge, open_inspector
from mergeit_async.engine.journal import open_journal
from mergeit_async.engine.mergers import ChatMerger
from mergeit_async.engine.pipeline import Pipeline
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.engine.prompts import Prompts
from mergeit_async.engine.requests import Requests
from mergeit_async.engine.session import open_session
from mergeit_async.ids import group_id
from mergeit_async.merging.weights import WordWeights
from mergeit_async.providers.completion import write_request
from mergeit_async.records import Group, Row
from mergeit_async.templates.version import load_prompt

TOPIC_GROUPS = 200
NO_ROWS = np.zeros(0, np.int64)


class Workload:
    """Pairs of rows as groups, and the requests that merge them."""

    def __init__(self, store: RowStore, n_groups: int, words: Path) -> None:
        self._store = store
        self.knowledge = Knowledge(MIN_INFORMATION, words)
        self._pairs = np.random.default_rng(0).integers(0, len(store), (n_groups, 2)).tolist()
        settings = build_settings({"dataset": Path("-"), "model": "sim-merge"})
        self.requests = Requests(settings, Prompts(load_prompt("merge/v1")))

    def __len__(self) -> int:
        return len(self._pairs)

    def topics(self) -> Iterator[PlannedTopic]:
        for first in range(0, len(self), TOPIC_GROUPS):
            groups = tuple(
                PlannedGroup(first + offset, 0, tuple(pair), 1.0)
                for offset, pair in enumerate(self._pairs[first : first + TOPIC_GROUPS])
            )
            yield PlannedTopic(0, first, NO_ROWS, NO_ROWS, groups)

    def load(self, planned: PlannedGroup) -> Group:
        rows = tuple(self._store[row] for row in planned.rows)
        return Group(planned.position, 0, group_id(row.id for row in rows), rows, 1.0)

    def bodies(self) -> Iterator[bytes]:
        for topic in self.topics():
            for planned in topic.groups:
                yield write_request(self.requests.merge(self.load(planned), 0), "max_tokens")


@asynccontextmanager
async def opened_pipeline(
    workload: Workload, url: str, journal: Path, settings: Mapping[str, Any]
) -> AsyncIterator[Pipeline]:
    """Stage 2 as a run opens it, over the server at `url`; `settings` need `max_in_flight`."""
    asked = {"dataset": Path("-"), "model": "sim-merge", "base_url": url, **settings}
    async with (
        open_journal(journal) as writer,
        open_session(build_settings(asked), {}, writer, lambda _: None) as session,
        open_inspector(workload.knowledge) as inspector,
    ):
        merger = ChatMerger(
            workload.load, workload.requests, session.caller, writer, inspector, max_attempts=1
        )
        workers = 2 * settings["max_in_flight"]
        yield Pipeline(merger, writer.finished, workers=workers, observe=lambda _: None)


@contextmanager
def opened_workload(data: Path, n_groups: int) -> Iterator[Workload]:
    """A workload over `alpaca_17k.jsonl` in the folder `data`."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "rows.arrow"
        write_rows(path, usable(data / "alpaca_17k.jsonl"))
        with RowStore.open(path) as store:
            yield Workload(store, n_groups, weigh_words(store, Path(folder) / "words.json"))


def weigh_words(store: RowStore, path: Path) -> Path:
    """The weights of the words of all rows, saved as a plan has them."""
    rows = (store[at] for at in range(len(store)))
    path.write_bytes(WordWeights.count(f"{row.text} {row.output}" for row in rows).to_json())
    return path


def usable(dataset: Path) -> Iterator[Row]:
    return (row for row in read_rows(dataset) if isinstance(row, Row))
