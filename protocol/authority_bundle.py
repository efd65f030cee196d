"""What travels beside orders without a signature of its own: authority bundles, and the questions for them.

Rules (C-02, K-05; README §2.7): a bundle on `down/authority` is 1 … 16 pairs [kind, document]; whoever reads
it believes nothing, since each document is signed by its root or named by hash in one that is. Kinds 1 to 3
and 6 go on to the microcontroller in the order in which they stand, kinds 4 and 5 stay with the agent. A box
asks for documents by the hashes that signers name, on `up/request`; a question without hashes asks for the
snapshots and revocations in force. A question for the challenge names the box and a nonce. All of it is
`strict_cbor`: whatever is not exactly of its form is refused.

On `up/request` four things travel: `request_form` tells them apart without believing any.

It verifies no document: `orders_authority` does, in the microcontroller.

Example:
    >>> data = encode_bundle([(DocumentKind.DELEGATION, b"a COSE_Sign")])
    >>> decode_bundle(data)
    ((<DocumentKind.DELEGATION: 1>, b'a COSE_Sign'),)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum, StrEnum
from typing import Any, Final

from protocol import cose_sign, orders_payload, strict_cbor
from protocol.errors import ProtocolError, Reject
from protocol.limits import (
    AUTHORITY_BUNDLE_BYTES_MAX,
    AUTHORITY_DIGESTS_MAX,
    AUTHORITY_DOCUMENTS_MAX,
    ORDER_BYTES_MAX,
)

VERSION = 1
BUNDLE_DEPTH_MAX: Final = 2

_HASH: Final = ("bytes", 32, 32)
_PAIR: Final = ("tuple", ("uint", 1, 255), ("bytes", 1, AUTHORITY_BUNDLE_BYTES_MAX))
_QUESTION: Final = {1: ("uint", VERSION, VERSION), 2: _HASH, 3: ("list", _HASH, 0, AUTHORITY_DIGESTS_MAX)}


class DocumentKind(IntEnum):
    """What a document of a bundle is; the microcontroller's link uses 1 to 3 and 6 with the same meaning."""

    DELEGATION = 1  # COSE_Sign of kind `delegation`
    SNAPSHOT = 2  # COSE_Sign of kind `authority`
    REVOCATION = 3  # COSE_Sign1 of kind `revocation`
    ZONES = 4  # the zone set whose hash a snapshot names (key 11)
    CALENDAR = 5  # the jurisdiction's hours, whose hash a snapshot names (key 10)
    SUCCESSION = 6  # COSE_Sign1 of kind `key-succession`: the next key that signs time


FOR_THE_MCU: Final = (
    DocumentKind.DELEGATION,
    DocumentKind.SNAPSHOT,
    DocumentKind.REVOCATION,
    DocumentKind.SUCCESSION,
)

Bundle = tuple[tuple[DocumentKind, bytes], ...]


class RequestForm(StrEnum):
    """What a message on `up/request` is, by its looks."""

    AUTHORITY = "authority"  # the unsigned question for documents
    GO = "go"  # a go request by D1
    OTHER = "other"  # a question by the agent: time or standing


@dataclass(frozen=True, slots=True, kw_only=True)
class AuthorityQuestion:
    """A box lacks documents.

    Attributes:
        mcu_id: thumbprint of D1.
        digests: SHA-256 of each delegation wanted, at most 8; none asks for what is in force of the roots.
    """

    mcu_id: bytes
    digests: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ChallengeQuestion:
    """Somebody wants the box's open challenge; the nonce comes back in it, unless one was open already."""

    mcu_id: bytes
    nonce: bytes


def encode_bundle(documents: Iterable[tuple[DocumentKind, bytes]]) -> bytes:
    """Return the payload of `down/authority`.

    Raises:
        ValueError: no document, too many, or more bytes than the box reads.
    """
    data = bytes(strict_cbor.dumps([[int(kind), document] for kind, document in documents]))
    try:
        decode_bundle(data)
    except ProtocolError as error:
        raise ValueError(f"no box would read this bundle: {error}") from error
    return data


def decode_bundle(data: bytes) -> Bundle:
    """Read the payload of `down/authority`.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING; BAD_FIELD for a number of documents, a kind or a length out
            of its range.
    """
    value = _read(data, AUTHORITY_BUNDLE_BYTES_MAX, BUNDLE_DEPTH_MAX)
    if not isinstance(value, list) or not 1 <= len(value) <= AUTHORITY_DOCUMENTS_MAX:
        raise ProtocolError(Reject.BAD_FIELD, f"bundle: 1 to {AUTHORITY_DOCUMENTS_MAX} documents")
    return tuple(_document(item) for item in value)


