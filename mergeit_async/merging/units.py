"""What a text is made of, for comparing texts: words without case, numbers, pairs of CJK signs.

A word is a run of letters, digits and marks that does not begin with a digit; so `10km` and
`10 km` are the same two units, and `x1` is one. Scripts without spaces are cut into overlapping
pairs of signs, of which a verbatim copy has all and a rewording some.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Set
from itertools import pairwise
from typing import NamedTuple

from mergeit_async.records import Example, Row

# No unit is longer than 64 letters, and no pattern reads a text twice, so that hostile texts cost
# no more than long ones.
# Thousands in groups; decimals; one comma between digits, unless it is one of a row: 4,3,12.
_NUMBER = (
    r"(?<!\d,)\d{1,3}(?:,\d{3}){1,6}(?!,?\d)(?:\.\d{1,40})?|\d{1,40}(?:\.\d{1,40}){1,6}"
    r"|(?<![,.])\d{1,40},\d{1,40}(?![,.]?\d)|\d{1,40}"
)
# A look at the first sign spares most places all the forms of numbers.
_ASCII_UNIT = re.compile(rf"[a-z_]\w{{0,63}}|(?=\d)(?:{_NUMBER})", re.ASCII)
# Combining marks are no \w, though the vowels of Devanagari and the points of Arabic are marks.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u0900-\u0963\u0966-\u0dff"
)
_UNIT = re.compile(rf"[^\W\d][\w{_MARKS}]{{0,63}}|(?=\d)(?:{_NUMBER})")
_WORDLIKE = re.compile(rf"[\w{_MARKS}]")
_ASCII = bytes(range(128))
# For a text without digits, to cut it at what is no letter: some ten times quicker than a pattern.
A_DIGIT, LONGEST_UNIT = b"0", 64
_SPACED = bytes(
    sign
    if chr(sign).isalpha() or sign == ord("_")
    else ord(A_DIGIT if chr(sign).isdigit() else " ")
    for sign in _ASCII
) + bytes(128)
# Han, kana, Hangul, Thai, Lao, Khmer.
_UNSPACED = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\u0e00-\u0eff\u1780-\u17ff]+")
_RAISED = re.compile("([⁰¹²³⁴-⁹₀-₉]+)")
_OTHER_DIGIT = re.compile(r"(?![0-9])\d")
# The Arabic decimal comma, the letter stretcher and the short vowels, which are seldom written.
_ARABIC = {0x066B: ".", 0x066C: ",", 0x0640: None} | dict.fromkeys(range(0x064B, 0x0653))
_TRANSLATED = re.compile(f"[{''.join(map(chr, _ARABIC))}]")

_CENTURIES = frozenset(("century", "centuries", "jahrhundert", "siècle", "siglo", "século"))
_THOUSANDFOLD = re.compile(r"k[gmw]|kilo\w*")

_GROUPED = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d{1,3}(?:\.\d{3}){2,}(?:,\d+)?")


class Field:
    """One field of a row: its text, also folded, its units in order, and the set of them.

    The units are read when they are first asked for: of a text that stands somewhere word for word
    there is nothing to compare.
    """

    __slots__ = ("_counts", "_vocabulary", "_words", "folded", "text")

    def __init__(self, text: str, folded: str) -> None:
        self.text = text
        self.folded = folded
        self._words: list[str] | None = None
        self._vocabulary: set[str] | None = None
        self._counts: Counter[str] | None = None

    @property
    def words(self) -> list[str]:
        """The units in order."""
        if self._words is None:
            self._words = _split(self.folded)
        return self._words

    @property
    def vocabulary(self) -> set[str]:
        """The units, each once."""
        if self._vocabulary is None:
            self._vocabulary = set(self.words)
        return self._vocabulary

    def count(self, word: str) -> int:
        """How often the unit `word` stands in the field."""
        if self._counts is None:
            self._counts = Counter(self.words)
        return self._counts[word]


class Units(NamedTuple):
    """The units of a row, field by field."""

    instruction: Field
    input: Field
    output: Field

    @property
    def question(self) -> tuple[Field, Field]:
        """What asks and gives."""
        return self.instruction, self.input

    @property
    def vocabulary(self) -> set[str]:
        return self.instruction.vocabulary | self.input.vocabulary | self.output.vocabulary


def read_row(row: Example | Row) -> Units:
    return Units(read_field(row.instruction), read_field(row.input), read_field(row.output))


def read_field(text: str) -> Field:
    return Field(text, fold(text.strip()))


def fold(text: str) -> str:
    """`text` without case, and with one spelling for what has several."""
    return text.lower() if text.isascii() else _normalise(text)


def read_words(text: str) -> list[str]:
    """The units of `text`, in order, without case."""
    return _split(fold(text))


def _split(folded: str) -> list[str]:
    if not folded.isascii() and _WORDLIKE.search(_find_odd(folded)):
        return list(_split_unspaced(_UNIT.findall(folded)))
    plain = folded.encode("ascii", "replace")
    spaced = plain.translate(_SPACED)
    if A_DIGIT not in spaced:
        words = spaced.decode().split()
        if max(map(len, words), default=0) <= LONGEST_UNIT:
            return words
    return _ASCII_UNIT.findall(plain.decode())


def _find_odd(text: str) -> str:
    """The signs of `text` that are not ASCII, in a row: few, mostly, and so quick to look at."""
    coded = text.encode("utf-8", "surrogatepass").translate(None, _ASCII)
    return coded.decode("utf-8", "surrogatepass")


def _normalise(text: str) -> str:
    """Without case, full-width forms and digits of other scripts; superscripts stay apart.

    NFKC would make 52 of 5²; a caret before it keeps the two digits two numbers.
    """
    if _RAISED.search(_find_odd(text)):
        text = _RAISED.sub(r" \1 ", text)
    folded = unicodedata.normalize("NFKC", text).casefold()
    odd = _find_odd(folded)
    if _TRANSLATED.search(odd):
        folded = folded.translate(_ARABIC)
    if _OTHER_DIGIT.search(odd):
        folded = _OTHER_DIGIT.sub(lambda digit: str(unicodedata.decimal(digit[0])), folded)
    return _UNSPACED.sub(r" \g<0> ", folded) if _UNSPACED.search(odd) else folded


def _split_unspaced(words: Iterable[str]) -> Iterable[str]:
    for word in words:
        if word.isascii() or not _UNSPACED.match(word) or len(word) < 3:
            yield word
        else:
            yield from (left + right for left, right in pairwise(word))


def is_number(word: str) -> bool:
    return "0" <= word[0] <= "9"


def number_value(word: str) -> str:
    """One spelling for equal numbers: 1,000 and 1.000.000 without groups, 0,5 as 0.5, 1.50 as 1.5.

    A single group after a point (1.000) may be a fraction and stays one; see `number_readings`.
    """
    if _GROUPED.fullmatch(word):
        comma_groups = "," in word and word.find(",") < (word.find(".") % len(word))
        word = word.replace(",", "") if comma_groups else word.replace(".", "").replace(",", ".")
    else:
        word = word.replace(",", ".")
    if "." in word:
        word = word.rstrip("0").rstrip(".")
    return word.lstrip("0") or "0" if "." not in word else word


def number_readings(word: str) -> tuple[str, ...]:
    """The values `word` can stand for: 1.000 and 1,000 are a thousand here and one there."""
    if re.fullmatch(r"\d{1,3}[.,]\d{3}", word):
        return (re.sub(r"[.,]", "", word).lstrip("0") or "0", number_value(word.replace(",", ".")))
    return (number_value(word),)


def tells_afternoon(words: Set[str]) -> bool:
    """Whether these are the words of a text that tells the time as in 8 pm or 8 p.m."""
    return "pm" in words or ("p" in words and "m" in words)


def in_24_hours(number: str) -> tuple[str, ...]:
    """`number` as an hour of the afternoon, if it may be one."""
    return (str(int(number) + 12),) if number.isdecimal() and len(number) < 3 else ()


def in_other_units(words: Set[str], numbers: Iterable[str]) -> set[str]:
    """`numbers` in units that `words` imply: the 19th century, the 1800s; half a kilo, 500 g."""
    found: set[str] = set()
    if not words.isdisjoint(_CENTURIES):
        found.update(f"{int(n) - 1}00" for n in numbers if n.isdecimal() and len(n) == 2)
    if any(map(_THOUSANDFOLD.fullmatch, words)):
        found.update(map(_times_thousand, numbers))
    return found


def _times_thousand(number: str) -> str:
    whole, _, part = number.partition(".")
    shifted = (whole + part[:3].ljust(3, "0")).lstrip("0") or "0"
    return f"{shifted}.{part[3:]}" if part[3:] else shifted
