"""Reading stored batches back: the very bytes that were written, or the news that they are not.

Rules: bytes are checked against the SHA-256 that was stored with them. A page that SQLite cannot read
    concerns the one batch that
lies on it; a disk that hesitates concerns none, and raises.

Example: see `tests/unit/test_spool.py`.
"""

from __future__ import annotations

import hashlib
import sqlite3
from typing import TYPE_CHECKING

from device.adapters.spool_errors import is_damage
from device.events import BatchDamaged, BatchRead, SpoolEvent

if TYPE_CHECKING:
    from device.state import BatchKey


class DamagedBodyError(Exception):
    """A stored batch is missing or is not what was written; the message says which."""


def read_body(connection: sqlite3.Connection, key: BatchKey) -> bytes | None:
    """Return the stored bytes of a batch, None when there is no such batch.

    Raises:
        DamagedBodyError: The bytes are missing or are not those that were written.
    """
    try:
        row = connection.execute(
            "SELECT checksum, payload FROM batch JOIN chain ON chain.number = batch.chain "
            "LEFT JOIN body ON body.id = batch.id WHERE chain.chain = ? AND seq = ?",
            key,
        ).fetchone()
    except sqlite3.DatabaseError as error:
        if is_damage(error):
            raise DamagedBodyError(str(error)) from error
        raise
    if row is None:
        return None
    checksum, payload = row
    if not isinstance(payload, bytes):
        raise DamagedBodyError("its body is missing")
    if hashlib.sha256(payload).digest() != checksum:
        raise DamagedBodyError("its body does not fit its checksum")
    return payload


def read_for_engine(connection: sqlite3.Connection, key: BatchKey) -> SpoolEvent:
    """Return the answer to `ReadBatch`."""
    try:
        payload = read_body(connection, key)
    except DamagedBodyError as error:
        return BatchDamaged(key=key, detail=str(error))
    if payload is None:
        return BatchDamaged(key=key, detail="it is not in the spool")
    return BatchRead(key=key, payload=payload)
