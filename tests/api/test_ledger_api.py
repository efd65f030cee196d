"""The log over the API: whoever has a key can check that it only grew, and learns nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.domain.access import Role
from backend.store.log_keys import load_log_signer
from backend.usecases.keep_ledger import publish
from protocol.checkpoint import open_checkpoint
from protocol.merkle import is_consistent, is_included, leaf_hash
from tests.builders.backend import make_backend
from tests.builders.ledger import enter

if TYPE_CHECKING:
    from pathlib import Path


def test_a_caller_checks_leaf_growth_and_checkpoint_by_himself(tmp_path: Path) -> None:
    backend = make_backend(tmp_path)
    signer = load_log_signer(backend.settings.log_key_path, origin=backend.settings.log_origin)
    headers = backend.key(Role.OMBUDS)
    with backend.client() as client, backend.database() as database:
        assert client.get("/v1/ledger/checkpoint", headers=headers).status_code == 404
        enter(database, b"a", b"b", b"c")
        old = publish(database, signer=signer, witnesses=(), now_us=1)
        enter(database, b"d", b"e")
        publish(database, signer=signer, witnesses=(), now_us=2)
        note = client.get("/v1/ledger/checkpoint", headers=headers)
        new = open_checkpoint(note.content, signer.key).checkpoint
        leaf = client.get("/v1/ledger/entries/1", headers=headers).json()
        assert (leaf["type"], leaf["is_erased"]) == ("ORDER", False)
        found = client.get(f"/v1/ledger/proofs/inclusion?index=1&size={new.size}", headers=headers).json()
        proof = [bytes.fromhex(hash_) for hash_ in found["proof"]]
        hashed = leaf_hash(bytes.fromhex(leaf["leaf"]))
        assert is_included(hashed, index=1, size=new.size, proof=proof, root=new.root)
        grown = client.get(
            f"/v1/ledger/proofs/consistency?first={old.size}&second={new.size}", headers=headers
        ).json()
        proof = [bytes.fromhex(hash_) for hash_ in grown["proof"]]
        assert is_consistent(
            first=old.size, second=new.size, first_root=old.root, second_root=new.root, proof=proof
        )
        for missing in (
            "entries/5",
            "proofs/inclusion?index=5&size=5",
            "proofs/consistency?first=1&second=6",
            "checkpoint?witnessed=1",
        ):
            assert client.get(f"/v1/ledger/{missing}", headers=headers).status_code == 404
        assert client.get("/v1/ledger/checkpoint").status_code == 401
