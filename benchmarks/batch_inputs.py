"""Sixty seconds of a car as the groups of one batch: simulated, and recorded by others.

Rules:
- The simulated drive comes twice: sampled by the demonstration car's own profile, as the box sends it, and
  every row. Recordings keep every row.
- Groups are what `protocol.signals` takes: one time column and raw integers.

It encodes nothing.

Example:
    drive = simulated_drive(folder / "drive.log", is_sampled=True)
    drive.samples
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.recordings import GNSS_DBC, GNSS_MF4, TOYOTA_DBC, TOYOTA_LOG, AbsentError, demo_dbc
from device.acquisition.decode import DecodedGroup, Decoder
from device.acquisition.sample import Sampler, SampleRule
from device.adapters.log_files import LogError, LogReader
from device.dbc_compiler import compile_dbc
from device.profile import rules_for
from device.profile_reader import read_profile
from protocol.signals import GroupDef, GroupRows, physical
from simulators import drive_cycles
from simulators.bus_traffic import BUS_NAME
from simulators.car import Car
from simulators.drive_log import write_drive

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from benchmarks.bench import Setting

SECONDS = 60
UTC_START_US = 1_795_500_000_000_000  # 2026-11-24
TINY_SECONDS = 12  # the simulated car says its first words after a few


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchInput:
    """The content of one batch.

    Attributes:
        name: As results show it.
        groups: Rows by group.
        definitions: What each group's columns mean, by gid.
    """

    name: str
    groups: tuple[GroupRows, ...]
    definitions: dict[int, GroupDef]

    @property
    def samples(self) -> int:
        """Values without their times: rows times columns."""
        return sum(group.raw.size for group in self.groups)


@dataclass(frozen=True, slots=True)
class Series:
    """One signal: its full name, its times in µs, its physical values as Python numbers."""

    name: str
    t_us: list[int]
    values: list[float]


def series_of(given: BatchInput) -> list[Series]:
    """Return the same content signal by signal, for forms that know no groups."""
    found = []
    for group in given.groups:
        definition = given.definitions[group.gid]
        for column, raw in zip(definition.columns, group.raw, strict=True):
            name = f"{definition.bus}.{definition.message}.{column.signal}"
            found.append(Series(name, group.t_us.tolist(), physical(column, raw).tolist()))
    return found


def inputs(setting: Setting) -> Iterator[BatchInput | tuple[str, str]]:
    """Yield every input, or its name and why it cannot be had."""
    seconds = setting.size(SECONDS, TINY_SECONDS)
    log = setting.folder / "drive.log"
    write_drive(
        Car(seed=1, legs=drive_cycles.city(1, SECONDS), utc_start_us=UTC_START_US), seconds=seconds, out=log
    )
    yield simulated_drive(log, is_sampled=True)
    yield simulated_drive(log, is_sampled=False)
    for name, recorded, dbc in (
        ("real drive (Toyota)", TOYOTA_LOG, TOYOTA_DBC),
        ("real GNSS on CAN", GNSS_MF4, GNSS_DBC),
    ):
        try:
            log_path, dbc_path = setting.recordings.path(recorded), setting.recordings.path(dbc)
            yield recording(name, log_path, dbc_path, seconds=setting.size(SECONDS, 30))
        except AbsentError as absent:
            yield name, str(absent)
        except LogError:
            yield name, f"{recorded}: the product does not read this form of log"


def simulated_drive(log: Path, *, is_sampled: bool) -> BatchInput:
    """Return the demonstration car's drive, sampled by its profile or whole."""
    table = compile_dbc(demo_dbc()).table
    if not is_sampled:
        everything = Sampler({}, SampleRule(keep_all=True))
        return _batch("simulated drive, every row", log, Decoder(table), everything, SECONDS)
    with resources.as_file(resources.files("dbc").joinpath("profiles", "demo.toml")) as path:
        rules = rules_for(read_profile(path).buses[BUS_NAME], table)
    sampler = Sampler(rules.sample, rules.default)
    return _batch("simulated drive, sampled", log, Decoder(table), sampler, SECONDS)


def recording(name: str, log: Path, dbc: Path, *, seconds: int) -> BatchInput:
    """Return the first seconds of a recording, every row.

    Raises:
        LogError: the product cannot read it.
    """
    sampler = Sampler({}, SampleRule(keep_all=True))
    return _batch(name, log, Decoder(compile_dbc(dbc).table), sampler, seconds)


def cut(given: BatchInput, *, from_us: int, to_us: int) -> BatchInput:
    """Return the rows of [from, to), times counted from there."""
    groups = []
    for group in given.groups:
        kept = (group.t_us >= from_us) & (group.t_us < to_us)
        if kept.any():
            groups.append(GroupRows(gid=group.gid, t_us=group.t_us[kept] - from_us, raw=group.raw[:, kept]))
    definitions = {group.gid: given.definitions[group.gid] for group in groups}
    return BatchInput(name=given.name, groups=tuple(groups), definitions=definitions)


def _batch(name: str, log: Path, decoder: Decoder, sampler: Sampler, seconds: int) -> BatchInput:
    """Decode a log as the engine would: lot by lot, sampled, put together by bus and group."""
    rows: dict[tuple[str, int], list[DecodedGroup]] = {}
    start_us: int | None = None
    for lot in LogReader(log).lots():
        start_us = int(lot.t_us[0]) if start_us is None else start_us
        for group in decoder.decode(lot).groups:
            kept = sampler.select(group) & (group.t_us < start_us + seconds * 1_000_000)
            part = DecodedGroup(group.index, group.t_us[kept], group.raw[:, kept])
            rows.setdefault((lot.bus, group.index), []).append(part)
    table = decoder.table
    groups, definitions = [], {}
    for gid, ((bus, index), parts) in enumerate(sorted(rows.items()), start=1):
        t_us = np.concatenate([part.t_us for part in parts]) - (start_us or 0)
        raw = np.ascontiguousarray(np.concatenate([part.raw for part in parts], axis=1))
        if len(t_us):
            groups.append(GroupRows(gid=gid, t_us=t_us, raw=raw))
            definitions[gid] = table.groups[index].definition(gid, bus, table.dbc_hash, {})
    return BatchInput(name=name, groups=tuple(groups), definitions=definitions)
