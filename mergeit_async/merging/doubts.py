"""What speaks against a merge: each finding as a doubt of some strength, with a reason."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

from mergeit_async.merging.changes import Change, find_changes, find_moved
from mergeit_async.merging.comparison import Comparison
from mergeit_async.merging.ending import measure_break
from mergeit_async.merging.function_words import FUNCTION_WORDS
from mergeit_async.merging.hint import (
    ADDED_WORDS,
    count_brackets,
    count_content,
    find_added,
    find_remark,
    tells_answer,
)
from mergeit_async.merging.language import LEAST_TOLD, find_foreign
from mergeit_async.merging.leak import (
    brackets_answer,
    fills_blank,
    find_run,
    holds_answer,
    measure_leak,
    repeats_label,
)
from mergeit_async.merging.measures import find_remeasured
from mergeit_async.merging.ramp import ramp
from mergeit_async.merging.replaced import find_renumbered, find_replaced
from mergeit_async.merging.reworded import is_reworded
from mergeit_async.merging.short import find_flipped, find_holder
from mergeit_async.merging.signs import find_resigned
from mergeit_async.merging.strangers import Area
from mergeit_async.merging.unasked import find_unasked
from mergeit_async.merging.units import Field, is_number

# Each finding as a doubt: from which value it counts, and at which it is as strong as it gets.
INPUT_LOSS = (0.4, 0.75)
# The same for the numbers of an input that has so many.
NUMBERS_LOST, FEWEST_NUMBERS = (0.4, 0.8), 2
OUTPUT_LOSS = (0.5, 0.8)
SWAP = (0.2, 0.6)
# By how much one source's question and answer together are kept worse than another's: a style that
# rewords does so with all of them. Questions are reworded more freely.
LEFT_BEHIND, MOST_BY_QUESTION = (0.75, 1.0), 0.55
# A word that was replaced tells something where nearly all other words were kept.
VERBATIM = (0.75, 0.95)
# A style that rewords all rewords the answers of the other sources as well: so much of the loss
# of the best kept one is taken for style.
STYLE = 0.6
# What is left of that doubt where the question is kept and the answer is as long as before.
LEFT_OF_REWORDED = 0.35
# How close an answer is to the merged one by the model, usually; how far that counts, at most.
USUAL_SIMILARITY, MODEL_SHARE, MOST_BY_MODEL = 0.5, 0.4, 0.1
# The weight of new words, as a share of that of the lost ones, that makes another topic of it.
REPLACED = 0.6
# Of an answer that is lost with its question, the source is; else only its information.
QUESTION_KEPT = 0.6
# A change of language loses words, or adds a sentence.
LEAST_LOSS = 0.2
# No doubt is certain, so that a score tells how many there are.
MOST = 0.95
MOST_BY_WORD, MOST_BY_LOSS = 0.6, 0.9
# What an answer and a question may lose where another source is kept word for word.
ANSWER_BESIDE_WHOLE, QUESTION_BESIDE_WHOLE, MOST_BY_WHOLE = (0.1, 0.3), (0.3, 0.7), 0.7
# What the answer has lost where its question asks for another thing.
ANSWER_ELSEWHERE = (0.1, 0.3)
# What a question loses that is gone, though its answer says its words.
UNASKED = (0.6, 0.8)
# A remark in the question, or in material that else is kept.
BY_HINT, MATERIAL_KEPT = 0.4, 0.95
# A run of an answer in the question holds some words that no source asks.
RUN_SIGNS = 2
CHANGED = (("number", "number_changed"), ("name", "name_changed"))
SIGNS = (
    ("number", "number_changed"),
    ("expression", "number_changed"),
    ("measure", "number_changed"),
    ("sign", "name_changed"),
    ("name", "name_changed"),
)


class Doubt(NamedTuple):
    """A reason against a merge, how strong it is from 0 to 1, and what to say of it.

    The phrases follow the number of a source.
    """

    strength: float
    reason: str
    phrases: tuple[str, ...] = ()


def doubt_whole(compared: Comparison) -> list[Doubt]:
    """The doubts that concern the merged row as a whole."""
    return [*_doubt_end(compared), *_doubt_language(compared), *_doubt_hints(compared)]


def doubt_source(compared: Comparison, at: int) -> list[Doubt]:
    """The doubts whether source `at` is kept."""
    found = [*_doubt_leak(compared, at), *_doubt_swap(compared, at)]
    if not compared.holds(at):
        # Of equally strong doubts the first gives the reason: the narrower one.
        found = [
            *_doubt_short(compared, at),
            *_doubt_signs(compared, at),
            *found,
            *_doubt_loss(compared, at),
            *_doubt_unasked(compared, at),
            *_doubt_beside_whole(compared, at),
            *_doubt_changes(compared, at),
        ]
    return [doubt for doubt in found if doubt.strength > 0.0]


def _doubt_end(compared: Comparison) -> Iterator[Doubt]:
    if compared.holds_all:
        return
    output = compared.merged.output
    outputs = [row.output for row in compared.sources]
    if broken := measure_break(output, outputs, compared.answered):
        end = output.text.rstrip()[-40:]
        yield Doubt(broken, "cut_off", (f", output: the end, which breaks off at '{end}'",))


def _doubt_language(compared: Comparison) -> Iterator[Doubt]:
    if compared.holds_all and count_content(compared.links.output) < ADDED_WORDS:
        return
    strangers = [*compared.questions.strangers, *compared.answers.strangers]
    is_kept = all(each.share > 1.0 - LEAST_LOSS for row in compared.survivals for each in row)
    if is_kept and sum(len(each.places) for each in strangers) < LEAST_TOLD:
        return
    strange = {each.field.words[at] for each in strangers for at, _ in each.places}
    fields = [each.field for each in strangers]
    sources = [field for row in compared.sources for field in row]
    foreign = find_foreign(fields, strange, sources, compared.encoder)
    if foreign.strength:
        phrase = f": its own language instead of '{foreign.excerpt}'"
        yield Doubt(MOST * foreign.strength, "language_changed", (phrase,))


def _doubt_hints(compared: Comparison) -> Iterator[Doubt]:
    """A remark alone is no reason to refuse a merge, but it makes any other weigh more.

    Unless it is made of words of an answer.
    """
    yield from _doubt_remark(compared)
    if compared.holds_all:
        is_kept = count_content(compared.links.input) >= ADDED_WORDS
    else:
        is_kept = all(row[1].share > MATERIAL_KEPT for row in compared.survivals)
    if is_kept and (added := find_added(compared.merged.input, compared.asked_before)):
        phrase = f", input: without what was added to it: {', '.join(added[:5])}"
        yield Doubt(BY_HINT, "answer_leaked", (phrase,))


def _doubt_remark(compared: Comparison) -> Iterator[Doubt]:
    merged, sources = compared.merged.question, compared.sources_questions
    if count_brackets(merged) <= count_brackets(sources):
        return
    known = compared.asked_before
    answers = compared.answers_before.words.difference(*(r.input.words for r in compared.sources))
    if remark := find_remark(merged, sources, known, answers):
        strength = MOST_BY_WORD if tells_answer(remark, known, answers) else BY_HINT
        yield Doubt(strength, "answer_leaked", (f": a question without the remark '{remark}'",))


def _doubt_leak(compared: Comparison, at: int) -> Iterator[Doubt]:
    if not compared.may_tell(at):
        return
    row = compared.sources[at]
    output, merged, asked = row.output, compared.merged.question, compared.sources_questions
    phrase = f": a question without its answer '{output.text[:60]}'"
    if holds_answer(output, merged, asked) or brackets_answer(output, merged, asked):
        yield Doubt(MOST_BY_LOSS, "answer_leaked", (phrase,))
    if fills_blank(merged, row.question):
        yield Doubt(MOST_BY_LOSS, "answer_leaked", (": the blank to fill in",))
    if repeats_label(output, merged, asked):
        yield Doubt(MOST_BY_WORD, "answer_leaked", (phrase,))
    if compared.new_asked <= FUNCTION_WORDS:
        return
    leak = measure_leak(output, compared.new_asked, compared.asked_before, compared.weights)
    phrase = f": a question without its answer {', '.join(leak.words[:5])}"
    yield Doubt(MOST_BY_LOSS * leak.strength, "answer_leaked", (phrase,))
    told = (compared.new_asked & output.vocabulary) - FUNCTION_WORDS
    if len(told) >= RUN_SIGNS and (run := _find_run(compared, output)):
        phrase = f": a question without its answer '{run}'"
        yield Doubt(MOST_BY_LOSS, "answer_leaked", (phrase,))


def _find_run(compared: Comparison, output: Field) -> str:
    run = find_run(output, compared.merged.question, compared.sources_questions)
    return " ".join(run) if not compared.new_asked.isdisjoint(set(run) - FUNCTION_WORDS) else ""


def _doubt_swap(compared: Comparison, at: int) -> Iterator[Doubt]:
    strength = MOST * ramp(compared.swaps[at], *SWAP)
    yield Doubt(strength, "answers_swapped", (", output: in the place of its own question",))


def _doubt_loss(compared: Comparison, at: int) -> Iterator[Doubt]:
    instruction, given, output = compared.survivals[at]
    yield Doubt(ramp(1.0 - given.share, *INPUT_LOSS), "input_dropped")
    numbers = [word for word in compared.sources[at].input.vocabulary if is_number(word)]
    if len(numbers) >= FEWEST_NUMBERS:
        lost = len(set(numbers).intersection(given.lost)) / len(numbers)
        yield Doubt(MOST_BY_LOSS * ramp(lost, *NUMBERS_LOST), "input_dropped")
    others = [1.0 - row[2].share for i, row in enumerate(compared.survivals) if i != at]
    loss = 1.0 - output.share - STYLE * min(others, default=0.0)
    if loss > LEAST_LOSS:
        loss += _estrange(compared, at)
        strength = MOST_BY_LOSS * ramp(loss, *OUTPUT_LOSS)
        reason = _name_loss(compared, at, instruction.share)
        if reason == "topic_changed" and strength:
            strength *= _lessen_by_rewording(compared, at)
        yield Doubt(strength, reason)
    behind = min(MOST_BY_QUESTION, _fall_behind(compared, at, 0)) + _fall_behind(compared, at, 2)
    if behind > LEFT_BEHIND[0]:
        strength = MOST_BY_LOSS * ramp(behind, *LEFT_BEHIND)
        yield Doubt(strength, _name_loss(compared, at, instruction.share))


def _doubt_beside_whole(compared: Comparison, at: int) -> Iterator[Doubt]:
    """Where another source stands word for word, losses of this one are no matter of style."""
    if not any(compared.holds(other) for other in range(len(compared.sources)) if other != at):
        return
    instruction, _, output = compared.survivals[at]
    reason = _name_loss(compared, at, instruction.share)
    yield Doubt(MOST_BY_LOSS * ramp(1.0 - output.share, *ANSWER_BESIDE_WHOLE), reason)
    asked = ramp(1.0 - instruction.share, *QUESTION_BESIDE_WHOLE)
    yield Doubt(MOST_BY_WHOLE * asked, reason)


def _lessen_by_rewording(compared: Comparison, at: int) -> float:
    """What is left of a doubt by words of an answer that others stand for, from 0 to 1."""
    instruction = compared.survivals[at][0]
    is_style = is_reworded(at, compared.sources, compared.merged, instruction)
    return LEFT_OF_REWORDED if is_style else 1.0


def _doubt_unasked(compared: Comparison, at: int) -> Iterator[Doubt]:
    row, instruction = compared.sources[at], compared.survivals[at][0]
    lost = ramp(1.0 - instruction.share, *UNASKED)
    if lost and (words := find_unasked(row, instruction, compared.merged)):
        phrase = f", instruction: its question about {', '.join(words[:5])}"
        yield Doubt(MOST_BY_LOSS * lost, "source_dropped", (phrase,))


def _fall_behind(compared: Comparison, at: int, field: int) -> float:
    """How much less of this source's instruction (0) or output (2) is kept than of another's."""
    kept = [row[field].share for row in compared.survivals]
    return max(kept) - kept[at]


def _estrange(compared: Comparison, at: int) -> float:
    """What the model adds to the loss of an answer, or takes away where a rewording is close."""
    others = [row.output.vocabulary for i, row in enumerate(compared.sources) if i != at]
    merged = compared.merged.output.vocabulary.difference(*others)
    source = compared.sources[at].output.vocabulary.difference(*others)
    similarity = compared.encoder.similarities(merged, [source])[0]
    return max(-MOST_BY_MODEL, min(MOST_BY_MODEL, MODEL_SHARE * (USUAL_SIMILARITY - similarity)))


def _name_loss(compared: Comparison, at: int, question_share: float) -> str:
    """Whether another answer stands where the lost one should, or nothing does."""
    strangers = {each.field.words[i] for each in compared.answers.strangers for i, _ in each.places}
    lost = compared.survivals[at][2].lost
    weigh = compared.weights.weigh_all
    if weigh(strangers) > REPLACED * weigh(lost):
        return "topic_changed"
    return "source_dropped" if question_share < QUESTION_KEPT or weigh(lost) else "information_lost"


def _doubt_changes(compared: Comparison, at: int) -> Iterator[Doubt]:
    row = compared.sources[at]
    questions = _find_all_changes(row.question, compared.questions, compared)
    answers = _find_all_changes((row.output,), compared.answers, compared)
    for kind, reason in CHANGED:
        found = [change for change in (*questions, *answers) if change.kind == kind]
        if found:
            yield _as_doubt(found, reason, MOST_BY_LOSS)
    if words := [change for change in answers if change.kind == "word"]:
        share = ramp(compared.survivals[at][2].share, *VERBATIM)
        yield _as_doubt(words, "name_changed", MOST_BY_WORD * share)
    yield from _doubt_replaced(compared, at)


def _doubt_replaced(compared: Comparison, at: int) -> Iterator[Doubt]:
    """The doubts by single words in texts that are otherwise kept: answers and material."""
    row = compared.sources[at]
    tools = compared.weights, compared.encoder
    words = find_replaced(row.output, compared.answers, *tools)
    words += find_replaced(row.input, compared.questions, *tools)
    if words:
        yield _as_doubt(words, "name_changed", MOST_BY_WORD)
    verb = row.instruction.words[:1]  # which everybody rewords
    asked = find_replaced(row.instruction, compared.questions, *tools)
    if asked := [change for change in asked if change.old not in verb]:
        lost = ramp(1.0 - compared.survivals[at][2].share, *ANSWER_ELSEWHERE)
        yield _as_doubt(asked, "topic_changed", MOST_BY_WORD * lost)
    numbers = find_renumbered(row.output, compared.answers)
    numbers += find_renumbered(row.input, compared.questions)
    if numbers:
        yield _as_doubt(numbers, "number_changed", MOST_BY_LOSS)


def _doubt_signs(compared: Comparison, at: int) -> Iterator[Doubt]:
    row = compared.sources[at]
    areas = ((row.output, compared.answers), (row.input, compared.questions))
    found = [
        change
        for field, area in areas
        for change in (*find_resigned(field, area), *find_remeasured(field, area))
    ]
    for kind, reason in SIGNS:
        if changes := [change for change in found if change.kind == kind]:
            yield _as_doubt(changes, reason, MOST)


def _doubt_short(compared: Comparison, at: int) -> Iterator[Doubt]:
    output = compared.sources[at].output
    if holder := find_holder(at, compared.sources, compared.merged.output):
        phrase = f", output: its own '{output.text[:40]}', not only that in '{holder.text[:40]}'"
        yield Doubt(MOST, "source_dropped", (phrase,))
    word, opposite = find_flipped(output, compared.answers)
    if word:
        yield Doubt(MOST, "name_changed", (f": the word {word}, not {opposite}",))


def _find_all_changes(
    fields: Sequence[Field], area: Area, compared: Comparison
) -> Sequence[Change]:
    changes = find_changes(fields, area, compared.weights, compared.encoder)
    return [*changes, *find_moved(fields, area)]


def _as_doubt(changes: Sequence[Change], reason: str, most: float) -> Doubt:
    changes = sorted(changes, key=lambda change: -change.strength)
    phrases = (f": the {each.kind} {each.old}, not {each.new}" for each in changes[:3])
    return Doubt(most * changes[0].strength, reason, tuple(dict.fromkeys(phrases)))
