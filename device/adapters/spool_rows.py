"""Rows of the spool's tables as values, and values as rows.

Rules: a row that does not hold what its column should is damage, and raises as SQLite itself does for damage.

It runs no statement (`spool_tables` does).

Example:
    >>> statement_row(Statement(number=1, body=LostRange(chain=b"c", first=2, last=3, cause=LossCause.QUOTA)))
    (1, None, None, None, b'c', 2, 3, 1, None, None)
"""

from __future__ import annotations

import json
import sqlite3
from typing import TYPE_CHECKING, assert_never

from device.state import BatchKey, BootId, ChainId, ChainRecord, LostRange, Statement
from protocol.batch import ChainHead, Gap, LossCause, Origin

if TYPE_CHECKING:
    from device.seqs import Ranges


def statement_row(statement: Statement) -> tuple[object, ...]:
    """Return a statement as a row of its table."""
    declared = (None, None) if statement.declared_in is None else statement.declared_in
    match statement.body:
        case Gap(boot=boot, start_us=start_us, end_us=end_us, cause=cause):
            return (statement.number, boot, start_us, end_us, None, None, None, int(cause), *declared)
        case LostRange(chain=chain, first=first, last=last, cause=cause):
            return (statement.number, None, None, None, chain, first, last, int(cause), *declared)
        case _:
            assert_never(statement.body)


def read_statement(row: tuple[object, ...]) -> Statement:
    """Return a row of the statement table as a statement."""
    number, boot, start_us, end_us, chain, first, last, cause, declared_chain, declared_seq = row
    body: Gap | LostRange
    if isinstance(boot, bytes):
        body = Gap(
            boot=BootId(boot), start_us=read_int(start_us), end_us=_int_or_none(end_us), cause=read_int(cause)
        )
    else:
        body = LostRange(
            chain=ChainId(_bytes(chain)),
            first=read_int(first),
            last=read_int(last),
            cause=LossCause(read_int(cause)),
        )
    declared = None
    if declared_chain is not None:
        declared = BatchKey(ChainId(_bytes(declared_chain)), read_int(declared_seq))
    return Statement(number=read_int(number), body=body, declared_in=declared)


def read_chain(row: tuple[object, ...]) -> ChainRecord:
    """Return a row of the chain table as a chain."""
    (
        _,
        chain,
        secret,
        kind,
        origin_chain,
        origin_seq,
        origin_hash,
        last_seq,
        last_digest,
        upto_seq,
        upto_hash,
        moved,
    ) = row
    return ChainRecord(
        chain=ChainId(_bytes(chain)),
        salt_secret=_bytes(secret),
        origin=Origin(kind=read_int(kind), last_head=_read_head(origin_chain, origin_seq, origin_hash)),
        last_seq=read_int(last_seq),
        last_digest=None if last_digest is None else _bytes(last_digest),
        receipted=_read_head(chain, upto_seq, upto_hash),
        moved=read_ranges(moved),
    )


def _read_head(chain: object, seq: object, digest: object) -> ChainHead | None:
    if chain is None or seq is None or digest is None:
        return None
    return ChainHead(chain=ChainId(_bytes(chain)), seq=read_int(seq), hash=_bytes(digest))


def read_int(value: object) -> int:
    """Return a number of the database; anything else is damage."""
    if not isinstance(value, int):
        raise sqlite3.DatabaseError(f"a number was expected, not {type(value).__name__}")
    return value


def read_ranges(text: object) -> Ranges:
    """Return ranges (first, last) of seqs from their JSON; anything else is damage."""
    try:
        return tuple((read_int(first), read_int(last)) for first, last in json.loads(str(text)))
    except (ValueError, TypeError) as error:
        raise sqlite3.DatabaseError(f"ranges were expected, not {text!r}") from error


def _int_or_none(value: object) -> int | None:
    return None if value is None else read_int(value)


def _bytes(value: object) -> bytes:
    if not isinstance(value, bytes):
        raise sqlite3.DatabaseError(f"bytes were expected, not {type(value).__name__}")
    return value
