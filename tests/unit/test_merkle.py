"""The log's tree: stored vectors of others, every small tree, and what a wrong proof may not do."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import (
    EMPTY_ROOT,
    SIZE_MAX,
    Frontier,
    consistency_ranges,
    inclusion_ranges,
    is_consistent,
    is_included,
    leaf_hash,
    node_hash,
    range_hash,
)
from tests.builders.ledger import naive_root

if TYPE_CHECKING:
    from pathlib import Path

# Its roots have 12 bytes and equal each other; ours are SHA-256 or nothing.
NO_HASHES = "additional/sizes-are-equal-one-and-proof-is-empty.json"


def _bytes(text: str | None) -> bytes:
    return base64.b64decode(text or "")


@pytest.mark.data
def test_stored_inclusion_proofs_are_judged_as_their_authors_say(test_data: Path) -> None:
    vectors = json.loads((test_data / "vectors/merkle/inclusion.json").read_text())
    judged = {
        name: is_included(
            _bytes(vector["leafHash"]),
            index=vector["leafIdx"],
            size=vector["treeSize"],
            proof=[_bytes(hash_) for hash_ in vector["proof"] or ()],
            root=_bytes(vector["root"]),
        )
        for name, vector in vectors.items()
    }
    assert judged == {name: not vector["wantErr"] for name, vector in vectors.items()}
    assert len(judged) == 65


@pytest.mark.data
def test_stored_consistency_proofs_are_judged_as_their_authors_say(test_data: Path) -> None:
    vectors = json.loads((test_data / "vectors/merkle/consistency.json").read_text())
    vectors[NO_HASHES]["wantErr"] = True
    judged = {
        name: is_consistent(
            first=vector["size1"],
            second=vector["size2"],
            first_root=_bytes(vector["root1"]),
            second_root=_bytes(vector["root2"]),
            proof=[_bytes(hash_) for hash_ in vector["proof"] or ()],
        )
        for name, vector in vectors.items()
    }
    assert judged == {name: not vector["wantErr"] for name, vector in vectors.items()}
    assert len(judged) == 67


def test_every_proof_of_every_small_tree_is_that_of_the_definition() -> None:
    leaves = [bytes([number]) for number in range(33)]
    frontier = Frontier()
    subtrees = {}
    for size, leaf in enumerate(leaves, start=1):
        subtrees.update(dict(frontier.append(leaf_hash(leaf))))
        root = naive_root(leaves[:size])
        assert frontier.root() == root
        for index in range(size):
            proof = [range_hash(part, subtrees.__getitem__) for part in inclusion_ranges(index, size)]
            assert proof == _naive_path(leaves[:size], index)
            assert is_included(leaf_hash(leaves[index]), index=index, size=size, proof=proof, root=root)
        for first in range(1, size + 1):
            proof = [range_hash(part, subtrees.__getitem__) for part in consistency_ranges(first, size)]
            old = naive_root(leaves[:first])
            assert is_consistent(first=first, second=size, first_root=old, second_root=root, proof=proof)


@given(st.data())
def test_no_other_leaf_place_size_root_or_proof_is_proven(data: st.DataObject) -> None:
    size = data.draw(st.integers(2, 40))
    index = data.draw(st.integers(0, size - 1))
    leaves = [bytes([number]) for number in range(size)]
    proof, root = _naive_path(leaves, index), naive_root(leaves)
    leaf = leaf_hash(leaves[index])
    other = data.draw(st.integers(0, size - 1).filter(lambda at: at != index))
    assert not is_included(leaf, index=other, size=size, proof=proof, root=root)
    assert not is_included(leaf_hash(b"x"), index=index, size=size, proof=proof, root=root)
    assert not is_included(leaf, index=index, size=size, proof=proof, root=leaf_hash(b"x"))
    assert not is_included(leaf, index=index, size=size, proof=proof[:-1], root=root)
    assert not is_included(leaf, index=index, size=size, proof=[*proof, root], root=root)
    at, bit = data.draw(st.integers(0, len(proof) - 1)), data.draw(st.integers(0, 255))
    flipped = bytearray(proof[at])
    flipped[bit // 8] ^= 1 << bit % 8
    proof[at] = bytes(flipped)
    assert not is_included(leaf, index=index, size=size, proof=proof, root=root)


@given(st.integers(2, 60), st.data())
def test_a_log_that_rewrote_one_leaf_has_no_proof_from_what_it_signed(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(1, size - 1))
    changed = data.draw(st.integers(0, first - 1))
    leaves = [bytes([number]) for number in range(size)]
    old = naive_root(leaves[:first])
    leaves[changed] = b"another"
    proof = [naive_root(leaves[begin:end]) for begin, end in consistency_ranges(first, size)]
    assert not is_consistent(
        first=first, second=size, first_root=old, second_root=naive_root(leaves), proof=proof
    )


def test_the_empty_tree_begins_every_tree_and_no_other_root_does() -> None:
    root = naive_root([b"a"])
    assert is_consistent(first=0, second=1, first_root=EMPTY_ROOT, second_root=root, proof=[])
    assert is_consistent(first=0, second=0, first_root=EMPTY_ROOT, second_root=EMPTY_ROOT, proof=[])
    assert not is_consistent(first=0, second=1, first_root=root, second_root=root, proof=[])
    assert not is_consistent(first=0, second=0, first_root=EMPTY_ROOT, second_root=root, proof=[])
    assert not is_consistent(first=0, second=1, first_root=EMPTY_ROOT, second_root=root, proof=[root])
    assert not is_consistent(first=1, second=1, first_root=root, second_root=EMPTY_ROOT, proof=[])
    assert not is_consistent(first=2, second=1, first_root=root, second_root=root, proof=[])
    assert not is_consistent(first=3, second=5, first_root=root, second_root=root, proof=[])


def test_numbers_that_no_log_reaches_are_refused() -> None:
    with pytest.raises(ValueError, match="takes no more"):
        Frontier(size=SIZE_MAX).append(bytes(32))
    for wrong in ((1, 1), (-1, 1), (0, SIZE_MAX + 1)):
        with pytest.raises(ValueError, match="no leaf"):
            inclusion_ranges(*wrong)
    for wrong in ((0, 1), (2, 1), (1, SIZE_MAX + 1)):
        with pytest.raises(ValueError, match="no proof"):
            consistency_ranges(*wrong)


def test_a_node_can_never_stand_for_a_leaf() -> None:
    left, right = leaf_hash(b"a"), leaf_hash(b"b")
    assert node_hash(left, right) != leaf_hash(left + right)
    assert (
        naive_root([])
        == EMPTY_ROOT
        == bytes.fromhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    )


def test_a_leaf_is_its_type_and_a_salted_commitment_and_nothing_else() -> None:
    committed = commitment(bytes(16), b"content")
    assert leaf_data(LeafType.NOTICE, committed) == b"\x04" + committed
    assert commitment(bytes(15) + b"\x01", b"content") != committed
    with pytest.raises(ValueError, match="16 bytes"):
        commitment(bytes(17), b"ontent")


def _naive_path(leaves: list[bytes], index: int) -> list[bytes]:
    """Return an inclusion proof as RFC 9162 §2.1.3.1 defines it."""
    if len(leaves) == 1:
        return []
    split = 1
    while 2 * split < len(leaves):
        split *= 2
    if index < split:
        return [*_naive_path(leaves[:split], index), naive_root(leaves[split:])]
    return [*_naive_path(leaves[split:], index - split), naive_root(leaves[:split])]
