"""A parked car as the microcontroller sees it, and a car driven through its trackers second by second."""

from typing import Any

from device.mcu import floors
from device.mcu.guard import Guard
from device.mcu.interlock import Go, judge
from device.mcu.interlock_watch import Watch
from device.mcu.sources import ABSENT, AGREES, Seen
from protocol.orders_vocabulary import LOCKED

MILD = (5, 21)
"""A forecast, °C."""


def parked(**changes: Any) -> Any:
    """Return a `Seen` that may be locked with a fresh go token, with some attributes changed."""
    seen = Seen()
    values: dict[str, Any] = {
        "mode_active": True, "crash_left_s": 0, "rate_left_s": 0, "override_left_s": 0, "warned": 2,
        "ignition": False, "crank": False, "engine": False, "ignition_bus": None, "engine_bus": None,
        "accel": AGREES, "wheel": AGREES, "gnss": ABSENT, "rest_s": 600, "cycle_ended": True, "ran_s": 600,
        "hazard": False, "zone": 0, "zone_age_s": 1_800, "zone_version": 3, "local_minute": 600,
        "business_day": True,
    }  # fmt: skip
    for name, value in (values | changes).items():
        assert hasattr(seen, name), name
        setattr(seen, name, value)
    return seen


def fresh_go(**changes: Any) -> Any:
    """Return a go token's facts: just asked for, mild air."""
    go = Go(changes.pop("age_s", 0), changes.pop("forecast", MILD))
    assert not changes
    return go


class Car:
    """A car with a box, driven second by second.

    What it does now stands in its attributes; `run` lets seconds pass. `order` is the state of its order.
    """

    def __init__(self, *, start_type: str = "turn-key") -> None:
        self.now_s = 1_000
        self.ignition = self.engine = self.crank = False
        self.accel: str | None = "still"
        self.wheel: list[int] | None = [0, 0]
        self.gnss: list[int] | None = [0, 0, 0]
        self.is_bus_asleep = False
        self.bus_speaks = True
        self.zone: list[int] | None = [0, 0, 3]
        self.supply_mv = 12_600
        self.order = 0
        self.start_type = start_type
        self.watch, self.guard = Watch(floors), Guard(floors)
        self.coil = False

    def facts(self) -> dict[int, Any]:
        return {
            1: self.wheel, 2: self.gnss, 3: self.zone, 4: [200, 0], 5: 600, 6: True, 7: self.is_bus_asleep,
            8: False, 9: False, 10: self.ignition if self.bus_speaks else None,
            11: self.engine if self.bus_speaks else None,
        }  # fmt: skip

    def step(self, seconds: int = 1) -> None:
        """Let one step of so many seconds pass and look once."""
        self.now_s += seconds
        self.watch.feed(
            self.now_s, self.ignition, self.crank, self.engine, self.accel, self.supply_mv, self.coil,
            self.facts(), 0,
        )  # fmt: skip
        self.coil = self.guard.coil(
            self.order, self.now_s, self.ignition, self.crank, self.engine, self.watch.moving,
            self.watch.cycle.ended, self.start_type, self.supply_mv,
        )  # fmt: skip

    def run(self, seconds: int) -> bool:
        """Let seconds pass; return whether the coil was energised in any of them."""
        coil = False
        for _ in range(seconds):
            self.step()
            coil = coil or self.coil
        return coil

    def drive(self, seconds: int) -> None:
        self.ignition = self.engine = True
        self.accel, self.wheel, self.gnss, self.is_bus_asleep = "moving", [9_000, 0], [9_000, 0, 0], False
        self.bus_speaks = True
        self.run(seconds)

    def stop(self) -> None:
        """Stand still with the engine running."""
        self.accel, self.wheel, self.gnss = "still", [0, 0], [100, 0, 0]

    def switch_off(self) -> None:
        self.ignition = self.engine = False

    def sleep_bus(self) -> None:
        self.wheel, self.is_bus_asleep, self.bus_speaks = None, True, False

    def code(self, *, go: Any = None, pre: dict[int, Any] | None = None, **changes: Any) -> str:
        """Return what the interlock says now, were all that only the caller knows in order."""
        seen = self.watch.seen(self.now_s)
        known = {"mode_active": True, "crash_left_s": 0, "rate_left_s": 0, "override_left_s": 0, "warned": 2}
        for name, value in (known | changes).items():
            setattr(seen, name, value)
        code, _ = judge(seen, floors, pre, go)
        assert isinstance(code, str)
        return code

    def lock(self) -> None:
        """Lock it, as the firmware does once the interlock says OK."""
        assert self.code(go=fresh_go()) == "OK"
        self.order = LOCKED
