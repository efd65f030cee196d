"""Decoded signals as a file, one value a row: CSV, JSON lines or Parquet.

Rules:
- The suffix decides the form: `.csv` and `.jsonl` are text (`long_form_text`), `.parquet` is for tools
  (`long_form_parquet`, needs the extra `parquet`).
- The rows of a lot are in order of time; at the same time, in order of group and signal.
- The file appears under its name only when it is complete and on the disk: until then it is
  `<name>.<random>.partial`, a new file whatever else is there, and what fails leaves an older file of that
  name as it was.

It decides nothing about which signals are written (`Selection` does).

Example:
    >>> with LongFormFile(Path("drive.csv"), table, selection) as file:                 # doctest: +SKIP
    ...     file.write("can0", decoded)
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, BinaryIO, Protocol, Self

from device.adapters.long_form_parquet import ParquetRows
from device.adapters.long_form_paths import create_partial
from device.adapters.long_form_text import TextRows

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from device.acquisition.decode import Decoded
    from device.acquisition.table import DecodeTable
    from device.decode_selection import Selection

SUFFIXES = (".csv", ".jsonl", ".parquet")


class Rows(Protocol):
    """Writes the rows of one form."""

    def write(self, bus: str, decoded: Decoded, *, shift_us: int) -> int:
        """Write all values of a lot, its times moved; return how many."""

    def finish(self) -> None:
        """Write what is still held and the end of the form."""

    def abandon(self) -> None:
        """Let go of everything without writing."""

    @property
    def rounded(self) -> int:
        """Integers that the form cannot hold exactly."""


class LongFormFile:
    """Writes decoded lots to one file; a context manager that keeps the file only when all went well.

    Attributes:
        rows: Values written so far.
    """

    def __init__(self, path: Path, table: DecodeTable, selection: Selection) -> None:
        """Name the file; its suffix, one of `SUFFIXES`, decides the form.

        Raises:
            EdgeError: The form needs a package that is not installed.
        """
        assert path.suffix.lower() in SUFFIXES
        self.rows = 0
        self._path = path
        self._partial = path
        self._table = table
        self._selection = selection
        self._file: BinaryIO
        self._form: Rows
        if path.suffix.lower() == ".parquet":
            ParquetRows.require()

    def __enter__(self) -> Self:
        descriptor, self._partial = create_partial(self._path)
        self._file = os.fdopen(descriptor, "wb")
        suffix = self._path.suffix.lower()
        if suffix == ".parquet":
            self._form = ParquetRows(self._file, self._table, self._selection)
        else:
            self._form = TextRows(self._file, self._table, self._selection, is_csv=suffix == ".csv")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        is_whole = False
        try:
            if kind is None:
                self._form.finish()
                self._file.flush()
                os.fsync(self._file.fileno())
                is_whole = True
        finally:
            if not is_whole:
                self._form.abandon()
            self._close(is_whole=is_whole)

    def _close(self, *, is_whole: bool) -> None:
        try:
            self._file.close()
        except (
            OSError
        ):  # what was held could not be written: the disk is full, which was said where it happened
            self._file.close()
        if is_whole:
            self._partial.replace(self._path)
        else:
            self._partial.unlink(missing_ok=True)

    @property
    def rounded(self) -> int:
        """Integers beyond 2**53 that Parquet's column of floats holds rounded; text holds all exactly."""
        return self._form.rounded

    def write(self, bus: str, decoded: Decoded, *, shift_us: int = 0) -> None:
        """Write all wanted values of a lot.

        Args:
            bus: Its bus.
            decoded: Its rows.
            shift_us: Added to each time, µs.
        """
        self.rows += self._form.write(bus, decoded, shift_us=shift_us)
