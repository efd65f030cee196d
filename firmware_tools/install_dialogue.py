"""The fitter's dialogue at the car: from the box's report to the next thing done, until a record is signed.

Rules: the box decides, this carries: each turn takes the newest report, does the one move that follows from
it (`install_moves`), and waits for the next. The same thing is asked of office or person once for as long as
the box asks for it. Waiting is counted apart from what people do: `waited_s` is the program's own.

Example:
    outcome = Dialogue(box=box, hands=hands, office=office, seal=seal, show=show).run(report)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol, TypeVar, assert_never

from firmware_tools.cli_errors import Exit, ToolError
from firmware_tools.install_hands import Decision
from firmware_tools.install_moves import (
    Answer,
    AtTheCar,
    Begin,
    Decide,
    Keep,
    Move,
    NeedBinding,
    NeedPermission,
    NeedSignature,
    Over,
    Run,
    Wait,
    next_move,
)
from protocol.install_vocabulary import Stage, Step, StepState, Verb
from protocol.install_words import FINDINGS

if TYPE_CHECKING:
    from collections.abc import Callable

    from firmware_tools.install_hands import Hands
    from firmware_tools.install_office import Office
    from firmware_tools.install_seal import Seal
    from protocol.ids import DeviceId
    from protocol.install_report import InstallReport, StepRow

SILENCE_S_MAX: Final = 30.0
"""Seconds without a report after which the box counts as away: it reports every two while a job is open."""

LOOK_S: Final = 1.0

FIRST_S: Final = 3.0
"""Seconds to wait for the first report: a box with a job says at once where it stands."""

_T = TypeVar("_T")


class DialogueCode(StrEnum):
    """How a run can end without a record."""

    STEP_FAILED = "STEP_FAILED"
    BOX_SILENT = "BOX_SILENT"
    ABORTED = "ABORTED"
    NOT_SIGNED = "NOT_SIGNED"


class Line(Protocol):
    """The box."""

    def ask(self, command: bytes) -> InstallReport:
        """Send a command, return the report that answers it."""

    def next_report(self, wait_s: float) -> InstallReport | None:
        """Return the newest report that comes within a time."""


class Show(Protocol):
    """Where a person looks."""

    def row(self, row: StepRow) -> None:
        """Show how a step ended."""

    def working(self, text: str) -> None:
        """Show what is waited for; empty for nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """A job at its end.

    Attributes:
        record, commissioning: signed messages.
        report: the box's last.
        waited_s: the program's own waiting, without people and their hands.
        people_s: how long things at the car and questions took.
    """

    record: bytes
    commissioning: bytes
    report: InstallReport
    waited_s: float
    people_s: float


