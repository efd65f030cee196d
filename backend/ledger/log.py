"""The append-only log: leaves in the caller's transaction, and proofs over what is committed.

Rules:
- A leaf is a type and a salted commitment (`protocol.log_leaves`); nothing of a person stands in it. Salt and
  content are kept beside the log and can be erased; the leaf then proves nothing but that something stood
  there, and every other proof still holds.
- A leaf is part of the log when the caller commits. Whoever appends holds the log's head until then, so
  append last, and briefly: all who append go one after the other.
- `LedgerHaltedError` and errors of the database are for the caller: what restricts fails with them. What
  releases goes through `backend.ledger.late`.

Example:
    >>> with session.begin():
    ...     ref = append(session, LeafType.ORDER, signed_order, at_us=utc_us(), device_id=device_id)
    >>> proof = prove_inclusion(session, ref.index, size)
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.errors import BackendError
from backend.store.ledger import (
    NODE_LEVEL_MIN,
    add_leaves,
    erase_contents,
    find_content,
    find_leaf,
    leaves_between,
    load_nodes,
    lock_head,
    move_head,
    read_head,
)
from protocol.log_leaves import LEAF_SALT_BYTES, LeafType, commitment, leaf_data
from protocol.merkle import (
    HASH_BYTES,
    Frontier,
    Range,
    Subtree,
    consistency_ranges,
    fold_peaks,
    inclusion_ranges,
    leaf_hash,
    node_hash,
    subtrees_of,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlmodel import Session


class LedgerError(BackendError):
    """The ledger cannot do what was asked."""


class LedgerHaltedError(LedgerError):
    """The ledger takes nothing until a person lets it: a witness saw a fork, or an operator stopped it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LeafRef:
    """Where a leaf stands, and what opens its commitment."""

    index: int
    commitment: bytes
    salt: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """What is to be entered.

    Attributes:
        leaf_type: what it is.
        content: the bytes committed to.
        salt: 16 bytes; None makes them.
        org_id, device_id: whom it concerns, for finding and erasing it; not in the leaf.
    """

    leaf_type: LeafType
    content: bytes
    salt: bytes | None = None
    org_id: str | None = None
    device_id: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredLeaf:
    """One leaf of the log as anybody may see it."""

    index: int
    leaf_type: int
    commitment: bytes
    at_us: int
    is_late: bool
    is_erased: bool

    @property
    def data(self) -> bytes:
        """The 33 bytes that are hashed."""
        return bytes([self.leaf_type]) + self.commitment


def append(
    session: Session,
    leaf_type: LeafType,
    content: bytes,
    *,
    at_us: int,
    salt: bytes | None = None,
    org_id: str | None = None,
    device_id: str | None = None,
) -> LeafRef:
    """Add one leaf in the caller's transaction.

    Args:
        session: A writing session within a transaction.
        leaf_type: What it is.
        content: What it commits to.
        at_us: When, UTC in µs; not part of the leaf.
        salt: 16 bytes, if the caller has them already.
        org_id: Whom it concerns.
        device_id: Which box it concerns.

    Raises:
        LedgerHaltedError: Nothing may be appended now.
        DBAPIError: The database cannot; the caller's transaction fails with it.
    """
    entry = Entry(leaf_type=leaf_type, content=content, salt=salt, org_id=org_id, device_id=device_id)
    return append_all(session, [entry], at_us=at_us)[0]


def append_all(
    session: Session, entries: Sequence[Entry], *, at_us: int, is_late: bool = False
) -> list[LeafRef]:
    """Add leaves, in order and next to each other; see `append`."""
    size, peaks, _, halted = lock_head(session)
    if halted is not None:
        raise LedgerHaltedError(
            what=f"the ledger is halted: {halted}", next_step="tbox backend ledger resume"
        )
    frontier = Frontier(size=size, peaks=_split_hashes(peaks))
    refs: list[LeafRef] = []
    leaves: list[dict[str, object]] = []
    contents: list[dict[str, object]] = []
    nodes: list[dict[str, object]] = []
    for entry in entries:
        salt = secrets.token_bytes(LEAF_SALT_BYTES) if entry.salt is None else entry.salt
        ref = LeafRef(index=frontier.size, commitment=commitment(salt, entry.content), salt=salt)
        refs.append(ref)
        leaves.append(
            {
                "leaf_index": ref.index,
                "leaf_type": int(entry.leaf_type),
                "commitment": ref.commitment,
                "at_us": at_us,
                "is_late": is_late,
            }
        )
        contents.append(
            {
                "leaf_index": ref.index,
                "salt": salt,
                "content": entry.content,
                "digest": hashlib.sha256(entry.content).digest(),
                "org_id": entry.org_id,
                "device_id": entry.device_id,
            }
        )
        completed = frontier.append(leaf_hash(leaf_data(entry.leaf_type, ref.commitment)))
        nodes += [
            {"level": level, "position": position, "hash": hash_}
            for (level, position), hash_ in completed
            if level >= NODE_LEVEL_MIN
        ]
    add_leaves(session, leaves=leaves, contents=contents, nodes=nodes)
    move_head(session, size=frontier.size, peaks=b"".join(frontier.peaks))
    return refs


