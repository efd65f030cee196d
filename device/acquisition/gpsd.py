r"""Reports of gpsd in JSON to fixes, one for each instant of the receiver.

Rules:
- One line is one JSON object with a `class`. TPV says place and time, SKY the satellites; the other classes
  that gpsd has are counted as unused. What is no such object, or a TPV with a value that cannot be, is
  garbled and never becomes a position.
- gpsd repeats a TPV while the receiver's sentences of one instant come in: of TPVs of one time the
  last one counts, and their epoch ends when another begins, or at `flush`. A TPV without time is an epoch of
  its own.
- **No fix has no coordinates**: mode 0 or 1, or a status of dead reckoning, surveyed or simulated. A claimed
  fix without coordinates is of mode 0, unknown: gpsd has not heard them yet.
- One receiver at a time: the first device that reports is followed until gpsd says that it is gone, or a new
  connection begins (VERSION). Reports of others are unused; two receivers would look like one that jumps.

It opens no connection (`adapters.gpsd_client`) and judges no plausibility.

Example:
    >>> reader = GpsdReader()
    >>> reader.feed(b'{"class":"TPV","mode":2,"lat":53.5,"lon":-2.25}\r\n', 5)
    []
    >>> [fix] = reader.flush()
    >>> fix.mode, fix.lat_e7, fix.lon_e7, fix.utc_us
    (2, 535000000, -22500000, None)

Source: gpsd_json(5) of gpsd 3.22 (protocol 3.14) and later.
"""

from __future__ import annotations

import datetime as dt
import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final, NoReturn

from device.acquisition.gnss import GarbledError, GnssCounts
from device.acquisition.nmea_epoch import to_course_cdeg, to_hdop_centi
from protocol.fixes import Fix
from protocol.limits import GPSD_LINE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping

# Classes of gpsd that say nothing about where the car is.
_UNUSED: Final = frozenset(
    {"AIS", "ATT", "DEVICE", "DEVICES", "ERROR", "GST", "IMU", "LFF", "OSC", "POLL", "PPS", "RAW"}
    | {"RTCM2", "RTCM3", "SUBFRAME", "TOFF", "VERSION", "WATCH"}
)
_UNKNOWN_MODE, _NO_FIX, _FIX_2D, _FIX_3D = 0, 1, 2, 3

# Dead reckoning, a surveyed (entered) place, a simulator: nothing that a receiver measured now.
_UNMEASURED: Final = (5, 7, 8)

_NUMBER_MAX = 1e6  # as for NMEA: above any altitude, speed or angle; refuses infinity too
_EPOCH_OF_UTC = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Sky:
    hdop_centi: int | None = None
    used: int | None = None
    in_view: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class _Report:
    """A TPV: which instant, and its fix without satellites."""

    time: str
    fix: Fix


class GpsdReader:
    """Turns gpsd's lines into fixes; `counts` says what happened to every line."""

    def __init__(self) -> None:
        self.counts = GnssCounts()
        self._pending = b""
        self._is_skipping = False
        self._device: str | None = None
        self._report: _Report | None = None
        self._sky = _Sky()

    def feed(self, data: bytes, t_us: int) -> list[Fix]:
        """Take bytes as they were read.

        Args:
            data: Any number of bytes, torn anywhere.
            t_us: When they were read, µs; non-decreasing from call to call.

        Returns:
            The fixes of the epochs that these bytes ended, in order; usually none or one.
        """
        fixes: list[Fix] = []
        *lines, self._pending = (self._pending + data).split(b"\n")
        for line in lines:
            if self._is_skipping:  # the tail of a line that was too long
                self._is_skipping = False
            else:
                fixes += self._take(line.strip(), t_us)
        if len(self._pending) > GPSD_LINE_BYTES_MAX:
            self.counts.garbled += not self._is_skipping
            self._is_skipping, self._pending = True, b""
        return fixes

    def flush(self) -> list[Fix]:
        """End the open epoch: a recording is over, or gpsd fell silent.

        Returns:
            Its fix, or nothing when no epoch is open.
        """
        report, self._report = self._report, None
        sky, self._sky = self._sky, _Sky()
        if report is None:
            return []
        return [replace(report.fix, hdop_centi=sky.hdop_centi, sats_used=sky.used, sats_in_view=sky.in_view)]

    def _take(self, line: bytes, t_us: int) -> list[Fix]:
        """Read one line and count it."""
        if not line:
            return []
        try:
            said = _parse(line)
            self._watch_device(said)
            match said.get("class"):
                case "TPV" | "SKY" if not self._is_followed(said):
                    self.counts.unused += 1
                    return []
                case "TPV":
                    fixes = self._place(_report(said, t_us))
                case "SKY":
                    fixes = self._add_sky(said)
                case kind:
                    self.counts.unused += kind in _UNUSED
                    self.counts.unknown += kind not in _UNUSED
                    return []
        except GarbledError:
            self.counts.garbled += 1
            return []
        self.counts.parsed += 1
        return fixes

    def _place(self, report: _Report) -> list[Fix]:
        open_one = self._report
        if open_one is None:
            self._report = report
            return []
        if report.time and report.time == open_one.time:
            self._report = replace(report, fix=replace(report.fix, t_us=open_one.fix.t_us))
            return []
        fixes = self.flush()
        self._report = report
        return fixes

    def _add_sky(self, said: Mapping[str, object]) -> list[Fix]:
        """Take satellites over into the open epoch; a SKY never ends one."""
        hdop, used, in_view = (_number(said, name) for name in ("hdop", "uSat", "nSat"))
        listed = said.get("satellites")
        if isinstance(listed, list):  # gpsd before 3.21 has no counts
            flags = [one.get("used") for one in listed if isinstance(one, dict)]
            in_view = len(flags) if in_view is None else in_view
            used = sum(flag is True for flag in flags) if used is None else used
        before = self._sky
        self._sky = _Sky(
            hdop_centi=before.hdop_centi if hdop is None else to_hdop_centi(hdop),
            used=before.used if used is None or used < 0 else int(used),
            in_view=before.in_view if in_view is None or in_view < 0 else int(in_view),
        )
        return []

    def _watch_device(self, said: Mapping[str, object]) -> None:
        """A new connection, or the end of the followed device, leaves room for another."""
        is_gone = said.get("class") == "DEVICE" and said.get("path") == self._device
        if said.get("class") == "VERSION" or (is_gone and not said.get("activated")):
            self._device = None

    def _is_followed(self, said: Mapping[str, object]) -> bool:
        device = said.get("device")
        if self._device is None and isinstance(device, str):
            self._device = device
        return device is None or device == self._device


