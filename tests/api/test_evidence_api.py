"""Evidence over the API and on the command line: exported, verified, refused; and the server's own look."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
import uvicorn
from sqlalchemy import update
from typer.testing import CliRunner

from backend.api.app import create_app
from backend.cli import app as backend_app
from backend.domain.access import Role
from backend.evidence_cli import app as evidence_app
from backend.store.batches import BATCH_SECTION
from protocol import limits
from protocol.batch import Section
from protocol.evidence import verify
from protocol.evidence_report import Trust, Verdict
from protocol.fixes import Fix
from protocol.ids import cose_key_bytes
from tests.builders.backend import make_backend, problem
from tests.builders.ingest import Backend, Box

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.builders import backend as backend_builders

pytestmark = pytest.mark.usefixtures("each_database")

RANGE = {"from": "2026-11-24T06:00:00Z", "to": "2026-11-24T07:00:00Z"}
PURPOSE = {"Access-Purpose": "dispute"}


class World:
    """A server with one box whose drive is stored."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.box = Box(seed=1)
        self.home: backend_builders.Backend = make_backend(folder)
        self.backend = Backend.at_home(self.home, boxes=[self.box])
        fix = Fix(t_us=1_000_000, mode=3, lat_e7=481_234_567, lon_e7=116_000_000)
        chain = self.box.chain()
        self.backend.take(chain.next(fixes=[fix]), *chain.many(3))
        self.backend.project()

    @property
    def trust(self) -> Trust:
        signer = self.backend.signer
        return Trust(devices=frozenset({self.box.device}), backend_keys={signer.kid: signer.public_key})

    @property
    def trust_file(self) -> Path:
        path = self.folder / "trust.json"
        key = cose_key_bytes(self.backend.signer.public_key).hex()
        path.write_text(json.dumps({"devices": [self.box.device], "backend_keys": [key]}))
        return path

    def key_file(self, role: Role = Role.AUDITOR) -> Path:
        path = self.folder / f"{role}.key"
        path.write_text(self.home.key(role)["Authorization"].removeprefix("Bearer ") + "\n")
        return path


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.backend.database.close()


@contextlib.contextmanager
def served(world: World) -> Iterator[str]:
    """The API on a free port of loopback, as `tbox evidence export` meets it."""
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        create_app(world.home.settings, clock=world.home.clock), log_config=None, lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(10)
        listener.close()


def get(world: World, role: Role = Role.AUDITOR, **headers: str) -> Any:
    with world.home.client() as client:
        path = f"/v1/devices/{world.box.device}/evidence"
        return client.get(path, params=RANGE, headers=world.home.key(role) | headers)


def run(*arguments: object) -> Any:
    return CliRunner().invoke(evidence_app, [str(argument) for argument in arguments])


def test_the_evidence_of_an_interval_verifies(world: World) -> None:
    answer = get(world, **PURPOSE)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/cbor-seq"
    report = verify(answer.content, world.trust)
    assert report.verdict is Verdict.VERIFIED
    assert report.purpose == "dispute"


def test_evidence_holds_positions_so_it_needs_a_purpose_and_is_logged(world: World) -> None:
    assert problem(get(world)) == "purpose-required"
    get(world, **PURPOSE)
    with world.home.client() as client:
        log = client.get("/v1/access-log", headers=world.home.key(Role.AUDITOR)).json()["items"]
    assert [(entry["subject"], entry["purpose"]) for entry in log] == [("evidence", "dispute")]


@pytest.mark.parametrize("role", [Role.OPERATOR, Role.INSTALLER, Role.OFFICER_MAKER, Role.PLATFORM_ADMIN])
def test_only_who_may_export_does(world: World, role: Role) -> None:
    assert problem(get(world, role, **PURPOSE)) == "forbidden"


def test_another_organisations_box_does_not_exist(world: World) -> None:
    key = world.home.key(Role.AUDITOR, org_id=world.home.organisation("Another Bank"))
    with world.home.client() as client:
        answer = client.get(f"/v1/devices/{world.box.device}/evidence", params=RANGE, headers=key | PURPOSE)
    assert problem(answer) == "device-not-found"


