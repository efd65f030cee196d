"""The institutions of the lock funnel: the real gate with its papers, a log, and who holds which key.

Rules: the gate runs outside a demonstration, on the pack that ships, with counsel's opinion loaded and the
lender's breaker limit signed more than seven days ahead. Delegations live 28 days and new ones follow them,
so that cars learn new ones on the way. Keys are published test keys.

It decides nothing; `lock_funnel_desk` is who signs.

Example:
    house = House(now_s=lambda: 1_812_000_000, weather=weather, calendar=calendar)
    house.gate.review(request)
"""

from __future__ import annotations

import random
from hashlib import sha256
from typing import TYPE_CHECKING

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from backend.gate.forms import LogProof
from backend.gate.gate import Gate
from backend.gate.logged import LogTrust
from backend.gate.ports import LoanSystemError
from backend.gate.store import GateStore
from backend.gate.trust import Lender, PackShelf, Trust
from protocol import strict_cbor
from protocol.checkpoint import Checkpoint, NoteSigner, add_signatures, cosign, sign_checkpoint
from protocol.gate_records import GateRecord, RecordType, sign_gate_record
from protocol.ids import cose_key_bytes
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import Frontier, Subtree, inclusion_ranges, leaf_hash, range_hash
from protocol.orders import OrderSigner, OrderType, Role, SignKind, sign_with_root
from protocol.signed_time import TimeToken, sign_time_token
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import (
    ANCHORS,
    LENDER,
    LENDER_ID,
    PLATFORM,
    by_roots,
    claims,
    delegate,
    snapshot_fields,
)
from simulators.loan_system import LoanSystem, NoAnswerError
from simulators.lock_funnel_lives import DAY_S, Calendar

if TYPE_CHECKING:
    from collections.abc import Callable

    from backend.gate.ports import Forecasts
    from protocol.loan_facts import FactsQuestion

FLEET = 20_000  # 1,000 late cars are 5 % of it: about what subprime portfolios report beyond 10 days
LOCKS_A_DAY = 50  # the quarter of a per cent that README §1.16 allows at most
MAKERS, CHECKERS = 5, 3  # ten LOCKs a day and maker: five make the lender's fifty
TERM_S, OVERLAP_S = 28 * DAY_S, DAY_S
ORIGIN = "log.example/funnel"
_TYPES = {
    Role.MAKER: (OrderType.LOCK, OrderType.UNLOCK, OrderType.RENEW, OrderType.CANCEL, OrderType.WARN),
    Role.CHECKER: (OrderType.LOCK, OrderType.UNLOCK, OrderType.RENEW, OrderType.CANCEL, OrderType.WARN),
    Role.GATE: (
        *(OrderType.LOCK, OrderType.UNLOCK, OrderType.RENEW, OrderType.CANCEL),
        OrderType.WARN,
        OrderType.BIND,
    ),
    Role.INSTALLER: (OrderType.BIND,),
    Role.SAFETY_OFFICER: (OrderType.UNLOCK, OrderType.CANCEL),
}
_HOLDERS = {
    **{f"maker-{number}": Role.MAKER for number in range(1, MAKERS + 1)},
    **{f"checker-{number}": Role.CHECKER for number in range(1, CHECKERS + 1)},
    "gate-1": Role.GATE,
    "installer-1": Role.INSTALLER,
    "safety-1": Role.SAFETY_OFFICER,
}


class Clock:
    """The gate's clock, right and never stepped."""

    boot = bytes(16)

    def __init__(self, now_s: Callable[[], float]) -> None:
        self._now_s = now_s

    def now_s(self) -> int:
        """Return POSIX seconds."""
        return int(self._now_s())

    def mono_s(self) -> int:
        """Return seconds since the boot."""
        return int(self._now_s())


