"""Up to where nothing of a chain is missing: what follows from what is stored and what is declared lost.

Rules:
- What the chain itself declares lost counts as filled. The number up to which nothing is missing is always a
  stored one all the same: a receipt proves itself to the box by the hash there, and what is lost has no hash.
- What later chains declare lost is no hole, but no part of that number either: a box with an older image of
  its storage may still hold the batch.
- Ranges are never changed, only exchanged, so this is worked out once and holds for the very same ranges.

Example:
    >>> Filled.of(Ranges.of([(1, 3), (5, 5), (9, 9)]), Ranges.of([(4, 4), (6, 6)]), Ranges()).upto
    5
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

if TYPE_CHECKING:
    from backend.domain.coverage import Ranges


@dataclass(frozen=True, slots=True, kw_only=True)
class Filled:
    """What of a chain is not missing.

    Attributes:
        stored: what is stored.
        lost: what the chain declares lost.
        lost_later: what later chains declare lost of it.
        filled: all of these.
        upto: the highest stored number below which every number is stored or in `lost`; 0 for none.
    """

    stored: Ranges
    lost: Ranges
    lost_later: Ranges
    filled: Ranges
    upto: int

    @classmethod
    def of(cls, stored: Ranges, lost: Ranges, lost_later: Ranges) -> Self:
        """Work it out: two unions, however many ranges there are."""
        own = stored.union(lost)
        beginning = own.range_of(1)
        return cls(
            stored=stored,
            lost=lost,
            lost_later=lost_later,
            filled=own.union(lost_later),
            upto=0 if beginning is None else stored.last_until(beginning[1]),
        )

    def is_of(self, stored: Ranges, lost: Ranges, lost_later: Ranges) -> bool:
        """Whether this was worked out from these very ranges."""
        return self.stored is stored and self.lost is lost and self.lost_later is lost_later
