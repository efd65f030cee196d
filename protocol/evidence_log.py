"""The log in an evidence file: checkpoints, growth and leaves, proven by keys that the verifier brought.

Rules: a checkpoint counts when a trusted log signed it; two of one size with different roots, or without a
proof that the larger begins with the smaller, are a fork or unproven. When the verifier names witnesses, one
at least must have cosigned the largest. A leaf counts in the tree of its proof when that tree's root is a
checkpoint's.

This module does not know what leaves commit to: see `evidence_orders`.

Example:
    >>> ProvenLog().leaf_at(41, 42)

Source: RFC 9162 §2.1; C2SP tlog-checkpoint.
"""

from dataclasses import dataclass, field

from protocol import codec
from protocol.checkpoint import NoteError, OpenedCheckpoint, open_checkpoint, read_checkpoint
from protocol.errors import ProtocolError
from protocol.evidence_ledger import Ledger
from protocol.evidence_manifest import PartKind
from protocol.evidence_report import Code, Trust, Weight
from protocol.limits import ORDER_BYTES_MAX
from protocol.log_leaves import LEAF_BYTES, LEAF_SALT_BYTES, commitment
from protocol.merkle import is_consistent, is_included, leaf_hash

_MEMBERS = 3
_PROOF_BYTES_MAX = 2 * ORDER_BYTES_MAX  # 63 hashes and their heads have 2,200


@dataclass(slots=True, kw_only=True)
class ProvenLog:
    """What is proven of the log.

    Attributes:
        origin: of the log, None when no checkpoint counts.
        roots: roots of trusted checkpoints by size.
        leaves: 33 bytes of each leaf by index and the size of the tree in which it is proven.
        contents: content of leaves whose commitment opens, by index.
    """

    origin: str | None = None
    roots: dict[int, bytes] = field(default_factory=dict)
    leaves: dict[tuple[int, int], bytes] = field(default_factory=dict)
    contents: dict[int, bytes] = field(default_factory=dict)

    def leaf_at(self, index: int, size: int) -> bytes | None:
        """Return a leaf that is proven in the tree of a size, or None."""
        return self.leaves.get((index, size))

    def index_of(self, content: bytes, leaf_type: int) -> int | None:
        """Return where a content is proven to be committed to, as a type, or None."""
        for (index, _), leaf in sorted(self.leaves.items()):
            if leaf[0] == leaf_type and self.contents.get(index) == content:
                return index
        return None


def check_log(ledger: Ledger, trust: Trust) -> ProvenLog:
    """Return what is proven of the log, with findings for what is not."""
    log = ProvenLog()
    _read_checkpoints(ledger, trust, log)
    _check_growth(ledger, log)
    _read_leaves(ledger, log)
    return log


def _read_checkpoints(ledger: Ledger, trust: Trust, log: ProvenLog) -> None:
    largest: OpenedCheckpoint | None = None
    keys = {key.name: key for key in trust.log_keys}
    for part, data in ledger.whole(PartKind.CHECKPOINT):
        name = part.ref.name
        try:
            key = keys.get(read_checkpoint(data).origin)
            opened = None if key is None else open_checkpoint(data, key, trust.witness_keys)
        except NoteError as error:
            ledger.find(Code.LOG_BROKEN, Weight.CONTRADICTION, f"In place of {name}: {error}.")
            continue
        if opened is None:
            text = f"The trust file does not name the log of {name}."
            ledger.find(Code.LOG_UNTRUSTED, Weight.UNVERIFIABLE, text)
            continue
        at = opened.checkpoint
        if at.size != part.ref.seq or (log.origin is not None and at.origin != log.origin):
            text = f"In place of {name} stands a checkpoint of {at.size} leaves of {at.origin}."
            ledger.find(Code.LOG_BROKEN, Weight.CONTRADICTION, text)
            continue
        log.origin = at.origin
        if log.roots.setdefault(at.size, at.root) != at.root:
            text = f"The log has signed two different trees of {at.size} leaves: it forked."
            ledger.find(Code.LOG_FORKED, Weight.CONTRADICTION, text)
        if largest is None or at.size >= largest.checkpoint.size:
            largest = opened
    if largest is not None and trust.witness_keys and not largest.cosignatures:
        text = "No witness that the trust file names has seen the log's last checkpoint here."
        ledger.find(Code.LOG_UNWITNESSED, Weight.UNVERIFIABLE, text)


