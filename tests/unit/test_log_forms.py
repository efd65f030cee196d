"""Forms of text line by line: what each line means, and what is no frame."""

import datetime as dt

import pytest

from device.acquisition.lot import EXTENDED, FrameFlag
from device.adapters.asc_lines import AscLines
from device.adapters.busmaster_lines import BusmasterLines
from device.adapters.csv_lines import CsvLines
from device.adapters.log_lines import LineError, LineForm, LoggedFrame
from device.adapters.trc_lines import TrcLines


def read(form: LineForm, text: str) -> list[LoggedFrame]:
    return [frame for line in text.splitlines() if (frame := form.read(line.encode("cp1252"))) is not None]


def utc_us(*moment: int) -> int:
    year, month, day, hour, minute, second, milli = moment
    found = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
    return round(found.timestamp()) * 1_000_000 + milli * 1_000


# --- Vector ASC ---------------------------------------------------------------------------------------------


def test_asc_frames_of_every_kind() -> None:
    frames = read(
        AscLines(),
        """base hex  timestamps absolute
internal events logged
// version 9.0.0
   0.000000 Start of measurement
   0.015991 CAN 1 Status:chip status error passive - TxErr: 132 RxErr: 0
   1.015991 1  Statistic: D 0 R 0 XD 0 XR 0 E 0 O 0 B 0.00%
   1.100000 1  J1939TP FEE3p 6 0 0 - Rx d 23 A0 0F A6 60 3B D1 40 1F DE 80 01 E1 00 4B FF FF 3C 0F 00 4B
   1.200000 L1  3c Rx 8 01 02 03 04 05 06 07 08
   2.501000 1 ErrorFrame
   2.510001 2 100 Tx r
   2.584921 4 300 Tx r 8 Length = 1704000 BitCount = 145 ID = 88888888x
   3.098426 1  18EBFF00x       Rx d 8 01 A0 0F A6 60 3B D1 40    Length = 273910 BitCount = 141
   3.100000 1  180             Tx   d D 55 AA 01 02 03 04 05 06
  30.005021 CANFD   1 Rx        300                1 0 9 12 11 c2 03 04 05 06 07 08 09 0a 0b 0c  102203
  30.005071 CANFD   3 Rx        30a  Generic_Name_12           1 1 8  8 01 02 03 04 05 06 07 08   102203  133
  30.300981 CANFD   3 Tx     50005x                            0 1 5  0 140000 73 200050
End TriggerBlock""",
    )
    assert [tuple(frame) for frame in frames] == [
        ("can0", 2_501_000, 0, FrameFlag.ERROR, b""),
        ("can1", 2_510_001, 0x100, FrameFlag.REMOTE, b""),
        ("can3", 2_584_921, 0x300, FrameFlag.REMOTE, b""),
        ("can0", 3_098_426, 0x18EBFF00 | EXTENDED, 0, bytes.fromhex("01A00FA6603BD140")),
        ("can0", 3_100_000, 0x180, 0, bytes.fromhex("55AA010203040506")),
        ("can0", 30_005_021, 0x300, FrameFlag.FD, bytes.fromhex("11c2030405060708090a0b0c")),
        ("can2", 30_005_071, 0x30A, FrameFlag.FD, bytes(range(1, 9))),
        ("can2", 30_300_981, 0x50005 | EXTENDED, FrameFlag.REMOTE | FrameFlag.FD, b""),
    ]


def test_asc_numbers_may_be_decimal_and_times_relative() -> None:
    frames = read(
        AscLines(),
        "base dec  timestamps relative\n 1.000000 1 291 Rx d 2 10 255\n 0.500000 1 Statistic: D 0\n"
        " 0.250000 1 2147x Rx d 0\n",
    )
    assert [(frame.t_us, frame.can_id, frame.data) for frame in frames] == [
        (1_000_000, 0x123, b"\x0a\xff"),
        (1_750_000, 2147 | EXTENDED, b""),
    ]


@pytest.mark.parametrize(
    ("heading", "start"),
    [
        ("date Sam Sep 30 15:06:13.191 2017", utc_us(2017, 9, 30, 15, 6, 13, 191)),
        ("date Tue May 27 04:09:35.000 pm 2014", utc_us(2014, 5, 27, 16, 9, 35, 0)),
        ("date Thu Apr 28 12:44:52.480 AM 2022", utc_us(2022, 4, 28, 0, 44, 52, 480)),
        ("date Mon Mär 02 12:00:00 pm 2026", utc_us(2026, 3, 2, 12, 0, 0, 0)),
        ("date Mit Okt 07 23:59:59 2026", utc_us(2026, 10, 7, 23, 59, 59, 0)),
        (
            "date Sam Sep 30 15:06:13.191 2017\nBegin Triggerblock Sat Sep 30 10:06:13.191 PM 2017",
            utc_us(2017, 9, 30, 22, 6, 13, 191),
        ),
    ],
)
def test_asc_times_count_from_the_date(heading: str, start: int) -> None:
    form = AscLines()
    (frame,) = read(form, f"{heading}\nbase hex timestamps absolute\n 2.000001 1 123 Rx d 0\n")
    assert form.has_date
    assert frame.t_us == start + 2_000_001


