"""The agent as a process: what it loads, how it ends, and what a power cut leaves."""

from __future__ import annotations

import json
import signal
import struct
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest

from protocol.batch import GapCause
from simulators.processes import tbox
from tests.builders.agent import WAIT_S, SlcanDevice
from tests.builders.agent_world import LedgerBridge, enrolled_home
from tests.builders.engine import MOTION_ID
from tests.builders.sim import BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.builders.engine import Ledger

BUS = """
[[can]]
bus = "can0"
interface = "slcan"
channel = "{channel}"
table = "tables/can0.table"
"""
DBC = """VERSION ""
BU_: X
BO_ 304 Motion: 8 X
 SG_ Speed : 0|16@1+ (0.1,0) [0|0] "km/h" X
"""


class AgentProcess:
    """`tbox agent …` in a process of its own; what it writes to standard error is kept."""

    def __init__(self, *words: str, interpreter: tuple[str, ...] = ()) -> None:
        command = tbox("agent", *words)
        self._process = subprocess.Popen(
            [command[0], *interpreter, *command[1:]],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def wait_for(self, phrase: str) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: any(phrase in line for line in self.lines), 2 * WAIT_S), (
                self.lines
            )

    def end(self, number: signal.Signals) -> tuple[int, str]:
        """Send a signal; return exit code and standard output."""
        self._process.send_signal(number)
        assert self._process.stdout is not None
        said = self._process.stdout.read()
        code = self._process.wait(2 * WAIT_S)
        self._reader.join()
        self._process.stdout.close()
        return code, said

    def _read(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as stream:
            for line in stream:
                with self._changed:
                    self.lines.append(line)
                    self._changed.notify_all()


@pytest.fixture
def world(tmp_path: Path) -> Iterator[BrokerWorld]:
    made = broker_world(tmp_path / "pki")
    with made.broker:
        yield made


@pytest.fixture
def can() -> Iterator[SlcanDevice]:
    with SlcanDevice() as device:
        yield device


def home_of(tmp_path: Path, world: BrokerWorld, can: SlcanDevice) -> str:
    more = BUS.format(channel=can.path)
    enrolled_home(tmp_path / "box", world.authority, port=world.broker.port, more=more)
    return str(tmp_path / "box")


def drive(can: SlcanDevice, counts: range) -> None:
    for count in counts:
        can.send(MOTION_ID, struct.pack("<HIxx", count % 500, count))


def received(ledger: Ledger) -> int:
    return sum(stored.opened.header.counts.frames_received for stored in ledger.batches.values())


def test_the_running_agent_has_no_cantools_and_a_sigterm_seals_what_it_has(
    tmp_path: Path, world: BrokerWorld, can: SlcanDevice
) -> None:
    home = home_of(tmp_path, world, can)
    agent = AgentProcess("run", "--home", home, interpreter=("-X", "importtime"))
    agent.wait_for("agent started")
    with LedgerBridge(world) as bridge:
        can.wait_until_open()
        drive(can, range(30))
        bridge.wait(lambda ledger: received(ledger) == 30)
        code, _ = agent.end(signal.SIGTERM)
    imported = {line.rpartition("|")[2].strip() for line in agent.lines if line.startswith("import time:")}
    assert code == 0
    assert any("agent stopped" in line for line in agent.lines)
    assert {"paho.mqtt.client", "device.tbox"} <= imported
    assert not {name for name in imported if name.partition(".")[0] in ("cantools", "pytest", "simulators")}


def test_a_killed_agent_loses_nothing_sealed_and_declares_the_rest_as_a_gap(
    tmp_path: Path, world: BrokerWorld, can: SlcanDevice
) -> None:
    home = home_of(tmp_path, world, can)
    agent = AgentProcess("run", "--home", home)
    agent.wait_for("agent started")
    with LedgerBridge(world) as bridge:
        can.wait_until_open()
        drive(can, range(30))
        bridge.wait(lambda ledger: received(ledger) == 30)
        code, _ = agent.end(signal.SIGKILL)
        again = AgentProcess("run", "--home", home)
        bridge.wait(lambda ledger: len(boots(ledger)) == 2)
        bridge.wait(lambda ledger: any(stored.opened.header.gaps for stored in ledger.batches.values()))
        again.end(signal.SIGTERM)
    seqs = sorted(key.seq for key in bridge.ledger.batches)
    gaps = [gap for stored in bridge.ledger.batches.values() for gap in stored.opened.header.gaps]
    assert code == -signal.SIGKILL
    assert seqs == list(range(1, len(seqs) + 1))
    assert [gap.cause for gap in gaps] == [GapCause.FAULT]
    assert {gap.boot for gap in gaps} < boots(bridge.ledger)


def boots(ledger: Ledger) -> set[bytes]:
    return {stored.opened.header.boot for stored in ledger.batches.values()}


def test_a_replay_that_is_interrupted_stores_what_it_read_and_opens_no_gap(
    tmp_path: Path, world: BrokerWorld
) -> None:
    enrolled_home(tmp_path / "box", world.authority, port=world.broker.port)
    dbc, log = tmp_path / "car.dbc", tmp_path / "drive.log"
    dbc.write_text(DBC)
    log.write_text("".join(f"({100 + count / 10:.6f}) can0 130#0102030405060708\n" for count in range(1_000)))
    where = ("--home", str(tmp_path / "box"), "--can", str(log), "--dbc", str(dbc), "--json")
    with LedgerBridge(world) as bridge:
        replay = AgentProcess("replay", *where, "--speed", "10")
        bridge.wait(lambda ledger: received(ledger) > 0)
        code, said = replay.end(signal.SIGINT)
        account = json.loads(said)
        whole = subprocess.run(tbox("agent", "replay", *where), capture_output=True, text=True, check=False)
    gaps = [gap for stored in bridge.ledger.batches.values() for gap in stored.opened.header.gaps]
    assert code == 130
    assert not account["is_complete"]
    assert 0 < account["frames_read"] < 1_000
    assert any("Run it again" in line for line in replay.lines)
    assert whole.returncode == 0, whole.stderr
    assert received(bridge.ledger) == account["frames_read"] + 1_000
    assert gaps == []


def test_the_command_line_itself_loads_no_cantools_and_no_simulator() -> None:
    code = "import sys, device.agent.cli; print(*sorted({name.partition('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"cantools", "simulators", "backend", "pytest"} & set(done.stdout.split())
