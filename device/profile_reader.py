"""Vehicle profiles from TOML: strict, and every problem said at once.

Rules:
- Keys that are not known are problems, and so are wrong types, impossible numbers, names that are no
  catalogue path and two signals with the same path. A profile with any problem is not used.
- The hash of a profile is that of the file's bytes.

It does not look into the DBC (`device.profile.rules_for` does) and has no defaults for what a car is.

Example (a whole profile):
    schema = 1
    name = "tbox-demo"
    [vehicle]
    family = "demo"
    start_type = "turn-key"
    [state.ignition_on]
    bus = "can0"
    signal = "IgnitionStatus.IgnitionState"
    values = [3, 4]
    [bus.can0]
    dbc = "tbox_demo.dbc"
    decisive = ["IgnitionStatus"]
    sampling = { period_ms = 1000 }
    [bus.can0.message.VehicleMotion]
    period_ms = 200
    [bus.can0.signal."VehicleMotion.VehicleSpeed"]
    path = "Vehicle.Speed"
    dead_band = 0.5
    min = 0
    max = 300
"""

from __future__ import annotations

import hashlib
import math
import re
import tomllib
from typing import TYPE_CHECKING, TypeVar

from device.errors import ConfigError
from device.profile import BusProfile, Profile, SampleTimes, SignalRule, StartType, StateRule
from protocol.limits import PROFILE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 1

STATES = frozenset({"ignition_on", "cranking", "engine_running"})

# A branch and at least one node below it, each in upper camel case (VSS, rule set "basic").
_PATH = re.compile(r"Vehicle(\.[A-Z][A-Za-z0-9]*)+")
_SIGNAL = re.compile(r"[^.\s]+\.[^.\s]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")

# One day: a longer period or interval is a slip of the unit.
_TIME_MS_MAX = 86_400_000

_Kind = TypeVar("_Kind")


def read_profile(path: Path) -> Profile:
    """Read a profile.

    Args:
        path: A TOML file.

    Raises:
        ConfigError: It cannot be read, or with every problem found in it.
    """
    try:
        with path.open("rb") as file:
            content = file.read(PROFILE_BYTES_MAX + 1)
    except OSError as error:
        raise ConfigError((f"{path}: {error.strerror or type(error).__name__}",)) from error
    return parse_profile(content, str(path))


def parse_profile(content: bytes, source: str) -> Profile:
    """Read a profile from its bytes.

    Args:
        content: TOML, UTF-8.
        source: What to call it in problems.

    Raises:
        ConfigError: With every problem found.
    """
    if len(content) > PROFILE_BYTES_MAX:
        raise ConfigError((f"{source}: above {PROFILE_BYTES_MAX} bytes",))
    try:
        document = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError((f"{source}: {error}",)) from error
    reader = _Reader()
    profile = reader.profile(document, hashlib.sha256(content).digest())
    if reader.problems:
        raise ConfigError(tuple(f"{source}: {problem}" for problem in reader.problems))
    return profile


