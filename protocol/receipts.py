"""Receipts: the backend says, signed, what it has stored; only that frees a batch in the car.

Rules: a receipt is about one stream of one chain of one device and is issued after commit. `upto` is the
highest seq such that each of 1 … upto is stored or declared lost, and `hash` the head hash stored at `upto`.
Batches beyond it are listed in `have` ranges, each with the head hash at its last seq. A device believes
`upto` only if its own hash at `upto` agrees, and a range only if its own hash at the range's `last` agrees:
since each batch commits to the one before, one hash vouches for all below it. Refused seqs can never be
stored as they are and are quarantined on both sides. `want` asks for batches again, for example after a
backend was restored.

This module does not decide what to free: `device.delivery` compares with its spool.

Example:
    >>> Have(first=5, last=9, hash=bytes(32)).last
    9
"""

from dataclasses import dataclass
from enum import IntEnum

from protocol import codec
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, sign1
from protocol.errors import ProtocolError, Reject
from protocol.fields import integer, known, octets, record, versioned
from protocol.header import ENUM_MAX, HASH_BYTES
from protocol.ids import ID_BYTES, THUMBPRINT_BYTES, ChainId, DeviceId
from protocol.limits import (
    NONCE_BYTES,
    RECEIPT_HAVE_MAX,
    RECEIPT_REFUSED_MAX,
    RECEIPT_WANT_MAX,
    SEQ_MAX,
    SIGN1_BYTES_MAX,
    TIME_US_MAX,
)

VERSION = 1


class Stream(IntEnum):
    """What is receipted."""

    BATCH = 1
    DISPOSITION = 2


class RefusalCode(IntEnum):
    """Why a signed batch is not stored in its chain; wire values of `refused`."""

    CONFLICT = 1
    FORK = 2
    UNSUPPORTED_VERSION = 3
    BAD_FIELD = 4
    TOO_LARGE = 5
    BAD_ORIGIN = 6

    @classmethod
    def of(cls, code: Reject) -> "RefusalCode | None":
        """Return the wire value of a reason, or None when the reason is not one a receipt states."""
        return cls.__members__.get(code.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Have:
    """Batches first … last are stored; `hash` is the head hash stored at `last`."""

    first: int
    last: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """What the backend has of one chain.

    Attributes:
        device: whose chain.
        stream: a Stream, or an int this reader does not know.
        chain: which chain.
        upto: each of 1 … upto is stored or declared lost; 0 for none.
        hash: head hash stored at `upto`; None when `upto` is 0 or was itself declared lost.
        have: stored ranges beyond `upto`, ascending, at most RECEIPT_HAVE_MAX.
        refused: (seq, RefusalCode or an unknown int), at most RECEIPT_REFUSED_MAX.
        want: (first, last) to be sent again, at most RECEIPT_WANT_MAX.
        issued_us: UTC µs at the backend; of two receipts the device needs no order, each is true by itself.
        answers: nonce of the question that this receipt answers (`protocol.standing`), or None.
        version: of this form; 1.
    """

    device: DeviceId
    stream: int
    chain: ChainId
    upto: int
    hash: bytes | None
    have: tuple[Have, ...]
    refused: tuple[tuple[int, int], ...]
    want: tuple[tuple[int, int], ...]
    issued_us: int
    answers: bytes | None = None
    version: int = VERSION


def encode_receipt(receipt: Receipt) -> bytes:
    """Return the deterministic encoding of a receipt.

    Raises:
        ValueError: a field is out of its range, so no reader would accept it.
    """
    data = codec.encode(
        {
            1: receipt.version,
            2: bytes.fromhex(receipt.device),
            3: receipt.stream,
            4: receipt.chain,
            5: receipt.upto,
            6: receipt.hash,
            7: [[have.first, have.last, have.hash] for have in receipt.have],
            8: receipt.refused,
            9: receipt.want,
            10: receipt.issued_us,
            11: receipt.answers,
        }
    )
    try:
        assert decode_receipt(data) == receipt, "a receipt reads back as it was written"
    except ProtocolError as error:
        raise ValueError(f"no reader would accept this receipt: {error}") from error
    return data


def decode_receipt(data: bytes) -> Receipt:
    """Read the payload of a receipt.

    Raises:
        ProtocolError: TOO_LARGE, TOO_DEEP or BAD_ENCODING by the codec; UNSUPPORTED_VERSION; BAD_FIELD.
    """
    fields = versioned(data, "receipt", version=VERSION, max_bytes=SIGN1_BYTES_MAX)
    upto = fields.integer(5, least=0, most=SEQ_MAX)
    digest = fields.octets_or_none(6, size=HASH_BYTES)
    if upto == 0 and digest is not None:
        raise ProtocolError(Reject.BAD_FIELD, "receipt[6]: null while upto is 0")
    return Receipt(
        device=DeviceId(fields.octets(2, size=THUMBPRINT_BYTES).hex()),
        stream=known(Stream, fields.integer(3, least=1, most=ENUM_MAX)),
        chain=ChainId(fields.octets(4, size=ID_BYTES)),
        upto=upto,
        hash=digest,
        have=tuple(_have(item) for item in fields.array(7, most=RECEIPT_HAVE_MAX)),
        refused=tuple(_refused(item) for item in fields.array(8, most=RECEIPT_REFUSED_MAX)),
        want=tuple(_range(item, "receipt[9]") for item in fields.array(9, most=RECEIPT_WANT_MAX)),
        issued_us=fields.integer(10, least=0, most=TIME_US_MAX),
        answers=fields.octets_or_none(11, size=NONCE_BYTES) if fields.has(11) else None,
    )


def sign_receipt(receipt: Receipt, signer: Signer) -> bytes:
    """Return the receipt as it travels on `down/receipt`."""
    return sign1(Kind.RECEIPT, encode_receipt(receipt), signer)


def open_receipt(data: bytes, keys: KeyLookup) -> Receipt:
    """Read, verify and decode a receipt.

    Args:
        data: the whole message.
        keys: gives the backend's receipt keys, pinned at enrolment.

    Raises:
        ProtocolError: as `open_sign1` and `decode_receipt`. Whether device and chain are ours is the caller's
            question.
    """
    return decode_receipt(open_sign1(data, Kind.RECEIPT, keys, max_bytes=SIGN1_BYTES_MAX).payload)


def _range(value: object, what: str) -> tuple[int, int]:
    first, last = record(value, what, size=2)
    first_seq = integer(first, f"{what} first", least=1, most=SEQ_MAX)
    return first_seq, integer(last, f"{what} last", least=first_seq, most=SEQ_MAX)


def _have(value: object) -> Have:
    items = record(value, "receipt[7]", size=3)
    first, last = _range(items[:2], "receipt[7]")
    return Have(first=first, last=last, hash=octets(items[2], "receipt[7] hash", size=HASH_BYTES))


def _refused(value: object) -> tuple[int, int]:
    seq, code = record(value, "receipt[8]", size=2)
    return (
        integer(seq, "receipt[8] seq", least=1, most=SEQ_MAX),
        known(RefusalCode, integer(code, "receipt[8] code", least=1, most=ENUM_MAX)),
    )
