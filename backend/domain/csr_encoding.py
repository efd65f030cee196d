r"""One misspelling of a certificate request that is read all the same: NULL parameters in ECDSA's algorithm.

Rules:
- RFC 5758 §3.2 says that `ecdsa-with-SHA256` has no parameters. Debian 12's provider for TPM keys
  (tpm2-openssl 1.1) writes a NULL there, and strict readers refuse the whole request.
- The NULL is left out of `signatureAlgorithm`, where it stands beside the signed part; not a bit of what was
  signed changes, so the signature is verified over exactly what the key's holder sent.
- Nothing else is mended: another algorithm, other parameters, a longer spelling of a length, bytes after the
  end are left as they are, for the strict reader to refuse.

It does not say that a request is good; it only returns another spelling of it.

Example:
    >>> without_null(b"not a request") is None
    True

Source: RFC 2986 §4.2 (CertificationRequest), RFC 5758 §3.2, X.690 §10.1 (shortest lengths).
"""

import base64
import binascii
import re
from typing import Final

_BARE: Final = bytes.fromhex("300a06082a8648ce3d040302")
_WITH_NULL: Final = bytes.fromhex("300c06082a8648ce3d0403020500")
_SEQUENCE: Final = 0x30
_LONG: Final = 0x80
_PEM = re.compile(
    r"\s*-----BEGIN CERTIFICATE REQUEST-----\s+([A-Za-z0-9+/=\s]+)-----END CERTIFICATE REQUEST-----\s*"
)
_BYTES_MAX: Final = 0xFFFF


def der_of(pem: str) -> bytes | None:
    """Return the bytes of one request in PEM; None when it is no such text."""
    found = _PEM.fullmatch(pem)
    try:
        return None if found is None else base64.b64decode("".join(found[1].split()), validate=True)
    except binascii.Error:
        return None


def without_null(der: bytes) -> bytes | None:
    """Return a request as it should have been written, if the NULL is all that is wrong with its frame.

    Returns:
        The request in DER with the same signed part and signature; None when there is no such NULL.
    """
    whole = _sequence(der, 0)
    if whole is None or whole[1] != len(der):
        return None
    signed = _sequence(der, whole[0])
    if signed is None or not der.startswith(_WITH_NULL, signed[1]):
        return None
    body = der[whole[0] : signed[1]] + _BARE + der[signed[1] + len(_WITH_NULL) :]
    return bytes([_SEQUENCE]) + _length(len(body)) + body


def _sequence(der: bytes, at: int) -> tuple[int, int] | None:
    """Return where the content of the SEQUENCE at `at` begins and ends; None when it is none of ours."""
    if der[at : at + 1] != bytes([_SEQUENCE]) or at + 1 >= len(der):
        return None
    wide = der[at + 1] - _LONG if der[at + 1] > _LONG else 0
    size = int.from_bytes(der[at + 2 : at + 2 + wide], "big") if wide else der[at + 1]
    start = at + 2 + wide
    if size > _BYTES_MAX or der[at + 1 : start] != _length(size) or start + size > len(der):
        return None
    return start, start + size


def _length(size: int) -> bytes:
    """Return a length in its shortest spelling."""
    if size < _LONG:
        return bytes([size])
    octets = size.to_bytes((size.bit_length() + 7) // 8, "big")
    return bytes([_LONG + len(octets)]) + octets
