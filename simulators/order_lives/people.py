"""What people outside do with the car's orders, and replays of what was taken.

Rules: whatever restricts waits for the car's challenge; a payment withdraws all of it and releases. A
replay is given in one moment of the world, when nothing else is queued, and must change nothing.

Example: see `life`.
"""

from __future__ import annotations

import hashlib

from device.mcu import brain as brain_module
from protocol.orders import OrderType
from simulators.order_lives.days import HOUR_S, Days
from simulators.order_lives.luck import payload_of
from simulators.order_lives.oracle import HELD, LifeError

PARTS = ("maker", "checker", "gate", "safety-officer", "ombuds")


class People(Days):
    """A car with a driver, a lender and a gate."""

    def lock(self) -> None:
        """Maker, checker and gate sign a LOCK, over the next challenge."""
        self.office.is_paid = False
        if self.random.random() < 0.3:
            self.office.episode = self.random.randbytes(16)
        self.office.wish(
            OrderType.LOCK, key_15=self.random.choice((HOUR_S, 6 * HOUR_S, 30 * HOUR_S, 259_200, 604_800))
        )
        self.run(60)

    def renew(self) -> None:
        """The same people sign a RENEW."""
        if self.oracle.state in HELD:
            self.office.wish(OrderType.RENEW, key_15=self.random.choice((HOUR_S, 20 * HOUR_S, 259_200)))
            self.run(60)

    def warn(self) -> None:
        """The same people sign a WARN."""
        self.office.wish(OrderType.WARN)
        self.run(60)

    def unlock(self) -> None:
        """One of the releasing roles signs an UNLOCK."""
        self.office.release(OrderType.UNLOCK, self.random.choice(PARTS))
        self.run(self.random.choice((0, 20, 60)))

    def cancel(self) -> None:
        """One of the releasing roles signs a CANCEL."""
        self.office.release(OrderType.CANCEL, self.random.choice(PARTS))
        self.run(self.random.choice((0, 20, 60)))

    def query(self) -> None:
        """Somebody asks."""
        self.office.query()
        self.run(10)

    def decommission(self) -> None:
        """The loan is paid off: the car is given free for good."""
        self.office.withdraw()
        self.office.release(OrderType.DECOMMISSION, "maker", "gate")
        self.run(60)

    def pay(self) -> None:
        """A payment is posted: nothing more is granted, and the gate releases."""
        self.counts["payment"] += 1
        self.office.is_paid = True
        self.office.withdraw()
        self.office.release(OrderType.UNLOCK, "gate")
        self.run(self.random.choice((0, 30)))

    def replay(self) -> None:
        """Give something again that was taken before."""
        if self.given:
            self.replay_one(*self.random.choice(self.given))

    def replay_one(self, kind: int, body: bytes) -> None:
        """Give a message again in one moment of the world; it must change nothing."""
        for _ in range(12):
            self._step_brain()
        brain = self.brain
        if brain is None or self.board.cut_after is not None or self.oracle.is_restored:
            return
        if kind == brain_module.ORDER:
            order = self.office.orders.get(hashlib.sha256(payload_of(body)).digest())
            if order is None or not any(
                found.cmd_hash == order.cmd_hash for found in self.oracle.heard.values()
            ):
                return  # never answered: it is no replay
            self.oracle.counts["replayed orders"] += 1
        elif kind != brain_module.ORDER and not self._was_taken(kind, body):
            return
        before = self._fingerprint()
        contact = self.oracle.contact_ms
        self._with_brain(lambda it: it.receive(kind, body))
        for _ in range(3):
            self._step_brain()
        self.oracle.contact_ms = contact
        if self.brain is brain and self._fingerprint() != before:
            raise LifeError(f"a replay of kind {kind} changed something")
        self.replays += 1

    def _was_taken(self, kind: int, body: bytes) -> bool:
        return (
            kind in (brain_module.GO, brain_module.TIME)
            and self.taken_ms.get(body, -1) < self.truth.now_ms - 400_000
        )

    def give(self, kind: int, body: bytes) -> None:
        """Give the brain a message; keep when tokens came last."""
        if kind in (brain_module.GO, brain_module.TIME):
            self.taken_ms[body] = self.truth.now_ms
        super().give(kind, body)

    def _fingerprint(self) -> list[object]:
        brain = self.brain
        assert brain is not None
        record = brain.record
        opened = [None if one is None else (one.cmd_hash, one.state) for one in record.open.values()]
        lease = None if brain.lease is None else brain.lease.dump()
        override = None if brain.override is None else brain.override.dump()
        return [
            opened, list(record.heads), record.prev, record.mode, record.binding, lease, override,
            brain.holds.dump(), record.challenge,
        ]  # fmt: skip
