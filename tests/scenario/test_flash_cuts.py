"""Wherever the plug is pulled, the old image or none is whole, and the same command ends with the new.

Rules: point 2n is before command n of the REPL, 2n + 1 after it and before its answer. Fast tier: the
last point before the switch; slow tier: all of the switching and a sample of the writing.
"""

from pathlib import Path

import pytest

from firmware_tools.cli_errors import Exit
from firmware_tools.flash import Outcome
from firmware_tools.flash_plan import Refusal
from firmware_tools.release import Release
from simulators.mcu_usb import McuUsb, UsbBoard
from tests.builders.firmware import boots, content, put, small_release

SWITCHING = 4  # the last commands: copy, rename, mark, rename; nobody answers the reset after them


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return small_release(tmp_path_factory.mktemp("old") / "release", number=1)


@pytest.fixture(scope="module")
def new(tmp_path_factory: pytest.TempPathFactory) -> Release:
    return small_release(tmp_path_factory.mktemp("new") / "release", number=2)


def cut(
    folder: Path, point: int | None, new: Release, old: Release | None, *, write: int | None = None
) -> None:
    """Pull the plug at a point of a flashing or within a write, look what boots, do it again, look again."""
    with McuUsb(UsbBoard(folder, link=folder.with_suffix(".tty"))) as usb:
        before = None
        if old is not None:
            assert put(usb, old).outcome is Outcome.FLASHED
            before = boots(usb)
            assert before == "1"
        usb.board.cut_at = None if point is None else 2 * usb.board.commands + point
        usb.board.cut_at_write = None if write is None else usb.board.writes + write
        first = put(usb, new)
        was_cut = not usb.board.is_powered
        usb.board.cut_at = usb.board.cut_at_write = None
        found = {boots(usb), boots(usb)}  # the first may be held, the second is not
        if was_cut and first.outcome is not Outcome.FLASHED:
            assert first.error is not None
            assert (first.error.code, first.error.exit) == (Refusal.CUT_SHORT, Exit.CUT_SHORT)
        assert found - {None} <= {before, "2"}
        assert len(found - {None}) <= 1
        assert old is None or found != {None}, "a board that had an image has one"
        again = put(usb, new)
        assert again.outcome in (Outcome.FLASHED, Outcome.UP_TO_DATE)
        assert boots(usb) == "2"
        assert content(usb, again.slot) == new.content


@pytest.fixture(scope="module")
def counts(tmp_path_factory: pytest.TempPathFactory, old: Release, new: Release) -> tuple[int, int]:
    """How many commands, and how many writes, it takes to flash a board that has an image."""
    folder = tmp_path_factory.mktemp("count") / "board"
    with McuUsb(UsbBoard(folder, link=folder.with_suffix(".tty"))) as usb:
        put(usb, old)
        commands, writes = usb.board.commands, usb.board.writes
        put(usb, new)
        return usb.board.commands - commands, usb.board.writes - writes


@pytest.fixture(scope="module")
def count(counts: tuple[int, int]) -> int:
    return counts[0]


def test_a_board_that_loses_its_plug_before_the_switch_keeps_the_old_image(
    tmp_path: Path, count: int, old: Release, new: Release
) -> None:
    cut(tmp_path / "board", 2 * (count - 1), new, old)


@pytest.mark.slow
def test_a_plug_pulled_while_the_image_is_switched_leaves_the_old_or_the_new(
    tmp_path: Path, count: int, old: Release, new: Release
) -> None:
    for point in range(2 * (count - SWITCHING) + 1, 2 * count + 1, 2):
        cut(tmp_path / f"{point}", point, new, old)


@pytest.mark.slow
def test_a_plug_pulled_within_a_write_of_the_switch_leaves_the_old_or_the_new(
    tmp_path: Path, counts: tuple[int, int], old: Release, new: Release
) -> None:
    # Within a board's copy of its first program (open, pieces, rename) and the mark (open, write, rename).
    for write in range(counts[1] - 8, counts[1]):
        cut(tmp_path / f"{write}", None, new, old, write=write)


@pytest.mark.slow
def test_a_plug_pulled_while_the_image_is_written_leaves_the_old(
    tmp_path: Path, count: int, old: Release, new: Release
) -> None:
    for point in range(0, 2 * (count - SWITCHING), 17):
        cut(tmp_path / f"{point}", point, new, old)


@pytest.mark.slow
def test_a_plug_pulled_at_the_first_flashing_leaves_no_image_or_the_new(tmp_path: Path, new: Release) -> None:
    for point in range(1, 80, 17):
        cut(tmp_path / f"{point}", point, new, None)
