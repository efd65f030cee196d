"""The raw REPL of a board, by way of `mpremote`'s own transport: thin, no decisions.

Rules: `mpremote` is used as its `transport` classes and not as a program, because a tray of boards is loaded
side by side: one opening a board instead of one a command, and errors that have a class instead of a text.
What the transport prints when it cannot get in is left out, because our output may be JSON. Whatever ends
the line (plug pulled, board reset) is `LinkLostError`; a command that the board could not run is `BoardError`
with the board's own last line.

Example:
    with BoardLink("/dev/ttyACM0", 115_200) as link:
        link.enter(wait_s=10)
        link.run("print(1 + 1)")
"""

from __future__ import annotations

import contextlib
import struct
import time
from typing import TYPE_CHECKING, Final, Self

import serial
from mpremote.transport import TransportError
from mpremote.transport_serial import SerialTransport

if TYPE_CHECKING:
    from types import TracebackType

READ_S: Final = 5.0
"""Longest silence within an answer of the transport, s."""

RUN_S: Final = 30.0
"""Longest silence of a command, s: hashing an image takes a board about one."""

COMMAND_S: Final = 60.0
"""Longest that a command may take in all, s, however much it says."""

ANSWER_BYTES_MAX: Final = 65_536
"""Bytes of an answer: a listing of two full folders has 20 KB; a board that says more is broken."""

SAID_MAX: Final = 80
"""Characters of a board's words that are shown."""

RETRY_S: Final = 0.05
"""Pause between attempts to open a port that is coming back, s."""

_BANNER: Final = b"raw REPL; CTRL-B to exit\r\n"
_LOST: Final = (TransportError, OSError, serial.SerialException, struct.error, IndexError)


class LinkLostError(Exception):
    """The board is not there any more, or was never reached."""


class BoardError(Exception):
    """The board could not do it; its own last line."""


class BoardLink:
    """A board's port, opened.

    Args:
        port: its name.
        baudrate: of the line.

    Raises:
        LinkLostError: there is no such port, or somebody else has it.
    """

    def __init__(self, port: str, baudrate: int) -> None:
        self.port = port
        try:
            self._transport = SerialTransport(port, baudrate, timeout=READ_S)
        except _LOST as error:
            raise LinkLostError(f"{port} cannot be opened") from error

    def enter(self, wait_s: float) -> None:
        """Interrupt what runs and enter the raw REPL.

        Raises:
            LinkLostError: nothing answers as a MicroPython does.
        """
        line = self._transport.serial
        try:
            line.write(b"\r\x03")
            line.reset_input_buffer()
            line.write(b"\r\x01")
            answer = self._transport.read_until(1, _BANNER, timeout=wait_s, timeout_overall=wait_s)
        except _LOST as error:
            raise LinkLostError(f"{self.port} was closed") from error
        if not answer.endswith(_BANNER):
            raise LinkLostError(f"{self.port} does not answer as MicroPython does")
        self._transport.in_raw_repl = True

    def run(self, text: str) -> str:
        """Run a program on the board and return what it printed.

        Raises:
            LinkLostError: the line ended meanwhile; whether it ran is not known.
            BoardError: it raised.
        """
        printed = bytearray()
        until = time.monotonic() + COMMAND_S

        def take(data: bytes) -> None:
            printed.extend(data)
            if len(printed) > ANSWER_BYTES_MAX or time.monotonic() > until:
                raise BoardError("it does not stop talking")

        try:
            _, wrong = self._transport.exec_raw(text, timeout=RUN_S, data_consumer=take)
        except _LOST as error:
            raise LinkLostError(f"{self.port} was closed") from error
        if wrong:
            lines = wrong.decode(errors="replace").split("\r\n")
            raise BoardError(plain(next((line for line in reversed(lines) if line), "it said nothing")))
        return printed.removesuffix(b"\x04").decode(errors="replace").strip()

    def start_anew(self) -> None:
        """Reset the board; the port goes with it."""
        with contextlib.suppress(*_LOST):
            self._transport.exec_raw_no_follow("import machine\nmachine.reset()")
            time.sleep(RETRY_S)
        self.close()

    def close(self) -> None:
        """Close the port."""
        with contextlib.suppress(*_LOST):
            self._transport.close()
        with contextlib.suppress(*_LOST):
            self._transport.serial.close()

    def __enter__(self) -> Self:
        """Return the link itself; leaving closes it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close."""
        self.close()


def plain(text: str) -> str:
    """Return a board's words as they may be shown: printable ASCII, not long."""
    return "".join(sign if sign.isascii() and sign.isprintable() else "?" for sign in text[:SAID_MAX])


def opened(port: str, baudrate: int, wait_s: float) -> BoardLink:
    """Return a board's port in the raw REPL, waiting for it as long as a reset may take.

    Raises:
        LinkLostError: it did not come.
    """
    until = time.monotonic() + wait_s
    while True:
        link = None
        try:
            link = BoardLink(port, baudrate)
            link.enter(max(RETRY_S, until - time.monotonic()))
        except LinkLostError:
            if link is not None:
                link.close()
            if time.monotonic() >= until:
                raise
            time.sleep(RETRY_S)
        else:
            return link
