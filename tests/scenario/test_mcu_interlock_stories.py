"""Cars on the road, by name: what must never be inhibited, and what must be."""

import pytest

from device.mcu import floors
from device.mcu.lease import Lease
from device.mcu.override import Override
from protocol.orders_vocabulary import LOCKED, OVERRIDDEN
from tests.builders.interlock import Car, fresh_go


def parked_car(start_type: str = "turn-key") -> Car:
    """Return a car that drove, was switched off, whose bus fell asleep, and that stood 700 s."""
    car = Car(start_type=start_type)
    car.drive(60)
    car.stop()
    car.run(5)
    car.switch_off()
    car.run(10)
    car.sleep_bus()
    car.run(700)
    return car


def cranks(car: Car, seconds: int = 2) -> bool:
    """Turn the key; return whether the starter was inhibited, and let it go again."""
    car.ignition = True
    car.run(1)
    car.crank = True
    was_inhibited = car.run(seconds)
    car.crank = False
    car.step()
    assert not car.coil, "no coil without a crank"
    car.ignition = False
    car.step()
    return was_inhibited


def test_a_locked_car_does_not_start_at_the_first_crank_nor_at_the_second() -> None:
    car = parked_car()
    car.lock()
    assert not car.run(60), "no current while nobody cranks"
    assert cranks(car)
    assert cranks(car), "an ignition cycle without a run does not open the drive cycle"
    car.run(30)
    assert cranks(car)


def test_a_car_that_is_not_locked_always_starts() -> None:
    car = parked_car()
    assert not cranks(car)


def test_a_stall_on_a_crossing_is_started_again() -> None:
    car = parked_car()
    car.lock()
    car.drive(120)
    car.stop()
    car.engine = False
    car.run(3)
    assert not cranks(car), "the engine ran a moment ago"
    car.run(500)
    assert not cranks(car)


def test_a_stall_on_a_crossing_never_lets_the_lock_in() -> None:
    car = Car()
    car.drive(120)
    car.stop()
    car.engine = False
    for _ in range(590):
        car.step()
        assert car.code(go=fresh_go()) != "OK"


@pytest.mark.parametrize("pause_s", [1, 60, 590])
def test_stop_start_at_a_light_is_never_inhibited(pause_s: int) -> None:
    car = Car(start_type="one-touch")
    car.order = LOCKED
    for _ in range(3):
        car.drive(30)
        car.stop()
        car.engine = False
        assert not car.run(pause_s)
        car.crank = True
        assert not car.run(2)
        car.crank = False


def test_a_one_touch_start_is_inhibited_for_a_minute_after_ignition_on() -> None:
    car = parked_car("one-touch")
    car.lock()
    car.ignition = True
    assert car.run(1)
    assert car.run(58)
    car.run(2)
    assert not car.run(30)


def test_a_ready_car_is_never_inhibited() -> None:
    car = parked_car("ready")
    car.lock()
    assert not cranks(car)


def test_under_a_roof_wheels_and_accelerometer_are_enough() -> None:
    car = Car()
    car.drive(60)
    car.gnss = [0, 0, 1]
    car.stop()
    car.gnss = [0, 0, 1]
    car.switch_off()
    car.run(10)
    car.sleep_bus()
    car.run(620)
    assert car.code(go=fresh_go()) == "OK"


def test_a_fix_lost_without_a_reason_keeps_the_car_startable() -> None:
    car = parked_car()
    car.gnss = [0, 0, 3]
    car.run(1_200)
    assert car.code(go=fresh_go()) == "SOURCES_INSUFFICIENT"


def test_a_fix_that_is_covered_while_parked_begins_the_window_again() -> None:
    car = parked_car()
    car.gnss = [0, 0, 1]
    car.step()
    assert car.code(go=fresh_go()) == "SOURCES_INSUFFICIENT"
    car.run(599)
    assert car.code(go=fresh_go()) == "IN_MOTION"
    car.run(3)
    assert car.code(go=fresh_go()) == "OK"


def test_a_garage_whose_last_fix_is_half_an_hour_old_is_an_unknown_place() -> None:
    car = parked_car()
    car.zone = [0, 1_800, 3]
    car.step()
    assert car.code(go=fresh_go()) == "OK"
    car.zone = [0, 1_801, 3]
    car.step()
    assert car.code(go=fresh_go()) == "ZONE_UNKNOWN"


def test_a_linux_side_that_lies_parked_does_not_lock_while_the_ignition_wire_is_on() -> None:
    car = parked_car()
    car.ignition = True
    car.step()
    assert car.facts()[7] is True, "it says that the bus sleeps"
    assert car.code(go=fresh_go()) == "IGN_ON"
    car.run(3_600)
    assert car.code(go=fresh_go()) == "IGN_ON"


def test_a_linux_side_that_lies_parked_does_not_lock_a_car_that_shakes() -> None:
    car = parked_car()
    car.accel = "moving"
    car.step()
    assert car.code(go=fresh_go()) == "MOTION_DISAGREE"
    car.accel = None
    car.run(700)
    assert car.code(go=fresh_go()) == "SOURCES_INSUFFICIENT"


def test_a_linux_side_that_fell_silent_locks_nothing() -> None:
    car = parked_car()
    car.now_s += 1
    car.watch.feed(
        car.now_s, car.ignition, car.crank, car.engine, "still", 12_600, car.coil, car.facts(),
        floors.FACTS_AGE_S_MAX + 1,
    )  # fmt: skip
    assert car.code(go=fresh_go()) != "OK"


def test_a_car_towed_away_while_locked_starts_until_it_stood_again() -> None:
    car = parked_car()
    car.lock()
    car.accel = "moving"
    car.run(30)
    assert not cranks(car)
    car.accel = "still"
    car.run(700)
    assert cranks(car)


def test_a_slammed_door_does_not_open_a_lock() -> None:
    car = parked_car()
    car.lock()
    car.accel = "moving"
    car.run(2)
    car.accel = "still"
    car.step()
    assert cranks(car)


def test_to_the_hospital_after_an_emergency_start_and_back_only_through_everything() -> None:
    car = parked_car()
    car.lock()
    lease, override = Lease(floors, car.now_s, 259_200), Override(floors, bytes(32))
    override.begin(bytes(16), 3, 86_400, 0)
    assert cranks(car)
    assert override.by_hand(car.now_s)
    lease.window_opened(car.now_s, override.left_s(car.now_s))
    car.order = OVERRIDDEN
    assert not cranks(car)
    car.drive(1_800)
    car.stop()
    car.switch_off()
    car.zone = [1, 0, 3]
    car.run(700)
    left_s = override.left_s(car.now_s)
    assert car.code(go=fresh_go(), override_left_s=left_s) == "OVERRIDE_ACTIVE"
    assert not cranks(car), "day and night"
    car.now_s += left_s
    car.drive(60)
    assert override.left_s(car.now_s) == 0
    assert not lease.is_over(car.now_s)
    assert car.code(go=fresh_go()) != "OK", "a running engine runs on"
    car.stop()
    car.switch_off()
    car.run(700)
    assert car.code(go=fresh_go()) == "NO_LOCK_ZONE", "at the hospital"
    car.drive(600)
    car.stop()
    car.switch_off()
    car.zone = [0, 0, 3]
    car.run(700)
    assert car.code() == "NO_GO", "and never without a fresh token"
    assert car.code(go=fresh_go()) == "OK"


def test_a_box_that_lost_power_knows_no_ended_drive_cycle() -> None:
    car = Car()
    car.order = LOCKED
    assert not cranks(car)
    car.run(700)
    assert cranks(car)
