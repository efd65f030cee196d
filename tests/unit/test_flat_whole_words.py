"""Whole numbers beyond 53 bits as floats: the nearest one, for unsigned words of 64 bits too."""

from pathlib import Path

import pytest

from device.acquisition.flat import FlatDecoder
from device.acquisition.lot import FrameLot
from device.dbc_compiler import compile_dbc
from tests.builders.can import dbc_text

PAYLOADS = (
    b"\xff" * 8,
    b"\x00" * 8,
    bytes(range(8)),
    b"\x80" + b"\x00" * 7,
    b"\x00" * 7 + b"\x80",
    b"\x7f" * 8,
)


@pytest.mark.parametrize("bits", [53, 54, 55, 62, 63, 64])
@pytest.mark.parametrize("sign", ["+", "-"])
@pytest.mark.parametrize("scaling", ["(1,0)", "(3,0)", "(1,-1)", "(0.5,0)"])
def test_the_value_of_a_lane_is_the_float_nearest_to_the_exact_number(
    tmp_path: Path, bits: int, sign: str, scaling: str
) -> None:
    dbc = tmp_path / "wide.dbc"
    signal = f' SG_ Wide : 0|{bits}@1{sign} {scaling} [0|0] "" ECU'
    dbc.write_text(dbc_text("BO_ 256 Message: 8 ECU", signal))
    decoder = FlatDecoder(compile_dbc(dbc).table)
    lanes = decoder.decode(FrameLot.of("can0", [(at, 256, data) for at, data in enumerate(PAYLOADS)]))
    assert lanes.value.tolist() == [float(number) for number in decoder.numbers(lanes)]
    assert len(lanes.value) == len(PAYLOADS)
