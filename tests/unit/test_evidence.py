"""Evidence, verified offline: what holds, what is missing, what was changed, and who is believed."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import delete, update

from backend.domain.refusal import Refusal
from backend.store.batches import BATCH, BATCH_KEY, BATCH_SECTION
from backend.usecases.export_evidence import export_evidence
from protocol.batch import Counts, EndedLoss, Gap, GapCause, Loss, LossCause, Origin, OriginKind, Section
from protocol.envelope import SoftwareSigner
from protocol.evidence import verify
from protocol.evidence_file import MAGIC, EvidenceFile, bytes_head, read_file, write_file
from protocol.evidence_manifest import Manifest, Part, PartKind, Withheld, WithheldReason, part_ref
from protocol.evidence_report import Code, Report, Trust, TrustError, Verdict, Weight
from protocol.header import ChainHead
from protocol.ids import BootId, cose_key_bytes
from protocol.key_succession import KeyRole, KeySuccession, sign_key_succession
from tests.builders.ingest import ORG, START_US, Backend, Box

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from tests.builders.databases import Engine

HOUR_US = 3_600_000_000


class World:
    """A backend with one box, its exports, and someone who trusts both."""

    def __init__(self, folder: Path) -> None:
        self.box = Box(seed=1)
        self.other = Box(seed=2)
        self.backend = Backend(folder, boxes=[self.box, self.other])
        self.trust = trust_in([self.box], [self.backend.signer])

    def take(self, *batches: Any) -> None:
        self.backend.take(*batches)
        self.backend.project()

    def export(
        self, *, from_us: int = START_US, to_us: int = START_US + HOUR_US, box: Box | None = None
    ) -> bytes:
        with self.backend.database.reading() as session:
            file = export_evidence(
                session,
                org_id=ORG,
                device_id=(box or self.box).device,
                from_us=from_us,
                to_us=to_us,
                purpose="dispute",
                signer=self.backend.signer,
                now_us=self.backend.now_us,
            )
        assert not isinstance(file, Refusal)
        return file

    def verify(self, data: bytes, trust: Trust | None = None) -> Report:
        return verify(data, trust or self.trust)


def trust_in(boxes: Sequence[Box], signers: Sequence[SoftwareSigner]) -> Trust:
    return Trust(
        devices=frozenset(box.device for box in boxes),
        backend_keys={signer.kid: signer.public_key for signer in signers},
    )


def codes(report: Report) -> set[Code]:
    return {finding.code for finding in report.findings}


def taken_apart(data: bytes) -> tuple[Manifest, list[Part]]:
    """The manifest and parts of an untouched file, to be put together otherwise."""
    file: EvidenceFile = read_file(data)
    parts = [
        Part(
            kind=PartKind(part.ref.kind),
            chain=part.ref.chain,
            seq=part.ref.seq,
            section=part.ref.section,
            data=part.data,
        )
        for part in file.parts
        if part.data is not None
    ]
    assert len(parts) == len(file.parts)
    return file.manifest, parts


def sealed(manifest: Manifest, parts: list[Part], signer: SoftwareSigner, **changes: Any) -> bytes:
    """A file put together anew by whoever holds `signer`."""
    return write_file(
        replace(manifest, parts=tuple(part_ref(part) for part in parts), **changes), parts, signer
    )


def raw(data: bytes, parts: list[bytes]) -> bytes:
    """The file's own manifest, with other byte strings behind it: what a meddler without keys can do."""
    file = read_file(data)
    seal = file.sign1.raw
    return MAGIC + bytes_head(len(seal)) + seal + b"".join(bytes_head(len(part)) + part for part in parts)


@pytest.fixture
def world(tmp_path: Path, each_database: Engine) -> Iterator[World]:
    del each_database
    made = World(tmp_path)
    yield made
    made.backend.database.close()


@pytest.fixture
def drive(world: World) -> bytes:
    """Five batches of one chain, complete, exported."""
    world.take(*world.box.chain().many(5))
    return world.export()


# --- what holds ---


