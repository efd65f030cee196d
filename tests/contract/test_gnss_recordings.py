"""Receivers' recordings against gpsd's own account of them, instant by instant.

gpsd says a TPV after each sentence that adds something, so its last one about an instant is what it made of
it. Ours and that are compared value by value. They were written by different people from the same standard:
where they differ, the difference has a name here, the rule behind the name is checked in the recording, and
how often it occurs is written down. A difference without a name fails.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import pytest

from device.acquisition.gpsd import GpsdReader
from device.acquisition.nmea import NmeaReader
from protocol.fixes import Fix
from tests.builders.gnss import Account, utc_us

if TYPE_CHECKING:
    from pathlib import Path

ROLLOVER_US = 1_024 * 7 * 86_400_000_000

# gpsd writes 1e-9 degree, 1e-4 m, 1e-3 m/s and 1e-4 degree, a fix has 1e-7 degree, mm, mm/s and 1e-2 degree:
# one unit of the fix covers the rounding of both.
LAT_LON_E7, ALT_MM, SPEED_MM_S, COURSE_CDEG = 1, 1, 1, 1

FIELDS = (
    ("lat_e7", "lat", 1e7, LAT_LON_E7),
    ("lon_e7", "lon", 1e7, LAT_LON_E7),
    ("alt_mm", "altMSL", 1e3, ALT_MM),
    ("speed_mm_s", "speed", 1e3, SPEED_MM_S),
    ("course_cdeg", "track", 1e2, COURSE_CDEG),
)


class Why(StrEnum):
    """Why gpsd and we may differ about an instant."""

    SILENT = "gpsd says nothing: no fix, or the last sentence it waits for is missing or not yet recorded"
    NO_FIX_NO_TIME = "without a fix we give no time; gpsd goes on with the receiver's own"
    BEFORE_RMC = "gpsd reports before the RMC of its first fix and never again about this instant"
    RECEIVER_SAYS_2D = "GSA says 2D; gpsd makes 3D of an altitude"
    REMEMBERED_MODE = "neither GSA nor GGA came: we see no altitude, gpsd remembers the mode before"
    MODE_BY_ALTITUDE = "no GSA came: an altitude makes ours 3D, gpsd waits"
    MODE_WITHOUT_PLACE = "RMC is void and a GSA says 3D: gpsd has a mode and no place, we have no fix"
    LOST_WITHOUT_TIME = "a lost burst without any time follows: gpsd counts its GSA to the instant before"
    REMEMBERED_DATE = "no date came with this instant: gpsd takes the one before, we give none"
    COMPUTED_SPEED = "no sentence has a speed: gpsd computes one from two places"
    VTG_ALONE = "VTG came without RMC: gpsd has no time to put its speed to"
    FEET = "Garmin's own PGRMZ has the altitude in whole feet; gpsd takes it, we read no proprietary sentence"
    COARSER_RMC = "RMC has fewer decimals than GGA; gpsd takes the later one, we the finer"
    LATER_GLL = "the receiver's GLL is ahead: gpsd begins an instant with it, we let it repeat the place"
    NEW_WEEK = (
        "gpsd moves a date by 1024 weeks as its build date asks; ours is the receiver's (see gnss_checks)"
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Instant:
    """One of our fixes, the lines it was made of, and gpsd's last word about it."""

    fix: Fix
    lines: list[bytes]
    is_last: bool
    tpv: dict[str, Any] | None

    def differences(self) -> list[str]:
        """Return the names of the values that differ."""
        if self.tpv is None:
            return ["report"]
        found = [] if self.fix.mode == self.tpv["mode"] else ["mode"]
        if self.fix.utc_us != utc_us(self.tpv.get("time")):
            found.append("utc_us")
        for ours, theirs, scale, tolerance in FIELDS:
            value: int | None = getattr(self.fix, ours)
            said: Any = self.tpv.get(theirs)
            if (value is None) != (said is None) or (
                value is not None and abs(value - said * scale) > tolerance + 1e-6
            ):
                found.append(ours)
        return found


