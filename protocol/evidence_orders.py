"""Orders in an evidence file: every signature back to the roots, the basis, and the place in the log.

Rules (C-01, C-02a, C-09, C-12): an order holds when exactly the roles of its type have signed, each by a
delegation of a trusted root that gave this type then, no key or person twice, all signatures verify, and none
was revoked before the order was written. Class A moreover names the bundle it rests on, and the gate's
log_ref must be proven: at that index of that tree stands the leaf of this very order with the people's
signatures, without the gate's. Another leaf there, or another root, testifies against the gate: CONTRADICTED.
A proof that is missing is UNVERIFIABLE.

This module does not say what the car did: see `evidence_dispositions`.

Example:
    >>> is_logged_form(b"no order", b"payload", [])
    False
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol import cose_sign, orders_payload
from protocol.evidence_authority import Authority
from protocol.evidence_basis import basis_sentences
from protocol.evidence_ledger import Ledger
from protocol.evidence_log import ProvenLog
from protocol.evidence_manifest import PartKind
from protocol.evidence_report import Code, Weight
from protocol.log_leaves import LeafType
from protocol.orders import OrderType, Role, check_signature
from protocol.orders_authority import lender_cohort
from protocol.orders_vocabulary import (
    CLASS,
    CLASS_A,
    CLASS_B,
    GATE,
    INSTALLER,
    LENDER_ROOT,
    MCU,
    ROOT_OF,
    SIGNERS,
)


@dataclass(slots=True, kw_only=True)
class ReadOrder:
    """One order of the file.

    Attributes:
        cmd_id, cmd_hash: its names.
        fields: its payload.
        message: the whole COSE_Sign.
        holds: whether everything about it is proven.
        sentences: what can be said of it.
    """

    cmd_id: bytes
    cmd_hash: bytes
    fields: dict[int, Any]
    message: bytes
    holds: bool = True
    sentences: list[str] = field(default_factory=list)

    @property
    def type(self) -> OrderType:
        """What it asks for."""
        return OrderType(self.fields[3])


def is_logged_form(content: bytes, payload: bytes, signers: Sequence[Any]) -> bool:
    """Whether a leaf's content is an order with the signatures of its people and no other, in any order.

    Args:
        content: what the leaf committed to.
        payload: of the order as it went to the car.
        signers: of that order, the gate among them.
    """
    try:
        logged, people = cose_sign.read_sign(content)
    except ValueError:
        return False
    wanted = sorted((one.protected, one.signature) for one in signers if one.role != GATE)
    found = sorted((one.protected, one.signature) for one in people)
    return bool(logged == payload and found == wanted)


def check_orders(
    ledger: Ledger, authority: Authority, log: ProvenLog, mcu_keys: dict[bytes, bytes]
) -> dict[bytes, ReadOrder]:
    """Return the orders of the file by cmd_hash, with findings for what is wrong with them.

    Args:
        ledger: the verification in progress.
        authority: what the roots have signed.
        log: what is proven of the log.
        mcu_keys: x‖y of the box's microcontrollers by kid.
    """
    bases = {part.ref.chain: data for part, data in ledger.whole(PartKind.BASIS)}
    orders: dict[bytes, ReadOrder] = {}
    for part, data in ledger.whole(PartKind.ORDER):
        try:
            payload, signers = cose_sign.read_sign(data)
            fields, is_known = orders_payload.read_order(payload)
        except ValueError as error:
            _find(ledger, Code.ORDER_BROKEN, Weight.CONTRADICTION, f"An order cannot be read: {error}.")
            continue
        if not is_known or fields[2] != part.ref.chain:
            text = f"In place of {part.ref.name} stands another."
            _find(ledger, Code.ORDER_BROKEN, Weight.CONTRADICTION, text)
            continue
        order = ReadOrder(
            cmd_id=fields[2], cmd_hash=hashlib.sha256(payload).digest(), fields=fields, message=data
        )
        orders[order.cmd_hash] = order
        check = _OrderCheck(ledger, order, authority)
        check.device(mcu_keys)
        check.people(payload, signers, mcu_keys)
        if CLASS[order.type] == CLASS_A:
            check.basis(bases.get(part.ref.chain))
            check.log_ref(payload, signers, log)
        else:
            check.release_log(data, log)
    return orders


def _find(ledger: Ledger, code: Code, weight: Weight, text: str) -> None:
    ledger.find(code, weight, text)


class _OrderCheck:
    """The checks of one order; each goes on after a finding."""

    def __init__(self, ledger: Ledger, order: ReadOrder, authority: Authority) -> None:
        self._ledger, self._order, self._authority = ledger, order, authority
        self._name = f"the {order.type.name} order {order.cmd_id.hex()}"

    def _no(self, code: Code, weight: Weight, text: str) -> None:
        if weight >= Weight.UNVERIFIABLE:
            self._order.holds = False
        _find(self._ledger, code, weight, f"{text[0].upper()}{text[1:]}.")

    def device(self, mcu_keys: dict[bytes, bytes]) -> None:
        if mcu_keys and self._order.fields[5] not in mcu_keys:
            self._no(Code.ORDER_BROKEN, Weight.CONTRADICTION, f"{self._name} is for another car")

    def people(self, payload: bytes, signers: Sequence[Any], mcu_keys: dict[bytes, bytes]) -> None:
        """Check that exactly the roles of the type have signed, and that each was allowed to."""
        order_type = self._order.type
        roles = tuple(sorted(signer.role for signer in signers))
        ticket = self._order.fields.get(25)
        counted = roles if ticket is None else tuple(sorted((*roles, GATE)))
        if counted not in SIGNERS[order_type]:
            self._no(
                Code.ORDER_BROKEN,
                Weight.CONTRADICTION,
                f"{self._name} is not signed by whom its type asks for",
            )
        holders = []
        for signer in signers:
            holder = None if signer.role == MCU else self._authority.delegations.get(signer.delegation)
            xy = mcu_keys.get(signer.kid) if signer.role == MCU else getattr(holder, "xy", None)
            who = f"{Role(signer.role).name.lower().replace('_', ' ')} key {signer.kid.hex()[:16]}"
            if xy is None:
                text = f"no delegation of a trusted root gives the {who} of {self._name} its role"
                self._no(Code.ORDER_UNPROVEN, Weight.UNVERIFIABLE, text)
                continue
            digest = cose_sign.signed_digest("command", payload, signer.protected)
            if check_signature(xy, digest, signer.signature) != "OK":
                text = f"the signature of the {who} under {self._name} does not hold"
                self._no(Code.ORDER_BROKEN, Weight.CONTRADICTION, text)
                continue
            if holder is not None:
                holders.append(holder)
                self._scope(holder, signer.kid, signer.role, who)
                said = f"{Role(signer.role).name.lower().replace('_', ' ')}, person {holder.person!r}"
                self._order.sentences.append(f"Authorised by the {said}, key {signer.kid.hex()[:16]}….")
        if ticket is not None:
            holders += self._ticket(ticket, [signer.kid for signer in signers if signer.role == INSTALLER])
        for attribute in ("kid", "person"):
            if len({getattr(holder, attribute) for holder in holders}) != len(holders):
                text = f"one {attribute} stands twice under {self._name}"
                self._no(Code.ORDER_BROKEN, Weight.CONTRADICTION, text)

    def _ticket(self, data: bytes, installers: Sequence[bytes]) -> list[Any]:
        """Check the ticket that counts as the gate's signature; return whose it is, nobody if it fails."""
        try:
            kid, protected, payload, signature = cose_sign.read_sign1(data)
            ticket = orders_payload.read_document("ticket", payload)
        except ValueError:
            self._no(Code.ORDER_BROKEN, Weight.CONTRADICTION, f"the ticket of {self._name} cannot be read")
            return []
        holder = self._authority.delegations.get(ticket[7])
        if holder is None:
            text = f"no delegation of a trusted root stands behind the ticket of {self._name}"
            self._no(Code.ORDER_UNPROVEN, Weight.UNVERIFIABLE, text)
            return []
        digest = cose_sign.signed1_digest("ticket", payload, protected)
        is_signed = check_signature(holder.xy, digest, signature) == "OK"
        order = self._order.fields
        is_for_it = (ticket[2], ticket[4]) == (order[5], order[13]) and ticket[3] in installers
        if not is_signed or not is_for_it:
            self._no(Code.ORDER_BROKEN, Weight.CONTRADICTION, f"the ticket of {self._name} does not hold")
            return []
        self._scope(holder, kid, GATE, f"gate key {kid.hex()[:16]}, by its ticket,")
        return [holder]

    def _scope(self, holder: Any, kid: bytes, role: int, who: str) -> None:  # noqa: ANN401
        order = self._order.fields
        if (holder.kid, holder.role) != (kid, role) or order[3] not in holder.types:
            text = f"the delegation of the {who} does not give it {self._name}"
            self._no(Code.ORDER_BROKEN, Weight.CONTRADICTION, text)
        if ROOT_OF[holder.role] == LENDER_ROOT and holder.cohort != lender_cohort(order[4]):
            text = f"the {who} is another lender's than {self._name}"
            self._no(Code.ORDER_BROKEN, Weight.CONTRADICTION, text)
        if CLASS[order[3]] != CLASS_B and not holder.nbf <= order[10] < holder.exp:
            text = f"the delegation of the {who} was not in force when {self._name} was written"
            self._no(Code.ORDER_BROKEN, Weight.CONTRADICTION, text)
        revoked_s = self._authority.revoked_at(holder)
        if revoked_s is not None:
            is_before = revoked_s <= order[10]
            when = "before" if is_before else "after"
            weight = Weight.CONTRADICTION if is_before else Weight.NOTE
            self._no(Code.SIGNER_REVOKED, weight, f"the {who} was revoked {when} {self._name} was written")

    def basis(self, bundle: bytes | None) -> None:
        """Check the bundle that the order rests on."""
        if bundle is None:
            self._no(Code.BASIS_WITHHELD, Weight.GAP, f"what {self._name} rests on is not in the file")
        elif hashlib.sha256(bundle).digest() != self._order.fields[17]:
            text = f"what {self._name} is said to rest on is not what was signed"
            self._no(Code.BASIS_ALTERED, Weight.CONTRADICTION, text)
        else:
            self._order.sentences.append(f"What it rests on is here: {len(bundle)} bytes, as it was signed.")
            self._order.sentences += basis_sentences(bundle)
        self._order.sentences += self._authority.place_sentences(self._order.fields[10])

    def log_ref(self, payload: bytes, signers: Sequence[Any], log: ProvenLog) -> None:
        """Prove the gate's log_ref, or say how it is false: an unlogged lock testifies against the gate."""
        refs = [signer.log_ref for signer in signers if signer.log_ref is not None]
        if not refs:
            text = f"{self._name} has no place in the log under its signatures"
            self._no(Code.ORDER_NOT_LOGGED, Weight.CONTRADICTION, text)
            return
        origin, index, size, root = refs[0]
        place = f"the place that the gate gave {self._name}, {index} of {size} in {origin}"
        if log.origin is None or origin != log.origin:
            text = f"{place}, cannot be proven: no checkpoint of that log counts here"
            self._no(Code.ORDER_LOG_UNPROVEN, Weight.UNVERIFIABLE, text)
            return
        known = log.roots.get(size)
        if known is None and size > max(log.roots, default=0):
            text = f"{place}, is beyond the log: it has {max(log.roots, default=0)} leaves"
            self._no(Code.ORDER_NOT_LOGGED, Weight.CONTRADICTION, text)
            return
        if known is None:
            text = f"{place}, cannot be proven: its checkpoint is not here"
            self._no(Code.ORDER_LOG_UNPROVEN, Weight.UNVERIFIABLE, text)
            return
        if known != root:
            text = f"{place}, is not of the log: its tree of that size has another root"
            self._no(Code.ORDER_NOT_LOGGED, Weight.CONTRADICTION, text)
            return
        leaf, content = log.leaf_at(index, size), log.contents.get(index)
        if leaf is None:
            self._no(Code.ORDER_LOG_UNPROVEN, Weight.UNVERIFIABLE, f"{place}, has no proof here")
        elif leaf[0] != LeafType.ORDER or (
            content is not None and not is_logged_form(content, payload, signers)
        ):
            text = f"at {place}, stands another entry: this order was not logged before the gate signed"
            self._no(Code.ORDER_NOT_LOGGED, Weight.CONTRADICTION, text)
        elif content is None:
            text = f"at {place}, stands an order, and nothing here opens which"
            self._no(Code.ORDER_LOG_UNPROVEN, Weight.UNVERIFIABLE, text)
        else:
            self._order.sentences.append(f"Entered in the log {origin} at {index} before the gate signed.")
            told = sorted({at for (at, _), leaf in log.leaves.items() if leaf[0] == LeafType.NOTICE})
            if told:
                places = ", ".join(map(str, told))
                self._order.sentences.append(f"Notices to the borrower are entered in the log at {places}.")

    def release_log(self, message: bytes, log: ProvenLog) -> None:
        """Say where an order of another class is logged; a release may be entered later, or not yet."""
        index = log.index_of(message, LeafType.ORDER)
        if index is not None:
            self._order.sentences.append(f"Entered in the log {log.origin} at {index}.")
