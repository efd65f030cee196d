"""The log's own key and its witnesses, as files.

Rules: the key is Ed25519 (PEM PKCS#8, mode 0600) and signs checkpoints only. The witnesses are configuration:
a JSON file of names, keys and addresses; without the file there are none, which only a demonstration may be
content with.

Example:
    >>> load_log_signer(home / "keys" / "log.key", origin="log.example/tbox").key.to_text()
"""

import json
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from backend.errors import SecretError, SettingsError
from backend.store.key_files import PRIVATE, read_private, write_new
from protocol.checkpoint import WITNESS_KEY, NoteError, NoteKey, NoteSigner
from protocol.limits import WITNESSES_MAX


@dataclass(frozen=True, slots=True, kw_only=True)
class WitnessPlace:
    """A witness, and where it answers `POST <url>/add-checkpoint`."""

    key: NoteKey
    url: str


def make_log_key(path: Path) -> Ed25519PrivateKey:
    """Make the log's key and write it.

    Raises:
        SecretError: There is a file of that name, or it cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=PRIVATE)
    return key


def load_log_signer(path: Path, *, origin: str) -> NoteSigner:
    """Read the log's key.

    Raises:
        SecretError: It is missing, open to others, or not an Ed25519 key.
    """
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as broken:
        raise SecretError(what=f"{path} is not an unencrypted private key in PEM") from broken
    if not isinstance(key, Ed25519PrivateKey):
        raise SecretError(what=f"{path} is not an Ed25519 key")
    return NoteSigner.of_log(origin, key)


def load_witnesses(path: Path) -> tuple[WitnessPlace, ...]:
    """Read the witnesses; none without the file.

    Raises:
        SettingsError: It is not of its form.
    """
    try:
        text = path.read_text("utf-8")
    except FileNotFoundError:
        return ()
    except (OSError, UnicodeDecodeError) as failed:
        raise SettingsError(what=f"{path} cannot be read: {failed}") from failed
    try:
        found = tuple(_place(item) for item in json.loads(text)["witnesses"])
    except (ValueError, KeyError, TypeError) as wrong:
        raise SettingsError(
            what=f"{path}: {wrong}",
            next_step='write {"witnesses": [{"key": "name+id+base64", "url": "https://…"}]}',
        ) from wrong
    if len({place.key.name for place in found}) < len(found) or len(found) > WITNESSES_MAX:
        raise SettingsError(what=f"{path}: each witness once, at most {WITNESSES_MAX}")
    return found


def _place(item: object) -> WitnessPlace:
    if not isinstance(item, dict) or item.keys() != {"key", "url"}:
        raise ValueError("a witness has a key and a url")
    key = NoteKey.from_text(str(item["key"]))
    if key.kind != WITNESS_KEY:
        raise NoteError("a witness's key has type 4")
    url = urlsplit(str(item["url"]))
    if url.scheme not in ("http", "https") or not url.hostname:
        raise ValueError("the url of a witness is http(s)://…")
    return WitnessPlace(key=key, url=str(item["url"]).rstrip("/"))
