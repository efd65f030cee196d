"""Nonces for certificate renewal that the server need not remember until they are used.

A nonce is 16 bytes: the second it expires (4), random bytes (4), and HMAC-SHA256 over both and the device
id, cut to 8 bytes. So anyone may ask for one without a key and nothing grows; a nonce works for one box, for
a few minutes, and, since the used ones are kept until they expire, once. The 64-bit code only has to hold
for those minutes against guessing over the network, and a right guess still needs the box's signature.

Example:
    >>> nonce = make_nonce(secret=b"k" * 32, device_id="9f" * 32, now_us=0, random4=b"abcd")
    >>> nonce_expiry_us(nonce, secret=b"k" * 32, device_id="9f" * 32) == 300_000_000
    True
"""

import hashlib
import hmac
from typing import Final

from protocol.limits import RENEWAL_NONCE_LIFE_S_MAX

NONCE_BYTES: Final = 16
SECRET_BYTES: Final = 32
_EXPIRY_BYTES: Final = 4
_BODY_BYTES: Final = 8
_S_US: Final = 1_000_000


def make_nonce(*, secret: bytes, device_id: str, now_us: int, random4: bytes) -> bytes:
    """Return a nonce for one box that is good for the next few minutes."""
    expiry_s = now_us // _S_US + RENEWAL_NONCE_LIFE_S_MAX
    body = expiry_s.to_bytes(_EXPIRY_BYTES, "big") + random4
    assert len(body) == _BODY_BYTES, "4 bytes of expiry and 4 random ones"
    return body + _code(secret, device_id, body)


def nonce_expiry_us(nonce: bytes, *, secret: bytes, device_id: str) -> int | None:
    """Return when a nonce of this server for this box ends, µs UTC, or None when it is not one."""
    body = nonce[:_BODY_BYTES]
    if len(nonce) != NONCE_BYTES or not hmac.compare_digest(
        nonce[_BODY_BYTES:], _code(secret, device_id, body)
    ):
        return None
    return int.from_bytes(body[:_EXPIRY_BYTES], "big") * _S_US


def _code(secret: bytes, device_id: str, body: bytes) -> bytes:
    message = b"tbox/renewal-nonce/1" + bytes.fromhex(device_id) + body
    return hmac.new(secret, message, hashlib.sha256).digest()[: NONCE_BYTES - _BODY_BYTES]