class Loans:
    """The gate's port, around the simulated loan system."""

    def __init__(self, system: LoanSystem) -> None:
        self._system = system

    def facts(self, lender_id: bytes, question: FactsQuestion) -> bytes:
        """Return the signed answer."""
        assert lender_id == LENDER_ID, "there is one lender"
        try:
            return self._system.facts(question)
        except NoAnswerError as error:
            raise LoanSystemError(str(error)) from error


class Log:
    """A log of the protocol's own tree, with one witness."""

    def __init__(self) -> None:
        self.signer = NoteSigner.of_log(ORIGIN, Ed25519PrivateKey.from_private_bytes(b"l" * 32))
        self.witness = NoteSigner.of_witness(
            "witness.example/w", Ed25519PrivateKey.from_private_bytes(b"w" * 32)
        )
        self._tree = Frontier()
        self._kept: dict[Subtree, bytes] = {}
        self._kept |= dict(self._tree.append(leaf_hash(b"before")))

    def prove(self, content: bytes, now_s: int) -> LogProof:
        """Enter an order with two signatures; return its proof."""
        salt = sha256(b"salt" + content).digest()[:16]
        index = self._tree.size
        self._kept |= dict(self._tree.append(leaf_hash(leaf_data(LeafType.ORDER, commitment(salt, content)))))
        ranges = inclusion_ranges(index, self._tree.size)
        note = sign_checkpoint(
            Checkpoint(origin=ORIGIN, size=self._tree.size, root=self._tree.root()), self.signer
        )
        note = add_signatures(note, [cosign(note, self.witness, at_s=now_s)])
        path = [range_hash(leaves, self._kept.__getitem__) for leaves in ranges]
        return LogProof(
            checkpoint=note.decode(), index=index, salt=salt.hex(), proof=[part.hex() for part in path]
        )


