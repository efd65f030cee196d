"""From the tables to a verdict: a lock that was logged, signed and answered, exported and verified."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete
from sqlmodel import Session, SQLModel

from backend import ledger
from backend.domain.refusal import Refusal
from backend.ledger import LeafType
from backend.store.authority import AuthorityDocument
from backend.store.dispositions import StoredDisposition
from backend.store.mcus import Mcu
from backend.store.orders import Order
from backend.usecases.export_evidence import export_evidence
from protocol import cose_sign
from protocol.checkpoint import cosign
from protocol.evidence import verify
from protocol.evidence_report import Answer, Code, Verdict
from protocol.ids import cose_key_bytes
from protocol.orders import OrderSigner, OrderType, SignKind, assemble, cmd_hash, encode_order, sign_part
from protocol.vectors.orders_good import restricting
from protocol.vectors.orders_story import (
    ATTESTATION,
    CONTRACT,
    EPOCH,
    JURISDICTION,
    LENDER_ID,
    MCU,
    NOW_S,
    VIN_BIND,
    documents,
    signer,
)
from tests.builders.evidence_orders import BASIS, BASIS_HASH, LOG, SECOND_US, WITNESS, Case
from tests.builders.ingest import ORG, Backend, Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.evidence_report import Report
    from tests.builders.databases import Engine

NOW_US = NOW_S * SECOND_US
DAY_US = 86_400 * SECOND_US


class World:
    """A backend that has one lock of one box behind it."""

    def __init__(self, folder: Path, *, is_logged: bool = True) -> None:
        self.box = Box(seed=1)
        self.backend = Backend(folder, boxes=[self.box])
        payload = encode_order(restricting(OrderType.LOCK) | {17: BASIS_HASH})
        people = [sign_part(SignKind.COMMAND, payload, signer(name)) for name in ("maker", "checker")]
        with self.backend.database.writing() as session, session.begin():
            self._people(session)
            ledger.append(
                session, LeafType.NOTICE, b"a notice", at_us=NOW_US, org_id=ORG, device_id=self.box.device
            )
            content = assemble(payload, people) if is_logged else b"something else"
            leaf = ledger.append(
                session, LeafType.ORDER, content, at_us=NOW_US, org_id=ORG, device_id=self.box.device
            )
        signed = self.publish()
        gate = signer("gate")
        third = OrderSigner(
            signer=gate.signer,
            role=gate.role,
            delegation=gate.delegation,
            log_ref=[signed.origin, leaf.index, signed.size, signed.root],
            attestation=ATTESTATION,
        )
        message = assemble(payload, [*people, sign_part(SignKind.COMMAND, payload, third)])
        case = Case()
        with self.backend.database.writing() as session, session.begin():
            self._order(session, message, basis=BASIS)
            unlock = case.orders[1].data
            ledger.append(
                session, LeafType.ORDER, unlock, at_us=NOW_US, org_id=ORG, device_id=self.box.device
            )
            self._order(session, unlock, basis=None)
            for number, document in enumerate(case.steps, start=1):
                session.add(
                    StoredDisposition(
                        org_id=ORG,
                        device_id=self.box.device,
                        mcu_id=MCU.kid.hex(),
                        epoch=EPOCH,
                        seq=number,
                        digest=hashlib.sha256(document).digest(),
                        cmd_id=case.lock[0].hex(),
                        state=1,
                        code=0,
                        document=document,
                        received_us=NOW_US,
                    )
                )
        self.publish()
        self.last = case.last
        self.trust = replace(
            case.trust,
            devices=frozenset({self.box.device}),
            backend_keys={self.backend.signer.kid: self.backend.signer.public_key},
            mcus={self.box.device: frozenset({MCU.kid})},
        )

    def publish(self) -> ledger.SignedCheckpoint:
        with self.backend.database.writing() as session, session.begin():
            signed = ledger.checkpoint(session, LOG, NOW_US)
        line = cosign(signed.note, WITNESS, at_s=NOW_S)
        with self.backend.database.writing() as session, session.begin():
            return ledger.add_cosignatures(session, signed.size, [line], log=LOG.key, witnesses=[WITNESS.key])

    def _people(self, session: Session) -> None:
        for name, data in documents().items():
            kind = "delegation" if name.startswith("delegation/") else "snapshot"
            payload, _ = cose_sign.read_sign(data)
            fields = cose_sign.strict_cbor.loads(payload)
            row = AuthorityDocument(
                digest=hashlib.sha256(data).hexdigest(),
                org_id=ORG,
                is_public=False,
                kind=kind,
                issuer=fields[1] if kind == "delegation" else fields[2],
                number=1,
                document=data,
                received_us=NOW_US,
            )
            session.add(row)
        session.add(
            Mcu(
                device_id=self.box.device,
                org_id=ORG,
                mcu_id=MCU.kid.hex(),
                cose_key=cose_key_bytes(MCU.public_key),
                epoch=EPOCH,
                vin_bind=VIN_BIND,
                contract_ref=CONTRACT,
                lender_id=LENDER_ID,
                jurisdiction=JURISDICTION,
                created_us=NOW_US,
                updated_us=NOW_US,
            )
        )

    def _order(self, session: Session, message: bytes, *, basis: bytes | None) -> None:
        payload, _ = cose_sign.read_sign(message)
        fields = cose_sign.strict_cbor.loads(payload)
        session.add(
            Order(
                org_id=ORG,
                device_id=self.box.device,
                cmd_id=fields[2].hex(),
                order_type=fields[3],
                cmd_hash=cmd_hash(payload),
                payload=payload,
                basis=basis,
                message=message,
                stage="ANSWERED",
                holds_slot=False,
                requested_by="test",
                due_us=NOW_US,
                created_us=NOW_US,
            )
        )

    def export(self, from_us: int, to_us: int) -> bytes:
        with self.backend.database.reading() as session:
            file = export_evidence(
                session,
                org_id=ORG,
                device_id=self.box.device,
                from_us=from_us,
                to_us=to_us,
                purpose="dispute",
                signer=self.backend.signer,
                now_us=to_us + SECOND_US,
            )
        assert not isinstance(file, Refusal)
        return file

    def report(
        self, from_us: int = NOW_US - 3_600 * SECOND_US, to_us: int = NOW_US + 7_200 * SECOND_US
    ) -> Report:
        return verify(self.export(from_us, to_us), self.trust)


@pytest.fixture
def world(request: pytest.FixtureRequest, tmp_path: Path, both_databases: Engine) -> Iterator[World]:
    del both_databases
    made = World(tmp_path, is_logged=getattr(request, "param", True))
    yield made
    made.backend.database.close()


def test_a_lock_and_its_release_are_exported_and_hold(world: World) -> None:
    report = world.report()
    assert report.verdict is Verdict.VERIFIED, report.sentences()
    text = "\n".join(report.sentences())
    assert "Entered in the log log.example/tbox at 1 before the gate signed." in text
    assert "Notices to the borrower are entered in the log at 0." in text
    assert "The starter was inhibited from 2026-11-25T12:03:00Z to 2026-11-25T12:50:00Z (RELEASED)." in text
    assert report.absence is not None
    assert report.absence.answer is Answer.LOCK


def test_answers_that_begin_after_the_day_do_not_tell_whether_a_lock_was_accepted_in_it(world: World) -> None:
    report = world.report(NOW_US - 2 * DAY_US, NOW_US - DAY_US)
    assert report.absence is not None
    assert report.absence.answer is Answer.UNVERIFIABLE
    assert "an earlier one may be left out" in report.absence.text


def test_no_lock_was_accepted_on_a_day_of_which_the_box_says_all_through_that_the_car_was_silent(
    world: World,
) -> None:
    begin_us = NOW_US - 2 * DAY_US
    chain = world.box.chain(utc_at_mono_0_us=begin_us - 60 * SECOND_US)
    world.backend.take(chain.next(length_us=30 * SECOND_US), *chain.many(10, length_us=DAY_US // 8))
    report = world.report(begin_us, NOW_US - DAY_US)
    assert report.absence is not None
    assert report.absence.answer is Answer.NO_LOCK


def test_no_lock_was_accepted_on_the_day_after(world: World) -> None:
    begin_us = NOW_US + DAY_US
    chain = world.box.chain(utc_at_mono_0_us=begin_us + SECOND_US)
    world.backend.now_us = begin_us + 2 * DAY_US
    world.backend.take(*chain.many(9, length_us=DAY_US // 8, disposition_head=world.last))
    report = world.report(begin_us, begin_us + DAY_US)
    assert report.absence is not None
    assert report.absence.answer is Answer.NO_LOCK


@pytest.mark.parametrize("world", [False], indirect=True)
def test_a_lock_that_was_not_logged_testifies_against_the_gate(world: World) -> None:
    report = world.report()
    assert report.verdict is Verdict.CONTRADICTED
    assert Code.ORDER_NOT_LOGGED in {finding.code for finding in report.findings}


def test_erasing_what_a_leaf_commits_to_leaves_the_lock_unproven_and_every_other_proof_whole(
    world: World,
) -> None:
    with world.backend.database.writing() as session, session.begin():
        ledger.erase(session, [0])
    assert world.report().verdict is Verdict.VERIFIED
    with world.backend.database.writing() as session, session.begin():
        ledger.erase(session, [1])
    report = world.report()
    assert report.verdict is Verdict.UNVERIFIABLE
    assert {Code.ORDER_LOG_UNPROVEN} <= {finding.code for finding in report.findings}


def test_a_disposition_that_the_backend_left_out_makes_the_case_unverifiable(world: World) -> None:
    with world.backend.database.writing() as session, session.begin():
        table = SQLModel.metadata.tables["disposition"]
        session.connection().execute(delete(table).where(table.c.seq == 3))
    report = world.report()
    assert report.verdict is Verdict.UNVERIFIABLE
    assert Code.DISPOSITION_GAP in {finding.code for finding in report.findings}
