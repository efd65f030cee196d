"""Documents the gate takes in - loan records, freezes, limits, opinions, authority - and what they say.

Rules (README §1.16, P-07, P-08, K-05): each is signed by whom its kind asks for, kept as it came, and once.
FREEZE by any safety officer or ombuds, its end asked by a safety officer (`freezes`). A limit by the safety
officer. An opinion by counsel whose key is pinned. A loan record by the lender's integration key; a payment
marks that lender's orders of the contract overtaken.

This module signs no order.

Example:
    >>> records.take_gate_record(at, document, {RecordType.FREEZE})
    (True, 'in force')
"""

import hashlib
from collections.abc import Collection, Mapping
from typing import Any

from backend.gate.authority import AuthorityBook, AuthorityRefusedError
from backend.gate.breaker import AHEAD_DEMO_S, AHEAD_S, Asked, Limits, limits_at
from backend.gate.events import Event
from backend.gate.pack import Pack
from backend.gate.store import Transaction
from backend.gate.trust import Trust
from protocol.envelope import Kind, Sign1, read_sign1, verify_sign1
from protocol.errors import ProtocolError, Reject
from protocol.gate_records import GateRecord, RecordType, read_gate_record
from protocol.ids import public_key_from_cose
from protocol.limits import ORDER_BYTES_MAX
from protocol.loan_facts import LoanRecord, Payment, PaymentState, open_loan_record, read_loan_record
from protocol.orders import Role

_KEY_HEAD, _KEY_MIDDLE = bytes.fromhex("a401022001215820"), bytes.fromhex("225820")
_SIGNERS: Mapping[RecordType, tuple[Role, ...]] = {
    RecordType.FREEZE: (Role.SAFETY_OFFICER, Role.OMBUDS),
    RecordType.UNFREEZE: (Role.SAFETY_OFFICER,),
    RecordType.LIMIT: (Role.SAFETY_OFFICER,),
}


class DocumentRefusedError(Exception):
    """A document is not taken; says why."""


