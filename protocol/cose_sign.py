"""COSE_Sign for orders and COSE_Sign1 for what goes with them: the same file on CPython and on MicroPython.

Rules (C-01, C-08, C-09): COSE_Sign is tag 98, its body header is exactly {3: 60}, unprotected headers are
empty, the payload travels inside, and each signer's protected header holds algorithm -9, kid and role, and
by role the hash of a delegation, the place in the log and the gate's attestation; no other parameter exists.
COSE_Sign1 is tag 18 with exactly {1: -9, 4: kid}. Signatures are 64 bytes. Whatever differs is refused before
any signature is looked at.

This module verifies nothing by itself: it says which bytes each signature covers, and for *every* signature,
so that no reader can be content with one of them. Which keys, roles and counts must be there is
`orders_reader`'s. It has no annotations, see `strict_cbor`.

Example:
    >>> signer = protected_header(bytes(32), 2, delegation=bytes(32))
    >>> message = write_sign(b"payload", [(signer, bytes(64))])
    >>> payload, signers = read_sign(message)
    >>> payload, signers[0].role
    (b'payload', 2)

Source: RFC 9052 §4.1 (COSE_Sign), §4.2 (COSE_Sign1), §4.4 (Sig_structure); RFC 9864 (ESP256); RFC 7252 §12.3
(content format 60: application/cbor).
"""

import hashlib

from protocol import strict_cbor

ESP256 = -9
ALG, KID = 1, 4
ROLE, DELEGATION, LOG_REF, ATTESTATION = -65537, -65538, -65539, -65540

BODY = b"\xa1\x03\x18\x3c"  # {3: 60}
TAG_SIGN = b"\xd8\x62"  # 98
TAG_SIGN1 = b"\xd2"  # 18
SIGNERS_MAX = 8  # ORDER_SIGNERS_MAX of limits.py: a root's rotation has six

_SIGN1_HEAD = b"\xa2\x01\x28\x04\x58\x20"  # {1: -9, 4: 32 bytes …
_KEY_HEAD = b"\xa4\x01\x02\x20\x01\x21\x58\x20"  # {1: 2, -1: 1, -2: 32 bytes …
_KEY_MIDDLE = b"\x22\x58\x20"  # … -3: 32 bytes …
_ORIGIN_BYTES_MAX = 256
_COUNT_MAX = (1 << 53) - 1


class CoseError(ValueError):
    """The bytes are not the profile; `args[0]` is a word for the log."""


class Signer:
    """One signature of a COSE_Sign, and the header it covers.

    Attributes: kid (32 bytes), role (0 to 8), delegation (32 bytes or None), log_ref ([origin, index, size,
    root] or None), attestation ([pack version, rule ids, window count] or None), protected (as signed),
    signature (64 bytes).
    """

    def __init__(self, protected, signature):
        header = strict_cbor.loads(protected)
        if not isinstance(header, dict) or header.get(ALG) != ESP256:
            raise CoseError("ALG")
        kid, role = header.get(KID), header.get(ROLE)
        if not _is_bytes(kid, 32) or not _is_uint(role, 8):
            raise CoseError("SIGNER_HEADER")
        for label in header:
            if label not in (ALG, KID, ROLE, DELEGATION, LOG_REF, ATTESTATION):
                raise CoseError("SIGNER_HEADER")
        self.kid, self.role = kid, role
        self.delegation = header.get(DELEGATION)
        self.log_ref = header.get(LOG_REF)
        self.attestation = header.get(ATTESTATION)
        self.protected, self.signature = protected, signature
        if DELEGATION in header and not _is_bytes(self.delegation, 32):
            raise CoseError("SIGNER_HEADER")
        if (LOG_REF in header) != (ATTESTATION in header):
            raise CoseError("SIGNER_HEADER")
        if LOG_REF in header and not (_is_log_ref(self.log_ref) and _is_attestation(self.attestation)):
            raise CoseError("SIGNER_HEADER")


def protected_header(kid, role, delegation=None, log_ref=None, attestation=None):
    """Return one signer's protected header, encoded; what is None is left out."""
    named = ((DELEGATION, delegation), (LOG_REF, log_ref), (ATTESTATION, attestation))
    header = {label: value for label, value in named if value is not None}
    header.update({ALG: ESP256, KID: kid, ROLE: role})
    return strict_cbor.dumps(header)


def write_sign(payload, signatures):
    """Return the tagged COSE_Sign; `signatures` are pairs of an encoded protected header and 64 bytes."""
    parts = [[protected, {}, signature] for protected, signature in signatures]
    return TAG_SIGN + strict_cbor.dumps([BODY, {}, payload, parts])


