"""A vehicle profile: what a family of cars' signals mean, how often they are kept, and what they can be.

Rules:
- A profile names its DBC by file name and hash and never contains it: signals are `Message.Signal` of that
  DBC, and catalogue names are paths of the COVESA Vehicle Signal Specification (VSS).
- Bands and limits are physical, in the DBC's unit; `rules_for` turns them into columns of a compiled table
  and says everything that does not fit the table at once.
- A message's own sampling replaces the bus's default; a signal's dead band or on-change adds triggers to it.
  Only `keep_all` in the message's own sampling survives a signal's triggers.
- Decisive messages are those behind facts that matter in a dispute; their raw frames are kept beside the
  values.

It reads no file (`device.profile_reader`), samples nothing and checks nothing: those are `acquisition`'s.

Example:
    >>> profile = read_profile(Path("dbc/profiles/demo.toml"))                          # doctest: +SKIP
    >>> rules = rules_for(profile.buses["can0"], table)                                 # doctest: +SKIP
    >>> Sampler(rules.sample, rules.default), PlausibilityCheck(rules.limits)           # doctest: +SKIP
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

from device.acquisition.plausibility import Limit
from device.acquisition.sample import DeadBand, SampleRule
from device.errors import ConfigError
from protocol.signals import RawType

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.acquisition.table import Column, DecodeTable, Group


class Powertrain(StrEnum):
    """What moves the car; UNKNOWN where the profile does not say."""

    UNKNOWN = "unknown"
    COMBUSTION = "combustion"
    HYBRID = "hybrid"
    ELECTRIC = "electric"


class StartType(StrEnum):
    """How the driver starts the car.

    Decides when a starter inhibit must hold: while the crank is sensed (turn-key), or for the first minute
    after ignition-on (one-touch, where nobody sees the crank request coming). A car that is made ready to
    drive instead of started (hybrid, electric) has no starter line to hold.
    """

    TURN_KEY = "turn-key"
    ONE_TOUCH = "one-touch"
    READY = "ready"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleTimes:
    """Sampling of a message, or the default of a bus, without its signals' triggers."""

    keep_all: bool = False
    period_us: int | None = None
    max_interval_us: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SignalRule:
    """What the profile says about one signal, physical values in the DBC's unit.

    Attributes:
        path: Catalogue path, None when the catalogue has none.
        dead_band: Distance from the last kept value that makes a new row.
        on_change: Whether any change makes a new row.
        minimum: Least plausible value.
        maximum: Greatest plausible value.
        rate_per_s: Greatest plausible change per second.
    """

    path: str | None = None
    dead_band: float | None = None
    on_change: bool = False
    minimum: float | None = None
    maximum: float | None = None
    rate_per_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BusProfile:
    """One bus of the car.

    Attributes:
        bus: Name of the bus.
        dbc: File name of its DBC, without a folder.
        dbc_hash: SHA-256 that the DBC must have, None when any version may be used.
        default: Sampling of messages that have no entry of their own.
        messages: Sampling by message name.
        signals: Rules by `Message.Signal`.
        decisive: Names of messages whose raw frames are kept.
    """

    bus: str
    dbc: str
    dbc_hash: bytes | None
    default: SampleTimes
    messages: Mapping[str, SampleTimes]
    signals: Mapping[str, SignalRule]
    decisive: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class StateRule:
    """When a state of the car holds: a signal has one of the values, or is above a bound (physical)."""

    bus: str
    signal: str
    values: tuple[int, ...] = ()
    above: float | None = None

    def holds(self, value: float) -> bool:
        """Say whether a physical value means that the state holds."""
        return value > self.above if self.above is not None else value in self.values


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """A vehicle family.

    Attributes:
        name: Name of the profile.
        family: Vehicle family it is for.
        powertrain: What moves it.
        start_type: How it is started.
        buses: By bus name.
        states: `ignition_on`, `cranking`, `engine_running`, `ready`, `charging`, `hazard_lights`, `crashed`:
            rules by the state's name.
        profile_hash: SHA-256 of the file, as batch headers carry it.
    """

    name: str
    family: str
    powertrain: Powertrain
    start_type: StartType
    buses: Mapping[str, BusProfile]
    states: Mapping[str, StateRule]
    profile_hash: bytes

    @property
    def has_starter_line(self) -> bool:
        """Whether there is a starter whose next start could be inhibited at all.

        Hybrid and electric cars are watched only, and so is a car of which nobody said what moves it.
        """
        return self.powertrain is Powertrain.COMBUSTION and self.start_type is not StartType.READY


