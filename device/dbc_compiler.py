"""A DBC file in, a decode table out.

Rules:
- A signal that cannot be decoded is left out and named in the findings; it never costs the rest of the file.
- Each signal is decoded from its own bits. Where signals overlap cantools itself gives no or shifted values;
  the bits that the DBC states are what we follow.
- Selectors compare raw values, as the DBC format means them.
- Messages of SAE J1939 are found by their parameter group number as well. The DBC says which those are: by
  the frame format of the message (attribute VFrameFormat, value J1939PG), or by the protocol of the file
  (ProtocolType). `Matching` overrules it.
- How the file is read, and what is said when it cannot be, stands in `dbc_file`.

The running agent never imports this module: it loads a compiled table. A replay compiles in a subprocess with
`python -m device.dbc_compiler car.dbc car.table`.

Example:
    >>> compiled = compile_dbc(Path("dbc/tbox_demo.dbc"))                               # doctest: +SKIP
    >>> len(compiled.table.messages), compiled.findings                                  # doctest: +SKIP
    (9, ())
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from collections import defaultdict
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING

from device.acquisition.lot import EXTENDED, FD_BYTES
from device.acquisition.table import Branch, DecodeTable, Group, Message, Selector
from device.dbc_columns import are_apart, bits_of, branch_label, column_of, obstacle_to, ranges_of
from device.dbc_error import DbcError
from device.dbc_file import read_database, read_dbc
from device.dbc_findings import Finding, FindingKind, Findings
from device.dbc_groups import shared_groups
from protocol.limits import COLUMNS_MAX, DBC_SIGNALS_MAX

if TYPE_CHECKING:
    from cantools.database.can import Database
    from cantools.database.can import Message as DbcMessage
    from cantools.database.can import Signal as DbcSignal

    from device.acquisition.table import Ranges
    from device.dbc_file import DbcFile

EXIT_UNREADABLE = 2


class Matching(StrEnum):
    """How frames find their message."""

    BY_DBC = "dbc"  # as the DBC says
    J1939 = "j1939"  # extended ones by parameter group number, whatever the DBC says
    EXACT = "exact"  # by the whole identifier, whatever the DBC says


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """A table, and what was read otherwise than the file says or left out on the way."""

    table: DecodeTable
    findings: tuple[Finding, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The findings, one sentence each."""
        return tuple(str(finding) for finding in self.findings)


def compile_dbc(path: Path, matching: Matching = Matching.BY_DBC) -> Compilation:
    """Read a DBC file and compile it.

    Args:
        path: A .dbc file (or .kcd, .sym).
        matching: How frames find their message.

    Returns:
        The table and what is to be said about it.

    Raises:
        DbcError: The file is missing, too large, not a DBC, or beyond the limits. Other files of the same run
            are not affected.
    """
    content = read_dbc(path)
    dbc = read_database(path, content)
    compiler = _Compiler(dbc, matching)
    # Later messages replace earlier ones of the same identifier, as in cantools.
    by_id = {_can_id(message): message for message in dbc.database.messages}
    messages = [compiler.message(can_id, by_id[can_id]) for can_id in sorted(by_id)]
    compiler.note_groups(messages)
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
    return Compilation(table=table, findings=dbc.findings + compiler.findings.all())


