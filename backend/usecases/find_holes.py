"""Holes that nobody declared are found and reported, once each.

A number may be missing for a while: a backlog after a silence comes newest first. A hole counts when the
lowest stored batch above it has been here for a quarter of an hour; should the time of its arrival be gone,
when the chain has been silent for as long. When the hole is filled later, ingest says so with a second event.

Example:
    >>> find_holes(database, now_us=utc_us())
    0
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Final

from backend.domain.integrity import numbers_above, overdue_holes
from backend.store.batches import load_received
from backend.store.chains import list_active_chains
from backend.store.integrity_events import add_events, reported_holes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlmodel import Session

    from backend.domain.coverage import Pair
    from backend.store.chains import StoredChain
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
            holes = {chain.chain_ref: chain.state.holes for chain in chains}
            received = _received_above(session, chains, holes)
            found = [
                (chain.org_id, chain.chain_ref, event)
                for chain in chains
                if holes[chain.chain_ref]
                for event in overdue_holes(
                    set(holes[chain.chain_ref]) - set(reported_holes(session, chain_ref=chain.chain_ref)),
                    stored=chain.state.stored,
                    received_us=received[chain.chain_ref],
                    otherwise_us=chain.last_received_us,
                    now_us=now_us,
                )
            ]
        if found:
            with database.writing() as session, session.begin():
                add_events(session, found, at_us=now_us)
            total += len(found)


def _received_above(
    session: Session, chains: Iterable[StoredChain], holes: Mapping[int, Iterable[Pair]]
) -> dict[int, dict[int, int]]:
    """Return by `chain_ref` when the batches right above the holes arrived, UTC in µs by number."""
    wanted = [
        (chain.chain_ref, seq)
        for chain in chains
        for seq in numbers_above(holes[chain.chain_ref], stored=chain.state.stored)
    ]
    received: defaultdict[int, dict[int, int]] = defaultdict(dict)
    for (chain_ref, seq), at_us in load_received(session, wanted).items():
        received[chain_ref][seq] = at_us
    return received
