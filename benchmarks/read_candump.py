"""A5: candump text to arrays, against python-can's reader.

Compared: `LogReader(path).lots()` to its end, with `list(CanutilsLogReader(path))`. Both read the same file
from the page cache; ours gives columns, theirs message objects, each what its decoder takes. Identifiers,
payloads and times (to the microsecond) are compared before anything is timed.

Limit: reading the file and splitting it into lines.

Source of the goals: design goal A5; baseline python-can.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from can.io.canutils import CanutilsLogReader

from benchmarks.bench import Bench
from benchmarks.harness import require_same, round_robin
from benchmarks.recordings import TOYOTA_LOG, AbsentError
from benchmarks.result import LeftOut, Row, at_least, spread_of
from device.acquisition.lot import EXTENDED
from device.adapters.log_files import LogReader
from simulators import drive_cycles
from simulators.car import Car
from simulators.drive_log import write_drive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bench import Setting
    from benchmarks.result import Line

GOAL = at_least(3.5, "python-can's rate")
DRIVE_S = 60
UTC_START_US = 1_795_500_000_000_000


def run(setting: Setting) -> Iterator[Line]:
    """Measure a simulated drive and a recorded one."""
    seconds = setting.size(DRIVE_S, 12)
    simulated = setting.folder / "drive.log"
    legs = drive_cycles.city(1, DRIVE_S)
    write_drive(Car(seed=1, legs=legs, utc_start_us=UTC_START_US), seconds=seconds, out=simulated)
    yield _row("simulated drive", simulated, setting)
    try:
        yield _row("real drive", _start_of(setting.recordings.path(TOYOTA_LOG), setting), setting)
    except AbsentError as absent:
        yield LeftOut(id="A5", case="real drive", why=str(absent))


def _start_of(log: Path, setting: Setting) -> Path:
    """Return the log, or for tests its first lines."""
    if not setting.is_tiny:
        return log
    short = setting.folder / "start.log"
    short.write_bytes(b"".join(log.read_bytes().splitlines(keepends=True)[:200]))
    return short


def _check(log: Path) -> int:
    """Compare every frame of both readers and return how many there are."""
    ours = [
        (t_us, can_id, data[:length].tobytes())
        for lot in LogReader(log).lots()
        for t_us, can_id, length, data in zip(
            lot.t_us.tolist(), lot.can_id.tolist(), lot.length.tolist(), lot.data, strict=True
        )
    ]
    theirs = [
        (
            round(message.timestamp * 1e6),
            message.arbitration_id | (EXTENDED if message.is_extended_id else 0),
            bytes(message.data),
        )
        for message in CanutilsLogReader(log)
    ]
    require_same(log.name, len(ours), len(theirs))
    for mine, other in zip(ours, theirs, strict=True):
        require_same(log.name, mine, other)
    return len(ours)


def _row(name: str, log: Path, setting: Setting) -> Row:
    frames = _check(log)
    timings = round_robin(
        {
            "ours": lambda: list(LogReader(log).lots()),
            "theirs": lambda: list(CanutilsLogReader(log)),
            "limit": lambda: log.read_bytes().split(b"\n"),
        },
        rounds=setting.rounds,
    )
    ours, theirs, limit = (timings[name].a(frames) for name in ("ours", "theirs", "limit"))
    return Row(
        id="A5",
        case=f"{name}, {frames} lines",
        goal=GOAL,
        measured=f"{ours.median_s * 1e6:.3f} µs/line",
        baseline=f"{theirs.median_s * 1e6:.2f} µs/line",
        ratio=theirs.median_s / ours.median_s,
        spread=spread_of(ours, theirs),
        limit=f"split lines {limit.median_s * 1e6:.3f} µs/line",
    )


BENCH = Bench(ids=("A5",), title="candump text to arrays, against python-can", run=run)
