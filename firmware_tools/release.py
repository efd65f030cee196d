"""A release of the firmware as a folder: built, written, read and compared, file by file.

Rules: a release is `manifest.json`, the files it names, and `signatures/<kid>.sig`, and nothing else: what
lies there besides is refused, and so are links and anything that is no plain file. Building gives the same
bytes from the same sources. The program that the board runs first (`boards/main.py`) is part of it and signed
with it.

It keeps no key and talks to no board.

Example:
    $ tbox install firmware build --out build/release --release 7 --version 1.4.0 --board rp2040
"""

from __future__ import annotations

import shutil
import stat
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firmware_tools import image
from firmware_tools.cli_errors import Common, ToolError
from firmware_tools.release_manifest import (
    SELECTOR,
    Manifest,
    ReleaseFile,
    Wrong,
    measurement,
    read_manifest,
)
from firmware_tools.release_signature import DETACHED_BYTES_MAX
from protocol.limits import FIRMWARE_FILE_BYTES_MAX, FIRMWARE_MANIFEST_BYTES_MAX, FIRMWARE_SIGNERS_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_tools.boards import Board
    from firmware_tools.image import Floors

MANIFEST: Final = "manifest.json"
SIGNATURES: Final = "signatures"
SELECTOR_SOURCE: Final = Path(__file__).resolve().parent / "boards" / "main.py"


@dataclass(frozen=True, slots=True, kw_only=True)
class Release:
    """A release, read whole and found to be what its manifest says; who signed it is not judged here.

    Attributes:
        folder: where it lies.
        manifest: what it says.
        manifest_bytes: as signed.
        files: content by path, each with the hash that the manifest says.
        signatures: content by the name of its file.
    """

    folder: Path
    manifest: Manifest
    manifest_bytes: bytes
    files: Mapping[str, bytes]
    signatures: Mapping[str, bytes]

    @property
    def manifest_hash(self) -> str:
        """SHA-256 of the manifest, 64 hex digits."""
        return sha256(self.manifest_bytes).hexdigest()

    @property
    def content(self) -> dict[str, bytes]:
        """Everything that goes into a folder of the board, by path."""
        signatures = {f"{SIGNATURES}/{name}": data for name, data in self.signatures.items()}
        return {**self.files, MANIFEST: self.manifest_bytes, **signatures}


def build(
    folder: Path,
    board: Board,
    floors: Floors,
    *,
    release: int,
    version: str,
    floor: int,
    root: Path = image.ROOT,
) -> Release:
    """Build a release into a folder, which must be new, empty or a release before.

    Raises:
        ToolError: the folder holds something else.
        image.ImageError: a source does not compile.
    """
    if folder.exists() and any(folder.iterdir()) and not (folder / MANIFEST).is_file():
        raise ToolError(Wrong.FILES, f"{folder} holds other things than a release: name a new folder.")
    place = folder.with_name(folder.name + ".new")
    built = image.build(place, floors, root=root)
    (place / "image.json").unlink()
    selector = SELECTOR_SOURCE.read_text(encoding="utf-8")
    image.compiled(SELECTOR, selector)  # it travels as text, so that a board of any kind reads it
    (place / SELECTOR).write_text(selector, encoding="utf-8")
    files = tuple(_entry(place, path) for path in sorted((*built.sizes, SELECTOR)))
    manifest = Manifest(
        release=release,
        version=version,
        floor=floor,
        board=board.name,
        floors=floors,
        measurement=built.measurement.hex(),
        mpy=board.mpy,
        files=files,
    )
    assert manifest.measurement == measurement(files), "the builder and the reader measure alike"
    data = manifest.encode()
    try:
        read_manifest(data)
    except ToolError as error:
        shutil.rmtree(place)
        raise ToolError(Wrong.MANIFEST, f"no such release: {error.sentence}") from error
    (place / MANIFEST).write_bytes(data)
    shutil.rmtree(folder, ignore_errors=True)
    place.rename(folder)
    return read(folder)


def read(folder: Path) -> Release:
    """Read a release whole and compare it with its manifest.

    Raises:
        ToolError: NO_FILE, MANIFEST, or FILES with the file that is missing, foreign or damaged.
    """
    if not (folder / MANIFEST).is_file():
        raise ToolError(
            Common.NO_FILE, f"There is no release in {folder}: `tbox install firmware build` makes one."
        )
    data = _content(folder / MANIFEST, FIRMWARE_MANIFEST_BYTES_MAX)
    manifest = read_manifest(data)
    listed = {file.path: file for file in manifest.files}
    files, signatures = {}, {}
    for path in _walk(folder):
        if path in listed:
            files[path] = _content(folder / path, FIRMWARE_FILE_BYTES_MAX)
        elif path.startswith(f"{SIGNATURES}/") and path.endswith(".sig") and path.count("/") == 1:
            signatures[path.removeprefix(f"{SIGNATURES}/")] = _content(folder / path, DETACHED_BYTES_MAX)
        elif path != MANIFEST:
            raise _wrong(folder, f"{path} does not belong to it")
    for path, file in listed.items():
        if path not in files:
            raise _wrong(folder, f"{path} is missing")
        if len(files[path]) != file.bytes or sha256(files[path]).hexdigest() != file.sha256:
            raise _wrong(folder, f"{path} is not what was signed")
    if len(signatures) > FIRMWARE_SIGNERS_MAX:
        raise _wrong(folder, f"it has more than {FIRMWARE_SIGNERS_MAX} signatures")
    return Release(
        folder=folder,
        manifest=manifest,
        manifest_bytes=data,
        files=files,
        signatures=dict(sorted(signatures.items())),
    )


def _entry(folder: Path, path: str) -> ReleaseFile:
    data = (folder / path).read_bytes()
    return ReleaseFile(path=path, bytes=len(data), sha256=sha256(data).hexdigest())


def _walk(folder: Path) -> list[str]:
    """Return the plain files below a folder, as paths from it."""
    found = []
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        mode = path.lstat().st_mode
        if stat.S_ISREG(mode):
            found.append(name)
        elif not stat.S_ISDIR(mode):
            raise _wrong(folder, f"{name} is a link or no plain file")
    return found


def _content(path: Path, bytes_max: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(bytes_max + 1)
    except OSError as error:
        raise ToolError(Common.UNREADABLE, f"{path} cannot be read: {error.strerror}.") from error
    if len(data) > bytes_max:
        raise ToolError(Wrong.FILES, f"{path} is larger than {bytes_max} bytes: take the release again.")
    return data


def _wrong(folder: Path, why: str) -> ToolError:
    return ToolError(Wrong.FILES, f"The release in {folder} is torn or foreign ({why}): take it again.")
