"""`tbox decode` from the command line to the file it writes."""

import csv
import gc
import json
import os
import random
import resource
import sys
import threading
from pathlib import Path

import can
import pytest
from pyarrow import parquet
from typer.testing import CliRunner, Result

from device.dbc_file import load_database
from device.decode_cli import app
from protocol.limits import PARQUET_GROUP_ROWS
from tests.builders.can import Oracle, dbc_text, frames_for

DBC = Path("dbc/tbox_demo.dbc")

LOG = """\
(100.000001) can0 110#0400030000
(100.000002) can0 130#1027000000000000
(100.500000) can0 18FF50E5#019A0CC80C000000
(101.000000) can0 7FF#00
(101.000001) can0 130#10
(101.000002) can0 130#R
(101.000003) can0 18FF50E5#0900000000000000
"""

CSV = """\
time_s,bus,message,signal,value,unit
100.000001,can0,IgnitionStatus,IgnitionState,4,
100.000001,can0,IgnitionStatus,StarterEngaged,0,
100.000001,can0,IgnitionStatus,DriverDoorOpen,0,
100.000001,can0,IgnitionStatus,IsLocked,0,
100.000001,can0,IgnitionStatus,IgnitionCounter,0,
100.000001,can0,IgnitionStatus,IgnitionCycles,3,
100.000002,can0,VehicleMotion,VehicleSpeed,100.0,km/h
100.000002,can0,VehicleMotion,LongitudinalAcceleration,0.0,m/s^2
100.000002,can0,VehicleMotion,YawRate,0.0,deg/s
100.000002,can0,VehicleMotion,BrakePedalPressed,0,
100.000002,can0,VehicleMotion,MotionCounter,0,
100.000002,can0,VehicleMotion,MotionChecksum,0,
100.500000,can0,HybridBattery,HybridPage,1,
100.500000,can0,HybridBattery,CellVoltageMin,3.226,V
100.500000,can0,HybridBattery,CellVoltageMax,3.2720000000000002,V
101.000003,can0,HybridBattery,HybridPage,9,
"""


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def decode(
    tmp_path: Path, log: str, *more: str, dbc: Path = DBC, out: str = "out.csv"
) -> tuple[Result, Path]:
    path = tmp_path / "drive.log"
    path.write_text(log)
    target = tmp_path / out
    return run("--dbc", dbc, "--log", path, "--out", target, *more), target


def test_the_csv_of_a_short_drive_is_this_one(tmp_path: Path) -> None:
    result, out = decode(tmp_path, LOG)
    assert result.exit_code == 0
    assert out.read_text() == CSV
    assert "7 frames, 4 decoded (57.1 %), 16 values" in result.stdout
    assert "1 frames: unknown id" in result.stdout
    assert "unknown identifiers: 0x7FF (1)" in result.stdout
    assert "1 frames have a multiplexer value that the DBC does not name" in result.stdout
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drive.log", "out.csv"]


def test_json_lines_say_the_same(tmp_path: Path) -> None:
    result, out = decode(tmp_path, LOG, out="out.jsonl")
    assert result.exit_code == 0
    lines = [json.loads(line) for line in out.read_text().splitlines()]
    rows = list(csv.DictReader(CSV.splitlines()))
    assert [
        {**line, "time_s": f"{line['time_s']:.6f}", "value": repr(line["value"]), "unit": line["unit"] or ""}
        for line in lines
    ] == rows


def test_the_json_summary_accounts_for_every_frame(tmp_path: Path) -> None:
    result, out = decode(tmp_path, LOG + "(torn", "--json")
    summary = json.loads(result.stdout)
    assert result.exit_code == 0
    assert summary["frames"] == summary["decoded"] + sum(summary["drops"].values()) == 7
    assert summary["drops"] == {"unknown_id": 1, "short": 1, "remote_frame": 1}
    assert summary["unknown_ids"] == {"0x7FF": 1}
    assert summary["unknown_selector"] == 1
    assert summary["rows"] == len(out.read_text().splitlines()) - 1
    torn = "line 8 is no candump frame: '(torn'"
    assert summary["log_errors"] == {
        "count": 1,
        "first": [torn],
        "by_cause": {"torn_end": {"count": 1, "first": torn}},
        "is_torn": True,
    }
    assert (summary["format"], summary["clock"]) == ("candump", "time since some start")
    assert (summary["first_time_s"], summary["last_time_s"]) == (100.000001, 101.000003)
    assert len(summary["dbc_sha256"]) == 64


def test_a_torn_log_is_decoded_as_far_as_it_goes_and_says_so(tmp_path: Path) -> None:
    result, out = decode(tmp_path, LOG + "(torn")
    assert result.exit_code == 0
    assert out.read_text() == CSV
    assert "warning: log: 1 x torn end, first: line 8 is no candump frame: '(torn'" in result.stderr
    assert "all before is decoded" in result.stderr


def test_the_dbc_of_another_car_is_said_to_be_wrong(tmp_path: Path) -> None:
    result, _ = decode(tmp_path, "(1.000000) can0 7FE#00\n" * 3)
    assert result.exit_code == 3
    assert "0 of 3 frames are known" in result.stderr


