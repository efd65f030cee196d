"""The good messages: each as every reader must read it.

Rules: the batches form one chain of three (first, complete, without sections) and the start of a second chain
that the box began after a conflict; every other kind of message follows once.

This module writes no file: see `generate`.

Example:
    >>> sorted(good_messages())[:2]
    ['authority-bundle', 'authority-question']
"""

import hashlib
from collections.abc import Mapping
from dataclasses import replace
from functools import cache

from protocol.authority_bundle import (
    AuthorityQuestion,
    ChallengeQuestion,
    DocumentKind,
    encode_authority_question,
    encode_bundle,
    encode_challenge_question,
)
from protocol.batch import (
    BatchHeader,
    ChainHead,
    Counts,
    DropCause,
    EndedLoss,
    Gap,
    GapCause,
    Loss,
    LossCause,
    Origin,
    OriginKind,
    Section,
    assemble,
    encode_header,
    head_hash,
    salted,
    section_ref,
)
from protocol.clock import ClockClass
from protocol.enrolment import RenewalProof, enrolment_proof, sign_enrolment_proof, sign_renewal_proof
from protocol.envelope import Kind, sign1
from protocol.ids import BootId, ChainId, cose_key_bytes
from protocol.key_succession import KeyRole, KeySuccession, sign_key_succession
from protocol.policy_codec import encode_policy, policy_hash, sign_policy
from protocol.receipts import Have, Receipt, RefusalCode, Stream, encode_receipt, sign_receipt
from protocol.signed_time import TimeRequest, TimeToken, sign_time_request, sign_time_token
from protocol.standing import StandingRequest, sign_standing_request
from protocol.topics import encode_status
from protocol.vectors.installs import install_messages
from protocol.vectors.keys import published_signer
from protocol.vectors.loans import loan_messages
from protocol.vectors.orders_good import good_documents
from protocol.vectors.orders_story import EPOCH, MCU, digest, documents
from protocol.vectors.story import (
    BOOT,
    CHAIN,
    CSR_DER,
    DEVICE,
    DEVICE_SIGNER,
    NONCE,
    NOON_US,
    POLICY,
    RECEIPT_SIGNER,
    TOKEN,
    fixed_bytes,
    section_data,
)


def salted_sections(seq: int) -> dict[int, bytes]:
    """Return the sections of batch `seq`, each behind a salt of its own."""
    return {
        section: salted(data, fixed_bytes(f"salt {seq} {section}"))
        for section, data in section_data().items()
    }


def header(seq: int, prev: bytes | None, sections: dict[int, bytes]) -> BatchHeader:
    """Return a plain header of the first chain; batches change what they need."""
    return BatchHeader(
        device=DEVICE,
        chain=CHAIN,
        seq=seq,
        prev=prev,
        boot=BOOT,
        mono_start_us=seq * 1_000_000,
        mono_end_us=seq * 1_000_000 + 1_500_000,
        utc_start_us=None,
        utc_end_us=None,
        clock=ClockClass.NONE,
        clock_error_us=None,
        counts=Counts(),
        gaps=(),
        losses=(),
        drops={},
        policy=None,
        profile=None,
        order_head=None,
        disposition_head=None,
        checkpoint=None,
        sections={section: section_ref(stored) for section, stored in sections.items()},
        origin=Origin(kind=OriginKind.FIRST, last_head=None) if seq == 1 else None,
    )


def headers() -> dict[str, tuple[BatchHeader, dict[int, bytes]]]:
    """Return each batch's header and the sections that travel with it, by name."""
    first_parts = {
        key: part for key, part in salted_sections(1).items() if key in (Section.FACTS, Section.SIGNALS)
    }
    first = replace(
        header(1, None, first_parts),
        counts=Counts(frames_received=4, frames_decoded=3, samples=6, rows=3),
        drops={DropCause.UNKNOWN_ID: 1},
    )
    second_parts = salted_sections(2)
    second = replace(
        header(2, _head_of(first), second_parts),
        utc_start_us=NOON_US,
        utc_end_us=NOON_US + 1_500_000,
        clock=ClockClass.GNSS,
        clock_error_us=1_000,
        counts=Counts(frames_received=3, frames_decoded=3, samples=6, fixes=2, rows=3),
        gaps=(
            Gap(boot=BootId(fixed_bytes("boot 0")), start_us=7_000_000, end_us=None, cause=GapCause.POWER),
        ),
        policy=policy_hash(POLICY),
        profile=fixed_bytes("profile", 32),
    )
    third = replace(header(3, _head_of(second), {}), losses=(Loss(first=1, last=1, cause=LossCause.QUOTA),))
    head = ChainHead(chain=CHAIN, seq=3, hash=_head_of(third))
    other = replace(
        header(1, None, {}),
        chain=ChainId(fixed_bytes("chain 2")),
        origin=Origin(kind=OriginKind.CONFLICT, last_head=head),
        ended_losses=(
            EndedLoss(chain=CHAIN, first=4, last=5, cause=LossCause.QUOTA),
            EndedLoss(chain=CHAIN, first=6, last=6, cause=LossCause.RESEALED),
        ),
    )
    without_fixes = {key: part for key, part in second_parts.items() if key != Section.FIXES}
    return {
        "batch/1": (first, first_parts),
        "batch/2": (second, second_parts),
        "batch/2-fixes-withheld": (second, without_fixes),
        "batch/3": (third, {}),
        "batch/other-chain": (other, {}),
    }


