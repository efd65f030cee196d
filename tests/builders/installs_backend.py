"""A lender's backend with a vehicle, a job, an installer and a box that is not fitted yet.

The installer's key, the roots and the microcontroller are those of the order vectors' story; the box's keys
are fresh. Machines speak through the same code as in life: reports are signed, the bridge takes them in.

Example:
    world = InstallWorld.make(tmp_path)
    job = world.job()
    ticket = world.ticket(job)
    world.command(job, Verb.BEGIN, to_bytes(ticket["ticket"]))
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from fastapi.testclient import TestClient

from backend.api.app import create_app
from backend.clock import to_datetime
from backend.domain.access import Role as ApiRole
from backend.settings import Settings
from backend.store.database import Database, open_database
from backend.usecases.dispatch_orders import dispatch_orders
from backend.usecases.ingest import Inbound, Taken, ingest
from protocol.base64url import to_bytes, to_text
from protocol.envelope import SoftwareSigner
from protocol.ids import DeviceId, cose_key_bytes
from protocol.install_forms import InstallCommand, open_work_ticket, sign_command
from protocol.install_record import Record, assemble_record, encode_record, record_part
from protocol.install_report import (
    BenchSeen,
    Commissioning,
    InstallReport,
    StepRow,
    sign_commissioning,
    sign_report,
)
from protocol.install_vocabulary import STEPS, Act, Stage, StepState, Verb, Verdict, VinSource
from protocol.topics import Up, up_topic
from protocol.vectors.orders_story import (
    CONTRACT,
    EPOCH,
    JURISDICTION,
    LENDER_ID,
    MCU,
    NOW_S,
    documents,
    signer,
)
from protocol.vectors.story import fixed_bytes
from tests.builders.backend import Backend, Box, make_backend

if TYPE_CHECKING:
    from collections import Counter
    from pathlib import Path

    import httpx2

    from protocol.install_forms import WorkTicket

SECOND = 1_000_000
PERSON = "person installer-1"
VIN = "TBXTEST0000000042"
OTHER_VIN = "TBXTEST0000000043"


@dataclass
class InstallWorld:
    """Backend, client, installer, box."""

    backend: Backend
    database: Database
    client: TestClient
    box: Box
    operator: dict[str, str]
    fitter: dict[str, str]
    sent: list[tuple[str, bytes]] = field(default_factory=list)
    seq: int = 0
    keys: int = 0

    @classmethod
    def make(cls, folder: Path, *, gate: Any = None, **settings: Any) -> Self:
        """Set everything up: documents brought, the vehicle entered, the box enrolled."""
        backend = make_backend(folder)
        if settings:
            changed = Settings(**(backend.settings.model_dump(exclude_unset=True) | settings))
            backend.settings = changed
        backend.clock.now_us = NOW_S * SECOND
        database = open_database(backend.settings.database_url)
        app = create_app(
            backend.settings, clock=backend.clock, database=database, **({"gate": gate} if gate else {})
        )
        box = Box()
        client = TestClient(app, raise_server_exceptions=False)
        box.enrol(backend, client)
        world = cls(
            backend=backend,
            database=database,
            client=client,
            box=box,
            operator=backend.key(ApiRole.OPERATOR),
            fitter=backend.key(ApiRole.INSTALLER),
        )
        for kind, name in (
            ("snapshot", "authority/platform"),
            ("snapshot", "authority/lender"),
            ("delegation", "delegation/installer"),
            ("delegation", "delegation/gate"),
        ):
            body = {"kind": kind, "document": to_text(documents()[name])}
            answer = client.post("/v1/authority/documents", json=body, headers=backend.admin)
            assert answer.status_code == 201, answer.text
        assert world.vehicle().status_code == 201
        return world

    def close(self) -> None:
        self.database.close()

    @property
    def now_us(self) -> int:
        return self.backend.clock()

    @property
    def device(self) -> DeviceId:
        return DeviceId(self.box.device_id)

    @property
    def installer(self) -> SoftwareSigner:
        found = signer("installer").signer
        assert isinstance(found, SoftwareSigner)
        return found

    def key(self, headers: dict[str, str], name: str | None = None) -> dict[str, str]:
        """Return headers with an idempotency key, a fresh one unless named."""
        self.keys += 1
        return headers | {"Idempotency-Key": name or f"key-{self.keys:08}"}

    # --- people ---

    def vehicle(self, vin: str = VIN, **changes: Any) -> httpx2.Response:
        body = {
            "vin": vin,
            "lender_id": LENDER_ID.hex(),
            "contract_ref": CONTRACT.hex(),
            "jurisdiction": JURISDICTION,
            "start_type": "turn-key",
            "profile": "demo",
            "ignition_wire": "X1/7 black",
            "crank_wire": "X1/3 red-black",
            "start_note": "at the column",
        } | changes
        return self.client.post("/v1/vehicles", json=body, headers=self.key(self.operator))

    def plan(self, acts: tuple[str, ...] = ("install",), **changes: Any) -> httpx2.Response:
        key_id = self.fitter["Authorization"].split("_")[1]
        body = {
            "vehicle": VIN,
            "acts": list(acts),
            "installer": PERSON,
            "installer_key": key_id,
            "from": to_datetime(self.now_us - 600 * SECOND).isoformat(),
            "to": to_datetime(self.now_us + 36_000 * SECOND).isoformat(),
        } | changes
        return self.client.post("/v1/jobs", json=body, headers=self.key(self.operator))

    def job(self, acts: tuple[str, ...] = ("install",), **changes: Any) -> str:
        answer = self.plan(acts, **changes)
        assert answer.status_code == 201, answer.text
        return str(answer.json()["job_id"])

    def post(self, path: str, body: Any = None, *, by: dict[str, str] | None = None) -> httpx2.Response:
        return self.client.post(f"/v1{path}", json=body, headers=self.key(by or self.fitter))

    def get(self, path: str, *, by: dict[str, str] | None = None) -> Any:
        answer = self.client.get(f"/v1{path}", headers=by or self.fitter)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ticket(self, job: str) -> bytes:
        answer = self.post(f"/jobs/{job}/ticket")
        assert answer.status_code == 200, answer.text
        return to_bytes(answer.json()["ticket"])

    def opened(self, ticket: bytes) -> WorkTicket:
        policy = self.backend.identity.policy_signer
        return open_work_ticket(ticket, {policy.kid: policy.public_key}.get)

    def command(
        self,
        job: str,
        ticket: bytes,
        verb: Verb = Verb.BEGIN,
        argument: str | int | bytes | None = None,
        *,
        by: SoftwareSigner | None = None,
        device: DeviceId | None = None,
    ) -> httpx2.Response:
        self.seq += 1
        signed_by = by or self.installer
        command = InstallCommand(
            command_id=fixed_bytes(f"command {self.seq}"),
            ticket_id=self.opened(ticket).ticket_id,
            device=device or self.device,
            seq=self.seq,
            verb=verb,
            argument=ticket if verb is Verb.BEGIN and argument is None else argument,
            sent_s=self.now_us // SECOND,
            installer_key=cose_key_bytes(signed_by.public_key),
        )
        return self.post(f"/jobs/{job}/commands", {"command": to_text(sign_command(command, signed_by))})

    # --- the box ---

    def reports(self, ticket: bytes | None, *, seq: int = 1, **changes: Any) -> Taken:
        """Let the box say where it stands."""
        fields: dict[str, Any] = {
            "device": self.device,
            "ticket_id": None if ticket is None else self.opened(ticket).ticket_id,
            "seq": seq,
            "stage": Stage.OPEN,
            "steps": (StepRow(step=STEPS[0], state=StepState.PASS, measured="12.6", unit="V"),),
            "asks": "IGNITION_ON",
            "led": "ASK",
            "at_s": self.now_us // SECOND,
            "facts": {"vin": VIN},
            "need": None,
        }
        return self.hears(sign_report(InstallReport(**(fields | changes)), self.box.signer))

    def hears(self, *payloads: bytes, device: str | None = None, kind: Up = Up.INSTALL) -> Taken:
        topic = up_topic(DeviceId(device or self.device), kind)
        return ingest(
            self.database,
            [Inbound(topic=topic, payload=payload) for payload in payloads],
            signer=self.backend.identity.receipt_signer,
            now_us=self.now_us,
        )

    def dispatch(self) -> Counter[str]:
        def line(topic: str, payload: bytes) -> bool:
            self.sent.append((topic, payload))
            return True

        return dispatch_orders(self.database, line, now_us=self.now_us)

    # --- the record ---

    def record(self, ticket: bytes, **changes: Any) -> tuple[bytes, bytes]:
        """Return a record that box and installer have signed, and the microcontroller's word about it."""
        mcu = changes.pop("mcu", MCU)
        box = changes.pop("box", self.box)
        installer = changes.pop("by", self.installer)
        benches = changes.pop("benches", BENCHES)
        opened = self.opened(ticket)
        fields: dict[str, Any] = {
            "ticket_id": opened.ticket_id,
            "job_id": opened.job_id,
            "device": DeviceId(box.device_id),
            "box_kid": box.signer.kid,
            "installer": installer.kid,
            "mcu_id": mcu.kid,
            "epoch": EPOCH,
            "act": Act.INSTALL,
            "facts": {"supply_mv": "12480"},
            "vin": opened.vin,
            "vin_source": VinSource.BOTH,
            "lender_id": opened.lender_id,
            "contract_ref": opened.contract_ref,
            "jurisdiction": opened.jurisdiction,
            "start_type": opened.start_type,
            "profile": opened.profile,
            "wiring": (
                opened.wiring.ignition_wire,
                opened.wiring.crank_wire,
                opened.wiring.start_note,
            ),
            "steps": tuple(StepRow(step=step, state=StepState.PASS) for step in STEPS),
            "photos": (),
            "consent": ("1", self.now_us // SECOND),
            "began_s": self.now_us // SECOND - 500,
            "ended_s": self.now_us // SECOND,
            "bind": (fixed_bytes("bind order", 32), fixed_bytes("bind disposition", 32)),
            "verdict": Verdict.BOUND,
        }
        record = Record(**(fields | changes))
        payload = encode_record(record)
        said = Commissioning(
            mcu_id=record.mcu_id,
            epoch=record.epoch,
            record_sha256=hashlib.sha256(payload).digest(),
            benches=benches,
            tick_s=4_000,
            firmware=fixed_bytes("firmware", 32),
            is_demo=False,
            moved=(True, True, True, True),
        )
        message = assemble_record(payload, record_part(payload, box.signer), record_part(payload, installer))
        return message, sign_commissioning(said, mcu)

    def bring(
        self, job: str, record: tuple[bytes, bytes], mcu: SoftwareSigner = MCU, **more: Any
    ) -> httpx2.Response:
        body = {
            "record": to_text(record[0]),
            "attestation": to_text(record[1]),
            "mcu_key": cose_key_bytes(mcu.public_key).hex(),
            "from": "file",
        } | more
        return self.client.put(f"/v1/jobs/{job}/record", json=body, headers=self.fitter)


def bench(name: str, **seen: Any) -> BenchSeen:
    """Return one bench as the microcontroller saw it."""
    fields = {"held_s": 0, "crank_s": 0, "starts": 0, "engine_s": 0, "is_contact_open_seen": False}
    return BenchSeen(cmd_id=fixed_bytes(name), **(fields | seen))


BENCHES = (
    bench("held", held_s=14, crank_s=3, is_contact_open_seen=True),
    bench("running", held_s=14, engine_s=12, is_contact_open_seen=True),
)
