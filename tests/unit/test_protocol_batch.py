"""A batch on the wire: withheld sections, damage told from refusal, and room for what newer writers add."""

import hashlib
from dataclasses import replace
from typing import Any

import pytest

from protocol import codec
from protocol.batch import (
    Counts,
    DropCause,
    EndedLoss,
    Gap,
    GapCause,
    Loss,
    OriginKind,
    Section,
    SectionState,
    SignedRefusalError,
    assemble,
    decode_header,
    disassemble,
    encode_header,
    head_hash,
    open_batch,
    salted,
    section_ref,
)
from protocol.clock import ClockClass, utc_of_sample
from protocol.envelope import Kind, sign1
from protocol.errors import ProtocolError, Reject
from protocol.ids import BootId, ChainId, device_id
from protocol.limits import (
    ENDED_LOSSES_MAX,
    GAPS_MAX,
    HEADER_BYTES_MAX,
    LOSSES_MAX,
    PAYLOAD_BYTES_MAX,
    SEQ_MAX,
    TIME_US_MAX,
)
from protocol.vectors.keys import published_lookup
from tests.builders.protocol import a_batch, a_header, a_signer

KEYS = published_lookup("device-1")
DEVICE = device_id(a_signer().public_key)


def test_a_whole_batch_opens_with_all_its_sections() -> None:
    opened = open_batch(a_batch({Section.FACTS: b"facts", Section.FIXES: b"fixes"}), KEYS, device=DEVICE)
    assert opened.states == {Section.FACTS: SectionState.PRESENT, Section.FIXES: SectionState.PRESENT}
    assert (opened.data(Section.FACTS), opened.data(Section.FIXES)) == (b"facts", b"fixes")
    assert opened.sections[Section.FACTS] == bytes(16) + b"facts"
    assert opened.head_hash == hashlib.sha256(opened.sign1.raw).digest() == head_hash(opened.sign1.raw)


def test_a_section_left_out_reads_withheld_and_the_head_stays_the_same() -> None:
    whole = a_batch({Section.FACTS: b"facts", Section.FIXES: b"fixes"})
    header, sections = disassemble(whole)
    del sections[Section.FIXES]
    opened = open_batch(assemble(header, sections), KEYS, device=DEVICE)
    assert opened.states == {Section.FACTS: SectionState.PRESENT, Section.FIXES: SectionState.WITHHELD}
    assert opened.data(Section.FIXES) is None
    assert opened.data(Section.WINDOW) is None
    assert opened.head_hash == open_batch(whole, KEYS, device=DEVICE).head_hash


def test_a_batch_of_any_device_opens_when_nobody_was_named() -> None:
    assert open_batch(a_batch(), KEYS, device=None).header.device == DEVICE


def test_an_unknown_version_is_a_signed_refusal_that_still_names_the_batch() -> None:
    header = codec.decode(encode_header(a_header()), max_bytes=HEADER_BYTES_MAX)
    assert isinstance(header, dict)
    future = codec.encode({1: 9, 2: header[2], 3: header[3], 4: 7, 50: "another form"})
    message = assemble(sign1(Kind.BATCH, future, a_signer()), {})
    with pytest.raises(SignedRefusalError) as refused:
        open_batch(message, KEYS, device=DEVICE)
    assert refused.value.code is Reject.UNSUPPORTED_VERSION
    assert (refused.value.device, refused.value.chain, refused.value.seq) == (DEVICE, b"c" * 16, 7)


@pytest.mark.parametrize("payload", [b"", b"\xff", b"\x80", codec.encode({1: 9, 2: b"short", 3: 5, 4: 0})])
def test_a_signed_refusal_names_nothing_that_it_cannot_read(payload: bytes) -> None:
    message = assemble(sign1(Kind.BATCH, payload, a_signer()), {})
    with pytest.raises(SignedRefusalError) as refused:
        open_batch(message, KEYS, device=DEVICE)
    assert (refused.value.device, refused.value.chain, refused.value.seq) == (None, None, None)


def test_damage_is_never_a_signed_refusal() -> None:
    header, sections = disassemble(a_batch({Section.FACTS: b"facts"}))
    for message in (
        a_batch()[:-1],
        assemble(header, {Section.FACTS: sections[Section.FACTS] + b"x"}),
        a_batch(signer=a_signer("stranger")),
    ):
        with pytest.raises(ProtocolError) as refused:
            open_batch(message, KEYS, device=DEVICE)
        assert not isinstance(refused.value, SignedRefusalError)
        assert refused.value.code.is_transit_damage or refused.value.code is Reject.UNKNOWN_KEY


def header_members(**changes: Any) -> dict[int, Any]:
    members = codec.decode(encode_header(a_header(**changes)), max_bytes=HEADER_BYTES_MAX)
    assert isinstance(members, dict)
    return members


