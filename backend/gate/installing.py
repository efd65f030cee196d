"""The gate's part of an installation: tickets for BENCH, its part of BIND, and which cars it knows as proved.

Rules (README §2.4; ADR 0053): nothing is signed but for a job that is shown: a work ticket by a backend's
policy key that the gate's settings name, in its time, for the installer whose key it names, and that person
delegated now. The microcontroller itself must have said that it is in commissioning, by a challenge that D1
signed. Tickets and BINDs are counted a car and a person a day; asked again for the same challenge or payload,
the same answer comes and counts once. A freeze holds BENCH and BIND back as it holds orders.

A car is known as proved by its commissioning record: signed by installer and box, named by D1's own word with
the benches it saw. The gate keeps its own table of these and its own 48 h, so that a backend which says
"passed" moves nothing here. An order that restricts is refused for a car that is not in it (rule PROBATION).

Example:
    >>> Fitting(desk, store).ticket(request).verdict
    <Verdict.SIGNED: 'SIGNED'>
"""

import hashlib
from collections.abc import Mapping
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePublicKey,
    EllipticCurvePublicNumbers,
)

from backend.domain.installing import PROBATION_US
from backend.domain.relay_proof import lack_of_proof
from backend.gate.answers import signed_answer
from backend.gate.asking import BadRequestError, read_order
from backend.gate.car import open_by_car
from backend.gate.desk import Desk
from backend.gate.events import Event
from backend.gate.forms import Answer, BindRequest, CommissioningRequest, TicketRequest, Verdict
from backend.gate.records import DocumentRefusedError
from backend.gate.rules import No, Rule
from backend.gate.store import GateStore, Transaction
from protocol.base64url import to_bytes, to_text
from protocol.envelope import Kind
from protocol.errors import ProtocolError
from protocol.ids import public_key_from_cose, thumbprint
from protocol.install_forms import WorkTicket, open_work_ticket
from protocol.install_record import open_whole_record
from protocol.install_vocabulary import Act
from protocol.install_vocabulary import Verdict as Outcome
from protocol.limits import (
    BENCH_TICKET_S,
    BENCH_TICKETS_A_DAY_MAX,
    BENCH_TICKETS_INSTALLER_DAY_MAX,
    BINDS_A_DAY_MAX,
    BINDS_INSTALLER_DAY_MAX,
)
from protocol.orders import OrderType, Role, SignKind, cmd_hash, sign_document, sign_part
from protocol.orders_authority import is_revoked
from protocol.orders_vocabulary import COMMISSIONING

_DAY_S = 86_400
_SCALAR = 32
PROBATION_S = PROBATION_US // 1_000_000
_LIMITS = {
    OrderType.BENCH: (BENCH_TICKETS_A_DAY_MAX, BENCH_TICKETS_INSTALLER_DAY_MAX),
    OrderType.BIND: (BINDS_A_DAY_MAX, BINDS_INSTALLER_DAY_MAX),
}
_FITTING_ACTS = frozenset({Act.INSTALL, Act.SWAP})


