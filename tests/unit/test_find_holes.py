"""Undeclared holes are found also where numbers beside them are declared lost, and where a row is gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from sqlalchemy import delete

from backend.domain.integrity import IntegrityKind
from backend.store.batches import BATCH, BATCH_KEY, BATCH_SECTION
from backend.store.integrity_events import page_of_events
from backend.usecases.find_holes import find_holes
from protocol import limits
from protocol.batch import EndedLoss, Loss, LossCause, Origin, OriginKind
from tests.builders.ingest import ORG, Backend, Box, Chain, MadeBatch

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

pytestmark = pytest.mark.usefixtures("each_database")


@pytest.fixture
def box() -> Box:
    return Box(seed=1)


@pytest.fixture
def backend(tmp_path: Path, box: Box) -> Iterator[Backend]:
    with Backend(tmp_path, boxes=[box]) as made:
        yield made


def found(backend: Backend, box: Box) -> list[tuple[object, object, object]]:
    """First, last and age of the holes that have an event."""
    with backend.database.reading() as session:
        events = page_of_events(session, org_id=ORG, device_id=box.device, after=None, limit=1000)
    return [
        (event.detail["first"], event.detail["last"], event.detail["since_us"])
        for event in events
        if event.kind is IntegrityKind.HOLE_UNDECLARED
    ]


def search_later(backend: Backend) -> int:
    return find_holes(backend.database, now_us=backend.now_us + limits.INTEGRITY_HOLE_GRACE_US + 1)


def resealed(chain: Chain, first: int, last: int) -> MadeBatch:
    """The first batch of a later chain, which declares numbers of an ended one lost."""
    origin = Origin(kind=OriginKind.CONFLICT, last_head=None)
    loss = EndedLoss(chain=chain.chain, first=first, last=last, cause=LossCause.RESEALED)
    return chain.box.chain(seed=2, origin=origin).next(ended_losses=(loss,))


def test_a_hole_right_below_numbers_the_chain_itself_declares_lost_is_found(
    backend: Backend, box: Box
) -> None:
    chain = box.chain()
    first = chain.many(9)[0]
    tenth = chain.next(losses=(Loss(first=5, last=9, cause=LossCause.QUOTA),))
    backend.take(first, tenth)
    assert search_later(backend) == 1
    assert found(backend, box) == [(2, 4, backend.now_us)]


def test_a_hole_right_below_numbers_a_later_chain_declares_lost_is_found(backend: Backend, box: Box) -> None:
    chain = box.chain()
    *rest, tenth = chain.many(10)
    backend.take(rest[0], tenth)
    arrived_us = backend.now_us
    backend.take(resealed(chain, 5, 9))
    assert search_later(backend) == 1
    assert found(backend, box) == [(2, 4, arrived_us)]


def test_a_hole_is_as_old_as_the_lowest_stored_batch_above_it(backend: Backend, box: Box) -> None:
    chain = box.chain()
    batches = chain.many(9)
    tenth = chain.next(losses=(Loss(first=5, last=6, cause=LossCause.QUOTA),))
    backend.take(batches[0], tenth)
    backend.now_us += limits.INTEGRITY_HOLE_GRACE_US + 1
    backend.take(batches[6])
    assert find_holes(backend.database, now_us=backend.now_us) == 1, "8 … 9, below the tenth"
    assert [hole[:2] for hole in found(backend, box)] == [(8, 9)]


def test_a_hole_whose_upper_batch_is_gone_is_as_old_as_the_chains_last_word(
    backend: Backend, box: Box
) -> None:
    """Rows deleted behind the backend's back: the search goes on."""
    batches = box.chain().many(5)
    backend.take(batches[0], batches[4])
    backend.take(box.chain(seed=2).many(3)[2])
    with backend.database.writing() as session, session.begin():
        for table in (BATCH_SECTION, BATCH, BATCH_KEY):
            session.connection().execute(delete(table).where(table.c.seq == 5))
    assert search_later(backend) == 2
    assert found(backend, box) == [(2, 4, backend.now_us - 1_000_000), (1, 2, backend.now_us)]
