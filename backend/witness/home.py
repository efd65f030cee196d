"""A witness's folder: its key (mode 0600), its name, the logs it knows, and its memory.

Example:
    >>> home = make_home(Path("/srv/witness"), name="witness.example/w1", logs=[log_key])
    >>> home.signer.key.to_text()
"""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from protocol.checkpoint import LOG_KEY, NoteError, NoteKey, NoteSigner

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class WitnessHomeError(Exception):
    """The folder is not a witness's; the text says what to do."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessHome:
    """What a witness was set up with."""

    folder: Path
    signer: NoteSigner
    logs: tuple[NoteKey, ...]

    @property
    def database(self) -> Path:
        """Its memory: a SQLite file."""
        return self.folder / "witness.sqlite"


def make_home(folder: Path, *, name: str, logs: Sequence[NoteKey]) -> WitnessHome:
    """Make a witness's folder with a new key.

    Raises:
        WitnessHomeError: there is one already, or it cannot be written.
    """
    key_file = folder / "witness.key"
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        key = Ed25519PrivateKey.generate()
        NoteSigner.of_witness(name, key)
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        descriptor = os.open(key_file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        content = {"name": name, "logs": [log.to_text() for log in logs]}
        (folder / "witness.json").write_text(json.dumps(content, indent=2) + "\n", "utf-8")
    except FileExistsError as exists:
        raise WitnessHomeError(f"{key_file} exists: a witness keeps its key") from exists
    except OSError as failed:
        raise WitnessHomeError(f"{folder} cannot be written: {failed.strerror}") from failed
    except NoteError as wrong:
        raise WitnessHomeError(str(wrong)) from wrong
    return open_home(folder)


def open_home(folder: Path) -> WitnessHome:
    """Read a witness's folder.

    Raises:
        WitnessHomeError: something is missing, open to others, or not of its form.
    """
    key_file = folder / "witness.key"
    try:
        if stat.S_IMODE(key_file.stat().st_mode) & 0o077:
            raise WitnessHomeError(f"{key_file} is open to others: chmod 600 {key_file}")
        key = load_pem_private_key(key_file.read_bytes(), password=None)
        content = json.loads((folder / "witness.json").read_text("utf-8"))
        logs = tuple(NoteKey.from_text(text) for text in content["logs"])
        name = content["name"]
    except OSError as failed:
        raise WitnessHomeError(
            f"{failed.filename} cannot be read: run `tbox backend witness init`"
        ) from failed
    except (ValueError, KeyError, TypeError) as wrong:
        raise WitnessHomeError(f"{folder} is not a witness's: {wrong}") from wrong
    if not isinstance(key, Ed25519PrivateKey):
        raise WitnessHomeError(f"{key_file} is not an Ed25519 key")
    if any(log.kind != LOG_KEY for log in logs):
        raise WitnessHomeError("a log's key has type 1")
    return WitnessHome(folder=folder, signer=NoteSigner.of_witness(name, key), logs=logs)
