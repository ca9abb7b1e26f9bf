"""A model for tests: a few kin words, and languages by their articles."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set

KIN = {frozenset(("fridge", "refrigerator")): 0.8, frozenset(("big", "large")): 0.5}
ARTICLES = {"en": {"the", "a", "is"}, "de": {"der", "die", "das", "ist"}}


class ToyEncoder:
    def similarities(self, merged: Set[str], sources: Sequence[Set[str]]) -> list[float]:
        return [len(merged & words) / len(words) if words else 0.0 for words in sources]

    def kinships(self, lost: Sequence[str], kept: Sequence[str]) -> list[float]:
        return [max((KIN.get(frozenset((a, b)), 0.0) for b in kept), default=0.0) for a in lost]

    def rank_languages(self, text: str) -> Mapping[str, float]:
        words = text.casefold().split()
        return {
            language: 20.0 * sum(word in articles for word in words)
            for language, articles in ARTICLES.items()
        }
