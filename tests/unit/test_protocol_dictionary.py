"""Physical values are cantools' values, bit for bit and type for type."""

import math
import struct

import numpy as np
import pytest
from cantools.database.conversion import BaseConversion
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import ProtocolError, Reject
from protocol.signals import RawType, physical
from tests.builders.protocol import INT64_MAX, INT64_MIN, a_column

FACTORS = st.one_of(
    st.integers(-1_000, 1_000),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.sampled_from((1, 1.0, 2.0, 0.5, 0.01, -40, -40.0, 1e300)),
)


def same_numbers(ours: list[object], theirs: list[object]) -> bool:
    return [(type(number), repr(number)) for number in ours] == [
        (type(number), repr(number)) for number in theirs
    ]


@given(
    st.sampled_from((RawType.UINT, RawType.INT)),
    FACTORS,
    FACTORS,
    st.lists(st.integers(INT64_MIN, INT64_MAX) | st.integers(-300, 300), min_size=1, max_size=4),
)
def test_integers_become_what_cantools_makes_of_them(
    raw_type: RawType, scale: float, offset: float, patterns: list[int]
) -> None:
    raw = [pattern % 2**64 for pattern in patterns] if raw_type is RawType.UINT else patterns
    conversion = BaseConversion.factory(scale=scale, offset=offset)
    expected = [conversion.raw_to_scaled(number) for number in raw]
    ours = physical(
        a_column(raw_type=raw_type, scale=scale, offset=offset), np.array(patterns, dtype=np.int64)
    )
    assert same_numbers(ours.tolist(), expected)


@given(FACTORS, FACTORS, st.lists(st.floats(width=32), min_size=1, max_size=4), st.sampled_from((32, 64)))
def test_floats_become_what_cantools_makes_of_them(
    scale: float, offset: float, floats: list[float], size: int
) -> None:
    code, integer, raw_type = (">d", ">q", RawType.FLOAT64) if size == 64 else (">f", ">l", RawType.FLOAT32)
    patterns = [struct.unpack(integer, struct.pack(code, number))[0] for number in floats]
    if size == 32:
        patterns = [pattern & 0xFFFFFFFF for pattern in patterns]
    conversion = BaseConversion.factory(scale=scale, offset=offset, is_float=True)
    expected = [float(conversion.raw_to_scaled(number)) for number in floats]
    ours = physical(
        a_column(raw_type=raw_type, scale=scale, offset=offset), np.array(patterns, dtype=np.int64)
    ).tolist()
    for mine, theirs in zip(ours, expected, strict=True):
        assert repr(mine) == repr(theirs) or (math.isnan(mine) and math.isnan(theirs))


@pytest.mark.parametrize(
    ("raw_type", "scale", "offset", "dtype"),
    [
        (RawType.INT, 1, 0, "int64"),
        (RawType.INT, 2.0, -40.0, "int64"),
        (RawType.UINT, 1, 0, "int64"),
        (RawType.INT, 0.5, 0, "float64"),
        (RawType.INT, 1, 0.5, "float64"),
        (RawType.FLOAT64, 2, 0, "float64"),
        (RawType.INT, 2**63, 0, "object"),
    ],
)
def test_the_type_follows_scale_and_offset(
    raw_type: RawType, scale: float, offset: float, dtype: str
) -> None:
    values = physical(
        a_column(raw_type=raw_type, scale=scale, offset=offset), np.array([0, 1], dtype=np.int64)
    )
    assert values.dtype == dtype


def test_the_highest_unsigned_value_needs_the_unsigned_type() -> None:
    values = physical(a_column(bits=64), np.array([-1], dtype=np.int64))
    assert values.dtype == np.uint64
    assert values.tolist() == [2**64 - 1]


def test_shapes_strides_and_emptiness_are_kept() -> None:
    raw = np.arange(12, dtype=np.int64).reshape(3, 4)
    for view in (raw, raw.T, raw[:, ::2], raw[:, :0]):
        for raw_type in RawType:
            assert physical(a_column(raw_type=raw_type), view).shape == view.shape


def test_the_raw_column_is_never_changed() -> None:
    raw = np.array([1, 2, 3], dtype=np.int64)
    values = physical(a_column(scale=2, offset=1), raw)
    assert values.tolist() == [3, 5, 7]
    assert raw.tolist() == [1, 2, 3]


def test_a_raw_type_from_the_future_is_refused_by_name() -> None:
    with pytest.raises(ProtocolError) as refused:
        physical(a_column(raw_type=99), np.array([1]))
    assert refused.value.code is Reject.BAD_FIELD
