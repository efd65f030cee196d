"""The whole agent is fitted: commands at the door and over a real broker, a bus on a pseudo-terminal."""

from __future__ import annotations

import asyncio
import json
import stat
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import pytest

from device.adapters.system_clock import SystemClock
from device.agent.fitting import PROGRESS, SOCKET
from device.agent.home import Trust
from protocol import base64url
from protocol.ids import cose_key_bytes
from protocol.install_forms import InstallCommand, sign_command, sign_work_ticket
from protocol.install_report import InstallReport, open_report
from protocol.install_vocabulary import Stage, Step, StepState, Verb
from protocol.install_words import REFUSALS
from protocol.topics import Down, Up, down_topic, up_topic
from protocol.vectors.installs import INSTALLER, POLICY_SIGNER, TICKET
from protocol.vectors.story import fixed_bytes
from tests.builders.agent import WAIT_S
from tests.builders.agent_world import enrolled_home
from tests.builders.car_on_pty import VIN, CarOnPty
from tests.builders.engine import BACKEND_KEY, DEVICE, DEVICE_KEYS
from tests.builders.orders_desk import status
from tests.builders.orders_world import Mcu
from tests.builders.sim import BrokerWorld, broker_world
from tests.scenario.test_agent_orders import McuOnLine, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path

    from device.agent.home import AgentHome

NOW_S = SystemClock().wall_us() // 1_000_000
TODAY = replace(TICKET, nbf_s=NOW_S - 60, exp_s=NOW_S + 3_600)
AT_REST = [12_600, False, False, False, "still", False]


class FreshMcu(Mcu):
    """A microcontroller from the depot, in a car at rest."""

    def status(self) -> tuple[int, bytes]:
        return 0x81, status(key_4=0, key_18=AT_REST)


class FreshMcuOnLine(McuOnLine):
    """The same on a line."""

    def __enter__(self) -> Self:
        super().__enter__()
        self.mcu = FreshMcu()
        return self


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


class Fitter:
    """Whoever stands at the local door."""

    def __init__(self, home: AgentHome) -> None:
        self.path = home.root / SOCKET
        self.seq = 0

    def command(self, verb: Verb, argument: str | bytes | None = None) -> bytes:
        self.seq += 1
        command = InstallCommand(
            command_id=fixed_bytes(f"command {self.seq}"),
            ticket_id=TICKET.ticket_id,
            device=DEVICE,
            seq=self.seq,
            verb=verb,
            argument=argument,
            sent_s=NOW_S,
            installer_key=cose_key_bytes(INSTALLER.public_key),
        )
        return sign_command(command, INSTALLER)

    async def ask(self, line: dict[str, Any]) -> dict[str, Any]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        writer.write(json.dumps(line).encode() + b"\n")
        answer: dict[str, Any] = json.loads(await reader.readline())
        writer.close()
        await writer.wait_closed()
        return answer

    async def do(self, verb: Verb, argument: str | bytes | None = None) -> dict[str, Any]:
        return await self.ask({"command": base64url.to_text(self.command(verb, argument))})

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[asyncio.StreamReader]:
        reader, writer = await asyncio.open_unix_connection(str(self.path))
        writer.write(b'{"watch": true}\n')
        yield reader
        writer.close()


def read(answer: dict[str, Any]) -> InstallReport:
    return open_report(base64url.to_bytes(answer["report"]), DEVICE_KEYS.get)


async def ends(reader: asyncio.StreamReader, step: Step) -> InstallReport:
    """Read reports until a step has ended."""
    async with asyncio.timeout(2 * WAIT_S):
        while True:
            report = read(json.loads(await reader.readline()))
            rows = {row.step: row.state for row in report.steps}
            if rows.get(step) not in (None, StepState.WAITING, StepState.RUNNING, StepState.ASKING):
                return report


