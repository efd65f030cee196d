"""A fitter's bench: one car with all that a box is connected to, and a control port for whoever has the key.

Rules:
- The board (real MicroPython) and its car are `McuBench`'s; this adds bus, receiver and diagnostic plug, and
  keeps the two halves one: the body's key is the key on the bus, the relay's contact feeds both starters, and
  an engine that loses its ignition stops in both.
- The bus and the receiver run in real time; the board may run faster.
- The control port is `McuBench`'s: `turn_on`, `turn_off`, `crank`, `let_go`, `press`, `look`, ….

Example:
    with InstallBench(image=folder, home=Path("build/bench"), wrong=of_names(["no-fix"])) as bench:
        print(bench.can.path, bench.nmea.path, bench.mcu.line, bench.mcu.control)
"""

from __future__ import annotations

import contextlib
import select
import threading
import time
from typing import TYPE_CHECKING, Final, Self

from simulators import drive_cycles
from simulators.bus_traffic import CanFrame
from simulators.car import Car
from simulators.drive_cycles import Ignition, Leg
from simulators.gnss_receiver import GnssFault, GnssFaultKind
from simulators.install_bench_bus import BenchAdapter
from simulators.install_bench_ecu import BenchEcu, CarFacts, Stranger
from simulators.install_bench_faults import BenchFault
from simulators.install_bench_wires import BenchBoard
from simulators.mcu_bench import McuBench
from simulators.pty_port import PtyPort
from simulators.virtual_clock import Pacer

if TYPE_CHECKING:
    from pathlib import Path
    from types import TracebackType

VIN: Final = "LSVAA4182E2123456"
STORED_CODES: Final = ("P0420",)  # a tired catalyst: a car of that age has one
TICK_S: Final = 0.002  # a diagnostic answer of three frames then takes less than a blink
ALWAYS_US: Final = 1 << 60
BITRATE, OTHER_BITRATE = 500_000, 250_000
GNSS_FAULTS: Final = {
    BenchFault.NO_FIX: GnssFaultKind.NO_FIX,
    BenchFault.CLOCK_WRONG: GnssFaultKind.WEEK_ROLLOVER,
}


