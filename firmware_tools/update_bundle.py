"""Builds the one bundle of a release from four folders, the same bytes each time.

Rules: of the agent's folder the packages that a box runs are taken, sources only; of the others every file
but hidden ones. The measurement is the image's own word (`image.json`, or the release's manifest) and is what
the microcontroller will say in its STATUS. Nothing of the machine goes in: no date, no owner, no path.

It publishes nothing (`update_repo`).

Example:
    data = build_bundle(Needs(...), Sources(agent=ROOT, mcu=image, profile=profiles, policy=policies))
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from firmware_tools.cli_errors import Exit, ToolError
from protocol.errors import ProtocolError
from protocol.update_bundle import write_bundle

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.update_bundle import Needs

AGENT_PACKAGES: Final = ("dbc", "device", "protocol", "tbox")
"""What a box runs; backend, tools and simulators stay at home."""

NOT_IN_A_BOX: Final = ("device/mcu", "protocol/vectors")
"""The microcontroller's sources go compiled under `mcu/`; vectors are for tests."""

AGENT_SUFFIXES: Final = (".py", ".json", ".toml", ".typed")
MEASURED_IN: Final = ("image.json", "manifest.json")


class BundleCode(StrEnum):
    """Why no bundle is built."""

    EMPTY_PART = "EMPTY_PART"
    NO_MEASUREMENT = "NO_MEASUREMENT"
    BAD_PART = "BAD_PART"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sources:
    """Where the four parts are.

    Attributes:
        agent: folder with the packages.
        mcu: folder of an image as `tbox install firmware build` leaves it.
        profile: folder of the car's profile and tables.
        policy: folder of policies.
    """

    agent: Path
    mcu: Path
    profile: Path
    policy: Path


def build_bundle(needs: Needs, sources: Sources) -> bytes:
    """Return the archive.

    Raises:
        ToolError: EMPTY_PART, NO_MEASUREMENT, BAD_PART; UNREADABLE when a file cannot be read.
    """
    measurement = _measurement(sources.mcu)
    files: dict[str, bytes] = {}
    try:
        for package in AGENT_PACKAGES:
            files |= dict(_agent_files(sources.agent, package))
        for part, folder in (("mcu", sources.mcu), ("profile", sources.profile), ("policy", sources.policy)):
            found = {f"{part}/{name}": data for name, data in _files(folder)}
            if not found:
                raise ToolError(
                    BundleCode.EMPTY_PART, f"There is no file in {folder}: name the {part}'s folder."
                )
            files |= found
    except OSError as failure:
        sentence = f"{failure}: make it readable and run it again."
        raise ToolError(BundleCode.BAD_PART, sentence, Exit.CUT_SHORT) from failure
    try:
        return write_bundle(needs, files, measurement=measurement)
    except ProtocolError as wrong:
        sentence = f"These parts make no bundle ({wrong}): correct what is named."
        raise ToolError(BundleCode.BAD_PART, sentence) from wrong


def _agent_files(folder: Path, package: str) -> Iterator[tuple[str, bytes]]:
    for name, data in _files(folder / package):
        path = f"{package}/{name}"
        is_ours = path.endswith(AGENT_SUFFIXES) and not path.startswith(NOT_IN_A_BOX)
        if is_ours and "__pycache__" not in path:
            yield f"agent/{path}", data


def _files(folder: Path) -> Iterator[tuple[str, bytes]]:
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and not path.is_symlink() and not any(part[0] == "." for part in name.split("/")):
            yield name, path.read_bytes()


def _measurement(folder: Path) -> bytes:
    for name in MEASURED_IN:
        try:
            measured = bytes.fromhex(json.loads((folder / name).read_bytes())["measurement"])
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if len(measured) == 32:  # noqa: PLR2004 - SHA-256
            return measured
    raise ToolError(
        BundleCode.NO_MEASUREMENT, f"{folder} holds no image: build one with `tbox install firmware build`."
    )
