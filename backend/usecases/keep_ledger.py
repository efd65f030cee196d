"""The ledger is kept: what waited is entered, chain heads are, a checkpoint is signed and cosigned.

Rules:
- `publish` makes a checkpoint of everything committed, at once, and asks every witness; it is what an order
  waits for. `LedgerKeeper.turn` does it at least each CHECKPOINT_EVERY_S, so an entry waits no longer.
- The list of witnesses is a leaf (WITNESSES): when the configuration changed, the new list is entered before
  the checkpoint that it will cosign.
- Of each box the heads of its chains are one leaf (BATCH) each CHAIN_HEADS_EVERY_S at most, and only when one
  moved.
- A witness that knows another tree, or a larger one than we have, halts the ledger: restricting stops at
  once, releasing goes on and waits in the queue, and a person looks.
- Signing and its commit come before anything leaves; the network is asked outside any transaction.

Example:
    >>> signed = publish(database, signer=signer, witnesses=witnesses, now_us=utc_us())
    >>> signed.witnessed
    1
"""

from __future__ import annotations

import logging
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from sqlalchemy.exc import DBAPIError

from backend.ledger.checkpoints import SignedCheckpoint, add_cosignatures, checkpoint, latest_checkpoint
from backend.ledger.late import enter_late, waiting
from backend.ledger.log import (
    Entry,
    LedgerError,
    LedgerHaltedError,
    append,
    append_all,
    prove_consistency,
    tree_head,
)
from backend.ledger.witnesses import Post, Word, ask_witness, post_over_http
from backend.store.batches import load_links
from backend.store.chains import heads_received_since
from backend.store.contention import in_transaction
from backend.store.ledger import halt_head, latest_content, lock_head
from protocol import codec
from protocol.checkpoint import open_checkpoint
from protocol.log_leaves import LeafType

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sqlmodel import Session

    from backend.store.database import Database
    from backend.store.log_keys import WitnessPlace
    from protocol.checkpoint import NoteSigner

LOG = logging.getLogger(__name__)

CHECKPOINT_EVERY_S: Final = 20
"""Seconds between checkpoints at most: an order's entry may wait 60 at most, and usually asks at once."""

CHAIN_HEADS_EVERY_S: Final = 600
"""Seconds between two leaves of one box's chain heads, at least."""


def witnesses_content(witnesses: Sequence[WitnessPlace]) -> bytes:
    """Return what a WITNESSES leaf commits to: the keys' texts, sorted."""
    return codec.encode(sorted(place.key.to_text() for place in witnesses))


def publish(
    database: Database,
    *,
    signer: NoteSigner,
    witnesses: Sequence[WitnessPlace],
    now_us: int,
    post: Post = post_over_http,
    counts: Counter[str] | None = None,
) -> SignedCheckpoint:
    """Return a checkpoint of everything committed, with the cosignatures that could be had.

    Args:
        database: The database.
        signer: The log's key.
        witnesses: Whom to ask.
        now_us: UTC in µs.
        post: Sends to a witness.
        counts: Counters of what witnesses said, by `ledger_…`.

    Raises:
        LedgerHaltedError: The ledger signs nothing now, or this very checkpoint met a fork.
        LedgerError: The key is not this log's.
        DBAPIError: The database does not answer.
    """
    with database.writing() as session:
        in_transaction(session, lambda: _note_witnesses(session, witnesses, now_us=now_us))
        signed = in_transaction(session, lambda: checkpoint(session, signer, now_us))
    for place in witnesses:
        signed = _ask(
            database, signed, place, signer=signer, witnesses=witnesses, post=post, counts=counts or Counter()
        )
    return signed


def halt(session: Session, *, reason: str) -> None:
    """Stop the ledger until a person resumes it; commits."""
    with session.begin():
        lock_head(session)
        halt_head(session, reason=reason)
    LOG.error("ledger: halted, reason=%s", reason)


def resume(session: Session) -> None:
    """Let the ledger go on; commits."""
    with session.begin():
        lock_head(session)
        halt_head(session, reason=None)
    LOG.warning("ledger: resumed")


