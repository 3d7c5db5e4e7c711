"""What batches of `propose` had in our study of complete tables, for sentences on other data.

Made by ``python -m experiments.studies tables``; the page `docs/concepts/complete_tables.md` has
the tables and what is missing. Batches of 32 designs; the truth of every design is known.
"""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["GOOD_R2", "SEEN", "STUDY", "Seen"]

STUDY = "our study of 14 complete tables"
GOOD_R2 = 0.5
"""Held-out R2 from which `Seen.above_good` counts."""


class Seen(NamedTuple):
    """What batches had, by how the measured rows had been chosen.

    Args:
        case: How they had been chosen.
        above_good: Per cent of the proposals above the best measured row, held-out R2 of `GOOD_R2`
            and more.
        above_other: The same for a lower held-out R2.
        covered: Per cent of the proposals whose true score was inside the interval.
    """

    case: str
    above_good: int
    above_other: int
    covered: int


SEEN = (
    Seen("the best half of all designs had never been measured", 91, 94, 52),
    Seen("the best tenth had never been measured", 53, 22, 95),
    Seen("the measured rows were a random sample of all designs", 5, 3, 97),
)
