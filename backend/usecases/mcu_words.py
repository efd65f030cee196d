"""A microcontroller's word: what its own key D1 has signed about itself, and nothing else.

Example:
    >>> opened_by(Kind.CHALLENGE, payload, mcu)[9]
    1
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from protocol import orders_payload
from protocol.envelope import Kind, open_sign1
from protocol.errors import ProtocolError, Reject
from protocol.ids import public_key_from_cose
from protocol.limits import ORDER_BYTES_MAX

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

    from backend.store.mcus import Mcu


def opened_by(kind: Kind, payload: bytes, mcu: Mcu) -> dict[int, Any]:
    """Return the fields of a document that the microcontroller of this box has signed about itself.

    Raises:
        ProtocolError: As `open_sign1`; BAD_FIELD for another form; WRONG_DEVICE.
    """
    message = open_sign1(payload, kind, keys_of(mcu), max_bytes=ORDER_BYTES_MAX)
    try:
        fields: dict[int, Any] = orders_payload.read_document(kind.value, message.payload)
    except ValueError as error:
        raise ProtocolError(Reject.BAD_FIELD, f"{kind.value}: {error}") from error
    if fields[2].hex() != mcu.mcu_id:
        raise ProtocolError(Reject.WRONG_DEVICE, "it names another microcontroller")
    return fields


class _Keys:
    """Gives D1 for its own kid and nothing else."""

    def __init__(self, mcu: Mcu) -> None:
        self._mcu = mcu

    def __call__(self, kid: bytes) -> EllipticCurvePublicKey | None:
        return _parsed(self._mcu.cose_key) if kid.hex() == self._mcu.mcu_id else None


def keys_of(mcu: Mcu) -> _Keys:
    """Return a lookup that knows this microcontroller's key D1 and no other."""
    return _Keys(mcu)


@lru_cache(maxsize=16_384)
def _parsed(cose_key: bytes) -> EllipticCurvePublicKey:
    return public_key_from_cose(cose_key)
