"""What the keeper needs to know: one file, read once, all problems together.

Rules: `keeper.toml` in the folder of updates. Addresses are https, or of this machine. Programs are lists of
words, no shell. The pinned root lies beside it as `root.json` and comes with the box.

    home = "/var/lib/tbox"
    board = "rp2040"
    repository = "https://updates.example/tbox/"
    backend = "https://fleet.example:8443"
    write_mcu = ["tbox", "install", "flash", "--in-car", "--json", "--release", "{image}", "--port", "…"]
    write_mcu_back = ["tbox", "install", "flash", "--in-car", "--older", "--json", "--release", "{image}", …]

Example:
    settings = read_keeper_settings(Path("/var/lib/tbox/update"))
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from device.errors import ConfigError
from protocol.limits import SETTINGS_BYTES_MAX

NAME: Final = "keeper.toml"
ROOT: Final = "root.json"
_TEXTS = ("home", "board")
_WEB = ("repository", "backend")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeeperSettings:
    """The settings.

    Attributes:
        home: the agent's home.
        board: which board the box has.
        write_mcu: program that writes a newer image.
        write_mcu_back: program that writes an older one, the same when empty.
        repository: where releases are; None asks nobody.
        backend: whom to ask which release is ours.
        ca_file: PEM of the authority of both; None uses the system's.
    """

    home: Path
    board: str
    write_mcu: tuple[str, ...]
    write_mcu_back: tuple[str, ...] = ()
    repository: str | None = None
    backend: str | None = None
    ca_file: Path | None = None


def read_keeper_settings(folder: Path) -> KeeperSettings:
    """Read `keeper.toml`.

    Raises:
        ConfigError: with every problem.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            content = tomllib.loads(file.read(SETTINGS_BYTES_MAX).decode())
    except (OSError, ValueError) as failure:
        raise ConfigError((f"{path}: {failure}",)) from failure
    known = {*_TEXTS, *_WEB, "write_mcu", "write_mcu_back", "ca_file"}
    problems = [f"{path}: unknown key {name}" for name in content if name not in known]
    missing = [name for name in _TEXTS if not isinstance(content.get(name), str) or not content[name]]
    problems += [f"{path}: {name} is a text" for name in missing]
    for name in ("write_mcu", "write_mcu_back"):
        words = content.get(name, [])
        if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
            problems.append(f"{path}: {name} is a list of words")
    if not content.get("write_mcu"):
        problems.append(f"{path}: write_mcu names the program that writes an image")
    problems += [f"{path}: {name} is an https address" for name in _WEB if not _is_address(content.get(name))]
    if ("repository" in content) != ("backend" in content):
        problems.append(f"{path}: repository and backend belong together")
    if problems:
        raise ConfigError(tuple(problems))
    authority = content.get("ca_file")
    return KeeperSettings(
        home=Path(content["home"]),
        board=content["board"],
        write_mcu=tuple(content["write_mcu"]),
        write_mcu_back=tuple(content.get("write_mcu_back", ())),
        repository=content.get("repository"),
        backend=content.get("backend"),
        ca_file=None if authority is None else Path(authority),
    )


def _is_address(value: object) -> bool:
    here = ("http://127.0.0.1", "http://localhost", "http://[::1]")
    return value is None or (isinstance(value, str) and value.startswith(("https://", *here)))