class InstallBench:
    """See the module.

    Args:
        image: folder MicroPython imports the firmware from.
        home: where the board's flash and the names of the lines are kept.
        wrong: what is wrong with car, wiring or surroundings.
        seed: of the car.
        vin: of the car.
        speed: board seconds in a real one.
        port: of the control port; 0 takes a free one.
    """

    def __init__(
        self,
        *,
        image: Path,
        home: Path,
        wrong: frozenset[BenchFault] = frozenset(),
        seed: int = 7,
        vin: str = VIN,
        speed: float = 1.0,
        port: int = 0,
    ) -> None:
        self.wrong = wrong
        self.board = BenchBoard(image, home / "mcu", wrong=wrong, seed=seed)
        self.mcu = McuBench(self.board, speed=speed, link=home / "dev" / "mcu0", port=port)
        self.can, self.nmea = PtyPort(home / "dev" / "can0"), PtyPort(home / "dev" / "gnss0")
        faults = tuple(
            GnssFault(kind=kind, start_us=0, end_us=ALWAYS_US)
            for fault, kind in GNSS_FAULTS.items()
            if fault in wrong
        )
        self.car = Car(seed=seed, legs=drive_cycles.park(3_600), utc_start_us=0, gnss_faults=faults)
        self.ecu = BenchEcu(
            facts=CarFacts(vin=vin, odometer_km=self._odometer_km(), codes=STORED_CODES), wrong=wrong
        )
        self.adapter = BenchAdapter(
            on_received=self._hear,
            bus_bitrate=OTHER_BITRATE if BenchFault.WRONG_BITRATE in wrong else BITRATE,
        )
        self._stranger = Stranger() if BenchFault.OTHER_TRACKER in wrong else None
        self._now_us = 0
        self._was_running = False
        self._stop = threading.Event()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name="install-bench", daemon=True)
        self._stack = contextlib.ExitStack()

    def look(self) -> dict[str, object]:
        """Return how car and bus are: what a person at the bench sees."""
        body = self.board.car
        return {
            **self.mcu.do("look"),
            "stalls": body.stalls,
            "frames": self.adapter.counters.sent,
            "received": self.adapter.counters.received,
            "disturbed": self.adapter.disturbed,
            "bitrate": self.adapter.bitrate,
            "asked": {f"{service:02X}": count for service, count in sorted(self.ecu.asked.items())},
        }

    def check(self) -> None:
        """Make sure that board and bus live.

        Raises:
            BaseException: what ended one of the threads.
        """
        self.mcu.check()
        if self._failure is not None:
            raise self._failure

    # --- the bus's thread -----------------------------------------------------------------------------------

    def _live(self) -> None:
        try:
            self.car.begin_at(time.time_ns() // 1_000)
            pacer = Pacer(speed=1.0)
            while not self._stop.is_set():
                select.select([self.can], [], [], TICK_S)
                self._turn(pacer.due_us())
        except BaseException as failure:  # noqa: BLE001 - kept for whoever asks
            self._failure = failure

    def _turn(self, now_us: int) -> None:
        self._now_us = now_us
        self._turn_key()
        answers = self.adapter.hear(self.can.read())
        self._flush()
        self.can.write(answers)
        for item in self.car.until(now_us):
            if isinstance(item, CanFrame):
                self._say(item)
            else:
                self.nmea.write(b"".join(item.lines))
        for frame in self._diagnosis(now_us):
            self._say(frame)
        self._flush()
        self.nmea.read()

    def _turn_key(self) -> None:
        """Let the bus's half of the car do what the key and the wires of the other half do."""
        body, vehicle = self.board.car, self.car.vehicle
        ignition = Ignition.LOCK
        if body.is_on:
            ignition = Ignition.START if body.is_key_in_start else Ignition.ON
        has_stalled = self._was_running and body.is_on and not body.engine_runs
        self._was_running = body.engine_runs
        if body.is_ignition_cut or has_stalled:
            ignition = Ignition.OFF
        vehicle.wish(Leg(duration_us=ALWAYS_US, ignition=ignition))
        vehicle.feed_starter(is_fed=not body.is_contact_open)
        facts, state = self.ecu.facts, vehicle.state
        facts.rpm, facts.speed_kmh = state.rpm, state.speed_mps * 3.6
        facts.supply_v, facts.odometer_km = body.supply_mv / 1_000, self._odometer_km()

    def _diagnosis(self, now_us: int) -> list[CanFrame]:
        """Return what diagnosis says now: answers that wait, and a stranger's questions with theirs."""
        if not self.board.car.is_on:
            return []  # the controllers sleep
        frames = self.ecu.due(now_us)
        for asked in self._stranger.due(now_us) if self._stranger is not None else ():
            frames += [asked, *self.ecu.hear(asked.can_id, asked.data, now_us=now_us)]
        return frames

    def _hear(self, frame: CanFrame) -> None:
        """Take what the box sends."""
        if self.board.car.is_on and BenchFault.CAN_SILENT not in self.wrong:
            for answer in self.ecu.hear(frame.can_id, frame.data, now_us=self._now_us):
                self._say(answer)

    def _say(self, frame: CanFrame) -> None:
        if BenchFault.CAN_SILENT in self.wrong:
            return
        self.adapter.say(frame)
        if BenchFault.TWO_TALKERS in self.wrong:
            garbled = bytes(octet ^ 0xFF for octet in frame.data[: max(1, len(frame.data) - 1)])
            self.adapter.say(CanFrame(t_us=frame.t_us, can_id=frame.can_id, data=garbled))

    def _flush(self) -> None:
        self.adapter.wrote(self.can.write(self.adapter.pending()))

    def _odometer_km(self) -> float:
        return self.car.vehicle.state.odometer_m / 1_000

    # --- life -----------------------------------------------------------------------------------------------

    def __enter__(self) -> Self:
        """Switch everything on."""
        self._stack.enter_context(self.can)
        self._stack.enter_context(self.nmea)
        self._stack.enter_context(self.mcu)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End everything."""
        self._stop.set()
        self._thread.join()
        self._stack.close()
