"""The operator has the derived tables derived again, from the batches alone.

The tables come out as they were: derivation depends on the batches and the order they came in, not on how
they were grouped. What was erased meanwhile cannot be derived again, so such a box is refused.

Example:
    >>> rebuild(database, now_us=utc_us(), device_id=device)
    812
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.errors import RefusedError
from backend.store.batch_queue import has_erased, reset_projection
from backend.store.chains import devices_with_chains, refs_of_devices
from backend.store.dictionaries import forget_dictionaries, signal_refs
from backend.store.latest import forget_latest
from backend.store.rollups import forget_rollups
from backend.usecases.project import project

if TYPE_CHECKING:
    from backend.store.database import Database


def rebuild(database: Database, *, now_us: int, device_id: str | None = None) -> int:
    """Delete what was derived, of one device or of all, and derive it again; return the batches it took.

    Raises:
        RefusedError: Sections have been erased, so what was derived from them could not be derived again.
    """
    with database.writing() as session, session.begin():
        devices = [device_id] if device_id is not None else devices_with_chains(session)
        for device, chain_refs in refs_of_devices(session, device_ids=devices).items():
            if has_erased(session, chain_refs=chain_refs):
                raise RefusedError(
                    what=f"sections of {device} have been erased",
                    next_step="keep its derived tables: they hold what the batches no longer do",
                )
            refs = list(signal_refs(session, device_id=device).values())
            forget_rollups(session, signal_refs=refs)
            forget_latest(session, device_id=device, signal_refs=refs)
            forget_dictionaries(session, chain_refs=chain_refs)
            reset_projection(session, chain_refs=chain_refs)
    total = 0
    while count := project(database, now_us=now_us):
        total += count
    return total
