"""A box's local socket that plays a list of reports: each command taken brings the next one.

What it was asked is kept. Its key is `device-1` of the published ones.
"""

from __future__ import annotations

import json
import socket
import threading
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Self

from protocol import base64url
from protocol.install_forms import InstallCommand, open_command
from protocol.install_report import InstallReport, StepRow, sign_report
from protocol.install_vocabulary import STEPS, Need, Stage, Step, StepState
from protocol.vectors.installs import REPORT
from protocol.vectors.story import DEVICE_SIGNER

if TYPE_CHECKING:
    from pathlib import Path


def report(
    *,
    done: int = 0,
    row: StepRow | None = None,
    asks: str | None = None,
    stage: Stage = Stage.OPEN,
    need: tuple[Need, tuple[bytes, ...]] | None = None,
) -> InstallReport:
    """Return a report in which so many steps have passed, and one may stand differently."""
    steps = [
        StepRow(
            step=step, state=StepState.PASS if at < done else StepState.WAITING, measured="x" * (at < done)
        )
        for at, step in enumerate(STEPS)
    ]
    if row is not None:
        steps[STEPS.index(row.step)] = row
    return replace(REPORT, stage=stage, steps=tuple(steps), asks=asks, need=need)


def failed(step: Step, code: str) -> StepRow:
    return StepRow(step=step, state=StepState.FAIL, code=code, expected="this", measured="that")


@dataclass(slots=True)
class PlayedBox:
    """The box; `replies` are what its commands bring, an entry of two texts is a refusal."""

    path: Path
    replies: list[InstallReport | tuple[str, str]]
    asked: list[InstallCommand] = field(default_factory=list)
    _seq: int = 0
    _now: bytes = b""
    _watchers: list[socket.socket] = field(default_factory=list)
    _server: socket.socket = field(default_factory=lambda: socket.socket(socket.AF_UNIX))

    def __enter__(self) -> Self:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        first = self.replies.pop(0)
        assert isinstance(first, InstallReport)
        self._say(first)
        self._server.bind(str(self.path))
        self._server.listen()
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.close()
        for watcher in self._watchers:
            watcher.close()

    def _say(self, said: InstallReport) -> None:
        self._seq += 1
        message = sign_report(replace(said, seq=self._seq), DEVICE_SIGNER)
        self._now = json.dumps({"report": base64url.to_text(message)}).encode() + b"\n"

    def _accept(self) -> None:
        while True:
            try:
                line, _ = self._server.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(line,), daemon=True).start()

    def _serve(self, line: socket.socket) -> None:
        with line, line.makefile("rwb") as file:
            for text in file:
                content = json.loads(text)
                if "watch" in content:
                    self._watchers.append(line)
                    file.write(self._now)
                    file.flush()
                    continue
                self.asked.append(open_command(base64url.to_bytes(content["command"])).command)
                reply = self.replies.pop(0)
                if isinstance(reply, InstallReport):
                    self._say(reply)
                    file.write(self._now)
                else:
                    file.write(
                        json.dumps(dict(zip(("error", "message"), reply, strict=True))).encode() + b"\n"
                    )
                file.flush()
