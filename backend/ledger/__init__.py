"""The ledger: an append-only log whose head outsiders cosign (see SPEC-ledger.md and ADR 0047).

What other rooms use stands here; `log` appends and proves, `checkpoints` signs, `late` keeps what waits.

Example:
    >>> from backend import ledger
    >>> with session.begin():
    ...     ref = ledger.append(session, LeafType.ORDER, order, at_us=now_us, device_id=device_id)
"""

from backend.ledger.checkpoints import (
    SignedCheckpoint,
    add_cosignatures,
    checkpoint,
    checkpoint_of,
    first_checkpoint_with,
    latest_checkpoint,
)
from backend.ledger.late import append_or_queue, enter_late, waiting
from backend.ledger.log import (
    Entry,
    LeafRef,
    LedgerError,
    LedgerHaltedError,
    StoredLeaf,
    append,
    append_all,
    erase,
    open_leaf,
    prove_consistency,
    prove_inclusion,
    read_leaf,
    root_at,
    tree_head,
)
from protocol.log_leaves import LeafType

__all__ = [
    "Entry",
    "LeafRef",
    "LeafType",
    "LedgerError",
    "LedgerHaltedError",
    "SignedCheckpoint",
    "StoredLeaf",
    "add_cosignatures",
    "append",
    "append_all",
    "append_or_queue",
    "checkpoint",
    "checkpoint_of",
    "enter_late",
    "erase",
    "first_checkpoint_with",
    "latest_checkpoint",
    "open_leaf",
    "prove_consistency",
    "prove_inclusion",
    "read_leaf",
    "root_at",
    "tree_head",
    "waiting",
]
