"""Rows of a trace: which signals are wanted, and in what order rows come out.

Rules:
- A signal is named by its catalogue path or by `bus.Message.Signal`; either finds it, and it is shown by
  its path when it has one.
- Rows are in order of UTC, then name, then the batch they are from. Batches of two chains may overlap in
  time, so rows are held back until no later batch can hold an earlier one.
- Values are exactly cantools' for the same frame: `protocol.dictionary.physical`.
- A range is half-open: [from, to).

It reads no database and formats nothing.

Example:
    >>> merger = RowMerger()
    >>> merger.add(chunk)
    >>> rows = merger.release(before_us=until_us)
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from backend.domain.batch_time import TimeSource
from protocol.dictionary import RawType, physical

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from backend.domain.decoding import DecodedGroup
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
    """Rows of one column of one batch: times in µs, shape (n,), ascending or not, and values."""

    signal: TraceSignal
    source: TimeSource
    utc_us: NDArray[np.int64]
    mono_us: NDArray[np.int64]
    values: Sequence[Any]


def chunks_of(
    groups: Sequence[DecodedGroup],
    *,
    offset_us: int,
    source: TimeSource,
    wanted: Collection[str] | None,
    from_us: int | None = None,
    to_us: int | None = None,
) -> list[Chunk]:
    """Return the wanted columns of a batch as chunks, cut to [from_us, to_us).

    Args:
        groups: Decoded groups of one batch.
        offset_us: What to add to monotonic µs to get UTC; 0 when UTC is unknown.
        source: Where the time comes from.
        wanted: Names; None for all.
        from_us: UTC in µs, included; None for no lower end.
        to_us: UTC in µs, excluded; None for no upper end.
    """
    found: list[Chunk] = []
    for group in groups:
        utc_us = group.t_us + offset_us
        inside = np.ones(utc_us.shape, dtype=np.bool_)
        if from_us is not None:
            inside &= utc_us >= from_us
        if to_us is not None:
            inside &= utc_us < to_us
        if not inside.any():
            continue
        for column, raw in zip(group.definition.columns, group.raw, strict=True):
            if not isinstance(column.raw_type, RawType) or not is_wanted(group.definition, column, wanted):
                continue
            found.append(
                Chunk(
                    signal=TraceSignal(name=shown_name(group.definition, column), unit=column.unit),
                    source=source,
                    utc_us=utc_us[inside],
                    mono_us=group.t_us[inside],
                    values=physical(column, raw[inside]).tolist(),
                )
            )
    return found


class RowMerger:
    """Puts chunks in order of time, holding back what an unseen batch could still precede."""

    def __init__(self) -> None:
        self._held: list[Chunk] = []

    def add(self, chunks: Sequence[Chunk]) -> None:
        """Take chunks of one batch; batches come in a fixed order, which decides between equal rows."""
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
    return Chunk(
        signal=chunk.signal,
        source=chunk.source,
        utc_us=chunk.utc_us[mask],
        mono_us=chunk.mono_us[mask],
        values=[value for value, keep in zip(chunk.values, mask.tolist(), strict=True) if keep],
    )


def _in_order(chunks: Sequence[Chunk]) -> TraceRows:
    """Return all rows by UTC, then name, then the order in which their batches came."""
    sizes = [len(chunk.values) for chunk in chunks]
    names = {name: rank for rank, name in enumerate(sorted({chunk.signal.name for chunk in chunks}))}
    ranks = np.repeat(np.array([names[chunk.signal.name] for chunk in chunks], dtype=np.int64), sizes)
    utc_us = _joined([chunk.utc_us for chunk in chunks])
    values = np.empty(sum(sizes), dtype=object)
    values[:] = [
        None if isinstance(value, float) and not math.isfinite(value) else value
        for chunk in chunks
        for value in chunk.values
    ]
    order = np.lexsort((ranks, utc_us))
    return TraceRows(
        utc_us=utc_us[order],
        mono_us=_joined([chunk.mono_us for chunk in chunks])[order],
        values=values[order].tolist(),
        which=np.repeat(np.arange(len(chunks)), sizes)[order],
        signals=[chunk.signal for chunk in chunks],
        sources=[chunk.source for chunk in chunks],
    )


def _joined(arrays: Sequence[NDArray[np.int64]]) -> NDArray[np.int64]:
    return np.concatenate(arrays) if arrays else np.empty(0, dtype=np.int64)
