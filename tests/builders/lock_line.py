"""The whole line of a lock in one process: officers' desk, API, worker, log, gate, loan system, car.

Every part is the real one with a key of its own; only the wires between them are calls. The officers' tool
lives by the machine's clock; car, backend and gate live by the car's, which begins with it and runs ahead as
the test lets time pass. After every request of the tool the line carries what is due, as a broker would.

Example:
    line = LockLine.make(tmp_path)
    with line.serving():
        cmd_id = line.request("lock")
        line.officer("checker", "approve", cmd_id, "--reason-code", "ACCOUNT", "--yes")
        line.drive(3)
"""

from __future__ import annotations

import atexit
import functools
import hashlib
import json
import shutil
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from cryptography.hazmat.primitives.asymmetric import ec
from fastapi.testclient import TestClient

from backend.api.app import create_app
from backend.domain.access import Role as ApiRole
from backend.gate.app import create_gate_app
from backend.gate.gate import Gate
from backend.gate.logged import LogTrust
from backend.gate.store import GateStore
from backend.gate.trust import Lender, PackShelf, Trust
from backend.lender.key_file import open_key_file
from backend.lender.keys import public_key_file
from backend.lender.roots import read_root_file
from backend.store.database import open_database
from backend.store.log_keys import load_log_signer
from backend.usecases.dispatch_orders import dispatch_orders
from backend.usecases.drive_orders import OrderDriver
from backend.usecases.http_gate import HttpGate
from backend.usecases.ingest import Inbound, ingest
from backend.usecases.keep_ledger import publish
from device.mcu import brain as brain_module
from device.mcu import floors_demo
from protocol import strict_cbor
from protocol.authority_bundle import FOR_THE_MCU, decode_bundle
from protocol.base64url import to_text
from protocol.envelope import SoftwareSigner
from protocol.ids import DeviceId, cose_key_bytes
from protocol.loan_facts import Basis, encode_basis, read_basis
from protocol.orders import OrderSigner, OrderType, Role, sign_order
from protocol.topics import Down, Up, up_topic
from protocol.vectors.orders_story import MCU
from simulators.loan_system import LoanSystem
from tests.builders.backend import Backend, make_backend, past_probation
from tests.builders.backend import Box as EnrolledBox
from tests.builders.gate import Loans as _Loans
from tests.builders.gate import Weather, pack
from tests.builders.lender import LENDER, PASSPHRASE, Desk
from tests.builders.lender_world import CONTRACT, JUR, LENDER_ID, VIN, VIN_BIND, VIN_SALT, furnish, listening
from tests.builders.mcu import EPISODE, Box, provision_fields

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from backend.store.database import Database

DAY_S = 86_400
TOKEN = "a token of the gate's"
OFFICERS = {
    "maker": ApiRole.OFFICER_MAKER,
    "checker": ApiRole.OFFICER_CHECKER,
    "ombuds": ApiRole.OMBUDS,
    "safety": ApiRole.SAFETY_OFFICER,
    "admin": ApiRole.ORG_ADMIN,
}
_LINK = {
    Down.ORDER: brain_module.ORDER,
    Down.GO: brain_module.GO,
    Down.CHALLENGE: brain_module.CHALLENGE_QUESTION,
}


class LineCar(Box):
    """The car of the line: bound to the desk's lender under the desk's roots, a demonstration's image."""

    def __init__(self, desk: Desk, start_s: int, **options: Any) -> None:
        self.desk, self.start_s = desk, start_s
        super().__init__(floors=floors_demo, **options)

    @property
    def now_s(self) -> int:
        """UTC of the world, s."""
        return self.start_s + self.board.now_ms // 1_000

    def provision(self, *, start_type: str = "turn-key", lender_known: bool = True) -> None:
        """Give the empty box the desk's roots."""
        del lender_known
        root, lender = (read_root_file(self.desk / f"{name}-root.json") for name in ("platform", "lender"))
        fields = provision_fields(start_type) | {
            3: [list(root.keys), root.threshold],
            8: [[LENDER, list(lender.keys), lender.threshold]],
        }
        self.send(brain_module.PROVISION, strict_cbor.dumps(fields))

    def give_all(self) -> None:
        """Give the snapshots, and whose delegations a BIND needs."""
        named = ((2, "platform.snapshot"), (2, "lender.snapshot"), (1, "gate.delegation"))
        for kind, name in (*named, (1, "installer.delegation")):
            document = (self.desk / name).read_bytes()
            self.send(brain_module.AUTHORITY, strict_cbor.dumps([kind, document]))
            self.run(10)

    def bind(self) -> bytes:
        """Bind the car to the desk's lender."""
        chal = self.ask_challenge()
        fields = self.common(OrderType.BIND) | {
            4: LENDER_ID,
            6: VIN_BIND,
            7: CONTRACT,
            12: self.now_s + 3_600,
            13: chal,
            14: self.brain.tick + 3_600,
            18: JUR,
            25: None,
        }
        by = [OrderSigner(signer=MCU, role=Role.MCU)]
        by += [order_signer(self.desk, name, role) for name, role in _BINDERS]
        order = sign_order(fields, *by)
        self.send_order(order)
        return order


