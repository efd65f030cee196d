"""A lender's backend with one bound car: people, gate and microcontroller of the order vectors' story.

The gate here keeps no rules: a test says what it answers. Its signatures are real, so that the backend and
the car's reader verify them.

Example:
    world = OrderWorld.make(tmp_path)
    cmd_id = world.request(OrderType.LOCK).json()["cmd_id"]
    world.approve(cmd_id)
    world.drive()
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fastapi.testclient import TestClient

from backend.api.app import create_app
from backend.domain.access import Role as ApiRole
from backend.store.database import Database, open_database
from backend.store.log_keys import load_log_signer
from backend.usecases.dispatch_orders import dispatch_orders
from backend.usecases.drive_orders import OrderDriver
from backend.usecases.gate_port import GateAwayError, GatePart, GateSaid, LogPlace, PaidOrder, ShownRecord
from backend.usecases.ingest import Inbound, Taken, ingest
from backend.usecases.keep_ledger import publish
from protocol import orders_payload
from protocol.base64url import to_text
from protocol.envelope import Kind
from protocol.ids import DeviceId, cose_key_bytes
from protocol.orders import OrderSigner, OrderType, SignKind, cmd_hash, encode_order, sign_document, sign_part
from protocol.topics import Up, up_topic
from protocol.vectors.orders_good import administering, disposition_fields, releasing, restricting
from protocol.vectors.orders_story import (
    CHALLENGE,
    CHALLENGE_TICK_S,
    CONTRACT,
    EPOCH,
    JURISDICTION,
    LENDER_ID,
    MCU,
    NOW_S,
    PREV,
    VIN_BIND,
    documents,
    signer,
)
from protocol.vectors.story import fixed_bytes
from tests.builders.backend import Backend, Box, make_backend, past_probation

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    import httpx2

    from protocol.checker_reasons import CheckerReason

SECOND = 1_000_000


def part_of(payload: bytes, by: OrderSigner) -> dict[str, str]:
    """Return a part as it travels over the API."""
    protected, signature = sign_part(SignKind.COMMAND, payload, by)
    return {"protected": to_text(protected), "signature": to_text(signature)}


@dataclass
class FakeGate:
    """Answers as a test says, and remembers what it was asked.

    Attributes:
        while_asked: what happens once while the next question is under way.
    """

    verdict: str = "SIGNED"
    screen_verdict: str = "ELIGIBLE"
    earliest_s: int | None = None
    is_away: bool = False
    paid: list[PaidOrder] = field(default_factory=list)
    asked: Counter[str] = field(default_factory=Counter)
    told: list[bytes] = field(default_factory=list)
    records: list[ShownRecord] = field(default_factory=list)
    logs: list[LogPlace | None] = field(default_factory=list)
    reasons: list[CheckerReason | None] = field(default_factory=list)
    places: list[tuple[int, int] | None] = field(default_factory=list)
    while_asked: Callable[[str], None] | None = None

    def _hear(self, name: str) -> None:
        if self.is_away:
            raise GateAwayError("switched off by the test")
        self.asked[name] += 1
        if self.while_asked is not None:
            meanwhile, self.while_asked = self.while_asked, None
            meanwhile(name)

    def _sign(self, payload: bytes, *, logged: bool) -> GatePart:
        protected, signature = sign_part(SignKind.COMMAND, payload, signer("gate", logged=logged))
        return GatePart(protected=protected, signature=signature, delegation=documents()["delegation/gate"])

    def screen(self, *, payload: bytes, basis: bytes, part: GatePart) -> GateSaid:
        self._hear("screen")
        del payload, basis, part
        return GateSaid(verdict=self.screen_verdict, rule="RULE", detail="a fact", earliest_s=self.earliest_s)

    def review(
        self,
        *,
        payload: bytes,
        parts: Sequence[GatePart],
        basis: bytes | None,
        log: LogPlace | None,
        challenge: bytes | None,
        mcu_key: bytes,
        reason_code: CheckerReason | None,
    ) -> GateSaid:
        self._hear("review")
        del parts, basis, challenge, mcu_key
        self.logs.append(log)
        self.reasons.append(reason_code)
        if self.verdict != "SIGNED":
            return GateSaid(verdict=self.verdict, rule="RULE", detail="a fact", earliest_s=self.earliest_s)
        return GateSaid(verdict="SIGNED", part=self._sign(payload, logged=log is not None))

    def go(self, *, go_request: bytes, place: tuple[int, int] | None) -> GateSaid:
        self._hear("go")
        self.places.append(place)
        if self.verdict != "SIGNED":
            return GateSaid(verdict=self.verdict, rule="RULE", detail="a fact")
        return GateSaid(verdict="GO", token=b"token for " + hashlib.sha256(go_request).digest())

    def releases(self) -> Sequence[PaidOrder]:
        self._hear("releases")
        return list(self.paid)

    def release(self, *, payload: bytes) -> GateSaid:
        self._hear("release")
        return GateSaid(verdict="SIGNED", part=self._sign(payload, logged=False))

    def commissioned(self, shown: ShownRecord) -> None:
        self._hear("commissioned")
        self.records.append(shown)

    def disposition(self, *, document: bytes, mcu_key: bytes) -> None:
        self._hear("disposition")
        del mcu_key
        self.told.append(document)


@dataclass
class FakeCar:
    """The microcontroller's voice: dispositions in a chain, challenges, go requests."""

    epoch: bytes = EPOCH
    seq: int = 0
    head: bytes | None = None

    def says(self, order: bytes | None, state: int, code: int = 0, **changes: object) -> bytes:
        """Return the next disposition about an order's payload, and keep it as the chain's head."""
        data = self.would_say(order, state, code, **changes)
        self.seq, self.head = self.seq + 1, hashlib.sha256(data).digest()
        return data

    def would_say(self, order: bytes | None, state: int, code: int = 0, **changes: object) -> bytes:
        """Return a disposition without moving the chain on."""
        fields = disposition_fields() | {
            2: fixed_bytes(f"disposition {self.seq + 1} {state} {code}"),
            6: self.epoch,
            7: self.seq + 1,
            8: self.head,
            9: state,
            10: code,
        }
        if order is not None:
            fields |= {3: orders_payload.read_order(order)[0][2], 4: cmd_hash(order)}
        fields |= {int(name.removeprefix("key_")): value for name, value in changes.items()}
        return sign_document(Kind.DISPOSITION, fields, MCU)

    def challenge(self, **changes: object) -> bytes:
        """Return the open challenge of the story, with fields replaced as `key_5=…`."""
        fields: dict[int, object] = {
            1: 1,
            2: MCU.kid,
            3: self.epoch,
            4: CHALLENGE,
            5: CHALLENGE_TICK_S,
            6: [10, 20, 30],
            7: PREV,
            8: 0,
            9: 1,
            10: None,
            11: None,
            12: None,
        }
        fields |= {int(name.removeprefix("key_")): value for name, value in changes.items()}
        return sign_document(Kind.CHALLENGE, fields, MCU)

    def go_request(self, order: bytes, chal2: bytes = bytes(16)) -> bytes:
        """Return a go request for an order."""
        return sign_document(
            Kind.GO_REQUEST, {1: 1, 2: MCU.kid, 3: cmd_hash(order), 4: chal2, 5: 50_000}, MCU
        )


