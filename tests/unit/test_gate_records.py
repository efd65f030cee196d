"""Freezes, blocks and the rest that comes signed: by whom, what is in force of it, and when it ends."""

from dataclasses import replace

import pytest

from backend.gate.blocks import ends_at, in_force
from backend.gate.freezes import Freezes
from backend.gate.records import DocumentRefusedError
from backend.gate.store import first_broken
from protocol.envelope import Kind
from protocol.gate_records import GateRecord, RecordType, Scope, open_gate_record, sign_gate_record
from protocol.loan_facts import Block, BlockEnd, BlockEnding, Flag
from protocol.orders import Role, sign_document
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import LENDER_ID, MCU, NOW_S, PLATFORM, digest, revocation, signer
from tests.builders.gate import CONTRACT, DAY_S, GateWorld, pack

DOCUMENT = bytes(32)
GATE = published_signer("gate-1")
HERE = [(Scope.ALL, None), (Scope.LENDER, LENDER_ID), (Scope.CONTRACT, CONTRACT), (Scope.VEHICLE, MCU.kid)]
ELSEWHERE = [(Scope.LENDER, bytes(8)), (Scope.CONTRACT, bytes(32)), (Scope.VEHICLE, bytes(32))]


# --- freeze -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scope", "subject"), HERE)
@pytest.mark.parametrize("by", ["safety-officer", "ombuds"])
def test_a_freeze_stops_signatures_and_go_tokens_at_once(scope: Scope, subject: bytes, by: str) -> None:
    world = GateWorld()
    world.lock()
    part = world.gate.review(world.last_request).part
    freeze = world.gate_record(RecordType.FREEZE, {1: int(scope), 2: subject, 3: "a doubt"}, by)
    go = world.go()
    assert (go.verdict, go.rule, go.token) == ("HELD", "FREEZE", None)
    again = world.gate.review(world.last_request)
    assert (again.verdict, again.part) == ("HELD", None)
    basis = world.basis()
    assert world.screen(world.order(basis=basis), basis).verdict == "HELD"
    world.gate_record(RecordType.UNFREEZE, {1: freeze, 2: "looked at"})
    assert world.go().verdict == "HELD"  # asked for, and not lifted yet
    world.gate.lift(freeze, operator="operator 1")
    assert world.gate.review(world.last_request).part == part
    assert world.go().verdict == "GO"


@pytest.mark.parametrize(("scope", "subject"), ELSEWHERE)
def test_a_freeze_of_something_else_stops_nothing(scope: Scope, subject: bytes) -> None:
    world = GateWorld()
    world.gate_record(RecordType.FREEZE, {1: int(scope), 2: subject, 3: "a doubt"})
    assert world.lock().verdict == "SIGNED"


def test_a_freeze_does_not_hold_back_a_release() -> None:
    world = GateWorld()
    world.lock()
    world.gate_record(RecordType.FREEZE, {1: int(Scope.ALL), 2: None, 3: "a doubt"})
    assert world.release().verdict == "SIGNED"


def test_a_freeze_is_lifted_only_when_a_safety_officer_has_asked() -> None:
    world = GateWorld()
    freeze = world.gate_record(RecordType.FREEZE, {1: int(Scope.ALL), 2: None, 3: "a doubt"}, "ombuds")
    with pytest.raises(DocumentRefusedError, match="no safety officer"):
        world.gate.lift(freeze, operator="operator 1")
    with pytest.raises(DocumentRefusedError, match="may not sign"):
        world.gate_record(RecordType.UNFREEZE, {1: freeze, 2: "I think so"}, "ombuds")
    world.gate_record(RecordType.UNFREEZE, {1: bytes(16), 2: "another"})
    with pytest.raises(DocumentRefusedError, match="no safety officer"):
        world.gate.lift(freeze, operator="operator 1")
    assert world.lock().rule == "FREEZE"


