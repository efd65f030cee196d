"""Rows of a trace: which signals are wanted, and in what order rows come out.

Rules:
- A signal is named by its catalogue path or by `bus.Message.Signal`; either finds it, and it is shown by
  its path when it has one.
- Rows are in order of UTC, then name, then the chain and group they are from, then as recorded: the same
  wherever reading began. Batches of two chains may overlap in time, so rows are held back until no later
  batch can hold an earlier one.
- Values are exactly cantools' for the same frame: `protocol.dictionary.physical`.
- A range is half-open: [from, to).

It reads no database and formats nothing.

Example:
    >>> merger = RowMerger()
    >>> merger.add(chunk)
    >>> rows = merger.release(before_us=until_us)
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.domain.batch_time import TimeSource
from protocol.dictionary import RawType, physical

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from protocol.dictionary import ColumnDef, GroupDef


@dataclass(frozen=True, slots=True, kw_only=True, order=True)
class TraceSignal:
    """How a row's signal is shown."""

    name: str
    unit: str | None = field(compare=False)


Value = int | float | None
"""What cantools would give; None for a float that is no number."""

RowTuple = tuple[int, int, TraceSignal, Value, TimeSource]
"""UTC in µs, monotonic µs of the batch's boot, signal, value, where the time comes from."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TraceRows:
    """Rows in order, by column, since a row as an object costs more than decoding it.

    Attributes:
        utc_us: UTC in µs, shape (n,).
        mono_us: monotonic µs of the batch's boot, shape (n,).
        values: n values.
        which: for each row, its place in `signals` and `sources`, shape (n,).
        signals: name and unit.
        sources: where the times come from.
    """

    utc_us: NDArray[np.int64]
    mono_us: NDArray[np.int64]
    values: list[Value]
    which: NDArray[np.int64]
    signals: list[TraceSignal]
    sources: list[TimeSource]

    def __len__(self) -> int:
        return len(self.values)

    def __iter__(self) -> Iterator[RowTuple]:
        for utc_us, mono_us, value, at in zip(
            self.utc_us.tolist(), self.mono_us.tolist(), self.values, self.which.tolist(), strict=True
        ):
            yield utc_us, mono_us, self.signals[at], value, self.sources[at]


def shown_name(group: GroupDef, column: ColumnDef) -> str:
    """Return the catalogue path if mapped, else `bus.Message.Signal`."""
    return column.path or f"{group.bus}.{group.message}.{column.signal}"


def is_wanted(group: GroupDef, column: ColumnDef, wanted: Collection[str] | None) -> bool:
    """Whether a column is among the names wanted; None wants all."""
    if wanted is None:
        return True
    return column.path in wanted or f"{group.bus}.{group.message}.{column.signal}" in wanted


def unknown_names(dictionaries: Iterable[Mapping[int, GroupDef]], wanted: Collection[str]) -> list[str]:
    """Return the names that no announced signal has, sorted; none while nothing is announced at all."""
    groups = [group for dictionary in dictionaries for group in dictionary.values()]
    if not groups:
        return []
    known = {column.path for group in groups for column in group.columns}
    known |= {f"{group.bus}.{group.message}.{column.signal}" for group in groups for column in group.columns}
    return sorted(set(wanted) - known)


def wanted_groups(
    dictionary: Mapping[int, GroupDef], wanted: Collection[str] | None
) -> Collection[int] | None:
    """Return the group ids that hold a wanted signal, so that the others need not be decompressed."""
    if wanted is None:
        return None
    return {
        gid
        for gid, group in dictionary.items()
        if any(is_wanted(group, column, wanted) for column in group.columns)
    }


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Chunk:
    """Rows of one column of one or more batches: times in µs, shape (n,), ascending or not, and values (n,).

    `place` orders the rows of equal time and name; chunks of one place come in the order of their batches.
    """

    signal: TraceSignal
    source: TimeSource
    utc_us: NDArray[np.int64]
    mono_us: NDArray[np.int64]
    values: NDArray[Any]
    place: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Series:
    """One signal's values in order of time: UTC in µs and physical values, shape (n,) each."""

    signal: TraceSignal
    utc_us: NDArray[np.int64]
    values: NDArray[Any]


def wanted_columns(group: GroupDef, wanted: Collection[str] | None) -> list[int]:
    """Return the places of a group's columns that are wanted and have values for us."""
    return [
        at
        for at, column in enumerate(group.columns)
        if isinstance(column.raw_type, RawType) and is_wanted(group, column, wanted)
    ]


