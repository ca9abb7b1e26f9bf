"""A merged row beside its sources: what each is made of, and what is new in the merged row.

Most is found out only when it is asked for: a merge that holds its sources word for word, as many
do, needs none of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from itertools import combinations

from mergeit_async.merging.leak import find_labels
from mergeit_async.merging.matching import Encoder, Vocabulary
from mergeit_async.merging.order import Roles, measure_swaps
from mergeit_async.merging.strangers import Area, find_strangers
from mergeit_async.merging.survival import FULL, Survival, join_survivals, measure_survival
from mergeit_async.merging.units import Field, Units, read_row
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example, Row

# What counts of the words of an answer that tell nothing about it.
COMMON = 0.3
NOWHERE = -1
# Where a text begins in another one, the first time and the last time.
Span = tuple[int, int]
Places = tuple[Span, Span, Span]


class Comparison:
    """One merged row and its sources."""

    def __init__(
        self, merged: Example, sources: Sequence[Row], weights: WordWeights, encoder: Encoder
    ) -> None:
        self.merged = read_row(merged)
        self.sources: list[Units] = [read_row(row) for row in sources]
        self.weights = weights
        self.encoder = encoder
        self.asked = Vocabulary(self.merged.instruction.vocabulary | self.merged.input.vocabulary)
        self.answered = Vocabulary(self.merged.output.vocabulary)
        self.survivals = [self._survive(at) for at in range(len(sources))]

    @cached_property
    def asked_before(self) -> Vocabulary:
        """What the sources ask and give."""
        return Vocabulary(
            set().union(*(r.instruction.vocabulary | r.input.vocabulary for r in self.sources))
        )

    @cached_property
    def new_asked(self) -> set[str]:
        """What the merged row asks and gives and no source does, without the labels of parts."""
        new = self.asked.words - self.asked_before.words
        return new - find_labels((self.merged.instruction, self.merged.input)) if new else new

    @cached_property
    def known(self) -> Vocabulary:
        """All units of the sources."""
        outputs = (row.output.vocabulary for row in self.sources)
        return Vocabulary(self.asked_before.words.union(*outputs))

    @cached_property
    def questions(self) -> Area:
        """What is asked and given."""
        merged = (self.merged.instruction, self.merged.input)
        sources = [field for row in self.sources for field in (row.instruction, row.input)]
        return Area(merged, sources, self.asked, find_strangers(merged, self.known), True)

    @cached_property
    def answers(self) -> Area:
        merged = (self.merged.output,)
        sources = [row.output for row in self.sources]
        return Area(merged, sources, self.answered, find_strangers(merged, self.known), False)

    @cached_property
    def swaps(self) -> list[float]:
        """Per source how surely its answer changed places with another's."""
        if self._keeps_order:
            return [0.0] * len(self.sources)
        return measure_swaps(Roles(self.sources), self.sources, self.merged)

    @cached_property
    def similarities(self) -> list[float]:
        """Per source the cosine of its words with the merged row's."""
        rows = [row.vocabulary for row in self.sources]
        return self.encoder.similarities(self.merged.vocabulary, rows)

    def holds(self, at: int) -> bool:
        """Whether source `at` stands in the merged row word for word."""
        return self._places[at] is not None

    @property
    def holds_all(self) -> bool:
        return None not in self._places

    @cached_property
    def _places(self) -> list[Places | None]:
        """Per source where its fields stand, None where one does not stand there word for word."""
        question = f"{self.merged.instruction.folded}\n{self.merged.input.folded}"
        return [_find_places(row, question, self.merged.output.folded) for row in self.sources]

    @cached_property
    def _keeps_order(self) -> bool:
        """Whether all sources stand there word for word, the answers in the questions' order."""
        places = [place for place in self._places if place is not None]
        return len(places) == len(self.sources) and all(
            _may_precede(one, other) or _may_precede(other, one)
            for one, other in combinations(places, 2)
        )

    def _survive(self, at: int) -> tuple[Survival, Survival, Survival]:
        row = self.sources[at]
        return (
            measure_survival(row.instruction.vocabulary, self.asked, self.weights, self.encoder),
            measure_survival(row.input.vocabulary, self.asked, self.weights, self.encoder),
            self._survive_in_answer(at),
        )

    def _survive_in_answer(self, at: int) -> Survival:
        """Survival of an answer; what other answers say too, or its own question, counts little."""
        row = self.sources[at]
        words = row.output.vocabulary
        if words <= self.answered.words:
            return FULL
        others = (other.output.vocabulary for i, other in enumerate(self.sources) if i != at)
        own = words.difference(row.instruction.vocabulary, row.input.vocabulary, *others)
        mine = measure_survival(own, self.answered, self.weights, self.encoder)
        common = measure_survival(words - own, self.answered, self.weights, self.encoder)
        weigh = self.weights.weigh_all
        return join_survivals(mine, common, weigh(own), COMMON * weigh(words - own))


def _find_places(row: Units, question: str, answer: str) -> Places | None:
    places = (
        _find_span(row.instruction, question),
        _find_span(row.input, question),
        _find_span(row.output, answer),
    )
    return None if any(NOWHERE in place for place in places) else places


def _find_span(field: Field, text: str) -> Span:
    return text.find(field.folded), text.rfind(field.folded)


def _may_precede(one: Places, other: Places) -> bool:
    """Whether each field of one source may stand before that of the other; an empty one may."""
    return all(first[0] < second[1] for first, second in zip(one, other, strict=True))