def test_a_complete_chain_is_verified(world: World, drive: bytes) -> None:
    report = world.verify(drive)
    assert report.verdict is Verdict.VERIFIED, report.sentences()
    assert report.verdict.exit_code == 0
    (chain,) = report.chains
    assert (chain.origin, chain.first, chain.last, chain.batches) == ("first", 1, 5, 5)
    assert (chain.from_us, chain.to_us) == (START_US, START_US + 50_000_000)
    assert (chain.receipt_upto, chain.holes) == (5, ())


def test_the_report_says_who_when_and_what_in_words_and_as_json(world: World, drive: bytes) -> None:
    report = world.verify(drive)
    text = "\n".join(report.sentences())
    assert world.box.device in text
    assert "2026-11-24T06:00:00.000000Z" in text
    shown = report.to_json()
    assert (shown["verdict"], shown["exit_code"], shown["device"]) == ("VERIFIED", 0, world.box.device)
    assert shown["purpose"] == "dispute"


def test_a_part_of_a_chain_is_verified_and_its_edges_prove_themselves(world: World) -> None:
    world.take(*world.box.chain().many(20))
    report = world.verify(world.export(from_us=START_US + 55_000_000, to_us=START_US + 95_000_000))
    assert report.verdict is Verdict.VERIFIED, report.sentences()
    assert (report.chains[0].first, report.chains[0].last) == (6, 10)
    assert Code.EDGE_UNPROVEN not in codes(report)


def test_the_dictionary_stands_in_the_file_even_when_it_was_announced_before(world: World) -> None:
    world.take(*world.box.chain().many(20))
    data = world.export(from_us=START_US + 100_000_000, to_us=START_US + 110_000_000)
    _, parts = taken_apart(data)
    assert (PartKind.SECTION, 1, Section.FACTS) in {(part.kind, part.seq, part.section) for part in parts}
    assert (PartKind.SECTION, 1, Section.SIGNALS) not in {
        (part.kind, part.seq, part.section) for part in parts
    }
    assert world.verify(data).verdict is Verdict.VERIFIED


def test_a_batch_without_a_clock_belongs_to_its_neighbours(world: World) -> None:
    chain = world.box.chain(utc_at_mono_0_us=None)
    untimed = chain.many(2)
    chain.utc_at_mono_0_us, chain.boot = START_US, BootId(b"\xbb" * 16)
    world.take(*untimed, *chain.many(2))
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED
    assert (report.chains[0].first, report.chains[0].last) == (1, 4)
    assert Code.CLOCK_UNKNOWN in codes(report)


def test_a_second_chain_that_never_had_a_clock_is_not_left_out(world: World) -> None:
    clockless = world.box.chain(seed=2, utc_at_mono_0_us=None, boot=BootId(b"\xcc" * 16)).many(3)
    world.take(*world.box.chain().many(3), *clockless)
    report = world.verify(world.export())
    assert [(chain.first, chain.last, chain.from_us) for chain in report.chains] == [
        (1, 3, START_US),
        (1, 3, None),
    ]
    assert Code.CLOCK_UNKNOWN in codes(report)


def test_a_clockless_chain_is_cut_at_a_limit_and_the_report_says_so(world: World) -> None:
    chain = world.box.chain(utc_at_mono_0_us=None)
    for count in (100, 100, 2):
        world.take(*chain.many(count, length_us=1_000))
    report = world.verify(world.export())
    assert (report.chains[0].first, report.chains[0].last) == (1, 200)
    (note,) = (at for at in report.findings if at.code is Code.EDGE_UNPROVEN)
    assert note.first == 201


def test_a_batch_without_a_clock_that_its_neighbours_place_elsewhere_is_left_out(world: World) -> None:
    chain = world.box.chain(utc_at_mono_0_us=START_US - 2 * HOUR_US)
    before = chain.many(2)
    chain.utc_at_mono_0_us, chain.boot = None, BootId(b"\xbb" * 16)
    untimed = chain.many(2)
    chain.utc_at_mono_0_us, chain.boot = START_US - HOUR_US, BootId(b"\xbc" * 16)
    world.take(*before, *untimed, *chain.many(1))
    assert world.verify(world.export()).chains == ()