def instants(account: Account) -> list[Instant]:
    """Read a recording and put each fix beside gpsd's last word about it."""
    reader = NmeaReader()
    fixes: list[Fix] = []
    for number, line in enumerate(account.lines):
        fixes += reader.feed(line, number)
    fixes += reader.flush()
    ends = [*(fix.t_us for fix in fixes), len(account.lines)][1:]
    return [
        Instant(
            fix=fix,
            lines=account.lines[fix.t_us : end],
            is_last=end == len(account.lines),
            tpv=last_word(account, fix, end),
        )
        for fix, end in zip(fixes, ends, strict=True)
    ]


def last_word(account: Account, fix: Fix, end: int) -> dict[str, Any] | None:
    """Return gpsd's last report of the fix's time, of the same lines or later; without time, the last."""
    within = [report for heard, report in account.reports if fix.t_us < heard <= end]
    later = [report for heard, report in account.reports if heard > end]
    same = [report for report in within if is_same_time(report, fix)]
    same = same or [report for report in later if is_same_time(report, fix)]
    found = same or within
    return found[-1] if found else None


def is_same_time(report: dict[str, Any], fix: Fix) -> bool:
    said = utc_us(report.get("time"))
    return said is not None and fix.utc_us is not None and (said - fix.utc_us) % ROLLOVER_US == 0


def kinds(instant: Instant) -> list[str]:
    """Return the kinds of the sentences of an instant, in order, talkers apart."""
    return [line[3:6].decode("latin-1") for line in instant.lines if line.startswith(b"$")]


def modes(instant: Instant) -> list[bytes]:
    """Return the modes that its GSA say."""
    return [line.split(b",")[2] for line in instant.lines if line[3:6] == b"GSA"]


def feet_mm(instant: Instant) -> set[int]:
    """Return the altitudes of its PGRMZ, mm."""
    found = [line.split(b",")[1] for line in instant.lines if line.startswith(b"$PGRMZ")]
    return {round(int(feet) * 304.8) for feet in found}


def rmc_place(instant: Instant) -> tuple[int, int] | None:
    """Return the place of its RMC, 1e-7 degree."""
    reader = NmeaReader()
    fixes = reader.feed(b"".join(line for line in instant.lines if line[3:6] == b"RMC"), 0) + reader.flush()
    return (fixes[0].lat_e7 or 0, fixes[0].lon_e7 or 0) if fixes else None


def is_later_gll(instant: Instant) -> bool:
    """Whether gpsd's time is that of a GLL after the other sentences' time."""
    if instant.tpv is None or instant.fix.utc_us is None:
        return False
    clock = instant.tpv.get("time", "")[11:19].replace(":", "").encode()
    said = [line.split(b",")[5][:6] for line in instant.lines if line[3:6] == b"GLL"]
    return said == [clock] and (utc_us(instant.tpv.get("time")) or 0) > instant.fix.utc_us


