"""A question that is kept but for how it asks, with an answer as long as before: a rewording.

Of an answer in other words little survives, and so it looks like one to another question. Where the
question still is about the same and nothing is shorter, most of that loss is style.
"""

from __future__ import annotations

from collections.abc import Sequence

from mergeit_async.merging.survival import Survival
from mergeit_async.merging.units import Units

# So much of an answer's length has to be left in the merged one, beside all others' whole length.
LEAST_ROOM = 0.9
# Words of requests, which say how a thing is asked for.
_BY_LANGUAGE = {
    "English": """ask asks brief describe example examples explain find following give gives help
        list make mean means name need needs please provide say says sentence short state suggest
        tell tells term want wants way ways write""",
    "German": """beschreibe beschreiben erkläre erklären folgenden geben gib liste möchte nenne
        nennen schreibe schreiben soll sollen sollte sollten wollen""",
    "French": """cite citez donne donnez donner décris décrivez explique expliquez nomme nommez
        écris écrivez""",
    "Spanish": """da dame describa describe dé enumera escriba escribe explica menciona nombra
        nombre quiero""",
    "Portuguese": "cite descreva diga dê escreva explica liste quero",
    "Italian": "descrivi elenca indica scrivi spiega",
    "Dutch": "beschrijf geef leg noem schrijf",
    "Russian": """назови назовите напиши напишите объясни объясните опиши опишите перечисли""",
    "Arabic": "اذكر اشرح اكتب صف",
    "Hindi": "तरीके बताइए बताएं बताओ लिखिए लिखें लिखो समझाइए",
}
REQUEST_WORDS: frozenset[str] = frozenset(
    word for words in _BY_LANGUAGE.values() for word in words.split()
)


def is_reworded(at: int, sources: Sequence[Units], merged: Units, instruction: Survival) -> bool:
    """Whether source `at` has lost no more of its question than how it asks, and no length.

    `instruction` is what is kept of its instruction.
    """
    own = len(sources[at].output.words)
    others = sum(len(row.output.words) for row in sources) - own
    room = len(merged.output.words) - others
    return room >= LEAST_ROOM * own and REQUEST_WORDS.issuperset(instruction.lost)
