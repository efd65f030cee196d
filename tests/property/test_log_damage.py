"""Damaged logs of every form: what is readable is read, what is not is counted, and no traceback ends it."""

import itertools
import json
import random
from pathlib import Path

import can
import pytest
from typer.testing import CliRunner

from device.adapters.log_files import LogError, LogFault, LogReader
from device.agent.replay_log import DriveLog, place, survey
from device.decode_cli import app
from device.events import FramesReceived
from tests.builders.logs import Frame, frames_of, log_bytes, messages, suffix_of

FORMS = ["log", "terminal", "asc", "trc", "csv", "gvret", "busmaster", "blf"]
TEXTS = FORMS[:-1]
FRAMES = 60
START_US = 1_795_507_200_000_000  # 2026-11-24T08:00:00Z

# Every recording of CAN traffic in the test data; the largest are read from their beginning, which is enough
# of them: what is damaged is damaged there.
RECORDINGS = [
    "comma2k19_toyota/can0.log",
    "crysys_attacks/S-1-1-benign.log",
    "crysys_attacks/S-1-1-malicious-CONST-msg-mod-0x410-0.4-0.6.log",
    "crysys_attacks/S-1-1-orig.csv",
    "css_mf4/gnss_uds_64s.mf4",
    "css_mf4/j1939_186s.mf4",
    "css_mf4/j1939_402s_150k_frames.mf4",
    "css_mf4/nmea2000_60s.mf4",
    "css_mf4/obd2_gnss_45s.mf4",
    "css_mf4/uds_kona_299s.mf4",
    "formats_python_can/issue_1256.asc",
    "formats_python_can/issue_1299.asc",
    "formats_python_can/logfile.asc",
    "formats_python_can/logfile_errorframes.asc",
    "formats_python_can/single_frame_us_locale.asc",
    "formats_python_can/test_CanErrorFrameExt.blf",
    "formats_python_can/test_CanFdMessage.asc",
    "formats_python_can/test_CanFdMessage.blf",
    "formats_python_can/test_CanFdMessage64.blf",
    "formats_python_can/test_CanFdRemoteMessage.asc",
    "formats_python_can/test_CanMessage.asc.gz",
    "formats_python_can/test_CanMessage.blf",
    "formats_python_can/test_CanMessage2.blf",
    "formats_python_can/test_CanMessage_V1_0_BUS1.trc",
    "formats_python_can/test_CanMessage_V1_3.trc",
    "formats_python_can/test_CanMessage_V2_0_BUS1.trc",
    "formats_python_can/test_CanRemoteMessage.asc",
    "icsim/sample-can.log",
    "j1939_snippets/candump.log",
    "j1939_snippets/test_dm1.log",
    "j1939_snippets/test_mfr_spec.log",
    "j1939_snippets/test_requests.log",
    "savvycan/BusMasterLog.log",
    "savvycan/CarBusAnalyzer.trc",
    "savvycan/candump.log",
]


def read(path: Path, content: bytes) -> tuple[list[Frame], LogReader | None]:
    """Return the frames of a log with this content; none and no reader when it is refused in words."""
    path.write_bytes(content)
    reader = LogReader(path)
    try:
        return frames_of(reader.lots()), reader
    except LogError:
        return [], None


def damaged(content: bytes, rng: random.Random) -> bytes:
    """Return content with one thing done to it that happens to files."""
    data, place = bytearray(content), rng.randrange(len(content))
    match rng.choice(["cut", "flip", "flips", "double", "zeros", "gap"]):
        case "cut":
            return bytes(data[:place])
        case "flip":
            data[place] ^= 1 << rng.randrange(8)
        case "flips":
            for _ in range(30):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case "double":
            return content + content
        case "zeros":
            data[place : place + 512] = bytes(len(data[place : place + 512]))
        case "gap":
            del data[place : place + rng.randrange(1, 5_000)]
    return bytes(data)


