"""The brain under any order of events, against the state diagram as command-authority §4.5 draws it.

The diagram below is written from that text and not from `orders_vocabulary.TRANSITIONS`; a test holds the two
together, and the machine holds the brain to it by its signed dispositions alone.
"""

from collections.abc import Callable
from itertools import pairwise

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from device.mcu import brain as link
from protocol import cose_sign, strict_cbor
from protocol.dispositions import follows
from protocol.orders import OrderType, State
from protocol.orders_override import code as override_code
from protocol.orders_vocabulary import FINAL, TRANSITIONS
from simulators.order_lives.world import K_OVR
from tests.builders.mcu import EPISODE, PARKED_FACTS, Box

_BEFORE = ("ACCEPTED_PENDING", "WARNING", "ARMED")
_ENDS = ("CANCELLED", "EXPIRED", "SUPERSEDED")
_UNLOCKED = ("RELEASED", "LEASE_EXPIRED", "FAULT_RELEASED", "SUPERSEDED")
DIAGRAM: dict[str, set[tuple[str, str]]] = {
    "LOCK": {(before, end) for before in _BEFORE for end in _ENDS}
    | {("LOCKED", end) for end in _UNLOCKED}
    | {("OVERRIDDEN", end) for end in _UNLOCKED}
    | {
        ("ACCEPTED_PENDING", "WARNING"),
        ("ACCEPTED_PENDING", "ARMED"),
        ("WARNING", "ARMED"),
        ("ARMED", "ACCEPTED_PENDING"),
        ("ARMED", "LOCKED"),
        ("LOCKED", "LOCKED"),
        ("LOCKED", "OVERRIDDEN"),
        ("OVERRIDDEN", "OVERRIDDEN"),
        ("OVERRIDDEN", "LOCKED"),
    },
    "WARN": {("ACCEPTED_PENDING", end) for end in _ENDS}
    | {("WARNING", end) for end in ("CANCELLED", "SUPERSEDED", "DONE")}
    | {("ACCEPTED_PENDING", "WARNING"), ("WARNING", "WARNING")},
    "RENEW": {("ACCEPTED_PENDING", end) for end in (*_ENDS, "DONE")},
}


def test_the_table_and_the_diagram_are_the_same() -> None:
    for name, arrows in DIAGRAM.items():
        table = {
            (State(was).name, State(now).name)
            for (was, _), now in TRANSITIONS[int(OrderType[name])].items()
            if was not in (State.NONE, State.RECEIVED)
        }
        window_again = {("OVERRIDDEN", "OVERRIDDEN")} if name == "LOCK" else set()
        assert table | window_again == arrows


