"""One bundle of agent, microcontroller image, profile and policy: an archive whose every byte is determined.

Rules: a POSIX ustar archive whose first member is `manifest.json` (canonical JSON) and whose others are the
manifest's files in the manifest's order, with mode 0644 and every date, owner and name of an owner zero. The
same files give the same bytes, so that two builders can compare. A reader computes each header and compares:
links, devices, other orders, trailing data and names outside are not refused one by one, they cannot be.
Names begin with one of the four parts. What the bundle needs of the box stands in the manifest and, signed,
in the custom field of its TUF target; both must agree.

It signs nothing (TUF does) and writes no file.

Example:
    >>> data = write_bundle(Needs(release=2, agent="0.2.0", mcu=2, hardware=("rp2040",)), {"agent/a.py": b"x",
    ...     "mcu/main.py": b"y", "policy/p.json": b"{}", "profile/car.json": b"{}"}, measurement=bytes(32))
    >>> [name for name, _ in read_bundle(data).files.items()]
    ['agent/a.py', 'mcu/main.py', 'policy/p.json', 'profile/car.json']

Source: IEEE Std 1003.1-2017, pax, ustar interchange format.
"""

from __future__ import annotations

import hashlib
import json
import re
import tarfile
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from protocol.errors import ProtocolError, Reject
from protocol.limits import (
    UPDATE_BUNDLE_BYTES_MAX,
    UPDATE_FILES_MAX,
    UPDATE_MANIFEST_BYTES_MAX,
    UPDATE_NUMBER_MAX,
    UPDATE_WORD_CHARS_MAX,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
MANIFEST: Final = "manifest.json"
PARTS: Final = ("agent", "mcu", "policy", "profile")
_BLOCK = 512
_END = bytes(2 * _BLOCK)
_NAME = re.compile(r"(agent|mcu|policy|profile)(/[A-Za-z0-9_][A-Za-z0-9_.+-]*){1,8}")
_WORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]*")
_HEX = re.compile(r"[0-9a-f]{64}")
_NAME_CHARS_MAX = 100  # of ustar's name field, without its prefix


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a release is and needs of a box: the custom field of its target, and part of the manifest.

    Attributes:
        release: number of the release; grows, and is never given twice.
        agent: the agent's version, for people.
        mcu: version of the microcontroller's image in it, 0 unknown.
        min_mcu: lowest version of the image that may run when it is applied.
        hardware: boards it is for.
        floor: once it is confirmed, no release below this number is installed or started.
    """

    release: int
    agent: str
    mcu: int = 0
    min_mcu: int = 0
    hardware: tuple[str, ...] = ()
    floor: int = 0

    def as_json(self) -> dict[str, object]:
        """Return it as it stands in the custom field."""
        return {
            "release": self.release,
            "agent": self.agent,
            "mcu": self.mcu,
            "min_mcu": self.min_mcu,
            "hardware": list(self.hardware),
            "floor": self.floor,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """What was read.

    Attributes:
        needs: of the box.
        measurement: of the microcontroller's image, as its STATUS will say it; 32 bytes.
        files: content by name, in order.
        manifest: its bytes.
    """

    needs: Needs
    measurement: bytes
    files: Mapping[str, bytes] = field(repr=False)
    manifest: bytes = field(repr=False)


def write_bundle(needs: Needs, files: Mapping[str, bytes], *, measurement: bytes) -> bytes:
    """Return the archive.

    Args:
        needs: what it needs of a box.
        files: content by name; each of the four parts has at least one.
        measurement: of the image under `mcu/`, 32 bytes.

    Raises:
        ProtocolError: BAD_FIELD for a name, a number or a missing part; TOO_LARGE.
    """
    listed = [
        {"path": name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
        for name, data in sorted(files.items())
    ]
    content = {"version": VERSION, "measurement": measurement.hex(), "files": listed} | needs.as_json()
    manifest = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    _read_manifest(manifest)  # what we would refuse to read is not written
    pieces = [_member(MANIFEST, manifest), *(_member(name, files[name]) for name in sorted(files))]
    archive = b"".join([*pieces, _END])
    if len(archive) > UPDATE_BUNDLE_BYTES_MAX:
        raise ProtocolError(Reject.TOO_LARGE, f"a bundle of {len(archive)} B")
    return archive


def read_bundle(data: bytes) -> Bundle:
    """Read an archive strictly.

    Raises:
        ProtocolError: TOO_LARGE; BAD_ENCODING when a header, a hash, the order or the end is not as
            determined; BAD_FIELD when the manifest does not hold.
    """
    if len(data) > UPDATE_BUNDLE_BYTES_MAX:
        raise ProtocolError(Reject.TOO_LARGE, f"a bundle of {len(data)} B")
    raw_size = data[124:135]
    if not re.fullmatch(rb"[0-7]{11}", raw_size) or int(raw_size, 8) > UPDATE_MANIFEST_BYTES_MAX:
        raise ProtocolError(Reject.BAD_ENCODING, "no manifest at the beginning")
    manifest, at = _take(data, 0, MANIFEST, int(raw_size, 8))
    needs, measurement, listed = _read_manifest(manifest)
    files: dict[str, bytes] = {}
    for name, size, digest in listed:
        files[name], at = _take(data, at, name, size)
        if hashlib.sha256(files[name]).hexdigest() != digest:
            raise ProtocolError(Reject.BAD_ENCODING, f"{name} is not the manifest's")
    if data[at:] != _END:
        raise ProtocolError(Reject.BAD_ENCODING, "it does not end where the manifest ends")
    return Bundle(needs=needs, measurement=measurement, files=files, manifest=manifest)


def read_needs(content: object) -> Needs:
    """Read the custom field of a target, or the same keys of a manifest; others are passed over.

    Raises:
        ProtocolError: BAD_FIELD.
    """
    if not isinstance(content, dict):
        raise ProtocolError(Reject.BAD_FIELD, "what a release needs is not said")
    hardware, agent = content.get("hardware"), content.get("agent")
    if not isinstance(hardware, list) or not hardware or len(hardware) > UPDATE_WORD_CHARS_MAX:
        raise ProtocolError(Reject.BAD_FIELD, "hardware")
    for word in (agent, *hardware):
        is_word = isinstance(word, str) and len(word) <= UPDATE_WORD_CHARS_MAX and _WORD.fullmatch(word)
        if not is_word:
            raise ProtocolError(Reject.BAD_FIELD, "agent or hardware")
    numbers = [_number(content, name) for name in ("release", "mcu", "min_mcu", "floor")]
    release, mcu, min_mcu, floor = numbers
    if release < 1 or floor > release:
        raise ProtocolError(Reject.BAD_FIELD, "a release begins at 1 and stands on or above its floor")
    return Needs(
        release=release, agent=str(agent), mcu=mcu, min_mcu=min_mcu, hardware=tuple(hardware), floor=floor
    )


def _number(content: dict[str, object], name: str) -> int:
    value = content.get(name)
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= UPDATE_NUMBER_MAX:
        raise ProtocolError(Reject.BAD_FIELD, name)
    return value


def _read_manifest(data: bytes) -> tuple[Needs, bytes, list[tuple[str, int, str]]]:
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as failure:
        raise ProtocolError(Reject.BAD_ENCODING, "manifest") from failure
    if not isinstance(content, dict) or content.get("version") != VERSION:
        raise ProtocolError(Reject.BAD_FIELD, "version of the manifest")
    listed, measurement = content.get("files"), content.get("measurement")
    if not isinstance(measurement, str) or not _HEX.fullmatch(measurement):
        raise ProtocolError(Reject.BAD_FIELD, "measurement")
    if not isinstance(listed, list) or len(listed) > UPDATE_FILES_MAX:
        raise ProtocolError(Reject.BAD_FIELD, "files")
    files = [_read_file(item) for item in listed]
    names = [name for name, _, _ in files]
    if names != sorted(set(names)) or {name.split("/")[0] for name in names} != set(PARTS):
        raise ProtocolError(Reject.BAD_FIELD, "files are sorted, named once, and of all four parts")
    return read_needs(content), bytes.fromhex(measurement), files


def _read_file(item: object) -> tuple[str, int, str]:
    if not isinstance(item, dict):
        raise ProtocolError(Reject.BAD_FIELD, "file")
    name, digest = item.get("path"), item.get("sha256")
    if not isinstance(name, str) or len(name) > _NAME_CHARS_MAX or not _NAME.fullmatch(name):
        raise ProtocolError(Reject.BAD_FIELD, "name of a file")
    if not isinstance(digest, str) or not _HEX.fullmatch(digest):
        raise ProtocolError(Reject.BAD_FIELD, "hash of a file")
    return name, _number(item, "bytes"), digest


def _header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o644
    return info.tobuf(tarfile.USTAR_FORMAT)


def _member(name: str, data: bytes) -> bytes:
    return _header(name, len(data)) + data + bytes(-len(data) % _BLOCK)


def _take(data: bytes, at: int, name: str, size: int) -> tuple[bytes, int]:
    begin, end = at + _BLOCK, at + _BLOCK + size
    content, padding = data[begin:end], bytes(-size % _BLOCK)
    is_whole = len(content) == size and data[end : end + len(padding)] == padding
    if data[at:begin] != _header(name, size) or not is_whole:
        raise ProtocolError(Reject.BAD_ENCODING, f"{name}: header, length or padding")
    return content, end + len(padding)
