"""A prompt version of any kind: checked, and as it would be sent."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mergeit_async.records import Example, Message, Row
from mergeit_async.templates.folder import read_prompt_files
from mergeit_async.templates.judge import load_judge, load_pair_judge
from mergeit_async.templates.manifest import JUDGE, PAIR, REPAIR
from mergeit_async.templates.repair import load_repair
from mergeit_async.templates.samples import DEFECTS, MERGED, POORER, SAMPLES
from mergeit_async.templates.version import load_prompt


@dataclass(frozen=True, slots=True)
class Material:
    """What turns are rendered with: source rows, and two merges of them for those who judge."""

    rows: Sequence[Row | Example] = SAMPLES[:2]
    merged: Example = MERGED
    other: Example = POORER
    defects: Sequence[str] = DEFECTS


def check_prompt(name: str, directory: Path | None = None) -> None:
    """Raise UsageError for the first thing that is wrong with the version `name`."""
    render_turns(name, directory)


def render_turns(
    name: str, directory: Path | None = None, material: Material | None = None
) -> tuple[Message, ...]:
    """The turns that the version `name` sends about this material, sample rows where it is None.

    Of a repair, the turn that it adds to the conversation. Raises UsageError for whatever is wrong
    with the version.
    """
    given = material or Material()
    kind = read_prompt_files(name, directory).kind
    if kind == REPAIR:
        turn = load_repair(name, directory).ask(given.rows, given.defects, str(given.other))
        return (Message("user", turn),)
    if kind == JUDGE:
        judge = load_judge(name, directory)
        return (*judge.preamble, Message("user", judge.ask(given.rows[0])))
    if kind == PAIR:
        pair = load_pair_judge(name, directory)
        turn = pair.ask(given.rows, given.merged, given.other)
        return (*pair.preamble, Message("user", turn))
    merge = load_prompt(name, directory)
    return (*merge.preamble, Message("user", merge.ask(given.rows)))
