"""Log before act: the two-signed order stands in the log, and witnesses have seen it (§4.4 steps 4, 5).

Rules (README §2.5, P3 of the ten rules): the checkpoint is signed by the one log the gate knows, with as many
known witnesses as its settings ask, each within the last day; the leaf is that of *this* order with *these*
two signatures; the path leads from it to the root. What comes out is the gate's log_ref.

This module fetches nothing.

Example:
    >>> log_ref_of(content, proof, trust, now_s=now_s)
    ('log.example/tbox', 41, 42, b'...')
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.gate.rules import No, Rule
from protocol.checkpoint import NoteError, NoteKey, open_checkpoint
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import is_included, leaf_hash

WITNESS_AGE_S_MAX = 86_400  # a witness that saw this tree, not one that will some day
_AHEAD_S_MAX = 300

LogRef = tuple[str, int, int, bytes]
"""Origin, index, size, root."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogTrust:
    """Which log, and whose cosignatures count.

    Attributes:
        log: its key.
        witnesses: keys.
        quorum: how many of them must have seen the checkpoint; 0 in a demonstration only.
    """

    log: NoteKey
    witnesses: tuple[NoteKey, ...]
    quorum: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What came with the order."""

    checkpoint: bytes
    index: int
    salt: bytes
    path: Sequence[bytes]


def log_ref_of(content: bytes, proof: Proof, trust: LogTrust, *, now_s: int) -> LogRef | No:
    """Return where an order stands in the log, or what is wrong with its proof.

    Args:
        content: the COSE_Sign of the two-signed order, as the log has it.
        proof: as it came.
        trust: from the settings.
        now_s: POSIX seconds.
    """
    try:
        opened = open_checkpoint(proof.checkpoint, trust.log, trust.witnesses)
    except NoteError as error:
        return No(rule=Rule.LOG, detail=f"checkpoint: {error}")
    seen = [at for at in opened.cosignatures if -_AHEAD_S_MAX <= now_s - at.at_s <= WITNESS_AGE_S_MAX]
    if len(seen) < trust.quorum:
        return No(rule=Rule.LOG, detail=f"{len(seen)} of {trust.quorum} witnesses have seen the checkpoint")
    at = opened.checkpoint
    leaf = leaf_hash(leaf_data(LeafType.ORDER, commitment(proof.salt, content)))
    if not is_included(leaf, index=proof.index, size=at.size, proof=proof.path, root=at.root):
        return No(rule=Rule.LOG, detail="the order with its two signatures is not at that place in the log")
    return at.origin, proof.index, at.size, at.root