class Fitting:
    """Signs what an installation needs of the gate."""

    def __init__(self, desk: Desk, store: GateStore) -> None:
        self._desk, self._store = desk, store

    def ticket(self, request: TicketRequest) -> Answer:
        """Give a ticket for one BENCH order, or say why not."""
        with self._store.writing() as at:
            now_s = self._desk.clock.now_s()
            said = self._said(request)
            subject = said[4] if isinstance(said, dict) else bytes(16)
            known = at.fitting(OrderType.BENCH, subject)
            if known is not None:
                return self._ticket_answer(known)
            nos, job = self._judge(at, request, said, OrderType.BENCH, now_s)
            if nos or job is None or isinstance(said, str):
                return self._desk.refuse(at, Event.TICKET_REFUSED, subject, nos, now_s)
            document = sign_document(
                Kind.TICKET,
                {
                    1: 1,
                    2: said[2],
                    3: job.installer,
                    4: said[4],
                    5: BENCH_TICKET_S,
                    6: now_s,
                    7: self._desk.delegation,
                },
                self._desk.signer,
            )
            at.add_fitting(
                OrderType.BENCH, subject, mcu_id=said[2], kid=job.installer, at_s=now_s, document=document
            )
            at.log(now_s, Event.TICKET_SIGNED, subject, {"mcu": said[2], "job": job.job_id})
            return self._ticket_answer(document)

    def bind(self, request: BindRequest) -> Answer:
        """Sign a BIND beside the installer and the microcontroller, or say why not."""
        payload = to_bytes(request.payload)
        order = read_order(payload)
        if order[3] != OrderType.BIND:
            raise BadRequestError("the gate binds by BIND")
        with self._store.writing() as at:
            now_s = self._desk.clock.now_s()
            said, subject = self._said(request), cmd_hash(payload)
            nos, job = self._judge(at, request, said, OrderType.BIND, now_s, subject=subject)
            if job is not None and not isinstance(said, str):
                nos += _bind_nos(order, job, said)
            if nos or job is None:
                return self._desk.refuse(at, Event.BIND_REFUSED, subject, nos, now_s)
            part = sign_part(SignKind.COMMAND, payload, self._desk.as_signer())
            at.add_fitting(
                OrderType.BIND, subject, mcu_id=order[5], kid=job.installer, at_s=now_s, document=payload
            )
            at.log(now_s, Event.BIND_SIGNED, subject, {"mcu": order[5], "job": job.job_id})
            rules = (Rule.FREEZE, Rule.LENDER, Rule.SIGNERS, Rule.CHALLENGE, Rule.JOB)
            return signed_answer(part, rules, delegation=self._desk.trust.delegation)

    def commissioned(self, request: CommissioningRequest) -> tuple[bool, str]:
        """Take a commissioning record; return whether it is new and what it came to.

        Raises:
            DocumentRefusedError: it does not hold, or its installer has no delegation.
        """
        record_data, attestation = to_bytes(request.record), to_bytes(request.attestation)
        with self._store.writing() as at:
            now_s = self._desk.clock.now_s()
            self._desk.show(at, [request.delegation], now_s)
            holder = self._desk.book.holder(hashlib.sha256(to_bytes(request.delegation)).digest())
            if holder is None or holder.role != int(Role.INSTALLER):
                raise DocumentRefusedError("the delegation is no installer's")
            if is_revoked(holder, self._desk.book.roots):
                raise DocumentRefusedError("the installer was revoked")
            try:
                box, mcu = (public_key_from_cose(to_bytes(key)) for key in (request.box_key, request.mcu_key))
                people = {thumbprint(box): box, bytes(holder.kid): _public_key(holder.xy)}
                record, said = open_whole_record(
                    record_data, attestation, people=people.get, microcontrollers={thumbprint(mcu): mcu}.get
                )
            except (ProtocolError, ValueError) as error:
                raise DocumentRefusedError(f"the record does not hold: {error}") from error
            if said.is_demo and not self._desk.trust.is_demo:
                raise DocumentRefusedError("the microcontroller runs the demonstration's image")
            if record.verdict is Outcome.REMOVED:
                at.end_commissioning(record.mcu_id, now_s)
                at.log(now_s, Event.COMMISSIONING_ENDED, said.record_sha256, {"mcu": record.mcu_id})
                return True, "removed"
            lack = lack_of_proof(record, said)
            if lack is not None:
                raise DocumentRefusedError(f"no relay proof: {lack}")
            is_new = at.add_commissioning(
                said.record_sha256, mcu_id=record.mcu_id, epoch=record.epoch, at_s=now_s, document=record_data
            )
            if is_new:
                at.log(now_s, Event.COMMISSIONING_TAKEN, said.record_sha256, {"mcu": record.mcu_id})
            return is_new, "commissioned"

    def probation_nos(self, at: Transaction, order: Mapping[int, Any], now_s: int) -> list[No]:
        """Return what this gate's own table says against an order that restricts."""
        if not self._desk.trust.asks_probation:
            return []
        since_s = at.commissioned_since(order[5], order[8])
        if since_s is None:
            return [No(rule=Rule.PROBATION, detail="no commissioning record with a relay proof is known")]
        if now_s >= since_s + PROBATION_S:
            return []
        detail = f"{(now_s - since_s) // 3_600} h since the record, {PROBATION_S // 3_600} are needed"
        return [No(rule=Rule.PROBATION, detail=detail, earliest_s=since_s + PROBATION_S)]

    # --- what stands before BENCH and BIND ------------------------------------------------------------------

    def _judge(
        self,
        at: Transaction,
        request: TicketRequest | BindRequest,
        said: dict[int, Any] | str,
        kind: OrderType,
        now_s: int,
        *,
        subject: bytes | None = None,
    ) -> tuple[list[No], WorkTicket | None]:
        """Return what speaks against it, and the job that was shown."""
        nos: list[No] = []
        self._desk.show(at, [request.delegation], now_s)
        doubt = self._desk.watch.doubt(latest_s=at.mark("latest_s"))
        nos += [] if doubt is None else [No(rule=Rule.CLOCK, detail=doubt)]
        try:
            job = open_work_ticket(to_bytes(request.work_ticket), self._desk.trust.policy_keys.get)
        except ProtocolError as error:
            return [*nos, No(rule=Rule.JOB, detail=f"work ticket: {error.code}")], None
        if not (job.nbf_s <= now_s < job.exp_s) or _FITTING_ACTS.isdisjoint(job.acts):
            nos.append(No(rule=Rule.JOB, detail="the job is not now, or not to install"))
        if job.lender_id not in self._desk.trust.lenders:
            nos.append(No(rule=Rule.LENDER, detail="this gate does not know the lender"))
        nos += self._installer_nos(request.delegation, job, kind, now_s)
        if isinstance(said, str):
            return [*nos, No(rule=Rule.CHALLENGE, detail=said)], None
        frozen = {4: job.lender_id, 5: said[2], 7: job.contract_ref}
        nos += self._desk.freezes.nos(at, frozen)
        if said[9] != COMMISSIONING:
            nos.append(No(rule=Rule.CAR, detail="the microcontroller is not in commissioning"))
        if subject is None or at.fitting(kind, subject) is None:
            nos += _limit_nos(at, kind, mcu_id=said[2], kid=job.installer, now_s=now_s)
        return nos, job

    def _installer_nos(self, delegation: str, job: WorkTicket, kind: OrderType, now_s: int) -> list[No]:
        holder = self._desk.book.holder(hashlib.sha256(to_bytes(delegation)).digest())
        if holder is None or bytes(holder.kid) != job.installer:
            return [No(rule=Rule.SIGNERS, detail="the delegation is not of the key that the job names")]
        if not self._desk.book.is_valid(holder, Role.INSTALLER, now_s) or int(kind) not in holder.types:
            return [No(rule=Rule.SIGNERS, detail="the installer's delegation is revoked, over or of others")]
        return []

    def _said(self, request: TicketRequest | BindRequest) -> dict[int, Any] | str:
        mcu_key = to_bytes(request.mcu_key)
        mcu_id = hashlib.sha256(mcu_key).digest()
        said = open_by_car("challenge", to_bytes(request.challenge), mcu_key, mcu_id)
        if isinstance(said, dict) and said[2] != mcu_id:
            return "the challenge names another microcontroller than the one that signed it"
        return said

    def _ticket_answer(self, document: bytes) -> Answer:
        return Answer(
            verdict=Verdict.SIGNED,
            rules=[int(rule) for rule in (Rule.FREEZE, Rule.LENDER, Rule.SIGNERS, Rule.CHALLENGE, Rule.JOB)],
            token=to_text(document),
            delegation=to_text(self._desk.trust.delegation),
        )