def encode_authority_question(question: AuthorityQuestion) -> bytes:
    """Return the question for documents, as it travels on `up/request`.

    Raises:
        ValueError: too many hashes, or not of 32 bytes.
    """
    data = bytes(strict_cbor.dumps({1: VERSION, 2: question.mcu_id, 3: list(question.digests)}))
    try:
        decode_authority_question(data)
    except ProtocolError as error:
        raise ValueError(f"no backend would read this question: {error}") from error
    return data


def decode_authority_question(data: bytes) -> AuthorityQuestion:
    """Read the question for documents; nobody has signed it.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING or BAD_FIELD.
    """
    value = _read(data, ORDER_BYTES_MAX, strict_cbor.MAX_DEPTH)
    if not isinstance(value, dict) or not orders_payload.fits(value, ("map", _QUESTION)):
        raise ProtocolError(Reject.BAD_FIELD, "authority question: exactly version, mcu_id and hashes")
    return AuthorityQuestion(mcu_id=value[2], digests=tuple(value[3]))


def encode_challenge_question(question: ChallengeQuestion) -> bytes:
    """Return the payload of `down/challenge`, which the agent hands to the microcontroller as it is.

    Raises:
        ValueError: not of its form.
    """
    data = bytes(strict_cbor.dumps({1: VERSION, 2: question.mcu_id, 3: question.nonce}))
    orders_payload.read_document("challenge-request", data)
    return data


def decode_challenge_question(data: bytes) -> ChallengeQuestion:
    """Read the question for a challenge; nobody has signed it.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING or BAD_FIELD.
    """
    fields = _document_fields("challenge-request", _bounded(data, ORDER_BYTES_MAX))
    return ChallengeQuestion(mcu_id=fields[2], nonce=fields[3])


def unverified_fields(kind: str, data: bytes) -> Mapping[int, Any]:
    """Return what a COSE_Sign1 of orders says, before anybody has checked its signature.

    Args:
        kind: `challenge`, `go-request`, `go`, `disposition` …, see `orders_forms.FORMS`.
        data: the tagged message.

    Raises:
        ProtocolError: TOO_LARGE, BAD_ENCODING, BAD_ENVELOPE or BAD_FIELD.
    """
    try:
        _, _, payload, _ = cose_sign.read_sign1(_bounded(data, ORDER_BYTES_MAX))
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"{kind}: {error}") from error
    except cose_sign.CoseError as error:
        raise ProtocolError(Reject.BAD_ENVELOPE, f"{kind}: {error}") from error
    return _document_fields(kind, payload)


def request_form(data: bytes) -> RequestForm:
    """Tell what a message on `up/request` is; nothing is verified and nothing refused."""
    try:
        decode_authority_question(data)
    except ProtocolError:
        pass
    else:
        return RequestForm.AUTHORITY
    try:
        unverified_fields("go-request", data)
    except ProtocolError:
        return RequestForm.OTHER
    return RequestForm.GO


def _document(item: object) -> tuple[DocumentKind, bytes]:
    if not isinstance(item, list) or not orders_payload.fits(item, _PAIR):
        raise ProtocolError(Reject.BAD_FIELD, "bundle: [kind, document] is expected")
    try:
        kind = DocumentKind(item[0])
    except ValueError as error:
        raise ProtocolError(Reject.BAD_FIELD, f"bundle: kind {item[0]} is unknown") from error
    if kind in FOR_THE_MCU and len(item[1]) > ORDER_BYTES_MAX:
        raise ProtocolError(Reject.BAD_FIELD, f"bundle: a document of kind {kind.name} is too long")
    return kind, item[1]


def _document_fields(kind: str, payload: bytes) -> Mapping[int, Any]:
    try:
        fields: dict[int, Any] = orders_payload.read_document(kind, payload)
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"{kind}: {error}") from error
    except orders_payload.FieldError as error:
        raise ProtocolError(Reject.BAD_FIELD, str(error)) from error
    return fields


def _bounded(data: bytes, most: int) -> bytes:
    if len(data) > most:
        raise ProtocolError(Reject.TOO_LARGE, f"{len(data)} B, at most {most} B")
    return data


def _read(data: bytes, most: int, depth: int) -> object:
    try:
        value: object = strict_cbor.loads(_bounded(data, most), most, depth)
    except strict_cbor.CBORError as error:
        raise ProtocolError(Reject.BAD_ENCODING, str(error)) from error
    return value
