"""Doubts found by reading the rules as an enemy: each ends with a car that starts and a true word."""

import pytest

from device.mcu import brain as link
from protocol import strict_cbor
from protocol.orders import Code, State
from protocol.orders_override import code as override_code
from simulators.order_lives.world import K_OVR
from tests.builders.mcu import EPISODE, PARKED_FACTS, Box, PowerCutError

DAY = 86_400


def spoil_newest(box: Box) -> None:
    """Let the sector rot that was written last."""
    slots = box.board.slots
    newest = max((0, 1), key=lambda index: (slots[index] or b"")[4:8])
    data = slots[newest]
    assert data is not None
    slots[newest] = data[:50] + bytes([data[50] ^ 1]) + data[51:]


def test_a_lock_that_could_not_be_written_is_never_said_and_its_release_is_once_the_flash_writes_again() -> (
    None
):
    box = Box.armed()
    box.board.refuses_writes = True
    box.send_go()
    box.send(link.HELLO, b"")
    box.run(60)
    assert State.LOCKED not in [found.state for found in box.chain], "not written, so not said"
    assert "STORAGE" in box.events()
    box.board.refuses_writes = False
    box.run(1_000)
    assert [found.state for found in box.chain[-2:]] == [State.LOCKED, State.FAULT_RELEASED]
    assert box.status[4] == 2


def test_a_go_token_that_comes_after_the_storage_failed_finds_nothing_to_lock() -> None:
    box = Box.armed()
    token = box.go_token()
    box.board.refuses_writes = True
    box.run(70)
    box.send(link.GO, token)
    assert box.state is State.NONE
    assert box.brain.counters["go_of_another_parking"] == 1


def test_an_acknowledgement_drops_no_disposition_that_never_left() -> None:
    box = Box.armed()
    box.board.refuses_writes = True
    box.send_go()
    box.send(link.DISPOSITION_ACK, strict_cbor.dumps({1: 1 << 40}))
    box.board.refuses_writes = False
    box.run(1_000)
    assert box.last.state is State.FAULT_RELEASED


@pytest.mark.parametrize(
    "wild", [{1: [1 << 63, 0]}, {2: [1 << 62, 0, 0]}, {1: [0, 1 << 62]}, {3: [1 << 60, 1, 1]}]
)
def test_a_number_of_the_agent_that_no_disposition_holds_stops_nothing(wild: dict[int, object]) -> None:
    box = Box.locked()
    box.facts = {**PARKED_FACTS, **wild}
    box.board.is_pressed = True
    box.run(8, 1)
    assert box.state is State.OVERRIDDEN
    box.send_order(box.unlock())
    assert box.chain[-2].state is State.RELEASED


def test_a_release_for_lost_contact_says_what_the_sources_said_then_and_not_at_the_lock() -> None:
    box = Box.locked()
    box.board.supply = 12_345
    box.facts = {**PARKED_FACTS, 2: [0, 0, 2]}
    box.run(DAY - 300, 60)
    box.run(360)
    released = next(found for found in box.chain if found.state is State.RELEASED)
    said = {source.name: source for source in released.sources}
    assert said["gnss"].verdict == 4, "jammed"
    assert said["supply"].value == 12_345


def test_a_warn_beside_a_locked_car_does_not_hide_the_lock() -> None:
    box = Box.locked()
    box.send_order(box.warn())
    box.run(4)
    assert box.status[5] == State.LOCKED
    box.ask_challenge()
    assert box.challenge is not None
    assert strict_cbor.loads(strict_cbor.loads(box.challenge[1:])[2])[8] == State.LOCKED


def test_an_unlock_that_waits_beside_the_go_token_goes_first() -> None:
    box = Box.armed()
    token, unlock = box.go_token(), box.unlock()
    box.receive(link.ORDER, unlock)
    box.receive(link.ORDER, unlock)
    box.receive(link.GO, token)
    box.run(20)
    assert State.LOCKED not in [found.state for found in box.chain]
    assert box.answers(box.order)[-1][0] is State.CANCELLED


@pytest.mark.parametrize("how", ["by hand", "by code"])
def test_an_emergency_start_stands_in_both_slots(how: str) -> None:
    box = Box.locked()
    if how == "by hand":
        box.board.is_pressed = True
        box.run(8, 1)
        box.board.is_pressed = False
    else:
        box.send(link.OVERRIDE_CODE, strict_cbor.dumps({1: override_code(K_OVR, EPISODE, 1)}))
    assert box.state is State.OVERRIDDEN
    spoil_newest(box)
    box.cut_power(10)
    assert box.state is State.OVERRIDDEN, "the older slot does not lock the car again"


