"""Decodes one log with one DBC into one file, and accounts for every frame.

Rules:
- The values are those the agent would record and cantools would compute.
- Every frame is decoded or dropped by a named cause; every place of the log that could not be read is
  counted.
- Times are the log's, exactly; with `start_us` they are moved so that the first frame stands there.
- Memory is flat, whatever the size of the log.

It prints nothing (`decode_cli` does).

Example:
    >>> account = decode_log(Path("car.dbc"), Path("drive.log"), Path("drive.csv"))     # doctest: +SKIP
    >>> account.frames == account.decoded + sum(account.drops.values())                 # doctest: +SKIP
    True
"""

from __future__ import annotations

import datetime as dt
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from device.acquisition.decode import Decoder
from device.acquisition.lot import FrameFlag
from device.adapters.log_files import LogReader
from device.adapters.long_form import SUFFIXES, LongFormFile
from device.adapters.long_form_paths import is_same_file
from device.dbc_compiler import Matching, compile_dbc
from device.decode_selection import Selection
from device.errors import EdgeError
from protocol.batch import DropCause
from protocol.limits import UNKNOWN_IDS_MAX

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from device.acquisition.decode import DecodeCounts
    from device.acquisition.lot import FrameLot

_EPOCH = dt.datetime.fromtimestamp(0, dt.UTC)


@dataclass(slots=True)
class DecodeAccount:
    """What became of a log.

    Attributes:
        dbc: The DBC file.
        out: The file that was written.
        reader: The log: its form, clock, errors and notes.
        dbc_hash: SHA-256 of the DBC.
        dbc_warnings: What was forgiven or left out of the DBC.
        rows: Values written.
        frames: Frames of the chosen bus.
        decoded: Frames that the DBC decodes.
        drops: The others by cause.
        unknown_selector: Decoded frames with a multiplexer value that the DBC does not name.
        unknown_ids: Frames by identifier that the DBC does not know, bit 31 for extended.
        rounded: Integers that Parquet's floats hold rounded.
        shift_us: What was added to the log's times.
        first_us: Time of the first frame, as written; None without one.
        last_us: Latest time, as written.
    """

    dbc: Path
    out: Path
    reader: LogReader
    dbc_hash: bytes = b""
    dbc_warnings: tuple[str, ...] = ()
    rows: int = 0
    frames: int = 0
    decoded: int = 0
    drops: Counter[DropCause] = field(default_factory=Counter)
    unknown_selector: int = 0
    unknown_ids: Counter[int] = field(default_factory=Counter)
    rounded: int = 0
    shift_us: int = 0
    first_us: int | None = None
    last_us: int | None = None

    def add(self, lot: FrameLot, counts: DecodeCounts, decoder: Decoder) -> None:
        """Count a lot."""
        self.frames += counts.received
        self.decoded += counts.decoded
        self.unknown_selector += counts.unknown_selector
        self.drops.update(counts.drops)
        latest = int(lot.t_us.max()) + self.shift_us
        self.last_us = latest if self.last_us is None else max(self.last_us, latest)
        if DropCause.UNKNOWN_ID in counts.drops:
            is_data = lot.flags & (FrameFlag.ERROR | FrameFlag.REMOTE) == 0  # others have causes of their own
            is_unknown = is_data & ~decoder.is_known(lot.can_id)
            ids, numbers = np.unique(lot.can_id[is_unknown], return_counts=True)
            for can_id, number in zip(ids.tolist(), numbers.tolist(), strict=True):
                if can_id in self.unknown_ids or len(self.unknown_ids) < UNKNOWN_IDS_MAX:
                    self.unknown_ids[can_id] += number


def decode_log(
    dbc: Path,
    log: Path,
    out: Path,
    *,
    bus: str | None = None,
    signals: Sequence[str] = (),
    start_us: int | None = None,
    matching: Matching = Matching.BY_DBC,
    tell: Callable[[LogReader], None] = lambda _: None,
) -> DecodeAccount:
    """Decode a log.

    Args:
        dbc: DBC file of the bus.
        log: The log, a file or a pipe.
        out: File to write, `.csv`, `.jsonl` or `.parquet`; it appears when it is complete.
        bus: Only this bus of the log; None for all.
        signals: Patterns of wanted signals; none for all.
        start_us: Time of the log's first frame, µs since 1970; None leaves the log's times.
        matching: How frames find their message.
        tell: Hears after each lot how far the log has been read.

    Raises:
        EdgeError: A file cannot be used, a pattern fits no signal, or a package is missing.
    """
    if out.suffix.lower() not in SUFFIXES:
        step = f"use {', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"
        raise EdgeError(f"{out}: the suffix decides the form", is_transient=False, next_step=step)
    if is_same_file(out, log) or is_same_file(out, dbc):
        step = "name another file to write"
        raise EdgeError(
            f"{out}: it is what is read, and would be overwritten", is_transient=False, next_step=step
        )
    compiled = compile_dbc(dbc, matching)
    selection = Selection.of(compiled.table, signals)
    account = DecodeAccount(
        dbc, out, LogReader(log), compiled.table.dbc_hash, tuple(map(str, compiled.warnings))
    )
    try:
        with LongFormFile(out, compiled.table, selection) as file:
            _decode(account, Decoder(compiled.table), file, bus=bus, start_us=start_us, tell=tell)
            account.rounded = file.rounded
            account.rows = file.rows
    except OSError as error:
        name = error.filename or out
        step = "check the path, its permissions and the space on the disk"
        what = f"{name}: {error.strerror or error}"
        raise EdgeError(what, is_transient=False, next_step=step) from error
    return account


def _decode(
    account: DecodeAccount,
    decoder: Decoder,
    file: LongFormFile,
    *,
    bus: str | None,
    start_us: int | None,
    tell: Callable[[LogReader], None],
) -> None:
    for lot in account.reader.lots():
        if account.first_us is None:
            first_us = int(lot.t_us[0])  # lots come in the order of their first frames: it is the log's first
            account.shift_us = 0 if start_us is None else start_us - first_us
            account.first_us = first_us + account.shift_us
        if bus is None or lot.bus == bus:
            decoded = decoder.decode(lot)
            account.add(lot, decoded.counts, decoder)
            file.write(lot.bus, decoded, shift_us=account.shift_us)
        tell(account.reader)


def utc_text(t_us: int) -> str:
    """Return µs since 1970 as people write them."""
    try:
        return (_EPOCH + dt.timedelta(microseconds=t_us)).isoformat().replace("+00:00", "Z")
    except OverflowError:
        return f"{t_us / 1e6:.6f} s"
