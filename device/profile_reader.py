"""Vehicle profiles from TOML: strict, and every problem said at once.

Rules:
- Keys that are not known are problems, and so are wrong types, impossible numbers, names that are no
  catalogue path and two signals with the same path. A profile with any problem is not used.
- The hash of a profile is that of the file's bytes.
- A combustion engine is started by turn-key or one-touch; a hybrid or electric car is made ready. Only what
  has a starter can crank, and only what has an engine can run.

It does not look into the DBC (`device.profile.rules_for` does) and has no defaults for what a car is.

Example (a whole profile):
    schema = 1
    name = "tbox-demo"
    [vehicle]
    family = "demo"
    powertrain = "combustion"
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
import re
import tomllib
from typing import TYPE_CHECKING, Final

from device.errors import ConfigError
from device.profile import BusProfile, Powertrain, Profile, SampleTimes, SignalRule, StartType, StateRule
from device.profile_tables import Tables
from protocol.limits import PROFILE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

SCHEMA = 1

STATES = frozenset(
    {"ignition_on", "cranking", "engine_running", "ready", "charging", "hazard_lights", "crashed"}
)

# States that a powertrain cannot be in.
_IMPOSSIBLE: Final = {
    Powertrain.UNKNOWN: frozenset[str](),
    Powertrain.COMBUSTION: frozenset({"ready", "charging"}),
    Powertrain.HYBRID: frozenset({"cranking"}),
    Powertrain.ELECTRIC: frozenset({"cranking", "engine_running"}),
}

# A branch and at least one node below it, each in upper camel case (VSS, rule set "basic").
_PATH = re.compile(r"Vehicle(\.[A-Z][A-Za-z0-9]*)+")
_SIGNAL = re.compile(r"[^.\s]+\.[^.\s]+")
_SHA256 = re.compile(r"[0-9a-f]{64}")


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


class _Reader(Tables):
    """Reads the tables of a profile."""

    def profile(self, document: Mapping[str, object], profile_hash: bytes) -> Profile:
        self.only(document, "", {"schema", "name", "vehicle", "state", "bus"})
        if document.get("schema") != SCHEMA:
            self.say("", f"schema must be {SCHEMA}, not {document.get('schema')!r}")
        vehicle = self.table(document, "", "vehicle")
        self.only(vehicle, "vehicle", {"family", "powertrain", "start_type"})
        buses = {
            name: self._bus(name, self.table(self.table(document, "", "bus"), "bus", name))
            for name in self.table(document, "", "bus")
        }
        if not buses:
            self.say("bus", "at least one bus is needed")
        states = self._states(self.table(document, "", "state"), buses)
        start_type, powertrain = self._start(vehicle, states)
        return Profile(
            name=self.text(document, "", "name"),
            family=self.text(vehicle, "vehicle", "family"),
            powertrain=powertrain,
            start_type=start_type,
            buses=buses,
            states=states,
            profile_hash=profile_hash,
        )

    def _start(
        self, vehicle: Mapping[str, object], states: Mapping[str, StateRule]
    ) -> tuple[StartType, Powertrain]:
        """Read how the car is started and what moves it, and whether they and its states go together."""
        start = self.text(vehicle, "vehicle", "start_type")
        if start not in set(StartType):
            self.say("vehicle", f"start_type must be one of {', '.join(StartType)}, not {start!r}")
            return StartType.TURN_KEY, Powertrain.UNKNOWN
        moved_by = self.optional(vehicle, "vehicle", "powertrain", str) or Powertrain.UNKNOWN
        if moved_by not in set(Powertrain):
            self.say("vehicle", f"powertrain must be one of {', '.join(Powertrain)}, not {moved_by!r}")
            return StartType(start), Powertrain.UNKNOWN
        powertrain = Powertrain(moved_by)
        is_ready = start == StartType.READY
        if powertrain is not Powertrain.UNKNOWN and is_ready == (powertrain is Powertrain.COMBUSTION):
            self.say("vehicle", f"no {powertrain} car is started by {start}")
        for name in sorted(_IMPOSSIBLE[powertrain] & states.keys()):
            self.say(f"state.{name}", f"no {powertrain} car has this state")
        return StartType(start), powertrain

    def _bus(self, name: str, table: Mapping[str, object]) -> BusProfile:
        where = f"bus.{name}"
        self.only(table, where, {"dbc", "sha256", "decisive", "sampling", "message", "signal"})
        dbc = self.text(table, where, "dbc")
        if "/" in dbc or "\\" in dbc:
            self.say(where, f"dbc is a file name, not a path: {dbc}")
        digest = self.optional(table, where, "sha256", str)
        if digest is not None and not _SHA256.fullmatch(digest):
            self.say(where, "sha256 must be 64 lowercase hex digits")
            digest = None
        messages = self.table(table, where, "message")
        signals = self.table(table, where, "signal")
        bus = BusProfile(
            bus=name,
            dbc=dbc,
            dbc_hash=None if digest is None else bytes.fromhex(digest),
            default=self._times(self.table(table, where, "sampling"), f"{where}.sampling"),
            messages={
                message: self._times(
                    self.table(messages, f"{where}.message", message), f"{where}.message.{message}"
                )
                for message in messages
            },
            signals={
                signal: self._signal(
                    self.table(signals, f"{where}.signal", signal), f"{where}.signal.{signal}", signal
                )
                for signal in signals
            },
            decisive=tuple(self.texts(table, where, "decisive")),
        )
        self._check_paths(bus)
        return bus

    def _times(self, table: Mapping[str, object], where: str) -> SampleTimes:
        self.only(table, where, {"keep_all", "period_ms", "max_interval_ms"})
        keep_all = self.optional(table, where, "keep_all", bool) or False
        period_us = self.milliseconds(table, where, "period_ms")
        max_interval_us = self.milliseconds(table, where, "max_interval_ms")
        if keep_all and (period_us is not None or max_interval_us is not None):
            self.say(where, "keep_all leaves nothing for a period or an interval to do")
        return SampleTimes(keep_all=keep_all, period_us=period_us, max_interval_us=max_interval_us)

    def _signal(self, table: Mapping[str, object], where: str, name: str) -> SignalRule:
        self.only(table, where, {"path", "dead_band", "on_change", "min", "max", "rate_per_s"})
        if not _SIGNAL.fullmatch(name):
            self.say(where, "a signal is named Message.Signal")
        path = self.optional(table, where, "path", str)
        if path is not None and not _PATH.fullmatch(path):
            self.say(where, f"no catalogue path: {path!r}")
        minimum, maximum = self.number(table, where, "min"), self.number(table, where, "max")
        if minimum is not None and maximum is not None and minimum >= maximum:
            self.say(where, f"min {minimum} is not below max {maximum}")
        rate = self.number(table, where, "rate_per_s")
        if rate is not None and rate <= 0:
            self.say(where, "rate_per_s must be above 0")
        dead_band = self.number(table, where, "dead_band")
        if dead_band is not None and dead_band < 0:
            self.say(where, "dead_band must not be negative")
        return SignalRule(
            path=path,
            dead_band=dead_band,
            on_change=self.optional(table, where, "on_change", bool) or False,
            minimum=minimum,
            maximum=maximum,
            rate_per_s=rate,
        )

    def _states(self, table: Mapping[str, object], buses: Mapping[str, BusProfile]) -> dict[str, StateRule]:
        self.only(table, "state", set(STATES))
        states: dict[str, StateRule] = {}
        for name in table:
            where = f"state.{name}"
            fields = self.table(table, "state", name)
            self.only(fields, where, {"bus", "signal", "values", "above"})
            values = fields.get("values", [])
            if not isinstance(values, list) or not all(type(value) is int for value in values):
                self.say(where, "values must be a list of integers")
                values = []
            above = self.number(fields, where, "above")
            if bool(values) == (above is not None):
                self.say(where, "give either values or above")
            bus = self.text(fields, where, "bus")
            if bus not in buses:
                self.say(where, f"bus {bus!r} is not described here")
            signal = self.text(fields, where, "signal")
            states[name] = StateRule(bus=bus, signal=signal, values=tuple(values), above=above)
        return states

    def _check_paths(self, bus: BusProfile) -> None:
        """A path names one signal, or the trace could not tell them apart."""
        taken: dict[str, str] = {}
        for name, rule in bus.signals.items():
            if rule.path is not None and taken.setdefault(rule.path, name) != name:
                self.say(f"bus.{bus.bus}", f"{rule.path} is both {taken[rule.path]} and {name}")