def test_what_came_before_the_interval_began_cannot_be_of_it(world: World) -> None:
    world.take(*world.box.chain(utc_at_mono_0_us=None).many(2))
    later = world.backend.now_us + 1
    assert world.verify(world.export(from_us=later, to_us=later + HOUR_US)).chains == ()


def test_a_replaced_key_of_the_box_counts_when_the_verifier_knows_it(world: World) -> None:
    successor = Box(seed=70)
    world.backend.add_key(world.box.device, successor)
    chain = world.box.chain()
    first = chain.next()
    chain.signer = successor.signer
    world.take(first, chain.next())
    data = world.export()
    assert Code.NOT_SIGNED_BY_BOX in codes(world.verify(data))
    keys = {world.box.device: {successor.signer.kid: successor.signer.public_key}}
    assert world.verify(data, replace(world.trust, device_keys=keys)).verdict is Verdict.VERIFIED


def test_a_replaced_backend_key_counts_by_the_old_ones_signature(world: World, drive: bytes) -> None:
    old = SoftwareSigner(ec.derive_private_key(99, ec.SECP256R1()))
    trust = trust_in([world.box], [old])
    assert world.verify(drive, trust).verdict is Verdict.UNVERIFIABLE
    link = KeySuccession(
        role=KeyRole.RECEIPT, successor=cose_key_bytes(world.backend.signer.public_key), valid_from_us=0
    )
    manifest, parts = taken_apart(drive)
    parts.append(Part(kind=PartKind.SUCCESSION, data=sign_key_succession(link, old)))
    assert world.verify(sealed(manifest, parts, world.backend.signer), trust).verdict is Verdict.VERIFIED


# --- what is missing, and said ---


def test_a_declared_gap_is_named(world: World) -> None:
    gap = Gap(boot=BootId(b"\xb0" * 16), start_us=5, end_us=None, cause=GapCause.POWER)
    world.take(world.box.chain().next(gaps=(gap,)))
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    assert report.verdict.exit_code == 10
    (finding,) = (at for at in report.findings if at.code is Code.GAP_DECLARED)
    assert "power" in finding.text


def test_a_declared_loss_is_named_with_its_cause(world: World) -> None:
    chain = world.box.chain()
    batches = chain.many(4)
    last = chain.next(losses=(Loss(first=2, last=3, cause=LossCause.QUOTA),))
    world.take(batches[0], batches[3], last)
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    assert report.chains[0].holes == ((2, 3, "declared quota"),)


def test_a_loss_that_is_declared_after_the_interval_is_still_found(world: World) -> None:
    chain = world.box.chain()
    batches = chain.many(9)
    last = chain.next(losses=(Loss(first=2, last=2, cause=LossCause.DAMAGED),))
    world.take(batches[0], *batches[2:], last)
    report = world.verify(world.export(to_us=START_US + 25_000_000))
    assert report.chains[0].holes == ((2, 2, "declared damaged"),)


@pytest.mark.parametrize("starts_s", [60, 7_200], ids=["within the interval", "after the interval"])
def test_a_loss_of_an_ended_chain_is_found_where_a_later_chain_declares_it(
    world: World, starts_s: int
) -> None:
    ended = world.box.chain(seed=1)
    batches = ended.many(4)
    head = ChainHead(chain=ended.chain, seq=4, hash=batches[3].hash)
    later = world.box.chain(seed=2, origin=Origin(kind=OriginKind.CONFLICT, last_head=head))
    later.mono_us = starts_s * 1_000_000
    lost = EndedLoss(chain=ended.chain, first=2, last=2, cause=LossCause.RESEALED)
    world.take(batches[0], *batches[2:])
    world.take(later.next(), later.next(ended_losses=(lost,)))
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    assert report.chains[0].holes == ((2, 2, "declared resealed"),)
    assert Code.HOLE_UNDECLARED not in codes(report)


