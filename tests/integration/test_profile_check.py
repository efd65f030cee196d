"""`tbox agent profile`: what a recording contains, and what a profile would really collect from it."""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest
from typer.testing import CliRunner

from device.agent.cli import app
from device.decode_cli import app as decode_app
from device.profile_library import shipped_folder, shipped_profiles
from protocol.limits import CAR_MONTH_BYTES
from simulators import drive_cycles
from simulators.bus_traffic import EXTENDED, BusTraffic
from simulators.vehicle import Vehicle
from simulators.virtual_clock import SECOND_US

if TYPE_CHECKING:
    from pathlib import Path

SECONDS = 60
LINE = re.compile(r"\((\d+\.\d+)\) (\w+) ([0-9A-F]+)#")


def typed(*words: str, code: int = 0) -> tuple[str, str]:
    done = CliRunner().invoke(app, ["profile", *words])
    assert done.exit_code == code, (done.output, done.exception)
    return done.stdout, done.stderr


def checked(log: Path, profile: str, *more: str) -> dict[str, Any]:
    said, _ = typed("check", "--can", str(log), "--profile", profile, "--json", *more)
    found = json.loads(said)
    assert isinstance(found, dict)
    return found


def candump(path: Path, seconds: int, bus: str = "can0") -> Path:
    """Write a drive of the demonstration car as candump text."""
    traffic = BusTraffic(seed=5, vehicle=Vehicle(seed=5, legs=drive_cycles.city(5, seconds)))
    with path.open("w") as file:
        for frame in traffic.until(seconds * SECOND_US):
            width = 8 if frame.can_id & EXTENDED else 3
            name = f"{frame.can_id & ~EXTENDED:0{width}X}"
            file.write(f"({frame.t_us / 1e6:.6f}) {bus} {name}#{frame.data.hex().upper()}\n")
    return path


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return candump(tmp_path_factory.mktemp("drive") / "demo.log", SECONDS)


@pytest.fixture(scope="module")
def found(drive: Path) -> dict[str, Any]:
    """What is said of the drive by its own profile."""
    return checked(drive, "demo")


