"""Decoded signals as text, one value a line: CSV with a header, or JSON lines.

Rules:
- Columns are time_s, bus, message, signal, value, unit. Time is in seconds with six decimals, exact.
- Integers are written as integers, floats in the shortest form that reads back to the same bits. A float that
  is no number is `nan`, `inf` or `-inf` in CSV and null in JSON, which has no such numbers.

Example: see `long_form`.
"""

from __future__ import annotations

import csv
import io
import json
import math
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from protocol.signals import physical

if TYPE_CHECKING:
    from device.acquisition.decode import Decoded, DecodedGroup
    from device.acquisition.table import DecodeTable
    from device.decode_selection import Selection
    from protocol.signals import GroupDef

COLUMNS = ("time_s", "bus", "message", "signal", "value", "unit")

_US_PER_S = 1_000_000


class TextRows:
    """Writes lines to an open file.

    Args:
        file: Open for writing.
        table: What was decoded with.
        selection: What is wanted.
        is_csv: CSV, else JSON lines.
    """

    rounded = 0

    def __init__(self, file: BinaryIO, table: DecodeTable, selection: Selection, *, is_csv: bool) -> None:
        self._file = file
        self._is_csv = is_csv
        self._selection = selection
        self._groups: list[GroupDef] = [
            group.definition(index, "", table.dbc_hash, {}) for index, group in enumerate(table.groups)
        ]
        self._around: dict[tuple[str, int], list[tuple[str, str]]] = {}
        if is_csv:
            file.write((",".join(COLUMNS) + "\n").encode())

    def write(self, bus: str, decoded: Decoded, *, shift_us: int) -> int:
        """Write all wanted values of a lot; return how many."""
        lines: list[str] = []
        times = []
        for group in decoded.groups:
            chosen = self._selection.columns(group.index)
            if chosen:
                lines += self._lines(bus, group, chosen, shift_us)
                times.append(np.tile(group.t_us, len(chosen)))
        if lines:
            order = np.concatenate(times).argsort(kind="stable").tolist()
            self._file.write("".join([lines[row] for row in order]).encode())
        return len(lines)

    def finish(self) -> None:
        """Nothing is held and the form has no end."""

    def abandon(self) -> None:
        """Nothing is held."""

    def _lines(self, bus: str, group: DecodedGroup, chosen: tuple[int, ...], shift_us: int) -> list[str]:
        """Return the lines of a group, column by column."""
        seconds = [_seconds(t_us) for t_us in (group.t_us + shift_us).tolist()]
        if not self._is_csv:
            seconds = [f'{{"time_s": {text}' for text in seconds]
        lines: list[str] = []
        columns, around = self._groups[group.index].columns, self._texts(bus, group.index)
        for place in chosen:
            before, after = around[place]
            values = map(self._value, physical(columns[place], group.raw[place]).tolist())
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


def _seconds(t_us: int) -> str:
    """Return µs as seconds with six decimals, also before zero."""
    sign, t_us = ("-", -t_us) if t_us < 0 else ("", t_us)
    return f"{sign}{t_us // _US_PER_S}.{t_us % _US_PER_S:06d}"


def _quoted(*fields: str) -> str:
    """Return CSV fields with quotes where they are needed (RFC 4180)."""
    text = io.StringIO()
    csv.writer(text, lineterminator="").writerow(fields)
    # The writer marks a lone empty field with quotes; between commas it needs none.
    return "" if fields == ("",) else text.getvalue()