def test_a_hole_that_nobody_declared_is_exported_and_named(world: World) -> None:
    batches = world.box.chain().many(5)
    world.take(batches[0], batches[4])
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    assert report.chains[0].holes == ((2, 4, "undeclared"),)
    (finding,) = (at for at in report.findings if at.code is Code.HOLE_UNDECLARED)
    assert (finding.first, finding.last) == (2, 4)


def test_a_withheld_section_reads_withheld(world: World) -> None:
    first, second = world.box.chain().many(2)
    world.take(first, second.without(Section.SIGNALS))
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    (finding,) = (at for at in report.findings if at.code is Code.SECTION_WITHHELD)
    assert (finding.first, finding.section) == (2, Section.SIGNALS)
    assert finding.text.startswith("WITHHELD")


def test_an_erased_section_is_told_from_a_withheld_one(world: World) -> None:
    world.take(world.box.chain().next())
    with world.backend.database.writing() as session, session.begin():
        session.connection().execute(
            update(BATCH_SECTION).where(BATCH_SECTION.c.section == 2).values(body=None, erased_us=7)
        )
    report = world.verify(world.export())
    assert Code.SECTION_ERASED in codes(report)
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS


def test_a_second_story_that_the_box_signed_is_told(world: World) -> None:
    world.take(*world.box.chain().many(2))
    old_image = world.box.chain()
    old_image.next()
    world.take(old_image.next(speeds=[7]))
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    (finding,) = (at for at in report.findings if at.code is Code.TWO_STORIES)
    assert finding.first == 2


def refused_alone(world: World, *stories: int) -> Report:
    """The report of a chain whose number 4 was declared lost, then came as each of `stories`, all refused."""
    chain = world.box.chain()
    batches = chain.many(3)
    twins = [chain.twin() for _ in stories]
    chain.next()
    chain.next()
    sixth = chain.next(losses=(Loss(first=4, last=4, cause=LossCause.QUOTA),))
    world.take(*batches, sixth)
    for twin, speed in zip(twins, stories, strict=True):
        world.take(twin.next(speeds=[speed]))
    return world.verify(world.export())


def test_a_refused_batch_that_no_other_stands_beside_is_no_second_story(world: World) -> None:
    report = refused_alone(world, 7)
    assert Code.TWO_STORIES not in codes(report)
    (finding,) = (at for at in report.findings if at.code is Code.REFUSED_KEPT)
    assert (finding.first, finding.weight) == (4, Weight.GAP)
    assert "another" not in finding.text
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS


def test_two_refused_batches_of_one_number_are_two_stories(world: World) -> None:
    report = refused_alone(world, 7, 8)
    assert {Code.REFUSED_KEPT, Code.TWO_STORIES} <= codes(report)
    assert [at.first for at in report.findings if at.code is Code.TWO_STORIES] == [4]


@pytest.mark.parametrize("told", ["the truth", "another story"])
def test_a_chain_that_follows_a_lost_one_says_so(world: World, told: str) -> None:
    is_true = told == "the truth"
    batches = world.box.chain().many(2)
    head = ChainHead(chain=batches[1].header.chain, seq=2, hash=batches[1].hash if is_true else b"\x09" * 32)
    origin = Origin(kind=OriginKind.STORAGE_LOST, last_head=head)
    second = world.box.chain(seed=2, origin=origin, mono_us=30_000_000)
    world.take(*batches, second.next())
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    assert Code.ORIGIN_NOT_FIRST in codes(report)
    assert (Code.ORIGIN_CONFLICTS in codes(report)) != is_true


def test_frames_that_went_nowhere_are_named(world: World) -> None:
    world.take(world.box.chain().next(counts=Counts(frames_received=9, frames_decoded=8)))
    assert Code.FRAMES_UNACCOUNTED in codes(world.verify(world.export()))