@pytest.fixture(scope="module")
def longer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What is said of a drive twice as long, of a bus with another name and three hours a day."""
    log = candump(tmp_path_factory.mktemp("longer") / "demo.log", 2 * SECONDS, "vcan7")
    return checked(log, "demo", "--hours", "3")


def test_every_profile_that_comes_along_is_listed() -> None:
    said, _ = typed("list")
    assert all(name in said for name in shipped_profiles())
    as_json = json.loads(typed("list", "--json")[0])
    assert {one["name"] for one in as_json["profiles"]} == set(shipped_profiles())


def test_every_identifier_of_a_recording_is_counted_known_or_not(drive: Path, found: dict[str, Any]) -> None:
    also = Counter(LINE.findall(drive.read_text()))
    by_id = Counter[str]()
    for (_, _, name), count in also.items():
        by_id[name] += count
    [bus] = found["buses"]
    assert {one["id"].removeprefix("0x"): one["frames"] for one in bus["ids"]} == dict(by_id)
    assert all(one["message"] is not None for one in bus["ids"])
    assert bus["frames"] == found["recording"]["frames"] == by_id.total()
    assert bus["messages_missing"] == []


def test_all_signals_of_a_fitting_profile_are_covered_and_its_states_are_seen(found: dict[str, Any]) -> None:
    assert all(one["is_seen"] for one in found["signals"])
    speed = next(one for one in found["signals"] if one["path"] == "Vehicle.Speed")
    assert speed["unit"] == "km/h"
    assert 0 <= speed["least"] < speed["greatest"] < 130
    assert 45 < speed["rate_hz"] <= 50
    states = {one["state"]: one for one in found["states"]}
    assert 0 < states["ignition_on"]["held"] <= states["ignition_on"]["rows"]


def test_every_frame_and_row_is_accounted_for(found: dict[str, Any]) -> None:
    sums = found["collected"]
    assert sums["frames_received"] == sums["frames_decoded"] == found["recording"]["frames"]
    assert 0 < sums["rows"] < sums["frames_decoded"]
    assert sums["left_out"]["policy"] > 0
    assert sums["samples"] > sums["rows"]
    assert sum(sums["bytes_by_section"].values()) < sums["bytes"]
    assert sums["bytes_once"] < sums["bytes"]


@pytest.mark.slow
def test_a_recording_twice_as_long_gives_the_same_hour(found: dict[str, Any], longer: dict[str, Any]) -> None:
    assert longer["recording"]["seconds"] == pytest.approx(2 * found["recording"]["seconds"], rel=0.02)
    one, other = found["collected"]["per_hour"], longer["collected"]["per_hour"]
    assert other["rows"] == pytest.approx(one["rows"], rel=0.3)
    assert other["bytes"] == pytest.approx(one["bytes"], rel=0.3)
    assert longer["collected"]["bytes_once"] == found["collected"]["bytes_once"]


@pytest.mark.slow
def test_a_month_is_thirty_days_of_the_hours_that_were_asked_for(
    found: dict[str, Any], longer: dict[str, Any]
) -> None:
    for said, hours in ((found, 1), (longer, 3)):
        hour, month = said["collected"]["per_hour"], said["collected"]["per_month"]
        assert month["bytes"] == pytest.approx(hour["bytes"] * 30 * hours, rel=1e-4)
        assert month["budget_bytes"] == CAR_MONTH_BYTES
        assert month["is_within_budget"] is (month["bytes"] <= CAR_MONTH_BYTES)


@pytest.mark.slow
def test_a_profile_that_keeps_everything_is_told_to_be_above_the_budget(tmp_path: Path, drive: Path) -> None:
    greedy = tmp_path / "greedy.toml"
    greedy.write_text(
        'schema = 1\nname = "greedy"\n[vehicle]\nfamily = "any"\nstart_type = "turn-key"\n'
        '[bus.can0]\ndbc = "tbox_demo.dbc"\nsampling = { keep_all = true }\n'
    )
    said, _ = typed("check", "--can", str(drive), "--profile", str(greedy), "--hours", "10")
    assert "ABOVE the default of 30 MB" in said


@pytest.mark.slow
def test_a_person_reads_the_same(drive: Path, found: dict[str, Any]) -> None:
    said, _ = typed("check", "--can", str(drive), "--profile", "demo")
    count = len(found["signals"])
    assert f"signals: {count} of {count} are in the recording" in said
    assert "Vehicle.Speed" in said
    assert "an hour:" in said


def test_a_recording_of_another_car_is_told_and_has_its_own_exit_code(tmp_path: Path) -> None:
    strange = tmp_path / "strange.log"
    strange.write_text("".join(f"({n}.000000) can0 7AA#00\n" for n in range(5)))
    said, told = typed("check", "--can", str(strange), "--profile", "demo", "--json", code=3)
    assert "profile of another car" in told
    assert not any(one["is_seen"] for one in json.loads(said)["signals"])


@pytest.mark.slow
def test_the_only_bus_of_a_log_is_meant_whatever_it_is_called(longer: dict[str, Any]) -> None:
    assert longer["recording"]["frames_of_other_buses"] == {}
    assert longer["collected"]["rows"] > 0


@pytest.mark.slow
def test_of_several_buses_one_must_be_named_and_the_others_are_told(drive: Path, tmp_path: Path) -> None:
    others = "".join(f"({SECONDS + n}.500000) can9 123#00\n" for n in range(3))
    log = tmp_path / "two.log"
    log.write_text("".join(drive.read_text().splitlines(keepends=True)[:500]) + others)
    _, told = typed("check", "--can", str(log), "--profile", "demo", code=2)
    assert "--bus" in told
    assert checked(log, "demo", "--bus", "can0")["recording"]["frames_of_other_buses"] == {"can9": 3}


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("--profile", "no-such-car"), "no profile no-such-car"),
        (("--profile", "toyota_comma2k19"), "toyota_new_mc_pt.dbc does not come along: name it with --dbc"),
        (("--profile", "demo", "--dbc", str(shipped_folder() / "vw_mqb.dbc")), "has no signal"),
        (("--profile", "demo", "--dbc", "gone.dbc"), "gone.dbc"),
    ],
)
def test_what_does_not_fit_is_told_with_what_to_do(drive: Path, words: tuple[str, ...], problem: str) -> None:
    _, told = typed("check", "--can", str(drive), *words, code=2)
    assert problem in told
    assert "nothing was checked" in told
    assert "agent does not start" not in told


def test_a_state_that_the_dbc_does_not_know_is_told(drive: Path, tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.toml"
    wrong.write_text(
        'schema = 1\nname = "wrong"\n[vehicle]\nfamily = "any"\nstart_type = "turn-key"\n'
        '[state.cranking]\nbus = "can0"\nsignal = "Starter.Turns"\nvalues = [1]\n'
        '[bus.can0]\ndbc = "tbox_demo.dbc"\n'
    )
    _, told = typed("check", "--can", str(drive), "--profile", str(wrong), code=2)
    assert "state cranking asks for Starter.Turns" in told


@pytest.mark.parametrize("content", [b"\x00\xff" * 500, b"(1.0) can0 zz\n"])
def test_what_is_no_log_is_told(tmp_path: Path, content: bytes) -> None:
    log = tmp_path / "x.log"
    log.write_bytes(content)
    _, told = typed("check", "--can", str(log), "--profile", "demo", code=2)
    assert "not a CAN log of a known form" in told


def test_a_log_without_a_frame_has_the_exit_code_that_decode_gives_it(tmp_path: Path) -> None:
    log = tmp_path / "empty.log"
    log.touch()
    dbc, out = shipped_folder() / "tbox_demo.dbc", tmp_path / "out.csv"
    decoded = CliRunner().invoke(decode_app, ["--dbc", str(dbc), "--log", str(log), "--out", str(out)])
    _, told = typed("check", "--can", str(log), "--profile", "demo", code=decoded.exit_code)
    assert decoded.exit_code == 3
    assert "no frame in it" in told


def test_a_pipe_is_refused_for_it_cannot_be_read_twice(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    _, told = typed("check", "--can", str(pipe), "--profile", "demo", code=2)
    assert "Write it to a file first" in told


# --- a real car ---


@pytest.mark.data
def test_a_real_car_of_the_hybrid_s_years_is_covered_but_for_what_only_a_hybrid_says(test_data: Path) -> None:
    log = test_data / "can" / "comma2k19_toyota" / "can0.log"
    found = checked(log, "toyota_hybrid")
    [bus] = found["buses"]
    seen = Counter(name for _, _, name in LINE.findall(log.read_text()))
    assert {one["id"].removeprefix("0x"): one["frames"] for one in bus["ids"]} == dict(seen)
    assert bus["messages_missing"] == ["HybridGear"]
    assert [one["signal"] for one in found["signals"] if not one["is_seen"]] == ["can0.HybridGear.Lever"]
    by_path = {one["path"]: one for one in found["signals"]}
    assert by_path["Vehicle.Speed"]["rate_hz"] == pytest.approx(seen["0B4"] / 60, rel=0.01)
    assert 25 < by_path["Vehicle.Speed"]["least"] < by_path["Vehicle.Speed"]["greatest"] < 75
    assert found["collected"]["frames_received"] == 53_800
    assert found["collected"]["frames_decoded"] == sum(one["frames"] for one in bus["ids"] if one["message"])
    assert found["implausible"] == {}
    # A row a second of speed and motion at least, all but the kept ones left out, and a tenth of the budget.
    assert 180 <= found["collected"]["rows"] < 400
    assert found["collected"]["per_month"]["bytes"] < CAR_MONTH_BYTES / 3


@pytest.mark.data
@pytest.mark.slow
def test_the_profile_that_keeps_all_keeps_every_decoded_frame_of_the_real_car(test_data: Path) -> None:
    folder = test_data / "can" / "comma2k19_toyota"
    dbc = str(folder / "toyota_new_mc_pt.dbc")
    found = checked(folder / "can0.log", "toyota_comma2k19", "--dbc", dbc)
    sums = found["collected"]
    assert "policy" not in sums["left_out"]
    assert sums["rows"] >= sums["frames_decoded"] > 25_000
    assert all(one["is_seen"] for one in found["signals"])
    assert not sums["per_month"]["is_within_budget"]


@pytest.mark.data
@pytest.mark.slow
def test_messages_of_a_truck_are_named_by_their_parameter_group(test_data: Path, tmp_path: Path) -> None:
    folder = test_data / "can" / "css_mf4"
    dbc = "CSS-Electronics-SAE-J1939-DEMO.dbc"
    truck = tmp_path / "truck.toml"
    truck.write_text(
        'schema = 1\nname = "truck"\n[vehicle]\nfamily = "any"\nstart_type = "turn-key"\n'
        f'[bus.can0]\ndbc = "{dbc}"\nsampling = {{ period_ms = 1000 }}\n'
    )
    log = folder / "j1939_402s_150k_frames.mf4"
    found = checked(log, str(truck), "--dbc", str(folder / "dbc" / dbc), "--bus", "can1")
    [bus] = found["buses"]
    assert {one["message"] for one in bus["ids"] if one["message"]} == {"EEC1", "CCVS1"}
    assert bus["messages_missing"] == []
    known = sum(one["frames"] for one in bus["ids"] if one["message"])
    assert found["collected"]["frames_decoded"] == known > 7_000
    assert found["recording"]["frames"] == 150_411
