"""A question that is gone though its answer still stands there, by the name that both are about.

Other words of a question may be said otherwise; who asks about a name has to name it.
"""

from __future__ import annotations

from mergeit_async.merging.acronym import find_renamed
from mergeit_async.merging.strangers import find_names
from mergeit_async.merging.survival import Survival
from mergeit_async.merging.units import Units


def find_unasked(row: Units, instruction: Survival, merged: Units) -> list[str]:
    """The names in the instruction of `row` that `merged` answers with and asks without.

    None if it asks with any of them, be it by its initials; `instruction` is what is kept there.
    """
    names = find_names(row.instruction.text) & row.output.vocabulary
    lost = [word for word in instruction.lost if word in names]
    if not lost or len(lost) < len(names) or not names <= merged.output.vocabulary:
        return []
    return [] if find_renamed([row.instruction], merged.question) else lost
