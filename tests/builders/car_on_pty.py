"""A talking car behind an slcan adapter on a pseudo-terminal; keeps every line that the adapter was told.

Example:
    with CarOnPty(bitrate=250_000) as car:
        heard = hear(car.settings, SystemClock(), stop=threading.Event())
"""

from __future__ import annotations

import threading
from typing import Self

from device.adapters.can_bus import CanSettings
from device.adapters.system_clock import SystemClock
from simulators.bus_traffic import CanFrame
from simulators.install_bench_bus import BenchAdapter
from simulators.install_bench_ecu import BenchEcu, CarFacts
from simulators.pty_port import PtyPort

VIN = "TBXTEST0000000042"
IDS = (0x101, 0x102, 0x103)
CLOCK = SystemClock()


class CarOnPty:
    """A talking bus behind an slcan adapter on a pseudo-terminal; keeps every line that it was told."""

    def __init__(self, *, bitrate: int, says: bool = True) -> None:
        self.ecu = BenchEcu(facts=CarFacts(vin=VIN, odometer_km=48_210.5, codes=("P0420", "U0100")))
        self.adapter = BenchAdapter(bus_bitrate=bitrate, on_received=self._asked)
        self.lines: list[bytes] = []
        self._says = says
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._live, daemon=True)

    def __enter__(self) -> Self:
        self.port = PtyPort().__enter__()
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop.set()
        self._thread.join()
        self.adapter.hear(self.port.read())  # what came since the last look
        self.port.__exit__(*exc)

    @property
    def settings(self) -> CanSettings:
        return CanSettings(bus="can0", interface="slcan", channel=str(self.port.path), bitrate=500_000)

    def _asked(self, frame: CanFrame) -> None:
        for answer in self.ecu.hear(frame.can_id, frame.data, now_us=CLOCK.mono_us()):
            self.adapter.say(answer)

    def _live(self) -> None:
        turn = 0
        while not self._stop.wait(0.002):
            said = self.port.read()
            self.lines += [line for line in said.split(b"\r") if line]
            answers = self.adapter.hear(said)
            for frame in self.ecu.due(CLOCK.mono_us()):
                self.adapter.say(frame)
            if self._says:
                turn += 1
                self.adapter.say(CanFrame(t_us=0, can_id=IDS[turn % 3], data=bytes(8)))
            self.port.write(answers)
            self.adapter.wrote(self.port.write(self.adapter.pending()))
