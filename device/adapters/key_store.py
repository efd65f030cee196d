"""The box's private keys as files: P-256, readable by their owner only, never half written.

Rules:
- Two keys, never one for both: D2 signs what the box says (its first one gives the box its name), the TLS key
  only opens connections and may be replaced at every renewal.
- A key file that group or others could read is refused, not repaired: it may already have been copied.
- A key is never overwritten by `create`; losing D2 loses the right to speak for the device.

It does not hold keys in a chip; a TPM or secure element is another `protocol.envelope.Signer`.

Example:
    >>> import tempfile
    >>> from pathlib import Path
    >>> keys = KeyStore(Path(tempfile.mkdtemp()))
    >>> created = keys.create(KeyName.D2)
    >>> keys.signer(KeyName.D2).public_key == created.public_key()
    True
"""

from __future__ import annotations

import os
import stat
from enum import StrEnum
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from device.adapters.durable_file import write_durably
from device.errors import EdgeError
from protocol.envelope import SoftwareSigner
from protocol.limits import KEY_FILE_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

FOREIGN_BITS = stat.S_IRWXG | stat.S_IRWXO


class KeyName(StrEnum):
    """Which key; the value is the file's stem."""

    D2 = "d2"
    TLS = "tls"


class KeyStoreError(EdgeError):
    """A key file is missing, unsafe or not a key of ours."""


class KeyStore:
    """The folder of the box's private keys.

    Args:
        folder: where the files are; made with mode 0700 when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def path(self, name: KeyName) -> Path:
        """Return the file of a key, for libraries that read it themselves."""
        return self._folder / f"{name}.key"

    def exists(self, name: KeyName) -> bool:
        """Whether there is a file for this key."""
        return self.path(name).exists()

    def create(self, name: KeyName) -> ec.EllipticCurvePrivateKey:
        """Make a new key and store it durably.

        Raises:
            KeyStoreError: there is one already, or the disk refused.
        """
        if self.exists(name):
            raise KeyStoreError(
                f"key exists: {self.path(name)}",
                is_transient=False,
                meaning="a new key would make this another device" if name is KeyName.D2 else "it is in use",
                next_step="use another home, or keep the key",
            )
        key = ec.generate_private_key(ec.SECP256R1())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self.path(name), pem, mode=0o600)
        except OSError as failure:
            raise KeyStoreError(
                f"key not written: {failure}",
                is_transient=True,
                meaning="no key was made",
                next_step="check space and rights of the folder",
            ) from failure
        return key

    def load(self, name: KeyName) -> ec.EllipticCurvePrivateKey:
        """Read a key.

        Raises:
            KeyStoreError: missing, readable by others, not owned by this user, or not a P-256 key.
        """
        path = self.path(name)
        try:
            with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
                _check_private(path, os.fstat(file.fileno()))
                pem = file.read(KEY_FILE_BYTES_MAX)
            key = serialization.load_pem_private_key(pem, password=None)
        except FileNotFoundError as missing:
            raise KeyStoreError(
                f"no key: {path}",
                is_transient=False,
                meaning="this home is not enrolled",
                next_step="run `tbox agent enrol`",
            ) from missing
        except (OSError, ValueError, TypeError) as failure:
            raise KeyStoreError(
                f"key not readable: {path}: {failure}",
                is_transient=False,
                meaning="the box cannot sign",
                next_step="restore the file from its backup, or enrol a new home",
            ) from failure
        if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
            raise KeyStoreError(
                f"not a P-256 key: {path}",
                is_transient=False,
                meaning="the protocol knows no other kind",
                next_step="enrol a new home",
            )
        return key

    def load_or_create(self, name: KeyName) -> ec.EllipticCurvePrivateKey:
        """Read a key, or make it when there is none.

        Raises:
            KeyStoreError: as `load` and `create`.
        """
        return self.load(name) if self.exists(name) else self.create(name)

    def signer(self, name: KeyName) -> SoftwareSigner:
        """Return a signer that holds the key in memory.

        Raises:
            KeyStoreError: as `load`.
        """
        return SoftwareSigner(self.load(name))


def _check_private(path: Path, status: os.stat_result) -> None:
    """Refuse a key that someone else could have read or swapped."""
    if status.st_mode & FOREIGN_BITS:
        raise KeyStoreError(
            f"key is open to others: {path} has mode {stat.filemode(status.st_mode)}",
            is_transient=False,
            meaning="it may have been copied, so it proves nothing any more",
            next_step="enrol a new home; if you are sure that nobody read it, `chmod 600` the file",
        )
    if status.st_uid not in (os.geteuid(), 0):
        raise KeyStoreError(
            f"key belongs to another user: {path} (uid {status.st_uid})",
            is_transient=False,
            meaning="that user can change it",
            next_step="run the agent as the user who enrolled it",
        )
