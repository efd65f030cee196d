"""The broker's files: set up by a command, and written afresh by everything that changes who may connect."""

from __future__ import annotations

import json
import logging
import os
import pwd
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest
from cryptography import x509
from typer.testing import CliRunner

from backend.bridge.cli import _link
from backend.cli import app
from backend.settings import SETTINGS_FILE, load_settings
from tests.builders.backend import Backend, Box, make_backend, serial

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from fastapi.testclient import TestClient

ME = pwd.getpwuid(os.geteuid()).pw_name


@dataclass
class Operator:
    """Types `tbox backend …` for a home whose broker's files lie in a folder beside it."""

    backend: Backend
    folder: Path

    def types(self, *words: str, code: int = 0) -> str:
        done = CliRunner().invoke(app, [*words, "--home", str(self.backend.settings.home)])
        assert done.exit_code == code, done.output
        return done.output

    def sets_up(self) -> dict[str, str]:
        words = ("broker", "config", "--out", str(self.folder), "--name", "127.0.0.1", "--user", ME, "--json")
        said: dict[str, str] = json.loads(self.types(*words))
        return said

    @property
    def acl(self) -> str:
        return (self.folder / "acl").read_text()

    @property
    def revoked(self) -> set[int]:
        crl = x509.load_pem_x509_crl((self.folder / "crl.pem").read_bytes())
        assert crl.is_signature_valid(self.backend.identity.issuer.private_key.public_key())
        return {line.serial_number for line in crl}


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    backend = make_backend(tmp_path)
    folder = tmp_path / "broker"
    with (backend.settings.home / SETTINGS_FILE).open("a") as settings:
        settings.write(f'broker_folder = "{folder}"\n')
    backend.settings = load_settings(home=backend.settings.home)
    return Operator(backend=backend, folder=folder)


@pytest.fixture
def client(operator: Operator) -> Iterator[TestClient]:
    with operator.backend.client() as made:
        yield made


def test_one_command_writes_all_that_mosquitto_reads(operator: Operator) -> None:
    said = operator.sets_up()
    names = {path.name for path in operator.folder.iterdir()}
    assert names >= {"mosquitto.conf", "acl", "ca.pem", "crl.pem", "broker.pem", "broker.key", "data"}
    assert said["start"] == f"mosquitto -c {operator.folder}/mosquitto.conf"
    assert (operator.folder / "broker.key").stat().st_mode & 0o077 == 0
    assert "user bridge\n" in operator.acl
    assert operator.revoked == set()


def test_the_command_again_keeps_the_key_and_renews_the_certificate(operator: Operator) -> None:
    operator.sets_up()
    key, old = ((operator.folder / name).read_bytes() for name in ("broker.key", "broker.pem"))
    operator.sets_up()
    assert (operator.folder / "broker.key").read_bytes() == key
    assert (operator.folder / "broker.pem").read_bytes() != old


def test_a_box_revoked_over_the_api_is_on_both_lists(operator: Operator, client: TestClient) -> None:
    operator.sets_up()
    box, other = Box(), Box()
    certificate = serial(box.enrol(operator.backend, client))
    other.enrol(operator.backend, client)
    client.post(f"/v1/devices/{box.device_id}/revoke", headers=operator.backend.admin)
    assert operator.revoked == {certificate}
    assert f"user {box.device_id}\ntopic deny #" in operator.acl
    assert other.device_id not in operator.acl


def test_a_box_revoked_at_the_command_line_is_on_both_lists(operator: Operator, client: TestClient) -> None:
    operator.sets_up()
    box = Box()
    certificate = serial(box.enrol(operator.backend, client))
    operator.types("device", "revoke", box.device_id, "--yes")
    assert operator.revoked == {certificate}
    assert f"user {box.device_id}\ntopic deny #" in operator.acl


def test_of_many_revocations_at_once_none_is_missing(operator: Operator, client: TestClient) -> None:
    operator.sets_up()
    boxes = [Box() for _ in range(8)]
    for box in boxes:
        box.enrol(operator.backend, client)

    def revoke(box: Box) -> int:
        path = f"/v1/devices/{box.device_id}/revoke"
        return int(client.post(path, headers=operator.backend.admin).status_code)

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(revoke, boxes)) == {200}
    assert len(operator.revoked) == len(boxes)
    assert operator.acl.count("topic deny #") == len(boxes)


def test_a_second_bridge_is_let_in_by_its_certificate(operator: Operator) -> None:
    operator.sets_up()
    assert "user bridge-2\n" not in operator.acl
    operator.types("ca", "client-cert", "bridge-2")
    assert "user bridge-2\n" in operator.acl
    operator.types("ca", "client-cert", "probe")
    assert "user probe" not in operator.acl


def test_a_bridge_takes_its_certificates_name_and_is_warned_when_that_is_no_bridges(
    operator: Operator, caplog: pytest.LogCaptureFixture
) -> None:
    operator.types("ca", "client-cert", "probe")
    tls = operator.backend.settings.home / "tls"
    own = _link(operator.backend.settings, ca=None, cert=None, key=None, client_id=None)
    assert own._settings.client_id == "bridge"
    assert caplog.text == ""
    other = _link(
        operator.backend.settings, ca=None, cert=tls / "probe.pem", key=tls / "probe.key", client_id=None
    )
    assert other._settings.client_id == "probe"
    assert "certificate of no bridge name=probe" in caplog.text


def test_a_revocation_stands_and_the_log_says_so_when_the_broker_cannot_be_told(
    operator: Operator, client: TestClient, caplog: pytest.LogCaptureFixture
) -> None:
    operator.sets_up()
    (operator.folder / "crl.pem").unlink()
    (operator.folder / "crl.pem").mkdir()  # no file can take its place
    box = Box()
    box.enrol(operator.backend, client)
    with caplog.at_level(logging.ERROR):
        answer = client.post(f"/v1/devices/{box.device_id}/revoke", headers=operator.backend.admin)
    assert answer.json()["status"] == "revoked"
    assert "broker not told of a revocation" in caplog.text
    assert "tbox backend broker refresh" in caplog.text


def test_where_no_broker_was_set_up_a_refresh_says_what_to_do(operator: Operator) -> None:
    done = CliRunner().invoke(app, ["broker", "refresh", "--home", str(operator.backend.settings.home)])
    assert done.exit_code == 6
    assert "tbox backend broker config" in done.output
    assert not operator.folder.exists()


def test_a_user_that_does_not_exist_is_refused_before_anything_is_made(
    operator: Operator,
) -> None:
    operator.types("broker", "config", "--out", str(operator.folder), "--user", "nobody-of-this-name", code=3)
    assert not operator.folder.exists()


def test_a_name_that_cannot_stand_in_a_certificate_is_refused(operator: Operator) -> None:
    operator.types("broker", "config", "--name", "no such host", code=7)
    assert not operator.folder.exists()
