"""Holes that nobody declared are found and reported, once each.

A number may be missing for a while: a backlog after a silence comes newest first. A hole counts when
nothing above it has arrived for a quarter of an hour. When it is filled later, ingest says so with a second
event.

Example:
    >>> find_holes(database, now_us=utc_us())
    0
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backend.domain.integrity import overdue_holes
from backend.store.batches import load_received
from backend.store.chains import list_active_chains
from backend.store.integrity_events import add_events, reported_holes

if TYPE_CHECKING:
    from backend.store.database import Database

_CHAINS_AT_ONCE: Final = 500  # one transaction each, so that the write lock is never held for long


def find_holes(database: Database, *, now_us: int) -> int:
    """Report all overdue holes that have no event yet; return how many there were.

    Args:
        database: Where.
        now_us: UTC in µs.
    """
    after, total = 0, 0
    while True:
        with database.reading() as session:
            chains = list_active_chains(session, after=after, limit=_CHAINS_AT_ONCE)
            if not chains:
                return total
            after = chains[-1].chain_ref
            above = load_received(
                session, [(chain.chain_ref, last + 1) for chain in chains for _, last in chain.state.holes]
            )
            found = [
                (chain.org_id, chain.chain_ref, event)
                for chain in chains
                for event in overdue_holes(
                    set(chain.state.holes) - set(reported_holes(session, chain_ref=chain.chain_ref)),
                    above_received_us={
                        seq: at_us for (ref, seq), at_us in above.items() if ref == chain.chain_ref
                    },
                    now_us=now_us,
                )
            ]
        if found:
            with database.writing() as session, session.begin():
                add_events(session, found, at_us=now_us)
            total += len(found)