@pytest.mark.slow
def test_an_interval_that_holds_too_much_is_refused_and_not_cut(world: World) -> None:
    with world.backend.database.writing() as session, session.begin():
        session.connection().execute(
            update(BATCH_SECTION)
            .where(BATCH_SECTION.c.seq == 2, BATCH_SECTION.c.section == int(Section.SIGNALS))
            .values(body=bytes(limits.EVIDENCE_BYTES_MAX // 2 + 1))
        )
    answer = get(world, **PURPOSE)
    assert (answer.status_code, problem(answer)) == (422, "too-much-evidence")


def test_the_keys_that_seal_are_told(world: World) -> None:
    with world.home.client() as client:
        told = client.get("/v1/seal-keys", headers=world.home.key(Role.AUDITOR)).json()["backend_keys"]
    assert told == [cose_key_bytes(world.backend.signer.public_key).hex()]


def test_evidence_is_exported_and_verified_on_the_command_line(world: World) -> None:
    out = world.folder / "drive.tbe"
    where = ("--device", world.box.device, "--from", RANGE["from"], "--to", RANGE["to"], "--out", out)
    with served(world) as api:
        done = run("export", "--api", api, "--key-file", world.key_file(), *where)
        assert done.exit_code == 0, done.output
    verified = run("verify", out, "--trust", world.trust_file)
    assert (verified.exit_code, verified.output.splitlines()[0]) == (0, "VERIFIED")
    data = bytearray(out.read_bytes())
    data[len(data) // 2] ^= 1
    out.write_bytes(data)
    contradicted = run("verify", out, "--trust", world.trust_file, "--json")
    shown = json.loads(contradicted.output)
    assert (contradicted.exit_code, shown["verdict"]) == (30, "CONTRADICTED")
    assert shown["findings"][0]["code"] == "part_altered"


def test_a_trust_file_is_made_from_a_box_and_a_server(world: World) -> None:
    out = world.folder / "made.json"
    with served(world) as api:
        done = run(
            "trust", "--device", world.box.device, "--api", api, "--key-file", world.key_file(), "--out", out
        )
    assert done.exit_code == 0, done.output
    assert "compare them" in done.stderr
    assert json.loads(out.read_text()) == json.loads(world.trust_file.read_text())


def test_a_trust_file_is_made_from_an_agents_home(world: World) -> None:
    pinned = json.loads(world.trust_file.read_text())
    home = world.folder / "agent"
    home.mkdir()
    (home / "trust.json").write_text(
        json.dumps(
            {"device": pinned["devices"][0], "receipt_keys": pinned["backend_keys"], "policy_keys": []}
        )
    )
    done = run("trust", "--agent-home", home)
    assert json.loads(done.stdout) == pinned


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"--device": "abc"}, "device id"),
        ({"--from": "yesterday"}, "not a time"),
        ({"--from": "2026-11-24T06:00:00"}, "no offset"),
        ({"--api": "ftp://somewhere"}, "not an address"),
        ({"--api": "http://127.0.0.1:1"}, "does not answer"),
        ({"--key-file": "/nowhere/key"}, "No such file"),
        ({"--api": "http://127.0.0.1:abc"}, "not an address"),
        ({"--api": "http://[::1"}, "not an address"),
        ({"--purpose": "\u4e89\u8bae"}, "purposes"),
        ({"--purpose": "dispute\r\nX-Other: 1"}, "purposes"),
    ],
)
def test_a_wrong_export_says_what_is_wrong_in_one_line(
    world: World, change: dict[str, str], said: str
) -> None:
    asked = {
        "--api": "http://127.0.0.1:1",
        "--key-file": str(world.key_file()),
        "--device": world.box.device,
        "--from": RANGE["from"],
        "--to": RANGE["to"],
        "--out": str(world.folder / "x.tbe"),
    } | change
    done = run("export", *(word for pair in asked.items() for word in pair))
    assert done.exit_code == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (world.folder / "x.tbe").exists()


