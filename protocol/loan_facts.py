"""What the lender's loan system says about one loan, signed: facts when asked, and records of what happened.

Rules (README §1.6, §1.7; C-12, P-07): COSE_Sign1 in strict CBOR, exactly the keys of the form, nothing more.
*Loan facts* answer one question: they carry its nonce, so an old answer cannot be shown again, and the
instant at which the loan stood so. They include payments that have arrived and are not posted yet. A *loan
record* is one thing that happened: a notice and what became of it, a block with owner, reason and end, a
payment. The *basis bundle* is what an order's key 17 is the hash of.

This module judges nothing: whether a loan is eligible, the gate's rules say.

Example:
    >>> Flag.PROMISE, Channel.LETTER, Delivery.counts(Delivery.QUEUED)
    (<Flag.PROMISE: 1>, <Channel.LETTER: 1>, False)

Source: RFC 9052 §4.2; RFC 8949 §4.2.1. SPEC §21.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from protocol import orders_payload, strict_cbor
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, sign1
from protocol.errors import ProtocolError, Reject
from protocol.limits import BASIS_BYTES_MAX, BASIS_RECORDS_MAX, LOAN_LIST_MAX, ORDER_BYTES_MAX
from protocol.orders_forms import BYTES16, COUNT_MAX, HASH, SECONDS_MAX

_COUNT, _SECONDS = ("uint", 0, COUNT_MAX), ("uint", 0, SECONDS_MAX)
_NULL = ("null",)
_MAYBE_SECONDS, _MAYBE_HASH = ("or", _NULL, _SECONDS), ("or", _NULL, HASH)
_PERSON, _WORDS = ("text", 1, 32), ("text", 1, 128)
_JURISDICTION = ("text", 2, 6)
_VERSION = ("uint", 1, 1)


class Flag(IntEnum):
    """Why a loan must be left alone, whatever is due (P-07); facts key 8, block key 2."""

    PROMISE = 1
    BANKRUPTCY = 2
    ACTIVE_DUTY = 3
    HARDSHIP = 4
    DISPUTE = 5
    MEDICAL = 6
    PAID_OFF = 7


class Paper(IntEnum):
    """What the contract's file holds; facts key 12."""

    DISCLOSURE_AT_SALE = 1
    DEVICE_AGREEMENT = 2
    LENDER_IS_CREDITOR = 3


class Interval(IntEnum):
    """How often the borrower pays; facts key 11."""

    WEEKLY = 1
    OTHER = 2


class Purpose(IntEnum):
    """What the facts are asked for; part of the question and of the answer, key 14."""

    SCREEN = 1
    REVIEW = 2
    GO = 3
    RELEASE = 4


class RecordKind(IntEnum):
    """Loan record key 5."""

    NOTICE = 1
    BLOCK = 2
    BLOCK_END = 3
    PAYMENT = 4


class Channel(IntEnum):
    """How a notice went; notice key 2."""

    LETTER = 1
    EMAIL = 2
    SMS = 3
    PHONE = 4
    BY_HAND = 5
    APP = 6


class Delivery(IntEnum):
    """What became of a notice; notice key 3. Only delivered and served ever count (README §1.13)."""

    QUEUED = 1
    SENT = 2
    DELIVERED = 3
    SERVED = 4
    BOUNCED = 5

    @staticmethod
    def counts(state: "Delivery") -> bool:
        """Return whether a channel in this state can count at all; a pack may ask for more."""
        return state in (Delivery.DELIVERED, Delivery.SERVED)


class NoticeType(IntEnum):
    """Notice key 5: the statutory first warning, and the final one that runs 72 hours."""

    FIRST = 1
    FINAL = 2


class BlockEnding(IntEnum):
    """How a block came to its end; block end key 3."""

    ANSWERED_IN_WRITING = 1
    DOCUMENT = 2
    OWNER_LIFTED = 3


class PaymentState(IntEnum):
    """Payment key 3."""

    PENDING = 1
    POSTED = 2
    REVERSED = 3


