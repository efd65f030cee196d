"""A request that may have been heard is sent again with its key, and gets the answer that it got.

Rules: a key belongs to one API key. The same key with the same request gets the same answer, and nothing is
done twice; with another request it is refused. Only what was done is remembered: a refusal may be asked anew.
The answer is stored in the transaction that does the work, so that there is never one without the other; two
that come at once meet at the table's key, and the second finds the first's answer. Answers are kept 7 days.

Example:
    >>> with_key(session, repeat, lambda: Answered(status=201, body={"cmd_id": cmd_id}))
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from sqlalchemy import delete
from sqlmodel import Session, col

from backend.domain.access import Caller
from backend.domain.refusal import Reason, Refusal
from backend.store.contention import in_transaction
from backend.store.order_outbox import RepeatedRequest
from protocol.limits import IDEMPOTENCY_LIFE_US


@dataclass(frozen=True, slots=True, kw_only=True)
class Repeat:
    """A request as far as it can be told from another.

    Attributes:
        caller: who.
        key: the Idempotency-Key.
        request_sha256: over method, address and body.
        now_us: UTC in µs.
    """

    caller: Caller
    key: str
    request_sha256: bytes
    now_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What a request got."""

    status: int
    body: dict[str, Any]


def with_key(session: Session, repeat: Repeat, work: Callable[[], Answered | Refusal]) -> Answered | Refusal:
    """Do the work once for a key, in a transaction of its own.

    Args:
        session: A writing session without an open transaction.
        repeat: The request.
        work: Reads and writes through the session; may run several times, see `contention`.
    """

    def do() -> Answered | Refusal:
        name = (repeat.caller.org_id, repeat.caller.key_id, repeat.key)
        known = session.get(RepeatedRequest, name)
        if known is not None:
            if known.request_sha256 != repeat.request_sha256:
                return Refusal(reason=Reason.KEY_REUSED, detail="send another request with a key of its own")
            return Answered(status=known.status, body=json.loads(known.answer))
        outcome = work()
        if isinstance(outcome, Refusal):
            raise _RefusedError(outcome)  # what was written on the way to the refusal is taken back
        session.add(
            RepeatedRequest(
                org_id=name[0],
                key_id=name[1],
                name=name[2],
                request_sha256=repeat.request_sha256,
                status=outcome.status,
                answer=json.dumps(outcome.body).encode(),
                at_us=repeat.now_us,
            )
        )
        session.flush()
        return outcome

    try:
        return in_transaction(session, do)
    except _RefusedError as refused:
        return refused.refusal


class _RefusedError(Exception):
    """Ends the transaction with a no."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.reason)
        self.refusal = refusal


def forget_old(session: Session, *, now_us: int) -> None:
    """Forget answers that are older than any retry, in the caller's transaction."""
    session.exec(delete(RepeatedRequest).where(col(RepeatedRequest.at_us) < now_us - IDEMPOTENCY_LIFE_US))
