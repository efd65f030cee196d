"""The bridge between a real broker with mutual TLS and a real database: receipts, outages, redelivery."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Self

import pytest
from sqlalchemy import func, select, update

from backend.bridge.link import BrokerLink, LinkSettings
from backend.bridge.pump import Pump
from backend.domain.integrity import IntegrityKind
from backend.store.batches import BATCH, BATCH_QUEUE
from backend.store.chains import CHAIN
from backend.store.integrity_events import page_of_events
from protocol.batch import Loss, LossCause
from protocol.limits import INTEGRITY_HOLE_GRACE_US
from protocol.receipts import Receipt, open_receipt
from protocol.signed_time import TimeRequest, open_time_token, sign_time_request
from protocol.topics import Down, Up, down_filter, down_topic, encode_status, up_topic
from tests.builders.databases import outage, trip
from tests.builders.ingest import ORG, START_US, Backend, Box
from tests.builders.sim import BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.builders.sim import Client

pytestmark = pytest.mark.usefixtures("each_database")

PATIENCE_S = 8.0


class RunningBridge:
    """A bridge in a thread, ended at the end of the block."""

    def __init__(
        self, backend: Backend, world: BrokerWorld, *, clock: Callable[[], int] | None = None
    ) -> None:
        credential = world.authority.issue_client("bridge")
        self.link = BrokerLink(
            LinkSettings(
                host="127.0.0.1",
                port=world.broker.port,
                ca_file=world.authority.ca_file,
                cert_file=credential.cert,
                key_file=credential.key,
            )
        )
        self.pump = Pump(
            database=backend.database,
            signer=backend.signer,
            link=self.link,
            clock=clock or (lambda: START_US),
        )
        self._thread = threading.Thread(target=self.pump.run)

    def __enter__(self) -> Self:
        self._thread.start()
        assert self.link.wait_ready(PATIENCE_S)
        return self

    def __exit__(self, *_: object) -> None:
        self.pump.stop()
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive()

    def until(self, condition: Callable[[], bool]) -> None:
        """Wait until a condition holds, looked at often, with an end."""
        done = threading.Event()
        end = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < end, f"waited in vain: {self.pump.health.line()}"
            done.wait(0.01)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


@pytest.fixture
def box() -> Box:
    return Box(seed=1)


@pytest.fixture
def backend(tmp_path: Path, box: Box) -> Iterator[Backend]:
    with Backend(tmp_path, boxes=[box]) as made:
        yield made


def receipts(backend: Backend, car: Client, box: Box) -> list[Receipt]:
    keys = {backend.signer.kid: backend.signer.public_key}
    topic = down_topic(box.device, Down.RECEIPT)
    return [open_receipt(payload, keys.get) for heard, payload in car.heard if heard == topic]


def stored(backend: Backend) -> int:
    with backend.database.reading() as session:
        return int(session.connection().execute(select(func.count()).select_from(BATCH)).scalar_one())


def test_batches_are_stored_receipted_and_projected(backend: Backend, world: BrokerWorld, box: Box) -> None:
    chain = box.chain()
    with RunningBridge(backend, world) as bridge, world.client(box.device) as car:
        car.subscribe(down_filter(box.device))
        for batch in chain.many(5):
            car.publish(up_topic(box.device, Up.BATCH), batch.payload)
        car.wait(lambda: any(receipt.upto == 5 for receipt in receipts(backend, car, box)))
        bridge.until(lambda: bridge.pump.health.projected == 5)
        assert bridge.pump.health.outcomes["store"] == 5
    with backend.database.reading() as session:
        waiting = session.connection().execute(select(func.count()).select_from(BATCH_QUEUE)).scalar_one()
    assert waiting == 0


def test_garbage_a_will_and_unknown_kinds_are_counted_and_the_next_batch_is_stored(
    backend: Backend, world: BrokerWorld, box: Box
) -> None:
    with RunningBridge(backend, world) as bridge, world.client(box.device) as car:
        car.subscribe(down_filter(box.device))
        car.publish(up_topic(box.device, Up.BATCH), b"garbage")
        car.publish(up_topic(box.device, Up.STATUS), encode_status(is_online=True))
        car.publish(f"tbox/1/{box.device}/up/gossip", b"?")
        car.publish(up_topic(box.device, Up.BATCH), box.chain().next().payload)
        car.wait(lambda: bool(receipts(backend, car, box)))
        assert bridge.pump.health.outcomes["BAD_ENCODING"] == 1
        assert bridge.pump.health.outcomes["status"] == 1
        assert bridge.pump.health.outcomes["BAD_TOPIC"] == 1


def test_the_time_is_told_over_the_broker(backend: Backend, world: BrokerWorld, box: Box) -> None:
    question = sign_time_request(TimeRequest(nonce=b"q" * 16, device=box.device), box.signer)
    with RunningBridge(backend, world), world.client(box.device) as car:
        car.subscribe(down_filter(box.device))
        car.publish(up_topic(box.device, Up.REQUEST), question)
        car.wait(lambda: bool(car.heard))
        topic, payload = car.heard[0]
        assert topic == down_topic(box.device, Down.TIME)
        keys = {backend.signer.kid: backend.signer.public_key}
        assert open_time_token(payload, keys.get, nonce=b"q" * 16).utc_us == START_US


def test_after_an_outage_of_the_broker_the_bridge_is_back_by_itself(
    backend: Backend, world: BrokerWorld, box: Box
) -> None:
    chain = box.chain()
    first, second = chain.many(2)
    with RunningBridge(backend, world) as bridge:
        with world.client(box.device) as car:
            car.publish(up_topic(box.device, Up.BATCH), first.payload)
            bridge.until(lambda: stored(backend) == 1)
            world.broker.stop()
            bridge.until(lambda: not bridge.link.is_connected)
        world.broker.start()
        bridge.until(lambda: bridge.link.is_connected)
        with world.client(box.device) as car:
            car.subscribe(down_filter(box.device))
            car.publish(up_topic(box.device, Up.BATCH), second.payload)
            car.wait(lambda: any(receipt.upto == 2 for receipt in receipts(backend, car, box)))


def test_what_came_while_the_bridge_was_away_is_taken_in_when_it_is_back(
    backend: Backend, world: BrokerWorld, box: Box
) -> None:
    first, second = box.chain().many(2)
    with world.client(box.device) as car:
        car.subscribe(down_filter(box.device))
        with RunningBridge(backend, world) as bridge:
            car.publish(up_topic(box.device, Up.BATCH), first.payload)
            bridge.until(lambda: stored(backend) == 1)
        car.publish(up_topic(box.device, Up.BATCH), second.payload)
        assert stored(backend) == 1
        with RunningBridge(backend, world):
            car.wait(lambda: any(receipt.upto == 2 for receipt in receipts(backend, car, box)))


def test_while_the_database_does_not_answer_nothing_is_acknowledged_and_nothing_is_lost(
    backend: Backend, world: BrokerWorld, box: Box
) -> None:
    with RunningBridge(backend, world) as bridge, world.client(box.device) as car:
        car.subscribe(down_filter(box.device))
        with outage(backend.database):
            car.publish(up_topic(box.device, Up.BATCH), box.chain().next().payload)
            bridge.until(lambda: bridge.pump.health.retries > 1)
            assert bridge.pump.health.groups == 0
            assert car.heard == []
        car.wait(lambda: bool(receipts(backend, car, box)))
        assert bridge.pump.health.outcomes["store"] == 1


def test_a_bridge_that_ends_while_the_database_is_away_answers_nothing_and_the_next_try_is_stored(
    backend: Backend, world: BrokerWorld, box: Box
) -> None:
    """The broker may or may not deliver again what was not acknowledged; the box, without a receipt, does."""
    payload = box.chain().next().payload
    with world.client(box.device) as car:
        car.subscribe(down_filter(box.device))
        with outage(backend.database):
            with RunningBridge(backend, world) as bridge:
                car.publish(up_topic(box.device, Up.BATCH), payload)
                bridge.until(lambda: bridge.pump.health.retries > 0)
            assert car.heard == []
        with RunningBridge(backend, world):
            car.publish(up_topic(box.device, Up.BATCH), payload)
            car.wait(lambda: bool(receipts(backend, car, box)))
    assert stored(backend) == 1


def test_a_message_that_breaks_the_program_stops_no_other(
    backend: Backend, world: BrokerWorld, box: Box
) -> None:
    """A trigger stands for a mistake of ours that only one box's batch meets."""
    unlucky = Box(seed=2)
    backend.register(unlucky)
    with backend.database.writing() as session, session.begin():
        trip(session, "chain", on="INSERT", message="our mistake", when=f"NEW.device_id = '{unlucky.device}'")
    with (
        RunningBridge(backend, world) as bridge,
        world.client(box.device) as car,
        world.client(unlucky.device) as other,
    ):
        car.subscribe(down_filter(box.device))
        other.publish(up_topic(unlucky.device, Up.BATCH), unlucky.chain().next().payload)
        car.publish(up_topic(box.device, Up.BATCH), box.chain().next().payload)
        car.wait(lambda: bool(receipts(backend, car, box)))
        bridge.until(lambda: bridge.pump.health.outcomes["FAILED"] == 1)
    assert stored(backend) == 1


