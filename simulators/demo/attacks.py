"""What the telemetry story does to its own record when the drive is over, and what must come of it.

Rules: old batches are sent again, receipts are forged, an export is changed, the box is revoked: each by
means that an attacker or an officer has. The last one ends the box's connection for good, so it comes last.

Example:
    Attacks(world, facts, report).run()
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from simulators.demo.checks import ARRIVAL_SECONDS_MAX, MINUTE_US
from simulators.processes import run, run_tool, tbox
from simulators.stored import Stored, iso

if TYPE_CHECKING:
    from pathlib import Path

    from simulators.demo.drive import DriveFacts
    from simulators.demo.report import Finding, Report
    from simulators.world import World

# Exit codes of `tbox evidence verify`.
VERIFIED_WITH_GAPS, CONTRADICTED = 10, 30


@dataclass(slots=True)
class Attacks:
    """All of them, on the world of one drive."""

    world: World
    facts: DriveFacts
    report: Report

    @property
    def stored(self) -> Stored:
        """The device as the server shows it."""
        return Stored(api=self.world.cloud.api, device=self.world.box.device)

    def run(self) -> None:
        """Run every attack, and check what came of it."""
        check = self.report.check
        with check("replayed_batch_ignored", "a batch sent again changes nothing") as found:
            self._replayed(found)
        with check(
            "receipts_free_spool", "the server's receipts free the spool, forged ones do not"
        ) as found:
            self._receipts(found)
        bundle = self.world.home / "drive.tbe"
        with check("export_verified", "the exported evidence verifies offline, its gap named") as found:
            self._export(found, bundle)
        with check("tampered_export_contradicted", "one flipped bit in the export is found") as found:
            self._tampered(found, bundle)
        with check("revoked_device_refused", "a revoked box is cut off and refused at the broker") as found:
            self._revoked(found)

    def _replayed(self, found: Finding) -> None:
        spy, broker = self.world.eavesdropper, self.world.cloud.broker
        before, events, receipts = self.stored.heads(), self.stored.integrity_events(), len(spy.receipts)
        count = spy.replay(broker, spy.batches)
        found.is_right(count > 0, f"{count} old batches sent again in another order")
        is_answered = self.world.wait_for(lambda: len(spy.receipts) > receipts, ARRIVAL_SECONDS_MAX)
        found.is_right(is_answered, "answered" if is_answered else "not answered")
        after = self.stored.heads()
        found.is_right(before.keys() <= after.keys() and set(after.values()) == {1}, "each is stored once")
        found.is_right(self.stored.integrity_events() == events, "no event was raised")

    def _receipts(self, found: Finding) -> None:
        box = self.world.box
        forged = self.world.eavesdropper.forge(self.world.cloud.broker)
        box.agent.wait_for_line("message rejected")
        box.agent.stop()
        spool = box.spool()
        self.world.revive_box()
        found.is_right(forged > 0, f"{forged} forged receipts were refused")
        found.is_right(
            spool.receipted > 0, f"{spool.receipted} of {spool.batches} batches in the spool are freed"
        )
        is_there = self.world.wait_for(lambda: len(self.stored.heads()) >= spool.batches, ARRIVAL_SECONDS_MAX)
        found.is_right(is_there, f"{len(self.stored.heads())} are on the server")

    def _export(self, found: Finding, bundle: Path) -> None:
        cloud, box = self.world.cloud, self.world.box
        window = (
            "--from",
            iso(self.facts.began_us - MINUTE_US),
            "--to",
            iso(self.facts.ended_us + MINUTE_US),
        )
        where = ("--api", cloud.api_url, "--key-file", str(cloud.files.admin_key), "--device", box.device)
        run_tool(tbox("evidence", "export", *where, *window, "--out", str(bundle)))
        code, verdict = self._verify(bundle)
        found.is_right(code == VERIFIED_WITH_GAPS, f"{verdict}, {bundle.stat().st_size / 1024:.0f} KiB")

    def _tampered(self, found: Finding, bundle: Path) -> None:
        original = bundle.read_bytes()
        codes = []
        for place in (len(original) // 3, len(original) - 9):
            changed = bytearray(original)
            changed[place] ^= 1
            tampered = bundle.with_name("tampered.tbe")
            tampered.write_bytes(changed)
            codes.append(self._verify(tampered)[0])
        found.is_right(set(codes) == {CONTRADICTED}, f"{len(codes)} places tried, exit codes {codes}")

    def _revoked(self, found: Finding) -> None:
        cloud, box = self.world.cloud, self.world.box
        cloud.revoke(box.device)
        box.agent.wait_for_line("uplink lost")
        is_in = self.world.is_let_in(box.certificate, box.tls_key)
        found.is_right(not is_in, "its certificate was refused after its connection had been cut")
        found.is_right(self.stored.detail()["status"] == "revoked", "the registry says revoked")
        found.is_right(box.agent.is_running, "the box records on")

    def _verify(self, bundle: Path) -> tuple[int, str]:
        """Verify a bundle offline, with trust of our own; returns exit code and verdict."""
        trust = self.world.home / "trust.json"
        self.world.box.write_trust(trust)
        done = run(tbox("evidence", "verify", str(bundle), "--trust", str(trust), "--json"))
        try:
            return done.exit_code, str(json.loads(done.output)["verdict"])
        except (ValueError, KeyError):
            return done.exit_code, (done.errors or done.output).strip()
