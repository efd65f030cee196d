"""What the microcontroller does for its fitter: proof of wires and relay, signatures, a lamp, a way back."""

import contextlib
import copy
from typing import Any

import pycddl
import pytest

from device.mcu import brain as link
from device.mcu import floors_demo
from device.mcu.floors import SERVICE_S
from device.mcu.record import Record
from protocol import cose_sign, strict_cbor
from protocol.envelope import Kind, open_sign1
from protocol.install_report import Commissioning, open_commissioning
from protocol.orders import Code, OrderSigner, OrderType, Role, SignKind, State, encode_order, sign_part
from protocol.vectors import generate
from protocol.vectors.keys import published_lookup
from protocol.vectors.orders_story import JURISDICTION, MCU, signer
from simulators.order_lives.world import FIRMWARE
from tests.builders.mcu import Box, PowerCutError
from tests.scenario.test_mcu_brain_fitting import bench, fitted

RECORD_HASH = bytes(range(32))
CDDL = (generate.FOLDER.parent / "tbox-v1.cddl").read_text(encoding="utf-8")


def ask(box: Box, kind: int, body: bytes) -> dict[int, Any] | str:
    """Ask for a part; return it, or the word of the link code."""
    sent = box.send(link.PART_QUESTION, strict_cbor.dumps({1: 1, 2: kind, 3: body}))
    found = [(kind, strict_cbor.loads(body)) for kind, body in sent if kind in (link.PART, link.LINK_CODE)]
    assert len(found) == 1
    kind, fields = found[0]
    return dict(fields) if kind == link.PART else str(fields[1])


def bind_fields(box: Box) -> dict[int, object]:
    chal = box.ask_challenge()
    return box.common(OrderType.BIND) | {
        12: box.now_s + 3_600,
        13: chal,
        14: box.brain.tick + 3_600,
        18: JURISDICTION,
        25: None,
    }


def said(box: Box, digest: bytes = RECORD_HASH) -> Commissioning:
    part = ask(box, 0, digest)
    assert isinstance(part, dict), part
    assert part[3] == digest
    return open_commissioning(part[6], published_lookup("mcu-1"))


def press(box: Box, seconds: float) -> None:
    box.board.is_pressed = True
    box.run(seconds, 0.5)
    box.board.is_pressed = False
    box.run(2, 0.5)


# --- Parts of signatures ------------------------------------------------------------------------------------


def test_the_part_of_a_bind_beside_the_others_binds_the_car() -> None:
    box = fitted()
    payload = encode_order(bind_fields(box))
    part = ask(box, 11, payload)
    assert isinstance(part, dict), part
    own = (part[4], part[5])
    assert own[0] == sign_part(SignKind.COMMAND, payload, OrderSigner(signer=MCU, role=Role.MCU))[0]
    others = [sign_part(SignKind.COMMAND, payload, signer(name)) for name in ("installer", "gate")]
    order = bytes(cose_sign.write_sign(payload, [own, *others]))
    box.send_order(order)
    assert box.answers(order) == [(State.DONE, Code.OK)]
    assert box.brain.record.mode == 1
    assert ask(box, 11, payload) == "WRONG_MODE", "a bound car signs no second bond"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({5: bytes(32)}, "WRONG_MODE"),
        ({8: bytes(16)}, "WRONG_MODE"),
        ({3: int(OrderType.UNLOCK)}, "WRONG_MODE"),
    ],
)
def test_it_signs_no_bond_of_another_device_or_epoch_and_no_other_order(
    change: dict[int, object], word: str
) -> None:
    box = fitted()
    fields = bind_fields(box)
    payload = cose_sign.read_sign(box.unlock())[0] if 3 in change else encode_order(fields | change)
    assert ask(box, 11, payload) == word


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"\xa0",
        strict_cbor.dumps({1: 1, 2: 11}),
        strict_cbor.dumps({1: 1, 2: 11, 3: "text"}),
        bytes(3_000),
    ],
)
def test_a_question_that_is_none_is_refused(body: bytes) -> None:
    box = fitted()
    box.send(link.PART_QUESTION, body)
    assert box.link_codes()[-1] == "BAD_ENCODING"