class Records:
    """Takes documents in, and says what is in force of them."""

    def __init__(self, trust: Trust, book: AuthorityBook) -> None:
        self._trust, self._book = trust, book

    # --- taking in ------------------------------------------------------------------------------------------

    def take_authority(self, at: Transaction, kind: str, data: bytes, now_s: int) -> tuple[bool, str]:
        """Take a snapshot, revocation or delegation.

        Raises:
            DocumentRefusedError: it is not authentic, or older than what is in force.
        """
        try:
            is_new = self._book.take(kind, data)
        except AuthorityRefusedError as error:
            raise DocumentRefusedError(f"{kind}: {error}") from error
        digest = hashlib.sha256(data).digest()
        at.add_authority(digest, kind=kind, at_s=now_s, document=data)  # also what a lost commit left known
        if is_new:
            at.log(now_s, Event(f"{kind} taken"), digest, {})
        return is_new, "in force"

    def take_loan_record(self, at: Transaction, data: bytes, now_s: int) -> tuple[bool, str]:
        """Take a notice, block, end of a block or payment.

        Raises:
            DocumentRefusedError: not signed by a lender's loan system, or its id is another record's.
        """
        try:
            kid = read_sign1(data, max_bytes=ORDER_BYTES_MAX).kid
            lender = self._trust.lender_of_key(kid)
            if lender is None:
                raise ProtocolError(Reject.UNKNOWN_KEY, "no lender's loan system has this key")  # noqa: TRY301
            record = open_loan_record(data, lender.integration_keys.get)
            is_new = at.add_loan_record(
                record.record_id,
                lender_id=lender.lender_id,
                contract_ref=record.contract_ref,
                at_s=now_s,
                document=data,
            )
        except (ProtocolError, ValueError) as error:
            raise DocumentRefusedError(f"loan record: {error}") from error
        if not is_new:
            return False, "known"
        at.log(now_s, Event.LOAN_RECORD_TAKEN, record.record_id, {"kind": type(record.body).__name__})
        is_payment = isinstance(record.body, Payment) and record.body.state is not PaymentState.REVERSED
        overtaken = is_payment and at.mark_overtaken(lender.lender_id, record.contract_ref, now_s)
        return True, f"{overtaken} orders to release" if overtaken else "kept"

    def take_gate_record(
        self, at: Transaction, data: bytes, kinds: Collection[RecordType], now_s: int
    ) -> tuple[bool, str]:
        """Take a freeze, unfreeze, limit or opinion.

        Raises:
            DocumentRefusedError: not signed by who may, of another type, or its id is another record's.
        """
        try:
            record, message = read_gate_record(data)
            if record.type not in kinds:
                raise ProtocolError(Reject.BAD_FIELD, f"a {record.type.name} does not belong here")  # noqa: TRY301
            person = self._verified_by(record, message, now_s)
            is_new = at.add_gate_record(
                record.record_id, kind=int(record.type), at_s=now_s, person=person, document=data
            )
        except (ProtocolError, ValueError) as error:
            raise DocumentRefusedError(f"gate record: {error}") from error
        if is_new:
            at.log(now_s, Event(f"{record.type.name.lower()} taken"), record.record_id, {"by": person})
        return is_new, self._state(at, record)

    # --- in force -------------------------------------------------------------------------------------------

    def limits(self, at: Transaction, lender_id: bytes, now_s: int) -> Limits:
        """Return a lender's limits in force."""
        asked = [
            Asked(fleet=body[2], day=body[3], received_s=at_s, from_s=body[4])
            for at_s, body in ((at_s, _body(data)) for at_s, _, data in at.gate_records(RecordType.LIMIT))
            if body[1] == lender_id
        ]
        return limits_at(asked, now_s, self._ahead_s)

    @property
    def _ahead_s(self) -> int:
        """How long before it holds a limit must have come; a demonstration has no week."""
        return AHEAD_DEMO_S if self._trust.is_demo else AHEAD_S

    def opinion_until(self, at: Transaction, jur: str, pack: Pack) -> int | None:
        """Return how long counsel's opinion about a pack and a place holds; None without one."""
        bodies = [_body(data) for _, _, data in at.gate_records(RecordType.OPINION)]
        return max((body[3] for body in bodies if body[1] == jur and body[2] == pack.digest), default=None)

    def of_loan(self, at: Transaction, lender_id: bytes, contract_ref: bytes) -> list[LoanRecord]:
        """Return the records of a contract: verified when they were taken, by the key of then."""
        return [
            read_loan_record(read_sign1(data, max_bytes=ORDER_BYTES_MAX).payload)
            for data in at.loan_records(lender_id, contract_ref)
        ]

    def _verified_by(self, record: GateRecord, message: Sign1, now_s: int) -> str:
        """Return who signed a record, which may.

        Raises:
            ProtocolError: nobody who may.
        """
        if record.type is RecordType.OPINION:
            key = self._trust.counsel_keys.get(message.kid)
            if key is None:
                raise ProtocolError(Reject.UNKNOWN_KEY, "no counsel of this gate has this key")
            verify_sign1(message, Kind.GATE_RECORD, key)
            return message.kid.hex()
        holder = self._book.holder(record.delegation) if record.delegation is not None else None
        if holder is None or holder.kid != message.kid:
            raise ProtocolError(Reject.UNKNOWN_KEY, "the delegation is not known here, or of another key")
        if not any(self._book.is_valid(holder, role, now_s) for role in _SIGNERS[record.type]):
            raise ProtocolError(Reject.UNKNOWN_KEY, f"whoever signed may not sign a {record.type.name}")
        cose_key = _KEY_HEAD + holder.xy[:32] + _KEY_MIDDLE + holder.xy[32:]
        verify_sign1(message, Kind.GATE_RECORD, public_key_from_cose(cose_key))
        return str(holder.person)

    def _state(self, at: Transaction, record: GateRecord) -> str:
        match record.type:
            case RecordType.UNFREEZE:
                return "asked; the gate's operator must lift it too"
            case RecordType.LIMIT:
                rows = at.gate_records(RecordType.LIMIT)
                came_s = next(at_s for at_s, _, data in rows if _id(data) == record.record_id)
                asked = Asked(fleet=0, day=None, received_s=came_s, from_s=record.body[4])
                return f"holds from {asked.holds_from(self._ahead_s)}"
            case _:
                return "in force"


def _body(data: bytes) -> Mapping[int, Any]:
    return read_gate_record(data)[0].body


def _id(data: bytes) -> bytes:
    return read_gate_record(data)[0].record_id
