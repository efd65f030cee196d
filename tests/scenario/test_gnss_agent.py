"""The whole agent with its receiver behind gpsd: fixes reach the ledger, a rolled-over date is righted."""

from __future__ import annotations

import asyncio
import datetime as dt
from typing import TYPE_CHECKING

import pytest

from device.adapters.system_clock import LinuxTime, SystemClock
from device.agent.pumps import Agent
from device.agent.wiring import wire
from protocol.batch import Section
from protocol.fixes import Fix, decode_fixes
from tests.builders.agent import TODAY_US, WAIT_S
from tests.builders.agent_world import LedgerBridge, enrolled_home
from tests.builders.gnss import FakeGpsd, tpv
from tests.builders.sim import BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from tests.builders.engine import Ledger

ROLLOVER = dt.timedelta(weeks=1_024)


class BatteryTime(LinuxTime):
    """A machine whose clock is right and kept by a battery: nobody vouches for it."""

    def __init__(self) -> None:
        super().__init__()
        self._started_us = self.boottime_us()

    def realtime_us(self) -> int:
        return TODAY_US + self.boottime_us() - self._started_us

    def kernel_error_us(self) -> None:
        return None


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


def fixes_in(ledger: Ledger) -> list[Fix]:
    datas = (batch.opened.data(Section.FIXES) for batch in ledger.batches.values())
    return [fix for data in datas if data for fix in decode_fixes(data)[1]]


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in threads and other processes
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("behind", [dt.timedelta(0), ROLLOVER], ids=["true date", "1024 weeks back"])
async def test_fixes_of_gpsd_reach_the_ledger_with_the_right_date_and_vouch_for_the_clock(
    tmp_path: Path, world: BrokerWorld, behind: dt.timedelta
) -> None:
    start = dt.datetime.fromtimestamp(TODAY_US // 1_000_000, tz=dt.UTC)
    instants = [start + dt.timedelta(seconds=second) for second in range(5)]
    clock = SystemClock(BatteryTime())
    with FakeGpsd() as gpsd, LedgerBridge(world, utc_us=None) as bridge:
        more = f'[gnss]\nsource = "gpsd://127.0.0.1:{gpsd.port}"\n'
        home = enrolled_home(tmp_path / "box", world.authority, port=world.broker.port, more=more)
        agent = Agent(wire(home), home, clock=clock, tick_s=0.05)
        life = asyncio.create_task(agent.run())
        caller = await asyncio.to_thread(gpsd.answer)
        assert not clock.is_trusted()
        caller.say(b"".join(tpv(time=f"{when - behind:%Y-%m-%dT%H:%M:%S.000Z}") for when in instants))
        await until(clock.is_trusted)
        await until(lambda: len(fixes_in(bridge.ledger)) == len(instants) - 1)  # the last one is still open
        agent.stop()
        await life
        caller.hang_up()
    said = [
        dt.datetime.fromtimestamp((fix.utc_us or 0) // 1_000_000, tz=dt.UTC)
        for fix in fixes_in(bridge.ledger)
    ]
    assert said == instants[:-1]