class _Compiler:
    """Collects groups and findings while messages are compiled in order of their identifiers."""

    def __init__(self, dbc: DbcFile, matching: Matching) -> None:
        self.groups: list[Group] = []
        self.findings = Findings()
        self._lines = dbc.lines
        self._matching = matching
        self._is_j1939 = _is_protocol_j1939(dbc.database)

    def message(self, can_id: int, message: DbcMessage) -> Message:
        """Compile one message and append its groups."""
        length = message.length
        if length > FD_BYTES:
            what = f"has {length} bytes, a frame carries at most {FD_BYTES}"
            self._note(FindingKind.LAYOUT, message, None, what)
            return Message(can_id=can_id, name=message.name, length=FD_BYTES, group=None, selectors=())
        usable = self._usable(message)
        children: dict[str | None, list[DbcSignal]] = defaultdict(list)
        for signal in usable:
            children[signal.multiplexer_signal].append(signal)
        base = self._group(can_id, message, None, children[None])
        selectors: list[Selector] = []
        if base is not None:
            self._selectors(can_id, message, base, children, selectors)
        mine = [] if base is None else self.groups[base:]
        reached = {column.signal for group in mine for column in group.columns}
        for name in sorted({signal.name for signal in usable} - reached):
            what = "is multiplexed by a signal that is not there"
            self._note(FindingKind.MULTIPLEXING, message, name, what)
        self._note_overlaps(message, base, selectors)
        return Message(
            can_id=can_id,
            name=message.name,
            length=length,
            group=base,
            selectors=tuple(selectors),
            is_j1939=self._is_matched_by_group(can_id, message),
        )

    def note_groups(self, messages: list[Message]) -> None:
        """Note J1939 messages that share a parameter group, and what tells them apart."""
        for finding in shared_groups([message for message in messages if message.is_j1939]):
            self.findings.add(FindingKind.J1939, self._line(finding.can_id, None), finding.what, finding.done)

    def _is_matched_by_group(self, can_id: int, message: DbcMessage) -> bool:
        if not can_id & EXTENDED or self._matching is Matching.EXACT:
            return False
        return self._matching is Matching.J1939 or self._is_j1939 or message.protocol == "j1939"

    def _usable(self, message: DbcMessage) -> list[DbcSignal]:
        """Return the signals that can be decoded, of those with the same name and switch the last."""
        usable: dict[str, dict[tuple[str | None, Ranges], DbcSignal]] = defaultdict(dict)
        before: dict[str, DbcSignal] = {}
        for signal in message.signals:
            earlier = before.get(signal.name)
            if earlier is not None and not are_apart(earlier, signal):
                what = "is there more than once"
                self._note(FindingKind.DUPLICATE, message, signal.name, what, "the last one counts")
                usable[signal.name].clear()
            before[signal.name] = signal
            obstacle = obstacle_to(signal, message.length)
            if obstacle is None:
                key = (signal.multiplexer_signal, ranges_of(signal.multiplexer_ids or ()))
                usable[signal.name][key] = signal
            else:
                self._note(FindingKind.LAYOUT, message, signal.name, obstacle)
        return [signal for signals in usable.values() for signal in signals.values()]

    def _note_overlaps(self, message: DbcMessage, base: int | None, selectors: list[Selector]) -> None:
        """Note the first two signals of a message that share a bit and may be there in the same frame."""
        if base is None:
            return
        taken: dict[int, list[tuple[int, str]]] = {}  # by group: what is there when the group is
        taken[base] = []
        branches = [(branch.group, selector.group) for selector in selectors for branch in selector.branches]
        for group, outer in [(base, base), *branches]:
            taken[group] = list(taken[outer]) if group != outer else []
            for column in self.groups[group].columns:
                bits = bits_of(column)
                other = next((name for mask, name in taken[group] if mask & bits), None)
                if other is not None:
                    what = f"shares bits with {other}"
                    done = "each is read from its own bits"
                    self._note(FindingKind.LAYOUT, message, column.signal, what, done)
                    return
                taken[group].append((bits, column.signal))

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
                    by_ids[ranges_of(child.multiplexer_ids)].append(child)
            if not named:
                continue
            if signal.conversion.scale != 1 or signal.conversion.offset != 0:
                what = "is a multiplexer switch, and scaled"
                self._note(FindingKind.MULTIPLEXING, message, signal.name, what, "its raw value selects")
            branches: list[Branch] = []
            for ids in sorted(by_ids):
                label = branch_label(signal.name, ids, branch_name)
                index = self._group(can_id, message, label, by_ids[ids])
                assert index is not None
                branches.append(Branch(ids=ids, group=index))
            found.append(
                Selector(group=group, column=number, branches=tuple(branches), known=ranges_of(named))
            )
            for branch in branches:
                self._selectors(can_id, message, branch.group, children, found)

    def _group(
        self, can_id: int, message: DbcMessage, branch: str | None, signals: list[DbcSignal]
    ) -> int | None:
        """Append a group and return its index, None when there is nothing in it."""
        if not signals:
            return None
        for signal in signals[COLUMNS_MAX:]:
            what = f"is beyond {COLUMNS_MAX} signals of one group"
            self._note(FindingKind.LIMIT, message, signal.name, what)
        columns = tuple(column_of(signal) for signal in signals[:COLUMNS_MAX])
        self.groups.append(Group(can_id=can_id, message=message.name, branch=branch, columns=columns))
        return len(self.groups) - 1

    def _line(self, can_id: int, signal: str | None) -> int | None:
        return self._lines.get((can_id, signal), self._lines.get((can_id, None)))

    def _note(
        self,
        kind: FindingKind,
        message: DbcMessage,
        signal: str | None,
        what: str,
        done: str = "left out",
    ) -> None:
        name = message.name if signal is None else f"{message.name}.{signal}"
        self.findings.add(kind, self._line(_can_id(message), signal), f"{name} {what}", done)


def _is_protocol_j1939(database: Database) -> bool:
    """Say whether the file as a whole says that it is J1939."""
    attributes = getattr(database.dbc, "attributes", None) or {}
    protocol = attributes.get("ProtocolType")
    return protocol is not None and "J1939" in str(protocol.value).upper()


def _can_id(message: DbcMessage) -> int:
    can_id: int = message.frame_id | (EXTENDED if message.is_extended_frame else 0)
    return can_id


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
    parser.add_argument(
        "--matching",
        type=Matching,
        choices=list(Matching),
        default=Matching.BY_DBC,
        help="how frames find their message: as the DBC says, or by J1939 parameter group, or exactly",
    )
    given = parser.parse_args(arguments)
    try:
        compiled = compile_dbc(given.dbc, given.matching)
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