def fresh_home(world: BrokerWorld, folder: Path, line: McuOnLine, car: CarOnPty) -> AgentHome:
    more = (
        f'[mcu]\nport = "{line.path}"\n'
        f'[[can]]\nbus = "can0"\ninterface = "slcan"\nchannel = "{car.port.path}"\nbitrate = 500000\n'
        'table = "tables/can0.table"\n'
    )
    home = enrolled_home(folder, world.authority, port=world.broker.port, more=more)
    receipt, policy = cose_key_bytes(BACKEND_KEY.public_key), cose_key_bytes(POLICY_SIGNER.public_key)
    home.write_trust(Trust(device=DEVICE, receipt_keys=(receipt,), policy_keys=(policy,)))
    return home


async def test_a_fitter_at_the_door_proves_supply_bit_rate_and_vin_and_a_restart_keeps_them(
    world: BrokerWorld, tmp_path: Path
) -> None:
    with FreshMcuOnLine() as line, CarOnPty(bitrate=250_000) as car:
        home = fresh_home(world, tmp_path / "box", line, car)
        fitter = Fitter(home)
        async with running(home) as agent:
            async with asyncio.timeout(WAIT_S):
                while not fitter.path.exists() or agent._core.driver.box.words()["lock_mode"] == "UNKNOWN":  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
            assert stat.S_IMODE(fitter.path.stat().st_mode) == 0o600
            refused = await fitter.ask({"command": "?"})
            assert refused == {"error": "BAD_ARGUMENT", "message": REFUSALS["BAD_ARGUMENT"].en}
            assert (await fitter.do(Verb.RUN, str(Step.SUPPLY)))["error"] == "NO_JOB"
            begun = read(await fitter.do(Verb.BEGIN, sign_work_ticket(TODAY, POLICY_SIGNER)))
            assert begun.stage is Stage.OPEN
            async with fitter.watching() as reports:
                for step in (Step.SUPPLY, Step.CAN_BITRATE, Step.VIN_OBD, Step.VIN_UDS, Step.DTC_BEFORE):
                    assert "report" in await fitter.do(Verb.RUN, str(step))
                    report = await ends(reports, step)
                    row = next(row for row in report.steps if row.step is step)
                    assert row.state is StepState.PASS, row
            assert report.facts["can_bitrate"] == "250000"
            assert report.facts["vin"] == VIN
        assert car.adapter.disturbed == 0
        async with running(home) as agent:
            installation = agent._core.driver.box.installation
            assert installation is not None
            assert installation.is_open
            assert installation.progress.has_passed(Step.SUPPLY, Step.CAN_BITRATE, Step.VIN_OBD)
            assert agent._buses.readers[0].settings.bitrate == 250_000
            assert agent._buses.readers[0].settings.listen_only
    assert (home.root / PROGRESS).stat().st_mode & 0o077 == 0


@pytest.mark.slow
async def test_a_command_over_the_broker_is_answered_by_a_report(world: BrokerWorld, tmp_path: Path) -> None:
    with FreshMcuOnLine() as line, CarOnPty(bitrate=500_000) as car, world.client("bridge") as backend:
        assert backend.subscribe(up_topic(DEVICE, Up.INSTALL))
        home = fresh_home(world, tmp_path / "box", line, car)
        fitter = Fitter(home)
        async with running(home) as agent:
            async with asyncio.timeout(WAIT_S):
                while (  # noqa: ASYNC110
                    not agent._core.is_connected or agent._core.driver.box.words()["lock_mode"] == "UNKNOWN"
                ):
                    await asyncio.sleep(0.01)
            begin = fitter.command(Verb.BEGIN, sign_work_ticket(TODAY, POLICY_SIGNER))
            backend.publish(down_topic(DEVICE, Down.INSTALL), begin)
            async with asyncio.timeout(WAIT_S):
                while not backend.heard:  # noqa: ASYNC110
                    await asyncio.sleep(0.01)
        report = open_report(backend.heard[-1][1], DEVICE_KEYS.get)
        assert report.stage is Stage.OPEN
        assert report.ticket_id == TICKET.ticket_id
