"""On what the figures were measured: processor, cores, system, and the versions that decide them.

Rules: facts of this process and machine only; what cannot be found out reads "unknown".

Example:
    >>> this_machine().versions["python"][:2]
    '3.'
"""

from __future__ import annotations

import os
import platform
import sqlite3
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PACKAGES = (
    "numpy",
    "cantools",
    "bitstruct",
    "python-can",
    "cbor2",
    "cryptography",
    "zstandard",
    "orjson",
    "protobuf",
    "sqlalchemy",
    "sqlmodel",
    "psycopg",
)
CPU_INFO = Path("/proc/cpuinfo")


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """A line for people, and versions by name."""

    text: str
    versions: Mapping[str, str]


def this_machine() -> Machine:
    """Return where we are."""
    versions = {"python": platform.python_version(), "sqlite": sqlite3.sqlite_version}
    for package in PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    cores = os.cpu_count() or 0
    return Machine(
        text=f"{cores} × {_processor()}, {platform.system()} {platform.machine()}", versions=versions
    )


def _processor() -> str:
    """Return the processor's name."""
    try:
        lines = CPU_INFO.read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or "unknown processor"
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()