class Life(RuleBasedStateMachine):
    """One car, anything in any order; `orders` has the type of each order that was sent."""

    @initialize(make=st.sampled_from((Box.bound, Box.armed, Box.locked, Box.locked)))
    def begin(self, make: Callable[[], Box]) -> None:
        self.box = make()
        self.orders: dict[bytes, str] = {}
        self.past: list[tuple[int, bytes]] = []
        if self.box.order:
            self.orders[strict_cbor.loads(cose_sign.read_sign(self.box.order)[0])[2]] = "LOCK"
            self.past.append((link.ORDER, self.box.order))
        self.box.acknowledge()

    def order(self, name: str, data: bytes) -> None:
        before = {found.cmd_id for found in self.box.chain}
        self.box.send_order(data)
        self.past.append((link.ORDER, data))
        for found in self.box.chain:
            if found.cmd_id not in before and found.cmd_id not in self.orders:
                self.orders[found.cmd_id] = name
        self.box.acknowledge()

    def keep_time(self) -> None:
        if self.box.is_agent_alive and self.box.status.get(11) is not None:
            self.box.tell_time()

    @rule()
    def lock(self) -> None:
        self.keep_time()
        self.order("LOCK", self.box.lock())

    @rule()
    def lock_and_ask(self) -> None:
        """A LOCK as far as it comes today."""
        self.lock()
        self.warn_in_the_car_and_park()

    @rule()
    def warn(self) -> None:
        self.keep_time()
        self.order("WARN", self.box.warn())

    @rule()
    def renew(self) -> None:
        self.keep_time()
        self.order("RENEW", self.box.renew())

    @rule(by=st.sampled_from(("maker", "gate", "ombuds")))
    def unlock(self, by: str) -> None:
        self.order("UNLOCK", self.box.unlock(by))
        assert self.box.state is State.NONE, "an UNLOCK ends every state"
        assert not self.box.board.coil

    @rule()
    def cancel(self) -> None:
        was = self.box.state
        self.order("CANCEL", self.box.releasing(OrderType.CANCEL, "checker"))
        assert self.box.state is (was if was in (State.LOCKED, State.OVERRIDDEN) else State.NONE)

    @rule()
    def warn_in_the_car_and_park(self) -> None:
        self.box.hear_warnings()
        self.box.run(700)

    @precondition(lambda self: self.box.go_requests)
    @rule(verdict=st.sampled_from((1, 1, 1, 2)))
    def go(self, verdict: int) -> None:
        was = self.box.state
        token = self.box.go_token(verdict=verdict)
        self.past.append((link.GO, token))
        self.box.send(link.GO, token)
        self.box.run(4)
        if verdict == 2:
            assert self.box.state is not State.LOCKED or was is State.LOCKED

    @rule()
    def press(self) -> None:
        was = self.box.state
        self.box.board.is_pressed = True
        self.box.run(8, 1)
        self.box.board.is_pressed = False
        assert (
            was is not State.LOCKED or self.box.state is not State.LOCKED or self.box.last.overrides_used > 0
        )

    @rule(number=st.integers(1, 4))
    def code(self, number: int) -> None:
        self.box.send(link.OVERRIDE_CODE, strict_cbor.dumps({1: override_code(K_OVR, EPISODE, number)}))

    @rule(minutes=st.integers(1, 90))
    def wait(self, minutes: int) -> None:
        self.box.run(minutes * 60, 8)
        self.keep_time()

    @rule(hours=st.integers(1, 26))
    def wait_long(self, hours: int) -> None:
        for _ in range(hours):
            self.box.run(3_600, 120)
            self.keep_time()

    @rule()
    def crash(self) -> None:
        self.box.facts = {**PARKED_FACTS, 9: True}
        self.box.run(4)
        if self.box.is_agent_alive:
            assert self.box.state not in (State.LOCKED, State.OVERRIDDEN, State.ARMED)
        self.box.facts = dict(PARKED_FACTS)

    @rule()
    def use(self) -> None:
        was = self.box.state
        self.box.turn_key(crank=True)
        assert self.box.board.is_running or was is State.LOCKED, "only a LOCKED inhibits"
        self.box.run(30)
        self.box.park()

    @rule(cause=st.sampled_from(("watchdog", "soft")))
    def reset(self, cause: str) -> None:
        self.box.reset(cause)

    @rule(off_s=st.integers(0, 90_000), rtc_lost=st.booleans())
    def cut_power(self, off_s: int, rtc_lost: bool) -> None:  # noqa: FBT001 - drawn
        self.box.cut_power(off_s, rtc_lost=rtc_lost)
        self.box.run(4)

    @rule(alive=st.booleans())
    def agent(self, alive: bool) -> None:  # noqa: FBT001 - drawn
        self.box.is_agent_alive = alive
        self.box.run(10)

    @precondition(lambda self: self.past)
    @rule(data=st.data())
    def replay(self, data: st.DataObject) -> None:
        was, heads = self.box.state, list(self.box.brain.record.heads)
        kind, body = data.draw(st.sampled_from(self.past))
        self.box.brain.receive(kind, body)
        self.box.brain.step()
        self.box.collect()
        assert self.box.brain.record.heads == heads
        assert self.box.state is was or was in (State.ARMED, State.LOCKED, State.OVERRIDDEN, State.WARNING)
        assert self.box.state is not State.LOCKED or was is State.LOCKED, "a replay never locks"

    @invariant()
    def the_coil_is_on_only_in_a_locked_car(self) -> None:
        if hasattr(self, "box"):
            assert not self.box.board.coil or self.box.state is State.LOCKED

    def teardown(self) -> None:
        if not hasattr(self, "box"):
            return
        self.box.acknowledge()
        chain = sorted(self.box.chain, key=lambda found: found.sequence)
        assert all(follows(later, earlier) for earlier, later in pairwise(chain))
        for cmd_id, name in self.orders.items():
            states = [found.state for found in chain if found.cmd_id == cmd_id]
            ends = [state for state in states if state in FINAL]
            assert len(ends) <= 1, (name, states)
            assert not ends or states[-1] is ends[0], "nothing follows an end"
            if name in DIAGRAM:
                arrows = {(was.name, now.name) for was, now in pairwise(states)}
                assert arrows <= DIAGRAM[name], (name, states)


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=12, stateful_step_count=25, deadline=None, suppress_health_check=list(HealthCheck)
)
