r"""A DBC text that cantools reads, from one that people wrote.

Rules:
- A text whose statements all have their exact form and fit each other goes to cantools as it stands.
- Any other, and a very long one, is written anew from what was understood: messages with their signals and
  what is said about them, each message on the line it had. What does not matter for decoding (comments,
  nodes, most attributes) is left away there; what was read otherwise or left out is in the findings.
- A name that the format does not allow is replaced by a placeholder on the way through cantools, and is
  restored afterwards (`Repaired.names`).
- Sizes are bounded here, before cantools sees anything.

It does not call cantools.

Example:
    >>> from pathlib import Path
    >>> from device.dbc_findings import Findings
    >>> repaired = repair(Path("x.dbc"), 'BO_ 1 7UP: 8 X\n SG_ A : 0|8@1+ (.5,0) [0|0] "" X\n', Findings())
    >>> print(repaired.text)
    BO_ 1 Odd_0: 8 Vector__XXX
     SG_ A : 0|8@1+ (0.5,0) [0|0] "" Vector__XXX
    <BLANKLINE>
    >>> repaired.names
    {'Odd_0': '7UP'}
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.dbc_draft import Draft
from device.dbc_error import DbcError
from device.dbc_fields import whole, with_flag
from device.dbc_findings import FindingKind
from device.dbc_grammar import NAME
from device.dbc_references import References
from device.dbc_statements import statements
from protocol.limits import DBC_BROKEN_MAX, DBC_MESSAGES_MAX, DBC_SIGNALS_MAX, DBC_VERBATIM_CHARS_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from device.dbc_about import About
    from device.dbc_draft import MessageDraft
    from device.dbc_findings import Findings
    from device.dbc_statements import Statement


@dataclass(frozen=True, slots=True, kw_only=True)
class Repaired:
    """What cantools is to read.

    Attributes:
        text: The original text, or one written anew.
        is_original: Which of the two.
        bare: The text without attributes, should cantools stumble over them.
        names: Placeholders and the names that they stand for.
        lines: Line number by identifier (bit 31 set for extended) and signal name, None for the message.
    """

    text: str
    is_original: bool
    bare: str
    names: dict[str, str]
    lines: dict[tuple[int, str | None], int]


def repair(path: Path, text: str, findings: Findings) -> Repaired:
    """Read a text statement by statement.

    Args:
        path: The file, for errors.
        text: Its text.
        findings: Where to note what is odd.

    Returns:
        A text that is bounded and follows the format.

    Raises:
        DbcError: It is no DBC, it is beyond a limit, or none of its messages can be read.
    """
    draft = Draft(findings)
    references = References(draft)
    first_broken: Statement | None = None
    n_statements = n_broken = 0
    for statement in statements(text):
        n_statements += bool(statement.keyword)
        if statement.form is None:
            first_broken = first_broken or statement
            n_broken += 1
        draft.add(statement)
        _check_limits(path, draft, n_broken)
        if statement.keyword not in {"BO_", "SG_"}:
            references.add(statement)
    if n_statements == 0:
        line = 1 if first_broken is None else first_broken.line
        raise DbcError(path, "not readable as DBC: there is no statement of one", "Name a DBC file.", line)
    n_messages = len(draft.messages)
    _keep_last(draft)
    draft.settle_marks()
    references.settle()
    if not draft.messages and (n_messages or not draft.is_exact):
        _raise_nothing_left(path, findings)
    _note_same_names(draft, findings)
    return _written(text, draft, references)


def _check_limits(path: Path, draft: Draft, n_broken: int) -> None:
    if n_broken > DBC_BROKEN_MAX:
        cause = f"not readable as DBC: more than {DBC_BROKEN_MAX} statements are none"
        raise DbcError(path, cause, "Name a DBC file.")
    next_step = "Keep the messages you need in a smaller DBC."
    if len(draft.messages) > DBC_MESSAGES_MAX:
        raise DbcError(path, f"more than {DBC_MESSAGES_MAX} messages", next_step)
    if draft.n_signals > DBC_SIGNALS_MAX:
        raise DbcError(path, f"more than {DBC_SIGNALS_MAX} signals", next_step)


def _raise_nothing_left(path: Path, findings: Findings) -> None:
    """Say which line stands in the way, when no message is left."""
    placed = [finding for finding in findings.all() if finding.line is not None]
    about_messages = [finding for finding in placed if "message" in finding.what]
    first = next(iter(about_messages or placed), None)
    cause = "no message of it can be read" if first is None else f"no message of it can be read; {first.what}"
    line = None if first is None else first.line
    raise DbcError(path, f"not readable as DBC: {cause}", "Correct that line, or take another file.", line)


def _keep_last(draft: Draft) -> None:
    """Leave out messages whose identifier comes again, as cantools does."""
    last = {message.dbc_id: message for message in draft.messages}
    for message in draft.messages:
        if last[message.dbc_id] is not message:
            what = f"message {message.name}: its identifier is in line {last[message.dbc_id].line} again"
            draft.note(FindingKind.DUPLICATE, message.line, what, "the last one counts")
    draft.messages[:] = [message for message in draft.messages if last[message.dbc_id] is message]


def _note_same_names(draft: Draft, findings: Findings) -> None:
    """Note names that two messages share: a profile cannot tell their signals apart."""
    first: dict[str, int] = {}
    for message in draft.messages:
        if message.name in first:
            what = f"message {message.name}: the message in line {first[message.name]} has that name, too"
            findings.add(FindingKind.DUPLICATE, message.line, what, "both are read")
        first.setdefault(message.name, message.line)


def _written(text: str, draft: Draft, references: References) -> Repaired:
    lines: dict[tuple[int, str | None], int] = {}
    for message in draft.messages:
        lines[message.dbc_id, None] = message.line
        lines.update({(message.dbc_id, signal.name): signal.line for signal in message.signals})
    writer = _Writer(text)
    for message in draft.messages:
        writer.message(message)
    for (dbc_id, name), about in references.about.items():
        writer.about(dbc_id, name, about)
    bare = writer.text()
    for statement in references.attributes.values():
        writer.attribute(statement, {dbc_id for dbc_id, _ in lines})
    names = {placeholder: name for name, placeholder in writer.placeholders.items()}
    is_original = draft.is_exact and len(text) <= DBC_VERBATIM_CHARS_MAX
    return Repaired(
        text=text if is_original else writer.text(),
        is_original=is_original,
        bare=bare,
        names=names,
        lines=lines,
    )


@dataclass(slots=True)
class _Writer:
    """Writes statements, messages on the lines they had."""

    original: str
    placeholders: dict[str, str] = field(default_factory=dict)
    _parts: list[str] = field(default_factory=list)
    _line: int = 1
    _prefix: str = "Odd_"

    def __post_init__(self) -> None:
        while self._prefix in self.original:
            self._prefix += "_"

    def text(self) -> str:
        """Return what was written so far."""
        return "".join(self._parts)

    def message(self, message: MessageDraft) -> None:
        """Write a message and its signals."""
        self._at(
            message.line, f"BO_ {message.dbc_id} {self._name(message.name)}: {message.length} Vector__XXX"
        )
        for signal in sorted(message.signals, key=lambda signal: signal.line):
            mux = "" if signal.mux is None else f"{signal.mux} "
            place = f"{signal.start}|{signal.bits}@{signal.order}{signal.sign}"
            factors = f"({signal.scale},{signal.offset})"
            name = self._name(signal.name)
            self._at(
                signal.line, f" SG_ {name} {mux}: {place} {factors} [0|0] {_tame(signal.unit)} Vector__XXX"
            )

    def about(self, dbc_id: int, name: str, about: About) -> None:
        """Write what is said about a signal."""
        known = self._name(name)
        if about.texts is not None:
            pairs = " ".join(f"{number} {_tame(text)}" for number, text in about.texts[1])
            self._add(f"VAL_ {dbc_id} {known} {pairs} ;")
        if about.type is not None:
            self._add(f"SIG_VALTYPE_ {dbc_id} {known} : {about.type[1]};")
        if about.switch is not None:
            ranges = ", ".join(f"{first}-{last}" for first, last in about.switch[2])
            self._add(f"SG_MUL_VAL_ {dbc_id} {known} {self._name(about.switch[1])} {ranges};")

    def attribute(self, statement: Statement, dbc_ids: set[int]) -> None:
        """Write an attribute as it stands, with the identifier that its message has."""
        assert statement.form is not None
        fields = statement.form.groupdict()
        number = fields.get("message") or fields.get("owner")
        if number is None:
            self._add(statement.text)
            return
        dbc_id = with_flag(whole(number) or 0)
        if dbc_id in dbc_ids and dbc_id is not None:
            kind = f"BO_ {dbc_id}" if fields["message"] else f"SG_ {dbc_id} {self._name(fields['name'])}"
            self._add(f"BA_ {fields['attribute']} {kind} {fields['value']};")

    def _at(self, line: int, statement: str) -> None:
        if line > self._line:
            self._parts.append("\n" * (line - self._line))
            self._line = line
        self._add(statement)

    def _add(self, statement: str) -> None:
        self._parts.append(f"{statement}\n")
        self._line += statement.count("\n") + 1

    def _name(self, name: str) -> str:
        """Return the name, or its placeholder."""
        if NAME.fullmatch(name):
            return name
        if name not in self.placeholders:
            self.placeholders[name] = f"{self._prefix}{len(self.placeholders)}"
        return self.placeholders[name]


def _tame(text: str) -> str:
    """Return a string in its quotes without backslashes: where it ends must not depend on what follows."""
    inner = text[1:-1].replace('\\"', "'").replace("\\", "/")
    return f'"{inner}"'
