"""Merkle trees as RFC 9162 hashes them: what the log's roots and proofs are, and how to check them.

Rules: a leaf is hashed with 0x00 before it, a node with 0x01, so that none can stand for the other; the left
half of a tree of n leaves is the largest power of two below n. A verifier takes nothing but hashes and
numbers, refuses a proof that is longer or shorter than the tree's shape asks, and never uses a number above
SIZE_MAX. `Frontier` is a log's growing edge: it appends in O(log n) hashes and keeps O(log n) of them. Proofs
are described as ranges of leaves; whoever stores the tree turns each into the perfect subtrees it keeps.

This module stores nothing and signs nothing: see `checkpoint` for what a log signs.

Example:
    >>> log = Frontier()
    >>> _ = [log.append(leaf_hash(entry)) for entry in (b"a", b"b", b"c")]
    >>> proof = [leaf_hash(b"b"), leaf_hash(b"c")]
    >>> is_included(leaf_hash(b"a"), index=0, size=3, proof=proof, root=log.root())
    True

Source: RFC 9162 §2.1 (hashes, proofs), §2.1.3.2 and §2.1.4.2 (verification).
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

HASH_BYTES: Final = 32

SIZE_MAX: Final = (1 << 53) - 1
"""Leaves of a log: what a log_ref in an order can name (SPEC §18.2)."""

EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""Root of the tree without leaves."""

Range = tuple[int, int]
"""Leaves [first, end) of a tree."""

Subtree = tuple[int, int]
"""A perfect subtree: (level, position) has the leaves [position·2^level, (position+1)·2^level)."""


def leaf_hash(data: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of a node above two others, 32 bytes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


@dataclass(slots=True)
class Frontier:
    """The right edge of a growing tree.

    Attributes:
        size: number of leaves.
        peaks: hashes of the perfect subtrees that make up the tree, largest first, one a 1 bit of size.
    """

    size: int = 0
    peaks: list[bytes] = field(default_factory=list)

    def append(self, leaf: bytes) -> list[tuple[Subtree, bytes]]:
        """Add a leaf's hash and return the subtrees that it completes, the leaf itself first.

        Raises:
            ValueError: the tree is full.
        """
        if self.size >= SIZE_MAX:
            raise ValueError("a log of 2^53 leaves takes no more")
        completed = [((0, self.size), leaf)]
        level, position = 0, self.size
        while position & 1:
            leaf = node_hash(self.peaks.pop(), leaf)
            level, position = level + 1, position >> 1
            completed.append(((level, position), leaf))
        self.peaks.append(leaf)
        self.size += 1
        assert len(self.peaks) == self.size.bit_count(), "one peak for each bit"
        return completed

    def root(self) -> bytes:
        """Return the root of the tree as it stands."""
        return fold_peaks(self.peaks)


def fold_peaks(peaks: Sequence[bytes]) -> bytes:
    """Return the root above perfect subtrees, largest first; EMPTY_ROOT for none."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def subtrees_of(leaves: Range) -> list[Subtree]:
    """Return the perfect subtrees of a range that a proof names, largest first.

    Args:
        leaves: a range that begins at a multiple of its own width rounded up to a power of two.
    """
    first, end = leaves
    found = []
    while first < end:
        level = (end - first).bit_length() - 1
        assert first % (1 << level) == 0, "the ranges of proofs begin where their largest subtree may"
        found.append((level, first >> level))
        first += 1 << level
    return found


def range_hash(leaves: Range, subtree: Callable[[Subtree], bytes]) -> bytes:
    """Return the hash over a range, from the hashes of its perfect subtrees."""
    return fold_peaks([subtree(at) for at in subtrees_of(leaves)])


def inclusion_ranges(index: int, size: int) -> list[Range]:
    """Return what an inclusion proof consists of, from the leaf upwards.

    Raises:
        ValueError: no such leaf.
    """
    if not 0 <= index < size <= SIZE_MAX:
        raise ValueError(f"no leaf {index} in a tree of {size}")
    ranges = []
    first, end = 0, size
    while end - first > 1:
        middle = first + _split(end - first)
        if index < middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((first, middle))
            first = middle
    return ranges[::-1]


def consistency_ranges(first: int, second: int) -> list[Range]:
    """Return what a consistency proof from `first` to `second` leaves consists of.

    Raises:
        ValueError: not 0 < first <= second.
    """
    if not 0 < first <= second <= SIZE_MAX:
        raise ValueError(f"no proof from {first} to {second} leaves")
    ranges = []
    begin, end = 0, second
    is_known = True  # the old tree is all of [begin, first): its root is known to the verifier
    while first != end:
        middle = begin + _split(end - begin)
        if first <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((begin, middle))
            begin, is_known = middle, False
    if not is_known:
        ranges.append((begin, end))
    return ranges[::-1]


def is_included(leaf: bytes, *, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Return whether a proof shows a leaf's hash at its place in the tree of that size and root."""
    if not 0 <= index < size <= SIZE_MAX or not _are_hashes((leaf, root, *proof)):
        return False
    at, last, result = index, size - 1, leaf
    for hash_ in proof:
        if last == 0:
            return False
        if at & 1 or at == last:
            result = node_hash(hash_, result)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            result = node_hash(result, hash_)
        at, last = at >> 1, last >> 1
    return last == 0 and result == root


def is_consistent(
    *, first: int, second: int, first_root: bytes, second_root: bytes, proof: Sequence[bytes]
) -> bool:
    """Return whether a proof shows that the larger tree begins with all leaves of the smaller one.

    The empty tree begins every tree, and equal sizes need equal roots; both by an empty proof only.
    """
    if not 0 <= first <= second <= SIZE_MAX or not _are_hashes((first_root, second_root, *proof)):
        return False
    if first == 0:
        return not proof and first_root == EMPTY_ROOT and (second > 0 or second_root == EMPTY_ROOT)
    if first == second:
        return not proof and first_root == second_root
    # An old tree that is a perfect subtree of the new one stands for itself: the proof omits it.
    rest = [first_root, *proof] if first & (first - 1) == 0 else list(proof)
    return bool(rest) and _roots_of(first, second, rest) == (first_root, second_root)


def _roots_of(first: int, second: int, rest: Sequence[bytes]) -> tuple[bytes, bytes] | None:
    """Return the two roots that a proof amounts to, None when it is too short or too long."""
    at, last = first - 1, second - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = rest[0]
    for hash_ in rest[1:]:
        if last == 0:
            return None
        if at & 1 or at == last:
            old, new = node_hash(hash_, old), node_hash(hash_, new)
            while not at & 1 and at:
                at, last = at >> 1, last >> 1
        else:
            new = node_hash(new, hash_)
        at, last = at >> 1, last >> 1
    return (old, new) if last == 0 else None


def _split(width: int) -> int:
    """Return the largest power of two below a width above 1."""
    return 1 << ((width - 1).bit_length() - 1)


def _are_hashes(values: Sequence[bytes]) -> bool:
    return all(len(value) == HASH_BYTES for value in values)