_BINDERS = (("installer", Role.INSTALLER), ("gate", Role.GATE))


@functools.cache
def _furnished() -> Path:
    """Hold all ceremonies once for all tests of a run."""
    folder = Path(tempfile.mkdtemp(prefix="tbox-test-desk-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    furnish(folder)
    for name in ("gate", "installer"):
        pair = ("pat", "pim")
        Desk(folder).delegate(name, name, issuer="platform", root="platform-root.json", officers=pair)
    return folder


def desk_key(desk: Desk, name: str) -> SoftwareSigner:
    """Return a key of the desk, opened."""
    signer: Any = open_key_file(desk / f"{name}.key", PASSPHRASE)
    return signer  # type: ignore[no-any-return]


def order_signer(desk: Desk, name: str, role: Role) -> OrderSigner:
    """Return someone of the desk who signs orders."""
    digest = hashlib.sha256((desk / f"{name}.delegation").read_bytes()).digest()
    return OrderSigner(signer=desk_key(desk, name), role=role, delegation=digest)


@dataclass
class LineClock:
    """The gate's clock: the car's."""

    car: LineCar
    boot: bytes = bytes(16)

    def now_s(self) -> int:
        return self.car.now_s

    def mono_s(self) -> int:
        return self.car.now_s


@dataclass
class LineServer:
    """An app of this process behind an address of loopback; after each request the line is carried."""

    client: TestClient
    after: Any = None

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """Pass a request on."""
        dropped = ("host", "content-length")
        kept = {name: value for name, value in headers.items() if name.lower() not in dropped}
        answer = self.client.request(method, path, headers=kept, json=body if method == "POST" else None)
        if self.after is not None:
            self.after()
        is_json = "json" in answer.headers["content-type"]
        return answer.status_code, answer.json() if is_json else answer.content


@dataclass
class LockLine:
    """See the module."""

    desk: Desk
    car: LineCar
    backend: Backend
    database: Database
    client: TestClient
    box: EnrolledBox
    system: LoanSystem
    gate: Gate
    weather: Weather
    outcomes: Counter[str] = field(default_factory=Counter)
    _seen: dict[str, int] = field(default_factory=lambda: {"dispositions": 0, "go": 0})
    _challenge: bytes | None = None
    _port: HttpGate | None = None

    @classmethod
    def make(cls, folder: Path) -> Self:
        """Set everything up, up to a bound car that the backend knows."""
        shutil.copytree(_furnished(), folder / "desk")
        desk, now_s = Desk(folder / "desk"), int(time.time())
        car = LineCar(desk, now_s)
        car.provision()
        car.run(4)
        car.tell_time()
        car.give_all()
        car.bind()
        assert car.brain.record.mode == 1, (car.link_codes(), car.chain)
        backend = make_backend(folder / "backend")
        backend.settings = past_probation(backend.settings)
        backend.clock.now_us = car.now_s * 1_000_000
        database = open_database(backend.settings.database_url)
        app = create_app(backend.settings, clock=backend.clock, database=database)
        loans = SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))
        (desk / "loans.pub").write_bytes(public_key_file(loans.public_key))
        system = LoanSystem(loans, now_s=lambda: int(time.time()))
        weather = Weather()
        line = cls(
            desk=desk,
            car=car,
            backend=backend,
            database=database,
            client=TestClient(app, raise_server_exceptions=False),
            box=EnrolledBox(),
            system=system,
            gate=_gate(desk, car, backend, system, weather),
            weather=weather,
        )
        line.box.enrol(backend, line.client)
        system.open_loan(CONTRACT, due_minor=80_000, due_since_s=now_s - 40 * DAY_S)
        system.serve_all(CONTRACT, EPISODE, at_s=now_s - 15 * DAY_S)
        line._challenge = car.challenge  # that of the binding: used up
        line._register()
        return line

    def close(self) -> None:
        self.database.close()

    def _register(self) -> None:
        body = {
            "cose_key": cose_key_bytes(MCU.public_key).hex(),
            "epoch": bytes(self.car.brain.record.epoch).hex(),
            "vin_bind": VIN_BIND.hex(),
            "contract_ref": CONTRACT.hex(),
            "lender_id": LENDER_ID.hex(),
            "jurisdiction": JUR,
        }
        assert self.car.challenge is not None, "the car was asked when it was bound"
        body["challenge"] = to_text(self.car.challenge)
        key = self.backend.key(ApiRole.INSTALLER)
        answer = self.client.put(f"/v1/devices/{self.box.device_id}/mcu", json=body, headers=key)
        assert answer.status_code == 200, answer.text

    # --- people ---

    @contextmanager
    def serving(self) -> Iterator[Self]:
        """Serve API and gate on loopback, write everyone's settings, pin the car, publish the documents."""
        gate_app = TestClient(create_gate_app(self.gate, token=TOKEN), raise_server_exceptions=False)
        api = LineServer(self.client, after=self.carry)
        with listening(LineServer(gate_app)) as gate, listening(api) as server:  # type: ignore[arg-type]
            self._port = HttpGate(gate, token=TOKEN)
            self.desk.secret("gate.token", TOKEN)
            for who, role in OFFICERS.items():
                key = self.backend.key(role)["Authorization"].removeprefix("Bearer ")
                self.desk.secret(f"{who}-api.key", key)
                (self.desk / f"{who}.toml").write_text(self._settings(who, server, gate))
            words = ("--vin", VIN, "--vin-salt", VIN_SALT.hex(), "--contract-ref", CONTRACT.hex())
            more = ("--jur", JUR, "--mcu-key", cose_key_bytes(MCU.public_key).hex())
            self.desk.run("car", "pin", self.box.device_id, *words, *more, "--config", "maker.toml")
            names = ("platform.snapshot", "lender.snapshot")
            self.desk.run("authority", "publish", *names, "--config", "admin.toml")
            yield self

    def _settings(self, who: str, server: str, gate: str) -> str:
        log = load_log_signer(self.backend.settings.log_key_path, origin=self.backend.settings.log_origin)
        return (
            f'server = "{server}"\napi_key_file = "{who}-api.key"\nkey = "{who}.key"\n'
            'lender_root = "lender-root.json"\nplatform_root = "platform-root.json"\n'
            f'loan_key = "loans.pub"\ndelegations = ["{who}.delegation"]\nstate = "state-{who}"\n'
            f'log_key = "{log.key.to_text()}"\ngate = "{gate}"\ngate_token_file = "gate.token"\n'
        )

    def officer(self, who: str, *words: object, **more: Any) -> Any:
        """Run a command as an officer and return what it printed as JSON; `exit_code=` expects a refusal."""
        signing = ("request", "approve", "unlock", "cancel", "freeze", "decommission")
        secret = ("--passphrase-file", self.desk.passphrase_file) if words[0] in signing else ()
        result = self.desk.run(*words, *secret, "--config", f"{who}.toml", "--json", **more)
        return json.loads(result.stdout) if not more.get("exit_code") else result

    def request(self, kind: str = "lock", *more: object) -> str:
        """Request an order as the maker, on a basis of the loan system's, and return its id."""
        (self.desk / "case.basis").write_bytes(self.basis())
        lead = ("--warn-lead-s", 0) if kind != "renew" else ()
        words = ("request", kind, self.box.device_id, "--basis", "case.basis", *lead, "--yes", *more)
        return str(self.officer("maker", *words)["order"])

    def basis(self) -> bytes:
        found = read_basis(self.system.basis(CONTRACT))
        chosen = pack("zz")
        made = (chosen.jur, chosen.version, chosen.digest)
        return encode_basis(Basis(facts=found.facts, records=found.records, pack=made, opinion=None))

    def approve(self, cmd_id: str) -> Any:
        """Approve as the checker."""
        return self.officer("checker", "approve", cmd_id, "--reason-code", "ACCOUNT", "--yes")

    def status(self) -> Any:
        """Return what the maker's tool says of the car."""
        return self.officer("maker", "status", self.box.device_id)

    def order(self, cmd_id: str) -> dict[str, Any]:
        answer = self.client.get(f"/v1/orders/{cmd_id}", headers=self.backend.admin)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    # --- machines ---

    def drive(self, rounds: int = 1) -> Counter[str]:
        """Let the worker do so many rounds, and carry the line after each."""
        settings = self.backend.settings
        log = load_log_signer(settings.log_key_path, origin=settings.log_origin)
        assert self._port is not None, "the line is serving"
        driver = OrderDriver(
            database=self.database,
            gate=self._port,
            publish=lambda now_us: publish(self.database, signer=log, witnesses=(), now_us=now_us),
        )
        counts: Counter[str] = Counter()
        for _ in range(rounds):
            self._tick()
            counts += driver.round(now_us=self.backend.clock())
            self.carry()
            self.pass_time(2)
        return counts

    def pass_time(self, seconds: float) -> None:
        """Let the car's time pass, and the backend's and the gate's with it."""
        self.car.run(seconds)
        self._tick()
        self.carry()

    def _tick(self) -> None:
        self.backend.clock.now_us = self.car.now_s * 1_000_000

    def carry(self) -> None:
        """Carry what is due between backend and car, both ways."""
        for _ in range(3):
            dispatch_orders(self.database, self._down, now_us=self.backend.clock())
            for _ in range(4):
                self.car.step()
            self._up()

    def _down(self, topic: str, payload: bytes) -> bool:
        kind = Down(topic.rpartition("/")[2])
        if kind is Down.AUTHORITY:
            for document_kind, document in decode_bundle(payload):
                if document_kind in FOR_THE_MCU:
                    body = strict_cbor.dumps([int(document_kind), document])
                    self.car.send(brain_module.AUTHORITY, body)
                    self.car.run(4)
        elif kind in _LINK:
            self.car.send(_LINK[kind], payload)
        return True

    def _up(self) -> None:
        car, messages = self.car, []
        if car.challenge is not None and car.challenge != self._challenge:
            self._challenge = car.challenge
            messages.append((Up.CHALLENGE, car.challenge))
        messages += [(Up.DISPOSITION, data) for data in car.dispositions[self._seen["dispositions"] :]]
        messages += [(Up.REQUEST, data) for data in car.go_requests[self._seen["go"] :]]
        self._seen = {"dispositions": len(car.dispositions), "go": len(car.go_requests)}
        if messages:
            device = DeviceId(self.box.device_id)
            taken = ingest(
                self.database,
                [Inbound(topic=up_topic(device, kind), payload=payload) for kind, payload in messages],
                signer=self.backend.identity.receipt_signer,
                now_us=self.backend.clock(),
            )
            self.outcomes += taken.outcomes


