"""Put a release on a board, so that it has the whole old image or the whole new one at every moment.

Rules (docs/adr/0051): the release is written into the folder that does not count, every file is compared by
the hash that the board makes of it, then the program that the board runs first is replaced by a rename, and
then, by another rename, the mark that says which folder counts. Whatever ends in between leaves the image
from before; running it again goes on with what is missing, because files whose hash is right are left. A
board is asked whether it may have this release before anything is changed, and is started anew when not.

It judges no signature (`release_trust`) and shows no progress (`flash_cli`).

Example:
    report = flash("/dev/ttyACM0", job, lambda step, done, total: None)
"""

from __future__ import annotations

import errno
import re
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from firmware_tools import board_scripts as scripts
from firmware_tools import flash_plan
from firmware_tools.board_link import BoardError, BoardLink, LinkLostError, opened, plain
from firmware_tools.cli_errors import Exit, ToolError
from firmware_tools.flash_plan import Refusal
from firmware_tools.release_manifest import SELECTOR

if TYPE_CHECKING:
    from collections.abc import Iterator

    from firmware_tools.flash_plan import Facts, Job, Plan

ENTER_S: Final = 5.0
"""Longest until a board answers in the raw REPL, s."""

PIECE_BYTES: Final = 1_024
"""Bytes of a file that are sent at once: twice that in base64 is what a board's heap has at hand."""

_OS_ERROR: Final = re.compile(r"OSError: (?:\[Errno )?(\d+)")
"""MicroPython names few error numbers; Linux and MicroPython number them alike."""

Progress = Callable[[str, int, int], None]
"""Told the step, and how many of how many bytes are done."""