def _check_growth(ledger: Ledger, log: ProvenLog) -> None:
    """Prove that the largest checkpoint begins with each of the others."""
    largest = max(log.roots, default=0)
    proven = {largest}
    for part, data in ledger.whole(PartKind.CONSISTENCY):
        read = _proof(data)
        if read is None:
            text = f"{part.ref.name[0].upper()}{part.ref.name[1:]} cannot be read."
            ledger.find(Code.LOG_BROKEN, Weight.CONTRADICTION, text)
            continue
        first, second, path = read
        if second != largest or not isinstance(first, int) or first not in log.roots:
            continue
        if is_consistent(
            first=first,
            second=second,
            first_root=log.roots[first],
            second_root=log.roots[second],
            proof=path,
        ):
            proven.add(first)
        else:
            text = f"The log of {second} leaves is not proven to begin with the {first} it had signed before."
            ledger.find(Code.LOG_FORKED, Weight.CONTRADICTION, text)
    for size in sorted(set(log.roots) - proven):
        text = f"Nothing here proves that the log of {largest} leaves begins with the {size} it had signed."
        ledger.find(Code.LOG_UNTRUSTED, Weight.UNVERIFIABLE, text)


def _read_leaves(ledger: Ledger, log: ProvenLog) -> None:
    for part, data in ledger.whole(PartKind.LEAF):
        index = (part.ref.seq or 0) - 1
        read = _proof(data)
        leaf = None if read is None else read[0]
        if read is None or not isinstance(leaf, bytes) or len(leaf) != LEAF_BYTES:
            ledger.find(Code.LEAF_BROKEN, Weight.CONTRADICTION, f"A proof of leaf {index} cannot be read.")
            continue
        _, size, path = read
        root = log.roots.get(size)
        if root is None:
            text = (
                f"A proof of leaf {index} is for a tree of {size} leaves, of which no checkpoint counts here."
            )
            ledger.find(Code.LOG_UNTRUSTED, Weight.UNVERIFIABLE, text)
            continue
        if is_included(leaf_hash(leaf), index=index, size=size, proof=path, root=root):
            log.leaves[index, size] = leaf
        else:
            text = f"The log of {size} leaves does not have this leaf at {index}: its proof does not hold."
            ledger.find(Code.LEAF_BROKEN, Weight.CONTRADICTION, text)
    known = {index: leaf for (index, _), leaf in log.leaves.items()}
    for part, data in ledger.whole(PartKind.OPENING):
        index = (part.ref.seq or 0) - 1
        proven = known.get(index)
        if proven is None:
            continue
        salt, content = data[:LEAF_SALT_BYTES], data[LEAF_SALT_BYTES:]
        if len(salt) == LEAF_SALT_BYTES and commitment(salt, content) == proven[1:]:
            log.contents[index] = content
        else:
            text = f"What is said to be the content of leaf {index} is not what the log committed to."
            ledger.find(Code.LEAF_BROKEN, Weight.CONTRADICTION, text)


def _proof(data: bytes) -> tuple[object, int, list[bytes]] | None:
    """Return the members of a proof part, None when it is none."""
    try:
        value = codec.decode(data, max_bytes=_PROOF_BYTES_MAX)
    except ProtocolError:
        return None
    if not isinstance(value, list) or len(value) != _MEMBERS:
        return None
    first, size, path = value
    if type(size) is not int or not isinstance(path, list):
        return None
    hashes = [hash_ for hash_ in path if isinstance(hash_, bytes)]
    return (first, size, hashes) if len(hashes) == len(path) else None
