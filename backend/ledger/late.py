"""What releases goes out even when the ledger is down, and is entered when it is back.

Rules: only what releases or informs may come here: an UNLOCK, a CANCEL, a disposition. What restricts uses
`append` and fails with it (log before act). A late entry keeps the salt and the content that it was asked
with; its leaf is marked late in the table, not in the log, where it is a leaf like any other. The queue is in
the same database: when that is down as a whole, the caller's own transaction fails too, and the caller
repeats it.

Example:
    >>> with session.begin():
    ...     ref = append_or_queue(session, entry, at_us=utc_us())  # None: it waits
    >>> with session.begin():
    ...     entered = enter_late(session, at_us=utc_us())
"""

from __future__ import annotations

import logging
import secrets
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from backend.ledger.log import Entry, LeafRef, LedgerError, append_all
from backend.store.ledger import add_late, count_late, list_late, settle_late
from protocol.log_leaves import LEAF_SALT_BYTES, LeafType

if TYPE_CHECKING:
    from sqlmodel import Session

LOG = logging.getLogger(__name__)

LATE_AT_ONCE: Final = 256
"""Late entries of one transaction: it holds the log's head."""


def append_or_queue(session: Session, entry: Entry, *, at_us: int) -> LeafRef | None:
    """Add a leaf in the caller's transaction, or put it into the queue when the ledger cannot take it.

    Returns:
        Where it stands; None when it waits.

    Raises:
        DBAPIError: The queue cannot be written either.
    """
    entry = entry if entry.salt is not None else replace(entry, salt=secrets.token_bytes(LEAF_SALT_BYTES))
    try:
        with session.begin_nested():
            return append_all(session, [entry], at_us=at_us)[0]
    except (LedgerError, DBAPIError) as down:
        reason = type(down).__name__
        LOG.warning("ledger: an entry waits, type=%s reason=%s", entry.leaf_type.name, reason)
        row = {
            "leaf_type": int(entry.leaf_type),
            "salt": entry.salt,
            "content": entry.content,
            "org_id": entry.org_id,
            "device_id": entry.device_id,
            "asked_us": at_us,
            "reason": reason,
        }
        add_late(session, row)
        return None


def enter_late(session: Session, *, at_us: int) -> int:
    """Enter what waits, oldest first, at most LATE_AT_ONCE, in the caller's transaction; return how many.

    Raises:
        LedgerHaltedError: The ledger still takes nothing.
    """
    waiting = list_late(session, limit=LATE_AT_ONCE)
    if not waiting:
        return 0
    entries = [
        Entry(
            leaf_type=LeafType(leaf_type),
            content=bytes(content),
            salt=bytes(salt),
            org_id=org_id,
            device_id=device_id,
        )
        for _, leaf_type, salt, content, org_id, device_id in waiting
    ]
    refs = append_all(session, entries, at_us=at_us, is_late=True)
    for row, ref in zip(waiting, refs, strict=True):
        settle_late(session, late_id=row.late_id, leaf_index=ref.index)
    return len(refs)


def waiting(session: Session) -> int:
    """Return how many entries wait."""
    return count_late(session)
