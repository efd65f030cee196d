"""A board on the depot's USB port: the real MicroPython, its REPL, its flash, and its firmware once there.

Rules:
- `UsbBoard` is a `McuBoard` whose flash is one folder and whose process starts as a board starts: `main.py`,
  then the REPL. The REPL is answered on a pseudo-terminal, which the real `mpremote` opens. Firmware that was
  put there runs with the same pins, chips, watchdog and car as everywhere else; Ctrl-C ends it, and its
  watchdog then resets the board, as on an RP2040.
- Its time is real time: whoever drives it calls `run`. `McuUsb` does so in a thread; `mcu_on_port.McuOnPort`
  does so too and joins it to a vehicle and to the serial line of the Linux board: use one of the two.
- A reset hangs up the port and brings another under the same name, as USB does. Pulling the plug takes the
  power too.
- The folder is thrown away by whoever made it: what a command on the REPL may do, it may do to the host's
  files that this user may write.

Faults: `cut_at` pulls the plug before or after a command of the REPL, `cut_at_write` within one; `uname` is
another board, `command_s` makes each command slow; `is_read_only`, `room_bytes` and `hidden_bytes` are a
flash that cannot be written, is full, or fills up before it should.

Example:
    with McuUsb(UsbBoard(Path("build/usb0"), link=Path("build/usb0.tty"))) as usb:
        subprocess.run(["mpremote", "connect", str(usb.board.link), "resume", "exec", "print(1)"])
    # later, without USB, in a car:
    board = UsbBoard(Path("build/usb0"))
    board.power_on()
"""

from __future__ import annotations

import contextlib
import os
import select
import shutil
import subprocess
import threading
import time
import tty
from typing import TYPE_CHECKING, Self

from firmware_tools.board_scripts import MARK, SLOTS
from firmware_tools.flash_plan import Mark
from firmware_tools.release_manifest import SELECTOR
from simulators.mcu_board import HEAP_KB, MICROPYTHON, SHIM, McuBoard
from simulators.mcu_chips import PowerLostError

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from firmware_tools.release import Release

PROGRAM = "import sys\nsys.path.remove('')\nimport usb_repl"  # which puts it back for what runs on the board
UNAME = ("rp2-sim", "rp2-sim", "1.28.0", "simulated board", "T-Box simulated board")
"""sysname, nodename, release, version, machine: `firmware_tools/boards/unix.toml` knows it."""

FLASH_BYTES = 1_441_792  # what MicroPython leaves of a Pico's 2 MiB
BLOCK_BYTES = 4_096
TICK_S = 0.005
READ_BYTES_MAX = 4_096
CTRL_C = b"\x03"
INTERRUPT = "!"
EROFS, ENOSPC = 30, 28


class _ResetError(Exception):
    """The process asked for a reset."""