def reason(instant: Instant, field: str, before: Instant | None) -> Why | None:  # noqa: C901, PLR0911, PLR0912 - a table
    """Return the name of a difference, None when it has none."""
    fix, tpv, heard = instant.fix, instant.tpv, kinds(instant)
    if tpv is None:
        is_short = instant.is_last or (before is not None and set(kinds(before)) - set(heard))
        return Why.SILENT if fix.mode == 1 or is_short else None
    match field:
        case "utc_us":
            if fix.mode == 1 and tpv["mode"] <= 1:
                return Why.NO_FIX_NO_TIME
            if is_same_time(tpv, fix):
                return Why.NEW_WEEK
            if is_later_gll(instant):
                return Why.LATER_GLL
            if fix.utc_us is None and not {"RMC", "ZDA"} & set(heard):
                return Why.REMEMBERED_DATE
        case "mode":
            if fix.mode == 1 and tpv["mode"] == 3 and "lat" not in tpv and b"3" in modes(instant):
                return Why.MODE_WITHOUT_PLACE
            if fix.mode == 2 and tpv["mode"] == 3 and b"2" in modes(instant) and b"3" not in modes(instant):
                return Why.RECEIVER_SAYS_2D
            if fix.mode == 2 and tpv["mode"] == 3 and not {"GSA", "GGA", "GNS"} & set(heard):
                return Why.FEET if feet_mm(instant) else Why.REMEMBERED_MODE
            if fix.mode == 3 and tpv["mode"] == 2 and "GSA" not in heard:
                return Why.MODE_BY_ALTITUDE
        case "alt_mm" if tpv.get("altMSL") is not None and round(tpv["altMSL"] * 1e3) in feet_mm(instant):
            return Why.FEET
        case "lat_e7" | "lon_e7" if "lat" in tpv:
            if (round(tpv["lat"] * 1e7), round(tpv["lon"] * 1e7)) == rmc_place(instant):
                return Why.COARSER_RMC
        case "course_cdeg" if "track" not in tpv and is_later_gll(instant):
            return Why.LATER_GLL
        case "speed_mm_s" if fix.speed_mm_s is None and not {"RMC", "VTG"} & set(heard):
            return Why.COMPUTED_SPEED
    if tpv["mode"] == 1 and len(set(modes(instant))) > 1 and modes(instant)[-1] == b"1":
        return Why.LOST_WITHOUT_TIME
    is_ours = getattr(fix, field if field != "mode" else "utc_us") is not None
    if field in {"utc_us", "speed_mm_s", "course_cdeg"} and "time" not in tpv and is_ours:
        return Why.BEFORE_RMC if "RMC" in heard else Why.VTG_ALONE if "VTG" in heard else None
    return None