def _limit_nos(at: Transaction, kind: OrderType, *, mcu_id: bytes, kid: bytes, now_s: int) -> list[No]:
    of_car, of_person = at.count_fittings(kind, mcu_id=mcu_id, kid=kid, since_s=now_s - _DAY_S)
    car_max, person_max = _LIMITS[kind]
    if of_car < car_max and of_person < person_max:
        return []
    detail = (
        f"{of_car} for this car and {of_person} by this person in a day; {car_max} and {person_max} may be"
    )
    return [No(rule=Rule.JOB_DAY, detail=detail, earliest_s=now_s + _DAY_S)]


def _bind_nos(order: Mapping[int, Any], job: WorkTicket, said: Mapping[int, Any]) -> list[No]:
    """A BIND says what the job says, of the car that was asked."""
    nos = []
    if (order[5], order[8], order[13]) != (said[2], said[3], said[4]):
        nos.append(No(rule=Rule.CHALLENGE, detail="the BIND is for another challenge"))
    if (order[4], order[7], order[18]) != (job.lender_id, job.contract_ref, job.jurisdiction):
        nos.append(No(rule=Rule.JOB, detail="lender, contract or jurisdiction are not the job's"))
    bound = None if job.vin is None else hashlib.sha256(job.vin_salt + job.vin.encode()).digest()
    if bound is not None and order[6] != bound:
        nos.append(No(rule=Rule.JOB, detail="the VIN is not the job's"))
    return nos


def _public_key(xy: bytes) -> EllipticCurvePublicKey:
    x, y = int.from_bytes(xy[:_SCALAR], "big"), int.from_bytes(xy[_SCALAR:], "big")
    return EllipticCurvePublicNumbers(x, y, SECP256R1()).public_key()
