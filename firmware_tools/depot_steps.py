"""The steps of one box, from its Linux side to its enrolment, each of which may be run again.

Rules:
- A step looks before it acts: what is right already is left, so a run after an interruption goes on.
- The keys are made on the box, by its own agent; the depot sees the public part. An image holds no key: it
  makes its own at its first start, and what needs a running box is LATER.
- A box that answers with another device id than this serial had before was exchanged on the table: stop.
- The first step that fails ends the box's run, with a stable code and one sentence; the other boxes go on.

It draws no progress (`depot`) and knows nothing of other boxes.

Example:
    report = run_box(box, plan, lambda step: None)
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from firmware_tools.cli_errors import Exit, ToolError
from firmware_tools.depot_agent import BoxAgent, last_line, named
from firmware_tools.depot_codes import DepotCode
from firmware_tools.depot_report import NAME, Check, Report, State, Step, read_report
from firmware_tools.flash import flash
from firmware_tools.label import label_of, save
from firmware_tools.label_drawing import code_png, label_svg
from firmware_tools.linux_side import Settings, apply, difference, shown, wanted
from firmware_tools.linux_side_ssh import open_root

if TYPE_CHECKING:
    from pathlib import Path

    from firmware_tools.depot_office import LabelOffice
    from firmware_tools.depot_tray import TrayBox
    from firmware_tools.flash_plan import Job
    from firmware_tools.linux_side_roots import Root

Progress = Callable[[str], None]
"""Told which step begins."""

AT_FIRST_START: Final = "when the box has started: name it by ssh:// and run again"
_ACTIVATE: Final = (
    "systemd-sysusers && systemd-tmpfiles --create tbox.conf && systemctl daemon-reexec "
    "&& systemctl restart systemd-journald && udevadm control --reload && udevadm trigger"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What this run does to every box.

    Attributes:
        out: folder of the tray's results; a folder a box.
        steps: which steps.
        tbox: the program on the box.
        home: of the agent on the box.
        user: who runs the agent on the box.
        api: address of the office for enrolments; None for none.
        api_ca: file on the box with the office's own authority; None for a public one.
        office: takes labels; None for none.
        job: the release for the boards; None for none.
        ssh_config: for ssh's `-F`.
        is_dry: look, show what differs, change nothing.
    """

    out: Path
    steps: frozenset[Step] = frozenset(Step)
    tbox: str = "/opt/tbox/bin/tbox"
    home: str = "/var/lib/tbox"
    user: str = "tbox"
    api: str | None = None
    api_ca: str | None = None
    office: LabelOffice | None = None
    job: Job | None = None
    ssh_config: Path | None = None
    is_dry: bool = False


@dataclass(slots=True, kw_only=True)
class _Work:
    """One box while it is worked on."""

    box: TrayBox
    plan: Plan
    root: Root
    agent: BoxAgent
    report: Report
    difference: str = ""


def run_box(box: TrayBox, plan: Plan, progress: Progress) -> tuple[Report, str]:
    """Do the steps of a box.

    Returns:
        Its report, and what would change on its Linux side in a dry run.
    """
    folder = plan.out / box.serial
    report = Report(serial=box.serial)
    step = Step.SYSTEM
    work: _Work | None = None
    try:
        report = read_report(folder, box.serial)
        if not plan.is_dry:
            _make(folder)
        root = open_root(box.where, known_hosts=plan.out / "known_hosts", config=plan.ssh_config)
        agent = BoxAgent(root=root, program=plan.tbox, user=plan.user)
        work = _Work(box=box, plan=plan, root=root, agent=agent, report=report)
        for step, act in _ACTS.items():
            if step not in plan.steps or (plan.is_dry and step not in _DRY):
                continue
            progress(step)
            _keep(work, folder, act(work))
    except ToolError as error:
        report = report if work is None else work.report
        check = Check(
            step=step,
            state=State.FAIL,
            error=str(error.code),
            is_transient=error.exit is Exit.CUT_SHORT,
            sentence=error.sentence,
        )
        report = report.with_check(check)
        if not plan.is_dry and folder.is_dir():
            _write(folder, report)
        return report, "" if work is None else work.difference
    return work.report, work.difference


def _system(work: _Work) -> Check:
    name = work.root.look()
    if work.root.read([work.plan.tbox])[work.plan.tbox] is None:
        raise ToolError(
            DepotCode.NO_SOFTWARE, f"{work.plan.tbox} is not on the box: use an image that has the agent."
        )
    return _passed(Step.SYSTEM, name, expected="a Linux with systemd and the agent")


def _linux(work: _Work) -> Check:
    settings = Settings(bitrate=work.box.bitrate, key_store=work.box.key_store)
    entries = wanted(settings)
    changes = difference(work.root, entries)
    work.difference = shown(changes)
    if not work.plan.is_dry:
        apply(work.root, changes)
    done = "would be written" if work.plan.is_dry else "written"
    measured = f"{len(changes)} {done}, {len(entries) - len(changes)} right already"
    return _passed(Step.LINUX, measured, expected=f"{len(entries)} files and links")


def _activate(work: _Work) -> Check:
    if not work.root.is_live:
        return _later(Step.ACTIVATE)
    ran = work.root.run(["sh", "-c", _ACTIVATE])
    if ran.code:
        sentence = f"The box does not take its settings into use ({last_line(ran.err)}): log in and look."
        raise ToolError(DepotCode.ACTIVATION, sentence)
    return _passed(Step.ACTIVATE, "users, folders, watchdog, journal and rules in use")