@dataclass(slots=True, kw_only=True)
class Dialogue:
    """One run at one car."""

    box: Line
    hands: Hands
    office: Office
    seal: Seal
    show: Show
    _done: Move | None = None
    _shown: dict[Step, StepState] = field(default_factory=dict)
    _people_s: float = 0.0

    def run(self, report: InstallReport) -> Installed:
        """Go on from a report until the record is signed.

        Raises:
            ToolError: a step failed and is left, the job was aborted, or somebody is away.
        """
        began = time.monotonic()
        while True:
            self._show_rows(report)
            move = next_move(report)
            if isinstance(move, Keep):
                spent = time.monotonic() - began
                self.office.keep(move.record, move.commissioning)
                return Installed(
                    record=move.record,
                    commissioning=move.commissioning,
                    report=report,
                    waited_s=spent - self._people_s,
                    people_s=self._people_s,
                )
            if move != self._done:
                self._done = move
                answered = self._make(move, report)
                if answered is not None:
                    report, self._done = answered, None
                    continue
            report = self._later(report, is_peoples=isinstance(move, AtTheCar))

    def begin(self, device: DeviceId) -> InstallReport:
        """Return where the box stands; a box that says nothing has no job, and gets the work ticket."""
        return self.box.next_report(FIRST_S) or self._command(device, Verb.BEGIN, self.seal.ticket)

    def redo(self, report: InstallReport, step: Step) -> InstallReport:
        """Set a step back, and what rests on it."""
        self._shown.pop(step, None)
        return self._command(report.device, Verb.REDO, str(step))

    def abort(self, report: InstallReport) -> InstallReport:
        """Give the job up: the car is left as it was found."""
        return self._command(report.device, Verb.ABORT, None)

    # --- one move -------------------------------------------------------------------------------------------

    def _make(self, move: Move, report: InstallReport) -> InstallReport | None:  # noqa: C901, PLR0911 - a line a move
        """Do a move; return the report that answers it, or None when the box will see it by itself."""
        match move:
            case Begin():
                return self._command(report.device, Verb.BEGIN, self.seal.ticket)
            case Run(step):
                self.show.working(str(step))
                return self._command(report.device, Verb.RUN, str(step))
            case AtTheCar(_, asks):
                self.hands.act(asks)
                return None
            case Answer(step, asks):
                word = self._asked(lambda: self.hands.answer(asks))
                return self._command(report.device, Verb.ANSWER, f"{step}={word}")
            case NeedPermission(challenge):
                return self._bench(report, challenge)
            case NeedBinding(challenge, payload):
                return self._bind(report, challenge, payload)
            case NeedSignature(payload):
                return self._sign(report, payload)
            case Decide(row):
                return self._decide(report, row)
            case Over(stage):
                raise _over(stage)
            case Wait():
                self.show.working("the box works")
                return None
            case Keep():
                return None
            case _ as never:
                assert_never(never)

    def _bench(self, report: InstallReport, challenge: bytes) -> InstallReport:
        self.show.working("asking the office for the relay test")
        ticket, gate = self.office.bench(challenge)
        order = self.seal.bench(challenge, ticket, now_s=int(time.time()))
        self._command(report.device, Verb.SUPPLY, self.seal.papers(gate))
        return self._command(report.device, Verb.BENCH, order)

    def _bind(self, report: InstallReport, challenge: bytes, payload: bytes) -> InstallReport:
        self.show.working("asking the office for the binding")
        part, gate = self.office.bind(challenge, payload)
        order = self.seal.bind(challenge, payload, part, vin=report.facts.get("vin", ""))
        self._command(report.device, Verb.SUPPLY, self.seal.papers(gate))
        return self._command(report.device, Verb.BIND, order)

    def _sign(self, report: InstallReport, payload: bytes) -> InstallReport:
        question = f"Sign the record of {report.facts.get('vin', 'this car')}?"
        if not self._asked(lambda: self.hands.agrees(question)):
            sentence = "The record was not signed: run this again when you are ready to."
            raise ToolError(DialogueCode.NOT_SIGNED, sentence, Exit.CUT_SHORT)
        return self._command(report.device, Verb.FINISH, self.seal.record_part(payload))

    def _decide(self, report: InstallReport, row: StepRow) -> InstallReport:
        match self._asked(lambda: self.hands.decide(row)):
            case Decision.REDO:
                return self.redo(report, row.step)
            case Decision.SKIP:
                return self._command(report.device, Verb.SKIP, str(row.step))
            case Decision.ABORT:
                return self.abort(report)
            case Decision.STOP:
                raise StepFailedError(row)

    def _command(self, device: DeviceId, verb: Verb, argument: str | bytes | None) -> InstallReport:
        now_ms = time.time_ns() // 1_000_000
        return self.box.ask(self.seal.command(device, verb, argument, now_ms=now_ms))

    def _asked(self, ask: Callable[[], _T]) -> _T:
        began = time.monotonic()
        self.show.working("")
        try:
            return ask()
        finally:
            self._people_s += time.monotonic() - began

    def _later(self, report: InstallReport, *, is_peoples: bool) -> InstallReport:
        """Return the next report.

        Raises:
            ToolError: none comes.
        """
        began = time.monotonic()
        while True:
            fresh = self.box.next_report(LOOK_S)
            if fresh is not None and fresh.seq > report.seq:
                self._people_s += (time.monotonic() - began) * is_peoples
                return fresh
            if time.monotonic() - began > SILENCE_S_MAX:
                sentence = f"The box said nothing for {SILENCE_S_MAX:.0f} s: check its supply and its agent."
                raise ToolError(DialogueCode.BOX_SILENT, sentence, Exit.CUT_SHORT)

    def _show_rows(self, report: InstallReport) -> None:
        for row in report.steps:
            is_over = row.state not in (StepState.WAITING, StepState.RUNNING, StepState.ASKING)
            if is_over and self._shown.get(row.step) is not row.state:
                self.show.row(row)
            self._shown[row.step] = row.state


class StepFailedError(ToolError):
    """A step failed and was left; its code is the finding."""

    def __init__(self, row: StepRow) -> None:
        words = FINDINGS.get(row.code)
        sentence = f"{row.step} did not pass: run this again." if words is None else words.en
        super().__init__(DialogueCode.STEP_FAILED, sentence)
        self.row = row

    def as_json(self) -> dict[str, str]:
        """Return what `--json` prints, with the step and what was measured."""
        row = self.row
        return {
            **ToolError.as_json(self),
            "step": str(row.step),
            "finding": row.code,
            "expected": row.expected,
            "measured": row.measured,
            "unit": row.unit,
        }


def _over(stage: Stage) -> ToolError:
    if stage is Stage.ABORTED:
        sentence = "The job was aborted and the car is as it was found: begin with a new work ticket."
        return ToolError(DialogueCode.ABORTED, sentence)
    sentence = "The box has ended this job and keeps no record to hand out: show the job at the office."
    return ToolError(DialogueCode.ABORTED, sentence)
