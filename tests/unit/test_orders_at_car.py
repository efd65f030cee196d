"""A code typed or an order handed over at the car: each question gets exactly one answer, come what may."""

from __future__ import annotations

import hashlib

import pytest

from device.at_car import WORDS, AtCar
from device.events import CodeTyped, OrderHandedOver
from device.orders.link import LinkKind, write_map
from protocol import strict_cbor
from protocol.limits import AT_CAR_CODE_S_MAX, AT_CAR_ORDER_S_MAX
from protocol.vectors.orders_good import good_orders
from tests.builders.orders_desk import OrderBox, disposition

DIGITS = "705177246"
UNLOCK, LOCK = good_orders()["unlock/ombuds"][0], good_orders()["lock"][0]


def up() -> OrderBox:
    """A box whose microcontroller is there; no backend is."""
    box = OrderBox()
    box.mcu_up()
    return box


def event(word: str, value: int | None = None) -> bytes:
    return write_map({1: word, 2: 50_000, 3: value})


def link_code(word: str, body: bytes) -> bytes:
    return write_map({1: word, 2: hashlib.sha256(body).digest(), 3: ""})


def words(box: OrderBox) -> list[tuple[int, AtCar]]:
    return [(told.number, told.word) for told in box.told]


def test_the_digits_go_to_the_microcontroller_as_typed_once_and_urgently() -> None:
    box = up()
    box.feed(CodeTyped(number=1, digits=DIGITS))
    box.wait(AT_CAR_CODE_S_MAX + 1)
    assert [strict_cbor.loads(body) for body in box.bodies(LinkKind.OVERRIDE_CODE)] == [{1: DIGITS}]
    assert box.urgent == box.bodies(LinkKind.OVERRIDE_CODE)
    assert words(box) == [(1, AtCar.NO_ANSWER)]
    assert DIGITS not in repr(CodeTyped(number=1, digits=DIGITS))


@pytest.mark.parametrize("word", ["OPENED", "WRONG", "WAIT", "MALFORMED", "NOT_NEEDED", "NONE_LEFT"])
def test_each_word_of_the_microcontroller_is_the_answer_and_only_one(word: str) -> None:
    box = up()
    box.feed(CodeTyped(number=4, digits=DIGITS))
    box.hear(LinkKind.EVENT, event("SERVICE"))
    assert box.told == []
    box.hear(LinkKind.EVENT, event(f"CODE_{word}", 899 if word == "WAIT" else 0))
    box.hear(LinkKind.EVENT, event(f"CODE_{word}"))
    box.wait(AT_CAR_CODE_S_MAX + 1)
    assert words(box) == [(4, AtCar(word))]
    assert box.told[0].wait_s == (899 if word == "WAIT" else None)


def test_a_second_question_waits_for_the_first() -> None:
    box = up()
    box.feed(CodeTyped(number=1, digits=DIGITS))
    box.feed(OrderHandedOver(number=2, message=UNLOCK))
    assert words(box) == [(2, AtCar.CROWDED)]
    box.hear(LinkKind.EVENT, event("CODE_WRONG"))
    box.feed(OrderHandedOver(number=3, message=UNLOCK))
    box.hear(LinkKind.DISPOSITION, disposition(1, UNLOCK))
    assert words(box) == [(2, AtCar.CROWDED), (1, AtCar.WRONG), (3, AtCar.ANSWERED)]


def test_without_a_microcontroller_nothing_is_promised() -> None:
    box = OrderBox()
    box.feed(CodeTyped(number=1, digits=DIGITS))
    box.feed(OrderHandedOver(number=2, message=UNLOCK))
    assert words(box) == [(1, AtCar.MCU_AWAY), (2, AtCar.MCU_AWAY)]
    assert box.disk.image.arrivals == ()


def test_a_line_that_goes_down_ends_a_code_and_keeps_an_order() -> None:
    box = up()
    box.feed(CodeTyped(number=1, digits=DIGITS))
    box.mcu_down()
    assert words(box) == [(1, AtCar.NO_ANSWER)]
    box.mcu_up()
    box.feed(OrderHandedOver(number=2, message=UNLOCK))
    box.mcu_down()
    box.mcu_up()
    box.hear(LinkKind.DISPOSITION, disposition(1, UNLOCK))
    assert words(box)[1:] == [(2, AtCar.ANSWERED)]
    assert len(box.bodies(LinkKind.ORDER)) == 2


def test_a_busy_microcontroller_gets_the_order_again_and_the_code_not() -> None:
    box = up()
    box.feed(OrderHandedOver(number=1, message=UNLOCK))
    box.hear(LinkKind.LINK_CODE, link_code("BUSY", UNLOCK))
    box.wait(6)
    assert len(box.bodies(LinkKind.ORDER)) == 2
    box.hear(LinkKind.DISPOSITION, disposition(1, UNLOCK))
    box.feed(CodeTyped(number=2, digits=DIGITS))
    box.hear(LinkKind.LINK_CODE, link_code("BUSY", write_map({1: DIGITS})))
    box.wait(6)
    assert words(box) == [(1, AtCar.ANSWERED), (2, AtCar.BUSY)]
    assert len(box.bodies(LinkKind.OVERRIDE_CODE)) == 1


@pytest.mark.parametrize("code", ["BAD_SIG", "UNKNOWN_KEY", "HIGH_S", "BAD_ENCODING"])
def test_a_signature_that_is_not_believed_ends_it_at_once(code: str) -> None:
    box = up()
    box.feed(OrderHandedOver(number=1, message=UNLOCK))
    box.hear(LinkKind.LINK_CODE, link_code(code, LOCK))
    assert box.told == []
    box.hear(LinkKind.LINK_CODE, link_code(code, UNLOCK))
    assert [(told.word, told.code) for told in box.told] == [(AtCar.NOT_AUTHENTIC, code)]


def test_a_disposition_about_another_order_is_no_answer() -> None:
    box = up()
    box.feed(OrderHandedOver(number=1, message=UNLOCK))
    box.hear(LinkKind.DISPOSITION, disposition(1, LOCK))
    assert box.told == []
    box.wait(AT_CAR_ORDER_S_MAX + 1)
    assert words(box) == [(1, AtCar.NO_ANSWER)]
    assert len(box.disk.image.arrivals) == 1, "it stays with the box, which presents it on"


def test_what_restricts_or_is_no_order_or_no_bundle_goes_nowhere() -> None:
    box = up()
    box.feed(OrderHandedOver(number=1, message=LOCK))
    box.feed(OrderHandedOver(number=2, message=b"\x00"))
    box.feed(OrderHandedOver(number=3, message=UNLOCK, authority=b"\x00"))
    assert words(box) == [(1, AtCar.NO_RELEASE), (2, AtCar.NO_ORDER), (3, AtCar.NO_BUNDLE)]
    assert box.bodies(LinkKind.ORDER) == []


def test_every_word_has_its_sentences_and_only_three_are_good() -> None:
    assert set(WORDS) == set(AtCar)
    assert {word for word, said in WORDS.items() if said.is_good} == {
        AtCar.OPENED,
        AtCar.NOT_NEEDED,
        AtCar.ANSWERED,
    }
