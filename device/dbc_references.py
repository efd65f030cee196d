"""Statements of a DBC about its signals: floats, multiplexer values, value texts, and needed attributes.

Rules:
- A statement about a message or signal that is not there is left out and noted.
- Where a broken statement leaves open how a signal is to be read (float or not, when it is switched on), that
  signal is left out: no value is better than a wrong one (`dbc_doubts`). Likewise signals whose multiplexer
  switch was left out.
- Only of a statement of one line whose keyword has no part in decoding it is said that it does not matter.
- Selector values are bounded for each message, since cantools expands ranges and keeps a codec for each.
- Of the attributes only those count that name things or say how frames are matched: long names, the frame
  format and the protocol.

Example:
    >>> references = References(draft)                                                  # doctest: +SKIP
    >>> references.add(statement)                                                       # doctest: +SKIP
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.dbc_about import About, parts_of, said_by
from device.dbc_doubts import Doubts, looks_decisive
from device.dbc_fields import understood, with_flag
from device.dbc_findings import FindingKind
from device.dbc_grammar import IDLE_KEYWORDS
from protocol.limits import DBC_SELECTOR_VALUES_MAX, DBC_VALUE_TEXTS_MAX

if TYPE_CHECKING:
    from device.dbc_draft import Draft, MessageDraft, SignalDraft
    from device.dbc_statements import Statement

ABOUT_SIGNALS = frozenset({"VAL_", "SIG_VALTYPE_", "SG_MUL_VAL_"})

NEEDED_ATTRIBUTES = frozenset(
    {'"VFrameFormat"', '"ProtocolType"', '"SystemSignalLongSymbol"', '"SystemMessageLongSymbol"'}
)

_OWNERS = {"BA_": ("message", "owner", "name")}

_FLOAT_TYPES = {1, 2}  # SIG_VALTYPE_: 1 is single, 2 double
_FLOAT_BITS = {16, 32, 64}  # what cantools can read as floats
_DEPTH_MAX = 16  # switches within switches; nobody nests more than three


@dataclass(slots=True)
class References:
    """Collects the statements, then settles them against the messages.

    Attributes:
        about: By identifier and signal name.
        attributes: Statements that are kept, the last of each attribute and owner.
    """

    draft: Draft
    about: dict[tuple[int, str], About] = field(default_factory=dict)
    attributes: dict[tuple[str | None, ...], Statement] = field(default_factory=dict)
    _doubts: Doubts = field(default_factory=Doubts)

    def add(self, statement: Statement) -> None:
        """Take a statement that is no message and no signal."""
        if statement.keyword in ABOUT_SIGNALS:
            self._add_about(statement)
        elif statement.form is None:
            self._add_broken(statement)
        elif "attribute" in statement.form.groupdict() and statement.form["attribute"] in NEEDED_ATTRIBUTES:
            key = (statement.keyword, *statement.form.group("attribute", *_OWNERS.get(statement.keyword, ())))
            self.attributes[key] = statement

    def settle(self) -> None:
        """Leave out what does not fit the messages, and signals that cannot be relied on."""
        messages = {message.dbc_id: message for message in self.draft.messages}
        for line, owner, name in self._doubts.settle(self.draft.messages):
            for signal in owner.named(name):
                why = f"line {line} may say how it is to be read, and is not understood"
                self._lose(owner, signal, FindingKind.SYNTAX, why)
        for (dbc_id, name), about in list(self.about.items()):
            message = messages.get(dbc_id)
            if message is None or not message.named(name):
                self._leave_out(dbc_id, name, about, message)
            elif about.type is not None and about.type[1] in _FLOAT_TYPES:
                for signal in message.named(name):
                    if signal.bits not in _FLOAT_BITS:
                        why = f"a float of {signal.bits} bits, not 16, 32 or 64"
                        self._lose(message, signal, FindingKind.LAYOUT, why)
        for message in list(messages.values()):
            self._settle_switches(message)
        self._bound_texts()

    def _bound_texts(self) -> None:
        """Leave out value texts when there are too many; they matter to people, not to numbers."""
        count = sum(len(about.texts[1]) for about in self.about.values() if about.texts)
        if count > DBC_VALUE_TEXTS_MAX:
            what = f"{count} value texts, at most {DBC_VALUE_TEXTS_MAX}"
            self.draft.note(FindingKind.LIMIT, None, what, "left out")
            for about in self.about.values():
                about.texts = None

    def _add_about(self, statement: Statement) -> None:
        keyword = statement.keyword
        form = statement.form or understood(statement)
        if form is not None and form["id"] is None:
            return  # a value text of an environment variable
        said = said_by(keyword, form, statement.line) if form is not None else None
        if form is None or said is None:
            self._add_broken(statement)
            return
        if statement.form is None:
            what = f"{keyword} of signal {form['name']} does not follow the format"
            self.draft.note(FindingKind.SYNTAX, statement.line, what, "read")
        dbc_id = int(form["id"])
        about = self.about.setdefault((with_flag(dbc_id) or dbc_id, form["name"]), About())
        match keyword:
            case "VAL_":
                about.texts = said.texts if said.texts and said.texts[1] else about.texts
            case "SIG_VALTYPE_":
                about.type = said.type
            case _:
                about.switch = said.switch

    def _add_broken(self, statement: Statement) -> None:
        done = "left out, it does not matter for decoding" if _is_idle(statement) else "left out"
        self.draft.note(FindingKind.SYNTAX, statement.line, f"no statement: {statement.shown}", done)
        if looks_decisive(statement.keyword, statement.text):
            self._doubts.add(statement)

    def _leave_out(self, dbc_id: int, name: str, about: About, message: MessageDraft | None) -> None:
        del self.about[dbc_id, name]
        for keyword, said in parts_of(about):
            if said is None:
                continue
            if dbc_id in self.draft.passed_over:
                self.draft.is_exact = False  # cantools passes over the message, then misses it
                continue
            missing = f"signal {name} of message {dbc_id}" if message is None else f"{message.name}.{name}"
            what = f"{keyword} of {missing}, which is not there"
            self.draft.note(FindingKind.REFERENCE, said[0], what, "left out")

    def _settle_switches(self, message: MessageDraft) -> None:
        """Leave out signals whose switch was left out, and a message with too many selector values."""
        if message.is_doubtful and not any(signal.is_switch for signal in message.signals):
            message.is_switch_lost = True
        self._settle_ambiguous(message)
        for _ in range(_DEPTH_MAX):  # a switch that goes takes those that it switches with it
            orphans = [signal for signal in message.signals if self._has_lost_switch(message, signal)]
            for signal in orphans:
                why = "its multiplexer switch was left out"
                self._lose(message, signal, FindingKind.MULTIPLEXING, why)
            if not orphans:
                break
        if message.is_switch_lost:
            self._number_marks(message)
        loose = [signal for signal in message.signals if self._is_without_switch(message, signal)]
        if loose and not any(signal.is_switch for signal in message.signals):
            what = f"message {message.name}: multiplexed signals, but no switch"
            self.draft.findings.add(FindingKind.MULTIPLEXING, loose[0].line, what, "read in every frame")
        count = self._selector_values(message)
        if count > DBC_SELECTOR_VALUES_MAX:
            what = f"message {message.name}: {count} selector values, at most {DBC_SELECTOR_VALUES_MAX}"
            self.draft.note(FindingKind.LIMIT, message.line, what, "left out")
            self.draft.messages.remove(message)
            for key in [key for key in self.about if key[0] == message.dbc_id]:
                del self.about[key]

    def _settle_ambiguous(self, message: MessageDraft) -> None:
        """Leave out multiplexed signals of which it is not said, or wrongly, what switches them."""
        switches = {signal.name for signal in message.signals if signal.is_switch}
        present = set(message.by_name)
        for signal in message.signals:
            if signal.mux in {None, "M"}:
                continue
            about = self.about.get((message.dbc_id, signal.name))
            named = about.switch[1] if about is not None and about.switch is not None else None
            if named is not None and named not in present and not message.has_lost:
                why = f"SG_MUL_VAL_ names {named} as its switch, which is not there"
            elif named in present - switches:
                why = f"SG_MUL_VAL_ names {named} as its switch, which is none"
            elif named is None and len(switches) > 1:
                why = "no SG_MUL_VAL_ says which of several switches it depends on"
            else:
                continue
            self._lose(message, signal, FindingKind.MULTIPLEXING, why)

    def _has_lost_switch(self, message: MessageDraft, signal: SignalDraft) -> bool:
        if signal.mux is None or not message.has_lost:
            return False
        about = self.about.get((message.dbc_id, signal.name))
        if about is not None and about.switch is not None:
            return not message.named(about.switch[1])
        return signal.mux != "M" and message.is_switch_lost  # it may have been this one's

    def _number_marks(self, message: MessageDraft) -> None:
        """Give each multiplexed signal the first of its own values as its mark.

        With one switch left cantools adds the mark's number to the values; with more it passes it over.
        """
        for signal in message.signals:
            about = self.about.get((message.dbc_id, signal.name))
            if signal.mux not in {None, "M"} and about is not None and about.switch is not None:
                message.lose(signal)
                signal.mux = f"m{about.switch[2][0][0]}" + ("M" if signal.is_switch else "")
                message.add(signal)

    def _is_without_switch(self, message: MessageDraft, signal: SignalDraft) -> bool:
        about = self.about.get((message.dbc_id, signal.name))
        return signal.mux is not None and signal.mux != "M" and (about is None or about.switch is None)

    def _selector_values(self, message: MessageDraft) -> int:
        """Return how many codecs cantools makes for the message, at most."""
        switches = [signal for signal in message.signals if signal.is_switch]
        only = switches[0].name if len(switches) == 1 else None
        children: dict[str, list[tuple[SignalDraft, int]]] = defaultdict(list)
        roots: list[str] = []
        for signal in message.signals:
            about = self.about.get((message.dbc_id, signal.name), About())
            parent = about.switch[1] if about.switch else None
            values = sum(max(0, last - first + 1) for first, last in about.switch[2]) if about.switch else 0
            if only is not None and signal.name != only:
                parent, values = only, values + 1
            if signal.mux is not None and parent is not None and signal.name != only:
                children[parent].append((signal, values))
            elif signal.is_switch:
                roots.append(signal.name)
        return sum(self._codecs(message, root, children, 0) for root in roots)

    def _codecs(
        self,
        message: MessageDraft,
        switch: str,
        children: dict[str, list[tuple[SignalDraft, int]]],
        depth: int,
    ) -> int:
        if depth > _DEPTH_MAX:
            return DBC_SELECTOR_VALUES_MAX + 1
        texts = self.about.get((message.dbc_id, switch), About()).texts
        total = len(texts[1]) if texts else 0
        for signal, values in children[switch]:
            inner = self._codecs(message, signal.name, children, depth + 1) if signal.is_switch else 0
            total += values * (1 + inner)
        return total

    def _lose(self, message: MessageDraft, signal: SignalDraft, kind: FindingKind, why: str) -> None:
        self.draft.note(kind, signal.line, f"signal {signal.name} of {message.name}: {why}", "left out")
        message.lose(signal)
        if not message.named(signal.name):
            self.about.pop((message.dbc_id, signal.name), None)


def _is_idle(statement: Statement) -> bool:
    """Say whether a broken statement surely has no part in decoding; several lines may hide another."""
    return (
        statement.keyword in IDLE_KEYWORDS
        and "\n" not in statement.text
        and not looks_decisive(statement.keyword, statement.text)
        and not any(attribute in statement.text for attribute in NEEDED_ATTRIBUTES)
    )
