"""The information gate: whether all that the sources ask, give and answer stands in the merge."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mergeit_async.merging.changes import Change, Strangers, find_changes, find_strangers
from mergeit_async.merging.ending import measure_break
from mergeit_async.merging.language import Foreign, find_foreign
from mergeit_async.merging.leak import measure_leak
from mergeit_async.merging.matching import Encoder, Vocabulary
from mergeit_async.merging.order import Roles, measure_swaps
from mergeit_async.merging.survival import Survival, measure_survival
from mergeit_async.merging.units import Field, Units, is_number, read_row
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example, Refusal, Row

INFORMATION_VERSION = "information/1"
DEFAULT_THRESHOLD = 0.5

MOST_MISSING = 12
LONGEST_PHRASE = 120


class SourceInformation(NamedTuple):
    """What one source kept: a score from 0 to 1, and what it comes from.

    `similarity` is the cosine of its words with the merged row's by the embedded model. `fields`
    is the survival in instruction, input and output, 1 where a field is empty. `missing` names
    what a repair has to bring back, the most important first. `reason` is that of the strongest
    doubt, empty where there is none.
    """

    score: float
    similarity: float
    fields: Mapping[str, float]
    missing: tuple[str, ...]
    reason: str


class Information(NamedTuple):
    """The score of the worst source, all sources, and the worst one's reason."""

    score: float
    sources: tuple[SourceInformation, ...]
    reason: str


class Doubt(NamedTuple):
    """A reason against a merge, how strong it is from 0 to 1, and what to say of it."""

    strength: float
    reason: str
    phrases: tuple[str, ...] = ()


class Comparison(NamedTuple):
    """The merged row and its sources, taken apart, and what concerns all sources at once."""

    merged: Units
    sources: Sequence[Units]
    asked: Vocabulary
    answered: Vocabulary
    known: Vocabulary
    asked_before: Vocabulary
    strangers_asked: list[Strangers]
    strangers_answered: list[Strangers]
    weights: WordWeights
    encoder: Encoder


def measure_information(
    merged: Example, sources: Sequence[Row], weights: WordWeights, encoder: Encoder
) -> Information:
    """How much of `sources` stands in `merged`. Pure, and never raises."""
    compared = _compare(merged, sources, weights, encoder)
    survivals = [_survive(compared, at) for at in range(len(sources))]
    similarities = encoder.similarities(
        sorted(_all_words(compared.merged)), [sorted(_all_words(each)) for each in compared.sources]
    )
    shared = _doubt_whole(compared)
    swaps = measure_swaps(Roles(compared.sources), compared.merged, len(sources))
    found = tuple(
        _score_source(compared, at, survivals, similarities[at], swaps[at], shared)
        for at in range(len(sources))
    )
    worst = min(found, key=lambda each: each.score)
    return Information(worst.score, found, worst.reason)


def check_information(information: Information, threshold: float) -> Refusal | None:
    """The refusal of a merge whose score is below `threshold`, with all that is missing."""
    if information.score >= threshold:
        return None
    failed = sorted(
        (each for each in information.sources if each.score < threshold), key=lambda e: e.score
    )
    missing = tuple(dict.fromkeys(phrase for each in failed for phrase in each.missing))
    detail = f"information score {information.score:.2f} is below {threshold:.2f}"
    if missing:
        detail = f"{detail}; {missing[0]}"
    return Refusal(information.reason, detail, missing[:MOST_MISSING])


def _compare(
    merged: Example, sources: Sequence[Row], weights: WordWeights, encoder: Encoder
) -> Comparison:
    whole, rows = read_row(merged), [read_row(row) for row in sources]
    asked_before = set().union(*(r.instruction.vocabulary | r.input.vocabulary for r in rows))
    known = Vocabulary(asked_before.union(*(row.output.vocabulary for row in rows)))
    return Comparison(
        merged=whole,
        sources=rows,
        asked=Vocabulary(whole.instruction.vocabulary | whole.input.vocabulary),
        answered=Vocabulary(whole.output.vocabulary),
        known=known,
        asked_before=Vocabulary(asked_before),
        strangers_asked=find_strangers((whole.instruction, whole.input), known),
        strangers_answered=find_strangers((whole.output,), known),
        weights=weights,
        encoder=encoder,
    )


def _all_words(row: Units) -> set[str]:
    return row.instruction.vocabulary | row.input.vocabulary | row.output.vocabulary


def _survive(compared: Comparison, at: int) -> tuple[Survival, Survival, Survival]:
    row = compared.sources[at]
    tools = compared.weights, compared.encoder
    return (
        measure_survival(row.instruction, compared.asked, *tools),
        measure_survival(row.input, compared.asked, *tools),
        measure_survival(_own_answer(compared, at), compared.answered, *tools),
    )


def _own_answer(compared: Comparison, at: int) -> Field:
    """The answer without what other answers say too, which tells nothing about this one."""
    field = compared.sources[at].output
    others = (row.output.vocabulary for i, row in enumerate(compared.sources) if i != at)
    own = field.vocabulary.difference(*others)
    return field._replace(vocabulary=own) if own else field