# Instants of each recording, and of how many of them we think otherwise than gpsd.
RECORDINGS: dict[str, tuple[int, dict[Why, int]]] = {
    "GPSmap-76S.log": (12, {}),
    "beidou-bd.log": (10, {Why.BEFORE_RMC: 1}),
    "blumax-gps009.log": (8, {Why.BEFORE_RMC: 1}),
    "bt-q818.log": (10, {}),
    "bu353-glonass.log": (19, {Why.NO_FIX_NO_TIME: 10}),
    "bu353s4.log": (25, {}),
    "ch-4701.log": (28, {Why.SILENT: 1}),
    "com-1289.log": (14, {}),
    "eXplorist110.log": (18, {}),
    "et-332.log": (19, {}),
    "firefly-II.log": (23, {}),
    "garmin-10x.log": (14, {Why.RECEIVER_SAYS_2D: 2, Why.SILENT: 1, Why.NO_FIX_NO_TIME: 4}),
    "garmin15x.log": (7, {}),
    "garmin17n.log": (2, {}),
    "garmin25lp.log": (20, {Why.RECEIVER_SAYS_2D: 9}),
    "garmin38.log": (6, {Why.FEET: 6}),
    "garmin48.log": (7, {Why.FEET: 6, Why.LATER_GLL: 6}),
    "geos-1m.log": (13, {Why.BEFORE_RMC: 1}),
    "gp-320fw-2019-03-28.log": (21, {Why.SILENT: 1}),
    "gp-320fw-2019-04-06-overflow.log": (21, {Why.SILENT: 1}),
    "gr601-w.log": (10, {}),
    "hab-gpspi.log": (3, {}),
    "haicom-305N.log": (74, {Why.BEFORE_RMC: 1, Why.RECEIVER_SAYS_2D: 1}),
    "holux-gm-210.log": (11, {}),
    "hp58534a.log": (0, {}),
    "iTrek.log": (37, {Why.MODE_WITHOUT_PLACE: 1, Why.REMEMBERED_MODE: 9}),
    "magellan315.log": (3, {}),
    "meinberg-gps164.log": (90, {Why.NO_FIX_NO_TIME: 20}),
    "motorola-t805.log": (25, {Why.BEFORE_RMC: 1, Why.NO_FIX_NO_TIME: 2}),
    "mr-350p.log": (14, {Why.COMPUTED_SPEED: 12}),
    "mtk-3301.log": (11, {Why.MODE_BY_ALTITUDE: 1, Why.BEFORE_RMC: 1, Why.RECEIVER_SAYS_2D: 1}),
    "mtk-3329.log": (5, {Why.RECEIVER_SAYS_2D: 4}),
    "myguide-3100.log": (13, {Why.BEFORE_RMC: 1}),
    "neo-m8n.log": (24, {Why.NEW_WEEK: 22, Why.SILENT: 1}),
    "nl402u.log": (9, {}),
    "nl551e.log": (17, {}),
    "nmea-rtk.log": (122, {}),
    "nokia-ld-4w.log": (19, {}),
    "oncore.log": (7, {Why.RECEIVER_SAYS_2D: 6}),
    "pharos-360.log": (22, {Why.SILENT: 1}),
    "polarx2.log": (5, {}),
    "pypilot.log": (0, {}),
    "quectel-eg25-g.log": (60, {}),
    "quectel.log": (42, {Why.RECEIVER_SAYS_2D: 33, Why.LOST_WITHOUT_TIME: 1}),
    "quectelLC79D-1.log": (29, {}),
    "rgm3800.log": (4, {Why.BEFORE_RMC: 1, Why.RECEIVER_SAYS_2D: 1}),
    "sirfstarv-nmea.log": (59, {}),
    "skytraq-PX1172RH_DS.log": (9, {}),
    "skytraq-dgps.log": (96, {}),
    "skytraq-fix.log": (11, {}),
    "skytraq.log": (17, {Why.NO_FIX_NO_TIME: 17}),
    "sounder.log": (0, {}),
    "st-teseo-liv3f.log": (30, {Why.SILENT: 1}),
    "tcp-test.log": (1, {Why.COARSER_RMC: 1}),
    "telit-pls83-w.log": (10, {Why.RECEIVER_SAYS_2D: 10}),
    "tnt-revolution.log": (0, {}),
    "tr737A+.log": (11, {Why.BEFORE_RMC: 1, Why.REMEMBERED_DATE: 1, Why.COMPUTED_SPEED: 1}),
    "triton400.log": (4, {}),
    "ublox-8.log": (72, {}),
    "ublox-f9p-hpnmea.log": (9, {}),
    "ublox-lea-4h.log": (14, {Why.NO_FIX_NO_TIME: 5, Why.RECEIVER_SAYS_2D: 4, Why.SILENT: 1}),
    "ublox-lea-4s.log": (3, {Why.SILENT: 1}),
    "ublox-lea-5h.log": (
        20,
        {Why.SILENT: 1, Why.REMEMBERED_DATE: 1, Why.COMPUTED_SPEED: 1, Why.REMEMBERED_MODE: 1},
    ),
    "ublox-lea-5q.log": (10, {}),
    "ublox-zed-f9p-nmea.log": (29, {}),
    "udp-test.log": (1, {Why.COARSER_RMC: 1}),
    "venus634lp.log": (7, {Why.VTG_ALONE: 1, Why.SILENT: 1}),
}

BINARY = ("bu303-climbing.log", "bu303-moving.log", "ublox-neo-m8u.log", "ublox-zed-f9r.log")


@pytest.mark.data
def test_every_recording_is_in_the_table(test_data: Path) -> None:
    assert {path.name for path in (test_data / "gnss" / "gpsd").glob("*.log")} == set(RECORDINGS)
    assert sum(count for count, _ in RECORDINGS.values()) > 1_300


@pytest.mark.data
@pytest.mark.parametrize("name", RECORDINGS)
def test_every_instant_agrees_with_gpsd_or_differs_by_a_named_rule(test_data: Path, name: str) -> None:
    found = instants(Account.read(test_data / "gnss" / "gpsd" / name))
    whys: Counter[Why] = Counter()
    for instant, before in zip(found, [None, *found], strict=False):
        named = {field: reason(instant, field, before) for field in instant.differences()}
        assert None not in named.values(), (named, instant)
        whys.update({why for why in named.values() if why is not None})
    assert (len(found), dict(whys)) == RECORDINGS[name]


