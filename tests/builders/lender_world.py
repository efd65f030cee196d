"""A lender's officers, a car, and a server of their own: with a server that keeps its word, or lies.

The car signs with a key made here; the server is a real HTTP server on loopback that stores what it is given.
`world.server.lies[path part] = change` makes it answer differently from what it knows.
"""

import atexit
import hashlib
import json
import secrets
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import ec

from backend.lender.keys import public_key_file
from backend.lender.plain import to_bytes
from protocol import cose_sign, orders_payload
from protocol.base64url import to_text
from protocol.envelope import Kind, SoftwareSigner
from protocol.ids import cose_key_bytes
from protocol.loan_facts import (
    Basis,
    Channel,
    Delivery,
    Interval,
    LoanFacts,
    LoanRecord,
    Notice,
    NoticeType,
    Paper,
    Purpose,
    encode_basis,
    sign_loan_facts,
    sign_loan_record,
)
from protocol.orders import Code, OrderType, State, sign_document
from tests.builders.lender import LENDER, Desk

LENDER_ID = bytes.fromhex(LENDER.partition(":")[2])
VIN, VIN_SALT = "LSVAA4182E2123456", bytes(range(16))
VIN_BIND = hashlib.sha256(VIN_SALT + VIN.encode()).digest()
CONTRACT = hashlib.sha256(b"contract").digest()
JUR = "ZZ"
API_KEY = "tbox_0123456789ab_" + "5e" * 24
Json = dict[str, Any]


def new_signer() -> SoftwareSigner:
    """Return a signer of a new key."""
    return SoftwareSigner(ec.generate_private_key(ec.SECP256R1()))


class SignedCar:
    """A car that signs challenges and dispositions."""

    def __init__(self) -> None:
        self.signer = new_signer()
        self.device = hashlib.sha256(b"box").hexdigest()
        self.epoch, self.chal = secrets.token_bytes(16), secrets.token_bytes(16)
        self.heads, self.prev, self.tick, self.mode = [4, 7, 2], bytes(32), 5_000, 1
        self.dispositions: list[bytes] = []

    def challenge(self, **changes: Any) -> bytes:
        """Return the open challenge, signed."""
        fields: dict[int, object] = {
            1: 1,
            2: self.signer.kid,
            3: self.epoch,
            4: self.chal,
            5: self.tick,
            6: self.heads,
            7: self.prev,
            8: 0,
            9: self.mode,
            10: [JUR, 1, bytes(32)],
            11: None,
            12: None,
        }
        fields |= {int(key.removeprefix("f")): value for key, value in changes.items()}
        return sign_document(Kind.CHALLENGE, fields, self.signer)

    def answer(self, state: State, payload: bytes, *, code: Code = Code.OK, **changes: Any) -> bytes:
        """Sign the next disposition."""
        fields: dict[int, object] = {
            1: 1,
            2: secrets.token_bytes(16),
            3: orders_payload.read_order(payload)[0][2],
            4: hashlib.sha256(payload).digest(),
            5: self.signer.kid,
            6: self.epoch,
            7: len(self.dispositions) + 1,
            8: hashlib.sha256(self.dispositions[-1]).digest() if self.dispositions else None,
            9: int(state),
            10: int(code),
            11: self.tick,
            12: [int(time.time()) - 90, int(time.time()) - 88, 2],
            13: [],
            14: [False, False],
            15: [False, False],
            16: None,
            17: [0, 3],
            18: True,
            19: [bytes(32), False],
            20: None,
        }
        fields |= {int(key.removeprefix("f")): value for key, value in changes.items()}
        made = sign_document(Kind.DISPOSITION, fields, self.signer)
        self.dispositions.append(made)
        return made


