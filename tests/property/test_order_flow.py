"""The flow of orders against its table: whatever happens in whatever order, crashes between steps too."""

import contextlib
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sqlalchemy.exc import DBAPIError

from backend.domain.order_flow import (
    FINAL,
    TABLE,
    IllegalStepError,
    Stage,
    Step,
    first_stage,
    holds_slot,
    is_restrictive,
    next_stage,
    priority,
)
from protocol.orders import OrderType, State
from protocol.topics import Up
from tests.builders.orders_backend import OrderWorld


@pytest.mark.parametrize("stage", Stage)
@pytest.mark.parametrize("step", Step)
def test_only_what_the_table_lists_happens(stage: Stage, step: Step) -> None:
    if (stage, step) in TABLE:
        assert next_stage(stage, step) is TABLE[stage, step]
    else:
        with pytest.raises(IllegalStepError):
            next_stage(stage, step)


def test_nothing_restrictive_is_sent_before_log_and_gate() -> None:
    ways: set[tuple[Stage, ...]] = {(Stage.AWAITING_CHECKER,)}
    seen: set[tuple[Stage, ...]] = set()
    while ways:
        way = ways.pop()
        seen.add(way)
        for (stage, step), after in TABLE.items():
            if stage is way[-1] and after not in way and step is not Step.COMPLETE:
                ways.add((*way, after))
    for way in (way for way in seen if way[-1] is Stage.SENT):
        assert way.index(Stage.AWAITING_LOG) < way.index(Stage.AWAITING_GATE) < way.index(Stage.QUEUED)


def test_releases_go_first_and_hold_no_slot() -> None:
    for order_type in OrderType:
        if is_restrictive(order_type):
            assert first_stage(order_type) is Stage.AWAITING_CHECKER
            assert priority(order_type) > priority(OrderType.UNLOCK)
        else:
            assert not any(holds_slot(order_type, stage, None) for stage in Stage)
    assert first_stage(OrderType.UNLOCK) is first_stage(OrderType.CANCEL) is Stage.QUEUED
    assert frozenset({Stage.HELD, Stage.REFUSED_BY_GATE, Stage.WITHDRAWN}) == FINAL
    assert not holds_slot(OrderType.LOCK, Stage.ANSWERED, State.LOCKED)


class OrderLife(RuleBasedStateMachine):
    """One car, one LOCK after another; people, gate, line and worker in any order, each perhaps away."""

    @initialize()
    def begin(self) -> None:
        self.folder = TemporaryDirectory()
        self.world = OrderWorld.make(Path(self.folder.name))
        self.payload: bytes | None = None
        self.number = 10
        self.unlocked: set[str] = set()

    def teardown(self) -> None:
        if hasattr(self, "world"):
            self.world.close()
            self.folder.cleanup()

    def orders(self) -> list[dict[str, Any]]:
        answer = self.world.client.get("/v1/orders", headers=self.world.maker).json()
        found: list[dict[str, Any]] = answer["items"]
        return found

    @rule()
    def request(self) -> None:
        self.number += 1
        payload = self.world.payload(OrderType.LOCK, self.number, key_2=self.number.to_bytes(16, "big"))
        answer = self.world.request(payload)
        assert answer.status_code in {201, 409, 422}
        if answer.status_code == 201:
            self.payload = payload

    @precondition(lambda self: self.payload is not None)
    @rule()
    def approve(self) -> None:
        assert self.payload is not None
        assert self.world.approve(self.payload).status_code in {201, 409, 422}

    @rule()
    def unlock(self) -> None:
        self.number += 1
        before = {item["cmd_id"] for item in self.orders() if item["type"] == "LOCK"}
        payload = self.world.payload(
            OrderType.UNLOCK, self.number + 100, key_2=self.number.to_bytes(16, "big")
        )
        assert self.world.request(payload).status_code == 201
        self.unlocked |= before

    @rule()
    def withdraw(self) -> None:
        for item in self.orders():
            path = f"/v1/orders/{item['cmd_id']}/withdraw"
            answer = self.world.client.post(path, headers=self.world.key(self.world.maker))
            assert answer.status_code in {200, 409}

    @rule(
        is_away=st.booleans(),
        verdict=st.sampled_from(["SIGNED", "REFUSED", "HELD"]),
        is_line_up=st.booleans(),
    )
    def weather(self, *, is_away: bool, verdict: str, is_line_up: bool) -> None:
        self.world.gate.is_away, self.world.gate.verdict = is_away, verdict
        self.world.is_line_up = is_line_up

    @rule(seconds=st.sampled_from([1, 60, 3_600, 90_000]))
    def time_passes(self, seconds: int) -> None:
        self.world.backend.clock.pass_seconds(seconds)

    @rule(after=st.sampled_from([None, "command_order", "order_part", "ledger_leaf", "gate_answer"]))
    def drive(self, after: str | None) -> None:
        """Let the worker go on; it may be cut off at its first write to a table, and another one goes on."""
        if after is None:
            self.world.drive()
            return
        with self.world.database.writing() as session, session.begin():
            run = session.connection().exec_driver_sql
            run(
                f"CREATE TRIGGER cut BEFORE {'UPDATE' if after == 'command_order' else 'INSERT'} ON {after} "
                "BEGIN SELECT RAISE(ABORT, 'cut'); END"
            )
        with contextlib.suppress(DBAPIError):  # the worker ends; another one goes on
            self.world.drive()
        with self.world.database.writing() as session, session.begin():
            session.connection().exec_driver_sql("DROP TRIGGER cut")

    @rule()
    def dispatch(self) -> None:
        self.world.dispatch()

    @precondition(lambda self: self.payload is not None)
    @rule(state=st.sampled_from([2, 3, 5, 6, 7, 12, 13]))
    def car_says(self, state: int) -> None:
        if self.world.sent_on("order"):
            self.world.hears(Up.DISPOSITION, self.world.car.says(self.payload, state))

    @invariant()
    def one_open_restriction_and_no_word_before_the_car(self) -> None:
        if not hasattr(self, "world"):
            return
        heard = self.world.car.seq
        for item in self.orders():
            if heard == 0:
                assert item["reported_state"] == "UNKNOWN"
        held = [item for item in self.orders() if item["waits_for"] and item["type"] == "LOCK"]
        assert len({item["cmd_id"] for item in held if item["overtaken_by"] is None}) <= 1

    @invariant()
    def what_an_unlock_overtook_is_not_sent_after_it(self) -> None:
        if not hasattr(self, "world"):
            return
        for item in self.orders():
            if item["cmd_id"] in self.unlocked:
                assert item["stage"] not in {"QUEUED", "AWAITING_GATE", "AWAITING_LOG", "AWAITING_CHECKER"}


TestOrderLife = OrderLife.TestCase
TestOrderLife.settings = settings(settings.get_profile("fast"), max_examples=12, stateful_step_count=20)
