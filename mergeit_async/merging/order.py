"""Whether the answers of two sources changed places."""

from __future__ import annotations

import re
from bisect import bisect
from collections.abc import Sequence
from itertools import combinations

from mergeit_async.merging.function_words import FUNCTION_WORDS
from mergeit_async.merging.units import Field, Units, is_number, read_words

# From the narrowest on: an answer belongs to the key in its clause, else in its sentence or line.
_CLAUSE_SIGNS = re.compile(r"[;\n|]|[.,?!](?=\s|$)|[。、，；！？]")
_SENTENCE_SIGNS = re.compile(r"\n|[.?!](?=\s|$)|[。！？]")
MOST_WORDS, MOST_CHARACTERS = 4_000, 20_000
# So many letters of a word tell it from others: Sparta is where Spartans come from.
ROOT = 5
# What answers are told apart by: the second task; part 2; (2) or b), if the question has it too.
_SECOND = re.compile(
    r"""\blatter\b|\b(?:the|to|for|second|as)\s(?:the\s)?second\b(?!\shalf)|(?:^|\n)\W{0,3}(?:the\s)?second\b
    |\b(?:part|task|question|assignment|text|sentence|group|list)\s(?:2|two|b)\b""",
    re.VERBOSE,
)
_SECOND_SIGNS = tuple(re.compile(rf"(?:^|[\s(]){sign}[.):]") for sign in ("2", "b", "ii", "二"))
# Two orders are compared only where both are as clear as this.
CLEAR, CLEAR_LABELLED = 0.6, 0.8
# So large a share of an answer stands at the wrong key if it was swapped.
WRONG = 0.5
# Numbers are what answers turn on; words may be those of any answer.
NUMBER_VOTES = 2
# What is left of the evidence of neighbours where the order speaks against a swap.
ORDER_KEPT = 0.6


class Roles:
    """Per source the roots of units that only its question has, and those only its answer has."""

    def __init__(self, sources: Sequence[Units]) -> None:
        rows = [
            [set(map(root, field.vocabulary - FUNCTION_WORDS)) for field in row] for row in sources
        ]
        self.keys: dict[str, int] = {}
        self.answers: dict[str, int] = {}
        for at, (asked, given, output) in enumerate(rows):
            others = [each for i, each in enumerate(rows) if i != at]
            theirs: set[str] = set().union(*(each[0] | each[2] for each in others))
            inputs: set[str] = set().union(*(each[1] for each in others))
            self.keys.update(dict.fromkeys((asked | given) - theirs - inputs, at))
            own = output - set().union(*(each[2] for each in others))
            telling = own - asked - theirs - (given ^ inputs)
            # Where the questions name all possible answers, these still tell the answers apart.
            self.answers.update(dict.fromkeys(telling or own - given - inputs, at))
        for word in self.keys.keys() & self.answers.keys():
            del self.answers[word]


def root(word: str) -> str:
    """What a word shares with its other forms, roughly."""
    return word[:ROOT] if len(word) > ROOT else word.removesuffix("s") or word


def measure_swaps(roles: Roles, rows: Sequence[Units], merged: Units) -> list[float]:
    """Per source, of `rows`, how surely its answer changed places with another's, from 0 to 1."""
    n_sources = len(rows)
    swaps = [0.0] * n_sources
    votes = _count_votes(roles, merged, n_sources)
    introductions = _count_introductions(roles, rows, merged.output)
    labelled = _has_labels(merged)
    asked = _places(merged.instruction.words, roles.keys, n_sources)
    given = _places(merged.input.words, roles.keys, n_sources)
    answered = _places(merged.output.words, roles.answers, n_sources)
    for one, other in combinations(range(n_sources), 2):
        orders = [_precedence(places[one], places[other]) for places in (asked, given)]
        turned = -max(orders, key=abs) * _precedence(answered[one], answered[other])
        if whole := _compare_wholes(rows[one], rows[other], merged):
            turned = whole
        leaning = _find_leaning(votes, one, other)
        if (introduced := _find_leaning(introductions, one, other) or 0.0) > 0.0:
            leaning = max(introduced, leaning or 0.0)
        swap = _judge(leaning, turned, labelled)
        swaps[one], swaps[other] = max(swaps[one], swap), max(swaps[other], swap)
    return swaps


def _judge(leaning: float | None, turned: float, labelled: bool) -> float:
    """From where answers lean, and whether they come in another order than the questions.

    Neighbours say more than the order, for a merge may answer the second question first; but not
    where it labels its answers by the place of the question.
    """
    if labelled and turned > CLEAR_LABELLED:
        return turned
    if leaning is None:
        return turned if turned > CLEAR else 0.0
    return max(0.0, leaning) * (1.0 if turned > 0 else ORDER_KEPT)


