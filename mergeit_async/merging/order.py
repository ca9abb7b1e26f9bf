"""Whether the answers of two sources changed places."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations

from mergeit_async.merging.units import Units, is_number, read_words

_CLAUSE_SIGNS = re.compile(r"[;\n|]|[.,?!](?=\s|$)|[。、，；！？]")
MOST_WORDS, MOST_CHARACTERS = 4_000, 20_000
# Two orders are compared only where both are as clear as this.
CLEAR = 0.6
ENOUGH_VOTES = 3
# Numbers are what answers turn on; words may be those of any answer.
NUMBER_VOTES = 2
# What is left of the evidence of neighbours where the order speaks against a swap.
ORDER_KEPT = 0.6


class Roles:
    """Per source the units that only its question has, and those that only its answer has."""

    def __init__(self, sources: Sequence[Units]) -> None:
        asked = [row.instruction.vocabulary | row.input.vocabulary for row in sources]
        self.keys: dict[str, int] = {}
        self.answers: dict[str, int] = {}
        for at, row in enumerate(sources):
            others = [each for i, each in enumerate(sources) if i != at]
            theirs: set[str] = set().union(
                *(each.instruction.vocabulary | each.output.vocabulary for each in others)
            )
            inputs: set[str] = set().union(*(each.input.vocabulary for each in others))
            self.keys.update(dict.fromkeys(asked[at] - theirs - inputs, at))
            own = row.output.vocabulary - row.instruction.vocabulary - theirs
            own -= row.input.vocabulary - inputs
            own -= inputs - row.input.vocabulary
            self.answers.update(dict.fromkeys(own, at))


def measure_swaps(roles: Roles, merged: Units, n_sources: int) -> list[float]:
    """Per source how surely its answer changed places with another's, from 0 to 1."""
    swaps = [0.0] * n_sources
    votes = _count_votes(roles, merged, n_sources)
    asked = _places(merged.instruction.words, roles.keys, n_sources)
    given = _places(merged.input.words, roles.keys, n_sources)
    answered = _places(merged.output.words, roles.answers, n_sources)
    for one, other in combinations(range(n_sources), 2):
        orders = [_precedence(places[one], places[other]) for places in (asked, given)]
        turned = -max(orders, key=abs) * _precedence(answered[one], answered[other])
        same = votes[one][one] + votes[other][other]
        swap = _judge(same, votes[one][other] + votes[other][one], turned)
        swaps[one], swaps[other] = max(swaps[one], swap), max(swaps[other], swap)
    return swaps


def _judge(same: int, different: int, turned: float) -> float:
    """From how many answers stand beside their own key or the other's, and whether orders differ.

    Neighbours say more than the order: a merge may answer the second question first.
    """
    n_votes = same + different
    if not n_votes:
        return max(0.0, turned) if abs(turned) > CLEAR else 0.0
    leaning = (different - same) / n_votes
    certainty = min(1.0, n_votes / ENOUGH_VOTES)
    return max(0.0, leaning) * certainty * (1.0 if turned > 0 else ORDER_KEPT)


def _count_votes(roles: Roles, merged: Units, n_sources: int) -> list[list[int]]:
    """How many answers of each source stand nearest to a key of each, clause by clause."""
    votes = [[0] * n_sources for _ in range(n_sources)]
    for clause in _CLAUSE_SIGNS.split(merged.output.text[:MOST_CHARACTERS]):
        words = read_words(clause)
        keys = [(at, roles.keys[w]) for at, w in enumerate(words) if w in roles.keys]
        if keys:
            for at, word in enumerate(words):
                if (source := roles.answers.get(word)) is not None:
                    nearest = min(keys, key=lambda key, at=at: (abs(key[0] - at), key[0]))
                    votes[source][nearest[1]] += NUMBER_VOTES if is_number(word) else 1
    return votes


def _places(words: Sequence[str], roles: dict[str, int], n_sources: int) -> list[list[int]]:
    places: list[list[int]] = [[] for _ in range(n_sources)]
    for at, word in enumerate(words[:MOST_WORDS]):
        if (source := roles.get(word)) is not None:
            places[source].append(at)
    return places


def _precedence(one: Sequence[int], other: Sequence[int]) -> float:
    """From 1, all of `one` before all of `other`, to -1, the reverse; 0 where either is empty."""
    if not one or not other:
        return 0.0
    before, at = 0, 0
    for place in one:
        while at < len(other) and other[at] < place:
            at += 1
        before += len(other) - at
    return 2.0 * before / (len(one) * len(other)) - 1.0
