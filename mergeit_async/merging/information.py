"""The information gate: whether all that the sources ask, give and answer stands in the merge.

Pure, and the same on every machine: sums of weights are taken in one order, and what the model
says comes as whole numbers or rounded.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

from mergeit_async.merging.comparison import Comparison
from mergeit_async.merging.doubts import Doubt, doubt_source, doubt_whole
from mergeit_async.merging.matching import Encoder
from mergeit_async.merging.parse import FIELDS
from mergeit_async.merging.survival import Survival
from mergeit_async.merging.units import is_number
from mergeit_async.merging.weights import WordWeights
from mergeit_async.records import Example, Refusal, Row

INFORMATION_VERSION = "information/1"

# What the loss of a whole instruction, input and output takes from the score, without any doubt.
PARTS = (0.12, 0.10, 0.25)
# Digits of all scores, and so of what the journal and the lineage tell.
DIGITS = 4

KEPT_WHOLE: Mapping[str, float] = MappingProxyType(dict.fromkeys(FIELDS, 1.0))
MOST_MISSING, MOST_LOST = 12, 6
LONGEST_PHRASE = 120
WORTH_NAMING = 0.2


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


def measure_information(
    merged: Example, sources: Sequence[Row], weights: WordWeights, encoder: Encoder
) -> Information:
    """How much of `sources`, stands in `merged`. Pure, and never raises."""
    compared = Comparison(merged, sources, weights, encoder)
    shared = doubt_whole(compared)
    if compared.is_joined and not shared:
        whole = (_as_whole(similarity) for similarity in compared.similarities)
        return Information(1.0, tuple(whole), "")
    found = tuple(_score_source(compared, at, shared) for at in range(len(sources)))
    if not found:
        return Information(1.0, (), "")
    worst = min(found, key=lambda each: each.score)
    return Information(worst.score, found, worst.reason)


def check_information(information: Information, threshold: float) -> Refusal | None:
    """The refusal of a merge whose score is below `threshold`, with all that is missing."""
    if information.score >= threshold:
        return None
    failed = [each for each in information.sources if each.score < threshold]
    failed.sort(key=lambda each: each.score)
    missing = tuple(dict.fromkeys(phrase for each in failed for phrase in each.missing))
    detail = f"information score {information.score:.2f} is below {threshold:.2f}"
    if missing:
        detail = f"{detail}; {missing[0]}"
    return Refusal(information.reason, detail, missing[:MOST_MISSING])


def _as_whole(similarity: float) -> SourceInformation:
    """What a source kept that stands in the merged row word for word."""
    return SourceInformation(1.0, round(similarity, DIGITS), KEPT_WHOLE, (), "")


def _score_source(compared: Comparison, at: int, shared: Sequence[Doubt]) -> SourceInformation:
    survival = compared.survivals[at]
    doubts = sorted([*doubt_source(compared, at), *shared], key=lambda doubt: -doubt.strength)
    score = 1.0 - sum(part * (1.0 - each.share) for part, each in zip(PARTS, survival, strict=True))
    for doubt in doubts:
        score *= 1.0 - doubt.strength
    return SourceInformation(
        score=round(score, DIGITS),
        similarity=round(compared.similarities[at], DIGITS),
        fields={
            name: round(each.share, DIGITS) for name, each in zip(FIELDS, survival, strict=True)
        },
        missing=_name_missing(at + 1, doubts, survival),
        reason=doubts[0].reason if doubts else ("information_lost" if score < 1.0 else ""),
    )


def _name_missing(
    number: int, doubts: Sequence[Doubt], survival: Sequence[Survival]
) -> tuple[str, ...]:
    """What a repair has to bring back, in words: first the doubts, then what is lost."""
    phrases = [
        f"source {number}{phrase}"
        for doubt in doubts
        if doubt.strength >= WORTH_NAMING
        for phrase in doubt.phrases
    ]
    for field, found in zip(FIELDS, survival, strict=True):
        for word in found.lost[:MOST_LOST]:
            kind = "number" if is_number(word) else "word"
            phrases.append(f"source {number}, {field}: the {kind} {word}")
    unique = dict.fromkeys(phrase[:LONGEST_PHRASE] for phrase in phrases)
    return tuple(unique)[:MOST_MISSING]
