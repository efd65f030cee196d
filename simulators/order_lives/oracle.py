"""What must hold in every life, computed from the car's truth and from what people signed.

Rules: the checkers never ask the brain's trackers, timers or counts. They see the state of its open LOCK,
each switch of the coil and every message that leaves it, and compare them with `car.Truth`, the office and
their own count of time:
- a lock begins only for an order that three people signed, in its life, warned, parked by truth, with a
  fresh token;
- the coil is energised only in such a lock, by a true crank, with engine and wheels long at rest;
- each release works in its time; a lease ends by itself within 1 %, never beyond 7 d, and 24 h after the
  last word;
- each order ends in one final state; numbers of dispositions have no gap that was not declared.

Example: see `life`.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from protocol import strict_cbor
from protocol.dispositions import Disposition, follows, open_disposition
from protocol.orders import Code, OrderType, State
from protocol.vectors.keys import published_lookup
from simulators.order_lives.office import FINAL_STATES, HOURS, Office, Order, is_business_day

if TYPE_CHECKING:
    from simulators.order_lives.car import Truth

REST_MS, TOKEN_S, WINDOW_MS = 600_000, 900, 86_400_000
LEASE_CAP_MS, CONTACT_MS, CHARGE_MS = 7 * 86_400_000, 86_400_000, 86_400_000
CRASH_MS, RATE_MS = 72 * 3_600_000, 7 * 86_400_000
SLACK_MS = 3_000  # ticks are whole seconds
LOST_TICKS_MS = 61_000  # ticks are written each minute; with the clock's battery lost, those since are gone
RELEASE_STEPS = 8
HELD = (State.LOCKED, State.OVERRIDDEN)


class LifeError(AssertionError):
    """Something happened in a life that must not."""


@dataclass(slots=True, kw_only=True)
class Lease:
    """A lock that stands, in the checkers' own count of time (ms, without off-time nobody measured)."""

    order: Order
    since_ms: int
    hold_ms: int
    charge_ms: int = 0
    lost_ms: int = 0
    windows: list[int] | None = None

    def end_ms(self, now_ms: int) -> int:
        """Return when it must end, as far as is known now."""
        spent = sum(min(WINDOW_MS, now_ms - at) for at in self._apart(now_ms))
        return self.since_ms + min(self.hold_ms + spent, LEASE_CAP_MS) - self.charge_ms

    def _apart(self, now_ms: int) -> list[int]:
        return [at for at in self.windows or [] if at <= now_ms]

    def in_window(self, now_ms: int) -> bool:
        """Whether an emergency window is open."""
        return any(0 <= now_ms - at < WINDOW_MS - SLACK_MS for at in self.windows or [])


