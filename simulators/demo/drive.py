"""The telemetry story's drive: half a minute through town; the box is killed, the broker goes away.

Rules: it only does what happens to real boxes; what it measured on the way is kept for the checks. All
times of the plan are seconds since the car was set off.

Example:
    facts = drive(world, report)
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from simulators.checkers import accounting_problems
from simulators.faults import Fault, FaultKind
from simulators.pki import CertificateAuthority
from simulators.stored import Stored

if TYPE_CHECKING:
    from simulators.checkers import StoredBatch
    from simulators.demo.report import Report
    from simulators.world import World

DRIVE_SECONDS = 26
PROBE_AT_S = 5.0
KILL_AT_S = 11.0
OUTAGE = Fault(kind=FaultKind.BROKER_AWAY, at_s=16.0, lasts_s=3.0)
SLEEP_AT_S = DRIVE_SECONDS + 3.5  # the bus has said that the car is locked, and is silent
SETTLE_SECONDS_MAX = 22.0  # a batch that was lost behind a PUBACK is sent again after ten to fifteen


@dataclass(slots=True, kw_only=True)
class DriveFacts:
    """What was measured while driving, times in microseconds of UTC.

    Attributes:
        began_us: when the car was set off.
        ended_us: when everything had settled.
        probes: who knocked at the broker, and whether it was let in.
        killed_at_us: when the agent was killed.
        resumed_after_s: how long it took until the agent ran again.
        outage_us: first and last moment without a broker.
        is_settled: whether every frame the car sent since the last start of the agent has arrived.
        batches: what the server had in the end.
    """

    began_us: int = 0
    ended_us: int = 0
    probes: dict[str, bool] = field(default_factory=dict)
    killed_at_us: int = 0
    resumed_after_s: float = 0.0
    outage_us: tuple[int, int] = (0, 0)
    is_settled: bool = False
    batches: list[StoredBatch] = field(default_factory=list)


def drive(world: World, report: Report) -> DriveFacts:
    """Set off, drive, and wait until everything has arrived.

    Raises:
        ProcessDiedError: a process of the product ended by itself.
    """
    facts = DriveFacts(began_us=_now_us())
    world.set_off()
    report.say(f"the car sets off, and drives for {DRIVE_SECONDS} s")
    world.drive_until(PROBE_AT_S)
    _knock(world, facts)
    world.drive_until(KILL_AT_S)
    report.say("kill -9: the box's agent dies in the middle of the drive")
    facts.killed_at_us = _now_us()
    world.crash_box()
    facts.resumed_after_s = (_now_us() - facts.killed_at_us) / 1e6
    world.drive_until(OUTAGE.at_s)
    report.say(f"the broker goes away for {OUTAGE.lasts_s:.0f} s")
    first_us = _now_us()
    world.suffer(OUTAGE)
    facts.outage_us = (first_us, _now_us())
    world.drive_until(SLEEP_AT_S)
    report.say("the car is parked and its bus asleep; what is left arrives")
    _settle(world, facts)
    facts.ended_us = _now_us()
    return facts


def is_accounted(batches: list[StoredBatch], *, boot: str, sent: int) -> bool:
    """Return whether all `sent` frames of one life of the agent are in these batches, decoded or counted."""
    own = [batch for batch in batches if batch.boot == boot]
    counted = sum(batch.received + batch.lost_before for batch in own)
    return counted == sent and not accounting_problems(own)


def _settle(world: World, facts: DriveFacts) -> None:
    """Wait until the frames of the last life of the agent are all on the server, or patience ends."""
    stored = Stored(api=world.cloud.api, device=world.box.device)

    def is_settled() -> bool:
        facts.batches = stored.batches()
        boots = [batch.boot for batch in facts.batches]
        sent = world.car.adapter.counters.sent_this_opening
        return bool(boots) and is_accounted(facts.batches, boot=boots[-1], sent=sent)

    facts.is_settled = world.wait_for(is_settled, SETTLE_SECONDS_MAX)


def _knock(world: World, facts: DriveFacts) -> None:
    """Knock at the broker as nobody, as a stranger in the box's name, and as one of the same authority."""
    foreign = CertificateAuthority.create(world.home / "strangers").issue_client(world.box.device, "foreign")
    bridge = world.cloud.bridge_credential
    facts.probes = {
        "no certificate": world.is_let_in(None, None),
        "a foreign authority's certificate": world.is_let_in(foreign.cert, foreign.key),
        "another's certificate": world.is_let_in(bridge.cert, bridge.key),
    }


def _now_us() -> int:
    return time.time_ns() // 1000
