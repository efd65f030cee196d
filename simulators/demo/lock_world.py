"""The world of the lock story: car, box and cloud, and beside them everyone who has a say in a lock.

Rules: each is a process of its own with a key of its own: API, bridge, order worker, ledger keeper, gate,
loan system, agent, the microcontroller (MicroPython on the simulated board), each run of `tbox lender`. What
the workshop, the platform's desk and the operator would do by hand is done here once, at the start. The
gate's first limit is set by its safety officer; a demonstration's holds at once.

Example:
    with LockWorld(home=folder, seed=7) as world:
        world.car_on_road.drive(30)
"""

from __future__ import annotations

import hashlib
import json
import secrets
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from importlib import resources
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import (
    SECP256R1,
    EllipticCurvePrivateKey,
    generate_private_key,
)
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from backend.lender.key_file import open_key_file
from firmware_tools.image import Floors, build
from protocol import strict_cbor
from protocol.base64url import to_text
from protocol.envelope import SoftwareSigner
from protocol.gate_records import GateRecord, RecordType, sign_gate_record
from protocol.ids import cose_key_bytes, public_key_from_cose, thumbprint
from protocol.orders import OrderSigner, Role
from simulators import drive_cycles
from simulators.demo.lock_driver import Driver
from simulators.demo.lock_fitting import JURISDICTION, FittedCar, Papers, fit
from simulators.demo.lock_officers import LENDER, LENDER_ID, PLATFORM, ROLES, Officers
from simulators.loan_system_http import load_signer
from simulators.mcu_board import McuBoard
from simulators.mcu_on_port import McuOnPort
from simulators.processes import Process, python, run_tool, tbox
from simulators.world import World

if TYPE_CHECKING:
    from pathlib import Path

VIN: Final = "LSVAA4182E2123456"
CONTRACT: Final = hashlib.sha256(b"the story's contract").digest()
DAYS_BEHIND, DUE_MINOR = 40, 81_250
FLEET, LOCKS_A_DAY = 40_000, 60
API_ROLES: Final = {"maker": "officer-maker", "checker": "officer-checker", "safety": "safety-officer"}
BATCH_AGE_S: Final = 2.0
SNAPSHOT_KIND, DELEGATION_KIND = 2, 1  # of AUTHORITY on the microcontroller's line
PRIVATE: Final = 0o600


