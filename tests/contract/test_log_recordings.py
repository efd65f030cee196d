"""Recorded logs of other tools: as many frames as python-can finds, and the same ones."""

from pathlib import Path

import can
import pytest

from device.acquisition.lot import EXTENDED
from device.adapters.log_files import LogError, LogReader

WHOLE = [
    "can/comma2k19_toyota/can1.log",
    "can/crysys_attacks/S-1-1-benign.log",
    "can/icsim/sample-can.log",
    "can/j1939_snippets/candump.log",
    "can/savvycan/candump.log",
    "can/formats_python_can/issue_1256.asc",
    "can/formats_python_can/issue_1299.asc",
    "can/formats_python_can/logfile.asc",
    "can/formats_python_can/logfile_errorframes.asc",
    "can/formats_python_can/test_CanFdMessage.asc",
    "can/formats_python_can/test_CanRemoteMessage.asc",
    "can/formats_python_can/test_CanErrorFrameExt.blf",
    "can/formats_python_can/test_CanFdMessage64.blf",
    "can/formats_python_can/test_CanMessage.blf",
    "can/formats_python_can/test_CanMessage2.blf",
]


@pytest.mark.data
@pytest.mark.parametrize("name", WHOLE)
def test_a_recording_reads_as_python_can_reads_it(test_data: Path, name: str) -> None:
    reader = LogReader(test_data / name)
    ours = sorted(
        (int(t_us), int(can_id), payload[:length].tobytes())
        for lot in reader.lots()
        for t_us, can_id, length, payload in zip(lot.t_us, lot.can_id, lot.length, lot.data, strict=True)
    )
    with can.LogReader(test_data / name) as messages:
        theirs = sorted(
            (
                round(message.timestamp * 1e6),
                message.arbitration_id | (EXTENDED if message.is_extended_id else 0),
                b"" if message.is_error_frame or message.is_remote_frame else bytes(message.data),
            )
            for message in messages
        )
    assert ours == theirs
    assert ours
    assert reader.errors.count == 0


@pytest.mark.data
def test_a_candump_with_more_behind_the_payload_is_read(test_data: Path) -> None:
    name = "S-1-1-malicious-CONST-msg-mod-0x410-0.4-0.6.log"
    reader = LogReader(test_data / "can" / "crysys_attacks" / name)
    assert sum(lot.size for lot in reader.lots()) == 17_935
    assert reader.errors.count == 0


@pytest.mark.data
@pytest.mark.parametrize("name", ["j1939_snippets/test_mfr_spec.log", "savvycan/BusMasterLog.log"])
def test_logs_of_another_form_are_refused_by_name(test_data: Path, name: str) -> None:
    with pytest.raises(LogError, match="not a candump log"):
        list(LogReader(test_data / "can" / name).lots())


@pytest.mark.data
@pytest.mark.parametrize("suffix", [".log", ".asc", ".blf"])
def test_a_recording_cut_anywhere_is_read_as_far_as_it_goes(
    test_data: Path, tmp_path: Path, suffix: str
) -> None:
    sources = {
        ".log": "icsim/sample-can.log",
        ".asc": "formats_python_can/issue_1256.asc",
        ".blf": "formats_python_can/test_CanMessage.blf",
    }
    content = (test_data / "can" / sources[suffix]).read_bytes()
    path = tmp_path / f"cut{suffix}"
    before = 0
    for part in range(1, 30):
        path.write_bytes(content[: len(content) * part // 29])
        reader = LogReader(path)
        try:
            frames = sum(lot.size for lot in reader.lots())
        except LogError:
            frames = 0
        assert frames >= before
        assert reader.errors.count <= 1
        before = frames
    assert before > 0