class UsbBoard(McuBoard):
    """A board, off at first.

    Args:
        flash: the folder that is its flash; made when missing.
        link: stable name of its USB port; None leaves the pseudo-terminal's own, see `device`.
        uname: what `os.uname()` says.
        unique_id: the chip's number, 16 hex digits.
        key, heap_kb, hang_s, seed: as `McuBoard`.

    Attributes:
        device: the port's name, None while it is unplugged or off.
        commands: commands of the REPL so far, in all lives.
        cut_at: pull the plug at this point, None never: point 2n is before command n, 2n + 1 after it and
            before its answer.
        writes: times that something opened, wrote, made, renamed or removed a file.
        cut_at_write: pull the plug when this write is asked for, None never; a file that was opened is empty.
        command_s: s that each command takes longer.
        is_read_only: nothing can be written.
        room_bytes: bytes that may still be written.
        hidden_bytes: room that the flash says it has, and has not.
        in_repl: it waits for commands; False while a program runs.
    """

    def __init__(
        self,
        flash: Path,
        *,
        link: Path | None = None,
        uname: tuple[str, ...] = UNAME,
        unique_id: str = "e660583883724a32",
        key: int | None = None,
        heap_kb: int = HEAP_KB,
        seed: int = 1,
    ) -> None:
        flash.mkdir(parents=True, exist_ok=True)
        super().__init__(flash, flash, key=key, program=PROGRAM, heap_kb=heap_kb, seed=seed)
        self.link, self.uname, self.unique_id = link, uname, unique_id
        self.device: str | None = None
        self.commands = 0
        self.cut_at: int | None = None
        self.writes = 0
        self.cut_at_write: int | None = None
        self.command_s = 0.0
        self.is_read_only = False
        self.room_bytes = FLASH_BYTES
        self.hidden_bytes = 0
        self.in_repl = False
        self._is_interrupted = False
        self._master = self._slave = -1
        self._to_host = self._to_board = b""

    # --- The port -------------------------------------------------------------------------------------------

    def _spawn(self, env: dict[str, str]) -> subprocess.Popen[bytes]:
        self.in_repl = self._is_interrupted = False
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [str(MICROPYTHON), "-X", f"heapsize={self.heap_kb}k", "-c", self.program],
            cwd=self.state,
            env={**env, "MICROPYPATH": str(SHIM)},  # what lies in the flash is found as on a board
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        self._master, self._slave = os.openpty()
        tty.setraw(self._master)
        tty.setraw(self._slave)
        for end in (self._master, process.stdin.fileno(), process.stdout.fileno()):
            os.set_blocking(end, False)
        self.device = os.ttyname(self._slave)
        self._to_host = self._to_board = b""
        if self.link is not None:
            self.link.parent.mkdir(parents=True, exist_ok=True)
            self.link.unlink(missing_ok=True)
            self.link.symlink_to(self.device)
        return process

    def _last_words(self, process: subprocess.Popen[bytes]) -> bytes:
        assert process.stdin is not None
        assert process.stdout is not None
        process.wait()
        words = _read(process.stdout.fileno())
        process.stdin.close()
        process.stdout.close()
        if self.link is not None:
            self.link.unlink(missing_ok=True)
        os.close(self._slave)
        os.close(self._master)
        self.device, self.in_repl = None, False
        return words

    def _pump(self) -> None:
        """Move bytes between the port and the process."""
        process = self._process
        if process is None:
            return
        assert process.stdin is not None
        assert process.stdout is not None
        data = _read(self._master)
        if CTRL_C in data and not self.in_repl:
            self._is_interrupted = True
        self._to_board += data
        self._to_host += (said := _read(process.stdout.fileno()))
        self.output = (self.output + said)[-READ_BYTES_MAX:]
        self._to_board = _written(process.stdin.fileno(), self._to_board)
        self._to_host = _written(self._master, self._to_host)

    # --- Time -----------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let so many seconds pass; they take as long at least, unless nothing runs."""
        end_us = self.now_us + round(seconds * 1_000_000)
        was_powered = self.is_powered
        until = time.monotonic() + seconds
        while self.now_us < end_us and self.is_powered is was_powered:
            self._pump()
            if self._process is None:
                self._pass_to(end_us)
            elif self._wake_us is not None:
                self._sleep(end_us)
            elif self._has_call(0.0):
                self._serve()
            elif (left_s := until - time.monotonic()) > 0:
                self._has_call(min(left_s, TICK_S / 10))
            else:
                self._idle(end_us)

    def _idle(self, end_us: int) -> None:
        """Nobody calls: a REPL waits, or a program computes, or hangs until its watchdog."""
        deadline_us = end_us if self._deadline_us is None else self._deadline_us
        self._pass_to(min(end_us, deadline_us))
        if deadline_us <= self.now_us and self._deadline_us is not None:
            self.press_reset()

    def _has_call(self, wait_s: float) -> bool:
        assert self._peer is not None
        assert self._process is not None
        if b"\n" in self._pending:
            return True
        assert self._process.stdout is not None
        peer = self._peer.fileno()
        ends = [peer, self._master, self._process.stdout.fileno()]
        return peer in select.select(ends, [], [], wait_s)[0]

    def _serve(self) -> None:
        try:
            super()._serve()
        except _ResetError:
            self.press_reset("soft")

    def _answer(self, value: object) -> None:
        if self._is_interrupted and not self.in_repl:
            self._is_interrupted, value = False, INTERRUPT
        super()._answer(value)

    # --- Calls of the process -------------------------------------------------------------------------------

    def _on_repl(self) -> None:
        self.in_repl = True
        self._is_interrupted = False

    def _on_command(self, begins: int) -> None:
        point = 2 * self.commands + (not begins)
        if not begins:
            self.commands += 1
        if self.command_s and begins:
            time.sleep(self.command_s)
        if self.cut_at is not None and point >= self.cut_at:
            self.cut_at = None
            raise PowerLostError

    def _on_take(self, count: int) -> int:
        self.writes += 1
        if self.cut_at_write is not None and self.writes > self.cut_at_write:
            self.cut_at_write = None
            raise PowerLostError
        if self.is_read_only:
            return EROFS
        if count > self.room_bytes:
            return ENOSPC
        self.room_bytes -= count
        return 0

    def _on_statvfs(self) -> list[int]:
        return [BLOCK_BYTES, FLASH_BYTES // BLOCK_BYTES, (self.room_bytes + self.hidden_bytes) // BLOCK_BYTES]

    def _on_uname(self) -> list[str]:
        return list(self.uname)

    def _on_unique_id(self) -> str:
        return self.unique_id

    def _on_reset(self) -> None:
        raise _ResetError


def lay(flash: Path, release: Release) -> None:
    """Make a board's flash as flashing leaves it, without a board: for whoever needs many, or at once.

    What the firmware keeps in the folder (its key, its caches) stays.
    """
    slot = SLOTS[0]
    for other in SLOTS:
        shutil.rmtree(flash / other, ignore_errors=True)
    for path, data in release.content.items():
        (flash / slot / path).parent.mkdir(parents=True, exist_ok=True)
        (flash / slot / path).write_bytes(data)
    (flash / SELECTOR).write_bytes(release.files[SELECTOR])
    manifest = release.manifest
    mark = Mark(slot=slot, manifest=release.manifest_hash, release=manifest.release, floor=manifest.floor)
    (flash / MARK).write_text(mark.encode(), encoding="utf-8")


class McuUsb:
    """A board that lives in a thread of its own, in real time, on its USB port.

    Args:
        board: off; entering switches it on, leaving ends it.
    """

    def __init__(self, board: UsbBoard) -> None:
        self.board = board
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="simulated-usb-board", daemon=True)

    def unplug(self) -> None:
        """Pull the plug: no port, no power."""
        with self._lock:
            if self.board.is_powered:
                self.board.cut_power()

    def plug(self) -> None:
        """Put the plug in again."""
        with self._lock:
            if not self.board.is_powered:
                self.board.power_on()

    def idle(self) -> None:
        """Let the board live for a moment; for whoever waits for it."""
        self._stop.wait(TICK_S)

    def check(self) -> None:
        """Make sure that the thread lives.

        Raises:
            BaseException: what ended it.
        """
        if self._failure is not None:
            raise self._failure

    def _live(self) -> None:
        try:
            while not self._stop.is_set():
                with self._lock:
                    self.board.run(TICK_S)
                if not self.board.is_running:
                    self._stop.wait(TICK_S)
        except BaseException as failure:  # noqa: BLE001 - kept for whoever asks
            self._failure = failure

    def __enter__(self) -> Self:
        """Plug it in."""
        self.board.power_on()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Unplug it and end it."""
        self._stop.set()
        self._thread.join()
        self.board.close()


def _read(end: int) -> bytes:
    try:
        return os.read(end, READ_BYTES_MAX)
    except (BlockingIOError, OSError):
        return b""


def _written(end: int, data: bytes) -> bytes:
    """Write what fits and return the rest."""
    if data:
        with contextlib.suppress(OSError):
            return data[os.write(end, data) :]
    return data