def test_a_flood_of_questions_gets_busy_and_costs_no_more_than_the_bucket() -> None:
    box = fitted()
    words = [ask(box, 0, RECORD_HASH) for _ in range(40)]
    assert words.count("BUSY") > 10


def test_an_empty_device_signs_nothing() -> None:
    assert ask(Box(), 0, RECORD_HASH) == "WRONG_MODE"


# --- What it saw --------------------------------------------------------------------------------------------


def test_the_record_is_signed_with_what_was_seen_also_after_a_reset() -> None:
    box = fitted()
    order = bench(box, 100)
    box.send_order(order)
    box.run(2, 0.5)
    assert box.board.coil
    box.board.is_on = box.board.is_cranking = True
    box.run(4, 0.5)
    box.board.is_cranking = False
    box.run(2, 0.5)
    box.board.is_on = False
    press(box, 2)
    while box.board.coil:
        box.run(1, 0.5)
    box.run(10)
    box.reset("power")
    found = said(box)
    (seen,) = found.benches
    assert seen.cmd_id == strict_cbor.loads(cose_sign.read_sign(order)[0])[2]
    assert 85 <= seen.held_s <= 100
    assert 3 <= seen.crank_s <= 4
    assert (seen.starts, seen.engine_s) == (0, 0)
    assert found.mcu_id == MCU.kid
    assert found.epoch == box.brain.record.epoch
    assert found.firmware == FIRMWARE
    ignition, crank, engine, button = found.moved
    assert (ignition, crank, engine, button) == (True, True, False, True)
    assert box.status[19][0][1] == seen.held_s


def test_a_start_while_held_is_told_and_an_engine_that_stops_ends_the_bench_at_once() -> None:
    box = fitted()
    box.send_order(bench(box, 100))
    box.run(2, 0.5)
    box.board.is_on, box.board.is_running = True, True
    box.run(5, 0.5)
    assert box.board.coil
    box.board.is_running = False
    box.step_ms(50)
    assert not box.board.coil
    box.run(2, 0.5)
    assert "BENCH_ENGINE_STOPPED" in box.events()
    (seen,) = said(box).benches
    assert seen.starts == 1
    assert 3 <= seen.engine_s <= 5


def test_an_idling_engine_that_shakes_the_box_ends_no_bench_and_wheels_do() -> None:
    box = fitted()
    box.board.is_on = box.board.is_running = True
    box.board.acceleration = "moving"
    box.run(10, 0.5)
    box.send_order(bench(box, 100))
    box.run(20, 0.5)
    assert box.board.coil
    assert box.facts is not None
    box.facts[1] = [2_000, 0]
    box.run(1, 0.5)
    assert not box.board.coil
    (seen,) = said(box).benches
    assert seen.starts == 0
    assert seen.engine_s >= 19


def test_while_it_is_fitted_a_question_gets_a_challenge_that_a_bench_still_has_time_for() -> None:
    """Asked for and not used in time: else the fitter would wait a day for the next one."""
    box = fitted()
    late = bench(box, 60)
    box.run(200)
    box.send_order(late)
    assert box.answers(late)[0][0] is State.REJECTED
    box.send_order(bench(box, 60))
    box.run(2)
    assert box.board.coil
    bound = Box.bound()
    first = bound.ask_challenge()
    bound.run(200)
    assert bound.ask_challenge() == first, "people sign for minutes, and every question gets the same"


def test_the_last_four_benches_stay() -> None:
    box = fitted()
    for _ in range(6):
        box.run(70)
        box.send_order(bench(box, 30))
        box.run(40)
    assert len(said(box).benches) == 4


def test_the_record_can_be_signed_for_an_hour_after_the_bond_and_no_longer() -> None:
    box = fitted()
    box.bind()
    assert said(box).record_sha256 == RECORD_HASH
    box.run(3_500, 10)
    assert said(box).record_sha256 == RECORD_HASH
    box.run(200, 10)
    assert ask(box, 0, RECORD_HASH) == "WRONG_MODE"


