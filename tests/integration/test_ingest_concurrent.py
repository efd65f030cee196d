"""Several bridges at once, and the bridge as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import func, select

from backend.store.batches import BATCH
from backend.store.chains import list_chains
from backend.usecases.ingest import Inbound, ingest
from protocol.topics import Down, Up, down_topic, up_topic
from tests.builders.backend import make_backend
from tests.builders.ingest import ORG, Backend, Box
from tests.builders.sim import broker_world

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.usefixtures("both_databases")

TBOX = Path(sys.executable).parent / "tbox"


def test_two_bridges_that_are_given_the_same_store_each_batch_once(tmp_path: Path) -> None:
    box = Box(seed=1)
    batches = box.chain().many(60)
    topic = up_topic(box.device, Up.BATCH)
    messages = [Inbound(topic=topic, payload=batch.payload) for batch in batches]
    outcomes: list[str] = []
    with Backend(tmp_path, boxes=[box]) as backend:

        def bridge(order: Sequence[Inbound]) -> None:
            for start in range(0, len(order), 7):
                taken = ingest(backend.database, order[start : start + 7], signer=backend.signer, now_us=1)
                outcomes.extend(outcome for outcome, count in taken.outcomes.items() for _ in range(count))

        threads = [
            threading.Thread(target=bridge, args=(order,))
            for order in (messages, messages[::-1], messages[30:] + messages[:30])
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        with backend.database.reading() as session:
            count = session.connection().execute(select(func.count()).select_from(BATCH)).scalar_one()
            (chain,) = list_chains(session, org_id=ORG, device_id=box.device)
    assert (outcomes.count("store"), outcomes.count("duplicate")) == (60, 120)
    assert count == 60
    assert chain.state.stored.pairs == ((1, 60),)


def test_the_bridge_as_a_process_answers_and_ends_in_order_on_sigterm(tmp_path: Path) -> None:
    home = make_backend(tmp_path)
    world = broker_world(tmp_path / "pki")
    own = world.authority.issue_client("bridge")
    box = Box(seed=1)
    backend = Backend.at_home(home, boxes=[box])
    receipt = down_topic(box.device, Down.RECEIPT)
    command = [
        str(TBOX), "backend", "bridge", "--home", str(home.settings.home), "--broker-host", "127.0.0.1",
        "--ca", str(world.authority.ca_file), "--cert", str(own.cert), "--key", str(own.key),
    ]  # fmt: skip
    with world.broker, world.client(box.device) as car:
        car.subscribe(receipt)
        command += ["--broker-port", str(world.broker.port)]
        process = subprocess.Popen(
            command, stderr=subprocess.PIPE, text=True, env=os.environ | {"TBOX_DEMO": "true"}
        )
        assert process.stderr is not None
        try:
            lines = iter(process.stderr.readline, "")
            assert any("broker connected" in line for line in lines)
            car.publish(up_topic(box.device, Up.BATCH), box.chain().next().payload)
            car.wait(lambda: bool(car.heard))
            process.send_signal(signal.SIGTERM)
            rest = process.communicate(timeout=20)[1]
        finally:
            process.kill()
            process.wait()
    backend.database.close()
    assert process.returncode == 0
    assert "store=1" in rest
    assert "Traceback" not in rest
