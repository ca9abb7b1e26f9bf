"""The part of a user turn that depends on the number of rows alone, rendered once for all groups.

A template that shows its rows as lines of JSON, and uses them in no other way, has the same text
around those lines whatever the rows hold. Any other template is rendered anew for each group.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from jinja2 import Template, nodes

# Stands for a line while the frame is rendered; text that holds it makes no frame.
_MARK = "\0"
# What `loop` tells without a look at the rows.
_COUNTERS = frozenset({"index", "index0", "revindex", "revindex0", "first", "last", "length"})


@dataclass(frozen=True, slots=True)
class Frame:
    """A format string with one %s for each line, and each line's row and fence, in order."""

    text: str
    lines: tuple[tuple[int, str], ...]


@dataclass(frozen=True, slots=True)
class Gap:
    """Stands for the row at `place`; writes down in `lines` where its line goes."""

    place: int
    lines: list[tuple[int, str]]

    def leave(self, fence: str = "") -> str:
        """The mark to put where the row's line with this `fence` will stand."""
        self.lines.append((self.place, fence))
        return _MARK


def is_frame(tree: nodes.Node, row: str | None = None) -> bool:
    """Whether `tree` uses `rows` only to count them and, each as `row`, for lines of JSON."""
    match tree:
        case nodes.Template() | nodes.Output():
            return all(is_frame(child, row) for child in tree.iter_child_nodes())
        case nodes.TemplateData(data=data):
            return _MARK not in data
        case nodes.For(target=nodes.Name(name=name), iter=nodes.Name(name="rows"), test=None):
            parts = (*tree.body, *tree.else_)
            return name != "rows" and all(is_frame(part, name) for part in parts)
        case nodes.Filter(node=nodes.Name(name="rows"), name="length", args=[]):
            return True
        case nodes.Filter(
            node=nodes.Name(name=name),
            name="tojson",
            args=[] | [nodes.Const()],
            kwargs=[],
            dyn_args=None,
            dyn_kwargs=None,
        ):
            return name == row
        case nodes.Getattr(node=nodes.Name(name="loop"), attr=counter):
            return row is not None and counter in _COUNTERS
    return False


@lru_cache(maxsize=64)
def render_frame(template: Template, n_rows: int) -> Frame:
    """The frame of a `template` that `is_frame`, for groups of `n_rows` rows."""
    lines: list[tuple[int, str]] = []
    text = template.render(rows=[Gap(place, lines) for place in range(n_rows)])
    return Frame(text.replace("%", "%%").replace(_MARK, "%s"), tuple(lines))
