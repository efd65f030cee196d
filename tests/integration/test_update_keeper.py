"""The keeper with real processes, real folders and a real program that writes images."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from device.errors import EdgeError
from device.update.forms import Outcome, Record, Stage
from device.update.keeper import Keeper
from device.update.mcu_writer import McuWriter
from device.update.slots import SlotError, Slots
from device.update.transaction import Boot
from protocol.update_bundle import read_bundle
from tests.builders.updates import Site, a_bundle, measured

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Iterator
    from pathlib import Path

    from protocol.update_bundle import Bundle, Needs

AGENT = """
import json, os, pathlib, sys, time
home = pathlib.Path(sys.argv[1])
release = pathlib.Path(os.environ["PYTHONPATH"]).parent.name
(home / "ran").open("a").write(release + "\\n")
if (home / f"dies-{release}").exists():
    sys.exit(1)
while True:
    said = json.loads((home / "say.json").read_text())
    said["pid"] = os.getpid()
    said["health"]["firmware"] = (home / "board").read_text().split()[0]
    (home / ".new").write_text(json.dumps(said))
    (home / ".new").replace(home / "vitals.json")
    time.sleep(0.02)
"""
WRITE = """
import json, pathlib, sys
home, image = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
if (home / "locked").exists():
    print(json.dumps({"boards": [{"error": "LOCKED"}]}))
    sys.exit(1)
