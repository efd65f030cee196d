"""Messages from boxes are verified, judged and stored in one transaction; then the backend signs what it has.

Rules:
- A group is one transaction: keys, headers, sections, chains, events, quarantine and counters, or nothing.
  Only what was committed is receipted, and only the receipt lets a box free a batch.
- Topic, header and registry must name the same box, and the key must be that box's, in force now. A revoked
  box is counted and gets no answer; what it sent before stays.
- Bytes that do not verify are counted by cause, never answered: see `backend.domain.ingest`.
- A message sent again changes nothing and gets its receipt again.
- One message never spoils another: all that can be wrong with one is a value here, not an exception.
- Several bridges take in the same chains: each locks the chains of its group. Where another was faster all
  the same, the whole group is judged again, and what the other stored is a duplicate then.

It knows no MQTT: `backend.bridge` brings messages in and carries answers out.

Example:
    >>> taken = ingest(database, [Inbound(topic=topic, payload=payload)], signer=signer, now_us=utc_us())
    >>> [message.topic for message in taken.answers]
    ['tbox/1/…/down/receipt']
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from backend.store.batch_signers import load_signers
from backend.store.contention import in_transaction
from backend.store.quarantine import QuarantinedBatch
from backend.usecases.ingest_group import IngestGroup
from protocol.authority_bundle import RequestForm, request_form
from protocol.batch import SignedRefusalError, open_batch
from protocol.errors import ProtocolError, Reject
from protocol.ids import DeviceId, public_key_from_cose
from protocol.install_report import open_report
from protocol.limits import GROUP_COMMIT_MESSAGES_MAX
from protocol.receipts import RefusalCode, sign_receipt
from protocol.signed_time import TimeToken, open_time_request, sign_time_token
from protocol.standing import is_standing_request, open_standing_request
from protocol.topics import Direction, Down, Up, down_topic, parse_topic

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
    from sqlmodel import Session

    from backend.store.batch_signers import Signers
    from backend.store.database import Database
    from protocol.envelope import Signer
    from protocol.receipts import Receipt

UNKNOWN_DEVICE = "UNKNOWN_DEVICE"
REVOKED_DEVICE = "REVOKED_DEVICE"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inbound:
    """One message as the broker delivered it."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outbound:
    """One answer to publish."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    """What a group came to.

    Attributes:
        answers: signed receipts and times, to be published now that the group is committed.
        outcomes: how many messages had which outcome: `store`, `duplicate`, `refuse`, … or a cause.
    """

    answers: tuple[Outbound, ...]
    outcomes: Mapping[str, int]


def ingest(database: Database, messages: Sequence[Inbound], *, signer: Signer, now_us: int) -> Taken:
    """Take in a group of messages and commit it.

    Args:
        database: Where to.
        messages: At most GROUP_COMMIT_MESSAGES_MAX, in the order they came.
        signer: The backend's receipt key.
        now_us: UTC in µs, the time of arrival.

    Raises:
        OperationalError: The database does not answer; nothing was stored, the group may be given again.
    """
    assert len(messages) <= GROUP_COMMIT_MESSAGES_MAX, "the bridge groups within the limit"

    def take() -> tuple[IngestGroup, list[Outbound], list[Receipt]]:
        group, times = _open(session, messages, signer=signer, now_us=now_us)
        group.judge(session)
        group.commands.judge(session)
        group.installs.judge(session)
        receipts = [*group.receipts(session), *group.commands.receipts(session)]
        group.write(session)
        return group, times, receipts

    with database.writing() as session:
        group, times, receipts = in_transaction(session, take)
    answers = [
        Outbound(topic=down_topic(receipt.device, Down.RECEIPT), payload=sign_receipt(receipt, signer))
        for receipt in receipts
    ]
    answers += [
        Outbound(topic=down_topic(device, kind), payload=payload)
        for device, kind, payload in group.commands.answers
    ]
    return Taken(answers=(*times, *answers), outcomes=dict(group.outcomes))


def _open(
    session: Session, messages: Iterable[Inbound], *, signer: Signer, now_us: int
) -> tuple[IngestGroup, list[Outbound]]:
    """Read topics, verify payloads, set aside what does not hold; return the group and answers of time."""
    named: list[tuple[DeviceId, Up, bytes]] = []
    strays: list[bytes] = []
    for message in messages:
        place = _place(message.topic)
        if place is None:
            strays.append(message.payload)
        else:
            named.append((*place, message.payload))
    signers = load_signers(session, device_ids={device for device, _, _ in named}, now_us=now_us)
    group = IngestGroup(now_us=now_us, signers=signers)
    for payload in strays:
        group.turn_away(Reject.BAD_TOPIC, payload)
    times: list[Outbound] = []
    for device, kind, payload in named:
        box = signers.get(device)
        if box is None:
            group.turn_away(UNKNOWN_DEVICE, payload)
        elif box.is_revoked:
            group.turn_away(REVOKED_DEVICE, payload, device=device)
        elif kind is Up.REQUEST:
            times += _answer(group, box, device, payload, signer=signer)
        else:
            _read(group, box, device, kind, payload)
    return group, times


def _place(topic: str) -> tuple[DeviceId, Up] | None:
    """Return device and kind of a topic that boxes publish on, or None."""
    try:
        device, direction, kind = parse_topic(topic)
    except ProtocolError:
        return None
    return (device, kind) if direction is Direction.UP and isinstance(kind, Up) else None


def _read(group: IngestGroup, box: Signers, device: DeviceId, kind: Up, payload: bytes) -> None:
    """Verify one message of a known box, by its kind."""
    match kind:
        case Up.BATCH:
            try:
                batch = open_batch(payload, lambda kid: _key(box, kid), device=device)
            except SignedRefusalError as refused:
                _refuse_signed(group, box, device, payload, refused)
            except ProtocolError as error:
                group.turn_away(error.code, payload, device=device)
            else:
                group.add(batch, payload)
        case Up.STATUS:
            group.outcomes["status"] += 1  # the will: a hint, not a fact, so nothing is stored
        case Up.DISPOSITION | Up.CHALLENGE:
            group.commands.add(device, kind, payload)
        case Up.INSTALL:
            _read_report(group, box, device, payload)
        case Up.REQUEST:
            raise AssertionError("requests are told apart before")


def _read_report(group: IngestGroup, box: Signers, device: DeviceId, payload: bytes) -> None:
    """Verify what a box says of its installation."""
    try:
        report = open_report(payload, lambda kid: _key(box, kid))
    except ProtocolError as error:
        group.turn_away(error.code, payload, device=device)
        return
    if report.device != device:
        group.turn_away(Reject.WRONG_DEVICE, payload, device=device)
        return
    group.installs.add(device, box.org_id, report, payload)


def _answer(
    group: IngestGroup, box: Signers, device: DeviceId, payload: bytes, *, signer: Signer
) -> list[Outbound]:
    """Take a question: where chains stand is answered after the commit, the time at once."""
    if request_form(payload) is not RequestForm.OTHER:
        group.commands.add(device, Up.REQUEST, payload)
        return []
    try:
        if not is_standing_request(payload):
            return _tell_time(group, box, device, payload, signer=signer)
        group.ask(open_standing_request(payload, lambda kid: _key(box, kid), device=device))
    except ProtocolError as error:
        group.turn_away(error.code, payload, device=device)
    return []


def _tell_time(
    group: IngestGroup, box: Signers, device: DeviceId, payload: bytes, *, signer: Signer
) -> list[Outbound]:
    """Answer a signed question for the time, bound to its nonce.

    Raises:
        ProtocolError: It is no such question of this box.
    """
    request = open_time_request(payload, lambda kid: _key(box, kid), device=device)
    group.outcomes["time"] += 1
    token = sign_time_token(TimeToken(nonce=request.nonce, utc_us=group.now_us), signer)
    return [Outbound(topic=down_topic(device, Down.TIME), payload=token)]


def _refuse_signed(
    group: IngestGroup, box: Signers, device: DeviceId, payload: bytes, refused: SignedRefusalError
) -> None:
    """Keep and answer a batch that the box signed and that can never be stored as it is."""
    code = RefusalCode.of(refused.code)
    if refused.device != device or refused.chain is None or refused.seq is None or code is None:
        group.turn_away(refused.code, payload, device=device)
        return
    group.refuse(
        QuarantinedBatch(
            device_id=device,
            org_id=box.org_id,
            chain=refused.chain,
            seq=refused.seq,
            code=code.name,
            detail=refused.detail,
            sha256=hashlib.sha256(payload).digest(),
            payload=payload,
        ),
        code=code,
    )


def _key(box: Signers, kid: bytes) -> EllipticCurvePublicKey | None:
    """Return a box's key, parsed once per process."""
    cose_key = box.keys.get(kid)
    return None if cose_key is None else _parsed(cose_key)


@lru_cache(maxsize=65_536)  # a parsed key takes about a kilobyte; loading one costs half a verification
def _parsed(cose_key: bytes) -> EllipticCurvePublicKey:
    return public_key_from_cose(cose_key)