@dataclass
class OrderWorld:
    """Backend, API client, worker, line to the car."""

    backend: Backend
    database: Database
    client: TestClient
    box: Box
    maker: dict[str, str]
    checker: dict[str, str]
    gate: FakeGate = field(default_factory=FakeGate)
    car: FakeCar = field(default_factory=FakeCar)
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    is_line_up: bool = True
    keys: int = 0

    @classmethod
    def make(cls, folder: Path, *, challenge: bool = True, is_past_probation: bool = True) -> Self:
        """Set everything up: documents brought, the car registered, its challenge known."""
        backend = make_backend(folder)
        if is_past_probation:
            backend.settings = past_probation(backend.settings)
        backend.clock.now_us = NOW_S * SECOND
        database = open_database(backend.settings.database_url)
        app = create_app(backend.settings, clock=backend.clock, database=database)
        client = TestClient(app, raise_server_exceptions=False)
        box = Box()
        box.enrol(backend, client)
        world = cls(
            backend=backend,
            database=database,
            client=client,
            box=box,
            maker=backend.key(ApiRole.OFFICER_MAKER),
            checker=backend.key(ApiRole.OFFICER_CHECKER),
        )
        for name in ("platform", "lender"):
            assert world.bring("snapshot", documents()[f"authority/{name}"]).status_code == 201
        assert world.register().status_code == 200
        if challenge:
            assert world.hears(Up.CHALLENGE, world.car.challenge()).outcomes == {"challenge": 1}
        return world

    def close(self) -> None:
        self.database.close()

    # --- people ---

    def bring(self, kind: str, document: bytes) -> httpx2.Response:
        body = {"kind": kind, "document": to_text(document)}
        return self.client.post("/v1/authority/documents", json=body, headers=self.backend.admin)

    def register(self, **changes: str) -> httpx2.Response:
        body = {
            "cose_key": cose_key_bytes(MCU.public_key).hex(),
            "epoch": EPOCH.hex(),
            "vin_bind": VIN_BIND.hex(),
            "contract_ref": CONTRACT.hex(),
            "lender_id": LENDER_ID.hex(),
            "jurisdiction": JURISDICTION,
        } | changes
        shown = self.car.challenge(key_3=bytes.fromhex(body["epoch"]))
        body = {"challenge": to_text(shown)} | body
        return self.client.put(f"/v1/devices/{self.device}/mcu", json=body, headers=self.backend.admin)

    @property
    def device(self) -> str:
        return self.box.device_id

    def key(self, headers: dict[str, str], name: str | None = None) -> dict[str, str]:
        """Return headers with an idempotency key, a fresh one unless named."""
        self.keys += 1
        return headers | {"Idempotency-Key": name or f"key-{self.keys:08}"}

    def payload(self, order_type: OrderType, ctr: int | None = None, **changes: object) -> bytes:
        """Return an order's payload that this car would take, with fields replaced as `key_12=…`."""
        if order_type in {OrderType.LOCK, OrderType.RENEW, OrderType.WARN}:
            fields = restricting(order_type, ctr or 11)
            fields[17] = hashlib.sha256(b"basis").digest()
        elif order_type in {OrderType.UNLOCK, OrderType.CANCEL, OrderType.DECOMMISSION}:
            fields = releasing(order_type, ctr or 21)
        else:
            fields = administering(order_type, ctr or 31)
        return encode_order(
            fields | {int(name.removeprefix("key_")): value for name, value in changes.items()}
        )

    def request(
        self,
        order: OrderType | bytes,
        *,
        by: str = "maker",
        headers: dict[str, str] | None = None,
        key: str | None = None,
        **changes: Any,
    ) -> httpx2.Response:
        """Bring an order; `changes` replace members of the body."""
        payload = order if isinstance(order, bytes) else self.payload(order)
        body = {
            "payload": to_text(payload),
            "part": part_of(payload, signer(by)),
            "delegation": to_text(documents()[f"delegation/{by}"]),
            "basis": to_text(b"basis"),
        } | changes
        return self.client.post(
            f"/v1/devices/{self.device}/orders", json=body, headers=self.key(headers or self.maker, key)
        )

    def approve(
        self,
        payload: bytes,
        *,
        by: str = "checker",
        headers: dict[str, str] | None = None,
        key: str | None = None,
    ) -> httpx2.Response:
        """Bring the checker's part of a payload."""
        cmd_id = orders_payload.read_order(payload)[0][2].hex()
        body = {
            "part": part_of(payload, signer(by)),
            "delegation": to_text(documents()[f"delegation/{by}"]),
            "reason_code": "ACCOUNT",
        }
        return self.client.post(
            f"/v1/orders/{cmd_id}/approvals", json=body, headers=self.key(headers or self.checker, key)
        )

    def order(self, cmd_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/orders/{cmd_id}", headers=self.maker)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def command(self) -> dict[str, Any]:
        answer = self.client.get(f"/v1/devices/{self.device}/command", headers=self.maker)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    # --- machines ---

    def hears(self, kind: Up, *payloads: bytes) -> Taken:
        """Let the bridge take in what the car sent."""
        topic = up_topic(DeviceId(self.device), kind)
        messages = [Inbound(topic=topic, payload=payload) for payload in payloads]
        return ingest(
            self.database,
            messages,
            signer=self.backend.identity.receipt_signer,
            now_us=self.backend.clock(),
        )

    @property
    def driver(self) -> OrderDriver:
        settings = self.backend.settings
        log = load_log_signer(settings.log_key_path, origin=settings.log_origin)
        return OrderDriver(
            database=self.database,
            gate=self.gate,
            publish=lambda now_us: publish(self.database, signer=log, witnesses=(), now_us=now_us),
        )

    def drive(self, rounds: int = 1) -> Counter[str]:
        """Let the worker do so many rounds, a second apart."""
        counts: Counter[str] = Counter()
        for _ in range(rounds):
            counts += self.driver.round(now_us=self.backend.clock())
            self.backend.clock.pass_seconds(1)
        return counts

    def dispatch(self) -> Counter[str]:
        """Let the bridge publish what is due."""

        def line(topic: str, payload: bytes) -> bool:
            if self.is_line_up:
                self.sent.append((topic, payload))
            return self.is_line_up

        return dispatch_orders(self.database, line, now_us=self.backend.clock())

    def sent_on(self, kind: str) -> list[bytes]:
        return [payload for topic, payload in self.sent if topic.endswith(f"/down/{kind}")]

    def locked(self) -> bytes:
        """Bring a LOCK as far as the car, and return its payload."""
        payload = self.payload(OrderType.LOCK)
        assert self.request(payload).status_code == 201
        assert self.approve(payload).status_code == 201
        self.drive(3)
        self.dispatch()
        return payload
