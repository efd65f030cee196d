"""What the telemetry story checks when the drive is over: what was stored against what is true.

Rules: truth is what the car said (decoded by cantools), what the broker carried, and what was done to the
box; the server's answer comes over its API and its commands. A check says what it compared and how much of
it.

Example:
    Checks(world, facts, report).run()
"""

from __future__ import annotations

import math
import statistics
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators import checkers
from simulators.demo.drive import is_accounted
from simulators.route import METRES_PER_DEGREE
from simulators.stored import Stored, from_iso

if TYPE_CHECKING:
    from simulators.checkers import Sample
    from simulators.demo.drive import DriveFacts
    from simulators.demo.report import Finding, Report
    from simulators.world import World

# Signals that are compared value by value: every byte order, sign, float, scale and multiplexer of the DBC
# is among them.
COMPARED = (
    "can0.VehicleMotion.VehicleSpeed",
    "can0.VehicleMotion.LongitudinalAcceleration",
    "can0.EngineStatus.EngineSpeed",
    "can0.EngineStatus.EngineTorque",
    "can0.WheelSpeeds.WheelSpeedRearRight",
    "can0.SteeringWheel.SteeringAngle",
    "can0.IgnitionStatus.IgnitionState",
    "can0.IgnitionStatus.StarterEngaged",
    "can0.OdometerAndFuel.Odometer",
    "can0.SupplyAndClimate.SupplyVoltage",
    "can0.HybridBattery.StateOfCharge",
    "can0.HybridBattery.ChargedEnergy",
    "can0.BodyAcceleration.LateralAcceleration",
)
SPEED = COMPARED[0]
LAG_US = 2_000_000  # a busy machine delivers late; the order of the values is what proves them
EXACT = 1e-9  # physical values are computed from the same raw integers on both sides
MINUTE_US = 60_000_000
FIX_TOLERANCE_M = 0.03  # NMEA says 2 cm, the fix section 1 cm
RESTART_SECONDS_MAX = 20.0  # a Python process on a busy machine
ARRIVAL_SECONDS_MAX = 8.0  # for something that is on its way