def chunks_of(
    group: GroupDef,
    *,
    columns: Sequence[int],
    utc_us: NDArray[np.int64],
    mono_us: NDArray[np.int64],
    raw: NDArray[np.int64],
    source: TimeSource,
    chain_ref: int,
    from_us: int | None = None,
    to_us: int | None = None,
) -> list[Chunk]:
    """Return columns of a group as chunks, cut to [from_us, to_us).

    Args:
        group: Its definition.
        columns: Places of the columns within the group.
        utc_us: UTC of each row in µs, shape (n,).
        mono_us: Monotonic µs of each row, shape (n,).
        raw: Raw values, shape (columns, n).
        source: Where the time comes from.
        chain_ref: Which chain.
        from_us: UTC in µs, included; None for no lower end.
        to_us: UTC in µs, excluded; None for no upper end.
    """
    if not utc_us.size:
        return []
    if (from_us is not None and utc_us.min() < from_us) or (to_us is not None and utc_us.max() >= to_us):
        low = -(2**63) if from_us is None else from_us
        high = 2**63 - 1 if to_us is None else to_us
        inside = (utc_us >= low) & (utc_us < high)
        if not inside.any():
            return []
        utc_us, mono_us, raw = utc_us[inside], mono_us[inside], raw[:, inside]
    return [
        Chunk(
            signal=TraceSignal(name=shown_name(group, group.columns[at]), unit=group.columns[at].unit),
            source=source,
            utc_us=utc_us,
            mono_us=mono_us,
            values=physical(group.columns[at], row),
            place=(chain_ref, group.gid),
        )
        for at, row in zip(columns, raw, strict=True)
    ]


def series_of(chunks: Iterable[Chunk]) -> list[Series]:
    """Return chunks signal by signal, by name, each in order of time."""
    by_signal: dict[TraceSignal, list[Chunk]] = {}
    for chunk in sorted(chunks, key=lambda at: at.place):
        by_signal.setdefault(chunk.signal, []).append(chunk)
    return [_one_series(signal, by_signal[signal]) for signal in sorted(by_signal)]


def _one_series(signal: TraceSignal, chunks: Sequence[Chunk]) -> Series:
    utc_us = _joined([chunk.utc_us for chunk in chunks])
    kinds = {chunk.values.dtype for chunk in chunks}
    # A whole number stays one, also beside the fractions of another chain's scaling.
    parts = [chunk.values if len(kinds) == 1 else chunk.values.astype(object) for chunk in chunks]
    values = np.concatenate(parts)
    if utc_us.size and (utc_us[1:] < utc_us[:-1]).any():
        order = np.argsort(utc_us, kind="stable")
        utc_us, values = utc_us[order], values[order]
    return Series(signal=signal, utc_us=utc_us, values=values)


class RowMerger:
    """Puts chunks in order of time, holding back what an unseen batch could still precede."""

    def __init__(self) -> None:
        self._held: list[Chunk] = []

    def add(self, chunks: Iterable[Chunk]) -> None:
        """Take chunks; within one place they come in the order of their batches."""
        self._held += chunks

    def release(self, *, before_us: int | None) -> TraceRows:
        """Return the rows earlier than `before_us` in order, and keep the others; None returns all."""
        ready: list[Chunk] = []
        kept: list[Chunk] = []
        for chunk in self._held:
            early = (
                np.ones(chunk.utc_us.shape, dtype=np.bool_) if before_us is None else chunk.utc_us < before_us
            )
            if early.all():
                ready.append(chunk)
            elif not early.any():
                kept.append(chunk)
            else:
                ready.append(_part(chunk, early))
                kept.append(_part(chunk, ~early))
        self._held = kept
        return _in_order(ready)


def _part(chunk: Chunk, mask: NDArray[np.bool_]) -> Chunk:
    return replace(chunk, utc_us=chunk.utc_us[mask], mono_us=chunk.mono_us[mask], values=chunk.values[mask])


def _in_order(chunks: Sequence[Chunk]) -> TraceRows:
    """Return all rows by UTC, then name, then place, then the order in which they came."""
    chunks = sorted(chunks, key=lambda at: at.place)
    sizes = [chunk.utc_us.size for chunk in chunks]
    names = {name: rank for rank, name in enumerate(sorted({chunk.signal.name for chunk in chunks}))}
    ranks = np.repeat(np.array([names[chunk.signal.name] for chunk in chunks], dtype=np.int64), sizes)
    utc_us = _joined([chunk.utc_us for chunk in chunks])
    values = np.empty(sum(sizes), dtype=object)
    start = 0
    for chunk, size in zip(chunks, sizes, strict=True):
        values[start : start + size] = _shown(chunk.values)
        start += size
    order = np.lexsort((ranks, utc_us))
    return TraceRows(
        utc_us=utc_us[order],
        mono_us=_joined([chunk.mono_us for chunk in chunks])[order],
        values=values[order].tolist(),
        which=np.repeat(np.arange(len(chunks)), sizes)[order],
        signals=[chunk.signal for chunk in chunks],
        sources=[chunk.source for chunk in chunks],
    )


def _shown(values: NDArray[Any]) -> list[Value]:
    """Return values as Python has them; None for a float that is no number."""
    shown: list[Value] = values.tolist()
    if values.dtype.kind == "f":
        for at in np.flatnonzero(~np.isfinite(values)).tolist():
            shown[at] = None
    return shown


def _joined(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int64)