def test_what_the_box_counted_as_dropped_is_noted_and_no_gap(world: World) -> None:
    world.take(world.box.chain().next(drops={1: 3, 7: 5}))
    report = world.verify(world.export())
    assert report.verdict is Verdict.VERIFIED
    (note,) = (at for at in report.findings if at.code is Code.DROPS_COUNTED)
    assert "kernel 3, policy 5" in note.text


def test_an_interval_without_a_batch_proves_nothing(world: World) -> None:
    world.take(world.box.chain().next())
    report = world.verify(world.export(from_us=START_US + HOUR_US, to_us=START_US + 2 * HOUR_US))
    assert report.verdict is Verdict.UNVERIFIABLE
    assert report.verdict.exit_code == 20


# --- who is believed ---


def test_a_box_nobody_named_is_not_believed(world: World, drive: bytes) -> None:
    report = world.verify(drive, trust_in([world.other], [world.backend.signer]))
    assert (report.verdict, Code.DEVICE_UNTRUSTED in codes(report)) == (Verdict.UNVERIFIABLE, True)


def test_a_seal_by_a_key_nobody_named_is_not_believed(world: World, drive: bytes) -> None:
    stranger = SoftwareSigner(ec.derive_private_key(55, ec.SECP256R1()))
    manifest, parts = taken_apart(drive)
    report = world.verify(sealed(manifest, parts, stranger))
    assert (report.verdict, Code.SEAL_UNTRUSTED in codes(report)) == (Verdict.UNVERIFIABLE, True)


def test_a_stranger_who_seals_altered_batches_is_contradicted_by_the_boxs_signature(
    world: World, drive: bytes
) -> None:
    stranger = SoftwareSigner(ec.derive_private_key(55, ec.SECP256R1()))
    manifest, parts = taken_apart(drive)
    forged = [altered(part) if part.kind is PartKind.HEADER and part.seq == 3 else part for part in parts]
    report = world.verify(sealed(manifest, forged, stranger))
    assert report.verdict is Verdict.CONTRADICTED


def altered(part: Part, at: int = -1) -> Part:
    data = bytearray(part.data)
    data[at] ^= 1
    return replace(part, data=bytes(data))


@pytest.mark.parametrize("kind", [PartKind.HEADER, PartKind.SECTION])
def test_the_backends_own_key_cannot_change_what_the_box_signed(
    world: World, drive: bytes, kind: PartKind
) -> None:
    manifest, parts = taken_apart(drive)
    forged = [altered(part) if part.kind is kind and part.seq == 3 else part for part in parts]
    report = world.verify(sealed(manifest, forged, world.backend.signer))
    assert report.verdict is Verdict.CONTRADICTED
    assert report.verdict.exit_code == 30
    assert any(finding.first == 3 for finding in report.findings)


def test_a_box_made_up_by_the_backend_is_contradicted(world: World) -> None:
    """Whoever holds the backend's key signs batches in the box's name with a key of his own."""
    forger = Box(seed=80)
    forged = world.box.chain(signer=forger.signer).next()
    chain = forged.header.chain
    parts = [
        Part(kind=PartKind.KEY, data=forger.cose_key),
        Part(kind=PartKind.HEADER, chain=chain, seq=1, data=forged.sign1),
        *(
            Part(kind=PartKind.SECTION, chain=chain, seq=1, section=section, data=body)
            for section, body in forged.sections.items()
        ),
    ]
    world.take(world.box.chain().next())
    manifest, _ = taken_apart(world.export())
    report = world.verify(sealed(manifest, parts, world.backend.signer))
    assert (report.verdict, Code.NOT_SIGNED_BY_BOX in codes(report)) == (Verdict.CONTRADICTED, True)


def test_a_batch_of_another_box_put_in_by_the_backend_is_named(world: World, drive: bytes) -> None:
    foreign = world.other.chain().next()
    manifest, parts = taken_apart(drive)
    forged = [
        replace(part, data=foreign.sign1) if part.kind is PartKind.HEADER and part.seq == 1 else part
        for part in parts
    ]
    trust = replace(
        world.trust, device_keys={world.box.device: {world.other.signer.kid: world.other.signer.public_key}}
    )
    assert Code.OTHER_DEVICE in codes(world.verify(sealed(manifest, forged, world.backend.signer), trust))
    report = world.verify(sealed(manifest, forged, world.backend.signer))
    assert (report.verdict, Code.NOT_SIGNED_BY_BOX in codes(report)) == (Verdict.CONTRADICTED, True)


