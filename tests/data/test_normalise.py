from __future__ import annotations

import math
from datetime import UTC, date, datetime, time
from decimal import Decimal
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mergeit_async.data.normalise import (
    clear_input,
    normalise,
    normalise_text,
    parse_columns,
    resolve_columns,
)
from mergeit_async.data.source import Defect
from mergeit_async.errors import UsageError
from mergeit_async.records import Example

PLAIN = {"instruction": "instruction", "input": "input", "output": "output"}
ANY_TEXT = st.text(
    st.one_of(st.characters(exclude_categories=()), st.sampled_from("\r\n\0\ufeff \ud800\udc00"))
)
JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def normalise_output(value: Any) -> str:
    normalised = normalise({"instruction": "Do.", "output": value}, PLAIN)
    return normalised.reason if isinstance(normalised, Defect) else normalised[0].output


def extra_of(value: Any) -> Any:
    normalised = normalise({"instruction": "Do.", "output": "Done.", "more": value}, PLAIN)
    assert not isinstance(normalised, Defect)
    return normalised[1]["more"]


def test_columns_are_given_as_ours_equals_theirs() -> None:
    assert parse_columns("instruction=prompt, output = the=answer") == {
        "instruction": "prompt",
        "output": "the=answer",
    }
    assert parse_columns("") == {}


@pytest.mark.parametrize(
    ("spec", "named"),
    [
        ("instruction", "'instruction'"),
        ("instruction=a,output=", "'output='"),
        ("=a", "'=a'"),
        ("prompt=instruction", "'prompt'"),
        ("input=a,input=b", "'input=b'"),
        ("input=a,output=a", "'output=a'"),
    ],
)
def test_a_wrong_column_mapping_is_refused_naming_the_part(spec: str, named: str) -> None:
    with pytest.raises(UsageError, match=named):
        parse_columns(spec)


@pytest.mark.parametrize(
    ("columns", "found", "resolved"),
    [
        (None, ["instruction", "input", "output", "id"], PLAIN),
        (None, ["output", "instruction"], {"instruction": "instruction", "output": "output"}),
        (
            {"instruction": "q"},
            ["q", "input", "output"],
            {"instruction": "q", "input": "input", "output": "output"},
        ),
        (
            {"instruction": "input"},
            ["input", "output"],
            {"instruction": "input", "output": "output"},
        ),
    ],
)
def test_default_names_fill_what_is_not_named(
    columns: dict[str, str] | None, found: list[str], resolved: dict[str, str]
) -> None:
    assert resolve_columns(columns, found, "a.csv, line 2") == resolved


@pytest.mark.parametrize(
    ("columns", "found", "message"),
    [
        (None, ["prompt", "output"], "'instruction' for instruction; found 'output', 'prompt'"),
        (None, ["instruction", "answer"], "'output' for output"),
        ({"output": "answr"}, ["instruction", "answer", "output"], "'answr' for output"),
        ({"input": "contxt"}, ["instruction", "output"], "'contxt' for input"),
        ({"instruction": "output"}, ["output"], "'output' for output"),
        (None, [], "found none"),
    ],
)
def test_a_column_that_is_not_there_is_refused_with_those_found(
    columns: dict[str, str] | None, found: list[str], message: str
) -> None:
    with pytest.raises(UsageError, match=rf"a\.csv, line 2: .*{message}.*--columns"):
        resolve_columns(columns, found, "a.csv, line 2")


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        (" \t a\u00a0\n", "a"),
        ("a\r\nb\rc\nd", "a\nb\nc\nd"),
        ("a\r\0\nb", "a\nb"),
        ("\ufeff \ufeffa\ufeff", "a\ufeff"),
        ("\0\0", ""),
        ("\ud83d\ude00", "\U0001f600"),
        ("a\ud800b", "a\ufffdb"),
        ("e\u0301 \ufb01 \u212b", "e\u0301 \ufb01 \u212b"),
        ("<script>alert('\u05e9\u05dc\u05d5\u05dd')</script>\u200f",) * 2,
        ("\u202eabc \u0645\u0631\u062d\u0628\u0627 👩\u200d👩\u200d👧",) * 2,
        ("def f():\n\treturn 1",) * 2,
    ],
)
def test_text_is_cleaned_at_its_edges_and_kept_inside(text: str, clean: str) -> None:
    assert normalise_text(text) == clean


@given(ANY_TEXT)
def test_cleaning_text_twice_changes_nothing_more(text: str) -> None:
    once = normalise_text(text)

    assert normalise_text(once) == once
    assert once.encode().decode() == once


