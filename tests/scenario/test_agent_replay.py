"""A recorded drive through the agent's own path: every sample, every frame accounted for, at any speed."""

from __future__ import annotations

import csv
import json
import logging
import resource
import struct
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import can
import numpy as np
import pytest
from typer.testing import CliRunner

from device.agent.cli import app
from protocol.batch import Section
from protocol.clock import ClockClass, utc_of_sample
from protocol.facts import decode_facts
from protocol.fixes import decode_fixes
from protocol.signals import decode_signals, physical
from simulators.gnss_receiver import sentence
from tests.builders.agent_world import LedgerBridge, enrolled_home
from tests.builders.engine import MOTION_ID
from tests.builders.sim import BrokerWorld, broker_world

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.signals import ColumnDef
    from tests.builders.engine import Ledger

START = "2026-11-24T08:00:00Z"
START_US = 1_795_507_200_000_000
UNKNOWN_ID = 0x7FF

DBC = """VERSION ""
BU_: X
BO_ 304 Motion: 8 X
 SG_ Speed : 0|16@1+ (0.1,0) [0|0] "km/h" X
 SG_ Count : 16|32@1+ (1,0) [0|0] "" X
"""


@dataclass
class Desk:
    """A desk with a box's home, a recorded drive and the DBC of its car."""

    folder: Path
    world: BrokerWorld
    log: Path
    dbc: Path

    def replay(self, *more: str, code: int = 0, home: str = "box") -> dict[str, Any]:
        """Run the command and return its account."""
        where = ["--home", str(self.folder / home), "--can", str(self.log), "--dbc", str(self.dbc)]
        done = CliRunner().invoke(app, ["replay", *where, "--json", *more])
        assert done.exit_code == code, done.output
        lines = done.stdout.splitlines()
        return dict(json.loads(lines[-1])) if lines else {"said": done.stderr}


def drive(path: Path, frames: int, *, first_s: float = 100.0, step_s: float = 0.01) -> Path:
    """Write a candump log whose Motion.Count counts; each tenth frame is one that the DBC does not know."""
    with path.open("w") as file:
        for count in range(frames):
            can_id = UNKNOWN_ID if count % 10 == 9 else MOTION_ID
            data = struct.pack("<HIxx", count % 500, count).hex().upper()
            file.write(f"({first_s + count * step_s:.6f}) can0 {can_id:03X}#{data}\n")
    return path


@pytest.fixture
def desk(tmp_path: Path) -> Iterator[Desk]:
    world = broker_world(tmp_path / "pki")
    with world.broker:
        enrolled_home(tmp_path / "box", world.authority, port=world.broker.port)
        dbc = tmp_path / "car.dbc"
        dbc.write_text(DBC)
        yield Desk(tmp_path, world, drive(tmp_path / "drive.log", 3_000), dbc)


def samples_in(ledger: Ledger, signal: str) -> list[tuple[int, float]]:
    """Every (UTC in µs, physical value) of a signal that the ledger has, in order of time."""
    columns: dict[int, list[ColumnDef]] = {}
    found: list[tuple[int, float]] = []
    for key in sorted(ledger.batches, key=lambda key: key.seq):
        opened = ledger.batches[key].opened
        header = opened.header
        facts, signals = opened.data(Section.FACTS), opened.data(Section.SIGNALS)
        if facts:
            columns |= {group.gid: list(group.columns) for group in decode_facts(facts).dictionary}
        for rows in decode_signals(signals) if signals else []:
            for place, column in enumerate(columns[rows.gid]):
                if column.signal == signal:
                    values = physical(column, rows.raw[place])
                    for t_us, value in zip(rows.t_us.tolist(), values.tolist(), strict=True):
                        utc = utc_of_sample(
                            t_us, mono_start_us=header.mono_start_us, utc_start_us=header.utc_start_us
                        )
                        assert utc is not None
                        found.append((utc, value))
    return sorted(found)


def test_every_sample_arrives_and_every_frame_is_accounted_for(desk: Desk) -> None:
    with LedgerBridge(desk.world) as bridge:
        account = desk.replay("--start", START)
    counts = samples_in(bridge.ledger, "Count")
    expected = [count for count in range(3_000) if count % 10 != 9]
    assert account["ok"] is True
    assert account["frames_read"] == 3_000
    assert account["frames_decoded"] == 2_700
    assert account["frames_dropped"] == {"unknown_id": 300}
    assert account["samples"] == 2 * 2_700
    assert account["batches_sealed"] == account["batches_receipted"] == len(bridge.ledger.batches)
    assert [value for _, value in counts] == expected
    assert [utc for utc, _ in counts] == [START_US + count * 10_000 for count in expected]
    assert bridge.failures == []