class Outcome(StrEnum):
    """What became of a board."""

    FLASHED = "FLASHED"
    UP_TO_DATE = "UP_TO_DATE"
    WOULD_FLASH = "WOULD_FLASH"
    REFUSED = "REFUSED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What became of a board.

    Attributes:
        port: its name.
        outcome: what became of it.
        chip: its number, hex; empty when it did not say.
        slot: the folder that the release is in, or would be.
        written: files that were, or would be, written.
        kept: files that were right already.
        took_s: s.
        error: what stopped it.
    """

    port: str
    outcome: Outcome
    chip: str = ""
    slot: str = ""
    written: int = 0
    kept: int = 0
    took_s: float = 0.0
    error: ToolError | None = None


def flash(port: str, job: Job, progress: Progress, *, enter_s: float = ENTER_S) -> Report:
    """Put a release on one board; what stops it stands in the report.

    Args:
        port: its serial port.
        job: what is to be done.
        progress: told the steps.
        enter_s: longest until the board answers, s.
    """
    began = time.monotonic()
    try:
        with _in_words(port):
            outcome, facts, plan = _flash(port, job, progress, enter_s)
    except ToolError as error:
        return Report(
            port=port, outcome=Outcome.REFUSED, took_s=round(time.monotonic() - began, 2), error=error
        )
    return Report(
        port=port,
        outcome=outcome,
        chip=facts.chip,
        slot=plan.slot,
        written=len(plan.missing),
        kept=plan.kept,
        took_s=round(time.monotonic() - began, 2),
    )


def _flash(port: str, job: Job, progress: Progress, enter_s: float) -> tuple[Outcome, Facts, Plan]:
    board = job.board
    progress("looking", 0, 1)
    try:
        link = opened(port, board.baudrate, enter_s)
    except LinkLostError as error:
        raise ToolError(
            Refusal.NO_BOARD,
            f"No board answers at {port}: plug it in, close what else uses the port, and try again.",
            Exit.CUT_SHORT,
        ) from error
    try:
        facts, plan = _look(link, job)
    except BaseException:
        link.start_anew()  # what was interrupted runs on
        raise
    if plan.is_whole or job.is_dry:
        link.start_anew()
        return (Outcome.UP_TO_DATE if plan.is_whole else Outcome.WOULD_FLASH), facts, plan
    progress("restarting", 0, 1)
    try:
        link.run(scripts.hold())
    finally:
        link.start_anew()
    link = opened(port, board.baudrate, board.reset_s)
    try:
        _require_same(link, facts)
        link.run(scripts.unhold())
        _write(link, plan, job, progress)
    finally:
        link.start_anew()
    progress("done", 1, 1)
    return Outcome.FLASHED, facts, plan


def _look(link: BoardLink, job: Job) -> tuple[Facts, Plan]:
    """Ask the board for all that decides; change nothing."""
    link.run(scripts.keep(job.board.watchdog_ms))
    link.run(scripts.HELPERS)
    facts = flash_plan.read_facts(link.run(scripts.HELLO))
    flash_plan.require_fit(facts, job)
    if facts.mark is not None and not job.is_no_car:
        try:
            said = link.run(scripts.STATE.format(slot=facts.mark.slot))
            flash_plan.require_free(said, is_in_car=job.is_in_car)
        except BoardError as error:
            raise ToolError(
                Refusal.STATE_UNKNOWN,
                f"The board cannot say whether its box belongs to a car ({error}): "
                "if you have it on the bench, add --no-car.",
            ) from error
    slots = {slot: flash_plan.read_listing(link.run(scripts.listing(slot))) for slot in scripts.SLOTS}
    return facts, flash_plan.made(facts, slots, job)


def _require_same(link: BoardLink, before: Facts) -> None:
    """Make sure that the board came back, and without its firmware."""
    link.run(scripts.HELPERS)
    facts = flash_plan.read_facts(link.run(scripts.HELLO))
    if facts.chip != before.chip:
        raise ToolError(
            Refusal.WRONG_BOARD,
            "Another board came back at this port: plug them in one at a time and try again.",
        )
    if facts.is_running:
        raise ToolError(
            Refusal.BOARD_FAILED,
            "The board started its firmware although it was held: try again, and erase it if that stays so.",
        )


def _write(link: BoardLink, plan: Plan, job: Job, progress: Progress) -> None:
    release, slot = job.release, plan.slot
    for path, is_folder in plan.stale:
        link.run(scripts.remove(path, is_folder=is_folder))
    total = sum(len(release.content[path]) for path in plan.missing)
    done = 0
    for path in plan.missing:
        target, data = f"{slot}/{path}", release.content[path]
        link.run(scripts.begin(target))
        for start in range(0, len(data), PIECE_BYTES):
            link.run(scripts.piece(data[start : start + PIECE_BYTES]))
            done += len(data[start : start + PIECE_BYTES])
            progress("writing", done, total)
        link.run(scripts.end(target))
    progress("comparing", 0, 1)
    wanted = flash_plan.expected(slot, release)
    found = {
        path: digest
        for path, digest in flash_plan.read_listing(link.run(scripts.listing(slot))).items()
        if digest is not None
    }
    if found != wanted:
        wrong = sorted(path for path in wanted.keys() | found.keys() if wanted.get(path) != found.get(path))
        raise ToolError(
            Refusal.HASH,
            f"{plain(wrong[0])} does not read back as it was written: try again, then replace the board.",
        )
    progress("switching", 0, 1)
    _replace(
        link, SELECTOR, scripts.copy(f"{slot}/{SELECTOR}", f"{SELECTOR}.new"), wanted[f"{slot}/{SELECTOR}"]
    )
    mark = plan.mark.encode()
    _replace(link, scripts.MARK, scripts.write_text(f"{scripts.MARK}.new", mark), scripts.digest(mark))


def _replace(link: BoardLink, path: str, writes: str, digest: str) -> None:
    """Write a file beside another, compare it, and only then give it the other's name."""
    if link.run(writes) != digest:
        raise ToolError(
            Refusal.HASH, f"{path} does not read back as it was written: try again, then replace the board."
        )
    link.run(scripts.rename(f"{path}.new", path))


@contextmanager
def _in_words(port: str) -> Iterator[None]:
    """Turn what the board and its line do into a sentence."""
    try:
        yield
    except LinkLostError as error:
        raise ToolError(
            Refusal.CUT_SHORT,
            f"The board at {port} went away: plug it in and run the same again, it goes on where it was.",
            Exit.CUT_SHORT,
        ) from error
    except BoardError as error:
        number = _OS_ERROR.search(str(error))
        if number is not None and int(number[1]) == errno.ENOSPC:
            raise ToolError(
                Refusal.NO_ROOM, "The flash is full: remove what is not ours and try again."
            ) from error
        if number is not None and int(number[1]) == errno.EROFS:
            raise ToolError(
                Refusal.READ_ONLY, "The flash cannot be written: unmount it elsewhere, or replace the board."
            ) from error
        raise ToolError(
            Refusal.BOARD_FAILED, f"The board could not do it ({error}): try again, then replace the board."
        ) from error
    except (ValueError, KeyError, TypeError) as error:
        raise ToolError(
            Refusal.BOARD_FAILED,
            f"The board at {port} answers nonsense ({plain(str(error))}): flash its UF2 file first.",
        ) from error