class House:
    """Gate, loan system, log, papers.

    Attributes:
        gate: of the present term; the same storage through all terms.
        loans: the lender's loan system.
        documents: delegations by hash.
    """

    def __init__(
        self, *, now_s: Callable[[], float], weather: Forecasts, calendar: Calendar, seed: int
    ) -> None:
        self._now_s, self._weather, self._calendar = now_s, weather, calendar
        self._begun_s = int(now_s())
        self._random = random.Random(f"house {seed}")
        self._integration = published_signer("integration-1")
        self._counsel = published_signer("counsel-1")
        self.log = Log()
        self.loans = LoanSystem(self._integration, now_s=Clock(now_s).now_s, random=self._random.randbytes)
        self.documents: dict[bytes, bytes] = {}
        self._terms: dict[tuple[str, int], bytes] = {}
        self._snapshots = [self._snapshot(issuer) for issuer in (PLATFORM, LENDER)]
        self._store = GateStore.open(":memory:")
        self.term = 0
        self.gate = self._open()
        self._load_papers()

    # --- Papers ---------------------------------------------------------------------------------------------

    def _snapshot(self, issuer: str) -> bytes:
        keys, threshold = ANCHORS[issuer]
        fields = snapshot_fields(issuer, keys, threshold)
        fields |= {4: self._begun_s - DAY_S, 5: self._begun_s + 200 * DAY_S}
        return sign_with_root(SignKind.AUTHORITY, fields, by_roots(issuer, *keys[:threshold]))

    def delegation(self, name: str) -> bytes:
        """Return somebody's delegation of the present term."""
        known = self._terms.get((name, self.term))
        if known is None:
            nbf_s = self._begun_s + self.term * TERM_S - OVERLAP_S
            role = _HOLDERS[name]
            fields = claims(name, role, _TYPES[role], nbf_s=nbf_s, exp_s=nbf_s + TERM_S + 2 * OVERLAP_S)
            known = delegate(fields | {-65543: 1_000})
            self._terms[name, self.term] = known
            self.documents[sha256(known).digest()] = known
        return known

    def as_signer(self, name: str) -> OrderSigner:
        """Return somebody as a signer of today."""
        return OrderSigner(
            signer=published_signer(name),
            role=_HOLDERS[name],
            delegation=sha256(self.delegation(name)).digest(),
        )

    def next_term(self) -> None:
        """Let new delegations follow, the gate's own too."""
        self.term += 1
        self.gate = self._open()

    def _open(self) -> Gate:
        anchors = {
            issuer: (tuple(cose_key_bytes(published_signer(name).public_key) for name in names), threshold)
            for issuer, (names, threshold) in ANCHORS.items()
        }
        lender = Lender(
            lender_id=LENDER_ID, integration_keys={self._integration.kid: self._integration.public_key}
        )
        trust = Trust(
            is_demo=False,
            delegation=self.delegation("gate-1"),
            anchors=anchors,
            log=LogTrust(log=self.log.signer.key, witnesses=(self.log.witness.key,), quorum=1),
            lenders={LENDER_ID: lender},
            asks_probation=False,
            counsel_keys={self._counsel.kid: self._counsel.public_key},
        )
        gate = Gate(
            trust=trust,
            packs=PackShelf([self._calendar.pack], is_demo=False),
            signer=published_signer("gate-1"),
            store=self._store,
            loans=Loans(self.loans),
            forecasts=self._weather,
            clock=Clock(self._now_s),
            random=self._random.randbytes,
        )
        with self._store.writing() as at:
            for document in self._snapshots:
                gate.records.take_authority(at, "authority", document, int(self._now_s()))
            gate.records.take_authority(at, "delegation", self.delegation("safety-1"), int(self._now_s()))
        return gate

    def _load_papers(self) -> None:
        """Counsel's opinion on this very pack, and the safety officer's limit."""
        now_s, pack = int(self._now_s()), self._calendar.pack
        safety = published_signer("safety-1")
        by_safety = sha256(self.delegation("safety-1")).digest()
        for kind, by, delegation, body in (
            (
                RecordType.OPINION,
                self._counsel,
                None,
                {1: pack.jur, 2: pack.digest, 3: pack.expires_s, 4: "2027/1"},
            ),
            (RecordType.LIMIT, safety, by_safety, {1: LENDER_ID, 2: FLEET, 3: LOCKS_A_DAY, 4: now_s}),
        ):
            record = GateRecord(
                type=kind,
                record_id=self._random.randbytes(16),
                written_s=now_s,
                delegation=delegation,
                body=body,
            )
            with self._store.writing() as at:
                self.gate.records.take_gate_record(at, sign_gate_record(record, by), (kind,), now_s)

    def take_loan_record(self, data: bytes) -> None:
        """Hand a record of the loan system to the gate."""
        with self._store.writing() as at:
            self.gate.records.take_loan_record(at, data, int(self._now_s()))

    # --- What a new car needs -------------------------------------------------------------------------------

    def provision(self, start_type: str) -> bytes:
        """Return the body of PROVISION."""

        def root(issuer: str) -> list[object]:
            names, threshold = ANCHORS[issuer]
            return [[cose_key_bytes(published_signer(name).public_key) for name in names], threshold]

        fields = {
            1: 1,
            2: sha256(b"device").digest(),
            3: root(PLATFORM),
            4: [cose_key_bytes(published_signer("time-1").public_key)],
            5: sha256(b"K_ovr").digest(),
            6: sha256(b"salt").digest()[:16],
            7: {1: start_type},
            8: [[LENDER, *root(LENDER)]],
        }
        return bytes(strict_cbor.dumps(fields))

    def birth_documents(self) -> list[bytes]:
        """Return bodies of AUTHORITY: both snapshots, installer and gate."""
        delegations = [self.delegation(name) for name in ("installer-1", "gate-1")]
        pairs = [
            *((2, document) for document in self._snapshots),
            *((1, document) for document in delegations),
        ]
        return [bytes(strict_cbor.dumps([kind, document])) for kind, document in pairs]

    def signed_time(self, nonce: bytes) -> bytes:
        """Return a signed time token of now."""
        token = TimeToken(nonce=nonce, utc_us=int(self._now_s() * 1_000_000))
        return sign_time_token(token, published_signer("time-1"))