class LockWorld(World):
    """Everyone; a context manager as `World`.

    Args:
        home: folder of this world.
        seed: of the car.
        is_patient: `prepare` runs beside something else, and gives way to it.
    """

    def __init__(self, *, home: Path, seed: int, is_patient: bool = False) -> None:
        super().__init__(home=home, seed=seed, legs=drive_cycles.park(3_600), batch_age_s=BATCH_AGE_S)
        # This story begins with a car that drove for two days after its installation.
        self.cloud.env |= {"TBOX_DEMO": "true", "TBOX_DEMO_PROBATION_PASSED": "true"}
        self.officers = Officers(folder=home / "officers", is_patient=is_patient)
        self._is_prepared = False
        self.episode = secrets.token_bytes(16)
        self.fitted: FittedCar
        self.mcu: McuOnPort
        self.driver: Driver
        self._gate: Process
        self._loans: Process
        self.gate_url = self.loans_url = ""
        self._gate_home, self._desk = home / "gate", home / "desk"

    def processes(self) -> tuple[Process, ...]:
        """Return the processes that should be running."""
        return (*super().processes(), self._gate, self._loans)

    def check(self) -> None:
        """Make sure that every process runs, and the microcontroller's thread."""
        super().check()
        self.mcu.check()

    # --- setting up, in the order in which each needs the one before ---

    def start(self) -> None:
        """Start everyone."""
        with ThreadPoolExecutor(2) as aside:
            table, prepared = aside.submit(self.box.compile_table), aside.submit(self.prepare)
            self._start_cloud()
            for waiting in (table, prepared):
                waiting.result()
        self._fit_car()
        self._bring_documents()
        self._start_deciders()
        self._settle_officers()
        self._start_box(self.mcu.path)

    def prepare(self) -> None:
        """Do what needs no server: the image, keys, ceremonies, and what a snapshot names by hash."""
        if self._is_prepared:
            return
        self._is_prepared = True
        self._desk.mkdir(parents=True, exist_ok=True, mode=0o700)
        build(self.home / "mcu" / "image", Floors.DEMO)
        init = json.loads(run_tool(tbox("backend", "gate", "init", "--home", str(self._gate_home), "--json")))
        self.officers.make_keys()
        _write_public(self.officers.public("gate"), bytes.fromhex(init["cose_key"]))
        self._fitter = self._desk_key("fitter")
        _write_public(self.officers.public("fitter"), cose_key_bytes(self._fitter.public_key))
        self._loan_signer = load_signer(self.home / "loans")
        _write_public(self.officers.folder / "loan-system.pub", cose_key_bytes(self._loan_signer.public_key))
        self.zones, self.calendar = _zones(), _calendar()
        digest = {name: hashlib.sha256(data).hexdigest() for name, data in self._named().items()}
        self.officers.hold_ceremonies(
            pack=f"{JURISDICTION}:1:{digest['calendar']}", zones=f"1:{digest['zones']}"
        )

    def _named(self) -> dict[str, bytes]:
        return {"zones": self.zones, "calendar": self.calendar}

    def _fit_car(self) -> None:
        """Let the workshop fit the microcontroller, and switch the car's own power on."""
        officers = self.officers
        papers = Papers(
            device=bytes.fromhex(self.box.device),
            lender_id=bytes.fromhex(LENDER_ID),
            vin=VIN,
            salt=secrets.token_bytes(16),
            contract_ref=CONTRACT,
            roots={issuer: self._root(issuer) for issuer in (PLATFORM, LENDER)},
            time_keys=[bytes.fromhex(key) for key in self._pinned()["receipt_keys"]],
        )
        snapshots = [(SNAPSHOT_KIND, officers.snapshot(issuer).read_bytes()) for issuer in (PLATFORM, LENDER)]
        names = ("fitter", "gate", *ROLES)
        delegations = [(DELEGATION_KIND, officers.delegation(name).read_bytes()) for name in names]
        board = self._stack.enter_context(McuBoard(self.home / "mcu" / "image", self.home / "mcu" / "flash"))
        self.fitted = fit(
            board,
            papers,
            documents=[*snapshots, *delegations],
            fitter=self._as("fitter", Role.INSTALLER, self._fitter),
            gate=self._as("gate", Role.GATE, _read_key(self._gate_home / "gate.key")),
        )
        self.papers = papers
        self.mcu = self._stack.enter_context(
            McuOnPort(board, self.car.car.vehicle, link=self.home / "dev" / "mcu0")
        )
        self.driver = Driver(vehicle=self.car.car.vehicle, body=board.car, mcu=self.mcu)

    def _bring_documents(self) -> None:
        """Register the microcontroller, and bring what the roots have signed."""
        registered = {
            "cose_key": self.fitted.cose_key.hex(),
            "epoch": self.fitted.epoch.hex(),
            "vin_bind": self.papers.vin_bind.hex(),
            "contract_ref": CONTRACT.hex(),
            "lender_id": LENDER_ID,
            "jurisdiction": JURISDICTION,
            "challenge": to_text(self.fitted.challenge),
        }
        officers, api = self.officers, self.cloud.api
        documents = [("snapshot", officers.snapshot(issuer).read_bytes()) for issuer in (PLATFORM, LENDER)]
        documents += [("delegation", officers.delegation(name).read_bytes()) for name in ("gate", *ROLES)]
        documents += list(self._named().items())
        for kind, document in documents:
            api.post("/v1/authority/documents", {"kind": kind, "document": to_text(document)})
        api.raw("PUT", f"/v1/devices/{self.box.device}/mcu", body=registered)

    def _start_deciders(self) -> None:
        """Start loan system, gate, ledger keeper and order worker, and let a limit be set."""
        self._loans = Process(
            "loans",
            python("simulators.loan_system_http", "--home", str(self.home / "loans")),
            log=self.logs / "loans.log",
        )
        self._stack.enter_context(self._loans)
        self.loans_url = self._loans.wait_for_line(r'"url": "(http://[^"]+)"').group(1)
        self._write_gate_home()
        self._gate = Process(
            "gate",
            tbox("backend", "gate", "run", "--home", str(self._gate_home), "--port", "0", "--json"),
            log=self.logs / "gate.log",
        )
        self._stack.enter_context(self._gate)
        self.cloud.run_beside("ledger", "ledger", "run")
        self.gate_url = self._gate.wait_for_line(r'"url": "(http://[^"]+)"').group(1)
        token = ("--gate-token", str(self._gate_home / "token"))
        self.cloud.run_beside("orders", "orders", "run", "--gate-url", self.gate_url, *token)
        self._set_limit()

    def _write_gate_home(self) -> None:
        ledger = json.loads(
            run_tool(tbox("backend", "ledger", "show", "--home", str(self.cloud.files.home), "--json"))
        )
        self.log_key = str(ledger["key"])
        pack_key = self._desk / "pack.key"
        pack_signer = self._desk_key("pack")
        source = resources.files("backend").joinpath("gate", "packs", "zz.toml")
        with resources.as_file(source) as pack:
            signed = str(self._gate_home / "packs" / "zz.cose")
            words = ("--key", str(pack_key), "--out", signed)
            run_tool(tbox("backend", "gate", "pack", "sign", *words, str(pack)))
        (self._gate_home / "gate.delegation").write_bytes(self.officers.delegation("gate").read_bytes())
        platform, lender = self._root(PLATFORM), self._root(LENDER)
        (self._gate_home / "gate.toml").write_text(
            "demo = true\ndemo_probation_passed = true\n"
            f"pack_keys = [{_listed([cose_key_bytes(pack_signer.public_key)])}]\n"
            f"[platform]\nkeys = [{_listed(platform[0])}]\nthreshold = {platform[1]}\n"
            f'[log]\nkey = "{self.log_key}"\nquorum = 0\n'
            f'[[lender]]\nid = "{LENDER_ID}"\nurl = "{self.loans_url}"\n'
            f"integration_keys = [{_listed([cose_key_bytes(self._loan_signer.public_key)])}]\n"
            f"[lender.root]\nkeys = [{_listed(lender[0])}]\nthreshold = {lender[1]}\n",
            "utf-8",
        )

    def _set_limit(self) -> None:
        """Let the safety officer set how many locks a day the gate may sign."""
        folder = self.officers.of("safety")
        signer = open_key_file(folder / "safety.key", (folder / "pass").read_text("utf-8"))
        delegation = self.officers.delegation("safety").read_bytes()
        for issuer in (PLATFORM, LENDER):
            self.tell_gate("authority", self.officers.snapshot(issuer).read_bytes(), kind="authority")
        self.tell_gate("authority", delegation, kind="delegation")
        record = GateRecord(
            type=RecordType.LIMIT,
            record_id=secrets.token_bytes(16),
            written_s=int(time.time()),
            delegation=hashlib.sha256(delegation).digest(),
            body={1: bytes.fromhex(LENDER_ID), 2: FLEET, 3: LOCKS_A_DAY, 4: int(time.time())},
        )
        self.tell_gate("breaker-limit", sign_gate_record(record, signer))

    def _settle_officers(self) -> None:
        """Give everyone their settings, and let them pin the car from its installation record."""
        self.officers.configure(
            server=self.cloud.api_url,
            api_keys={name: self.cloud.api_key(name, role) for name, role in API_ROLES.items()},
            loan_key=self.officers.folder / "loan-system.pub",
            gate=self.gate_url,
            gate_token=self._gate_home / "token",
        )
        record = ("--vin", VIN, "--vin-salt", self.papers.salt.hex(), "--contract-ref", CONTRACT.hex())
        more = ("--jur", JURISDICTION, "--epoch", self.fitted.epoch.hex())
        for name in API_ROLES:
            words = (self.box.device, "--mcu-key", self.fitted.cose_key.hex(), *record, *more)
            self.officers.run(name, "car", "pin", *words)

    # --- what the story asks of them ---

    def clerk(self, what: str, **words: object) -> dict[str, Any]:
        """Let something happen to the loan, at the loan system."""
        body = json.dumps({"contract": CONTRACT.hex(), **words}).encode()
        answer: dict[str, Any] = json.loads(_post(f"{self.loans_url}/clerk/{what}", body))
        return answer

    def tell_gate(self, path: str, document: bytes, **more: str) -> dict[str, Any]:
        """Give the gate a document."""
        token = (self._gate_home / "token").read_text("ascii").strip()
        body = json.dumps({"document": to_text(document), **more}).encode()
        answer: dict[str, Any] = json.loads(_post(f"{self.gate_url}/{path}", body, token=token))
        return answer

    def order(self, cmd_id: str) -> dict[str, Any]:
        """Return an order as the API shows it."""
        found: dict[str, Any] = self.cloud.api.get(f"/v1/orders/{cmd_id}")
        return found

    def checkpoint(self) -> bytes:
        """Return the log's last signed checkpoint."""
        return self.cloud.api.raw("GET", "/v1/ledger/checkpoint")

    def write_order_trust(self, path: Path) -> None:
        """Write what a verifier of this car's orders trusts: from ceremonies and workshop, no server."""
        pinned = self._pinned()
        roots = {
            issuer: {"keys": [key.hex() for key in keys], "threshold": threshold}
            for issuer, (keys, threshold) in self.papers.roots.items()
        }
        trust = {
            "devices": [pinned["device"]],
            "backend_keys": pinned["receipt_keys"],
            "mcus": {pinned["device"]: [self.fitted.kid.hex()]},
            "roots": roots,
            "log_keys": [self.log_key],
        }
        path.write_text(json.dumps(trust, indent=2) + "\n", "utf-8")

    # --- inside ---

    def _pinned(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.box.home / "trust.json").read_text("utf-8"))
        return found

    def _root(self, issuer: str) -> tuple[list[bytes], int]:
        content = json.loads(self.officers.root(issuer).read_text("utf-8"))
        return [bytes.fromhex(key) for key in content["keys"]], int(content["threshold"])

    def _as(self, name: str, role: Role, signer: SoftwareSigner) -> OrderSigner:
        delegation = hashlib.sha256(self.officers.delegation(name).read_bytes()).digest()
        return OrderSigner(signer=signer, role=role, delegation=delegation)

    def _desk_key(self, name: str) -> SoftwareSigner:
        """Return a key of the platform's desk, made when it is new."""
        path = self._desk / f"{name}.key"
        if not path.exists():
            path.touch(mode=PRIVATE)
            key = generate_private_key(SECP256R1())
            path.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return _read_key(path)


