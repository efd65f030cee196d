"""A group of messages is taken in: what is stored, what is answered, what is counted."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import func, select, update

from backend.domain.ingest import Verdict
from backend.domain.integrity import IntegrityKind
from backend.store.batches import BATCH, BATCH_KEY, BATCH_SECTION, load_sections
from backend.store.chains import CHAIN
from backend.store.integrity_events import page_of_events
from backend.store.quarantine import counters, list_refused
from backend.usecases.find_holes import find_holes
from backend.usecases.ingest import Inbound
from backend.usecases.revoke_device import revoke_device
from protocol import codec, limits
from protocol.batch import (
    ChainHead,
    EndedLoss,
    Gap,
    GapCause,
    Loss,
    LossCause,
    Origin,
    OriginKind,
    Section,
    assemble,
    disassemble,
    encode_header,
)
from protocol.envelope import Kind, sign1
from protocol.ids import BootId, ChainId
from protocol.receipts import Receipt, RefusalCode, Stream
from protocol.signed_time import TimeRequest, open_time_token, sign_time_request
from protocol.standing import StandingRequest, sign_standing_request
from protocol.topics import Up, up_topic
from tests.builders.ingest import ORG, OTHER_ORG, START_US, Backend, Box, MadeBatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def box() -> Box:
    return Box(seed=1)


@pytest.fixture
def backend(tmp_path: Path, box: Box) -> Iterator[Backend]:
    with Backend(tmp_path, boxes=[box, Box(seed=2)], foreign_boxes=[Box(seed=3)]) as made:
        yield made


def rows(backend: Backend, table: Any) -> int:
    with backend.database.reading() as session:
        return int(session.connection().execute(select(func.count()).select_from(table)).scalar_one())


def events(backend: Backend, box: Box) -> list[tuple[IntegrityKind, int | None]]:
    with backend.database.reading() as session:
        found = page_of_events(session, org_id=ORG, device_id=box.device, after=None, limit=1000)
    return [(event.kind, event.seq) for event in found]


def counted(backend: Backend, device: str = "", org: str = "") -> dict[str, int]:
    with backend.database.reading() as session:
        return dict(counters(session, org_id=org, device_id=device))


def only_receipt(backend: Backend, *batches: MadeBatch | bytes) -> Any:
    (receipt,) = backend.receipts(backend.take(*batches))
    return receipt


def test_a_chain_in_order_is_stored_and_receipted_up_to_its_end(backend: Backend, box: Box) -> None:
    batches = box.chain().many(3)
    receipt = only_receipt(backend, *batches)
    assert (receipt.device, receipt.stream, receipt.chain) == (
        box.device,
        Stream.BATCH,
        batches[0].header.chain,
    )
    assert (receipt.upto, receipt.hash) == (3, batches[2].hash)
    assert (receipt.have, receipt.refused, receipt.want) == ((), (), ())
    assert rows(backend, BATCH) == rows(backend, BATCH_KEY) == 3


def test_header_and_sections_are_kept_byte_for_byte(backend: Backend, box: Box) -> None:
    batch = box.chain().next()
    backend.take(batch)
    with backend.database.reading() as session:
        header = session.connection().execute(select(BATCH.c.header)).scalar_one()
        sections = load_sections(session, [(1, 1)])
    assert header == batch.sign1
    assert sections == {(1, 1): batch.sections}
    assert assemble(header, sections[1, 1]) == batch.payload


def test_a_batch_sent_again_changes_nothing_and_gets_its_receipt_again(backend: Backend, box: Box) -> None:
    batch = box.chain().next()
    first = only_receipt(backend, batch)
    taken = backend.take(batch, batch)
    (again,) = backend.receipts(taken)
    assert taken.outcomes == {Verdict.DUPLICATE: 2}
    assert replace(again, issued_us=0) == replace(first, issued_us=0)
    assert rows(backend, BATCH) == 1


def test_batches_in_any_order_end_in_the_same_receipt(backend: Backend, box: Box) -> None:
    batches = box.chain().many(5)
    receipt = only_receipt(backend, batches[4])
    assert (receipt.upto, receipt.hash) == (0, None)
    assert [(have.first, have.last, have.hash) for have in receipt.have] == [(5, 5, batches[4].hash)]
    assert receipt.want == ((1, 4),)
    receipt = only_receipt(backend, batches[1], batches[0])
    assert (receipt.upto, receipt.hash, receipt.want) == (2, batches[1].hash, ((3, 4),))
    receipt = only_receipt(backend, batches[2], batches[3])
    assert (receipt.upto, receipt.hash, receipt.have, receipt.want) == (5, batches[4].hash, (), ())


def test_the_receipt_names_its_range_however_many_ranges_the_chain_has(backend: Backend, box: Box) -> None:
    batches = box.chain().many(100)
    backend.take(*batches[1::2])
    receipt = only_receipt(backend, batches[99])
    assert len(receipt.have) == limits.RECEIPT_HAVE_MAX
    assert receipt.have[-1].first == 100
    assert len(receipt.want) == limits.RECEIPT_WANT_MAX


def test_a_declared_loss_counts_as_filled(backend: Backend, box: Box) -> None:
    chain = box.chain()
    batches = chain.many(4)
    loss = Loss(first=2, last=3, cause=LossCause.QUOTA)
    fifth = chain.next(losses=(loss,))
    receipt = only_receipt(backend, batches[0], batches[3], fifth)
    assert (receipt.upto, receipt.hash, receipt.want) == (5, fifth.hash, ())
    assert (IntegrityKind.LOSS_DECLARED, 5) in events(backend, box)


def test_what_was_declared_lost_is_still_welcome_when_the_batch_above_names_it(
    backend: Backend, box: Box
) -> None:
    chain = box.chain()
    batches = chain.many(3)
    fourth = chain.next(losses=(Loss(first=2, last=3, cause=LossCause.DAMAGED),))
    backend.take(batches[0], fourth)
    assert backend.take(batches[1]).outcomes == {Verdict.REFUSE: 1}, "nothing proves yet that it is this one"
    assert backend.take(batches[2]).outcomes == {Verdict.STORE: 1}
    assert backend.take(batches[1]).outcomes == {Verdict.STORE: 1}
    assert only_receipt(backend, fourth).upto == 4


def test_another_life_of_the_box_cannot_fill_what_was_declared_lost(backend: Backend, box: Box) -> None:
    chain = box.chain()
    first = chain.next()
    image = chain.twin()
    chain.many(2)
    fourth = chain.next(losses=(Loss(first=2, last=3, cause=LossCause.QUOTA),))
    backend.take(first, fourth)
    receipt = only_receipt(backend, image.next(speeds=[7]))
    assert receipt.refused == ((2, RefusalCode.CONFLICT),)
    assert IntegrityKind.CONFLICT in {kind for kind, _ in events(backend, box)}


def test_losses_of_an_ended_chain_are_declared_in_a_later_one(backend: Backend, box: Box) -> None:
    ended = box.chain(seed=1)
    first, _, third, _ = ended.many(4)
    head = ChainHead(chain=ended.chain, seq=4, hash=b"h" * 32)
    later = box.chain(seed=2, origin=Origin(kind=OriginKind.CONFLICT, last_head=head))
    lost = (
        EndedLoss(chain=ended.chain, first=2, last=2, cause=LossCause.QUOTA),
        EndedLoss(chain=ended.chain, first=4, last=4, cause=LossCause.RESEALED),
    )
    backend.take(first, third)
    backend.take(later.next(ended_losses=lost))
    receipt = only_receipt(backend, third)
    assert (receipt.upto, receipt.want) == (1, ()), "a box with an older image may still hold number 2"
    assert [(have.first, have.last) for have in receipt.have] == [(3, 3)]
    assert events(backend, box).count((IntegrityKind.LOSS_DECLARED, None)) == 2
    backend.now_us += limits.INTEGRITY_HOLE_GRACE_US + 1
    assert find_holes(backend.database, now_us=backend.now_us) == 0


def test_a_batch_that_declares_more_lost_than_is_noted_is_left_with_the_box_and_counted(
    backend: Backend, box: Box
) -> None:
    ended = box.chain(seed=1)
    backend.take(ended.next())
    full = [[2 * at + 2, 2 * at + 2] for at in range(limits.CHAIN_LOST_RANGES_MAX)]
    with backend.database.writing() as session, session.begin():
        session.connection().execute(update(CHAIN).values(lost_later=json.dumps(full)))
    lost = EndedLoss(chain=ended.chain, first=full[-1][0] + 9, last=full[-1][0] + 9, cause=LossCause.RESEALED)
    later = box.chain(seed=2, origin=Origin(kind=OriginKind.CONFLICT, last_head=None))
    receipt = only_receipt(backend, later.next(ended_losses=(lost,)))
    assert (receipt.upto, receipt.have, receipt.refused) == (0, (), ())
    assert rows(backend, BATCH) == 1
    assert (IntegrityKind.LOSS_DECLARED, None) not in events(backend, box)
    assert counted(backend, box.device, ORG) == {"TOO_MANY_RANGES": 1}


def ask(backend: Backend, box: Box, *chains: tuple[ChainId, int]) -> list[Receipt]:
    request = StandingRequest(device=box.device, nonce=b"q" * 16, chains=chains)
    payload = sign_standing_request(request, box.signer)
    return backend.receipts(
        backend.take_messages(Inbound(topic=up_topic(box.device, Up.REQUEST), payload=payload))
    )


def test_a_box_that_asks_is_told_what_of_each_chain_is_missing(backend: Backend, box: Box) -> None:
    chain, unheard = box.chain(seed=1), box.chain(seed=2)
    first, _, third, _ = chain.many(4)
    backend.take(first, third)
    known, unknown = ask(backend, box, (chain.chain, 6), (unheard.chain, 3))
    assert (known.upto, known.hash, known.want) == (1, first.hash, ((2, 2), (4, 6)))
    assert [(have.first, have.last) for have in known.have] == [(3, 3)]
    assert (unknown.chain, unknown.upto, unknown.want) == (unheard.chain, 0, ((1, 3),))
    assert known.answers == unknown.answers == b"q" * 16
    assert only_receipt(backend, third).answers is None
    assert rows(backend, CHAIN) == 1, "asking about a chain does not make one"


def test_a_question_in_the_same_group_is_answered_with_what_the_group_brought(
    backend: Backend, box: Box
) -> None:
    first = box.chain().next()
    request = StandingRequest(device=box.device, nonce=b"q" * 16, chains=((first.header.chain, 1),))
    topic = up_topic(box.device, Up.REQUEST)
    taken = backend.take_messages(
        Inbound(topic=topic, payload=sign_standing_request(request, box.signer)),
        Inbound(topic=up_topic(box.device, Up.BATCH), payload=first.payload),
    )
    (receipt,) = backend.receipts(taken)
    assert (receipt.upto, receipt.want, receipt.answers) == (1, (), b"q" * 16)


def test_a_question_about_another_box_is_counted_and_not_answered(backend: Backend, box: Box) -> None:
    other = Box(seed=2)
    request = StandingRequest(device=box.device, nonce=bytes(16), chains=())
    question = sign_standing_request(request, box.signer)
    taken = backend.take_messages(Inbound(topic=up_topic(other.device, Up.REQUEST), payload=question))
    assert taken.answers == ()
    assert counted(backend, other.device, ORG) == {"UNKNOWN_KEY": 1}


def test_a_loss_at_the_end_is_receipted_up_to_the_last_batch_that_has_a_hash(
    backend: Backend, box: Box
) -> None:
    chain = box.chain()
    first, *_ = chain.many(4)
    sixth_after_hole = (chain.next(), chain.next(losses=(Loss(first=2, last=4, cause=LossCause.QUOTA),)))[1]
    receipt = only_receipt(backend, first, sixth_after_hole)
    assert (receipt.upto, receipt.hash) == (1, first.hash)
    assert (receipt.have[0].first, receipt.want) == (6, ((5, 5),))


def test_other_bytes_under_a_stored_number_are_a_conflict_and_kept_apart(backend: Backend, box: Box) -> None:
    chain = box.chain()
    batches = chain.many(2)
    old_image = box.chain()
    old_image.next()
    rewritten = old_image.next(speeds=[7, 7, 7])
    backend.take(*batches)
    receipt = only_receipt(backend, rewritten)
    assert receipt.refused == ((2, RefusalCode.CONFLICT),)
    assert (receipt.upto, receipt.hash) == (2, batches[1].hash)
    with backend.database.reading() as session:
        (kept,) = list_refused(session, org_id=ORG, device_id=box.device)
    assert (kept.payload, kept.seq, kept.code) == (rewritten.payload, 2, "CONFLICT")
    backend.take(rewritten)
    with backend.database.reading() as session:
        assert len(list_refused(session, org_id=ORG, device_id=box.device)) == 1
    assert events(backend, box).count((IntegrityKind.CONFLICT, 2)) == 1


def test_a_batch_that_does_not_follow_the_stored_one_is_a_fork(backend: Backend, box: Box) -> None:
    chain = box.chain()
    backend.take(*chain.many(2))
    stray = chain.next(prev=bytes(32))
    receipt = only_receipt(backend, stray)
    assert (receipt.upto, receipt.refused, receipt.want) == (2, ((3, RefusalCode.FORK),), ())
    assert (IntegrityKind.FORK, 3) in events(backend, box)


def test_a_batch_that_the_stored_one_above_does_not_follow_is_a_fork_too(backend: Backend, box: Box) -> None:
    chain = box.chain()
    first, second, third = chain.many(3)
    backend.take(first, third)
    other = box.chain()
    other.next()
    forged = other.next(speeds=[5])
    receipt = only_receipt(backend, forged)
    assert receipt.refused == ((2, RefusalCode.FORK),)
    assert only_receipt(backend, second).upto == 3, "the true one still fits"


def test_a_refused_batch_blocks_nothing_and_is_let_go_once_declared_lost(backend: Backend, box: Box) -> None:
    chain = box.chain()
    first = chain.next()
    good = chain.twin()
    backend.take(first)
    stray = chain.next(prev=bytes(32))
    good.seq, good.prev, good.mono_us = chain.seq, chain.prev, chain.mono_us
    third = good.next(losses=(Loss(first=2, last=2, cause=LossCause.REFUSED),))
    assert only_receipt(backend, stray).refused == ((2, RefusalCode.FORK),)
    receipt = only_receipt(backend, third)
    assert (receipt.upto, receipt.hash, receipt.refused) == (3, third.hash, ())


@pytest.mark.parametrize(
    "origin",
    [
        Origin(
            kind=OriginKind.FIRST, last_head=ChainHead(chain=ChainId(b"\x09" * 16), seq=4, hash=bytes(32))
        ),
        Origin(
            kind=OriginKind.STORAGE_LOST,
            last_head=ChainHead(chain=ChainId(b"\x01" * 16), seq=4, hash=bytes(32)),
        ),
    ],
    ids=["first-with-a-chain-before", "follows-itself"],
)
def test_an_origin_that_cannot_be_is_refused(backend: Backend, box: Box, origin: Origin) -> None:
    batch = box.chain(origin=origin).next()
    assert only_receipt(backend, batch).refused == ((1, RefusalCode.BAD_ORIGIN),)
    assert rows(backend, BATCH) == 0


def test_a_chain_is_opened_by_exactly_one_event_whenever_its_first_batch_comes(
    backend: Backend, box: Box
) -> None:
    batches = box.chain().many(3)
    backend.take(batches[2])
    assert events(backend, box) == []
    backend.take(batches[0], batches[1])
    backend.take(batches[0])
    assert events(backend, box) == [(IntegrityKind.CHAIN_OPENED, 1)]


def test_a_second_first_chain_is_doubted(backend: Backend, box: Box) -> None:
    backend.take(box.chain(seed=1).next(), box.chain(seed=2).next())
    assert (IntegrityKind.ORIGIN_DOUBTFUL, 1) in events(backend, box)


def test_gaps_are_events_with_their_cause(backend: Backend, box: Box) -> None:
    gap = Gap(boot=BootId(bytes(16)), start_us=5, end_us=None, cause=GapCause.POWER)
    backend.take(box.chain().next(gaps=(gap,)))
    assert (IntegrityKind.GAP_DECLARED, 1) in events(backend, box)


@pytest.mark.parametrize("year_us", [0, 2_145_916_800_000_000], ids=["1970", "2038"])
def test_a_clock_of_1970_or_2038_is_stored_untimed_and_named_once_a_boot(
    backend: Backend, box: Box, year_us: int
) -> None:
    chain = box.chain(utc_at_mono_0_us=year_us)
    receipt = only_receipt(backend, *chain.many(3))
    assert receipt.upto == 3
    assert events(backend, box).count((IntegrityKind.CLOCK_SUSPICIOUS, 1)) == 1
    with backend.database.reading() as session:
        assert set(session.connection().execute(select(BATCH.c.utc_start_us)).scalars()) == {None}


def test_a_withheld_section_may_come_later(backend: Backend, box: Box) -> None:
    batch = box.chain().next()
    backend.take(batch.without(Section.SIGNALS))
    taken = backend.take(batch)
    assert taken.outcomes == {Verdict.RELEASE: 1}
    with backend.database.reading() as session:
        assert load_sections(session, [(1, 1)]) == {(1, 1): batch.sections}
    assert backend.take(batch).outcomes == {Verdict.DUPLICATE: 1}
    assert backend.take(batch.without(Section.SIGNALS)).outcomes == {Verdict.DUPLICATE: 1}


def flipped(data: bytes, at: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]


def test_wrong_bytes_are_counted_and_neither_stored_nor_answered(backend: Backend, box: Box) -> None:
    chain = box.chain()
    good = chain.next()
    stranger = Box(seed=99)
    wrong_key = box.chain(signer=stranger.signer).next()
    swapped = assemble(good.sign1, {**good.sections, 2: good.sections[1]})
    cases = {
        "UNKNOWN_KEY": wrong_key.payload,
        "BAD_ENCODING": good.payload[:-3],
        "SECTION_HASH": flipped(good.payload, len(good.payload) - 1),
        "TOO_LARGE": bytes(limits.PAYLOAD_BYTES_MAX + 1),
    }
    taken = backend.take(*cases.values(), swapped, device=box.device)
    assert taken.answers == ()
    assert counted(backend, box.device, ORG) == dict.fromkeys(cases, 1) | {"SECTION_HASH": 2}
    assert rows(backend, BATCH) == 0
    assert only_receipt(backend, good).upto == 1, "nothing else is disturbed"


def test_every_flipped_byte_of_a_header_is_refused_without_an_answer(backend: Backend, box: Box) -> None:
    good = box.chain().next()
    payloads = [flipped(good.payload, at) for at in range(0, len(good.sign1) + 8, 5)]
    for start in range(0, len(payloads), 100):
        taken = backend.take(*payloads[start : start + 100], device=box.device)
        assert taken.answers == ()
    assert rows(backend, BATCH) == 0


def test_a_batch_on_another_boxes_topic_is_refused(backend: Backend, box: Box) -> None:
    other = Box(seed=2)
    taken = backend.take(box.chain().next(), device=other.device)
    assert taken.answers == ()
    assert counted(backend, other.device, ORG) == {"UNKNOWN_KEY": 1}


def test_a_key_that_both_boxes_have_does_not_help_a_batch_across(backend: Backend, box: Box) -> None:
    other, shared = Box(seed=2), Box(seed=50)
    backend.add_key(other.device, shared)
    batch = box.chain(signer=shared.signer).next()
    assert backend.take(batch, device=other.device).answers == ()
    assert counted(backend, other.device, ORG) == {"WRONG_DEVICE": 1}


def test_an_unknown_box_is_counted_under_no_name(backend: Backend) -> None:
    stranger = Box(seed=99)
    assert backend.take(stranger.chain().next()).answers == ()
    assert counted(backend) == {"UNKNOWN_DEVICE": 1}


def test_a_revoked_box_is_counted_and_gets_no_answer(backend: Backend, box: Box) -> None:
    chain = box.chain()
    backend.take(chain.next())
    with backend.database.writing() as session:
        revoke_device(session, org_id=ORG, device_id=box.device, now_us=backend.now_us)
    assert backend.take(chain.next()).answers == ()
    assert counted(backend, box.device, ORG) == {"REVOKED_DEVICE": 1}
    assert rows(backend, BATCH) == 1


def test_a_key_out_of_its_time_does_not_sign(backend: Backend, box: Box) -> None:
    old, coming = Box(seed=60), Box(seed=61)
    backend.add_key(box.device, old, valid_to_us=START_US)
    backend.add_key(box.device, coming, valid_from_us=START_US + 3_600_000_000)
    for signer in (old.signer, coming.signer):
        assert backend.take(box.chain(signer=signer).next()).answers == ()
    assert counted(backend, box.device, ORG) == {"UNKNOWN_KEY": 2}


def test_a_rotated_key_goes_on_with_the_chain(backend: Backend, box: Box) -> None:
    successor = Box(seed=62)
    backend.add_key(box.device, successor)
    chain = box.chain()
    first = chain.next()
    chain.signer = successor.signer
    assert only_receipt(backend, first, chain.next()).upto == 2


def test_an_unknown_version_is_refused_by_name_and_kept(backend: Backend, box: Box) -> None:
    batch = box.chain().next()
    fields = codec.decode(encode_header(batch.header), max_bytes=10_000)
    assert isinstance(fields, dict)
    later = sign1(Kind.BATCH, codec.encode(fields | {1: 2}), box.signer)
    (receipt,) = backend.receipts(backend.take(assemble(later, batch.sections), device=box.device))
    assert (receipt.upto, receipt.refused) == (0, ((1, RefusalCode.UNSUPPORTED_VERSION),))
    with backend.database.reading() as session:
        (kept,) = list_refused(session, org_id=ORG, device_id=box.device)
    assert disassemble(kept.payload)[0] == later


def test_topics_that_are_not_ours_are_counted(backend: Backend, box: Box) -> None:
    topics = ["", "tbox/1/x/up/batch", f"tbox/2/{box.device}/up/batch", f"tbox/1/{box.device}/down/receipt"]
    taken = backend.take_messages(*(Inbound(topic=topic, payload=b"x") for topic in topics))
    assert taken.answers == ()
    assert counted(backend) == {"BAD_TOPIC": 4}


def test_answers_of_a_microcontroller_nobody_registered_are_counted_and_a_status_is_only_a_hint(
    backend: Backend, box: Box
) -> None:
    kinds = [Up.DISPOSITION, Up.CHALLENGE, Up.STATUS]
    taken = backend.take_messages(*(Inbound(topic=up_topic(box.device, kind), payload=b"") for kind in kinds))
    assert taken.outcomes == {"MCU_UNREGISTERED": 2, "status": 1}


def test_the_time_is_told_for_a_signed_question_and_bound_to_its_nonce(backend: Backend, box: Box) -> None:
    question = sign_time_request(TimeRequest(nonce=b"n" * 16, device=box.device), box.signer)
    topic = up_topic(box.device, Up.REQUEST)
    taken = backend.take_messages(Inbound(topic=topic, payload=question), Inbound(topic=topic, payload=b"?"))
    (answer,) = taken.answers
    keys = {backend.signer.kid: backend.signer.public_key}
    assert open_time_token(answer.payload, keys.get, nonce=b"n" * 16).utc_us == backend.now_us
    assert counted(backend, box.device, ORG) == {"BAD_ENVELOPE": 1}


def test_a_question_for_the_time_of_another_box_is_not_answered(backend: Backend, box: Box) -> None:
    other = Box(seed=2)
    question = sign_time_request(TimeRequest(nonce=bytes(16), device=box.device), box.signer)
    taken = backend.take_messages(Inbound(topic=up_topic(other.device, Up.REQUEST), payload=question))
    assert taken.answers == ()


def test_one_bad_message_spoils_no_other_of_its_group(backend: Backend, box: Box) -> None:
    other = Box(seed=2)
    chain = box.chain()
    first, second = chain.many(2)
    good = other.chain().next()
    taken = backend.take_messages(
        Inbound(topic=up_topic(box.device, Up.BATCH), payload=first.payload),
        Inbound(topic="nonsense", payload=b"\xff"),
        Inbound(topic=up_topic(box.device, Up.BATCH), payload=b"\xff" * 100),
        Inbound(topic=up_topic(other.device, Up.BATCH), payload=good.payload),
        Inbound(topic=up_topic(box.device, Up.BATCH), payload=second.payload),
    )
    assert sorted(receipt.upto for receipt in backend.receipts(taken)) == [1, 2]


def test_numbers_at_the_edge_of_what_a_header_can_say_are_stored(backend: Backend, box: Box) -> None:
    chain = box.chain()
    chain.seq, chain.prev = limits.SEQ_MAX - 1, bytes(32)
    edge = chain.next(mono_start_us=0, mono_end_us=limits.TIME_US_MAX)
    receipt = only_receipt(backend, edge)
    assert (receipt.upto, receipt.have[0].last) == (0, limits.SEQ_MAX)


def test_a_box_cannot_open_chains_without_end(backend: Backend, box: Box) -> None:
    with backend.database.writing() as session, session.begin():
        row = {"org_id": ORG, "device_id": box.device, "stored": "[]", "lost": "[]", "refused": "[]"}
        row |= {"span_us_max": 0, "first_received_us": 0, "last_received_us": 0}
        session.connection().execute(
            CHAIN.insert(),
            [row | {"chain": number.to_bytes(16, "big")} for number in range(limits.CHAINS_MAX)],
        )
    assert backend.take(box.chain().next()).answers == ()
    assert counted(backend, box.device, ORG) == {"TOO_MANY_CHAINS": 1}


def test_the_rows_of_a_box_belong_to_its_organisation(backend: Backend, box: Box) -> None:
    foreign = Box(seed=3)
    backend.take(box.chain().next(), foreign.chain().next())
    with backend.database.reading() as session:
        owners = session.connection().execute(select(BATCH.c.org_id).order_by(BATCH.c.chain_ref)).scalars()
        assert sorted(owners) == [ORG, OTHER_ORG]


def test_quarantine_is_bounded_and_what_it_leaves_out_is_counted(backend: Backend, box: Box) -> None:
    backend.take(box.chain().next())
    forgeries = [box.chain().next(speeds=[speed]) for speed in range(limits.QUARANTINE_ITEMS_MAX + 3)]
    for start in range(0, len(forgeries), 100):
        backend.take(*forgeries[start : start + 100])
    with backend.database.reading() as session:
        kept = list_refused(session, org_id=ORG, device_id=box.device)
    assert len(kept) == limits.QUARANTINE_ITEMS_MAX
    assert counted(backend, box.device, ORG) == {"QUARANTINE_FULL": 3}


def test_sections_are_one_row_each(backend: Backend, box: Box) -> None:
    backend.take(box.chain().next())
    assert rows(backend, BATCH_SECTION) == 2


def test_a_hole_becomes_an_event_after_a_quarter_of_an_hour_and_another_when_it_is_filled(
    backend: Backend, box: Box
) -> None:
    batches = box.chain().many(5)
    backend.take(batches[0], batches[4])
    assert find_holes(backend.database, now_us=backend.now_us) == 0
    backend.now_us += limits.INTEGRITY_HOLE_GRACE_US + 1
    assert find_holes(backend.database, now_us=backend.now_us) == 1
    assert find_holes(backend.database, now_us=backend.now_us) == 0
    assert (IntegrityKind.HOLE_UNDECLARED, 2) in events(backend, box)
    backend.take(batches[1], batches[2])
    assert (IntegrityKind.HOLE_FILLED, 2) not in events(backend, box)
    backend.take(batches[3])
    assert (IntegrityKind.HOLE_FILLED, 2) in events(backend, box)


def test_a_chain_whose_beginning_is_missing_has_a_hole_too(backend: Backend, box: Box) -> None:
    backend.take(box.chain().many(3)[2])
    backend.now_us += limits.INTEGRITY_HOLE_GRACE_US + 1
    assert find_holes(backend.database, now_us=backend.now_us) == 1


def test_a_declared_loss_is_no_hole(backend: Backend, box: Box) -> None:
    chain = box.chain()
    first, _ = chain.many(2)
    backend.take(first, chain.next(losses=(Loss(first=2, last=2, cause=LossCause.QUOTA),)))
    backend.now_us += limits.INTEGRITY_HOLE_GRACE_US + 1
    assert find_holes(backend.database, now_us=backend.now_us) == 0
