"""The box is asked for its open challenge, because somebody wants to write an order for it.

Rules: the question is unsigned and carries a nonce; the answer is signed by D1. It is sent a few times, since
a parked box hears it when it wakes; asking again while it is under way changes nothing.

Example:
    >>> ask_challenge(session, mcu=mcu, nonce=secrets.token_bytes(16), now_us=utc_us())
"""

from sqlmodel import Session, select

from backend.store.mcus import Mcu
from backend.store.order_outbox import Outgoing, put_outgoing
from protocol.authority_bundle import ChallengeQuestion, encode_challenge_question
from protocol.limits import CHALLENGE_SENDS_MAX
from protocol.topics import Down

SUBJECT = "challenge"


def ask_challenge(session: Session, *, mcu: Mcu, nonce: bytes, now_us: int) -> None:
    """Queue the question, in the caller's transaction."""
    waiting = session.exec(
        select(Outgoing).where(
            Outgoing.device_id == mcu.device_id, Outgoing.kind == Down.CHALLENGE, Outgoing.subject == SUBJECT
        )
    ).one_or_none()
    if waiting is not None:
        waiting.due_us = min(waiting.due_us, now_us)
        session.add(waiting)
        session.flush()
        return
    question = ChallengeQuestion(mcu_id=bytes.fromhex(mcu.mcu_id), nonce=nonce)
    put_outgoing(
        session,
        Outgoing(
            org_id=mcu.org_id,
            device_id=mcu.device_id,
            kind=Down.CHALLENGE,
            subject=SUBJECT,
            priority=1,
            payload=encode_challenge_question(question),
            sends_max=CHALLENGE_SENDS_MAX,
            due_us=now_us,
            created_us=now_us,
        ),
    )
