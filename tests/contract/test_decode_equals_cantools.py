"""Real DBC files and a real drive: cantools' values and types, and comma.ai's wheel speeds."""

import csv
import random
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from device.acquisition.decode import Decoder
from device.adapters.log_files import LogReader
from device.dbc_compiler import compile_dbc
from device.dbc_file import DbcError, load_database
from protocol.signals import physical
from tests.builders.can import Oracle, frames_for, lot_of, same, values_by_frame

# Refused by cantools 45 even when lenient; the recordings' own README lists them.
REFUSED = {"issue_138.sym", "issue_199_extended.dbc", "jopp-5.0.sym"}
# Wider than a 64-bit word: left out with a warning.
TOO_WIDE = {("Message7", "Signal1"), ("Message8", "Signal1")}


def assert_equal(path: Path, *, frames: int) -> int:
    """Compare random frames of every message with cantools; return how many values were compared."""
    table = compile_dbc(path).table
    database, _ = load_database(path, path.read_bytes())
    oracle = Oracle(database)
    lot = frames_for(database, random.Random(path.name), max(frames, 3 * len(database.messages)))
    decoded = Decoder(table).decode(lot_of(lot))
    assert decoded.counts.decoded == len(lot)
    ours = values_by_frame(table, decoded)
    compared = 0
    for number, can_id, payload in lot:
        message = oracle.message(can_id)
        theirs = {
            name: value
            for name, value in oracle.values(can_id, payload).items()
            if (message.name, name) not in TOO_WIDE
        }
        assert same(ours.get(number, {}), theirs), f"{path.name}: {message.name} {payload.hex()}"
        compared += len(theirs)
    return compared


def test_our_own_dbc_decodes_as_cantools_does() -> None:
    assert assert_equal(Path("dbc/tbox_demo.dbc"), frames=3_000) > 9_000


@pytest.mark.data
def test_the_toyota_dbc_decodes_as_cantools_does(test_data: Path) -> None:
    path = test_data / "can" / "comma2k19_toyota" / "toyota_new_mc_pt.dbc"
    assert assert_equal(path, frames=2_000) > 10_000


@pytest.mark.data
def test_every_cantools_dbc_that_loads_decodes_as_cantools_does(
    test_data: Path, record_property: Callable[[str, object], None]
) -> None:
    compared: dict[str, int] = {}
    refused: set[str] = set()
    for path in sorted((test_data / "dbc" / "cantools").iterdir()):
        try:
            compile_dbc(path)
        except DbcError:
            refused.add(path.name)
        else:
            compared[path.name] = assert_equal(path, frames=500)
    record_property("values_compared", str(compared))
    assert refused == REFUSED
    assert len(compared) == 75
    assert sum(count > 0 for count in compared.values()) >= 60
    assert sum(compared.values()) > 75_000


@pytest.mark.data
@pytest.mark.parametrize(
    "name",
    ["vw_mqb.dbc", "tesla_model3_party.dbc", "ford_cgea1_2_ptcan_2011.dbc", "toyota_prius_2010_pt.dbc"],
)
def test_hand_made_dbcs_of_real_cars_decode_as_cantools_does(test_data: Path, name: str) -> None:
    assert assert_equal(test_data / "dbc" / "opendbc" / name, frames=500) > 1_000


@pytest.mark.data
def test_the_largest_multiplexed_dbc_decodes_as_cantools_does(test_data: Path) -> None:
    assert assert_equal(test_data / "dbc" / "model3" / "Model3CAN.dbc", frames=400) > 2_000


@pytest.mark.data
def test_a_dbc_that_cantools_refuses_is_named_with_its_line(test_data: Path) -> None:
    path = test_data / "dbc" / "canmatrix" / "from_sym_test.dbc"
    with pytest.raises(DbcError) as caught:
        compile_dbc(path)
    assert caught.value.line == 414


def series(test_data: Path, names: list[str]) -> tuple[np.ndarray, list[np.ndarray]]:
    """Decode the drive; return the times of the message's rows and the physical values of its signals."""
    folder = test_data / "can" / "comma2k19_toyota"
    table = compile_dbc(folder / "toyota_new_mc_pt.dbc").table
    decoder = Decoder(table)
    index, columns = next(
        (index, [[column.signal for column in group.columns].index(name) for name in names])
        for index, group in enumerate(table.groups)
        if set(names) <= {column.signal for column in group.columns}
    )
    definition = table.groups[index].definition(0, "can0", table.dbc_hash, {})
    times, values = [], [[] for _ in names]
    for lot in LogReader(folder / "can0.log").lots():
        decoded = decoder.decode(lot)
        assert lot.size == decoded.counts.decoded + sum(decoded.counts.drops.values())
        for group in decoded.groups:
            if group.index == index:
                times.append(group.t_us)
                for which, column in enumerate(columns):
                    values[which].append(physical(definition.columns[column], group.raw[column]))
    return np.concatenate(times), [np.concatenate(parts) for parts in values]


def expected(path: Path) -> list[list[float]]:
    with path.open() as file:
        return [[float(text) for text in row] for row in list(csv.reader(file))[1:]]


@pytest.mark.data
def test_the_wheel_speeds_of_the_drive_are_those_comma_ai_published(test_data: Path) -> None:
    rows = expected(test_data / "can" / "comma2k19_toyota" / "expected_wheel_speed.csv")
    t_us, wheels = series(test_data, [f"WHEEL_SPEED_{wheel}" for wheel in ("FL", "FR", "RL", "RR")])
    assert len(rows) == len(t_us) == 4_974
    ours = np.array(wheels).T / 3.6
    assert np.abs(ours - np.array(rows)[:, 1:]).max() <= 5e-8
    assert np.abs(t_us / 1e6 - np.array(rows)[:, 0]).max() <= 1e-4


@pytest.mark.data
def test_the_steering_angle_of_the_drive_is_the_one_comma_ai_published(test_data: Path) -> None:
    rows = expected(test_data / "can" / "comma2k19_toyota" / "expected_steering_angle.csv")
    _, (angle, fraction) = series(test_data, ["STEER_ANGLE", "STEER_FRACTION"])
    assert len(rows) == len(angle) == 4_974
    assert [round(float(value), 6) for value in angle + fraction] == [row[1] for row in rows]
