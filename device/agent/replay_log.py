"""A recorded drive as the engine's events, in order of time, from the log's first frame on.

Rules:
- Monotonic time is the log's own, counted from one second before the first frame (frames of another bus may
  stand a little earlier).
- UTC of the first frame is what `--start` says; else the log's own time stamps, when the log has a date or
  they look like an epoch (above 10^9 s, the year 2001); else the first valid RMC of the NMEA log; else the
  present.
- The NMEA log carries UTC: where UTC of the CAN log is known and the first valid RMC lies within the day
  after it, each sentence stands at its own UTC. Otherwise the first valid RMC is matched to the start of the
  replay.
- A frame whose time cannot be is left out and counted as an error of the log (`log_times`); so is one that
  stands before the first of the survey, for a time before the replay's start cannot be told.
- A sentence that jumps ahead by more than a day is believed when a second one agrees: a receiver's one wrong
  date must not carry the rest of the drive away.
- Lots are cut into slices of a second, so that CAN and NMEA interleave and batches age as they did on the
  road.

It feeds nothing and waits for nothing (`replay` does).

Example:
    drive = DriveLog(LogReader(Path("drive.log")), Path("drive.nmea"), timeline)
    for item in drive: ...
"""

from __future__ import annotations

import datetime as dt
import functools
import itertools
import operator
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.lot import FrameLot
from device.adapters.log_files import EPOCH_LIKE_US, LogClock, LogError, LogErrors, LogFault, LogReader
from device.adapters.log_times import credible, without
from device.errors import EdgeError
from device.events import FramesReceived, GnssReceived
from protocol.limits import CLOCK_EARLIEST_US, NMEA_SENTENCE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from numpy.typing import NDArray

SECOND_US = 1_000_000
DAY_US = 86_400 * SECOND_US
LEAD_US = SECOND_US  # frames of another bus may stand a little before the log's first
SURVEY_FRAMES = (
    100_000  # about two minutes of a full 500 kbit/s bus: every cyclic message has come many times
)
SLICE_US = SECOND_US
UTC_LATEST_US = 4_102_444_800 * SECOND_US  # 2100-01-01: what claims to be later is a mistake
BUSES_SHOWN = 8

# RMC of any talker: time of day, A for a valid fix, and the date behind six more fields. Source: NMEA 0183
# v4.11.
_RMC = re.compile(rb"\$..RMC,(\d{2})(\d{2})(\d{2})(\.\d+)?,A,(?:[^,]*,){6}(\d{2})(\d{2})(\d{2})[,*]")
_CENTURY_PIVOT = 80  # GPS began in 1980: a two-digit year of 80 or more is of the last century


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """What the beginning of a log shows.

    Attributes:
        first_us: the log's own time of its first frame.
        frames: frames looked at.
        buses: frames by bus.
        known: frames of the chosen bus whose identifier the DBC knows.
        bus: the bus that the DBC is for.
        clock: what the log's times are.
    """

    first_us: int
    frames: int
    buses: dict[str, int]
    known: int
    bus: str
    clock: LogClock = LogClock.RELATIVE


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    """How the log's time becomes ours.

    Attributes:
        first_us: the log's own time of its first frame.
        utc_us: UTC of that frame.
        utc_source: where that UTC comes from, in words.
        nmea_utc_us: UTC that stands at the first frame in the NMEA log's own reckoning; None without an NMEA
            log.
        nmea_source: how the NMEA log was placed, in words.
    """

    first_us: int
    utc_us: int
    utc_source: str
    nmea_utc_us: int | None = None
    nmea_source: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One event and the moment it belongs to, on the replay's monotonic time."""

    t_us: int
    event: FramesReceived | GnssReceived


