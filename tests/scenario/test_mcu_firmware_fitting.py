"""The real firmware on the real MicroPython while a car is fitted: benches, parts, the lamp, the way back."""

from pathlib import Path
from typing import Any

import pytest

from device.mcu import brain as link
from device.mcu.floors import SERVICE_S
from firmware_tools.image import Floors, build
from protocol import cose_sign, strict_cbor
from protocol.install_report import open_commissioning
from protocol.orders import OrderType, SignKind, encode_order, sign_order, sign_part
from protocol.vectors.keys import published_lookup
from protocol.vectors.orders_good import ticket
from protocol.vectors.orders_story import JURISDICTION, MCU, signer
from tests.builders.mcu_process import ON_FACTS, PARKED_FACTS, ProcessBox

RECORD_HASH = bytes(range(32))
pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build(tmp_path_factory.mktemp("mcu") / "image", Floors.DEMO).folder


def fitted(box: ProcessBox) -> None:
    box.provision()
    box.run(2)
    box.tell_time()
    for name in ("authority/platform", "authority/lender", "delegation/gate", "delegation/installer"):
        box.give(name)
        box.run(14)


def hold(box: ProcessBox, seconds: int) -> None:
    """Send a BENCH; its seconds count from the challenge, ten of them go with asking for it."""
    chal = box.ask_challenge()
    assert box.challenge is not None
    tick = strict_cbor.loads(cose_sign.read_sign1(box.challenge)[2])[5]
    fields = box.common(OrderType.BENCH) | {12: box.now_s + 100, 13: chal, 14: tick + 110}
    fields |= {25: ticket(key_4=chal, key_5=seconds, key_6=box.now_s)}
    kept = {key: value for key, value in fields.items() if key not in (4, 6, 7)}
    box.send_order(sign_order(kept, signer("installer")))
    box.run(1)


def part(box: ProcessBox, kind: int, body: bytes) -> dict[int, Any]:
    box.send(link.PART_QUESTION, strict_cbor.dumps({1: 1, 2: kind, 3: body}))
    box.run(1)
    found = [body for kind, body in box.received if kind == link.PART]
    return dict(strict_cbor.loads(found[-1]))


def prove_the_relay(box: ProcessBox) -> None:
    """Held: no start; free: it starts; running: it goes on with the coil held."""
    car = box.hardware.car
    hold(box, 40)
    assert car.coil
    assert not box.tries_to_start()
    while car.coil:
        box.run(1)
    assert box.tries_to_start()
    box.run(8)
    car.turn_on()
    box.facts = dict(ON_FACTS)
    car.crank()
    box.run(1)
    car.let_go()
    hold(box, 30)
    box.run(5)
    assert car.coil
    assert car.engine_runs
    car.turn_off()
    box.run(0.2)
    assert not car.coil, "an engine that stops ends the bench"
    box.facts = dict(PARKED_FACTS)
    box.run(70)


def bind_by_parts(box: ProcessBox) -> None:
    chal = box.ask_challenge()
    fields = box.common(OrderType.BIND) | {12: box.now_s + 3_600, 13: chal, 14: box.brain.tick + 3_600}
    payload = encode_order(fields | {18: JURISDICTION, 25: None})
    own = part(box, 11, payload)
    others = [sign_part(SignKind.COMMAND, payload, signer(name)) for name in ("installer", "gate")]
    box.send_order(bytes(cose_sign.write_sign(payload, [(own[4], own[5]), *others])))
    box.run(2)
    assert box.brain.record.mode == 1


def pay_off(box: ProcessBox) -> None:
    box.give("delegation/maker")
    box.run(14)
    box.acknowledge()
    box.send_order(box.releasing(OrderType.DECOMMISSION, "maker", "gate"))
    box.run(3)
    box.acknowledge()
    assert box.brain.record.mode == 2


def test_a_car_is_proved_bound_paid_off_and_fitted_again(image: Path, tmp_path: Path) -> None:
    with ProcessBox(image, tmp_path / "flash") as box:
        fitted(box)
        prove_the_relay(box)
        bind_by_parts(box)
        said = open_commissioning(part(box, 0, RECORD_HASH)[6], published_lookup("mcu-1"))
        held, running = said.benches
        assert (held.starts, held.engine_s, held.is_contact_open_seen) == (0, 0, True)
        assert held.crank_s >= 1
        assert running.engine_s >= 4
        assert (said.mcu_id, said.record_sha256, said.is_demo) == (MCU.kid, RECORD_HASH, True)
        assert said.moved[:3] == (True, True, True)
        pay_off(box)
        epoch = box.brain.record.epoch
        box.press_button(SERVICE_S + 2)
        assert box.brain.record.mode == 0
        assert box.brain.record.epoch != epoch
        box.power_back()
        assert box.brain.record.mode == 0


def test_the_lamp_blinks_and_the_buzzer_sounds_for_its_seconds(image: Path, tmp_path: Path) -> None:
    with ProcessBox(image, tmp_path / "flash") as box:
        box.send(link.INDICATE, strict_cbor.dumps({1: 5, 2: 3, 3: True}))
        seen = set()
        for _ in range(20):
            box.run(0.1)
            seen.add((box.hardware.car.lamp, box.hardware.car.warn))
        assert seen == {(True, True), (False, False)}
        box.run(2)
        assert not box.hardware.car.lamp
        assert not box.hardware.car.warn
