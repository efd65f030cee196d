"""The lock funnel: from loans that fall behind to cars that lock, or do not, and why; in virtual time.

Rules: one heap of events, one clock, one seed; the same seed gives the same run. Gate, packs, reader, brain,
interlock and floors are the product's (`lock_funnel_gate`, `lock_funnel_car`); the borrowers, places and
weather are `lock_funnel_lives`, chosen before measuring; the officers are `lock_funnel_desk`.

Example:
    >>> funnel = Funnel(cars=3, days=21)
    >>> funnel.run()
    >>> len(funnel.lives)
    3
"""

from __future__ import annotations

import heapq
import itertools
from typing import TYPE_CHECKING

from protocol.orders import State
from simulators.lock_funnel_car import Car
from simulators.lock_funnel_desk import Case, Desk
from simulators.lock_funnel_gate import TERM_S, House
from simulators.lock_funnel_lives import DAY_S, START_S, Calendar, Weather, life_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from protocol.orders import OrderSigner
    from simulators.lock_funnel_lives import Life

BEFORE_S = 13 * DAY_S  # the first loans fall behind before the span; a breaker limit needs its week
AFTER_S = 10 * DAY_S  # for leases and releases


class Funnel:
    """A run.

    Args:
        cars: how many lives, from number `first`.
        days: of the span.
        seed: of everything.
        is_eager: makers sign LOCKs as soon as the notice has run, warned or not.
        lives: instead of `cars`.
    """

    def __init__(
        self,
        *,
        cars: int = 1_000,
        days: int = 60,
        seed: int = 1,
        start_s: int = START_S,
        is_eager: bool = False,
        lives: Iterable[Life] | None = None,
    ) -> None:
        self.calendar = Calendar.of(start_s, days=days)
        self.weather = Weather(self.calendar, seed=seed)
        self.lives = (
            [life_of(number, self.calendar, seed=seed) for number in range(cars)]
            if lives is None
            else list(lives)
        )
        self._heap: list[tuple[float, int, Callable[[], None]]] = []
        self._count = itertools.count()
        self.now_s: float = start_s - BEFORE_S
        self.end_s: float = start_s + days * DAY_S + AFTER_S
        self.house = House(now_s=lambda: self.now_s, weather=self.weather, calendar=self.calendar, seed=seed)
        self.desk = Desk(self, seed=seed, is_eager=is_eager)
        for life in self.lives:
            self._enter(life, seed)
        self.desk.begin()
        self.at(self.now_s + TERM_S, self._next_term)

    def _enter(self, life: Life, seed: int) -> None:
        car = Car(life, number=life.number, world=self, seed=seed)
        case = self.desk.open_case(car)
        car.on_state = lambda state: self._moved(case, state)
        self.at(max(self.now_s + 60, life.due_since_s + 6.5 * DAY_S), lambda: car.begin(self.now_s))

    def _next_term(self) -> None:
        self.house.next_term()
        self.at(self.now_s + TERM_S, self._next_term)

    def _moved(self, case: Case, state: State) -> None:
        """Note when a car locks and is released; a borrower whose car locked may pay."""
        car, life = case.car, case.car.life
        if state is State.LOCKED and case.locked_s is None:
            case.locked_s = car.locked_s
            if life.after_lock_s is not None and case.known_paid_s is None:
                self.at(
                    self.now_s + life.after_lock_s, lambda: self.desk.pay(case, life.paid_by, life.nights)
                )
        elif state is not State.LOCKED and case.locked_s is not None and case.released_s is None:
            case.released_s = car.released_s

    # --- `World` of a car -----------------------------------------------------------------------------------

    def at(self, at_s: float, what: Callable[[], None]) -> None:
        """Have something happen; what lies in the past happens next."""
        heapq.heappush(self._heap, (max(at_s, self.now_s), next(self._count), what))

    def signed_time(self, nonce: bytes) -> bytes:
        """Return a signed time token of now."""
        return self.house.signed_time(nonce)

    def provision(self, start_type: str) -> bytes:
        """Return the body of PROVISION."""
        return self.house.provision(start_type)

    def birth_documents(self) -> list[bytes]:
        """Return bodies of AUTHORITY for a new car."""
        return self.house.birth_documents()

    def bind_signers(self) -> tuple[OrderSigner, OrderSigner]:
        """Return installer and gate."""
        return self.house.as_signer("installer-1"), self.house.as_signer("gate-1")

    def binding(self, car: Car) -> dict[int, object]:
        """Return what binds a car to its contract."""
        return self.desk.binding(car)

    # --- Running --------------------------------------------------------------------------------------------

    def run(
        self, *, until: Callable[[], bool] | None = None, progress: Callable[[float], None] | None = None
    ) -> None:
        """Let everything happen, or until something is true; `progress` hears the share done."""
        begun_s, told_s = self.now_s, self.now_s
        while self._heap and self._heap[0][0] <= self.end_s:
            self.now_s, _, what = heapq.heappop(self._heap)
            what()
            if progress is not None and self.now_s - told_s > DAY_S / 4:
                told_s = self.now_s
                progress((self.now_s - begun_s) / (self.end_s - begun_s))
            if until is not None and until():
                return