def test_unknown_keys_and_longer_records_are_ignored() -> None:
    members = header_members(gaps=(Gap(boot=BootId(bytes(16)), start_us=1, end_us=None, cause=GapCause.JAM),))
    members[11][0].append("more")
    members |= {22: "new", 9: [0, None, "more"], 10: members[10] | {6: 5}, -1: 0}
    header = decode_header(codec.encode(members))
    assert header.gaps[0].cause is GapCause.JAM
    assert header == a_header(gaps=header.gaps)


def test_a_header_sealed_before_ended_losses_existed_declares_none() -> None:
    members = {key: value for key, value in header_members().items() if key != 21}
    assert decode_header(codec.encode(members)).ended_losses == ()


def test_numbers_without_a_meaning_here_are_kept() -> None:
    members = header_members() | {9: [77, None], 13: {88: 3, 1: 2}, 19: {99: [bytes(32), 20]}, 20: [66, None]}
    header = decode_header(codec.encode(members))
    assert header.clock == 77
    assert header.drops == {88: 3, DropCause.KERNEL: 2}
    assert list(header.sections) == [99]
    assert header.origin is not None
    assert header.origin.kind == 66
    assert [type(key) for key in header.drops] == [DropCause, int]


def test_a_header_with_all_lists_full_stays_below_its_limit() -> None:
    gaps = tuple(
        Gap(boot=BootId(bytes(16)), start_us=TIME_US_MAX - 1, end_us=TIME_US_MAX, cause=GapCause.FAULT)
        for _ in range(GAPS_MAX)
    )
    losses = tuple(Loss(first=SEQ_MAX - 1, last=SEQ_MAX, cause=4) for _ in range(LOSSES_MAX))
    ended = tuple(
        EndedLoss(chain=ChainId(b"e" * 16), first=SEQ_MAX - 1, last=SEQ_MAX, cause=5)
        for _ in range(ENDED_LOSSES_MAX)
    )
    drops = dict.fromkeys(DropCause, 2**53 - 1)
    header = a_header(
        gaps=gaps,
        losses=losses,
        ended_losses=ended,
        drops=drops,
        sections={number: section_ref(bytes(1_000)) for number in range(1, 17)},
        **dict.fromkeys(("policy", "profile", "order_head", "disposition_head"), bytes(32)),
    )
    assert len(sign1(Kind.BATCH, encode_header(header), a_signer())) < HEADER_BYTES_MAX


@pytest.mark.parametrize(
    "changes",
    [
        {"seq": 0, "prev": None},
        {"seq": 2},
        {"prev": bytes(32)},
        {"origin": None},
        {"mono_end_us": -1},
        {"chain": b"short"},
        {"gaps": (Gap(boot=BootId(bytes(16)), start_us=5, end_us=4, cause=1),)},
        {"losses": (Loss(first=2, last=1, cause=1),)},
        {"counts": Counts(rows=-1)},
        {"drops": {0: 1}},
        {"clock": 256},
    ],
)
def test_a_header_that_no_reader_would_take_is_never_written(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="no reader would accept"):
        encode_header(a_header(**changes))


def test_a_batch_above_the_payload_limit_is_never_written() -> None:
    with pytest.raises(ValueError, match="at most"):
        a_batch({Section.FRAMES: bytes(PAYLOAD_BYTES_MAX - 100)})


def test_a_salt_has_sixteen_bytes() -> None:
    assert salted(b"data", b"s" * 16) == b"s" * 16 + b"data"
    with pytest.raises(ValueError, match="16"):
        salted(b"data", b"s" * 15)


def test_frames_are_accounted_when_received_is_decoded_plus_dropped() -> None:
    drops = {DropCause.UNKNOWN_ID: 3, DropCause.SHORT: 1, DropCause.KERNEL: 50, DropCause.POLICY: 9, 200: 4}
    header = a_header(counts=Counts(frames_received=10, frames_decoded=6), drops=drops)
    assert header.are_frames_accounted
    assert not replace(header, counts=Counts(frames_received=11, frames_decoded=6)).are_frames_accounted


def test_utc_of_a_sample_is_unknown_while_the_clock_is() -> None:
    assert utc_of_sample(5, mono_start_us=3, utc_start_us=100) == 102
    assert utc_of_sample(1, mono_start_us=3, utc_start_us=100) == 98
    assert utc_of_sample(5, mono_start_us=3, utc_start_us=None) is None
    assert ClockClass.NONE < ClockClass.RTC < ClockClass.NETWORK < ClockClass.GNSS


def test_known_origins_are_read_by_name() -> None:
    assert decode_header(encode_header(a_header())).origin == a_header().origin
    assert OriginKind(3) is OriginKind.CONFLICT
