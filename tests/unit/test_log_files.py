"""CAN logs: what can be read is read, exactly; what cannot is counted with its place."""

import random
import struct
import tempfile
from pathlib import Path

import can
import pytest
from hypothesis import given
from hypothesis import strategies as st

from device.acquisition.lot import EXTENDED, FrameFlag
from device.adapters.candump import parse_lines
from device.adapters.log_files import LogError, LogFault, LogReader
from protocol.limits import LOG_BUSES_MAX, LOG_LINE_BYTES_MAX, LOT_FRAMES_MAX
from tests.builders.logs import Frame, frames_of


def read(path: Path) -> tuple[list[Frame], LogReader]:
    reader = LogReader(path)
    frames = frames_of(reader.lots())
    assert reader.bytes_read == reader.bytes_total == path.stat().st_size
    return frames, reader


def log(tmp_path: Path, content: bytes | str, name: str = "drive.log") -> Path:
    path = tmp_path / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_every_form_of_a_candump_line_is_read(tmp_path: Path) -> None:
    frames, reader = read(
        log(
            tmp_path,
            "(1543509533.000838) can0 123#0102\n"
            "(1543509533.000839) can1 00000123#0102030405060708\n"
            "(1543509533.000840) can0 7FF#\n"
            "(1543509533.000841) can0 123#R\n"
            "(1543509533.000842) can0 1FFFFFFF#R8\n"
            "(1543509533.000843) can0 20000004#0000000000000000\n"
            "(1543509533.000844) can0 123##1" + "AB" * 64 + "\n"
            "(1543509533.000845) can0 123#11.22.33\n"
            "(1543509533.000846) can0 123#1122334455667788_9\n"
            "(1543509533.000847) can0 12a#ff False\tFalse\r\n"
            "(1543509533.000848) can0 123#01 R\n"
            "2 (6.000000) can0 123#01\n"
            " (6.250000)  can1  18FEF100   [8]  11 22 33 44 55 66 77 88   '.\"3DUfw.'\n"
            " (6.300000)  can0  TX - -  123   [2]  11 22\n"
            " (6.400000)  can0  123   [0]  remote request\n"
            " (6.500000)  can0  123  [12]  00 01 02 03 04 05 06 07 08 09 0A 0B\n"
            "(7.5) can0 123#01\n"
            "(7.123456789) can0 123#01",
        )
    )
    start = 1_543_509_533_000_000
    assert sorted(frames, key=lambda frame: frame[1]) == [
        ("can0", 6_000_000, 0x123, 0, b"\1"),
        ("can1", 6_250_000, 0x18FEF100 | EXTENDED, 0, bytes.fromhex("1122334455667788")),
        ("can0", 6_300_000, 0x123, 0, b"\x11\x22"),
        ("can0", 6_400_000, 0x123, FrameFlag.REMOTE, b""),
        ("can0", 6_500_000, 0x123, FrameFlag.FD, bytes(range(12))),
        ("can0", 7_123_456, 0x123, 0, b"\1"),
        ("can0", 7_500_000, 0x123, 0, b"\1"),
        ("can0", start + 838, 0x123, 0, b"\1\2"),
        ("can1", start + 839, 0x123 | EXTENDED, 0, bytes(range(1, 9))),
        ("can0", start + 840, 0x7FF, 0, b""),
        ("can0", start + 841, 0x123, FrameFlag.REMOTE, b""),
        ("can0", start + 842, 0x1FFFFFFF | EXTENDED, FrameFlag.REMOTE, b""),
        ("can0", start + 843, 4 | EXTENDED, FrameFlag.ERROR, bytes(8)),
        ("can0", start + 844, 0x123, FrameFlag.FD, b"\xab" * 64),
        ("can0", start + 845, 0x123, 0, b"\x11\x22\x33"),
        ("can0", start + 846, 0x123, 0, bytes.fromhex("1122334455667788")),
        ("can0", start + 847, 0x12A, 0, b"\xff"),
        ("can0", start + 848, 0x123, 0, b"\1"),
    ]
    assert reader.errors.count == 0


@pytest.mark.parametrize(
    "line",
    [
        "(1.0) can0 123#0",
        "(1.0) can0 123#010203040506070809",
        "(1.0) can0 123##1" + "00" * 65,
        "(1.0) can0 8FF#00",
        "(1.0) can0 C0000000#00",
        "(1.0) can0 1234#00",
        "(1.0) can0 12G#00",
        "(1.000000) can0 123#0G",
        "(1.00000x) can0 123#00",
        "(-1.000000) can0 123#00",
        "(1.000000) can0 123#00junk",
        "(1.000000) can0",
        "(1.0000",
        " (1.000000)  can0  123   [3]  11 22",
        " (1.000000)  can0  123   [9]  11 22 33 44 55 66 77 88 99",
        "x" * (LOG_LINE_BYTES_MAX + 1),
    ],
)
def test_a_line_that_is_no_frame_costs_only_itself(tmp_path: Path, line: str) -> None:
    good = "(1.000000) can0 123#00\n"
    frames, reader = read(log(tmp_path, f"{good}{good}{line}\n{good}"))
    assert len(frames) == 3
    assert reader.errors.count == 1
    assert reader.errors.first[0].startswith("line 3 ")


