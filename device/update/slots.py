"""Releases on disk: whole folders, one link that says which runs, one record that says why.

Rules: a release is unpacked beside, every file and folder made durable, and only then given its name: what
has a name is whole. `current` is a symbolic link, replaced by renaming another over it. The record is
replaced durably. Nothing outside the root is written, whatever a bundle says: its reader checks the names.

    releases/7/{agent,mcu,profile,policy}/…  releases/7/manifest.json  current -> releases/7  record.json

It decides nothing.

Example:
    slots = Slots(Path("/var/lib/tbox/update"))
    slot = slots.unpack(bundle)
    slots.point(slot.release)
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from device.adapters.durable_file import sync_directory, write_durably
from device.errors import EdgeError
from device.update.forms import Record, Slot, read_record, write_record
from protocol.errors import ProtocolError
from protocol.limits import UPDATE_MANIFEST_BYTES_MAX
from protocol.update_bundle import MANIFEST

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.update_bundle import Bundle

CURRENT: Final = "current"
RELEASES: Final = "releases"
RECORD: Final = "record.json"
_UNFINISHED = ".part"


class SlotError(EdgeError):
    """The folder of releases cannot be used."""


class Slots:
    """The folder of one box's releases.

    Args:
        root: the folder; made when missing.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self._releases = root / RELEASES

    def make(self) -> None:
        """Make the folders, and remove what a power cut left half unpacked.

        Raises:
            SlotError: the disk or its rights do not allow it.
        """
        try:
            self._releases.mkdir(parents=True, exist_ok=True)
            for left in self._releases.glob(f"*{_UNFINISHED}"):
                shutil.rmtree(left)
        except OSError as failure:
            raise _error(failure) from failure

    def folder(self, release: int) -> Path:
        """Return the folder of a release, whether there or not."""
        return self._releases / str(release)

    def has(self, release: int) -> bool:
        """Whether a release lies here whole."""
        return (self.folder(release) / MANIFEST).is_file()

    def unpack(self, bundle: Bundle) -> Slot:
        """Lay a release down, whole and durable; one that is there stays.

        Raises:
            SlotError: no room, or the disk failed; nothing has its name then.
        """
        needs = bundle.needs
        target = self.folder(needs.release)
        beside = target.with_name(target.name + _UNFINISHED)
        try:
            if self.has(needs.release) and (target / MANIFEST).read_bytes() != bundle.manifest:
                shutil.rmtree(target)  # of another release that was given the same number, and never ran
            if not self.has(needs.release):
                shutil.rmtree(beside, ignore_errors=True)
                for name, data in {**bundle.files, MANIFEST: bundle.manifest}.items():
                    _write(beside / name, data)
                for folder in [beside, *(path for path in beside.rglob("*") if path.is_dir())]:
                    sync_directory(folder)
                beside.rename(target)
                sync_directory(self._releases)
        except OSError as failure:
            shutil.rmtree(beside, ignore_errors=True)
            raise _error(failure) from failure
        return Slot(
            release=needs.release, mcu=needs.mcu, measurement=bundle.measurement.hex(), floor=needs.floor
        )

    def point(self, release: int) -> None:
        """Let `current` be a release: the old one or this one at every moment.

        Raises:
            SlotError: it is not here, or the disk failed.
        """
        if not self.has(release):
            raise SlotError(
                f"release {release} is not in {self._releases}",
                is_transient=False,
                meaning="the box cannot start a release that it does not have",
                next_step="tbox-keeper install BUNDLE --root DIR",
            )
        beside = self.root / f".{CURRENT}.new"
        try:
            beside.unlink(missing_ok=True)
            beside.symlink_to(f"{RELEASES}/{release}")
            beside.replace(self.root / CURRENT)
            sync_directory(self.root)
        except OSError as failure:
            raise _error(failure) from failure

    def current(self) -> int | None:
        """Return the release to which `current` points, None without one."""
        try:
            return int((self.root / CURRENT).readlink().name)
        except (OSError, ValueError):
            return None

    def clean(self, keep: tuple[int, ...]) -> None:
        """Remove all other releases; a disk that refuses costs room and nothing else."""
        names = {str(release) for release in keep}
        for folder in self._releases.iterdir():
            if folder.name not in names:
                shutil.rmtree(folder, ignore_errors=True)

    def keep(self, record: Record) -> None:
        """Write the record durably.

        Raises:
            SlotError: the disk refused; the old record stands.
        """
        try:
            write_durably(self.root / RECORD, write_record(record), mode=0o600)
        except OSError as failure:
            raise _error(failure) from failure

    def record(self) -> Record:
        """Return the record, an empty one before the first.

        Raises:
            SlotError: it cannot be read.
        """
        try:
            with (self.root / RECORD).open("rb") as file:
                return read_record(file.read(UPDATE_MANIFEST_BYTES_MAX))
        except FileNotFoundError:
            return Record()
        except (OSError, ProtocolError) as failure:
            raise SlotError(
                f"not readable: {self.root / RECORD}: {failure}",
                is_transient=False,
                meaning="nobody knows which release this box trusts",
                next_step="tbox-keeper install BUNDLE --root DIR, with the bundle the box is to run",
            ) from failure


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def _error(failure: OSError) -> SlotError:
    return SlotError(
        f"update: {failure}",
        is_transient=True,
        meaning="the box goes on with the release it has",
        next_step="check room and rights of the folder of updates",
    )