@pytest.mark.data
def test_the_sentences_between_binary_frames_are_read_and_the_frames_are_counted(test_data: Path) -> None:
    path = test_data / "gnss" / "gpsd_binary" / "ublox-zed-f9r.log"
    whole = re.findall(rb"\$G[A-Z]{4},[^$\n]*\*[0-9A-F]{2}\r\n", path.read_bytes())
    reader = NmeaReader()
    reader.feed(path.read_bytes(), 0)
    assert reader.counts.parsed + reader.counts.unused == len(whole) == 871
    assert reader.counts.garbled == 1
    assert reader.counts.foreign_bytes > 100_000
    first, *others = instants(Account.read(path))
    assert first.tpv is None, "gpsd had not recognised the receiver yet"
    assert len(others) == 29
    assert all(instant.differences() == [] for instant in others)


@pytest.mark.data
@pytest.mark.parametrize("name", BINARY[:3])
def test_a_receiver_that_speaks_binary_only_has_no_fixes_and_its_bytes_are_counted(
    test_data: Path, name: str
) -> None:
    path = test_data / "gnss" / "gpsd_binary" / name
    reader = NmeaReader()
    assert reader.feed(path.read_bytes(), 0) + reader.flush() == []
    assert reader.counts.parsed == 0
    assert reader.counts.foreign_bytes > path.stat().st_size * 0.8


@pytest.mark.data
def test_a_chart_display_s_positions_are_not_the_receiver_s(test_data: Path) -> None:
    account = Account.read(test_data / "gnss" / "gpsd" / "sounder.log")
    assert any(line.startswith(b"$ECGLL") for line in account.lines)
    assert instants(account) == []


@pytest.mark.data
@pytest.mark.parametrize("name", [name for name, (count, whys) in RECORDINGS.items() if count and not whys])
def test_gpsd_s_own_json_gives_the_fixes_that_its_sentences_give(test_data: Path, name: str) -> None:
    path = test_data / "gnss" / "gpsd" / name
    reader = GpsdReader()
    by_time: dict[int, Fix] = {}
    lines = path.with_name(name + ".chk").read_bytes().splitlines(keepends=True)
    said = b"".join(line for line in lines if line.startswith(b"{"))
    for fix in reader.feed(said, 0) + reader.flush():
        if fix.utc_us is not None:
            by_time[fix.utc_us] = fix
    assert (reader.counts.garbled, reader.counts.unknown) == (0, 0)
    sentences = NmeaReader()
    timed = [
        fix for fix in sentences.feed(path.read_bytes(), 0) + sentences.flush() if fix.utc_us is not None
    ]
    assert len(timed) == len({fix.utc_us for fix in timed})
    for fix in timed:
        assert fix.utc_us is not None
        other = by_time[fix.utc_us]
        assert other.mode == fix.mode
        for field, _, _, tolerance in FIELDS:
            value, theirs = getattr(fix, field), getattr(other, field)
            assert (value is None) == (theirs is None)
            assert value is None or abs(value - theirs) <= tolerance


@pytest.mark.data
@pytest.mark.parametrize("name", [*RECORDINGS, *BINARY])
def test_every_report_of_gpsd_becomes_a_fix_of_the_same_values(test_data: Path, name: str) -> None:
    folder = "gpsd_binary" if name in BINARY else "gpsd"
    chk = test_data / "gnss" / folder / (name + ".chk")
    for line in chk.read_bytes().splitlines():
        if line.startswith(b'{"class":"TPV"'):
            report = json.loads(line)
            reader = GpsdReader()
            [fix] = reader.feed(line + b"\n", 7) + reader.flush()
            if report.get("status") == 8:  # the receiver is in its simulator mode, or guesses
                assert fix == Fix(t_us=7, mode=1)
            elif "lat" not in report or report["mode"] < 2:
                assert fix == Fix(t_us=7, mode=report["mode"] if report["mode"] < 2 else 0)
            else:
                assert Instant(fix=fix, lines=[], is_last=True, tpv=report).differences() == []
