"""The folder of a mounted image as a box's Linux.

Rules: nothing outside the image is ever touched. A folder on the way that is a link is refused, since its
target would be read on the depot's computer; so is `/`, which is that computer. Programs of an image are for
another machine and are not run.

Example:
    ImageRoot(Path("/mnt/box")).look()
"""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import TYPE_CHECKING

from firmware_tools.cli_errors import Exit, ToolError
from firmware_tools.depot_codes import DepotCode
from firmware_tools.linux_side_roots import (
    RELEASES,
    Entry,
    Ran,
    in_the_way,
    no_room,
    not_linux,
    pretty_name,
    read_only,
)
from protocol.limits import DEPOT_SPARE_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


class ImageRoot:
    """The folder of a mounted image.

    Args:
        folder: where it is mounted.
        spare_bytes: how much room it must have left.
    """

    def __init__(self, folder: Path, *, spare_bytes: int = DEPOT_SPARE_BYTES) -> None:
        self._folder, self._spare = folder, spare_bytes

    is_live = False

    def look(self) -> str:
        """Return the name of the system; see `Root`."""
        if not self._folder.is_dir() or self._folder.resolve() == Path("/"):
            raise not_linux(str(self._folder))
        release = next((name for name in RELEASES if (self._folder / name).is_file()), None)
        if release is None or not (self._folder / "etc" / "systemd").is_dir():
            raise not_linux(str(self._folder))
        if not os.access(self._folder / "etc", os.W_OK):
            raise read_only(str(self._folder))
        room = os.statvfs(self._folder)
        if room.f_bavail * room.f_frsize < self._spare:
            raise no_room(str(self._folder), room.f_bavail * room.f_frsize, self._spare)
        return pretty_name((self._folder / release).read_text(encoding="utf-8", errors="replace"))

    def read(self, paths: Sequence[str]) -> dict[str, Entry | None]:
        """Return what stands at some paths."""
        return {path: self._read(path) for path in paths}

    def write(self, entries: Mapping[str, Entry]) -> None:
        """Write files and links; see `Root`."""
        owner = (self._folder / "etc").stat()
        for path, entry in entries.items():
            place = self._place(path)
            beside = place.with_name(f".{place.name}.tbox-new")
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                beside.unlink(missing_ok=True)
                _put(beside, entry, owner)
                beside.replace(place)
            except OSError as failure:
                beside.unlink(missing_ok=True)
                sentence = f"{place} is not written ({failure.strerror}): check rights and room of the image."
                raise ToolError(DepotCode.NOT_WRITTEN, sentence, Exit.CUT_SHORT) from failure

    def run(self, words: Sequence[str], *, user: str | None = None, secret: str = "") -> Ran:
        """Refuse: the programs of an image are for another machine."""
        del words, user, secret
        raise AssertionError("nothing runs in an image")

    def _read(self, path: str) -> Entry | None:
        place = self._place(path)
        try:
            status = place.lstat()
        except FileNotFoundError:
            return None
        if stat.S_ISLNK(status.st_mode):
            return Entry(target=str(place.readlink()), mode=0o777)
        if not stat.S_ISREG(status.st_mode):
            raise in_the_way(path)
        return Entry(data=place.read_bytes(), mode=stat.S_IMODE(status.st_mode))

    def _place(self, path: str) -> Path:
        """Return a path in the image, none of whose folders is a link."""
        place = self._folder
        *folders, name = Path(path.lstrip("/")).parts
        for part in folders:
            place /= part
            if place.is_symlink() or (place.exists() and not place.is_dir()):
                raise in_the_way("/" + str(place.relative_to(self._folder)))
        return place / name


def _put(beside: Path, entry: Entry, owner: os.stat_result) -> None:
    if entry.target is not None:
        beside.symlink_to(entry.target)
    else:
        with beside.open("xb") as file:
            file.write(entry.data)
            os.fchmod(file.fileno(), entry.mode)
            os.fsync(file.fileno())
    there = beside.lstat()
    if (there.st_uid, there.st_gid) != (owner.st_uid, owner.st_gid):
        os.lchown(beside, owner.st_uid, owner.st_gid)