def test_status_says_what_the_wires_are() -> None:
    box = fitted()
    box.board.is_on = box.board.is_pressed = True
    box.run(2)
    assert box.status[18] == [12_600, True, False, False, "still", True]


def test_a_record_of_the_firmware_before_is_still_one() -> None:
    fields = strict_cbor.loads(Record().dump(), 24_576, 8)
    del fields[29]
    assert Record.load(strict_cbor.dumps(fields)) is not None


# --- The way back -------------------------------------------------------------------------------------------


def decommissioned() -> Box:
    box = Box.bound()
    box.send_order(box.releasing(OrderType.DECOMMISSION, "maker", "gate"))
    box.acknowledge()
    assert box.brain.record.mode == 2
    return box


def test_after_pay_off_the_button_brings_the_box_back_in_a_new_epoch_and_it_can_be_bound() -> None:
    box = decommissioned()
    before = box.brain.record.epoch
    press(box, SERVICE_S + 2)
    record = box.brain.record
    assert (record.mode, record.latched, record.binding) == (0, None, None)
    assert record.epoch != before
    box.reset("power")
    assert box.brain.record.mode == 0
    box.counters = [0, 0, 0]
    for name in ("authority/lender", "delegation/gate", "delegation/installer"):
        box.give(name)
        box.run(40)


def test_a_fault_is_over_once_a_person_was_there_and_a_car_can_be_locked_again() -> None:
    box = fitted()
    box.board.sensed_stuck = False
    box.send_order(bench(box, 60))
    box.run(6)
    assert box.brain.record.latched == "RELAY"
    box.board.sensed_stuck = None
    box.acknowledge()
    press(box, SERVICE_S + 2)
    assert (box.brain.record.mode, box.brain.record.latched) == (0, None)


@pytest.mark.parametrize("state", ["bound", "locked"])
def test_never_from_active(state: str) -> None:
    box = Box.bound() if state == "bound" else Box.locked()
    epoch = box.brain.record.epoch
    press(box, 3 * SERVICE_S)
    assert box.brain.record.mode == 1
    assert box.brain.record.epoch == epoch


def test_not_shorter_nor_with_the_ignition_on_nor_by_a_button_that_was_never_free() -> None:
    box = decommissioned()
    press(box, SERVICE_S - 2)
    box.board.is_on = True
    box.run(2)
    press(box, SERVICE_S + 5)
    box.board.is_on = False
    box.run(2)
    assert box.brain.record.mode == 2
    box.board.is_pressed = True
    box.reset("power")
    box.run(5 * SERVICE_S, 0.5)
    assert box.brain.record.mode == 2


def test_not_before_all_that_was_signed_is_acknowledged() -> None:
    box = Box.bound()
    box.send_order(box.releasing(OrderType.DECOMMISSION, "maker", "gate"))
    press(box, SERVICE_S + 2)
    assert box.brain.record.mode == 2
    assert "SERVICE_REFUSED" in box.events()


def test_a_power_cut_at_any_call_of_the_way_back_leaves_the_old_state_or_the_new() -> None:
    ready = decommissioned()
    ready.board.is_pressed = True
    ready.run(SERVICE_S - 1, 0.5)
    before = ready.brain.record.epoch
    found = set()
    for calls in range(0, 120, 3):
        box = copy.deepcopy(ready, {id(ready.floors): ready.floors})
        box.board.cut_after, box.board.torn_bytes = calls, 7 * calls
        with contextlib.suppress(PowerCutError):
            box.run(2, 0.5)
        box.board.is_pressed = False
        box.reset("power")
        record = box.brain.record
        is_new = record.epoch != before
        assert (record.mode, record.binding, record.latched) == (0 if is_new else 2, None, None)
        assert not box.board.coil
        found.add(is_new)
    assert found == {False, True}


def test_a_hybrid_that_only_measures_stays_with_its_lender() -> None:
    box = Box()
    box.provision(start_type="ready")
    box.run(4)
    box.tell_time()
    box.give_all()
    box.bind()
    box.acknowledge()
    press(box, SERVICE_S + 2)
    assert box.brain.record.mode == 2
    assert box.brain.record.binding is not None