def test_the_same_samples_are_recorded_at_any_speed(desk: Desk) -> None:
    drive(desk.log, 400)
    with LedgerBridge(desk.world) as bridge:
        desk.replay("--start", START)
        fast = samples_in(bridge.ledger, "Speed")
        desk.replay("--start", START, "--speed", "20")
        both = samples_in(bridge.ledger, "Speed")
    assert len(fast) == 360
    assert both == sorted([*fast, *fast])


def test_an_interrupted_replay_is_finished_by_running_it_again(desk: Desk) -> None:
    desk.world.broker.stop()
    account = desk.replay("--start", START, "--wait", "0.2", code=4)
    assert account["ok"] is False
    assert account["is_complete"] is True
    assert account["batches_pending"] == account["batches_sealed"] >= 1
    desk.world.broker.start()
    with LedgerBridge(desk.world) as bridge:
        again = desk.replay("--start", START)
    assert again["batches_pending"] == 0
    assert len(samples_in(bridge.ledger, "Count")) == 2 * 2_700
    assert len({stored.opened.header.boot for stored in bridge.ledger.batches.values()}) == 2


def test_a_dbc_of_another_car_is_refused_before_anything_is_sealed(desk: Desk) -> None:
    desk.dbc.write_text(DBC.replace("304", "305"))
    said = desk.replay(code=3)["said"]
    assert "0 of 3000 frames on bus can0" in said
    assert "Next step:" in said
    assert not (desk.folder / "box" / "spool.sqlite").exists()


def test_a_torn_log_gives_what_can_be_read_and_says_how_much_could_not(desk: Desk) -> None:
    desk.log.write_text(desk.log.read_text()[:-30] + "\nnoise\n")
    with LedgerBridge(desk.world):
        account = desk.replay()
    assert account["ok"] is True
    assert account["frames_read"] == 2_999
    assert account["log_errors"] == 2
    assert "noise" in account["first_log_errors"][1]


def test_a_receiver_log_brings_fixes_and_the_time_of_the_drive(desk: Desk) -> None:
    lines = [
        sentence(f"GPRMC,0800{second:02}.00,A,4807.038,N,01131.000,E,022.4,084.4,241126,,,A")
        for second in range(30)
    ]
    nmea = desk.folder / "drive.nmea"
    nmea.write_bytes(b"".join(lines) + b"$GPRMC,torn")
    with LedgerBridge(desk.world) as bridge:
        account = desk.replay("--nmea", str(nmea))
    batches = [bridge.ledger.batches[key].opened for key in sorted(bridge.ledger.batches)]
    fixes = [
        fix
        for data in (opened.data(Section.FIXES) for opened in batches)
        if data
        for fix in decode_fixes(data)[1]
    ]
    assert account["utc_start"] == START
    assert account["fixes"] == 30
    assert [fix.utc_us for fix in fixes] == [START_US + second * 1_000_000 for second in range(30)]
    assert abs(samples_in(bridge.ledger, "Count")[0][0] - START_US) <= 1_000_000
    clocks = {stored.opened.header.clock for stored in bridge.ledger.batches.values()}
    assert ClockClass.GNSS in clocks


def test_positions_stay_out_when_the_person_says_so(desk: Desk) -> None:
    nmea = desk.folder / "drive.nmea"
    nmea.write_bytes(sentence("GPRMC,080000.00,A,4807.038,N,01131.000,E,022.4,084.4,241126,,,A"))
    with LedgerBridge(desk.world) as bridge:
        account = desk.replay("--nmea", str(nmea), "--precision", "none")
    assert account["fixes"] == 0
    assert all(
        Section.FIXES not in stored.opened.header.sections for stored in bridge.ledger.batches.values()
    )


def test_a_lost_receipt_does_not_keep_the_replay_from_its_end(desk: Desk) -> None:
    lost: list[str] = []

    def first_receipt(_client: str, topic: str) -> bool:
        is_lost = topic.endswith("/down/receipt") and not lost
        lost.extend([topic] if is_lost else [])
        return is_lost

    desk.world.broker.courier.loses = first_receipt
    with LedgerBridge(desk.world) as bridge:
        account = desk.replay("--wait", "30")
    assert lost
    assert account["ok"] is True
    assert bridge.failures == []


