"""A prompt that has a merge mended: the user turn that follows the model's own attempt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from mergeit_async.records import Example, Row
from mergeit_async.templates.folder import read_prompt_files
from mergeit_async.templates.manifest import REPAIR
from mergeit_async.templates.samples import DEFECTS, GROUP_SIZES, SAMPLES
from mergeit_async.templates.turn import UserTemplate, compile_template, to_object

_NAMES = ("rows", "defects", "attempt")


@dataclass(frozen=True, slots=True)
class RepairPrompt:
    """A version that was read and checked; `hash` changes with any byte of its files."""

    name: str
    hash: str
    _user: UserTemplate = field(repr=False, compare=False)

    def ask(self, rows: Sequence[Row | Example], defects: Sequence[str], attempt: str) -> str:
        """The user turn that asks to mend `attempt`, a merge of `rows` with these `defects`.

        It comes after the attempt as the assistant's turn. The defects quote rows and replies,
        and a reply may escape half of a character, which no request can carry.
        """
        return self._user.fill(
            rows=[to_object(row) for row in rows],
            defects=[_make_sendable(defect) for defect in defects],
            attempt=_make_sendable(attempt),
        )


def load_repair(name: str = "repair/v1", directory: Path | None = None) -> RepairPrompt:
    """Read and check the version `name` from `directory` or the shipped ones.

    Raises UsageError with file, line and next step for whatever is wrong with it.
    """
    files = read_prompt_files(name, directory, REPAIR)
    file = files.manifest.files.user
    prompt = RepairPrompt(
        name, files.hash, compile_template(files.read(file), files.folder / file, _NAMES)
    )
    for size in GROUP_SIZES:
        prompt.ask(SAMPLES[:size], DEFECTS, "{}")
    return prompt


def _make_sendable(text: str) -> str:
    return text if text.isascii() else text.encode(errors="replace").decode()