def _doubt_whole(compared: Comparison) -> list[Doubt]:
    """The doubts that concern the merged row as a whole."""
    outputs = [row.output for row in compared.sources]
    broken = measure_break(compared.merged.output, outputs, compared.answered)
    doubts = []
    if broken:
        end = compared.merged.output.text.rstrip()[-40:]
        doubts.append(Doubt(broken, "cut_off", (f"the end of the output, which stops at '{end}'",)))
    foreign = _find_foreign(compared)
    if foreign.strength:
        phrase = f"the language of the sources, in '{foreign.excerpt}'"
        doubts.append(Doubt(0.95 * foreign.strength, "language_changed", (phrase,)))
    return doubts


def _find_foreign(compared: Comparison) -> Foreign:
    strangers = [*compared.strangers_asked, *compared.strangers_answered]
    strange = {each.field.words[at] for each in strangers for at, _ in each.places}
    fields = [each.field for each in strangers]
    sources = [field for row in compared.sources for field in row]
    return find_foreign(fields, strange, sources, compared.encoder)


def _score_source(
    compared: Comparison,
    at: int,
    survivals: Sequence[tuple[Survival, Survival, Survival]],
    similarity: float,
    swap: float,
    shared: Sequence[Doubt],
) -> SourceInformation:
    instruction, given, output = survivals[at]
    doubts = [
        *_doubt_loss(survivals, at, similarity),
        *_doubt_changes(compared, at, output),
        *_doubt_leak(compared, at),
        *shared,
    ]
    if swap > 0.15:
        doubts.append(Doubt(_ramp(swap, 0.15, 0.6), "answers_swapped", ("its answer in its own place",)))
    score = 1.0 - 0.25 * (1 - output.share) - 0.12 * (1 - instruction.share) - 0.1 * (1 - given.share)
    for doubt in doubts:
        score *= 1.0 - doubt.strength
    doubts.sort(key=lambda doubt: -doubt.strength)
    return SourceInformation(
        score=round(score, 6),
        similarity=similarity,
        fields={"instruction": instruction.share, "input": given.share, "output": output.share},
        missing=_name_missing(at + 1, doubts, survivals[at]),
        reason=doubts[0].reason if doubts else ("information_lost" if score < 1 else ""),
    )


def _ramp(value: float, low: float, high: float) -> float:
    return min(1.0, max(0.0, (value - low) / (high - low)))


def _doubt_loss(
    survivals: Sequence[tuple[Survival, Survival, Survival]], at: int, similarity: float
) -> list[Doubt]:
    instruction, given, output = survivals[at]
    others = [1 - each[2].share for i, each in enumerate(survivals) if i != at]
    # A style that rewords everything rewords the other sources as well.
    usual = min(others) if others else 0.0
    loss = 1 - output.share - 0.5 * usual
    doubts = []
    if (strength := _ramp(1 - given.share, 0.4, 0.75)) > 0:
        doubts.append(Doubt(strength, "input_dropped"))
    if (strength := _ramp(loss, 0.4, 0.8)) > 0:
        reason = "source_dropped" if instruction.share < 0.6 else "information_lost"
        doubts.append(Doubt(0.9 * strength, reason))
    return doubts


def _doubt_changes(compared: Comparison, at: int, output: Survival) -> list[Doubt]:
    row = compared.sources[at]
    tools = compared.weights, compared.encoder
    asked = (row.instruction, row.input)
    changes = find_changes(compared.strangers_asked, asked, compared.asked, *tools)
    changes += find_changes(compared.strangers_answered, (row.output,), compared.answered, *tools)
    doubts = []
    for kind, reason in (("number", "number_changed"), ("name", "name_changed")):
        found = sorted((c for c in changes if c.kind == kind), key=lambda c: -c.strength)
        if found:
            phrases = tuple(f"{kind} {c.old}, changed to {c.new}" for c in found[:3])
            doubts.append(Doubt(0.9 * found[0].strength, reason, phrases))
    words = [c for c in changes if c.kind == "word" and c.strength > 0.5]
    if words:
        strength = 0.8 * _ramp(output.share, 0.85, 1.0)
        doubts.append(Doubt(strength, "name_changed", (f"the word {words[0].old}, changed to {words[0].new}",)))
    return doubts


def _doubt_leak(compared: Comparison, at: int) -> list[Doubt]:
    new = compared.asked.words - compared.asked_before.words
    leak = measure_leak(compared.sources[at], new, compared.asked_before, compared.weights)
    if not leak.strength:
        return []
    return [Doubt(0.9 * leak.strength, "answer_leaked", (f"a question without its answer ({', '.join(leak.words[:5])})",))]


def _name_missing(
    number: int, doubts: Sequence[Doubt], survival: tuple[Survival, Survival, Survival]
) -> tuple[str, ...]:
    """What a repair has to bring back, in words: first the doubts, then what is lost."""
    phrases = [f"source {number}: {p}" for d in doubts if d.strength > 0.2 for p in d.phrases]
    for field, found in zip(("instruction", "input", "output"), survival, strict=True):
        for word in found.lost[:6]:
            kind = "number" if is_number(word) else "word"
            phrases.append(f"source {number}, {field}: the {kind} {word}")
    return tuple(phrase[:LONGEST_PHRASE] for phrase in phrases[:MOST_MISSING])
