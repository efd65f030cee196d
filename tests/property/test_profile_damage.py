"""A profile cut short, doubled or with bytes flipped is read, or refused with reasons: nothing else."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.errors import ConfigError
from device.profile import Profile
from device.profile_library import find_profile, shipped_profiles
from device.profile_reader import parse_profile

CONTENTS = [find_profile(name).read_bytes() for name in shipped_profiles()]


def read_or_refuse(content: bytes) -> None:
    """Read a profile; when it is refused, every reason names the file."""
    refused: tuple[str, ...] | None = None
    try:
        read = parse_profile(content, "p.toml")
    except ConfigError as error:
        refused = error.problems
    if refused is None:
        assert isinstance(read, Profile)
    else:
        assert refused
        assert all(problem.startswith("p.toml") for problem in refused)


@given(st.sampled_from(CONTENTS), st.data())
def test_a_cut_profile_is_read_or_refused(content: bytes, data: st.DataObject) -> None:
    read_or_refuse(content[: data.draw(st.integers(0, len(content)))])


@given(st.sampled_from(CONTENTS), st.lists(st.tuples(st.integers(0), st.integers(1, 255)), max_size=8))
def test_a_flipped_profile_is_read_or_refused(content: bytes, flips: list[tuple[int, int]]) -> None:
    damaged = bytearray(content)
    for place, mask in flips:
        damaged[place % len(damaged)] ^= mask
    read_or_refuse(bytes(damaged))


@given(st.sampled_from(CONTENTS))
def test_a_doubled_profile_is_refused(content: bytes) -> None:
    with pytest.raises(ConfigError):
        parse_profile(content + content, "p.toml")


@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(), lambda inner: st.lists(inner, max_size=3)
    )
)
def test_any_value_in_any_place_is_refused_with_reasons_or_read(value: object) -> None:
    text = (
        str(value).replace("None", '""').replace("'", '"').replace("True", "true").replace("False", "false")
    )
    for key in ("schema", "name", "vehicle", "state", "bus"):
        read_or_refuse(f"{key} = {text}\n".encode())
    for key in ("path", "dead_band", "on_change", "min", "rate_per_s"):
        read_or_refuse(f'[bus.can0]\ndbc = "a"\n[bus.can0.signal."A.B"]\n{key} = {text}\n'.encode())
