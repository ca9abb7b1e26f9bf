"""Rows to try templates with, so that their faults show when they are loaded, not in a run.

They are as various as real ones: with and without an input, of several lines, code, other scripts,
quotation marks and markup.
"""

from __future__ import annotations

from mergeit_async.records import Example

SAMPLES = (
    Example(
        "Summarise the notice in one sentence.",
        "The ferry to Kalvø leaves at 07:40 and 16:15. On Sundays only the second one runs.",
        "Two ferries go to Kalvø, at 07:40 and 16:15, of which only the later runs on Sundays.",
    ),
    Example(
        "Name three things to check before a long bicycle ride.",
        "",
        "1. The pressure of both tyres\n2. The brakes\n3. Whether the chain is clean and oiled",
    ),
    Example(
        "What does this function return for the argument 4?",
        'def f(n):\n    return "ok" if n % 2 == 0 and n < 10 else "<b>no</b>"',
        'It returns "ok", because 4 is even and less than 10.',
    ),
    Example(
        "Translate into English.",
        "“今日は天気がいいですね。”",
        "The weather is nice today, isn't it?",
    ),
    Example("Is 51 a prime number? Answer {{yes}} or {{no}}.", "", "{{no}}: 51 = 3 × 17."),
)
# How many rows a group may have.
GROUP_SIZES = (2, 3, 5)
DEFECTS = ("the number 16:15", 'the sentence "The brakes" of source row 2')
MERGED = Example(
    "Summarise the notice in one sentence. Then name three things to check before a long bicycle "
    "ride to the ferry.",
    "The ferry to Kalvø leaves at 07:40 and 16:15. On Sundays only the second one runs.",
    "Two ferries go to Kalvø, at 07:40 and 16:15, of which only the later runs on Sundays.\n\n"
    "Before the ride, check:\n1. The pressure of both tyres\n2. The brakes\n3. Whether the chain "
    "is clean and oiled",
)
POORER = Example(
    "Summarise the notice, and name two things to check before a bicycle ride.",
    "The ferry to Kalvø leaves at 07:40.",
    "A ferry goes to Kalvø at 07:40. Check the tyres and the brakes.",
)