@pytest.mark.parametrize("form", FORMS)
def test_a_log_reads_as_it_was_written(tmp_path: Path, form: str) -> None:
    made = messages(FRAMES)
    frames, reader = read(tmp_path / f"whole{suffix_of(form)}", log_bytes(form, made, tmp_path))
    assert reader is not None
    assert reader.errors.count == 0
    assert [(frame[2] & 0x1FFF_FFFF, frame[4]) for frame in frames] == [
        (message.arbitration_id, bytes(message.data)) for message in made
    ]
    steps = [later[1] - earlier[1] for earlier, later in itertools.pairwise(frames)]
    assert set(steps) == {1_000}


@pytest.mark.parametrize("form", FORMS)
def test_a_log_cut_anywhere_keeps_all_before_the_cut(tmp_path: Path, form: str) -> None:
    content = log_bytes(form, messages(FRAMES), tmp_path)
    path = tmp_path / f"cut{suffix_of(form)}"
    whole, _ = read(path, content)
    before = 0
    for stop in (*range(0, len(content), 59), len(content)):
        frames, reader = read(path, content[:stop])
        # The last line may have been cut where it still reads as a shorter one; that is noted.
        sure = frames if frames == whole[: len(frames)] else frames[:-1]
        assert sure == whole[: len(sure)]
        assert len(frames) - len(sure) == 0 or (reader is not None and reader.notes)
        assert len(sure) >= before - 1
        before = max(before, len(sure))
        assert reader is None or reader.errors.count <= 1
        if reader is not None and reader.errors.count:
            assert reader.errors.is_torn
    assert before == FRAMES


