"""A merged row beside its sources: what each is made of, and what is new in the merged row.

Most is found out only when it is asked for: a merge that holds its sources word for word, as many
do, needs none of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from itertools import combinations
from typing import Any, Generic, NamedTuple, TypeVar

from mergeit_async.merging.changes import is_code
from mergeit_async.merging.function_words import FUNCTION_WORDS
from mergeit_async.merging.leak import find_labels
from mergeit_async.merging.matching import SHORTEST_STEM, Encoder, Vocabulary
from mergeit_async.merging.order import Roles, measure_swaps
from mergeit_async.merging.strangers import Area, find_strangers
from mergeit_async.merging.survival import FULL, Survival, join_survivals, measure_survival
from mergeit_async.merging.units import Field, Units, read_row, read_words
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example, Row

T = TypeVar("T")

# What counts of the words of an answer that tell nothing about it.
COMMON = 0.3
NOWHERE = -1
# Where a text begins in another one, the first time and the last time.
Span = tuple[int, int]
Places = tuple[Span, Span, Span]


class lazy(Generic[T]):
    """A property that is worked out once.

    Until Python 3.12, functools.cached_property takes a lock each time, which costs more than most
    of the properties here.
    """

    def __init__(self, read: Callable[[Any], T]) -> None:
        self._read = read
        self._name = read.__name__

    def __get__(self, owner: Any, kind: type) -> T:
        value = owner.__dict__[self._name] = self._read(owner)
        return value


class Links(NamedTuple):
    """The units of a merged row beside those of sources that stand there word for word.

    Of the whole question, of the input in it, and of the output.
    """

    question: list[str]
    input: list[str]
    output: list[str]


WHOLE = (FULL, FULL, FULL)


class Comparison:
    """One merged row and its sources."""

    def __init__(
        self, merged: Example, sources: Sequence[Row], weights: WordWeights, encoder: Encoder
    ) -> None:
        self.merged = read_row(merged)
        self.sources: list[Units] = [read_row(row) for row in sources]
        self.weights = weights
        self.encoder = encoder

    @lazy
    def asked(self) -> Vocabulary:
        """What the merged row asks and gives."""
        return Vocabulary(self.merged.instruction.vocabulary | self.merged.input.vocabulary)

    @lazy
    def answered(self) -> Vocabulary:
        """What the merged row answers."""
        return Vocabulary(self.merged.output.vocabulary)

    @lazy
    def sources_questions(self) -> list[Field]:
        """The fields in which the sources ask and give."""
        return [field for row in self.sources for field in row.question]

    @lazy
    def survivals(self) -> list[tuple[Survival, Survival, Survival]]:
        """Per source what is kept of its instruction, input and output."""
        return [WHOLE if self.holds(at) else self._survive(at) for at in range(len(self.sources))]

    @lazy
    def asked_before(self) -> Vocabulary:
        """What the sources ask and give."""
        return Vocabulary(
            set().union(*(r.instruction.vocabulary | r.input.vocabulary for r in self.sources))
        )

    @lazy
    def answers_before(self) -> Vocabulary:
        """What the sources answer."""
        return Vocabulary(set().union(*(row.output.vocabulary for row in self.sources)))

    @lazy
    def new_asked(self) -> set[str]:
        """What the merged row asks and gives and no source does, without the labels of parts."""
        asked = set(self.links.question) if self.holds_all else self.asked.words
        new = asked - self.asked_before.words
        return new - find_labels(self.merged.question) if new else new

    @lazy
    def links(self) -> Links:
        """What the merged row says beside its sources, all of which it holds word for word."""
        instruction, given, output = (
            read_words(_cut_out(field.folded, [row[at].folded for row in self.sources]))
            for at, field in enumerate(self.merged)
        )
        return Links([*instruction, *given], given, output)

    def may_tell(self, at: int) -> bool:
        """Whether the question may tell something of the answer of source `at`; quick to say."""
        if not self.holds_all:
            return True
        answer = self.sources[at].output
        stems = [stem for stem in self._link_stems if stem in answer.folded]
        return any(word.startswith(stem) for stem in stems for word in answer.vocabulary)

    @lazy
    def _link_stems(self) -> set[str]:
        """How the content words begin that a question has beside its sources."""
        content = set(self.links.question) - FUNCTION_WORDS
        return {word[:SHORTEST_STEM] for word in content}

    @lazy
    def known(self) -> Vocabulary:
        """All units of the sources."""
        outputs = (row.output.vocabulary for row in self.sources)
        return Vocabulary(self.asked_before.words.union(*outputs))

    @lazy
    def questions(self) -> Area:
        """What is asked and given."""
        merged = self.merged.question
        strangers = find_strangers(merged, self.known, self.sources_questions)
        return Area(merged, self.sources_questions, self.asked, strangers, True, self.answered)

    @lazy
    def answers(self) -> Area:
        merged = (self.merged.output,)
        sources = [row.output for row in self.sources]
        strangers = find_strangers(merged, self.known, sources)
        return Area(merged, sources, self.answered, strangers, False, self.asked)

    @lazy
    def swaps(self) -> list[float]:
        """Per source how surely its answer changed places with another's."""
        if self._keeps_order:
            return [0.0] * len(self.sources)
        return measure_swaps(Roles(self.sources), self.sources, self.merged)

    @lazy
    def similarities(self) -> list[float]:
        """Per source the cosine of its words with the merged row's."""
        rows = [row.vocabulary - FUNCTION_WORDS for row in self.sources]
        if self.holds_all:
            merged = set().union(*rows, self.links.question, self.links.output)
        else:
            merged = self.merged.vocabulary
        return self.encoder.similarities(merged - FUNCTION_WORDS, rows)

    @property
    def is_joined(self) -> bool:
        """Whether all sources stand there word for word, each answer in its place alone."""
        numbers = range(len(self.sources))
        return self.holds_all and self._keeps_order and not any(map(self.may_tell, numbers))

    def holds(self, at: int) -> bool:
        """Whether source `at` stands in the merged row word for word."""
        return self._places[at] is not None

    @lazy
    def holds_all(self) -> bool:
        """Whether all sources stand in the merged row word for word."""
        return None not in self._places

    @lazy
    def _places(self) -> list[Places | None]:
        """Per source where its fields stand, None where one does not stand there word for word."""
        question = f"{self.merged.instruction.folded}\n{self.merged.input.folded}"
        output = self.merged.output
        return [
            None
            if _is_recased(row.output, output) or self._is_shared(at)
            else _find_places(row, question, output.folded)
            for at, row in enumerate(self.sources)
        ]

    def _is_shared(self, at: int) -> bool:
        """Whether the answer of source `at` may stand in the merged one only as part of another's.

        It stands there less often than in the sources.
        """
        answer = self.sources[at].output.folded
        if not any(answer in row.output.folded for i, row in enumerate(self.sources) if i != at):
            return False
        needed = sum(row.output.folded.count(answer) for row in self.sources) if answer else 0
        return self.merged.output.folded.count(answer) < needed

    @lazy
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
    """Where the field stands in `text`, as whole words, the first time and the last time."""
    if not field.folded:
        return 0, len(text)
    first = text.find(field.folded)
    if first == NOWHERE or not _is_whole(field, text, first):
        return NOWHERE, NOWHERE
    last = text.rfind(field.folded)
    return (first, last) if _is_whole(field, text, last) else (first, first)


