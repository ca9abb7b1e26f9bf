"""What each topic is about, saved in the plan for those who read it; it decides nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from mergeit_async.data.store import RowStore
from mergeit_async.filtering.partition import split_labels
from mergeit_async.filtering.portrait import key_words, typical_rows
from mergeit_async.merging.function_words import FUNCTION_WORDS

WORDS = 5
TYPICAL_ROWS = 3
# Enough for five words, and bounded: the event loop is at work meanwhile.
ROWS_READ = 64
EXCERPT = 120


@dataclass(frozen=True, slots=True)
class TypicalRow:
    """A row in the middle of a topic: its id and how its text begins."""

    id: str
    text: str


@dataclass(frozen=True, slots=True)
class TopicPortrait:
    """A topic for people: how many rows it has, the words that are its own, and typical rows."""

    topic: int
    rows: int
    words: tuple[str, ...]
    typical: tuple[TypicalRow, ...]


def paint_topics(
    store: RowStore,
    rows: NDArray[np.int64],
    vectors: NDArray[np.float16],
    labels: NDArray[np.int32],
) -> list[TopicPortrait]:
    """A portrait of each topic; `rows` are the places in `store` of the labelled `vectors`."""
    topics = split_labels(labels)
    read = [_spread(members, ROWS_READ) for members in topics]
    texts = [store[int(row)].text for members in read for row in rows[members]]
    read_labels = np.repeat(np.arange(len(read), dtype=np.int32), [len(some) for some in read])
    words = key_words(texts, read_labels, WORDS, FUNCTION_WORDS)
    portraits = []
    for topic, members in enumerate(topics):
        middle = typical_rows(vectors[members].astype(np.float32), TYPICAL_ROWS)
        typical = tuple(_typical(store, int(row)) for row in rows[members[middle]])
        portraits.append(TopicPortrait(topic, len(members), words[topic], typical))
    return portraits


def dump_portraits(portraits: Sequence[TopicPortrait]) -> bytes:
    """Portraits as they are saved."""
    return orjson.dumps([asdict(portrait) for portrait in portraits], option=orjson.OPT_INDENT_2)


def read_portraits(path: Path) -> list[TopicPortrait]:
    """The saved portraits, by topic; none where there are none yet."""
    if not path.exists():
        return []
    return [
        TopicPortrait(
            saved["topic"],
            saved["rows"],
            tuple(saved["words"]),
            tuple(TypicalRow(**row) for row in saved["typical"]),
        )
        for saved in orjson.loads(path.read_bytes())
    ]


def _spread(members: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    at = np.linspace(0, len(members) - 1, min(number, len(members))).astype(np.int64)
    return members[at]


def _typical(store: RowStore, at: int) -> TypicalRow:
    row = store[at]
    text = " ".join(row.text.split())
    return TypicalRow(row.id, text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…")
