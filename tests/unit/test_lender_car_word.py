"""How a car stands, by its own words: beside a lock other orders speak too, and a car may lose its record."""

import pytest

from backend.lender.car_word import read_dispositions
from backend.lender.cars import Car
from backend.lender.telling import reported
from protocol.ids import cose_key_bytes
from protocol.orders import State
from protocol.vectors.orders_story import CONTRACT, MCU, VIN_BIND
from tests.builders.mcu import Box

CAR = Car(
    device="00" * 32,
    mcu_key=cose_key_bytes(MCU.public_key),
    vin_bind=VIN_BIND,
    contract_ref=CONTRACT,
    jur="ZZ",
)


def shown(box: Box) -> str:
    word = read_dispositions(box.dispositions, CAR)
    return reported(word, cmd_id=None, now_s=box.now_s, language="en").state


@pytest.fixture
def box() -> Box:
    made = Box.locked()
    assert shown(made) == "LOCKED"
    made.acknowledge()
    return made


def test_a_renew_that_waits_or_ends_hides_no_lock(box: Box) -> None:
    box.send_order(box.renew(key_14=box.brain.tick + 600))
    assert shown(box) == "LOCKED"
    box.run(900, 5)
    assert box.state is State.LOCKED
    assert shown(box) == "LOCKED"


def test_a_warn_beside_a_lock_hides_no_lock_and_its_release_shows(box: Box) -> None:
    box.send_order(box.warn())
    assert shown(box) == "LOCKED"
    box.send_order(box.unlock())
    assert shown(box) == "RELEASED"


def test_a_car_that_lost_its_record_is_not_told_as_locked(box: Box) -> None:
    """It does not know the time when it says so: what arrived later is newer."""
    box.board.slots = [b"spoilt" * 20, b"spoilt" * 20]
    box.reset("power")
    box.run(4)
    assert box.last.epoch != box.chain[0].epoch
    assert shown(box) == "FAULT_RELEASED"


def test_an_older_epoch_that_arrives_late_hides_nothing(box: Box) -> None:
    old = list(box.dispositions)
    box.board.slots = [None, None]  # a new board in the same box: provisioned, fitted and told the time again
    box.reset("power")
    box.provision()
    box.give_all()
    box.tell_time()
    box.bind()
    word = read_dispositions([*box.dispositions[len(old) :], *old], CAR)
    assert word.dispositions[-1].latest_s is not None
    assert word.dispositions[0].epoch != box.chain[0].epoch