class Oracle:
    """See the module."""

    def __init__(self, truth: Truth, office: Office) -> None:
        self.truth, self.office = truth, office
        self.state = State.NONE
        self.name: bytes | None = None
        self.lease: Lease | None = None
        self.ended: set[bytes] = set()
        self.finals: dict[bytes, dict[bytes, State]] = defaultdict(dict)
        self.heard: dict[bytes, Disposition] = {}
        self.heard_cycles: Counter[bytes] = Counter()
        self.hands_used: set[bytes] = set()
        self.counts: Counter[str] = Counter()
        self.unmeasured_ms = 0
        self.step_ms = 1_000
        self.contact_ms = 0
        self.locked_ms: list[int] = []
        self.liar = False
        self.agent_clock_wrong = False
        self.is_restored = False
        self.ring_lost = 0
        self.has_lost_state = False
        self._pending: list[list[Any]] = []

    # --- time ---

    @property
    def dev_ms(self) -> int:
        """The checkers' count, without off-time that nobody could measure."""
        return self.truth.now_ms - self.unmeasured_ms

    def note_off(self, off_ms: int, *, is_measured: bool) -> None:
        """The device was off."""
        if is_measured:
            return
        self.unmeasured_ms += off_ms
        if self.lease is not None:
            self.lease.charge_ms += CHARGE_MS
            self.lease.lost_ms += LOST_TICKS_MS

    def fail(self, what: str) -> None:
        """Raise LifeError."""
        raise LifeError(what)

    # --- what is delivered to the brain ---

    def delivered(self, body: bytes) -> None:
        """A message of the office was given to the brain: at most now somebody was heard."""
        self.contact_ms = self.dev_ms
        for order in self.office.orders.values():
            if order.message == body and order.type in (OrderType.UNLOCK, OrderType.DECOMMISSION):
                self._pending.append([order, RELEASE_STEPS])

    def powered_down(self) -> None:
        """What was on its way is gone."""
        self._pending.clear()

    def note_link_code(self, word: str, digest: bytes) -> None:
        """An unsigned refusal: fine for what came too often or lacks a delegation, not for the genuine."""
        for entry in list(self._pending):
            if hashlib.sha256(entry[0].message).digest() == digest:
                if word not in ("BUSY", "DELEGATION_MISSING") and not self.has_forgotten_lender:
                    self.fail(f"a genuine release was called {word}")
                self.counts[f"release_{word.lower()}"] += 1
                self._pending.remove(entry)

    # --- what the brain says ---

    def hear(self, message: bytes) -> None:
        """A disposition left the brain."""
        found = open_disposition(message, published_lookup("mcu-1"))
        self._answered(found)
        if message in self.heard:
            return
        self.heard[message] = found
        self.counts[f"disposition_{found.state.name}"] += 1
        order = self.office.orders.get(found.cmd_hash)
        if found.cmd_hash == bytes(32):
            return
        if order is None:  # forged: authentic persons in a wrong set get a signed refusal, and nothing else
            if found.state is not State.REJECTED:
                self.fail(f"a disposition {found.state.name} about an order that nobody signed")
            self.counts["forgeries refused by signature"] += 1
            return
        if found.cmd_hash in self.ended and found.state not in FINAL_STATES and not self.is_restored:
            self.fail(f"{found.state.name} after the end")
        if found.state in FINAL_STATES:
            if found.code is not Code.DUPLICATE:
                self.finals[found.cmd_hash][message] = found.state
            if order.type is OrderType.LOCK:
                self.ended.add(found.cmd_hash)
            if order.type is OrderType.RENEW and found.state is State.DONE and self.lease is not None:
                self._renewed(order)
            if found.state is State.LEASE_EXPIRED:
                self._expired(found)

    def _answered(self, found: Disposition) -> None:
        """Compare an answer with the releases that wait for one."""
        for entry in list(self._pending):
            if entry[0].cmd_hash == found.cmd_hash:
                self._pending.remove(entry)
                is_fine = found.code in (Code.OK, Code.REPLAY_CTR, Code.DUPLICATE, Code.WRONG_EPOCH)
                if not is_fine and not self.has_forgotten_lender:
                    self.fail(f"a genuine release was refused: {found.code.name}")
                if found.code is Code.OK and self.state in HELD:
                    self.fail("a release was accepted and the lock stands")

    @property
    def has_forgotten_lender(self) -> bool:
        """Whether the car was given free for good, or lost its state: nobody's signature is known to it."""
        return self.has_lost_state or any(
            self.office.orders[name].type is OrderType.DECOMMISSION and State.DONE in finals.values()
            for name, finals in self.finals.items()
            if name in self.office.orders
        )

    def _renewed(self, order: Order) -> None:
        lease = self.lease
        assert lease is not None
        now_ms = self.dev_ms
        spent = sum(min(WINDOW_MS, now_ms - at) for at in lease.windows or [])
        lease.hold_ms = max(
            lease.hold_ms, now_ms - lease.since_ms + lease.charge_ms - spent + order.fields[15] * 1_000
        )
        self.counts["renewed"] += 1

    def _expired(self, found: Disposition) -> None:
        lease = self._last_lease
        if lease is None or lease.order.cmd_hash != found.cmd_hash or self.is_restored:
            return
        early_ms = lease.end_ms(self.dev_ms) - self.dev_ms
        if early_ms > self._tolerance(lease):
            self.fail(f"the lease ended {early_ms // 1_000} s early")
        self.counts["lease_ended_by_itself"] += 1

    def _tolerance(self, lease: Lease) -> int:
        return lease.hold_ms // 100 + lease.lost_ms + SLACK_MS

    # --- what the brain does ---

    _last_lease: Lease | None = None

    def observe(self, state: State, name: bytes | None) -> None:
        """See the state of the open LOCK after each step of the brain."""
        before, self.state = self.state, state
        if state is State.LOCKED and (before is not State.LOCKED or name != self.name):
            self._entered(before, name)
        elif state is State.OVERRIDDEN and before is State.LOCKED:
            self._opened_window()
        if state not in HELD:
            self.lease = None
        self.name = name

    def _opened_window(self) -> None:
        assert self.lease is not None
        self.lease.windows = [*(self.lease.windows or []), self.dev_ms]
        self.counts["windows"] += 1

    def _entered(self, before: State, name: bytes | None) -> None:
        order = self.office.orders.get(name or b"")
        if order is None or order.type is not OrderType.LOCK:
            self.fail("locked without an order that people signed")
            return
        kept = self._last_lease
        is_same = kept is not None and kept.order.cmd_hash == name
        if name in self.ended:
            self.fail("a lock that ended stands again")
        if self.is_restored and is_same and kept is not None:
            if kept.in_window(self.dev_ms):
                self.fail("an old image took an emergency window back")
            kept.windows = None
            self.lease = kept
            self.counts["old image: the lock goes on"] += 1
            return
        self._check_truth(order)
        if before is State.OVERRIDDEN and is_same and kept is not None:
            if kept.in_window(self.dev_ms):
                self.fail("locked again within an emergency window")
            self.lease = kept
            self.counts["locked_again"] += 1
            return
        if self.truth.now_ms // 1_000 > order.fields[12] - self._epoch_s:
            self.fail("locked after the order's end")
        if self.heard_cycles[order.fields[24]] < 2:
            self.fail("locked and not warned")
        if any(self.dev_ms - at < RATE_MS - SLACK_MS for at in self.locked_ms) and not self.is_restored:
            self.fail("locked twice in 7 d")
        self.locked_ms.append(self.dev_ms)
        self.lease = self._last_lease = Lease(
            order=order, since_ms=self.dev_ms, hold_ms=min(order.fields[15] * 1_000, LEASE_CAP_MS)
        )
        self.counts["locked"] += 1

    @property
    def _epoch_s(self) -> int:
        return self.office.utc_s() - self.truth.now_ms // 1_000

    def _check_truth(self, order: Order) -> None:
        truth, now_ms = self.truth, self.truth.now_ms
        if truth.ignition or truth.crank or truth.engine or truth.is_moving:
            self.fail("locked a car in use")
        if now_ms - truth.engine_ran_ms < REST_MS - SLACK_MS or now_ms - truth.moved_ms < REST_MS - SLACK_MS:
            self.fail("locked before the drive cycle ended and the car rested")
        if now_ms - truth.crashed_ms < CRASH_MS - SLACK_MS:
            self.fail("locked within 72 h of a crash")
        now_s = self.office.utc_s()
        granted = [at for name, at in self.office.gos if name == order.cmd_hash]
        parked_s = now_s - (now_ms - max(truth.engine_ran_ms, truth.moved_ms)) // 1_000
        fresh = [at for at in granted if now_s - at <= TOKEN_S + self.step_ms // 1_000 and at >= parked_s]
        if not fresh:
            self.fail("locked without a fresh token of this parking")
        if self.liar:
            return
        if truth.in_zone or truth.hazard:
            self.fail("locked in a protected place or with hazard lights on")
        if not self.agent_clock_wrong and not (
            HOURS[0] <= now_s // 60 % 1_440 < HOURS[1] and is_business_day(now_s)
        ):
            self.fail("locked out of hours")

    def coil(self, *, on: bool) -> None:
        """See a switch of the coil."""
        if not on:
            return
        self.counts["inhibits"] += 1
        truth, now_ms, lease = self.truth, self.truth.now_ms, self.lease
        if lease is None or self.state is not State.LOCKED:
            self.fail(f"the coil is energised in {self.state.name}")
            return
        if not truth.crank or truth.engine or truth.is_moving:
            self.fail("the coil is energised without a crank, or with engine or wheels turning")
        if now_ms - truth.engine_ran_ms < REST_MS - SLACK_MS or now_ms - truth.moved_ms < REST_MS - SLACK_MS:
            self.fail("the coil is energised within a drive cycle")
        if lease.in_window(self.dev_ms):
            self.fail("the coil is energised in an emergency window")
        if lease.order.cmd_hash in self.ended:
            self.fail("the coil is energised for a lock that ended")

    def after_step(self) -> None:
        """Look at what must have ended by now; call it after each step of a powered brain."""
        for entry in list(self._pending):
            entry[1] -= 1
            if entry[1] <= 0:
                self.fail("a release was handed over and nothing was said")
        lease = self.lease
        if lease is None or self.state not in HELD:
            return
        late_ms = self.dev_ms - lease.end_ms(self.dev_ms)
        if late_ms > self._tolerance(lease) + self.step_ms:
            self.fail(f"the lease is {late_ms // 1_000} s over and the lock stands")
        if self.dev_ms - lease.since_ms > LEASE_CAP_MS + lease.lost_ms + SLACK_MS + self.step_ms:
            self.fail("a lock stands beyond 7 d")
        heard_ms = max(lease.since_ms, self.contact_ms)
        if self.dev_ms - heard_ms > CONTACT_MS + lease.lost_ms + SLACK_MS + self.step_ms:
            self.fail("24 h without contact and the lock stands")

    # --- the end ---

    def check_end(self, open_names: set[bytes]) -> None:
        """Check orders and chain when everything has come to its end."""
        for name, order in self.office.orders.items():
            finals = list(self.finals[name].values())
            lost = self.has_forgotten_lender or self.is_restored
            if len(finals) > 1 and not self.is_restored:
                self.fail(f"{order.type.name} ended {len(finals)} times: {[one.name for one in finals]}")
            if not finals and not lost and not self.ring_lost:
                self.fail(f"{order.type.name} has no final state ({self.office.states.get(name)})")
            if name in open_names:
                self.fail(f"{order.type.name} is still open")
        if not self.is_restored:
            self._check_chain()

    def _check_chain(self) -> None:
        by_epoch: dict[bytes, dict[int, Disposition]] = defaultdict(dict)
        for message, found in self.heard.items():
            if found.sequence in by_epoch[found.epoch]:
                self.fail(f"number {found.sequence} was used twice")
            by_epoch[found.epoch][found.sequence] = found
            _ = message
        gaps = 0
        for numbers in by_epoch.values():
            for seq, found in numbers.items():
                if seq - 1 in numbers and not follows(found, numbers[seq - 1]):
                    self.fail(f"number {seq} does not follow {seq - 1}")
            gaps += max(numbers) - len(numbers)
        if gaps > self.ring_lost and not self.has_lost_state:
            self.fail(f"{gaps} numbers are missing, {self.ring_lost} were declared")
        if self.office.forks:
            self.fail("the backend got one number with two contents")
        stored = set(self.office.stored.values())
        missing = [found.sequence for message, found in self.heard.items() if message not in stored]
        if missing and not self.ring_lost and not self.has_lost_state:
            self.fail(f"the backend lacks {missing}")


def link_code(body: bytes) -> tuple[str, bytes]:
    """Return word and digest of a link code."""
    fields: dict[int, Any] = strict_cbor.loads(body)
    return fields[1], fields[2]