def _flash(work: _Work) -> Check:
    if work.plan.job is None or not work.box.board:
        return _skipped(Step.FLASH, "no board or no release named")
    flashed = flash(work.box.board, work.plan.job, lambda _step, _done, _total: None)
    if flashed.error is not None:
        raise flashed.error
    release = work.plan.job.release.manifest.release
    measured = f"{flashed.outcome}, {flashed.written} written, {flashed.kept} right already"
    return _passed(Step.FLASH, measured, expected=f"release {release} on {work.box.board}")


def _keys(work: _Work) -> Check:
    if not work.root.is_live:
        return _later(Step.KEYS)
    words = ["keys", "--home", work.plan.home, "--key-store", work.box.key_store]
    said = work.agent.asked(words, DepotCode.KEYS)
    device = named(said, "device", DepotCode.KEYS)
    known = work.report.device
    if known is not None and known != device:
        raise ToolError(
            DepotCode.OTHER_BOX,
            f"{work.box.serial} was box {known[:8]} before and is {device[:8]} now: put the right box there, "
            "or give this one a serial of its own.",
        )
    work.report = replace(work.report, device=device)
    return _passed(Step.KEYS, f"{device} in {said.get('key_store')}", expected=work.box.key_store)


def _mcu(work: _Work) -> Check:
    if not work.box.mcu_port:
        return _skipped(Step.MCU, "no line to a microcontroller named")
    if not work.root.is_live:
        return _later(Step.MCU)
    said = work.agent.asked(["mcu", "--port", work.box.mcu_port], DepotCode.MCU)
    mcu_id = named(said, "mcu_id", DepotCode.MCU)
    work.report = replace(work.report, mcu_id=mcu_id)
    if said.get("mode") != "COMMISSIONING":
        raise ToolError(
            DepotCode.MCU,
            f"The microcontroller is {said.get('mode')}: it belonged to a car; use a fresh board.",
        )
    measured = f"{mcu_id} in COMMISSIONING, image {str(said.get('firmware'))[:16]}"
    return _passed(Step.MCU, measured, expected="a microcontroller in COMMISSIONING")


def _label(work: _Work) -> Check:
    if work.report.device is None:
        return _later(Step.LABEL)
    label = label_of(work.box.serial, device=work.report.device, mcu_id=work.report.mcu_id)
    folder = work.plan.out / work.box.serial
    save(folder / "label.svg", label_svg(label).encode())
    save(folder / "label.png", code_png(label))
    work.report = replace(work.report, label=label.text())
    return _passed(Step.LABEL, str(folder / "label.svg"), expected="a label to print")


def _register(work: _Work) -> Check:
    if work.plan.office is None:
        return _skipped(Step.REGISTER, "no office named")
    if work.report.label is None:
        return _later(Step.REGISTER)
    if work.report.mcu_id is None:
        raise ToolError(
            DepotCode.MCU, "The office wants to know the box's microcontroller: name its line as mcu_port."
        )
    work.plan.office.register(work.report, iccid=work.box.iccid or None)
    return _passed(Step.REGISTER, work.plan.office.url, expected="the office keeps the label")


def _enrol(work: _Work) -> Check:
    if not work.root.is_live and work.box.token:
        return _later(Step.ENROL)
    plan, api = work.plan, work.plan.api
    if api is None or not work.box.token:
        return _skipped(Step.ENROL, "no token or no office named")
    if work.agent.is_enrolled(plan.home):
        return _passed(Step.ENROL, "enrolled already", expected="enrolled")
    words = ["enrol", "--home", plan.home, "--api", api, "--label", work.box.serial]
    if plan.api_ca is not None:
        words += ["--ca", plan.api_ca]
    said = work.agent.asked(words, DepotCode.ENROL, secret=work.box.token)
    device = named(said, "device", DepotCode.ENROL)
    assert device == work.report.device or work.report.device is None, "the same home has the same key"
    return _passed(Step.ENROL, f"as {device[:16]}", expected="enrolled")


_ACTS: Final[dict[Step, Callable[[_Work], Check]]] = {
    Step.SYSTEM: _system,
    Step.LINUX: _linux,
    Step.ACTIVATE: _activate,
    Step.FLASH: _flash,
    Step.KEYS: _keys,
    Step.MCU: _mcu,
    Step.LABEL: _label,
    Step.REGISTER: _register,
    Step.ENROL: _enrol,
}
_DRY: Final = (Step.SYSTEM, Step.LINUX)
"""What can be looked at without changing anything."""

assert list(_ACTS) == list(Step), "in the order of the report"


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as failure:
        sentence = f"{folder} cannot be made ({failure.strerror}): name another folder with --out."
        raise ToolError(DepotCode.NOT_WRITTEN, sentence) from failure


def _keep(work: _Work, folder: Path, check: Check) -> None:
    work.report = work.report.with_check(check)
    if not work.plan.is_dry:
        _write(folder, work.report)


def _write(folder: Path, report: Report) -> None:
    beside = folder / f".{NAME}.new"
    save(beside, report.encode())
    beside.replace(folder / NAME)
    save(folder / "report.txt", report.text().encode())


def _passed(step: Step, measured: str, *, expected: str = "") -> Check:
    return Check(step=step, state=State.PASS, measured=measured, expected=expected)


def _later(step: Step) -> Check:
    return Check(step=step, state=State.LATER, measured=AT_FIRST_START)


def _skipped(step: Step, why: str) -> Check:
    return Check(step=step, state=State.SKIPPED, measured=why)
