"""Freezes: which are in force, what they stop, and how one ends.

Rules (README §1.16; command-authority §4.1): by any safety officer or ombuds, at once. It ends by two people:
a safety officer who asks for it in a signed record, and the gate's operator, in the gate's own signed record.
At that moment the one who asked must still be a safety officer: not revoked, not over. The operator is a
person whom no delegation makes anything else here, in whatever spelling; where the gate keeps a register of
operators, one of them. An ask that came before its freeze is none.

This module takes no record in: `records` does.

Example:
    >>> [freeze.scope.name for freeze in freezes.in_force(at)]
    ['VEHICLE']
"""

from collections.abc import Mapping
from dataclasses import dataclass

from backend.gate.authority import AuthorityBook
from backend.gate.events import Event
from backend.gate.names import folded
from backend.gate.records import DocumentRefusedError
from backend.gate.rules import No, Rule
from backend.gate.store import Transaction
from backend.gate.trust import Trust
from protocol.envelope import Signer
from protocol.gate_records import GateRecord, RecordType, Scope, read_gate_record, sign_gate_record
from protocol.orders import Role

_OPERATOR_CHARS_MAX = 64  # as the gate's record of a lift holds


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """A safety officer's record that asks for the end of a freeze.

    Attributes:
        record_id: 16 bytes.
        person: who signed it.
        delegation: by which, 32 bytes.
    """

    record_id: bytes
    person: str
    delegation: bytes | None


@dataclass(frozen=True, slots=True, kw_only=True)
class FreezeInForce:
    """A freeze that has not been lifted.

    Attributes:
        record_id: 16 bytes.
        scope: over what; `subject` is its id, None for everything.
        by: who froze.
        reason: in their words.
        since_s: when the gate took it.
        asks: for its end, oldest first.
    """

    record_id: bytes
    scope: Scope
    subject: bytes | None
    by: str
    reason: str
    since_s: int
    asks: tuple[Ask, ...]

    @property
    def lift_asked_by(self) -> str | None:
        """The safety officer who asked last for its end; None while nobody has."""
        return self.asks[-1].person if self.asks else None


class Freezes:
    """Reads freezes from the gate's storage, and ends them."""

    def __init__(self, trust: Trust, book: AuthorityBook) -> None:
        self._trust, self._book = trust, book

    def in_force(self, at: Transaction) -> list[FreezeInForce]:
        """Return the freezes in force, oldest first."""
        lifted = {read_gate_record(data)[0].body[1] for _, _, data in at.gate_records(int(RecordType.LIFT))}
        found = []
        for at_s, person, data in at.gate_records(int(RecordType.FREEZE)):
            record, _ = read_gate_record(data)
            if record.record_id not in lifted:
                found.append(
                    FreezeInForce(
                        record_id=record.record_id,
                        scope=Scope(record.body[1]),
                        subject=record.body[2],
                        by=person,
                        reason=record.body[3],
                        since_s=at_s,
                        asks=_asks(at, record.record_id, at_s),
                    )
                )
        return found

    def nos(self, at: Transaction, order: Mapping[int, object]) -> list[No]:
        """Return the freezes over an order's car."""
        subjects = {
            Scope.ALL: None,
            Scope.LENDER: order[4],
            Scope.CONTRACT: order[7],
            Scope.VEHICLE: order[5],
        }
        return [
            No(rule=Rule.FREEZE, detail=f"frozen ({freeze.scope.name}) by {freeze.by}")
            for freeze in self.in_force(at)
            if freeze.subject == subjects[freeze.scope]
        ]

    def lift(
        self,
        at: Transaction,
        freeze_id: bytes,
        *,
        operator: str,
        record_id: bytes,
        delegation: bytes,
        signer: Signer,
        now_s: int,
    ) -> None:
        """End a freeze by the gate's own signed record.

        Args:
            at: the transaction.
            freeze_id: 16 bytes.
            operator: the person at the gate who does it.
            record_id: 16 bytes, new.
            delegation: the gate's, SHA-256.
            signer: the gate's key.
            now_s: POSIX seconds.

        Raises:
            DocumentRefusedError: no such freeze; nobody has asked who may; the operator is none.
        """
        found = next((freeze for freeze in self.in_force(at) if freeze.record_id == freeze_id), None)
        if found is None:
            raise DocumentRefusedError("no such freeze is in force")
        ask = self._ask_that_counts(found, now_s)
        self._require_operator(operator, ask)
        record = GateRecord(
            type=RecordType.LIFT,
            record_id=record_id,
            written_s=now_s,
            delegation=delegation,
            body={1: freeze_id, 2: ask.record_id, 3: operator},
        )
        at.add_gate_record(
            record_id,
            kind=int(RecordType.LIFT),
            at_s=now_s,
            person=operator,
            document=sign_gate_record(record, signer),
        )
        at.log(now_s, Event.FREEZE_LIFTED, freeze_id, {"by": operator, "asked by": ask.person})

    def _ask_that_counts(self, freeze: FreezeInForce, now_s: int) -> Ask:
        """Return the last ask of a person who is a safety officer now."""
        if not freeze.asks:
            raise DocumentRefusedError("no safety officer has asked for the end of this freeze")
        for ask in reversed(freeze.asks):
            holder = None if ask.delegation is None else self._book.holder(ask.delegation)
            if holder is not None and self._book.is_valid(holder, Role.SAFETY_OFFICER, now_s):
                return ask
        raise DocumentRefusedError(
            f"{freeze.lift_asked_by}, who asked for the end of this freeze, is no safety officer any more:"
            " revoked or over; another one has to ask"
        )

    def _require_operator(self, operator: str, ask: Ask) -> None:
        name = folded(operator)
        if not name or len(operator) > _OPERATOR_CHARS_MAX:
            raise DocumentRefusedError(f"the operator's name has 1 to {_OPERATOR_CHARS_MAX} characters")
        if name == folded(ask.person):
            raise DocumentRefusedError(f"{operator} asked for it: another person at the gate must lift it")
        for role in Role:
            if role is not Role.GATE and name in map(folded, self._book.persons(role).values()):
                raise DocumentRefusedError(
                    f"{operator} holds a delegation as {role.name.lower().replace('_', ' ')}:"
                    " who signs in another role does not act for the gate"
                )
        if self._trust.operators is not None and operator not in self._trust.operators:
            raise DocumentRefusedError(f"{operator} is not among the operators that gate.toml names")


def _asks(at: Transaction, freeze_id: bytes, since_s: int) -> tuple[Ask, ...]:
    found = []
    for at_s, person, data in at.gate_records(int(RecordType.UNFREEZE)):
        record, _ = read_gate_record(data)
        if record.body[1] == freeze_id and at_s >= since_s:
            found.append(Ask(record_id=record.record_id, person=person, delegation=record.delegation))
    return tuple(found)
