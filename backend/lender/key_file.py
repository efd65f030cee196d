"""An officer's key as an encrypted file: P-256, sealed with AES-256-GCM under scrypt of a passphrase.

Rules (K-06): made on the officer's own machine; there is no recovery, no escrow and no copy. The file names
its public key, and everything in it is authenticated, so that a swapped cost, salt or public key is found as
a wrong passphrase is. A key file is written once, mode 0600.

This module asks nobody for a passphrase: see `passphrase`.

Example:
    >>> made = new_key_file(Path("maker.key"), "correct horse battery staple")
    >>> open_key_file(Path("maker.key"), "correct horse battery staple").kid == made
    True

Source: RFC 7914 (scrypt), NIST SP 800-38D (GCM).
"""

import json
import secrets
from pathlib import Path
from typing import Any, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    derive_private_key,
    generate_private_key,
)
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from backend.lender.errors import KeyFileError, LenderError
from backend.lender.files import PRIVATE, read_json, read_secret, to_json, write_new
from backend.lender.limits import SCRYPT_LOG2_N, SCRYPT_LOG2_N_MAX, SCRYPT_LOG2_N_MIN
from protocol.envelope import SoftwareSigner
from protocol.errors import ProtocolError
from protocol.ids import cose_key_bytes, public_key_from_cose, thumbprint

MARK: Final = "tbox_key_file"
_R, _P = 8, 1
_SCALAR_BYTES = 32
_FORM = {"cose_key": 75, "salt": 16, "nonce": 12, "sealed": 48}  # bytes of each, in hex
_MEMBERS = {MARK, "kdf", "log2_n", "cipher", *_FORM}
_KDF, _CIPHER = "scrypt r=8 p=1", "AES-256-GCM"


def new_key_file(path: Path, passphrase: str, *, log2_n: int = SCRYPT_LOG2_N) -> bytes:
    """Make a key and write it, sealed.

    Args:
        path: must not exist.
        passphrase: opens it.
        log2_n: cost of scrypt.

    Returns:
        The key's kid, 32 bytes.

    Raises:
        LenderError: the file exists or cannot be written.
    """
    key = generate_private_key(SECP256R1())
    content: dict[str, Any] = {
        MARK: 1,
        "cose_key": cose_key_bytes(key.public_key()).hex(),
        "kdf": _KDF,
        "log2_n": log2_n,
        "salt": secrets.token_bytes(_FORM["salt"]).hex(),
        "cipher": _CIPHER,
        "nonce": secrets.token_bytes(_FORM["nonce"]).hex(),
    }
    scalar = key.private_numbers().private_value.to_bytes(_SCALAR_BYTES, "big")
    content["sealed"] = (
        _cipher(content, passphrase)
        .encrypt(bytes.fromhex(content["nonce"]), scalar, _authenticated(content))
        .hex()
    )
    write_new(path, to_json(content), mode=PRIVATE)
    return thumbprint(key.public_key())


def read_public_key(path: Path) -> EllipticCurvePublicKey:
    """Return the public key that a key file names; without a passphrase it is a claim.

    Raises:
        KeyFileError: not a key file.
    """
    return _public_key(path, _read(path))


def open_key_file(path: Path, passphrase: str) -> SoftwareSigner:
    """Open a key file.

    Raises:
        KeyFileError: missing, open to others, not a key file, or the passphrase does not open it.
    """
    content = _read(path)
    named = _public_key(path, content)
    try:
        scalar = _cipher(content, passphrase).decrypt(
            bytes.fromhex(content["nonce"]), bytes.fromhex(content["sealed"]), _authenticated(content)
        )
    except InvalidTag as wrong:
        raise KeyFileError(f"the passphrase does not open {path}, or the file was altered") from wrong
    signer = SoftwareSigner(derive_private_key(int.from_bytes(scalar, "big"), SECP256R1()))
    if signer.kid != thumbprint(named):
        raise KeyFileError(f"{path} names another public key than it holds")
    return signer


def _read(path: Path) -> dict[str, Any]:
    read_secret(path)  # refuses a file that others can read
    try:
        content = read_json(path, MARK)
    except LenderError as other:
        raise KeyFileError(other.what) from other
    if set(content) != _MEMBERS or content["kdf"] != _KDF or content["cipher"] != _CIPHER:
        raise KeyFileError(f"{path} is a key file of another version")
    is_cost = (
        isinstance(content["log2_n"], int) and SCRYPT_LOG2_N_MIN <= content["log2_n"] <= SCRYPT_LOG2_N_MAX
    )
    if not is_cost or not all(_is_hex(content[name], size) for name, size in _FORM.items()):
        raise KeyFileError(f"{path} is damaged")
    return content


def _public_key(path: Path, content: dict[str, Any]) -> EllipticCurvePublicKey:
    try:
        return public_key_from_cose(bytes.fromhex(content["cose_key"]))
    except ProtocolError as broken:
        raise KeyFileError(f"{path} is damaged") from broken


def _is_hex(text: object, size: int) -> bool:
    try:
        return isinstance(text, str) and len(bytes.fromhex(text)) == size
    except ValueError:
        return False


def _cipher(content: dict[str, Any], passphrase: str) -> AESGCM:
    kdf = Scrypt(salt=bytes.fromhex(content["salt"]), length=32, n=1 << content["log2_n"], r=_R, p=_P)
    return AESGCM(kdf.derive(passphrase.encode()))


def _authenticated(content: dict[str, Any]) -> bytes:
    return json.dumps({name: content[name] for name in sorted(_MEMBERS - {"sealed"})}).encode()
