"""gpsd's account of a recording beside ours: instant by instant, and the name of every difference."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from device.acquisition.nmea import NmeaReader
from tests.builders.gnss import Account, utc_us

if TYPE_CHECKING:
    from protocol.fixes import Fix

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
