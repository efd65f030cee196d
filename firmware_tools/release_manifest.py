"""What a release of the firmware says of itself: the bytes that the officers sign.

Rules: `manifest.json` has one encoding (sorted keys, one space of indent, ASCII, a final line feed): who
reads it encodes it again and compares, so that no member stands twice and no two readers differ. It is JSON
because the board reads it at every start with what its MicroPython has. Every member is there and no other. A
path is ours alone: small letters, digits and underscores, at most three folders deep, below `device/` or
`protocol/`, or `main.py`. The measurement follows from the list of files and is checked.

It signs nothing and opens no file.

Example:
    >>> is_path("device/mcu/main.mpy"), is_path("../boot.py"), is_path("protocol/a/../b.mpy")
    (True, False, False)
"""

from __future__ import annotations

import json
import re
from dataclasses import asdict, dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from firmware_tools.cli_errors import ToolError
from firmware_tools.image import INFO, Floors
from protocol.limits import (
    FIRMWARE_FILE_BYTES_MAX,
    FIRMWARE_FILES_MAX,
    FIRMWARE_IMAGE_BYTES_MAX,
    FIRMWARE_MANIFEST_BYTES_MAX,
    FIRMWARE_RELEASE_MAX,
)

VERSION: Final = 1
SELECTOR: Final = "main.py"
"""The program that the board runs first; it goes into the flash's root."""

_PATH: Final = re.compile(r"(?:device|protocol)(?:/[a-z0-9_]{1,32}){1,3}\.mpy|main\.py")
_ANY_PATH: Final = re.compile(r".{1,256}")
_HASH: Final = re.compile(r"[0-9a-f]{64}")
_NAME: Final = re.compile(r"[a-z0-9-]{1,32}")
_RELEASE_NAME: Final = re.compile(r"[0-9A-Za-z.+-]{1,32}")
_INFO_PATH: Final = INFO.removesuffix(".py") + ".mpy"


class Wrong(StrEnum):
    """Why something is no release."""

    MANIFEST = "MANIFEST"
    FILES = "FILES"
    SIGNATURE = "SIGNATURE"
    SIGNERS = "SIGNERS"
    TRUST = "TRUST"


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseFile:
    """One file of an image.

    Attributes:
        path: see the module.
        bytes: its length.
        sha256: 64 hex digits.
    """

    path: str
    bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A release.

    Attributes:
        release: its number, from 1; higher is newer.
        version: its name for people.
        floor: the lowest release that a board may be given once it has had this one.
        board: which board it is for, a name in `firmware_tools/boards`.
        floors: production or demo.
        measurement: SHA-256 that dispositions say (key 19), 64 hex digits.
        mpy: version of the compiled files.
        files: sorted by path.
    """

    release: int
    version: str
    floor: int
    board: str
    floors: Floors
    measurement: str
    mpy: int
    files: tuple[ReleaseFile, ...]

    def encode(self) -> bytes:
        """Return the one encoding."""
        fields = {**asdict(self), "floors": self.floors.value, "ver": VERSION}
        return (json.dumps(fields, sort_keys=True, indent=1) + "\n").encode()

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(file.bytes for file in self.files)


def read_manifest(data: bytes) -> Manifest:
    """Read a manifest strictly.

    Raises:
        ToolError: MANIFEST, saying which member is wrong.
    """
    if len(data) > FIRMWARE_MANIFEST_BYTES_MAX:
        raise _wrong(f"it has {len(data)} bytes, at most {FIRMWARE_MANIFEST_BYTES_MAX} are read")
    try:
        fields = json.loads(data)
        manifest = _read(fields)
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise _wrong(f"it cannot be read ({error})") from error
    if manifest.encode() != data:
        raise _wrong("it is not written in the one form that is signed")
    return manifest


def measurement(files: tuple[ReleaseFile, ...]) -> str:
    """Return the measurement of a list of files, as `image.build` makes it: 64 hex digits."""
    listed = [f"{file.path} {file.sha256}\n" for file in files if file.path not in (_INFO_PATH, SELECTOR)]
    return sha256("".join(listed).encode()).hexdigest()


def is_path(path: str) -> bool:
    """Whether a file of an image may have this name."""
    return _PATH.fullmatch(path) is not None


def _read(fields: Any) -> Manifest:  # noqa: ANN401 - JSON, judged here
    if fields["ver"] != VERSION:
        raise ValueError(f"ver {fields['ver']}")
    files = tuple(_file(entry) for entry in fields["files"])
    _check_files(files)
    found = Manifest(
        release=_number(fields, "release", 1, FIRMWARE_RELEASE_MAX),
        version=_text(fields, "version", _RELEASE_NAME),
        floor=_number(fields, "floor", 0, FIRMWARE_RELEASE_MAX),
        board=_text(fields, "board", _NAME),
        floors=Floors(fields["floors"]),
        measurement=_text(fields, "measurement", _HASH),
        mpy=_number(fields, "mpy", 1, 255),
        files=files,
    )
    if found.floor > found.release:
        raise ValueError("floor above release")
    if found.measurement != measurement(files):
        raise ValueError("measurement does not follow from the files")
    return found


def _file(entry: Any) -> ReleaseFile:  # noqa: ANN401 - JSON
    if not isinstance(entry, dict) or len(entry) != 3:  # noqa: PLR2004 - the three members below
        raise ValueError("files")
    return ReleaseFile(
        path=_text(entry, "path", _ANY_PATH),
        bytes=_number(entry, "bytes", 0, FIRMWARE_FILE_BYTES_MAX),
        sha256=_text(entry, "sha256", _HASH),
    )


def _check_files(files: tuple[ReleaseFile, ...]) -> None:
    if not 1 <= len(files) <= FIRMWARE_FILES_MAX:
        raise ValueError(f"{len(files)} files")
    for file in files:
        if not is_path(file.path):
            raise ValueError(f"path {file.path!r}")
    paths = [file.path for file in files]
    if paths != sorted(set(paths)) or SELECTOR not in paths or _INFO_PATH not in paths:
        raise ValueError("files are not sorted, stand twice or lack a main file")
    if sum(file.bytes for file in files) > FIRMWARE_IMAGE_BYTES_MAX:
        raise ValueError("the image is too large")


def _number(fields: Any, name: str, lowest: int, highest: int) -> int:  # noqa: ANN401 - JSON
    value = fields[name]
    if type(value) is not int or not lowest <= value <= highest:
        raise ValueError(name)
    return value


def _text(fields: Any, name: str, form: re.Pattern[str]) -> str:  # noqa: ANN401 - JSON
    value = fields[name]
    if not isinstance(value, str) or not form.fullmatch(value):
        raise ValueError(name)
    return value


def _wrong(why: str) -> ToolError:
    return ToolError(Wrong.MANIFEST, f"manifest.json is damaged or foreign: {why}; take the release again.")