def survey(
    path: Path, *, bus: str | None, is_known: Callable[[NDArray[np.uint32]], NDArray[np.bool_]]
) -> Survey:
    """Look at the first frames of a log.

    Args:
        path: the log.
        bus: the bus that the DBC is for; None when the log has only one.
        is_known: says of identifiers (n,), bit 31 for extended, whether the DBC knows their message.

    Raises:
        LogError: the log cannot be read, can be read once only, is empty, has several buses and none was
            named, or lacks the named one.
    """
    first: int | None = None
    frames = 0
    buses: Counter[str] = Counter()
    known: Counter[str] = Counter()
    reader = LogReader(path)
    if reader.is_pipe:
        raise LogError(path, "a pipe, and a replay reads its log twice", "Write it to a file first.")
    for lot in credible(reader.lots(), reader.errors):
        if not lot.size:
            continue
        first = int(lot.t_us.min()) if first is None else min(first, int(lot.t_us.min()))
        frames += lot.size
        buses[lot.bus] += lot.size
        known[lot.bus] += int(is_known(lot.can_id).sum())
        if frames >= SURVEY_FRAMES:
            break
    if first is None:
        raise LogError(path, "no frames in it", "Give a log of a drive.")
    chosen = bus if bus is not None else next(iter(buses))
    named = ", ".join(f"{name} ({count} frames)" for name, count in buses.most_common(BUSES_SHOWN))
    if len(buses) > BUSES_SHOWN:
        named += f" and {len(buses) - BUSES_SHOWN} more"
    if bus is None and len(buses) > 1:
        raise LogError(path, f"several buses: {named}", "Name the one that the DBC is for with --bus.")
    if bus is not None and bus not in buses:
        raise LogError(path, f"no frame of bus {bus}; there are {named}", "Name one of these with --bus.")
    return Survey(
        first_us=first,
        frames=frames,
        buses=dict(buses),
        known=known[chosen],
        bus=chosen,
        clock=reader.clock or LogClock.RELATIVE,
    )


def place(found: Survey, *, start_us: int | None, nmea: Path | None, now_us: int) -> Timeline:
    """Lay CAN and NMEA on one time line, by the rules above.

    Args:
        found: of the CAN log.
        start_us: UTC of the first frame as the person says, µs; None when they do not.
        nmea: NMEA log, None without one.
        now_us: the present, µs UTC.

    Raises:
        EdgeError: the NMEA log cannot be read or has no valid RMC, or the time found cannot be true.
    """
    rmc = None if nmea is None else _first_rmc(nmea)
    if start_us is not None:
        utc, source = start_us, "given by --start"
    elif found.clock in {LogClock.UTC, LogClock.HEADER_DATE}:
        utc, source = found.first_us, found.clock.value
    elif found.first_us >= EPOCH_LIKE_US:
        utc, source = found.first_us, LogClock.EPOCH.value
    elif rmc is not None:
        utc, source = rmc, "first valid RMC of the NMEA log"
    else:
        utc, source = now_us, "the present: the log's time stamps are no epoch, and --start was not given"
    _require_possible(utc, source)
    if rmc is None:
        return Timeline(first_us=found.first_us, utc_us=utc, utc_source=source)
    is_near = 0 <= rmc - utc <= DAY_US
    return Timeline(
        first_us=found.first_us,
        utc_us=utc,
        utc_source=source,
        nmea_utc_us=utc if is_near else rmc,
        nmea_source="each sentence at its own UTC"
        if is_near
        else "first valid RMC matched to the first frame",
    )


