"""Recorded logs of other tools: the same frames that the reference readers find, exactly."""

import gzip
from collections import Counter
from pathlib import Path

import can
import pytest

from device.acquisition.lot import EXTENDED, FrameFlag
from device.adapters.log_files import LogClock, LogError, LogFormat, LogReader
from tests.builders.logs import Frame, frames_of

# What python-can reads completely.
WHOLE = [
    "can/comma2k19_toyota/can1.log",
    "can/crysys_attacks/S-1-1-benign.log",
    "can/css_mf4/gnss_uds_64s.mf4",
    "can/css_mf4/j1939_186s.mf4",
    "can/css_mf4/nmea2000_60s.mf4",
    "can/css_mf4/obd2_gnss_45s.mf4",
    "can/css_mf4/uds_kona_299s.mf4",
    "can/icsim/sample-can.log",
    "can/j1939_snippets/candump.log",
    "can/j1939_snippets/test_dm1.log",
    "can/j1939_snippets/test_requests.log",
    "can/savvycan/candump.log",
    "can/formats_python_can/issue_1256.asc",
    "can/formats_python_can/issue_1299.asc",
    "can/formats_python_can/logfile.asc",
    "can/formats_python_can/logfile_errorframes.asc",
    "can/formats_python_can/single_frame_us_locale.asc",
    "can/formats_python_can/test_CanFdMessage.asc",
    "can/formats_python_can/test_CanFdRemoteMessage.asc",
    "can/formats_python_can/test_CanRemoteMessage.asc",
    "can/formats_python_can/test_CanMessage.asc.gz",
    "can/formats_python_can/test_CanErrorFrameExt.blf",
    "can/formats_python_can/test_CanFdMessage.blf",
    "can/formats_python_can/test_CanFdMessage64.blf",
    "can/formats_python_can/test_CanMessage.blf",
    "can/formats_python_can/test_CanMessage2.blf",
    "can/formats_python_can/test_CanMessage_V1_0_BUS1.trc",
    "can/formats_python_can/test_CanMessage_V1_3.trc",
    "can/formats_python_can/test_CanMessage_V2_0_BUS1.trc",
]


def ours(path: Path) -> list[Frame]:
    reader = LogReader(path)
    frames = frames_of(reader.lots())
    assert reader.errors.count == 0, reader.errors.first
    return frames


def theirs(path: Path) -> list[Frame]:
    """python-can's frames; an identifier above 11 bits can only be an extended one, whatever it is marked."""
    with can.LogReader(path) as messages:
        return [
            (
                f"can{message.channel if message.channel is not None else 0}"
                if not str(message.channel).startswith(("can", "vcan"))
                else str(message.channel),
                round(message.timestamp * 1e6),
                message.arbitration_id
                | (EXTENDED if message.is_extended_id or message.arbitration_id > 0x7FF else 0),
                (FrameFlag.REMOTE if message.is_remote_frame else 0)
                | (FrameFlag.ERROR if message.is_error_frame else 0)
                | (FrameFlag.FD if message.is_fd else 0),
                b"" if message.is_error_frame or message.is_remote_frame else bytes(message.data),
            )
            for message in messages
        ]


def comparable(frames: list[Frame]) -> list[Frame]:
    """Sorted, for a lot has one bus only; error frames have no identifier of their own."""
    return sorted(
        (bus, t_us, 0 if flags & FrameFlag.ERROR else can_id, flags, data)
        for bus, t_us, can_id, flags, data in frames
    )


@pytest.mark.data
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("name", WHOLE)
def test_a_recording_reads_as_python_can_reads_it(test_data: Path, name: str) -> None:
    path = test_data / name
    mine, reference = ours(path), theirs(path)
    if ".asc" in path.suffixes:  # python-can leaves the header's date out
        start = mine[0][1] - reference[0][1]
        assert start % 1_000 == 0
        mine = [(bus, t_us - start, *rest) for bus, t_us, *rest in mine]
    assert mine
    assert comparable(mine) == comparable(reference)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_the_long_j1939_recording_reads_as_python_can_reads_it(test_data: Path) -> None:
    path = test_data / "can/css_mf4/j1939_402s_150k_frames.mf4"
    mine, reference = ours(path), theirs(path)
    assert len(mine) == 150_411
    assert comparable(mine) == comparable(reference)