def test_one_bus_of_a_log_can_be_chosen(tmp_path: Path) -> None:
    result, out = decode(tmp_path, LOG + LOG.replace("can0", "can1"), "--bus", "can1", "--json")
    assert json.loads(result.stdout)["frames"] == 7
    assert out.read_text() == CSV.replace("can0", "can1")


@pytest.mark.parametrize(
    ("dbc", "log", "out", "said"),
    [
        ("gone.dbc", "drive.log", "o.csv", "gone.dbc: No such file"),
        ("drive.log", "drive.log", "o.csv", "no format that is read here"),
        ("car.dbc", "gone.log", "o.csv", "gone.log: No such file"),
        ("car.dbc", "car.dbc", "o.csv", "not a CAN log of a known form"),
        ("car.dbc", "drive.log", "o.xlsx", "use .csv, .jsonl or .parquet"),
        ("car.dbc", "drive.log", "no/folder/o.csv", "No such file"),
    ],
)
def test_files_that_cannot_be_used_are_named_and_exit_two(
    tmp_path: Path, dbc: str, log: str, out: str, said: str
) -> None:
    (tmp_path / "drive.log").write_text(LOG)
    (tmp_path / "car.dbc").write_bytes(DBC.read_bytes())
    result = run("--dbc", tmp_path / dbc, "--log", tmp_path / log, "--out", tmp_path / out)
    assert result.exit_code == 2
    assert said in result.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"drive.log", "car.dbc"}


def test_names_and_units_are_quoted_where_csv_needs_it_and_nan_is_null_in_json(tmp_path: Path) -> None:
    dbc = tmp_path / "odd.dbc"
    dbc.write_text(
        dbc_text('BO_ 1 M: 4 ECU\n SG_ F : 0|32@1- (1,0) [0|0] "a,\'b" ECU\n', "SIG_VALTYPE_ 1 F : 1;")
    )
    nan = "(1.000000) can0 001#0000C07F\n"
    _, out = decode(tmp_path, nan, dbc=dbc)
    assert list(csv.reader(out.read_text().splitlines()))[1] == ["1.000000", "can0", "M", "F", "nan", "a,'b"]
    _, out = decode(tmp_path, nan, dbc=dbc, out="o.jsonl")
    assert json.loads(out.read_text())["value"] is None


