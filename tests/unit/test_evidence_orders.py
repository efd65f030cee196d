"""Orders as evidence: what holds, what testifies against whom, and when absence may be said."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace

import pytest

from protocol import cose_sign
from protocol.evidence import verify
from protocol.evidence_manifest import ChainClaim, Part, PartKind
from protocol.evidence_report import Answer, Code, Report, Trust, TrustError, Verdict
from protocol.ids import ChainId, cose_key_bytes
from protocol.loan_facts import Channel, Delivery
from protocol.log_leaves import LeafType
from protocol.orders import OrderType, SignKind, State, assemble, sign_order, sign_with_root
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import commissioning, ticket
from protocol.vectors.orders_story import (
    CONTRACT,
    EPOCH,
    NOW_S,
    PLATFORM,
    PLATFORM_ROOT,
    by_roots,
    digest,
    documents,
    revocation,
    signer,
    snapshot_fields,
)
from protocol.vectors.story import CHAIN, DEVICE, RECEIPT_SIGNER
from simulators.loan_system import LoanSystem
from tests.builders.evidence_orders import (
    BASIS,
    FROM_US,
    LOG,
    NO_ORDER,
    SECOND_US,
    TO_US,
    Case,
    Log,
)
from tests.builders.ledger import log_signer, witness_signer

EVERY = 1 if os.environ.get("CI") == "true" else 29  # byte of a part
STRIDE = 3 if os.environ.get("CI") == "true" else 29


def codes(report: Report) -> set[Code]:
    return {finding.code for finding in report.findings}


def told(report: Report) -> str:
    return "\n".join(report.sentences())


def test_a_lock_with_everything_is_verified_and_told_in_plain_sentences() -> None:
    report = Case().verify()
    assert report.verdict is Verdict.VERIFIED
    assert all(order.holds for order in report.orders)
    text = told(report)
    for sentence in (
        "Authorised by the maker, person 'person maker-1'",
        "Authorised by the gate, person 'person gate-1'",
        "Entered in the log log.example/tbox at 3 before the gate signed.",
        "Notices to the borrower are entered in the log at 0.",
        "The starter was inhibited from 2026-11-25T12:03:00Z to 2026-11-25T12:50:00Z (RELEASED).",
    ):
        assert sentence in text
    assert report.to_json()["lock_accepted"]["answer"] == "LOCK"  # type: ignore[index]


def test_without_its_basis_a_lock_is_verified_with_gaps() -> None:
    report = Case().verify(Case().without(PartKind.BASIS))
    assert (report.verdict, codes(report)) == (
        Verdict.VERIFIED_WITH_GAPS,
        {Code.BASIS_WITHHELD, Code.EDGE_UNPROVEN},
    )


def test_an_order_that_was_not_logged_testifies_against_the_gate() -> None:
    report = Case(logged=b"another order").verify()
    assert (report.verdict, codes(report) - {Code.EDGE_UNPROVEN}) == (
        Verdict.CONTRADICTED,
        {Code.ORDER_NOT_LOGGED},
    )
    assert "was not logged before the gate signed" in told(report)


def test_the_order_of_signatures_in_the_log_means_nothing_and_each_of_them_counts() -> None:
    payload, signers = cose_sign.read_sign(Case().orders[0].data)
    maker, checker, gate = [(one.protected, one.signature) for one in signers]
    assert Case(logged=assemble(payload, [checker, maker])).verify().verdict is Verdict.VERIFIED
    for logged in ([maker], [maker, checker, checker], [maker, checker, gate]):
        report = Case(logged=assemble(payload, logged)).verify()
        assert Code.ORDER_NOT_LOGGED in codes(report)


@pytest.mark.parametrize(
    ("ref", "word"),
    [
        (("log.example/tbox", 3, 4, bytes(32)), "another root"),
        (("log.example/tbox", 40, 41, bytes(32)), "beyond the log"),
    ],
)
def test_a_place_that_is_not_of_the_log_testifies_against_the_gate(
    ref: tuple[object, ...], word: str
) -> None:
    report = Case(log_ref=list(ref)).verify()
    assert report.verdict is Verdict.CONTRADICTED
    assert Code.ORDER_NOT_LOGGED in codes(report)
    assert word in told(report)


def test_the_place_of_another_leaf_testifies_against_the_gate() -> None:
    true = Case()
    ref = ["log.example/tbox", 0, true.lock_size, true.log.roots[true.lock_size]]
    case = Case(log_ref=ref)
    parts = [*case.all_parts(), case.log.leaf(0, case.lock_size), case.log.opening(0)]
    assert Code.ORDER_NOT_LOGGED in codes(case.verify(parts))


@pytest.mark.parametrize("kind", [PartKind.LEAF, PartKind.OPENING, PartKind.CHECKPOINT, PartKind.CONSISTENCY])
def test_a_proof_that_is_missing_leaves_the_lock_unverifiable(kind: PartKind) -> None:
    report = Case().verify(Case().without(kind))
    assert report.verdict is Verdict.UNVERIFIABLE
    assert codes(report) & {Code.ORDER_LOG_UNPROVEN, Code.LOG_UNTRUSTED}


def test_without_delegations_nobody_is_known_to_have_had_a_role() -> None:
    report = Case().verify(Case().without(PartKind.AUTHORITY))
    assert report.verdict is Verdict.UNVERIFIABLE
    assert codes(report) == {Code.ORDER_UNPROVEN, Code.EDGE_UNPROVEN}


def test_a_log_that_signed_two_trees_of_one_size_has_forked() -> None:
    case, other = Case(), Log()
    for number in range(len(case.log.leaves)):
        other.append(LeafType.NOTICE, b"another story %d" % number)
    report = case.verify([*case.all_parts(), other.checkpoint(len(other.leaves))])
    assert report.verdict is Verdict.CONTRADICTED
    assert Code.LOG_FORKED in codes(report)


def test_a_log_that_grew_on_another_tree_has_forked() -> None:
    case, other = Case(), Log()
    for number in range(9):
        other.append(LeafType.NOTICE, b"another story %d" % number)
    size = len(case.log.leaves)
    report = case.verify([*case.all_parts(), other.checkpoint(9), other.growth(size, 9)])
    assert Code.LOG_FORKED in codes(report)


def test_every_key_has_to_be_the_verifiers_own() -> None:
    case = Case()
    full = case.trust
    for trust, code in (
        (replace(full, mcus={}), Code.MCU_UNTRUSTED),
        (replace(full, roots={}), Code.AUTHORITY_UNTRUSTED),
        (replace(full, log_keys=()), Code.LOG_UNTRUSTED),
        (replace(full, witness_keys=(witness_signer("witness.example/w9").key,)), Code.LOG_UNWITNESSED),
    ):
        report = case.verify(trust=trust)
        assert report.verdict is Verdict.UNVERIFIABLE, code
        assert code in codes(report)
    thief = case.verify(trust=replace(full, log_keys=(log_signer(seed="thief").key,)))
    assert Code.LOG_BROKEN in codes(thief)


@pytest.mark.parametrize(
    ("name", "wanted"),
    [("same-person", Code.ORDER_BROKEN), ("maker-of-other-lender", Code.ORDER_BROKEN)],
)
def test_signers_who_may_not_sign_together_contradict(name: str, wanted: Code) -> None:
    report = Case(gate=signer(name)).verify()
    assert report.verdict is Verdict.CONTRADICTED
    assert wanted in codes(report)


def with_bench(made_ticket: bytes) -> tuple[Case, bytes]:
    """A case that also has a BENCH, whose ticket counts as the gate; and its cmd_id."""
    case = Case()
    fields = commissioning(OrderType.BENCH, made_ticket)
    cmd_id = fields[2]
    assert isinstance(cmd_id, bytes)
    message = sign_order(fields, signer("installer"))
    case.parts += [
        Part(kind=PartKind.ORDER, chain=ChainId(cmd_id), data=message),
        Part(kind=PartKind.AUTHORITY, section=1, data=documents()["delegation/installer"]),
    ]
    return case, cmd_id


def test_a_ticket_of_the_gate_counts_as_its_signature() -> None:
    case, cmd_id = with_bench(ticket())
    report = case.verify()
    assert Code.ORDER_BROKEN not in codes(report)
    assert next(order for order in report.orders if order.cmd_id == cmd_id.hex()).holds


@pytest.mark.parametrize(
    "made",
    [
        ticket(key_2=bytes(32)),
        ticket(key_3=bytes(32)),
        ticket(key_4=bytes(16)),
        ticket()[:-1] + bytes([ticket()[-1] ^ 1]),
        ticket(key_7=digest("maker")),
        b"no ticket",
    ],
    ids=["another car", "another installer", "another challenge", "forged", "no gate's", "no ticket"],
)
def test_a_ticket_that_does_not_hold_contradicts(made: bytes) -> None:
    case, _ = with_bench(made)
    report = case.verify()
    assert report.verdict is Verdict.CONTRADICTED
    assert Code.ORDER_BROKEN in codes(report)


def test_a_key_revoked_before_the_order_contradicts_and_one_revoked_after_is_a_note() -> None:
    part = Part(kind=PartKind.AUTHORITY, section=3, data=revocation(1, "person maker-1"))
    after = Case()
    report = after.verify([*after.all_parts(), part])
    assert (report.verdict, Code.SIGNER_REVOKED in codes(report)) == (Verdict.VERIFIED, True)
    before = Case(lock_changes={10: NOW_S + 1, 11: NOW_S + 2})
    report = before.verify([*before.all_parts(), part])
    assert report.verdict is Verdict.CONTRADICTED


def test_another_basis_than_the_one_signed_contradicts() -> None:
    case = Case()
    case.parts = [replace(part, data=BASIS + b"!") for part in case.parts]
    assert Code.BASIS_ALTERED in codes(case.verify())


# --- absence ---


def test_absence_is_said_when_the_dispositions_have_no_gap_and_none_accepts_a_lock() -> None:
    report = Case(is_locked=False).verify()
    assert report.verdict is Verdict.VERIFIED
    assert report.absence is not None
    assert report.absence.answer is Answer.NO_LOCK
    assert "No lock was accepted between 2026-11-25T11:00:00" in told(report)


def test_a_refused_lock_is_no_accepted_one() -> None:
    case = Case(steps=())
    case.begin_epoch()
    case.step(case.lock, State.REJECTED, NOW_S - 7_200)
    case.step(case.lock, State.REJECTED, NOW_S)
    case.step(case.unlock, State.DONE, NOW_S + 3_000)
    report = case.verify()
    assert report.absence is not None
    assert report.absence.answer is Answer.NO_LOCK


def test_a_gap_in_the_dispositions_is_never_a_yes() -> None:
    case = Case(is_locked=False)
    case.step(case.unlock, State.DONE, NOW_S + 3_100)
    parts = [part for part in case.all_parts() if not (part.kind == PartKind.DISPOSITION and part.seq == 2)]
    report = case.verify(parts)
    assert report.verdict is Verdict.UNVERIFIABLE
    assert Code.DISPOSITION_GAP in codes(report)
    assert report.absence is not None
    assert report.absence.answer is Answer.UNVERIFIABLE


def test_an_open_end_is_never_a_yes() -> None:
    case = Case(is_locked=False)
    parts = [part for part in case.all_parts() if part.kind not in (PartKind.HEADER, PartKind.SECTION)]
    early = [*parts, *case.batch(TO_US - SECOND_US)]
    for chosen in (early, [*parts, *Case().batch()]):
        report = case.verify(chosen)
        assert report.absence is not None
        assert report.absence.answer is Answer.UNVERIFIABLE
        assert "was still the last" in report.absence.text


def test_a_range_that_leaves_out_what_the_backend_has_is_never_a_yes() -> None:
    case = Case(is_locked=False)
    claim = ChainClaim(chain=ChainId(EPOCH), first=1, last=1, highest=2)
    report = case.verify(dispositions=(claim,))
    assert report.absence is not None
    assert report.absence.answer is Answer.UNVERIFIABLE


def test_a_lock_whose_time_nobody_knows_is_never_a_yes() -> None:
    case = Case(steps=())
    case.begin_epoch()
    case.step(case.lock, State.REJECTED, NOW_S - 7_200)
    case.step(case.lock, State.ACCEPTED_PENDING, None)
    report = case.verify()
    assert report.absence is not None
    assert report.absence.answer is Answer.UNVERIFIABLE
    assert "not known well enough" in report.absence.text


def test_a_lock_still_in_force_from_before_is_no_absence() -> None:
    case = Case(is_locked=True, steps=())
    case.begin_epoch()
    for state, at_s in ((State.ACCEPTED_PENDING, NOW_S - 9_000), (State.LOCKED, NOW_S - 8_000)):
        case.step(case.lock, state, at_s)
    report = case.verify()
    assert report.absence is not None
    assert report.absence.answer is Answer.LOCK
    assert "does not say until when" in told(report)


def test_dispositions_that_do_not_follow_each_other_contradict() -> None:
    case, other = Case(), Case()
    other.steps, other.last = other.steps[:2], None
    other.step(other.lock, State.REJECTED, NOW_S + 200)
    case.steps[2] = other.steps[2]
    report = case.verify()
    assert report.verdict is Verdict.CONTRADICTED
    assert Code.DISPOSITIONS_CONTRADICT in codes(report)


def test_what_the_car_says_of_an_order_that_is_not_here_is_unverifiable() -> None:
    case = Case()
    parts = [part for part in case.all_parts() if part.chain != case.lock[0]]
    report = case.verify(parts)
    assert report.verdict is Verdict.UNVERIFIABLE
    assert Code.ORDER_MISSING in codes(report)


OLD, NEW = bytes([1]) * 16, bytes([2]) * 16
FROM_S, TO_S = FROM_US // SECOND_US, TO_US // SECOND_US


def absence(case: Case, **changes: object) -> tuple[Answer, str]:
    found = case.verify(**changes).absence  # type: ignore[arg-type]
    assert found is not None
    return found.answer, found.text


def two_epochs(*, begun_s: int | None, last_s: int) -> Case:
    """A lock in an old epoch before the interval; then the record was lost and another epoch began."""
    case = Case(steps=())
    case.epochs.clear()
    case.begin_epoch(OLD)
    for state, at_s in ((State.ACCEPTED_PENDING, FROM_S - 9_000), (State.LOCKED, FROM_S - 8_000)):
        case.step(case.lock, state, at_s)
    case.begin_epoch(NEW)
    case.step(NO_ORDER, State.FAULT_RELEASED, begun_s)
    case.step(case.unlock, State.DONE, last_s)
    return case


@pytest.mark.parametrize("begin_s", [FROM_S, NOW_S + 3_000, TO_S + 3_600])
def test_an_epoch_that_begins_in_or_after_the_interval_proves_nothing_before_it(begin_s: int) -> None:
    case = Case(is_locked=False)
    case.begin_epoch()
    case.step(case.unlock, State.DONE, begin_s)
    answer, text = absence(case)
    assert answer is Answer.UNVERIFIABLE
    assert "an earlier one may be left out: disposition 1" in text


def test_leaving_out_the_epoch_with_the_lock_does_not_make_it_an_absence() -> None:
    case = two_epochs(begun_s=None, last_s=NOW_S + 3_000)
    del case.epochs[OLD]
    answer, text = absence(case)
    assert (answer, "may be left out" in text) == (Answer.UNVERIFIABLE, True)


def test_an_interval_within_one_of_two_epochs_is_answered_by_that_one() -> None:
    case = two_epochs(begun_s=None, last_s=FROM_S - 60)
    report = case.verify()
    assert report.absence is not None
    assert (report.verdict, report.absence.answer) == (Verdict.VERIFIED, Answer.NO_LOCK)
    early, early_to = (FROM_S - 9_500) * SECOND_US, (FROM_S - 8_500) * SECOND_US
    assert absence(case, from_us=early, to_us=early_to)[0] is Answer.LOCK


def test_an_interval_over_the_end_of_an_epoch_is_not_answered_and_each_epoch_says_why() -> None:
    answer, text = absence(two_epochs(begun_s=NOW_S, last_s=NOW_S + 60))
    assert answer is Answer.UNVERIFIABLE
    assert f"of epoch {OLD.hex()}, nothing the box signed after it says that disposition 2" in text
    assert f"of epoch {NEW.hex()}, nothing shows that its epoch was the car's before" in text


def test_a_batch_before_the_interval_dates_an_epoch_whose_own_clock_was_unknown() -> None:
    case = two_epochs(begun_s=None, last_s=NOW_S + 60)
    first = hashlib.sha256(case.steps[0]).digest()
    case.batches = [(FROM_US - 9 * SECOND_US, first), (TO_US + SECOND_US, case.last)]
    assert absence(case)[0] is Answer.NO_LOCK
    case.batches[0] = (FROM_US, first)
    assert absence(case)[0] is Answer.UNVERIFIABLE


def test_batches_lead_from_no_disposition_to_the_first_epoch_only_without_a_hole() -> None:
    case = Case(is_locked=False)
    case.begin_epoch()
    case.step(case.unlock, State.DONE, NOW_S)
    middle = (NOW_S + 10) * SECOND_US
    case.batches = [(FROM_US - 9 * SECOND_US, None), (middle, case.last), (TO_US + SECOND_US, case.last)]
    assert absence(case)[0] is Answer.NO_LOCK
    holed = [part for part in case.all_parts() if part.chain != CHAIN or part.seq != 2]
    assert absence(case, parts=holed)[0] is Answer.UNVERIFIABLE
    case.batches[0] = (FROM_US, None)
    assert absence(case)[0] is Answer.UNVERIFIABLE


def test_before_the_first_disposition_there_was_no_lock_if_the_box_says_so_all_through() -> None:
    case = Case(is_locked=False)
    case.begin_epoch()
    case.step(case.unlock, State.DONE, TO_S + 3_600)
    case.batches = [(FROM_US - 9 * SECOND_US, None), (NOW_S * SECOND_US, None), (TO_US + SECOND_US, None)]
    assert absence(case)[0] is Answer.NO_LOCK
    for at in range(3):
        holed = [part for part in case.all_parts() if part.chain != CHAIN or part.seq != at + 1]
        assert absence(case, parts=holed)[0] is Answer.UNVERIFIABLE


def test_a_batch_of_the_interval_that_names_what_is_not_here_is_never_a_yes() -> None:
    case = Case(is_locked=False)
    case.batches = [(NOW_S * SECOND_US, bytes(32)), (TO_US + SECOND_US, case.last)]
    answer, text = absence(case)
    assert (answer, "names a disposition that is not in the file" in text) == (Answer.UNVERIFIABLE, True)


def test_two_epochs_that_speak_in_one_interval_are_never_a_yes() -> None:
    case = Case(is_locked=False)
    last = case.last
    case.begin_epoch(NEW)
    case.step(case.unlock, State.DONE, NOW_S)
    case.batches = [(TO_US + SECOND_US, last)]
    answer, text = absence(case)
    assert (answer, "may have spoken in the interval too" in text) == (Answer.UNVERIFIABLE, True)


def test_a_lock_whose_end_may_lie_before_the_interval_is_neither_yes_nor_no() -> None:
    case = Case(steps=())
    case.begin_epoch()
    for state, at_s in ((State.LOCKED, FROM_S - 900), (State.RELEASED, None)):
        case.step(case.lock, state, at_s)
    answer, text = absence(case)
    assert (answer, "how long disposition 1" in text) == (Answer.UNVERIFIABLE, True)


# --- what it rests on, and what cars had then ---


def test_notices_and_pack_of_the_basis_are_told_as_the_loan_systems_word() -> None:
    system = LoanSystem(published_signer("stranger"), now_s=lambda: NOW_S)
    system.open_loan(CONTRACT, due_minor=1, due_since_s=NOW_S - 40 * 86_400)
    for channel, state in ((Channel.LETTER, Delivery.SERVED), (Channel.SMS, Delivery.BOUNCED)):
        system.notice(CONTRACT, bytes(16), channel, state, at_s=NOW_S - 400_000)
    bundle = system.basis(CONTRACT, pack=("US-CA", 7, bytes(32)))
    case = Case(lock_changes={17: hashlib.sha256(bundle).digest()})
    parts = [replace(part, data=bundle) if part.kind is PartKind.BASIS else part for part in case.all_parts()]
    report = case.verify(parts)
    assert report.verdict is Verdict.VERIFIED
    text = told(report)
    assert "jurisdiction pack US-CA version 7" in text
    assert "notice was served by letter at 2026-11-20T20:53:20Z." in text
    assert "notice was bounced by sms at 2026-11-20T20:53:20Z, which does not count." in text


def test_zone_set_and_hours_count_when_a_snapshot_here_names_them() -> None:
    zones, hours = b"a zone set", b"hours"
    fields = snapshot_fields(PLATFORM, PLATFORM_ROOT, 3) | {
        3: 2,
        10: ["US-CA", 8, hashlib.sha256(hours).digest()],
        11: [4, hashlib.sha256(zones).digest()],
    }
    newer = sign_with_root(SignKind.AUTHORITY, fields, by_roots(PLATFORM, *PLATFORM_ROOT[:3]))
    case = Case()
    sections = ((2, newer), (4, zones), (5, hours))
    more = [Part(kind=PartKind.AUTHORITY, section=section, data=data) for section, data in sections]
    report = case.verify([*case.all_parts(), *more])
    assert report.verdict is Verdict.VERIFIED
    assert (
        "By the platform's snapshot 2 cars then had pack US-CA version 8 (its hours are here) "
        "and zone set version 4 (it is here)." in told(report)
    )
    for at in range(1, 3):
        other = [*more[:at], replace(more[at], data=b"another"), *more[at + 1 :]]
        report = case.verify([*case.all_parts(), *other])
        assert (report.verdict, Code.AUTHORITY_BROKEN in codes(report)) == (Verdict.CONTRADICTED, True)


# --- bytes ---


def test_every_flipped_byte_of_a_case_is_found() -> None:
    case = Case()
    data, trust = case.file(), case.trust
    for at in range(0, len(data), STRIDE):
        changed = data[:at] + bytes([data[at] ^ 0x01]) + data[at + 1 :]
        assert verify(changed, trust).verdict in (Verdict.UNVERIFIABLE, Verdict.CONTRADICTED), at


@pytest.mark.parametrize(
    "kind",
    [
        PartKind.ORDER,
        PartKind.BASIS,
        PartKind.AUTHORITY,
        PartKind.DISPOSITION,
        PartKind.LEAF,
        PartKind.OPENING,
        PartKind.CHECKPOINT,
        PartKind.CONSISTENCY,
        PartKind.MCU_KEY,
    ],
)
def test_every_byte_of_an_orders_part_that_a_backend_changes_before_sealing_is_found(kind: PartKind) -> None:
    """The seal is the backend's own: what it may not forge has to be found by the parts themselves."""
    case = Case()
    trust = case.trust
    parts = case.all_parts()
    (at, part) = next((at, part) for at, part in enumerate(parts) if part.kind == kind)
    for byte in range(0, len(part.data), EVERY):
        flipped = part.data[:byte] + bytes([part.data[byte] ^ 0x01]) + part.data[byte + 1 :]
        changed = [*parts[:at], replace(part, data=flipped), *parts[at + 1 :]]
        report = verify(case.file(changed), trust)
        assert report.verdict in (Verdict.UNVERIFIABLE, Verdict.CONTRADICTED), (kind, byte)


