"""The gate as a process: command line, HTTP, the backend's own client, loan system and weather; crashes."""

import contextlib
import json
import socket
import threading
import time
import tomllib
import urllib.request
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.client import HTTPException
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, derive_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from backend.errors import SettingsError
from backend.gate.app import create_gate_app
from backend.gate.cli import app as gate_cli
from backend.gate.home import read_home, write_private
from backend.gate.ports import LoanSystemError
from backend.gate.remote import HttpForecasts, HttpLoanSystems
from backend.usecases.gate_port import GatePart, LogPlace
from backend.usecases.http_gate import HttpGate
from protocol.base64url import to_bytes, to_text
from protocol.gate_records import GateRecord, RecordType, Scope, sign_gate_record
from protocol.ids import cose_key_bytes
from protocol.loan_facts import FactsQuestion, Purpose, read_question
from protocol.orders import OrderType, encode_order
from protocol.vectors.keys import published_scalar, published_signer
from protocol.vectors.orders_good import releasing
from protocol.vectors.orders_story import ANCHORS, LENDER, LENDER_ID, PLATFORM, digest, signer
from simulators.processes import Process, tbox
from simulators.weather import Weather, make_server
from tests.builders.gate import CONTRACT, INTEGRATION, PACKS, GateWorld, documents_of, pack_text

TOKEN = "a token of the test"
run = CliRunner()


# --- HTTP ---------------------------------------------------------------------------------------------------


@pytest.fixture
def world() -> GateWorld:
    return GateWorld()


@pytest.fixture
def client(world: GateWorld) -> Iterator[TestClient]:
    with TestClient(create_gate_app(world.gate, token=TOKEN)) as at:
        yield at


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_every_route_but_freeze_and_unfreeze_wants_the_token(client: TestClient) -> None:
    for path in (
        "/screen",
        "/review",
        "/go",
        "/release",
        "/records",
        "/authority",
        "/opinions",
        "/breaker-limit",
    ):
        for headers in ({}, bearer("another"), {"Authorization": TOKEN}):
            answer = client.post(path, json={}, headers=headers)
            assert answer.status_code == 401, path
            assert answer.headers["content-type"] == "application/problem+json"
    assert client.get("/status").status_code == 401
    assert client.get("/releases").status_code == 401
    assert client.post("/freeze", json={}).status_code == 422


def test_a_signed_freeze_needs_no_token_and_a_forged_one_is_refused(
    client: TestClient, world: GateWorld
) -> None:
    record = GateRecord(
        type=RecordType.FREEZE,
        record_id=bytes(16),
        written_s=world.clock.now_s(),
        delegation=digest("ombuds"),
        body={1: int(Scope.ALL), 2: None, 3: "complaints by telephone"},
    )
    forged = sign_gate_record(record, published_signer("stranger"))
    assert client.post("/freeze", json={"document": to_text(forged)}).status_code == 409
    document = {"document": to_text(sign_gate_record(record, signer("ombuds").signer))}
    assert client.post("/freeze", json=document).json() == {"is_new": True, "state": "in force"}
    assert client.post("/freeze", json=document).json() == {"is_new": False, "state": "in force"}
    shown = client.get("/status", headers=bearer()).json()["freezes"]
    assert [(freeze["scope"], freeze["by"]) for freeze in shown] == [("ALL", "person ombuds-1")]
    assert world.lock().verdict == "HELD"


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"payload": "not base64!", "basis": ""},
        {"payload": "AA==", "basis": ""},
        {"payload": to_text(b"\xa0"), "basis": ""},
        {"payload": to_text(b"\xff" * 100), "basis": "", "extra": 1},
    ],
)
def test_what_is_not_of_its_form_is_a_problem_and_changes_nothing(
    client: TestClient, body: dict[str, Any]
) -> None:
    answer = client.post("/screen", json=body, headers=bearer())
    assert (answer.status_code, answer.headers["content-type"]) == (422, "application/problem+json")
    too_long = client.post("/screen", content=b" " * 300_000, headers=bearer())
    assert too_long.status_code == 413


def test_the_backend_s_client_reads_what_the_gate_answers(world: GateWorld) -> None:
    basis = world.basis()
    order = world.order(basis=basis)
    world.screen(order, basis)
    world.clock.wait(600)
    request = world.review_request(order, basis)
    assert request.log is not None
    parts = [
        GatePart(
            protected=to_bytes(part.protected), signature=to_bytes(part.signature), delegation=to_bytes(given)
        )
        for part, given in zip(request.parts, request.delegations, strict=True)
    ]
    with serving(world) as url:
        gate = HttpGate(url, token=TOKEN)
        assert (
            gate.screen(payload=to_bytes(request.payload), basis=basis, part=parts[0]).verdict == "ELIGIBLE"
        )
        said = gate.review(
            payload=to_bytes(request.payload),
            parts=parts,
            basis=basis,
            log=LogPlace(
                checkpoint=request.log.checkpoint.encode(),
                index=request.log.index,
                salt=bytes.fromhex(request.log.salt),
                proof=[bytes.fromhex(part) for part in request.log.proof],
            ),
            challenge=to_bytes(request.challenge or ""),
            mcu_key=to_bytes(request.mcu_key or ""),
            reason_code=1,
        )
        assert said.verdict == "SIGNED", said.detail
        assert said.part is not None
        paid = world.system.pay(CONTRACT, 80_000, is_posted=True)
        assert post(url, "/payments", {"document": to_text(paid)})["state"] == "1 orders to release"
        assert [found.mcu_id for found in gate.releases()] == [order[5]]
        unlock = encode_order(releasing(OrderType.UNLOCK) | {7: CONTRACT})
        assert gate.release(payload=unlock).verdict == "SIGNED"
        assert [found.mcu_id for found in gate.releases()] == [order[5]]  # until the car has said so


