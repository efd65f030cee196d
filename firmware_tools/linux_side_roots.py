"""What a box's Linux is to the depot: it can be looked at, read and written, and when it runs, run programs.

Rules:
- An image's folder (`linux_side_image`) and a machine over SSH (`linux_side_ssh`) show the same four things.
- A file is written beside its place and renamed over it, so that a box whose power goes has the old file or
  the new one. It belongs to whoever owns `/etc` there.

It decides nothing about what should be there (`linux_side` does).

Example:
    found = root.read(["/etc/hostname"])
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from firmware_tools.cli_errors import ToolError
from firmware_tools.depot_codes import DepotCode

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KIBIBYTE: Final = 1_024
RELEASES: Final = ("etc/os-release", "usr/lib/os-release")


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What stands at a path: a file's bytes and mode, or a link's target."""

    data: bytes = b""
    mode: int = 0o644
    target: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ran:
    """What a program did: exit code, output, what it complained."""

    code: int
    out: str
    err: str


class Root(Protocol):
    """A Linux that can be looked at and written."""

    @property
    def is_live(self) -> bool:
        """Whether it is a machine that runs, rather than an image."""
        ...

    def look(self) -> str:
        """Return the name of the system, having found it writable and with room.

        Raises:
            ToolError: NOT_LINUX, READ_ONLY, NO_ROOM, or it is not reached.
        """
        ...

    def read(self, paths: Sequence[str]) -> dict[str, Entry | None]:
        """Return what stands at some paths; None for nothing."""
        ...

    def write(self, entries: Mapping[str, Entry]) -> None:
        """Write files and links."""
        ...

    def run(self, words: Sequence[str], *, user: str | None = None, secret: str = "") -> Ran:
        """Run a program there; only on a machine that runs.

        Args:
            words: the program and its arguments.
            user: who runs it; None for whoever we are there.
            secret: becomes `TBOX_ENROL_TOKEN`, and stands on no command line.
        """
        ...


def pretty_name(release: str) -> str:
    """Return how a system calls itself in its os-release."""
    for line in release.splitlines():
        name, _, value = line.partition("=")
        if name == "PRETTY_NAME":
            return value.strip("\"'")
    return "Linux"


def not_linux(name: str) -> ToolError:
    """Return the refusal of what is no box's root."""
    return ToolError(
        DepotCode.NOT_LINUX,
        f"{name} is not the root of a Linux with systemd: mount the image's root partition and name it.",
    )


def read_only(name: str) -> ToolError:
    """Return the refusal of a root that cannot be written."""
    return ToolError(
        DepotCode.READ_ONLY, f"{name} cannot be written: mount it with `-o rw`, and run this as root."
    )


def no_room(name: str, free: int, wanted: int) -> ToolError:
    """Return the refusal of a root that is nearly full, with bytes free and wanted."""
    return ToolError(
        DepotCode.NO_ROOM,
        f"{name} has {free // KIBIBYTE} KiB left and needs {wanted // KIBIBYTE} KiB: enlarge it.",
    )


def in_the_way(path: str) -> ToolError:
    """Return the refusal of a path where something unexpected stands."""
    return ToolError(
        DepotCode.IN_THE_WAY, f"{path} is something else than a file or folder there: look, and move it away."
    )
