"""The keeper: starts the agent of the right release, watches it, and carries an update through.

Rules: it is part of no release and is replaced with the operating system only, so that no release can keep
itself or lock the box out. Effects are carried out in order; nothing follows a record that was not written.
An agent that ends is started again, with a growing wait. What cannot be reached is asked again later.
The car's relay is not its business: while agent or board restart, the contact is closed by itself.

It decides nothing (`transaction`, `admission`).

Example:
    keeper = Keeper(slots, home=home, writer=writer, source=source, board="rp2040")
    keeper.run(stop)
"""

from __future__ import annotations

import datetime as dt
import logging
import os
import subprocess
import sys
from collections import Counter
from typing import TYPE_CHECKING, Protocol

from device.adapters.system_clock import SystemClock
from device.errors import EdgeError
from device.update.admission import SENTENCES, why_not
from device.update.forms import Stage
from device.update.transaction import (
    AgentEnded,
    Boot,
    Clean,
    Fetched,
    Keep,
    Look,
    McuWritten,
    Point,
    StartAgent,
    StopAgent,
    Told,
    Transaction,
    WriteMcu,
)
from device.update.vitals import read_vitals

if TYPE_CHECKING:
    import threading
    from collections.abc import Sequence
    from pathlib import Path

    from device.update.forms import McuResult, Record
    from device.update.slots import Slots
    from device.update.transaction import Effect, Event
    from protocol.update_bundle import Bundle, Needs

_log = logging.getLogger("tbox.update")

SECOND_US = 1_000_000
TURN_S = 0.5
LOOK_EVERY_S = 5
ASK_EVERY_S = 900  # a release waits for its cars anyway; jitter comes from when boxes start
STOP_S = 15.0  # the agent's own longest end is eight
AGAIN_S, AGAIN_S_MAX = 2.0, 60.0
RUN_AGENT = "import sys; from device.agent.main import app; app(sys.argv[1:], prog_name='tbox agent')"


class Source(Protocol):
    """Backend and repository."""

    def ask(self, record: Record, *, now_s: int) -> int | None:
        """Return the number of this box's release; EdgeError when nobody answers."""
        ...

    def needs(self, release: int, *, now: dt.datetime) -> Needs:
        """Return what a release needs; EdgeError when it is not to be had."""
        ...

    def bundle(self, release: int, *, now: dt.datetime) -> Bundle:
        """Return a release; EdgeError when it is not to be had."""
        ...


class Writer(Protocol):
    """Whatever writes images."""

    def write(self, image: Path, *, back: bool) -> McuResult:
        """Write the image of a folder."""
        ...


