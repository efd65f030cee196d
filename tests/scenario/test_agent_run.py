"""The whole agent in one process: a car on pseudo-terminals, a real broker, a strict ledger behind it."""

from __future__ import annotations

import asyncio
import datetime as dt
import struct
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from device.adapters.system_clock import LinuxTime, SystemClock
from device.agent.pumps import Agent, ThreadEndedError
from device.agent.wiring import wire
from device.errors import SpoolError
from protocol.batch import DropCause, Section
from protocol.clock import ClockClass
from protocol.facts import decode_facts
from protocol.fixes import decode_fixes
from protocol.receipts import sign_receipt
from protocol.signals import decode_signals
from protocol.topics import Down, down_topic
from simulators.broker import Broker
from simulators.gnss_receiver import sentence
from tests.builders.agent import (
    SECOND,
    TODAY_US,
    WAIT_S,
    OperatingSystemTime,
    PtyDevice,
    SlcanDevice,
    dated_server_certificate,
)
from tests.builders.agent_world import LedgerBridge, enrolled_home
from tests.builders.engine import DEVICE, MOTION_ID, STRANGER_KEY
from tests.builders.sim import BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping
    from pathlib import Path

    from device.agent.home import AgentHome
    from tests.builders.engine import Ledger

TICK_S = 0.05  # the agent's own second, shorter: its timers are what these tests wait for

DEVICES = """
[[can]]
bus = "can0"
interface = "slcan"
channel = "{can}"
bitrate = 500000
table = "tables/can0.table"
[gnss]
port = "{gnss}"
"""


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


@dataclass
class Car:
    """Bus and receiver of the car, and the home of its box."""

    can: SlcanDevice
    gnss: PtyDevice
    home: AgentHome

    def drive(self, counts: range) -> None:
        for count in counts:
            self.can.send(MOTION_ID, struct.pack("<HIxx", count % 500, count))

    def fix(self, second: int) -> None:
        time = f"1200{second:02}.00"
        self.gnss.say(sentence(f"GPRMC,{time},A,4807.038,N,01131.000,E,022.4,084.4,241126,,,A"))
        self.gnss.say(sentence(f"GPGGA,{time},4807.038,N,01131.000,E,1,08,0.9,545.4,M,46.9,M,,"))


@pytest.fixture
def car(tmp_path: Path, world: BrokerWorld) -> Iterator[Car]:
    with SlcanDevice() as can, PtyDevice() as gnss:
        more = DEVICES.format(can=can.path, gnss=gnss.path)
        home = enrolled_home(tmp_path / "box", world.authority, port=world.broker.port, more=more)
        yield Car(can, gnss, home)


@asynccontextmanager
async def running(car: Car, clock: SystemClock | None = None) -> AsyncIterator[Agent]:
    """Run the agent beside the test, and stop it in order."""
    agent = Agent(wire(car.home), car.home, clock=clock or SystemClock(), tick_s=TICK_S)
    ready = asyncio.Event()
    life = asyncio.create_task(agent.run(on_ready=ready.set))
    await asyncio.wait({life, asyncio.create_task(ready.wait())}, return_when=asyncio.FIRST_COMPLETED)
    if life.done():
        life.result()
    await asyncio.to_thread(car.can.wait_until_open)
    try:
        yield agent
    finally:
        agent.stop()
        await life


def counts_in(ledger: Ledger) -> list[int]:
    """Every value of Motion.Count that the ledger has, in order of its batches and rows."""
    found: list[int] = []
    for key in sorted(ledger.batches, key=lambda key: key.seq):
        data = ledger.batches[key].opened.data(Section.SIGNALS)
        for rows in decode_signals(data) if data else []:
            found += rows.raw[1].tolist()
    return found


def received(ledger: Ledger) -> int:
    return sum(stored.opened.header.counts.frames_received for stored in ledger.batches.values())


def events_in(ledger: Ledger) -> list[str]:
    datas = (stored.opened.data(Section.FACTS) for stored in ledger.batches.values())
    return [event.name for data in datas if data for event in decode_facts(data).events]


