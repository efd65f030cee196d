"""Whether a signed release is one for this box, before a byte of it is loaded.

Rules: newer than what runs, on or above the floor, for this board, not failed here before, and for an image
that is not too old to hand over. Whoever chose the release (the backend's answer is not signed) cannot lift
any of these.

Example:
    >>> why_not(Needs(release=2, agent="1", hardware=("rp2040",)), Record(confirmed=2), board="rp2040")
    <Not.DOWNGRADE: 'downgrade'>
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.update.forms import Record
    from protocol.update_bundle import Needs


class Not(StrEnum):
    """Why a release is not taken; the counter is `update_not_<word>`."""

    DOWNGRADE = "downgrade"
    BELOW_FLOOR = "below_floor"
    OTHER_BOARD = "other_board"
    OLD_MCU = "old_mcu"
    FAILED_BEFORE = "failed_before"


SENTENCES: Final[Mapping[Not, str]] = {
    Not.DOWNGRADE: "This release is not newer than the one that runs: roll out a higher number.",
    Not.BELOW_FLOOR: "This release lies below the box's floor: roll out a newer one.",
    Not.OTHER_BOARD: "This release is for another board: correct its hardware, or the rollout.",
    Not.OLD_MCU: "The microcontroller's image is too old for this release: roll out one in between first.",
    Not.FAILED_BEFORE: "This release failed on this box before: roll out a better one under a new number.",
}


def why_not(needs: Needs, record: Record, *, board: str) -> Not | None:
    """Return why a release is not taken, None when it is."""
    if needs.release < record.floor:
        return Not.BELOW_FLOOR
    if needs.release <= record.confirmed:
        return Not.DOWNGRADE
    if board not in needs.hardware:
        return Not.OTHER_BOARD
    if needs.min_mcu > record.mcu:
        return Not.OLD_MCU
    if needs.release in {release for release, _ in record.failed}:
        return Not.FAILED_BEFORE
    return None