def test_a_torn_last_line_is_counted_with_its_number(tmp_path: Path) -> None:
    frames, reader = read(log(tmp_path, "(1.000000) can0 123#0011\n" * 20_000 + "(1.0000"))
    assert len(frames) == 20_000
    assert reader.errors.first == ["line 20001 is no candump frame: '(1.0000'"]
    assert reader.errors.is_torn


def test_blank_lines_and_an_empty_log_are_no_errors(tmp_path: Path) -> None:
    assert read(log(tmp_path, ""))[1].errors.count == 0
    frames, reader = read(log(tmp_path, "\n\r\n(1.000000) can0 123#00\n\n"))
    assert (len(frames), reader.errors.count) == (1, 0)


def test_only_the_first_errors_are_kept_in_words(tmp_path: Path) -> None:
    _, reader = read(log(tmp_path, "(1.000000) can0 123#00\n" + "junk\n" * 1_000))
    assert (reader.errors.count, len(reader.errors.first)) == (1_000, 5)


def test_lots_are_bounded_and_progress_grows(tmp_path: Path) -> None:
    reader = LogReader(log(tmp_path, "(1.000000) can0 123#0011\n" * (3 * LOT_FRAMES_MAX)))
    progress = [reader.bytes_read for _ in reader.lots()]
    assert len(progress) >= 3
    assert progress == sorted(progress)
    assert len(set(progress)) >= 3


def test_buses_without_end_do_not_fill_the_memory(tmp_path: Path) -> None:
    frames, reader = read(
        log(tmp_path, "".join(f"(1.000000) bus{number % 1_000} 123#00\n" for number in range(3_000)))
    )
    assert len({frame[0] for frame in frames}) == LOG_BUSES_MAX
    assert (
        reader.errors.by_cause[LogFault.IMPOSSIBLE].count
        == 3_000 - len(frames)
        == 3 * (1_000 - LOG_BUSES_MAX)
    )


def test_a_line_without_end_does_not_fill_the_memory(tmp_path: Path) -> None:
    frames, reader = read(
        log(tmp_path, b"(1.000000) can0 123#00\n" + b"A" * 5_000_000 + b"\n(2.000000) can0 123#01\n")
    )
    assert [frame[4] for frame in frames] == [b"\0", b"\1"]
    assert reader.errors.count == 1


@pytest.mark.parametrize("content", ["PK\3\4", "{}\n" * 9, "\n\n0.1 123 8 00\n", "\0" * 100_000])
def test_what_is_no_log_is_said_so_with_what_is(tmp_path: Path, content: str) -> None:
    with pytest.raises(LogError, match=r"not a CAN log of a known form: line [13] ") as raised:
        list(LogReader(log(tmp_path, content)).lots())
    assert "Give one of: candump, Vector .asc" in raised.value.diagnostics()


def test_a_missing_file_and_a_folder_are_named(tmp_path: Path) -> None:
    with pytest.raises(LogError, match="No such file"):
        LogReader(tmp_path / "gone.log")
    with pytest.raises(LogError, match="directory"):
        LogReader(tmp_path)


@given(st.integers(0, 2**32))
def test_lines_in_any_mixture_read_as_python_can_writes_them(seed: int) -> None:
    rng = random.Random(seed)
    lines, expected = [], []
    for _ in range(60):
        t_us = rng.choice([rng.randrange(10**7), rng.randrange(10**16)])
        is_extended = rng.random() < 0.4
        can_id = rng.randrange(1 << (29 if is_extended else 11))
        payload = rng.randbytes(rng.choice([0, 1, 4, 8, 8, 8]))
        bus = rng.choice(["can0", "can1", "vcan0"])
        digits = f"{can_id:08X}" if is_extended else f"{can_id:03X}"
        text = payload.hex() if rng.random() < 0.3 else payload.hex().upper()
        lines.append(f"({t_us // 10**6}.{t_us % 10**6:06d}) {bus} {digits}#{text}".encode())
        expected.append((bus, t_us, can_id | (EXTENDED if is_extended else 0), payload))
    parsed = parse_lines(lines)
    assert parsed.is_frame.all()
    rows = zip(parsed.bus, parsed.t_us, parsed.can_id, parsed.length, parsed.data, strict=True)
    assert [
        (parsed.bus_names[bus], int(t_us), int(can_id), data[:length].tobytes())
        for bus, t_us, can_id, length, data in rows
    ] == expected