def fixes_in(ledger: Ledger) -> int:
    datas = (stored.opened.data(Section.FIXES) for stored in ledger.batches.values())
    return sum(len(decode_fixes(data)[1]) for data in datas if data)


def metric(agent: Agent, name: str) -> int:
    return agent._core.driver.box.metrics().get(name, 0)


async def until(condition: Callable[[], bool]) -> None:
    """Let the agent go on until `condition` holds."""
    async with asyncio.timeout(WAIT_S):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in other threads
            await asyncio.sleep(0.005)


async def test_a_drive_reaches_the_backend_signed_in_order_and_its_receipts_empty_the_spool(
    world: BrokerWorld, car: Car
) -> None:
    with LedgerBridge(world) as bridge:
        async with running(car) as agent:
            car.drive(range(300))
            for second in range(6):
                car.fix(second)
            await until(lambda: received(bridge.ledger) == 300 and fixes_in(bridge.ledger) >= 4)
            await until(lambda: metric(agent, "spool_pending") == 0)
    assert counts_in(bridge.ledger)[0] == 0
    assert counts_in(bridge.ledger) == sorted(set(counts_in(bridge.ledger)))
    assert "agent_started" in events_in(bridge.ledger)
    assert bridge.failures == []


async def test_a_stop_seals_and_stores_what_was_received_and_the_next_start_sends_it(
    world: BrokerWorld, car: Car
) -> None:
    world.broker.stop()
    async with running(car) as agent:
        car.drive(range(50))
        await until(lambda: metric(agent, "chain_seq") >= 1)
    world.broker.start()
    with LedgerBridge(world) as bridge:
        async with running(car) as agent:
            await until(lambda: received(bridge.ledger) == 50 and metric(agent, "spool_pending") == 0)
    gaps = [gap for stored in bridge.ledger.batches.values() for gap in stored.opened.header.gaps]
    assert gaps == [], "an orderly stop leaves no gap"


async def test_a_broker_that_comes_back_gets_everything_once(world: BrokerWorld, car: Car) -> None:
    with LedgerBridge(world) as bridge:
        async with running(car) as agent:
            car.drive(range(20))
            await until(lambda: received(bridge.ledger) == 20 and metric(agent, "spool_pending") == 0)
            world.broker.drop_connections()
            car.drive(range(20, 60))
            await until(lambda: received(bridge.ledger) == 60 and metric(agent, "spool_pending") == 0)
    seqs = sorted(key.seq for key in bridge.ledger.batches)
    assert seqs == list(range(1, len(seqs) + 1))


async def test_a_receiver_that_talks_rubbish_is_counted_and_disturbs_nothing(
    world: BrokerWorld, car: Car
) -> None:
    with LedgerBridge(world) as bridge:
        async with running(car):
            car.gnss.say(b"$GPRMC,garbled*00\r\n\xb5\x62\x01\x07\r\n")
            car.drive(range(10))
            await until(lambda: received(bridge.ledger) == 10)
            await until(lambda: any(DropCause.GNSS_GARBLED in drops for drops in drops_in(bridge.ledger)))


def drops_in(ledger: Ledger) -> list[Mapping[int, int]]:
    return [stored.opened.header.drops for stored in ledger.batches.values()]


async def test_forged_receipts_and_messages_for_others_free_nothing(world: BrokerWorld, car: Car) -> None:
    with LedgerBridge(world, answers=False) as bridge:
        async with running(car) as agent:
            car.drive(range(10))
            await until(lambda: received(bridge.ledger) == 10)
            [chain] = {key.chain for key in bridge.ledger.batches}
            forged = sign_receipt(bridge.ledger.statement(chain), STRANGER_KEY)
            world.broker.inject(down_topic(DEVICE, Down.RECEIPT), forged)
            world.broker.inject(down_topic(DEVICE, Down.RECEIPT), b"\xff")
            await until(lambda: metric(agent, "receipts_rejected") == 2)
            assert metric(agent, "spool_pending") >= 1