@dataclass(slots=True)
class Checks:
    """All checks of one drive."""

    world: World
    facts: DriveFacts
    report: Report

    @property
    def stored(self) -> Stored:
        """The device as the server shows it."""
        return Stored(api=self.world.cloud.api, device=self.world.box.device)

    def run(self) -> None:
        """Run every check, in the order of the walk from bus to query."""
        check = self.report.check
        with check("enrolled", "the box enrolled with a one-time token over HTTP") as found:
            self._enrolled(found)
        with check("mtls_only", "the broker refuses clients without the box's own certificate") as found:
            self._mtls_only(found)
        with check(
            "can_frames_decoded", "CAN frames came through the real slcan driver and were decoded"
        ) as found:
            self._decoded(found)
        with check("gnss_fixes", "NMEA became fixes where the car was") as found:
            self._fixes(found)
        with check("batches_signed", "every batch is signed, chained and without a hole") as found:
            self._signed(found)
        with check("stored_verified", "everything the broker carried is stored and verifies") as found:
            self._stored(found)
        with check("accounting", "every frame the car sent is decoded or counted as dropped") as found:
            self._accounting(found)
        with check("trace_matches_car", "values read over HTTP are what the car said") as found:
            self._trace(found)
        with check("rollups", "minute roll-ups agree with the values they summarise") as found:
            self._rollups(found)
        with check(
            "agent_killed_and_resumed", "after kill -9 the chain goes on with a declared gap"
        ) as found:
            self._resumed(found)
        with check(
            "broker_outage_survived", "what was recorded while the broker was away has arrived"
        ) as found:
            self._outage(found)

    def _enrolled(self, found: Finding) -> None:
        detail = self.stored.detail()
        found.is_right(
            detail["status"] != "revoked", f"device {detail['device'][:16]}… is {detail['status']}"
        )
        found.is_right(len(detail["certificates"]) >= 1, f"{len(detail['certificates'])} certificate")
        found.is_right(len(detail["keys"]) == 1, "one signing key")

    def _mtls_only(self, found: Finding) -> None:
        found.is_right(len(self.facts.probes) > 0, f"{len(self.facts.probes)} strangers knocked")
        got_in = [who for who, is_in in self.facts.probes.items() if is_in]
        found.is_right(not got_in, "let in: " + ", ".join(got_in) if got_in else "none was let in")
        found.is_right(len(self.facts.batches) > 0, "the box itself is")

    def _decoded(self, found: Finding) -> None:
        received = sum(batch.received for batch in self.facts.batches)
        decoded = sum(batch.decoded for batch in self.facts.batches)
        found.is_right(decoded > 0, f"{decoded} of {received} frames")

    def _fixes(self, found: Finding) -> None:
        fixes = self.stored.fixes(self.facts.began_us - MINUTE_US, self.facts.ended_us + MINUTE_US)
        said = checkers.said_places(list(self.world.car.fixes))
        nearest = [
            min(
                (
                    math.hypot(fix.latitude_deg - latitude, fix.longitude_deg - longitude) * METRES_PER_DEGREE
                    for latitude, longitude in said
                ),
                default=math.inf,
            )
            for fix in fixes
        ]
        found.is_right(len(fixes) > 0, f"{len(fixes)} fixes")
        found.is_right(
            max(nearest) < FIX_TOLERANCE_M, f"at most {max(nearest) * 100:.1f} cm from what the receiver said"
        )

    def _signed(self, found: Finding) -> None:
        batches = self.facts.batches
        bad = [f"batch {batch.seq}: {batch.result}" for batch in batches if batch.result != "verified"]
        found.no_problems(bad, f"{len(batches)} batches verified")
        chains = {batch.chain for batch in batches}
        found.no_problems(checkers.chain_problems(batches), f"{len(chains)} chain, no number missing")

    def _stored(self, found: Finding) -> None:
        carried = {(sealed.chain, sealed.seq, sealed.head.hex()) for sealed in self.world.eavesdropper.sealed}
        found.is_right(len(carried) > 0, f"{len(carried)} batches carried")
        is_stored = self.world.wait_for(lambda: carried <= self.stored.heads().keys(), ARRIVAL_SECONDS_MAX)
        missing = [
            f"batch {seq} of chain {chain[:8]}" for chain, seq, _ in carried - self.stored.heads().keys()
        ]
        found.is_right(
            is_stored, "all of them stored" if is_stored else "not stored: " + checkers.in_words(missing)
        )

    def _accounting(self, found: Finding) -> None:
        batches, counters = self.facts.batches, self.world.car.adapter.counters
        boots = list(dict.fromkeys(batch.boot for batch in batches))
        last = [batch for batch in batches if batch.boot == boots[-1]]
        sent, received = counters.sent_this_opening, sum(batch.received for batch in last)
        dropped = sum(sum(batch.dropped.values()) for batch in last)
        found.no_problems(checkers.accounting_problems(batches), f"{len(batches)} batches balance")
        found.is_right(
            is_accounted(batches, boot=boots[-1], sent=sent),
            f"since its last start {sent} sent, {received} received, {dropped} dropped by name",
        )

    def _trace(self, found: Finding) -> None:
        car = self.world.car
        said = checkers.said_by_signal(list(car.journal), utc_start_us=car.car.clock.utc_start_us)
        compared, problems = 0, []
        for signal in COMPARED:
            stored = self._values(signal)
            wrong = checkers.misses(said[signal], stored, tolerance=EXACT, lag_us=LAG_US)
            problems += [f"{signal}: {miss}" for miss in wrong]
            problems += [] if stored else [f"{signal}: nothing stored"]
            compared += len(stored)
        found.no_problems(problems, f"{compared} values of {len(COMPARED)} signals, equal and in order")

    def _rollups(self, found: Finding) -> None:
        by_minute: dict[int, list[float]] = defaultdict(list)
        for sample in self._values(SPEED):
            by_minute[sample.t_us // MINUTE_US].append(sample.value)
        shown = self.stored.rollups(SPEED, self.facts.began_us - MINUTE_US, self.facts.ended_us + MINUTE_US)
        problems = []
        for row in shown:
            values = by_minute.pop(from_iso(row["minute"]) // MINUTE_US, [])
            expected = (
                (len(values), min(values), max(values), statistics.fmean(values)) if values else (0, 0, 0, 0)
            )
            measured = (row["count"], row["min"], row["max"], row["mean"])
            if not all(math.isclose(a, b, abs_tol=1e-6) for a, b in zip(expected, measured, strict=True)):
                problems.append(f"{row['minute']}: {measured}, expected {expected}")
        problems += [f"minute {minute} is missing" for minute in by_minute]
        found.is_right(len(shown) > 0, f"{len(shown)} minutes of speed")
        found.no_problems(problems, "count, least, most and mean agree")

    def _resumed(self, found: Finding) -> None:
        batches = self.facts.batches
        boots = list(dict.fromkeys(batch.boot for batch in batches))
        found.is_right(len(boots) >= 2, f"{len(boots)} lives of the agent")  # noqa: PLR2004 - before and after
        found.is_right(len({batch.chain for batch in batches}) == 1, "one chain")
        gaps = [
            cause
            for batch in batches
            if batch.boot == boots[-1]
            for boot, cause in batch.gaps
            if boot in boots
        ]
        found.is_right(len(gaps) > 0, "gap declared: " + ", ".join(gaps) if gaps else "no gap declared")
        seconds = self.facts.resumed_after_s
        found.is_right(seconds < RESTART_SECONDS_MAX, f"running again after {seconds:.1f} s")

    def _outage(self, found: Finding) -> None:
        first_us, last_us = self.facts.outage_us
        recorded = [sample for sample in self._values(SPEED) if first_us < sample.t_us < last_us]
        seconds = (last_us - first_us) / 1e6
        found.is_right(
            len(recorded) > seconds, f"{len(recorded)} speeds recorded in {seconds:.1f} s without a broker"
        )

    def _values(self, signal: str) -> list[Sample]:
        return self.stored.values(signal, self.facts.began_us - MINUTE_US, self.facts.ended_us + MINUTE_US)
