"""A software token for tests: softhsm2 in a folder of its own."""

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.conftest import need

MODULES = (
    "/usr/lib/softhsm/libsofthsm2.so",
    "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so",
    "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so",
)
PIN = "8207-4411-pin"


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """A token that is plugged in.

    Attributes:
        label: its name.
        module: library that speaks to it.
    """

    label: str
    module: Path


def plug_in(folder: Path, monkeypatch: pytest.MonkeyPatch, label: str = "officer") -> Token:
    """Make a softhsm2 token; the library reads its settings once a process, when it is loaded."""
    need("softhsm2-util")
    (folder / "tokens").mkdir()
    (folder / "softhsm2.conf").write_text(f"directories.tokendir = {folder / 'tokens'}\nlog.level = ERROR\n")
    monkeypatch.setenv("SOFTHSM2_CONF", str(folder / "softhsm2.conf"))
    command = [
        "softhsm2-util",
        "--init-token",
        "--free",
        "--label",
        label,
        "--pin",
        PIN,
        "--so-pin",
        "so-pin-42",
    ]
    subprocess.run(command, check=True, capture_output=True, env=dict(os.environ))
    return Token(label=label, module=next(Path(name) for name in MODULES if Path(name).exists()))