MESSAGES = [
    can.Message(
        timestamp=1.000001 + number, arbitration_id=identifier, data=payload, is_extended_id=extended, **more
    )
    for number, (identifier, payload, extended, more) in enumerate(
        [
            (0x123, b"\1\2", False, {}),
            (0x123, b"\1\2\3\4\5\6\7\x08", True, {}),
            (0x7FF, bytes(range(64)), False, {"is_fd": True}),
            (0x100, None, False, {"is_remote_frame": True, "dlc": 4}),
        ]
    )
]
EXPECTED = [
    (0x123, 0, b"\1\2"),
    (0x123 | EXTENDED, 0, b"\1\2\3\4\5\6\7\x08"),
    (0x7FF, FrameFlag.FD, bytes(range(64))),
    (0x100, FrameFlag.REMOTE, b""),
]


@pytest.mark.parametrize("suffix", [".asc", ".blf", ".log", ".csv"])
def test_what_python_can_writes_is_read_back(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"written{suffix}"
    with can.Logger(path) as logger:
        for message in MESSAGES:
            logger.on_message_received(message)
    frames, reader = read(path)
    assert [(can_id, flags, payload) for _, _, can_id, flags, payload in frames] == EXPECTED
    assert reader.errors.count == 0
    times = [frame[1] for frame in frames]
    assert [t_us - times[0] for t_us in times] == [0, 1_000_000, 2_000_000, 3_000_000]


@given(st.integers(0, 2**32))
def test_runs_and_single_objects_of_a_blf_read_alike(seed: int) -> None:
    rng = random.Random(seed)
    made = []
    for number in range(rng.choice([10, 40, 400])):
        is_fd, is_extended = rng.random() < 0.03, rng.random() < 0.5
        made.append(
            can.Message(
                timestamp=1_700_000_000 + number / 1_000,
                arbitration_id=rng.randrange(1 << (29 if is_extended else 11)),
                is_extended_id=is_extended,
                is_fd=is_fd,
                is_remote_frame=not is_fd and rng.random() < 0.05,
                data=rng.randbytes(rng.choice([0, 3, 8])),
                channel=rng.choice([0, 0, 0, 1]),
            )
        )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mixed.blf"
        with can.BLFWriter(path, max_container_size=rng.choice([500, 100_000])) as writer:
            for message in made:
                writer.on_message_received(message)
        frames, reader = read(path)
    assert reader.errors.count == 0
    expected = [
        (
            f"can{message.channel}",
            round(message.timestamp * 1e6),
            message.arbitration_id | (EXTENDED if message.is_extended_id else 0),
            (FrameFlag.REMOTE if message.is_remote_frame else 0) | (FrameFlag.FD if message.is_fd else 0),
            b"" if message.is_remote_frame else bytes(message.data),
        )
        for message in made
    ]
    for bus in ("can0", "can1"):
        assert [frame for frame in frames if frame[0] == bus] == [one for one in expected if one[0] == bus]


def test_a_torn_blf_gives_what_was_whole_and_one_error(tmp_path: Path) -> None:
    path = tmp_path / "torn.blf"
    with can.BLFWriter(path, compression_level=0, max_container_size=200) as writer:
        for number in range(100):
            writer.on_message_received(can.Message(timestamp=number, arbitration_id=0x123, data=bytes(8)))
    whole = len(read(path)[0])
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    frames, reader = read(path)
    assert 0 < len(frames) < whole == 100
    assert reader.errors.is_torn


def test_behind_a_damaged_blf_container_reading_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "damaged.blf"
    with can.BLFWriter(path, compression_level=0, max_container_size=200) as writer:
        for number in range(100):
            writer.on_message_received(can.Message(timestamp=number, arbitration_id=0x123, data=bytes(8)))
    content = bytearray(path.read_bytes())
    middle = content.find(b"LOBJ", len(content) // 2)
    content[middle : middle + 4] = struct.pack("<I", 0)
    path.write_bytes(content)
    frames, reader = read(path)
    assert 90 < len(frames) < 100
    assert 1 <= reader.errors.count <= 2
    assert reader.errors.by_cause[LogFault.DAMAGED].first.startswith("damaged object ")


def test_an_asc_line_that_cannot_be_read_costs_only_itself(tmp_path: Path) -> None:
    path = tmp_path / "torn.asc"
    with can.ASCWriter(path) as writer:
        for number in range(10):
            writer.on_message_received(
                can.Message(timestamp=1 + number, arbitration_id=0x123, data=bytes(8), channel=0)
            )
    lines = path.read_text().splitlines()
    lines[10] = lines[10].replace(" d 8 ", " d zz ")
    path.write_text("\n".join(lines))
    frames, reader = read(path)
    assert len(frames) == 9
    assert reader.errors.count == 1
    assert reader.errors.by_cause[LogFault.NO_FRAME].first.startswith("line 11 is no ASC frame")


@pytest.mark.parametrize("name", ["other.blf", "empty.blf"])
def test_what_is_no_blf_is_said_so(tmp_path: Path, name: str) -> None:
    content = b"" if name.startswith("empty") else b"not a BLF file at all, but long enough to be one" * 10
    with pytest.raises(LogError, match="not a readable BLF log"):
        list(LogReader(log(tmp_path, content, name)).lots())
