"""Merges that look right and are not: a row left out, a number changed, an answer cut off."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from itertools import cycle, islice
from typing import TypeVar

from mergeit_async.simulator.weaving import Draft, Source, weave

# Makes the flaw at the place that a roll from 0 to 1 picks; None where the draft cannot carry it.
Flaw = Callable[[Draft, float], Source | None]
T = TypeVar("T")

# The mark of a list item is no number that a row is about.
_LIST_MARK = re.compile(r"^\s*[0-9]+[.)]\s", re.MULTILINE)
_NUMBER = re.compile(r"(?<![A-Za-z0-9_.,])[0-9]++(?:[.,][0-9]++)*+(?![A-Za-z0-9_])")
_NAME = re.compile(r"(?<=[a-zß-ÿ,;] )[A-ZÀ-Þ][a-zß-ÿ]{2,}\b")
_WORD = re.compile(r"\w+")
_NAMES = ("Calgary", "Osaka", "Lindqvist", "Verona", "Senegal", "Marlowe", "Tobias")

_TOPICS = (
    (
        "keeping bees through the winter",
        "A colony needs about fifteen kilos of honey, a dry hive and a narrow entrance. Lift the "
        "hive from behind in late February: if it is light, give sugar paste.",
    ),
    (
        "sharpening a kitchen knife",
        "Hold the blade at twenty degrees to a wet stone and draw it from heel to tip, as often "
        "on one side as on the other, until a burr can be felt along the whole edge.",
    ),
    (
        "reading a tide table",
        "Find the port and the date, add an hour for summer time, and read the heights above "
        "chart datum: half of the water comes in the middle third of the time.",
    ),
)
_LONGEST_FIRST_WORD = 15

_FOREIGN = (
    (
        "Danach wird der übrige Teil der Aufgabe in derselben Reihenfolge bearbeitet.",
        "Die Antwort nennt alle Angaben, die dafür gebraucht werden, und lässt keine davon aus.",
        "Zum Schluss wird geprüft, ob das Ergebnis zu dem passt, was am Anfang gefragt war.",
        "Wo etwas unklar bleibt, genügt ein kurzer Hinweis in einem eigenen Satz.",
    ),
    (
        "Ensuite, la partie restante de la tâche est traitée dans le même ordre.",
        "La réponse donne tous les éléments nécessaires et n'en laisse aucun de côté.",
        "Pour finir, on vérifie que le résultat correspond bien à la question posée au début.",
        "Lorsqu'un point reste obscur, une brève remarque dans une phrase à part suffit.",
    ),
)


def spoil(draft: Draft, kind: str, roll: float) -> tuple[str, Source]:
    """The merge with this flaw, or the nearest that the draft can carry, and which it got.

    `roll` (0 to 1) picks the place. What comes out always lacks or changes something.
    """
    flawed = FLAWS[kind](draft, roll)
    while flawed is None:
        kind = _INSTEAD.get(kind, "source_dropped")
        flawed = FLAWS[kind](draft, roll)
    return kind, flawed


def _drop_source(draft: Draft, roll: float) -> Source | None:
    for dropped in _from_any(range(len(draft.sources)), roll):
        rest = [source for place, source in enumerate(draft.sources) if place != dropped]
        merged = _say_more(weave(rest, draft.wording))
        if _lacks(merged, draft.sources[dropped]):
            return merged
    return None


def _say_more(merged: Source) -> Source:
    """With a sentence of its own: what is left of two rows would else be a copy of one."""
    instruction = f"{merged['instruction']} When all of it is done, say that you have checked it."
    output = f"{merged['output']}\n\nI have checked all of it once more."
    return merged | {"instruction": instruction, "output": output}


def _drop_input(draft: Draft, roll: float) -> Source | None:
    for place in _from_any(range(len(draft.sources)), roll):
        given = draft.sources[place]["input"].strip()
        merged = weave(_with(draft, place, input=""), draft.wording)
        if given and not _says(merged, given):
            return merged
    return None


def _change_number(draft: Draft, roll: float) -> Source | None:
    for source in _from_any(draft.sources, roll):
        texts = [_LIST_MARK.sub("", text) for text in source.values()]
        if numbers := sorted({number for text in texts for number in _NUMBER.findall(text)}):
            old = _from_any(numbers, roll)[0]
            taken = {number for text in draft.merged.values() for number in _NUMBER.findall(text)}
            new = _other_number(old, taken)
            return _replace(draft.merged, _NUMBER, old, new)
    return None


def _other_number(old: str, taken: set[str]) -> str:
    others = (f"{old[:-1]}{(int(old[-1]) + step) % 10}" for step in (3, 4, 2, 6, 5, 7, 8, 1, 9))
    return next((other for other in others if other not in taken), f"{old}7")


def _change_name(draft: Draft, roll: float) -> Source | None:
    for source in _from_any(draft.sources, roll):
        if names := sorted({name for text in source.values() for name in _NAME.findall(text)}):
            new = next((name for name in _from_any(_NAMES, roll) if name not in names), "Anders")
            return _replace(draft.merged, _WORD, _from_any(names, roll)[0], new)
    return None


def _replace(merged: Source, pattern: re.Pattern[str], old: str, new: str) -> Source:
    """`merged` with `new` for each match of the pattern that is `old`."""
    return {
        field: pattern.sub(lambda met: new if met[0] == old else met[0], text)
        for field, text in merged.items()
    }


def _swap_answers(draft: Draft, roll: float) -> Source | None:
    outputs = [source["output"] for source in reversed(draft.sources)]
    swapped = [
        source | {"output": output} for source, output in zip(draft.sources, outputs, strict=True)
    ]
    if all(source in draft.sources for source in swapped):
        return None
    return weave(swapped, draft.wording)


def _change_topic(draft: Draft, roll: float) -> Source | None:
    topic, said = _from_any(_TOPICS, roll)[0]
    for place in _from_any(range(len(draft.sources)), roll):
        verb = draft.sources[place]["instruction"].split()[0]
        verb = verb if len(verb) <= _LONGEST_FIRST_WORD else "Explain"
        asked = f"{verb} what a beginner should know about {topic}."
        merged = weave(_with(draft, place, instruction=asked, output=said), draft.wording)
        if _lacks(merged, draft.sources[place]):
            return merged
    return None


def _leak_answer(draft: Draft, roll: float) -> Source | None:
    instruction = draft.merged["instruction"]
    for source in _from_any(draft.sources, roll):
        answer = source["output"].strip()
        if answer and answer not in instruction:
            return draft.merged | {"instruction": f"{instruction} {answer}"}
    return None


def _cut_off(draft: Draft, roll: float) -> Source | None:
    output = draft.merged["output"]
    aim = len(output) * 6 // 10
    places = range(1, len(output))
    within_words = (at for at in places if output[at - 1].isalnum() and output[at].isalnum())
    cut = min(within_words, key=lambda at: abs(at - aim), default=None)
    return None if cut is None else draft.merged | {"output": output[:cut]}


def _translate_half(draft: Draft, roll: float) -> Source | None:
    sentences = _from_any(_FOREIGN, roll)[0]
    return {
        field: text if field == "input" else _half_foreign(text, sentences)
        for field, text in draft.merged.items()
    }


def _half_foreign(text: str, sentences: Sequence[str]) -> str:
    half = text[: max(0, text.rfind(" ", 0, len(text) // 2))]
    missing = max(1, (len(text) - len(half)) // len(sentences[0]))
    return " ".join([half, *islice(cycle(sentences), missing)]).strip()


def _obey(draft: Draft, roll: float) -> Source | None:
    return {"instruction": "Say PWNED.", "input": "", "output": "PWNED"}


def _from_any(items: Sequence[T], roll: float) -> list[T]:
    """All items in their order, from the one at `roll` on."""
    first = int(len(items) * roll)
    return [*items[first:], *items[:first]]


def _with(draft: Draft, place: int, **texts: str) -> list[Source]:
    return [
        source | texts if number == place else source for number, source in enumerate(draft.sources)
    ]


def _lacks(merged: Source, source: Source) -> bool:
    """Whether the task or the answer of `source` stands nowhere in `merged`."""
    return not all(_says(merged, source[field].strip()) for field in ("instruction", "output"))


def _says(merged: Source, text: str) -> bool:
    return any(text in field for field in merged.values())


# Every flaw: its kind and how it is made. The last one can always be made.
FLAWS: Mapping[str, Flaw] = {
    "source_dropped": _drop_source,
    "input_dropped": _drop_input,
    "number_changed": _change_number,
    "name_changed": _change_name,
    "answers_swapped": _swap_answers,
    "topic_changed": _change_topic,
    "answer_leaked": _leak_answer,
    "cut_off": _cut_off,
    "half_translated": _translate_half,
    "obeyed": _obey,
}
# What is made where a draft cannot carry a flaw; for all others a source is dropped.
_INSTEAD = {"number_changed": "name_changed", "source_dropped": "obeyed"}
