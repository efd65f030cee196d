"""A DBC file in, a decode table out.

Rules:
- A signal that cannot be decoded is left out and named in the warnings; it never costs the rest of the file.
- Each signal is decoded from its own bits. Where signals overlap cantools itself gives no or shifted values;
  the bits that the DBC states are what we follow.
- Selectors compare raw values, as the DBC format means them.
- How the file is read, and what is said when it cannot be, stands in `dbc_file`.

The running agent never imports this module: it loads a compiled table. A replay compiles in a subprocess with
`python -m device.dbc_compiler car.dbc car.table`.

Example:
    >>> compiled = compile_dbc(Path("dbc/tbox_demo.dbc"))                               # doctest: +SKIP
    >>> len(compiled.table.messages), compiled.warnings                                  # doctest: +SKIP
    (9, ())
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.acquisition.lot import EXTENDED, FD_BYTES
from device.acquisition.table import COLUMN_BITS_MAX, Branch, Column, DecodeTable, Group, Message, Selector
from device.dbc_file import DbcError, load_database, read_dbc
from protocol.limits import COLUMNS_MAX, DBC_SIGNALS_MAX, TEXT_BYTES_MAX
from protocol.signals import RawType

if TYPE_CHECKING:
    from collections.abc import Iterable

    from cantools.database.can import Message as DbcMessage
    from cantools.database.can import Signal as DbcSignal

    from device.acquisition.table import Ranges

_FLOATS = {32: RawType.FLOAT32, 64: RawType.FLOAT64}

_FACTOR_MAX = 2**63  # what an integer column of the dictionary can say

# Text that names a branch may be as long as any text; longer lists of ranges are shortened with a digest.
_BRANCH_CHARS_MAX = TEXT_BYTES_MAX // 4

EXIT_UNREADABLE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """A table, and what was forgiven or left out on the way, one sentence each."""

    table: DecodeTable
    warnings: tuple[str, ...]


def compile_dbc(path: Path) -> Compilation:
    """Read a DBC file and compile it.

    Args:
        path: A .dbc file (or .kcd, .sym).

    Returns:
        The table and its warnings.

    Raises:
        DbcError: The file is missing, too large, not a DBC, or beyond the limits.
    """
    content = read_dbc(path)
    database, warnings = load_database(path, content)
    compiler = _Compiler(warnings)
    # Later messages replace earlier ones of the same identifier, as in cantools.
    by_id = {_can_id(message): message for message in database.messages}
    messages = [compiler.message(can_id, by_id[can_id]) for can_id in sorted(by_id)]
    total = sum(len(group.columns) for group in compiler.groups)
    if total > DBC_SIGNALS_MAX:
        raise DbcError(
            path,
            f"{total} signals, at most {DBC_SIGNALS_MAX} are supported",
            "Keep the messages you need in a smaller DBC.",
        )
    table = DecodeTable(
        dbc_hash=hashlib.sha256(content).digest(), messages=tuple(messages), groups=tuple(compiler.groups)
    )
    return Compilation(table=table, warnings=tuple(warnings))


class _Compiler:
    """Collects groups and warnings while messages are compiled in order of their identifiers."""

    def __init__(self, warnings: list[str]) -> None:
        self.groups: list[Group] = []
        self._warnings = warnings

    def message(self, can_id: int, message: DbcMessage) -> Message:
        """Compile one message and append its groups."""
        length = message.length
        if length > FD_BYTES:
            self._warn(message, None, f"has {length} bytes, a frame carries at most {FD_BYTES}: left out")
            return Message(can_id=can_id, name=message.name, length=FD_BYTES, group=None, selectors=())
        usable = self._usable(message)
        children: dict[str | None, list[DbcSignal]] = defaultdict(list)
        for signal in usable.values():
            children[signal.multiplexer_signal].append(signal)
        base = self._group(can_id, message, None, children[None])
        selectors: list[Selector] = []
        if base is not None:
            self._selectors(can_id, message, base, children, selectors)
        mine = [] if base is None else self.groups[base:]
        reached = {column.signal for group in mine for column in group.columns}
        for name in usable.keys() - reached:
            self._warn(message, name, "is multiplexed by a signal that is not there: left out")
        return Message(
            can_id=can_id, name=message.name, length=length, group=base, selectors=tuple(selectors)
        )

    def _usable(self, message: DbcMessage) -> dict[str, DbcSignal]:
        """Return the signals that can be decoded, by name; the last of a name wins, as in cantools."""
        usable: dict[str, DbcSignal] = {}
        for signal in message.signals:
            if signal.name in usable:
                self._warn(message, signal.name, "is there more than once: the last one counts")
            obstacle = _obstacle(signal, message.length)
            if obstacle is None:
                usable[signal.name] = signal
            else:
                self._warn(message, signal.name, f"{obstacle}: left out")
        return usable

    def _selectors(
        self,
        can_id: int,
        message: DbcMessage,
        group: int,
        children: dict[str | None, list[DbcSignal]],
        found: list[Selector],
    ) -> None:
        """Add the selectors that stand in a group, then those of their branches."""
        branch_name = self.groups[group].branch
        members = {signal.name: signal for signals in children.values() for signal in signals}
        for number, column in enumerate(self.groups[group].columns):
            signal = members[column.signal]
            if not signal.is_multiplexer:
                continue
            by_ids: dict[Ranges, list[DbcSignal]] = defaultdict(list)
            named: set[int] = set(signal.conversion.choices or ())
            for child in children[signal.name]:
                if child.multiplexer_ids:
                    named.update(child.multiplexer_ids)
                    by_ids[_ranges(child.multiplexer_ids)].append(child)
            if not named:
                continue
            if signal.conversion.scale != 1 or signal.conversion.offset != 0:
                self._warn(message, signal.name, "selects by its raw value, though it is scaled")
            branches: list[Branch] = []
            for ids in sorted(by_ids):
                label = _label(signal.name, ids, branch_name)
                index = self._group(can_id, message, label, by_ids[ids])
                assert index is not None
                branches.append(Branch(ids=ids, group=index))
            found.append(Selector(group=group, column=number, branches=tuple(branches), known=_ranges(named)))
            for branch in branches:
                self._selectors(can_id, message, branch.group, children, found)

    def _group(
        self, can_id: int, message: DbcMessage, branch: str | None, signals: list[DbcSignal]
    ) -> int | None:
        """Append a group and return its index, None when there is nothing in it."""
        if not signals:
            return None
        for signal in signals[COLUMNS_MAX:]:
            self._warn(message, signal.name, f"is beyond {COLUMNS_MAX} signals of one group: left out")
        columns = tuple(_column(signal) for signal in signals[:COLUMNS_MAX])
        self.groups.append(Group(can_id=can_id, message=message.name, branch=branch, columns=columns))
        return len(self.groups) - 1

    def _warn(self, message: DbcMessage, signal: str | None, sentence: str) -> None:
        name = message.name if signal is None else f"{message.name}.{signal}"
        self._warnings.append(f"{name} {sentence}")


def _can_id(message: DbcMessage) -> int:
    can_id: int = message.frame_id | (EXTENDED if message.is_extended_frame else 0)
    return can_id


def _obstacle(signal: DbcSignal, length: int) -> str | None:
    """Return why a signal cannot be decoded, None when it can."""
    if len(signal.name.encode()) > TEXT_BYTES_MAX:
        return f"has a name above {TEXT_BYTES_MAX} bytes"
    if signal.conversion.is_float and signal.length not in _FLOATS:
        return f"is a float of {signal.length} bits, not 32 or 64"
    if not 1 <= signal.length <= COLUMN_BITS_MAX:
        return f"has {signal.length} bits, not 1 to {COLUMN_BITS_MAX}"
    start = _start(signal)
    if start < 0 or start + signal.length > 8 * length:
        return f"does not fit into {length} bytes"
    if not all(abs(number) < _FACTOR_MAX for number in (signal.conversion.scale, signal.conversion.offset)):
        return "has a scale or offset that is not a number or beyond 64 bits"
    return None


def _start(signal: DbcSignal) -> int:
    """Return the start bit in the table's form (see `Column.start`)."""
    start: int = signal.start
    return 8 * (start // 8) + 7 - start % 8 if signal.byte_order == "big_endian" else start


def _factors(signal: DbcSignal) -> tuple[int | float, int | float]:
    """Return scale and offset, as integers exactly where cantools computes with integers."""
    scale, offset = signal.conversion.scale, signal.conversion.offset
    if scale == 1 and offset == 0:
        return 1, 0
    if not signal.conversion.is_float and float(scale).is_integer() and float(offset).is_integer():
        return int(scale), int(offset)
    return scale, offset


def _column(signal: DbcSignal) -> Column:
    scale, offset = _factors(signal)
    if signal.conversion.is_float:
        raw_type = _FLOATS[signal.length]
    else:
        raw_type = RawType.INT if signal.is_signed else RawType.UINT
    unit = (signal.unit or "").encode()[:TEXT_BYTES_MAX].decode(errors="ignore")
    return Column(
        signal=signal.name,
        raw_type=raw_type,
        bits=signal.length,
        start=_start(signal),
        is_big_endian=signal.byte_order == "big_endian",
        scale=scale,
        offset=offset,
        unit=unit or None,
    )


def _ranges(values: Iterable[int]) -> Ranges:
    """Return sorted inclusive ranges that hold exactly the values."""
    ranges: list[tuple[int, int]] = []
    for value in sorted(set(values)):
        if ranges and value == ranges[-1][1] + 1:
            ranges[-1] = (ranges[-1][0], value)
        else:
            ranges.append((value, value))
    return tuple(ranges)


def _label(selector: str, ids: Ranges, outer: str | None) -> str:
    """Return the name of a branch: `mux=3`, `mux=0-2,7`, nested `outer=1/inner=4`."""
    values = ",".join(str(first) if first == last else f"{first}-{last}" for first, last in ids)
    if len(values) > _BRANCH_CHARS_MAX:
        digest = hashlib.sha256(values.encode()).hexdigest()[:8]
        values = f"{values[: _BRANCH_CHARS_MAX - 9].rpartition(',')[0]},…{digest}"
    label = f"{selector}={values}"
    return label if outer is None else f"{outer}/{label}"


def main(arguments: list[str] | None = None) -> int:
    """Compile a file from the command line; warnings go to standard error.

    Returns:
        0, or 2 when the DBC cannot be used or the table cannot be written.
    """
    parser = argparse.ArgumentParser(
        prog="python -m device.dbc_compiler", description="Compile a DBC file into a decode table."
    )
    parser.add_argument("dbc", type=Path, help="DBC file to read")
    parser.add_argument("table", type=Path, help="decode table to write")
    given = parser.parse_args(arguments)
    try:
        compiled = compile_dbc(given.dbc)
        partial = given.table.with_name(given.table.name + ".partial")
        partial.write_bytes(compiled.table.to_bytes())
        partial.replace(given.table)
    except DbcError as error:
        sys.stderr.write(f"{error.diagnostics()}\n")
        return EXIT_UNREADABLE
    except OSError as error:
        sys.stderr.write(f"{given.table}: {error.strerror or error}\n")
        return EXIT_UNREADABLE
    for warning in compiled.warnings:
        sys.stderr.write(f"warning: {warning}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
