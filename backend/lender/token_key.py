"""An officer's key in a PKCS#11 token: a smart card, a USB key, an HSM. It signs there and never leaves.

Rules (§4.1): the key is named as RFC 7512 does, `pkcs11:token=NAME;object=LABEL`; the PIN is asked at the
terminal or read from a file, and a URI that carries one is refused. The token signs the SHA-256 digest
(CKM_ECDSA); the signature is normalised to low s and verified before it is used, so that a faulty token is
found here and not by the car.

This module is imported only when a token is named: an officer with a key file needs no PKCS#11 library.

Example:
    >>> with open_token_key("pkcs11:token=maker;object=sign", module, pin) as signer:
    ...     signer.kid

Source: PKCS#11 v3.0 §2.3.6 (ECDSA without hashing, r‖s), RFC 7512 (URI).
"""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote

import pkcs11
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from pkcs11.util.ec import encode_named_curve_parameters

from backend.lender.errors import KeyFileError
from protocol.envelope import normalise_low_s, verify_raw
from protocol.errors import ProtocolError
from protocol.ids import thumbprint

SCHEME: Final = "pkcs11:"
_POINT_BYTES = 65  # 04 ‖ x ‖ y
_OCTETS = bytes([0x04, _POINT_BYTES])  # head of the DER OCTET STRING around it
_P256 = encode_named_curve_parameters("secp256r1")


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenUri:
    """Which key of which token.

    Attributes:
        token: label of the token.
        label: label of the key pair.
    """

    token: str
    label: str


class TokenSigner:
    """A key in a token, in an open session.

    Attributes:
        kid: thumbprint of the public key.
        public_key: as the token shows it.
    """

    def __init__(self, private: Any, public_key: EllipticCurvePublicKey) -> None:  # noqa: ANN401  # pkcs11's own mixins
        self._private = private
        self.public_key: Final = public_key
        self.kid: Final = thumbprint(public_key)

    def sign(self, message: bytes) -> bytes:
        """Return r‖s over SHA-256 of the message: 64 bytes with s ≤ n/2.

        Raises:
            KeyFileError: the token refuses, or what it returns does not verify.
        """
        digest = hashlib.sha256(message).digest()
        try:
            signature = bytes(self._private.sign(digest, mechanism=pkcs11.Mechanism.ECDSA))
            normalised = normalise_low_s(signature)
            verify_raw(self.public_key, message, normalised)
        except pkcs11.PKCS11Error as failed:
            raise KeyFileError(f"the token does not sign: {_reason(failed)}") from failed
        except ProtocolError as wrong:
            raise KeyFileError("the token returned a signature that does not verify") from wrong
        return normalised


def parse_uri(text: str) -> TokenUri:
    """Read a key's URI.

    Raises:
        KeyFileError: another form, or one with a PIN in it.
    """
    path, _, query = text.removeprefix(SCHEME).partition("?")
    named = dict(part.partition("=")[::2] for part in path.split(";"))
    if "pin-value" in text or "pin-source" in text:
        raise KeyFileError(
            "a PIN does not belong into the name of a key", next_step="leave it out: you will be asked for it"
        )
    if query or set(named) != {"token", "object"} or not all(named.values()):
        raise KeyFileError(
            "a token's key is named pkcs11:token=NAME;object=LABEL",
            next_step="the library is `pkcs11_module` of lender.toml, or --pkcs11-module",
        )
    return TokenUri(token=unquote(named["token"]), label=unquote(named["object"]))


@contextmanager
def open_token_key(uri: str, module: Path, pin: str) -> Iterator[TokenSigner]:
    """Open a session in which a key signs.

    Raises:
        KeyFileError: no such library, token or key, or the PIN is wrong.
    """
    names = parse_uri(uri)
    with _session(names, module, pin, rw=False) as session:
        private = _find(session, pkcs11.ObjectClass.PRIVATE_KEY, names)
        public = _find(session, pkcs11.ObjectClass.PUBLIC_KEY, names)
        yield TokenSigner(private, _public_key(public))


def make_token_key(uri: str, module: Path, pin: str) -> bytes:
    """Make a key pair in a token that can never be taken out, and return its kid.

    Raises:
        KeyFileError: as `open_token_key`; a key of that label exists.
    """
    names = parse_uri(uri)
    attribute = pkcs11.Attribute
    with _session(names, module, pin, rw=True) as session:
        if list(session.get_objects({attribute.LABEL: names.label})):
            raise KeyFileError(f"the token {names.token} has an object {names.label} already")
        parameters = session.create_domain_parameters(
            pkcs11.KeyType.EC, {attribute.EC_PARAMS: _P256}, local=True
        )
        public, _ = parameters.generate_keypair(
            store=True,
            label=names.label,
            private_template={attribute.SENSITIVE: True, attribute.EXTRACTABLE: False},
        )
        return thumbprint(_public_key(public))


@contextmanager
def _session(names: TokenUri, module: Path, pin: str, *, rw: bool) -> Iterator[Any]:
    """Open a session; every refusal of the library becomes one sentence without the PIN."""
    try:
        token = pkcs11.lib(str(module)).get_token(token_label=names.token)
        with token.open(user_pin=pin, rw=rw) as session:
            yield session
    except pkcs11.PinIncorrect as wrong:
        raise KeyFileError(
            f"the token {names.token} refuses the PIN",
            next_step="a token locks itself after a few wrong PINs: be sure before you try again",
        ) from wrong
    except pkcs11.NoSuchToken as missing:
        raise KeyFileError(f"there is no token {names.token}", next_step="is it plugged in?") from missing
    except (pkcs11.PKCS11Error, RuntimeError, OSError) as failed:
        raise KeyFileError(f"the token {names.token} cannot be used: {_reason(failed)}") from failed


def _find(session: Any, kind: pkcs11.ObjectClass, names: TokenUri) -> Any:  # noqa: ANN401  # pkcs11's own classes
    attribute = pkcs11.Attribute
    wanted = {attribute.CLASS: kind, attribute.KEY_TYPE: pkcs11.KeyType.EC, attribute.LABEL: names.label}
    found = list(session.get_objects(wanted))
    if len(found) != 1:
        raise KeyFileError(
            f"the token {names.token} has {len(found)} {kind.name} of the label {names.label}, not one"
        )
    return found[0]


def _public_key(public: Any) -> EllipticCurvePublicKey:  # noqa: ANN401  # pkcs11's own class
    point = bytes(public[pkcs11.Attribute.EC_POINT])
    if bytes(public[pkcs11.Attribute.EC_PARAMS]) != _P256 or point[:2] != _OCTETS:
        raise KeyFileError("the token's key is not on P-256")
    return EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point[2:])


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
