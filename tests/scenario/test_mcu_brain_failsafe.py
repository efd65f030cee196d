"""The fail-safe table of command-authority §4.7, a row a test: every doubt ends with a car that starts."""

from device.mcu import brain as link
from device.mcu import floors
from protocol import strict_cbor
from protocol.orders import Code, OrderType, State
from protocol.vectors.orders_story import LENDER
from protocol.vectors.orders_story import revocation as lender_revocation
from tests.builders.mcu import PARKED_FACTS, Box

HOUR = 3_600


def starts(box: Box) -> bool:
    box.turn_key(crank=True)
    return box.board.is_running


def keep_in_contact(box: Box, hours: int) -> None:
    for _ in range(hours):
        box.run(HOUR, 60)
        if box.status[11] is not None:
            box.tell_time()


def test_device_power_loss_leaves_the_car_startable() -> None:
    box = Box.locked()
    box.board.lose_power()
    assert not box.board.coil


def test_reset_while_locked_resumes_and_charges_the_measured_off_time() -> None:
    box = Box.locked()
    end = box.brain.lease.end_tick(box.brain.tick)
    tick = box.brain.tick
    box.cut_power(HOUR)
    assert box.state is State.LOCKED
    assert HOUR <= box.brain.tick - tick <= HOUR + 60
    assert box.brain.lease.end_tick(box.brain.tick) == end


def test_each_loss_of_the_rtc_charges_a_day_and_three_end_a_lease_of_72_hours() -> None:
    box = Box.locked()
    for _ in range(2):
        box.cut_power(10, rtc_lost=True)
        assert box.state is State.LOCKED
    box.cut_power(10, rtc_lost=True)
    box.run(4)
    assert box.last.state is State.LEASE_EXPIRED


def test_an_invalid_record_is_unlocked_and_says_so_in_a_new_epoch() -> None:
    box = Box.locked()
    epoch = box.brain.record.epoch
    for index in (0, 1):
        data = box.board.slots[index]
        assert data is not None
        box.board.slots[index] = data[:50] + b"\x00" + data[51:]
    box.cut_power(10)
    assert box.state is State.NONE
    assert (box.last.state, box.last.code, box.last.sequence) == (State.FAULT_RELEASED, Code.MONITOR_ONLY, 1)
    assert box.last.epoch != epoch
    box.run(4)
    assert box.status[4] == 2
    assert starts(box)


def test_three_watchdog_resets_in_ten_minutes_release_and_latch_monitor() -> None:
    box = Box.locked()
    box.reset("watchdog")
    box.run(60)
    box.reset("watchdog")
    assert box.state is State.LOCKED
    box.run(60)
    box.reset("watchdog")
    assert box.last.state is State.FAULT_RELEASED
    box.cut_power(HOUR)
    assert box.brain.record.mode == 2, "until service"
    assert starts(box)


def test_a_dead_agent_arms_nothing_and_24_hours_without_contact_release_with_an_alarm() -> None:
    box = Box.bound()
    box.send_order(box.lock())
    box.hear_warnings()
    box.is_agent_alive = False
    box.run(2_000)
    assert box.state is State.WARNING
    locked = Box.locked()
    locked.is_agent_alive = False
    locked.run(24 * HOUR - 120, 60)
    assert locked.state is State.LOCKED
    locked.run(240, 60)
    assert locked.last.state is State.RELEASED
    assert "CONTACT_LOST" in locked.events()


def test_a_lease_ends_by_itself_within_one_percent() -> None:
    box = Box.locked()
    locked_tick = box.last.tick_s
    keep_in_contact(box, 73)
    assert box.last.state is State.LEASE_EXPIRED
    assert abs(box.last.tick_s - locked_tick - 259_200) <= 2_592
    assert starts(box)


def test_relay_feedback_that_differs_releases_and_latches_monitor() -> None:
    box = Box.locked()
    box.board.sensed_stuck = True
    box.run(6)
    assert box.last.state is State.FAULT_RELEASED
    assert "RELAY" in box.events()
    assert box.status[4] == 2


def test_brown_out_during_crank_forces_the_coil_off() -> None:
    box = Box.locked()
    box.board.is_on = True
    box.step_ms(100)
    box.board.is_cranking = True
    box.step_ms(100)
    assert box.board.coil
    box.board.supply = floors.BROWN_OUT_MV - 1
    box.step_ms(100)
    assert not box.board.coil
    box.board.supply = 12_000
    box.step_ms(100)
    assert not box.board.coil, "not again in this crank"


def test_a_crash_releases_at_once_and_holds_arming_for_72_hours() -> None:
    box = Box.locked()
    box.facts = {**PARKED_FACTS, 9: True}
    box.run(4)
    assert (box.last.state, box.last.code) == (State.FAULT_RELEASED, Code.CRASH_HOLD)
    armed = Box.armed()
    armed.facts = {**PARKED_FACTS, 9: True}
    armed.run(4)
    armed.facts = dict(PARKED_FACTS)
    armed.run(HOUR)
    assert armed.state is State.ACCEPTED_PENDING
    assert armed.status[15] == Code.CRASH_HOLD