@pytest.mark.parametrize(
    ("operator", "why"),
    [
        ("person safety-1", "asked for it"),
        ("  Person   SAFETY-1 ", "asked for it"),
        ("person ombuds-1", "as ombuds"),
        ("Person Maker-1", "as maker"),
        ("person checker-1", "as checker"),
        (" ", "1 to 64"),
        ("x" * 65, "1 to 64"),
    ],
)
def test_whoever_asked_or_signs_in_another_role_does_not_lift(operator: str, why: str) -> None:
    world = GateWorld()
    world.lock()  # maker and checker are known now
    freeze = world.gate_record(RecordType.FREEZE, {1: int(Scope.ALL), 2: None, 3: "a doubt"}, "ombuds")
    world.gate_record(RecordType.UNFREEZE, {1: freeze, 2: "looked at"})
    with pytest.raises(DocumentRefusedError, match=why):
        world.gate.lift(freeze, operator=operator)
    assert world.go().rule == "FREEZE"
    world.gate.lift(freeze, operator="operator 1")
    assert world.go().verdict == "GO"


def test_where_the_gate_keeps_a_register_its_operators_stand_in_it() -> None:
    world = GateWorld()
    trust = replace(world.gate.trust, operators=frozenset({"operator 2"}))
    world.gate.freezes = Freezes(trust, world.gate.book)
    freeze = world.gate_record(RecordType.FREEZE, {1: int(Scope.ALL), 2: None, 3: "a doubt"})
    world.gate_record(RecordType.UNFREEZE, {1: freeze, 2: "looked at"})
    with pytest.raises(DocumentRefusedError, match="not among the operators"):
        world.gate.lift(freeze, operator="operator 1")
    world.gate.lift(freeze, operator="operator 2")
    assert world.lock().verdict == "SIGNED"


def test_an_ask_ends_with_the_officer_who_signed_it_and_another_may_ask() -> None:
    world = GateWorld()
    world.enlist("safety-2", "checker-2", Role.SAFETY_OFFICER, person="person safety-2")
    freeze = world.gate_record(RecordType.FREEZE, {1: int(Scope.ALL), 2: None, 3: "a doubt"}, "ombuds")
    world.gate_record(RecordType.UNFREEZE, {1: freeze, 2: "looked at"})
    with world.store.writing() as at:
        fields = {1: 1, 2: PLATFORM, 3: 1, 4: NOW_S, 5: ["person safety-1"]}
        revoked = sign_document(Kind.REVOCATION, fields, published_signer("online-1"))
        world.gate.records.take_authority(at, "revocation", revoked, world.clock.now_s())
        added = world.documents["delegation/safety-2"]
        world.gate.records.take_authority(at, "delegation", added, world.clock.now_s())
    with pytest.raises(DocumentRefusedError, match="no safety officer any more"):
        world.gate.lift(freeze, operator="operator 1")
    again = world.gate_record(RecordType.UNFREEZE, {1: freeze, 2: "looked at too"}, "safety-2")
    world.gate.lift(freeze, operator="operator 1")
    with world.store.writing() as at:
        _, operator, document = at.gate_records(int(RecordType.LIFT))[0]
    lifted = open_gate_record(document, {GATE.kid: GATE.public_key}.get)
    assert (operator, lifted.body) == ("operator 1", {1: freeze, 2: again, 3: "operator 1"})


def test_an_ask_from_before_its_freeze_is_none() -> None:
    world = GateWorld()
    world.gate_record(RecordType.UNFREEZE, {1: bytes(16), 2: "whatever comes"})
    world.clock.wait(1)
    body = {1: int(Scope.ALL), 2: None, 3: "a doubt"}
    freeze = world.gate_record(RecordType.FREEZE, body, record_id=bytes(16))
    with pytest.raises(DocumentRefusedError, match="no safety officer has asked"):
        world.gate.lift(freeze, operator="operator 1")


def test_a_freeze_outlives_the_process() -> None:
    world = GateWorld()
    world.gate_record(RecordType.FREEZE, {1: int(Scope.ALL), 2: None, 3: "a doubt"})
    world.gate = world.open()
    assert world.lock().rule == "FREEZE"


