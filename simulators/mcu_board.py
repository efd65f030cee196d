"""The hardware around the firmware, and the firmware itself as a real MicroPython process.

Rules:
- The process sees the shims of `mcu_shim`; each of its calls comes here, is answered, and costs `CALL_US`
  of the board's time. Its sleeps are answered when the simulated time has come so far: whoever calls `run`
  gives the time, and nothing runs besides. A run repeats.
- The watchdog kills the process when its deadline passes; a process that makes no call for `hang_s` of real
  time is taken to hang until that deadline. What ends by itself is reset by the watchdog too: on a board it
  would stand still.
- A reset or power cut lets every pin go, so the coil falls; FRAM, flash files and the coin cell's clock stay.
- Pins are those of `device.mcu.pins`.

Example:
    with McuBoard(image.folder, Path("state")) as board:
        board.power_on()
        board.run(2.0)
        board.car.crank()
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import select
import socket
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Self

from device.mcu import pins
from simulators.mcu_car import CarBody
from simulators.mcu_chips import ACCELEROMETER, CLOCK, Accelerometer, CoinCellClock, Fram, PowerLostError

if TYPE_CHECKING:
    from types import TracebackType

SHIM = Path(__file__).resolve().parent / "mcu_shim"
MICROPYTHON = Path(sys.executable).parent / "micropython"
PROGRAM = "from device.mcu import main\nmain.main()"
HEAP_KB = 448  # 64-bit words, and code that a board has in its flash: see docs/adr/0044
CALL_US = 40  # an input or output of MicroPython on an RP2040 takes some ten µs
HANG_S = 2.0
START_S = 10.0  # a process that does not connect so long has failed
LINE_BYTES_MAX = 65_536
CAUSES = {"power": 1, "watchdog": 3, "soft": 5}


class FirmwareError(Exception):
    """The firmware cannot be run at all; says why."""


class McuBoard:
    """A board, off at first.

    Args:
        image: folder MicroPython imports the firmware from.
        state: folder of the flash's files, made when missing.
        key: D1's private scalar, for a board whose key must be known; None lets the firmware make its own.
        program: what the process runs.
        heap_kb: limit of its heap.
        hang_s: see the module.
        seed: of random bytes and of the sensor's noise.
    """

    def __init__(
        self,
        image: Path,
        state: Path,
        *,
        key: int | None = None,
        program: str = PROGRAM,
        heap_kb: int = HEAP_KB,
        hang_s: float = HANG_S,
        seed: int = 1,
    ) -> None:
        self.image, self.state, self.program = image.resolve(), state, program
        self.heap_kb, self.hang_s = heap_kb, hang_s
        self.car = CarBody(seed)
        self.fram, self.clock, self.accelerometer = Fram(), CoinCellClock(), Accelerometer(self.car)
        self.now_us = 0
        self.is_powered = False
        self.resets: list[str] = []
        self.line_in, self.line_out = bytearray(), bytearray()
        self.line_lost = 0
        self.linux_on = False
        self.kept_fram: bytes | None = None
        self.calls = 0
        self.cut_at_call: int | None = None
        self.output = b""
        self._random = random.Random(seed)
        self._line_room = 0
        self._boot_us = 0
        self._wake_us: int | None = None
        self._deadline_us: int | None = None
        self._timeout_us = 0
        self._cause = "power"
        self._process: subprocess.Popen[bytes] | None = None
        self._peer: socket.socket | None = None
        self._pending = b""
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(START_S)
        state.mkdir(parents=True, exist_ok=True)
        if key is not None:
            data = key.to_bytes(32, "big")
            (state / pins.KEY_FILE).write_bytes(data + sha256(data).digest())

    # --- Power ----------------------------------------------------------------------------------------------

    def power_on(self) -> None:
        """Give the board its supply."""
        assert not self.is_powered, "it has its supply"
        self.is_powered = True
        self._start("power")

    def cut_power(self) -> None:
        """Take the supply away."""
        self._kill()
        self.is_powered = False
        self.fram.cut_after = self.cut_at_call = None

    def press_reset(self, cause: str = "watchdog") -> None:
        """Reset the chip, as the watchdog does."""
        self._kill()
        self.resets.append(cause)
        self._start(cause)

    @property
    def is_running(self) -> bool:
        """The firmware's process lives."""
        return self._process is not None

    # --- Time -----------------------------------------------------------------------------------------------

    def run(self, seconds: float) -> None:
        """Let so many seconds of the board pass; a power cut that was planned ends it early."""
        end_us = self.now_us + round(seconds * 1_000_000)
        was_powered = self.is_powered
        while self.now_us < end_us and self.is_powered is was_powered:
            if self._process is None:
                self._pass_to(end_us)
            elif self._wake_us is not None:
                self._sleep(end_us)
            else:
                self._serve()

    def _sleep(self, end_us: int) -> None:
        assert self._wake_us is not None
        deadline_us = self._deadline_us or self._wake_us
        if deadline_us < min(self._wake_us, end_us):
            self._pass_to(deadline_us)
            self.press_reset()
        elif self._wake_us > end_us:
            self._pass_to(end_us)
        else:
            self._pass_to(self._wake_us)
            self._wake_us = None
            self._answer(None)

    def _pass_to(self, now_us: int) -> None:
        self.now_us = max(self.now_us, now_us)
        self.car.advance(self.now_us)
        self.clock.advance(self.now_us)

    def _serve(self) -> None:
        """Take one call of the firmware and answer it, unless something ends it."""
        line = self._line()
        if line is None:
            if self._deadline_us is None:
                self._kill()
                raise FirmwareError(f"it ended before its watchdog ran: {self._said()}")
            self._pass_to(self._deadline_us)
            self.press_reset()
            return
        self.calls += 1
        self._pass_to(self.now_us + CALL_US)
        if self._deadline_us is not None and self.now_us > self._deadline_us:
            self.press_reset()
            return
        if self.cut_at_call is not None and self.calls >= self.cut_at_call:
            self.cut_power()
            return
        name, *words = json.loads(line)
        try:
            answer = getattr(self, f"_on_{name}")(*words)
        except PowerLostError:
            self.cut_power()
            return
        if self._wake_us is None:
            self._answer(answer)

    # --- Calls of the firmware ------------------------------------------------------------------------------

    def _on_reset_cause(self) -> int:
        return CAUSES[self._cause]

    def _on_ticks(self) -> int:
        return (self.now_us - self._boot_us) // 1_000

    def _on_sleep(self, span_ms: int) -> None:
        self._wake_us = self.now_us + 1_000 * span_ms

    def _on_wdt(self, timeout_ms: int) -> None:
        self._timeout_us = 1_000 * timeout_ms
        self._deadline_us = self.now_us + self._timeout_us

    def _on_feed(self) -> None:
        self._deadline_us = self.now_us + self._timeout_us

    def _on_set(self, pin: int, level: int) -> int:
        match pin:
            case pins.COIL:
                self.car.coil = bool(level)
            case pins.WARN:
                self.car.warn = bool(level)
            case pins.LAMP:
                self.car.lamp = bool(level)
            case pins.LINUX:
                self.linux_on = bool(level)
            case pins.FRAM_CS:
                if level:
                    self.fram.release()
                else:
                    self.fram.select()
        return level

    def _on_get(self, pin: int) -> int:
        car = self.car
        levels = {
            pins.IGNITION: car.is_on,
            pins.CRANK: car.is_on and car.is_key_in_start,
            pins.ENGINE: car.engine_runs,
            pins.BUTTON: not car.is_pressed,
            pins.RELAY_CLOSED: car.relay_sense[0],
            pins.RELAY_OPEN: car.relay_sense[1],
            pins.WARN_SENSE: car.is_warning_heard,
        }
        return int(levels[pin])

    def _on_adc(self, pin: int) -> int:
        assert pin == pins.SUPPLY
        full_mv: int = pins.ADC_FULL_MV * pins.SUPPLY_RATIO
        return min(65_535, self.car.supply_mv * 65_535 // full_mv)

    def _on_i2c_read(self, address: int, register: int, count: int) -> str | None:
        chip = self._chip(address)
        return None if chip is None else chip.read(register, count).hex()

    def _on_i2c_write(self, address: int, register: int, data: str) -> bool | None:
        chip = self._chip(address)
        if chip is None:
            return None
        chip.write(register, bytes.fromhex(data))
        return True

    def _chip(self, address: int) -> Accelerometer | CoinCellClock | None:
        faults = self.car.faults
        if address == ACCELEROMETER and not faults.is_accelerometer_dead:
            return self.accelerometer
        return self.clock if address == CLOCK and not faults.is_clock_dead else None

    def _on_spi_write(self, data: str) -> None:
        self.fram.write(bytes.fromhex(data))

    def _on_spi_read(self, count: int) -> str:
        return self.fram.read(count).hex()

    def _on_random(self, count: int) -> str:
        return self._random.randbytes(count).hex()

    def _on_uart(self, room: int) -> None:
        self._line_room = room

    def _on_uart_read(self) -> str:
        data = bytes(self.line_in)
        self.line_in.clear()
        return data.hex()

    def _on_uart_write(self, data: str) -> None:
        self.line_out += bytes.fromhex(data)
        del self.line_out[:-LINE_BYTES_MAX]

    # --- The line, from the other side ----------------------------------------------------------------------

    def write_line(self, data: bytes) -> None:
        """Send to the firmware; what finds no room in its buffer is lost, as on a real line."""
        fits = max(0, self._line_room - len(self.line_in)) if self._process is not None else 0
        self.line_in += data[:fits]
        self.line_lost += len(data) - len(data[:fits])

    def read_line(self) -> bytes:
        """Return what the firmware sent."""
        data = bytes(self.line_out)
        self.line_out.clear()
        return data

    # --- The process ----------------------------------------------------------------------------------------

    def _start(self, cause: str) -> None:
        self._cause, self._boot_us = cause, self.now_us
        env = {
            "HWSIM_PORT": str(self._server.getsockname()[1]),
            "MICROPYPATH": f"{SHIM}:{self.image}",
            "PATH": os.environ.get("PATH", ""),
        }
        self._process = self._spawn(env)
        try:
            self._peer = self._server.accept()[0]
        except TimeoutError:
            self._kill()
            raise FirmwareError(f"it never spoke: {self._said()}") from None
        self._pending = b""

    def _spawn(self, env: dict[str, str]) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own interpreter and program
            [str(MICROPYTHON), "-X", f"heapsize={self.heap_kb}k", "-c", self.program],
            cwd=self.state,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def _said(self) -> str:
        return self.output[-2_000:].decode(errors="replace")

    def _kill(self) -> None:
        """End the process; all pins let go."""
        if self._process is None:
            return
        self._process.kill()
        self.output = (self.output + self._last_words(self._process))[-LINE_BYTES_MAX:]
        if self._peer is not None:
            self._peer.close()
        self._process = self._peer = self._wake_us = self._deadline_us = None
        self.car.coil = self.car.warn = self.car.lamp = self.linux_on = False
        self.line_in.clear()
        self.line_out.clear()

    def _last_words(self, process: subprocess.Popen[bytes]) -> bytes:
        """Return what a process said that was killed, and nobody read."""
        return process.communicate()[0]

    def _line(self) -> bytes | None:
        """Return the firmware's next call, None when it hangs or has ended."""
        assert self._peer is not None
        while b"\n" not in self._pending:
            if not select.select([self._peer], [], [], self.hang_s)[0]:
                return None
            try:
                data = self._peer.recv(LINE_BYTES_MAX)
            except ConnectionResetError:
                return None
            if not data:
                return None
            self._pending += data
        line, _, self._pending = self._pending.partition(b"\n")
        return line

    def _answer(self, value: object) -> None:
        assert self._peer is not None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # ended: the next look says so
            self._peer.sendall(json.dumps(value).encode() + b"\n")

    def close(self) -> None:
        """End everything."""
        self._kill()
        self._server.close()

    def __enter__(self) -> Self:
        """Return the board itself; leaving ends it."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End everything."""
        self.close()