def _read_key(path: Path) -> SoftwareSigner:
    key = load_pem_private_key(path.read_bytes(), password=None)
    assert isinstance(key, EllipticCurvePrivateKey), f"{path} is not a key of ours"
    return SoftwareSigner(key)


def _write_public(path: Path, cose_key: bytes) -> None:
    """Write a public key as people hand it over to a ceremony."""
    kid = thumbprint(public_key_from_cose(cose_key)).hex()
    content = {"tbox_public_key": 1, "kid": kid, "cose_key": cose_key.hex()}
    path.write_text(json.dumps(content) + "\n", "utf-8")


def _listed(keys: list[bytes]) -> str:
    return ", ".join(f'"{key.hex()}"' for key in keys)


def _zones() -> bytes:
    """Return a zone set with one zone, in the middle of the South Atlantic."""
    return bytes(strict_cbor.dumps({1: 1, 2: 1, 3: [[1, [-300_000_000, -150_000_000, 1_000]]]}))


def _calendar() -> bytes:
    """Return hours in which every day is a business day, by UTC, from yesterday for a year."""
    yesterday_s = int(time.time()) - 86_400
    return bytes(
        strict_cbor.dumps(
            {
                1: 1,
                2: JURISDICTION,
                3: 1,
                4: [yesterday_s, yesterday_s + 366 * 86_400],
                5: [[yesterday_s, 0]],
                6: 0b1111111,
                7: [],
                8: [],
            }
        )
    )


def _post(url: str, body: bytes, *, token: str = "") -> bytes:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {token}"} if token else {})
    request = urllib.request.Request(url, data=body, headers=headers)  # noqa: S310 - our own processes
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:  # noqa: S310 - see above
            return bytes(answer.read())
    except urllib.error.HTTPError as refused:
        raise OSError(f"{url}: {refused.code} {refused.read()[:300]!r}") from refused