def test_a_backend_that_leaves_out_a_batch_leaves_a_hole_nobody_declared(world: World, drive: bytes) -> None:
    manifest, parts = taken_apart(drive)
    fewer = [part for part in parts if part.seq != 3]
    report = world.verify(sealed(manifest, fewer, world.backend.signer))
    assert report.verdict is Verdict.VERIFIED_WITH_GAPS
    assert report.chains[0].holes == ((3, 3, "undeclared"),)


def test_a_backend_that_leaves_out_a_section_must_say_so(world: World, drive: bytes) -> None:
    manifest, parts = taken_apart(drive)
    fewer = [part for part in parts if (part.seq, part.section) != (3, 2)]
    report = world.verify(sealed(manifest, fewer, world.backend.signer))
    assert (report.verdict, Code.SECTION_UNEXPLAINED in codes(report)) == (Verdict.CONTRADICTED, True)
    for reason in (WithheldReason.BOX, WithheldReason.CONTEXT, 200):
        said = Withheld(chain=manifest.chains[0].chain, seq=3, section=2, reason=reason)
        report = world.verify(sealed(manifest, fewer, world.backend.signer, withheld=(said,)))
        assert report.verdict is Verdict.VERIFIED_WITH_GAPS, "inside the interval nothing is context"


def test_a_backend_that_narrows_the_interval_is_found_at_its_edge(world: World, drive: bytes) -> None:
    manifest, parts = taken_apart(drive)
    claim = replace(manifest.chains[0], first=2)
    report = world.verify(sealed(manifest, parts, world.backend.signer, chains=(claim,)))
    assert (report.verdict, Code.EDGE_LEFT_OUT in codes(report)) == (Verdict.VERIFIED_WITH_GAPS, True)


def test_a_backend_whose_receipt_vouches_for_other_bytes_contradicts_itself(world: World) -> None:
    """Its store was exchanged after it had receipted: the receipt remembers."""
    chain = world.box.chain()
    first, second = chain.many(2)
    world.take(first, second)
    other = world.box.chain()
    other.next()
    forged = other.next(speeds=[9])
    with world.backend.database.writing() as session, session.begin():
        session.connection().execute(update(BATCH).where(BATCH.c.seq == 2).values(header=forged.sign1))
        for section, body in forged.sections.items():
            session.connection().execute(
                update(BATCH_SECTION)
                .where(BATCH_SECTION.c.seq == 2, BATCH_SECTION.c.section == section)
                .values(body=body)
            )
    report = world.verify(world.export())
    assert (report.verdict, Code.RECEIPT_CONTRADICTS in codes(report)) == (Verdict.CONTRADICTED, True)


# --- what a meddler without keys can do ---


def test_an_altered_part_is_named(world: World, drive: bytes) -> None:
    _, parts = taken_apart(drive)
    data = [altered(part).data if (part.seq, part.section) == (4, 2) else part.data for part in parts]
    report = world.verify(raw(drive, data))
    assert report.verdict is Verdict.CONTRADICTED
    (finding,) = report.findings[:1]
    assert (finding.code, finding.first, finding.section) == (Code.PART_ALTERED, 4, 2)
    assert finding.text.startswith("Section 2 of batch 4")


@pytest.mark.parametrize("count", [1, 2, 5])
def test_removed_parts_are_named(world: World, drive: bytes, count: int) -> None:
    _, parts = taken_apart(drive)
    report = world.verify(raw(drive, [part.data for part in parts[:3] + parts[3 + count :]]))
    assert report.verdict is Verdict.CONTRADICTED
    gone = [finding for finding in report.findings if finding.code is Code.PART_MISSING]
    assert [(at.first, at.section) for at in gone] == [
        (part.seq, part.section) for part in parts[3 : 3 + count]
    ]