# --- trust ---


def test_a_trust_file_brings_roots_logs_and_witnesses_and_a_wrong_one_is_refused() -> None:
    assert Trust.from_json('{"devices": [], "backend_keys": []}').roots == {}
    key = cose_key_bytes(RECEIPT_SIGNER.public_key).hex()
    good = (
        f'{{"devices": [], "backend_keys": [], "mcus": {{"{DEVICE}": ["{DEVICE}"]}},'
        f' "roots": {{"platform": {{"keys": ["{key}"], "threshold": 1}}}},'
        f' "log_keys": ["{LOG.key.to_text()}"],'
        f' "witness_keys": ["{witness_signer().key.to_text()}"]}}'
    )
    trust = Trust.from_json(good)
    assert trust.roots["platform"].threshold == 1
    assert trust.log_keys == (LOG.key,)
    for wrong in (
        good.replace('"threshold": 1', '"threshold": 2'),
        good.replace('"threshold": 1', '"threshold": true'),
        good.replace('"log_keys"', '"log_key"'),
        good.replace(LOG.key.to_text(), witness_signer().key.to_text()),
        good.replace(f'["{DEVICE}"]', '["00"]'),
        good.replace('"keys": ["', '"keys": ["00'),
    ):
        with pytest.raises(TrustError):
            Trust.from_json(wrong)
