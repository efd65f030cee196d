"""A car whose microcontroller is the real firmware: an image, a MicroPython process, simulated hardware.

Rules: `ProcessBox` is driven as `tests.builders.mcu.Box` is, but sees only what comes over the line;
nothing of the brain is reached into. Time is the board's: a run repeats. `Kept` is everything that survives
a power cut, to begin again from there in another process.

Example:
    with ProcessBox(image, folder) as box:
        box.commission()
        box.lock_it()
        assert not box.tries_to_start()
"""

from __future__ import annotations

from dataclasses import dataclass
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Self

from device.mcu import brain as brain_module
from protocol import strict_cbor
from protocol.mcu_link import Decoder, encode_frame
from protocol.orders import State
from protocol.vectors.keys import published_scalar
from protocol.vectors.orders_story import NOW_S
from simulators.mcu_board import HANG_S, HEAP_KB, PROGRAM, McuBoard
from tests.builders.mcu import PARKED_FACTS, Box

if TYPE_CHECKING:
    from pathlib import Path

ON_FACTS = {**PARKED_FACTS, 10: True}
MOVING_FACTS = {**PARKED_FACTS, 1: [15_000, 0], 2: [15_000, 0, 0], 10: True, 11: True}


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What a board without power keeps, and what the world around it knows."""

    fram: bytes
    files: dict[str, bytes]
    clock: tuple[dict[int, int], int, int]
    now_us: int
    counters: list[int]
    challenge: bytes | None
    order: bytes
    dispositions: list[bytes]


class ProcessBox(Box):
    """See the module."""

    def __init__(
        self,
        image: Path,
        folder: Path,
        *,
        kept: Kept | None = None,
        heap_kb: int = HEAP_KB,
        hang_s: float = HANG_S,
        program: str = PROGRAM,
    ) -> None:
        self.hardware = McuBoard(
            image, folder, key=published_scalar("mcu-1"), heap_kb=heap_kb, hang_s=hang_s, program=program
        )
        self.decoder = Decoder()
        super().__init__()
        if kept is not None:
            self._take(kept)
        self.hardware.power_on()
        self.run(1.2)

    def start(self) -> None:
        """Nothing: the hardware starts the firmware."""

    # --- The line -------------------------------------------------------------------------------------------

    def receive(self, kind: int, body: bytes) -> None:
        self.hardware.write_line(encode_frame(kind, body))

    def collect(self) -> None:
        for kind, body in self.decoder.feed(self.hardware.read_line()):
            self.hear(kind, body)

    def send(self, kind: int, body: bytes) -> list[tuple[int, bytes]]:
        mark = len(self.received)
        self.receive(kind, body)
        self.run(0.3)
        return self.received[mark:]

    def run(self, seconds: float, step_s: float = 1) -> None:
        """Let time pass; the agent says its facts each second and takes what comes."""
        end_us = self.hardware.now_us + round(seconds * 1_000_000)
        while self.hardware.now_us < end_us and self.hardware.is_powered:
            if self.is_agent_alive and self.facts is not None:
                self.receive(brain_module.FACTS, strict_cbor.dumps(self.facts))
            self.hardware.run(min(step_s, (end_us - self.hardware.now_us) / 1_000_000))
            self.collect()

    def step(self) -> None:
        self.run(0.1)

    # --- What is seen ---------------------------------------------------------------------------------------

    @property
    def brain(self) -> Any:
        """What the last STATUS says of the brain."""
        status = self.status
        record = SimpleNamespace(epoch=status[3], heads=status[8], prev=status[9], mode=status[4])
        return SimpleNamespace(tick=status[7], record=record, wait=status[15])

    @brain.setter
    def brain(self, value: object) -> None:
        raise AssertionError("the firmware is a process", value)

    @property
    def state(self) -> State:
        return State(self.status[5])

    @property
    def now_s(self) -> int:
        return NOW_S + self.hardware.now_us // 1_000_000

    # --- Story ----------------------------------------------------------------------------------------------

    def commission(self) -> None:
        """Provision and bind an empty board."""
        self.provision()
        self.run(2)
        self.tell_time()
        for name in ("authority/platform", "authority/lender"):
            self.give(name)
            self.run(14)
        for role in ("maker", "checker", "gate", "ombuds", "installer"):
            self.give(f"delegation/{role}")
            self.run(14)
        self.bind()
        self.run(2)
        self.acknowledge()
        assert self.status[4] == 1, self.link_codes()

    def arm_it(self) -> None:
        """Order a LOCK, warn, park; return when it asks for its go token."""
        self.run(20)
        self.order = self.lock()
        self.send_order(self.order)
        for _ in range(2):
            self.hardware.car.turn_on()
            self.facts = dict(ON_FACTS)
            self.run(5)
            self.hardware.car.turn_off()
            self.facts = dict(PARKED_FACTS)
            self.run(3)
        asked = len(self.go_requests)
        for _ in range(40):
            self.run(1)
            if len(self.go_requests) > asked:
                return
        raise AssertionError((self.state, self.brain.wait, self.link_codes()))

    def lock_it(self) -> None:
        """Lock the car in due form."""
        self.arm_it()
        self.send_go()
        self.run(2)
        assert self.state is State.LOCKED, (self.state, self.brain.wait)

    def tries_to_start(self, seconds: float = 2) -> bool:
        """Turn the key to start for so long; return whether the engine runs, and turn it off."""
        car = self.hardware.car
        car.turn_on()
        self.facts = dict(ON_FACTS)
        self.run(0.5)
        car.crank()
        self.run(seconds)
        car.let_go()
        self.run(0.5)
        runs = car.engine_runs
        car.turn_off()
        self.facts = dict(PARKED_FACTS)
        self.run(1.5)
        return runs

    def press_button(self, seconds: float) -> None:
        """Hold the emergency button."""
        self.hardware.car.is_pressed = True
        self.run(seconds)
        self.hardware.car.is_pressed = False
        self.run(1.5)

    def power_back(self, off_s: float = 1) -> None:
        """Let the board be off for some time, and give it its supply again."""
        if self.hardware.is_powered:
            self.hardware.cut_power()
        self.hardware.run(off_s)
        self.decoder = Decoder()
        self.hardware.power_on()
        self.run(1.2)

    # --- Kept -----------------------------------------------------------------------------------------------

    def keep(self) -> Kept:
        """Return what survives now."""
        clock = self.hardware.clock
        files = {path.name: path.read_bytes() for path in self.hardware.state.iterdir()}
        return Kept(
            fram=bytes(self.hardware.fram.memory),
            files=files,
            clock=(dict(clock.registers), clock.count_us, clock.last_us),
            now_us=self.hardware.now_us,
            counters=list(self.counters),
            challenge=self.challenge,
            order=self.order,
            dispositions=list(self.dispositions),
        )

    def _take(self, kept: Kept) -> None:
        board = self.hardware
        board.fram.memory[:] = kept.fram
        for name, data in kept.files.items():
            (board.state / name).write_bytes(data)
        registers, board.clock.count_us, board.clock.last_us = kept.clock
        board.clock.registers = dict(registers)
        board.now_us = board.car.now_us = kept.now_us
        self.counters, self.challenge, self.order = list(kept.counters), kept.challenge, kept.order
        self.dispositions = list(kept.dispositions)
        self._ids = iter(range(1_000, 10_000))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.hardware.close()
