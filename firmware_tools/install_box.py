"""The box as the fitter's terminal meets it: its local socket, one line of JSON each way.

Rules: what travels are the same signed messages as through the backend, so this line can fake nothing; a
report is believed only when the box's key signed it. One connection asks, another listens. What the box
refuses is a sentence of `install_words`.

Example:
    with BoxLine(Path("/var/lib/tbox/run/install.sock"), keys) as box:
        report = box.ask(command)

Source: SPEC §22 (local door).
"""

from __future__ import annotations

import json
import select
import socket
import time
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, Self

from firmware_tools.cli_errors import Exit, ToolError
from protocol import base64url
from protocol.errors import ProtocolError
from protocol.install_report import open_report
from protocol.install_words import REFUSALS
from protocol.limits import INSTALL_LINE_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from protocol.envelope import KeyLookup
    from protocol.install_report import InstallReport

ANSWER_S_MAX: Final = 20.0
"""Seconds that an answer may take: the box verifies a signature and writes its journal, on a busy machine."""


class BoxCode(StrEnum):
    """What can be wrong with the line."""

    BOX_AWAY = "BOX_AWAY"
    BOX_GARBLED = "BOX_GARBLED"
    BOX_FOREIGN = "BOX_FOREIGN"


BoxRefused = StrEnum("BoxRefused", {name: name for name in REFUSALS})  # type: ignore[misc]  # made of words
"""What a box refuses; the sentences stand in `install_words`."""


class BoxLine:
    """One box.

    Args:
        path: its socket.
        keys: gives the box's D2 for its kid.

    Raises:
        ToolError: nobody listens there.
    """

    def __init__(self, path: Path, keys: KeyLookup) -> None:
        self._path, self._keys = path, keys
        self._asking, self._listening = self._connect(), self._connect()
        self._heard = b""
        self._listening.sendall(b'{"watch": true}\n')

    def ask(self, command: bytes) -> InstallReport:
        """Send a command and return the report that answers it.

        Raises:
            ToolError: the box refused it, is away, or says what its key did not sign.
        """
        try:
            self._asking.sendall(_line({"command": base64url.to_text(command)}))
            return self._read(_one_line(self._asking))
        except OSError as error:
            raise self._away(error) from error

    def next_report(self, wait_s: float) -> InstallReport | None:
        """Return the newest report that comes within a time, None when none does.

        Raises:
            ToolError: the box is away, or says what its key did not sign.
        """
        deadline = time.monotonic() + wait_s
        while b"\n" not in self._heard:
            left = deadline - time.monotonic()
            if left < 0 or not select.select([self._listening], [], [], left)[0]:
                return None
            data = self._listening.recv(INSTALL_LINE_BYTES_MAX)
            if not data:
                raise self._away(ConnectionResetError("it hung up"))
            self._heard += data
        lines, _, self._heard = self._heard.rpartition(b"\n")
        return self._read(lines.rsplit(b"\n", 1)[-1])

    def close(self) -> None:
        """Hang up."""
        self._asking.close()
        self._listening.close()

    def _connect(self) -> socket.socket:
        line = socket.socket(socket.AF_UNIX)
        line.settimeout(ANSWER_S_MAX)
        try:
            line.connect(str(self._path))
        except OSError as error:
            line.close()
            raise self._away(error) from error
        return line

    def _away(self, error: OSError) -> ToolError:
        sentence = f"The box does not answer at {self._path} ({error}): start its agent, then run this again."
        return ToolError(BoxCode.BOX_AWAY, sentence, Exit.CUT_SHORT)

    def _read(self, line: bytes) -> InstallReport:
        try:
            content: dict[str, Any] = json.loads(line)
            code = content.get("error")
            report = b"" if code is not None else base64url.to_bytes(content["report"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            sentence = "The box sent something that is no report: update this tool and the box."
            raise ToolError(BoxCode.BOX_GARBLED, sentence) from error
        if code is not None:
            raise _refused(str(code), str(content.get("message", "")))
        try:
            return open_report(report, self._keys)
        except ProtocolError as error:
            sentence = (
                f"The report is not this box's ({error.detail}): check the label and the key you named."
            )
            raise ToolError(BoxCode.BOX_FOREIGN, sentence) from error

    def __enter__(self) -> Self:
        """Return the line itself; leaving hangs up."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Hang up."""
        self.close()


def _refused(code: str, message: str) -> ToolError:
    if code in REFUSALS:
        return ToolError(BoxRefused(code), REFUSALS[code].en)
    return ToolError(BoxCode.BOX_GARBLED, f"The box refuses ({code}): {message or 'update this tool.'}")


def _line(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode() + b"\n"


def _one_line(line: socket.socket) -> bytes:
    data = b""
    while not data.endswith(b"\n"):
        more = line.recv(INSTALL_LINE_BYTES_MAX)
        if not more or len(data) > INSTALL_LINE_BYTES_MAX:
            raise ConnectionResetError("it hung up in the middle of an answer")
        data += more
    return data
