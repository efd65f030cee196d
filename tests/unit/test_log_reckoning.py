"""What the times of a text log count from: joined logs from their own dates, sums within reach of a log."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.adapters.asc_lines import AscLines
from device.adapters.busmaster_lines import BusmasterLines
from device.adapters.log_errors import LogFault
from device.adapters.log_files import LogReader
from device.adapters.log_lines import SPAN_US_MAX, LineError
from tests.builders.logs import frames_of

if TYPE_CHECKING:
    from pathlib import Path

FRAME = " 0.100000 1  100  Rx  d 1 01\n 0.200000 1  100  Rx  d 1 01\n"
THREE_PM_US = 1_506_783_600_000_000  # 2017-09-30 15:00
HOUR_US = 3_600_000_000


def asc(hour: str, mode: str, *, has_trigger: bool) -> str:
    date = f"Sat Sep 30 {hour}:00:00.000 2017"
    trigger = (f"Begin Triggerblock {date}\n", "End TriggerBlock\n") if has_trigger else ("", "")
    return f"date {date}\nbase hex  timestamps {mode}\n{trigger[0]}{FRAME}{trigger[1]}"


@pytest.mark.parametrize("has_trigger", [True, False])
@pytest.mark.parametrize(("mode", "second_us"), [("absolute", 200_000), ("relative", 300_000)])
def test_the_second_of_two_joined_asc_logs_counts_from_its_own_date(
    tmp_path: Path, mode: str, second_us: int, *, has_trigger: bool
) -> None:
    path = tmp_path / "joined.asc"
    path.write_text(asc("15", mode, has_trigger=has_trigger) + asc("16", mode, has_trigger=has_trigger))
    times = [frame[1] - THREE_PM_US for frame in frames_of(LogReader(path).lots())]
    assert times == [100_000, second_us, HOUR_US + 100_000, HOUR_US + second_us]


def test_a_second_date_that_is_none_is_an_error_of_the_log(tmp_path: Path) -> None:
    path = tmp_path / "joined.asc"
    path.write_text(asc("15", "absolute", has_trigger=False) + asc("25", "absolute", has_trigger=False))
    reader = LogReader(path)
    list(reader.lots())
    assert reader.errors.by_cause[LogFault.IMPOSSIBLE].first.startswith("line 5 has a date that is none")


def test_relative_asc_times_beyond_any_log_cost_their_lines_only(tmp_path: Path) -> None:
    path = tmp_path / "huge.asc"
    huge = "999999999999.000000 1  100  Rx  d 1 01\n" * 20
    path.write_text(f"date Sat Sep 30 15:00:00.000 2017\nbase hex  timestamps relative\n{huge}{FRAME}")
    reader = LogReader(path)
    assert [frame[1] - THREE_PM_US for frame in frames_of(reader.lots())] == [100_000, 300_000]
    assert reader.errors.by_cause[LogFault.IMPOSSIBLE].count == 20


@pytest.mark.parametrize(
    ("form", "heading", "line"),
    [
        (AscLines(), b"base hex  timestamps relative", b"99999999999.000000 1  100  Rx  d 1 01"),
        (BusmasterLines(), b"***RELATIVE MODE***", b"999:00:00:0000 Rx 1 0x100 s 1 01"),
    ],
    ids=["asc", "busmaster"],
)
def test_relative_times_add_up_to_no_more_than_a_log_has(
    form: AscLines | BusmasterLines, heading: bytes, line: bytes
) -> None:
    form.read(heading)
    latest = 0
    for _ in range(SPAN_US_MAX // (999 * HOUR_US)):
        try:
            frame = form.read(line)
        except LineError:
            break
        assert frame is not None
        latest = frame.t_us
    assert 0 < latest <= SPAN_US_MAX
    with pytest.raises(LineError, match="a time no log reaches"):
        form.read(line)
