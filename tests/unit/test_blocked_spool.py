"""While nothing can be sealed (disk full, chain being started) facts are bounded and a stop loses nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.config import BatchLimits
from device.effects import StartChain
from device.events import BusChanged, MessageArrived, Stop, Urgent
from protocol.batch import Section
from protocol.facts import Facts, decode_facts
from protocol.topics import Down
from tests.builders.engine import SECOND, Box, Ledger, config

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

FLAPS = 3_000


@pytest.fixture
def box(tmp_path: Path) -> Iterator[Box]:
    made = Box(tmp_path)
    yield made
    made.spool.close()


def facts(ledger: Ledger) -> list[Facts]:
    contents = [stored.opened.data(Section.FACTS) for _, stored in sorted(ledger.batches.items())]
    return [decode_facts(content) for content in contents if content is not None]


def deliver_urgent(box: Box, ledger: Ledger) -> None:
    """Let one batch be sealed and receipted."""
    box.connect()
    box.handle(Urgent(reason="to have a batch"))
    box.drain(ledger)


def received(ledger: Ledger) -> int:
    return sum(stored.opened.header.counts.frames_received for stored in ledger.batches.values())


def fill_memory(box: Box) -> None:
    """Let the disk refuse until no further batch may be sealed."""
    box.spool.limit_pages(1)
    while not box.engine._outbox.keeper.queue.is_full:
        box.frames(range(200))
        box.handle(Urgent(reason="filling"))


def test_a_bus_that_flaps_while_the_disk_refuses_is_counted_and_the_batch_is_still_sealed(
    tmp_path: Path,
) -> None:
    box = Box(tmp_path, config(batch=BatchLimits(age_us=10 * SECOND)))
    ledger = Ledger()
    fill_memory(box)
    for flap in range(FLAPS):
        box.engine.handle(BusChanged(bus="can0", is_up=flap % 2 == 0, detail="x" * 200), box.now())
    box.spool.limit_pages(None)
    box.pass_time(20)
    box.connect()
    box.drain(ledger)
    box.spool.close()
    events = [event for part in facts(ledger) for event in part.events]
    kept = sum(event.name == "bus_changed" for event in events)
    left_out = [event.fields["count"] for event in events if event.name == "facts_left_out"]
    assert left_out == [FLAPS - kept]
    assert 0 < kept < FLAPS


def test_a_stop_while_a_chain_is_being_started_waits_for_it_and_keeps_the_open_batch(
    box: Box, tmp_path: Path
) -> None:
    ledger = Ledger()
    deliver_urgent(box, ledger)
    box.crash()
    box.copy_spool(tmp_path / "image")
    box.start()
    deliver_urgent(box, ledger)
    deliver_urgent(box, ledger)
    box.crash()
    box.replace_spool(tmp_path / "image", with_anchor=True)
    box.start()
    stopped = box.boot
    box.frames([4, 5, 6])
    old = box.image.chain.chain
    news = MessageArrived(kind=Down.RECEIPT, payload=ledger.receipt(old))
    effects = box.engine.handle(news, box.now())
    assert any(isinstance(effect, StartChain) for effect in effects)
    effects += box.engine.handle(Stop(), box.now())
    stopped_early = box.engine.is_stopped
    box._carry_out(effects)
    box.settle()
    assert (stopped_early, box.engine.is_stopped) == (False, True)
    box.reboot()
    box.connect()
    box.drain(ledger)
    headers = [stored.opened.header for stored in ledger.batches.values()]
    assert sum(header.counts.frames_received for header in headers if header.boot == stopped) == 3
    assert stopped not in {gap.boot for header in headers for gap in header.gaps}


def test_a_stop_while_the_disk_refuses_keeps_the_open_batch_until_it_is_stored(tmp_path: Path) -> None:
    box = Box(tmp_path, config(batch=BatchLimits(age_us=60 * SECOND)))
    ledger = Ledger()
    fill_memory(box)
    box.frames([1])
    before = box.engine.metrics()["batches_sealed"]
    box.handle(Stop())
    assert box.engine.metrics()["batches_sealed"] == before
    box.spool.limit_pages(None)
    box.pass_time(3)
    assert box.engine.is_stopped
    assert box.engine.metrics()["batches_sealed"] == before + 1
    box.reboot()
    box.connect()
    box.drain(ledger)
    box.spool.close()
    assert received(ledger) % 200 == 1