class FakeServer:
    """The routes that officers use, over what it was given.

    Attributes:
        lies: by a part of the path, what its answer is changed to.
        requests: method, path, headers, body of each request.
    """

    def __init__(self, car: SignedCar) -> None:
        self.car = car
        self.lies: dict[str, Callable[[Json], Json]] = {}
        self.down = False
        self.requests: list[tuple[str, str, Mapping[str, str], Json]] = []
        self.orders: dict[str, Json] = {}
        self.documents: dict[str, Json] = {}
        self.has_challenge = True

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: Json) -> tuple[int, Json]:
        """Answer a request."""
        self.requests.append((method, path, headers, body))
        if self.down:
            return 503, {"title": "down", "detail": "for the test"}
        if headers.get("Authorization") != f"Bearer {API_KEY}":
            return 401, {"title": "unauthenticated"}
        status, value = self._route(method, path.partition("?")[0], body)
        for part, change in self.lies.items():
            if part in path and status < 300:
                value = change(json.loads(json.dumps(value)))
        return status, value

    def _route(self, method: str, path: str, body: Json) -> tuple[int, Json]:  # noqa: C901, PLR0911  # one flat table
        words = path.strip("/").split("/")[1:]
        match method, words:
            case "GET", ["devices", device, "command"] if device == self.car.device:
                return 200, self._command()
            case "POST", ["devices", _, "challenge"]:
                self.has_challenge = True
                return 202, {}
            case "POST", ["devices", device, "orders"]:
                return self._take(device, body)
            case "GET", ["devices", _, "dispositions"]:
                return 200, {"items": [{"document": to_text(one)} for one in self.car.dispositions]}
            case "POST", ["orders", cmd_id, "approvals"] if cmd_id in self.orders:
                self.orders[cmd_id]["parts"].append(_part(body))
                self.orders[cmd_id] |= {"stage": "AWAITING_LOG", "reason_code": body["reason_code"]}
                return 201, self._stage(cmd_id)
            case "POST", ["orders", cmd_id, "withdraw"] if cmd_id in self.orders:
                self.orders[cmd_id]["stage"] = "WITHDRAWN"
                return 200, self._stage(cmd_id)
            case "GET", ["orders", cmd_id] if cmd_id in self.orders:
                return 200, self.orders[cmd_id]
            case "GET", ["orders"]:
                return 200, {"items": list(reversed(self.orders.values())), "next": None}
            case "POST", ["authority", "documents"]:
                return self._publish(body)
            case "GET", ["authority", "documents", digest] if digest in self.documents:
                return 200, self.documents[digest]
            case "GET", ["authority", "issuers", issuer]:
                return self._issuer(issuer)
        return 404, {"title": "not found", "detail": "nothing here"}

    def _command(self) -> Json:
        car = self.car
        challenge = {
            "document": to_text(car.challenge()),
            "is_used": False,
        }
        return {
            "mcu_id": car.signer.kid.hex(),
            "lender_id": LENDER_ID.hex(),
            "vin_bind": VIN_BIND.hex(),
            "contract_ref": CONTRACT.hex(),
            "epoch": car.epoch.hex(),
            "jur": JUR,
            "heads": car.heads,
            "prev": car.prev.hex(),
            "mode": "ACTIVE",
            "challenge": challenge if self.has_challenge else None,
            "reported_state": "UNKNOWN",
        }

    def _take(self, device: str, body: Json) -> tuple[int, Json]:
        payload = to_bytes(body["payload"], "payload")
        order = orders_payload.read_order(payload)[0]
        name = order[2].hex()
        is_release = order[3] in (OrderType.UNLOCK, OrderType.CANCEL)
        if name not in self.orders:
            self.orders[name] = {
                "cmd_id": name,
                "cmd_hash": hashlib.sha256(payload).hexdigest(),
                "device": device,
                "type": OrderType(order[3]).name,
                "stage": "QUEUED" if is_release else "AWAITING_CHECKER",
                "payload": body["payload"],
                "parts": [_part(body)],
                "basis": body.get("basis"),
                "challenge": None if is_release else to_text(self.car.challenge()),
            }
            self._keep("delegation", to_bytes(body["delegation"], "delegation"))
        return 201, self._stage(name)

    def _stage(self, cmd_id: str) -> Json:
        order = self.orders[cmd_id]
        return {name: order[name] for name in ("cmd_id", "cmd_hash", "stage")}

    def _publish(self, body: Json) -> tuple[int, Json]:
        digest = self._keep(body["kind"], to_bytes(body["document"], "document"))
        return 201, {"digest": digest, "kind": body["kind"]}

    def _keep(self, kind: str, document: bytes) -> str:
        digest = hashlib.sha256(document).hexdigest()
        payload = (
            cose_sign.read_sign1(document)[2] if kind == "revocation" else cose_sign.read_sign(document)[0]
        )
        form = {"snapshot": "authority"}.get(kind, kind)
        issuer = orders_payload.read_document(form, payload)[1 if kind == "delegation" else 2]
        self.documents[digest] = {"kind": kind, "document": to_text(document), "issuer": issuer}
        return digest

    def _issuer(self, issuer: str) -> tuple[int, Json]:
        issuer = issuer.replace("%3A", ":")
        mine = [one for one in self.documents.values() if one["issuer"] == issuer]
        snapshots = [one["document"] for one in mine if one["kind"] == "snapshot"]
        if not snapshots:
            return 404, {"title": "not found", "detail": "no snapshot"}
        digests = [
            name for name, one in self.documents.items() if one in mine and one["kind"] == "revocation"
        ]
        return 200, {"issuer": issuer, "document": snapshots[-1], "revocations": digests}


