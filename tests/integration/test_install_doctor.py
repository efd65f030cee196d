"""`tbox install doctor`: on a home as an agent leaves it, and on what an office answers."""

from __future__ import annotations

import http.server
import json
import os
import socket
import threading
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from firmware_tools.doctor import app
from firmware_tools.doctor_checks import CHECKS, Health, judge, worst

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

DEVICE = "9f" * 32
READINGS = {
    "clock_class": 3,
    "uplink_connected": 1,
    "spool_pending": 3,
    "mcu_up": 1,
    "lock_image": "production",
    "can_malformed": 0,
}


@pytest.fixture
def broker() -> Iterator[int]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def home(tmp_path: Path, broker: int) -> Path:
    (tmp_path / "keys").mkdir(mode=0o700)
    (tmp_path / "keys" / "d2.key").touch(mode=0o600)
    (tmp_path / "trust.json").write_text("{}", "utf-8")
    write(tmp_path, f'[broker]\nhost = "127.0.0.1"\nport = {broker}\n[mcu]\nport = "/dev/x"\n', READINGS)
    return tmp_path


def write(home: Path, settings: str, readings: dict[str, Any]) -> None:
    (home / "agent.toml").write_text(settings, "utf-8")
    (home / "status.json").write_text(json.dumps({"pid": os.getpid(), "readings": readings}), "utf-8")


def looked(*words: object) -> tuple[int, dict[str, tuple[str, str]]]:
    done = CliRunner().invoke(app, [*map(str, words), "--json"], catch_exceptions=False)
    rows = json.loads(done.stdout)["checks"]
    return done.exit_code, {row["name"]: (row["state"], row["measured"]) for row in rows}


def test_a_home_on_site_is_judged_line_by_line(home: Path) -> None:
    code, rows = looked("--home", home, "--wait", 0)
    assert code == 1  # no certificate: not enrolled
    assert rows["is_enrolled"] == ("FAIL", "no")
    assert rows["clock_source"] == ("OK", "GNSS")
    assert rows["broker_ms"][0] == "OK"
    assert rows["mcu_image"] == ("OK", "production")
    assert rows["can_frames_per_s"] == ("UNKNOWN", "not known")
    assert rows["keys_private"] == ("OK", "yes")


def test_what_is_wrong_on_site_is_found(home: Path) -> None:
    (home / "keys" / "d2.key").chmod(0o644)
    with socket.create_server(("127.0.0.1", 0)) as gone:
        port = gone.getsockname()[1]
    bad = READINGS | {
        "mcu_up": 0,
        "lock_image": "demo",
        "store_failed": 2,
        "clock_class": 0,
        "receipts_rejected": 1,
    }
    write(home, f'[broker]\nhost = "127.0.0.1"\nport = {port}\n[mcu]\nport = "/dev/x"\n', bad)
    _, rows = looked("--home", home, "--wait", 0)
    expected = {
        "keys_private": "FAIL",
        "broker_ms": "FAIL",
        "mcu_up": "FAIL",
        "mcu_image": "WARN",
        "store_failed": "FAIL",
        "clock_source": "WARN",
        "receipts_rejected": "WARN",
    }
    assert {name: rows[name][0] for name in expected} == expected


def test_a_box_without_a_microcontroller_is_not_asked_for_one(home: Path, broker: int) -> None:
    write(home, f'[broker]\nhost = "127.0.0.1"\nport = {broker}\n', READINGS)
    assert "mcu_up" not in looked("--home", home, "--wait", 0)[1]


OFFICE: dict[str, Any] = {
    f"/v1/devices/{DEVICE}": {
        "status": "enrolled",
        "certificates": [{"not_after": "2026-02-01T00:00:00Z", "revoked_at": None}],
    },
    f"/v1/devices/{DEVICE}/state": {
        "as_of": "2026-01-22T00:00:00Z",
        "last_received_at": "2026-01-20T00:00:00Z",
    },
    f"/v1/devices/{DEVICE}/chains": {"items": [{"holes": [[4, 6]]}, {"holes": []}]},
    f"/v1/devices/{DEVICE}/ingest-counters": {"turned_away": {"BAD_SIG": 2, "TOO_LARGE": 5}},
}


@pytest.fixture
def office() -> Iterator[str]:
    class Answers(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            is_known = self.headers["Authorization"] == "Bearer secret"
            body = OFFICE.get(self.path) if is_known else {"detail": "the key is not valid"}
            self.send_response(401 if not is_known else 200 if body else 404)
            self.end_headers()
            self.wfile.write(json.dumps(body or {"title": "no such box"}).encode())

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_the_same_checks_are_made_from_afar(office: str, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text("secret\n", "utf-8")
    code, rows = looked("--api", office, "--api-key", key, "--device", DEVICE)
    assert code == 1
    assert rows == {
        "status": ("OK", "enrolled"),
        "certificate_days": ("WARN", "10 days"),
        "last_heard_s": ("FAIL", "172800 s"),
        "holes": ("WARN", "3 batches"),
        "unauthentic_messages": ("WARN", "2 messages"),
    }


def test_an_office_that_refuses_is_said_in_its_words(office: str, tmp_path: Path) -> None:
    key = tmp_path / "key.txt"
    key.write_text("other", "utf-8")
    done = CliRunner().invoke(app, ["--api", office, "--api-key", str(key), "--device", DEVICE, "--json"])
    found = json.loads(done.stdout)
    assert (done.exit_code, found["error"]) == (1, "OFFICE_REFUSED")
    assert "the key is not valid" in found["message"]


def test_what_is_not_known_is_never_ok_and_every_check_says_what_to_do() -> None:
    checks = judge(dict.fromkeys((check.name for check in CHECKS), None))
    assert {check.state for check in checks} == {Health.UNKNOWN}
    assert all(check.todo.endswith(".") for check in checks)
    assert worst(checks) is Health.UNKNOWN
    assert len({check.name for check in checks}) == len(CHECKS)


def test_bounds_are_part_of_what_is_well() -> None:
    def disk(megabytes: float) -> Health:
        return judge({"disk_free_mb": megabytes})[0].state

    assert [disk(value) for value in (300, 299, 50, 49)] == [Health.OK, Health.WARN, Health.WARN, Health.FAIL]
