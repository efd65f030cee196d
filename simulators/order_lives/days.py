"""What driver and car do: drives, parks, cranks, stalls, garages, the emergency start.

Rules: a car that stalls or stops at a light must start again; so must one after an emergency start. The
starter turns the engine unless the relay holds it.

Example: see `life`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.mcu import brain as brain_module
from protocol import strict_cbor
from protocol.orders import State
from protocol.orders_override import code as emergency_code
from simulators.order_lives.car import BROWN_MV, CRANK_MV, SUPPLY_MV
from simulators.order_lives.luck import Luck
from simulators.order_lives.oracle import HELD, LifeError
from simulators.order_lives.world import K_OVR

if TYPE_CHECKING:
    from collections.abc import Callable

HOUR_S = 3_600
CALM = 0.7  # how often faults leave a parked car alone, so that they meet locks too
STEP_S = 4  # facts are told each step, and older than 5 s they are none


class Days(Luck):
    """A car with a driver."""

    def key(self, *, on: bool) -> None:
        """Turn the ignition."""
        truth = self.truth
        if on and not truth.ignition:
            truth.ignition_on_ms = truth.now_ms
        truth.ignition = on
        if not on:
            truth.engine = truth.crank = False
            truth.speed_mm_s = 0
        self.step(0.5)

    def try_start(self) -> bool:
        """Crank once; return whether the engine runs."""
        truth = self.truth
        if not truth.ignition:
            self.key(on=True)
        is_weak = self.random.random() < 0.1
        truth.crank, truth.supply_mv = True, BROWN_MV if is_weak else CRANK_MV
        self.step(0.2)
        if self.board.coil:
            truth.starts_refused += 1
        else:
            truth.engine = True
        truth.crank, truth.supply_mv = False, SUPPLY_MV
        self.step(0.3)
        return truth.engine

    def drive(self) -> None:
        """Drive a while and park."""
        if self.try_start():
            self.truth.under_roof = False
            self.truth.speed_mm_s = self.random.choice((3_000, 14_000, 30_000))
            self.run(self.random.randrange(30, 200), STEP_S)
            self.truth.speed_mm_s = 0
            self.run(4, 2)
        self.key(on=False)

    def park(self) -> None:
        """Stand so long that a lock may come; often nothing happens until the car has rested."""
        if self.random.random() < CALM:
            self.calm_until_ms = self.truth.now_ms + 590_000
        self.run(self.random.randrange(620, 900), STEP_S)

    def crank(self) -> None:
        """Try to start twice, and go away."""
        self.try_start()
        self.try_start()
        self.run(10)
        self.key(on=False)

    def warned(self) -> None:
        """Two ignition cycles, listening."""
        for _ in range(2):
            self.key(on=True)
            self.run(14, 3)
            self.key(on=False)
            self.run(20)

    def stop_start(self) -> None:
        """Stop at a light: the engine stands a while with the ignition on, and must start again."""
        if self.try_start():
            self.truth.speed_mm_s = 10_000
            self.run(20, 4)
            self.truth.speed_mm_s = 0
            self.truth.engine = False
            self.run(self.random.choice((5, 40, 200)), 5)
            self.must_start("after a stop-start")
        self.key(on=False)

    def stall(self) -> None:
        """Stall, ignition off and on, and start again at once."""
        if self.try_start():
            self.truth.speed_mm_s = 5_000
            self.run(10, 2)
            self.truth.speed_mm_s = 0
            self.truth.engine = False
            self.run(10, 2)
            self.key(on=False)
            self.run(self.random.choice((5, 100, 500)), 5)
            self.key(on=True)
            self.must_start("after a stall")
        self.key(on=False)

    def must_start(self, when: str) -> None:
        """Crank once; a car that does not start is a failure to release."""
        if not self.try_start():
            raise LifeError(f"the car did not start {when}")

    def garage(self) -> None:
        """Under a roof, or out again."""
        self.truth.under_roof = not self.truth.under_roof

    def zone(self) -> None:
        """Into a protected place, or out again."""
        self.truth.in_zone = not self.truth.in_zone

    def hazard(self) -> None:
        """Hazard lights on or off."""
        self.truth.hazard = not self.truth.hazard

    def press(self) -> None:
        """Hold the emergency button; in a lock whose episode has it left the car must start."""
        self._by_hand(self._hold)

    def three_cycles(self) -> None:
        """Turn the key three times."""
        self._by_hand(self._turn_thrice)

    def _hold(self) -> None:
        self.truth.button = True
        self.run(7, 1)
        self.truth.button = False
        self.run(2, 1)

    def _turn_thrice(self) -> None:
        self.key(on=False)
        for _ in range(3):
            self.key(on=True)
            self.run(1.5, 1)
            self.key(on=False)
            self.run(1, 1)

    def _by_hand(self, act: Callable[[], None]) -> None:
        oracle = self.oracle
        lease = oracle.lease
        boots = self.board.boot_ms
        was = oracle.state
        is_due = lease is not None and was is State.LOCKED and self.brain is not None
        episode = b"" if lease is None else bytes(lease.order.fields[24])
        act()
        has_run = self.brain is not None and self.board.boot_ms == boots
        if is_due and has_run and episode not in oracle.hands_used and not oracle.is_restored:
            oracle.counts["emergency by hand"] += 1
            if oracle.state is State.LOCKED:
                raise LifeError("the emergency start by hand did not open a window")
            self.must_start("after an emergency start by hand")
            self.key(on=False)
        if lease is not None and was in HELD:
            oracle.hands_used.add(episode)

    def code(self) -> None:
        """Type an emergency code, right or wrong."""
        lease = self.oracle.lease
        episode = self.office.episode if lease is None else bytes(lease.order.fields[24])
        number = self.random.randrange(1, 4)
        digits = emergency_code(K_OVR, episode, number)
        if self.random.random() < 0.3:
            digits = "123456789"
        self.give(brain_module.OVERRIDE_CODE, strict_cbor.dumps({1: digits}))
        self.run(4, 2)

    def crash(self) -> None:
        """A crash: told by the bus for a while."""
        self.counts["crash of the car"] += 1
        self.truth.crashed = True
        self.run(20)
        was_powered = self.brain is not None and self.is_agent_alive and not self.kind.line_loss
        if was_powered and self.oracle.state in HELD and not self.facts_lie:
            raise LifeError("a crash did not release")
        self.truth.crashed = False

    def relay_fault(self) -> None:
        """The relay's feedback stays on: a fault, and everything is released."""
        self.counts["relay stuck"] += 1
        self.board.stuck = True
        boots = self.board.boot_ms
        self.run(20)
        if self.brain is not None and self.board.boot_ms == boots and self.oracle.state in HELD:
            raise LifeError("a stuck relay did not release")
        self.board.stuck = None

    def night(self) -> None:
        """Hours in which nothing happens."""
        if self.truth.engine:
            self.key(on=False)
        self.run(self.random.choice((2, 8, 15, 30)) * HOUR_S, 900)