def test_a_removed_batch_is_told_as_removed_and_not_as_a_hole(world: World, drive: bytes) -> None:
    _, parts = taken_apart(drive)
    report = world.verify(raw(drive, [part.data for part in parts if part.seq != 3]))
    assert report.verdict is Verdict.CONTRADICTED
    assert Code.HOLE_UNDECLARED not in codes(report)
    assert all(at.first == 3 for at in report.findings if at.code is Code.PART_MISSING)


def test_moved_parts_are_named(world: World, drive: bytes) -> None:
    _, parts = taken_apart(drive)
    for one, two in ((2, 5), (3, 4), (2, 3), (len(parts) - 2, len(parts) - 1)):
        order = list(range(len(parts)))
        order[one], order[two] = order[two], order[one]
        report = world.verify(raw(drive, [parts[at].data for at in order]))
        assert report.verdict is Verdict.CONTRADICTED
        assert Code.PART_MOVED in codes(report)
        assert not codes(report) & {Code.PART_ADDED, Code.PART_MISSING, Code.PART_ALTERED}


def test_an_added_part_is_named(world: World, drive: bytes) -> None:
    _, parts = taken_apart(drive)
    foreign = world.other.chain().next().sign1
    for at in (0, 4, len(parts)):
        data = [part.data for part in parts]
        data.insert(at, foreign)
        report = world.verify(raw(drive, data))
        assert (report.verdict, Code.PART_ADDED in codes(report)) == (Verdict.CONTRADICTED, True)
        assert not codes(report) & {Code.PART_MISSING, Code.PART_ALTERED, Code.PART_MOVED}


@pytest.mark.parametrize("tail", [b"\x00", b"\x40", bytes(1000)])
def test_anything_behind_the_end_is_named(world: World, drive: bytes, tail: bytes) -> None:
    report = world.verify(drive + tail)
    assert (report.verdict, Code.PART_ADDED in codes(report)) == (Verdict.CONTRADICTED, True)


def test_a_file_cut_anywhere_is_found(world: World, drive: bytes) -> None:
    for length in range(0, len(drive), 7):
        report = world.verify(drive[:length])
        is_headless = length < len(MAGIC)
        assert report.verdict is (Verdict.UNVERIFIABLE if is_headless else Verdict.CONTRADICTED), length


def flip_is_found(world: World, drive: bytes, at: int, bit: int) -> None:
    data = bytearray(drive)
    data[at] ^= 1 << bit
    report = world.verify(bytes(data))
    assert report.verdict in {Verdict.UNVERIFIABLE, Verdict.CONTRADICTED}, (at, bit)


def test_any_flipped_byte_is_found(world: World, drive: bytes) -> None:
    """Every seventh byte here; every one in the slow tier."""
    for at in range(0, len(drive), 7):
        flip_is_found(world, drive, at, at % 8)


@pytest.mark.slow
def test_every_flipped_byte_is_found(world: World) -> None:
    gap = Gap(boot=BootId(b"\xb0" * 16), start_us=5, end_us=None, cause=GapCause.POWER)
    chain = world.box.chain()
    first = chain.next(gaps=(gap,))
    world.take(first, *chain.many(3), chain.next().without(Section.SIGNALS))
    rewritten = world.box.chain()
    rewritten.next()
    world.take(rewritten.next(speeds=[7]))
    drive = world.export()
    assert world.verify(drive).verdict is Verdict.VERIFIED_WITH_GAPS
    for at in range(len(drive)):
        for bit in (at % 8, (at + 3) % 8):
            flip_is_found(world, drive, at, bit)


@given(st.binary(max_size=300).filter(lambda data: not data.startswith(MAGIC)))
def test_bytes_that_are_no_evidence_are_unverifiable(data: bytes) -> None:
    report = verify(data, Trust(devices=frozenset(), backend_keys={}))
    assert report.verdict is Verdict.UNVERIFIABLE
    assert codes(report) == {Code.NOT_EVIDENCE}


