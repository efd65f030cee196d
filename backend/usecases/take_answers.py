"""What a car's microcontroller says: dispositions, challenges, go requests, and questions for documents.

Rules (S-, C-15; README §2.10, §2.12; SPEC §18.9, §18.10):
- A disposition is kept verbatim in the chain of its epoch, once, in whatever order the numbers come. One that
  contradicts what is kept is kept apart, refused in the receipt, and moves nothing. The receipt follows the
  commit. A ledger that is down keeps no disposition back.
- Only a verified disposition changes what is said of an order or of a car, and only a later number than the
  last one that did.
- An epoch that is over never comes back. A challenge older than the newest known is a replay and is counted.
- A go request is passed on to the gate only for an order that this car was sent, that nothing has overtaken,
  while no kill switch is on. Silence is the answer otherwise: without a token the car does not lock.
- What does not verify is counted by cause and not answered.

Example:
    >>> answers = AnswerGroup(now_us=now_us, turn_away=group.turn_away, outcomes=group.outcomes)
    >>> answers.add(device, Up.DISPOSITION, payload)
    >>> answers.judge(session)
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from backend import ledger
from backend.domain.order_flow import Stage, Step, may
from backend.store.dispositions import (
    DispositionConflict,
    StoredDisposition,
    count_conflicts,
    is_conflict_known,
    located_around,
    located_chain,
)
from backend.store.mcus import (
    Mcu,
    McuChallenge,
    find_challenge,
    is_known_epoch,
    locate_mcu,
    note_epoch,
)
from backend.store.order_outbox import (
    drop_outgoing,
)
from backend.store.orders import Order, locate_order, standing_orders
from backend.usecases.ask_challenge import SUBJECT as CHALLENGE_SUBJECT
from backend.usecases.disposition_receipts import disposition_receipt
from backend.usecases.go_requests import take_go_request
from backend.usecases.mcu_words import keys_of, opened_by
from backend.usecases.order_steps import bundle_of, settle_slot, take_step
from backend.usecases.register_mcu import forget_car
from protocol import orders_payload
from protocol.authority_bundle import RequestForm, decode_authority_question, request_form
from protocol.dispositions import Disposition, open_disposition
from protocol.envelope import Kind
from protocol.errors import ProtocolError, Reject
from protocol.ids import DeviceId
from protocol.limits import (
    DISPOSITION_CONFLICTS_MAX,
)
from protocol.orders import OrderType, State
from protocol.orders_vocabulary import CLASS
from protocol.receipts import Receipt, RefusalCode
from protocol.topics import Down, Up

if TYPE_CHECKING:
    from collections import Counter

    from sqlmodel import Session

UNREGISTERED: Final = "MCU_UNREGISTERED"

_LOCK_STATES: Final = frozenset(
    {
        State.ARMED,
        State.LOCKED,
        State.RELEASED,
        State.LEASE_EXPIRED,
        State.OVERRIDDEN,
        State.FAULT_RELEASED,
    }
)
_NOT_TAKEN: Final = frozenset({State.NONE, State.RECEIVED, State.REJECTED})


class TurnAway(Protocol):
    """Counts a message that is not stored."""

    def __call__(self, cause: str, payload: bytes, *, device: str = "") -> None:
        """Count it."""


@dataclass(slots=True, kw_only=True)
class AnswerGroup:
    """The messages of one group that concern orders; judged within the group's transaction.

    Attributes:
        now_us: time of arrival, UTC in µs.
        turn_away: counts what is not stored.
        outcomes: counts what is.
        answers: (device, kind, payload) to be published after the commit.
    """

    now_us: int
    turn_away: TurnAway
    outcomes: Counter[str]
    answers: list[tuple[DeviceId, Down, bytes]] = field(default_factory=list)
    _messages: list[tuple[DeviceId, Up, bytes]] = field(default_factory=list)
    _touched: dict[tuple[DeviceId, str, bytes], None] = field(default_factory=dict)
    _refused: defaultdict[tuple[DeviceId, bytes], dict[int, RefusalCode]] = field(
        default_factory=lambda: defaultdict(dict)
    )

    def add(self, device: DeviceId, kind: Up, payload: bytes) -> None:
        """Take a message of a known box into the group."""
        self._messages.append((device, kind, payload))

    def judge(self, session: Session) -> None:
        """Decide on every message; boxes in one order, so that two bridges do not wait in a circle."""
        for device, kind, payload in sorted(self._messages, key=lambda item: item[0]):
            mcu = locate_mcu(session, device_id=device, lock=True)
            if mcu is None:
                self.turn_away(UNREGISTERED, payload, device=device)
                continue
            try:
                self._judge(session, mcu, device, kind, payload)
            except ProtocolError as error:
                self.turn_away(error.code, payload, device=device)

    def _judge(self, session: Session, mcu: Mcu, device: DeviceId, kind: Up, payload: bytes) -> None:
        if kind is Up.DISPOSITION:
            self._take_disposition(session, mcu, open_disposition(payload, keys_of(mcu)), payload)
        elif kind is Up.CHALLENGE:
            self._take_challenge(session, mcu, payload)
        elif request_form(payload) is RequestForm.AUTHORITY:
            self._answer_question(session, mcu, device, payload)
        else:
            self.outcomes[take_go_request(session, mcu, payload, now_us=self.now_us)] += 1

    # --- dispositions ---

    def _take_disposition(self, session: Session, mcu: Mcu, said: Disposition, document: bytes) -> None:
        device = DeviceId(mcu.device_id)
        self._touched[device, mcu.mcu_id, said.epoch] = None
        around = located_around(session, mcu_id=mcu.mcu_id, epoch=said.epoch, seq=said.sequence)
        known = around.get(said.sequence)
        if known is not None and known[0] == said.digest:
            self.outcomes["disposition_repeated"] += 1
            return
        if known is not None or not _links(said, around):
            self._set_apart(session, mcu, said, document)
            return
        if said.epoch != mcu.epoch and said.sequence == 1:
            self._begin_epoch(session, mcu, said.epoch)
        session.add(
            StoredDisposition(
                org_id=mcu.org_id,
                device_id=mcu.device_id,
                mcu_id=mcu.mcu_id,
                epoch=said.epoch,
                seq=said.sequence,
                prev=said.previous,
                digest=said.digest,
                cmd_id=said.cmd_id.hex(),
                state=int(said.state),
                code=int(said.code),
                document=document,
                received_us=self.now_us,
            )
        )
        session.flush()
        self.outcomes["disposition"] += 1
        if said.epoch == mcu.epoch:
            self._apply(session, mcu, said)
        entry = ledger.Entry(
            leaf_type=ledger.LeafType.DISPOSITION,
            content=document,
            org_id=mcu.org_id,
            device_id=mcu.device_id,
        )
        ledger.append_or_queue(session, entry, at_us=self.now_us)

    def _set_apart(self, session: Session, mcu: Mcu, said: Disposition, document: bytes) -> None:
        self._refused[DeviceId(mcu.device_id), said.epoch][said.sequence] = RefusalCode.CONFLICT
        self.outcomes["disposition_conflict"] += 1
        is_known = is_conflict_known(session, device_id=mcu.device_id, digest=said.digest)
        if is_known or count_conflicts(session, device_id=mcu.device_id) >= DISPOSITION_CONFLICTS_MAX:
            return
        session.add(
            DispositionConflict(
                org_id=mcu.org_id,
                device_id=mcu.device_id,
                mcu_id=mcu.mcu_id,
                epoch=said.epoch,
                seq=said.sequence,
                digest=said.digest,
                document=document,
                received_us=self.now_us,
            )
        )
        session.flush()

    def _apply(self, session: Session, mcu: Mcu, said: Disposition) -> None:
        """Let a disposition say what it says: of its order, and of the car."""
        order = locate_order(session, cmd_id=said.cmd_id.hex())
        is_ours = order is not None and (order.device_id, order.cmd_hash) == (mcu.device_id, said.cmd_hash)
        if order is not None and is_ours:
            self._apply_to_order(session, mcu, order, said)
        is_about_lock = (order is not None and is_ours and order.type is OrderType.LOCK) or (
            order is None and said.state in _LOCK_STATES
        )
        is_told = mcu.reported_state is None or said.state not in _NOT_TAKEN
        if is_about_lock and is_told and said.sequence > mcu.reported_seq:
            mcu.reported_state, mcu.reported_seq = int(said.state), said.sequence
            mcu.reported_us = self.now_us
        session.add(mcu)
        session.flush()

    def _apply_to_order(self, session: Session, mcu: Mcu, order: Order, said: Disposition) -> None:
        if said.state not in _NOT_TAKEN and order.in_car in {None, *_NOT_TAKEN}:
            _note_acceptance(session, mcu, order)
        if said.sequence <= order.car_seq:
            return
        order.car_state, order.car_code = int(said.state), int(said.code)
        order.car_seq = said.sequence
        if may(Stage(order.stage), Step.ANSWERED):
            why = f"disposition {said.sequence}: {said.state.name} {said.code.name}"
            take_step(session, order, Step.ANSWERED, why=why, now_us=self.now_us)
        else:
            settle_slot(order)
            session.add(order)
            session.flush()

    def _begin_epoch(self, session: Session, mcu: Mcu, epoch: bytes) -> bool:
        """Make an epoch the current one, unless the car has left it; return whether it is current."""
        if epoch == mcu.epoch:
            return True
        if is_known_epoch(session, mcu_id=mcu.mcu_id, epoch=epoch):
            return False
        forget_car(session, mcu)
        for order in standing_orders(session, device_id=mcu.device_id):
            # What the car said in an epoch that is over says nothing about it now: UNKNOWN, never "locked".
            order.car_state = None
            settle_slot(order)
            session.add(order)
        mcu.epoch, mcu.updated_us = epoch, self.now_us
        session.add(mcu)
        note_epoch(session, mcu=mcu, epoch=epoch, at_us=self.now_us)
        self.outcomes["epoch_begun"] += 1
        return True

    def receipts(self, session: Session) -> list[Receipt]:
        """Return a receipt for each chain that a disposition of the group was about, unsigned."""
        return [
            disposition_receipt(
                device,
                epoch,
                located_chain(session, mcu_id=mcu_id, epoch=epoch),
                refused=self._refused[device, epoch],
                now_us=self.now_us,
            )
            for device, mcu_id, epoch in self._touched
        ]

    # --- challenges ---

    def _take_challenge(self, session: Session, mcu: Mcu, payload: bytes) -> None:
        said = opened_by(Kind.CHALLENGE, payload, mcu)
        known = find_challenge(session, org_id=mcu.org_id, device_id=mcu.device_id)
        if not self._begin_epoch(session, mcu, said[3]):
            self.outcomes["challenge_old"] += 1
            return
        known = known if known is not None and known.epoch == said[3] else None
        if known is not None and known.chal == said[4]:
            self.outcomes["challenge_repeated"] += 1
            drop_outgoing(session, device_id=mcu.device_id, kind=Down.CHALLENGE, subject=CHALLENGE_SUBJECT)
            return
        is_behind = any(head < before for head, before in zip(said[6], mcu.heads, strict=True))
        if is_behind or (known is not None and said[5] < known.tick):
            self.outcomes["challenge_old"] += 1  # replayed: the car has moved on since
            return
        old = find_challenge(session, org_id=mcu.org_id, device_id=mcu.device_id)
        if old is not None:
            session.delete(old)
            session.flush()
        session.add(
            McuChallenge(
                device_id=mcu.device_id,
                org_id=mcu.org_id,
                epoch=said[3],
                chal=said[4],
                tick=said[5],
                document=payload,
                received_us=self.now_us,
            )
        )
        mcu.heads, mcu.prev, mcu.mode = list(said[6]), said[7], said[9]
        session.add(mcu)
        drop_outgoing(session, device_id=mcu.device_id, kind=Down.CHALLENGE, subject=CHALLENGE_SUBJECT)
        session.flush()
        self.outcomes["challenge"] += 1

    # --- requests ---

    def _answer_question(self, session: Session, mcu: Mcu, device: DeviceId, payload: bytes) -> None:
        asked = decode_authority_question(payload)
        if asked.mcu_id.hex() != mcu.mcu_id:
            raise ProtocolError(Reject.WRONG_DEVICE, "the question names another microcontroller")
        bundle = bundle_of(session, org_id=mcu.org_id, digests=[item.hex() for item in asked.digests])
        self.outcomes["authority_question"] += 1
        if bundle is not None:
            self.answers.append((device, Down.AUTHORITY, bundle))


def _note_acceptance(session: Session, mcu: Mcu, order: Order) -> None:
    """The car has taken an order: its counter, its `prev`, and the challenge that is used up."""
    fields = orders_payload.read_order(order.payload)[0]
    heads = mcu.heads
    if fields[9] > heads[CLASS[order.type]]:
        heads[CLASS[order.type]] = fields[9]
        mcu.heads, mcu.prev = heads, order.cmd_hash
    challenge = find_challenge(session, org_id=mcu.org_id, device_id=mcu.device_id)
    if challenge is not None and fields.get(13) == challenge.chal:
        challenge.is_used = True
        session.add(challenge)


def _links(said: Disposition, around: dict[int, tuple[bytes, bytes | None]]) -> bool:
    """Return whether a disposition fits between the neighbours that are stored."""
    if (said.sequence == 1) != (said.previous is None):
        return False
    before, after = around.get(said.sequence - 1), around.get(said.sequence + 1)
    return (before is None or before[0] == said.previous) and (after is None or after[1] == said.digest)
