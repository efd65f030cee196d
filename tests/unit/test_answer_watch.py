"""The box says when the broker takes its batches and nobody answers, and when somebody does again."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.events import BatchPublished, Urgent
from tests.builders.engine import Box, Ledger

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.spool.close()


def drive(box: Box, batches: int) -> None:
    for _ in range(batches):
        box.frames([1])
        box.handle(Urgent(reason="test"))


def take_and_say_nothing(box: Box) -> None:
    """Be a broker that acknowledges what it may not pass on."""
    while box.wire:
        key, _ = box.wire.popleft()
        box.handle(BatchPublished(key=key))


def test_pubacks_without_receipts_are_said_once_and_keep_every_batch(box: Box) -> None:
    box.connect()
    drive(box, 5)
    for _ in range(60):
        take_and_say_nothing(box)
        box.pass_time(1)
    assert box.phrases().count("no receipts come") == 1
    metrics = box.engine.metrics()
    assert metrics["uplink_unanswered"] >= 3
    assert metrics["spool_pending"] == metrics["batches_sealed"] >= 5
    assert box.freed == []


def test_the_first_receipt_after_a_silence_is_said_and_nothing_is_lost(box: Box) -> None:
    ledger = Ledger()
    box.connect()
    drive(box, 5)
    for _ in range(60):
        take_and_say_nothing(box)
        box.pass_time(1)
    box.drain(ledger)
    assert box.phrases().count("receipts come again") == 1
    assert box.engine.metrics()["uplink_unanswered"] == 0
    assert len(ledger.batches) == box.engine.metrics()["batches_sealed"]


def test_a_box_that_is_offline_does_not_call_that_a_silence(box: Box) -> None:
    drive(box, 5)
    box.pass_time(60)
    assert "no receipts come" not in box.phrases()