def test_an_image_from_before_the_way_back_brings_no_lender_back() -> None:
    """Both slots hold the new epoch: one that rots does not bring the old one back."""
    box = decommissioned()
    press(box, SERVICE_S + 2)
    epoch = box.brain.record.epoch
    for index in (0, 1):
        kept = list(box.board.slots)
        box.board.slots[index] = b"rotten"
        box.reset("power")
        assert (box.brain.record.mode, box.brain.record.epoch) == (0, epoch)
        box.board.slots = kept


# --- The lamp -----------------------------------------------------------------------------------------------


def show(box: Box, **fields: object) -> None:
    box.send(link.INDICATE, strict_cbor.dumps({int(key[1:]): value for key, value in fields.items()}))


def test_the_lamp_shows_its_pattern_for_its_seconds_and_the_buzzer_only_where_it_may() -> None:
    box = fitted()
    show(box, k1=5, k2=2, k3=True)
    levels = []
    for _ in range(40):
        box.step_ms(50)
        levels.append((box.board.lamp, box.board.warn))
    assert (True, True) in levels
    assert (False, False) in levels
    assert all(lamp == buzzer for lamp, buzzer in levels)
    box.run(3)
    assert not box.board.lamp
    assert not box.board.warn
    bound = Box.bound()
    show(bound, k1=15, k2=30, k3=True)
    bound.step_ms(50)
    assert bound.board.lamp
    assert not bound.board.warn, "a parked, bound car makes no noise"


def test_the_lamp_never_moves_the_coil_and_takes_no_nonsense() -> None:
    box = fitted()
    coils = len(box.board.coil_log)
    show(box, k1=16, k2=5)
    show(box, k1=1, k2=31)
    show(box, k1=1, k2=5, k3=1)
    show(box, k1=1)
    assert box.brain.counters["indications_refused"] == 4
    assert not box.board.lamp
    show(box, k1=15, k2=5)
    assert box.board.lamp
    show(box, k1=0, k2=0)
    box.step_ms(50)
    assert not box.board.lamp
    assert len(box.board.coil_log) == coils


def test_a_warning_goes_before_any_pattern_and_is_heard_as_ever() -> None:
    box = Box.bound()
    order = box.lock()
    box.send_order(order)
    box.board.is_on = True
    show(box, k1=5, k2=30, k3=True)
    box.run(3, 0.5)
    assert box.board.warn
    show(box, k1=5, k2=30, k3=True)
    box.step_ms(300)
    assert box.board.warn
    assert not box.board.lamp
    assert box.brain.warnings.heard_cycles == 1


def test_both_images_have_the_same_hand() -> None:
    assert floors_demo.SERVICE_S == SERVICE_S > floors_demo.BUTTON_S


def test_commissioning_is_bound_to_its_kind() -> None:
    box = fitted()
    part = ask(box, 0, RECORD_HASH)
    assert isinstance(part, dict)
    message = open_sign1(part[6], Kind.COMMISSIONING, published_lookup("mcu-1"), max_bytes=2_048)
    assert message.kid == MCU.kid


# --- Forms --------------------------------------------------------------------------------------------------


def conforms(rule: str, data: bytes) -> bool:
    try:
        pycddl.Schema(f"start = {rule}\n{CDDL}").validate_cbor(data)
    except pycddl.ValidationError:
        return False
    return True


def test_what_goes_over_the_line_is_of_the_published_forms() -> None:
    box = fitted()
    payload = encode_order(bind_fields(box))
    for kind, body in ((11, payload), (0, RECORD_HASH)):
        question = strict_cbor.dumps({1: 1, 2: kind, 3: body})
        assert conforms("part-question", question)
        sent = box.send(link.PART_QUESTION, question)
        (part,) = [body for kind, body in sent if kind == link.PART]
        assert conforms("part", part)
        assert not conforms("part", strict_cbor.dumps(strict_cbor.loads(part) | {9: 1}))
    assert conforms("indicate", strict_cbor.dumps({1: 15, 2: 30}))
    assert not conforms("indicate", strict_cbor.dumps({1: 16, 2: 30}))
    assert not conforms("part-question", strict_cbor.dumps({1: 1, 2: 0, 3: bytes(31)}))
