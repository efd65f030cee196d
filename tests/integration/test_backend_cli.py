"""`tbox backend`, as an operator types it: output, JSON, exit codes, and a server that really listens."""

import json
import os
import re
import signal
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from typer.testing import CliRunner

from backend.cli import app
from protocol.limits import PARTITION_MONTHS_AHEAD
from tests.builders.backend import Backend, Box, make_backend
from tests.builders.databases import Engine, current_engine

pytestmark = pytest.mark.usefixtures("each_database")

COMMANDS = [
    ["init"],
    ["migrate"],
    ["partitions"],
    ["serve"],
    *(["org", verb] for verb in ("list", "create")),
    *(["key", verb] for verb in ("list", "create", "revoke")),
    *(["token", verb] for verb in ("list", "create")),
    *(["device", verb] for verb in ("list", "show", "revoke")),
    *(["ca", verb] for verb in ("crl", "server-cert", "client-cert")),
    *(["service-key", verb] for verb in ("list", "succeed")),
]


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    return make_backend(tmp_path)


class Typed:
    """What a command printed, and its exit code."""

    def __init__(self, home: Path, *words: str) -> None:
        result = CliRunner().invoke(app, [*words, "--home", str(home)], env={"COLUMNS": "200"})
        self.code = result.exit_code
        self.out = result.stdout
        self.err = result.stderr
        assert result.exception is None or isinstance(result.exception, SystemExit), result.exception

    @property
    def json(self) -> Any:
        assert self.code == 0, self.err
        return json.loads(self.out)


# --- help ---


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_every_command_has_an_example_and_json(command: list[str]) -> None:
    result = CliRunner().invoke(app, [*command, "--help"], env={"COLUMNS": "200", "NO_COLOR": "1"})
    assert result.exit_code == 0
    assert f"Example: tbox backend {' '.join(command)}" in result.stdout
    assert "--json" in result.stdout
    assert "--home" in result.stdout


# --- set up ---


def test_init_prints_the_administrators_key_once(tmp_path: Path) -> None:
    first = Typed(tmp_path / "home", "init", "--org", "Example Leasing")
    assert first.code == 0
    assert re.search(r"tbox_[0-9a-f]{12}_[0-9a-f]{48}", first.out)
    second = Typed(tmp_path / "home", "init")
    assert second.code == 0
    assert "nothing changed" in second.out
    assert "tbox_" not in second.out


def test_init_says_in_json_what_it_made(tmp_path: Path) -> None:
    done = Typed(tmp_path / "home", "init", "--json").json
    assert {Path(path).name for path in done["made"]} >= {"ca.pem", "receipt.key", "policy.key", "bridge.pem"}
    assert done["admin_key"].startswith("tbox_")
    assert Typed(tmp_path / "home", "init", "--json").json["admin_key"] is None


def test_without_a_database_every_command_says_what_to_run(tmp_path: Path) -> None:
    for words in (
        ["org", "list"],
        ["key", "list"],
        ["device", "list"],
        ["token", "create"],
        ["serve"],
        ["ca", "crl"],
    ):
        typed = Typed(tmp_path / "nothing", *words)
        assert typed.code == 4, words
        assert "tbox backend init" in typed.err
        assert not (tmp_path / "nothing").exists()


def test_an_outdated_database_says_what_to_run(backend: Backend) -> None:
    home = backend.settings.home
    back = Typed(home, "migrate", "--down-to", "0001", "--yes", "--json")
    assert back.json["now"] == "0001"
    assert Typed(home, "migrate", "--check").code == 4
    outdated = Typed(home, "device", "list")
    assert outdated.code == 4
    assert "tbox backend migrate" in outdated.err
    forward = Typed(home, "migrate", "--json").json
    assert forward["now"] == forward["wanted"]
    assert Typed(home, "device", "list").code == 0


def test_going_back_asks_first(backend: Backend) -> None:
    assert Typed(backend.settings.home, "migrate", "--down-to", "base").code == 1
    assert Typed(backend.settings.home, "migrate", "--check").code == 0


def test_wrong_settings_are_one_clear_message(backend: Backend) -> None:
    (backend.settings.home / "settings.toml").write_text("api_port = 'x'\nbroker_port = 0\n")
    typed = Typed(backend.settings.home, "org", "list")
    assert typed.code == 3
    assert "api_port" in typed.err
    assert "broker_port" in typed.err
    assert "Traceback" not in typed.err


