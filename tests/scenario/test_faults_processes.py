"""The real agent, broker, bridge and API while a simulated car drives and everything that can fail fails.

Nothing sealed is lost or stored twice, order is kept, and every frame is accounted for. What happens, and
when, is data of `simulators.faults`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from simulators import checkers, drive_cycles
from simulators.demo.drive import is_accounted
from simulators.faults import Fault, FaultKind, plan
from simulators.stored import Stored
from simulators.world import World

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.checkers import StoredBatch

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

HEAL_SECONDS_MAX = 60.0  # two resends of what was lost behind a PUBACK, with their back-off
SPEED = "can0.VehicleMotion.VehicleSpeed"
COURIER = (
    FaultKind.BATCH_LOST,
    FaultKind.BATCH_REPLAYED,
    FaultKind.RECEIPT_LOST,
    FaultKind.RECEIPT_FORGED,
    FaultKind.RECEIPT_REPLAYED,
    FaultKind.LINK_CUT,
    FaultKind.LINK_STALLED,
    FaultKind.LINK_SLOW,
    FaultKind.BROKER_AWAY,
    FaultKind.BROKER_CRASHED,
)
# The box tries a full disk again after five seconds, and must have done so before it is killed.
HOSTS = (
    Fault(kind=FaultKind.BRIDGE_KILLED, at_s=12.0, lasts_s=3.0),
    Fault(kind=FaultKind.DISK_FULL, at_s=18.0, lasts_s=3.0),
    Fault(kind=FaultKind.AGENT_KILLED, at_s=30.0, lasts_s=1.0),
    Fault(kind=FaultKind.BACKEND_RESTORED, at_s=36.0, lasts_s=4.0),
)


def a_world(home: Path, seconds: int) -> World:
    """Return a world (not started) whose car drives this long."""
    return World(home=home, seed=5, legs=drive_cycles.city(5, seconds), batch_age_s=1.0)


def suffer(world: World, faults: tuple[Fault, ...]) -> None:
    """Drive, and let each fault happen at its time."""
    world.set_off()
    for fault in faults:
        world.drive_until(fault.at_s)
        world.suffer(fault)


def heal(world: World) -> list[StoredBatch]:
    """Wait until what was sealed has arrived; returns what is stored then."""
    stored = Stored(api=world.cloud.api, device=world.box.device)
    found: list[StoredBatch] = []

    def is_whole() -> bool:
        found[:] = stored.batches()
        counters = world.car.adapter.counters
        return (
            not checkers.chain_problems(found)
            and not missing(world, found)
            and is_accounted(found, boot=found[-1].boot, sent=counters.sent_this_opening)
        )

    world.wait_for(is_whole, HEAL_SECONDS_MAX)
    return found


def missing(world: World, stored: list[StoredBatch]) -> list[tuple[str, int]]:
    """Return the batches that the broker carried and the server does not have as they were."""
    there = {(batch.chain, batch.seq, batch.head) for batch in stored}
    carried = list(world.eavesdropper.sealed)
    return [(at.chain, at.seq) for at in carried if (at.chain, at.seq, at.head.hex()) not in there]


def assert_all_is_well(world: World, stored: list[StoredBatch]) -> None:
    assert checkers.chain_problems(stored) == []
    assert missing(world, stored) == []
    assert len({batch.chain for batch in stored}) == 1
    assert [batch.seq for batch in stored if batch.result != "verified"] == []
    assert max(Counter((batch.chain, batch.seq) for batch in stored).values()) == 1
    assert checkers.accounting_problems(stored) == []
    sent = world.car.adapter.counters.sent_this_opening
    assert is_accounted(stored, boot=stored[-1].boot, sent=sent)
    began_us = world.car.car.clock.utc_start_us
    said = checkers.said_by_signal(list(world.car.journal), utc_start_us=began_us)
    device = Stored(api=world.cloud.api, device=world.box.device)
    speeds = device.values(SPEED, began_us, began_us + 600_000_000)
    assert len(speeds) > 100
    assert checkers.misses(said[SPEED], speeds, tolerance=1e-9, lag_us=5_000_000) == []


def test_a_bad_courier_and_a_bad_link_lose_nothing(tmp_path: Path) -> None:
    faults = plan(seed=1, seconds=92, kinds=COURIER, lasts_s=(1.0, 3.0), pause_s=(2.0, 5.0))
    assert {fault.kind for fault in faults} == set(COURIER)
    with a_world(tmp_path, 92) as world:
        suffer(world, faults)
        world.drive_until(96)
        stored = heal(world)
        assert_all_is_well(world, stored)
        assert world.cloud.broker.courier.lost > 0
        assert "message rejected" in world.box.agent.log.read_text()


def test_crashes_full_disks_and_restored_backups_lose_nothing(tmp_path: Path) -> None:
    with a_world(tmp_path, 48) as world:
        suffer(world, HOSTS)
        world.drive_until(52)
        stored = heal(world)
        assert_all_is_well(world, stored)
        assert any(batch.gaps for batch in stored)
        log = world.box.agent.log.read_text()
        assert "spool stores again" in log  # that it had refused could not be logged: the log is a file, too
        assert "backend lost batches it had confirmed" in log


def test_an_old_image_of_the_spool_begins_a_new_chain_and_overwrites_nothing(tmp_path: Path) -> None:
    faults = (
        Fault(kind=FaultKind.SPOOL_REPLACED, at_s=10.0, lasts_s=6.0),
        Fault(kind=FaultKind.AGENT_KILLED, at_s=24.0, lasts_s=0.0),
    )
    with a_world(tmp_path, 40) as world:
        suffer(world, faults)
        world.drive_until(30)
        device = Stored(api=world.cloud.api, device=world.box.device)
        assert world.wait_for(lambda: len({at.chain for at in device.batches()}) > 1, HEAL_SECONDS_MAX)
        assert world.wait_for(lambda: not missing(world, device.batches()), HEAL_SECONDS_MAX)
        stored = device.batches()
        assert max(Counter((batch.chain, batch.seq) for batch in stored).values()) == 1
        assert [batch.seq for batch in stored if batch.result != "verified"] == []
        assert device.integrity_events().count("chain_opened") == 2
