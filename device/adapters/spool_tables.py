"""What each spool effect writes, and what the engine gets back at start: rows to values and values to rows.

Rules:
- Every function works inside the transaction of its caller; none commits.
- A batch is written only as the next of its chain: number and link are checked against the chain's row
  first, so two batches can never have one number. The same batch written again is accepted silently.

It decides nothing and handles no disk errors (`sqlite_spool` does).

Example: see `tests/unit/test_spool.py`.
"""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING, assert_never

from device.adapters.spool_bodies import read_for_engine
from device.adapters.spool_rows import read_chain, read_int, read_ranges, read_statement, statement_row
from device.effects import (
    EvictBatches,
    FreeBatches,
    PersistTick,
    Quarantine,
    ReadBatch,
    RecordLosses,
    ReopenBatches,
    SealedBatch,
    SpoolEffect,
    StartChain,
    StoreBatch,
)
from device.events import BatchStored, ChainStarted, SpoolEvent
from device.seqs import with_seq
from device.state import (
    BatchKey,
    BootId,
    BootMark,
    ChainId,
    ChainRecord,
    EntryState,
    IndexEntry,
    SpoolClass,
    SpoolImage,
    Statement,
)
from protocol.facts import Facts, decode_facts, encode_facts

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import Callable, Iterable

    from protocol.batch import ChainHead, Origin

CHAIN_BYTES = 16
SECRET_BYTES = 32


def load(connection: sqlite3.Connection) -> SpoolImage | None:
    """Return everything the engine needs, None when no chain was ever begun."""
    chains = [read_chain(row) for row in connection.execute("SELECT * FROM chain ORDER BY number")]
    if not chains:
        return None
    index = tuple(
        IndexEntry(
            key=BatchKey(ChainId(chain), seq),
            digest=digest,
            size=size,
            rank=SpoolClass(rank),
            state=EntryState(state),
        )
        for chain, seq, digest, size, rank, state in connection.execute(
            "SELECT chain.chain, seq, digest, size, class, state FROM batch "
            "JOIN chain ON chain.number = batch.chain ORDER BY chain.number, seq"
        )
    )
    dictionary = tuple(
        group
        for (definition,) in connection.execute("SELECT definition FROM dictionary ORDER BY gid")
        for group in decode_facts(definition).dictionary
    )
    return SpoolImage(
        chain=chains[-1],
        ended=tuple(chains[:-1]),
        index=index,
        statements=tuple(
            read_statement(row) for row in connection.execute("SELECT * FROM statement ORDER BY number")
        ),
        boots=tuple(
            BootMark(
                boot=BootId(boot),
                host_boot=host_boot,
                tick_us=tick_us,
                covered_us=covered_us,
                is_clean=bool(is_clean),
            )
            for boot, host_boot, tick_us, covered_us, is_clean in connection.execute(
                "SELECT boot, host_boot, tick_us, covered_us, is_clean FROM boot ORDER BY number"
            )
        ),
        dictionary=dictionary,
    )


def load_current(connection: sqlite3.Connection) -> ChainRecord:
    """Return the chain that grows."""
    return read_chain(connection.execute("SELECT * FROM chain ORDER BY number DESC LIMIT 1").fetchone())


# One line for each effect: splitting the table would hide that it is complete.
def apply(  # noqa: C901
    connection: sqlite3.Connection, effect: SpoolEffect, entropy: Callable[[int], bytes]
) -> list[SpoolEvent]:
    """Write one effect; returns the events to tell once the transaction is committed.

    Args:
        connection: In a transaction.
        effect: What to write.
        entropy: Draws this many random bytes for a new chain.
    """
    match effect:
        case StoreBatch(batch=batch):
            _store(connection, batch)
            return [BatchStored(key=batch.key)]
        case FreeBatches():
            _free(connection, effect)
        case ReopenBatches():
            _set_states(connection, effect.chain, effect.ranges, EntryState.RECEIPTED, EntryState.PENDING)
            _set_upto(connection, effect.chain, effect.head)
        case Quarantine():
            connection.execute(
                "UPDATE batch SET state = ?, code = ? WHERE chain = ? AND seq = ?",
                (EntryState.QUARANTINED, effect.code, _number(connection, effect.key.chain), effect.key.seq),
            )
            _write_statements(connection, (*effect.reopens, *effect.losses))
        case EvictBatches():
            for key in effect.keys:
                _delete(connection, key)
            _write_statements(connection, (*effect.reopens, *effect.losses))
        case RecordLosses():
            _write_statements(connection, effect.losses)
        case PersistTick(mark=mark):
            _tick(connection, mark)
        case StartChain(origin=origin):
            return [ChainStarted(record=begin_chain(connection, origin, entropy))]
        case ReadBatch(key=key):
            return [read_for_engine(connection, key)]
        case _:
            assert_never(effect)
    return []


def begin_chain(
    connection: sqlite3.Connection, origin: Origin, entropy: Callable[[int], bytes]
) -> ChainRecord:
    """Write a new chain and return it."""
    record = ChainRecord(
        chain=ChainId(entropy(CHAIN_BYTES)), salt_secret=entropy(SECRET_BYTES), origin=origin
    )
    head = origin.last_head
    last = (None, None, None) if head is None else (head.chain, head.seq, head.hash)
    connection.execute(
        "INSERT INTO chain (chain, salt_secret, origin_kind, origin_chain, origin_seq, origin_hash) "
        "VALUES (?, ?, ?, ?, ?, ?)",
        (record.chain, record.salt_secret, origin.kind, *last),
    )
    return record


