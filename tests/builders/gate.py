"""A gate with its lender, people, car, log and loan, all in one process and in virtual time.

Example:
    world = GateWorld()
    assert world.lock().verdict == "SIGNED"
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.gate.forms import (
    Answer,
    GoRequest,
    LogProof,
    Part,
    ReleaseRequest,
    ReviewRequest,
    ScreenRequest,
)
from backend.gate.gate import Gate
from backend.gate.logged import LogTrust
from backend.gate.pack import Pack, load_toml
from backend.gate.ports import LoanSystemError
from backend.gate.store import GateStore
from backend.gate.trust import Lender, PackShelf, Trust
from protocol import cose_sign, strict_cbor
from protocol.base64url import to_bytes, to_text
from protocol.checkpoint import Checkpoint, NoteSigner, add_signatures, cosign, sign_checkpoint
from protocol.envelope import Kind, SoftwareSigner
from protocol.gate_records import GateRecord, RecordType, sign_gate_record
from protocol.ids import cose_key_bytes
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import Frontier, inclusion_ranges, leaf_hash, range_hash
from protocol.orders import (
    OrderSigner,
    OrderType,
    Role,
    SignKind,
    assemble,
    cmd_hash,
    encode_order,
    sign_document,
    sign_part,
    sign_with_root,
)
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_good import releasing, restricting
from protocol.vectors.orders_story import (
    ANCHORS,
    LENDER,
    LENDER_ID,
    MCU,
    PLATFORM,
    by_roots,
    claims,
    delegate,
    documents,
    signer,
    snapshot_fields,
)
from protocol.vectors.orders_story import NOW_S as START_S
from simulators.loan_system import Loan, LoanSystem, NoAnswerError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from protocol.loan_facts import FactsQuestion

DAY_S = 86_400
CONTRACT = hashlib.sha256(b"a contract").digest()
EPISODE = bytes(range(16))
PACKS = Path(__file__).resolve().parents[2] / "backend" / "gate" / "packs"
INTEGRATION = published_signer("stranger")
POLICY = published_signer("policy-1")
ORIGIN = "log.example/tbox"
NOON_S = START_S - START_S % DAY_S + 20 * 3_600  # a Wednesday, noon in California; the next day is a holiday


def pack_text(name: str) -> str:
    return (PACKS / f"{name}.toml").read_text(encoding="utf-8")


def pack(name: str) -> Pack:
    return load_toml(pack_text(name))


def all_packs() -> list[Pack]:
    return [load_toml(path.read_text(encoding="utf-8")) for path in sorted(PACKS.glob("*.toml"))]


class Clock:
    """Wall and monotonic time, moved by the test."""

    def __init__(self, now_s: int) -> None:
        self.wall_s, self.mono, self.boot = now_s, 1_000, bytes(16)

    def now_s(self) -> int:
        return self.wall_s

    def mono_s(self) -> int:
        return self.mono

    def wait(self, seconds: int) -> None:
        self.wall_s += seconds
        self.mono += seconds

    def restart(self) -> None:
        self.boot, self.mono = bytes([self.boot[0] + 1]) * 16, 5


class Loans:
    """The port, around the simulated system."""

    def __init__(self, system: LoanSystem) -> None:
        self.system = system

    def facts(self, lender_id: bytes, question: FactsQuestion) -> bytes:
        assert lender_id == LENDER_ID
        try:
            return self.system.facts(question)
        except NoAnswerError as error:
            raise LoanSystemError(str(error)) from error


class Weather:
    """The same everywhere."""

    def __init__(self) -> None:
        self.range: tuple[int, int] | None = (4, 19)

    def next_12_h(self, place: tuple[int, int], now_s: int) -> tuple[int, int] | None:
        del place, now_s
        return self.range


class Log:
    """A log of the protocol's own tree, with one witness."""

    def __init__(self) -> None:
        self.signer = NoteSigner.of_log(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
        self.witness = NoteSigner.of_witness(
            "witness.example/w1", Ed25519PrivateKey.from_private_bytes(b"w" * 32)
        )
        self.leaves: list[bytes] = [leaf_hash(b"before")]

    def prove(self, content: bytes, now_s: int, *, witnessed: bool = True) -> LogProof:
        salt = hashlib.sha256(content).digest()[:16]
        self.leaves.append(leaf_hash(leaf_data(LeafType.ORDER, commitment(salt, content))))
        index, size = len(self.leaves) - 1, len(self.leaves)
        tree = Frontier()
        kept = {at: value for leaf in self.leaves for at, value in tree.append(leaf)}
        path = [range_hash(leaves, kept.__getitem__) for leaves in inclusion_ranges(index, size)]
        note = sign_checkpoint(Checkpoint(origin=ORIGIN, size=size, root=tree.root()), self.signer)
        if witnessed:
            note = add_signatures(note, [cosign(note, self.witness, at_s=now_s)])
        return LogProof(
            checkpoint=note.decode(), index=index, salt=salt.hex(), proof=[part.hex() for part in path]
        )


@dataclass
class GateWorld:
    """Everything around one gate.

    Attributes:
        jur: of the orders it makes.
        start_s: when it begins; a business day's noon in California.
        is_demo: whether the gate is a demonstration's.
        asks_probation: whether it wants a commissioning record; most stories are of cars that have one.
    """

    jur: str = "ZZ"
    start_s: int = NOON_S
    is_demo: bool = True
    quorum: int = 1
    packs: list[Pack] = field(default_factory=all_packs)
    officers: frozenset[str] | None = None
    path: str = ":memory:"
    seed: int = 1
    asks_probation: bool = False
    documents: Mapping[str, bytes] = field(default_factory=documents)

    def __post_init__(self) -> None:
        self.clock, self.log, self.weather = Clock(self.start_s), Log(), Weather()
        self.random = random.Random(self.seed)
        self.system = LoanSystem(INTEGRATION, now_s=self.clock.now_s, random=self.random.randbytes)
        self.loan: Loan = self.system.open_loan(
            CONTRACT, due_minor=80_000, due_since_s=self.start_s - 40 * DAY_S
        )
        self.loan.utc_offset_min = -480
        self.system.serve_all(CONTRACT, EPISODE, at_s=self.start_s - 15 * DAY_S)
        self.ctr = 10
        self.enlisted: dict[str, OrderSigner] = {}
        self.store = GateStore.open(self.path)
        self.gate = self.open()

    def open(self) -> Gate:
        """Start the gate on its storage, as after a crash."""
        trust = Trust(
            is_demo=self.is_demo,
            delegation=self.documents["delegation/gate"],
            anchors={
                issuer: (
                    tuple(cose_key_bytes(published_signer(name).public_key) for name in names),
                    threshold,
                )
                for issuer, (names, threshold) in ANCHORS.items()
            },
            log=LogTrust(log=self.log.signer.key, witnesses=(self.log.witness.key,), quorum=self.quorum),
            lenders={
                LENDER_ID: Lender(
                    lender_id=LENDER_ID,
                    integration_keys={INTEGRATION.kid: INTEGRATION.public_key},
                    officers=self.officers,
                )
            },
            counsel_keys={COUNSEL.kid: COUNSEL.public_key},
            policy_keys={POLICY.kid: POLICY.public_key},
            asks_probation=self.asks_probation,
        )
        gate = Gate(
            trust=trust,
            packs=PackShelf(self.packs, is_demo=self.is_demo),
            signer=published_signer("gate-1"),
            store=self.store,
            loans=Loans(self.system),
            forecasts=self.weather,
            clock=self.clock,
            random=self.random.randbytes,
        )
        with self.store.writing() as at:
            for name in ("authority/platform", "authority/lender"):
                gate.records.take_authority(at, "authority", self.documents[name], self.clock.now_s())
            for name in ("safety-officer", "ombuds"):
                document = self.documents[f"delegation/{name}"]
                gate.records.take_authority(at, "delegation", document, self.clock.now_s())
        return gate

    def signer(self, name: str) -> OrderSigner:
        """Return a person of the story, with the delegation of these documents."""
        given = self.documents[f"delegation/{name}"]
        known = self.enlisted.get(name) or signer(name)
        return replace(known, delegation=hashlib.sha256(given).digest())

    def enlist(self, name: str, key: str, role: Role, *, person: str, per_day: int = 99) -> None:
        """Have a person delegated to who is not of the story, or another key of one who is."""
        types = (OrderType.LOCK if role in (Role.MAKER, Role.CHECKER) else OrderType.UNLOCK,)
        fields = claims(key, role, types, person=person) | {-65543: per_day}
        self.documents = {**self.documents, f"delegation/{name}": delegate(fields)}
        self.enlisted[name] = OrderSigner(signer=published_signer(key), role=role)

    # --- orders ---------------------------------------------------------------------------------------------

    def basis(self) -> bytes:
        return self.system.basis(CONTRACT)

    def order(self, kind: OrderType = OrderType.LOCK, *, basis: bytes, **changes: Any) -> dict[int, Any]:
        """Return the fields of an order made now; a change is named by its key, as `key_15=10`."""
        now_s = self.clock.now_s()
        self.ctr += 1
        fields: dict[int, Any] = restricting(kind, self.ctr) | {}
        fields |= {
            2: self.random.randbytes(16),
            7: CONTRACT,
            10: now_s,
            11: now_s,
            12: now_s + DAY_S,
            13: self.random.randbytes(16),
            17: hashlib.sha256(basis).digest(),
            18: self.jur,
            24: EPISODE,
        }
        if kind is OrderType.LOCK:
            fields |= {23: {1: 3, 2: 172_800}}
        return fields | {int(name.removeprefix("key_")): value for name, value in changes.items()}

    def challenge(self, order: dict[int, Any], mcu: SoftwareSigner = MCU, **changes: Any) -> bytes:
        fields = {
            1: 1, 2: mcu.kid, 3: order[8], 4: order[13], 5: order[14] - DAY_S, 6: [order[9] - 1, 0, 0],
            7: order[21], 8: 0, 9: 1, 10: [order[18], 1, bytes(32)], 11: None, 12: None,
        }  # fmt: skip
        fields |= {int(name.removeprefix("key_")): value for name, value in changes.items()}
        return sign_document(Kind.CHALLENGE, fields, mcu)

    def screen(self, order: dict[int, Any], basis: bytes, maker: str | None = "maker") -> Answer:
        payload = encode_order(order)
        part = None if maker is None else sign_part(SignKind.COMMAND, payload, self.signer(maker))
        return self.gate.screen(
            ScreenRequest(
                payload=to_text(payload),
                basis=to_text(basis),
                part=None if part is None else _part(part),
                delegation=None if maker is None else to_text(self.documents[f"delegation/{maker}"]),
            )
        )

    def review_request(
        self,
        order: dict[int, Any],
        basis: bytes,
        *,
        people: tuple[str, ...] = ("maker", "checker"),
        mcu: SoftwareSigner = MCU,
        challenge: bytes | None = None,
        log: LogProof | None = None,
    ) -> ReviewRequest:
        payload = encode_order(order)
        parts = [sign_part(SignKind.COMMAND, payload, self.signer(name)) for name in people]
        return ReviewRequest(
            payload=to_text(payload),
            parts=[_part(part) for part in parts],
            delegations=[to_text(self.documents[f"delegation/{name}"]) for name in people],
            basis=to_text(basis),
            log=log or self.log.prove(assemble(payload, parts), self.clock.now_s()),
            challenge=to_text(challenge or self.challenge(order, mcu)),
            mcu_key=to_text(cose_key_bytes(mcu.public_key)),
            reason_code=1,
        )

    def lock(
        self, *, wait_s: int = 600, kind: OrderType = OrderType.LOCK, maker: str = "maker", **changes: Any
    ) -> Answer:
        """Make an order, let the time between the signatures pass, and have it reviewed."""
        basis = self.basis()
        self.last_order = self.order(kind, basis=basis, **changes)
        self.last_screen = self.screen(self.last_order, basis, maker)
        self.clock.wait(wait_s)
        self.last_request = self.review_request(self.last_order, basis, people=(maker, "checker"))
        return self.gate.review(self.last_request)

    def go(self, order: dict[int, Any] | None = None, mcu: SoftwareSigner = MCU) -> Answer:
        """Let the car ask for a go token."""
        name = cmd_hash(encode_order(order or self.last_order))
        fields = {1: 1, 2: mcu.kid, 3: name, 4: self.random.randbytes(16), 5: 60_000}
        request = sign_document(Kind.GO_REQUEST, fields, mcu)
        return self.gate.go(GoRequest(go_request=to_text(request), place=[341, -1_183]))

    def release(self, record: bytes | None = None) -> Answer:
        """Bring an UNLOCK of the car."""
        self.ctr += 1
        order = releasing(OrderType.UNLOCK, self.ctr) | {7: CONTRACT}
        payload = encode_order(order)
        return self.gate.release(
            ReleaseRequest(payload=to_text(payload), record=None if record is None else to_text(record))
        )

    # --- records --------------------------------------------------------------------------------------------

    def record(self, data: bytes) -> tuple[bool, str]:
        """Hand a loan record to the gate."""
        with self.store.writing() as at:
            return self.gate.records.take_loan_record(at, data, self.clock.now_s())

    def gate_record(
        self,
        kind: RecordType,
        body: dict[int, Any],
        by: str = "safety-officer",
        record_id: bytes | None = None,
    ) -> bytes:
        """Have a gate record signed and hand it to the gate; return its id."""
        pinned = kind is RecordType.OPINION
        record = GateRecord(
            type=kind,
            record_id=record_id or self.random.randbytes(16),
            written_s=self.clock.now_s(),
            delegation=None if pinned else self.signer(by).delegation,
            body=body,
        )
        document = sign_gate_record(record, COUNSEL if pinned else self.signer(by).signer)
        with self.store.writing() as at:
            self.gate.records.take_gate_record(at, document, (kind,), self.clock.now_s())
        return record.record_id

    def load_opinion(self, jur: str, of: Pack, until_s: int | None = None) -> None:
        until = self.clock.now_s() + 300 * DAY_S if until_s is None else until_s
        self.gate_record(RecordType.OPINION, {1: jur, 2: of.digest, 3: until, 4: "2026/17"})


COUNSEL = published_signer("receipt-2")


def _part(part: tuple[bytes, bytes]) -> Part:
    return Part(protected=to_text(part[0]), signature=to_text(part[1]))


def documents_of(now_s: int) -> dict[str, bytes]:
    """Return snapshots and delegations of the story's people that hold now, for a real clock."""
    dates = {"nbf_s": now_s - DAY_S, "exp_s": now_s + 20 * DAY_S}
    made = {}
    for name, issuer in (("platform", PLATFORM), ("lender", LENDER)):
        keys, threshold = ANCHORS[issuer]
        fields = snapshot_fields(issuer, keys, threshold) | {4: now_s - DAY_S, 5: now_s + 7 * DAY_S}
        signers = by_roots(issuer, *keys[:threshold])
        made[f"authority/{name}"] = sign_with_root(SignKind.AUTHORITY, fields, signers)
    restrict = (OrderType.LOCK, OrderType.UNLOCK, OrderType.RENEW, OrderType.CANCEL, OrderType.WARN)
    for name, key, role, types in (
        ("maker", "maker-1", Role.MAKER, restrict),
        ("checker", "checker-1", Role.CHECKER, restrict),
        ("gate", "gate-1", Role.GATE, restrict),
        ("safety-officer", "safety-1", Role.SAFETY_OFFICER, (OrderType.UNLOCK,)),
        ("ombuds", "ombuds-1", Role.OMBUDS, (OrderType.UNLOCK,)),
    ):
        made[f"delegation/{name}"] = delegate(claims(key, role, types, **dates))
    return made


def token_fields(answer: Answer) -> dict[int, Any]:
    """Return what a go token says."""
    _, _, payload, _ = cose_sign.read_sign1(to_bytes(answer.token or ""))
    fields: dict[int, Any] = strict_cbor.loads(payload)
    return fields
