"""Decoded signals as text, one value a line: CSV with a header, or JSON lines.

Rules:
- Columns are time_s, bus, message, signal, value, unit. Time is the log's, in seconds with six decimals,
  exact.
- Integers are written as integers, floats in the shortest form that reads back to the same bits. A float that
  is no number is `nan`, `inf` or `-inf` in CSV and null in JSON, which has no such numbers.
- The rows of a lot are in order of time; at the same time, in order of group and signal.
- The file appears under its name only when it is complete: until then it is `<name>.partial`.

It decides nothing about which signals are written.

Example:
    >>> with LongFormFile(Path("drive.csv"), table) as file:                            # doctest: +SKIP
    ...     file.write("can0", decoded)
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, Self

import numpy as np

from protocol.signals import physical

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from device.acquisition.decode import Decoded, DecodedGroup
    from device.acquisition.table import DecodeTable
    from protocol.signals import GroupDef

COLUMNS = ("time_s", "bus", "message", "signal", "value", "unit")

SUFFIXES = (".csv", ".jsonl")

_US_PER_S = 1_000_000


class LongFormFile:
    """Writes decoded lots to one file; a context manager that keeps the file only when all went well.

    Attributes:
        rows: Values written so far.
    """

    def __init__(self, path: Path, table: DecodeTable) -> None:
        """Name the file; its suffix, one of `SUFFIXES`, decides the form."""
        assert path.suffix.lower() in SUFFIXES
        self.rows = 0
        self._path = path
        self._partial = path.with_name(path.name + ".partial")
        self._is_csv = path.suffix.lower() == ".csv"
        self._groups: list[GroupDef] = [
            group.definition(index, "", table.dbc_hash, {}) for index, group in enumerate(table.groups)
        ]
        self._around: dict[tuple[str, int], list[tuple[str, str]]] = {}

    def __enter__(self) -> Self:
        self._file = self._partial.open("w", encoding="utf-8", newline="")
        if self._is_csv:
            self._file.write(",".join(COLUMNS) + "\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
        if kind is None:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    def write(self, bus: str, decoded: Decoded) -> None:
        """Write all values of a lot."""
        lines: list[str] = []
        times = []
        for group in decoded.groups:
            lines += self._lines(bus, group)
            times.append(np.tile(group.t_us, len(group.raw)))
        if not lines:
            return
        order = np.concatenate(times).argsort(kind="stable").tolist()
        self._file.writelines([lines[row] for row in order])
        self.rows += len(lines)

    def _lines(self, bus: str, group: DecodedGroup) -> list[str]:
        """Return the lines of a group, column by column."""
        seconds = [f"{t_us // _US_PER_S}.{t_us % _US_PER_S:06d}" for t_us in group.t_us.tolist()]
        if not self._is_csv:
            seconds = [f'{{"time_s": {text}' for text in seconds]
        lines: list[str] = []
        columns = self._groups[group.index].columns
        for column, raw, (before, after) in zip(
            columns, group.raw, self._texts(bus, group.index), strict=True
        ):
            values = map(self._value, physical(column, raw).tolist())
            lines += [f"{time}{before}{value}{after}" for time, value in zip(seconds, values, strict=True)]
        return lines

    def _value(self, value: float) -> str:
        if self._is_csv or math.isfinite(value):
            return repr(value)
        return "null"

    def _texts(self, bus: str, index: int) -> list[tuple[str, str]]:
        """Return what stands before and after the value, the same in all lines of a column."""
        key = (bus, index)
        if key not in self._around:
            group = self._groups[index]
            self._around[key] = [
                self._text(bus, group.message, column.signal, column.unit) for column in group.columns
            ]
        return self._around[key]

    def _text(self, bus: str, message: str, signal: str, unit: str | None) -> tuple[str, str]:
        if self._is_csv:
            return f",{_quoted(bus, message, signal)},", f",{_quoted(unit or '')}\n"
        names = json.dumps({"bus": bus, "message": message, "signal": signal}, ensure_ascii=False)
        return f', {names[1:-1]}, "value": ', f', "unit": {json.dumps(unit, ensure_ascii=False)}}}\n'


def _quoted(*fields: str) -> str:
    """Return CSV fields with quotes where they are needed (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    # The writer marks a lone empty field with quotes; between commas it needs none.
    return "" if fields == ("",) else text.getvalue()
