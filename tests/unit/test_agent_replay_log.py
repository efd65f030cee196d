"""A recorded drive on one time line: whose UTC counts, how NMEA is placed, what is read."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from device.adapters.log_files import LogClock, LogError, LogReader
from device.agent.replay_log import LEAD_US, SECOND_US, DriveLog, Survey, place, rmc_utc_us, survey
from device.errors import EdgeError
from device.events import FramesReceived, GnssReceived
from simulators.gnss_receiver import sentence

NOON = 1_795_521_600 * SECOND_US  # 2026-11-24T12:00:00Z
NOW = NOON + 5 * SECOND_US


def rmc(second: int, *, is_valid: bool = True, date: str = "241126") -> bytes:
    valid = "A" if is_valid else "V"
    return sentence(f"GPRMC,1200{second:02}.00,{valid},4807.038,N,01131.000,E,022.4,084.4,{date},,,A")


def candump(path: Path, *rows: tuple[float, str, int]) -> Path:
    path.write_text("".join(f"({time:.6f}) {bus} {can_id:03X}#01\n" for time, bus, can_id in rows))
    return path


def written(path: Path, *lines: bytes) -> Path:
    path.write_bytes(b"".join(lines))
    return path


def found(first_us: int, clock: LogClock = LogClock.RELATIVE) -> Survey:
    return Survey(first_us=first_us, frames=1, buses={"can0": 1}, known=1, bus="can0", clock=clock)


def knows(*can_ids: int) -> Callable[[NDArray[np.uint32]], NDArray[np.bool_]]:
    return lambda asked: np.isin(asked, can_ids)


def test_a_survey_counts_what_the_dbc_knows(tmp_path: Path) -> None:
    log = candump(tmp_path / "drive.log", (10.0, "can0", 1), (10.5, "can0", 2), (11.0, "can0", 1))
    seen = survey(log, bus=None, is_known=knows(1))
    assert (seen.first_us, seen.frames, seen.known, seen.bus) == (10 * SECOND_US, 3, 2, "can0")


def test_a_log_of_several_buses_wants_one_named(tmp_path: Path) -> None:
    log = candump(tmp_path / "drive.log", (10.0, "can0", 1), (10.5, "can1", 1))
    with pytest.raises(LogError, match=r"several buses: can0 \(1 frames\), can1 \(1 frames\)"):
        survey(log, bus=None, is_known=knows(1))
    assert survey(log, bus="can1", is_known=knows(1)).known == 1
    with pytest.raises(LogError, match="no frame of bus can7"):
        survey(log, bus="can7", is_known=knows(1))


def test_an_empty_log_is_refused(tmp_path: Path) -> None:
    (tmp_path / "drive.log").write_text("")
    with pytest.raises(LogError, match="no frames"):
        survey(tmp_path / "drive.log", bus=None, is_known=knows(1))


def test_a_persons_start_wins(tmp_path: Path) -> None:
    nmea = written(tmp_path / "n", rmc(0))
    line = place(found(NOON), start_us=NOON - SECOND_US, nmea=nmea, now_us=NOW)
    assert (line.utc_us, line.utc_source) == (NOON - SECOND_US, "given by --start")


def test_time_stamps_that_are_an_epoch_are_believed() -> None:
    line = place(found(NOON, LogClock.EPOCH), start_us=None, nmea=None, now_us=NOW)
    assert (line.utc_us, line.utc_source) == (NOON, "time stamps of the log")


def test_the_date_of_a_header_is_believed_and_its_missing_zone_is_said() -> None:
    line = place(found(NOON, LogClock.HEADER_DATE), start_us=None, nmea=None, now_us=NOW)
    assert line.utc_us == NOON
    assert "no time zone: taken as UTC" in line.utc_source


def test_an_epoch_that_one_torn_frame_denies_is_none() -> None:
    line = place(found(0, LogClock.EPOCH), start_us=None, nmea=None, now_us=NOW)
    assert line.utc_us == NOW


def test_a_pipe_is_refused_for_a_replay_reads_twice(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(LogError, match="reads its log twice"):
        survey(tmp_path / "pipe", bus=None, is_known=knows(1))


def test_time_stamps_since_some_start_are_not() -> None:
    line = place(found(46_408 * SECOND_US), start_us=None, nmea=None, now_us=NOW)
    assert line.utc_us == NOW
    assert "the present" in line.utc_source


def test_the_receivers_time_is_better_than_the_present(tmp_path: Path) -> None:
    nmea = written(tmp_path / "n", rmc(0, is_valid=False), rmc(1), rmc(2))
    line = place(found(5 * SECOND_US), start_us=None, nmea=nmea, now_us=NOW)
    assert (line.utc_us, line.nmea_utc_us) == (NOON + SECOND_US, NOON + SECOND_US)


def test_nmea_near_the_start_stands_at_its_own_utc_and_else_begins_with_it(tmp_path: Path) -> None:
    nmea = written(tmp_path / "n", rmc(30))
    near = place(found(NOON, LogClock.EPOCH), start_us=None, nmea=nmea, now_us=NOW)
    far = place(found(NOON), start_us=NOON - 30 * 86_400 * SECOND_US, nmea=nmea, now_us=NOW)
    assert near.nmea_utc_us == NOON
    assert far.nmea_utc_us == NOON + 30 * SECOND_US
    assert "matched" in far.nmea_source


def test_an_nmea_log_without_time_is_refused(tmp_path: Path) -> None:
    nmea = written(tmp_path / "n", rmc(0, is_valid=False), b"noise\n")
    with pytest.raises(EdgeError, match="no valid RMC"):
        place(found(NOON, LogClock.EPOCH), start_us=None, nmea=nmea, now_us=NOW)


def test_can_and_nmea_come_merged_by_time(tmp_path: Path) -> None:
    base = NOON // SECOND_US
    rows = [(base + offset, "can0", 1) for offset in (0.0, 0.5, 1.5, 2.5, 3.5)]
    log = candump(tmp_path / "drive.log", *rows)
    nmea = written(tmp_path / "n", rmc(0), rmc(2), rmc(9))
    line = place(survey(log, bus=None, is_known=knows(1)), start_us=None, nmea=nmea, now_us=NOW)
    drive = DriveLog(LogReader(log), nmea, line)
    kinds = [(type(item.event), item.t_us) for item in drive]
    assert [t_us for _, t_us in kinds] == sorted(t_us for _, t_us in kinds)
    assert [t_us - LEAD_US for kind, t_us in kinds if kind is GnssReceived] == [
        0,
        2 * SECOND_US,
        9 * SECOND_US,
    ]
    assert sum(kind is FramesReceived for kind, _ in kinds) == 4
    assert (drive.frames, drive.nmea_lines, drive.fraction_read) == (5, 3, 1.0)


def test_sentences_before_the_first_time_stand_at_the_start(tmp_path: Path) -> None:
    log = candump(tmp_path / "drive.log", (5.0, "can0", 1))
    nmea = written(tmp_path / "n", b"$GPGSA,A,1*1E\r\n", rmc(0))
    line = place(survey(log, bus=None, is_known=knows(1)), start_us=None, nmea=nmea, now_us=NOW)
    assert {item.t_us for item in DriveLog(LogReader(log), nmea, line)} == {LEAD_US}


def test_a_torn_log_gives_what_can_be_read_and_counts_the_rest(tmp_path: Path) -> None:
    log = candump(tmp_path / "drive.log", (5.0, "can0", 1), (6.0, "can0", 1))
    log.write_text(log.read_text() + "(7.0000")
    drive = DriveLog(LogReader(log), None, place(found(5 * SECOND_US), start_us=None, nmea=None, now_us=NOW))
    assert len(list(drive)) == 2
    assert (drive.frames, drive.log_errors.count) == (2, 1)


def test_frames_a_little_before_the_first_keep_their_time_and_much_earlier_ones_are_left_out(
    tmp_path: Path,
) -> None:
    log = candump(tmp_path / "drive.log", (10.0, "can0", 1), (9.5, "can1", 1), (1.0, "can1", 1))
    line = place(found(10 * SECOND_US), start_us=None, nmea=None, now_us=NOW)
    times = [int(t) for item in DriveLog(LogReader(log), None, line) for t in item.event.lot.t_us]  # type: ignore[union-attr]
    assert sorted(times) == [SECOND_US // 2, SECOND_US]


@pytest.mark.parametrize(
    "line",
    [
        rmc(0, is_valid=False),
        b"$GPRMC,126000.00,A,4807.038,N,01131.000,E,022.4,084.4,241126,,,A*00",
        b"$GPRMC,120000.00,A,4807.038,N,01131.000,E,022.4,084.4,310226,,,A*00",
        b"$GPGGA,120000,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*47",
        b"",
        b"\xff" * 100,
    ],
)
def test_a_line_that_tells_no_time_tells_none(line: bytes) -> None:
    assert rmc_utc_us(line) is None


def test_a_two_digit_year_of_the_last_century_is_of_the_last_century() -> None:
    assert rmc_utc_us(rmc(0, date="230394")) == 764_424_000 * SECOND_US