def test_an_engine_sensed_running_releases_for_good() -> None:
    box = Box.locked()
    box.board.is_running = True
    box.run(2)
    assert (box.last.state, box.last.code) == (State.FAULT_RELEASED, Code.ENGINE_RUNNING)


def test_a_flash_that_refuses_writes_never_locks_and_releases_what_was_locked() -> None:
    armed = Box.armed()
    armed.board.refuses_writes = True
    armed.send_go()
    armed.run(4)
    assert armed.state is State.NONE
    assert starts(armed)
    locked = Box.locked()
    locked.board.refuses_writes = True
    locked.run(70)
    assert locked.state is State.NONE
    locked.board.refuses_writes = False
    locked.cut_power(10)
    locked.run(700)
    assert locked.state is State.NONE, "the older image does not lock again"


def test_an_old_image_restored_after_the_release_stays_released() -> None:
    box = Box.locked()
    image = list(box.board.slots)
    box.send_order(box.unlock())
    box.board.slots = image
    box.cut_power(10)
    box.run(700)
    assert box.last.state is State.FAULT_RELEASED
    assert starts(box)


def pressed(box: Box) -> Box:
    box.board.is_pressed = True
    box.run(6, 0.5)
    box.board.is_pressed = False
    assert box.state is State.OVERRIDDEN
    return box


def test_an_old_image_takes_no_emergency_window_back() -> None:
    """The image says LOCKED and knows nothing of the press; the box knows, and lets the car go for good."""
    box = Box.locked()
    image = list(box.board.slots)
    pressed(box)
    box.board.slots = image
    box.cut_power(10)
    box.run(700)
    assert box.last.state is State.FAULT_RELEASED
    assert starts(box)


def test_an_image_from_before_the_lock_takes_no_emergency_window_back() -> None:
    """It says ARMED, asks for a token in good faith, and gets one: the window would be over after an hour."""
    box = Box.armed()
    image = list(box.board.slots)
    box.send_go()
    box.run(4)
    pressed(box)
    box.board.slots = image
    box.cut_power(10)
    box.park()
    box.run(900)
    assert box.state is State.NONE
    assert starts(box)


def test_an_image_from_before_a_cancel_brings_no_order_back() -> None:
    box = Box.armed()
    image = list(box.board.slots)
    box.send_order(box.releasing(OrderType.CANCEL, "maker"))
    assert box.state is State.NONE
    box.board.slots = image
    box.cut_power(10)
    assert box.state is State.NONE
    assert starts(box)


def test_a_power_cut_within_a_window_and_after_it_changes_nothing() -> None:
    box = pressed(Box.locked())
    box.cut_power(10)
    box.run(700)
    assert box.state is State.OVERRIDDEN
    box.board.blobs.clear()  # what stands beside the slots is lost: the slots alone are believed
    box.cut_power(10)
    assert box.state is State.OVERRIDDEN
    assert starts(box)


def test_an_old_image_of_an_armed_lock_does_not_lock_by_its_old_token() -> None:
    box = Box.armed()
    image, token = list(box.board.slots), box.go_token()
    box.send_order(box.unlock())
    box.board.slots = image
    box.cut_power(10)
    box.send(link.GO, token)
    box.run(20)
    assert box.state is not State.LOCKED


def test_garbage_never_starves_a_release() -> None:
    box = Box.locked()
    good = box.unlock()
    bad = good[:-1] + bytes([good[-1] ^ 1])
    lock = box.order[:-1] + bytes([box.order[-1] ^ 1])
    for _ in range(40):
        box.send_order(lock)
    assert "BUSY" in box.link_codes()
    for _ in range(40):
        box.send_order(bad)
    box.send_order(good)
    assert box.state is State.NONE


def test_a_maker_revoked_before_arming_ends_the_lock() -> None:
    box = Box.armed()
    data = lender_revocation(1, "person maker-1")
    assert LENDER in box.brain.record.roots
    box.send(link.AUTHORITY, strict_cbor.dumps([3, data]))
    assert box.answers(box.order)[-1] == (State.CANCELLED, Code.KEY_REVOKED)


def test_orders_that_restrict_wait_when_the_agent_journals_nothing_and_a_release_does_not() -> None:
    box = Box.bound()
    for _ in range(10):
        box.send_order(box.query())
    assert "BUSY" in box.link_codes()
    order = box.unlock()
    box.send_order(order)
    assert box.answers(order) == [(State.DONE, Code.OK)]


def test_supply_below_the_limit_keeps_linux_off_while_lease_and_override_run_on() -> None:
    box = Box.locked()
    assert box.board.linux
    box.board.supply = 11_000
    box.run(10)
    assert not box.board.linux
    box.board.is_pressed = True
    box.run(8, 1)
    assert box.state is State.OVERRIDDEN
