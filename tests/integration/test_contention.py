"""Writers that meet on PostgreSQL: each ends well, nothing is lost or counted twice, and it is counted."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import event, func, select, update
from sqlalchemy.exc import IntegrityError

from backend.store.batches import BATCH_KEY, BATCH_QUEUE
from backend.store.contention import in_transaction
from backend.store.devices import Device
from backend.store.organisations import Organisation
from backend.usecases.ingest import Inbound, ingest
from backend.usecases.project import project
from backend.usecases.query_state import read_rollups
from protocol.limits import TRANSACTION_ATTEMPTS_MAX
from protocol.topics import Up, up_topic
from tests.builders.ingest import ORG, Backend, Box

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("postgresql")


def test_a_number_that_another_bridge_took_in_between_is_judged_again_and_receipted(
    tmp_path: Path,
) -> None:
    """The other one does not lock the chain: it stands for any writer that is faster just once."""
    box = Box(seed=1)
    first, second = box.chain().many(2)
    message = Inbound(topic=up_topic(box.device, Up.BATCH), payload=second.payload)
    with Backend(tmp_path, boxes=[box]) as backend:
        backend.take(first)
        row = {"chain_ref": 1, "seq": 2, "org_id": ORG, "hash": second.hash, "prev": first.hash}
        rivals = iter([row | {"received_us": 1}])

        @event.listens_for(backend.database.engine, "before_cursor_execute")
        def be_faster(*call: Any) -> None:
            if "INSERT INTO batch_key" in call[2]:
                for rival in rivals:
                    with backend.database.engine.connect() as other, other.begin():
                        other.execute(BATCH_KEY.insert(), rival)

        taken = ingest(backend.database, [message], signer=backend.signer, now_us=1)
        (receipt,) = backend.receipts(taken)
        assert dict(taken.outcomes) == {"release": 1}  # of its sections, which the other one did not write
        assert dict(backend.database.contended) == {"unique": 1}
        assert (receipt.upto, receipt.refused) == (1, ())


def test_what_is_in_the_way_each_time_ends_in_the_databases_own_error(tmp_path: Path) -> None:
    with Backend(tmp_path) as backend, backend.database.writing() as session:
        name = Organisation(org_id="ee" * 16, name="taken", created_us=1)
        in_transaction(session, lambda: session.add(name))
        with pytest.raises(IntegrityError):
            in_transaction(
                session, lambda: session.add(Organisation(org_id="ef" * 16, name="taken", created_us=1))
            )
        assert dict(backend.database.contended) == {"unique": TRANSACTION_ATTEMPTS_MAX - 1}


def test_a_mistake_of_ours_is_not_done_again(tmp_path: Path) -> None:
    with Backend(tmp_path) as backend, backend.database.writing() as session:
        with pytest.raises(IntegrityError):
            in_transaction(
                session, lambda: session.add(Device(device_id="x", org_id="no", status="", created_us=1))
            )
        assert dict(backend.database.contended) == {}


def test_two_writers_that_wait_for_each_other_both_end_well(tmp_path: Path) -> None:
    with Backend(tmp_path, boxes=[Box(seed=1)], foreign_boxes=[Box(seed=2)]) as backend:
        boxes = [Box(seed=1).device, Box(seed=2).device]
        both_hold_one = threading.Barrier(2, timeout=20)
        attempts: list[str] = []
        done: list[str] = []

        def write(order: list[str]) -> None:
            def work() -> None:
                for place, device in enumerate(order):
                    statement = update(Device).where(Device.device_id == device).values(label=order[0])
                    session.execute(statement)
                    if place == 0 and order[0] not in attempts:
                        attempts.append(order[0])
                        both_hold_one.wait()

            with backend.database.writing() as session:
                in_transaction(session, work)
                done.append(order[0])

        threads = [threading.Thread(target=write, args=(order,)) for order in (boxes, boxes[::-1])]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert sorted(done) == sorted(boxes)
        assert dict(backend.database.contended) == {"deadlock": 1}


def test_several_that_derive_at_once_give_what_one_gives(tmp_path: Path) -> None:
    boxes = [Box(seed=1), Box(seed=2), Box(seed=3)]
    batches = [batch for box in boxes for batch in box.chain().many(20, length_us=20_000_000)]
    ends: list[BaseException | None] = []
    (tmp_path / "one").mkdir()
    (tmp_path / "many").mkdir()
    with Backend(tmp_path / "one", boxes=boxes) as one, Backend(tmp_path / "many", boxes=boxes) as many:
        for backend in (one, many):
            for start in range(0, len(batches), 10):
                backend.take(*batches[start : start + 10])
        one.project()

        def derive() -> None:
            try:
                while waiting(many):
                    project(many.database, now_us=1, limit=3)
            except BaseException as failed:  # noqa: BLE001  # carried to the test's own thread
                ends.append(failed)
            else:
                ends.append(None)

        threads = [threading.Thread(target=derive) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert ends == [None] * 3
        for box in boxes:
            assert minutes(many, box) == minutes(one, box)


def waiting(backend: Backend) -> int:
    with backend.database.reading() as session:
        return int(session.connection().execute(select(func.count()).select_from(BATCH_QUEUE)).scalar_one())


def minutes(backend: Backend, box: Box) -> list[Any]:
    with backend.database.reading() as session:
        found = read_rollups(
            session,
            org_id=ORG,
            device_id=box.device,
            from_us=0,
            to_us=2**60,
            signals=None,
            after=None,
            limit=1_000,
        )
    return [(signal.name, minute) for signal, minute in found]
