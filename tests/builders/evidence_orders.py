"""A lock and its release as evidence, made from published keys: a log, people, a car, and whoever seals it.

Example:
    case = Case()                      # everything true
    report = case.verify()
    case = Case(logged=b"another")     # the gate signed what was not logged
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from protocol import codec, cose_sign
from protocol.batch import (
    BatchHeader,
    Counts,
    Origin,
    OriginKind,
    Section,
    encode_header,
    head_hash,
    salted,
    section_ref,
)
from protocol.checkpoint import Checkpoint, add_signatures, cosign, sign_checkpoint
from protocol.clock import ClockClass
from protocol.envelope import Kind, sign1
from protocol.evidence import verify
from protocol.evidence_file import write_file
from protocol.evidence_manifest import ChainClaim, Manifest, Part, PartKind, part_ref
from protocol.evidence_report import RootAnchor, Trust
from protocol.facts import Facts, encode_facts
from protocol.ids import ChainId, cose_key_bytes
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import Frontier, consistency_ranges, inclusion_ranges, leaf_hash, range_hash
from protocol.orders import (
    OrderSigner,
    OrderType,
    SignKind,
    State,
    assemble,
    cmd_hash,
    encode_order,
    sign_document,
    sign_part,
)
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import releasing, restricting
from protocol.vectors.orders_story import ANCHORS, ATTESTATION, EPOCH, MCU, NOW_S, documents, signer
from protocol.vectors.story import BOOT, CHAIN, DEVICE, DEVICE_SIGNER, RECEIPT_SIGNER
from tests.builders.ledger import ORIGIN, log_signer, witness_signer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from protocol.evidence_report import Report

LOG, WITNESS = log_signer(), witness_signer()
BASIS = b"loan facts, notices and a counsel's opinion"
BASIS_HASH = hashlib.sha256(BASIS).digest()
SECOND_US = 1_000_000
FROM_US, TO_US = (NOW_S - 3_600) * SECOND_US, (NOW_S + 7_200) * SECOND_US
DOCUMENTS = {"authority/platform": 2, "authority/lender": 2}
LOCK_STEPS = (State.ACCEPTED_PENDING, State.WARNING, State.ARMED, State.LOCKED)
SALT = b"salt of sixteen!"
NO_ORDER = ChainId(bytes(16)), bytes(32)
"""Named by a word of the car about no order."""


class Log:
    """A log in memory with its proofs."""

    def __init__(self) -> None:
        self.frontier = Frontier()
        self.subtrees: dict[tuple[int, int], bytes] = {}
        self.leaves: list[tuple[bytes, bytes]] = []
        self.roots = {}

    def append(self, leaf_type: LeafType, content: bytes) -> int:
        leaf = leaf_data(leaf_type, commitment(SALT, content))
        self.subtrees.update(dict(self.frontier.append(leaf_hash(leaf))))
        self.leaves.append((leaf, content))
        self.roots[self.frontier.size] = self.frontier.root()
        return len(self.leaves) - 1

    def checkpoint(self, size: int, *, is_witnessed: bool = True) -> Part:
        note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=self.roots[size]), LOG)
        if is_witnessed:
            note = add_signatures(note, [cosign(note, WITNESS, at_s=NOW_S)])
        return Part(kind=PartKind.CHECKPOINT, seq=size, data=note)

    def leaf(self, index: int, size: int) -> Part:
        path = [range_hash(part, self.subtrees.__getitem__) for part in inclusion_ranges(index, size)]
        data = codec.encode([self.leaves[index][0], size, path])
        return Part(kind=PartKind.LEAF, seq=index + 1, data=data)

    def opening(self, index: int) -> Part:
        return Part(kind=PartKind.OPENING, seq=index + 1, data=SALT + self.leaves[index][1])

    def growth(self, first: int, second: int) -> Part:
        path = [range_hash(part, self.subtrees.__getitem__) for part in consistency_ranges(first, second)]
        return Part(kind=PartKind.CONSISTENCY, seq=first, data=codec.encode([first, second, path]))


class Case:
    """One case file and who verifies it; what is wrong with it is said when it is made."""

    def __init__(
        self,
        *,
        logged: bytes | None = None,
        log_ref: Sequence[object] | None = None,
        gate: OrderSigner | None = None,
        is_locked: bool = True,
        steps: Sequence[State] = LOCK_STEPS,
        lock_changes: dict[int, object] | None = None,
    ) -> None:
        self.log = Log()
        for number in range(3):
            self.log.append(LeafType.NOTICE, b"notice %d" % number)
        self.orders: list[Part] = []
        self.parts: list[Part] = []
        self.last: bytes | None = None
        self.epoch: bytes = EPOCH
        self.epochs: dict[bytes, list[bytes]] = {EPOCH: []}
        self.batches: list[tuple[int, bytes | None]] = []
        if is_locked:
            self._lock(logged, log_ref, gate, lock_changes or {})
            for at, state in enumerate(steps):
                self.step(self.lock, state, NOW_S + 60 * at)
        self.unlock_payload = encode_order(releasing(OrderType.UNLOCK))
        part = sign_part(SignKind.COMMAND, self.unlock_payload, signer("ombuds"))
        self.unlock = self._order(self.unlock_payload, assemble(self.unlock_payload, [part]))
        self.unlock_index = self.log.append(LeafType.ORDER, self.orders[-1].data)
        if is_locked:
            self.step(self.lock, State.RELEASED, NOW_S + 3_000)
        else:
            self.step(NO_ORDER, State.FAULT_RELEASED, NOW_S - 7_200)
        self.step(self.unlock, State.DONE, NOW_S + 3_000)

    def _lock(
        self,
        logged: bytes | None,
        log_ref: Sequence[object] | None,
        gate: OrderSigner | None,
        changes: dict[int, object],
    ) -> None:
        fields = restricting(OrderType.LOCK) | {17: BASIS_HASH} | changes
        payload = encode_order(fields)
        people = [sign_part(SignKind.COMMAND, payload, signer(name)) for name in ("maker", "checker")]
        self.lock_index = self.log.append(LeafType.ORDER, logged or assemble(payload, people))
        self.lock_size = len(self.log.leaves)
        ref = log_ref or [ORIGIN, self.lock_index, self.lock_size, self.log.roots[self.lock_size]]
        plain = gate or signer("gate")
        third = sign_part(
            SignKind.COMMAND,
            payload,
            OrderSigner(
                signer=plain.signer,
                role=plain.role,
                delegation=plain.delegation,
                log_ref=ref,
                attestation=ATTESTATION,
            ),
        )
        self.lock = self._order(payload, assemble(payload, [*people, third]))
        self.parts.append(Part(kind=PartKind.BASIS, chain=self.lock[0], data=BASIS))
        self.log.append(LeafType.LOAN_FACTS, b"facts")

    def _order(self, payload: bytes, message: bytes) -> tuple[ChainId, bytes]:
        cmd_id = ChainId(cose_sign.strict_cbor.loads(payload)[2])
        self.orders.append(Part(kind=PartKind.ORDER, chain=cmd_id, data=message))
        return cmd_id, cmd_hash(payload)

    def begin_epoch(self, epoch: bytes = EPOCH) -> None:
        """The car's record is lost: its numbers begin again. The same epoch again forgets its steps."""
        self.epoch, self.last = epoch, None
        self.epochs[epoch] = []

    @property
    def steps(self) -> list[bytes]:
        """Dispositions of the epoch that is current."""
        return self.epochs[self.epoch]

    @steps.setter
    def steps(self, steps: list[bytes]) -> None:
        self.epochs[self.epoch] = steps

    def step(
        self,
        order: tuple[ChainId, bytes],
        state: State,
        at_s: int | None,
    ) -> None:
        """Add the car's next disposition."""
        number = len(self.steps) + 1
        is_locked = state is State.LOCKED
        document = sign_document(
            Kind.DISPOSITION,
            {
                1: 1,
                2: hashlib.sha256(self.epoch + b"disposition %d" % number).digest()[:16],
                3: order[0],
                4: order[1],
                5: MCU.kid,
                6: self.epoch,
                7: number,
                8: self.last,
                9: int(state),
                10: 0,
                11: 50_000 + number,
                12: [at_s, at_s, 1],
                13: [],
                14: [is_locked, is_locked],
                15: [False, False],
                16: None,
                17: [0, 3],
                18: True,
                19: [bytes(32), False],
                20: None,
            },
            MCU,
        )
        self.steps.append(document)
        self.last = hashlib.sha256(document).digest()

    @property
    def trust(self) -> Trust:
        """Someone who brought every key."""
        return Trust(
            devices=frozenset({DEVICE}),
            backend_keys={RECEIPT_SIGNER.kid: RECEIPT_SIGNER.public_key},
            mcus={DEVICE: frozenset({MCU.kid})},
            roots={
                issuer: RootAnchor(
                    keys=tuple(cose_key_bytes(published_signer(name).public_key) for name in names),
                    threshold=threshold,
                )
                for issuer, (names, threshold) in ANCHORS.items()
            },
            log_keys=(LOG.key,),
            witness_keys=(WITNESS.key,),
        )

    def log_parts(self) -> list[Part]:
        """Checkpoints, growth and leaves."""
        size = len(self.log.leaves)
        parts = [self.log.checkpoint(size), self.log.leaf(self.unlock_index, size), self.log.leaf(0, size)]
        parts.append(self.log.opening(self.unlock_index))
        if hasattr(self, "lock_index"):
            parts += [
                self.log.checkpoint(self.lock_size),
                self.log.growth(self.lock_size, size),
                self.log.leaf(self.lock_index, self.lock_size),
                self.log.opening(self.lock_index),
            ]
        return parts

    def all_parts(self) -> list[Part]:
        """Every part of the file."""
        authority = [
            Part(kind=PartKind.AUTHORITY, section=2 if name.startswith("authority/") else 1, data=data)
            for name, data in documents().items()
            if name in {"authority/platform", "authority/lender", "delegation/maker", "delegation/checker",
                        "delegation/gate", "delegation/ombuds"}
        ]  # fmt: skip
        dispositions = [
            Part(kind=PartKind.DISPOSITION, chain=ChainId(epoch), seq=number, data=data)
            for epoch, steps in self.epochs.items()
            for number, data in enumerate(steps, start=1)
        ]
        return [
            Part(kind=PartKind.KEY, data=cose_key_bytes(DEVICE_SIGNER.public_key)),
            Part(kind=PartKind.MCU_KEY, data=cose_key_bytes(MCU.public_key)),
            *self.batch(),
            *authority,
            *self.orders,
            *self.parts,
            *self.log_parts(),
            *dispositions,
        ]

    def batch(self, start_us: int = TO_US + SECOND_US) -> list[Part]:
        """The batches that were said, or one after the interval whose header names the last disposition."""
        prev: bytes | None = None
        parts: list[Part] = []
        for seq, (begin_us, head) in enumerate(self.batches or [(start_us, self.last)], start=1):
            facts = salted(encode_facts(Facts()), bytes(16))
            header = BatchHeader(
                device=DEVICE,
                chain=CHAIN,
                seq=seq,
                prev=prev,
                boot=BOOT,
                mono_start_us=seq,
                mono_end_us=seq + 1,
                utc_start_us=begin_us,
                utc_end_us=begin_us + SECOND_US,
                clock=ClockClass.GNSS,
                clock_error_us=1_000,
                counts=Counts(frames_received=0, frames_decoded=0, samples=0, rows=0),
                gaps=(),
                losses=(),
                drops={},
                policy=None,
                profile=None,
                order_head=None,
                disposition_head=head,
                checkpoint=None,
                sections={Section.FACTS: section_ref(facts)},
                origin=Origin(kind=OriginKind.FIRST, last_head=None) if seq == 1 else None,
            )
            signed = sign1(Kind.BATCH, encode_header(header), DEVICE_SIGNER)
            prev = head_hash(signed)
            parts += [
                Part(kind=PartKind.HEADER, chain=CHAIN, seq=seq, data=signed),
                Part(kind=PartKind.SECTION, chain=CHAIN, seq=seq, section=int(Section.FACTS), data=facts),
            ]
        return parts

    def file(self, parts: Sequence[Part] | None = None, **changes: Any) -> bytes:
        """The file, sealed, of these parts."""
        chosen = list(self.all_parts() if parts is None else parts)
        batches = max(1, len(self.batches))
        manifest = Manifest(
            device=DEVICE,
            from_us=FROM_US,
            to_us=TO_US,
            sealed_us=TO_US + 60 * SECOND_US,
            purpose="dispute",
            chains=(ChainClaim(chain=CHAIN, first=1, last=batches, highest=batches),),
            withheld=(),
            parts=tuple(map(part_ref, chosen)),
            dispositions=tuple(
                ChainClaim(chain=ChainId(epoch), first=1, last=max(1, len(steps)), highest=max(1, len(steps)))
                for epoch, steps in self.epochs.items()
            ),
        )
        return write_file(replace(manifest, **changes), chosen, RECEIPT_SIGNER)

    def verify(
        self, parts: Sequence[Part] | None = None, *, trust: Trust | None = None, **changes: Any
    ) -> Report:
        """The verdict on the file."""
        return verify(self.file(parts, **changes), trust or self.trust)

    def without(self, *kinds: PartKind) -> list[Part]:
        """All parts but those of some kinds."""
        return [part for part in self.all_parts() if part.kind not in kinds]
