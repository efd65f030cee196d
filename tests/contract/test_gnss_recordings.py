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
from typing import TYPE_CHECKING

import pytest

from device.acquisition.gpsd import GpsdReader
from device.acquisition.nmea import NmeaReader
from protocol.fixes import Fix
from tests.builders.gnss import Account
from tests.builders.gnss_accounts import FIELDS, Instant, Why, instants, reason

if TYPE_CHECKING:
    from pathlib import Path

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