class World:
    """Officers, car and server.

    Attributes:
        desk: where commands run; `maker.toml`, `checker.toml` and `ombuds.toml` are their settings.
        car, server: as above.
        loans: the loan system's key.
    """

    def __init__(self, desk: Desk, car: SignedCar, server: FakeServer, loans: SoftwareSigner) -> None:
        self.desk, self.car, self.server, self.loans = desk, car, server, loans

    def basis(self, name: str = "case.basis", *, key: SoftwareSigner | None = None, **changes: Any) -> Path:
        """Write a basis bundle of a loan that is overdue and noticed."""
        now_s = int(time.time())
        facts: dict[str, Any] = {
            "contract_ref": CONTRACT,
            "nonce": bytes(16),
            "as_of_s": now_s - 60,
            "days_past_due": 41,
            "due_minor": 81_250,
            "pending": (),
            "flags": frozenset(),
            "due_since_s": now_s - 41 * 86_400,
            "contract_days": 30,
            "interval": Interval.OTHER,
            "papers": frozenset({Paper.DISCLOSURE_AT_SALE}),
            "revision": 12,
            "purpose": Purpose.SCREEN,
            "last_payment_s": None,
            "utc_offset_min": -480,
        }
        signer = key or self.loans
        episode = changes.pop("episode", hashlib.sha256(b"episode").digest()[:16])
        records = tuple(
            sign_loan_record(
                LoanRecord(
                    contract_ref=CONTRACT,
                    record_id=bytes([number]) * 16,
                    written_s=now_s - 5 * 86_400,
                    body=Notice(
                        episode=episode,
                        channel=channel,
                        state=Delivery.DELIVERED,
                        at_s=now_s - 5 * 86_400,
                        type=NoticeType.FINAL,
                        proof=None,
                        has_codes=True,
                    ),
                ),
                signer,
            )
            for number, channel in enumerate((Channel.LETTER, Channel.SMS), start=1)
        )
        made = sign_loan_facts(LoanFacts(**(facts | changes)), signer)
        data = encode_basis(Basis(facts=made, records=records, pack=(JUR, 1, bytes(32)), opinion=None))
        (self.desk / name).write_bytes(data)
        return self.desk / name

    def run(self, who: str, *words: object, **more: Any) -> Any:
        """Run a command with an officer's settings and passphrase."""
        command = str(words[0])
        secret = command in ("request", "approve", "unlock", "cancel", "freeze")
        extra = ("--passphrase-file", self.desk.passphrase_file) if secret else ()
        return self.desk.run(*words, *extra, "--config", f"{who}.toml", **more)

    def request(self, kind: str = "lock", *more: object) -> str:
        """Request an order as the maker and return its id."""
        self.basis()
        words = ("request", kind, self.car.device, "--basis", "case.basis", "--yes", "--json", *more)
        return str(json.loads(self.run("maker", *words).stdout)["order"])