def tree_head(session: Session) -> tuple[int, bytes]:
    """Return size and root of the log as this transaction sees it."""
    size, peaks, _, _ = read_head(session)
    return size, fold_peaks(_split_hashes(peaks))


def prove_inclusion(session: Session, index: int, size: int) -> list[bytes]:
    """Return the proof that a leaf stands in the tree of `size` leaves, from the leaf upwards.

    Raises:
        LedgerError: There is no such leaf in that tree, or no such tree yet.
    """
    _must_reach(session, size)
    try:
        return _hashes(session, inclusion_ranges(index, size))
    except ValueError as wrong:
        raise LedgerError(what=str(wrong)) from wrong


def prove_consistency(session: Session, first: int, second: int) -> list[bytes]:
    """Return the proof that the tree of `second` leaves begins with that of `first`.

    Raises:
        LedgerError: Not 0 < first <= second, or no such tree yet.
    """
    _must_reach(session, second)
    try:
        return _hashes(session, consistency_ranges(first, second))
    except ValueError as wrong:
        raise LedgerError(what=str(wrong)) from wrong


def root_at(session: Session, size: int) -> bytes:
    """Return the root of the tree of the first `size` leaves.

    Raises:
        LedgerError: No such tree yet.
    """
    _must_reach(session, size)
    peaks = _subtree_hashes(session, subtrees_of((0, size)))
    return fold_peaks([peaks[at] for at in subtrees_of((0, size))])


def read_leaf(session: Session, index: int) -> StoredLeaf | None:
    """Return a leaf, or None when there is none."""
    row = find_leaf(session, index=index)
    if row is None:
        return None
    leaf_index, leaf_type, committed, at_us, is_late = row
    return StoredLeaf(
        index=leaf_index,
        leaf_type=leaf_type,
        commitment=bytes(committed),
        at_us=at_us,
        is_late=is_late,
        is_erased=find_content(session, index=index) is None,
    )


def open_leaf(session: Session, index: int) -> tuple[bytes, bytes] | None:
    """Return salt and content of a leaf, None when they were erased or there is no such leaf."""
    return find_content(session, index=index)


def erase(session: Session, indices: Iterable[int]) -> int:
    """Erase salt and content of leaves, in the caller's transaction; return how many still had them.

    What stays in the log is a hash that nobody can open.
    """
    return erase_contents(session, list(indices))


def _must_reach(session: Session, size: int) -> None:
    reached = read_head(session).size
    if not 0 <= size <= reached:
        raise LedgerError(what=f"the log has {reached} leaves, not {size}")


def _hashes(session: Session, ranges: Sequence[Range]) -> list[bytes]:
    wanted = [subtrees_of(leaves) for leaves in ranges]
    found = _subtree_hashes(session, [at for subtrees in wanted for at in subtrees])
    return [fold_peaks([found[at] for at in subtrees]) for subtrees in wanted]


def _subtree_hashes(session: Session, subtrees: Sequence[Subtree]) -> dict[Subtree, bytes]:
    """Return hashes of perfect subtrees: large ones are stored, small ones are computed from their leaves."""
    found = load_nodes(session, [at for at in subtrees if at[0] >= NODE_LEVEL_MIN])
    for level, position in subtrees:
        if level < NODE_LEVEL_MIN:
            rows = leaves_between(session, first=position << level, end=(position + 1) << level)
            hashes = [leaf_hash(bytes([leaf_type]) + committed) for leaf_type, committed in rows]
            while len(hashes) > 1:
                hashes = [node_hash(*hashes[at : at + 2]) for at in range(0, len(hashes), 2)]
            found[level, position] = hashes[0]
    assert len(found) == len(set(subtrees)), "the tree has every subtree below its size"
    return found


def _split_hashes(joined: bytes) -> list[bytes]:
    return [joined[at : at + HASH_BYTES] for at in range(0, len(joined), HASH_BYTES)]