class DriveLog:
    """A CAN log and perhaps an NMEA log, as one sequence of events; iterate once.

    Args:
        can: the CAN log.
        nmea: the NMEA log, None without one.
        timeline: how their times become ours.
    """

    def __init__(self, can: LogReader, nmea: Path | None, timeline: Timeline) -> None:
        self._can = can
        self._nmea = nmea
        self._timeline = timeline
        self.frames = 0
        self.nmea_lines = 0

    @property
    def fraction_read(self) -> float:
        """How much of the CAN log has been read, 0…1."""
        return self._can.bytes_read / max(1, self._can.bytes_total)

    @property
    def log(self) -> LogReader:
        """The CAN log."""
        return self._can

    @property
    def log_errors(self) -> LogErrors:
        """Places of the CAN log that could not be read."""
        return self._can.errors

    def __iter__(self) -> Iterator[Item]:
        """Yield CAN and NMEA, merged by time.

        Raises:
            LogError: the CAN log cannot be read at all.
        """
        lines = self._sentences()
        waiting = next(lines, None)
        for item in self._slices():
            while waiting is not None and waiting.t_us <= item.t_us:
                yield waiting
                waiting = next(lines, None)
            yield item
        while waiting is not None:
            yield waiting
            waiting = next(lines, None)

    def _slices(self) -> Iterator[Item]:
        start_us = self._timeline.first_us - LEAD_US
        for read in credible(self._can.lots(), self.log_errors):
            is_early = read.t_us < start_us
            why = "it stands before the log's first frame"
            lot = without(read, is_early, self.log_errors, why, LogFault.BEFORE_START)
            if not lot.size:
                continue
            t_us = lot.t_us - start_us
            slots = t_us // SLICE_US
            cuts = [0, *(np.flatnonzero(np.diff(slots)) + 1).tolist(), lot.size]
            for first, last in itertools.pairwise(cuts):
                self.frames += last - first
                part = FrameLot(
                    bus=lot.bus,
                    t_us=t_us[first:last],
                    can_id=lot.can_id[first:last],
                    flags=lot.flags[first:last],
                    length=lot.length[first:last],
                    data=lot.data[first:last],
                )
                yield Item(t_us=int(part.t_us.max()), event=FramesReceived(lot=part))

    def _sentences(self) -> Iterator[Item]:
        if self._nmea is None or self._timeline.nmea_utc_us is None:
            return
        t_us, doubted_us = LEAD_US, -DAY_US
        for line in _lines(self._nmea):
            self.nmea_lines += 1
            utc = rmc_utc_us(line)
            if utc is not None:
                said_us = utc - self._timeline.nmea_utc_us + LEAD_US
                if said_us - t_us <= DAY_US or 0 <= said_us - doubted_us <= DAY_US:
                    t_us = max(t_us, said_us)
                doubted_us = said_us
            yield Item(t_us=t_us, event=GnssReceived(t_us=t_us, data=line))


def rmc_utc_us(line: bytes) -> int | None:
    """Return UTC of a valid RMC sentence, µs; None for any other line.

    It says where on the time line a line stands, so a garbled one must not speak; the engine counts it.

    Example:
        >>> rmc_utc_us(b"$GPRMC,102929.50,A,5327.04024,N,00214.41560,W,0.273,,070321,,,A*6B")
        1615112969500000
    """
    found = _RMC.match(line)
    if found is None or not _is_whole(line):
        return None
    hour, minute, second, fraction, day, month, year = found.groups()
    century = 1900 if int(year) >= _CENTURY_PIVOT else 2000
    try:
        moment = dt.datetime(
            century + int(year), int(month), int(day), int(hour), int(minute), int(second), tzinfo=dt.UTC
        )
    except ValueError:  # 31 February, or a leap second: the next sentence tells
        return None
    return int(moment.timestamp()) * SECOND_US + round(float(fraction or b"0") * SECOND_US)


def _is_whole(line: bytes) -> bool:
    """Whether a sentence's checksum is there and right."""
    content, _, given = line[1:].rstrip().rpartition(b"*")
    return given.upper() == b"%02X" % functools.reduce(operator.xor, content, 0)


def _require_possible(utc_us: int, source: str) -> None:
    """Refuse a time that no reader would believe, before a whole drive is recorded without time.

    Raises:
        EdgeError: it is before 2010 or after 2100.
    """
    if CLOCK_EARLIEST_US <= utc_us < UTC_LATEST_US:
        return
    raise EdgeError(
        f"UTC of the first frame would be {utc_us / SECOND_US:.0f} s since 1970 ({source})",
        is_transient=False,
        meaning="no clock before 2010 or after 2100 is believed, so the drive would be stored without time",
        next_step="say when the drive began with --start, like 2026-11-24T08:00:00Z",
    )


def _first_rmc(path: Path) -> int:
    for line in _lines(path):
        utc = rmc_utc_us(line)
        if utc is not None:
            return utc
    raise EdgeError(
        f"{path}: no valid RMC sentence",
        is_transient=False,
        meaning="the positions cannot be placed in time",
        next_step="give an NMEA log with RMC sentences of a receiver that had a fix",
    )


def _lines(path: Path) -> Iterator[bytes]:
    """Yield bounded lines with their ends."""
    try:
        with path.open("rb") as file:
            while line := file.readline(NMEA_SENTENCE_BYTES_MAX):
                yield line
    except OSError as failure:
        raise EdgeError(
            f"{path}: {failure.strerror or failure}",
            is_transient=False,
            next_step="check the path and its rights",
        ) from failure
