"""What is left of the lock story when it is over: signed dispositions, a log that only grew, and evidence.

Rules: nothing of the server is believed. Dispositions are verified with D1 from the workshop's record, proofs
are computed against checkpoints signed by the log's key, and `tbox evidence verify` runs offline with a trust
file made of the ceremonies' results.

Example:
    LockProofs(world, report, eyes, began_us).run(first, second)
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from protocol.base64url import to_bytes
from protocol.checkpoint import NoteKey, open_checkpoint
from protocol.log_leaves import LeafType, commitment, leaf_data
from protocol.merkle import is_consistent, is_included, leaf_hash
from protocol.orders import State, assemble
from simulators.demo.checks import ARRIVAL_SECONDS_MAX, MINUTE_US
from simulators.processes import run, run_tool, tbox
from simulators.stored import Stored, iso

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from protocol.checkpoint import Checkpoint
    from simulators.demo.lock_looking import Eyes
    from simulators.demo.lock_world import LockWorld
    from simulators.demo.report import Finding, Report

VERIFIED: Final = 0  # exit code of `tbox evidence verify`
SENTENCES_SHOWN: Final = 40


@dataclass(slots=True)
class LockProofs:
    """The end of the story."""

    world: LockWorld
    report: Report
    eyes: Eyes
    began_us: int

    def run(self, cancelled: str, locked: str) -> None:
        """Check what is left of both orders."""
        check = self.report.check
        with check(
            "signed_chain", "each step came back signed by the car, in one chain without a gap"
        ) as found:
            self._chain(found, cancelled, locked)
        with check("ledger_proofs", "orders stand in the log, and the log only grew") as found:
            self._ledger(found, cancelled, locked)
        with check(
            "orders_evidence", "the evidence proves the whole, offline, from the ceremonies' trust"
        ) as found:
            self._evidence(found)

    def _chain(self, found: Finding, cancelled: str, locked: str) -> None:
        said = self.eyes.dispositions()
        found.is_right(len(said) > 0, f"{len(said)} dispositions verified with D1 and chained")
        found.is_right(all(at.is_demo for at in said), "each says that it is the demonstration's image")
        names = [at.state for at in said if at.cmd_id.hex() == locked]
        wanted = [State.ACCEPTED_PENDING, State.ARMED, State.LOCKED, State.OVERRIDDEN, State.RELEASED]
        found.is_right([at for at in names if at in wanted] == wanted, " → ".join(at.name for at in names))
        relay = [at.relay_commanded for at in said if at.cmd_id.hex() == cancelled]
        found.is_right(not any(relay), "the coil was never on in the order that a payment ended")

    def _ledger(self, found: Finding, cancelled: str, locked: str) -> None:
        older = self.world.order(cancelled)["log"]["checkpoint"]
        first, last = self._opened(older.encode()), self._opened(self.world.checkpoint())
        for cmd_id in (cancelled, locked):
            check_inclusion(self.world, self.world.order(cmd_id), found)
        proof = self.world.cloud.api.get("/v1/ledger/proofs/consistency", first=first.size, second=last.size)
        holds = is_consistent(
            first=first.size,
            second=last.size,
            first_root=first.root,
            second_root=last.root,
            proof=[bytes.fromhex(at) for at in proof["proof"]],
        )
        found.is_right(holds, f"the log of {last.size} begins with the log of {first.size}")

    def _opened(self, note: bytes) -> Checkpoint:
        return open_checkpoint(note, NoteKey.from_text(self.world.log_key)).checkpoint

    def _evidence(self, found: Finding) -> None:
        self._settle()
        bundle, trust = self.world.home / "lock.tbe", self.world.home / "orders-trust.json"
        self.world.write_order_trust(trust)
        ended_us = time.time_ns() // 1_000
        where = ("--api", self.world.cloud.api_url, "--key-file", str(self.world.cloud.files.admin_key))
        window = ("--from", iso(self.began_us - MINUTE_US), "--to", iso(ended_us + MINUTE_US))
        words = ("--device", self.world.box.device, *window, "--out", str(bundle))
        run_tool(tbox("evidence", "export", *where, *words))
        done = run(tbox("evidence", "verify", str(bundle), "--trust", str(trust)))
        for sentence in done.output.splitlines()[:SENTENCES_SHOWN]:
            self.report.say(sentence)
        verdict = json.loads(
            run(tbox("evidence", "verify", str(bundle), "--trust", str(trust), "--json")).output
        )
        found.is_right(
            done.exit_code == VERIFIED, f"{verdict['verdict']}, {bundle.stat().st_size / 1024:.0f} KiB"
        )
        found.is_right(len(verdict["orders"]) >= 2, f"{len(verdict['orders'])} orders")  # noqa: PLR2004 - two locks
        self._tampered(found, bundle, trust)

    def _tampered(self, found: Finding, bundle: Path, trust: Path) -> None:
        changed = bytearray(bundle.read_bytes())
        changed[len(changed) // 2] ^= 1
        bad = bundle.with_name("tampered-lock.tbe")
        bad.write_bytes(changed)
        code = run(tbox("evidence", "verify", str(bad), "--trust", str(trust))).exit_code
        found.is_right(code != VERIFIED, f"one bit changed: exit code {code}")

    def _settle(self) -> None:
        """Let the car sleep, and what it recorded arrive."""
        stored = Stored(api=self.world.cloud.api, device=self.world.box.device)
        count = len(stored.batches())
        self.world.wait_for(lambda: len(stored.batches()) > count, ARRIVAL_SECONDS_MAX)


def check_inclusion(world: LockWorld, order: Mapping[str, Any], found: Finding) -> None:
    """Check that the two people's order stands in the log, by a checkpoint of the log's own key."""
    log = order["log"]
    found.is_right(log is not None and log["checkpoint"] is not None, f"leaf {log['index']} of the log")
    opened = open_checkpoint(log["checkpoint"].encode(), NoteKey.from_text(world.log_key)).checkpoint
    people = [part for part in order["parts"] if part["role"] in ("MAKER", "CHECKER")]
    parts = [(to_bytes(part["protected"]), to_bytes(part["signature"])) for part in people]
    content = assemble(to_bytes(order["payload"]), parts)
    leaf = leaf_hash(leaf_data(LeafType.ORDER, commitment(bytes.fromhex(log["salt"]), content)))
    is_in = is_included(
        leaf,
        index=log["index"],
        size=opened.size,
        proof=[bytes.fromhex(at) for at in log["proof"]],
        root=opened.root,
    )
    found.is_right(is_in, f"included in the checkpoint of {opened.size}")