class _Reader:
    """Reads tables and collects what is wrong with them; a wrong value reads as a harmless one."""

    def __init__(self) -> None:
        self.problems: list[str] = []

    def profile(self, document: Mapping[str, object], profile_hash: bytes) -> Profile:
        self._only(document, "", {"schema", "name", "vehicle", "state", "bus"})
        if document.get("schema") != SCHEMA:
            self._say("", f"schema must be {SCHEMA}, not {document.get('schema')!r}")
        vehicle = self._table(document, "", "vehicle")
        self._only(vehicle, "vehicle", {"family", "start_type"})
        buses = {
            name: self._bus(name, self._table(self._table(document, "", "bus"), "bus", name))
            for name in self._table(document, "", "bus")
        }
        if not buses:
            self._say("bus", "at least one bus is needed")
        states = self._states(self._table(document, "", "state"), buses)
        start_type = self._text(vehicle, "vehicle", "start_type")
        if start_type not in set(StartType):
            self._say("vehicle", f"start_type must be one of {', '.join(StartType)}, not {start_type!r}")
            start_type = StartType.TURN_KEY
        return Profile(
            name=self._text(document, "", "name"),
            family=self._text(vehicle, "vehicle", "family"),
            start_type=StartType(start_type),
            buses=buses,
            states=states,
            profile_hash=profile_hash,
        )

    def _bus(self, name: str, table: Mapping[str, object]) -> BusProfile:
        where = f"bus.{name}"
        self._only(table, where, {"dbc", "sha256", "decisive", "sampling", "message", "signal"})
        dbc = self._text(table, where, "dbc")
        if "/" in dbc or "\\" in dbc:
            self._say(where, f"dbc is a file name, not a path: {dbc}")
        digest = self._optional(table, where, "sha256", str)
        if digest is not None and not _SHA256.fullmatch(digest):
            self._say(where, "sha256 must be 64 lowercase hex digits")
            digest = None
        messages = self._table(table, where, "message")
        signals = self._table(table, where, "signal")
        bus = BusProfile(
            bus=name,
            dbc=dbc,
            dbc_hash=None if digest is None else bytes.fromhex(digest),
            default=self._times(self._table(table, where, "sampling"), f"{where}.sampling"),
            messages={
                message: self._times(
                    self._table(messages, f"{where}.message", message), f"{where}.message.{message}"
                )
                for message in messages
            },
            signals={
                signal: self._signal(
                    self._table(signals, f"{where}.signal", signal), f"{where}.signal.{signal}", signal
                )
                for signal in signals
            },
            decisive=tuple(self._texts(table, where, "decisive")),
        )
        self._check_paths(bus)
        return bus

    def _times(self, table: Mapping[str, object], where: str) -> SampleTimes:
        self._only(table, where, {"keep_all", "period_ms", "max_interval_ms"})
        keep_all = self._optional(table, where, "keep_all", bool) or False
        period_us = self._milliseconds(table, where, "period_ms")
        max_interval_us = self._milliseconds(table, where, "max_interval_ms")
        if keep_all and (period_us is not None or max_interval_us is not None):
            self._say(where, "keep_all leaves nothing for a period or an interval to do")
        return SampleTimes(keep_all=keep_all, period_us=period_us, max_interval_us=max_interval_us)

    def _signal(self, table: Mapping[str, object], where: str, name: str) -> SignalRule:
        self._only(table, where, {"path", "dead_band", "on_change", "min", "max", "rate_per_s"})
        if not _SIGNAL.fullmatch(name):
            self._say(where, "a signal is named Message.Signal")
        path = self._optional(table, where, "path", str)
        if path is not None and not _PATH.fullmatch(path):
            self._say(where, f"no catalogue path: {path!r}")
        minimum, maximum = self._number(table, where, "min"), self._number(table, where, "max")
        if minimum is not None and maximum is not None and minimum >= maximum:
            self._say(where, f"min {minimum} is not below max {maximum}")
        rate = self._number(table, where, "rate_per_s")
        if rate is not None and rate <= 0:
            self._say(where, "rate_per_s must be above 0")
        dead_band = self._number(table, where, "dead_band")
        if dead_band is not None and dead_band < 0:
            self._say(where, "dead_band must not be negative")
        return SignalRule(
            path=path,
            dead_band=dead_band,
            on_change=self._optional(table, where, "on_change", bool) or False,
            minimum=minimum,
            maximum=maximum,
            rate_per_s=rate,
        )

    def _states(self, table: Mapping[str, object], buses: Mapping[str, BusProfile]) -> dict[str, StateRule]:
        self._only(table, "state", set(STATES))
        states: dict[str, StateRule] = {}
        for name in table:
            where = f"state.{name}"
            fields = self._table(table, "state", name)
            self._only(fields, where, {"bus", "signal", "values", "above"})
            values = fields.get("values", [])
            if not isinstance(values, list) or not all(type(value) is int for value in values):
                self._say(where, "values must be a list of integers")
                values = []
            above = self._number(fields, where, "above")
            if bool(values) == (above is not None):
                self._say(where, "give either values or above")
            bus = self._text(fields, where, "bus")
            if bus not in buses:
                self._say(where, f"bus {bus!r} is not described here")
            signal = self._text(fields, where, "signal")
            states[name] = StateRule(bus=bus, signal=signal, values=tuple(values), above=above)
        return states

    def _check_paths(self, bus: BusProfile) -> None:
        """A path names one signal, or the trace could not tell them apart."""
        taken: dict[str, str] = {}
        for name, rule in bus.signals.items():
            if rule.path is not None and taken.setdefault(rule.path, name) != name:
                self._say(f"bus.{bus.bus}", f"{rule.path} is both {taken[rule.path]} and {name}")

    def _say(self, where: str, sentence: str) -> None:
        self.problems.append(f"[{where}] {sentence}" if where else sentence)

    def _only(self, table: Mapping[str, object], where: str, allowed: set[str]) -> None:
        for key in table.keys() - allowed:
            self._say(where, f"unknown key {key!r} (known: {', '.join(sorted(allowed))})")

    def _table(self, table: Mapping[str, object], where: str, key: str) -> Mapping[str, object]:
        value = table.get(key, {})
        if isinstance(value, dict):
            return value
        self._say(where, f"{key} must be a table")
        return {}

    def _text(self, table: Mapping[str, object], where: str, key: str) -> str:
        value = self._optional(table, where, key, str)
        if not value:
            self._say(where, f"{key} is missing or empty")
        return value or ""

    def _texts(self, table: Mapping[str, object], where: str, key: str) -> list[str]:
        value = table.get(key, [])
        if isinstance(value, list) and all(isinstance(item, str) for item in value):
            return value
        self._say(where, f"{key} must be a list of names")
        return []

    def _number(self, table: Mapping[str, object], where: str, key: str) -> float | None:
        value = table.get(key)
        if value is None:
            return None
        if type(value) not in {int, float} or not math.isfinite(float(str(value))):
            self._say(where, f"{key} must be a finite number")
            return None
        return float(str(value))

    def _milliseconds(self, table: Mapping[str, object], where: str, key: str) -> int | None:
        value = self._optional(table, where, key, int)
        if value is not None and not 1 <= value <= _TIME_MS_MAX:
            self._say(where, f"{key} must be 1 to {_TIME_MS_MAX}")
            return None
        return None if value is None else value * 1_000

    def _optional(self, table: Mapping[str, object], where: str, key: str, kind: type[_Kind]) -> _Kind | None:
        value = table.get(key)
        if value is None or type(value) is kind:
            return value
        self._say(where, f"{key} must be {_KIND_NAMES[kind]}, not {value!r}")
        return None


_KIND_NAMES: Mapping[type, str] = {str: "text", bool: "true or false", int: "a whole number"}