release = (image / "main.mpy").read_text().split()[1]
names = json.loads((home / "measured.json").read_text())
(home / "board").write_text(names[release] + " written")
"""
SAY = {
    "car": {
        "is_ignition_on": False,
        "is_moving": False,
        "supply_mv": 12_600,
        "is_order_open": False,
        "is_mcu_up": True,
    },
    "health": {"is_read_back": True, "has_fix": True, "is_receipted": True, "ids": [], "awake_s": 0},
}


@dataclass
class TestSource:
    """A repository that is really one, and a backend that says a number."""

    __test__ = False
    site: Site
    release: int | None = None
    told: tuple[tuple[int, Outcome], ...] = ()
    is_away: bool = False

    def ask(self, record: Record, *, now_s: int) -> int | None:
        assert now_s > 0
        if self.is_away:
            raise EdgeError("away", is_transient=True)
        self.told += record.untold
        return self.release

    def needs(self, release: int, *, now: dt.datetime) -> Needs:
        return self.site.box().needs(release, now=now)

    def bundle(self, release: int, *, now: dt.datetime) -> Bundle:
        return self.site.box().bundle(release, now=now)


@dataclass
class Bench:
    keeper: Keeper
    source: TestSource
    home: Path
    slots: Slots

    @property
    def record(self) -> Record:
        return self.slots.record()

    def until(self, stage: Stage, *, release: int | None = None) -> Record:
        """Let the keeper live until its record says so."""
        end = time.monotonic() + 10
        while time.monotonic() < end:
            self.keeper._look_at_s = self.keeper._start_at_s = 0.0
            self.keeper.turn()
            record = self.record
            if record.stage is stage and release in (None, record.running):
                return record
        raise AssertionError(self.record)

    def say(self, **car: object) -> None:
        content = {"car": SAY["car"] | car, "health": SAY["health"]}
        (self.home / ".say").write_text(json.dumps(content))
        (self.home / ".say").replace(self.home / "say.json")

    def hear(self, **car: object) -> None:
        """Say something, and wait until the agent has told it on."""
        self.say(**car)
        end = time.monotonic() + 10
        while time.monotonic() < end:
            path = self.home / "vitals.json"
            if path.exists() and json.loads(path.read_text())["car"] == SAY["car"] | car:
                return
            time.sleep(0.01)
        raise AssertionError("the agent says nothing")

    def ran(self) -> list[str]:
        return (self.home / "ran").read_text().split()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    home = tmp_path / "home"
    home.mkdir()
    (home / "measured.json").write_text(json.dumps({str(n): measured(n).hex() for n in (1, 2, 3)}))
    (home / "board").write_text(measured(1).hex() + " written")
    slots = Slots(tmp_path / "update")
    slots.make()
    first = slots.unpack(read_bundle(a_bundle(1)))
    slots.keep(replace(Record(), confirmed=1, mcu=1, measurement=first.measurement))
    source = TestSource(Site.make(tmp_path / "site", 1, 2))
    keeper = Keeper(
        slots,
        home=home,
        writer=McuWriter((sys.executable, "-c", WRITE, str(home), "{image}")),
        source=source,
        board="rp2040",
        command=(sys.executable, "-c", AGENT, str(home)),
    )
    bench = Bench(keeper, source, home, slots)
    bench.say()
    keeper._feed(Boot())
    yield bench
    keeper._stop_agent()


def offer(bench: Bench, release: int) -> None:
    bench.source.release, bench.keeper._ask_at_s = release, 0.0


def test_a_release_is_asked_for_loaded_written_tried_and_confirmed(bench: Bench) -> None:
    offer(bench, 2)
    bench.until(Stage.TRIAL)
    record = bench.until(Stage.IDLE)
    assert (record.confirmed, bench.slots.current()) == (2, 2)
    assert (bench.home / "board").read_text().startswith(measured(2).hex())
    assert bench.ran() == ["1", "2"]
    assert [path.name for path in (bench.slots.root / "releases").iterdir()] == ["2"]
    bench.keeper._ask_at_s = 0.0
    bench.keeper.turn()
    assert bench.source.told == ((2, Outcome.CONFIRMED),)
    assert bench.record.untold == ()


def test_a_release_that_dies_goes_back_with_its_image(bench: Bench) -> None:
    (bench.home / "dies-2").touch()
    offer(bench, 2)
    bench.until(Stage.TRIAL)
    record = bench.until(Stage.IDLE)
    assert (record.confirmed, record.failed) == (1, ((2, Outcome.NOT_STARTING),))
    assert bench.slots.current() == 1
    assert (bench.home / "board").read_text().startswith(measured(1).hex())
    offer(bench, 2)
    bench.keeper.turn()
    assert bench.keeper.counts == {"update_not_failed_before": 1}


def test_a_locked_board_leaves_everything_as_it_is(bench: Bench) -> None:
    (bench.home / "locked").touch()
    offer(bench, 2)
    bench.until(Stage.STAGED)
    bench.until(Stage.STAGED)
    assert (bench.slots.current(), bench.record.confirmed) == (1, 1)
    (bench.home / "locked").unlink()
    bench.until(Stage.IDLE)
    assert bench.record.confirmed == 2


def test_a_car_that_drives_is_left_alone(bench: Bench) -> None:
    bench.hear(is_ignition_on=True)
    offer(bench, 2)
    bench.until(Stage.STAGED)
    for _ in range(5):
        bench.until(Stage.STAGED)
    assert bench.ran() == ["1"]
    bench.say()
    bench.until(Stage.IDLE)
    assert bench.record.confirmed == 2


def test_a_backend_that_is_away_and_a_release_for_another_board_change_nothing(bench: Bench) -> None:
    bench.source.is_away = True
    offer(bench, 2)
    bench.keeper.turn()
    bench.source.is_away = False
    bench.source.site.add(3, data=a_bundle(3, hardware="stm32"))
    offer(bench, 3)
    bench.keeper.turn()
    offer(bench, 1)
    bench.keeper.turn()
    assert bench.keeper.counts == {
        "update_asked_in_vain": 1,
        "update_not_other_board": 1,
        "update_not_downgrade": 1,
    }
    assert bench.record.stage is Stage.IDLE


def test_what_a_cut_left_half_unpacked_is_no_release(bench: Bench) -> None:
    torn = bench.slots.root / "releases" / "2.part" / "agent"
    torn.mkdir(parents=True)
    with pytest.raises(SlotError):
        bench.slots.point(2)
    bench.slots.make()
    assert not torn.exists()
    assert bench.slots.current() == 1
