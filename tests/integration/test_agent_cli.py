"""`tbox agent` as an installer uses it: enrol, status, compile, renew, and what is said when it fails."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from device.adapters.key_store import KeyName
from device.agent.cli import app
from device.agent.enrolling import follow
from device.agent.home import AgentHome
from device.agent.settings import read_settings
from protocol.envelope import SoftwareSigner
from protocol.ids import cose_key_bytes, device_id
from protocol.key_succession import KeyRole, KeySuccession, sign_key_succession
from simulators.pki import CertificateAuthority
from tests.builders.agent_http import RECEIPT_KEY, RECEIPT_SIGNER, Answer, Json, Server, good_answer

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

TOKEN = "tboxe_" + "ab" * 24
DBC = 'VERSION ""\nBU_: X\nBO_ 304 Motion: 8 X\n SG_ Speed : 0|16@1+ (0.1,0) [0|0] "km/h" X\n'


class Installer:
    """One who types commands for one home."""

    def __init__(self, home: Path, server: Server) -> None:
        self.home = AgentHome(home)
        self.server = server

    def types(self, *words: str, code: int = 0) -> tuple[str, str]:
        """Run a command; return what it said on standard output and on standard error."""
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == code, (done.output, done.exception)
        return done.stdout, done.stderr

    def enrols(self, code: int = 0) -> tuple[str, str]:
        where = ("--home", str(self.home.root), "--api", self.server.url, "--label", "T-1")
        return self.types("enrol", *where, "--token", TOKEN, code=code)


@pytest.fixture
def authority(tmp_path: Path) -> CertificateAuthority:
    return CertificateAuthority.create(tmp_path / "ca")


@pytest.fixture
def installer(tmp_path: Path, authority: CertificateAuthority) -> Iterator[Installer]:
    with Server() as server:
        server.answer = lambda path, body: answer(authority, path, body)
        yield Installer(tmp_path / "box", server)


def answer(authority: CertificateAuthority, path: str, body: Json) -> Answer:
    if path.endswith("/nonce"):
        return 200, {"nonce": "00" * 16}
    return 201, good_answer(authority, body)


def test_an_enrolled_home_has_keys_certificate_trust_and_settings_that_hold(installer: Installer) -> None:
    said, _ = installer.enrols()
    home = installer.home
    device = device_id(home.keys.load(KeyName.D2).public_key())
    assert device in said
    assert home.read_trust().device == device
    assert home.read_trust().receipt_keys == (RECEIPT_KEY,)
    assert read_settings(home.settings).broker_host == "broker.example"
    assert read_settings(home.settings).api_url == installer.server.url
    assert home.root.stat().st_mode & 0o077 == 0


def test_a_refused_token_leaves_a_home_that_can_ask_again_as_the_same_box(installer: Installer) -> None:
    good = installer.server.answer
    installer.server.answer = lambda *_: (
        403,
        {"title": "No such enrolment token", "detail": "ask for a fresh token"},
    )
    _, said = installer.enrols(code=5)
    first = installer.home.keys.load(KeyName.D2).public_key()
    installer.server.answer = good
    installer.enrols()
    assert "No such enrolment token" in said
    assert "Next step: ask for a fresh token" in said
    assert installer.home.keys.load(KeyName.D2).public_key() == first


def test_a_server_that_is_away_is_another_exit_code_than_one_that_refuses(installer: Installer) -> None:
    with Server() as gone:
        installer.server = gone
    _, said = installer.enrols(code=4)
    assert "not reached" in said


def test_a_second_enrolment_does_not_touch_the_first(installer: Installer) -> None:
    installer.enrols()
    before = installer.home.trust.read_bytes()
    _, said = installer.enrols(code=2)
    assert "already enrolled" in said
    assert installer.home.trust.read_bytes() == before


def test_settings_that_an_installer_wrote_before_are_kept(installer: Installer) -> None:
    installer.home.make()
    installer.home.settings.write_text('schema = 1\n[broker]\nhost = "mine"\n')
    installer.enrols()
    assert read_settings(installer.home.settings).broker_host == "mine"


def test_the_servers_authority_is_kept_for_renewals(
    installer: Installer, authority: CertificateAuthority
) -> None:
    where = ("--home", str(installer.home.root), "--api", installer.server.url, "--token", TOKEN)
    installer.types("enrol", *where, "--ca", str(authority.ca_file), "--json")
    kept = read_settings(installer.home.settings).api_ca_file
    assert kept is not None
    assert kept.read_bytes() == authority.ca_file.read_bytes()


def test_a_renewal_brings_a_new_certificate_for_the_same_key(installer: Installer) -> None:
    installer.enrols()
    before = installer.home.certificate.read_bytes()
    said, _ = installer.types("renew", "--home", str(installer.home.root), "--json")
    assert "certificate_until" in json.loads(said)
    assert installer.home.certificate.read_bytes() != before


def test_a_renewal_follows_the_servers_keys_by_signed_successions_only(
    installer: Installer, authority: CertificateAuthority
) -> None:
    installer.enrols()
    successor, planted = (
        SoftwareSigner(ec.derive_private_key(number, ec.SECP256R1())) for number in (21, 22)
    )
    link = KeySuccession(
        role=KeyRole.RECEIPT, successor=cose_key_bytes(successor.public_key), valid_from_us=0
    )

    def answers(path: str, body: Json) -> Answer:
        status, good = answer(authority, path, body)
        assert isinstance(good, dict)
        keys = [cose_key_bytes(key.public_key).hex() for key in (planted, successor)]
        return status, good | {
            "receipt_keys": keys,
            "successions": [sign_key_succession(link, RECEIPT_SIGNER).hex()],
        }

    installer.server.answer = answers
    installer.types("renew", "--home", str(installer.home.root))
    assert installer.home.read_trust().receipt_keys == (cose_key_bytes(successor.public_key),)


def test_keys_without_a_chain_from_the_pinned_ones_are_not_believed() -> None:
    planted = SoftwareSigner(ec.derive_private_key(22, ec.SECP256R1()))
    planted_key = cose_key_bytes(planted.public_key)
    link = KeySuccession(
        role=KeyRole.RECEIPT, successor=cose_key_bytes(RECEIPT_SIGNER.public_key), valid_from_us=0
    )
    links = (sign_key_succession(link, planted), b"garbage")
    assert follow((RECEIPT_KEY,), (planted_key,), links, KeyRole.RECEIPT) == (RECEIPT_KEY,)


def test_a_succession_for_another_role_leads_nowhere() -> None:
    other = SoftwareSigner(ec.derive_private_key(23, ec.SECP256R1()))
    link = KeySuccession(role=KeyRole.POLICY, successor=cose_key_bytes(other.public_key), valid_from_us=0)
    offered = (cose_key_bytes(other.public_key),)
    links = (sign_key_succession(link, RECEIPT_SIGNER),)
    assert follow((RECEIPT_KEY,), offered, links, KeyRole.RECEIPT) == (RECEIPT_KEY,)
    assert follow((RECEIPT_KEY,), offered, links, KeyRole.POLICY) == offered


def test_status_of_a_home_says_what_it_is_and_what_is_wrong(installer: Installer) -> None:
    said, _ = installer.types("status", "--home", str(installer.home.root), code=2)
    assert "not enrolled" in said
    installer.enrols()
    said, _ = installer.types("status", "--home", str(installer.home.root), "--json")
    status = json.loads(said)
    assert (status["enrolled"], status["running"], status["problems"]) == (True, False, [])
    assert status["broker"] == "broker.example:8883"
    installer.home.settings.write_text("schema = 1\n[brokr]\n")
    said, _ = installer.types("status", "--home", str(installer.home.root), code=2)
    assert "brokr: unknown" in said
    assert "broker.host: a text is expected" in said


def test_a_home_whose_files_were_mixed_is_refused(installer: Installer) -> None:
    installer.enrols()
    installer.home.keys.path(KeyName.D2).unlink()
    installer.home.keys.create(KeyName.D2)
    _, said = installer.types("run", "--home", str(installer.home.root), code=2)
    assert "files of two boxes were mixed" in said


def test_run_says_everything_that_is_wrong_with_its_settings_at_once(installer: Installer) -> None:
    installer.enrols()
    with installer.home.settings.open("a") as file:
        file.write('[[can]]\nbus = "can0"\ninterface = "slcan"\nchannel = "x"\ntable = "tables/none.table"\n')
        file.write('[vehicle]\nprofile = "none.toml"\n')
    _, said = installer.types("run", "--home", str(installer.home.root), code=2)
    assert "tables/none.table" in said
    assert "none.toml" in said
    assert "tbox agent compile" in said


def test_a_dbc_compiles_to_a_table_that_run_accepts(installer: Installer, tmp_path: Path) -> None:
    dbc = tmp_path / "car.dbc"
    dbc.write_text(DBC)
    table = tmp_path / "new" / "can0.table"
    said, _ = installer.types("compile", "--dbc", str(dbc), "--out", str(table), "--json")
    assert json.loads(said) == {"table": str(table), "warnings": []}
    assert table.stat().st_size > 0


def test_a_file_that_is_no_dbc_is_named_with_a_next_step(installer: Installer, tmp_path: Path) -> None:
    dbc = tmp_path / "car.dbc"
    dbc.write_text("BO_ nonsense")
    _, said = installer.types("compile", "--dbc", str(dbc), "--out", str(tmp_path / "t"), code=2)
    assert "car.dbc" in said
    assert not (tmp_path / "t").exists()


@pytest.mark.parametrize("command", ["enrol", "renew", "compile", "status", "run", "replay"])
def test_every_command_shows_an_example(installer: Installer, command: str) -> None:
    said, _ = installer.types(command, "--help")
    assert f"Example: tbox agent {command}" in " ".join(said.split())


def test_no_token_and_no_key_is_ever_said(installer: Installer) -> None:
    said: list[Any] = [*installer.enrols(), *installer.types("status", "--home", str(installer.home.root))]
    assert not any(TOKEN in text or "PRIVATE" in text for text in said)
