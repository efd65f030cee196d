"""Who answers the fitter's terminal: a person, or a file of answers with a simulated car's key.

Rules: a person is told what to do and, when a step failed, asked what becomes of it. A file answers the
same questions; a question that it has no answer for ends the run with a sentence, never with a guess. With a
`bench` the file's owner also has the car's key: what is asked of the fitter is done at its control port.

Example of a file:
    on_failure = "stop"             # or "redo", at most three times a step
    bench = "127.0.0.1:4711"        # the control port that `tbox sim bench` prints
    skip = ["PROFILE"]              # left out, where that is allowed
    [answers]
    CONSENT = "yes"
"""

from __future__ import annotations

import json
import socket
import threading
import time
import tomllib
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Protocol

from rich.prompt import Prompt

from firmware_tools.cli_errors import Common, ToolError
from protocol.install_vocabulary import MAY_BE_LATER, MAY_BE_SKIPPED
from protocol.install_words import ASKS, FINDINGS

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from protocol.install_report import StepRow

REDOES_MAX: Final = 3
BENCH_S_MAX: Final = 10.0  # a control port answers at once, a busy machine a little later


class HandsCode(StrEnum):
    """What can be wrong with the answers."""

    NO_ANSWER = "NO_ANSWER"
    BAD_ANSWERS = "BAD_ANSWERS"
    BENCH_AWAY = "BENCH_AWAY"


class Decision(StrEnum):
    """What becomes of a step that failed."""

    REDO = "redo"
    SKIP = "skip"
    ABORT = "abort"
    STOP = "stop"  # leave the job open, to go on another time


class Hands(Protocol):
    """Whoever is at the car."""

    def act(self, asks: str) -> None:
        """Do, or let somebody do, what is asked at the car; need not wait until it is done."""

    def answer(self, asks: str) -> str:
        """Return the word that is asked for."""

    def decide(self, row: StepRow) -> Decision:
        """Say what becomes of a step that failed."""

    def agrees(self, sentence: str) -> bool:
        """Say whether the record is signed."""


def choices(row: StepRow) -> tuple[Decision, ...]:
    """Return what may be done about a step that failed."""
    may_skip = row.step in MAY_BE_SKIPPED | MAY_BE_LATER
    return (Decision.REDO, *((Decision.SKIP,) if may_skip else ()), Decision.ABORT, Decision.STOP)


class PersonHands:
    """A person at a terminal."""

    def __init__(self, console: Console) -> None:
        self._console = console

    def act(self, asks: str) -> None:
        """Say what to do."""
        self._console.print(f"  [bold yellow]→ {said(asks)}[/]")

    def answer(self, asks: str) -> str:
        """Ask for a word."""
        return Prompt.ask(f"  [bold yellow]? {said(asks)}[/]", console=self._console, choices=["yes", "no"])

    def decide(self, row: StepRow) -> Decision:
        """Ask what becomes of a step."""
        names = [str(choice) for choice in choices(row)]
        return Decision(Prompt.ask("  What now?", console=self._console, choices=names, default=names[0]))

    def agrees(self, sentence: str) -> bool:
        """Ask for the signature."""
        answer = Prompt.ask(f"  [bold]{sentence}[/]", console=self._console, choices=["yes", "no"])
        return answer == "yes"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """A file of answers; see the module."""

    on_failure: Decision = Decision.STOP
    bench: tuple[str, int] | None = None
    skip: frozenset[str] = frozenset()
    answers: dict[str, str] = field(default_factory=dict)
    signs: bool = True