@pytest.mark.parametrize("suffix", [".asc", ".blf", ".csv", ".mf4"])
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_logs_of_other_tools_are_decoded_too(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"drive{suffix}"
    with can.Logger(path) as logger:
        logger.on_message_received(
            can.Message(
                timestamp=1,
                arbitration_id=0x130,
                is_extended_id=False,
                data=b"\x10\x27" + bytes(6),
                channel=0,
            )
        )
    result = run("--dbc", DBC, "--log", path, "--out", tmp_path / "o.csv")
    assert result.exit_code == 0
    assert "VehicleMotion,VehicleSpeed,100.0,km/h" in (tmp_path / "o.csv").read_text()


def test_a_long_random_drive_reads_back_as_cantools_decodes_it(tmp_path: Path) -> None:
    database, _ = load_database(DBC, DBC.read_bytes())
    frames = frames_for(database, random.Random(3), 3_000)
    digits = {can_id: f"{can_id & 0x1FFFFFFF:0{8 if can_id >> 31 else 3}X}" for _, can_id, _ in frames}
    log = "".join(
        f"({number}.000000) can0 {digits[can_id]}#{payload.hex()}\n" for number, can_id, payload in frames
    )
    result, out = decode(tmp_path, log)
    assert result.exit_code == 0
    read: dict[int, dict[str, str]] = {}
    for row in csv.DictReader(out.read_text().splitlines()):
        read.setdefault(round(float(row["time_s"])), {})[row["signal"]] = row["value"]
    oracle = Oracle(database)
    for number, can_id, payload in frames:
        theirs = oracle.values(can_id, payload).items()
        assert read[number] == {name: repr(value) for name, value in theirs}


def test_only_the_wanted_signals_are_written(tmp_path: Path) -> None:
    result, out = decode(tmp_path, LOG, "--signals", "VehicleSpeed,HybridBattery.Cell*", "--signals", "Yaw*")
    assert result.exit_code == 0
    wanted = ("VehicleSpeed", "CellVoltageMin", "CellVoltageMax", "YawRate")
    header, *rows = CSV.splitlines(keepends=True)
    assert out.read_text() == header + "".join(row for row in rows if row.split(",")[3] in wanted)


def test_a_signal_that_the_dbc_lacks_is_refused_with_the_nearest_name(tmp_path: Path) -> None:
    result, out = decode(tmp_path, LOG, "--signals", "VehicleSped")
    assert result.exit_code == 2
    assert "--signals VehicleSped: the DBC has no such signal" in result.stderr
    assert "Did you mean VehicleSpeed" in result.stderr
    assert not out.exists()


def test_a_start_moves_all_times_by_the_same(tmp_path: Path) -> None:
    result, out = decode(tmp_path, LOG, "--start", "2026-11-24T08:00:00.5+08:00", "--json")
    assert json.loads(result.stdout)["first_time_s"] == 1_795_478_400.5
    times = [row["time_s"] for row in csv.DictReader(out.read_text().splitlines())]
    before = [row["time_s"] for row in csv.DictReader(CSV.splitlines())]
    assert times[0] == "1795478400.500000"
    assert [round(1e6 * float(time)) % 10**9 for time in times] == [
        (round(1e6 * (float(time) - 100.000001)) + 400_500_000) % 10**9 for time in before
    ]


@pytest.mark.parametrize("start", ["yesterday", "2026-11-24T08:00:00", "2026-13-01T00:00:00Z"])
def test_a_start_that_is_no_moment_is_refused(tmp_path: Path, start: str) -> None:
    result, out = decode(tmp_path, LOG, "--start", start)
    assert result.exit_code == 2
    assert f"--start {start}: " in result.stderr
    assert not out.exists()


def test_strict_makes_a_torn_log_an_error_of_its_own(tmp_path: Path) -> None:
    assert decode(tmp_path, LOG, "--strict")[0].exit_code == 0
    result, out = decode(tmp_path, LOG + "(torn", "--strict")
    assert result.exit_code == 4
    assert out.read_text() == CSV


def test_parquet_holds_what_the_csv_says(tmp_path: Path) -> None:
    _, out = decode(tmp_path, LOG, "--json", out="out.parquet")
    rows = parquet.read_table(out).to_pylist()
    expected = [
        {
            "time_us": round(float(row["time_s"]) * 1e6),
            "bus": row["bus"],
            "message": row["message"],
            "signal": row["signal"],
            "value": float(row["value"]),
            "unit": row["unit"] or None,
        }
        for row in csv.DictReader(CSV.splitlines())
    ]
    assert rows == expected
    assert len(parquet.read_schema(out).metadata[b"dbc_sha256"]) == 64


def test_parquet_is_written_in_row_groups_and_says_what_it_rounds(tmp_path: Path) -> None:
    dbc = tmp_path / "wide.dbc"
    dbc.write_text(dbc_text('BO_ 1 M: 8 ECU\n SG_ Wide : 0|64@1+ (1,0) [0|0] "" ECU\n'))
    frames = PARQUET_GROUP_ROWS + 20_000
    log = "".join(f"({number}.000000) can0 001#FF{number:014X}\n" for number in range(frames))
    result, out = decode(tmp_path, log, "--json", dbc=dbc, out="o.parquet")
    file = parquet.ParquetFile(out)
    assert file.num_row_groups == 2
    assert file.metadata.num_rows == frames
    summary = json.loads(result.stdout)
    wide = [int.from_bytes(b"\xff" + number.to_bytes(7, "big"), "little") for number in range(frames)]
    assert summary["rounded_values"] == sum(int(float(value)) != value for value in wide) > 0
    assert file.read_row_group(0)["value"].to_pylist()[:300] == [float(value) for value in wide[:300]]


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.parquet"])
def test_a_run_that_fails_leaves_the_older_file_as_it_was(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("older")
    result, out = decode(tmp_path, "nothing of a log\n", out=name)
    gc.collect()  # a writer that was not closed would complain now
    assert result.exit_code == 2
    assert out.read_text() == "older"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["drive.log", name]


@pytest.mark.parametrize("name", ["out.csv", "out.parquet"])
def test_a_disk_that_fills_up_is_said_and_leaves_no_half_file(tmp_path: Path, name: str) -> None:
    rng = random.Random(4)
    log = "".join(f"({number}.000000) can0 130#{rng.randbytes(8).hex()}\n" for number in range(60_000))
    (tmp_path / "drive.log").write_text(log)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limits[1]))  # the operating system refuses for real
    try:
        result = run("--dbc", DBC, "--log", tmp_path / "drive.log", "--out", tmp_path / name)
        gc.collect()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert result.exit_code == 2
    assert "the space on the disk" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["drive.log"]


def test_without_pyarrow_it_is_said_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    result, out = decode(tmp_path, LOG, out="o.parquet")
    assert result.exit_code == 2
    assert "pip install 'tbox[parquet]'" in result.stderr
    assert not out.exists()


def test_a_log_may_come_through_a_pipe(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    writer = threading.Thread(target=lambda: pipe.write_text(LOG * 5_000))
    writer.start()
    result = run("--dbc", DBC, "--log", pipe, "--out", tmp_path / "o.csv", "--json")
    writer.join()
    assert result.exit_code == 0
    assert json.loads(result.stdout)["frames"] == 7 * 5_000


def test_help_has_an_example_and_the_exit_codes() -> None:
    text = " ".join(run("--help").stdout.split())
    assert "tbox decode --dbc car.dbc --log drive.log --out drive.csv" in text
    assert "candump -L can0 | tbox decode" in text
    assert "Exit: 0 done" in text