@pytest.mark.data
def test_the_long_j1939_recording_has_all_its_frames_in_order_of_time(test_data: Path) -> None:
    reader = LogReader(test_data / "can/css_mf4/j1939_402s_150k_frames.mf4")
    frames = frames_of(reader.lots())
    assert len(frames) == 150_411
    assert reader.errors.count == 0
    assert (reader.format, reader.clock) == (LogFormat.MF4, LogClock.UTC)
    times = [frame[1] for frame in frames if frame[0] == frames[0][0]]
    assert times == sorted(times)
    assert times[0] == 1_701_363_725_986_550, "2023-11-30T17:02:04Z in the header, and 1.98655 s"


@pytest.mark.data
@pytest.mark.parametrize(
    ("name", "form", "frames"),
    [
        ("crysys_attacks/S-1-1-malicious-CONST-msg-mod-0x410-0.4-0.6.log", LogFormat.CANDUMP, 17_935),
        ("j1939_snippets/test_mfr_spec.log", LogFormat.CANDUMP, 1),
        ("savvycan/BusMasterLog.log", LogFormat.BUSMASTER, 12_974),
    ],
)
def test_a_log_that_python_can_refuses_is_read(
    test_data: Path, name: str, form: LogFormat, frames: int
) -> None:
    reader = LogReader(test_data / "can" / name)
    assert sum(lot.size for lot in reader.lots()) == frames
    assert (reader.format, reader.errors.count) == (form, 0)


@pytest.mark.data
def test_busmaster_and_candump_of_one_drive_have_the_same_frames(test_data: Path) -> None:
    folder = test_data / "can" / "savvycan"
    texts = [frames_of(LogReader(folder / name).lots()) for name in ("BusMasterLog.log", "candump.log")]
    assert [frame[2:] for frame in texts[0]] == [frame[2:] for frame in texts[1]]


@pytest.mark.data
@pytest.mark.parametrize("name", ["crysys_attacks/S-1-1-orig.csv", "savvycan/CarBusAnalyzer.trc"])
def test_logs_of_another_form_are_refused_with_what_is_supported(test_data: Path, name: str) -> None:
    with pytest.raises(LogError, match="not a CAN log of a known form: line 1 is ") as raised:
        list(LogReader(test_data / "can" / name).lots())
    assert "Give one of: candump" in raised.value.diagnostics()


@pytest.mark.data
@pytest.mark.parametrize("name", ["icsim/sample-can.log", "formats_python_can/issue_1256.asc"])
def test_a_packed_log_has_the_frames_of_the_log(test_data: Path, tmp_path: Path, name: str) -> None:
    packed = tmp_path / f"{Path(name).name}.gz"
    packed.write_bytes(gzip.compress((test_data / "can" / name).read_bytes()))
    assert ours(packed) == ours(test_data / "can" / name)


@pytest.mark.data
@pytest.mark.parametrize("lost_at", [38_845, 85_368, 100_833])
def test_thirteen_lost_bytes_of_a_recording_give_no_frame_the_payload_of_another(
    test_data: Path, tmp_path: Path, lost_at: int
) -> None:
    path = test_data / "can/css_mf4/gnss_uds_64s.mf4"
    whole, data = Counter(ours(path)), bytearray(path.read_bytes())
    del data[lost_at : lost_at + 13]
    torn = tmp_path / "torn.mf4"
    torn.write_bytes(data)
    reader = LogReader(torn)
    found = Counter(frames_of(reader.lots()))
    assert not found - whole
    assert 1 <= (whole - found).total() <= reader.errors.count <= 3
