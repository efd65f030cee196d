"""Checkpoints of the log: signed once for each size, kept with the cosignatures that witnesses give.

Rules:
- Sign in a transaction of its own and publish after its commit: what a transaction sees of its own leaves may
  never come to be, and a log must not sign a tree that it may have to take back.
- One size has one checkpoint. Before signing, the root is compared with the last checkpoint's: the new tree
  must begin with it, or the log would put its own name under a fork.
- One log has one origin; a key of another name signs nothing here.

Example:
    >>> with session.begin():
    ...     signed = checkpoint(session, signer, utc_us())
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from backend.ledger.log import LedgerError, LedgerHaltedError, prove_consistency, tree_head
from backend.store.ledger import (
    add_checkpoint,
    checkpoint_covering,
    cosign_checkpoint,
    find_checkpoint,
    lock_head,
    name_head,
)
from protocol.checkpoint import (
    Checkpoint,
    NoteKey,
    NoteSigner,
    add_signatures,
    open_checkpoint,
    sign_checkpoint,
)
from protocol.merkle import is_consistent

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sqlalchemy import Row
    from sqlmodel import Session


@dataclass(frozen=True, slots=True, kw_only=True)
class SignedCheckpoint:
    """A checkpoint of the log.

    Attributes:
        origin: of the log.
        size: leaves of the tree.
        root: over all of them, 32 bytes.
        note: the signed note, with all signatures so far.
        at_us: when the log signed it, UTC in µs.
        witnessed: how many configured witnesses have cosigned it.
    """

    origin: str
    size: int
    root: bytes
    note: bytes
    at_us: int
    witnessed: int


def checkpoint(session: Session, signer: NoteSigner, now: int) -> SignedCheckpoint:
    """Return the checkpoint of the log as it stands, signed now unless it was before.

    Args:
        session: A writing session within a transaction of its own.
        signer: The log's key; its name is the origin.
        now: UTC in µs.

    Raises:
        LedgerHaltedError: The log signs nothing until a person lets it.
        LedgerError: The key is not this log's, or the tree no longer begins with what was signed.
    """
    _, _, origin, halted = lock_head(session)
    if halted is not None:
        raise LedgerHaltedError(
            what=f"the ledger is halted: {halted}", next_step="tbox backend ledger resume"
        )
    if origin is None:
        name_head(session, origin=signer.key.name)
    elif origin != signer.key.name:
        raise LedgerError(what=f"this is the log {origin}, and the key is of {signer.key.name}")
    size, root = tree_head(session)
    last = latest_checkpoint(session)
    if last is not None:
        _must_continue(session, last, size=size, root=root)
        if last.size == size:
            return last
    note = sign_checkpoint(Checkpoint(origin=signer.key.name, size=size, root=root), signer)
    add_checkpoint(session, size=size, root=root, note=note, at_us=now)
    return SignedCheckpoint(origin=signer.key.name, size=size, root=root, note=note, at_us=now, witnessed=0)


def add_cosignatures(
    session: Session, size: int, lines: Sequence[bytes], *, log: NoteKey, witnesses: Collection[NoteKey]
) -> SignedCheckpoint:
    """Keep what witnesses answered for the checkpoint of a size, in the caller's transaction.

    Raises:
        LedgerError: There is no such checkpoint.
        NoteError: A line is no signature, or one of a configured witness that does not hold.
    """
    lock_head(session)  # two that collect at once keep each other's lines
    known = find_checkpoint(session, size=size)
    if known is None:
        raise LedgerError(what=f"no checkpoint of {size} leaves")
    note = add_signatures(bytes(known.note), lines)
    witnessed = len(open_checkpoint(note, log, witnesses).cosignatures)
    cosign_checkpoint(session, size=size, note=note, witnessed=witnessed)
    found = checkpoint_of(session, size)
    assert found is not None, "it was there a moment ago"
    return found


def latest_checkpoint(session: Session, *, witnessed_min: int = 0) -> SignedCheckpoint | None:
    """Return the largest checkpoint with at least so many cosignatures, or None."""
    return _signed(find_checkpoint(session, witnessed_min=witnessed_min))


def checkpoint_of(session: Session, size: int) -> SignedCheckpoint | None:
    """Return the checkpoint of a size, or None when none was signed."""
    return _signed(find_checkpoint(session, size=size))


def first_checkpoint_with(session: Session, index: int, *, witnessed_min: int = 0) -> SignedCheckpoint | None:
    """Return the smallest checkpoint whose tree has a leaf, with at least so many cosignatures."""
    return _signed(checkpoint_covering(session, index=index, witnessed_min=witnessed_min))


def _must_continue(session: Session, last: SignedCheckpoint, *, size: int, root: bytes) -> None:
    """Refuse to sign a tree that does not begin with the last one signed: the tables were changed."""
    if size < last.size:
        raise LedgerError(what=f"the log has {size} leaves and has signed a tree of {last.size}")
    proof = prove_consistency(session, last.size, size) if last.size else []
    if not is_consistent(first=last.size, second=size, first_root=last.root, second_root=root, proof=proof):
        raise LedgerError(what=f"the tree no longer begins with the {last.size} leaves that were signed")


def _signed(row: Row[int, bytes, bytes, int, int] | None) -> SignedCheckpoint | None:
    if row is None:
        return None
    size, root, note, at_us, witnessed = row
    return SignedCheckpoint(
        origin=bytes(note).split(b"\n", 1)[0].decode(),
        size=size,
        root=bytes(root),
        note=bytes(note),
        at_us=at_us,
        witnessed=witnessed,
    )
