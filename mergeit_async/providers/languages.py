"""Which language a text is in, by py3langid: its model lies inside its wheel, never a download."""

from __future__ import annotations

from collections.abc import Mapping

# fmt: off
# Those that instruction sets are written in; fewer candidates make short texts surer.
LANGUAGES = (
    "ar", "bg", "cs", "da", "de", "el", "en", "es", "fa", "fi",
    "fr", "he", "hi", "hu", "id", "it", "ja", "ko", "nl", "no",
    "pl", "pt", "ro", "ru", "sv", "th", "tr", "uk", "vi", "zh",
)
# fmt: on


class Languages:
    """The model, loaded when it is first asked: it takes half a second and some 100 MB."""

    def __init__(self) -> None:
        self._model: object | None = None

    def rank_languages(self, text: str) -> Mapping[str, float]:
        """The log-likelihood of each of LANGUAGES, up to a constant."""
        if self._model is None:
            self._model = _load()
        ranks: list[tuple[str, float]] = self._model.rank(text)  # type: ignore[attr-defined]
        return dict(ranks)


def _load() -> object:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    model = LanguageIdentifier.from_model_file(MODEL_FILE)
    model.set_languages(LANGUAGES)
    return model