@pytest.mark.parametrize("form", TEXTS)
def test_a_flipped_bit_costs_a_text_its_line_and_no_other(tmp_path: Path, form: str) -> None:
    content = log_bytes(form, messages(FRAMES), tmp_path)
    path = tmp_path / f"flipped{suffix_of(form)}"
    whole, _ = read(path, content)
    data_start = content.index(b"\n", len(content) // 4)  # headings may date or measure all lines
    rng = random.Random(form)
    for _ in range(40):
        data, place = bytearray(content), rng.randrange(data_start, len(content))
        data[place] ^= 1 << rng.randrange(8)
        frames, reader = read(path, bytes(data))
        assert reader is not None
        missing = set(whole) - set(frames)
        assert len(missing) <= 2, "a line end that is gone makes two lines one"
        assert len(frames) >= FRAMES - 2
        has_made_a_comment = data[place] in b";"
        if len(frames) < FRAMES and not has_made_a_comment:
            assert reader.errors.count >= 1


@pytest.mark.parametrize("level", [-1, 0])
def test_a_damaged_blf_loses_its_container_and_makes_no_frames_up(tmp_path: Path, level: int) -> None:
    path = tmp_path / "damaged.blf"
    with can.BLFWriter(path, compression_level=level, max_container_size=4_096) as writer:
        for message in messages(2_000):
            writer.on_message_received(message)
    content = path.read_bytes()
    whole, _ = read(path, content)
    rng = random.Random(level)
    for _ in range(40):
        data, place = bytearray(content), rng.randrange(144, len(content))
        data[place] ^= 1 << rng.randrange(8)
        frames, reader = read(path, bytes(data))
        assert reader is not None
        assert len(frames) >= len(whole) - 200, (
            "a container has a hundred frames, and its neighbour shares one"
        )
        assert len(set(frames) - set(whole)) <= 1, "an unpacked byte may be one of a frame"
        if len(frames) < len(whole) and level:
            assert reader.errors.count >= 1


@pytest.mark.data
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_damaged_recording_never_ends_in_a_traceback(test_data: Path, tmp_path: Path, name: str) -> None:
    content = (test_data / "can" / name).read_bytes()[:40_000]
    rng = random.Random(name)
    for number in range(5):
        frames, reader = read(tmp_path / f"{number}-{Path(name).name}", damaged(content, rng))
        assert len(frames) <= len(content), "damage makes no frames"
        assert reader is None or reader.format is not None


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_recording_damaged_in_many_ways_is_read_as_far_as_it_goes(
    test_data: Path, tmp_path: Path, name: str
) -> None:
    content = (test_data / "can" / name).read_bytes()[:400_000]
    path = tmp_path / Path(name).name
    rng = random.Random(name)
    for _ in range(60 if len(content) < 100_000 else 25):
        read(path, damaged(content, rng))
    whole, _ = read(path, content)
    doubled, _ = read(path, content + content)
    assert len(doubled) >= len(whole)


@pytest.mark.data
@pytest.mark.parametrize("name", ["gnss_uds_64s.mf4", "j1939_186s.mf4", "uds_kona_299s.mf4"])
def test_a_flipped_byte_among_the_records_costs_an_mf4_four_frames_at_most(
    test_data: Path, tmp_path: Path, name: str
) -> None:
    content = (test_data / "can" / "css_mf4" / name).read_bytes()[:60_000]
    path = tmp_path / name
    whole, _ = read(path, content)
    rng = random.Random(name)
    for _ in range(25):
        data = bytearray(content)
        data[rng.randrange(15_000, len(data))] = rng.randrange(256)
        frames, reader = read(path, bytes(data))
        assert reader is not None
        assert len(frames) >= len(whole) - 4
        if len(frames) < len(whole):
            assert reader.errors.count >= 1
        changed = set(frames) - set(whole)
        assert len(changed) <= 1, "no other frame is given another's bytes"


@pytest.mark.data
@pytest.mark.parametrize("name", ["gnss_uds_64s.mf4", "j1939_186s.mf4", "obd2_gnss_45s.mf4"])
def test_an_mf4_cut_anywhere_keeps_all_before_the_cut(test_data: Path, tmp_path: Path, name: str) -> None:
    content = (test_data / "can" / "css_mf4" / name).read_bytes()
    path = tmp_path / name
    whole = set(read(path, content)[0])
    before = 0
    for part in range(1, 14):
        frames, reader = read(path, content[: len(content) * part // 13])
        assert set(frames) <= whole
        assert len(frames) >= before
        before = len(frames)
        if reader is not None and reader.errors.count:
            assert reader.errors.is_torn
    assert before == len(whole)


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", RECORDINGS)
def test_the_command_ends_a_damaged_recording_in_one_of_its_codes(
    test_data: Path, tmp_path: Path, name: str
) -> None:
    content = (test_data / "can" / name).read_bytes()[:60_000]
    path, out = tmp_path / Path(name).name, tmp_path / "out.jsonl"
    dbc = test_data / "can" / "css_mf4" / "dbc" / "CSS-Electronics-SAE-J1939-DEMO.dbc"
    rng = random.Random(name)
    for _ in range(4):
        path.write_bytes(damaged(content, rng))
        out.unlink(missing_ok=True)
        command = ["--dbc", str(dbc), "--log", str(path), "--out", str(out), "--json"]
        done = CliRunner().invoke(app, command, catch_exceptions=False)
        assert done.exit_code in {0, 2, 3}
        assert out.exists() == (done.exit_code != 2)
        if out.exists():
            account = json.loads(done.stdout)
            assert account["frames"] == account["decoded"] + sum(account["drops"].values())
            assert account["rows"] == len(out.read_text().splitlines())
        else:
            assert "Next step: " in done.stderr
        assert not list(tmp_path.glob("*.partial"))


@pytest.mark.data
@pytest.mark.slow
@pytest.mark.parametrize("name", RECORDINGS)
def test_a_replay_feeds_or_counts_every_frame_of_a_damaged_recording(
    test_data: Path, tmp_path: Path, name: str
) -> None:
    content = (test_data / "can" / name).read_bytes()[:80_000]
    path = tmp_path / Path(name).name
    rng = random.Random(name)
    for _ in range(6):
        frames, _ = read(path, damaged(content, rng))
        if not frames:
            continue
        found = survey(path, bus=frames[0][0], is_known=lambda ids: ids >= 0)
        drive = DriveLog(LogReader(path), None, place(found, start_us=START_US, nmea=None, now_us=START_US))
        fed = sum(item.event.lot.size for item in drive if isinstance(item.event, FramesReceived))
        causes = drive.log_errors.by_cause
        left_out = sum(
            causes[cause].count for cause in (LogFault.ODD_TIME, LogFault.BEFORE_START) if cause in causes
        )
        assert fed + left_out == len(frames)
