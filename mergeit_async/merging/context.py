"""Whether two places of two texts are among the same words."""

from __future__ import annotations

from collections.abc import Sequence

# So many words in a row on each side are compared; so many in all have to be the same.
REACH, LEAST_SAME = 3, 3


def count_same(
    words: Sequence[str], at: int, merged: Sequence[str], place: int, least: int = LEAST_SAME
) -> int:
    """How many words around both places are the same; 0 if below `least`, or one side differs."""
    before = _run(words[max(0, at - REACH) : at][::-1], merged[max(0, place - REACH) : place][::-1])
    after = _run(words[at + 1 : at + 1 + REACH], merged[place + 1 : place + 1 + REACH])
    touches = (before or at == 0) and (after or at + 1 == len(words))
    return before + after if touches and before + after >= least else 0


def _run(one: Sequence[str], other: Sequence[str]) -> int:
    """The number of equal words before the first that differs."""
    n_same = 0
    for mine, theirs in zip(one, other, strict=False):
        # The article follows the word that is replaced.
        if mine != theirs and {mine, theirs} != {"a", "an"}:
            break
        n_same += 1
    return n_same
