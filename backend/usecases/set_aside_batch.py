"""A batch on which the program itself fails is set aside, so that those behind it go on.

It stays stored and provable; only the derived tables do without it, and an integrity event says so.

Example:
    >>> set_aside_next(database, now_us=utc_us())
    1
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.domain.integrity import IntegrityEvent, IntegrityKind
from backend.store.batch_queue import pending_batches, settle_batches
from backend.store.batches import DecodeState
from backend.store.chains import chains_by_ref
from backend.store.integrity_events import add_events

if TYPE_CHECKING:
    from backend.store.database import Database


def set_aside_next(database: Database, *, now_us: int) -> int:
    """Mark the next waiting batch unreadable after the program failed on it; return 1, or 0 if none waits."""
    with database.writing() as session, session.begin():
        batches = pending_batches(session, limit=1)
        for batch in batches:
            chain = chains_by_ref(session, chain_refs=[batch.chain_ref])[batch.chain_ref]
            settle_batches(
                session,
                [
                    {
                        "at_chain": batch.chain_ref,
                        "at_seq": batch.seq,
                        "state": int(DecodeState.UNREADABLE),
                        "sections": 0,
                    }
                ],
            )
            event = IntegrityEvent(
                kind=IntegrityKind.SECTION_UNREADABLE,
                seq=batch.seq,
                key=f"{batch.seq}:failed",
                detail={"code": "FAILED", "problem": "the server failed on it; see its log"},
            )
            add_events(session, [(chain.org_id, chain.chain_ref, event)], at_us=now_us)
    return len(batches)