def read_sign(data):
    """Read a COSE_Sign strictly.

    Args:
        data: the whole message, at most 2,048 bytes, or a view of the buffer it came in: no copy of the whole
            is made, since a small heap may have no such piece left.

    Returns:
        The payload's bytes and the list of `Signer`, as many as there are signatures, at least one.

    Raises:
        CBORError: not strict CBOR.
        CoseError: not the profile.
    """
    if bytes(data[:2]) != TAG_SIGN:
        raise CoseError("NOT_COSE_SIGN")
    value = strict_cbor.loads(memoryview(data)[2:], strict_cbor.MAX_LEN - 2)
    if not isinstance(value, list) or len(value) != 4 or value[0] != BODY or value[1] != {}:
        raise CoseError("NOT_COSE_SIGN")
    payload, parts = value[2], value[3]
    if not isinstance(payload, bytes) or not isinstance(parts, list) or not 1 <= len(parts) <= SIGNERS_MAX:
        raise CoseError("NOT_COSE_SIGN")
    signers = []
    for part in parts:
        if not isinstance(part, list) or len(part) != 3 or part[1] != {}:
            raise CoseError("SIGNER")
        if not isinstance(part[0], bytes) or not _is_bytes(part[2], 64):
            raise CoseError("SIGNER")
        signers.append(Signer(part[0], part[2]))
    return payload, signers


def read_sign1(data):
    """Read a COSE_Sign1 strictly.

    Returns:
        kid (32 bytes), protected header (bytes), payload (bytes) and signature (64 bytes).

    Raises:
        CBORError: not strict CBOR.
        CoseError: not the profile.
    """
    if bytes(data[:1]) != TAG_SIGN1:
        raise CoseError("NOT_COSE_SIGN1")
    value = strict_cbor.loads(memoryview(data)[1:], strict_cbor.MAX_LEN - 1)
    if not isinstance(value, list) or len(value) != 4 or value[1] != {}:
        raise CoseError("NOT_COSE_SIGN1")
    protected, _, payload, signature = value
    if not isinstance(payload, bytes) or not _is_bytes(signature, 64):
        raise CoseError("NOT_COSE_SIGN1")
    if not _is_bytes(protected, 38) or protected[:6] != _SIGN1_HEAD:
        raise CoseError("ALG")
    return protected[6:], protected, payload, signature


def external_aad(kind):
    """Return the bytes that bind a signature to a kind: `tbox/<kind>/1`."""
    return b"tbox/" + kind.encode() + b"/1"


def signed_digest(kind, payload, protected):
    """Return SHA-256 of what one signer of a COSE_Sign signs."""
    return hashlib.sha256(sig_structure(kind, payload, protected)).digest()


def sig_structure(kind, payload, protected):
    """Return what one signer of a COSE_Sign signs, before hashing."""
    return strict_cbor.dumps(["Signature", BODY, protected, external_aad(kind), payload])


def signed1_digest(kind, payload, protected):
    """Return SHA-256 of what the signer of a COSE_Sign1 signs."""
    parts = ["Signature1", protected, external_aad(kind), payload]
    return hashlib.sha256(strict_cbor.dumps(parts)).digest()


def key_xy(cose_key):
    """Return x‖y, 64 bytes, of a COSE_Key of 75 bytes; whether it is on the curve, the verifier says.

    Raises:
        CoseError: another form of key.
    """
    if not _is_bytes(cose_key, 75) or cose_key[:8] != _KEY_HEAD or cose_key[40:43] != _KEY_MIDDLE:
        raise CoseError("COSE_KEY")
    return cose_key[8:40] + cose_key[43:]


def thumbprint(cose_key):
    """Return the name of a key: SHA-256 of its COSE_Key (RFC 9679)."""
    return hashlib.sha256(cose_key).digest()


def _is_bytes(value, length):
    return isinstance(value, bytes) and len(value) == length


def _is_uint(value, highest):
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= highest


def _is_log_ref(value):
    if not isinstance(value, list) or len(value) != 4:
        return False
    origin, index, size, root = value
    return (
        isinstance(origin, str)
        and 0 < len(origin.encode()) <= _ORIGIN_BYTES_MAX
        and _is_uint(index, _COUNT_MAX)
        and _is_uint(size, _COUNT_MAX)
        and index < size
        and _is_bytes(root, 32)
    )


def _is_attestation(value):
    if not isinstance(value, list) or len(value) != 3 or not isinstance(value[1], list):
        return False
    for rule in value[1]:
        if not _is_uint(rule, _COUNT_MAX):
            return False
    return _is_uint(value[0], _COUNT_MAX) and _is_uint(value[2], _COUNT_MAX)
