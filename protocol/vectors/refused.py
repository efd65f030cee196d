"""The messages that must be refused, each with the reason: what separates this protocol from its near misses.

Rules: every refusal has a reader (which function reads it and with what question) and the one `Reject` it
must give. All are built from the good messages by one change, so that the change alone is the reason.

This module writes no file: see `generate`.

Example:
    >>> refusals()[0].name, refusals()[0].reject
    ('envelope/untagged', <Reject.BAD_ENVELOPE: 'BAD_ENVELOPE'>)
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial

from protocol import codec
from protocol.envelope import Kind, SoftwareSigner, read_sign1, sig_structure
from protocol.errors import Reject
from protocol.limits import SIGN1_BYTES_MAX
from protocol.vectors.forge import flipped, forge, with_high_s
from protocol.vectors.good import good_messages
from protocol.vectors.installs import install_cases
from protocol.vectors.keys import published_signer
from protocol.vectors.loans import loan_cases
from protocol.vectors.refused_bundle import bundle_cases, question_cases
from protocol.vectors.refused_content import (
    Case,
    batch_cases,
    header_cases,
    other_cases,
    receipt_cases,
    section_cases,
)
from protocol.vectors.story import RECEIPT_SIGNER

ENVELOPE_READER = "receipt"
"""The envelope is the same for every kind; its refusals are shown on a receipt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A message, who reads it, and why it is refused."""

    name: str
    reader: str
    message: bytes
    reject: Reject


def refusals() -> list[Refusal]:
    """Return all must-refuse messages, in a fixed order."""
    return [
        Refusal(name=f"{topic}/{name}", reader=reader, message=message, reject=reject)
        for topic, source in (
            ("envelope", _envelopes),
            ("encoding", _encodings),
            ("batch", batch_cases),
            ("header", header_cases),
            ("section", section_cases),
            ("receipt", receipt_cases),
            ("loan", loan_cases),
            ("other", other_cases),
            ("bundle", bundle_cases),
            ("question", question_cases),
            ("install", install_cases),
        )
        for name, reader, message, reject in source()
    ]


def _envelopes() -> Iterator[Case]:
    good = good_messages()["receipt"]
    parts = read_sign1(good, max_bytes=SIGN1_BYTES_MAX)
    kid = RECEIPT_SIGNER.kid
    forged = partial(forge, Kind.RECEIPT, parts.payload, RECEIPT_SIGNER)
    cases: tuple[tuple[str, bytes, Reject], ...] = (
        ("untagged", good[1:], Reject.BAD_ENVELOPE),
        ("tag-98", forged(tag=b"\xd8\x62"), Reject.BAD_ENVELOPE),
        ("detached-payload", forge(Kind.RECEIPT, None, RECEIPT_SIGNER), Reject.BAD_ENVELOPE),
        (
            "five-items",
            b"\xd2" + codec.encode([parts.protected, {}, parts.payload, parts.signature, 0]),
            Reject.BAD_ENVELOPE,
        ),
        ("unprotected-kid", forged(unprotected={4: kid}), Reject.BAD_ENVELOPE),
        ("es256", forged(protected={1: -7, 4: kid}), Reject.BAD_ALG),
        ("eddsa", forged(protected={1: -8, 4: kid}), Reject.BAD_ALG),
        ("no-algorithm", forged(protected={4: kid}), Reject.BAD_ALG),
        ("empty-protected", forged(protected=b""), Reject.BAD_ENCODING),
        ("no-kid", forged(protected={1: -9}), Reject.BAD_ENVELOPE),
        ("short-kid", forged(protected={1: -9, 4: kid[:31]}), Reject.BAD_ENVELOPE),
        ("content-type", forged(protected={1: -9, 3: 0, 4: kid}), Reject.BAD_ENVELOPE),
        ("high-s", forged(signature=with_high_s(parts.signature)), Reject.HIGH_S),
        ("signature-63", forged(signature=parts.signature[:63]), Reject.BAD_ENVELOPE),
        ("signature-zero", forged(signature=bytes(64)), Reject.BAD_SIG),
        ("signature-r-is-n", forged(signature=b"\xff" * 32 + parts.signature[32:]), Reject.BAD_SIG),
        ("wrong-kind", forge(Kind.POLICY, parts.payload, RECEIPT_SIGNER), Reject.BAD_SIG),
        ("no-aad", _signed_without_aad(parts.payload, RECEIPT_SIGNER), Reject.BAD_SIG),
        ("payload-flipped", good.replace(parts.payload, flipped(parts.payload, 500)), Reject.BAD_SIG),
        ("signature-flipped", flipped(good, 8 * len(good) - 8), Reject.BAD_SIG),
        ("unknown-key", forge(Kind.RECEIPT, parts.payload, published_signer("stranger")), Reject.UNKNOWN_KEY),
        ("too-large", forge(Kind.RECEIPT, bytes(SIGN1_BYTES_MAX), RECEIPT_SIGNER), Reject.TOO_LARGE),
    )
    for name, message, reject in cases:
        yield name, ENVELOPE_READER, message, reject


def _signed_without_aad(payload: bytes, signer: SoftwareSigner) -> bytes:
    protected = codec.encode({1: -9, 4: signer.kid})
    signature = signer.sign(sig_structure("Signature1", protected, b"", payload))
    return forge(Kind.RECEIPT, payload, signer, signature=signature)


def _encodings() -> Iterator[Case]:
    good = good_messages()["receipt"]
    parts = read_sign1(good, max_bytes=SIGN1_BYTES_MAX)
    kid_bytes = codec.encode(RECEIPT_SIGNER.kid)
    size = len(parts.payload)
    short_length, long_length = (
        codec.encode(parts.payload)[: -size or None],
        b"\x59" + size.to_bytes(2, "big"),
    )

    def header(encoded: bytes) -> bytes:
        return forge(Kind.RECEIPT, parts.payload, RECEIPT_SIGNER, protected=encoded)

    for name, message in (
        ("truncated", good[:-1]),
        ("trailing", good + b"\x00"),
        ("indefinite-array", good[:1] + b"\x9f" + good[2:] + b"\xff"),
        ("indefinite-map", good.replace(b"\xa0", b"\xbf\xff", 1)),
        ("length-not-shortest", good.replace(short_length + parts.payload, long_length + parts.payload)),
        ("duplicate-key", header(b"\xa3\x01\x28\x01\x28\x04" + kid_bytes)),
        ("unordered-keys", header(b"\xa2\x04" + kid_bytes + b"\x01\x28")),
        ("integer-not-shortest", header(b"\xa2\x01\x38\x08\x04" + kid_bytes)),
        ("tag-in-header", header(b"\xa2\x01\xc1\x28\x04" + kid_bytes)),
        ("header-not-text", header(b"\xa2\x01\x61\xff\x04" + kid_bytes)),
    ):
        yield name, ENVELOPE_READER, message, Reject.BAD_ENCODING
