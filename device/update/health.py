"""Whether an update may begin, and whether the car is afterwards what it was before.

Rules: compared is with the same car before, never with an ideal: a car that had no fix in its garage needs
none now. At rest everything but frames is judged; frames only after the bus has been awake long enough, and
then every identifier that was there must be there. What is not known lets nothing begin and confirms nothing.

It asks no clock and reads no file.

Example:
    >>> lacks_at_rest(Health(has_fix=True), Health(), image="")
    [<Lack.NO_FIX: 'NO_FIX'>]
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.update.forms import Health, Lack, Wait
from protocol.limits import UPDATE_AWAKE_HEALTH_S, UPDATE_DRAIN_MV_H_MORE, UPDATE_SUPPLY_MV_MIN

if TYPE_CHECKING:
    from device.update.forms import Car


def why_waiting(car: Car | None) -> list[Wait]:
    """Return everything that keeps an update from beginning; empty when nothing does."""
    if car is None:
        return [Wait.UNKNOWN]
    waits = [Wait.MCU_SILENT] if not car.is_mcu_up else []
    known = (car.is_ignition_on, car.is_moving, car.supply_mv, car.is_order_open)
    if any(value is None for value in known):
        waits.append(Wait.UNKNOWN)
    if car.is_ignition_on:
        waits.append(Wait.IGNITION_ON)
    if car.is_moving:
        waits.append(Wait.MOVING)
    if car.supply_mv is not None and car.supply_mv < UPDATE_SUPPLY_MV_MIN:
        waits.append(Wait.SUPPLY_LOW)
    if car.is_order_open:
        waits.append(Wait.ORDER_OPEN)
    return waits


def may_go_back(car: Car | None) -> bool:
    """Whether a release may go back now. A car of which nothing is known may: the board itself refuses."""
    return car is None or not (car.is_ignition_on or car.is_moving or car.is_order_open)


def lacks_at_rest(before: Health, now: Health, *, image: str) -> list[Lack]:
    """Return what worked before and does not now, frames left out.

    Args:
        before: the same car before the update.
        now: and after it.
        image: measurement that the microcontroller must say, hex; empty when it need not say any.
    """
    lacks: list[Lack] = []
    if before.firmware is not None and now.firmware is None:
        lacks.append(Lack.MCU_SILENT)
    if now.firmware is not None and image and now.firmware != image:
        lacks.append(Lack.MCU_OTHER_IMAGE)
    if before.is_read_back and not now.is_read_back:
        lacks.append(Lack.NO_READ_BACK)
    if before.has_fix and not now.has_fix:
        lacks.append(Lack.NO_FIX)
    if before.is_receipted and not now.is_receipted:
        lacks.append(Lack.NO_RECEIPT)
    return lacks


def lacks_awake(before: Health, now: Health) -> list[Lack] | None:
    """Return what is missing of the frames; None while the bus has not been awake for long enough."""
    if not before.ids:
        return []
    if now.awake_s < UPDATE_AWAKE_HEALTH_S:
        return None
    return [] if before.ids <= now.ids else [Lack.FRAMES_MISSING]


def drains(before: Health, now: Health) -> bool:
    """Whether the supply falls faster than before; not when either is unknown."""
    if before.drain_mv_h is None or now.drain_mv_h is None:
        return False
    return now.drain_mv_h > before.drain_mv_h + UPDATE_DRAIN_MV_H_MORE
