"""The two commands of a person at the car: a whole agent without broker or network, and a real brain."""

from __future__ import annotations

import asyncio
import json
import os
import select
import stat
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Self

import pytest
from typer.testing import CliRunner

from device.adapters.car_door import DOOR
from device.adapters.system_clock import SystemClock
from device.agent.cli import app
from device.agent.process import Exit
from device.agent.pumps import Agent
from device.agent.wiring import wire
from protocol.authority_bundle import DocumentKind, encode_bundle
from protocol.mcu_link import Decoder, encode_frame
from protocol.orders import State
from protocol.orders_override import code
from protocol.vectors.orders_story import documents
from simulators.order_lives.world import K_OVR
from simulators.pki import CertificateAuthority
from tests.builders.agent import WAIT_S, PtyDevice
from tests.builders.agent_world import enrolled_home
from tests.builders.mcu import EPISODE, Box

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from device.agent.home import AgentHome

NOBODY = 9  # the discard port: nothing listens there
STEP_MS = 20


class LockedCarOnLine(PtyDevice):
    """A locked car's real brain at the far end of the line, in a thread of its own."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.car, self._decoder = Box.locked(), Decoder()
        self.lock = self.car.brain.record.open[1].cmd_id
        self.car.is_agent_alive = False
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
        said = len(self.car.received)
        while True:
            ready, _, _ = select.select([self._far, self._stop_out], [], [], STEP_MS / 1_000)
            if self._stop_out in ready:
                return
            if self._far in ready:
                for kind, body in self._decoder.feed(os.read(self._far, 4_096)):
                    self.car.receive(kind, body)
            self.car.board.now_ms += STEP_MS
            self.car.step()
            words, said = self.car.received[said:], len(self.car.received)
            for kind, body in words:
                self.say(encode_frame(kind, body))


@pytest.fixture
def line() -> Iterator[LockedCarOnLine]:
    with LockedCarOnLine() as made:
        yield made


@pytest.fixture
def home(tmp_path: Path, line: LockedCarOnLine) -> AgentHome:
    authority = CertificateAuthority.create(tmp_path / "ca")
    return enrolled_home(tmp_path / "box", authority, port=NOBODY, more=f'[mcu]\nport = "{line.path}"')


@asynccontextmanager
async def running(home: AgentHome) -> AsyncIterator[Agent]:
    agent = Agent(wire(home), home, clock=SystemClock(), tick_s=0.05)
    life = asyncio.create_task(agent.run())
    try:
        async with asyncio.timeout(WAIT_S):
            while not _is_up(agent, home):  # noqa: ASYNC110 - it happens in other threads
                await asyncio.sleep(0.01)
        yield agent
    finally:
        agent.stop()
        await life


def _is_up(agent: Agent, home: AgentHome) -> bool:
    return (home.root / DOOR).exists() and agent._core.driver.box.words()["lock_state"] == "LOCKED"


async def types(*words: str) -> tuple[int, dict[str, Any]]:
    """Run a command beside the agent; return its exit code and what it printed."""
    done = await asyncio.to_thread(CliRunner().invoke, app, [*words, "--json"])
    return done.exit_code, json.loads(done.stdout) if done.stdout else {"error": done.stderr}


async def test_a_code_typed_at_a_locked_car_opens_it_and_its_digits_are_in_no_log(
    home: AgentHome, line: LockedCarOnLine, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    at = ("--home", str(home.root))
    right, later = (code(K_OVR, EPISODE, number) for number in (1, 2))
    async with running(home) as agent:
        assert not agent._core.is_connected
        assert stat.S_IMODE((home.root / DOOR).stat().st_mode) == 0o600
        assert await types("code", later, *at) == (Exit.REFUSED, {"word": "WRONG", "done": False})
        assert await types("code", "12345", *at) == (Exit.UNUSABLE, {"word": "MALFORMED", "done": False})
        assert line.car.state is State.LOCKED
        dashed = f"{right[:3]}-{right[3:6]} {right[6:]}"
        assert await types("code", dashed, *at) == (Exit.DONE, {"word": "OPENED", "done": True})
        assert line.car.state is State.OVERRIDDEN
        assert agent._core.driver.box.metrics()["codes_typed"] == 3
    assert not any(digits in caplog.text for digits in (right, later))


async def test_an_unlock_in_a_file_releases_a_locked_car_and_its_answer_is_kept(
    home: AgentHome, line: LockedCarOnLine, tmp_path: Path
) -> None:
    order, out = tmp_path / "car.order", tmp_path / "car.answer"
    order.write_bytes(line.car.unlock("ombuds"))
    bundle = encode_bundle([(DocumentKind.DELEGATION, documents()["delegation/ombuds"])])
    order.with_name("car.order.authority").write_bytes(bundle)
    async with running(home):
        exit_code, said = await types("hand-over", str(order), "--home", str(home.root), "--out", str(out))
    assert (exit_code, said["word"], said["state"], said["code"]) == (Exit.DONE, "ANSWERED", "DONE", "OK")
    assert line.car.state is State.NONE
    assert State.RELEASED in [said.state for said in line.car.chain]
    assert out.read_bytes() in line.car.dispositions


async def test_what_is_no_order_is_said_and_leaves_the_car_locked(
    home: AgentHome, line: LockedCarOnLine, tmp_path: Path
) -> None:
    order = tmp_path / "car.order"
    order.write_bytes(b"not an order")
    async with running(home):
        assert (await types("hand-over", str(order), "--home", str(home.root)))[1]["word"] == "NO_ORDER"
        assert line.car.state is State.LOCKED


def test_without_an_agent_the_person_is_told_to_start_it(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["code", "705177246", "--home", str(tmp_path)])
    assert done.exit_code == Exit.NOT_NOW
    assert "start the agent" in done.stderr
