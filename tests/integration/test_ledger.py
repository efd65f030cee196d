"""The ledger on both databases: gapless, provable, erasable, and never signing what it took back."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import update

from backend import ledger
from backend.ledger import Entry, LeafType, LedgerError, LedgerHaltedError
from backend.store.ledger import LEDGER_LEAF, LEDGER_NODE, halt_head
from protocol.checkpoint import cosign, open_checkpoint
from protocol.log_leaves import commitment, leaf_data
from protocol.merkle import is_consistent, is_included, leaf_hash
from tests.builders.databases import trip, untrip
from tests.builders.ledger import NOW_US, enter, log_signer, naive_root, open_log, witness_signer

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("both_databases")


def test_every_leaf_and_every_older_tree_is_proven_in_the_log_as_it_stands(tmp_path: Path) -> None:
    contents = [b"%d" % number for number in range(37)]
    with open_log(tmp_path) as database:
        refs = enter(database, *contents)
        leaves = [leaf_data(LeafType.ORDER, ref.commitment) for ref in refs]
        with database.reading() as session:
            size, root = ledger.tree_head(session)
            assert (size, root) == (37, naive_root(leaves))
            assert [ref.index for ref in refs] == list(range(37))
            for ref, leaf in zip(refs, leaves, strict=True):
                proof = ledger.prove_inclusion(session, ref.index, size)
                assert is_included(leaf_hash(leaf), index=ref.index, size=size, proof=proof, root=root)
            for first in range(1, 38):
                old = ledger.root_at(session, first)
                assert old == naive_root(leaves[:first])
                proof = ledger.prove_consistency(session, first, size)
                assert is_consistent(first=first, second=size, first_root=old, second_root=root, proof=proof)


def test_a_commitment_opens_with_salt_and_content_until_they_are_erased(tmp_path: Path) -> None:
    with open_log(tmp_path) as database:
        (kept, erased) = enter(database, b"order", b"a person's")
        with database.writing() as session, session.begin():
            assert ledger.erase(session, [erased.index]) == 1
        with database.reading() as session:
            salt, content = ledger.open_leaf(session, kept.index) or (b"", b"")
            assert (content, commitment(salt, content)) == (b"order", kept.commitment)
            assert ledger.open_leaf(session, erased.index) is None
            leaf = ledger.read_leaf(session, erased.index)
            assert leaf is not None
            assert leaf.is_erased
            size, root = ledger.tree_head(session)
            proof = ledger.prove_inclusion(session, erased.index, size)
            assert is_included(leaf_hash(leaf.data), index=erased.index, size=size, proof=proof, root=root)


def test_equal_contents_have_leaves_that_nobody_can_tell_apart_from_others(tmp_path: Path) -> None:
    with open_log(tmp_path) as database:
        first, second = enter(database, b"the same", b"the same")
    assert first.commitment != second.commitment


def test_a_transaction_that_is_taken_back_leaves_no_gap_and_no_trace(tmp_path: Path) -> None:
    with open_log(tmp_path) as database:
        enter(database, b"first")
        with database.writing() as session, session.begin() as transaction:
            ledger.append(session, LeafType.ORDER, b"taken back", at_us=NOW_US)
            transaction.rollback()
        (after,) = enter(database, b"second")
        assert after.index == 1


def test_many_who_append_at_once_get_gapless_places_of_their_own(tmp_path: Path) -> None:
    found: list[int] = []
    with open_log(tmp_path) as database:

        def write(name: int) -> None:
            for number in range(12):
                found.extend(ref.index for ref in enter(database, b"%d/%d" % (name, number)))

        threads = [threading.Thread(target=write, args=(name,)) for name in range(5)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        with database.reading() as session:
            size, root = ledger.tree_head(session)
            leaves = [ledger.read_leaf(session, index) for index in range(size)]
    assert sorted(found) == list(range(60))
    assert root == naive_root([leaf.data for leaf in leaves if leaf is not None])


def test_a_checkpoint_is_signed_once_for_each_size_and_keeps_cosignatures(tmp_path: Path) -> None:
    log, witness = log_signer(), witness_signer()
    with open_log(tmp_path) as database:
        enter(database, b"a", b"b")
        with database.writing() as session, session.begin():
            first = ledger.checkpoint(session, log, NOW_US)
            again = ledger.checkpoint(session, log, NOW_US + 1)
        assert first == again

        line = cosign(first.note, witness, at_s=1_795_500_000)
        with database.writing() as session, session.begin():
            kept = ledger.add_cosignatures(
                session, first.size, [line, line], log=log.key, witnesses=[witness.key]
            )
        assert kept.witnessed == 1
        opened = open_checkpoint(kept.note, log.key, [witness.key])
        assert [(seen.witness, seen.at_s) for seen in opened.cosignatures] == [
            ("witness.example/w1", 1_795_500_000)
        ]
        with database.reading() as session:
            assert ledger.first_checkpoint_with(session, 1, witnessed_min=1) == kept
            assert ledger.first_checkpoint_with(session, 2) is None


def test_the_key_of_another_log_signs_nothing(tmp_path: Path) -> None:
    with open_log(tmp_path) as database:
        enter(database, b"a")
        with database.writing() as session, session.begin():
            ledger.checkpoint(session, log_signer(), NOW_US)
        with (
            pytest.raises(LedgerError, match="this is the log"),
            database.writing() as session,
            session.begin(),
        ):
            ledger.checkpoint(session, log_signer("log.example/other"), NOW_US)


def test_a_tree_that_was_changed_in_the_database_is_not_signed_again(tmp_path: Path) -> None:
    with open_log(tmp_path) as database:
        enter(database, *(b"%d" % number for number in range(11)))
        with database.writing() as session, session.begin():
            ledger.checkpoint(session, log_signer(), NOW_US)
        enter(database, b"more")
        with database.writing() as session, session.begin():
            changed = update(LEDGER_NODE).where(LEDGER_NODE.c.position == 0)
            session.connection().execute(changed.values(hash=bytes(32)))
            changed = update(LEDGER_LEAF).where(LEDGER_LEAF.c.leaf_index == 9)
            session.connection().execute(changed.values(commitment=bytes(32)))
        with (
            pytest.raises(LedgerError, match="no longer begins"),
            database.writing() as session,
            session.begin(),
        ):
            ledger.checkpoint(session, log_signer(), NOW_US)


def test_while_the_ledger_is_halted_what_restricts_fails_and_what_releases_waits(tmp_path: Path) -> None:
    release = Entry(leaf_type=LeafType.ORDER, content=b"unlock", device_id="9f" * 32)
    with open_log(tmp_path) as database:
        with database.writing() as session, session.begin():
            halt_head(session, reason="a drill")
        with (
            pytest.raises(LedgerHaltedError, match="a drill"),
            database.writing() as session,
            session.begin(),
        ):
            ledger.append(session, LeafType.ORDER, b"lock", at_us=NOW_US)
        with database.writing() as session, session.begin():
            assert ledger.append_or_queue(session, release, at_us=NOW_US) is None
            assert ledger.waiting(session) == 1
        with pytest.raises(LedgerHaltedError), database.writing() as session, session.begin():
            ledger.enter_late(session, at_us=NOW_US)
        with database.writing() as session, session.begin():
            halt_head(session, reason=None)
        with database.writing() as session, session.begin():
            assert ledger.enter_late(session, at_us=NOW_US + 1) == 1
            assert ledger.enter_late(session, at_us=NOW_US + 1) == 0
            leaf = ledger.read_leaf(session, 0)
            assert leaf is not None
            assert leaf.is_late
            assert (ledger.open_leaf(session, 0) or (b"", b""))[1] == b"unlock"


def test_a_release_goes_on_when_the_ledgers_tables_do_not_answer(tmp_path: Path) -> None:

    release = Entry(leaf_type=LeafType.ORDER, content=b"unlock")
    with open_log(tmp_path) as database:
        with database.writing() as session, session.begin():
            trip(session, "ledger_leaf", on="INSERT", message="ledger down")
        with database.writing() as session, session.begin():
            assert ledger.append_or_queue(session, release, at_us=NOW_US) is None
        with database.writing() as session, session.begin():
            untrip(session, "ledger_leaf")
        with database.writing() as session, session.begin():
            assert ledger.enter_late(session, at_us=NOW_US) == 1


def test_what_the_log_does_not_have_is_refused_by_name(tmp_path: Path) -> None:
    with open_log(tmp_path) as database:
        enter(database, b"a", b"b")
        with database.reading() as session:
            for wrong in ((2, 2), (0, 3), (-1, 2)):
                with pytest.raises(LedgerError):
                    ledger.prove_inclusion(session, *wrong)
            for wrong in ((0, 2), (2, 1), (1, 3)):
                with pytest.raises(LedgerError):
                    ledger.prove_consistency(session, *wrong)
