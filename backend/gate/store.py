"""The gate's own storage: one SQLite file that no other process of the product writes.

Rules: WAL, `synchronous=FULL`; a decision, what it counts for and its line in the journal are one
transaction, committed before the answer leaves. The journal is append-only: each line has the hash of the
line before, and triggers refuse to change or delete any. One writer at a time, in this process by a lock, and
among processes by SQLite. This module decides nothing.

Example:
    >>> with GateStore.open(":memory:").writing() as at:
    ...     at.log(10, Event.CLOCK_ACCEPTED, b"", {})
    1
"""

import hashlib
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from backend.gate.breaker import Signed
from backend.gate.events import Event
from protocol import strict_cbor
from protocol.orders import OrderType

FIRST_HASH: Final = bytes(32)
_BUSY_MS = 5_000
_OVERTAKEN_MAX = 1_000  # releases of one answer: a lock ends by itself within 8 days, and locks are few

_TABLES = """
CREATE TABLE IF NOT EXISTS journal (
    seq INTEGER PRIMARY KEY, at_s INTEGER NOT NULL, event TEXT NOT NULL, subject BLOB NOT NULL,
    body BLOB NOT NULL, hash BLOB NOT NULL) STRICT;
CREATE TRIGGER IF NOT EXISTS journal_is_written BEFORE UPDATE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is only appended to'); END;
CREATE TRIGGER IF NOT EXISTS journal_is_kept BEFORE DELETE ON journal
    BEGIN SELECT RAISE(ABORT, 'the journal is only appended to'); END;
CREATE TABLE IF NOT EXISTS seen (
    cmd_hash BLOB PRIMARY KEY, at_s INTEGER NOT NULL, mono_s INTEGER NOT NULL, boot BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS orders (
    cmd_hash BLOB PRIMARY KEY, state TEXT NOT NULL, at_s INTEGER NOT NULL, type INTEGER NOT NULL,
    lender_id BLOB NOT NULL, contract_ref BLOB NOT NULL, mcu_id BLOB NOT NULL, mcu_key BLOB NOT NULL,
    chal BLOB, maker BLOB NOT NULL, persons BLOB NOT NULL, payload BLOB NOT NULL, basis BLOB NOT NULL,
    protected BLOB, signature BLOB, rules BLOB NOT NULL, rule TEXT, detail TEXT,
    gone_s INTEGER, overtaken_s INTEGER, ended_s INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS orders_by_lender ON orders (lender_id, at_s);
CREATE INDEX IF NOT EXISTS orders_by_contract ON orders (contract_ref);
CREATE TABLE IF NOT EXISTS order_signers (
    cmd_hash BLOB NOT NULL, delegation BLOB NOT NULL, PRIMARY KEY (cmd_hash, delegation)) STRICT;
CREATE TABLE IF NOT EXISTS loan_records (
    record_id BLOB PRIMARY KEY, contract_ref BLOB NOT NULL, lender_id BLOB NOT NULL,
    at_s INTEGER NOT NULL, document BLOB NOT NULL) STRICT;
CREATE INDEX IF NOT EXISTS loan_records_by_contract ON loan_records (lender_id, contract_ref);
CREATE TABLE IF NOT EXISTS gate_records (
    record_id BLOB PRIMARY KEY, type INTEGER NOT NULL, at_s INTEGER NOT NULL, person TEXT NOT NULL,
    document BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS authority (
    seq INTEGER PRIMARY KEY, digest BLOB UNIQUE NOT NULL, kind TEXT NOT NULL, at_s INTEGER NOT NULL,
    document BLOB NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS accounts (
    lender_id BLOB NOT NULL, contract_ref BLOB NOT NULL, revision INTEGER NOT NULL,
    PRIMARY KEY (lender_id, contract_ref)) STRICT;
CREATE TABLE IF NOT EXISTS fittings (
    kind INTEGER NOT NULL, subject BLOB NOT NULL, mcu_id BLOB NOT NULL, kid BLOB NOT NULL,
    at_s INTEGER NOT NULL, document BLOB NOT NULL, PRIMARY KEY (kind, subject)) STRICT;
CREATE INDEX IF NOT EXISTS fittings_by_time ON fittings (kind, at_s);
CREATE TABLE IF NOT EXISTS commissionings (
    digest BLOB PRIMARY KEY, mcu_id BLOB NOT NULL, epoch BLOB NOT NULL, at_s INTEGER NOT NULL,
    document BLOB NOT NULL, ended_s INTEGER) STRICT;
CREATE INDEX IF NOT EXISTS commissionings_by_car ON commissionings (mcu_id, epoch);
CREATE TABLE IF NOT EXISTS marks (name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT;
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredOrder:
    """An order that was signed or held.

    Attributes:
        state: "SIGNED" or "HELD".
        mcu_key: COSE_Key of D1; empty for a DECOMMISSION.
        persons: who signed.
        part: protected header and signature of the gate; None when held.
        rules: numbers that passed.
        rule, detail: why it was held.
        gone_s: when the first go token left; None before.
        overtaken_s: when a payment, or the gate's own release, overtook it.
        ended_s: when the car said that it is over.
    """

    cmd_hash: bytes
    state: str
    at_s: int
    type: OrderType
    lender_id: bytes
    contract_ref: bytes
    mcu_id: bytes
    mcu_key: bytes
    chal: bytes | None
    maker: bytes
    persons: tuple[str, ...]
    payload: bytes
    basis: bytes
    part: tuple[bytes, bytes] | None
    rules: tuple[int, ...]
    rule: str | None
    detail: str | None
    gone_s: int | None = None
    overtaken_s: int | None = None
    ended_s: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalLine:
    """One line: what happened to which subject, and the hash over it and the line before."""

    seq: int
    at_s: int
    event: str
    subject: bytes
    body: bytes
    hash: bytes


class Transaction:
    """Reads and writes within one transaction."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._db = connection

    # --- journal --------------------------------------------------------------------------------------------

    def log(self, at_s: int, event: Event, subject: bytes, body: Mapping[str, object]) -> int:
        """Append a line and return its number."""
        row = self._db.execute("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        seq, before = (row[0] + 1, row[1]) if row else (1, FIRST_HASH)
        encoded = bytes(strict_cbor.dumps(dict(body)))
        digest = line_hash(before, seq, at_s, event.value, subject, encoded)
        self._db.execute(
            "INSERT INTO journal VALUES (?, ?, ?, ?, ?, ?)",
            (seq, at_s, event.value, subject, encoded, digest),
        )
        return int(seq)

    def head(self) -> tuple[int, bytes]:
        """Return number and hash of the last line."""
        row = self._db.execute("SELECT seq, hash FROM journal ORDER BY seq DESC LIMIT 1").fetchone()
        return (int(row[0]), bytes(row[1])) if row else (0, FIRST_HASH)

    def journal(self, after: int = 0, limit: int = 1_000) -> list[JournalLine]:
        """Return lines in their order."""
        rows = self._db.execute("SELECT * FROM journal WHERE seq > ? ORDER BY seq LIMIT ?", (after, limit))
        return [
            JournalLine(seq=seq, at_s=at_s, event=event, subject=subject, body=body, hash=digest)
            for seq, at_s, event, subject, body, digest in rows
        ]

    def events(self) -> dict[str, int]:
        """Return how many lines there are of each event, by its counter's name."""
        rows = self._db.execute("SELECT event, COUNT(*) FROM journal GROUP BY event ORDER BY event")
        return {Event(event).counter: int(count) for event, count in rows}

    # --- orders ---------------------------------------------------------------------------------------------

    def first_seen(self, cmd_hash: bytes, *, at_s: int, mono_s: int, boot: bytes) -> tuple[int, int, bytes]:
        """Note that a maker's signature was seen, and return when it first was: UTC, monotonic, boot."""
        self._db.execute(
            "INSERT INTO seen VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING", (cmd_hash, at_s, mono_s, boot)
        )
        row = self._db.execute(
            "SELECT at_s, mono_s, boot FROM seen WHERE cmd_hash = ?", (cmd_hash,)
        ).fetchone()
        return int(row[0]), int(row[1]), bytes(row[2])

    def order(self, cmd_hash: bytes) -> StoredOrder | None:
        """Return an order that was signed or held."""
        found = self._orders("cmd_hash = ?", (cmd_hash,))
        return found[0] if found else None

    def overtaken(self) -> list[StoredOrder]:
        """Return the orders that a payment has overtaken and that no car has said to be over.

        The newest of them when there are too many: no clock decides, and what is older has ended by itself.
        """
        return self._orders(
            "cmd_hash IN (SELECT cmd_hash FROM orders WHERE overtaken_s IS NOT NULL AND ended_s IS NULL"
            " ORDER BY at_s DESC LIMIT ?)",
            (_OVERTAKEN_MAX,),
        )

    def held(self, since_s: int) -> list[StoredOrder]:
        """Return the orders held since then."""
        return self._orders("state = 'HELD' AND at_s >= ?", (since_s,))

    def is_held_challenge(self, chal: bytes) -> bool:
        """Return whether an order for this challenge was held."""
        row = self._db.execute("SELECT 1 FROM orders WHERE state = 'HELD' AND chal = ?", (chal,)).fetchone()
        return row is not None

    def add_order(self, order: StoredOrder) -> None:
        """Keep an order; there is none of this name."""
        part = order.part or (None, None)
        self._db.execute(
            f"INSERT INTO orders VALUES ({', '.join('?' * 21)})",  # noqa: S608 - question marks only
            (
                *(order.cmd_hash, order.state, order.at_s, int(order.type), order.lender_id),
                *(order.contract_ref, order.mcu_id, order.mcu_key, order.chal, order.maker),
                *(bytes(strict_cbor.dumps(list(order.persons))), order.payload, order.basis, *part),
                *(bytes(strict_cbor.dumps(list(order.rules))), order.rule, order.detail),
                *(order.gone_s, order.overtaken_s, order.ended_s),
            ),
        )

    def mark_gone(self, cmd_hash: bytes, at_s: int) -> None:
        """Note the first go token of an order."""
        self._db.execute(
            "UPDATE orders SET gone_s = ? WHERE cmd_hash = ? AND gone_s IS NULL", (at_s, cmd_hash)
        )

    def mark_overtaken(self, lender_id: bytes, contract_ref: bytes, at_s: int) -> int:
        """Note that a payment came for a contract; return how many signed orders it overtook."""
        done = self._db.execute(
            "UPDATE orders SET overtaken_s = ? WHERE lender_id = ? AND contract_ref = ?"
            " AND state = 'SIGNED' AND overtaken_s IS NULL AND ended_s IS NULL",
            (at_s, lender_id, contract_ref),
        )
        return done.rowcount

    def mark_ended(self, *, at_s: int, cmd_hash: bytes) -> None:
        """Note that an order is over, as its car has said."""
        self._db.execute(
            "UPDATE orders SET ended_s = ? WHERE cmd_hash = ? AND ended_s IS NULL", (at_s, cmd_hash)
        )

    def add_signers(self, cmd_hash: bytes, delegations: Sequence[bytes]) -> None:
        """Keep by which delegations people have signed an order."""
        self._db.executemany(
            "INSERT INTO order_signers VALUES (?, ?)", [(cmd_hash, digest) for digest in delegations]
        )

    def signers(self, cmd_hash: bytes) -> list[bytes]:
        """Return the delegations by which people have signed an order."""
        rows = self._db.execute("SELECT delegation FROM order_signers WHERE cmd_hash = ?", (cmd_hash,))
        return [bytes(row[0]) for row in rows]

    def signed_since(self, lender_id: bytes, since_s: int, makers: Mapping[bytes, str]) -> list[Signed]:
        """Return what was signed for a lender, for the breaker.

        Args:
            lender_id: 8 bytes.
            since_s: POSIX seconds.
            makers: delegation of a maker to the person it names.
        """
        rows = self._db.execute(
            "SELECT cmd_hash, at_s, type, mcu_id, delegation FROM orders LEFT JOIN order_signers"
            " USING (cmd_hash)"
            " WHERE lender_id = ? AND state = 'SIGNED' AND at_s > ? AND type IN (1, 3, 5)",
            (lender_id, since_s),
        )
        found: dict[bytes, Signed] = {}
        for name, at_s, kind, mcu_id, delegation in rows:
            maker = makers.get(delegation, found[name].maker if name in found else "")
            found[name] = Signed(at_s=at_s, type=OrderType(kind), mcu_id=mcu_id, maker=maker)
        return list(found.values())

    def locked_cars(self, lender_id: bytes, since_s: int) -> set[bytes]:
        """Return the cars that got a go token for a LOCK since then and did not say that it is over."""
        rows = self._db.execute(
            "SELECT DISTINCT mcu_id FROM orders WHERE lender_id = ? AND type = 1 AND state = 'SIGNED'"
            " AND gone_s > ? AND ended_s IS NULL AND overtaken_s IS NULL",
            (lender_id, since_s),
        )
        return {bytes(row[0]) for row in rows}

    def _orders(self, where: str, values: Sequence[object]) -> list[StoredOrder]:
        rows = self._db.execute(
            f"SELECT * FROM orders WHERE {where} ORDER BY at_s, cmd_hash",  # noqa: S608 - our own words
            values,
        )
        return [_order(row) for row in rows]

    # --- documents ------------------------------------------------------------------------------------------

    def add_loan_record(
        self, record_id: bytes, *, lender_id: bytes, contract_ref: bytes, at_s: int, document: bytes
    ) -> bool:
        """Keep a loan record; return whether it is new.

        Raises:
            ValueError: another record has this id.
        """
        return self._add(
            "loan_records",
            (record_id, contract_ref, lender_id, at_s, document),
            document,
        )

    def loan_records(self, lender_id: bytes, contract_ref: bytes) -> list[bytes]:
        """Return a contract's records, as they came."""
        rows = self._db.execute(
            "SELECT document FROM loan_records WHERE lender_id = ? AND contract_ref = ? ORDER BY at_s, rowid",
            (lender_id, contract_ref),
        )
        return [bytes(row[0]) for row in rows]

    def add_gate_record(
        self, record_id: bytes, *, kind: int, at_s: int, person: str, document: bytes
    ) -> bool:
        """Keep a gate record; return whether it is new.

        Raises:
            ValueError: another record has this id.
        """
        return self._add("gate_records", (record_id, kind, at_s, person, document), document)

    def gate_records(self, kind: int) -> list[tuple[int, str, bytes]]:
        """Return when each record of a type came, who signed it, and the record."""
        rows = self._db.execute(
            "SELECT at_s, person, document FROM gate_records WHERE type = ? ORDER BY at_s, rowid", (kind,)
        )
        return [(int(at_s), str(person), bytes(document)) for at_s, person, document in rows]

    def add_authority(self, digest: bytes, *, kind: str, at_s: int, document: bytes) -> None:
        """Keep a snapshot, revocation or delegation."""
        self._db.execute(
            "INSERT INTO authority (digest, kind, at_s, document) VALUES (?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (digest, kind, at_s, document),
        )

    def authority(self) -> list[tuple[str, bytes]]:
        """Return kind and document of each, in the order they came."""
        rows = self._db.execute("SELECT kind, document FROM authority ORDER BY seq")
        return [(str(kind), bytes(document)) for kind, document in rows]

    def _add(self, table: str, values: tuple[object, ...], document: bytes) -> bool:
        row = self._db.execute(
            f"SELECT document FROM {table} WHERE record_id = ?",  # noqa: S608 - our own words
            values[:1],
        ).fetchone()
        if row is not None:
            if bytes(row[0]) != document:
                raise ValueError("another record has this id")
            return False
        self._db.execute(
            f"INSERT INTO {table} VALUES ({', '.join('?' * len(values))})",  # noqa: S608 - our own words
            values,
        )
        return True

    # --- installations --------------------------------------------------------------------------------------

    def fitting(self, kind: OrderType, subject: bytes) -> bytes | None:
        """Return what was signed for a BENCH's challenge or a BIND's payload, or None."""
        row = self._db.execute(
            "SELECT document FROM fittings WHERE kind = ? AND subject = ?", (int(kind), subject)
        ).fetchone()
        return bytes(row[0]) if row else None

    def add_fitting(
        self, kind: OrderType, subject: bytes, *, mcu_id: bytes, kid: bytes, at_s: int, document: bytes
    ) -> None:
        """Keep that a ticket or a BIND was signed; the same again changes nothing."""
        self._db.execute(
            "INSERT INTO fittings VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
            (int(kind), subject, mcu_id, kid, at_s, document),
        )

    def count_fittings(self, kind: OrderType, *, mcu_id: bytes, kid: bytes, since_s: int) -> tuple[int, int]:
        """Return how many were signed since then: for this car, and for this installer's key."""
        row = self._db.execute(
            "SELECT COALESCE(SUM(mcu_id = ?), 0), COALESCE(SUM(kid = ?), 0) FROM fittings"
            " WHERE kind = ? AND at_s > ?",
            (mcu_id, kid, int(kind), since_s),
        ).fetchone()
        return int(row[0]), int(row[1])

    def add_commissioning(
        self, digest: bytes, *, mcu_id: bytes, epoch: bytes, at_s: int, document: bytes
    ) -> bool:
        """Keep a car's commissioning record; return whether it is new."""
        done = self._db.execute(
            "INSERT INTO commissionings VALUES (?, ?, ?, ?, ?, NULL) ON CONFLICT DO NOTHING",
            (digest, mcu_id, epoch, at_s, document),
        )
        return done.rowcount == 1

    def commissioned_since(self, mcu_id: bytes, epoch: bytes) -> int | None:
        """Return when the newest record of a car in this epoch came, None without one in force."""
        row = self._db.execute(
            "SELECT MAX(at_s) FROM commissionings WHERE mcu_id = ? AND epoch = ? AND ended_s IS NULL",
            (mcu_id, epoch),
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def end_commissioning(self, mcu_id: bytes, at_s: int) -> None:
        """Note that a car's box was removed."""
        self._db.execute(
            "UPDATE commissionings SET ended_s = ? WHERE mcu_id = ? AND ended_s IS NULL", (at_s, mcu_id)
        )

    # --- marks ----------------------------------------------------------------------------------------------

    def raise_revision(self, lender_id: bytes, contract_ref: bytes, revision: int) -> int:
        """Note a revision of an account, and return the highest one seen."""
        row = self._db.execute(
            "INSERT INTO accounts VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
            " SET revision = MAX(revision, excluded.revision) RETURNING revision",
            (lender_id, contract_ref, revision),
        ).fetchone()
        return int(row[0])

    def raise_mark(self, name: str, value: int) -> int:
        """Raise a mark that never falls, and return it."""
        row = self._db.execute(
            "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = MAX(value, excluded.value)"
            " RETURNING value",
            (name, value),
        ).fetchone()
        return int(row[0])

    def mark(self, name: str) -> int:
        """Return a mark, 0 before it was raised."""
        row = self._db.execute("SELECT value FROM marks WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else 0

    def set_mark(self, name: str, value: int) -> None:
        """Set a mark, at the operator's word only."""
        self._db.execute(
            "INSERT INTO marks VALUES (?, ?) ON CONFLICT DO UPDATE SET value = excluded.value", (name, value)
        )


class GateStore:
    """The file, opened once a process."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._lock = threading.Lock()

    @classmethod
    def open(cls, path: Path | str) -> Self:
        """Open a file, or make it."""
        connection = sqlite3.connect(
            path, isolation_level=None, check_same_thread=False, timeout=_BUSY_MS / 1_000
        )
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.executescript(_TABLES)
        return cls(connection)

    @contextmanager
    def writing(self) -> Iterator[Transaction]:
        """Do all of it, durably, or nothing."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield Transaction(self._connection)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:  # a full disk has ended it already
                    self._connection.execute("ROLLBACK")
                raise

    def close(self) -> None:
        """Close the file."""
        with self._lock:
            self._connection.close()


def line_hash(before: bytes, seq: int, at_s: int, event: str, subject: bytes, body: bytes) -> bytes:
    """Return the hash of a journal line: SHA-256 over strict CBOR of the line before's and its own fields."""
    return hashlib.sha256(strict_cbor.dumps([before, seq, at_s, event, subject, body])).digest()


def first_broken(lines: Sequence[JournalLine], before: bytes = FIRST_HASH) -> int | None:
    """Return the number of the first line that does not follow from those before; None when all do."""
    for seq, line in enumerate(lines, start=1):
        own = line_hash(before, line.seq, line.at_s, line.event, line.subject, line.body)
        if line.seq != seq or line.hash != own:
            return seq
        before = line.hash
    return None


def _order(values: Sequence[Any]) -> StoredOrder:
    """Return a row; the table is STRICT, so its types are those of the columns."""
    protected, signature = values[13:15]
    return StoredOrder(
        cmd_hash=values[0],
        state=values[1],
        at_s=values[2],
        type=OrderType(values[3]),
        lender_id=values[4],
        contract_ref=values[5],
        mcu_id=values[6],
        mcu_key=values[7],
        chal=values[8],
        maker=values[9],
        persons=tuple(strict_cbor.loads(values[10])),
        payload=values[11],
        basis=values[12],
        part=None if protected is None else (protected, signature),
        rules=tuple(strict_cbor.loads(values[15])),
        rule=values[16],
        detail=values[17],
        gone_s=values[18],
        overtaken_s=values[19],
        ended_s=values[20],
    )
