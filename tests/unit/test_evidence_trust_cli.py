"""`tbox evidence` and orders: a trust file with everything, and a verdict told on a terminal."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from typer.testing import CliRunner

from backend.evidence_cli import app
from protocol.ids import cose_key_bytes
from protocol.vectors.keys import published_signer
from protocol.vectors.orders_story import ANCHORS, MCU
from protocol.vectors.story import DEVICE, RECEIPT_SIGNER
from tests.builders.evidence_orders import LOG, WITNESS, Case

if TYPE_CHECKING:
    from pathlib import Path


def test_a_case_is_verified_with_a_trust_file_that_the_command_made(tmp_path: Path) -> None:
    roots, trust, file = tmp_path / "roots.json", tmp_path / "trust.json", tmp_path / "case.tbe"
    anchors = {
        issuer: {
            "keys": [cose_key_bytes(published_signer(name).public_key).hex() for name in names],
            "threshold": threshold,
        }
        for issuer, (names, threshold) in ANCHORS.items()
    }
    roots.write_text(json.dumps(anchors))
    file.write_bytes(Case().file())
    runner = CliRunner()
    key = cose_key_bytes(RECEIPT_SIGNER.public_key).hex()
    made = runner.invoke(
        app,
        [
            *(
                "trust",
                "--device",
                DEVICE,
                "--backend-key",
                key,
                "--mcu",
                MCU.kid.hex(),
                "--roots",
                str(roots),
            ),
            *("--log-key", LOG.key.to_text(), "--witness-key", WITNESS.key.to_text(), "--out", str(trust)),
        ],
    )
    assert made.exit_code == 0, made.output
    told = runner.invoke(app, ["verify", str(file), "--trust", str(trust)])
    assert told.exit_code == 0, told.output
    assert "The starter was inhibited from 2026-11-25T12:03:00Z to 2026-11-25T12:50:00Z" in told.output
    as_json = runner.invoke(app, ["verify", str(file), "--trust", str(trust), "--json"])
    assert json.loads(as_json.output)["lock_accepted"]["answer"] == "LOCK"


def test_a_microcontroller_belongs_to_one_box(tmp_path: Path) -> None:
    key = cose_key_bytes(RECEIPT_SIGNER.public_key).hex()
    out = str(tmp_path / "trust.json")
    two = ["trust", "--device", DEVICE, "--device", "9f" * 32, "--backend-key", key, "--mcu", MCU.kid.hex()]
    failed = CliRunner().invoke(app, [*two, "--out", out])
    assert failed.exit_code == 1
    assert "belongs to one box" in failed.output