def _gate(desk: Desk, car: LineCar, backend: Backend, system: LoanSystem, weather: Weather) -> Gate:
    """Return the gate of the line: the desk's roots, the backend's log, the lender's loan system."""
    settings = backend.settings
    log = load_log_signer(settings.log_key_path, origin=settings.log_origin)
    roots = [read_root_file(desk / f"{name}-root.json") for name in ("platform", "lender")]
    key = system.signer.kid
    lender = Lender(
        lender_id=LENDER_ID,
        integration_keys={key: system.signer.public_key},  # type: ignore[attr-defined]
    )
    trust = Trust(
        is_demo=True,
        delegation=(desk / "gate.delegation").read_bytes(),
        anchors={root.issuer: (tuple(root.keys), root.threshold) for root in roots},
        log=LogTrust(log=log.key, witnesses=(), quorum=0),
        lenders={LENDER_ID: lender},
        asks_probation=False,
        counsel_keys={},
    )
    gate = Gate(
        trust=trust,
        packs=PackShelf([pack("zz")], is_demo=True),
        signer=desk_key(desk, "gate"),
        store=GateStore.open(":memory:"),
        loans=_AnyLender(system),
        forecasts=weather,
        clock=LineClock(car),
    )
    with gate.store.writing() as at:
        for name in ("platform", "lender"):
            snapshot = (desk / f"{name}.snapshot").read_bytes()
            gate.records.take_authority(at, "authority", snapshot, car.now_s)
    return gate


class _AnyLender(_Loans):
    """The loan system of this desk's lender."""

    def facts(self, lender_id: bytes, question: Any) -> bytes:
        assert lender_id == LENDER_ID
        return self.system.facts(question)