def test_nothing_is_dropped_however_slow_the_backend(desk: Desk) -> None:
    drive(desk.log, 4_000)
    desk.world.broker.courier.loses = lambda _client, _topic: time_passes()
    with LedgerBridge(desk.world) as bridge:
        account = desk.replay()
    assert account["drops"] == {"unknown_id": 400}
    assert account["batches_sealed"] > 20, "several windows of batches"
    assert len(samples_in(bridge.ledger, "Count")) == 3_600


def time_passes() -> bool:
    """Hold the broker up a little at each delivery, and lose nothing."""
    np.linalg.svd(np.random.default_rng(1).random((40, 40)))
    return False


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--start", "yesterday"), "--start yesterday"),
        (("--start", "2026-11-24T08:00:00"), "no time zone"),
        (("--precision", "roughly"), "use one of"),
        (("--bus", "can7"), "no frame of bus can7"),
        (("--nmea", "/does/not/exist"), "/does/not/exist"),
        (("--profile", "/does/not/exist"), "/does/not/exist"),
    ],
)
def test_an_argument_that_cannot_be_used_is_said_before_anything_is_sealed(
    desk: Desk, arguments: tuple[str, ...], says: str
) -> None:
    assert says in desk.replay(*arguments, code=2)["said"]
    assert not (desk.folder / "box" / "spool.sqlite").exists()


def test_a_home_that_is_not_enrolled_says_how_to_enrol(desk: Desk) -> None:
    assert "tbox agent enrol" in desk.replay(code=2, home="elsewhere")["said"]


def test_a_person_reads_the_account_in_words(desk: Desk) -> None:
    with LedgerBridge(desk.world):
        where = ["--home", str(desk.folder / "box"), "--can", str(desk.log), "--dbc", str(desk.dbc)]
        done = CliRunner().invoke(app, ["replay", *where])
    assert done.exit_code == 0
    assert "frames:   3000 read = 2700 decoded + 300 unknown_id" in done.stdout
    assert "UTC of the first frame:" in done.stderr
    assert "(the present: the log's time stamps are no epoch, and --start was not given)" in done.stderr


@pytest.mark.data
def test_a_real_toyota_arrives_with_the_speeds_that_others_computed(desk: Desk, test_data: Path) -> None:
    source = test_data / "can" / "comma2k19_toyota"
    desk.log, desk.dbc = source / "can0.log", source / "toyota_new_mc_pt.dbc"
    with LedgerBridge(desk.world) as bridge:
        account = desk.replay("--start", START)
    with (source / "expected_wheel_speed.csv").open() as file:
        rows = list(csv.DictReader(file))
    front_left = [value / 3.6 for _, value in samples_in(bridge.ledger, "WHEEL_SPEED_FL")]
    expected = [float(row[list(row)[1]]) for row in rows]
    assert account["frames_read"] == account["frames_decoded"] + sum(account["frames_dropped"].values())
    assert len(front_left) == len(expected)
    assert np.abs(np.array(front_left) - np.array(expected)).max() <= 5e-8


class FullDisk:
    """A disk without room from the moment the box is connected until `seconds` after its first refusal.

    The operating system's limit of a file's size is the full disk: it refuses this process's writes for real.
    """

    def __init__(self, seconds: float) -> None:
        self._room_comes = threading.Timer(seconds, self._make_room)
        self._ear = logging.Handler()
        self._ear.emit = self._hear  # type: ignore[method-assign]
        self._logger = logging.getLogger("tbox.agent")
        self._limits = resource.getrlimit(resource.RLIMIT_FSIZE)
        self.has_refused = False

    def __enter__(self) -> Self:
        self._logger.addHandler(self._ear)
        self._logger.setLevel(logging.INFO)
        return self

    def __exit__(self, *_: object) -> None:
        self._room_comes.cancel()
        self._make_room()
        self._logger.setLevel(logging.NOTSET)
        self._logger.removeHandler(self._ear)

    def _hear(self, record: logging.LogRecord) -> None:
        said = record.getMessage()
        if "uplink connected" in said and not self.has_refused:
            resource.setrlimit(resource.RLIMIT_FSIZE, (1_024, self._limits[1]))
        if "spool refuses to store" in said and not self.has_refused:
            self.has_refused = True
            self._room_comes.start()

    def _make_room(self) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, self._limits)


