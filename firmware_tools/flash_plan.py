"""What a board says of itself before anything is written, and whether it may have this release.

Rules, in this order: it must be the board that the release is for, with a MicroPython that runs it; the
release must not be below the floor that the board keeps, nor older than what it has unless that was asked
for; two different releases never have the same number; a box that belongs to a car, or has a lock open, is
left alone; the flash must have room. Nothing is changed to find out.

It writes nothing.

Example:
    plan = made(facts, listings, job)
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from firmware_tools.board_link import plain
from firmware_tools.board_scripts import SLOTS
from firmware_tools.cli_errors import ToolError
from firmware_tools.release import SIGNATURES
from firmware_tools.release_manifest import SELECTOR

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_tools.boards import Board
    from firmware_tools.release import Release

    Listing = Mapping[str, str | None]

BLOCK_BYTES: Final = 4_096
"""A file takes whole blocks of the flash."""

SPARE_BYTES: Final = 65_536
"""Room that stays for the caches of a running firmware: its largest has 24 KiB, twice while it is written."""


class Refusal(StrEnum):
    """Why a board does not get a release."""

    WRONG_BOARD = "WRONG_BOARD"
    MICROPYTHON = "MICROPYTHON"
    DOWNGRADE = "DOWNGRADE"
    SAME_NUMBER = "SAME_NUMBER"
    BOUND = "BOUND"
    LOCKED = "LOCKED"
    STATE_UNKNOWN = "STATE_UNKNOWN"
    NO_ROOM = "NO_ROOM"
    READ_ONLY = "READ_ONLY"
    BOARD_FAILED = "BOARD_FAILED"
    HASH = "HASH"
    NO_BOARD = "NO_BOARD"
    CUT_SHORT = "CUT_SHORT"
    PORTS = "PORTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be done to every board.

    Attributes:
        release: read, compared and found signed.
        board: which boards it is for.
        is_older_wanted: an older release is wanted, down to the floor.
        is_no_car: the person says that the box is in no car, for a board that cannot say so itself.
        is_in_car: the car's own update asks, which has seen to the rest; a locked box is refused still.
        is_dry: look, and change nothing.
    """

    release: Release
    board: Board
    is_older_wanted: bool = False
    is_no_car: bool = False
    is_in_car: bool = False
    is_dry: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """What a board keeps of the image that counts (`boot.json`).

    Attributes:
        slot: its folder.
        manifest: SHA-256 of its manifest, hex.
        release: its number.
        floor: lowest release that this board may be given.
    """

    slot: str
    manifest: str
    release: int
    floor: int

    def encode(self) -> str:
        """Return the file's text."""
        fields = {
            "slot": self.slot,
            "manifest": self.manifest,
            "release": self.release,
            "floor": self.floor,
        }
        return json.dumps(fields, sort_keys=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What a board says of itself.

    Attributes:
        machine: as its MicroPython calls it.
        version: of its MicroPython, (major, minor).
        mpy: version of `.mpy` files it loads.
        chip: its number, hex.
        is_running: a firmware ran until it was interrupted.
        mark: which image counts; None for none.
        selector: hash of its `main.py`, or None.
        free: bytes of flash.
    """

    machine: str
    version: tuple[int, int]
    mpy: int
    chip: str
    is_running: bool
    mark: Mark | None
    selector: str | None
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What will be done to one board.

    Attributes:
        slot: folder that the release goes into.
        is_whole: the release counts already, whole: there is nothing to do.
        stale: files and folders to remove, folders after what lies in them; True for a folder.
        missing: paths to write.
        kept: how many files have the right hash already.
        mark: which image counts afterwards.
    """

    slot: str
    is_whole: bool
    stale: tuple[tuple[str, bool], ...]
    missing: tuple[str, ...]
    kept: int
    mark: Mark


def read_facts(text: str) -> Facts:
    """Return the facts that `board_scripts.HELLO` prints.

    Raises:
        ValueError, KeyError, TypeError: something else came.
    """
    fields = _map(text)
    major, minor = fields["version"]
    return Facts(
        machine=plain(f"{fields['machine']} ({fields['sysname']})"),
        version=(int(major), int(minor)),
        mpy=int(fields["mpy"]),
        chip=plain(str(fields["id"])),
        is_running=bool(fields["is_running"]),
        mark=_read_mark(fields["mark"]),
        selector=fields["selector"],
        free=int(fields["free"]),
    )


def read_listing(text: str) -> Listing:
    """Return what `board_scripts.listing` prints.

    Raises:
        ValueError: something else came.
    """
    found = json.loads(text)
    if not isinstance(found, dict) or not all(
        digest is None or isinstance(digest, str) for digest in found.values()
    ):
        raise ValueError("no listing")
    return found


def made(facts: Facts, slots: Mapping[str, Listing], job: Job) -> Plan:
    """Return what is to be done to a board that may have this release.

    Args:
        facts: of the board.
        slots: {path: hash, None for a folder} of each slot, paths with the slot before them.
        job: the release, and what was asked for.

    Raises:
        ToolError: with the `Refusal`.
    """
    require_fit(facts, job)
    release, mark = job.release, facts.mark
    floor = max(release.manifest.floor, 0 if mark is None else mark.floor)
    is_current = mark is not None and mark.manifest == release.manifest_hash
    if is_current and mark is not None and facts.selector == _hashes(release)[SELECTOR]:
        stale, missing, kept = _differences(mark.slot, slots[mark.slot], release)
        others = [path.partition("/")[2] for path, _ in stale] + list(missing)
        if all(path.startswith(f"{SIGNATURES}/") for path in others):  # others may have signed it then
            return Plan(slot=mark.slot, is_whole=True, stale=(), missing=(), kept=kept, mark=mark)
    slot = SLOTS[0] if mark is None or mark.slot != SLOTS[0] else SLOTS[1]
    stale, missing, kept = _differences(slot, slots[slot], release)
    need = sum(-(-len(release.content[path]) // BLOCK_BYTES) * BLOCK_BYTES for path in missing) + SPARE_BYTES
    if need > facts.free:
        raise ToolError(
            Refusal.NO_ROOM,
            f"The flash has {facts.free} B free and {need} B are needed: remove what is not ours.",
        )
    return Plan(
        slot=slot,
        is_whole=False,
        stale=stale,
        missing=missing,
        kept=kept,
        mark=Mark(slot=slot, manifest=release.manifest_hash, release=release.manifest.release, floor=floor),
    )


def require_fit(facts: Facts, job: Job) -> None:
    """Make sure that this board may have this release, as far as its files say.

    Raises:
        ToolError: WRONG_BOARD, MICROPYTHON, DOWNGRADE or SAME_NUMBER.
    """
    board, manifest, mark = job.board, job.release.manifest, facts.mark
    if board.machine not in facts.machine:
        raise ToolError(
            Refusal.WRONG_BOARD,
            f"This is {facts.machine}, and the release is for {board.title}: take the one for this board.",
        )
    if facts.version < board.micropython_min or facts.mpy != manifest.mpy:
        have, want = ".".join(map(str, facts.version)), ".".join(map(str, board.micropython_min))
        raise ToolError(
            Refusal.MICROPYTHON,
            f"The board has MicroPython {have} (mpy {facts.mpy}) and needs {want} (mpy {manifest.mpy}): "
            "flash its UF2 file first.",
        )
    if mark is None:
        return
    if manifest.release < mark.floor:
        raise ToolError(
            Refusal.DOWNGRADE,
            f"The board takes no release below {mark.floor}, and this is {manifest.release}: take a newer.",
        )
    if manifest.release < mark.release and not job.is_older_wanted:
        raise ToolError(
            Refusal.DOWNGRADE,
            f"The board has release {mark.release}, and this is {manifest.release}: "
            "add --older if that is what you want.",
        )
    if manifest.release == mark.release and mark.manifest != job.release.manifest_hash:
        raise ToolError(
            Refusal.SAME_NUMBER,
            f"The board has another release with the number {mark.release}: build this one with a new one.",
        )


def require_free(text: str, *, is_in_car: bool = False) -> None:
    """Make sure that a box belongs to no car, by what `board_scripts.STATE` prints.

    Args:
        text: what it printed.
        is_in_car: it may belong to one, and must not be locked.

    Raises:
        ToolError: LOCKED or BOUND.
        ValueError, KeyError, TypeError: something else came.
    """
    fields = _map(text)
    if fields["is_locked"]:
        raise ToolError(
            Refusal.LOCKED, "This box has a lock open: have it released, and remove it from its car, first."
        )
    if fields["is_bound"] and not is_in_car:
        raise ToolError(
            Refusal.BOUND,
            "This box belongs to a car: remove it there first, or update it with the car's own update.",
        )


def expected(slot: str, release: Release) -> dict[str, str]:
    """Return {path: hash} of a slot that holds a release."""
    return {f"{slot}/{path}": found for path, found in _hashes(release).items()}


def _hashes(release: Release) -> dict[str, str]:
    return {path: sha256(data).hexdigest() for path, data in release.content.items()}


def _differences(
    slot: str, listing: Listing, release: Release
) -> tuple[tuple[tuple[str, bool], ...], tuple[str, ...], int]:
    """Return what to remove, which paths to write, and how many are right."""
    wanted = expected(slot, release)
    folders = {path[:at] for path in wanted for at, sign in enumerate(path) if sign == "/"}
    # A folder where a file belongs, and the other way round, is in the way and goes too.
    stale = [
        (path, found is None)
        for path, found in listing.items()
        if path not in (folders if found is None else wanted)
    ]
    stale.sort(key=lambda entry: (-entry[0].count("/"), entry[1], entry[0]))
    missing = [path for path, found in wanted.items() if listing.get(path) != found]
    names = tuple(path.removeprefix(f"{slot}/") for path in missing)
    return tuple(stale), names, len(wanted) - len(missing)


def _map(text: str) -> dict[str, Any]:
    fields = json.loads(text)
    if not isinstance(fields, dict):
        raise TypeError("no map")
    return fields


def _read_mark(text: str | None) -> Mark | None:
    """Return a mark, None for none and for one that the board itself would not read."""
    try:
        fields = _map(text or "")
        mark = Mark(
            slot=fields["slot"],
            manifest=fields["manifest"],
            release=int(fields["release"]),
            floor=int(fields["floor"]),
        )
    except (ValueError, KeyError, TypeError):
        return None
    return mark if mark.slot in SLOTS else None