@pytest.mark.parametrize("content", [b"a\nb", b"\xff", "\u00e9".encode(), b""])
def test_a_key_file_that_holds_no_key_is_named(world: World, content: bytes) -> None:
    file = world.folder / "no.key"
    file.write_bytes(content)
    where = ("--device", world.box.device, "--from", RANGE["from"], "--to", RANGE["to"])
    done = run("export", "--api", "http://127.0.0.1:1", "--key-file", file, *where, "--out", "/dev/null")
    assert done.exit_code == 1
    assert "does not hold an API key" in done.stderr


def test_a_refusal_of_the_server_is_passed_on(world: World) -> None:
    where = ("--device", world.box.device, "--from", RANGE["from"], "--to", RANGE["to"])
    with served(world) as api:
        done = run(
            "export", "--api", api, "--key-file", world.key_file(Role.OPERATOR), *where, "--out", "/dev/null"
        )
    assert done.exit_code == 1
    assert "403" in done.stderr


def test_a_purpose_the_server_does_not_know_is_answered_with_those_it_knows(world: World) -> None:
    where = ("--device", world.box.device, "--from", RANGE["from"], "--to", RANGE["to"])
    with served(world) as api:
        asked = ("--api", api, "--key-file", world.key_file(), "--purpose", "curiosity")
        done = run("export", *asked, *where, "--out", "/dev/null")
    assert done.exit_code == 1
    assert "'dispute'" in done.stderr


@pytest.mark.parametrize("trust", ["", "{}", '{"devices": 5}', None])
def test_verify_without_a_usable_trust_file_or_bundle_ends_with_1_or_20(
    world: World, trust: str | None
) -> None:
    bundle = world.folder / "nothing.tbe"
    bundle.write_bytes(b"")
    path = world.folder / "t.json"
    if trust is not None:
        path.write_text(trust)
    done = run("verify", bundle, "--trust", path)
    assert done.exit_code == (20 if trust == "{}" else 1)


def backend(world: World, *arguments: object) -> Any:
    words = [str(argument) for argument in (*arguments, "--home", world.home.settings.home)]
    return CliRunner().invoke(backend_app, words)


def test_the_operator_sees_the_last_hour_of_a_box(world: World) -> None:
    done = backend(world, "trace", world.box.device, "--signals", "Vehicle.Speed")
    assert done.exit_code == 0, done.output
    assert "12 values" in done.output
    assert "Vehicle.Speed" in done.output


@pytest.mark.parametrize(("format_", "lines"), [("csv", 13), ("jsonl", 12)])
def test_the_operator_prints_all_of_an_interval(world: World, format_: str, lines: int) -> None:
    span = ("--from", RANGE["from"], "--to", RANGE["to"])
    done = backend(
        world, "trace", world.box.device, *span, "--format", format_, "--signals", "pt.WHEELS.Gear"
    )
    assert len(done.output.splitlines()) == lines


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (("trace", "00" * 32), 6),
        (("trace", "DEVICE", "--from", "2026-11-24T06:00:00"), 7),
        (("trace", "DEVICE", "--from", "soon"), 7),
        (("trace", "DEVICE", "--signals", "Vehicle.Spead"), 7),
        (("trace", "DEVICE", "--from", RANGE["to"], "--to", RANGE["from"]), 7),
        (("rebuild", "--device", "00" * 32), 6),
    ],
)
def test_what_the_operator_asks_wrongly_is_named(world: World, arguments: tuple[str, ...], code: int) -> None:
    words = [world.box.device if word == "DEVICE" else word for word in arguments]
    assert backend(world, *words).exit_code == code


def test_the_operator_derives_everything_again(world: World) -> None:
    before = backend(world, "trace", world.box.device).output
    done = backend(world, "rebuild")
    assert "derived again from 4 batches" in done.output
    assert backend(world, "trace", world.box.device).output == before
