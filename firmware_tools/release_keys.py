"""An officer's key for releases: made and kept on a machine without a network, encrypted by a passphrase.

Rules: PKCS#8 in PEM, encrypted, in a file that only its owner reads; without a passphrase there is no key.
The public half is a line of hex (COSE_Key, 75 bytes) in a file beside it, and goes into the trust file.

It says nothing of whom to trust.

Example:
    $ tbox install firmware key --out officer-1.pem
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    EllipticCurvePublicKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from firmware_tools.cli_errors import Common, ToolError
from protocol.envelope import SoftwareSigner
from protocol.errors import ProtocolError
from protocol.ids import COSE_KEY_BYTES, cose_key_bytes, public_key_from_cose
from protocol.limits import KEY_FILE_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

PASSPHRASE_BYTES_MIN: Final = 12
"""Shortest passphrase: the file may be copied before it is missed."""


def make_key(path: Path, passphrase: bytes) -> SoftwareSigner:
    """Make a key; its file must not exist.

    Raises:
        ToolError: the file exists, or the passphrase is short.
    """
    if len(passphrase) < PASSPHRASE_BYTES_MIN:
        raise ToolError(
            Common.UNREADABLE, f"A passphrase has at least {PASSPHRASE_BYTES_MIN} bytes: take a longer one."
        )
    key = generate_private_key(SECP256R1())
    data = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase))
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(data)
    except OSError as error:
        raise ToolError(
            Common.UNREADABLE, f"{path} cannot be made ({error.strerror}): name a new file."
        ) from error
    path.with_suffix(".pub").write_text(cose_key_bytes(key.public_key()).hex() + "\n", encoding="ascii")
    return SoftwareSigner(key)


def load_key(path: Path, passphrase: bytes) -> SoftwareSigner:
    """Open a key.

    Raises:
        ToolError: no such file, another passphrase, or no key of ours.
    """
    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(KEY_FILE_BYTES_MAX), passphrase)
        if not isinstance(key, EllipticCurvePrivateKey):
            raise TypeError("not on P-256")  # noqa: TRY301 - as a key on another curve
        return SoftwareSigner(key)
    except OSError as error:
        raise ToolError(
            Common.NO_FILE, f"{path} cannot be read ({error.strerror}): name the key's file."
        ) from error
    except (ValueError, TypeError) as error:
        raise ToolError(
            Common.UNREADABLE, f"{path} is no encrypted P-256 key, or the passphrase is another: try again."
        ) from error


def read_public(path: Path) -> EllipticCurvePublicKey:
    """Read a public key's file.

    Raises:
        ToolError: no such file, or no key of ours.
    """
    try:
        with path.open("rb") as file:
            return public_key_from_cose(
                bytes.fromhex(file.read(2 * COSE_KEY_BYTES + 2).decode("ascii").strip())
            )
    except OSError as error:
        raise ToolError(
            Common.NO_FILE, f"{path} cannot be read ({error.strerror}): name a .pub file."
        ) from error
    except (ValueError, ProtocolError) as error:
        raise ToolError(
            Common.UNREADABLE, f"{path} holds no public key: take the officer's .pub file."
        ) from error
