"""Which key an officer means: a file or a token's URI, opened for as long as it signs.

Rules: `--key maker.key` is an encrypted file, `--key pkcs11:token=…;object=…` a token. A public key travels
as a small file that names its kid, for the ceremony in which the roots delegate to it.

Example:
    >>> with open_key("maker.key", Passphrase()) as signer:
    ...     signer.kid
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from typing import Protocol as Port

from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

from backend.lender.errors import KeyFileError, LenderError
from backend.lender.files import read_json, to_json
from backend.lender.key_file import MARK as KEY_FILE_MARK
from backend.lender.key_file import new_key_file, open_key_file
from backend.lender.key_file import read_public_key as read_key_files_public
from backend.lender.passphrase import Passphrase
from protocol.errors import ProtocolError
from protocol.ids import cose_key_bytes, public_key_from_cose, thumbprint

PUBLIC_MARK: Final = "tbox_public_key"
TOKEN_SCHEME: Final = "pkcs11:"  # noqa: S105  # of a URI


class KeySigner(Port):
    """A key that signs, and its public half."""

    @property
    def kid(self) -> bytes:
        """The 32-byte thumbprint."""
        ...

    @property
    def public_key(self) -> EllipticCurvePublicKey:
        """What verifies."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return r‖s over SHA-256 of the message, low s."""
        ...


def make_key(ref: str, passphrase: Passphrase, module: Path | None = None) -> bytes:
    """Make a key and return its kid.

    Raises:
        LenderError: it exists, cannot be written, or the token refuses.
    """
    if ref.startswith(TOKEN_SCHEME):
        tokens = _tokens()
        tokens.parse_uri(ref)  # a wrong name is told before a PIN is asked for
        kid: bytes = tokens.make_token_key(ref, _module(module), passphrase.read("PIN of the token"))
        return kid
    path = Path(ref)
    if path.exists():
        raise LenderError(f"{path} exists already", next_step="name another file: no key is ever overwritten")
    return new_key_file(path, passphrase.read_new(f"passphrase of {path}"))


@contextmanager
def open_key(ref: str, passphrase: Passphrase, module: Path | None = None) -> Iterator[KeySigner]:
    """Open a key for as long as the block lasts.

    Raises:
        KeyFileError: it cannot be opened.
    """
    if not ref.startswith(TOKEN_SCHEME):
        yield open_key_file(Path(ref), passphrase.read(f"passphrase of {ref}"))
        return
    tokens = _tokens()
    tokens.parse_uri(ref)
    with tokens.open_token_key(ref, _module(module), passphrase.read("PIN of the token")) as signer:
        yield signer


def read_public_key(path: Path) -> EllipticCurvePublicKey:
    """Read a public key: a file of `key show --out`, or a key file's own.

    Raises:
        LenderError: neither.
    """
    try:
        content = read_json(path, PUBLIC_MARK)
    except LenderError:
        try:
            read_json(path, KEY_FILE_MARK)
        except LenderError as neither:
            raise LenderError(
                f"{path} is not a public key of this tool",
                next_step="write one: tbox lender key show --out FILE",
            ) from neither
        return read_key_files_public(path)
    try:
        key = public_key_from_cose(bytes.fromhex(str(content.get("cose_key"))))
    except (ValueError, ProtocolError) as broken:
        raise LenderError(f"{path} is damaged: its cose_key is not a key on P-256") from broken
    if content.get("kid") != thumbprint(key).hex():
        raise LenderError(f"{path} is damaged: kid and key do not belong together")
    return key


def public_key_file(key: EllipticCurvePublicKey) -> bytes:
    """Return the file in which a public key travels."""
    return to_json({PUBLIC_MARK: 1, "kid": thumbprint(key).hex(), "cose_key": cose_key_bytes(key).hex()})


def _module(module: Path | None) -> Path:
    if module is None:
        raise KeyFileError(
            "no PKCS#11 library is named",
            next_step="set pkcs11_module in lender.toml, or give --pkcs11-module /usr/lib/…/….so",
        )
    return module


def _tokens() -> Any:  # noqa: ANN401  # a module that is imported only when a token is named
    try:
        from backend.lender import token_key  # noqa: PLC0415
    except ModuleNotFoundError as missing:
        raise KeyFileError(
            f"tokens need the package {missing.name}", next_step="pip install 'tbox[lender]'"
        ) from missing
    return token_key