@pytest.mark.parametrize("wall", [0, 60 * SECOND, 2_147_483_647 * SECOND], ids=["epoch", "1970", "2038"])
async def test_a_box_with_a_lost_clock_connects_learns_signed_time_and_then_checks_dates(
    world: BrokerWorld, car: Car, wall: int
) -> None:
    clock = SystemClock(RunningTime(wall))
    with LedgerBridge(world, utc_us=TODAY_US) as bridge:
        async with running(car, clock) as agent:
            car.drive(range(10))
            await until(lambda: received(bridge.ledger) == 10)
            await until(clock.is_trusted)
            await until(lambda: agent._core.uplink.are_dates_checked)
            await until(lambda: metric(agent, "spool_pending") == 0)
    assert bridge.questions >= 1
    assert abs(first_utc(bridge.ledger) - TODAY_US) < 60 * SECOND


def first_utc(ledger: Ledger) -> int:
    known = [
        header.utc_end_us
        for header in (stored.opened.header for stored in ledger.batches.values())
        if header.utc_end_us is not None and header.clock is ClockClass.NETWORK
    ]
    return known[0]


async def test_a_lost_clock_does_not_keep_a_box_from_recording_when_nobody_tells_the_time(
    world: BrokerWorld, car: Car
) -> None:
    with LedgerBridge(world, utc_us=None) as bridge:
        async with running(car, SystemClock(RunningTime(0))) as agent:
            car.drive(range(10))
            await until(lambda: received(bridge.ledger) == 10)
            assert not agent._core.uplink.are_dates_checked
    headers = [stored.opened.header for stored in bridge.ledger.batches.values()]
    assert {header.clock for header in headers} == {ClockClass.NONE}
    assert {header.utc_start_us for header in headers} == {None}


async def test_a_broker_with_an_expired_certificate_is_left_again_once_the_time_is_known(
    world: BrokerWorld, car: Car
) -> None:
    expired = dated_server_certificate(
        world.authority, start=dt.timedelta(days=-3), end=dt.timedelta(days=-1)
    )
    world.broker.stop()
    with Broker(
        ca=world.authority.ca_file, cert=expired.cert, key=expired.key, port=world.broker.port
    ) as broker:
        clock = SystemClock(RunningTime(0))
        async with running(car, clock) as agent:
            await until(lambda: agent._core.is_connected)
            assert not clock.is_trusted()
            clock.discipline_token(mono_us=clock.mono_us(), utc_us=utc_now(), error_us=0)
            agent._core.uplink.check_dates_now()
            await until(lambda: not agent._core.is_connected)
            car.drive(range(5))
            await until(lambda: metric(agent, "spool_pending") >= 1)
            assert broker.courier.refused_by == [], "the box left, the broker did not refuse"


def utc_now() -> int:
    return LinuxTime().realtime_us()


class RunningTime(OperatingSystemTime):
    """A machine whose monotonic clock runs and whose wall clock stands where it was lost."""

    def __init__(self, wall_us: int) -> None:
        super().__init__(realtime=wall_us)

    def boottime_us(self) -> int:
        return LinuxTime().boottime_us()


async def test_a_home_is_served_by_one_agent_at_a_time(car: Car) -> None:
    async with running(car):
        with pytest.raises(SpoolError):
            await Agent(wire(car.home), car.home, clock=SystemClock()).run()


async def test_a_thread_that_ended_by_itself_ends_the_agent(car: Car) -> None:
    agent = Agent(wire(car.home), car.home, clock=SystemClock(), tick_s=TICK_S)
    life = asyncio.create_task(agent.run())
    await asyncio.to_thread(car.can.wait_until_open)
    agent._buses.readers[0].stop()  # as a mistake in it would
    with pytest.raises(BaseExceptionGroup) as failed:
        await life
    assert failed.group_contains(ThreadEndedError)
