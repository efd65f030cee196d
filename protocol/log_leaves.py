"""Leaves of the log: a type and a salted commitment, 33 bytes, and nothing of anybody.

Rules: leaf data = type (one byte) ‖ SHA-256(salt ‖ content), the salt 16 random bytes. Content and salt are
kept apart from the log: when both are erased, what stays is a hash that nobody can try guesses against. Types
are numbers of the protocol: none is renamed, the list grows at the end.

This module does not say what the content of each type is: see SPEC-ledger.md.

Example:
    >>> leaf = leaf_data(LeafType.ORDER, commitment(bytes(16), b"an order"))
    >>> len(leaf), leaf[0]
    (33, 1)
"""

import hashlib
from enum import IntEnum
from typing import Final

LEAF_SALT_BYTES: Final = 16
LEAF_BYTES: Final = 33


class LeafType(IntEnum):
    """First byte of a leaf: what was committed to."""

    ORDER = 1
    DISPOSITION = 2
    BATCH = 3
    NOTICE = 4
    LOAN_FACTS = 5
    DELEGATION = 6
    REVOCATION = 7
    FREEZE = 8
    WITNESSES = 9
    POLICY = 10
    ZONES = 11
    FIRMWARE = 12
    ACCESS_EVENT = 13
    EXPORT = 14
    AUTHORITY = 15
    GO = 16
    KILL_SWITCH = 17
    INSTALLATION = 18


def commitment(salt: bytes, content: bytes) -> bytes:
    """Return SHA-256(salt ‖ content), 32 bytes.

    Raises:
        ValueError: the salt does not have 16 bytes; another length would let contents be shifted into it.
    """
    if len(salt) != LEAF_SALT_BYTES:
        raise ValueError(f"a salt has {LEAF_SALT_BYTES} bytes, not {len(salt)}")
    return hashlib.sha256(salt + content).digest()


def leaf_data(leaf_type: LeafType, committed: bytes) -> bytes:
    """Return what the log hashes: one byte of type, 32 of commitment."""
    assert len(committed) == LEAF_BYTES - 1, "a commitment is a SHA-256"
    return bytes([leaf_type]) + committed
