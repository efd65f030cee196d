"""When an update begins, what it is compared with, and what makes it go back."""

from __future__ import annotations

from dataclasses import replace

import pytest

from device.update.forms import (
    Car,
    Health,
    Lack,
    McuResult,
    Outcome,
    Record,
    Slot,
    Stage,
    Wait,
    read_record,
    write_record,
)
from device.update.health import lacks_at_rest, lacks_awake, why_waiting
from device.update.transaction import Boot, Fetched, Keep, Look, McuWritten, StopAgent, Told, Transaction
from protocol.errors import ProtocolError
from tests.builders.update_world import FREE, IDS, NEW, OLD, image

GOOD = Health(
    firmware=image(OLD),
    is_read_back=True,
    has_fix=True,
    is_receipted=True,
    ids=IDS,
    awake_s=100,
    drain_mv_h=10,
)
AFTER = replace(GOOD, firmware=image(NEW))
SLOT = Slot(release=NEW, mcu=NEW, measurement=image(NEW), floor=NEW)


def staged() -> Transaction:
    keeper = Transaction(Record(confirmed=OLD, measurement=image(OLD)))
    keeper.handle(Boot(), 0)
    keeper.handle(Fetched(SLOT), 0)
    return keeper


def on_trial(before: Health = GOOD) -> Transaction:
    keeper = staged()
    keeper.handle(Look(FREE, before), 1)
    keeper.handle(McuWritten(McuResult.DONE), 20)
    assert keeper.record.stage is Stage.TRIAL
    return keeper


@pytest.mark.parametrize(
    ("changes", "wait"),
    [
        ({"is_ignition_on": True}, Wait.IGNITION_ON),
        ({"is_moving": True}, Wait.MOVING),
        ({"supply_mv": 12_199}, Wait.SUPPLY_LOW),
        ({"is_order_open": True}, Wait.ORDER_OPEN),
        ({"is_mcu_up": False}, Wait.MCU_SILENT),
        ({"is_ignition_on": None}, Wait.UNKNOWN),
        ({"is_moving": None}, Wait.UNKNOWN),
        ({"supply_mv": None}, Wait.UNKNOWN),
        ({"is_order_open": None}, Wait.UNKNOWN),
    ],
)
def test_each_condition_alone_keeps_an_update_from_beginning(changes: dict[str, object], wait: Wait) -> None:
    car = replace(FREE, **changes)  # type: ignore[arg-type]
    keeper = staged()
    assert keeper.handle(Look(car, GOOD), 1) == []
    assert keeper.waits == why_waiting(car) == [wait]
    assert keeper.record.stage is Stage.STAGED
    assert keeper.handle(Look(FREE, GOOD), 2)[0] == StopAgent()


def test_a_car_of_which_nothing_is_heard_waits() -> None:
    keeper = staged()
    assert keeper.handle(Look(None, None), 1) == []
    assert keeper.waits == [Wait.UNKNOWN]
    assert keeper.handle(Look(FREE, None), 2) == []  # nothing to compare with
    assert why_waiting(Car()) == [Wait.MCU_SILENT, Wait.UNKNOWN]


def test_a_release_is_confirmed_only_by_the_same_car() -> None:
    keeper = on_trial()
    assert isinstance(keeper.handle(Look(FREE, AFTER), 21)[0], Keep)
    assert (keeper.record.confirmed, keeper.record.floor, keeper.record.stage) == (NEW, NEW, Stage.IDLE)
    assert keeper.record.untold == ((NEW, Outcome.CONFIRMED),)
    keeper.handle(Told(1), 22)
    assert keeper.record.untold == ()


@pytest.mark.parametrize(
    ("changes", "lack"),
    [
        ({"firmware": None}, Lack.MCU_SILENT),
        ({"firmware": image(OLD)}, Lack.MCU_OTHER_IMAGE),
        ({"is_read_back": False}, Lack.NO_READ_BACK),
        ({"has_fix": False}, Lack.NO_FIX),
        ({"is_receipted": False}, Lack.NO_RECEIPT),
    ],
)
def test_what_worked_before_must_work_after_ten_minutes(changes: dict[str, object], lack: Lack) -> None:
    now = replace(AFTER, **changes)  # type: ignore[arg-type]
    assert lacks_at_rest(GOOD, now, image=image(NEW)) == [lack]
    keeper = on_trial()
    assert keeper.handle(Look(FREE, now), 619) == []
    effects = keeper.handle(Look(FREE, now), 620)
    assert StopAgent() in effects
    assert keeper.record.stage is Stage.MCU_OLD
    keeper.handle(McuWritten(McuResult.DONE), 640)
    assert keeper.record.failed == ((NEW, Outcome.NOT_HEALTHY),)
    assert keeper.record.confirmed == OLD


def test_what_did_not_work_before_need_not_work_now() -> None:
    garage = replace(GOOD, has_fix=False, is_receipted=False, ids=frozenset(), drain_mv_h=None)
    keeper = on_trial(garage)
    keeper.handle(Look(FREE, replace(garage, firmware=image(NEW))), 21)
    assert keeper.record.confirmed == NEW


def test_frames_are_judged_once_the_bus_has_been_awake() -> None:
    asleep = replace(AFTER, ids=frozenset(), awake_s=0)
    assert lacks_awake(GOOD, asleep) is None
    keeper = on_trial()
    keeper.handle(Look(FREE, asleep), 21)
    assert (keeper.record.stage, keeper.record.is_rested, keeper.record.boots) == (Stage.TRIAL, True, 0)
    driving = replace(FREE, is_ignition_on=True, is_moving=True)
    keeper.handle(Look(driving, replace(AFTER, ids=IDS - {"can0:130"}, awake_s=60)), 9_000)
    assert keeper.record.doomed is Outcome.NOT_HEALTHY
    assert keeper.record.stage is Stage.TRIAL  # it goes back once the car stands
    keeper.handle(Look(FREE, asleep), 9_600)
    assert keeper.record.stage is Stage.MCU_OLD


def test_a_release_that_drains_goes_back() -> None:
    keeper = on_trial()
    keeper.handle(Look(FREE, replace(AFTER, ids=frozenset(), awake_s=0, drain_mv_h=71)), 4_000)
    assert keeper.record.doomed is Outcome.DRAINS


def test_a_car_that_was_locked_meanwhile_keeps_its_release_until_it_is_free() -> None:
    keeper = on_trial()
    sick, locked = replace(AFTER, is_receipted=False), replace(FREE, is_order_open=True)
    keeper.handle(Look(locked, sick), 700)
    assert (keeper.record.stage, keeper.record.doomed) == (Stage.TRIAL, Outcome.NOT_HEALTHY)
    keeper.handle(Look(FREE, AFTER), 701)  # too late to be well
    assert keeper.record.stage is Stage.MCU_OLD


def test_a_record_reads_as_it_was_written_and_nothing_else_does() -> None:
    record = replace(on_trial().record, doomed=Outcome.DRAINS, failed=((7, Outcome.DRAINS),))
    data = write_record(record)
    assert read_record(data) == record
    for wrong in (
        data[:-1],
        b"{}",
        b"[]",
        data.replace(b'"boots": 1', b'"boots": -1'),
        data.replace(b"trial", b"idle"),
    ):
        with pytest.raises(ProtocolError):
            read_record(wrong)
