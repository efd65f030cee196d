"""What a check found, as one object for programs and as lines for people.

Rules:
- Rates are over the time between the first and the last frame. An hour is that rate times 3600 s; a month is
  thirty days of as many hours a day as the asker says. What rides once a chain (the dictionary) is not
  extrapolated.
- Bytes are those of the signed batches; MQTT, TLS and what the network adds are not in them, nor positions.
- Nothing is judged but the data budget: whether what is missing matters, the reader knows.

Example:
    report = Report(...)
    report.lines()[0]
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from protocol.limits import CAR_MONTH_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from device.agent.profile_coverage import BusCoverage, SeenSignal
    from device.agent.profile_dry_run import Collected
    from device.profile import Profile

HOUR_S = 3_600
DAYS = 30
UNKNOWN_SHOWN = 10
MEGABYTE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Recording:
    """What was read.

    Attributes:
        path: The log.
        format: Of the log.
        seconds: From its first to its last frame.
        frames: All frames.
        unplanned: Frames of buses that the profile says nothing about, by bus.
        errors: Places that could not be read.
    """

    path: Path
    format: str
    seconds: float
    frames: int
    unplanned: dict[str, int]
    errors: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A whole check.

    Attributes:
        recording: What was read.
        profile: Against what.
        dbcs: DBC file by bus.
        buses: What each bus showed.
        collected: What the profile kept.
        hours_a_day: How long the car drives, for the month.
    """

    recording: Recording
    profile: Profile
    dbcs: dict[str, Path]
    buses: tuple[BusCoverage, ...]
    collected: Collected
    hours_a_day: float

    @property
    def known_frames(self) -> int:
        """Frames whose identifier a DBC knows."""
        return sum(one.frames for bus in self.buses for one in bus.ids() if one.message is not None)

    @property
    def signals(self) -> list[tuple[str, SeenSignal]]:
        """Bus and signal of everything that the profile has a rule for."""
        return [(bus.bus, signal) for bus in self.buses for signal in bus.signals()]

    def per_hour(self, amount: float) -> float:
        """Return what an amount of the recording is in an hour; 0 when it has no duration."""
        return amount * HOUR_S / self.recording.seconds if self.recording.seconds > 0 else 0.0

    @property
    def bytes_per_hour(self) -> float:
        """Signed batches, without the dictionary that rides once."""
        return self.per_hour(self.collected.payload_bytes - self.collected.dictionary_bytes)

    @property
    def bytes_per_month(self) -> float:
        """The same in thirty days of driving."""
        return self.bytes_per_hour * self.hours_a_day * DAYS

    @property
    def is_within_budget(self) -> bool:
        """Whether a month fits what a car may send by default."""
        return self.bytes_per_month <= CAR_MONTH_BYTES

    def as_json(self) -> dict[str, object]:
        """Return everything as one JSON object."""
        sums, profile = self.collected, self.profile
        return {
            "recording": {
                "file": str(self.recording.path),
                "format": self.recording.format,
                "seconds": self.recording.seconds,
                "frames": self.recording.frames,
                "frames_of_other_buses": self.recording.unplanned,
                "errors": self.recording.errors,
            },
            "profile": {
                "name": profile.name,
                "family": profile.family,
                "powertrain": profile.powertrain.value,
                "start_type": profile.start_type.value,
                "has_starter_line": profile.has_starter_line,
                "sha256": profile.profile_hash.hex(),
            },
            "buses": [self._bus_json(bus) for bus in self.buses],
            "signals": [self._signal_json(bus, signal) for bus, signal in self.signals],
            "states": [
                {"state": state.name, "signal": state.signal, "rows": state.rows, "held": state.held}
                for bus in self.buses
                for state in bus.states()
            ],
            "implausible": dict(sums.implausible),
            "collected": {
                "batches": sums.batches,
                "rows": sums.rows,
                "samples": sums.samples,
                "bytes": sums.payload_bytes,
                "bytes_once": sums.dictionary_bytes,
                "bytes_by_section": dict(sums.section_bytes),
                "frames_received": sums.received,
                "frames_decoded": sums.decoded,
                "left_out": dict(sums.drops),
                "per_hour": {
                    "rows": round(self.per_hour(sums.rows)),
                    "samples": round(self.per_hour(sums.samples)),
                    "bytes": round(self.bytes_per_hour),
                },
                "per_month": {
                    "hours_a_day": self.hours_a_day,
                    "samples": round(self.per_hour(sums.samples) * self.hours_a_day * DAYS),
                    "bytes": round(self.bytes_per_month),
                    "budget_bytes": CAR_MONTH_BYTES,
                    "is_within_budget": self.is_within_budget,
                },
            },
        }

    def lines(self) -> Iterator[str]:
        """Yield everything as lines for a person."""
        recording, profile = self.recording, self.profile
        yield f"recording: {recording.path} ({recording.format})"
        yield f"           {recording.seconds:.1f} s, {recording.frames} frames"
        if recording.errors:
            yield f"           {recording.errors} places could not be read"
        for name, count in recording.unplanned.items():
            yield f"           {count} frames of bus {name}, which the profile says nothing about"
        yield f"profile:   {profile.name}, {profile.family}"
        inhibit = "has a starter line" if profile.has_starter_line else "watched only: no starter line"
        yield f"           {profile.powertrain}, started by {profile.start_type}; {inhibit}"
        for bus in self.buses:
            yield from self._bus_lines(bus)
        yield from self._signal_lines()
        yield from self._collected_lines()

    # --- parts ---

    def _rate(self, count: int) -> float:
        return count / self.recording.seconds if self.recording.seconds > 0 else 0.0

    def _bus_json(self, bus: BusCoverage) -> dict[str, object]:
        return {
            "bus": bus.bus,
            "dbc": str(self.dbcs[bus.bus]),
            "frames": bus.frames,
            "ids": [
                {
                    "id": one.text,
                    "message": one.message,
                    "frames": one.frames,
                    "rate_hz": round(self._rate(one.frames), 3),
                }
                for one in bus.ids()
            ],
            "messages_missing": bus.messages_missing(),
        }

    def _signal_json(self, bus: str, signal: SeenSignal) -> dict[str, object]:
        return {
            "signal": f"{bus}.{signal.name}",
            "path": signal.path,
            "unit": signal.unit,
            "is_seen": signal.rows > 0,
            "rate_hz": round(self._rate(signal.rows), 3),
            "least": signal.least,
            "greatest": signal.greatest,
        }

    def _bus_lines(self, bus: BusCoverage) -> Iterator[str]:
        ids = bus.ids()
        unknown = sorted((one for one in ids if one.message is None), key=lambda one: -one.frames)
        known_frames = sum(one.frames for one in ids if one.message is not None)
        yield ""
        yield f"bus {bus.bus} ({self.dbcs[bus.bus].name}): {bus.frames} frames, {len(ids)} identifiers"
        yield f"  known:   {len(ids) - len(unknown)} identifiers, {known_frames} frames"
        yield f"  unknown: {len(unknown)} identifiers, {bus.frames - known_frames} frames"
        for one in unknown[:UNKNOWN_SHOWN]:
            yield f"           {one.text}  {self._rate(one.frames):.1f} Hz"
        if len(unknown) > UNKNOWN_SHOWN:
            yield f"           and {len(unknown) - UNKNOWN_SHOWN} more (--json lists them)"
        missing = bus.messages_missing()
        if missing:
            yield f"  never came: {', '.join(missing)}"

    def _signal_lines(self) -> Iterator[str]:
        seen = [signal for _, signal in self.signals if signal.rows]
        missing = [signal for _, signal in self.signals if not signal.rows]
        yield ""
        yield f"signals: {len(seen)} of {len(seen) + len(missing)} are in the recording"
        for signal in seen:
            span = f"{_short(signal.least)} to {_short(signal.greatest)} {signal.unit or ''}".rstrip()
            yield f"  {signal.path or signal.name:<60} {self._rate(signal.rows):6.1f} Hz  {span}"
        if missing:
            yield "missing:"
            yield from (f"  {signal.path or signal.name}" for signal in missing)
        for bus in self.buses:
            for state in bus.states():
                share = (
                    f"held in {state.held} of {state.rows} rows" if state.rows else "its signal never came"
                )
                yield f"state {state.name}: {share}"
        for name, count in sorted(self.collected.implausible.items()):
            yield f"implausible: {name}, {count} times"

    def _collected_lines(self) -> Iterator[str]:
        sums = self.collected
        yield ""
        yield f"the profile keeps {sums.rows} rows, {sums.samples} samples in {sums.batches} batches"
        yield f"  {sums.payload_bytes} bytes signed and compressed, {sums.dictionary_bytes} of them once"
        yield (
            f"  an hour: {self.per_hour(sums.rows):,.0f} rows, {self.per_hour(sums.samples):,.0f} samples, "
            f"{self.bytes_per_hour / MEGABYTE:.3f} MB"
        )
        verdict = "within" if self.is_within_budget else "ABOVE"
        yield (
            f"  a month of {self.hours_a_day:g} h a day: {self.bytes_per_month / MEGABYTE:.1f} MB, "
            f"{verdict} the default of {CAR_MONTH_BYTES / MEGABYTE:.0f} MB"
        )


def _short(value: float | None) -> str:
    return "?" if value is None else f"{value:.6g}"