# --- processes ----------------------------------------------------------------------------------------------


def make_home(folder: Path, loan_url: str, world: GateWorld) -> Path:
    """Set a gate's home up by its own commands, with the published keys of the story."""
    key = derive_private_key(published_scalar("gate-1"), SECP256R1())
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    folder.mkdir()
    write_private(folder / "gate.key", pem)
    write_private(folder / "pack.key", pem)
    assert run.invoke(gate_cli, ["init", "--home", str(folder), "--json"]).exit_code == 0
    today = datetime.fromtimestamp(world.start_s, tz=UTC).date()
    text = pack_text("zz").replace("gap_s = 5", "gap_s = 0")
    text = text.replace("issued = 2026-11-01", f"issued = {today - timedelta(days=2)}")
    text = text.replace("expires = 2027-11-01", f"expires = {today + timedelta(days=300)}")
    text = text.replace("calendar_until = 2027-11-01", f"calendar_until = {today + timedelta(days=300)}")
    (folder / "zz.toml").write_text(text, encoding="utf-8")
    key_file, out = str(folder / "pack.key"), str(folder / "packs" / "zz.cose")
    done = run.invoke(gate_cli, ["pack", "sign", "--key", key_file, "--out", out, str(folder / "zz.toml")])
    assert done.exit_code == 0, done.output
    (folder / "gate.delegation").write_bytes(world.documents["delegation/gate"])
    (folder / "gate.toml").write_text(gate_toml(loan_url, world), encoding="utf-8")
    return folder


def gate_toml(loan_url: str, world: GateWorld) -> str:
    def keys(issuer: str) -> str:
        names, threshold = ANCHORS[issuer]
        texts = [cose_key_bytes(published_signer(name).public_key).hex() for name in names]
        return f"{{ keys = {json.dumps(texts)}, threshold = {threshold} }}"

    own = cose_key_bytes(published_signer("gate-1").public_key).hex()
    integration = cose_key_bytes(INTEGRATION.public_key).hex()
    return f"""
demo = true
demo_probation_passed = true
pack_keys = ["{own}"]
platform = {keys(PLATFORM)}
[log]
key = "{world.log.signer.key.to_text()}"
quorum = 0
[[lender]]
id = "{LENDER_ID.hex()}"
url = "{loan_url}"
integration_keys = ["{integration}"]
root = {keys(LENDER)}
"""


@pytest.mark.slow
def test_the_gate_survives_kills_between_decision_and_answer(tmp_path: Path) -> None:
    """Each order is signed once, however often the process dies while it answers."""
    now_s = int(time.time())
    world = GateWorld(start_s=now_s, documents=documents_of(now_s))
    with loan_server(world) as loan_url:
        home = make_home(tmp_path / "gate", loan_url, world)
        command = tbox("backend", "gate", "run", "--home", str(home), "--port", "0", "--json")
        token = read_home(home).token
        with Process("gate", command, log=tmp_path / "gate.log") as gate:
            url = url_of(gate)
            for name in ("authority/platform", "authority/lender"):
                post(
                    url,
                    "/authority",
                    {"document": to_text(world.documents[name]), "kind": "authority"},
                    token,
                )
            basis = world.basis()
            request = world.review_request(world.order(basis=basis), basis).model_dump()
            asking = threading.Thread(target=try_post, args=(url, "/review", request, token))
            asking.start()
            gate.kill()
            asking.join()
            gate.start()
            signed = post(url_of(gate), "/review", request, token)
            assert signed["verdict"] == "SIGNED", signed
            gate.kill()
            gate.start()
            assert post(url_of(gate), "/review", request, token)["part"] == signed["part"]
        report = json.loads(run.invoke(gate_cli, ["status", "--home", str(home), "--json"]).output)
        assert report["journal_broken_at"] is None
        assert report["counters"]["signed"] == 1
        lines = run.invoke(gate_cli, ["journal", "--home", str(home)]).output.splitlines()
        assert [json.loads(line)["event"] for line in lines].count("signed") == 1


def url_of(gate: Process) -> str:
    return str(json.loads(gate.wait_for_line(r"(\{.*\})").group(1))["url"])


def post(url: str, path: str, body: dict[str, Any], token: str = TOKEN) -> dict[str, Any]:
    request = urllib.request.Request(
        url + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json", **bearer(token)},
    )
    with urllib.request.urlopen(request, timeout=20) as answer:
        found: dict[str, Any] = json.loads(answer.read())
    return found


