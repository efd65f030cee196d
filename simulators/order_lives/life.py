"""Seeded lives: what a car, its driver, its lender and bad luck do over hours or days.

Rules: a seed gives the kind of life, the car's days, the orders and every fault. Kinds set which faults
come often; each kind has all of the car's acts. At the end all faults stop, everything restricting is
withdrawn and an UNLOCK is sent: it must be answered within two minutes, each order must have ended once,
every message that was ever taken is given again and must change nothing, and the car must start.

Example:
    >>> live(0).kind
    'quiet'
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from device.mcu import floors as production_floors
from protocol.orders import OrderType, State
from simulators.order_lives.days import CALM, HOUR_S, STEP_S
from simulators.order_lives.office import FINAL_STATES, Order
from simulators.order_lives.oracle import HELD, LifeError
from simulators.order_lives.people import PARTS, People

if TYPE_CHECKING:
    from collections.abc import Callable

ANSWER_S = 120


@dataclass(slots=True, kw_only=True)
class Report:
    """What a life was. Attributes: seed, kind, simulated_s, faults, seen (what the checkers saw), orders."""

    seed: int
    kind: str
    simulated_s: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    seen: Counter[str] = field(default_factory=Counter)
    orders: Counter[str] = field(default_factory=Counter)
    replays: int = 0


class Life(People):
    """One life; `live` runs it."""

    def __init__(self, seed: int, *, floors: Any = production_floors) -> None:  # noqa: ANN401 - a module, or one's spoilt copy
        super().__init__(seed, floors=floors)
        self.acts: list[tuple[float, Callable[[], None]]] = [
            (3, self.drive), (5, self.park), (3, self.crank), (2, self.warned), (1, self.stop_start),
            (1, self.stall), (1, self.garage), (0.5, self.zone), (1, self.press), (0.7, self.three_cycles),
            (1, self.code), (1.2, self.unlock), (0.7, self.cancel), (1, self.renew), (0.5, self.pay),
            (0.8, self.lock), (0.7, self.warn), (0.5, self.query), (1, self.replay), (1, self.night),
            (0.1, self.crash), (0.1, self.relay_fault), (0.15, self.decommission), (0.3, self.hazard),
        ]  # fmt: skip

    def run_whole(self) -> Report:
        """Live, come to rest, and be judged."""
        self.commission()
        self.loss, self.line_loss, self.has_faults = self.kind.loss, self.kind.line_loss, True
        if self.random.random() < 0.3:
            self.night()
        self._until_morning()
        self.lock()
        self.warned()
        if self.random.random() < 0.5:
            self.drive()
        self.park()
        self._parked_until_locked()
        if self.kind.is_lonely:
            self._alone()
        weights = [weight for weight, _ in self.acts]
        for _ in range(self.random.randrange(3, 9)):
            if self.random.random() < 0.7:
                self._until_morning()
            self.random.choices(self.acts, weights)[0][1]()
        self.settle()
        return self.report()

    def _until_morning(self) -> None:
        """Wait until the hours allow a lock."""
        while not self.office.is_lawful():
            self.run(HOUR_S, 900)

    def _parked_until_locked(self) -> None:
        for _ in range(self.random.randrange(24)):
            if self.oracle.state is State.LOCKED:
                return
            if self.random.random() < CALM / 2:
                self.calm_until_ms = self.truth.now_ms + 600_000
            self.run(100, STEP_S)

    def _alone(self) -> None:
        """Agent, broker, backend are gone: the lease ends by itself, or 24 h after the last word."""
        if self.oracle.state not in HELD or self.oracle.lease is None:
            return
        self.counts["left alone in a lock"] += 1
        self.kill_agent()
        self.bridge_is_away = True
        hold_s = self.oracle.lease.hold_ms // 1_000
        step_s = max(10, min(hold_s, 86_400) // 300)
        self.run(min(hold_s * 1.02, 86_400) + 4 * step_s, step_s)
        if self.oracle.state in HELD and self.brain is not None and self.oracle.lease is not None:
            self.run(self.oracle.lease.lost_ms // 1_000 + 90_000, 600)
        self.bridge_is_away = False
        self.start_agent()

    def settle(self) -> None:
        """No more faults; withdraw, release, and let everything come to its end."""
        self.has_faults = False
        self.loss = self.line_loss = 0.0
        self.bridge_is_away = self.office.gate_is_away = False
        self.agent.is_journal_broken, self.agent.effects_left = False, None
        self.agent.clock_offset_s, self.facts_lie = 0, {}
        self.board.cut_after = None
        self.board.stuck = None
        self.truth.crashed = False
        if self.brain is None:
            self.back_ms = self.truth.now_ms
        self.key(on=False)
        if not self.is_agent_alive:
            self.start_agent()
        self.office.withdraw()
        self.run(30)
        unlock = self.office.release(OrderType.UNLOCK, self.random.choice(PARTS))
        self._until_answered(unlock)
        self.run(120)
        for _ in range(30):
            if all(self._is_over(order) for order in self.office.orders.values()):
                break
            self.run(60)
        self.run(300, 5)
        self._replay_everything()
        self.oracle.check_end(self._open_names())
        self.must_start("at the end of its life")
        self.key(on=False)

    def _until_answered(self, unlock: Order) -> None:
        begun_ms = self.truth.now_ms
        while not self.oracle.finals[unlock.cmd_hash]:
            self.run(2, 1)
            if self.oracle.has_forgotten_lender and self.oracle.state not in HELD:
                return  # nobody's signature counts any more, and nothing is left to release
            if self.truth.now_ms - begun_ms > ANSWER_S * 1_000:
                raise LifeError(f"an UNLOCK without faults got no answer in {ANSWER_S} s")
        if self.oracle.state in HELD:
            raise LifeError("an UNLOCK without faults did not release")
        self.oracle.counts["release s x10"] += (self.truth.now_ms - begun_ms) // 100
        self.oracle.counts["releases timed"] += 1

    def _is_over(self, order: Order) -> bool:
        if self.oracle.has_lost_state or self.oracle.has_forgotten_lender:
            return True
        return self.office.states.get(order.cmd_hash) in FINAL_STATES

    def _open_names(self) -> set[bytes]:
        assert self.brain is not None
        return {one.cmd_hash for one in self.brain.record.open.values() if one is not None}

    def _replay_everything(self) -> None:
        for kind, body in self.given:
            self.replay_one(kind, body)
            self.run(4)

    def report(self) -> Report:
        """Return what it was."""
        orders = Counter({name[6:]: n for name, n in self.office.counts.items() if name.startswith("order_")})
        seen = self.oracle.counts + Counter({"starts refused": self.truth.starts_refused})
        return Report(
            seed=self.seed,
            kind=self.kind_name,
            simulated_s=self.truth.now_ms // 1_000,
            faults=self.counts,
            seen=seen,
            orders=orders,
            replays=self.replays,
        )


def live(seed: int, *, floors: Any = production_floors) -> Report:  # noqa: ANN401 - a module, or one's spoilt copy
    """Live the life of a seed.

    Args:
        seed: of everything.
        floors: of the image; only the checkers' own test takes others.

    Raises:
        LifeError: something happened that must not; the seed and the moment are in its text.
    """
    life = Life(seed, floors=floors)
    try:
        return life.run_whole()
    except LifeError as wrong:
        at = life.truth.now_ms / 1_000
        raise LifeError(f"seed {seed} ({life.kind_name}) at {at:.1f} s: {wrong}") from wrong


def try_live(seed: int) -> Report | str:
    """Live a life; a failure is a text."""
    try:
        return live(seed)
    except AssertionError as wrong:
        return str(wrong) or f"seed {seed}: an assertion of the product failed"
    except Exception as wrong:  # noqa: BLE001 - whatever a life makes the product raise is a finding
        return f"seed {seed}: {type(wrong).__name__}: {wrong}"
