"""The officers' commands against the backend's own API: what one writes, the other takes."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from backend.domain.access import Role
from protocol.base64url import to_text
from protocol.ids import cose_key_bytes
from tests.builders.backend import Backend, Box, make_backend, past_probation
from tests.builders.lender import Desk
from tests.builders.lender_world import (
    CONTRACT,
    JUR,
    LENDER_ID,
    VIN,
    VIN_BIND,
    VIN_SALT,
    SignedCar,
    furnish,
    listening,
)


class RealServer:
    """The real API, in this process, behind an address of loopback."""

    def __init__(self, client: Any) -> None:
        self.client = client

    def answer(self, method: str, path: str, headers: Mapping[str, str], body: Any) -> tuple[int, Any]:
        """Pass a request on."""
        kept = {
            name: value for name, value in headers.items() if name.lower() not in ("host", "content-length")
        }
        answer = self.client.request(method, path, headers=kept, json=body if method == "POST" else None)
        return answer.status_code, answer.json()


@pytest.fixture
def backend(tmp_path: Path) -> Backend:
    made = make_backend(tmp_path / "home")
    made.settings = past_probation(made.settings)
    made.clock.now_us = int(time.time()) * 1_000_000
    return made


def test_the_tools_commands_are_taken_by_the_api(backend: Backend, tmp_path: Path) -> None:
    (tmp_path / "desk").mkdir()
    furnish(tmp_path / "desk")
    desk, car, box = Desk(tmp_path / "desk"), SignedCar(), Box()
    with backend.client() as client, listening(RealServer(client)) as address:
        box.enrol(backend, client)
        registered = {
            "cose_key": cose_key_bytes(car.signer.public_key).hex(),
            "epoch": car.epoch.hex(),
            "vin_bind": VIN_BIND.hex(),
            "contract_ref": CONTRACT.hex(),
            "lender_id": LENDER_ID.hex(),
            "jurisdiction": JUR,
            "challenge": to_text(car.challenge()),
        }
        answer = client.put(
            f"/v1/devices/{box.device_id}/mcu", json=registered, headers=backend.key(Role.INSTALLER)
        )
        assert answer.status_code == 200, answer.text
        for who, role in (("maker", Role.OFFICER_MAKER), ("admin", Role.ORG_ADMIN)):
            key = backend.key(role)["Authorization"].removeprefix("Bearer ")
            desk.secret(f"{who}-api.key", key)
            (desk / f"{who}.toml").write_text(
                f'server = "{address}"\napi_key_file = "{who}-api.key"\nlender_root = "lender-root.json"\n'
                'platform_root = "platform-root.json"\nkey = "maker.key"\n'
                'delegations = ["maker.delegation"]\n'
            )
        words = ("--vin", VIN, "--vin-salt", VIN_SALT.hex(), "--contract-ref", CONTRACT.hex(), "--jur", JUR)
        words = (*words, "--mcu-key", registered["cose_key"], "--config", "maker.toml")
        desk.run("car", "pin", box.device_id, *words)
        names = ("platform.snapshot", "lender.snapshot", "maker.delegation")
        desk.run("authority", "publish", *names, "--config", "admin.toml")
        words = ("--yes", "--json", "--passphrase-file", desk.passphrase_file, "--config", "maker.toml")
        for _ in range(5):  # within a second or two: ids of one second are in no order, the server's list is
            said = json.loads(desk.run("unlock", box.device_id, *words).stdout)
            assert said["stage"] == "QUEUED"
            status = json.loads(desk.run("status", box.device_id, "--config", "maker.toml", "--json").stdout)
            assert status["reported"]["state"] == "UNKNOWN"
            assert status["desired"] == {"cmd_id": said["order"], "type": "UNLOCK", "stage": "QUEUED"}
