"""What the engine makes of a receiver's bytes: fixes kept, dates right, jumps told, nothing altered."""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

import pytest

from device.acquisition.gnss import GnssForm
from device.events import GnssReceived
from protocol.batch import DropCause, Section, open_batch
from protocol.facts import decode_facts
from protocol.fixes import Fix, Precision, decode_fixes
from tests.builders.engine import DEVICE_KEYS, SECOND, Box, config
from tests.builders.gnss import nmea, tpv, utc_us

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from device.effects import SealedBatch
    from protocol.facts import Event

ROLLOVER = dt.timedelta(weeks=1_024)


def rmc(when: dt.datetime, lat: str = "5327.04024") -> bytes:
    return nmea(f"GPRMC,{when:%H%M%S}.00,A,{lat},N,00214.41560,W,0.273,77.52,{when:%d%m%y},,,A")


def drive(box: Box, sentences: Iterable[bytes], form: GnssForm = GnssForm.NMEA) -> None:
    """Let one piece a second arrive, and the batch be sealed."""
    for data in sentences:
        box.now_us += SECOND
        box.handle(GnssReceived(t_us=box.now_us, data=data, form=form))
    box.pass_time(70)


def fixes_of(batches: list[SealedBatch]) -> list[Fix]:
    opened = [open_batch(batch.payload, DEVICE_KEYS.get, device=None) for batch in batches]
    sections = [batch.data(Section.FIXES) for batch in opened]
    return [fix for section in sections if section is not None for fix in decode_fixes(section)[1]]


def facts_of(batches: list[SealedBatch], name: str) -> list[Event]:
    opened = [open_batch(batch.payload, DEVICE_KEYS.get, device=None) for batch in batches]
    found = [decode_facts(batch.data(Section.FACTS) or b"").events for batch in opened]
    return [event for events in found for event in events if event.name == name]


def box_time(box: Box) -> dt.datetime:
    """Return the UTC of the box's own clock."""
    now = box.now().utc_us
    assert now is not None
    return dt.datetime.fromtimestamp(now // 1_000_000, tz=dt.UTC)


def test_nmea_and_gpsd_of_one_receiver_give_the_same_fixes(tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "other").mkdir()
    one, other = Box(tmp_path / "one"), Box(tmp_path / "other")
    start = dt.datetime(2026, 11, 24, 10, tzinfo=dt.UTC)
    drive(one, [rmc(start + dt.timedelta(seconds=second)) for second in range(5)])
    spoken = {"mode": 2, "altMSL": None, "speed": 0.273 * 1_852 / 3_600, "lat": 53.45067066, "lon": -2.24026}
    drive(other, [tpv(second, **spoken) for second in range(5)], GnssForm.GPSD)
    seen = fixes_of(one.take_stored())
    assert len(seen) == 4
    assert fixes_of(other.take_stored()) == seen


def test_a_garbled_report_of_gpsd_is_counted_as_garbled_sentences_are(tmp_path: Path) -> None:
    box = Box(tmp_path)
    drive(box, [tpv(0), tpv(1, lat=99), tpv(2)], GnssForm.GPSD)
    batches = box.take_stored()
    opened = [open_batch(batch.payload, DEVICE_KEYS.get, device=None) for batch in batches]
    assert sum(batch.header.drops.get(DropCause.GNSS_GARBLED, 0) for batch in opened) == 1


def test_a_receiver_after_the_week_rollover_is_corrected_by_the_box_s_clock(tmp_path: Path) -> None:
    box = Box(tmp_path)
    start = box_time(box)
    seconds = [start + dt.timedelta(seconds=second) for second in range(1, 6)]
    drive(box, [rmc(when - ROLLOVER) for when in seconds])
    batches = box.take_stored()
    assert [fix.utc_us for fix in fixes_of(batches)] == [utc_us(when.isoformat()) for when in seconds[:-1]]
    [fact] = facts_of(batches, "gnss_date")
    assert dict(fact.fields) == {"is_known": True, "weeks_added": 1_024}
    assert box.engine.metrics()["gnss_dates_corrected"] == 4


def test_a_date_that_nobody_can_vouch_for_is_unknown_and_the_place_stays(tmp_path: Path) -> None:
    box = Box(tmp_path)
    epoch = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    good = box_time(box) + dt.timedelta(seconds=10)
    drive(box, [*(rmc(epoch + dt.timedelta(seconds=second)) for second in range(3)), rmc(good), rmc(good)])
    batches = box.take_stored()
    fixes = fixes_of(batches)
    assert [fix.utc_us is None for fix in fixes] == [True, True, True, False]
    assert {fix.lat_e7 for fix in fixes} == {534_506_707}
    facts = [dict(fact.fields) for fact in facts_of(batches, "gnss_date")]
    assert facts == [{"is_known": False, "weeks_added": 0}, {"is_known": True, "weeks_added": 0}]
    assert box.engine.metrics()["gnss_dates_unknown"] == 3


def jumping(box: Box) -> list[bytes]:
    start = box_time(box)
    places = ["5327.04024", "5327.04024", "5427.04024", "5427.04024", "5327.04024", "5327.04024"]
    return [rmc(start + dt.timedelta(seconds=second), lat) for second, lat in enumerate(places)]


def test_a_jump_is_kept_as_it_was_said_counted_and_told_without_a_place(tmp_path: Path) -> None:
    box = Box(tmp_path)
    drive(box, jumping(box))
    batches = box.take_stored()
    assert [round(fix.lat_e7 or 0, -6) for fix in fixes_of(batches)] == [535e6, 535e6, 545e6, 545e6, 535e6]
    there, back = facts_of(batches, "gnss_jump")
    assert there.fields == back.fields
    assert set(there.fields) == {"distance_m", "elapsed_ms"}
    assert there.fields["distance_m"] == pytest.approx(111_195, abs=50)
    assert there.fields["elapsed_ms"] == 1_000
    assert box.engine.metrics()["gnss_jumps"] == 2


def test_with_precision_none_a_jump_is_counted_and_not_told(tmp_path: Path) -> None:
    box = Box(tmp_path, config(precision=Precision.NONE))
    drive(box, jumping(box))
    batches = box.take_stored()
    assert fixes_of(batches) == []
    assert facts_of(batches, "gnss_jump") == []
    assert box.engine.metrics()["gnss_jumps"] == 2
