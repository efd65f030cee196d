"""Private keys and certificates as files: written once, mode 0600, whole or not at all.

Rules:
- A new key never overwrites a file.
- A key file that others can read is refused, with the command that closes it.
- No key travels in a log, an error or an argument: errors name the path only.

Example:
    >>> key = make_private_key(home / "keys" / "receipt.key")
    >>> load_private_key(home / "keys" / "receipt.key").public_key() == key.public_key()
    True
"""

import os
import secrets
import stat
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from backend.errors import SecretError

PRIVATE: Final = 0o600
PUBLIC: Final = 0o644
_PRIVATE_FOLDER: Final = 0o700


def make_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Make a P-256 key and write it as PEM PKCS#8.

    Raises:
        SecretError: There is a file of that name, or it cannot be written.
    """
    key = generate_private_key(SECP256R1())
    write_new(path, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), mode=PRIVATE)
    return key


def load_private_key(path: Path) -> EllipticCurvePrivateKey:
    """Read a P-256 key that only its owner can read.

    Raises:
        SecretError: It is missing, open to others, or not such a key.
    """
    try:
        key = load_pem_private_key(read_private(path), password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as broken:
        raise SecretError(what=f"{path} is not an unencrypted private key in PEM") from broken
    if not isinstance(key, EllipticCurvePrivateKey) or not isinstance(key.curve, SECP256R1):
        raise SecretError(what=f"{path} is not a key on P-256")
    return key


def make_secret(path: Path, *, length: int) -> bytes:
    """Make random bytes and write them."""
    secret = secrets.token_bytes(length)
    write_new(path, secret, mode=PRIVATE)
    return secret


def read_private(path: Path) -> bytes:
    """Read a file that only its owner can read.

    Raises:
        SecretError: It is missing, unreadable, or open to others.
    """
    try:
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            raise SecretError(
                what=f"{path} is open to others (mode {mode:04o})", next_step=f"chmod 600 {path}"
            )
        return path.read_bytes()
    except OSError as failed:
        raise SecretError(what=f"{path} cannot be read: {failed.strerror}") from failed


def load_certificate(path: Path) -> x509.Certificate:
    """Read one certificate.

    Raises:
        SecretError: It is missing or not one.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as failed:
        raise SecretError(what=f"{path} cannot be read: {failed.strerror}") from failed
    except ValueError as broken:
        raise SecretError(what=f"{path} is not a certificate in PEM") from broken


def write_new(path: Path, content: bytes, *, mode: int) -> None:
    """Write a file that does not exist yet, durably, with its final mode from the first byte on.

    Raises:
        SecretError: It exists, or cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=_PRIVATE_FOLDER)
        part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.link(part, path)  # fails when `path` exists, so two set-ups at once cannot mix their keys
        finally:
            part.unlink()
        sync_folder(path.parent)
    except OSError as failed:
        raise SecretError(what=f"{path} cannot be written: {failed.strerror}") from failed


def replace_public(path: Path, content: bytes) -> None:
    """Write a public file in place of any older one; a reader sees the old or the new one whole.

    Raises:
        SecretError: It cannot be written.
    """
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    write_new(part, content, mode=PUBLIC)
    part.replace(path)
    sync_folder(path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
