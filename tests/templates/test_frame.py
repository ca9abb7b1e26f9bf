"""Turns of which only the lines of JSON depend on what the rows hold."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.errors import UsageError
from mergeit_async.records import Example
from mergeit_async.templates.turn import UserTemplate, compile_template

SHOWN = (
    "100 %% of {{ rows | length }} rows:\n"
    "{% for row in rows %}\n"
    '<row number="{{ loop.index }}"{{ loop.last }}>\n'
    '{{ row | tojson("row") }}\n'
    "{% for other in rows %}{{ other | tojson }}{{ loop.revindex0 }}{% endfor %}\n"
    "{% else %}none{% endfor %}\n"
)
TEXT = st.text() | st.text("</row>%s{}'\"\\\0\x85\u2028\u2029é\n ")
EXAMPLES = st.lists(st.builds(Example, TEXT, TEXT, TEXT), max_size=4)


def _compile(source: str) -> UserTemplate:
    return compile_template(source, Path("user.j2"))


def _render_whole(template: UserTemplate, rows: Sequence[Example]) -> str:
    return UserTemplate(template.path, template.template, is_frame=False).render(rows)


@given(EXAMPLES)
def test_a_filled_frame_is_the_rendered_template(rows: list[Example]) -> None:
    template = _compile(SHOWN)

    assert template.is_frame
    assert template.render(rows) == _render_whole(template, rows)


@pytest.mark.parametrize(
    "source",
    [
        "{% for row in rows %}{{ row.input }}{{ row | tojson }}{% endfor %}",
        "{% for row in rows %}{{ row | tojson | upper }}{% endfor %}",
        "{% for row in rows %}{{ row | tojson(row.input) }}{% endfor %}",
        "{% for row in rows %}{{ row | tojson(fence=row.input) }}{% endfor %}",
        "{% for row in rows %}{{ row | tojson(*row) }}{% endfor %}",
        "{% for row in rows %}{{ row | tojson(**row) }}{% endfor %}",
        "{% for row in rows if row.input %}{{ row | tojson }}{% endfor %}",
        "{% for row in rows %}{{ loop.changed(row) }}{% endfor %}",
        "{% for row in rows %}{{ loop.previtem }}{% endfor %}",
        "{% for row in rows | reverse %}{{ row | tojson }}{% endfor %}",
        "{% for rows in rows %}{{ rows | length }}{% endfor %}",
        "{% for row in rows %}{% for row in row %}{{ row | tojson }}{% endfor %}{% endfor %}",
        "{% for key, value in rows %}{{ key | tojson }}{% endfor %}",
        "{% for row in rows %}{% if row == rows[0] %}{{ row | tojson }}{% endif %}{% endfor %}",
        "{% for row in rows %}{% set one = row %}{{ one | tojson }}{% endfor %}",
        "{% filter upper %}{% for row in rows %}{{ row | tojson }}{% endfor %}{% endfilter %}",
        "{% set all %}{% for row in rows %}{{ row | tojson }}{% endfor %}{% endset %}{{ all }}",
        "{{ rows | tojson }}",
        "{{ rows | first | tojson }}",
        "{{ rows[0].input }}",
        "\0{% for row in rows %}{{ row | tojson }}{% endfor %}",
    ],
)
def test_whatever_else_looks_at_rows_is_rendered_for_each_group(source: str) -> None:
    template = _compile(source)

    assert not template.is_frame


def test_a_template_that_looks_into_rows_sees_each_group_anew() -> None:
    template = _compile("{% for row in rows %}{{ row.input or 'none' }} {% endfor %}")

    turns = [template.render([Example("a", given, "b")] * 2) for given in ("x", "", "y")]

    assert turns == ["x x ", "none none ", "y y "]


def test_a_row_that_is_no_unicode_is_told_with_the_line_that_shows_it() -> None:
    template = _compile(SHOWN)

    with pytest.raises(UsageError, match=r"user\.j2, line 4: "):
        template.render([Example("\ud800", "", "")])


def test_the_text_of_a_turn_is_what_it_always_was() -> None:
    template = _compile(
        "{{ rows | length }}\n{% for row in rows %}\n"
        '<r>\n{{ row | tojson("r") }}\n</r>\n{% endfor %}'
    )
    odd = Example("Say <r> & so.", "é\u2028漢字\x85\n", '\\ "x" 😀')

    assert template.render([odd, Example("a", "", "</r>")]) == (
        "2\n<r>\n"
        '{"instruction":"Say \\u003cr> & so.","input":"é\\u2028漢字\\u0085\\n",'
        '"output":"\\\\ \\"x\\" 😀"}\n'
        '</r>\n<r>\n{"instruction":"a","input":"","output":"\\u003c/r>"}\n</r>\n'
    )