@pytest.mark.parametrize("by", ["maker", "checker", "gate"])
def test_nobody_else_signs_a_freeze_or_a_limit(by: str) -> None:
    world = GateWorld()
    world.lock()  # its delegations are known now
    for kind, body in (
        (RecordType.FREEZE, {1: 1, 2: None, 3: "mine"}),
        (RecordType.LIMIT, {1: LENDER_ID, 2: 1, 3: 1, 4: 0}),
    ):
        with pytest.raises(DocumentRefusedError, match="UNKNOWN_KEY"):
            world.gate_record(kind, body, by)


def test_a_limit_is_not_the_ombuds_to_set_and_an_opinion_not_an_officer_s() -> None:
    world = GateWorld()
    with pytest.raises(DocumentRefusedError, match="may not sign a LIMIT"):
        world.gate_record(RecordType.LIMIT, {1: LENDER_ID, 2: 1, 3: 1, 4: 0}, "ombuds")
    opinion = GateRecord(
        type=RecordType.OPINION,
        record_id=bytes(16),
        written_s=NOW_S,
        delegation=digest("safety-officer"),
        body={1: "US-NJ", 2: pack("us-nj").digest, 3: NOW_S + DAY_S, 4: "mine"},
    )
    document = sign_gate_record(opinion, signer("safety-officer").signer)
    with pytest.raises(DocumentRefusedError, match="no counsel"), world.store.writing() as at:
        world.gate.records.take_gate_record(at, document, (RecordType.OPINION,), NOW_S)


def test_a_gate_s_own_lift_is_not_taken_from_outside() -> None:
    world = GateWorld()
    record = GateRecord(
        type=RecordType.LIFT,
        record_id=bytes(16),
        written_s=1,
        delegation=None,
        body={1: bytes(16), 2: bytes(16), 3: "x"},
    )
    document = sign_gate_record(record, published_signer("gate-1"))
    with pytest.raises(DocumentRefusedError, match="belong"), world.store.writing() as at:
        world.gate.records.take_gate_record(at, document, (RecordType.UNFREEZE,), NOW_S)


# --- records ------------------------------------------------------------------------------------------------


def test_the_same_record_again_changes_nothing_and_another_of_its_id_is_refused() -> None:
    world = GateWorld()
    state = world.random.getstate()
    first = world.system.pay(CONTRACT, 5, is_posted=True)
    world.random.setstate(state)
    other = world.system.pay(CONTRACT, 6, is_posted=True)
    assert world.record(first)[0]
    assert world.record(first) == (False, "known")
    with pytest.raises(DocumentRefusedError, match="another record"):
        world.record(other)


def test_a_record_of_a_stranger_s_key_is_refused() -> None:
    world = GateWorld()
    world.system.signer = published_signer("maker-1")
    with pytest.raises(DocumentRefusedError, match="UNKNOWN_KEY"):
        world.record(world.system.pay(CONTRACT, 5, is_posted=True))


def test_a_revoked_person_signs_nothing_more() -> None:
    world = GateWorld()
    world.lock()
    with world.store.writing() as at:
        world.gate.records.take_authority(at, "revocation", revocation(1, "person checker-1"), NOW_S)
    world.clock.wait(3_600)
    assert world.lock().rule == "SIGNERS"
    world.gate = world.open()
    world.clock.wait(3_600)
    assert world.lock().rule == "SIGNERS"


def test_a_journal_line_that_was_changed_is_found() -> None:
    world = GateWorld()
    world.lock()
    with world.store.writing() as at:
        lines = at.journal()
    assert first_broken(lines) is None
    for change in ({"event": "go"}, {"at_s": 1}, {"subject": b"x"}, {"body": b"\xa0\x00"}):
        assert first_broken([lines[0], replace(lines[1], **change), *lines[2:]]) == 2
    assert first_broken(lines[1:]) == 1


# --- blocks -------------------------------------------------------------------------------------------------