@pytest.mark.parametrize(
    "text",
    """noinput|Noinput|<noinput>|<noinput>.|< noinput >|[noinput]|(no input)|No input|no input.
No Input|No input required.|No input needed|no input is needed|no input provided|no_input|No-Input
\\<noinput\\>|`<noinput>`|"<noinput>"|<noinput|<noinputs>|N/A|<N/A>|n/a.|none|<none>|None.|nan|NaN
Not applicable""".replace("\n", "|").split("|"),
)
def test_an_input_that_says_there_is_none_is_empty(text: str) -> None:
    assert clear_input(text) == ""


@pytest.mark.parametrize(
    "text",
    [
        "He was <noinput>",
        "Joe Smith\n<noinput>",
        "<noinput> 8",
        "No input validation is done here.",
        "No",
        "None of them came.",
        "NA",
        "Na",
        "Nan",
        "null",
        "-3",
        "[]",
        "0",
        "Nonetheless",
        "noinputx",
        "...",
        "nein",
    ],
)
def test_an_input_with_content_is_kept(text: str) -> None:
    assert clear_input(text) == text


def test_only_the_input_may_say_that_it_is_none() -> None:
    record = dict.fromkeys(PLAIN, "None.")

    assert normalise(record, PLAIN) == (Example("None.", "", "None."), {})


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3, "3"),
        (10**30, "1" + "0" * 30),
        (1.5, "1.5"),
        (2.0, "2.0"),
        (True, "true"),
        (False, "false"),
        (Decimal("1.50"), "1.50"),
        ("caf\u00e9".encode(), "caf\u00e9"),
        (None, "empty_output"),
        (math.nan, "empty_output"),
        (-math.inf, "empty_output"),
        (Decimal("NaN"), "empty_output"),
        (" \ufeff\0 ", "empty_output"),
        ([], "not_text"),
        (["a"], "not_text"),
        ({"a": 1}, "not_text"),
        (b"\xff", "not_text"),
        (date(2024, 2, 29), "not_text"),
    ],
)
def test_scalars_become_their_json_text_and_structures_are_rejected(value: Any, text: str) -> None:
    assert normalise_output(value) == text


def test_a_rejected_structure_names_its_column_and_type() -> None:
    record = {"q": "Sort.", "output": "a b", "context": ["b", "a"]}

    normalised = normalise(record, {"instruction": "q", "input": "context", "output": "output"})

    assert normalised == Defect("not_text", "column 'context' holds a list, not text")


def test_missing_and_empty_fields_are_told_apart_by_field() -> None:
    assert normalise({"instruction": "Do.", "output": "Done."}, PLAIN) == (
        Example("Do.", "", "Done."),
        {},
    )
    for missing in ("instruction", "output"):
        normalised = normalise({**dict.fromkeys(PLAIN, "text"), missing: None}, PLAIN)
        assert normalised == Defect(f"empty_{missing}", f"column '{missing}' is empty")


@pytest.mark.parametrize(
    ("value", "json_value"),
    [
        (None, None),
        (True, True),
        (2**63, 2**63),
        (2**64, str(2**64)),
        (-(2**63) - 1, str(-(2**63) - 1)),
        (math.nan, None),
        (math.inf, None),
        (date(2024, 2, 29), "2024-02-29"),
        (datetime(2024, 2, 29, 12, tzinfo=UTC), "2024-02-29T12:00:00+00:00"),
        (time(12, 30), "12:30:00"),
        (Decimal("1.50"), "1.50"),
        (b"\xff\x00", "/wA="),
        ([("k", b"v"), {1: math.nan}], [["k", "dg=="], {"1": None}]),
        ("\ud800 \r\n", "\ufffd \r\n"),
    ],
)
def test_extra_columns_become_json_values(value: Any, json_value: Any) -> None:
    assert extra_of(value) == json_value


def test_a_name_of_an_extra_column_is_made_writable_too() -> None:
    record = {"instruction": "Do.", "output": "Done.", "\ud800": 1}

    assert normalise(record, PLAIN) == (Example("Do.", "", "Done."), {"\ufffd": 1})


def test_extra_columns_nested_without_end_are_cut() -> None:
    nested: Any = "core"
    for _ in range(900):
        nested = [nested]

    assert b"nested deeper" in orjson.dumps(extra_of(nested))


@given(st.dictionaries(st.sampled_from([*PLAIN, "more", "\ud800"]), JSON_VALUES))
def test_normalising_is_total_writable_and_idempotent(record: dict[str, Any]) -> None:
    once = normalise(record, PLAIN)

    if isinstance(once, Defect):
        assert once.reason in {"not_text", "empty_instruction", "empty_output"}
        return
    example, extra = once
    assert orjson.loads(orjson.dumps(extra)) == extra
    fields = {name: getattr(example, name) for name in PLAIN}
    assert normalise({**fields, **extra}, PLAIN) == once
