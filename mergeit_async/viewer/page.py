"""Pages that need nothing but themselves: no script, no link, all text escaped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from mergeit_async.data.atomic import write_atomically


def write_page(path: Path, template: str, **values: Any) -> None:
    """Write the page that `template`, a file beside this one, makes of `values`."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(**values)
    with write_atomically(path) as file:
        file.write(html.encode(errors="replace"))
