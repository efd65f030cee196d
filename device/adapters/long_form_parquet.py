"""Decoded signals as Parquet, one value a row, a row group at a time.

Rules:
- Columns are time_us (int64, exact), bus, message, signal (text), value (float64) and unit (text or null).
  Texts are dictionary-encoded.
- A row group is written when `PARQUET_GROUP_ROWS` values are held, so memory stays flat.
- A float64 holds integers up to 2**53; those beyond it that it rounds are counted (`rounded`).
- pyarrow is imported only when a Parquet file is asked for: it is the extra `parquet`.

Example: see `long_form`.
"""

from __future__ import annotations

import importlib
import io
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from device.errors import EdgeError
from protocol.limits import PARQUET_GROUP_ROWS
from protocol.signals import physical

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer
    from numpy.typing import NDArray

    from device.acquisition.decode import Decoded
    from device.acquisition.table import DecodeTable
    from device.decode_selection import Selection
    from protocol.signals import GroupDef

COLUMNS = ("time_us", "bus", "message", "signal", "value", "unit")

_EXACT_MAX = 2**53
_NAMES = 4  # bus, message, signal, unit


class _Sink(io.RawIOBase):
    """The file as pyarrow sees it: when it is abandoned, pyarrow may still close what it has begun.

    Args:
        file: Open for writing.
    """

    def __init__(self, file: BinaryIO) -> None:
        self.is_abandoned = False
        self._file = file
        self._written = 0

    def writable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._written

    def write(self, data: ReadableBuffer) -> int:
        size = memoryview(data).nbytes
        if not self.is_abandoned:
            self._file.write(data)
        self._written += size
        return size


class ParquetRows:
    """Writes row groups to an open file.

    Args:
        file: Open for writing.
        table: What was decoded with.
        selection: What is wanted.

    Attributes:
        rounded: Integers that a float64 does not hold exactly.
    """

    def __init__(self, file: BinaryIO, table: DecodeTable, selection: Selection) -> None:
        self.rounded = 0
        self._arrow = self.require()
        self._selection = selection
        self._groups: list[GroupDef] = [
            group.definition(index, "", table.dbc_hash, {}) for index, group in enumerate(table.groups)
        ]
        self._series: dict[tuple[str, int, int], int] = {}
        self._names: list[tuple[str, str, str, str | None]] = []
        self._held: list[tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]] = []
        self._held_rows = 0
        text = self._arrow.dictionary(self._arrow.int32(), self._arrow.string())
        types = (self._arrow.int64(), text, text, text, self._arrow.float64(), text)
        self._schema = self._arrow.schema(
            [
                self._arrow.field(name, kind, nullable=name == "unit")
                for name, kind in zip(COLUMNS, types, strict=True)
            ],
            metadata={"dbc_sha256": table.dbc_hash.hex()},
        )
        parquet = importlib.import_module("pyarrow.parquet")
        self._sink = _Sink(file)
        self._writer = parquet.ParquetWriter(self._sink, self._schema, compression="zstd")

    @staticmethod
    def require() -> Any:  # noqa: ANN401 (a module without types)
        """Return pyarrow.

        Raises:
            EdgeError: It is not installed.
        """
        try:
            return importlib.import_module("pyarrow")
        except ImportError as error:
            raise EdgeError(
                "Parquet files are written with pyarrow, which is not installed",
                is_transient=False,
                next_step="pip install 'tbox[parquet]', or write .csv or .jsonl",
            ) from error

    def write(self, bus: str, decoded: Decoded, *, shift_us: int) -> int:
        """Take all wanted values of a lot; return how many."""
        times, series, values = [], [], []
        for group in decoded.groups:
            columns = self._groups[group.index].columns
            for place in self._selection.columns(group.index):
                times.append(group.t_us)
                series.append(np.full(len(group.t_us), self._number(bus, group.index, place), np.int64))
                values.append(self._floats(physical(columns[place], group.raw[place])))
        if not times:
            return 0
        t_us = np.concatenate(times)
        order = t_us.argsort(kind="stable")
        self._held.append(
            (t_us[order] + shift_us, np.concatenate(series)[order], np.concatenate(values)[order])
        )
        self._held_rows += len(order)
        if self._held_rows >= PARQUET_GROUP_ROWS:
            self._write_group()
        return len(order)

    def finish(self) -> None:
        """Write what is held, and the file's end."""
        self._write_group()
        self._writer.close()

    def abandon(self) -> None:
        """Let go of everything without writing."""
        self._sink.is_abandoned = True
        self._writer.close()

    def _floats(self, values: NDArray[Any]) -> NDArray[np.float64]:
        floats: NDArray[np.float64] = values.astype(np.float64)
        if values.dtype.kind in "iuO":
            large = np.flatnonzero(np.abs(floats) > _EXACT_MAX)
            exact = values[large].tolist()
            self.rounded += sum(
                int(held) != value for held, value in zip(floats[large].tolist(), exact, strict=True)
            )
        return floats

    def _number(self, bus: str, index: int, place: int) -> int:
        key = (bus, index, place)
        if key not in self._series:
            self._series[key] = len(self._names)
            group = self._groups[index]
            column = group.columns[place]
            self._names.append((bus, group.message, column.signal, column.unit))
        return self._series[key]

    def _write_group(self) -> None:
        if not self._held:
            return
        t_us, series, values = (np.concatenate(parts) for parts in zip(*self._held, strict=True))
        self._held, self._held_rows = [], 0
        bus, message, signal, unit = (self._texts(series, part) for part in range(_NAMES))
        arrays = [self._arrow.array(t_us), bus, message, signal, self._arrow.array(values), unit]
        self._writer.write_table(self._arrow.Table.from_arrays(arrays, schema=self._schema))

    def _texts(self, series: NDArray[np.int64], part: int) -> Any:  # noqa: ANN401 (an array of pyarrow)
        """Return one name of each row, dictionary-encoded."""
        names = [name[part] for name in self._names]
        known = list(dict.fromkeys(name for name in names if name is not None))
        codes = np.array([-1 if name is None else known.index(name) for name in names], np.int32)[series]
        indices = self._arrow.array(codes, mask=codes < 0)
        return self._arrow.DictionaryArray.from_arrays(
            indices, self._arrow.array(known, self._arrow.string())
        )
