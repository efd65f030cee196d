"""The whole line on a real mosquitto: real agent, bridge and backend, mutual TLS of our own authority."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import pytest

from simulators import checkers
from simulators.demo.drive import is_accounted
from tests.builders.mosquitto_line import Line
from tests.builders.mosquitto_site import until
from tests.conftest import need

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = [pytest.mark.real, pytest.mark.slow, pytest.mark.timeout(240)]


def test_a_broker_that_crashes_and_forgets_costs_nothing_in_the_end(tmp_path: Path) -> None:
    """kill -9 takes every session and queue since the last snapshot; what had a PUBACK is sent again."""
    need("mosquitto")
    # Twenty seconds, then the car is locked and its bus sleeps: what it said can be counted.
    with Line(tmp_path, seconds=20) as line:
        line.set_off()
        for _ in range(3):
            line.drive_until_stored(4)
            line.broker.kill()
            until(lambda: line.reading("uplink_connected") == 0)
            line.broker.start()

        def is_whole() -> bool:
            sent = line.car.adapter.counters.sent_this_opening
            stored = line.stored.batches()
            is_counted = is_accounted(stored, boot=stored[-1].boot, sent=sent)
            return is_counted and not checkers.chain_problems(stored)

        until(is_whole, seconds=60)
        until(lambda: line.reading("spool_pending") == 0)
        stored = line.stored.batches()
        assert {batch.result for batch in stored} == {"verified"}
        assert max(Counter((batch.chain, batch.seq) for batch in stored).values()) == 1
        assert checkers.accounting_problems(stored) == []


def test_a_revoked_box_gets_no_receipt_says_so_and_keeps_its_batches(tmp_path: Path) -> None:
    """The broker still acknowledges what it drops; only receipts tell the box the truth."""
    need("mosquitto")
    with Line(tmp_path, seconds=180) as line:
        line.set_off()
        line.drive_until_stored(4)
        line.api.post(f"/v1/devices/{line.box.device}/revoke")
        line.broker.reload()
        before = len(line.stored.batches())
        sealed = line.reading("batches_sealed")
        line.box.agent.wait_for_line("no receipts come")
        until(lambda: line.reading("batches_sealed") > sealed + 4)
        receipted = line.reading("batches_receipted")
        line.broker.stop()
        line.broker.start()
        line.box.agent.wait_for_line("uplink lost: reason=refused .*certificate revoked")
        line.box.agent.stop()
        assert len(line.stored.batches()) <= before + 1  # one may have been under way
        assert line.box.spool().pending > 4
        assert line.reading("batches_receipted") == receipted
