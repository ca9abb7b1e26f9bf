"""Languages by py3langid."""

from __future__ import annotations

import pytest

from mergeit_async.providers.languages import LANGUAGES, Languages


@pytest.fixture(scope="module")
def languages() -> Languages:
    return Languages()


@pytest.mark.parametrize(
    ("language", "text"),
    [
        ("en", "Gifts: a crime novel, a leather bookmark or a reading lamp."),
        ("de", "Möglicher Grund: die Pandemie, in der Museen mehrere Monate schließen mussten."),
        ("fr", "La levure chimique contient déjà un acide sec."),
        ("es", "Esto significa revelar un secreto, normalmente sin querer"),
        ("pt", "A maré é a subida e a descida regular do nível do mar."),
        ("ru", "Назови столицу этой страны."),
        ("zh", "下面是同一家酒店的两条评论。"),
        ("ja", "日本の春の行事を説明してください。"),
        ("ar", "هذا كتاب جديد عن التاريخ."),
        ("hi", "यह किताब बहुत अच्छी है।"),
    ],
)
def test_a_sentence_is_most_likely_in_its_language(
    languages: Languages, language: str, text: str
) -> None:
    ranks = languages.rank_languages(text)

    assert max(ranks, key=lambda each: ranks[each]) == language


@pytest.mark.parametrize("text", ["", "\ud800", "1234", "\x00" * 1000])
def test_any_text_is_ranked_in_every_language(languages: Languages, text: str) -> None:
    assert set(languages.rank_languages(text)) == set(LANGUAGES)