@pytest.mark.slow
def test_a_disk_that_refuses_the_last_batches_gets_them_when_it_has_room(desk: Desk) -> None:
    drive(desk.log, 20, step_s=0.1)  # few batches: nothing waits for room before the end
    with LedgerBridge(desk.world) as bridge, FullDisk(3.0) as disk:  # the drive is over by then
        account = desk.replay("--start", START, "--speed", "2")
    assert disk.has_refused
    assert account["ok"] is True
    assert account["batches_receipted"] == account["batches_sealed"] == len(bridge.ledger.batches)
    assert len(samples_in(bridge.ledger, "Count")) == 18


@pytest.mark.slow
def test_a_disk_that_refuses_in_the_middle_of_a_drive_loses_nothing(desk: Desk) -> None:
    drive(desk.log, 4_000)
    with LedgerBridge(desk.world) as bridge, FullDisk(0.5) as disk:
        account = desk.replay("--start", START, "--speed", "20", "--wait", "15")
    assert disk.has_refused
    assert account["ok"] is True
    assert account["frames_read"] == 4_000
    assert account["drops"] == {"unknown_id": 400}
    assert [value for _, value in samples_in(bridge.ledger, "Count")] == [
        count for count in range(4_000) if count % 10 != 9
    ]


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cert.pem", "not a certificate in PEM form"),
        ("ca.pem", "not what it should be"),
    ],
)
def test_a_certificate_that_cannot_be_read_is_said_before_anything_is_sealed(
    desk: Desk, name: str, says: str
) -> None:
    (desk.folder / "box" / "tls" / name).write_text("garbage")
    said = desk.replay(code=2)["said"]
    assert f"{name}: {says}" in said
    assert "Next step: `tbox agent renew`" in said
    assert not (desk.folder / "box" / "spool.sqlite").exists()


def test_a_start_in_the_future_is_doubted_aloud(desk: Desk) -> None:
    drive(desk.log, 50)
    with LedgerBridge(desk.world):
        account = desk.replay("--start", "2060-01-01T00:00:00Z")
    assert account["ok"] is True
    assert len(account["warnings"]) == 1
    assert "in the future (given by --start)" in account["warnings"][0]


def test_a_log_of_another_tool_is_replayed_with_its_own_date(desk: Desk) -> None:
    desk.log = desk.folder / "drive.blf"
    with can.BLFWriter(desk.log) as writer:
        for count in range(500):
            writer.on_message_received(
                can.Message(
                    timestamp=START_US / 1e6 + count * 0.01,
                    arbitration_id=MOTION_ID,
                    is_extended_id=False,
                    data=struct.pack("<HIxx", count, count),
                    channel=0,
                )
            )
    with LedgerBridge(desk.world) as bridge:
        account = desk.replay()
    assert (account["format"], account["utc_start"]) == ("blf", START)
    assert "taken as UTC" in account["utc_source"]
    assert samples_in(bridge.ledger, "Count") == [
        (START_US + count * 10_000, float(count)) for count in range(500)
    ]


@pytest.mark.data
@pytest.mark.slow
def test_the_long_j1939_recording_loses_no_frame_and_no_memory(desk: Desk, test_data: Path) -> None:
    source = test_data / "can" / "css_mf4"
    desk.log = source / "j1939_402s_150k_frames.mf4"
    desk.dbc = source / "dbc" / "CSS-Electronics-SAE-J1939-DEMO.dbc"
    with LedgerBridge(desk.world) as bridge:
        desk.replay("--bus", "can1")  # what libraries load once is loaded
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        account = desk.replay("--bus", "can1")
        grown_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert account["ok"] is True
    assert account["frames_read"] == 150_411
    assert account["frames_decoded"] + sum(account["frames_dropped"].values()) == 150_411
    assert set(account["frames_dropped"]) <= {"unknown_id", "short"}
    assert account["frames_decoded"] == 7_986, (
        "EEC1 and CCVS1 by parameter group, as python-can's frames have them"
    )
    assert account["log_errors"] == 0
    assert account["utc_start"] == "2023-11-30T17:02:05.986550Z"
    assert len(samples_in(bridge.ledger, "EngineSpeed")) > 0
    assert grown_kb < 64 * 1024, "the second run holds no more than the first"