# --- registry ---


def test_organisations_and_keys_are_made_and_listed(backend: Backend) -> None:
    home = backend.settings.home
    Typed(home, "org", "create", "Another Lender", "--json")
    names = [item["name"] for item in Typed(home, "org", "list", "--json").json["items"]]
    assert names == ["Another Lender", "Example Leasing"]
    made = Typed(
        home, "key", "create", "--role", "auditor", "--name", "court", "--org", "Another Lender", "--json"
    ).json
    listed = Typed(home, "key", "list", "--org", "Another Lender").out
    assert "auditor" in listed
    assert made["key"] not in listed
    key_id = made["key"].split("_")[1]
    assert Typed(home, "key", "revoke", key_id).code == 6  # the platform's organisation has no such key
    assert Typed(home, "key", "revoke", key_id, "--org", "Another Lender").code == 0


def test_what_the_rules_refuse_has_its_exit_code(backend: Backend) -> None:
    home = backend.settings.home
    assert Typed(home, "org", "create", "Example Leasing").code == 7
    assert Typed(home, "key", "create", "--role", "auditor", "--name", "x", "--days", "0").code == 7
    assert Typed(home, "token", "create", "--count", "101").code == 7
    assert Typed(home, "key", "create", "--role", "emperor", "--name", "x").code == 2
    assert Typed(home, "key", "list", "--org", "Nobody").code == 6
    assert Typed(home, "device", "show", "00" * 32).code == 6
    assert Typed(home, "device", "revoke", "00" * 32, "--yes").code == 6


def test_a_box_enrolled_with_a_printed_token_is_listed_shown_and_revoked(
    backend: Backend, tmp_path: Path
) -> None:
    home, box = backend.settings.home, Box()
    backend.clock.now_us = 1_795_500_000_000_000 + 3600 * 1_000_000
    token = Typed(home, "token", "create", "--life-s", "2592000", "--json").json["items"][0]["token"]
    with backend.client() as client:
        assert client.post("/v1/enrol", json=box.request(token)).status_code == 201
    assert box.device_id in Typed(home, "device", "list").out
    shown = Typed(home, "device", "show", box.device_id, "--json").json
    assert (shown["status"], len(shown["keys"]), len(shown["certificates"])) == ("enrolled", 1, 1)
    assert shown["keys"][0]["kid"] in Typed(home, "device", "show", box.device_id).out
    assert box.device_id in Typed(home, "token", "list").out
    assert Typed(home, "device", "revoke", box.device_id).code == 1  # it asks, and no one answers
    assert Typed(home, "device", "revoke", box.device_id, "--yes", "--json").json["status"] == "revoked"
    out = tmp_path / "tbox.crl"
    assert Typed(home, "ca", "crl", "--out", str(out)).code == 0
    serials = {line.serial_number for line in x509.load_pem_x509_crl(out.read_bytes())}
    assert serials == {int(shown["certificates"][0]["serial"], 16)}
    assert Typed(home, "ca", "crl").out.startswith("-----BEGIN X509 CRL-----")


# --- CA and keys ---


def test_a_servers_certificate_is_issued_again_for_the_same_key(backend: Backend) -> None:
    home = backend.settings.home
    first = Typed(home, "ca", "server-cert", "broker.example.com", "192.0.2.7", "--json").json
    key = Path(first["key"]).read_bytes()
    before = Path(first["certificate"]).read_bytes()
    second = Typed(home, "ca", "server-cert", "broker.example.com", "--json").json
    assert second == first
    assert Path(first["key"]).read_bytes() == key
    assert Path(first["certificate"]).read_bytes() != before


@pytest.mark.parametrize("name", ["../evil", "/etc/evil", "*.example.com", "."])
def test_a_name_that_is_no_host_makes_no_file(backend: Backend, name: str) -> None:
    before = sorted(backend.settings.home.rglob("*"))
    assert Typed(backend.settings.home, "ca", "server-cert", name).code == 7
    assert [path for path in sorted(backend.settings.home.rglob("*")) if path not in before] == []


def test_a_service_named_like_a_box_is_refused(backend: Backend) -> None:
    assert Typed(backend.settings.home, "ca", "client-cert", "9f" * 32).code == 7


