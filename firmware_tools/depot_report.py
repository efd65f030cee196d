"""What the depot did to one box, and what it saw: a report for people, for programs, and for the next run.

Rules: each check says what was expected and what was measured, and is PASS, FAIL, or LATER for what can only
be seen when the box runs. A report is written after each step, so that a tray that was interrupted goes on
with what its reports say. It holds no token and no key.

Example:
    report = report.with_check(Check(step=Step.SYSTEM, state=State.PASS, measured="Debian 12"))
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final

from firmware_tools.cli_errors import ToolError
from firmware_tools.depot_codes import DepotCode
from protocol.limits import TRAY_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

_SCHEMA: Final = 1
NAME: Final = "report.json"


class Step(StrEnum):
    """What is done to a box, in this order."""

    SYSTEM = "SYSTEM"
    LINUX = "LINUX"
    ACTIVATE = "ACTIVATE"
    FLASH = "FLASH"
    KEYS = "KEYS"
    MCU = "MCU"
    LABEL = "LABEL"
    REGISTER = "REGISTER"
    ENROL = "ENROL"


class State(StrEnum):
    """How a step went."""

    PASS = "PASS"  # noqa: S105 - a state, no password
    FAIL = "FAIL"
    LATER = "LATER"
    SKIPPED = "SKIPPED"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One step's finding.

    Attributes:
        step: which.
        state: how it went.
        expected, measured: in words; empty where there is nothing to say.
        error: stable code of a failure, else empty.
        is_transient: the world failed, not a rule: running again may help.
        sentence: what to do about it.
    """

    step: Step
    state: State
    expected: str = ""
    measured: str = ""
    error: str = ""
    is_transient: bool = False
    sentence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What is known of a box.

    Attributes:
        serial: of its label.
        device: its id, once its keys were made.
        mcu_id: of its microcontroller, once that was asked.
        label: text of its code.
        checks: one a step, in order.
    """

    serial: str
    device: str | None = None
    mcu_id: str | None = None
    label: str | None = None
    checks: tuple[Check, ...] = ()

    @property
    def is_done(self) -> bool:
        """Whether every step was done, or left out because the tray names nothing for it."""
        good = [check.step for check in self.checks if check.state in (State.PASS, State.SKIPPED)]
        return good == list(Step)

    @property
    def failure(self) -> Check | None:
        """The step that failed; None for none."""
        return next((check for check in self.checks if check.state is State.FAIL), None)

    def with_check(self, check: Check) -> Report:
        """Return the report with a step's finding in the place of an earlier one."""
        others = [one for one in self.checks if one.step is not check.step]
        order = list(Step)
        return replace(self, checks=tuple(sorted([*others, check], key=lambda one: order.index(one.step))))

    def encode(self) -> bytes:
        """Return the report as its JSON file has it."""
        content = {"schema": _SCHEMA, **asdict(self), "is_done": self.is_done}
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()

    def sha256(self) -> str:
        """Return the hash of what was seen until the label was registered: what the office keeps."""
        before = [check for check in self.checks if check.step not in (Step.REGISTER, Step.ENROL)]
        return hashlib.sha256(replace(self, checks=tuple(before)).encode()).hexdigest()

    def text(self) -> str:
        """Return the report for a person."""
        lines = [f"box {self.serial}", f"  device {self.device or 'not known yet'}"]
        lines.append(f"  microcontroller {self.mcu_id or 'not known'}")
        for check in self.checks:
            lines.append(f"  {check.step:<9} {check.state:<7} {check.measured}")
            if check.expected and check.expected != check.measured:
                lines.append(f"  {'':<17} expected: {check.expected}")
            if check.sentence:
                lines.append(f"  {'':<17} {check.error}: {check.sentence}" if check.error else check.sentence)
        return "\n".join(lines) + "\n"


def read_report(folder: Path, serial: str) -> Report:
    """Return what an earlier run left of a box; an empty report when there was none.

    Raises:
        ToolError: the file is not one of ours, or of another box.
    """
    path = folder / NAME
    try:
        with path.open("rb") as file:
            content: dict[str, Any] = json.loads(file.read(TRAY_BYTES_MAX))
        checks = tuple(
            Check(
                step=Step(one["step"]),
                state=State(one["state"]),
                expected=one["expected"],
                measured=one["measured"],
                error=one["error"],
                is_transient=one["is_transient"],
                sentence=one["sentence"],
            )
            for one in content["checks"]
        )
        known = {name: content[name] for name in ("serial", "device", "mcu_id", "label")}
        if content["schema"] != _SCHEMA or known["serial"] != serial:
            raise ValueError("of another box or version")  # noqa: TRY301 - one sentence for all
        return Report(**known, checks=checks)
    except FileNotFoundError:
        return Report(serial=serial)
    except (OSError, ValueError, KeyError, TypeError) as failure:
        raise ToolError(
            DepotCode.TRAY, f"{path} is no report of {serial} ({failure}): move it away and run again."
        ) from failure