@dataclass(frozen=True, slots=True, kw_only=True)
class BusRules:
    """A bus's profile in terms of one compiled table.

    Attributes:
        paths: Catalogue path by `Message.Signal`.
        sample: Rule by group index; `default` for the others.
        default: Rule of groups without an entry.
        limits: Plausibility limits by group index.
        decisive: Identifiers (bit 31 for extended) whose raw frames are kept.
    """

    paths: Mapping[str, str]
    sample: Mapping[int, SampleRule]
    default: SampleRule
    limits: Mapping[int, tuple[Limit, ...]]
    decisive: frozenset[int]


class _Place(NamedTuple):
    group: int
    number: int
    column: Column


def rules_for(profile: BusProfile, table: DecodeTable) -> BusRules:
    """Turn a bus's profile into rules for a table.

    Args:
        profile: The bus.
        table: Compiled from the bus's DBC.

    Returns:
        The rules by group index.

    Raises:
        ConfigError: The table is of another DBC, or lacks messages or signals that the profile names.
    """
    places = {
        f"{group.message}.{column.signal}": _Place(index, number, column)
        for index, group in enumerate(table.groups)
        for number, column in enumerate(group.columns)
    }
    messages = {message.name: message.can_id for message in table.messages}
    problems = _mismatches(profile, table, set(messages), set(places))
    if problems:
        raise ConfigError(tuple(problems))
    sample = {
        index: rule
        for index, group in enumerate(table.groups)
        if (rule := _sample_rule(profile, index, group, places)) is not None
    }
    return BusRules(
        paths={name: rule.path for name, rule in profile.signals.items() if rule.path is not None},
        sample=sample,
        default=_from_times(profile.default),
        limits=_limits(profile, table, places),
        decisive=frozenset(messages[name] for name in profile.decisive),
    )


def _mismatches(profile: BusProfile, table: DecodeTable, messages: set[str], signals: set[str]) -> list[str]:
    problems = []
    if profile.dbc_hash is not None and profile.dbc_hash != table.dbc_hash:
        problems.append(
            f"{profile.bus}: the profile is for {profile.dbc} with SHA-256 {profile.dbc_hash.hex()}, "
            f"the decode table was made from {table.dbc_hash.hex()}"
        )
    unknown = {*profile.messages, *profile.decisive} - messages
    problems += [f"{profile.bus}: {profile.dbc} has no message {name}" for name in sorted(unknown)]
    missing = profile.signals.keys() - signals
    problems += [f"{profile.bus}: {profile.dbc} has no signal {name}" for name in sorted(missing)]
    return problems


def _from_times(times: SampleTimes) -> SampleRule:
    return SampleRule(
        keep_all=times.keep_all, period_us=times.period_us, max_interval_us=times.max_interval_us
    )


def _sample_rule(
    profile: BusProfile, index: int, group: Group, places: Mapping[str, _Place]
) -> SampleRule | None:
    """Return the rule of a group, None when the bus's default applies."""
    own = profile.messages.get(group.message)
    bands: list[DeadBand] = []
    changing: list[int] = []
    for name, rule in profile.signals.items():
        place = places[name]
        if place.group != index:
            continue
        if rule.dead_band is not None:
            bands.append(_dead_band(place, rule.dead_band))
        if rule.on_change:
            changing.append(place.number)
    if own is None and not bands and not changing:
        return None
    times = profile.default if own is None else own
    return SampleRule(
        keep_all=own is not None and own.keep_all,
        period_us=times.period_us,
        max_interval_us=times.max_interval_us,
        dead_bands=tuple(bands),
        on_change=tuple(changing),
    )


def _dead_band(place: _Place, band: float) -> DeadBand:
    """Return a physical band in raw counts: the most counts whose physical distance stays within it."""
    column = place.column
    counts: int | float = band / abs(column.scale)
    if column.raw_type in {RawType.UINT, RawType.INT}:
        # 0.3 / 0.1 is a hair below 3; a band that is a whole number of counts must not lose one to rounding.
        counts = math.floor(counts * (1 + 1e-9))
    return DeadBand(column=place.number, raw_type=column.raw_type, band=counts)


def _limits(
    profile: BusProfile, table: DecodeTable, places: Mapping[str, _Place]
) -> dict[int, tuple[Limit, ...]]:
    limits: dict[int, tuple[Limit, ...]] = {}
    for name, rule in profile.signals.items():
        if rule.minimum is None and rule.maximum is None and rule.rate_per_s is None:
            continue
        place = places[name]
        definition = table.groups[place.group].definition(place.group, profile.bus, table.dbc_hash, {})
        limit = Limit(
            column=place.number,
            definition=definition.columns[place.number],
            minimum=rule.minimum,
            maximum=rule.maximum,
            rate_per_s=rule.rate_per_s,
        )
        limits[place.group] = (*limits.get(place.group, ()), limit)
    return limits