def test_the_end_of_a_lock_stands_in_both_slots_even_without_the_blob() -> None:
    box = Box.locked()
    box.send_order(box.unlock())
    spoil_newest(box)
    box.board.blobs.clear()
    box.cut_power(10)
    box.run(700)
    assert box.state is State.NONE


def test_another_window_of_the_same_lease_is_a_disposition_too() -> None:
    box = Box.locked()
    box.send(link.OVERRIDE_CODE, strict_cbor.dumps({1: override_code(K_OVR, EPISODE, 1)}))
    for _ in range(25):
        box.run(3_600, 60)
        if box.status[11]:
            box.tell_time()
    assert box.state is State.OVERRIDDEN
    box.board.is_pressed = True
    box.run(8, 1)
    assert (box.last.state, box.last.code, box.last.overrides_used) == (
        State.OVERRIDDEN,
        Code.OVERRIDE_ACTIVE,
        2,
    )


def test_a_locked_record_without_a_lease_is_a_doubt_and_is_released() -> None:
    box = Box.locked()
    box.brain.lease = None
    box.brain.commit()
    box.reset("soft")
    assert box.last.state is State.FAULT_RELEASED


def test_a_record_whose_parts_another_firmware_kept_otherwise_is_lost_and_not_a_loop_of_resets() -> None:
    box = Box.locked()
    record = box.brain.record
    record.lease, record.holds = [1, 2], [1, 2, 3]
    assert box.brain.store.save(record.dump())
    assert box.brain.store.save(record.dump())
    box.reset("watchdog")
    assert (box.last.state, box.last.code) == (State.FAULT_RELEASED, Code.MONITOR_ONLY)
    assert box.brain.record.mode == 2


@pytest.mark.parametrize("at", range(0, 60, 3))
def test_a_crash_that_tears_the_battery_off_leaves_the_hold_or_was_never_seen(at: int) -> None:
    box = Box.armed()
    box.facts = {**PARKED_FACTS, 9: True}
    box.board.cut_after = at
    try:
        box.run(2)
    except PowerCutError:
        was_released = box.board.coil is False
        assert was_released
    box.facts = dict(PARKED_FACTS)
    box.cut_power(10)
    held = box.brain.holds.crash_left_s(box.brain.tick) > 0
    assert held or Code.CRASH_HOLD not in [found.code for found in box.chain], "what was said was held before"


def test_a_crash_is_written_before_it_is_signed() -> None:
    box = Box.armed()
    box.facts = {**PARKED_FACTS, 9: True}
    sign = box.brain.key.sign
    held: list[bool] = []

    class TornError(Exception):
        pass

    def torn(_message: bytes) -> bytes:
        held.append(box.brain.saved_tick == box.brain.tick)
        raise TornError

    box.brain.key.sign = torn
    with pytest.raises(TornError):
        box.run(2)
    box.brain.key.sign = sign
    box.cut_power(1)
    assert held == [True]
    assert box.brain.holds.crash_left_s(box.brain.tick) > 0


def test_an_agent_that_journals_nothing_gets_no_car_armed() -> None:
    box = Box.bound()
    box.order = box.lock()
    box.send_order(box.order)
    for _ in range(7):
        box.send_order(box.query())
    box.hear_warnings()
    box.run(2_000)
    assert box.state is State.WARNING
    box.acknowledge()
    box.run(10)
    assert box.state is State.ARMED


def test_linux_stays_on_after_a_release_until_it_could_be_said() -> None:
    box = Box.locked()
    box.run(400 - box.brain.tick % 21_600 if box.brain.tick % 21_600 < 400 else 2)
    box.send_order(box.unlock())
    box.run(200)
    assert box.board.linux
    box.run(200)
    assert not box.board.linux


def test_a_bouncing_ignition_wire_is_not_two_cycles_on_which_it_was_warned() -> None:
    box = Box.bound()
    box.send_order(box.lock())
    for _ in range(6):
        box.board.is_on = True
        box.step_ms(100)
        box.step_ms(100)
        box.board.is_on = False
        box.step_ms(100)
    assert box.brain.warnings.heard_cycles == 0


def test_no_unsigned_word_of_the_agent_sounds_in_a_bound_car() -> None:
    """C-03, S-09: a warning has the same authority as a lock, and the night is quiet."""
    box = Box.bound()
    box.board.is_on = True
    for _ in range(5):
        box.send(link.INDICATE, strict_cbor.dumps({1: 15, 2: 30, 3: True}))
        for _ in range(30):
            box.run(1, 1)
            assert not box.board.warn
