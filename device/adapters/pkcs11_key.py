"""The box's signing key in a PKCS#11 token: a secure element, an HSM, softhsm2. It stays there.

Rules:
- The token and the key are named by their labels; the PIN stands in a file of mode 0600.
- The key is made in the token, sensitive and not extractable, and its like is all that is taken over when a
  key of that label is there already.
- One session stays open while the process lives: logging in for each batch would cost more than signing. A
  token that was pulled out ends the process; its supervisor starts it again.
- The token signs the SHA-256 digest (CKM_ECDSA); each signature is brought to low s and verified before use.

This module is imported only by a box that has a token: python-pkcs11 is the extra `pkcs11`.

Example:
    key = open_pkcs11_key(TokenPlace(module=module, token="box", label="d2", pin_file=pin))
    key.sign(b"message")

Source: PKCS#11 v3.0 §2.3.6 (ECDSA without hashing, r‖s), §4.9 (CKA_EXTRACTABLE, CKA_NEVER_EXTRACTABLE).
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any, Final

import pkcs11
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, EllipticCurvePublicKey
from pkcs11 import Attribute, ObjectClass
from pkcs11.util.ec import encode_named_curve_parameters

from device.adapters.key_store_errors import KeyStoreError, read_private
from protocol.envelope import normalise_low_s, verify_raw
from protocol.errors import ProtocolError
from protocol.ids import thumbprint

if TYPE_CHECKING:
    from device.adapters.key_store_record import TokenPlace

_P256: Final = encode_named_curve_parameters("secp256r1")
_OCTETS: Final = bytes([0x04, 65])  # head of the DER OCTET STRING around 04 ‖ x ‖ y


class Pkcs11Key:
    """A key in a token, in an open session.

    Attributes:
        kid: thumbprint of the public key.
        public_key: as the token shows it.
    """

    def __init__(self, private: Any, public_key: EllipticCurvePublicKey) -> None:  # noqa: ANN401 - pkcs11's own mixins
        self._private = private
        self.public_key: Final = public_key
        self.kid: Final = thumbprint(public_key)

    def sign(self, message: bytes) -> bytes:
        """Return r‖s over SHA-256 of the message: 64 bytes with s ≤ n/2.

        Raises:
            KeyStoreError: the token refuses, or what it returns does not verify.
        """
        digest = hashlib.sha256(message).digest()
        try:
            signature = normalise_low_s(bytes(self._private.sign(digest, mechanism=pkcs11.Mechanism.ECDSA)))
            verify_raw(self.public_key, message, signature)
        except pkcs11.PKCS11Error as failed:
            raise _error(f"the token does not sign: {_reason(failed)}", is_transient=True) from failed
        except ProtocolError as wrong:
            raise _error("the token returned a signature that does not verify") from wrong
        return signature


def make_pkcs11_key(place: TokenPlace) -> Pkcs11Key:
    """Make a key pair that can never leave the token, or take over the one that an earlier run left there.

    Raises:
        KeyStoreError: no such library or token, the PIN is wrong or not readable, the key there can leave.
    """
    session = _session(place, rw=True)
    try:
        if not _objects(session, place, ObjectClass.PRIVATE_KEY):
            parameters = session.create_domain_parameters(
                pkcs11.KeyType.EC, {Attribute.EC_PARAMS: _P256}, local=True
            )
            parameters.generate_keypair(
                store=True,
                label=place.label,
                private_template={Attribute.SENSITIVE: True, Attribute.EXTRACTABLE: False},
            )
    except pkcs11.PKCS11Error as failed:
        raise _error(f"the token makes no key: {_reason(failed)}") from failed
    return _key(session, place)


def open_pkcs11_key(place: TokenPlace) -> Pkcs11Key:
    """Return the key; its session stays open.

    Raises:
        KeyStoreError: as `make_pkcs11_key`; there is no such key.
    """
    return _key(_session(place, rw=False), place)


def _session(place: TokenPlace, *, rw: bool) -> Any:  # noqa: ANN401 - pkcs11's own class
    try:
        pin = read_private(place.pin_file, next_step="change the token's PIN and write it with mode 0600")
    except OSError as failure:
        raise _error(
            f"the token's PIN cannot be read: {place.pin_file}: {failure.strerror or failure}",
            next_step="write it there, mode 0600, owned by the agent's user",
        ) from failure
    try:
        token = pkcs11.lib(str(place.module)).get_token(token_label=place.token)
        return token.open(user_pin=pin.decode().strip(), rw=rw)
    except pkcs11.PinLocked as locked:
        raise _error(
            f"the token {place.token} is locked after wrong PINs", next_step="its security officer opens it"
        ) from locked
    except pkcs11.PinIncorrect as wrong:
        raise _error(
            f"the token {place.token} refuses the PIN",
            next_step="correct the file; a token locks itself after a few wrong PINs",
        ) from wrong
    except pkcs11.NoSuchToken as missing:
        raise _error(f"there is no token {place.token}", next_step="is it plugged in?") from missing
    except (pkcs11.PKCS11Error, RuntimeError, OSError, UnicodeDecodeError) as failed:
        raise _error(f"the token {place.token} cannot be used: {_reason(failed)}") from failed


def _key(session: Any, place: TokenPlace) -> Pkcs11Key:  # noqa: ANN401 - pkcs11's own class
    try:
        private, public = (
            _objects(session, place, kind) for kind in (ObjectClass.PRIVATE_KEY, ObjectClass.PUBLIC_KEY)
        )
        if len(private) != 1 or len(public) != 1:
            raise _error(
                f"the token {place.token} has {len(private)} private and {len(public)} public keys "
                f"{place.label}, not one of each"
            )
        if private[0][Attribute.EXTRACTABLE] or not private[0][Attribute.SENSITIVE]:
            raise _error(
                f"the key {place.label} can be taken out of the token {place.token}",
                next_step="name another label: a key is made that cannot",
            )
        point, curve = bytes(public[0][Attribute.EC_POINT]), bytes(public[0][Attribute.EC_PARAMS])
    except pkcs11.PKCS11Error as failed:
        raise _error(f"the token {place.token} does not show its key: {_reason(failed)}") from failed
    if curve != _P256 or point[:2] != _OCTETS:
        raise _error(f"the key {place.label} is not on P-256", next_step="name another label")
    return Pkcs11Key(private[0], EllipticCurvePublicKey.from_encoded_point(SECP256R1(), point[2:]))


def _objects(session: Any, place: TokenPlace, kind: ObjectClass) -> list[Any]:  # noqa: ANN401 - pkcs11's own class
    wanted = {Attribute.CLASS: kind, Attribute.KEY_TYPE: pkcs11.KeyType.EC, Attribute.LABEL: place.label}
    return list(session.get_objects(wanted))


def _error(what: str, *, is_transient: bool = False, next_step: str = "") -> KeyStoreError:
    return KeyStoreError(what, is_transient=is_transient, meaning="the box cannot sign", next_step=next_step)


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