def _is_whole(field: Field, text: str, at: int) -> bool:
    """Whether no word begins before the field or goes on behind it."""
    end = at + len(field.folded)
    is_cut = at and text[at - 1].isalnum() and field.folded[0].isalnum()
    goes_on = end < len(text) and text[end].isalnum() and field.folded[-1].isalnum()
    return not (is_cut or goes_on or _is_in_number(field.folded, text, at, end))


def _is_in_number(field: str, text: str, at: int, end: int) -> bool:
    """Whether the number that a field begins or ends with is a part of another: 5 of -5 and 3.5."""
    if field[0].isdigit() and at and text[at - 1] in "-−.,":
        before = text[at - 2] if at > 1 else ""
        if before.isdigit() if text[at - 1] in ".," else not before.isalnum():
            return True
    return (
        field[-1].isdigit()
        and text[end : end + 1] in (".", ",")
        and text[end + 1 : end + 2].isdigit()
    )


def _is_recased(answer: Field, merged: Field) -> bool:
    """Whether `answer` is code that does not stand in `merged` in the same letters."""
    return answer.text.strip() not in merged.text and is_code(answer.text)


def _cut_out(text: str, parts: Iterable[str]) -> str:
    for part in sorted(parts, key=len, reverse=True):
        text = text.replace(part, "\n", 1) if part else text
    return text


def _may_precede(one: Places, other: Places) -> bool:
    """Whether each field of one source may stand before that of the other; an empty one may."""
    return all(first[0] < second[1] for first, second in zip(one, other, strict=True))