def _part(body: Json) -> Json:
    header = cose_sign.Signer(to_bytes(body["part"]["protected"], "header"), bytes(64))
    return {**body["part"], "role": str(header.role), "delegation": header.delegation.hex()}


def furnish(folder: Path) -> None:
    """Put keys, roots, delegations and snapshots of a whole world into a folder; made once a process."""
    shutil.copytree(_furnished(), folder, dirs_exist_ok=True)


@cache
def _furnished() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="tbox-furnished-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    desk = Desk(folder)
    desk.root(LENDER, ("ann", "bob"), threshold=2, out="lender-root.json")
    desk.root("platform", ("pat", "pim"), threshold=2, out="platform-root.json")
    for name, role in (("maker", "maker"), ("checker", "checker")):
        desk.delegate(name, role, issuer=LENDER, root="lender-root.json", officers=("ann", "bob"))
    for name, role in (("ombuds", "ombuds"), ("safety", "safety-officer")):
        desk.delegate(name, role, issuer="platform", root="platform-root.json", officers=("pat", "pim"))
    desk.key("online")
    for issuer, officers in (("lender", ("ann", "bob")), ("platform", ("pat", "pim"))):
        words = ("--root", f"{issuer}-root.json", "--number", 1, "--online", "online.pub")
        desk.run("root", "snapshot", *words, "--out", f"{issuer}.draft")
        parts = [desk.sign("root", f"{issuer}.draft", name) for name in officers]
        words = ("--root", f"{issuer}-root.json", "--out", f"{issuer}.snapshot")
        desk.run("root", "assemble", f"{issuer}.draft", *parts, *words)
    return folder


@contextmanager
def world_in(furnished: Path, folder: Path) -> Iterator[World]:
    """Copy a furnished folder and start car and server."""
    shutil.copytree(furnished, folder, dirs_exist_ok=True)
    desk, car, loans = Desk(folder), SignedCar(), new_signer()
    server = FakeServer(car)
    (folder / "loans.pub").write_bytes(public_key_file(loans.public_key))
    desk.secret("api.key", API_KEY + "\n")
    with listening(server) as address:
        for who in ("maker", "checker", "ombuds", "safety"):
            (folder / f"{who}.toml").write_text(_settings(who, address))
        world = World(desk, car, server, loans)
        words = ("--mcu-key", cose_key_bytes(car.signer.public_key).hex(), "--vin", VIN, "--jur", JUR)
        more = ("--vin-salt", VIN_SALT.hex(), "--contract-ref", CONTRACT.hex(), "--config", "maker.toml")
        desk.run("car", "pin", car.device, *words, *more)
        names = ("lender.snapshot", "platform.snapshot", "maker.delegation")
        desk.run("authority", "publish", *names, "--config", "maker.toml")
        server.requests.clear()
        yield world


def _settings(who: str, address: str) -> str:
    return f"""server = "{address}"
api_key_file = "api.key"
lender_root = "lender-root.json"
platform_root = "platform-root.json"
loan_key = "loans.pub"
key = "{who}.key"
delegations = ["{who}.delegation"]
state = "state-{who}"
gate = "{address}/v1"
gate_token_file = "api.key"
"""


@contextmanager
def listening(server: FakeServer) -> Iterator[str]:
    """Answer over HTTP on a free port of this machine."""

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length) or b"{}")
            status, value = server.answer(self.command, self.path, self.headers, body)
            data = value if isinstance(value, bytes) else json.dumps(value).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = _do  # noqa: N815  # the library's names

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    httpd = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=httpd.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{httpd.server_address[1]}"
    finally:
        httpd.shutdown()
        httpd.server_close()
        thread.join()
