"""Releases small enough to be flashed a hundred times, signed by published test keys.

Rules: a small release has two modules that each say which release they are from and write that down when they
run, so that a mixture of two releases would show. It is built and signed as the real one.

Example:
    release = small_release(tmp_path / "one", number=1)
    with McuUsb(UsbBoard(tmp_path / "board")) as usb:
        report = put(usb, release)
"""

from __future__ import annotations

import time
from hashlib import sha256
from typing import TYPE_CHECKING

from device.mcu.fram import SLOT_AT
from firmware_tools import boards, release, release_trust
from firmware_tools.flash import Report, flash
from firmware_tools.flash_plan import Job
from firmware_tools.image import Floors
from firmware_tools.release_signature import sign_detached

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from device.mcu.record import Record
    from firmware_tools.release import Release
    from protocol.envelope import SoftwareSigner
    from simulators.mcu_usb import McuUsb, UsbBoard

MAIN = """
from device.mcu import image_info
from protocol import word
def main():
    with open("booted", "w") as file:
        file.write("{number} " + word.RELEASE + " " + str(len(image_info.MEASUREMENT)))
"""
WAIT_S = 10.0


def small_release(folder: Path, *, number: int = 1, floor: int = 0, board: str = "unix") -> Release:
    """Return a release of two modules, signed by two."""
    root = folder.with_name(f"{folder.name}.src")
    for path, text in {
        "device/mcu/main.py": MAIN.format(number=number),
        "device/mcu/image_info.py": "",
        "protocol/word.py": f'RELEASE = "{number}"\n',
    }.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text, encoding="utf-8")
    made = release.build(
        folder, boards.load(board), Floors.DEMO, release=number, version=f"{number}.0", floor=floor, root=root
    )
    return signed(made, release_trust.demo_signers()[:2])


def real_release(folder: Path, *, number: int = 1) -> Release:
    """Return a release of the demo's firmware, signed by two."""
    made = release.build(
        folder, boards.load("unix"), Floors.DEMO, release=number, version=f"{number}.0", floor=0
    )
    return signed(made, release_trust.demo_signers()[:2])


def signed(made: Release, signers: Sequence[SoftwareSigner]) -> Release:
    """Return a release with these signatures beside it."""
    place = made.folder / release.SIGNATURES
    place.mkdir(exist_ok=True)
    for signer in signers:
        (place / f"{signer.kid.hex()}.sig").write_bytes(sign_detached(made.manifest_bytes, signer))
    return release.read(made.folder)


def job(
    wanted: Release, *, is_older_wanted: bool = False, is_no_car: bool = False, is_dry: bool = False
) -> Job:
    """Return what is to be done with a release."""
    board = boards.load(wanted.manifest.board)
    return Job(
        release=wanted, board=board, is_older_wanted=is_older_wanted, is_no_car=is_no_car, is_dry=is_dry
    )


def put(usb: McuUsb, wanted: Release, *, is_older_wanted: bool = False, is_dry: bool = False) -> Report:
    """Flash a small release, whose image has no record that could say whether its box is in a car."""
    asked = job(wanted, is_older_wanted=is_older_wanted, is_no_car=True, is_dry=is_dry)
    report = flash(str(usb.board.link), asked, lambda *_: None)
    usb.check()
    return report


def boots(usb: McuUsb) -> str | None:
    """Switch a board off and on, and return which release its modules say they are; None for none."""
    usb.unplug()
    said = usb.board.state / "booted"
    said.unlink(missing_ok=True)
    usb.plug()
    wait_for(usb, lambda: usb.board.in_repl)
    if not said.exists():
        return None
    first, second, length = said.read_text(encoding="utf-8").split()
    assert first == second, "a mixture of two releases ran"
    assert length == "32"
    return first


def wait_for(usb: McuUsb, is_so: object) -> None:
    """Come back when something about a board is so."""
    assert callable(is_so)
    until = time.monotonic() + WAIT_S
    while not is_so():
        usb.check()
        assert time.monotonic() < until, f"it never came: {usb.board.output[-300:]!r}"
        usb.idle()


def content(usb: McuUsb, slot: str) -> dict[str, bytes]:
    """Return the files of a folder of a board."""
    folder = usb.board.state / slot
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def keep_record(board: UsbBoard, record: Record) -> None:
    """Put a secure record into a board's FRAM."""
    body = record.dump()
    data = b"TBX1" + (1).to_bytes(4, "big") + len(body).to_bytes(4, "big") + body
    data += sha256(data).digest()
    board.fram.memory[SLOT_AT[0] : SLOT_AT[0] + len(data)] = data