class Keeper:
    """One life of the keeper.

    Args:
        slots: releases on disk.
        home: the agent's.
        writer: of images.
        source: of releases; None asks nobody.
        board: which board this box has.
        command: runs the agent, with the release's packages in its path; default the agent itself.
        clock: the machine's, by default.
    """

    def __init__(
        self,
        slots: Slots,
        *,
        home: Path,
        writer: Writer,
        source: Source | None,
        board: str,
        command: Sequence[str] = (),
        clock: SystemClock | None = None,
    ) -> None:
        self._clock = clock or SystemClock()
        self._slots, self._home, self._writer = slots, home, writer
        self._source, self._board = source, board
        self._command = tuple(command) or (sys.executable, "-c", RUN_AGENT, "run", "--home", str(home))
        self._agent: subprocess.Popen[bytes] | None = None
        self._again_s, self._start_at_s = AGAIN_S, 0.0
        self._look_at_s = self._ask_at_s = 0.0
        self.transaction = Transaction(slots.record())
        self.counts: Counter[str] = Counter()

    def run(self, stop: threading.Event) -> None:
        """Live until stopped; then end the agent too.

        Raises:
            SlotError: the disk refused a record, or a release is missing.
        """
        self._feed(Boot())
        try:
            while not stop.wait(TURN_S):
                self.turn()
        finally:
            self._stop_agent()

    def turn(self) -> None:
        """Do what is due."""
        now_s = self._mono_s()
        if self._agent is not None and self._agent.poll() is not None:
            code, release = self._agent.returncode, self.transaction.record.running
            _log.warning("agent ended: code=%d release=%d", code, release)
            self._agent, self._start_at_s = None, now_s + self._again_s
            self._again_s = min(2 * self._again_s, AGAIN_S_MAX)
            self._feed(AgentEnded())
        elif self._agent is None and now_s >= self._start_at_s:
            self._start_agent()
        if now_s >= self._look_at_s:
            self._look_at_s = now_s + LOOK_EVERY_S
            self._look()
        if self._source is not None and now_s >= self._ask_at_s:
            self._ask_at_s = now_s + ASK_EVERY_S
            self._ask(self._source)

    def _look(self) -> None:
        pid = None if self._agent is None else self._agent.pid
        car, health = (
            (None, None)
            if pid is None
            else read_vitals(self._home, pid=pid, now_s=self._clock.wall_us() / SECOND_US)
        )
        if health is not None:
            self._again_s = AGAIN_S
        self._feed(Look(car, health))

    def _ask(self, source: Source) -> None:
        record = self.transaction.record
        now = dt.datetime.fromtimestamp(self._clock.wall_us() / SECOND_US, dt.UTC)
        try:
            release = source.ask(record, now_s=round(now.timestamp()))
            if record.untold:
                self._feed(Told(len(record.untold)))
            if release is None or not self._is_news(release):
                return
            needs = source.needs(release, now=now)
            if (reason := why_not(needs, record, board=self._board)) is not None:
                self.counts[f"update_not_{reason}"] += 1
                _log.warning("release %d not taken: %s", release, SENTENCES[reason])
                return
            slot = self._slots.unpack(source.bundle(release, now=now))
        except EdgeError as error:
            self.counts["update_asked_in_vain"] += 1
            _log.warning("no release: %s", error.what)
            return
        self._feed(Fetched(slot))

    def _is_news(self, release: int) -> bool:
        """Whether a release is to be loaded: none is in question, or another one waits."""
        record = self.transaction.record
        is_here = record.new is not None and record.new.release == release
        return record.stage in (Stage.IDLE, Stage.STAGED) and not is_here

    def take(self, bundle: Bundle) -> None:
        """Stage a release that somebody brought and proved; as if the repository had given it."""
        self._feed(Fetched(self._slots.unpack(bundle)))

    def _mono_s(self) -> float:
        return self._clock.mono_us() / SECOND_US

    # --- Effects ---

    def _feed(self, event: Event) -> None:
        waiting = list(self.transaction.handle(event, round(self._mono_s())))
        while waiting:
            if (answer := self._carry_out(waiting.pop(0))) is not None:
                assert not waiting, "an image is the last thing of a list"
                waiting = list(self.transaction.handle(answer, round(self._mono_s())))

    def _carry_out(self, effect: Effect) -> McuWritten | None:
        match effect:
            case Keep(record=record):
                self._slots.keep(record)
                _log.info("update: stage=%s release=%d", record.stage, record.running)
            case Point(release=release):
                self._slots.point(release)
            case WriteMcu(release=release):
                back = release == self.transaction.record.confirmed
                image = self._slots.folder(release) / "mcu"
                return McuWritten(self._writer.write(image, back=back))
            case StartAgent():
                self._start_agent()
            case StopAgent():
                self._stop_agent()
            case Clean(keep=keep):
                self._slots.clean(keep)
        return None

    def _start_agent(self) -> None:
        if self._agent is not None or self._mono_s() < self._start_at_s:
            return
        packages = self._slots.folder(self._slots.current() or 0) / "agent"
        self._agent = subprocess.Popen(  # noqa: S603 - our own agent
            self._command,
            env=os.environ | {"PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"},
            cwd=self._slots.root,
            stdin=subprocess.DEVNULL,
        )

    def _stop_agent(self) -> None:
        if self._agent is None:
            return
        self._agent.terminate()
        try:
            self._agent.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._agent.kill()
            self._agent.wait()
        self._agent, self._start_at_s = None, 0.0
