"""A simulated board on its own: its line as a pseudo-terminal, the car by a control port on loopback.

Rules: the control port takes one JSON array a line, a word and what belongs to it, and answers with how the
car is then, as one JSON object. Board and car run `speed` times as fast as the world. One thread runs the
board, another answers one control connection after the other; both take turns by a lock.

Example:
    with McuBench(board, speed=20) as bench:
        print(bench.line, bench.control)
"""

from __future__ import annotations

import json
import socket
import threading
import time
from typing import TYPE_CHECKING, Self

from simulators.pty_port import PtyPort

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

    from simulators.mcu_board import McuBoard

TURN_S = 0.005
WAITING_BYTES_MAX = 8_192  # what nobody reads is lost, as on a real line
OFF_S = 5  # of the board, while its storage is changed
WAIT_S = 0.2  # how soon a control thread sees the end


def act(board: McuBoard, name: str, *words: object) -> dict[str, object]:
    """Do something with a board's car or the board; return how the car is then."""
    car = board.car
    match name, words:
        case (("turn_on" | "turn_off" | "crank" | "let_go"), ()):
            getattr(car, name)()
        case "move", (int() as is_moving,):
            car.is_moving = bool(is_moving)
        case "press", (int() as seconds,):
            car.is_pressed = True
            board.run(seconds)
            car.is_pressed = False
        case "reset", ():
            board.press_reset()
        case "cut_power", (int() as seconds, *after) if all(isinstance(ms, int) for ms in after):
            board.run(sum(after) / 1_000)  # type: ignore[arg-type]
            board.cut_power()
            board.run(seconds)
            board.power_on()
        case "keep", ():
            board.kept_fram = bytes(board.fram.memory)
        case "restore", () if board.kept_fram is not None:
            board.cut_power()
            board.fram.memory[:] = board.kept_fram
            board.run(OFF_S)
            board.power_on()
        case "look", ():
            pass
        case _:
            return {"error": f"no such thing to do: {name}"}
    return {
        "engine_runs": car.engine_runs,
        "starts": car.starts,
        "is_contact_open": car.is_contact_open,
        "coil": car.coil,
        "now_s": board.now_us // 1_000_000,
        "resets": list(board.resets),
    }


class McuBench:
    """See the module.

    Args:
        board: off; it is switched on here.
        speed: seconds of the board in a real one.
        link: stable name of the line.
        port: of the control port; 0 takes a free one.
    """

    def __init__(
        self, board: McuBoard, *, speed: float = 1.0, link: Path | None = None, port: int = 0
    ) -> None:
        self.board, self.speed = board, speed
        self._pty = PtyPort(link)
        self._waiting = b""
        self._failure: BaseException | None = None
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._server = socket.create_server(("127.0.0.1", port))
        self._server.settimeout(WAIT_S)
        self._threads = [
            threading.Thread(target=run, name=f"mcu-bench-{run.__name__}", daemon=True)
            for run in (self._live, self._listen)
        ]

    @property
    def line(self) -> Path:
        """The serial line."""
        return self._pty.path

    @property
    def control(self) -> tuple[str, int]:
        """Host and port of the control port."""
        host, port = self._server.getsockname()[:2]
        return str(host), int(port)

    def do(self, name: str, *words: object) -> dict[str, object]:
        """Do something with the car or the board; return how the car is then."""
        with self._lock:
            return act(self.board, name, *words)

    def check(self) -> None:
        """Make sure that the board lives.

        Raises:
            BaseException: what ended its thread.
        """
        if self._failure is not None:
            raise self._failure

    def _live(self) -> None:
        try:
            self._run()
        except BaseException as failure:  # noqa: BLE001 - kept for whoever asks
            self._failure = failure

    def _run(self) -> None:
        began, from_us = time.monotonic(), self.board.now_us
        while not self._stop.wait(TURN_S):
            due_us = from_us + round((time.monotonic() - began) * 1e6 * self.speed)
            with self._lock:
                self.board.write_line(self._pty.read())
                self.board.run(max(0, min(due_us - self.board.now_us, 1_000_000)) / 1e6)
                self._waiting += self.board.read_line()
            self._waiting = self._waiting[self._pty.write(self._waiting) :][:WAITING_BYTES_MAX]

    def _listen(self) -> None:
        while not self._stop.is_set():
            try:
                peer, _ = self._server.accept()
            except TimeoutError:
                continue
            with peer, peer.makefile("rwb") as file:
                for line in file:
                    file.write(json.dumps(self.do(*json.loads(line))).encode() + b"\n")
                    file.flush()

    def __enter__(self) -> Self:
        """Switch the board on and begin."""
        self.board.power_on()
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End; the control connection must be closed by its other side."""
        self._stop.set()
        for thread in self._threads:
            thread.join()
        self._server.close()
        self._pty.close()
        self.board.close()
