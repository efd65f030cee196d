"""The parts about an order that `SPEC-evidence.md` works in hex: a release, leaf and proofs, a checkpoint.

Rules: see `story`; nothing random, nothing from a clock. The log has three leaves, of which the order's is
the last, and signed its tree of two before.

Example:
    >>> sorted(example_order_parts())
    ['checkpoint', 'growth', 'leaf', 'opening', 'order']
"""

import hashlib
from collections.abc import Mapping
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from protocol import codec
from protocol.checkpoint import Checkpoint, NoteSigner, sign_checkpoint
from protocol.evidence_manifest import Part, PartKind
from protocol.ids import ChainId
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import Frontier, consistency_ranges, inclusion_ranges, leaf_hash, range_hash
from protocol.orders import OrderType, SignKind, assemble, encode_order, sign_part
from protocol.orders_payload import read_order
from protocol.vectors.annotate import annotate
from protocol.vectors.orders_good import releasing
from protocol.vectors.orders_story import signer
from protocol.vectors.story import fixed_bytes

ORIGIN: Final = "log.example/tbox"
LOG: Final = NoteSigner.of_log(ORIGIN, Ed25519PrivateKey.from_private_bytes(hashlib.sha256(b"log").digest()))
_BYTES_A_LINE = 24


def example_order_parts() -> Mapping[str, Part]:
    """Return the parts by the name of their block."""
    payload = encode_order(releasing(OrderType.UNLOCK))
    message = assemble(payload, [sign_part(SignKind.COMMAND, payload, signer("ombuds"))])
    salt = fixed_bytes("evidence salt 3")
    earlier = [leaf_data(LeafType.NOTICE, fixed_bytes(f"notice {at}", 32)) for at in range(2)]
    leaves = [*earlier, leaf_data(LeafType.ORDER, commitment(salt, message))]
    tree, known, roots = Frontier(), {}, []
    for leaf in leaves:
        known.update(dict(tree.append(leaf_hash(leaf))))
        roots.append(tree.root())
    path = [range_hash(part, known.__getitem__) for part in inclusion_ranges(2, 3)]
    growth = [range_hash(part, known.__getitem__) for part in consistency_ranges(2, 3)]
    note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=3, root=roots[2]), LOG)
    cmd_id = ChainId(read_order(payload)[0][2])
    return {
        "order": Part(kind=PartKind.ORDER, chain=cmd_id, data=message),
        "opening": Part(kind=PartKind.OPENING, seq=3, data=salt + message),
        "leaf": Part(kind=PartKind.LEAF, seq=3, data=codec.encode([leaves[2], 3, path])),
        "growth": Part(kind=PartKind.CONSISTENCY, seq=2, data=codec.encode([2, 3, growth])),
        "checkpoint": Part(kind=PartKind.CHECKPOINT, seq=3, data=note),
    }


def order_blocks() -> Mapping[str, str]:
    """Return the blocks of the text by name."""
    parts = example_order_parts()
    opening = parts["opening"].data
    salt = f"{opening[:16].hex(' '):<56} # salt; the order as above follows"
    note = parts["checkpoint"].data.splitlines(keepends=True)
    lines = [
        f"{part:<71} # {line.decode().strip()[:40]}" if not at else part
        for line in note
        for at, part in enumerate(_hex(line))
    ]
    return {
        "order": annotate(parts["order"].data),
        "opening": "\n".join([salt, *_hex(opening[16:])]),
        "leaf": annotate(parts["leaf"].data),
        "growth": annotate(parts["growth"].data),
        "checkpoint": "\n".join(lines),
    }


def _hex(data: bytes) -> list[str]:
    return [data[at : at + _BYTES_A_LINE].hex(" ") for at in range(0, len(data), _BYTES_A_LINE)]
