"""How exactly a position may leave the box: more than is allowed is taken out before sealing (P-02).

Rules:
- EXACT keeps the fix. CELL keeps the centre of its cell of 0.01° and nothing that could narrow it. IN_OUT
  keeps no place (the areas it speaks of come with the policy document); time, mode and satellites remain.
  NONE keeps no fix at all.
- What is taken out is not on the disk either: no order can bring it back.

It does not decide which precision holds (the signed policy does).

Example:
    >>> coarsened(Fix(t_us=1, mode=3, lat_e7=481234567, lon_e7=-5), Precision.CELL).lat_e7
    481250000
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from protocol.fixes import Fix, Precision

if TYPE_CHECKING:
    from typing import Final

__all__ = ["Fix", "Precision", "coarsened"]

# A cell of 0.01°: 1.1 km north to south, less east to west; the town is told, the house is not.
CELL_E7: Final = 100_000


def coarsened(fix: Fix, precision: Precision) -> Fix:
    """Return the fix with no more in it than `precision` allows."""
    if precision == Precision.EXACT:
        return fix
    coarse = replace(fix, alt_mm=None, speed_mm_s=None, course_cdeg=None, hdop_centi=None)
    if precision == Precision.CELL:
        return replace(coarse, lat_e7=_cell(fix.lat_e7), lon_e7=_cell(fix.lon_e7))
    return replace(coarse, lat_e7=None, lon_e7=None)


def _cell(value_e7: int | None) -> int | None:
    return None if value_e7 is None else value_e7 // CELL_E7 * CELL_E7 + CELL_E7 // 2
