"""Stage 1 of a run: rows, vectors, topics and groups, each saved before the next is begun.

Everything here blocks and runs in a worker thread. What is saved is never computed again, so a
resumed run has the plan it began with, whatever machine it goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import asdict
from itertools import chain
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import ThreadpoolController

from mergeit_async.config import Settings
from mergeit_async.data.dataset import read_rows
from mergeit_async.data.export import write_jsonl
from mergeit_async.data.store import RowStore, write_rows
from mergeit_async.engine.cut import cut_plan, place_groups
from mergeit_async.engine.identity import Identity
from mergeit_async.engine.plan_folder import PlannedGroup, PlannedTopic
from mergeit_async.engine.portraits import (
    TopicPortrait,
    dump_portraits,
    paint_topics,
    read_portraits,
)
from mergeit_async.engine.progress import Progress
from mergeit_async.engine.run_dir import RunDir
from mergeit_async.filtering.embedding import Embedder
from mergeit_async.filtering.neighbours import Neighbours, find_neighbours
from mergeit_async.filtering.partition import split_labels
from mergeit_async.filtering.reduce import reduce_vectors
from mergeit_async.filtering.select import topic_budgets
from mergeit_async.filtering.topic_plan import PlanSettings, plan_topic
from mergeit_async.filtering.topics import assign_topics, default_topic_count, smooth_topics
from mergeit_async.filtering.whole_plan import plan_rows
from mergeit_async.ids import digest, group_id
from mergeit_async.merging.weights import WordWeights
from mergeit_async.providers.embeddings import PrecomputedVectors, load_embedder
from mergeit_async.records import Group, Rejected, Row

EMBEDDING_BATCH = 4096
WORD_SAMPLE_ROWS = 20_000

Embed = Callable[[NDArray[np.int64]], NDArray[np.float32]]
MakeTopic = Callable[[int, int], PlannedTopic]

# The settings that each step of the plan depends on, beside all steps above it.
STEPS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "rows": ("columns", "limit"),
        "vectors": ("embedder",),
        "labels": ("topics", "clustering", "seed"),
        "topics": (
            "per_cluster",
            "target_rows",
            "selection",
            "pairing",
            "threshold",
            "max_group_size",
        ),
    }
)


class Planner:
    """Plans one run, step by step, from what its directory already holds."""

    def __init__(
        self, run: RunDir, settings: Settings, identity: Identity, progress: Progress
    ) -> None:
        self._run = run
        self._folder = run.plan
        self._settings = settings
        self._identity = identity
        self._progress = progress
        self._store: RowStore | None = None
        self._plan_settings = plan_settings(settings)
        self._near: Neighbours | None = None
        self._threads = ThreadpoolController()

    def topics(self) -> Iterator[PlannedTopic]:
        """All topics in order; each is durable when it is yielded."""
        store = self.rows()
        self.weigh_words(store)
        unique = np.flatnonzero(~store.duplicates())
        vectors = self.vectors(store, unique)
        labels = self.labels(vectors)
        if self._plan_settings.is_by_topic:
            make = self._one_by_one(unique, vectors, labels)
        else:
            make = self._together(unique, vectors, labels)
        yield from self._plan_topics(int(labels.max(initial=-1)) + 1, make)
        # Nobody waits for them: requests are under way by now.
        self.portraits()

    def saved_topics(self) -> Iterator[PlannedTopic]:
        """The topics that are planned already, in order; nothing is computed."""
        for topic in range(self._folder.count_topics()):
            planned = self._folder.read_topic(topic, self._made_from("topics"))
            if planned is not None:
                yield planned

    def is_merged(self, finished: Collection[int]) -> bool:
        """Whether the whole plan is saved and all its groups are among the `finished`."""
        if not self._folder.holds(self._folder.labels, self._made_from("labels")):
            return False
        n_topics = int(np.load(self._folder.labels, mmap_mode="r").max(initial=-1)) + 1
        if self._folder.count_topics() < n_topics:
            return False
        if n_topics == 0:
            return True
        # Topics are planned in their order, and positions count on from one to the next.
        last = self._folder.read_topic(n_topics - 1, self._made_from("topics"))
        return last is not None and len(finished) >= last.first_position + len(last.groups)

    def load_group(self, planned: PlannedGroup) -> Group:
        """A planned group with its rows."""
        store = self.rows()
        rows = [store[row] for row in planned.rows]
        return Group(
            planned.position,
            planned.topic,
            group_id([row.id for row in rows]),
            tuple(rows),
            planned.similarity,
        )

    def rows(self) -> RowStore:
        """The usable rows; reads the dataset the first time, and writes down the rejects."""
        if self._store is None:
            made_from = self._made_from("rows")
            if not self._folder.holds(self._folder.rows, made_from):
                self._read_dataset()
                self._folder.confirm(self._folder.rows, made_from)
            self._store = RowStore.open(self._folder.rows)
        return self._store

    def weigh_words(self, store: RowStore) -> None:
        """Save how rare the words of a sample of the rows are: what is rare must not get lost."""
        made_from = self._made_from("rows")
        if not self._folder.holds(self._folder.words, made_from):
            number = min(len(store), WORD_SAMPLE_ROWS)
            rows = (store[at] for at in np.linspace(0, len(store) - 1, number).astype(np.int64))
            weights = WordWeights.count(f"{row.text} {row.output}" for row in rows)
            self._folder.write_words(weights.to_json(), made_from)

    def vectors(self, store: RowStore, unique: NDArray[np.int64]) -> NDArray[np.float16]:
        """The (n, dim) float16 vectors of the rows that are no repeats, memory-mapped."""
        made_from = self._made_from("vectors")
        if not self._folder.holds(self._folder.vectors, made_from):
            self._progress.enter("embedding", len(unique))
            chunks = self._embed(store, unique)
            first = next(chunks, np.zeros((0, 1), np.float32))
            shape = (len(unique), first.shape[1])
            self._folder.write_vectors(chain([first], chunks), shape, made_from)
        vectors: NDArray[np.float16] = np.load(self._folder.vectors, mmap_mode="r")
        return vectors

    def labels(self, vectors: NDArray[np.float16]) -> NDArray[np.int32]:
        """The topic of each vector, (n,) int32."""
        made_from = self._made_from("labels")
        if not self._folder.holds(self._folder.labels, made_from):
            self._progress.enter("topics")
            self._folder.clear_topics()
            count = self._settings.topics or default_topic_count(len(vectors))
            own = vectors.astype(np.float32)
            if self._settings.clustering == "smoothed":
                own = smooth_topics(own, self._neighbours(vectors), count)
            labels = assign_topics(reduce_vectors(own), count, self._settings.seed)
            self._folder.write_labels(labels, made_from)
        saved: NDArray[np.int32] = np.load(self._folder.labels)
        return saved

    def portraits(self) -> list[TopicPortrait]:
        """What each topic is about."""
        made_from = self._made_from("labels")
        if not self._folder.holds(self._folder.portraits, made_from):
            store = self.rows()
            unique = np.flatnonzero(~store.duplicates())
            vectors = self.vectors(store, unique)
            portraits = paint_topics(store, unique, vectors, self.labels(vectors))
            self._folder.write_portraits(dump_portraits(portraits), made_from)
        return read_portraits(self._folder.portraits)

    def _read_dataset(self) -> None:
        self._progress.enter("reading")
        rejected: list[Rejected] = []
        rows = self._usable(rejected)
        write_rows(self._folder.rows, rows)
        write_jsonl(self._run.rejected, (asdict(reject) for reject in rejected))

    def _usable(self, rejected: list[Rejected]) -> Iterator[Row]:
        settings = self._settings
        for row in read_rows(settings.dataset, settings.columns, settings.limit):
            self._progress.done += 1
            if isinstance(row, Row):
                yield row
            else:
                rejected.append(row)

    def _embed(self, store: RowStore, unique: NDArray[np.int64]) -> Iterator[NDArray[np.float32]]:
        settings = self._settings
        if settings.is_precomputed:
            embed = self._precomputed(store)
        else:
            embed = from_texts(store, settings.embedder)
        for start in range(0, len(unique), EMBEDDING_BATCH):
            chunk = unique[start : start + EMBEDDING_BATCH]
            yield embed(chunk)
            self._progress.done += len(chunk)

    def _precomputed(self, store: RowStore) -> Embed:
        vectors = PrecomputedVectors(Path(self._settings.embedder))
        records = store.records()
        n_records = len(records) + count_lines(self._run.rejected)
        vectors.check_length(n_records, exact=self._settings.limit is None)
        return lambda chunk: vectors.take(records[chunk])

    def _plan_topics(self, n_topics: int, make: MakeTopic) -> Iterator[PlannedTopic]:
        """Each topic as it is saved, or else as it is made, by number and first position."""
        made_from = self._made_from("topics")
        self._progress.topics = n_topics
        position = 0
        for topic in range(n_topics):
            planned = self._folder.read_topic(topic, made_from)
            if planned is None:
                planned = make(topic, position)
                self._folder.write_topic(planned, made_from)
            position += len(planned.groups)
            self._progress.topics_planned += 1
            self._progress.groups = position
            yield planned

    def _one_by_one(
        self, unique: NDArray[np.int64], vectors: NDArray[np.float16], labels: NDArray[np.int32]
    ) -> MakeTopic:
        """Plans a topic when its turn has come."""
        budgets, topics = self._budgets(labels), split_labels(labels)

        def make(topic: int, position: int) -> PlannedTopic:
            members = topics[topic]
            own, rows = vectors[members].astype(np.float32), unique[members]
            # The matrices of a topic are small: more threads would only wait for one another.
            with self._threads.limit(limits=1, user_api="blas"):
                plan = plan_topic(own, int(budgets[topic]), self._plan_settings)
            groups = tuple(place_groups(plan.groups, topic, position, rows))
            return PlannedTopic(topic, position, rows, rows[plan.selected], groups)

        return make

    def _together(
        self, unique: NDArray[np.int64], vectors: NDArray[np.float16], labels: NDArray[np.int32]
    ) -> MakeTopic:
        """Plans all topics when the first of them is wanted."""
        topics: list[PlannedTopic] = []

        def make(topic: int, position: int) -> PlannedTopic:
            if not topics:
                neighbours = self._neighbours(vectors)
                own, budgets = vectors.astype(np.float32), self._budgets(labels)
                plan = plan_rows(own, labels, budgets, neighbours, self._plan_settings)
                topics.extend(cut_plan(plan, labels, unique))
            return topics[topic]

        return make

    def _budgets(self, labels: NDArray[np.int32]) -> NDArray[np.int64]:
        settings = self._settings
        return topic_budgets(np.bincount(labels), settings.per_cluster, settings.target_rows)

    def _neighbours(self, vectors: NDArray[np.float16]) -> Neighbours:
        """Found once in a session; the same in each, as their arithmetic is exact."""
        if self._near is None:
            self._near = find_neighbours(vectors.astype(np.float32), self._settings.seed)
        return self._near

    def _made_from(self, step: str) -> str:
        """The hash of everything that decides a step: its settings and the steps before it."""
        made_from = digest([self._identity.dataset, dict(self._identity.algorithms)])
        for name, settings in STEPS.items():
            values = [self._identity.settings.get(setting) for setting in settings]
            made_from = digest([made_from, name, values])
            if name == "vectors":
                made_from = digest([made_from, self._identity.vectors])
            if name == step:
                break
        return made_from


def from_texts(store: RowStore, embedder: str) -> Embed:
    """Vectors by embedding the rows' texts."""
    model: Embedder = load_embedder(embedder)
    return lambda chunk: model.embed(list(store.iter_texts(chunk)))


def plan_settings(settings: Settings) -> PlanSettings:
    """The part of the settings that thins and pairs."""
    return PlanSettings(
        selection=settings.selection,
        pairing=settings.pairing,
        threshold=settings.similarity_threshold,
        max_group_size=settings.max_group_size,
    )


def count_lines(path: Path) -> int:
    """The number of lines of a file of ours."""
    with path.open("rb") as file:
        return sum(1 for _ in file)
