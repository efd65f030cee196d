"""Vehicle profiles: strict, all problems at once, and rules that fit the table."""

from pathlib import Path

import pytest

from device.acquisition.lot import EXTENDED
from device.acquisition.sample import SampleRule
from device.dbc_compiler import compile_dbc
from device.errors import ConfigError
from device.profile import BusRules, StartType, rules_for
from device.profile_reader import parse_profile, read_profile
from protocol.limits import PROFILE_BYTES_MAX

DEMO = Path("dbc/profiles/demo.toml")
TABLE = compile_dbc(Path("dbc/tbox_demo.dbc")).table

SMALL = """
schema = 1
name = "small"
[vehicle]
family = "any"
start_type = "one-touch"
[bus.can0]
dbc = "tbox_demo.dbc"
"""


def demo_rules() -> BusRules:
    return rules_for(read_profile(DEMO).buses["can0"], TABLE)


def group_index(message: str, branch: str | None = None) -> int:
    return next(
        index
        for index, group in enumerate(TABLE.groups)
        if (group.message, group.branch) == (message, branch)
    )


def problems(text: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        parse_profile(text.encode(), "p.toml")
    return caught.value.problems


def test_the_demo_profile_fits_the_demo_dbc() -> None:
    profile = read_profile(DEMO)
    rules = demo_rules()
    assert profile.start_type is StartType.TURN_KEY
    assert set(profile.states) == {"ignition_on", "cranking", "engine_running"}
    assert rules.paths["VehicleMotion.VehicleSpeed"] == "Vehicle.Speed"
    assert rules.paths["OdometerAndFuel.Odometer"] == "Vehicle.TraveledDistance"
    assert rules.decisive == {0x110, 0x130, 0x200}
    assert len(profile.profile_hash) == 32


def test_a_signal_s_band_is_turned_into_raw_counts() -> None:
    rule = demo_rules().sample[group_index("VehicleMotion")]
    assert rule.period_us == 200_000
    assert [(item.column, item.band) for item in rule.dead_bands] == [(0, 100)]
    assert rule.on_change == (3,)


def test_a_band_of_whole_counts_loses_none_to_rounding() -> None:
    text = SMALL + '[bus.can0.signal."SteeringWheel.SteeringAngle"]\ndead_band = 0.3\n'
    rules = rules_for(parse_profile(text.encode(), "p").buses["can0"], TABLE)
    assert rules.sample[group_index("SteeringWheel")].dead_bands[0].band == 3


def test_a_branch_takes_its_message_s_times_and_its_own_signals_triggers() -> None:
    rules = demo_rules()
    base = rules.sample[group_index("HybridBattery")]
    page = rules.sample[group_index("HybridBattery", "HybridPage=0")]
    assert base.period_us == page.period_us == 5_000_000
    assert base.dead_bands == ()
    assert [item.band for item in page.dead_bands] == [100]


def test_what_has_no_entry_follows_the_bus_s_default() -> None:
    rules = demo_rules()
    assert group_index("BodyAcceleration") not in rules.sample
    assert rules.default == SampleRule(period_us=1_000_000)


def test_limits_stand_with_their_column_and_unit() -> None:
    limits = demo_rules().limits[group_index("VehicleMotion")]
    speed = next(item for item in limits if item.definition.signal == "VehicleSpeed")
    assert (speed.minimum, speed.maximum, speed.rate_per_s) == (0, 260, 60)
    assert speed.definition.unit == "km/h"


def test_states_hold_by_value_or_above_a_bound() -> None:
    states = read_profile(DEMO).states
    assert states["ignition_on"].holds(3)
    assert not states["ignition_on"].holds(2)
    assert states["engine_running"].holds(650.25)
    assert not states["engine_running"].holds(400)


def test_decisive_messages_of_extended_identifiers_keep_bit_31() -> None:
    text = SMALL + 'decisive = ["HybridBattery"]\n'
    rules = rules_for(parse_profile(text.encode(), "p").buses["can0"], TABLE)
    assert rules.decisive == {0x18FF50E5 | EXTENDED}


def test_every_problem_is_said_at_once() -> None:
    found = problems(
        """
schema = 2
name = ""
colour = "red"
[vehicle]
start_type = "crank-handle"
[state.ignition_on]
bus = "can9"
signal = "A.B"
[state.flying]
bus = "can0"
signal = "A.B"
values = ["on"]
[bus.can0]
dbc = "../secret.dbc"
sha256 = "abc"
decisive = "A"
sampling = { keep_all = true, period_ms = 10 }
[bus.can0.message.A]
period_ms = 0
max_interval_ms = 1.5
[bus.can0.signal.Speed]
path = "vehicle.speed"
min = 5
max = 5
dead_band = -1
rate_per_s = 0
on_change = 1
[bus.can0.signal."A.B"]
path = "Vehicle.Speed"
max = inf
[bus.can0.signal."A.C"]
path = "Vehicle.Speed"
"""
    )
    for expected in (
        "schema must be 1",
        "name is missing",
        "unknown key 'colour'",
        "family is missing",
        "start_type must be one of",
        "bus 'can9' is not described",
        "unknown key 'flying'",
        "values must be a list of integers",
        "give either values or above",
        "dbc is a file name, not a path",
        "sha256 must be 64",
        "decisive must be a list",
        "keep_all leaves nothing",
        "period_ms must be 1 to",
        "max_interval_ms must be a whole number",
        "a signal is named Message.Signal",
        "no catalogue path",
        "min 5.0 is not below max 5.0",
        "dead_band must not be negative",
        "rate_per_s must be above 0",
        "on_change must be true or false",
        "max must be a finite number",
        "Vehicle.Speed is both A.B and A.C",
    ):
        assert any(expected in problem for problem in found), expected
    assert all(problem.startswith("p.toml: ") for problem in found)


@pytest.mark.parametrize("text", ["schema = ", "[bus\n", "\xff", "schema = 1", "bus = 3", "[bus]\ncan0 = 1"])
def test_what_is_no_profile_is_refused(text: str) -> None:
    assert problems(text)


def test_bytes_that_are_no_text_and_a_file_too_large_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "p.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError):
        read_profile(path)
    path.write_bytes(b"#" * (PROFILE_BYTES_MAX + 1))
    with pytest.raises(ConfigError, match="above"):
        read_profile(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_profile(tmp_path / "gone.toml")


def test_a_profile_for_another_dbc_is_refused_with_all_that_does_not_fit() -> None:
    text = SMALL + (
        f'sha256 = "{"0" * 64}"\ndecisive = ["Nowhere"]\n[bus.can0.message.Nothing]\nperiod_ms = 5\n'
        '[bus.can0.signal."EngineStatus.Missing"]\non_change = true\n'
    )
    with pytest.raises(ConfigError) as caught:
        rules_for(parse_profile(text.encode(), "p").buses["can0"], TABLE)
    assert len(caught.value.problems) == 4


@pytest.mark.data
def test_the_toyota_profile_fits_its_dbc_by_hash(test_data: Path) -> None:
    table = compile_dbc(test_data / "can" / "comma2k19_toyota" / "toyota_new_mc_pt.dbc").table
    profile = read_profile(Path("dbc/profiles/toyota_comma2k19.toml"))
    rules = rules_for(profile.buses["can0"], table)
    assert rules.default.keep_all
    assert rules.sample == {}
    assert rules.decisive == {0xAA}
    with pytest.raises(ConfigError, match="SHA-256"):
        rules_for(profile.buses["can0"], TABLE)
