"""What a fitter's tool does next, decided from the box's last report alone.

Rules: one step at a time, in the box's order; nothing is remembered here, so that a tool that was closed goes
on where the box stands. What the box needs goes before all else. A step that failed is the
person's to decide. The same report gives the same move.

Example:
    >>> from protocol.vectors.installs import REPORT
    >>> next_move(REPORT)
    NeedPermission(challenge=b'challenge document')
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeAlias

from protocol.install_vocabulary import DONE_STATES, Need, Stage, Step, StepState

if TYPE_CHECKING:
    from protocol.install_report import InstallReport, StepRow

ANSWERED: Final = {"CONSENT"}
"""What is asked for a word, not for something done at the car."""


@dataclass(frozen=True, slots=True)
class Begin:
    """Give the box the work ticket."""


@dataclass(frozen=True, slots=True)
class Run:
    """Begin a step."""

    step: Step


@dataclass(frozen=True, slots=True)
class AtTheCar:
    """Somebody must do something at the car; the box sees it by itself."""

    step: Step
    asks: str


@dataclass(frozen=True, slots=True)
class Answer:
    """The box asks for a word."""

    step: Step
    asks: str


@dataclass(frozen=True, slots=True)
class NeedPermission:
    """Get a BENCH order for this challenge."""

    challenge: bytes


@dataclass(frozen=True, slots=True)
class NeedBinding:
    """Get a BIND order for this challenge and payload."""

    challenge: bytes
    payload: bytes


@dataclass(frozen=True, slots=True)
class NeedSignature:
    """Show the record and sign it."""

    payload: bytes


@dataclass(frozen=True, slots=True)
class Keep:
    """Keep the signed record and the microcontroller's word."""

    record: bytes
    commissioning: bytes


@dataclass(frozen=True, slots=True)
class Decide:
    """A step failed: again, leave it out, or stop."""

    row: StepRow


@dataclass(frozen=True, slots=True)
class Wait:
    """The box works."""


@dataclass(frozen=True, slots=True)
class Over:
    """The job is at its end."""

    stage: Stage


Move: TypeAlias = (
    Begin
    | Run
    | AtTheCar
    | Answer
    | NeedPermission
    | NeedBinding
    | NeedSignature
    | Keep
    | Decide
    | Wait
    | Over
)


def next_move(report: InstallReport) -> Move:
    """Return what to do now."""
    if report.need is not None:
        return _need(report.need)
    match report.stage:
        case Stage.IDLE:
            return Begin()
        case Stage.FINISHED | Stage.ABORTED:
            return Over(report.stage)
        case Stage.OPEN:
            return _step(report)


def _need(need: tuple[Need, tuple[bytes, ...]]) -> Move:
    kind, parts = need
    match kind:
        case Need.BENCH:
            return NeedPermission(parts[0])
        case Need.BIND:
            return NeedBinding(parts[0], parts[1])
        case Need.RECORD:
            return NeedSignature(parts[0])
        case Need.TAKE:
            return Keep(parts[0], parts[1])


def _step(report: InstallReport) -> Move:
    row = current(report)
    if row is None:
        return Wait()
    match row.state:
        case StepState.WAITING:
            return Run(row.step)
        case StepState.FAIL:
            return Decide(row)
        case StepState.ASKING if report.asks in ANSWERED:
            return Answer(row.step, report.asks or "")
        case StepState.ASKING if report.asks is not None:
            return AtTheCar(row.step, report.asks)
    return Wait()


def current(report: InstallReport) -> StepRow | None:
    """Return the step that runs, else the first that is not done; None when all are."""
    running = [row for row in report.steps if row.state in (StepState.RUNNING, StepState.ASKING)]
    undone = [row for row in report.steps if row.state not in DONE_STATES]
    return next(iter(running or undone), None)