def _store(connection: sqlite3.Connection, batch: SealedBatch) -> None:
    number, last_seq, last_digest = connection.execute(
        "SELECT number, last_seq, last_digest FROM chain WHERE chain = ?", (batch.key.chain,)
    ).fetchone()
    if batch.key.seq == last_seq and batch.digest == last_digest:
        return  # it was stored before; only the answer was lost
    assert batch.key.seq == last_seq + 1, "a chain grows by one"
    assert batch.prev == last_digest, "a batch names the one before it"
    cursor = connection.execute(
        "INSERT INTO batch (chain, seq, digest, size, class, state, checksum) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            number,
            batch.key.seq,
            batch.digest,
            len(batch.payload),
            batch.rank,
            EntryState.PENDING,
            hashlib.sha256(batch.payload).digest(),
        ),
    )
    connection.execute("INSERT INTO body (id, payload) VALUES (?, ?)", (cursor.lastrowid, batch.payload))
    connection.execute(
        "UPDATE chain SET last_seq = ?, last_digest = ? WHERE number = ?",
        (batch.key.seq, batch.digest, number),
    )
    connection.executemany(
        "INSERT OR REPLACE INTO dictionary (gid, definition) VALUES (?, ?)",
        [(group.gid, encode_facts(Facts(dictionary=(group,)))) for group in batch.groups],
    )
    _write_statements(connection, batch.declares)
    connection.executemany("DELETE FROM boot WHERE boot = ?", [(boot,) for boot in batch.closes_boots])
    connection.execute(
        "UPDATE boot SET covered_us = max(covered_us, ?) WHERE boot = ?", (batch.mono_end_us, batch.boot)
    )
    if batch.replaces is not None:
        _delete(connection, batch.replaces)
        _note_moved(connection, batch.replaces)


def _free(connection: sqlite3.Connection, effect: FreeBatches) -> None:
    _set_states(connection, effect.chain, effect.ranges, EntryState.PENDING, EntryState.RECEIPTED)
    connection.executemany(
        "DELETE FROM statement WHERE declared_chain = ? AND declared_seq BETWEEN ? AND ?",
        [(effect.chain, first, last) for first, last in effect.ranges],
    )
    if effect.head is not None:
        _set_upto(connection, effect.chain, effect.head)


def _set_states(
    connection: sqlite3.Connection,
    chain: ChainId,
    ranges: Iterable[tuple[int, int]],
    before: EntryState,
    after: EntryState,
) -> None:
    number = _number(connection, chain)
    connection.executemany(
        "UPDATE batch SET state = ? WHERE chain = ? AND state = ? AND seq BETWEEN ? AND ?",
        [(after, number, before, first, last) for first, last in ranges],
    )


def _set_upto(connection: sqlite3.Connection, chain: ChainId, head: ChainHead | None) -> None:
    values = (None, None) if head is None else (head.seq, head.hash)
    connection.execute("UPDATE chain SET upto_seq = ?, upto_hash = ? WHERE chain = ?", (*values, chain))


def _delete(connection: sqlite3.Connection, key: BatchKey) -> None:
    row = connection.execute(
        "SELECT id FROM batch WHERE chain = ? AND seq = ?", (_number(connection, key.chain), key.seq)
    ).fetchone()
    if row is not None:
        connection.execute("DELETE FROM body WHERE id = ?", row)
        connection.execute("DELETE FROM batch WHERE id = ?", row)


def _note_moved(connection: sqlite3.Connection, key: BatchKey) -> None:
    row = connection.execute("SELECT moved FROM chain WHERE chain = ?", (key.chain,)).fetchone()
    moved = json.dumps(with_seq(read_ranges(row[0]), key.seq))
    connection.execute("UPDATE chain SET moved = ? WHERE chain = ?", (moved, key.chain))


def _tick(connection: sqlite3.Connection, mark: BootMark) -> None:
    connection.execute(
        "INSERT INTO boot (boot, host_boot, tick_us, covered_us, is_clean) VALUES (?, ?, ?, ?, ?) "
        "ON CONFLICT (boot) DO UPDATE SET tick_us = excluded.tick_us, is_clean = excluded.is_clean",
        (mark.boot, mark.host_boot, mark.tick_us, mark.covered_us, mark.is_clean),
    )
    # A boot that ended in order has nothing left to declare once a later one has begun.
    connection.execute("DELETE FROM boot WHERE is_clean AND boot != ?", (mark.boot,))


def _write_statements(connection: sqlite3.Connection, statements: Iterable[Statement]) -> None:
    connection.executemany(
        "INSERT OR REPLACE INTO statement VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [statement_row(statement) for statement in statements],
    )


def _number(connection: sqlite3.Connection, chain: ChainId) -> int:
    return read_int(connection.execute("SELECT number FROM chain WHERE chain = ?", (chain,)).fetchone()[0])
