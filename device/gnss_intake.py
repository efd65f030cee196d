"""From the receiver's bytes to the open batch and to the clock: read, check, and account for every fix.

Rules:
- Each form of bytes has its own reader; all give the same fixes. What they could not read is GNSS_GARBLED.
- A date is believed by `acquisition.gnss_checks`: corrected when another clock vouches, else unknown when it
  cannot be. The fix with the right date is what is kept and what teaches the clock.
- A jump is kept as the receiver said it, counted, and told as a fact with its distance and time: never a
  place, so the fact may travel whatever precision the policy allows.
- A fix that the wire cannot carry cannot be true: it is dropped as IMPLAUSIBLE.
- Without permission for positions (precision none) nothing of a fix is kept but its time, and no fact tells
  how the car moved; counters go on.

It does not parse (`acquisition`) or blur (`delivery`).

Example: see `tests/unit/test_gnss_intake.py`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, assert_never

from device.acquisition.gnss import FixReader, GnssForm
from device.acquisition.gnss_checks import JumpCheck, right_date
from device.acquisition.gpsd import GpsdReader
from device.acquisition.nmea import NmeaReader
from device.delivery.batch_builder import FIX_BYTES
from protocol.batch import DropCause
from protocol.facts import Event
from protocol.fixes import Precision, encode_fixes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from device.config import EngineConfig
    from device.delivery.outbox import Outbox
    from device.events import GnssReceived
    from device.orders.facts import FactsKeeper
    from protocol.clock import Instant
    from protocol.fixes import Fix

_MODE_2D = 2  # the receiver has a position, so its time is the satellites' time


def fix_reader(form: GnssForm) -> FixReader:
    """Return a reader of this form."""
    match form:
        case GnssForm.NMEA:
            return NmeaReader()
        case GnssForm.GPSD:
            return GpsdReader()
        case _:
            assert_never(form)


def witness_us(now: Instant, t_us: int) -> int | None:
    """Return the UTC of an earlier moment `t_us` of this boot by the clock behind `now`, None without one."""
    return None if now.utc_us is None else now.utc_us - (now.mono_us - t_us)


class GnssIntake:
    """Takes the receiver's bytes.

    Args:
        config: Precision and the floor of dates.
        outbox: Where fixes, facts and times go.
        make_room: Whether content of so many bytes may be added now.
        facts: Hears every possible fix, whatever may leave the box; None without a microcontroller.
    """

    def __init__(
        self,
        config: EngineConfig,
        outbox: Outbox,
        make_room: Callable[[int, Instant], bool],
        *,
        facts: FactsKeeper | None = None,
    ) -> None:
        self._facts = facts
        self._config = config
        self._outbox = outbox
        self._make_room = make_room
        self._readers: dict[GnssForm, FixReader] = {}
        self._jumps = JumpCheck()
        self._garbled = 0
        self._date_told: int | None = 0  # weeks of the last correction, None: unknown

    def take(self, event: GnssReceived, now: Instant) -> None:
        """Take bytes of the receiver."""
        reader = self._readers.get(event.form)
        if reader is None:
            reader = self._readers[event.form] = fix_reader(event.form)
        for fix in reader.feed(event.data, event.t_us):
            self._take_fix(fix, now)
        self._count_garbled()

    def finish(self, now: Instant) -> None:
        """Take the epochs that are still open: the recording is over or the agent stops."""
        for reader in self._readers.values():
            for fix in reader.flush():
                self._take_fix(fix, now)
        self._count_garbled()

    def _take_fix(self, said: Fix, now: Instant) -> None:
        fix = self._dated(said, now)
        if fix.utc_us is not None and fix.mode >= _MODE_2D:
            self._outbox.clock.learn_fix(mono_us=fix.t_us, utc_us=fix.utc_us)
        if not _is_possible(fix):
            if self._config.precision != Precision.NONE:
                self._drop(DropCause.IMPLAUSIBLE, 1)
            return
        if self._facts is not None:
            self._facts.note_fix(fix)
        self._watch_place(fix)
        if self._config.precision == Precision.NONE:
            return
        if self._make_room(FIX_BYTES, now):
            self._outbox.builder.add_fix(fix)
        else:
            self._outbox.counts["fixes_dropped"] += 1

    def _dated(self, fix: Fix, now: Instant) -> Fix:
        """Return the fix with the date that is to be believed; tell when that changes."""
        if fix.utc_us is None:
            return fix
        dated = right_date(
            fix.utc_us, witness_us=witness_us(now, fix.t_us), floor_us=self._config.utc_floor_us
        )
        if dated.utc_us is None:
            self._outbox.counts["gnss_dates_unknown"] += 1
        elif dated.weeks:
            self._outbox.counts["gnss_dates_corrected"] += 1
        told = None if dated.utc_us is None else dated.weeks
        if told != self._date_told:
            self._date_told = told
            self._tell(fix, "gnss_date", {"is_known": told is not None, "weeks_added": told or 0})
        return fix if dated.utc_us == fix.utc_us else replace(fix, utc_us=dated.utc_us)

    def _watch_place(self, fix: Fix) -> None:
        before = self._jumps.jumps
        jump = self._jumps.check(fix)
        if self._jumps.jumps > before:
            self._outbox.counts["gnss_jumps"] += 1
        if jump is not None and self._config.precision != Precision.NONE:
            self._tell(
                fix,
                "gnss_jump",
                {"distance_m": jump.distance_mm // 1_000, "elapsed_ms": jump.elapsed_us // 1_000},
            )

    def _tell(self, fix: Fix, name: str, fields: Mapping[str, int | float | str | bool | None]) -> None:
        self._outbox.builder.add_event(Event(t_us=max(0, fix.t_us), name=name, fields=fields))

    def _count_garbled(self) -> None:
        garbled = sum(reader.counts.garbled for reader in self._readers.values())
        if garbled > self._garbled:
            self._drop(DropCause.GNSS_GARBLED, garbled - self._garbled)
            self._garbled = garbled

    def _drop(self, cause: DropCause, count: int) -> None:
        self._outbox.builder.count_frames(received=0, decoded=0, drops={cause: count})


def _is_possible(fix: Fix) -> bool:
    """Whether the wire can carry this fix; what it cannot carry cannot be true."""
    try:
        encode_fixes([fix], Precision.EXACT)
    except ValueError:
        return False
    return True