FORMS: Mapping[str, Mapping[int, tuple[Any, ...]]] = {
    "loan-facts": {
        1: _VERSION,
        2: HASH,  # contract_ref
        3: BYTES16,  # nonce of the question
        4: _SECONDS,  # as of
        5: _COUNT,  # days past due, by the contract
        6: _COUNT,  # due and unpaid, minor units of the currency
        7: ("list", ("tuple", _COUNT, _SECONDS), 0, LOAN_LIST_MAX),  # pending: [amount, received]
        8: ("list", ("uint", 1, len(Flag)), 0, LOAN_LIST_MAX),
        9: _MAYBE_SECONDS,  # since when the oldest unpaid amount is due
        10: _COUNT,  # days past due that the contract itself asks for
        11: ("uint", 1, len(Interval)),
        12: ("list", ("uint", 1, len(Paper)), 0, LOAN_LIST_MAX),
        13: _COUNT,  # revision of the loan's account: rises with every change
        14: ("uint", 1, len(Purpose)),
        15: _MAYBE_SECONDS,  # when the last payment arrived, pending ones too
        16: ("or", _NULL, ("int", -840, 840)),  # minutes east of UTC where the borrower lives, now
    },
    "loan-record": {
        1: _VERSION,
        2: HASH,  # contract_ref
        3: BYTES16,  # record id
        4: _SECONDS,  # written
        5: ("uint", 1, len(RecordKind)),
        # 6 is the body, of its kind's form: see BODIES
    },
    "question": {1: _VERSION, 2: HASH, 3: BYTES16, 4: ("uint", 1, len(Purpose))},
    "basis": {
        1: _VERSION,
        2: ("bytes", 1, ORDER_BYTES_MAX),  # loan facts
        3: ("list", ("bytes", 1, ORDER_BYTES_MAX), 0, BASIS_RECORDS_MAX),  # loan records: the notices
        4: ("or", _NULL, ("tuple", _JURISDICTION, _COUNT, HASH)),  # pack, its version and hash
        5: ("or", _NULL, BYTES16),  # counsel's opinion
    },
}
BODIES: Mapping[RecordKind, Mapping[int, tuple[Any, ...]]] = {
    RecordKind.NOTICE: {
        1: BYTES16,  # episode
        2: ("uint", 1, len(Channel)),
        3: ("uint", 1, len(Delivery)),
        4: _SECONDS,  # since when it is in this state
        5: ("uint", 1, len(NoticeType)),
        6: _MAYBE_HASH,  # proof
        7: ("bool",),  # the emergency codes and the lender's telephone were in it
    },
    RecordKind.BLOCK: {
        1: BYTES16,  # block id
        2: ("uint", 1, len(Flag)),
        3: _PERSON,  # owner
        4: _WORDS,  # reason
        5: _MAYBE_SECONDS,  # its own end; null for one that only a document or an answer ends
        6: _MAYBE_HASH,  # document
    },
    RecordKind.BLOCK_END: {
        1: BYTES16,  # block id
        2: _PERSON,  # who ended it
        3: ("uint", 1, len(BlockEnding)),
        4: _MAYBE_HASH,  # the answer, or the document
    },
    RecordKind.PAYMENT: {1: _COUNT, 2: _SECONDS, 3: ("uint", 1, len(PaymentState)), 4: _COUNT},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanFacts:
    """How a loan stands at an instant.

    Attributes:
        contract_ref: 32 bytes.
        nonce: of the question, 16 bytes.
        as_of_s: POSIX seconds.
        days_past_due: by the contract's way of counting.
        due_minor: due and unpaid, minor units; pending payments are not taken off.
        pending: amount and time of arrival of each payment that is not posted yet.
        flags: why the loan must be left alone.
        due_since_s: when the oldest unpaid amount fell due; None when nothing is due.
        contract_days: days past due that the contract asks for before the device may be used.
        interval: how often the borrower pays.
        papers: what the file holds.
        revision: of the account; it never falls.
        purpose: what was asked for.
        last_payment_s: when the last payment arrived; None when none ever did.
        utc_offset_min: minutes east of UTC at the borrower's place; None while unknown.
        digest: SHA-256 of the whole message, as a go token names it.
    """

    contract_ref: bytes
    nonce: bytes
    as_of_s: int
    days_past_due: int
    due_minor: int
    pending: tuple[tuple[int, int], ...]
    flags: frozenset[Flag]
    due_since_s: int | None
    contract_days: int
    interval: Interval
    papers: frozenset[Paper]
    revision: int
    purpose: Purpose
    last_payment_s: int | None
    utc_offset_min: int | None
    digest: bytes = bytes(32)

    def fields(self) -> dict[int, object]:
        """Return the payload before encoding."""
        return {
            1: 1,
            2: self.contract_ref,
            3: self.nonce,
            4: self.as_of_s,
            5: self.days_past_due,
            6: self.due_minor,
            7: [list(payment) for payment in self.pending],
            8: sorted(int(flag) for flag in self.flags),
            9: self.due_since_s,
            10: self.contract_days,
            11: int(self.interval),
            12: sorted(int(paper) for paper in self.papers),
            13: self.revision,
            14: int(self.purpose),
            15: self.last_payment_s,
            16: self.utc_offset_min,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A notice on one channel, and what became of it."""

    episode: bytes
    channel: Channel
    state: Delivery
    at_s: int
    type: NoticeType
    proof: bytes | None
    has_codes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A reason to leave a loan alone, with owner, reason and end."""

    block_id: bytes
    flag: Flag
    owner: str
    reason: str
    until_s: int | None
    document: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BlockEnd:
    """The end of a block, by whom and how."""

    block_id: bytes
    by: str
    how: BlockEnding
    document: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Payment:
    """A payment, and what is still due after it, minor units."""

    amount_minor: int
    received_s: int
    state: PaymentState
    left_minor: int


RecordBody = Notice | Block | BlockEnd | Payment


@dataclass(frozen=True, slots=True, kw_only=True)
class LoanRecord:
    """One thing that happened to a loan.

    Attributes:
        contract_ref: 32 bytes.
        record_id: 16 bytes; the same record sent again changes nothing.
        written_s: POSIX seconds, by the loan system's clock.
        body: what happened.
    """

    contract_ref: bytes
    record_id: bytes
    written_s: int
    body: RecordBody


@dataclass(frozen=True, slots=True, kw_only=True)
class Basis:
    """What an order rests on; its bytes' SHA-256 is the order's key 17."""

    facts: bytes
    records: tuple[bytes, ...]
    pack: tuple[str, int, bytes] | None
    opinion: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FactsQuestion:
    """What the gate asks a loan system: one loan, one nonce, one purpose. It is not signed."""

    contract_ref: bytes
    nonce: bytes
    purpose: Purpose


def sign_loan_facts(facts: LoanFacts, signer: Signer) -> bytes:
    """Return the answer, signed with the lender's integration key.

    Raises:
        ValueError: not of the form.
    """
    return sign1(Kind.LOAN_FACTS, encode("loan-facts", facts.fields()), signer)


def open_loan_facts(data: bytes, keys: KeyLookup) -> LoanFacts:
    """Read and verify loan facts; whose nonce and how old is the caller's to compare.

    Raises:
        ProtocolError: as `open_sign1`; BAD_FIELD when not exactly of the form.
    """
    payload = open_sign1(data, Kind.LOAN_FACTS, keys, max_bytes=ORDER_BYTES_MAX).payload
    fields = read("loan-facts", payload)
    if fields[6] > 0 and fields[9] is None:
        raise ProtocolError(Reject.BAD_FIELD, "loan-facts: something is due, but not since when")
    return LoanFacts(
        contract_ref=fields[2],
        nonce=fields[3],
        as_of_s=fields[4],
        days_past_due=fields[5],
        due_minor=fields[6],
        pending=tuple((amount, at) for amount, at in fields[7]),
        flags=frozenset(map(Flag, fields[8])),
        due_since_s=fields[9],
        contract_days=fields[10],
        interval=Interval(fields[11]),
        papers=frozenset(map(Paper, fields[12])),
        revision=fields[13],
        purpose=Purpose(fields[14]),
        last_payment_s=fields[15],
        utc_offset_min=fields[16],
        digest=hashlib.sha256(data).digest(),
    )


def sign_loan_record(record: LoanRecord, signer: Signer) -> bytes:
    """Return a record, signed with the lender's integration key.

    Raises:
        ValueError: not of the form.
    """
    kind, body = _body_fields(record.body)
    _require_form(f"loan-record {kind.name}", body, BODIES[kind])
    fields = {1: 1, 2: record.contract_ref, 3: record.record_id, 4: record.written_s, 5: int(kind), 6: body}
    head = {key: value for key, value in fields.items() if key != _BODY}
    _require_form("loan-record", head, FORMS["loan-record"])
    return sign1(Kind.LOAN_RECORD, bytes(strict_cbor.dumps(fields)), signer)


def open_loan_record(data: bytes, keys: KeyLookup) -> LoanRecord:
    """Read and verify a loan record.

    Raises:
        ProtocolError: as `open_sign1`; BAD_FIELD when not exactly of its kind's form.
    """
    return read_loan_record(open_sign1(data, Kind.LOAN_RECORD, keys, max_bytes=ORDER_BYTES_MAX).payload)


def read_loan_record(payload: bytes) -> LoanRecord:
    """Read the payload of a record whose signature was verified before.

    Raises:
        ProtocolError: BAD_ENCODING; BAD_FIELD when not exactly of its kind's form.
    """
    fields = _load("loan-record", payload, max_bytes=ORDER_BYTES_MAX)
    body = fields.pop(_BODY, None)
    try:
        _require_form("loan-record", fields, FORMS["loan-record"])
        kind = RecordKind(fields[5])
        if not isinstance(body, dict):
            raise ValueError("loan-record[6]")  # noqa: TRY301, TRY004  # one way out for every wrong form
        _require_form("loan-record[6]", body, BODIES[kind])
    except ValueError as error:
        raise ProtocolError(Reject.BAD_FIELD, str(error)) from error
    return LoanRecord(
        contract_ref=fields[2], record_id=fields[3], written_s=fields[4], body=_body_of(kind, body)
    )


def encode_basis(basis: Basis) -> bytes:
    """Return the bundle's bytes.

    Raises:
        ValueError: not of the form, or above BASIS_BYTES_MAX.
    """
    pack = None if basis.pack is None else list(basis.pack)
    data = encode("basis", {1: 1, 2: basis.facts, 3: list(basis.records), 4: pack, 5: basis.opinion})
    if len(data) > BASIS_BYTES_MAX:
        raise ValueError(f"a basis of {len(data)} B, at most {BASIS_BYTES_MAX} B")
    return data


def read_basis(data: bytes) -> Basis:
    """Read a bundle; what is in it is still to be verified.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_FIELD.
    """
    fields = read("basis", data, max_bytes=BASIS_BYTES_MAX)
    pack = fields[4]
    return Basis(
        facts=fields[2],
        records=tuple(fields[3]),
        pack=None if pack is None else (pack[0], pack[1], pack[2]),
        opinion=fields[5],
    )


def encode_question(question: FactsQuestion) -> bytes:
    """Return the body of `POST <loan system>/facts`."""
    return encode("question", {1: 1, 2: question.contract_ref, 3: question.nonce, 4: int(question.purpose)})


def read_question(data: bytes) -> FactsQuestion:
    """Read the body of `POST <loan system>/facts`.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_FIELD.
    """
    fields = read("question", data)
    return FactsQuestion(contract_ref=fields[2], nonce=fields[3], purpose=Purpose(fields[4]))


def encode(name: str, fields: Mapping[int, object]) -> bytes:
    """Return a form's bytes.

    Raises:
        ValueError: not exactly its keys and forms.
    """
    _require_form(name, fields, FORMS[name])
    return bytes(strict_cbor.dumps(dict(fields)))


def read(name: str, payload: bytes, *, max_bytes: int = ORDER_BYTES_MAX) -> dict[int, Any]:
    """Read a form.

    Raises:
        ProtocolError: BAD_ENCODING, BAD_FIELD.
    """
    fields = _load(name, payload, max_bytes=max_bytes)
    try:
        _require_form(name, fields, FORMS[name])
    except ValueError as error:
        raise ProtocolError(Reject.BAD_FIELD, str(error)) from error
    return fields


_BODY = 6


def _load(name: str, payload: bytes, *, max_bytes: int) -> dict[int, Any]:
    try:
        value = strict_cbor.loads(payload, max_bytes)
    except ValueError as error:
        raise ProtocolError(Reject.BAD_ENCODING, f"{name}: {error}") from error
    if not isinstance(value, dict):
        raise ProtocolError(Reject.BAD_FIELD, f"{name}: not a map")
    return value


def _require_form(name: str, fields: Mapping[int, object], forms: Mapping[int, Sequence[Any]]) -> None:
    for key in sorted(set(fields) ^ set(forms), key=str):
        raise ValueError(f"{name}[{key}]")
    for key, form in forms.items():
        if not orders_payload.fits(fields[key], form):
            raise ValueError(f"{name}[{key}]")


def _body_fields(body: RecordBody) -> tuple[RecordKind, dict[int, object]]:
    match body:
        case Notice():
            values: tuple[object, ...] = (
                *(body.episode, int(body.channel), int(body.state), body.at_s, int(body.type)),
                *(body.proof, body.has_codes),
            )
            return RecordKind.NOTICE, dict(enumerate(values, start=1))
        case Block():
            values = (
                *(body.block_id, int(body.flag), body.owner, body.reason),
                *(body.until_s, body.document),
            )
            return RecordKind.BLOCK, dict(enumerate(values, start=1))
        case BlockEnd():
            return RecordKind.BLOCK_END, {1: body.block_id, 2: body.by, 3: int(body.how), 4: body.document}
        case Payment():
            values = (body.amount_minor, body.received_s, int(body.state), body.left_minor)
            return RecordKind.PAYMENT, dict(enumerate(values, start=1))


def _body_of(kind: RecordKind, fields: Mapping[int, Any]) -> RecordBody:
    match kind:
        case RecordKind.NOTICE:
            return Notice(
                episode=fields[1],
                channel=Channel(fields[2]),
                state=Delivery(fields[3]),
                at_s=fields[4],
                type=NoticeType(fields[5]),
                proof=fields[6],
                has_codes=fields[7],
            )
        case RecordKind.BLOCK:
            return Block(
                block_id=fields[1],
                flag=Flag(fields[2]),
                owner=fields[3],
                reason=fields[4],
                until_s=fields[5],
                document=fields[6],
            )
        case RecordKind.BLOCK_END:
            return BlockEnd(block_id=fields[1], by=fields[2], how=BlockEnding(fields[3]), document=fields[4])
        case RecordKind.PAYMENT:
            return Payment(
                amount_minor=fields[1],
                received_s=fields[2],
                state=PaymentState(fields[3]),
                left_minor=fields[4],
            )
