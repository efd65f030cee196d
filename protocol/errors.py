"""Why a message from outside was not accepted: one name for each reason, the same from SPEC.md to a metric.

Rules: a peer that is wrong raises `ProtocolError`; it is counted and never fatal. A code is part of the
protocol: it is never renamed and never given a second meaning. A caller that breaks our own functions'
contract gets `ValueError`, `TypeError` or an assertion instead, since then we are wrong and not the peer.

This module does not decide what to do about a reason; it only says whether the message could be authentic.

Example:
    >>> error = ProtocolError(Reject.TOO_LARGE, "payload of 300000 B, at most 262144 B")
    >>> error.code, error.code.is_transit_damage
    (<Reject.TOO_LARGE: 'TOO_LARGE'>, False)
"""

from enum import StrEnum


class Reject(StrEnum):
    """Reasons of refusal; the value is the name that appears in vectors, logs and metrics."""

    BAD_ENCODING = "BAD_ENCODING"  # not deterministic CBOR, truncated, trailing bytes, or a broken zstd frame
    BAD_ENVELOPE = (
        "BAD_ENVELOPE"  # not our COSE profile: tag, header parameter, kid length, unprotected header
    )
    BAD_ALG = "BAD_ALG"  # an algorithm other than ESP256
    UNKNOWN_KEY = "UNKNOWN_KEY"  # no key with this kid is known or valid
    BAD_SIG = "BAD_SIG"  # the signature does not verify
    HIGH_S = "HIGH_S"  # the signature verifies but is the malleable twin with s above n/2
    SECTION_HASH = "SECTION_HASH"  # a section is not the one the header commits to
    TOO_LARGE = "TOO_LARGE"  # above a byte, row or item limit of `limits`
    TOO_DEEP = "TOO_DEEP"  # nested deeper than allowed
    UNSUPPORTED_VERSION = "UNSUPPORTED_VERSION"  # authentic, but of a version this reader does not know
    BAD_FIELD = "BAD_FIELD"  # a field is missing, of the wrong type, or out of its range
    WRONG_DEVICE = "WRONG_DEVICE"  # authentic, but of another device than topic or question named
    WRONG_NONCE = "WRONG_NONCE"  # an answer to another question
    CONFLICT = "CONFLICT"  # a second, different batch with a chain and seq that is already stored
    FORK = "FORK"  # `prev` is not the head that is stored for the seq before
    BAD_ORIGIN = "BAD_ORIGIN"  # a chain begins without a believable origin
    BAD_TOPIC = "BAD_TOPIC"  # a topic outside `tbox/1/<device>/{up,down}/<kind>`
    NOT_SUCCESSOR = "NOT_SUCCESSOR"  # a key succession that the key in force did not sign

    @property
    def is_transit_damage(self) -> bool:
        """Whether the same message, sent again, may well arrive whole.

        True where bytes fail before or at the signature, or no longer fit what was signed: nothing authentic
        was said, so no receipt may answer it and the sender simply sends again. A reader that had verified
        the signature first says so by `batch.SignedRefusalError`, whatever the code.
        """
        return self in _TRANSIT_DAMAGE


_TRANSIT_DAMAGE = frozenset(
    {
        Reject.BAD_ENCODING,
        Reject.TOO_DEEP,
        Reject.BAD_ENVELOPE,
        Reject.BAD_ALG,
        Reject.BAD_SIG,
        Reject.HIGH_S,
        Reject.SECTION_HASH,
    }
)


class ProtocolError(Exception):
    """The peer's message is refused.

    Attributes:
        code: the reason, stable over versions.
        detail: one sentence for a log; it never carries keys, tokens or positions.
    """

    def __init__(self, code: Reject, detail: str) -> None:
        super().__init__(code, detail)
        self.code = code
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.code}: {self.detail}"