def test_a_service_key_is_succeeded_and_both_are_listed(backend: Backend) -> None:
    home = backend.settings.home
    assert Typed(home, "service-key", "succeed", "receipt").code == 1  # it asks, and no one answers
    done = Typed(home, "service-key", "succeed", "receipt", "--yes", "--json").json
    items = Typed(home, "service-key", "list", "--json").json["items"]
    receipt = {item["kid"]: item["retired"] for item in items if item["purpose"] == "receipt"}
    assert set(receipt) == {done["retired"], done["now"]}
    assert receipt[done["now"]] is None
    assert receipt[done["retired"]] is not None


# --- serve ---


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.7", "example.com"])
def test_a_server_does_not_listen_beyond_this_machine_without_tls(backend: Backend, host: str) -> None:
    typed = Typed(backend.settings.home, "serve", "--host", host, "--port", "0")
    assert typed.code == 3
    assert "--tls-cert" in typed.err


def test_half_a_tls_configuration_is_refused(backend: Backend) -> None:
    assert Typed(backend.settings.home, "serve", "--tls-cert", "x.pem").code == 3


def test_an_open_tls_key_is_refused(backend: Backend) -> None:
    made = Typed(backend.settings.home, "ca", "server-cert", "localhost", "--json").json
    Path(made["key"]).chmod(0o644)
    typed = Typed(backend.settings.home, "serve", "--tls-cert", made["certificate"], "--tls-key", made["key"])
    assert typed.code == 5


def test_a_port_that_is_taken_is_one_clear_message(backend: Backend) -> None:
    with serving(backend.settings.home) as url:
        typed = Typed(backend.settings.home, "serve", "--port", url.rsplit(":", 1)[1])
    assert typed.code == 3
    assert "--port" in typed.err


def test_a_server_prints_its_address_answers_and_ends_on_ctrl_c(backend: Backend) -> None:
    with serving(backend.settings.home) as url:
        with urllib.request.urlopen(f"{url}/v1/health", timeout=10) as answer:
            assert json.load(answer)["status"] == "ok"
            assert "server" not in answer.headers
        with urllib.request.urlopen(f"{url}/docs", timeout=10) as answer:
            assert b"/v1/health" in answer.read()


def test_a_server_with_a_certificate_of_the_own_ca_speaks_tls(backend: Backend) -> None:
    made = Typed(backend.settings.home, "ca", "server-cert", "localhost", "127.0.0.1", "--json").json
    trust = ssl.create_default_context(cafile=made["ca"])
    with serving(backend.settings.home, "--tls-cert", made["certificate"], "--tls-key", made["key"]) as url:
        assert url.startswith("https://")
        with urllib.request.urlopen(f"{url}/v1/health", timeout=10, context=trust) as answer:
            assert answer.status == 200


def test_the_months_of_the_large_tables_are_shown_where_there_are_any(backend: Backend) -> None:
    home = backend.settings.home
    if current_engine() is Engine.SQLITE:
        refused = Typed(home, "partitions")
        assert (refused.code, "one table for all months" in refused.err) == (7, True)
        return
    shown = Typed(home, "partitions", "--json").json["items"]
    names = {item["partition"] for item in shown}
    assert {"batch_default", "batch_section_facts_default", "batch_section_fine_default"} <= names
    assert len(names) >= 3 + 3 * (1 + PARTITION_MONTHS_AHEAD)
    assert not any(item["made_now"] for item in Typed(home, "partitions", "--json").json["items"])


@contextmanager
def serving(home: Path, *options: str) -> Iterator[str]:
    """Run a server on a free port, give its address, and end it as Ctrl-C does."""
    command = [sys.executable, "-m", "tbox", "backend", "serve", "--home", str(home), "--port", "0", "--json"]
    process = subprocess.Popen(
        [*command, *options], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=os.environ
    )
    with process:
        assert process.stdout is not None
        assert process.stderr is not None
        try:
            line = process.stdout.readline()
            assert line, process.stderr.read()
            yield json.loads(line)["url"]
        finally:
            process.send_signal(signal.SIGINT)
            rest = process.stderr.read()
            process.wait(timeout=20)
    assert "Traceback" not in rest
    assert process.returncode in {0, 130}, rest
