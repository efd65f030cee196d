"""The car's own update writes the board of a bound box, and never that of a locked one."""

import json
import sys
from dataclasses import replace
from pathlib import Path

from device.mcu.record import Open, Record
from device.update.forms import McuResult
from device.update.mcu_writer import McuWriter
from firmware_tools.flash import Outcome, flash
from firmware_tools.flash_plan import Refusal
from protocol.cose_sign import read_sign
from protocol.orders_vocabulary import ACTIVE, LOCK, LOCKED
from simulators.mcu_usb import McuUsb, UsbBoard, lay
from tests.builders.firmware import content, job, keep_record, real_release

ORDERS = Path(__file__).parents[2] / "protocol" / "vectors" / "order-messages.json"


def record_of(*, is_locked: bool) -> Record:
    """Return the record of a car, with an open LOCK or without."""
    record = Record()
    record.mode, record.binding = ACTIVE, [bytes(8), bytes(32), bytes(32), "US-CA"]
    if is_locked:
        groups = json.loads(ORDERS.read_text()).values()
        entries = (entry for group in groups for entry in group if isinstance(entry, dict))
        lock = next(entry for entry in entries if entry.get("name") == "lock")
        record.open[LOCK] = Open(read_sign(bytes.fromhex(lock["hex"]))[0], LOCKED, [], True)  # noqa: FBT003
    return record


def test_a_bound_box_is_taken_and_a_locked_one_is_left_alone(tmp_path: Path) -> None:
    old = real_release(tmp_path / "old", number=1)
    new = real_release(tmp_path / "new", number=2)
    with McuUsb(UsbBoard(tmp_path / "board", link=tmp_path / "tty")) as usb:
        lay(usb.board.state, old)
        keep_record(usb.board, record_of(is_locked=True))
        words = (
            "install",
            "flash",
            "--release",
            "{image}",
            "--port",
            str(usb.board.link),
            "--demo",
            "--json",
        )
        writer = McuWriter((str(Path(sys.executable).with_name("tbox")), *words, "--in-car"))
        assert writer.write(new.folder, back=False) is McuResult.LOCKED
        assert content(usb, "a") == old.content
        keep_record(usb.board, record_of(is_locked=False))
        asked = job(new)
        refused = flash(str(usb.board.link), asked, lambda *_: None)
        assert refused.error is not None
        assert refused.error.code is Refusal.BOUND
        taken = flash(str(usb.board.link), replace(asked, is_in_car=True), lambda *_: None)
        assert taken.outcome is Outcome.FLASHED
        assert content(usb, "b") == new.content