def _compare_wholes(one: Units, other: Units, merged: Units) -> float:
    """1 if two answers that stand there word for word come in another order than their questions.

    -1 if in the same one; 0 where one of them does not stand there, or more than once.
    """
    asked = _compare_fields(one.input, other.input, merged.input)
    asked = asked or _compare_fields(one.instruction, other.instruction, merged.instruction)
    return -asked * _compare_fields(one.output, other.output, merged.output)


def _compare_fields(one: Field, other: Field, merged: Field) -> int:
    """1 if `one` stands before `other` in `merged`, -1 if behind, 0 if that cannot be told."""
    first, second = _find_whole(one, merged), _find_whole(other, merged)
    if first is None or second is None or first == second:
        return 0
    return 1 if first < second else -1


def _find_whole(field: Field, merged: Field) -> int | None:
    """The only place where the words of `field` stand in `merged`."""
    words, length = merged.words[:MOST_WORDS], len(field.words)
    if not length:
        return None
    places = (at for at, word in enumerate(words) if word == field.words[0])
    found = [at for at in places if words[at : at + length] == field.words]
    return found[0] if len(found) == 1 else None


def _find_leaning(votes: Sequence[Sequence[int]], one: int, other: int) -> float | None:
    """From -1, both answers stand at their own keys, to 1, each at the other's.

    It takes both to swap: that one answer stands near the other's key is no sign where the other
    does not. None if there are no votes.
    """
    rows = ((votes[one][other], votes[one][one]), (votes[other][one], votes[other][other]))
    if not any(map(sum, rows)):
        return None
    shares = [wrong / (wrong + right) if wrong else 0.0 for wrong, right in rows]
    return sum(shares) - 1.0 if min(shares) >= WRONG else -1.0


def _has_labels(merged: Units) -> bool:
    """Whether the output calls the second part by its number, as no answer alone would."""
    return bool(_SECOND.search(merged.output.folded)) or any(
        sign.search(merged.output.folded)
        and (sign.search(merged.instruction.folded) or sign.search(merged.input.folded))
        for sign in _SECOND_SIGNS
    )


def _count_votes(roles: Roles, merged: Units, n_sources: int) -> list[list[int]]:
    """How many answers of each source stand nearest to a key of each.

    Clause by clause; sentence by sentence where no clause has both.
    """
    votes = [[0] * n_sources for _ in range(n_sources)]
    for signs in (_CLAUSE_SIGNS, _SENTENCE_SIGNS):
        for part in signs.split(merged.output.text[:MOST_CHARACTERS]):
            _count_part(roles, [root(word) for word in read_words(part)], votes)
        if any(map(any, votes)):
            break
    return votes


def _count_introductions(roles: Roles, rows: Sequence[Units], merged: Field) -> list[list[int]]:
    """How many keys of each source stand before each answer that is kept word for word.

    Before it means behind the answer before it; the words of an answer introduce nothing.
    """
    votes = [[0] * len(rows) for _ in rows]
    places = [
        (at, found)
        for at, row in enumerate(rows)
        if (found := _find_whole(row.output, merged)) is not None
    ]
    end = 0
    for at, place in sorted(places, key=lambda each: each[1]):
        for word in merged.words[end:place]:
            if (source := roles.keys.get(root(word))) is not None:
                votes[at][source] += 1
        end = place + len(rows[at].output.words)
    return votes


def _count_part(roles: Roles, words: Sequence[str], votes: list[list[int]]) -> None:
    keys = [at for at, word in enumerate(words) if word in roles.keys]
    if not keys:
        return
    for at, word in enumerate(words):
        if (source := roles.answers.get(word)) is not None:
            nearest = roles.keys[words[_find_nearest(keys, at)]]
            votes[source][nearest] += NUMBER_VOTES if is_number(word) else 1


def _find_nearest(places: Sequence[int], at: int) -> int:
    """The one of `places`, in rising order, nearest to `at`; of two the earlier."""
    right = bisect(places, at)
    around = places[max(0, right - 1) : right + 1]
    return min(around, key=lambda place: abs(place - at))


def _places(words: Sequence[str], roles: dict[str, int], n_sources: int) -> list[list[int]]:
    places: list[list[int]] = [[] for _ in range(n_sources)]
    for at, word in enumerate(words[:MOST_WORDS]):
        if (source := roles.get(root(word))) is not None:
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
