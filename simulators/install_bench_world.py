"""Everything that a fitter's bench needs, as real processes: car, box, office, gate, and a job to do.

Rules: API, bridge, gate and agent are processes of their own, the firmware runs in a real MicroPython. Depot
and ceremonies are done here, in a moment: the microcontroller is provisioned and knows no lender. What the
fitter needs is in `fitter/`: his key, an API key, and answers that turn the bench's own key. Whatever is
started ends with the world.

Example:
    with InstallWorld(home=Path("build/bench"), wrong=of_names(["coil-open"])) as world:
        print(world.command())
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import secrets
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Final

from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key

from device.mcu.pins import KEY_FILE
from firmware_tools.image import Floors, build
from protocol import strict_cbor
from protocol.base64url import to_text
from protocol.ids import cose_key_bytes, thumbprint
from protocol.label import make_serial
from simulators import drive_cycles
from simulators.demo.lock_fitting import (
    AUTHORITY,
    PROVISION,
    STATUS,
    Bench,
    Papers,
    provision_fields,
)
from simulators.demo.lock_officers import LENDER, LENDER_ID, PLATFORM
from simulators.install_bench import VIN, InstallBench
from simulators.install_bench_faults import BenchFault
from simulators.install_bench_office import PERSON, BenchOffice
from simulators.processes import Process, run_tool, tbox
from simulators.world import World

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey

CONTRACT: Final = hashlib.sha256(b"the bench's contract").digest()
JURISDICTION: Final = "ZZ"
WINDOW_H: Final = 8
SNAPSHOT_KIND: Final = 2  # of AUTHORITY on the microcontroller's line
READ_S: Final = 10.0  # of the board's time: signatures of documents are counted out slowly
WIRING: Final = {
    "ignition_wire": "X1/7 black-blue, terminal 15 at the ignition switch",
    "crank_wire": "X1/3 black-yellow, terminal 50 before the relay",
    "start_note": "turn-key; the relay sits in the starter's line",
}
ANSWERS: Final = """\
# Answers for `tbox install car --answers`: the bench turns its own key.
on_failure = "stop"
bench = "{bench}"
skip = ["PROFILE", "FIX", "NETWORK"]
[answers]
CONSENT = "yes"
"""


class InstallWorld(World):
    """See the module; a context manager as `World`.

    Args:
        home: folder of this world.
        wrong: what is wrong with car, wiring or surroundings.
        seed: of the car.
        speed: board seconds in a real one.
    """

    def __init__(
        self, *, home: Path, wrong: frozenset[BenchFault] = frozenset(), seed: int = 7, speed: float = 1.0
    ) -> None:
        super().__init__(home=home, seed=seed, legs=drive_cycles.park(60))
        self.wrong, self._seed, self._speed = wrong, seed, speed
        self.fitter = home / "fitter"
        self.office = BenchOffice.make(self.fitter)
        self.bench: InstallBench
        self.job = self.gate_url = ""
        self.mcu_key: EllipticCurvePublicKey
        self._gate: Process

    def check(self) -> None:
        """Make sure that every process runs, and the bench."""
        for process in (*self.cloud.processes(), self.box.agent, self._gate):
            process.check()
        self.bench.check()

    def start(self) -> None:
        """Start everyone."""
        image = self.home / "mcu-image"
        with ThreadPoolExecutor(2) as aside:
            table, built = aside.submit(self.box.compile_table), aside.submit(build, image, Floors.DEMO)
            self._start_cloud()
            table.result()
            built.result()
        self.car.can.close()  # the bench has the car
        self.car.nmea.close()
        bench = InstallBench(
            image=image, home=self.home, wrong=self.wrong, seed=self._seed, speed=self._speed
        )
        self._provision(bench)
        self._start_gate()
        self._name_gate_to_api()
        self._bring_documents()
        self.bench = self._stack.enter_context(bench)
        self._start_box_of(bench)
        self._plan_job()
        if BenchFault.NO_NETWORK in self.wrong:
            self.link.cut()

    def command(self, out: Path | None = None) -> list[str]:
        """Return the words of `tbox install car` that fit this bench's box, unattended."""
        return [
            *("install", "car", "--home", str(self.box.home), "--key", str(self.office.fitter_key)),
            *("--delegation", str(self.fitter / "fitter.delegation")),
            *("--api", self.cloud.api_url, "--api-key", str(self.fitter / "api.key"), "--job", self.job),
            *("--answers", str(self.fitter / "answers.toml"), "--out", str(out or self.home / "job")),
        ]

    def write_trust(self, path: Path) -> None:
        """Write whom a verifier of this bench's record trusts, from the depot and the ceremonies."""
        keys = [
            *(bytes.fromhex(row["cose_key"]) for row in self._device()["keys"]),
            cose_key_bytes(self.office.fitter.public_key),
            cose_key_bytes(self.mcu_key),
        ]
        content = {"keys": [key.hex() for key in keys], "policy_keys": self._pinned()["policy_keys"]}
        path.write_text(json.dumps(content, indent=1) + "\n", "utf-8")

    # --- what the depot does --------------------------------------------------------------------------------

    def _provision(self, bench: InstallBench) -> None:
        """Leave the microcontroller as a depot does: it knows its box, roots and time keys, and no lender."""
        papers = Papers(
            device=bytes.fromhex(self.box.device),
            lender_id=bytes.fromhex(LENDER_ID),
            vin=VIN,
            salt=secrets.token_bytes(16),
            contract_ref=CONTRACT,
            roots={issuer: self.office.root(issuer) for issuer in (PLATFORM, LENDER)},
            time_keys=[bytes.fromhex(key) for key in self._pinned()["receipt_keys"]],
        )
        board = bench.board
        line = Bench(board)
        board.power_on()
        line.wait_for(STATUS)
        line.send(PROVISION, strict_cbor.dumps(provision_fields(papers)))
        line.run(2.0)
        for issuer in (PLATFORM, LENDER):
            document = self.office.snapshots[issuer]
            line.send(AUTHORITY, strict_cbor.dumps([SNAPSHOT_KIND, document]))
            line.run(READ_S)
        scalar = int.from_bytes((board.state / KEY_FILE).read_bytes()[:32], "big")
        self.mcu_key = derive_private_key(scalar, SECP256R1()).public_key()
        board.cut_power()

    def _bring_documents(self) -> None:
        """Bring what the roots have signed; the microcontroller is registered by its record."""
        documents = [("snapshot", document) for document in self.office.snapshots.values()]
        documents += [("delegation", document) for document in self.office.delegations.values()]
        self._post(
            "/v1/labels",
            {
                "label": make_serial("TB", 1),
                "device": self.box.device,
                "mcu_id": thumbprint(self.mcu_key).hex(),
                "mcu_key": cose_key_bytes(self.mcu_key).hex(),
                "report_sha256": hashlib.sha256(b"a depot's report of a simulated box").hexdigest(),
            },
        )
        for kind, document in documents:
            self.cloud.api.post("/v1/authority/documents", {"kind": kind, "document": to_text(document)})

    def _start_gate(self) -> None:
        """Start the gate, and show it what the roots have signed."""
        home, files = self.office.gate_home, self.cloud.files
        ledger = json.loads(run_tool(tbox("backend", "ledger", "show", "--home", str(files.home), "--json")))
        self.office.write_gate(policy_keys=self._pinned()["policy_keys"], log_key=str(ledger["key"]))
        self._gate = Process(
            "gate",
            tbox("backend", "gate", "run", "--home", str(home), "--port", "0", "--json"),
            log=self.logs / "gate.log",
        )
        self._stack.enter_context(self._gate)
        self.gate_url = self._gate.wait_for_line(r'"url": "(http://[^"]+)"').group(1)
        for document in self.office.snapshots.values():
            self._tell_gate(document)

    def _tell_gate(self, snapshot: bytes) -> None:
        token = (self.office.gate_home / "token").read_text("ascii").strip()
        body = json.dumps({"document": to_text(snapshot), "kind": "authority"}).encode()
        headers = {"Content-Type": "application/json", "Authorization": f"Bearer {token}"}
        request = urllib.request.Request(f"{self.gate_url}/authority", data=body, headers=headers)  # noqa: S310 - our own process
        with urllib.request.urlopen(request, timeout=20):  # noqa: S310 - as above
            pass

    def _name_gate_to_api(self) -> None:
        """Let the API know its gate, which needed the API's home to start."""
        settings = self.cloud.files.home / "settings.toml"
        settings.write_text(
            f'demo = true\ngate_url = "{self.gate_url}"\ngate_token = "{self.office.gate_home / "token"}"\n',
            "utf-8",
        )
        self.cloud.restart_api()

    def _start_box_of(self, bench: InstallBench) -> None:
        self.box.configure(
            api_url=self.cloud.api_url,
            broker_port=self.link.port,
            can=bench.can.path,
            nmea=bench.nmea.path,
            mcu=bench.mcu.line,
        )
        self._stack.enter_context(self.box.agent)
        self.box.wait_until_ready()

    # --- what the lender's desk does ------------------------------------------------------------------------

    def _plan_job(self) -> None:
        """Enter the vehicle, plan the job for the fitter, and write down what he needs."""
        now = dt.datetime.now(dt.UTC)
        self._post(
            "/v1/vehicles",
            {
                "vin": VIN,
                "lender_id": LENDER_ID,
                "contract_ref": CONTRACT.hex(),
                "jurisdiction": JURISDICTION,
                "start_type": "turn-key",
                "profile": "demo",
                **WIRING,
            },
        )
        job = {
            "vehicle": VIN,
            "acts": ["install"],
            "installer": PERSON,
            "from": (now - dt.timedelta(minutes=1)).isoformat(),
            "to": (now + dt.timedelta(hours=WINDOW_H)).isoformat(),
        }
        self.job = str(self._post("/v1/jobs", job)["job_id"])
        self.fitter.mkdir(parents=True, exist_ok=True, mode=0o700)
        secret = self.fitter / "api.key"
        secret.touch(mode=0o600)
        secret.write_text(self.cloud.api_key(PERSON, "installer"), "ascii")
        (self.fitter / "fitter.delegation").write_bytes(self.office.delegations["fitter"])
        host, port = self.bench.mcu.control
        (self.fitter / "answers.toml").write_text(ANSWERS.format(bench=f"{host}:{port}"), "utf-8")

    def _pinned(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.box.home / "trust.json").read_text("utf-8"))
        return found

    def _post(self, path: str, body: Mapping[str, object]) -> Any:  # noqa: ANN401 - JSON, as the client's
        headers = {"Idempotency-Key": secrets.token_hex(16)}
        return json.loads(self.cloud.api.raw("POST", path, body=body, headers=headers))

    def _device(self) -> dict[str, Any]:
        found: dict[str, Any] = self.cloud.api.get(f"/v1/devices/{self.box.device}")
        return found
