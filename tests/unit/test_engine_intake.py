"""From lots and sentences to the open batch: every frame is accounted for, whatever comes."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.acquisition.lot import EXTENDED, FrameFlag, FrameLot
from device.acquisition.plausibility import Limit, PlausibilityCheck
from device.acquisition.sample import Sampler, SampleRule
from device.config import BatchLimits, SpoolLimits
from device.events import FramesReceived, GnssReceived, Urgent
from device.tbox import TBox
from protocol.batch import DropCause, Section
from protocol.facts import decode_facts
from protocol.fixes import Precision
from protocol.frames import decode_frames
from protocol.signals import decode_signals
from tests.builders.engine import (
    BODY_ID,
    DEVICE_KEY,
    MOTION_ID,
    SECOND,
    TABLE,
    UNKNOWN_ID,
    Box,
    Ledger,
    config,
    motion_lot,
    plans,
)

if TYPE_CHECKING:
    from pathlib import Path

    from device.config import EngineConfig
    from device.intake import BusPlan


def driven(home: Path, bus_plans: dict[str, BusPlan], settings: EngineConfig | None = None) -> Box:
    """A box whose engine has these plans."""
    box = Box(home, settings)
    box.plans = bus_plans
    box.crash()
    box.start()
    return box


def all_of(box: Box) -> Ledger:
    """Everything the box has, at the backend."""
    ledger = Ledger()
    box.connect()
    box.drain(ledger)
    box.spool.close()
    return ledger


def totals(ledger: Ledger) -> tuple[Counter[str], Counter[int]]:
    counts: Counter[str] = Counter()
    drops: Counter[int] = Counter()
    for stored in ledger.batches.values():
        header = stored.opened.header
        assert header.are_frames_accounted
        counts.update(received=header.counts.frames_received, decoded=header.counts.frames_decoded)
        counts.update(rows=header.counts.rows, samples=header.counts.samples, fixes=header.counts.fixes)
        drops.update(header.drops)
    return counts, drops


def rows(ledger: Ledger) -> list[int]:
    found: list[int] = []
    for _, stored in sorted(ledger.batches.items()):
        data = stored.opened.data(Section.SIGNALS)
        for group in [] if data is None else decode_signals(data):
            found += group.raw[-1].tolist()
    return found


def test_each_frame_of_a_mixed_lot_ends_in_one_place(tmp_path: Path) -> None:
    box = Box(tmp_path)
    lot = FrameLot.of(
        "can0",
        [
            (0, MOTION_ID, bytes(8)),
            (1, MOTION_ID, bytes(3)),
            (2, UNKNOWN_ID, bytes(8)),
            (3, MOTION_ID | EXTENDED, bytes(8)),
            (4, BODY_ID, bytes(8)),
            (5, BODY_ID, bytes(8)),
            (6, BODY_ID, b""),
        ],
        flags=[0, 0, 0, 0, 0, FrameFlag.ERROR, FrameFlag.REMOTE],
    )
    box.handle(FramesReceived(lot=lot))
    counts, drops = totals(all_of(box))
    assert counts == {"received": 7, "decoded": 2, "rows": 2, "samples": 3, "fixes": 0}
    assert drops == {
        DropCause.SHORT: 1,
        DropCause.UNKNOWN_ID: 2,
        DropCause.ERROR_FRAME: 1,
        DropCause.REMOTE_FRAME: 1,
    }


def test_a_bus_without_a_plan_is_counted_not_guessed_at(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.handle(FramesReceived(lot=motion_lot(0, range(5), bus="can9")))
    counts, drops = totals(all_of(box))
    assert (counts["received"], drops) == (5, {DropCause.UNKNOWN_ID: 5})


def test_sampling_counts_what_it_skips_and_keep_all_skips_nothing(tmp_path: Path) -> None:
    kept: dict[bool, tuple[Counter[str], Counter[int]]] = {}
    for keep_all in (False, True):
        home = tmp_path / str(keep_all)
        home.mkdir()
        sampler = Sampler({}, SampleRule(period_us=100_000))
        box = driven(home, plans(sampler=sampler), config(keep_all=keep_all))
        box.frames(range(1_000))
        kept[keep_all] = totals(all_of(box))
    counts, drops = kept[False]
    assert (counts["decoded"], counts["rows"], drops[DropCause.POLICY]) == (1_000, 10, 990)
    counts, drops = kept[True]
    assert (counts["decoded"], counts["rows"], drops) == (1_000, 1_000, {})


def test_a_lot_too_large_for_one_batch_is_cut_and_stays_whole(tmp_path: Path) -> None:
    limits = BatchLimits(age_us=60 * SECOND, raw_bytes=8_192)
    box = Box(tmp_path, config(batch=limits, spool=SpoolLimits(memory_batches=100)))
    box.frames(range(20_000))
    ledger = all_of(box)
    counts, drops = totals(ledger)
    assert counts["received"] == counts["decoded"] == counts["rows"] == 20_000
    assert not drops
    assert rows(ledger) == list(range(20_000))
    assert len(ledger.batches) > 10


def test_raw_frames_of_decisive_messages_are_kept_beside_the_rows(tmp_path: Path) -> None:
    box = driven(tmp_path, plans(raw_ids=frozenset({BODY_ID})))
    lot = FrameLot.of(
        "can0",
        [(0, MOTION_ID, bytes(8)), (1, BODY_ID, b"\x01" + bytes(7)), (2, BODY_ID, b"")],
        flags=[0, 0, FrameFlag.REMOTE],
    )
    box.handle(FramesReceived(lot=lot))
    [stored] = all_of(box).batches.values()
    [frames] = decode_frames(stored.opened.data(Section.FRAMES) or b"")
    assert (frames.bus, frames.can_id.tolist(), frames.data[0, 0]) == ("can0", [BODY_ID], 1)


def test_an_implausible_value_is_kept_as_sent_and_reported_once(tmp_path: Path) -> None:
    definition = TABLE.groups[0].definition(0, "can0", TABLE.dbc_hash, {}).columns[0]
    limit = Limit(column=0, definition=definition, minimum=None, maximum=300.0, rate_per_s=None)
    box = driven(tmp_path, plans(check=PlausibilityCheck({0: (limit,)})))
    box.frames([100, 400, 401, 402])
    [stored] = all_of(box).batches.values()
    events = decode_facts(stored.opened.data(Section.FACTS) or b"").events
    [found] = [event for event in events if event.name == "signal_implausible"]
    assert dict(found.fields) == {"signal": "can0.Motion.Speed", "kind": "above", "value": 400.0}
    [group] = decode_signals(stored.opened.data(Section.SIGNALS) or b"")
    assert group.raw[0].tolist() == [100, 400, 401, 402]


GGA = b"$GPGGA,120000.00,4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,*6A\r\n"
GARBLED = b"$GPRMC,120000.00,A,4807.038,N,01131.000,E,022.4,084.4,241126,,,A*00\r\n"


def test_garbled_sentences_are_counted_and_disturb_nothing(tmp_path: Path) -> None:
    box = Box(tmp_path)
    box.handle(GnssReceived(t_us=0, data=GARBLED + b"\xff\x00$GP" + GARBLED))
    box.frames(range(3))
    counts, drops = totals(all_of(box))
    assert counts["decoded"] == 3
    assert drops[DropCause.GNSS_GARBLED] >= 2


def test_with_precision_none_fixes_do_not_reach_the_disk_and_do_not_close_batches(tmp_path: Path) -> None:
    box = Box(tmp_path, config(precision=Precision.NONE))
    for second in range(5):
        box.now_us = second * SECOND
        box.handle(GnssReceived(t_us=box.now_us, data=GGA))
    [stored] = all_of(box).batches.values()
    assert Section.FIXES not in stored.opened.header.sections
    assert stored.opened.header.counts.fixes == 0


def test_many_small_lots_between_alarms_are_all_there(tmp_path: Path) -> None:
    box = Box(tmp_path)
    for number in range(1_500):
        box.handle(
            Urgent(reason=f"alarm {number}") if number % 300 == 0 else FramesReceived(lot=motion_lot(0, [1]))
        )
    counts, _ = totals(all_of(box))
    assert counts["received"] == 1_495


@pytest.mark.parametrize("width", [8, 64])
def test_an_empty_lot_changes_nothing(tmp_path: Path, width: int) -> None:
    box = Box(tmp_path)
    empty = FrameLot(
        bus="can0",
        t_us=np.empty(0, np.int64),
        can_id=np.empty(0, np.uint32),
        flags=np.empty(0, np.uint8),
        length=np.empty(0, np.uint8),
        data=np.empty((0, width), np.uint8),
    )
    box.handle(FramesReceived(lot=empty))
    counts, drops = totals(all_of(box))
    assert (counts["received"], drops) == (0, {})


def test_the_engine_needs_no_spool_to_be_built(tmp_path: Path) -> None:
    box = Box(tmp_path)
    twin = TBox(config(), plans=plans(), signer=DEVICE_KEY, image=box.image, now=box.now())
    assert twin.metrics()["spool_batches"] == 0
    box.spool.close()


def test_a_lot_that_outruns_the_disk_is_dropped_by_count_and_the_engine_says_that_it_is_congested(
    tmp_path: Path,
) -> None:
    limits = BatchLimits(age_us=60 * SECOND, raw_bytes=8_192)
    box = Box(tmp_path, config(batch=limits))
    box.engine.handle(FramesReceived(lot=motion_lot(0, range(20_000))), box.now())
    assert box.engine.is_congested
    box.spool.close()
