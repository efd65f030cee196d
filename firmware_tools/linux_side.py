"""The Linux side of a box: which files it must have, what differs, and making it so.

Rules:
- What a box gets is the tree `deploy/box` as it stands there, path for path, with the bit rate and the key
  store filled in, and the links that switch its units on. Files only: users come from `sysusers.d`, folders
  from `tmpfiles.d`, so that an image that does not run can be prepared as well as a machine that does.
- Writing twice changes nothing the second time. `difference` is what `--dry-run` shows and `apply` does.
- Nothing is removed, and no other file of the box is changed.

It does not speak to the box (`linux_side_roots`).

Example:
    changes = difference(root, wanted(Settings(bitrate=500_000)))
    apply(root, changes)
"""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from firmware_tools.cli_errors import Common, ToolError
from firmware_tools.linux_side_roots import Entry

if TYPE_CHECKING:
    from collections.abc import Mapping

    from firmware_tools.linux_side_roots import Root

TREE: Final = Path(__file__).resolve().parents[1] / "deploy" / "box"
BITRATES: Final = (125_000, 250_000, 500_000, 800_000, 1_000_000)
KEY_STORES: Final = ("file", "tpm")
"""What needs no further settings: those of a PKCS#11 token are given to `tbox agent keys` by hand."""

_UNITS: Final = "/etc/systemd/system"
_SWITCHED_ON: Final = f"{_UNITS}/multi-user.target.wants"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What differs between boxes.

    Attributes:
        bitrate: of its CAN buses, bit/s.
        key_store: what makes its key at the first start, a member of `KEY_STORES`.
    """

    bitrate: int = 500_000
    key_store: str = "file"


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """One path that is not as it should be: what stands there, and what should."""

    path: str
    before: Entry | None
    after: Entry


def wanted(settings: Settings, tree: Path = TREE) -> dict[str, Entry]:
    """Return what a box must have, by path.

    Raises:
        ToolError: the tree is not there: the depot's tool needs the project's checkout.
    """
    files = sorted(path for path in tree.rglob("*") if path.is_file()) if tree.is_dir() else []
    if not files:
        raise ToolError(
            Common.NO_FILE, f"There is no {tree}: run the depot's tool from the project's checkout."
        )
    entries: dict[str, Entry] = {}
    for file in files:
        path = "/" + file.relative_to(tree).as_posix()
        text = file.read_text(encoding="utf-8")
        for name, value in (("@BITRATE@", settings.bitrate), ("@KEY_STORE@", settings.key_store)):
            text = text.replace(name, str(value))
        entries[path] = Entry(data=text.encode(), mode=0o644)
        if file.suffix == ".service":
            entries[f"{_SWITCHED_ON}/{file.name}"] = Entry(target=f"{_UNITS}/{file.name}", mode=0o777)
    return entries


def difference(root: Root, entries: Mapping[str, Entry]) -> list[Change]:
    """Return what is not as it should be, by path.

    Raises:
        ToolError: the box cannot be read.
    """
    found = root.read(list(entries))
    return [
        Change(path=path, before=found[path], after=after)
        for path, after in entries.items()
        if found[path] != after
    ]


def apply(root: Root, changes: list[Change]) -> None:
    """Make it as it should be, and look that it is.

    Raises:
        ToolError: the box cannot be written, or does not keep what is written.
    """
    if not changes:
        return
    after = {change.path: change.after for change in changes}
    root.write(after)
    left = difference(root, after)
    assert not left, f"written, and read back as something else: {[change.path for change in left]}"


def shown(changes: list[Change]) -> str:
    """Return the changes as a unified diff; empty for none."""
    parts: list[str] = []
    for change in changes:
        before, after = (_lines(entry) for entry in (change.before, change.after))
        old = "/dev/null" if change.before is None else change.path
        parts += difflib.unified_diff(before, after, old, change.path, n=1)
        if change.before is not None and change.before.mode != change.after.mode:
            parts.append(f"mode of {change.path}: {change.before.mode:o} -> {change.after.mode:o}\n")
    return "".join(parts)


def _lines(entry: Entry | None) -> list[str]:
    if entry is None:
        return []
    if entry.target is not None:
        return [f"-> {entry.target}\n"]
    return entry.data.decode(errors="replace").splitlines(keepends=True)
