"""The artefacts of stage 1 on disk: written once, whole, with the hash of what they came from."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import orjson
from numpy.typing import NDArray

from mergeit_async.data.atomic import write_atomically

MANIFEST = "manifest.json"


class PlannedGroup(NamedTuple):
    """A group as planned: `rows` are indices into the row store, in row order."""

    position: int
    topic: int
    rows: tuple[int, ...]
    similarity: float


@dataclass(frozen=True, slots=True)
class PlannedTopic:
    """One topic's share of the plan.

    `rows` are all its rows and `selected` those whose content goes on, (n,) and (m,) int64
    indices into the row store, ascending; `groups` are disjoint, and their positions begin at
    `first_position`. A group is of the topic of its first row and may hold rows of others; `lent`,
    (k,) int64, are the rows of this topic that are in a group of another one.
    """

    topic: int
    first_position: int
    rows: NDArray[np.int64]
    selected: NDArray[np.int64]
    groups: tuple[PlannedGroup, ...]
    lent: NDArray[np.int64] = field(default_factory=lambda: np.empty(0, np.int64))


class PlanFolder:
    """The folder `plan/` of a run. An artefact counts only under the hash it was made from."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = path / "rows.arrow"
        self.vectors = path / "vectors.npy"
        self.labels = path / "labels.npy"
        self.words = path / "words.json"
        self.portraits = path / "topics.json"
        self._topics = path / "topics"
        self._manifest = path / MANIFEST

    def holds(self, artefact: Path, made_from: str) -> bool:
        """Whether `artefact` was written whole, from exactly this."""
        return artefact.exists() and self._read_manifest().get(artefact.name) == made_from

    def confirm(self, artefact: Path, made_from: str) -> None:
        """Enter a written artefact into the manifest; from here on it is never made again."""
        entries = self._read_manifest() | {artefact.name: made_from}
        with write_atomically(self._manifest) as file:
            file.write(orjson.dumps(entries, option=orjson.OPT_INDENT_2))

    def write_vectors(
        self, chunks: Iterable[NDArray[np.float32]], shape: tuple[int, int], made_from: str
    ) -> None:
        """Save vectors of `shape` (n_rows, dim), chunk by chunk, as float16."""

        def write(file: BinaryIO) -> None:
            header = {"descr": "<f2", "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for chunk in chunks:
                file.write(chunk.astype("<f2").tobytes())

        self._write(self.vectors, made_from, write)

    def write_labels(self, labels: NDArray[np.int32], made_from: str) -> None:
        """Save the topic of each row that has a vector, (n,) int32."""
        self._write(self.labels, made_from, lambda file: np.save(file, labels))

    def write_words(self, weights: bytes, made_from: str) -> None:
        """Save how rare the words of the dataset are."""
        self._write(self.words, made_from, lambda file: file.write(weights))

    def write_portraits(self, portraits: bytes, made_from: str) -> None:
        """Save what the topics are about."""
        self._write(self.portraits, made_from, lambda file: file.write(portraits))

    def write_topic(self, topic: PlannedTopic, made_from: str) -> None:
        """Save one topic's plan."""
        self._topics.mkdir(exist_ok=True)
        members = [row for group in topic.groups for row in group.rows]
        with write_atomically(self._topic_path(topic.topic)) as file:
            np.savez(
                file,
                made_from=np.array(made_from),
                first_position=np.int64(topic.first_position),
                rows=topic.rows,
                selected=topic.selected,
                lent=topic.lent,
                members=np.array(members, np.int64),
                sizes=np.array([len(group.rows) for group in topic.groups], np.int64),
                similarities=np.array([group.similarity for group in topic.groups], np.float64),
            )

    def read_topic(self, topic: int, made_from: str) -> PlannedTopic | None:
        """One topic's saved plan, or None where there is none from exactly this."""
        path = self._topic_path(topic)
        if not path.exists():
            return None
        with np.load(path) as saved:
            if saved["made_from"].item() != made_from:
                return None
            return PlannedTopic(
                topic,
                int(saved["first_position"]),
                saved["rows"],
                saved["selected"],
                tuple(_groups(topic, saved)),
                saved["lent"],
            )

    def count_topics(self) -> int:
        """How many topics are planned."""
        return sum(1 for _ in self._topics.glob("*.npz"))

    def clear_topics(self) -> None:
        """Forget topics that were planned from other labels."""
        shutil.rmtree(self._topics, ignore_errors=True)

    def _topic_path(self, topic: int) -> Path:
        return self._topics / f"{topic:06d}.npz"

    def _write(self, path: Path, made_from: str, write: Callable[[BinaryIO], object]) -> None:
        with write_atomically(path) as file:
            write(file)
        self.confirm(path, made_from)

    def _read_manifest(self) -> dict[str, str]:
        if not self._manifest.exists():
            return {}
        entries: dict[str, str] = orjson.loads(self._manifest.read_bytes())
        return entries


def _groups(topic: int, saved: np.lib.npyio.NpzFile) -> Iterator[PlannedGroup]:
    position = int(saved["first_position"])
    members, start = saved["members"].tolist(), 0
    # Plain lists: a resumed run goes through all that earlier sessions have merged.
    for size, similarity in zip(
        saved["sizes"].tolist(), saved["similarities"].tolist(), strict=True
    ):
        yield PlannedGroup(position, topic, tuple(members[start : start + size]), similarity)
        position, start = position + 1, start + size
