"""Which bit rate is proved, and whether the bus is one that may be asked: decided from what was heard.

Rules: rates were tried listen-only; one is proved when frames came at it without errors and at no other.
While two nodes share an identifier, or somebody else asks for diagnosis, the bus is in doubt and is asked
nothing.

Example:
    >>> from device.car_questions import Heard
    >>> heard = Heard(bitrate=500_000, frames=80, errors=0)
    >>> judge((heard, Heard(bitrate=250_000, frames=0, errors=3))).measured
    '500000'

Source: ISO 15765-4:2021 §12.3 (0x7DF, 0x7E0 to 0x7E7 and their 29-bit forms belong to a tester).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.commissioning.sight import Outcome

if TYPE_CHECKING:
    from device.car_questions import Heard

FRAMES_MIN = 10  # at the proved rate; a parked car with the key on says some hundred a second
ERRORS_SHARE = 0.05  # of frames: a wrong rate gives nothing but errors, a bad joint a few
PROFILE_IDS_MIN = 3
TESTER_IDS = frozenset({0x7DF, *range(0x7E0, 0x7E8)})
TESTER_LONG = frozenset({0x18DB33F1, *(0x18DA00F1 | target << 8 for target in range(256))})


def proved(heard: tuple[Heard, ...]) -> Heard | None:
    """Return the one rate that is proved, or None."""
    good = [rate for rate in heard if rate.frames >= FRAMES_MIN and rate.errors <= ERRORS_SHARE * rate.frames]
    return good[0] if len(good) == 1 else None


def judge(heard: tuple[Heard, ...]) -> Outcome:
    """Return how CAN_BITRATE ends."""
    tried = " ".join(str(rate.bitrate) for rate in heard)
    found = proved(heard)
    if found is None:
        most = max((rate.frames for rate in heard), default=0)
        errors = sum(rate.errors for rate in heard)
        code = "CAN_DOUBT" if most >= FRAMES_MIN else "CAN_ERRORS" if errors else "CAN_SILENT"
        return Outcome.fail(code, expected=tried, measured=f"{most} frames, {errors} errors", unit="bit/s")
    if found.conflicts:
        return Outcome.fail("TWO_TALKERS", expected="one length each", measured=_hex(found.conflicts))
    strangers = {can_id for can_id in found.ids if is_testers(can_id)}
    if strangers:
        return Outcome.fail("OTHER_TRACKER", expected="no tester", measured=_hex(strangers))
    return Outcome.passed(expected=tried, measured=str(found.bitrate), unit="bit/s")


def judge_profile(ids: frozenset[int], known: frozenset[int]) -> Outcome:
    """Return how PROFILE ends: enough of what was heard stands in the car's table."""
    both, wanted = ids & known, min(PROFILE_IDS_MIN, len(known))
    measured = f"{len(both)} of {len(ids)} known"
    if not known or len(both) < wanted:
        return Outcome.fail("PROFILE_UNKNOWN", expected=f"{wanted} known", measured=measured)
    return Outcome.passed(expected=f"{wanted} known", measured=measured)


def is_testers(can_id: int) -> bool:
    """Whether an identifier is one that only a tester sends; bit 31 marks an extended one."""
    return can_id & 0x1FFFFFFF in TESTER_LONG if can_id >> 31 else can_id in TESTER_IDS


def _hex(ids: frozenset[int] | set[int]) -> str:
    return " ".join(f"{can_id & 0x1FFFFFFF:X}" for can_id in sorted(ids)[:8])