@given(st.binary(max_size=300))
def test_nothing_behind_the_first_word_can_break_the_verifier(tail: bytes) -> None:
    report = verify(MAGIC + tail, Trust(devices=frozenset(), backend_keys={}))
    assert report.verdict is Verdict.CONTRADICTED


# --- trust files ---


def test_a_trust_file_is_read(world: World) -> None:
    key = cose_key_bytes(world.backend.signer.public_key).hex()
    text = f'{{"devices": ["{world.box.device}"], "backend_keys": ["{key}"], "comment": "from the label"}}'
    assert Trust.from_json(text).devices == world.trust.devices
    assert Trust.from_json(text).backend_keys.keys() == world.trust.backend_keys.keys()


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"devices": "abc"}',
        '{"devices": ["abc"]}',
        '{"backend_keys": ["00"]}',
        '{"backend_keys": ["zz"]}',
        '{"devics": []}',
        '{"device_keys": []}',
    ],
)
def test_a_trust_file_that_is_none_is_refused_with_a_reason(text: str) -> None:
    with pytest.raises(TrustError) as refused:
        Trust.from_json(text)
    assert str(refused.value)


def test_rows_of_the_store_may_be_gone_and_the_export_still_tells(world: World) -> None:
    """A row deleted behind the backend's back is a hole that nobody declared."""
    world.take(*world.box.chain().many(3))
    with world.backend.database.writing() as session, session.begin():
        for table in (BATCH_SECTION, BATCH, BATCH_KEY):
            session.connection().execute(delete(table).where(table.c.seq == 2))
    report = world.verify(world.export())
    assert report.chains[0].holes == ((2, 2, "undeclared"),)


# --- what the backend alone cannot make up, and what a file cannot do to a screen ---


def test_a_backend_cannot_make_up_a_second_story_without_the_boxs_key(world: World, drive: bytes) -> None:
    stranger = SoftwareSigner(ec.derive_private_key(77, ec.SECP256R1()))
    forged = world.box.chain(signer=stranger).next(speeds=[7])
    report = world.verify(with_refused(drive, forged, world.backend.signer))
    assert report.verdict is Verdict.CONTRADICTED
    assert Code.NOT_SIGNED_BY_BOX in codes(report)
    assert Code.TWO_STORIES not in codes(report)


@pytest.mark.parametrize("shown", ["the batch itself", "one of another chain"])
def test_a_batch_shown_as_a_second_story_of_a_place_it_is_not_of_is_found(
    world: World, drive: bytes, shown: str
) -> None:
    other = world.box.chain(seed=1 if shown == "the batch itself" else 2).next()
    report = world.verify(with_refused(drive, other, world.backend.signer))
    assert report.verdict is Verdict.CONTRADICTED
    assert Code.WRONG_PLACE in codes(report)
    assert Code.TWO_STORIES not in codes(report)


def test_a_purpose_that_repaints_the_screen_is_shown_escaped(world: World, drive: bytes) -> None:
    stranger = SoftwareSigner(ec.derive_private_key(55, ec.SECP256R1()))
    manifest, parts = taken_apart(drive)
    report = world.verify(sealed(manifest, parts, stranger, purpose="x\x1b[2J\x1b[H\nVERIFIED\u202e"))
    assert report.verdict is Verdict.UNVERIFIABLE
    assert all(line.isprintable() for line in report.sentences())


def test_a_trust_file_that_nests_without_end_is_refused_with_a_reason() -> None:
    with pytest.raises(TrustError, match="not JSON"):
        Trust.from_json("[" * 200_000)


def with_refused(data: bytes, batch: Any, signer: SoftwareSigner) -> bytes:
    """The file, sealed again, with a batch that is said to have been refused as number 1."""
    manifest, parts = taken_apart(data)
    chain = manifest.chains[0].chain
    refused = Part(kind=PartKind.QUARANTINED, chain=chain, seq=1, data=batch.payload)
    return sealed(manifest, [*parts, refused], signer)
