"""The user turn as a template: rows go in as data, text comes out.

Rows never become template code: they are values of a sandboxed environment. Nor can they forge
the fences around them: each is one line of JSON, and `tojson` escapes the fence inside it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import orjson
from jinja2 import StrictUndefined, Template, TemplateSyntaxError, Undefined, nodes
from jinja2.meta import find_undeclared_variables
from jinja2.sandbox import ImmutableSandboxedEnvironment

from mergeit_async.errors import UsageError
from mergeit_async.records import Example, Row
from mergeit_async.templates.frame import Gap, is_frame, render_frame
from mergeit_async.templates.schema import FIELDS

# Line breaks to some readers, but not to JSON, which leaves them as they are.
_LINE_BREAKS = {"\x85": "\\u0085", "\u2028": "\\u2028", "\u2029": "\\u2029"}

# The names that templates may use, each in the tasks that have it.
_MEANINGS: Mapping[str, str] = {
    "rows": "the list of objects with instruction, input and output",
    "row": "an object with instruction, input and output",
    "a": "the first of two merged rows, with instruction, input and output",
    "b": "the second of them",
    "defects": "the list of texts that say what was found",
    "attempt": "the text of the reply in which it was found",
}


@dataclass(frozen=True, slots=True)
class UserTemplate:
    """A compiled user turn, the file that it came from, and whether it has frames."""

    path: Path
    template: Template
    is_frame: bool

    def render(self, rows: Sequence[Row | Example]) -> str:
        """The user turn for `rows`. Raises UsageError with file and line if the template fails."""
        values = [to_object(row) for row in rows]
        if self.is_frame:
            with suppress(orjson.JSONEncodeError):  # raised again below, where it has a line
                return _fill_frame(self.template, values)
        return self.fill(rows=values)

    def fill(self, **values: Any) -> str:
        """The user turn with these values of its names; raises as `render` does."""
        try:
            return self.template.render(values)
        except Exception as error:
            # The template is the user's code: whatever it raises is told as a fault of its file.
            line = _find_line(error.__traceback__)
            raise UsageError(f"{self.path}, line {line}: {error}; correct the template.") from error


def compile_template(source: str, path: Path, names: Sequence[str] = ("rows",)) -> UserTemplate:
    """The template in `source`; it may use `names` and the filter `tojson`.

    Raises UsageError, naming file and line, for a syntax error or an undefined name.
    """
    try:
        tree = _ENVIRONMENT.parse(source)
        template = _ENVIRONMENT.from_string(source)
    except TemplateSyntaxError as error:
        raise UsageError(
            f"{path}, line {error.lineno}: {error.message}; correct the template."
        ) from error
    _check_names(tree, path, names)
    _check_fields(tree, path, names)
    return UserTemplate(path, template, is_frame(tree))


def to_json_line(value: Any, *fences: str) -> str:
    """`value` as one line of JSON, with no HTML escapes and with all scripts as they are.

    With `fences`, names of the tags around lines, those tags never occur in it: their "<" is
    written as a JSON escape. In a template: `{{ row | tojson("source_row") }}`.
    """
    if isinstance(value, Undefined):
        return str(value)  # raises, and names what is undefined
    if isinstance(value, Gap):
        return value.leave(*fences)
    return _write_line(value, *fences)


def _write_line(value: Any, *fences: str) -> str:
    text = orjson.dumps(value).decode()
    if "<" in text:
        for fence in filter(None, fences):
            text = text.replace(f"<{fence}", f"\\u003c{fence}").replace(
                f"</{fence}", f"\\u003c/{fence}"
            )
    if not text.isascii():
        for character, escape in _LINE_BREAKS.items():
            text = text.replace(character, escape)
    return text


def _fill_frame(template: Template, values: Sequence[dict[str, str]]) -> str:
    frame = render_frame(template, len(values))
    return frame.text % tuple([_write_line(values[at], fence) for at, fence in frame.lines])


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        undefined=StrictUndefined, autoescape=False, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters["tojson"] = to_json_line
    # Equal rows must give equal text, or a paid reply would not be found again.
    del environment.filters["random"]
    environment.globals.clear()
    return environment


_ENVIRONMENT = _environment()


def to_object(row: Row | Example) -> dict[str, str]:
    """The three fields of a row, by name, as templates see them."""
    return {"instruction": row.instruction, "input": row.input, "output": row.output}


def _check_names(tree: nodes.Template, path: Path, names: Sequence[str]) -> None:
    """Refuse names that nothing defines, also in branches that the few-shots do not reach."""
    undefined = find_undeclared_variables(tree) - set(names)
    for name in tree.find_all(nodes.Name):
        if name.name in undefined:
            meanings = "; or ".join(f"{known}, {_MEANINGS[known]}" for known in names)
            raise UsageError(
                f"{path}, line {name.lineno}: {name.name!r} is undefined; use {meanings}."
            )


def _check_fields(tree: nodes.Template, path: Path, names: Sequence[str]) -> None:
    """Refuse fields that no row has, also in branches that no sample row reaches."""
    stored = Counter(name.name for name in tree.find_all(nodes.Name) if name.ctx == "store")
    rows = {name for name in ("row", "a", "b") if name in names and not stored[name]}
    for loop in tree.find_all(nodes.For):
        match loop:
            case nodes.For(target=nodes.Name(name=name), iter=nodes.Name(name="rows")):
                rows |= {name} if stored[name] == 1 else set()
    for part in tree.find_all(nodes.Getattr):
        match part:
            case nodes.Getattr(node=nodes.Name(name=name), attr=field) if name in rows:
                if field not in FIELDS and not hasattr(dict, field):
                    raise UsageError(
                        f"{path}, line {part.lineno}: a row has no {field!r}; use "
                        f"{', '.join(FIELDS)}."
                    )


def _find_line(traceback: TracebackType | None) -> int:
    """The line of the template that was being rendered; jinja2 puts it into the traceback."""
    line = 0
    while traceback is not None:
        if traceback.tb_frame.f_code.co_filename == "<template>":
            line = traceback.tb_lineno
        traceback = traceback.tb_next
    return line
