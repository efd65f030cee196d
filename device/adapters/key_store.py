"""The box's private keys: files readable by their owner only, and D2 in a chip where there is one.

Rules:
- Two keys, never one for both: D2 signs what the box says (its first one gives the box its name), the TLS key
  only opens connections and may be replaced at every renewal.
- D2 is a file, in a PKCS#11 token or in a TPM; `signer` is the same for all three. The TLS key is always a
  file: Python's `ssl` reads no other, and what it proves is renewed by D2's signature.
- A key file that group or others could read is refused, not repaired: it may already have been copied.
- A key is never overwritten by `create` or `make_signer`; losing D2 loses the right to speak for the device.
  A key file and a record of a chip in one folder are two answers to one question, and refused.

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
from enum import StrEnum
from typing import TYPE_CHECKING
from typing import Protocol as Port

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from device.adapters.durable_file import write_durably
from device.adapters.key_store_errors import KeyStoreError, read_private
from device.adapters.key_store_record import NAME as RECORD
from device.adapters.key_store_record import Place, TokenPlace, kind_of, read_place, write_place
from device.adapters.tpm_key import TpmPlace, has_key, make_tpm_key, open_tpm_key
from protocol.envelope import Signer, SoftwareSigner
from protocol.limits import TPM_AUTH_BYTES

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["BoxKey", "KeyName", "KeyStore", "KeyStoreError"]


class BoxKey(Signer, Port):
    """A signer that can show its public key."""

    @property
    def public_key(self) -> ec.EllipticCurvePublicKey:
        """The key that verifies."""
        ...


_NEW_HOME = "enrol a new home; if you are sure that nobody read it, `chmod 600` the file"


class KeyName(StrEnum):
    """Which key; the value is the file's stem."""

    D2 = "d2"
    TLS = "tls"


class KeyStore:
    """The folder of the box's private keys.

    Args:
        folder: where the files are; made with mode 0700 when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._opened: BoxKey | None = None  # a token's session is opened once a process

    def path(self, name: KeyName) -> Path:
        """Return the file of a key, for libraries that read it themselves."""
        return self._folder / f"{name}.key"

    def exists(self, name: KeyName) -> bool:
        """Whether there is this key: a file, or D2's record of a chip."""
        return self.path(name).exists() or (name is KeyName.D2 and self._record.exists())

    @property
    def _record(self) -> Path:
        return self._folder / RECORD

    def place(self) -> Place | None:
        """Return which chip holds D2; None for a file.

        Raises:
            KeyStoreError: the record is not one of ours, or there is a key file as well.
        """
        place = read_place(self._folder)
        if place is not None and self.path(KeyName.D2).exists():
            raise KeyStoreError(
                f"two keys: {self.path(KeyName.D2)} and {self._record}",
                is_transient=False,
                meaning="nobody knows which of them is this box",
                next_step="move away the one that does not belong here",
            )
        return place

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
            raise _not_written(failure) from failure
        return key

    def load(self, name: KeyName) -> ec.EllipticCurvePrivateKey:
        """Read a key.

        Raises:
            KeyStoreError: missing, readable by others, not owned by this user, or not a P-256 key.
        """
        path = self.path(name)
        if name is KeyName.D2 and (place := self.place()) is not None:
            raise KeyStoreError(
                f"the key is in a chip ({kind_of(place)}) and cannot be read",
                is_transient=False,
                meaning="it signs there",
                next_step="use it where it is",
            )
        try:
            pem = read_private(path, next_step=_NEW_HOME)
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

    def signer(self, name: KeyName) -> BoxKey:
        """Return what signs with a key: in memory for a file, else in its chip.

        Raises:
            KeyStoreError: as `load`; the chip is away, locked, or has no such key.
        """
        place = self.place() if name is KeyName.D2 else None
        if place is None:
            return SoftwareSigner(self.load(name))
        if self._opened is None:
            self._opened = self._in_chip(place, make=False)
        return self._opened

    def make_signer(self, place: Place | None) -> BoxKey:
        """Return what signs with D2, which is made when there is none; made again, it is the same.

        Args:
            place: the chip; None for a file.

        Raises:
            KeyStoreError: D2 is somewhere else already, or as `signer` and `create`.
        """
        if self.exists(KeyName.D2):
            if (there := self.place()) != place:
                raise KeyStoreError(
                    f"key exists: D2 is in {kind_of(there)}, not in the {kind_of(place)} asked for",
                    is_transient=False,
                    meaning="a new key would make this another device",
                    next_step="name the place where it is, or use another home",
                )
            return self.signer(KeyName.D2)
        if place is None:
            return SoftwareSigner(self.create(KeyName.D2))
        self._opened = self._in_chip(place, make=True)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_place(self._folder, place)
        except OSError as failure:
            raise _not_written(failure) from failure
        return self._opened

    def _in_chip(self, place: Place, *, make: bool) -> BoxKey:
        match place:
            case TpmPlace():
                auth = self._auth()
                if make and auth is None and not has_key(place):
                    auth = self._make_auth()
                return (make_tpm_key if make else open_tpm_key)(place, auth or b"")
            case TokenPlace():
                try:
                    from device.adapters.pkcs11_key import (  # noqa: PLC0415 - only a box with a token needs it
                        make_pkcs11_key,
                        open_pkcs11_key,
                    )
                except ModuleNotFoundError as missing:
                    raise KeyStoreError(
                        f"a token needs {missing.name}",
                        is_transient=False,
                        meaning="the box cannot sign",
                        next_step="pip install 'tbox[pkcs11]'",
                    ) from missing
                return make_pkcs11_key(place) if make else open_pkcs11_key(place)

    @property
    def _auth_file(self) -> Path:
        return self._folder / "d2.auth"

    def _auth(self) -> bytes | None:
        """Return what the TPM's key asks for; None when we have no such value."""
        try:
            return bytes.fromhex(read_private(self._auth_file, next_step=_NEW_HOME).decode().strip())
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as failure:
            raise KeyStoreError(
                f"not readable: {self._auth_file}: {failure}",
                is_transient=False,
                meaning="the TPM's key does not open without it",
                next_step="restore the file from its backup, or enrol a new home",
            ) from failure

    def _make_auth(self) -> bytes:
        """Return a new value for the TPM's key, kept before the key asks for it."""
        auth = os.urandom(TPM_AUTH_BYTES)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            write_durably(self._auth_file, auth.hex().encode() + b"\n", mode=0o600)
        except OSError as failure:
            raise _not_written(failure) from failure
        return auth


def _not_written(failure: OSError) -> KeyStoreError:
    return KeyStoreError(
        f"key not written: {failure}",
        is_transient=True,
        meaning="no key was made",
        next_step="check space and rights of the folder",
    )
