"""MF4 logs in the forms that tools write: packed, transposed, in lists, with payloads apart, unfinished."""

from __future__ import annotations

import io
import itertools
import struct
import warnings
from typing import TYPE_CHECKING

import can
import numpy as np
import pytest
from asammdf import MDF, Signal

from device.adapters.log_errors import LogErrors, LogFault
from device.adapters.log_files import LogClock, LogError, LogReader
from device.adapters.mf4_blocks import Mf4DamageError
from device.adapters.mf4_log import Mf4Log
from tests.builders.logs import Frame, frames_of, messages

if TYPE_CHECKING:
    from pathlib import Path

FRAMES = 3_000


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A log as python-can writes it: data, error and remote frames, each kind in a group of its own."""
    path = tmp_path_factory.mktemp("mf4") / "written.mf4"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with can.Logger(path) as logger:
            for number, message in enumerate(messages(FRAMES)):
                match number % 100:
                    case 50:
                        remote = can.Message(
                            timestamp=message.timestamp, arbitration_id=7, is_remote_frame=True, dlc=3
                        )
                        logger.on_message_received(remote)
                    case 70:
                        error = can.Message(timestamp=message.timestamp, is_error_frame=True)
                        logger.on_message_received(error)
                    case _:
                        logger.on_message_received(message)
    return path


def read(path: Path) -> tuple[list[Frame], LogReader]:
    reader = LogReader(path)
    frames = frames_of(reader.lots())
    assert reader.bytes_read == reader.bytes_total
    return frames, reader


def saved(written: Path, folder: Path, compression: int) -> Path:
    """The same log as asammdf saves it: 0 plain, 1 packed, 2 packed and transposed."""
    path = folder / "saved.mf4"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with MDF(written) as mdf:
            mdf.configure(write_fragment_size=16_384)
            mdf.save(path, compression=compression, overwrite=True)
    return path


def test_groups_are_merged_by_time(written: Path) -> None:
    frames, reader = read(written)
    times = [frame[1] for frame in frames]
    assert len(frames) == FRAMES
    assert times == sorted(times)
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {1_000}
    assert reader.errors.count == 0
    assert reader.clock is LogClock.HEADER_DATE, "python-can writes local time and says so"


@pytest.mark.parametrize("compression", [0, 1, 2])
def test_plain_packed_and_transposed_blocks_hold_the_same_frames(
    written: Path, tmp_path: Path, compression: int
) -> None:
    frames, reader = read(saved(written, tmp_path, compression))
    assert sorted(frames) == sorted(read(written)[0])
    assert reader.errors.count == 0


def test_a_damaged_packed_block_costs_its_records_and_no_others(written: Path, tmp_path: Path) -> None:
    path = saved(written, tmp_path, 1)
    whole, content = set(read(path)[0]), bytearray(path.read_bytes())
    blocks = [place for place in range(len(content)) if content[place : place + 4] == b"##DZ"]
    assert len(blocks) > 5, "a list of blocks"
    start = blocks[3] + 24 + 24 + 200
    content[start : start + 40] = bytes(40)
    path.write_bytes(content)
    frames, reader = read(path)
    assert set(frames) <= whole
    assert len(whole) * 0.7 < len(frames) < len(whole)
    assert LogFault.DAMAGED in reader.errors.by_cause


def test_lists_in_a_circle_end(written: Path, tmp_path: Path) -> None:
    path = saved(written, tmp_path, 1)
    content = bytearray(path.read_bytes())
    place = content.index(b"##DL")
    links = struct.unpack_from("<Q", content, place + 16)[0]
    for link in range(links):  # the list names itself as the next one, and one block again and again
        struct.pack_into("<Q", content, place + 24 + 8 * link, place if link == 0 else place + 1_000)
    path.write_bytes(content)
    try:
        frames, reader = read(path)
    except LogError:
        return
    assert len(frames) < FRAMES
    assert reader.errors.count >= 1


def test_a_block_that_claims_to_unpack_to_gigabytes_is_refused(written: Path, tmp_path: Path) -> None:
    path = saved(written, tmp_path, 1)
    content = bytearray(path.read_bytes())
    struct.pack_into("<Q", content, content.index(b"##DZ") + 24 + 8, 1 << 40)
    path.write_bytes(content)
    frames, reader = read(path)
    assert len(frames) < FRAMES
    assert any("packed block" in count.first for count in reader.errors.by_cause.values())


@pytest.mark.parametrize("content", [b"", b"MDF     3.30", b"MDF     4.10" + bytes(52), b"PK" * 500])
def test_what_is_no_mf4_is_said_so(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.mf4"
    path.write_bytes(content)
    with pytest.raises(LogError, match="not a readable MF4 log"):
        list(LogReader(path).lots())


def test_measured_signals_are_no_can_frames_and_that_is_said(tmp_path: Path) -> None:
    path = tmp_path / "measured.mf4"
    with MDF(version="4.10") as mdf:
        mdf.append([Signal(np.arange(5), np.arange(5) / 10, name="Speed")])
        mdf.save(path)
    with pytest.raises(LogError, match="no channel CAN_DataFrame"):
        list(LogReader(path).lots())


def test_a_bus_log_without_frames_is_an_empty_log(tmp_path: Path) -> None:
    path = tmp_path / "empty.mf4"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        can.Logger(path).stop()
    assert read(path)[0] == []


def test_links_in_every_field_of_the_header_may_be_wrong(written: Path) -> None:
    content = written.read_bytes()
    for place in range(64, 700, 4):
        data = bytearray(content)
        data[place : place + 8] = b"\xff" * 8
        errors = LogErrors()
        try:
            count = sum(lot.size for lot in Mf4Log(io.BytesIO(bytes(data)), len(data), errors).lots())
        except Mf4DamageError:
            continue
        assert count <= FRAMES
