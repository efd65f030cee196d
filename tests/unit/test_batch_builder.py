"""The open batch: what makes it full, what it covers, and what its counts say."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest

from device.config import BatchLimits
from device.delivery.batch_builder import BatchBuilder, row_bytes
from device.delivery.precision import coarsened
from device.state import SpoolClass
from protocol.batch import DropCause, Section
from protocol.clock import ClockClass, Instant
from protocol.facts import Event
from protocol.fixes import Fix, Precision, decode_fixes
from protocol.frames import RawFrames, decode_frames
from protocol.limits import TEXT_BYTES_MAX
from protocol.signals import GroupDef, decode_signals
from tests.builders.engine import SECOND, TABLE, TODAY_US, config

if TYPE_CHECKING:
    from device.delivery.draft import Draft

MOTION = TABLE.groups[0].definition(0, "can0", TABLE.dbc_hash, {})
BODY = TABLE.groups[1].definition(1, "can0", TABLE.dbc_hash, {})


def builder(**limits: int) -> BatchBuilder:
    return BatchBuilder(BatchLimits(**limits), opened_us=0)


def at(mono_us: int, *, utc_us: int | None = None) -> Instant:
    clock = ClockClass.NONE if utc_us is None else ClockClass.GNSS
    return Instant(mono_us=mono_us, utc_us=utc_us, clock=clock, error_us=None)


def add(batch: BatchBuilder, group: GroupDef, times: list[int]) -> None:
    raw = np.arange(len(group.columns) * len(times), dtype=np.int64).reshape(len(group.columns), -1)
    batch.add_rows(group, np.array(times, np.int64), raw, is_announced=True)


def closed(batch: BatchBuilder, now: Instant | None = None, **changes: object) -> Draft:
    return batch.close(now or at(SECOND), config(**changes))


def test_rows_of_one_group_from_many_lots_become_one_group_in_order() -> None:
    batch = builder()
    add(batch, BODY, [5])
    add(batch, MOTION, [1, 2])
    add(batch, MOTION, [3])
    draft = closed(batch)
    groups = decode_signals(draft.sections[Section.SIGNALS])
    assert [(group.gid, group.t_us.tolist()) for group in groups] == [(0, [1, 2, 3]), (1, [5])]
    assert (draft.counts.rows, draft.counts.samples) == (4, 7)
    assert draft.gids == {0, 1}


def test_a_batch_is_due_by_the_age_of_its_first_content_not_by_when_it_was_opened() -> None:
    batch = builder(age_us=10 * SECOND)
    assert not batch.is_due(3_600 * SECOND)
    batch.add_event(Event(t_us=100 * SECOND, name="x"))
    assert not batch.is_due(109 * SECOND)
    assert batch.is_due(110 * SECOND)


@pytest.mark.parametrize("limits", [{"rows": 3}, {"raw_bytes": 1024}])
def test_rows_and_bytes_make_it_full(limits: dict[str, int]) -> None:
    batch = builder(**limits)
    for number in range(200):
        if batch.is_full:
            break
        add(batch, MOTION, [number])
    assert batch.is_full
    assert not batch.has_room(0)


def test_the_bound_of_a_row_holds_for_content_that_cannot_be_compressed() -> None:
    batch = builder(raw_bytes=200 * 1024)
    rng = np.random.default_rng(1)
    rows = 10_000
    times = np.sort(rng.integers(0, 60 * SECOND, rows))
    noise = np.stack([rng.integers(0, 2**16, rows), rng.integers(0, 2**32, rows)])
    batch.add_rows(MOTION, times, noise, is_announced=True)
    draft = closed(batch)
    assert len(draft.sections[Section.SIGNALS]) <= batch.bytes_used
    assert row_bytes(MOTION) == 8 + 3 + 5


def test_it_covers_from_where_the_one_before_ended_or_from_an_earlier_sample() -> None:
    batch = BatchBuilder(BatchLimits(), opened_us=500)
    add(batch, MOTION, [480, 900])
    draft = closed(batch, at(800))
    assert (draft.mono_start_us, draft.mono_end_us) == (480, 900)


def test_utc_is_mapped_over_the_monotonic_clock_at_the_close() -> None:
    batch = builder()
    add(batch, MOTION, [2 * SECOND])
    draft = closed(batch, at(10 * SECOND, utc_us=TODAY_US))
    assert (draft.utc_start_us, draft.utc_end_us) == (TODAY_US - 10 * SECOND, TODAY_US)
    assert draft.clock == ClockClass.GNSS


def test_without_a_clock_utc_stays_unknown() -> None:
    draft = closed(builder())
    assert (draft.utc_start_us, draft.utc_end_us, draft.clock) == (None, None, ClockClass.NONE)


def test_drops_of_all_kinds_are_summed() -> None:
    batch = builder()
    batch.count_frames(received=5, decoded=3, drops={DropCause.SHORT: 2})
    batch.count_frames(received=1, decoded=0, drops={DropCause.SHORT: 1, DropCause.ERROR_FRAME: 0})
    batch.count_frames(received=0, decoded=0, drops={DropCause.KERNEL: 7})
    draft = closed(batch)
    assert draft.drops == {DropCause.SHORT: 3, DropCause.KERNEL: 7}
    assert (draft.counts.frames_received, draft.counts.frames_decoded) == (6, 3)


def test_raw_frames_of_several_lots_are_one_lot_a_bus_as_wide_as_the_widest() -> None:
    batch = builder()
    for width, t_us in ((8, 1), (64, 2)):
        batch.add_frames(
            RawFrames(
                bus="can0",
                t_us=np.array([t_us]),
                can_id=np.array([0x130], np.uint32),
                length=np.array([8], np.uint8),
                data=np.full((1, width), t_us, np.uint8),
            )
        )
    [frames] = decode_frames(closed(batch).sections[Section.FRAMES])
    assert frames.data.shape == (2, 64)
    assert frames.t_us.tolist() == [1, 2]


@pytest.mark.parametrize(
    ("fill", "rank"),
    [
        (lambda batch: batch.set_health({}), SpoolClass.STATE),
        (lambda batch: add(batch, MOTION, [1]), SpoolClass.BULK),
        (lambda batch: batch.add_event(Event(t_us=0, name="x")), SpoolClass.FACTS),
        (lambda batch: setattr(batch, "is_alarm", True), SpoolClass.ALARM),
    ],
)
def test_its_class_follows_from_its_content(fill: object, rank: SpoolClass) -> None:
    batch = builder()
    fill(batch)  # type: ignore[operator]
    assert closed(batch).rank == rank


FIX = Fix(t_us=7, utc_us=TODAY_US, mode=3, lat_e7=481_234_567, lon_e7=-116_543_210, alt_mm=5, speed_mm_s=9)


def test_the_default_precision_lets_no_fix_leave_the_box() -> None:
    batch = builder()
    batch.add_fix(FIX)
    draft = closed(batch, precision=Precision.NONE)
    assert Section.FIXES not in draft.sections
    assert draft.counts.fixes == 0


def test_a_cell_hides_the_street() -> None:
    batch = builder()
    batch.add_fix(FIX)
    precision, [fix] = decode_fixes(closed(batch, precision=Precision.CELL).sections[Section.FIXES])
    assert precision == Precision.CELL
    assert (fix.lat_e7, fix.lon_e7) == (481_250_000, -116_550_000)
    assert (fix.alt_mm, fix.speed_mm_s) == (None, None)


def test_in_out_keeps_no_place_and_exact_keeps_all() -> None:
    assert coarsened(FIX, Precision.EXACT) == FIX
    hidden = coarsened(FIX, Precision.IN_OUT)
    assert (hidden.lat_e7, hidden.lon_e7, hidden.mode, hidden.utc_us) == (None, None, 3, TODAY_US)


def test_facts_that_no_reader_would_take_are_cut_not_fatal() -> None:
    batch = builder()
    batch.add_event(
        Event(t_us=-4, name="x" * 999, fields={"a": float("inf"), "b": "é" * 999, "c": 2**70, "d": True})
    )
    batch.set_health({"h" * 999: float("nan"), "ok": 1})
    facts = closed(batch).facts
    [event] = facts.events
    assert event.t_us == 0
    assert len(event.name) == TEXT_BYTES_MAX
    assert (event.fields["a"], event.fields["c"], event.fields["d"]) == (None, None, True)
    assert len(str(event.fields["b"]).encode()) == TEXT_BYTES_MAX
    assert dict(facts.health) == {"h" * TEXT_BYTES_MAX: None, "ok": 1}


def test_limits_name_every_problem_at_once() -> None:
    problems = replace(BatchLimits(), age_us=1, rows=0).problems()
    assert [problem.split(" is ")[0] for problem in problems] == ["batch age 1 µs", "batch rows 0 rows"]