def _parse(line: bytes) -> Mapping[str, object]:
    """Return a report: a JSON object with a class, whose device has a name if any.

    Raises:
        GarbledError: It is none, or has numbers that JSON has not.
    """
    if len(line) > GPSD_LINE_BYTES_MAX:
        raise GarbledError
    try:
        said = json.loads(line, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:  # bad UTF-8 and bad JSON are ValueErrors
        raise GarbledError from error
    if not isinstance(said, dict) or not isinstance(said.get("class"), str):
        raise GarbledError
    if not isinstance(said.get("device", ""), str):
        raise GarbledError
    return said


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _report(said: Mapping[str, object], t_us: int) -> _Report:
    """Read a TPV.

    Raises:
        GarbledError: A value cannot be.
    """
    mode = said.get("mode")
    if type(mode) is not int or not _UNKNOWN_MODE <= mode <= _FIX_3D:
        raise GarbledError
    time = said.get("time", "")
    if not isinstance(time, str):
        raise GarbledError
    utc_us = _utc_us(time)
    place = _coordinates(said)
    speed, course = _number(said, "speed", least=0), _number(said, "track", least=0, most=360)
    alt = _number(said, "altMSL")
    if alt is None:
        alt = _number(said, "alt")  # above mean sea level before gpsd 3.20
    fix = Fix(t_us=t_us, mode=mode)
    if mode >= _FIX_2D and said.get("status") in _UNMEASURED:
        fix = Fix(t_us=t_us, mode=_NO_FIX)
    elif mode >= _FIX_2D and place is None:
        fix = Fix(t_us=t_us, mode=_UNKNOWN_MODE)
    elif mode >= _FIX_2D and place is not None:
        fix = Fix(
            t_us=t_us,
            utc_us=utc_us,
            mode=mode,
            lat_e7=place[0],
            lon_e7=place[1],
            alt_mm=None if alt is None else round(alt * 1_000),
            speed_mm_s=None if speed is None else round(speed * 1_000),
            course_cdeg=None if course is None else to_course_cdeg(course),
        )
    return _Report(time=time, fix=fix)


def _coordinates(said: Mapping[str, object]) -> tuple[int, int] | None:
    """Return latitude and longitude in 1e-7 degree, None when gpsd has none.

    Raises:
        GarbledError: One of them is missing, or they are not on the globe.
    """
    lat, lon = _number(said, "lat", least=-90, most=90), _number(said, "lon", least=-180, most=180)
    if lat is None and lon is None:
        return None
    if lat is None or lon is None:
        raise GarbledError
    return round(lat * 1e7), round(lon * 1e7)


def _number(
    said: Mapping[str, object], name: str, *, least: float = -_NUMBER_MAX, most: float = _NUMBER_MAX
) -> float | None:
    """Return a number, None when it is not there.

    Raises:
        GarbledError: It is no number, or out of bounds.
    """
    value = said.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        raise GarbledError
    return value


def _utc_us(time: str) -> int | None:
    """Return UTC in µs, None without a time.

    Raises:
        GarbledError: It is no instant of UTC.
    """
    if not time:
        return None
    try:
        instant = dt.datetime.fromisoformat(time)
    except ValueError as error:
        raise GarbledError from error
    if instant.utcoffset() != dt.timedelta(0):
        raise GarbledError
    return (instant - _EPOCH_OF_UTC) // dt.timedelta(microseconds=1)
