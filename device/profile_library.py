"""The vehicle profiles and DBC files that come with the product.

Rules: a profile is named by its file (`vw_mqb`) or by a path. Its DBC is looked for beside it, in the folder
above it, and among those that come along.

It reads neither (`profile_reader`, `dbc_compiler`).

Example:
    >>> "vw_mqb" in shipped_profiles()
    True
"""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from device.errors import ConfigError

SUFFIX = ".toml"


def shipped_folder() -> Path:
    """Return the folder of the DBC files that come along; profiles are in `profiles` below it."""
    return Path(str(resources.files("dbc")))


def shipped_profiles() -> tuple[str, ...]:
    """Return the names of the profiles that come along, sorted."""
    return tuple(sorted(path.stem for path in (shipped_folder() / "profiles").glob(f"*{SUFFIX}")))


def find_profile(name: str) -> Path:
    """Return the file of a profile.

    Args:
        name: A path, or the name of one that comes along.

    Raises:
        ConfigError: There is none.
    """
    if name in shipped_profiles():
        return shipped_folder() / "profiles" / f"{name}{SUFFIX}"
    path = Path(name)
    if not path.is_file():
        known = ", ".join(shipped_profiles())
        raise ConfigError((f"no profile {name}: give a TOML file, or one of {known}",))
    return path


def find_dbc(profile: Path, dbc: str) -> Path | None:
    """Return the DBC that a profile names, None when it is not where it could be.

    Args:
        profile: File of the profile.
        dbc: File name.
    """
    folders = (profile.resolve().parent, profile.resolve().parent.parent, shipped_folder())
    return next((folder / dbc for folder in folders if (folder / dbc).is_file()), None)
