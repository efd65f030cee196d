"""The profiles that come along: three families, each fits its DBC, each says truly how its car is started."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from device.dbc_compiler import compile_dbc
from device.errors import ConfigError
from device.profile import Powertrain, Profile, StartType, rules_for
from device.profile_library import find_dbc, find_profile, shipped_profiles
from device.profile_reader import parse_profile, read_profile

if TYPE_CHECKING:
    from pathlib import Path

OWN_DBC = ("demo", "tesla_model3", "toyota_hybrid", "vw_mqb")  # the other one's DBC is named by hash only

CAR = """
schema = 1
name = "car"
[vehicle]
family = "any"
{vehicle}
{states}
[bus.can0]
dbc = "tbox_demo.dbc"
"""


def car(vehicle: str, *states: str) -> Profile:
    tables = "".join(f'[state.{state}]\nbus = "can0"\nsignal = "A.B"\nvalues = [1]\n' for state in states)
    return parse_profile(CAR.format(vehicle=vehicle, states=tables).encode(), "car.toml")


def test_there_is_a_combustion_a_hybrid_and_an_electric_family() -> None:
    found = {read_profile(find_profile(name)).powertrain for name in OWN_DBC}
    assert found == {Powertrain.COMBUSTION, Powertrain.HYBRID, Powertrain.ELECTRIC}
    assert set(OWN_DBC) <= set(shipped_profiles())


@pytest.mark.parametrize("name", OWN_DBC)
def test_a_family_fits_its_dbc_wholly_and_nothing_of_the_dbc_is_left_out(name: str) -> None:
    profile = read_profile(find_profile(name))
    for bus in profile.buses.values():
        dbc = find_dbc(find_profile(name), bus.dbc)
        assert dbc is not None
        compiled = compile_dbc(dbc)
        rules = rules_for(bus, compiled.table)
        signals = {
            f"{group.message}.{column.signal}" for group in compiled.table.groups for column in group.columns
        }
        assert compiled.warnings == ()
        assert {rule.signal for rule in profile.states.values()} <= signals
        assert "Vehicle.Speed" in rules.paths.values()
        assert rules.limits
        assert rules.decisive
        assert set(bus.messages) <= {message.name for message in compiled.table.messages}


@pytest.mark.parametrize("name", ["tesla_model3", "toyota_hybrid", "vw_mqb"])
def test_a_family_s_messages_each_have_a_sampling_and_none_keeps_everything(name: str) -> None:
    for bus in read_profile(find_profile(name)).buses.values():
        dbc = find_dbc(find_profile(name), bus.dbc)
        assert dbc is not None
        assert set(bus.messages) == {message.name for message in compile_dbc(dbc).table.messages}
        assert not any(times.keep_all for times in bus.messages.values())


@pytest.mark.parametrize("name", ["tesla_model3", "toyota_hybrid", "vw_mqb"])
def test_a_family_collects_nothing_that_tells_how_somebody_drives(name: str) -> None:
    for bus in read_profile(find_profile(name)).buses.values():
        dbc = find_dbc(find_profile(name), bus.dbc)
        assert dbc is not None
        named = dbc.read_text() + " ".join(rule.path or "" for rule in bus.signals.values())
        signals = [line for line in named.splitlines() if line.startswith(" SG_")]
        for word in ("Pedal", "Steering", "Belt", "Brake ", "BrakeApplied", "Accelerator"):
            assert not any(word in line for line in signals), word
            assert word not in " ".join(rule.path or "" for rule in bus.signals.values())


@pytest.mark.parametrize(
    ("vehicle", "has_starter_line"),
    [
        ('powertrain = "combustion"\nstart_type = "turn-key"', True),
        ('powertrain = "combustion"\nstart_type = "one-touch"', True),
        ('powertrain = "hybrid"\nstart_type = "ready"', False),
        ('powertrain = "electric"\nstart_type = "ready"', False),
        ('start_type = "turn-key"', False),
        ('powertrain = "unknown"\nstart_type = "one-touch"', False),
    ],
)
def test_only_a_car_known_to_have_a_starter_has_one_that_could_be_inhibited(
    vehicle: str, *, has_starter_line: bool
) -> None:
    assert car(vehicle).has_starter_line is has_starter_line


def test_the_families_say_so_of_themselves() -> None:
    found = {name: read_profile(find_profile(name)) for name in OWN_DBC}
    assert [found[name].start_type for name in ("vw_mqb", "toyota_hybrid", "tesla_model3")] == [
        StartType.TURN_KEY,
        StartType.READY,
        StartType.READY,
    ]
    assert [name for name in OWN_DBC if found[name].has_starter_line] == ["demo", "vw_mqb"]
    assert set(found["vw_mqb"].states) == {"ignition_on", "cranking", "engine_running"}
    assert set(found["tesla_model3"].states) == {"ignition_on", "ready", "charging"}


@pytest.mark.parametrize(
    ("vehicle", "states", "problem"),
    [
        ('powertrain = "electric"\nstart_type = "turn-key"', (), "no electric car is started by turn-key"),
        ('powertrain = "hybrid"\nstart_type = "one-touch"', (), "no hybrid car is started by one-touch"),
        ('powertrain = "combustion"\nstart_type = "ready"', (), "no combustion car is started by ready"),
        ('powertrain = "steam"\nstart_type = "ready"', (), "powertrain must be one of"),
        ('powertrain = 5\nstart_type = "ready"', (), "powertrain must be text"),
        ('powertrain = "electric"\nstart_type = "ready"', ("cranking",), "no electric car has this state"),
        ('powertrain = "electric"\nstart_type = "ready"', ("engine_running",), "car has this state"),
        ('powertrain = "hybrid"\nstart_type = "ready"', ("cranking",), "no hybrid car has this state"),
        ('powertrain = "combustion"\nstart_type = "turn-key"', ("charging",), "car has this state"),
    ],
)
def test_a_start_or_state_that_the_powertrain_cannot_have_is_a_problem(
    vehicle: str, states: tuple[str, ...], problem: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        car(vehicle, *states)
    assert any(problem in said for said in caught.value.problems)


def test_a_profile_is_found_by_name_or_path_and_its_dbc_beside_it(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(CAR.format(vehicle='start_type = "ready"', states=""))
    assert find_profile(str(own)) == own
    assert find_dbc(own, "nowhere.dbc") is None
    (tmp_path / "nowhere.dbc").write_text("")
    assert find_dbc(own, "nowhere.dbc") == tmp_path / "nowhere.dbc"
    shipped = find_dbc(own, "vw_mqb.dbc")
    assert shipped is not None
    assert shipped.is_file()
    with pytest.raises(ConfigError, match="vw_mqb"):
        find_profile("no-such-car")