def receipt() -> Receipt:
    """Return a receipt that uses each of its lists."""
    heads = {name: _head_of(found) for name, (found, _) in headers().items()}
    return Receipt(
        device=DEVICE,
        stream=Stream.BATCH,
        chain=CHAIN,
        upto=2,
        hash=heads["batch/2"],
        have=(Have(first=4, last=9, hash=fixed_bytes("head 9", 32)),),
        refused=((10, RefusalCode.CONFLICT),),
        want=((1, 1),),
        issued_us=NOON_US + 2_000_000,
    )


def answer() -> Receipt:
    """Return the receipt of a backend that was restored and is asked where the chain stands."""
    return Receipt(
        device=DEVICE,
        stream=Stream.BATCH,
        chain=CHAIN,
        upto=0,
        hash=None,
        have=(),
        refused=(),
        want=((1, 3),),
        issued_us=NOON_US + 3_000_000,
        answers=NONCE,
    )


def disposition_receipt() -> Receipt:
    """Return the receipt of a device's dispositions: the epoch is the chain."""
    return Receipt(
        device=DEVICE,
        stream=Stream.DISPOSITION,
        chain=ChainId(EPOCH),
        upto=2,
        hash=hashlib.sha256(good_documents()["disposition"]).digest(),
        have=(),
        refused=(),
        want=(),
        issued_us=NOON_US + 4_000_000,
    )


def _beside_orders() -> dict[str, bytes]:
    """Return what carries orders and their documents (SPEC §18.10)."""
    named = documents()
    bundle = [
        (DocumentKind.SNAPSHOT, named["authority/lender"]),
        (DocumentKind.DELEGATION, named["delegation/maker"]),
    ]
    wanted = AuthorityQuestion(mcu_id=MCU.kid, digests=(digest("maker"), digest("checker")))
    in_force = AuthorityQuestion(mcu_id=MCU.kid, digests=())
    challenge = ChallengeQuestion(mcu_id=MCU.kid, nonce=fixed_bytes("question"))
    return {
        "authority-bundle": encode_bundle(bundle),
        "authority-question": encode_authority_question(wanted),
        "authority-question/in-force": encode_authority_question(in_force),
        "challenge-question": encode_challenge_question(challenge),
        "receipt/disposition": sign_receipt(disposition_receipt(), RECEIPT_SIGNER),
    }


@cache
def good_messages() -> Mapping[str, bytes]:
    """Return every good message by name."""
    messages: dict[str, bytes] = {}
    for name, (found, parts) in headers().items():
        payload = encode_header(found)
        message = sign1(Kind.BATCH, payload, DEVICE_SIGNER)
        messages |= {f"{name}/header": payload, f"{name}/sign1": message, name: assemble(message, parts)}
    messages |= {f"section/{section.name.lower()}": data for section, data in section_data().items()}
    successor = cose_key_bytes(published_signer("receipt-2").public_key)
    return (
        messages
        | _beside_orders()
        | dict(loan_messages())
        | dict(install_messages())
        | {
            "receipt/payload": encode_receipt(receipt()),
            "receipt": sign_receipt(receipt(), RECEIPT_SIGNER),
            "receipt/answer": sign_receipt(answer(), RECEIPT_SIGNER),
            "standing-request": sign_standing_request(
                StandingRequest(device=DEVICE, nonce=NONCE, chains=((CHAIN, 3),)), DEVICE_SIGNER
            ),
            "time-request": sign_time_request(TimeRequest(nonce=NONCE, device=DEVICE), DEVICE_SIGNER),
            "time": sign_time_token(TimeToken(nonce=NONCE, utc_us=NOON_US), RECEIPT_SIGNER),
            "policy/payload": encode_policy(POLICY),
            "policy": sign_policy(POLICY, published_signer("policy-1")),
            "enrol": sign_enrolment_proof(
                enrolment_proof(DEVICE_SIGNER.public_key, csr_der=CSR_DER, token=TOKEN), DEVICE_SIGNER
            ),
            "renew": sign_renewal_proof(
                RenewalProof(device=DEVICE, csr_sha256=hashlib.sha256(CSR_DER).digest(), nonce=NONCE),
                DEVICE_SIGNER,
            ),
            "key-succession": sign_key_succession(
                KeySuccession(role=KeyRole.RECEIPT, successor=successor, valid_from_us=NOON_US),
                RECEIPT_SIGNER,
            ),
            "status/online": encode_status(is_online=True),
        }
    )


def _head_of(found: BatchHeader) -> bytes:
    return head_hash(sign1(Kind.BATCH, encode_header(found), DEVICE_SIGNER))
