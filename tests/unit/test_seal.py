"""Sealing: numbers, links, salts, and what a header declares."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from device.delivery.announce import Dictionary
from device.delivery.draft import Draft
from device.delivery.seal import Sealer, derive_salt
from device.delivery.statements import StatementBook
from device.state import BatchKey, BootId, ChainId, ChainRecord, SpoolClass
from protocol.batch import (
    Counts,
    EndedLoss,
    Gap,
    GapCause,
    Loss,
    LossCause,
    OpenedBatch,
    Origin,
    OriginKind,
    Section,
    open_batch,
)
from protocol.clock import ClockClass
from protocol.facts import Facts, decode_facts
from protocol.limits import ENDED_LOSSES_MAX, LOSSES_MAX
from tests.builders.engine import DEVICE, DEVICE_KEY, DEVICE_KEYS, TABLE

CHAIN = ChainRecord(
    chain=ChainId(b"c" * 16),
    salt_secret=b"s" * 32,
    origin=Origin(kind=OriginKind.FIRST, last_head=None),
)
BOOT = BootId(b"b" * 16)


def draft(**changes: object) -> Draft:
    plain = Draft(
        boot=BOOT,
        mono_start_us=10,
        mono_end_us=20,
        utc_start_us=None,
        utc_end_us=None,
        clock=ClockClass.NONE,
        clock_error_us=None,
        counts=Counts(),
        drops={},
        facts=Facts(),
        rank=SpoolClass.BULK,
        room_bytes=100_000,
    )
    return replace(plain, **changes)  # type: ignore[arg-type]


def sealer(chain: ChainRecord = CHAIN) -> Sealer:
    return Sealer(device=DEVICE, signer=DEVICE_KEY, boot=BOOT, chain=chain)


def opened(payload: bytes) -> OpenedBatch:
    return open_batch(payload, DEVICE_KEYS.get, device=DEVICE)


def facts_of(payload: bytes) -> Facts:
    data = opened(payload).data(Section.FACTS)
    return Facts() if data is None else decode_facts(data)


def test_batches_are_numbered_and_linked_and_only_the_first_states_the_origin() -> None:
    end, book, dictionary = sealer(), StatementBook(), Dictionary()
    first, second, third = (end.seal(draft(), book=book, dictionary=dictionary) for _ in range(3))
    headers = [opened(batch.payload).header for batch in (first, second, third)]
    assert [header.seq for header in headers] == [1, 2, 3]
    assert [header.prev for header in headers] == [None, first.digest, second.digest]
    assert [header.origin for header in headers] == [CHAIN.origin, None, None]
    assert opened(second.payload).head_hash == second.digest


def test_a_chain_goes_on_where_the_spool_left_it() -> None:
    chain = replace(CHAIN, last_seq=41, last_digest=b"d" * 32)
    batch = sealer(chain).seal(draft(), book=StatementBook(), dictionary=Dictionary())
    header = opened(batch.payload).header
    assert (header.seq, header.prev, header.origin) == (42, b"d" * 32, None)


def test_the_same_input_gives_the_same_bytes() -> None:
    one, other = (
        sealer().seal(draft(sections={Section.SIGNALS: b"x"}), book=StatementBook(), dictionary=Dictionary())
        for _ in range(2)
    )
    assert one.payload == other.payload


def test_every_section_has_its_own_salt_and_the_header_commits_to_both() -> None:
    content = {Section.SIGNALS: b"signals", Section.FIXES: b"fixes"}
    batch = opened(
        sealer().seal(draft(sections=content), book=StatementBook(), dictionary=Dictionary()).payload
    )
    salts = {bytes(stored[:16]) for stored in batch.sections.values()}
    assert len(salts) == 2
    assert {section: batch.data(section) for section in batch.sections} == content
    for section, stored in batch.sections.items():
        assert batch.header.sections[section].digest == hashlib.sha256(stored).digest()


@pytest.mark.parametrize(
    ("boot", "seq", "section"), [(b"B" * 16, 1, 1), (b"b" * 16, 2, 1), (b"b" * 16, 1, 2)]
)
def test_a_salt_differs_by_boot_seq_and_section(boot: bytes, seq: int, section: int) -> None:
    assert derive_salt(b"s" * 32, boot, seq, section) != derive_salt(b"s" * 32, b"b" * 16, 1, 1)
    assert derive_salt(b"s" * 32, boot, seq, section) != derive_salt(b"S" * 32, boot, seq, section)


def test_open_gaps_and_losses_are_declared_once() -> None:
    end, book, dictionary = (
        sealer(replace(CHAIN, last_seq=9, last_digest=b"d" * 32)),
        StatementBook(),
        Dictionary(),
    )
    gap = Gap(boot=BootId(b"o" * 16), start_us=1, end_us=2, cause=GapCause.POWER)
    book.add_gap(gap)
    book.add_losses(CHAIN.chain, [(3, 5)], LossCause.QUOTA)
    first, second = (end.seal(draft(), book=book, dictionary=dictionary) for _ in range(2))
    header = opened(first.payload).header
    assert header.gaps == (gap,)
    assert header.losses == (Loss(first=3, last=5, cause=LossCause.QUOTA),)
    assert first.closes_boots == (gap.boot,)
    assert {statement.declared_in for statement in first.declares} == {first.key}
    assert opened(second.payload).header.losses == ()


def test_more_losses_than_a_header_holds_wait_for_the_next_one() -> None:
    end, book, dictionary = (
        sealer(replace(CHAIN, last_seq=500, last_digest=b"d" * 32)),
        StatementBook(),
        Dictionary(),
    )
    book.add_losses(CHAIN.chain, [(seq, seq) for seq in range(1, 2 * LOSSES_MAX + 20, 2)], LossCause.QUOTA)
    declared = []
    for _ in range(2):
        batch = end.seal(draft(), book=book, dictionary=dictionary)
        declared.append([loss.first for loss in opened(batch.payload).header.losses])
    assert list(map(len, declared)) == [LOSSES_MAX, 10]
    assert sorted(seq for seqs in declared for seq in seqs) == list(range(1, 2 * LOSSES_MAX + 20, 2))


def test_a_loss_of_an_older_chain_is_declared_under_a_key_of_its_own() -> None:
    book = StatementBook()
    book.add_losses(ChainId(b"o" * 16), [(7, 8)], LossCause.DAMAGED)
    batch = sealer().seal(draft(), book=book, dictionary=Dictionary())
    header = opened(batch.payload).header
    assert header.losses == ()
    assert header.ended_losses == (
        EndedLoss(chain=ChainId(b"o" * 16), first=7, last=8, cause=LossCause.DAMAGED),
    )


def test_more_losses_of_older_chains_than_a_header_holds_wait_for_the_next() -> None:
    book, dictionary, end = StatementBook(), Dictionary(), sealer()
    book.add_losses(
        ChainId(b"o" * 16), [(seq, seq) for seq in range(1, 2 * ENDED_LOSSES_MAX, 2)], LossCause.QUOTA
    )
    moved = BatchKey(ChainId(b"o" * 16), 500)
    first = end.seal(draft(replaces=moved), book=book, dictionary=dictionary)
    second = end.seal(draft(), book=book, dictionary=dictionary)
    told = [opened(batch.payload).header.ended_losses for batch in (first, second)]
    assert list(map(len, told)) == [ENDED_LOSSES_MAX, 1]
    assert told[0][0] == EndedLoss(chain=moved.chain, first=500, last=500, cause=LossCause.RESEALED)


def test_touching_losses_are_merged() -> None:
    book = StatementBook()
    book.add_losses(CHAIN.chain, [(3, 3)], LossCause.QUOTA)
    [grown] = book.add_losses(CHAIN.chain, [(4, 6)], LossCause.QUOTA)
    [other] = book.add_losses(CHAIN.chain, [(7, 7)], LossCause.REFUSED)
    assert (grown.number, other.number) == (1, 2)
    losses = book.draw(CHAIN.chain).losses
    assert [(loss.first, loss.last, loss.cause) for loss in losses] == [
        (3, 6, LossCause.QUOTA),
        (7, 7, LossCause.REFUSED),
    ]


def test_a_statement_whose_declaring_batch_is_gone_is_made_again() -> None:
    book = StatementBook()
    book.add_losses(CHAIN.chain, [(3, 3)], LossCause.QUOTA)
    key = BatchKey(CHAIN.chain, 9)
    book.mark_declared(book.draw(CHAIN.chain).statements, key)
    assert not book.has_open
    assert book.unsaid(CHAIN.chain, [(1, 5)]) == ((1, 2), (4, 5))
    [again] = book.reopen([key])
    assert again.declared_in is None
    assert book.has_open


def test_a_statement_under_a_receipt_is_forgotten() -> None:
    book = StatementBook()
    book.add_losses(CHAIN.chain, [(3, 3)], LossCause.QUOTA)
    key = BatchKey(CHAIN.chain, 9)
    book.mark_declared(book.draw(CHAIN.chain).statements, key)
    book.forget([key])
    assert book.reopen([key]) == ()
    assert book.unsaid(CHAIN.chain, [(3, 3)]) == ((3, 3),)


def definitions() -> Dictionary:
    dictionary = Dictionary()
    for group in TABLE.groups:
        dictionary.number(group.definition(0, "can0", TABLE.dbc_hash, {}))
    return dictionary


def test_a_batch_announces_the_groups_that_it_uses_even_without_room() -> None:
    batch = sealer().seal(
        draft(gids=frozenset({1}), room_bytes=0), book=StatementBook(), dictionary=definitions()
    )
    assert [group.gid for group in facts_of(batch.payload).dictionary] == [1]
    assert [group.gid for group in batch.groups] == [1]
    assert batch.rank == SpoolClass.FACTS


def test_groups_are_announced_once_and_again_after_a_reset_but_written_to_disk_once() -> None:
    end, book, dictionary = sealer(), StatementBook(), definitions()
    first, second = (end.seal(draft(), book=book, dictionary=dictionary) for _ in range(2))
    dictionary.announce_again()
    third = end.seal(draft(), book=book, dictionary=dictionary)
    announced = [
        [group.gid for group in facts_of(batch.payload).dictionary] for batch in (first, second, third)
    ]
    assert announced == [[0, 1], [], [0, 1]]
    assert [len(batch.groups) for batch in (first, second, third)] == [2, 0, 0]


def test_a_group_keeps_its_number_when_the_dictionary_is_loaded_again() -> None:
    dictionary = definitions()
    known = dictionary.draw(required=(), room_bytes=100_000)
    loaded = Dictionary(known)
    again = loaded.number(TABLE.groups[1].definition(0, "can0", TABLE.dbc_hash, {}))
    other_bus = loaded.number(TABLE.groups[1].definition(0, "can1", TABLE.dbc_hash, {}))
    assert (again.gid, other_bus.gid) == (1, 2)


def test_frames_that_do_not_add_up_are_our_own_mistake() -> None:
    with pytest.raises(AssertionError, match="every frame"):
        sealer().seal(draft(counts=Counts(frames_received=1)), book=StatementBook(), dictionary=Dictionary())
