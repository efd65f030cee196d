"""Real DBC files and a real drive: cantools' values and types, and comma.ai's wheel speeds."""

import csv
import logging
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cantools
import numpy as np
import pytest
from cantools.database.can import Database
from cantools.j1939 import pgn_from_frame_id

from device.acquisition.decode import Decoder
from device.acquisition.flat import FlatDecoder
from device.acquisition.lot import EXTENDED
from device.adapters.log_files import LogReader
from device.dbc_compiler import compile_dbc
from device.dbc_file import DbcError, load_database
from protocol.batch import DropCause
from protocol.limits import DBC_BYTES_MAX
from protocol.signals import physical
from tests.builders.can import (
    Oracle,
    dbc_files,
    flat_values_by_frame,
    frames_for,
    is_sound,
    lot_of,
    same,
    values_by_frame,
    with_odd_lengths,
)

# Refused by cantools 45 even when lenient, as the recordings' own README says, and what is read of them here.
REFUSED_BY_CANTOOLS = {
    "from_sym_test.dbc": 27,
    "issue_138.sym": None,
    "issue_199_extended.dbc": 10,
    "jopp-5.0.sym": None,
    "tesla_can.dbc": 44,
}
# Wider than a 64-bit word: left out with a finding.
TOO_WIDE = {("Message7", "Signal1"), ("Message8", "Signal1")}


def as_cantools_reads(path: Path) -> Database:
    """Return the file without our hands on it."""
    encoding = "utf-8" if path.suffix == ".kcd" else "cp1252"
    text = path.read_bytes().decode(encoding, errors="replace")
    logging.getLogger("cantools").setLevel(logging.ERROR)
    database = cantools.database.load_string(text, path.suffix.lower()[1:], strict=False)
    assert isinstance(database, Database)
    return database


def assert_equal(path: Path, database: Database, *, frames: int) -> int:
    """Compare random frames of every message with cantools; return how many values were compared."""
    table = compile_dbc(path).table
    oracle = Oracle(database)
    rng = random.Random(path.name)
    lot = frames_for(database, rng, max(frames, 2 * len(database.messages)))
    compared = 0
    for rows in (lot, with_odd_lengths(lot, rng)):
        decoded = Decoder(table).decode(lot_of(rows))
        ours, flat = values_by_frame(table, decoded), flat_values_by_frame(table, lot_of(rows))
        in_part = flat_values_by_frame(table, lot_of(rows), keeps_short=True)
        n_short = 0
        for number, can_id, payload in rows:
            message = oracle.message(can_id)
            theirs = {}
            if len(payload) < message.length:
                n_short += 1
                assert in_part.get(number, {}).keys() <= {signal.name for signal in message.signals}
                if not message.is_multiplexed() and is_sound(message):
                    theirs = message.decode(payload, decode_choices=False, allow_truncated=True)
                    assert same(in_part.get(number, {}), theirs), f"{path.name}: {message.name}"
                theirs = {}
            else:
                theirs = {
                    name: value
                    for name, value in oracle.values(can_id, payload[: message.length]).items()
                    if (message.name, name) not in TOO_WIDE
                }
            assert same(ours.get(number, {}), theirs), f"{path.name}: {message.name} {payload.hex()}"
            assert same(flat.get(number, {}), theirs), f"{path.name}: {message.name} {payload.hex()}"
            compared += len(theirs)
        assert decoded.counts.decoded == len(rows) - n_short
        assert decoded.counts.drops == ({DropCause.SHORT: n_short} if n_short else {})
        assert FlatDecoder(table).decode(lot_of(rows)).drops == decoded.counts.drops
    return compared


def test_our_own_dbc_decodes_as_cantools_does() -> None:
    path = Path("dbc/tbox_demo.dbc")
    assert assert_equal(path, as_cantools_reads(path), frames=3_000) > 9_000


def every_dbc(test_data: Path, frames: int, below_bytes: int) -> tuple[dict[str, int], dict[str, int | None]]:
    """Return the values compared by file, and the messages read of each file that cantools refuses."""
    compared: dict[str, int] = {}
    refused: dict[str, int | None] = {}
    for path in (path for path in dbc_files(test_data) if path.stat().st_size < below_bytes):
        try:
            database = as_cantools_reads(path)
        except cantools.Error:
            try:
                refused[path.name] = len(compile_dbc(path).table.messages)
            except DbcError:
                refused[path.name] = None
        else:
            compared[str(path.relative_to(test_data))] = assert_equal(path, database, frames=frames)
    return compared, refused


@pytest.mark.data
def test_every_dbc_of_usual_size_decodes_as_cantools_does(test_data: Path) -> None:
    compared, refused = every_dbc(test_data, frames=40, below_bytes=100_000)
    assert refused == REFUSED_BY_CANTOOLS
    assert len(compared) == 98
    assert sum(compared.values()) > 25_000


@pytest.mark.data
@pytest.mark.slow
def test_every_dbc_that_cantools_loads_decodes_as_cantools_does_for_very_many_frames(
    test_data: Path, record_property: Callable[[str, object], None]
) -> None:
    compared, refused = every_dbc(test_data, frames=1_500, below_bytes=DBC_BYTES_MAX)
    record_property("values_compared", str(compared))
    assert refused == REFUSED_BY_CANTOOLS
    assert len(compared) == 103
    assert sum(count > 0 for count in compared.values()) == 89  # the others have no signals
    assert sum(compared.values()) > 750_000


@pytest.mark.data
@pytest.mark.parametrize("name", sorted(name for name in REFUSED_BY_CANTOOLS if name.endswith(".dbc")))
def test_what_cantools_refuses_and_we_read_decodes_as_cantools_decodes_the_rest(
    test_data: Path, name: str
) -> None:
    path = next(path for path in dbc_files(test_data) if path.name == name)
    database, findings = load_database(path, path.read_bytes())
    assert findings
    assert assert_equal(path, database, frames=500) > 1_000


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


@pytest.mark.data
def test_a_recorded_truck_decodes_by_parameter_group_as_cantools_decodes_its_messages(
    test_data: Path,
) -> None:
    folder = test_data / "can" / "css_mf4"
    path = folder / "dbc" / "CSS-Electronics-SAE-J1939-DEMO.dbc"
    table, database = compile_dbc(path).table, as_cantools_reads(path)
    by_group = {pgn_from_frame_id(message.frame_id): message for message in database.messages}
    decoder, n_decoded = Decoder(table), 0
    for lot in LogReader(folder / "j1939_186s.mf4").lots():
        numbered = replace(lot, t_us=np.arange(lot.size))
        decoded = decoder.decode(numbered)
        ours = values_by_frame(table, decoded)
        n_decoded += decoded.counts.decoded
        for number, (can_id, length) in enumerate(zip(lot.can_id.tolist(), lot.length.tolist(), strict=True)):
            message = by_group.get(pgn_from_frame_id(can_id & ~EXTENDED)) if can_id & EXTENDED else None
            theirs = {}
            if message is not None and length >= message.length:
                payload = lot.data[number].tobytes()[: message.length]
                theirs = message.decode(payload, decode_choices=False)
            assert same(ours.get(number, {}), theirs)
    assert n_decoded == 761
