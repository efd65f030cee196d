"""SPEC-ledger.md is executed: its example is made again, its table is the code's."""

from __future__ import annotations

import re
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

import protocol
from protocol.checkpoint import Checkpoint, NoteSigner, add_signatures, cosign, sign_checkpoint
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import Frontier, leaf_hash

SPEC = (Path(protocol.__file__).parent / "SPEC-ledger.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"```tbox log:(\w+)\n(.*?)```", SPEC, flags=re.DOTALL))


def example() -> dict[str, str]:
    log = NoteSigner.of_log("log.example/tbox", Ed25519PrivateKey.from_private_bytes(b"\x01" * 32))
    witness = NoteSigner.of_witness("witness.example/w1", Ed25519PrivateKey.from_private_bytes(b"\x02" * 32))
    leaves = [leaf_data(LeafType.ORDER, commitment(bytes(16), content)) for content in (b"lock", b"unlock")]
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf_hash(leaf))
    note = sign_checkpoint(Checkpoint(origin=log.key.name, size=2, root=frontier.root()), log)
    note = add_signatures(note, [cosign(note, witness, at_s=1795608000)])
    return {
        "leaf": leaves[0].hex() + "\n",
        "root": frontier.root().hex() + "\n",
        "checkpoint": note.decode(),
    }


def test_the_worked_example_is_what_the_code_makes() -> None:
    assert example() == BLOCKS


def test_every_leaf_type_is_in_the_table_under_its_number() -> None:
    table = dict(re.findall(r"^\| (\d+) \| (\w+) \|", SPEC, flags=re.MULTILINE))
    assert table == {str(int(kind)): kind.name for kind in LeafType}
