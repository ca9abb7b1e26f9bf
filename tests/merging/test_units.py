"""What texts are taken apart into."""

from __future__ import annotations

import time

import pytest

from mergeit_async.merging.units import number_readings, number_value, read_field, read_words


def test_words_come_without_case_and_numbers_apart_from_what_they_count() -> None:
    words = ["drive", "37.5", "km", "or", "10", "km", "in", "x1"]

    assert read_words("Drive 37.5 km (or 10km) in x1!") == words


def test_thousands_in_groups_are_one_number_and_cells_are_several() -> None:
    assert read_words("sold 1,250, then 1,234,567.5") == ["sold", "1,250", "then", "1,234,567.5"]
    assert read_words("4,3,12\n10,2.5,25") == ["4", "3", "12", "10", "2.5", "25"]
    assert read_words("2022,1500,850,800") == ["2022", "1500", "850", "800"]


def test_digits_of_all_scripts_are_digits() -> None:
    assert read_words("૩ and ௪.௨, ７, ๘") == ["3", "and", "4.2", "7", "8"]


def test_a_raised_digit_is_a_number_of_its_own() -> None:
    assert read_words("5² m³") == ["5", "2", "m", "3"]


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("1,000", "1000"),
        ("1,234.50", "1234.5"),
        ("1.234.567,5", "1234567.5"),
        ("0,5", "0.5"),
        ("3.0", "3"),
        ("007", "7"),
        ("0", "0"),
    ],
)
def test_equal_numbers_have_one_value(written: str, value: str) -> None:
    assert number_value(written) == value


def test_a_single_group_may_be_thousands_or_a_fraction() -> None:
    assert set(number_readings("6.650")) == {"6650", "6.65"}
    assert "6650" in number_readings("6,650")


def test_scripts_without_spaces_are_cut_into_pairs_of_signs() -> None:
    assert read_words("日本の春3月") == ["日本", "本の", "の春", "3", "月"]


def test_vowel_signs_stay_in_their_word() -> None:
    assert read_words("हिन्दी की किताब") == ["हिन्दी", "की", "किताब"]


def test_the_full_stop_of_devanagari_is_no_part_of_a_word() -> None:
    assert read_words("शब्द लिखिए। शाम") == ["शब्द", "लिखिए", "शाम"]


def test_digits_of_other_scripts_are_the_same_numbers() -> None:
    assert read_words("٣٥ عاما") == ["35", "عاما"]
    assert read_words("३५") == read_words("３５") == ["35"]


def test_an_empty_field_has_no_units() -> None:
    assert read_field("").words == [] and read_field(" \n").vocabulary == set()


@pytest.mark.parametrize("piece", ["1,111,", "1.", "a", "0", "日", "é", "_1", "(((", "\u064b"])
def test_a_megabyte_of_anything_is_read_in_less_than_a_second(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    start = time.process_time()

    field = read_field(text)

    assert time.process_time() - start < 1.0
    assert max(map(len, field.words), default=0) <= 300