def enter_chain_heads(session: Session, *, since_us: int, now_us: int) -> int:
    """Enter the heads of chains that moved, one leaf a box, in the caller's transaction.

    The content is [device id, [[chain, highest number, its head hash], …]]: what the backend had then.

    Args:
        session: A writing session within a transaction.
        since_us: Chains that received something since, UTC in µs.
        now_us: UTC in µs.

    Returns:
        How many boxes.
    """
    rows = heads_received_since(session, since_us=since_us)
    links = load_links(session, [place for _, _, _, place in rows])
    boxes: dict[tuple[str, str], list[list[object]]] = {}
    for org_id, device_id, chain, place in rows:
        boxes.setdefault((org_id, device_id), []).append([chain, place[1], links[place].head_hash])
    entries = []
    for (org_id, device_id), heads in boxes.items():
        content = codec.encode([bytes.fromhex(device_id), heads])
        last = latest_content(session, leaf_type=LeafType.BATCH, device_id=device_id)
        is_soon = last is not None and now_us - last.at_us < CHAIN_HEADS_EVERY_S * 1_000_000
        if not is_soon and (last is None or last.content != content):
            entries.append(
                Entry(leaf_type=LeafType.BATCH, content=content, org_id=org_id, device_id=device_id)
            )
    if entries:
        append_all(session, entries, at_us=now_us)
    return len(entries)


@dataclass(slots=True, kw_only=True)
class LedgerKeeper:
    """The ledger's periodic work; each part's failure is logged and the next turn tries again."""

    database: Database
    signer: NoteSigner
    witnesses: Sequence[WitnessPlace]
    clock: Callable[[], int]
    post: Post = post_over_http
    counts: Counter[str] = field(default_factory=Counter)
    _heads_us: int = 0

    def turn(self) -> SignedCheckpoint | None:
        """Enter what waits and the chain heads, and publish; None when the ledger is down or halted."""
        now_us = self.clock()
        try:
            with self.database.writing() as session:
                late = in_transaction(session, lambda: enter_late(session, at_us=now_us))
                self.counts["ledger_late_entered"] += late
                self._enter_chain_heads(session, now_us)
                self.counts["ledger_waiting"] = in_transaction(session, lambda: waiting(session))
            signed = publish(
                self.database,
                signer=self.signer,
                witnesses=self.witnesses,
                now_us=now_us,
                post=self.post,
                counts=self.counts,
            )
        except (LedgerError, DBAPIError) as down:
            self.counts["ledger_failed"] += 1
            LOG.error("ledger: no checkpoint, reason=%s detail=%s", type(down).__name__, down)  # noqa: TRY400  # an expected state, said in one line
            return None
        self.counts["ledger_size"] = signed.size
        return signed

    def _enter_chain_heads(self, session: Session, now_us: int) -> None:
        if now_us - self._heads_us < CHAIN_HEADS_EVERY_S * 1_000_000:
            return
        since_us = self._heads_us
        self.counts["ledger_chain_heads"] += in_transaction(
            session, lambda: enter_chain_heads(session, since_us=since_us, now_us=now_us)
        )
        self._heads_us = now_us


def _note_witnesses(session: Session, witnesses: Sequence[WitnessPlace], *, now_us: int) -> None:
    content = witnesses_content(witnesses)
    last = latest_content(session, leaf_type=LeafType.WITNESSES)
    if (last is None and witnesses) or (last is not None and last.content != content):
        append(session, LeafType.WITNESSES, content, at_us=now_us)


def _ask(
    database: Database,
    signed: SignedCheckpoint,
    place: WitnessPlace,
    *,
    signer: NoteSigner,
    witnesses: Sequence[WitnessPlace],
    post: Post,
    counts: Counter[str],
) -> SignedCheckpoint:
    """Return the checkpoint with this witness's cosignature, if it has or gives one."""
    if open_checkpoint(signed.note, signer.key, [place.key]).cosignatures:
        return signed
    with database.reading() as session:
        last = latest_checkpoint(session, witnessed_min=1)

    def prove(old: int, new: int) -> list[bytes]:
        with database.reading() as session:
            return prove_consistency(session, old, new)

    answer = ask_witness(
        place,
        signed.note,
        log=signer.key,
        known=0 if last is None else last.size,
        prove=prove,
        post=post,
    )
    counts[f"ledger_witness_{answer.word}"] += 1
    if answer.word is Word.COSIGNED and answer.line is not None:
        line = answer.line
        keys = [each.key for each in witnesses]
        with database.writing() as session:
            return in_transaction(
                session,
                lambda: add_cosignatures(session, signed.size, [line], log=signer.key, witnesses=keys),
            )
    is_rolled_back = answer.word is Word.AHEAD and (answer.size or 0) > _size_now(database)
    if answer.word is Word.FORK or is_rolled_back:
        reason = f"the witness {place.key.name} knows another tree than {signed.size} leaves here"
        with database.writing() as session:
            halt(session, reason=f"{reason}: {answer.detail}")
        raise LedgerHaltedError(what=f"{reason}: {answer.detail}", next_step="compare with the witness")
    LOG.warning("ledger: witness=%s word=%s detail=%s", place.key.name, answer.word, answer.detail)
    return signed


def _size_now(database: Database) -> int:
    """Return the log's size now: another process of ours may have published more in between."""
    with database.reading() as session:
        return tree_head(session)[0]
