"""The structural gate: defects of a merged row that can be seen without any model.

What a source has is never held against the merge: a pattern that some source shows itself is no
defect. Calibrated on the published MergeIT set (arXiv 2503.00034), whose merged rows are the
positives, and on Alpaca rows as their own sources, none of which may be refused.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence

from mergeit_async.merging.answer import find_copied, find_mismatches
from mergeit_async.merging.parse import FIELDS
from mergeit_async.merging.structure import find_structure
from mergeit_async.records import Example, Refusal, Row

GATE_VERSION = "gate/3"

# Words that can come or go without changing what a row asks or answers.
_TRIVIAL_WORDS = frozenset(
    ("a", "also", "an", "and", "below", "following", "given", "please", "that", "the", "then")
)
_TRIVIAL_CHARACTERS = 60
_WORD = re.compile(r"\w+")

# Talk of the merging itself, in any field.
_LEAK = re.compile(
    r"""</?source_row
    |\b(?:merged|combined)\ (?:instruction|example|task)s?\b
    |\bsource\ (?:instruction|example|row)s?\b
    |\b(?:both|two|first|second|original)\ (?:source\ )?instructions?\b
    |^\W{0,3}(?:(?:merged|combined|new|final)\ )?instruction\s?\#?\d*\s*:
    |^\W{0,3}(?:merged|combined)\ (?:input|output|response)\s?\#?\d*\s*:""",
    re.IGNORECASE | re.MULTILINE | re.VERBOSE,
)
# Labels of the rows that were shown; answers may number what the instruction asks to be numbered.
_NUMBERED = re.compile(
    r"^\W{0,3}(example|task|source|row|prompt|input|output) ?#?\d+ *(?:[:.)\-–—]|$)",
    re.IGNORECASE | re.MULTILINE,
)
# An instruction may number its parts as tasks, from the first on; rows are not shown as tasks.
_TASK = re.compile(r"^\W{0,3}task ?#?(\d+) *(?:[:.)\-–—]|$)", re.IGNORECASE | re.MULTILINE)
# The field's own name at its beginning.
_NAMED = re.compile(r"\W{0,3}(?:input|output|response)\s*:", re.IGNORECASE)

# In brackets: [insert name], <input>, (rest of the text), [...]; and in words or on a line.
_PLACEHOLDER = re.compile(
    r"""[\[<({](?:(?i:insert)\b[^\]>)}\n]{0,80}[\]>)}]
    |(?<=<)(?i:input|output|instruction|text|no\ ?input|your\ [^>\n]{1,40})>
    |(?<=[\[(])(?:the\ )?(?:rest|remainder)\ of\ [^\])\n]{0,60}[\])]
    |(?<=\[)(?:\.{3}|…)\])""",
    re.VERBOSE,
)
_OMISSION = re.compile(
    r"""\bTODO\b(?!s?\ (?:list|app|item))|\b[Ss]ame\ as\ above\b
    |\b[Ss]ame\ as\ (?:in\ )?the\ (?:first|second|previous|original)\ (?:input|output|answer|task)\b
    |^[ \t]*(?:\.{3,}|…)[ \t]*$""",
    re.MULTILINE | re.VERBOSE,
)
_FENCE = "```"

# No match in a field without one of these.
_LEAK_SIGNS = ("source_row", "source ", "merged ", "combined ", "instruction")
_OMISSION_SIGNS = ("TODO", "ame as ", "...", "…")

# No match in a whole row without one of these: looking for them once spares a clean row, which is
# nearly every one, the search of each field. The phrases are those of _LEAK, by a word that they
# share; _LINE_SIGN is how matches begin that stand at the beginning of a line. Both are folded.
_LEAK_PHRASES = {
    "source": ("source_row", "source instruction", "source example", "source row"),
    "merged": ("merged instruction", "merged example", "merged task"),
    "combined": ("combined instruction", "combined example", "combined task"),
    "instruction": tuple(
        f"{word} instruction" for word in ("both", "two", "first", "second", "original")
    ),
}
_LINE_SIGN = re.compile(
    r"""\n(?:[ \t]*(?:\.{3}|…)|\W{0,3}(?:
    (?:example|task|source|row|prompt|input|output|response|instruction)\s*(?:\#\s*)?[\d:]
    |(?:merged|combined|new|final)\ (?:instruction|input|output|response)))""",
    re.VERBOSE,
)
# IGNORECASE takes the first two for an i and the third for no letter, casefold does neither.
_UNFOLDABLE = "ıİ\u0345"


def check_merge(
    merged: Example, sources: Sequence[Row], shown: Sequence[str] = ()
) -> Refusal | None:
    """The first structural defect of `merged`, or None.

    `shown` are telling sentences of the few-shots that the model was shown. Reasons:
    copy_of_source, empty_instruction, empty_output, few_shot_copied, fence, printed_structure,
    example_leak, placeholder, and those of `find_mismatches`.
    """
    return next(_find_defects(merged, sources, shown), None)


