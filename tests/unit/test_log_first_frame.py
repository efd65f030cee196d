"""The first frame of a log with several buses comes first, whatever the log is and however it is written."""

from __future__ import annotations

import json
import warnings
from pathlib import Path

import can
import pytest
from typer.testing import CliRunner

from device.adapters.log_files import LogReader
from device.decode_cli import app

DBC = Path("dbc/tbox_demo.dbc")


@pytest.mark.parametrize(
    "first",
    [
        "(100.0) can1 130#1027000000000000",
        "(100.000000) can1 130##01027000000000000",
        "(100.000000)  can1  130   [8]  10 27 00 00 00 00 00 00",
    ],
    ids=["short fraction", "FD", "terminal"],
)
def test_a_careful_line_before_a_plain_one_is_the_first(tmp_path: Path, first: str) -> None:
    log = tmp_path / "drive.log"
    log.write_text(f"{first}\n(102.500000) can0 130#1027000000000000\n")
    out = tmp_path / "out.csv"
    command = ["--dbc", DBC, "--log", log, "--out", out, "--start", "2026-11-24T08:00:00Z", "--json"]
    result = CliRunner().invoke(app, [str(word) for word in command])
    summary = json.loads(result.stdout)
    assert summary["first_time_s"] == 1_795_507_200.0
    assert summary["last_time_s"] == 1_795_507_202.5


@pytest.mark.parametrize("suffix", [".blf", ".mf4", ".asc"])
def test_the_first_lot_holds_the_first_frame_whatever_its_channel(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drive{suffix}"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with can.Logger(path) as logger:
            for number in range(60):
                message = can.Message(
                    timestamp=1_700_000_000 + number,
                    arbitration_id=number,
                    data=b"\1",
                    is_extended_id=False,
                    channel=2 - number % 3,
                )
                logger.on_message_received(message)
    lots = list(LogReader(path).lots())
    assert len({lot.bus for lot in lots}) == 3
    assert lots[0].can_id[0] == 0
    assert int(lots[0].t_us[0]) == min(int(lot.t_us.min()) for lot in lots)
