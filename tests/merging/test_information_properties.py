"""What holds of the information gate for all rows."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mergeit_async.config import MIN_INFORMATION
from mergeit_async.merging.compose import compose
from mergeit_async.merging.information import check_information, measure_information
from mergeit_async.merging.weights import WordWeights
from mergeit_async.providers.word_vectors import WordVectors
from mergeit_async.records import Example, Row

WEIGHTS = WordWeights.count(["The sum of it.", "Name the river.", "Write about the sea."])
BOUNDED = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)

# Words of no language, so that no two share a stem, a number or a meaning by chance.
LETTERS = st.text("bcdfghjklmnpqrstvwxz", min_size=5, max_size=9)
TEXTS = st.one_of(
    st.text(max_size=80),
    st.text(st.sampled_from("aB1 .,;:()[]{}\n日本é–'\"`|#٣क"), max_size=80),
    st.lists(LETTERS, max_size=12).map(" ".join),
)
ROWS = st.tuples(TEXTS, TEXTS, TEXTS).map(lambda texts: Row("r", *texts, 0, 1))
MERGED = st.tuples(TEXTS, TEXTS, TEXTS).map(lambda texts: Example(*texts))


@st.composite
def _unlike_rows(draw: st.DrawFn) -> tuple[Row, Row]:
    """Two rows of many words, none of them in both."""
    words = draw(st.lists(LETTERS, min_size=44, max_size=44, unique_by=lambda word: word[:4]))
    texts = [" ".join(words[at : at + 11]).capitalize() + "." for at in (0, 11, 22, 33)]
    return (
        Row("a", texts[0], "", texts[1], 0, 1),
        Row("b", texts[2], "", texts[3], 1, 2),
    )


@BOUNDED
@given(merged=MERGED, sources=st.lists(ROWS, min_size=1, max_size=3))
def test_any_texts_have_a_score(encoder: WordVectors, merged: Example, sources: list[Row]) -> None:
    information = measure_information(merged, sources, WEIGHTS, encoder)

    assert 0.0 <= information.score <= 1.0
    assert information.score == min(each.score for each in information.sources)
    for each in information.sources:
        assert -1.0 <= each.similarity <= 1.0
        assert all(0.0 <= share <= 1.0 for share in each.fields.values())
    refusal = check_information(information, 1.0)
    assert refusal is None or refusal.reason


@BOUNDED
@given(merged=MERGED, sources=st.lists(ROWS, min_size=1, max_size=3))
def test_a_score_depends_on_nothing_but_the_rows(
    encoder: WordVectors, merged: Example, sources: list[Row]
) -> None:
    first = measure_information(merged, sources, WEIGHTS, encoder)
    encoder.similarities({"other", "words"}, [{"in"}, {"the", "table"}])

    assert measure_information(merged, sources, WEIGHTS, encoder) == first


@BOUNDED
@given(rows=_unlike_rows())
def test_rows_that_stand_there_word_for_word_pass(
    encoder: WordVectors, rows: tuple[Row, Row]
) -> None:
    for merged in (compose(rows), _join(*rows)):
        information = measure_information(merged, rows, WEIGHTS, encoder)

        assert check_information(information, MIN_INFORMATION) is None


@BOUNDED
@given(rows=_unlike_rows(), kept=st.sampled_from([0, 1]))
def test_a_merge_without_one_of_its_sources_is_refused(
    encoder: WordVectors, rows: tuple[Row, Row], kept: int
) -> None:
    row = rows[kept]
    merged = Example(f"{row.instruction} Do that well.", row.input, row.output)

    information = measure_information(merged, rows, WEIGHTS, encoder)

    assert check_information(information, MIN_INFORMATION) is not None
    assert information.sources[1 - kept].score == information.score


def _join(one: Row, other: Row) -> Example:
    return Example(
        f"{one.instruction} {other.instruction}",
        f"{one.input} {other.input}".strip(),
        f"{one.output}\n{other.output}",
    )