def test_asc_with_a_date_that_nobody_understands_counts_from_its_start() -> None:
    form = AscLines()
    (frame,) = read(form, "date jeu. 30 sept. 2017\nbase hex timestamps absolute\n 2.000001 1 123 Rx d 0\n")
    assert (form.has_date, frame.t_us) == (False, 2_000_001)


@pytest.mark.parametrize(
    "line",
    [
        "0.1 1 123 Rx d 8 01 02",
        "0.1 1 123 Rx d zz 01",
        "0.1 1 123 Rx d 2 01 1FF",
        "0.1 1 800 Rx d 0",
        "0.1 1 20000000x Rx d 0",
        "0.1 CANFD 1 Rx 300 1 0 9 65 00",
        "0.1 CANFD 1 Rx 300 1 0 9 12 00 11",
        "0.1 q 123 Rx d 0",
        "no line of it",
    ],
)
def test_asc_lines_that_should_be_frames_and_are_not(line: str) -> None:
    with pytest.raises(LineError):
        AscLines().read(line.encode())


# --- PEAK TRC -----------------------------------------------------------------------------------------------

START = ";$STARTTIME=44548.6028595139"
START_US = 1_639_837_687_062_001  # 2021-12-18T14:28:07.062001Z, as far as the heading's digits go


@pytest.mark.parametrize(
    ("heading", "lines", "start"),
    [
        ("", ["1) 1500 0123 2 0A 0B", "2) 1600 FFFFFFFF 4 00 00 00 08 -- BUSHEAVY", "3) 1700 0704 1 RTR"], 0),
        (
            f";$FILEVERSION=1.1\n{START}",
            [
                "1) 1500.0 Rx 0123 2 0A 0B",
                "2) 1600.0 Warng FFFFFFFF 4 00 00 00 08 BUSHEAVY",
                "3) 1700.0 Rx 0704 1 RTR",
            ],
            START_US,
        ),
        (
            f";$FILEVERSION=1.2\n{START}",
            [
                "1) 1500.0 1 Rx 0123 2 0A 0B",
                "2) 1600.0 1 Error 0008 4 00 00 00 08",
                "3) 1700.0 1 Rx 0704 1 RTR",
            ],
            START_US,
        ),
        (
            f";$FILEVERSION=1.3\n{START}",
            [
                "1) 1500.0 1 Rx 0123 - 2 0A 0B",
                "2) 1600.0 1 Warng FFFFFFFF - 4 00 00 00 08",
                "3) 1700.0 1 Rx 0704 - 1 RTR",
            ],
            START_US,
        ),
        (
            f";$FILEVERSION=2.0\n{START}\n;$COLUMNS=N,O,T,I,d,l,D",
            ["1 1500.000 DT 0123 Rx 2 0A 0B", "2 1600.000 ST Rx 00 00 00 08", "3 1700.000 RR 0704 Rx 1"],
            START_US,
        ),
        (
            f";$FILEVERSION=2.1\n{START}\n;$COLUMNS=N,O,T,B,I,d,R,L,D",
            ["1 1500.000 DT 1 0123 Rx - 2 0A 0B", "2 1600.000 EV 1 Rx text", "3 1700.000 RR 1 0704 Rx - 1"],
            START_US,
        ),
    ],
    ids=["1.0", "1.1", "1.2", "1.3", "2.0", "2.1"],
)
def test_trc_of_every_version(heading: str, lines: list[str], start: int) -> None:
    form = TrcLines()
    frames = read(form, "\n".join([heading, *lines]))
    assert form.has_date is bool(start)
    assert [tuple(frame) for frame in frames] == [
        ("can1", start + 1_500_000, 0x123, 0, b"\x0a\x0b"),
        ("can1", start + 1_700_000, 0x704, FrameFlag.REMOTE, b""),
    ]


def test_trc_frames_of_can_fd_have_the_length_of_their_code() -> None:
    data = " ".join(f"{byte:02X}" for byte in range(12))
    frames = read(
        TrcLines(),
        ";$FILEVERSION=2.1\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n"
        f"1 1.5 FB 2 18EFC034 Rx - 9 {data}\n2 2.5 ER 2 - Rx - 5 04 00\n",
    )
    assert [tuple(frame) for frame in frames] == [
        ("can2", 1_500, 0x18EFC034 | EXTENDED, FrameFlag.FD, bytes(range(12))),
        ("can2", 2_500, 0, FrameFlag.ERROR, b""),
    ]


@pytest.mark.parametrize(
    "line",
    [
        "1) 15x0 0123 1 0A",
        "1) 1500 0123 2 0A",
        "1) 1500 0123 1 GG",
        "1) 1500 0800 0",
        "1) 1500",
        "word 1500 0123 0",
    ],
)
def test_trc_lines_that_should_be_frames_and_are_not(line: str) -> None:
    with pytest.raises(LineError):
        TrcLines().read(line.encode())


