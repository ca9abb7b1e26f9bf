"""Whether sentences of a merged row are in a language that no source is in."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple, Protocol

from mergeit_async.merging.ramp import ramp
from mergeit_async.merging.units import Field, is_number, read_words

# A sentence is looked at if so many of its words are unknown to the sources, and so large a share.
LEAST_STRANGE, STRANGE_SHARE = 3, 0.45
# By how much, in units of log-likelihood, a language has to be likelier than those of the sources.
DOUBTFUL, CERTAIN = 8, 40
# Fewer words do not tell their language.
LEAST_TOLD = 8
MOST_SENTENCES = 16
MOST_CHARACTERS = 600
_SENTENCE = re.compile(r"(?<=[.!?;:])\s+|\n+|(?<=[。！？।؟])")


class Linguist(Protocol):
    """The model that knows languages."""

    def rank_languages(self, text: str) -> Mapping[str, float]:
        """The log-likelihood of each language, up to a constant."""


class Foreign(NamedTuple):
    """How surely a part is foreign, 0 to 1, its language, and the beginning of the part."""

    strength: float
    language: str
    excerpt: str


NOT_FOREIGN = Foreign(0.0, "", "")


def find_foreign(
    fields: Iterable[Field], strange: set[str], sources: Sequence[Field], linguist: Linguist
) -> Foreign:
    """The part of `fields` that is most surely foreign, of those made of `strange` words."""
    suspects = [s for field in fields for s in _find_suspects(field.text, strange)]
    if not suspects:
        return NOT_FOREIGN
    home = _find_home(sources, linguist)
    return max(_judge(sentence, home, linguist) for sentence in suspects[:MOST_SENTENCES])


def _find_suspects(text: str, strange: set[str]) -> list[str]:
    suspects = []
    for sentence in _SENTENCE.split(text[: 20 * MOST_CHARACTERS]):
        words = [word for word in read_words(sentence) if not is_number(word)]
        n_strange = sum(word in strange for word in words)
        if n_strange >= max(LEAST_STRANGE, STRANGE_SHARE * len(words)):
            suspects.append(sentence[:MOST_CHARACTERS])
    return suspects


def _find_home(sources: Sequence[Field], linguist: Linguist) -> set[str]:
    """The likeliest language of each field of the sources that is long enough to tell."""
    texts = [field.text[:MOST_CHARACTERS] for field in sources if len(field.words) >= LEAST_TOLD]
    texts.append("\n".join(field.text for field in sources)[: 4 * MOST_CHARACTERS])
    home = set()
    for text in texts:
        ranks = linguist.rank_languages(text)
        home.add(max(ranks, key=lambda language: (ranks[language], language)))
    return home


def _judge(sentence: str, home: set[str], linguist: Linguist) -> Foreign:
    ranks = linguist.rank_languages(sentence)
    language = max(ranks, key=lambda language: (ranks[language], language))
    # Whole units: the model's sums may differ in their last bits from machine to machine.
    margin = round(ranks[language] - max(ranks[each] for each in home))
    strength = ramp(margin, DOUBTFUL, CERTAIN)
    return Foreign(strength, language, sentence.strip()[:60])
