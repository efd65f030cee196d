"""What an officer's machine is set to: the server, the pins, the key. One file, read once.

Rules: paths are relative to the file's folder; secrets are named by path only; all problems are reported
together. Pins (roots, log key, cars) come from a ceremony or a contract, never from the server.

Example of `~/.config/tbox/lender.toml`:
    server = "https://fleet.example"
    ca = "fleet-ca.pem"
    api_key_file = "api.key"
    platform_root = "platform-root.json"
    lender_root = "lender-root.json"
    loan_key = "loan-system.pub"
    log_key = "log.example/tbox+3f2a9c11+AQ…"
    witnesses = ["witness.example/w1+90ab4c2e+BG…"]
    cars = "cars.json"
    key = "maker.key"
    delegations = ["maker-1.delegation"]
"""

import os
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from backend.lender.errors import LenderError, SettingsError
from backend.lender.files import read_file
from backend.lender.keys import TOKEN_SCHEME

DEFAULT_PATH: Final = "~/.config/tbox/lender.toml"
ENVIRONMENT: Final = "TBOX_LENDER_CONFIG"
_LOOPBACK: Final = ("http://127.0.0.1", "http://localhost", "http://[::1]")
_TEXTS: Final = ("server", "log_key", "key", "language")
_PATHS: Final = (
    *("ca", "api_key_file", "platform_root", "lender_root", "cars", "loan_key"),
    *("pkcs11_module", "state", "gate_ca", "gate_token_file"),
)
_LISTS: Final = ("delegations", "witnesses")
_OTHERS: Final = ("gate",)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """An officer's settings.

    Attributes:
        server: address of the API, https except on this machine.
        ca: PEM of its authority; None for the system's.
        api_key_file: mode 0600, holds the API key.
        platform_root, lender_root: root files, see `roots`.
        loan_key: public key of the loan system, that signs facts and notices.
        log_key: verifier key of the log, in the C2SP form, or None.
        witnesses: verifier keys of the witnesses whose cosignatures count, in the C2SP form.
        cars: pinned cars, see `cars`.
        key: key file or URI of a token.
        pkcs11_module: library of the token.
        delegations: this officer's delegations, as assembled.
        state: folder in which this tool keeps what it has seen and signed.
        language: of the page and of shown orders, "en" or "zh".
        gate: address of the gate, for `freeze`; None when the officer has no way to it.
        gate_ca, gate_token_file: as for the server.
    """

    server: str | None
    ca: Path | None
    api_key_file: Path | None
    platform_root: Path | None
    lender_root: Path | None
    loan_key: Path | None
    log_key: str | None
    witnesses: tuple[str, ...]
    cars: Path
    key: str | None
    pkcs11_module: Path | None
    delegations: tuple[Path, ...]
    state: Path
    language: str
    gate: str | None
    gate_ca: Path | None
    gate_token_file: Path | None


def load_settings(path: Path | None) -> Settings:
    """Read the settings.

    Args:
        path: the file; None for $TBOX_LENDER_CONFIG, else the default place.

    Raises:
        SettingsError: it is missing, or something in it is wrong; all problems together.
    """
    found = path or Path(os.environ.get(ENVIRONMENT) or DEFAULT_PATH).expanduser()
    try:
        content = tomllib.loads(read_file(found).decode())
    except LenderError as missing:
        raise SettingsError(
            missing.what, next_step="write one as docs/guides/lender.md shows, or name it with --config"
        ) from missing
    except ValueError as broken:
        raise SettingsError(f"{found} is not TOML: {broken}") from broken
    problems = list(_problems(content))
    if problems:
        raise SettingsError(f"{found}:\n" + "\n".join(f"  {problem}" for problem in problems))
    folder = found.parent
    paths = {name: folder / content[name] if name in content else None for name in _PATHS}
    key = content.get("key")
    return Settings(
        server=_address(content.get("server")),
        log_key=content.get("log_key"),
        witnesses=tuple(content.get("witnesses", ())),
        key=key if key is None or key.startswith(TOKEN_SCHEME) else str(folder / key),
        delegations=tuple(folder / name for name in content.get("delegations", ())),
        language=content.get("language", "en"),
        gate=_address(content.get("gate")),
        **(
            paths
            | {"cars": paths["cars"] or folder / "cars.json", "state": paths["state"] or folder / "state"}
        ),
    )


def module_path(module: Path | None, config: Path | None) -> Path | None:
    """Return the token's library: the one named, else the settings', else None."""
    if module is not None:
        return module
    try:
        return load_settings(config).pkcs11_module
    except SettingsError:
        if config is not None:
            raise
        return None  # without settings a key can be made all the same


def _problems(content: dict[str, Any]) -> list[str]:
    known = {*_TEXTS, *_PATHS, *_LISTS, *_OTHERS}
    found = [f"{name}: there is no such setting" for name in content if name not in known]
    texts = [content.get(name, "absent") for name in (*_TEXTS, *_PATHS, *_OTHERS)]
    if not all(isinstance(text, str) and text for text in texts):
        found.append("every setting but delegations and witnesses is text")
    for name, of in (("delegations", "file names"), ("witnesses", "verifier keys")):
        listed = content.get(name, [])
        if not isinstance(listed, list) or not all(isinstance(one, str) for one in listed):
            found.append(f"{name}: must be a list of {of}")
    for name in ("server", "gate"):
        address = content.get(name)
        if isinstance(address, str) and not address.startswith(("https://", *_LOOPBACK)):
            found.append(f"{name}: must begin with https:// (plain http only to this machine)")
    if content.get("language", "en") not in ("en", "zh"):
        found.append("language: en or zh")
    return found


def _address(text: str | None) -> str | None:
    return None if text is None else text.rstrip("/")