def _find_defects(
    merged: Example, sources: Sequence[Row], shown: Sequence[str]
) -> Iterator[Refusal]:
    text = _join(merged)
    folded = text.casefold()
    for number in _find_copied(merged, folded, sources):
        yield Refusal("copy_of_source", f"the merged row repeats source row {number} alone")
    for field in ("instruction", "output"):
        if not getattr(merged, field).strip():
            yield Refusal(f"empty_{field}", f"the merged row has an empty {field}")
    if copied := find_copied(merged, sources, shown):
        yield Refusal("few_shot_copied", f"the merged row repeats an example: {_excerpt(copied)}")
    if printed := find_structure(merged, sources):
        yield Refusal("printed_structure", f"{printed} is {_excerpt(getattr(merged, printed))}")
    if _is_suspect(text, folded):
        for field in FIELDS:
            yield from _find_field_defects(field, merged, sources)
    yield from find_mismatches(merged, sources)


def _find_copied(merged: Example, folded: str, sources: Sequence[Row]) -> Iterator[int]:
    """The sources, from 1, whose instruction and output, or nearly all words, are the merge's."""
    for number, row in enumerate(sources, start=1):
        if _is_same(row.instruction, merged.instruction) and _is_same(row.output, merged.output):
            yield number
        if _has_same_words(folded, _join(row)):
            yield number


def _is_same(one: str, other: str) -> bool:
    """Whether two texts differ in case and white space at most."""
    words, others = one.split(), other.split()
    return len(words) == len(others) and " ".join(words).casefold() == " ".join(others).casefold()


def _has_same_words(ours: str, theirs: str) -> bool:
    """Whether `ours`, which is folded, and `theirs` differ by trivial words at most."""
    if not theirs.isascii():
        theirs = theirs.casefold()  # its length may change
    if abs(len(ours) - len(theirs)) > _TRIVIAL_CHARACTERS:
        return False
    mine, its = Counter(_WORD.findall(ours)), Counter(_WORD.findall(theirs.casefold()))
    return bool(its) and ((mine - its) | (its - mine)).keys() <= _TRIVIAL_WORDS


def _is_suspect(text: str, folded: str) -> bool:
    """Whether any field may have a defect that `_find_field_defects` looks for.

    `text` is all fields, each on a line of its own, and `folded` is the same without case.
    """
    return (
        _has_leak_phrase(folded)
        or _LINE_SIGN.search(folded) is not None
        or "TODO" in text
        or "ame as " in text
        or (_has_bracket(text) and _PLACEHOLDER.search(text) is not None)
        or "`" in text
        or (not text.isascii() and _has_any(_UNFOLDABLE, text))
    )


def _has_bracket(text: str) -> bool:
    return "[" in text or "<" in text or "(" in text or "{" in text


def _has_leak_phrase(folded: str) -> bool:
    for word, phrases in _LEAK_PHRASES.items():
        if word in folded and _has_any(phrases, folded):
            return True
    return False


def _find_field_defects(field: str, merged: Example, sources: Sequence[Row]) -> Iterator[Refusal]:
    text: str = getattr(merged, field)
    if _is_fenced(text) and not any(_FENCE in each for each in _texts(sources)):
        yield Refusal("fence", f"{field} is one code fence: {_excerpt(text)}")
    if (leak := _find_leak(field, merged)) and not _shown(leak.re, sources):
        yield Refusal("example_leak", f"{field} says {_excerpt(leak.group())}")
    if (gap := _find_placeholder(text)) and not _shown(gap.re, sources):
        yield Refusal("placeholder", f"{field} holds {_excerpt(gap.group())}")


def _find_leak(field: str, merged: Example) -> re.Match[str] | None:
    text: str = getattr(merged, field)
    if _has_any(_LEAK_SIGNS, text.lower()) and (leak := _LEAK.search(text)):
        return leak
    bare = _TASK.sub("", text) if field == "instruction" and _numbers_tasks(text) else text
    label = _NUMBERED.search(bare)
    if label and (field == "instruction" or label[1].lower() not in merged.instruction.lower()):
        return label
    return _NAMED.match(text)


def _numbers_tasks(instruction: str) -> bool:
    """Whether its parts are task 1, task 2 and so on, each with its label once."""
    numbers = _TASK.findall(instruction)
    return len(numbers) > 1 and numbers == list(map(str, range(1, len(numbers) + 1)))


def _find_placeholder(text: str) -> re.Match[str] | None:
    if gap := _PLACEHOLDER.search(text):
        return gap
    return _OMISSION.search(text) if _has_any(_OMISSION_SIGNS, text) else None


def _has_any(signs: Sequence[str], text: str) -> bool:
    return any(map(text.__contains__, signs))


def _is_fenced(text: str) -> bool:
    bare = text.strip()
    return len(bare) > 6 and bare.startswith(_FENCE) and bare.endswith(_FENCE)


def _shown(pattern: re.Pattern[str], sources: Sequence[Row]) -> bool:
    return any(pattern.search(text) for text in _texts(sources))


def _texts(sources: Sequence[Row]) -> Iterator[str]:
    for row in sources:
        yield from (row.instruction, row.input, row.output)


def _join(row: Example | Row) -> str:
    return f"\n{row.instruction}\n{row.input}\n{row.output}"


def _excerpt(text: str) -> str:
    return repr(text.strip()[:80])