def test_trc_records_that_end_early_are_no_frames() -> None:
    form = TrcLines()
    read(form, ";$FILEVERSION=2.1\n;$COLUMNS=N,O,T,B,I,d,R,L,D\n")
    for line in (b"1 2.5 ER", b"1 2.5", b"1", b"1 2.5 DT 1 0123 Rx -"):
        with pytest.raises(LineError):
            form.read(line)


# --- CSV ----------------------------------------------------------------------------------------------------


def test_csv_of_python_can() -> None:
    frames = read(
        CsvLines(),
        "timestamp,arbitration_id,extended,remote,error,dlc,data\n1483389946.197,0x123,0,0,0,2,AQI=\n"
        "1e-05,0x18daf110,1,0,0,0,\n2.0,0x7,0,1,0,3,\n3.0,0x0,1,0,1,8,AAAAAAAAAAA=\n",
    )
    assert [tuple(frame) for frame in frames] == [
        ("can0", 1_483_389_946_197_000, 0x123, 0, b"\1\2"),
        ("can0", 10, 0x18DAF110 | EXTENDED, 0, b""),
        ("can0", 2_000_000, 7, FrameFlag.REMOTE, b""),
        ("can0", 3_000_000, EXTENDED, FrameFlag.ERROR, b""),
    ]


@pytest.mark.parametrize(
    ("heading", "row"),
    [
        (
            "Time Stamp,ID,Extended,Dir,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8",
            "166064000,0000021A,false,Rx,1,3,FE,36,12,,,,,",
        ),
        ("Time Stamp,ID,Extended,Bus,LEN,D1,D2,D3,D4,D5,D6,D7,D8", "166064000,21A,false,1,3,FE,36,12"),
    ],
)
def test_csv_of_savvycan_has_the_columns_its_heading_names(heading: str, row: str) -> None:
    (frame,) = read(CsvLines(), f"{heading}\n{row}\n")
    assert tuple(frame) == ("can1", 166_064_000, 0x21A, 0, b"\xfe\x36\x12")


@pytest.mark.parametrize(
    "line",
    [
        "1.0,0x123,0,0,0,3,AQI=",
        "1.0,0x123,0,0,0,2,A===",
        "nan,0x123,0,0,0,0,",
        "-1.0,0x123,0,0,0,0,",
        "1.0,0x8000,0,0,0,0,",
        "166064000,21A,maybe,Rx,0,1,FE",
        "166064000,21A,false,Rx,0,3,FE",
        "166064000,XYZ,false,Rx,0,0",
        "a,b",
    ],
)
def test_csv_rows_that_should_be_frames_and_are_not(line: str) -> None:
    with pytest.raises(LineError):
        CsvLines().read(line.encode())


# --- BUSMASTER ----------------------------------------------------------------------------------------------

HEAD = "***BUSMASTER Ver 2.4.0***\n***START DATE AND TIME 23:9:2015 23:59:58:500***\n"


def test_busmaster_times_of_day_go_on_past_midnight() -> None:
    form = BusmasterLines()
    frames = read(
        form,
        f"{HEAD}***HEX***\n***SYSTEM MODE***\n"
        "23:59:59:992 Rx 1 0x21A s 2 FE 36\n00:00:00:001 Tx 2 18DAF110 x 0 \n"
        "00:00:01:5000 Rx 1 100 sr 4\n***[STOP LOGGING SESSION]***\n",
    )
    assert form.has_date
    assert [tuple(frame) for frame in frames] == [
        ("can1", utc_us(2015, 9, 23, 23, 59, 59, 992), 0x21A, 0, b"\xfe\x36"),
        ("can2", utc_us(2015, 9, 24, 0, 0, 0, 1), 0x18DAF110 | EXTENDED, 0, b""),
        ("can1", utc_us(2015, 9, 24, 0, 0, 1, 500), 0x100, FrameFlag.REMOTE, b""),
    ]


@pytest.mark.parametrize(("mode", "second"), [("ABSOLUTE", 2_000), ("RELATIVE", 3_000)])
def test_busmaster_times_since_the_start_or_the_frame_before(mode: str, second: int) -> None:
    text = (
        f"{HEAD}***DEC***\n***{mode} MODE***\n00:00:01:000 Rx 1 538 s 2 254 54\n00:00:02:000 Rx 1 538 s 0\n"
    )
    frames = read(BusmasterLines(), text)
    start = utc_us(2015, 9, 23, 23, 59, 58, 500)
    assert [frame.t_us - start for frame in frames] == [1_000_000, second * 1_000]
    assert (frames[0].can_id, frames[0].data) == (538, b"\xfe\x36")


@pytest.mark.parametrize(
    "line",
    ["22:20:14:992 Rx 0 21A s 3 FE 36", "22:20:14:992 Rx 0 900 s 0", "22:20:14:992 Rx 0 1 s 1 1FF", "x"],
)
def test_busmaster_lines_that_should_be_frames_and_are_not(line: str) -> None:
    with pytest.raises(LineError):
        BusmasterLines().read(line.encode())