def test_a_hole_beside_declared_losses_is_found_and_the_bridge_goes_on(
    backend: Backend, world: BrokerWorld, box: Box
) -> None:
    chain = box.chain()
    first = chain.many(9)[0]
    tenth = chain.next(losses=(Loss(first=5, last=9, cause=LossCause.QUOTA),))
    backend.take(first, tenth)
    later_us = backend.now_us + INTEGRITY_HOLE_GRACE_US + 1
    with RunningBridge(backend, world, clock=lambda: later_us) as bridge, world.client(box.device) as car:
        car.subscribe(down_filter(box.device))
        car.publish(up_topic(box.device, Up.BATCH), chain.next().payload)
        car.wait(lambda: bool(receipts(backend, car, box)))
        bridge.until(lambda: IntegrityKind.HOLE_UNDECLARED in found(backend, box))
        assert bridge.pump.health.chores_failed == 0


@pytest.mark.parametrize("chores", ["the search for holes", "that and the projection"])
def test_a_chain_that_breaks_the_work_beside_the_messages_stops_no_batch(
    backend: Backend, world: BrokerWorld, box: Box, chores: str
) -> None:
    """A damaged row stands for a mistake of ours that only one chain meets."""
    unlucky = Box(seed=2)
    backend.register(unlucky)
    backend.take(unlucky.chain().many(3)[2])
    if chores == "the search for holes":
        backend.project()
    with backend.database.writing() as session, session.begin():
        session.connection().execute(update(CHAIN).values(stored="[[1, 1], no range"))
    with RunningBridge(backend, world) as bridge, world.client(box.device) as car:
        bridge.until(lambda: bridge.pump.health.chores_failed == (1 if "search" in chores else 2))
        car.subscribe(down_filter(box.device))
        car.publish(up_topic(box.device, Up.BATCH), box.chain().next().payload)
        car.wait(lambda: bool(receipts(backend, car, box)))


def found(backend: Backend, box: Box) -> set[IntegrityKind]:
    """Kinds of the box's integrity events."""
    with backend.database.reading() as session:
        events = page_of_events(session, org_id=ORG, device_id=box.device, after=None, limit=100)
    return {event.kind for event in events}
