"""The gates on labelled merges, on joined Alpaca rows, and on the published merges.

    python bench/gate.py [--sets dev hard heldout] [--data DIR] [--show N] [--json OUT]

The files in bench/gate/ hold merges, each with its sources, the style it is written in, and the
flaw that was put into it, or none. The gate was tuned on `dev`, and on `hard`, whose flawed merges
have one quiet flaw each of the five kinds that are hardest to see. `heldout` was written by authors
who never saw the gate, and scored once, when all tuning had ended; so were four rounds before it,
which are part of `dev` since (docs/decisions/0010 has what each scored then). DIR holds
alpaca_17k.jsonl and mergeit_6k.json: joins of random Alpaca rows must pass, and tell what the gates
cost; the published merges are scored against the rows of the sample that they probably come from,
and N of them are shown.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from report import parser_of, publish
from sklearn.metrics import roc_auc_score

from mergeit_async.config import MIN_INFORMATION
from mergeit_async.merging.compose import compose
from mergeit_async.merging.function_words import FUNCTION_WORDS
from mergeit_async.merging.gate import check_merge
from mergeit_async.merging.information import (
    Information,
    check_information,
    measure_information,
)
from mergeit_async.merging.parse import parse_reply
from mergeit_async.merging.units import read_words
from mergeit_async.merging.weights import WordWeights
from mergeit_async.providers.embeddings import load_embedder
from mergeit_async.providers.word_vectors import WordVectors
from mergeit_async.records import Example, Row
from mergeit_async.simulator.weaving import WORDINGS, weave

Record = dict[str, Any]

LABELLED = Path(__file__).with_name("gate")
SETS = ("dev", "hard", "heldout")
N_JOINS = 5_000
REPEATS = 3
# In the published file the merged rows come first; the rest are unchanged Alpaca rows.
N_MERGED = 1_219
# A published merge probably comes from the two rows nearest to it, if they are as near as this and
# it asks with such a share of their words.
NEAR, ASKED = 0.75, 0.75
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)


class Case(NamedTuple):
    """A labelled merge, judged by both gates."""

    style: str
    flaw: str | None
    information: Information
    is_broken: bool

    @property
    def is_refused(self) -> bool:
        return self.is_broken or self.information.score < MIN_INFORMATION


def main() -> None:
    arguments = _parse_arguments()
    encoder = WordVectors()
    result: Record = {
        "command": "python bench/gate.py --data DIR --json bench/results/gate.json",
        "threshold": MIN_INFORMATION,
    }
    for name in arguments.sets:
        if (path := LABELLED / f"{name}.jsonl").exists():
            result[name] = measure_set(_read_lines(path), encoder)
    if arguments.data:
        rows = _read_lines(arguments.data / "alpaca_17k.jsonl")
        weights = WordWeights.count(map(_text_of, rows))
        result["joins"] = measure_joins(rows, weights, encoder)
        published = orjson.loads((arguments.data / "mergeit_6k.json").read_bytes())
        result["published"] = measure_published(published, rows, weights, encoder, arguments.show)
    publish(result, arguments.json)


def measure_set(records: Sequence[Record], encoder: WordVectors) -> Record:
    """How well the score tells faithful merges from flawed ones, and what is refused."""
    weights = WordWeights.count(_text_of(row) for each in records for row in each["sources"])
    cases = [_judge(record, weights, encoder) for record in records]
    faithful = [case for case in cases if case.flaw is None]
    flawed = [case for case in cases if case.flaw is not None]
    scores = [-case.information.score for case in cases]
    return {
        "merges": len(cases),
        "AUC": round(float(roc_auc_score([bool(case.flaw) for case in cases], scores)), 4),
        "faithful refused": _share(faithful, lambda case: case.is_refused),
        "faithful refused by style": _by(faithful, lambda case: case.style),
        "flawed refused": _share(flawed, lambda case: case.is_refused),
        "flawed refused by the structural gate alone": _share(flawed, lambda case: case.is_broken),
        "refused by flaw": _by(flawed, lambda case: str(case.flaw)),
        "reason named is the flaw": _share(flawed, _names_flaw),
    }


def measure_joins(rows: Sequence[Record], weights: WordWeights, encoder: WordVectors) -> Record:
    """Joins of random pairs, word for word: how many are refused, and CPU µs per reply."""
    chance = random.Random(0)
    pairs = [chance.sample(rows, 2) for _ in range(N_JOINS)]
    sources = [tuple(map(_as_row, pair)) for pair in pairs]
    woven = [weave(pair, chance.randrange(WORDINGS)) for pair in pairs]
    replies = [orjson.dumps(each).decode() for each in woven]
    examples = [Example(**each) for each in woven]
    composed = [compose(each) for each in sources]

    def check_structure() -> None:
        for reply, each in zip(replies, sources, strict=True):
            check_merge(parse_reply(reply), each)

    def check_both() -> None:
        for reply, each in zip(replies, sources, strict=True):
            merged = parse_reply(reply)
            check_merge(merged, each)
            measure_information(merged, each, weights, encoder)

    return {
        "pairs": N_JOINS,
        "woven refused": _count_refused(examples, sources, weights, encoder),
        "composed refused": _count_refused(composed, sources, weights, encoder),
        "parse and structural gate, CPU µs": _time(check_structure),
        "with the information gate, CPU µs": _time(check_both),
    }


def measure_published(
    published: Sequence[Record],
    rows: Sequence[Record],
    weights: WordWeights,
    encoder: WordVectors,
    n_shown: int,
) -> Record:
    """Scores of the published merges beside the rows of the sample nearest to them.

    Their true sources are in the whole Alpaca set, of which the sample is a third, so that many of
    these sources are only relatives of the true ones.
    """
    known = {_fields_of(row) for row in rows}
    merges = [row for row in published[:N_MERGED] if _fields_of(row) not in known]
    found = [
        (merge, sources)
        for merge, sources in zip(merges, find_sources(merges, rows), strict=True)
        if sources
    ]
    scored = [
        (_measure(merge, sources, weights, encoder), merge, sources) for merge, sources in found
    ]
    refusals = [check_information(each, MIN_INFORMATION) for each, _, _ in scored]
    scores = [each.score for each, _, _ in scored]
    for each, merge, sources in random.Random(0).sample(scored, min(n_shown, len(scored))):
        _show(each, merge, sources)
    return {
        "not in the sample": len(merges),
        "with near sources": len(scored),
        "with two": sum(len(sources) == 2 for _, _, sources in scored),
        "score quantiles": dict(
            zip(map(str, QUANTILES), np.quantile(scores, QUANTILES).round(3).tolist(), strict=True)
        ),
        "refused": sum(refusal is not None for refusal in refusals),
        "reasons": dict(Counter(refusal.reason for refusal in refusals if refusal).most_common()),
    }


def find_sources(merges: Sequence[Record], rows: Sequence[Record]) -> list[tuple[Row, ...]]:
    """For each merge the rows of the sample, two at most, that it probably comes from."""
    embedder = load_embedder("wordllama")
    space = embedder.embed([_question_of(row) for row in rows])
    sources = []
    vectors = embedder.embed([_question_of(merge) for merge in merges])
    for merge, vector in zip(merges, vectors, strict=True):
        cosines = space @ vector
        nearest = np.argsort(-cosines, kind="stable")[:2]
        near = [rows[at] for at in nearest if cosines[at] >= NEAR]
        sources.append(tuple(_as_row(row) for row in near if _is_asked(row, merge)))
    return sources


def _is_asked(row: Record, merge: Record) -> bool:
    words = set(read_words(_question_of(row))) - FUNCTION_WORDS
    return len(words & set(read_words(_question_of(merge)))) >= ASKED * len(words)


def _measure(
    merge: Record, sources: Sequence[Row], weights: WordWeights, encoder: WordVectors
) -> Information:
    return measure_information(Example(*_fields_of(merge)), sources, weights, encoder)


def _judge(record: Record, weights: WordWeights, encoder: WordVectors) -> Case:
    sources = [_as_row(row) for row in record["sources"]]
    information = _measure(record["merged"], sources, weights, encoder)
    is_broken = check_merge(Example(*_fields_of(record["merged"])), sources) is not None
    return Case(record["style"], record["flaw"], information, is_broken)


def _names_flaw(case: Case) -> bool:
    flaw = "language_changed" if case.flaw == "half_translated" else case.flaw
    return case.is_refused and case.information.reason == flaw


def _share(cases: Sequence[Case], test: Callable[[Case], bool]) -> float:
    return round(sum(map(test, cases)) / len(cases), 4)


def _by(cases: Iterable[Case], key: Callable[[Case], str]) -> dict[str, str]:
    """Refused of all, by `key`."""
    groups: dict[str, list[bool]] = defaultdict(list)
    for case in cases:
        groups[key(case)].append(case.is_refused)
    return {name: f"{sum(found)} of {len(found)}" for name, found in sorted(groups.items())}


def _count_refused(
    merges: Sequence[Example],
    sources: Sequence[tuple[Row, ...]],
    weights: WordWeights,
    encoder: WordVectors,
) -> int:
    return sum(
        measure_information(merged, each, weights, encoder).score < MIN_INFORMATION
        for merged, each in zip(merges, sources, strict=True)
    )


def _time(check: Callable[[], None]) -> float:
    """CPU µs of this process for each of the joins, the best of some passes."""
    fastest = float("inf")
    for _ in range(REPEATS):
        start = time.process_time()
        check()
        fastest = min(fastest, time.process_time() - start)
    return round(1e6 * fastest / N_JOINS, 1)


def _show(information: Information, merge: Record, sources: Sequence[Row]) -> None:
    print(f"\n{information.score:.3f} {information.reason}")
    for row, each in zip(sources, information.sources, strict=True):
        print(f"  source {each.score:.3f}: {row.instruction!r} {row.input!r} {row.output[:200]!r}")
        print(f"    missing: {'; '.join(each.missing[:4])}")
    print(f"  merged: {merge['instruction']!r} {merge['input']!r} {merge['output'][:400]!r}")


def _fields_of(row: Record) -> tuple[str, str, str]:
    return row["instruction"], row["input"], row["output"]


def _text_of(row: Record) -> str:
    return "\n".join(_fields_of(row))


def _question_of(row: Record) -> str:
    return f"{row['instruction']} {row['input']}".strip()


def _as_row(row: Record) -> Row:
    return Row("", *_fields_of(row), 0, 1)


def _read_lines(path: Path) -> list[Record]:
    with path.open("rb") as file:
        return [orjson.loads(line) for line in file]


def _parse_arguments() -> argparse.Namespace:
    parser = parser_of(__doc__, needs_data=False)
    parser.add_argument("--data", type=Path, help="folder of the Alpaca sample")
    parser.add_argument("--sets", nargs="*", choices=SETS, default=SETS)
    parser.add_argument("--show", type=int, default=0, help="show so many published merges")
    return parser.parse_args()


if __name__ == "__main__":
    main()