def try_post(url: str, path: str, body: dict[str, Any], token: str) -> None:
    with contextlib.suppress(OSError, HTTPException):  # the process dies meanwhile
        post(url, path, body, token)


@contextlib.contextmanager
def loan_server(world: GateWorld) -> Iterator[str]:
    """The loan system of a world, on loopback."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            data = world.system.facts(read_question(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            return

    with served(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url


@contextlib.contextmanager
def served(server: ThreadingHTTPServer) -> Iterator[str]:
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def serving(world: GateWorld) -> Iterator[str]:
    """The gate of a world behind a socket, for a client that brings its own HTTP."""
    config = uvicorn.Config(create_gate_app(world.gate, token=TOKEN), log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # asked before the server is up, a request waits
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join()


def test_a_home_that_is_not_right_does_not_start(tmp_path: Path) -> None:
    world = GateWorld()
    home = make_home(tmp_path / "gate", "http://127.0.0.1:1", world)
    read_home(home)
    text = (home / "gate.toml").read_text(encoding="utf-8")
    assert tomllib.loads(text)["demo"] is True
    for old, new, said in (
        ("demo = true\ndemo_probation_passed = true", "demo = false", "published"),
        ("\ndemo = true", "\ndemo = false", "demo_probation_passed"),
        ('url = "http://127.0.0.1:1"', 'url = "http://loans.example"', "neither https"),
        ("quorum = 0", "quorum = 0\nextra = 1", "extra"),
        ("quorum = 0", "quorum = -1", "quorum"),
    ):
        (home / "gate.toml").write_text(text.replace(old, new), encoding="utf-8")
        done = run.invoke(gate_cli, ["run", "--home", str(home)])
        assert done.exit_code != 0
        assert said in done.output, done.output
    (home / "gate.toml").write_text(text, encoding="utf-8")
    (home / "packs" / "zz.cose").write_bytes((home / "packs" / "zz.cose").read_bytes()[:-1] + b"\x00")
    assert "zz.cose" in run.invoke(gate_cli, ["run", "--home", str(home)]).output
    (home / "gate.key").chmod(0o640)
    assert "chmod 600" in run.invoke(gate_cli, ["run", "--home", str(home)]).output


def test_beyond_this_machine_only_with_certificates_on_both_sides(tmp_path: Path) -> None:
    done = run.invoke(gate_cli, ["run", "--home", str(tmp_path), "--host", "0.0.0.0"])
    assert (done.exit_code, "client-ca" in done.output) == (3, True)


def test_pack_check_says_what_is_below_a_floor(tmp_path: Path) -> None:
    text = (PACKS / "us-nj.toml").read_text(encoding="utf-8")
    loose = tmp_path / "loose.toml"
    loose.write_text(text.replace("gap_s = 600", "gap_s = 60"), encoding="utf-8")
    done = run.invoke(gate_cli, ["pack", "check", str(loose)])
    assert (done.exit_code, "gap_s" in done.output) == (7, True)
    done = run.invoke(gate_cli, ["pack", "check", str(PACKS / "us-nj.toml"), "--json"])
    assert json.loads(done.output)["jur"] == "US-NJ"


# --- what the gate asks -------------------------------------------------------------------------------------


def test_a_loan_system_that_does_not_answer_is_named_and_nothing_else_is_asked(world: GateWorld) -> None:
    question = FactsQuestion(contract_ref=CONTRACT, nonce=bytes(16), purpose=Purpose.GO)
    with pytest.raises(LoanSystemError):
        HttpLoanSystems({LENDER_ID: "http://127.0.0.1:1"}).facts(LENDER_ID, question)
    with pytest.raises(LoanSystemError, match="no address"):
        HttpLoanSystems({}).facts(LENDER_ID, question)
    for url in ("http://loans.example", "ftp://127.0.0.1", "loans.example"):
        with pytest.raises(SettingsError):
            HttpLoanSystems({LENDER_ID: url})
    with loan_server(world) as url:
        assert HttpLoanSystems({LENDER_ID: url}).facts(LENDER_ID, question)[:1] == b"\xd2"


def test_the_weather_comes_or_there_is_none() -> None:
    weather = Weather(fixed=(-3, 8))
    with served(make_server(weather)) as url:
        service = HttpForecasts(f"{url}/")
        assert service.next_12_h((525, 134), 0) == (-3, 8)
        weather.fixed = (8, -3)
        assert service.next_12_h((525, 134), 0) is None
        weather.is_away = True
        assert service.next_12_h((525, 134), 0) is None
    assert service.next_12_h((525, 134), 0) is None


def test_the_model_s_winters_are_colder_than_its_summers_on_both_halves() -> None:
    january, july = 1_799_971_200, 1_815_609_600
    north, south = (525, 0), (-338, 1_512)
    at = Weather().next_12_h
    assert at(north, january) < at(north, july)  # type: ignore[operator]
    assert at(south, january) > at(south, july)  # type: ignore[operator]
