"""Pieces for tests of the ledger: a naive tree to compare with, keys by name, a database with a log in it.

Example:
    >>> naive_root([b"a", b"b"]) == node_hash(leaf_hash(b"a"), leaf_hash(b"b"))
    True
"""

from __future__ import annotations

import hashlib
from contextlib import contextmanager
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend import ledger
from backend.ledger import LeafType
from backend.store.database import open_database
from protocol.checkpoint import NoteSigner
from protocol.merkle import EMPTY_ROOT, leaf_hash, node_hash
from tests.builders.databases import database_url
from tests.builders.ingest import migrate_at

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from backend.store.database import Database

ORIGIN = "log.example/tbox"
NOW_US = 1_795_500_000_000_000


def naive_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root as RFC 9162 §2.1.1 defines it, by recursion and nothing else."""
    if not leaves:
        return EMPTY_ROOT
    if len(leaves) == 1:
        return leaf_hash(leaves[0])
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    return node_hash(naive_root(leaves[:split]), naive_root(leaves[split:]))


def note_key(name: str) -> Ed25519PrivateKey:
    """Return the same key for the same name."""
    return Ed25519PrivateKey.from_private_bytes(hashlib.sha256(name.encode()).digest())


def log_signer(origin: str = ORIGIN, seed: str = "log") -> NoteSigner:
    return NoteSigner.of_log(origin, note_key(seed))


def witness_signer(name: str = "witness.example/w1") -> NoteSigner:
    return NoteSigner.of_witness(name, note_key(name))


@contextmanager
def open_log(folder: Path) -> Iterator[Database]:
    """Return a migrated database."""
    database = open_database(database_url(folder, template="migrated", make=migrate_at))
    try:
        yield database
    finally:
        database.close()


def enter(database: Database, *contents: bytes, leaf_type: LeafType = LeafType.ORDER) -> list[ledger.LeafRef]:
    """Append contents, each in a transaction of its own."""
    refs = []
    for content in contents:
        with database.writing() as session, session.begin():
            refs.append(ledger.append(session, leaf_type, content, at_us=NOW_US))
    return refs