def block(flag: Flag, until_s: int | None = None) -> Block:
    return Block(block_id=b"b" * 16, flag=flag, owner="desk", reason="told", until_s=until_s, document=None)


def end(how: BlockEnding, by: str = "manager", document: bytes | None = DOCUMENT) -> BlockEnd:
    return BlockEnd(block_id=b"b" * 16, by=by, how=how, document=document)


WRITTEN, PAPER, LIFTED = BlockEnding.ANSWERED_IN_WRITING, BlockEnding.DOCUMENT, BlockEnding.OWNER_LIFTED


@pytest.mark.parametrize(
    ("found", "ends", "still"),
    [
        (block(Flag.PROMISE, 101), [], True),
        (block(Flag.PROMISE, 100), [], False),
        (block(Flag.PROMISE, 101), [end(PAPER), end(WRITTEN), end(LIFTED)], True),
        (block(Flag.PROMISE), [], True),
        (block(Flag.DISPUTE), [end(WRITTEN)], False),
        (block(Flag.DISPUTE), [end(WRITTEN, by="the maker")], True),
        (block(Flag.DISPUTE), [end(WRITTEN, by=" THE  Maker")], True),
        (block(Flag.DISPUTE), [end(WRITTEN, by="the maker"), end(WRITTEN)], False),
        (block(Flag.DISPUTE), [end(WRITTEN, document=None)], True),
        (block(Flag.DISPUTE), [end(PAPER), end(LIFTED)], True),
        (block(Flag.DISPUTE, 50), [], True),  # a dispute has no date
        (block(Flag.BANKRUPTCY), [end(PAPER)], False),
        (block(Flag.BANKRUPTCY), [end(PAPER, document=None), end(WRITTEN), end(LIFTED)], True),
        (block(Flag.BANKRUPTCY, 50), [], True),
        (block(Flag.ACTIVE_DUTY), [end(PAPER)], False),
        (block(Flag.ACTIVE_DUTY, 50), [end(WRITTEN)], True),
        (block(Flag.HARDSHIP, 100), [], False),
        (block(Flag.HARDSHIP, 101), [end(PAPER)], False),
        (block(Flag.HARDSHIP), [end(WRITTEN)], True),
        (block(Flag.MEDICAL, 101), [], True),
        (block(Flag.PAID_OFF, 50), [end(PAPER), end(WRITTEN), end(LIFTED)], True),
    ],
)
def test_each_kind_of_block_ends_in_its_own_way_only(
    found: Block,
    ends: list[BlockEnd],
    still: bool,  # noqa: FBT001 - a column of the table
) -> None:
    kept = in_force([found], ends, now_s=100, signers=frozenset({"the maker", "the checker"}))
    assert bool(kept) is still


def test_only_blocks_with_a_date_of_their_own_have_an_earliest_end() -> None:
    assert ends_at([block(Flag.PROMISE, 7)]) == 7
    assert ends_at([block(Flag.PROMISE, 7), block(Flag.DISPUTE)]) is None
    assert ends_at([block(Flag.BANKRUPTCY, 7)]) is None


@pytest.mark.parametrize("flag", list(Flag))
def test_each_flag_alone_stops_every_step_also_without_a_record(flag: Flag) -> None:
    world = GateWorld()
    world.lock()
    world.loan.flags = {flag}
    go = world.go()
    assert (go.verdict, go.rule) == ("NO_GO", "BLOCK")
    world.clock.wait(3_600)
    assert world.lock().rule == "BLOCK"
    assert world.last_screen.rule == "BLOCK"


def test_a_block_s_record_stops_although_the_loan_system_s_answer_is_silent_about_it() -> None:
    world = GateWorld()
    until_s = world.start_s + 2 * 3_600
    _, record = world.system.block(CONTRACT, Flag.PROMISE, until_s=until_s)
    world.loan.blocks.clear()
    world.record(record)
    answer = world.lock()
    assert (answer.rule, answer.earliest) == ("BLOCK", until_s)
    world.clock.wait(2 * 3_600)
    assert world.lock().verdict == "SIGNED"