def read_answers(path: Path) -> Answers:
    """Read a file of answers.

    Raises:
        ToolError: it cannot be read, or has something in it that is no answer.
    """
    try:
        content: dict[str, Any] = tomllib.loads(path.read_text("utf-8"))
    except OSError as error:
        raise ToolError(Common.NO_FILE, f"{path} cannot be read ({error.strerror}).") from error
    except (ValueError, tomllib.TOMLDecodeError) as error:
        raise ToolError(HandsCode.BAD_ANSWERS, f"{path} is no TOML ({error}).") from error
    strange = set(content) - {"on_failure", "bench", "skip", "answers", "signs"}
    if strange:
        raise ToolError(HandsCode.BAD_ANSWERS, f"{path}: nobody asks for {', '.join(sorted(strange))}.")
    try:
        host, _, port = str(content.get("bench", "")).rpartition(":")
        return Answers(
            on_failure=Decision(content.get("on_failure", "stop")),
            bench=(host, int(port)) if port else None,
            skip=frozenset(str(step) for step in content.get("skip", [])),
            answers={str(name): str(value) for name, value in content.get("answers", {}).items()},
            signs=content.get("signs", True) is True,
        )
    except (ValueError, AttributeError, TypeError) as error:
        raise ToolError(HandsCode.BAD_ANSWERS, f"{path}: {error}.") from error


AT_THE_CAR: Final[dict[str, tuple[tuple[str | float, ...], ...]]] = {
    "KEY_OFF": (("turn_off",),),
    "KEY_ON": (("turn_on",),),
    "CRANK_ONCE": (("crank",), (2.0,), ("let_go",)),
    "STAND_STILL": (("turn_off",),),
    "CRANK_HELD": (("turn_off",), (0.5,), ("crank",), (3.0,), ("let_go",)),
    "CRANK_FREE": (("crank",), (2.0,), ("let_go",)),
    "START_ENGINE": (("turn_on",), (0.5,), ("crank",), (1.5,), ("let_go",)),
}
"""What a hand does at the key: words of the control port, and seconds to wait in between."""


class AnswersHands:
    """A file of answers, and the key of a simulated car when it names one."""

    def __init__(self, answers: Answers) -> None:
        self._answers = answers
        self._redone: dict[str, int] = {}
        self._turning: threading.Thread | None = None
        self._failure: OSError | None = None

    def act(self, asks: str) -> None:
        """Turn the simulated key, beside what the terminal does; a real car's is another's to turn.

        Raises:
            ToolError: the bench is not there.
        """
        if self._answers.bench is None or asks not in AT_THE_CAR:
            return
        if self._turning is not None:
            self._turning.join()
        if self._failure is not None:
            sentence = f"The bench does not answer ({self._failure}): start `tbox sim bench` again."
            raise ToolError(HandsCode.BENCH_AWAY, sentence) from self._failure
        self._turning = threading.Thread(target=self._turn, args=(self._answers.bench, asks), daemon=True)
        self._turning.start()

    def answer(self, asks: str) -> str:
        """Return the file's answer.

        Raises:
            ToolError: it has none.
        """
        if asks not in self._answers.answers:
            sentence = f"The box asks {asks} ({said(asks)}): give it under [answers]."
            raise ToolError(HandsCode.NO_ANSWER, sentence)
        return self._answers.answers[asks]

    def decide(self, row: StepRow) -> Decision:
        """Return what the file says."""
        if row.step in self._answers.skip and Decision.SKIP in choices(row):
            return Decision.SKIP
        self._redone[row.step] = self._redone.get(row.step, 0) + 1
        is_out = self._answers.on_failure is Decision.REDO and self._redone[row.step] > REDOES_MAX
        return Decision.STOP if is_out else self._answers.on_failure

    def agrees(self, sentence: str) -> bool:
        """Return whether the file signs."""
        del sentence
        return self._answers.signs

    def _turn(self, where: tuple[str, int], asks: str) -> None:
        try:
            with socket.create_connection(where, BENCH_S_MAX) as line, line.makefile("rwb") as file:
                for words in AT_THE_CAR[asks]:
                    if isinstance(words[0], float):
                        time.sleep(words[0])
                        continue
                    file.write(json.dumps(words).encode() + b"\n")
                    file.flush()
                    file.readline()
        except OSError as error:
            self._failure = error


def said(code: str) -> str:
    """Return the English sentence of a code; an unknown one is shown as it is."""
    words = ASKS.get(code) or FINDINGS.get(code)
    return code if words is None else words.en
