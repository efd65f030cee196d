"""Wrong times in a recorded drive: a torn digit moves nothing else, an impossible time is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.adapters.log_files import LogErrors, LogReader
from device.adapters.log_times import credible
from device.agent.replay_log import SECOND_US, DriveLog, Survey, Timeline, place, rmc_utc_us, survey
from device.errors import EdgeError
from device.events import FramesReceived, GnssReceived
from simulators.gnss_receiver import sentence
from tests.builders.engine import MOTION_ID, motion_lot

if TYPE_CHECKING:
    from pathlib import Path

START_US = 1_533_197_640_000_000  # 2018-08-02 08:14:00
HOUR_US = 3_600 * SECOND_US
TIMES = [1_000_000 + number * 10_000 for number in range(20)]


def write_log(path: Path, times_us: list[int], bus: str = "can0") -> Path:
    frames = (
        f"({t // SECOND_US}.{t % SECOND_US:06d}) {bus} {MOTION_ID:03X}#0000000000000000" for t in times_us
    )
    path.write_text("\n".join(frames) + "\n")
    return path


def kept(times_us: list[int], *, lot_size: int = 7) -> tuple[list[int], int]:
    """The times that are believed, whatever the lots, and how many are not."""
    errors = LogErrors()
    lots = [
        motion_lot(0, range(len(times_us[at : at + lot_size]))) for at in range(0, len(times_us), lot_size)
    ]
    for number, lot in enumerate(lots):
        lot.t_us[:] = times_us[number * lot_size : (number + 1) * lot_size]
    return [t_us for lot in credible(lots, errors) for t_us in lot.t_us.tolist()], errors.count


def rmc(second: int, date: str = "020818") -> bytes:
    return sentence(f"GPRMC,0814{second:02d}.00,A,5327.04,N,00214.41,W,0.2,,{date},,,A")


def timeline() -> Timeline:
    return Timeline(first_us=0, utc_us=START_US, utc_source="test", nmea_utc_us=START_US)


def sentence_times(can: Path, nmea: Path) -> list[int]:
    drive = DriveLog(LogReader(can), nmea, timeline())
    return [item.t_us for item in drive if isinstance(item.event, GnssReceived)]


@pytest.mark.parametrize("row", range(len(TIMES)))
@pytest.mark.parametrize("wrong_us", [10**16, 40 * 24 * HOUR_US])
def test_one_frame_at_an_impossible_time_is_left_out_wherever_it_stands(row: int, wrong_us: int) -> None:
    torn = [*TIMES[:row], wrong_us, *TIMES[row + 1 :]]
    assert kept(torn) == ([*TIMES[:row], *TIMES[row + 1 :]], 1)


@pytest.mark.parametrize(
    "times",
    [
        TIMES,
        TIMES[::-1],
        TIMES + TIMES,
        [*TIMES, *(t_us + 5 * 24 * HOUR_US for t_us in TIMES)],
        [number * HOUR_US for number in range(20)],
        TIMES[:1],
        [0, 10**16],
    ],
    ids=["ordered", "backwards", "twice", "joined", "sparse", "single", "pair"],
)
def test_times_that_a_recorder_may_write_are_all_believed(times: list[int]) -> None:
    assert kept(times) == (times, 0)


@pytest.mark.parametrize("period_s", [0.01, 0.1, 5.0])
def test_a_bus_that_speaks_seldom_loses_no_frame(tmp_path: Path, period_s: float) -> None:
    """Lots of a busy bus last minutes; what another bus said in between is nothing odd."""
    lines = []
    for number in range(20_000):
        seconds = 1_700_000_000 + number * period_s
        lines.append(f"({seconds:.6f}) can0 {MOTION_ID:03X}#0000000000000000")
        if number in {0, 700, 4_000, 12_000, 12_001, 19_990}:
            lines.append(f"({seconds + 0.001:.6f}) can1 {MOTION_ID:03X}#0000000000000000")
        if number in {3_000, 11_000}:
            lines.append(f"({seconds + 0.001:.6f}) can2 {MOTION_ID:03X}#0000000000000000")
    path = tmp_path / "drive.log"
    path.write_text("\n".join(lines) + "\n")
    reader = LogReader(path)
    assert sum(lot.size for lot in credible(reader.lots(), reader.errors)) == len(lines)
    assert reader.errors.count == 0


@pytest.mark.parametrize("torn", ["(1700000000.000001) can1", "(9700000000.000001) can1"])
def test_a_torn_time_on_a_bus_that_speaks_seldom_is_left_out(tmp_path: Path, torn: str) -> None:
    lines = [f"({1_800_000_000 + n * 0.1:.6f}) can0 {MOTION_ID:03X}#0000000000000000" for n in range(20_000)]
    lines.insert(9_000, f"{torn} {MOTION_ID:03X}#0000000000000000")
    path = tmp_path / "drive.log"
    path.write_text("\n".join(lines) + "\n")
    reader = LogReader(path)
    assert {lot.bus for lot in credible(reader.lots(), reader.errors) if lot.size} == {"can0"}
    assert reader.errors.count == 1


def test_a_torn_zero_does_not_become_the_start_of_the_drive(tmp_path: Path) -> None:
    far = [t_us + 13 * HOUR_US for t_us in TIMES]
    path = write_log(tmp_path / "drive.log", [*far[:9], 0, *far[10:]])
    assert survey(path, bus=None, is_known=lambda ids: ids == MOTION_ID).first_us == far[0]


def test_a_frame_before_the_start_is_left_out_and_counted_not_moved(tmp_path: Path) -> None:
    path = write_log(tmp_path / "drive.log", [*TIMES, *(t_us // 2 for t_us in TIMES)])
    reader = LogReader(path)
    drive = DriveLog(reader, None, Timeline(first_us=2_000_000, utc_us=START_US, utc_source="test"))
    lots = [item.event.lot for item in drive if isinstance(item.event, FramesReceived)]
    assert [t_us for lot in lots for t_us in lot.t_us.tolist()] == [t_us - 1_000_000 for t_us in TIMES]
    assert (drive.frames, drive.log_errors.count) == (len(TIMES), len(TIMES))


def test_a_garbled_date_does_not_carry_the_sentences_after_it_away(tmp_path: Path) -> None:
    lines = [rmc(second) for second in range(5)]
    lines[2] = lines[2].replace(b"020818", b"020878")
    (tmp_path / "drive.nmea").write_bytes(b"".join(lines))
    times = sentence_times(write_log(tmp_path / "drive.log", TIMES), tmp_path / "drive.nmea")
    assert times == [SECOND_US * (1 + second) for second in (0, 1, 1, 3, 4)]
    assert rmc_utc_us(lines[2]) is None


def test_one_wrong_date_under_a_right_checksum_is_not_believed_and_two_are(tmp_path: Path) -> None:
    lines = [rmc(0), rmc(1, "020878"), rmc(2), rmc(3, "030919"), rmc(4, "030919")]
    (tmp_path / "drive.nmea").write_bytes(b"".join(lines))
    times = sentence_times(write_log(tmp_path / "drive.log", TIMES), tmp_path / "drive.nmea")
    year_us = 397 * 24 * HOUR_US
    assert times == [SECOND_US, SECOND_US, 3 * SECOND_US, 3 * SECOND_US, year_us + 5 * SECOND_US]


@pytest.mark.parametrize("seconds", [-62_135_596_800, 0, 1_000_000_001, 253_402_383_599, 999_999_900_409])
def test_a_start_that_no_clock_is_believed_to_show_is_refused_before_anything_is_sealed(seconds: int) -> None:
    found = Survey(first_us=0, frames=1, buses={"can0": 1}, known=1, bus="can0")
    with pytest.raises(EdgeError, match="since 1970"):
        place(found, start_us=seconds * SECOND_US, nmea=None, now_us=START_US)


def test_a_log_with_thousands_of_buses_is_said_in_one_line(tmp_path: Path) -> None:
    path = tmp_path / "drive.log"
    path.write_text("".join(f"({number}.000000) c{number} 123#00\n" for number in range(3_000)))
    with pytest.raises(EdgeError, match="and 248 more") as refusal:
        survey(path, bus=None, is_known=lambda ids: ids < 0)
    assert len(refusal.value.what) < 500
