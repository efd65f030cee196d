r"""Messages and signals of a DBC as far as decoding needs them, exact ones and understood ones.

Rules:
- A statement in its exact form means what it says. One that is only understood is read and noted; one that is
  not is left out and noted. A message that is left out takes its signals with it.
- A 29-bit identifier without its flag (bit 31) gets the flag; an identifier that is none leaves its message
  out.
- Of a signal that is there twice with the same multiplexer value the last one counts, as in cantools.

It does not look at statements about signals (`dbc_references`) and writes nothing (`dbc_repair`).

Example:
    >>> from device.dbc_findings import Findings
    >>> from device.dbc_statements import statements
    >>> draft = Draft(Findings())
    >>> for item in statements('BO_ 419361792 2017_1: 8 X\n SG_ 1ST : 0|8@1+ (.5,0) [0|0] "" X'):
    ...     draft.add(item)
    >>> [(message.name, hex(message.dbc_id), message.signals[0].scale) for message in draft.messages]
    [('2017_1', '0x98fef400', '0.5')]
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.dbc_fields import is_like_a_signal, may_be_switch, number, understood, unit_of, whole, with_flag
from device.dbc_findings import FindingKind
from device.dbc_grammar import LIKE_A_MESSAGE, NAME
from protocol.limits import DBC_MESSAGE_BYTES_MAX

if TYPE_CHECKING:
    from device.dbc_findings import Findings
    from device.dbc_statements import Statement


# What Vector's tools call the message that holds signals of no message; cantools passes it over.
NO_MESSAGE = "VECTOR__INDEPENDENT_SIG_MSG"

_MARK = re.compile(r"M|m(\d{1,19})M?")  # 19 digits: below 64 bits

_BARE_MARK = "m"  # stands in some files where `M` is meant

_BITS_MAX = 8 * DBC_MESSAGE_BYTES_MAX


@dataclass(slots=True, kw_only=True)
class SignalDraft:
    """A signal: its line, and the fields of its statement as text."""

    line: int
    name: str
    mux: str | None
    start: int
    bits: int
    order: str
    sign: str
    scale: str
    offset: str
    unit: str

    @property
    def is_switch(self) -> bool:
        """Whether other signals of the message may depend on it."""
        return self.mux is not None and self.mux.endswith("M")


@dataclass(slots=True, kw_only=True)
class MessageDraft:
    """A message: its line, identifier with the flag in bit 31, and signals by name and multiplexer mark.

    Attributes:
        has_lost: Whether a signal was left out.
        is_doubtful: Whether a line that may have been any signal of it was left out.
        is_switch_lost: Whether a multiplexer switch was left out, as far as one can know.
    """

    line: int
    dbc_id: int
    name: str
    length: int
    by_name: dict[str, dict[str | None, SignalDraft]] = field(default_factory=dict)
    has_lost: bool = False
    is_doubtful: bool = False
    is_switch_lost: bool = False

    @property
    def signals(self) -> list[SignalDraft]:
        """The signals, those of one name together."""
        return [signal for signals in self.by_name.values() for signal in signals.values()]

    def named(self, name: str) -> list[SignalDraft]:
        """Return the signals of a name."""
        return list(self.by_name.get(name, {}).values())

    def add(self, signal: SignalDraft) -> SignalDraft | None:
        """Take a signal; return the earlier one of the same name and mark that it replaces."""
        mine = self.by_name.setdefault(signal.name, {})
        earlier = mine.pop(signal.mux, None)
        mine[signal.mux] = signal
        return earlier

    def lose(self, signal: SignalDraft) -> None:
        """Leave a signal out."""
        mine = self.by_name[signal.name]
        del mine[signal.mux]
        if not mine:
            del self.by_name[signal.name]
        self.has_lost = True
        self.is_switch_lost |= signal.is_switch


class Draft:
    """Collects messages from statements in order.

    Attributes:
        messages: So far.
        findings: Where notes go.
        is_exact: Whether all is as it stands in the file: nothing was read otherwise or left out.
        n_signals: Signals met, those left out included.
        passed_over: Identifiers of messages that cantools passes over.
    """

    def __init__(self, findings: Findings) -> None:
        self.messages: list[MessageDraft] = []
        self.is_exact = True
        self.n_signals = 0
        self.passed_over: set[int] = set()
        self.findings = findings
        self._current: MessageDraft | None = None
        self._is_skipping = False
        self._is_apart = False

    def add(self, statement: Statement) -> None:
        """Take a `BO_` or `SG_` statement; any other only ends a run of signals."""
        match statement.keyword:
            case "BO_":
                self._is_apart = False
                self._current = self._message(statement)
                self._is_skipping = self._current is None
                if self._current is not None:
                    self.messages.append(self._current)
            case "SG_":
                self.n_signals += 1
                if not self._is_skipping:
                    self._take_signal(statement)
            case _ if statement.form is None:
                self._pass_broken(statement)
            case _:
                self._is_apart = True

    def settle_marks(self) -> None:
        """Read a bare `m` as the switch of a message that has no other, and leave it out elsewhere."""
        for message in self.messages:
            signals = message.signals
            has_switch = message.is_switch_lost or any(signal.is_switch for signal in signals)
            for signal in signals:
                if signal.mux != _BARE_MARK:
                    continue
                what = f"signal {signal.name} of {message.name}: m is no multiplexer mark"
                message.lose(signal)
                if has_switch:
                    self.note(FindingKind.MULTIPLEXING, signal.line, what, "left out")
                else:
                    self.note(FindingKind.MULTIPLEXING, signal.line, what, "read as the switch M")
                    signal.mux = "M"
                    message.add(signal)
                    has_switch = True

    def note(self, kind: FindingKind, line: int | None, what: str, done: str) -> None:
        """Note something that makes the reading differ from the text."""
        self.is_exact = False
        self.findings.add(kind, line, what, done)

    def _pass_broken(self, statement: Statement) -> None:
        """Go on after a broken statement: it was a signal, or may have been the message of those after it.

        Words behind a statement in its line are neither.
        """
        message = self._current
        if message is None:
            return
        lines = [line for line in statement.text.split("\n") if line.strip()]
        if not statement.is_on_its_own:
            del lines[:1]
        for line in lines:
            if is_like_a_signal(line):
                message.has_lost = True
                message.is_switch_lost |= may_be_switch(line)
                continue
            if not statement.keyword or "\n" in statement.text:
                message.has_lost = message.is_doubtful = True
            self._current = None
            return

    def _message(self, statement: Statement) -> MessageDraft | None:
        form = statement.form or understood(statement)
        dbc_id, length = (whole(form["id"]), whole(form["length"])) if form else (None, None)
        if form is None or dbc_id is None or length is None:
            done = "left out with its signals"
            self.note(FindingKind.SYNTAX, statement.line, f"no message: {statement.shown}", done)
            return None
        name = form["name"]
        if name == NO_MESSAGE:
            self.passed_over.add(dbc_id)
            return None
        flagged = self._flagged(statement.line, name, dbc_id)
        if flagged is None:
            return None
        if length > DBC_MESSAGE_BYTES_MAX:
            what = f"message {name} of {length} bytes, at most {DBC_MESSAGE_BYTES_MAX}"
            self.note(FindingKind.LIMIT, statement.line, what, "left out")
            return None
        if statement.form is None:
            self._note_loose(statement.line, f"message {name}", name)
        return MessageDraft(line=statement.line, dbc_id=flagged, name=name, length=length)

    def _flagged(self, line: int, name: str, dbc_id: int) -> int | None:
        """Return the identifier with its flag, None when there can be none."""
        flagged = with_flag(dbc_id)
        if flagged is None:
            what = f"message {name}: identifier {dbc_id} (0x{dbc_id:X}) is beyond 29 bits"
            self.note(FindingKind.IDENTIFIER, line, what, "left out with its signals")
        elif flagged != dbc_id:
            what = f"message {name}: identifier 0x{dbc_id:X} is beyond 11 bits and not flagged as extended"
            self.note(FindingKind.IDENTIFIER, line, what, "read as extended")
        return flagged

    def _take_signal(self, statement: Statement) -> None:
        if self._current is None:
            what = f"signal of no message: {statement.shown}"
            self.note(FindingKind.SYNTAX, statement.line, what, "left out")
            return
        signal = self._signal(self._current, statement)
        if signal is None:
            return
        if self._is_apart:
            what = f"signal {signal.name} stands apart from its message"
            self.note(FindingKind.SYNTAX, statement.line, what, f"read as part of {self._current.name}")
        earlier = self._current.add(signal)
        if earlier is not None:
            what = f"signal {signal.name} of {self._current.name} is in line {signal.line} again"
            self.note(FindingKind.DUPLICATE, earlier.line, what, "the last one counts")

    def _signal(self, message: MessageDraft, statement: Statement) -> SignalDraft | None:
        form = statement.form or understood(statement)
        if form is None:
            self._lose(
                message, statement, FindingKind.SYNTAX, f"no signal of {message.name}: {statement.shown}"
            )
            if LIKE_A_MESSAGE.match(statement.text):
                message.is_doubtful = True
                self._current = None  # the signals that follow may be its own
            return None
        name, mux = form["name"], form["mux"]
        start, bits = whole(form["start"]), whole(form["bits"])
        if mux is not None and mux != _BARE_MARK and _MARK.fullmatch(mux) is None:
            what = f"signal {name} of {message.name}: {mux} is no multiplexer mark"
            self._lose(message, statement, FindingKind.MULTIPLEXING, what)
            return None
        if start is None or bits is None or not 0 < bits <= _BITS_MAX or start > _BITS_MAX:
            what = f"signal {name} of {message.name}: {form['bits']} bits from bit {form['start']}"
            self._lose(message, statement, FindingKind.LAYOUT, what)
            return None
        if statement.form is None:
            self._note_loose(statement.line, f"signal {name} of {message.name}", name)
        return SignalDraft(
            line=statement.line,
            name=name,
            mux=mux,
            start=start,
            bits=bits,
            order="0" if form["order"] == "0" else "1",
            sign=form["sign"],
            scale=number(form["scale"]),
            offset=number(form["offset"]),
            unit=unit_of(form),
        )

    def _lose(self, message: MessageDraft, statement: Statement, kind: FindingKind, what: str) -> None:
        self.note(kind, statement.line, what, "left out")
        message.has_lost = True
        message.is_switch_lost |= may_be_switch(statement.text)

    def _note_loose(self, line: int, what: str, name: str) -> None:
        if NAME.fullmatch(name) is None:
            self.note(FindingKind.NAME, line, f"{what}: a name that the format does not allow", "read")
        else:
            self.note(FindingKind.SYNTAX, line, f"{what} does not follow the format", "read")
