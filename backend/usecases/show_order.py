"""What is said of an order: the car's own word or UNKNOWN, and what it waits for.

Rules (README "Bad input"): nothing is ever called locked, or anything else, before the car has signed it.

Example:
    >>> reported_state(order)
    'UNKNOWN'
"""

from backend.domain.order_flow import UNKNOWN, Stage
from backend.store.mcus import Mcu
from backend.store.orders import Order
from protocol.orders import State

_WAITS = {
    Stage.AWAITING_CHECKER: "the checker's signature",
    Stage.AWAITING_LOG: "its place in the log",
    Stage.AWAITING_GATE: "the gate's signature",
    Stage.QUEUED: "the way to the car",
    Stage.SENT: "the car's signed answer",
}


def reported_state(order: Order) -> str:
    """Return what the car has signed about an order, or UNKNOWN."""
    return UNKNOWN if order.in_car is None else order.in_car.name


def car_state(mcu: Mcu) -> str:
    """Return what the car has signed last about its lock, or UNKNOWN."""
    return UNKNOWN if mcu.reported_state is None else State(mcu.reported_state).name


def waits_for(order: Order) -> str | None:
    """Return what has to happen next, or None when nothing is expected."""
    stage = Stage(order.stage)
    if stage is Stage.ANSWERED and order.holds_slot:
        return "the car"
    return _WAITS.get(stage)
