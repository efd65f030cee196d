"""What a lender's loan system and the gate's people sign, once each, and what must be refused of it.

Rules: see `story`; nothing random, nothing from a clock. The integration key is `stranger`, which no order
knows; counsel's is `receipt-2`.

Example:
    >>> sorted(loan_messages())[:2]
    ['basis', 'facts-question']
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache

from protocol import strict_cbor
from protocol.envelope import Kind, sign1
from protocol.errors import Reject
from protocol.gate_records import GateRecord, RecordType, Scope, sign_gate_record
from protocol.limits import BASIS_BYTES_MAX
from protocol.loan_facts import (
    Basis,
    Block,
    BlockEnd,
    BlockEnding,
    Channel,
    Delivery,
    FactsQuestion,
    Flag,
    Interval,
    LoanFacts,
    LoanRecord,
    Notice,
    NoticeType,
    Paper,
    Payment,
    PaymentState,
    Purpose,
    RecordBody,
    encode_basis,
    encode_question,
    sign_loan_facts,
    sign_loan_record,
)
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import CONTRACT, DAY_S, JURISDICTION, LENDER_ID, NOW_S, digest
from protocol.vectors.story import fixed_bytes

INTEGRATION = "stranger"
COUNSEL = "receipt-2"
EPISODE, BLOCK = fixed_bytes("episode"), fixed_bytes("block")
PACK_HASH = fixed_bytes("pack", 32)

FACTS = LoanFacts(
    contract_ref=CONTRACT,
    nonce=fixed_bytes("facts nonce"),
    as_of_s=NOW_S - 5,
    days_past_due=41,
    due_minor=81_250,
    pending=((20_000, NOW_S - 3_600),),
    flags=frozenset({Flag.DISPUTE}),
    due_since_s=NOW_S - 41 * DAY_S,
    contract_days=30,
    interval=Interval.OTHER,
    papers=frozenset({Paper.DISCLOSURE_AT_SALE, Paper.DEVICE_AGREEMENT}),
    revision=17,
    purpose=Purpose.GO,
    last_payment_s=NOW_S - 3_600,
    utc_offset_min=-480,
)
CURRENT = replace(
    FACTS, days_past_due=0, due_minor=0, pending=(), flags=frozenset(), due_since_s=None, utc_offset_min=None
)

BODIES: Mapping[str, RecordBody] = {
    "notice": Notice(
        episode=EPISODE,
        channel=Channel.LETTER,
        state=Delivery.SERVED,
        at_s=NOW_S - 4 * DAY_S,
        type=NoticeType.FINAL,
        proof=fixed_bytes("proof", 32),
        has_codes=True,
    ),
    "block": Block(
        block_id=BLOCK,
        flag=Flag.PROMISE,
        owner="person desk-3",
        reason="will pay on Friday",
        until_s=NOW_S + 2 * DAY_S,
        document=None,
    ),
    "block-end": BlockEnd(
        block_id=BLOCK,
        by="person manager-1",
        how=BlockEnding.ANSWERED_IN_WRITING,
        document=fixed_bytes("answer", 32),
    ),
    "payment": Payment(
        amount_minor=20_000, received_s=NOW_S - 3_600, state=PaymentState.PENDING, left_minor=81_250
    ),
}
RECORDS: Mapping[str, tuple[RecordType, Mapping[int, object]]] = {
    "freeze": (RecordType.FREEZE, {1: int(Scope.LENDER), 2: LENDER_ID, 3: "complaints by telephone"}),
    "unfreeze": (RecordType.UNFREEZE, {1: fixed_bytes("gate record freeze"), 2: "looked at each"}),
    "limit": (RecordType.LIMIT, {1: LENDER_ID, 2: 12_000, 3: 24, 4: NOW_S + 7 * DAY_S}),
    "opinion": (RecordType.OPINION, {1: JURISDICTION, 2: PACK_HASH, 3: NOW_S + 200 * DAY_S, 4: "2026/17"}),
}


def loan_record(name: str) -> bytes:
    """Return one of BODIES as a signed record."""
    record = LoanRecord(
        contract_ref=CONTRACT,
        record_id=fixed_bytes(f"loan record {name}"),
        written_s=NOW_S,
        body=BODIES[name],
    )
    return sign_loan_record(record, published_signer(INTEGRATION))


def gate_record(name: str) -> bytes:
    """Return one of RECORDS, signed by who may."""
    kind, body = RECORDS[name]
    by_counsel = kind is RecordType.OPINION
    record = GateRecord(
        type=kind,
        record_id=fixed_bytes(f"gate record {name}"),
        written_s=NOW_S,
        delegation=None if by_counsel else digest("safety-officer"),
        body=body,
    )
    return sign_gate_record(record, published_signer(COUNSEL if by_counsel else "safety-1"))


@cache
def loan_messages() -> Mapping[str, bytes]:
    """Return every message of this part by name."""
    signer = published_signer(INTEGRATION)
    facts = sign_loan_facts(FACTS, signer)
    basis = Basis(
        facts=facts,
        records=(loan_record("notice"),),
        pack=(JURISDICTION, 7, PACK_HASH),
        opinion=fixed_bytes("gate record opinion"),
    )
    question = FactsQuestion(contract_ref=CONTRACT, nonce=FACTS.nonce, purpose=FACTS.purpose)
    return {
        "facts-question": encode_question(question),
        "loan-facts": facts,
        "loan-facts/current": sign_loan_facts(CURRENT, signer),
        **{f"loan-record/{name}": loan_record(name) for name in BODIES},
        **{f"gate-record/{name}": gate_record(name) for name in RECORDS},
        "basis": encode_basis(basis),
    }


def loan_cases() -> Iterator[tuple[str, str, bytes, Reject]]:
    """Yield what must be refused: name, reader, message, reason."""
    signer = published_signer(INTEGRATION)
    fields = FACTS.fields()
    for name, change in (
        ("version-2", {1: 2}),
        ("nonce-short", {3: bytes(15)}),
        ("days-negative", {5: -1}),
        ("amount-true", {6: True}),
        ("pending-without-a-time", {7: [[1]]}),
        ("flag-8", {8: [8]}),
        ("due-and-not-since-when", {9: None}),
        ("interval-0", {11: 0}),
        ("offset-beyond-fourteen-hours", {16: 841}),
        ("a-key-more", {17: None}),
    ):
        payload = bytes(strict_cbor.dumps(fields | change))
        yield name, "loan-facts", sign1(Kind.LOAN_FACTS, payload, signer), Reject.BAD_FIELD
    short = bytes(strict_cbor.dumps({key: value for key, value in fields.items() if key != 13}))  # noqa: PLR2004
    yield "a-key-fewer", "loan-facts", sign1(Kind.LOAN_FACTS, short, signer), Reject.BAD_FIELD
    payload = bytes(strict_cbor.dumps(fields))
    yield "of-another-kind", "loan-facts", sign1(Kind.LOAN_RECORD, payload, signer), Reject.BAD_SIG
    yield (
        "of-another-key",
        "loan-facts",
        sign1(Kind.LOAN_FACTS, payload, published_signer("maker-1")),
        Reject.UNKNOWN_KEY,
    )
    trailing = sign1(Kind.LOAN_FACTS, payload + b"\x00", signer)
    yield "trailing", "loan-facts", trailing, Reject.BAD_ENCODING
    yield from _record_cases()


def _record_cases() -> Iterator[tuple[str, str, bytes, Reject]]:
    signer, officer = published_signer(INTEGRATION), published_signer("safety-1")
    head = {1: 1, 2: CONTRACT, 3: fixed_bytes("loan record x"), 4: NOW_S}
    records: tuple[tuple[str, int, Mapping[int, object] | None], ...] = (
        ("notice-of-a-payment-s-form", 1, {1: 1, 2: NOW_S, 3: 1, 4: 0}),
        ("block-without-owner", 2, {1: BLOCK, 2: 1, 4: "reason", 5: None, 6: None}),
        ("block-with-an-empty-owner", 2, {1: BLOCK, 2: 1, 3: "", 4: "reason", 5: None, 6: None}),
        ("kind-5", 5, {}),
        ("body-null", 4, None),
    )
    for name, kind, body in records:
        payload = bytes(strict_cbor.dumps(head | {5: kind, 6: body}))
        yield f"record-{name}", "loan-record", sign1(Kind.LOAN_RECORD, payload, signer), Reject.BAD_FIELD
    gate = {1: 1, 3: fixed_bytes("gate record x"), 4: NOW_S, 5: digest("safety-officer")}
    freezes: tuple[tuple[str, int, Mapping[int, object]], ...] = (
        ("freeze-of-a-lender-unnamed", 1, {1: 2, 2: None, 3: "why"}),
        ("freeze-of-all-that-names-one", 1, {1: 1, 2: LENDER_ID, 3: "why"}),
        ("freeze-without-reason", 1, {1: 1, 2: None, 3: ""}),
        ("limit-without-a-fleet", 3, {1: LENDER_ID, 2: None, 3: None, 4: NOW_S}),
        ("type-6", 6, {}),
    )
    for name, kind, body in freezes:
        payload = bytes(strict_cbor.dumps(gate | {2: kind, 6: body}))
        yield f"gate-{name}", "gate-record", sign1(Kind.GATE_RECORD, payload, officer), Reject.BAD_FIELD
    yield "basis-too-large", "basis", bytes(BASIS_BYTES_MAX + 1), Reject.BAD_ENCODING
    yield (
        "basis-without-facts",
        "basis",
        bytes(strict_cbor.dumps({1: 1, 3: [], 4: None, 5: None})),
        Reject.BAD_FIELD,
    )
    question = {1: 1, 2: CONTRACT, 3: bytes(16), 4: 5}
    yield "question-of-no-purpose", "facts-question", bytes(strict_cbor.dumps(question)), Reject.BAD_FIELD
