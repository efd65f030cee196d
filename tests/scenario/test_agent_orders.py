"""The whole agent with a microcontroller on a pseudo-terminal: orders in over a real broker, answers out."""

from __future__ import annotations

import asyncio
import hashlib
import os
import select
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self

import pytest

from device.adapters.system_clock import SystemClock
from device.agent.pumps import Agent
from device.agent.status import read_status
from device.agent.wiring import wire
from protocol.authority_bundle import unverified_fields
from protocol.mcu_link import Decoder, encode_frame
from protocol.topics import Down, Up, down_topic, up_topic
from protocol.vectors.orders_good import good_orders
from tests.builders.agent import WAIT_S, PtyDevice
from tests.builders.agent_world import enrolled_home
from tests.builders.engine import DEVICE
from tests.builders.orders_desk import receipt
from tests.builders.orders_world import Mcu, cmd_id_of
from tests.builders.sim import BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from device.agent.home import AgentHome
    from tests.builders.sim import Client

TICK_S = 0.05
LOCK, UNLOCK = good_orders()["lock"][0], good_orders()["unlock/ombuds"][0]


class McuOnLine(PtyDevice):
    """A microcontroller at the far end of the line; it answers in a thread of its own."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.mcu, self._decoder = Mcu(), Decoder()
        self._stop_out, self._stop_in = os.pipe()
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        os.write(self._stop_in, b"x")
        self._thread.join()
        os.close(self._stop_in)
        os.close(self._stop_out)
        super().__exit__(*exc)

    def _live(self) -> None:
        while True:
            ready, _, _ = select.select([self._far, self._stop_out], [], [])
            if self._stop_out in ready:
                return
            for kind, body in self._decoder.feed(os.read(self._far, 4_096)):
                for said in self.mcu.take(kind, body):
                    self.say(encode_frame(*said))


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


@asynccontextmanager
async def running(home: AgentHome) -> AsyncIterator[Agent]:
    agent = Agent(wire(home), home, clock=SystemClock(), tick_s=TICK_S)
    ready = asyncio.Event()
    life = asyncio.create_task(agent.run(on_ready=ready.set))
    await asyncio.wait({life, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        life.result()
    try:
        yield agent
    finally:
        agent.stop()
        await life


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads
            await asyncio.sleep(0.005)


def answered(backend: Client) -> set[bytes]:
    """cmd_ids of the dispositions that the backend has heard."""
    return {unverified_fields("disposition", payload)[3] for _, payload in backend.heard}


async def test_orders_are_answered_once_over_a_restart_and_the_journal_ends_empty(
    world: BrokerWorld, tmp_path: Path
) -> None:
    with McuOnLine() as line, world.client("bridge") as backend:
        assert backend.subscribe(up_topic(DEVICE, Up.DISPOSITION))
        more = f'[mcu]\nport = "{line.path}"'
        home = enrolled_home(tmp_path / "box", world.authority, port=world.broker.port, more=more)
        async with running(home) as agent:
            await until(lambda: agent._core.is_connected)
            backend.publish(down_topic(DEVICE, Down.ORDER), LOCK)
            await until(lambda: line.mcu.acted[cmd_id_of(LOCK)] == 1)
            await until(lambda: len(backend.heard) >= 1 and line.mcu.ring == {})
        async with running(home) as agent:
            await until(lambda: agent._core.is_connected)
            backend.publish(down_topic(DEVICE, Down.ORDER), LOCK)
            backend.publish(down_topic(DEVICE, Down.ORDER), UNLOCK)
            await until(lambda: answered(backend) == {cmd_id_of(LOCK), cmd_id_of(UNLOCK)})
            said = line.mcu.done[cmd_id_of(UNLOCK)]
            backend.publish(down_topic(DEVICE, Down.RECEIPT), receipt(2, hashlib.sha256(said).digest()))
            await until(lambda: agent._core.driver.box.metrics()["dispositions_unreceipted"] == 0)
            await until(lambda: agent._core.driver.box.metrics()["orders_waiting"] == 0)
            await until(lambda: read_status(home).lock()["state"] == "NONE")
        assert dict(line.mcu.acted) == {cmd_id_of(LOCK): 1, cmd_id_of(UNLOCK): 1}
    assert read_status(home).lock()["state"] in ("NONE", "UNKNOWN")


async def test_a_box_whose_microcontroller_is_missing_runs_and_says_unknown(
    world: BrokerWorld, tmp_path: Path
) -> None:
    more = f'[mcu]\nport = "{tmp_path / "none"}"'
    home = enrolled_home(tmp_path / "box", world.authority, port=world.broker.port, more=more)
    async with running(home) as agent:
        await until(lambda: agent._core.is_connected)
        assert agent._core.driver.box.words()["lock_state"] == "UNKNOWN"
        assert read_status(home).lock() == {"state": "UNKNOWN", "waits_for": ""}
