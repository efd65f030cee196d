"""The tray file of the depot: both forms, and every mistake of a file said at once."""

from pathlib import Path

import pytest

from firmware_tools.cli_errors import Common, ToolError
from firmware_tools.depot_codes import DepotCode
from firmware_tools.depot_report import Check, Report, State, Step, read_report
from firmware_tools.depot_tray import TrayBox, read_tray
from protocol.label import make_serial

ONE, TWO = make_serial("TB", 1), make_serial("TB", 2)


def _tray(folder: Path, text: str, name: str = "tray.toml") -> list[TrayBox]:
    (folder / name).write_text(text)
    (folder / name).chmod(0o600)
    return read_tray(folder / name)


def _refused(folder: Path, text: str, name: str = "tray.toml") -> str:
    with pytest.raises(ToolError) as refused:
        _tray(folder, text, name)
    assert refused.value.code is DepotCode.TRAY
    return refused.value.sentence


def test_what_all_boxes_share_stands_once_and_a_box_may_differ(tmp_path: Path) -> None:
    text = (
        f'bitrate = 250000\nkey_store = "tpm"\n[[box]]\nserial = "{ONE}"\nwhere = "/mnt/a"\n'
        f'[[box]]\nserial = "{TWO.lower()}"\nwhere = "ssh://root@b"\nbitrate = 500000\n'
    )
    assert _tray(tmp_path, text) == [
        TrayBox(serial=ONE, where="/mnt/a", bitrate=250_000, key_store="tpm"),
        TrayBox(serial=TWO, where="ssh://root@b", bitrate=500_000, key_store="tpm"),
    ]


def test_a_table_of_a_spreadsheet_says_the_same(tmp_path: Path) -> None:
    text = f"serial,where,bitrate,board\n{ONE},/mnt/a,250000,/dev/ttyACM0\n{TWO}, /mnt/b,,\n"
    assert _tray(tmp_path, text, "tray.csv") == [
        TrayBox(serial=ONE, where="/mnt/a", bitrate=250_000, board="/dev/ttyACM0"),
        TrayBox(serial=TWO, where="/mnt/b"),
    ]


def test_all_mistakes_of_a_tray_are_said_at_once(tmp_path: Path) -> None:
    text = (
        f'[[box]]\nserial = "TB-000001-Z"\nwhere = "/mnt/a"\n[[box]]\nserial = "{TWO}"\nwhere = "ftp://b"\n'
        f'[[box]]\nwhere = "/mnt/c"\n[[box]]\nserial = "{ONE}"\nwhere = "/mnt/d"\nbitrate = 4\niccid = "8988"'
        f'\n[[box]]\nserial = "{ONE}"\nwhere = "/mnt/e"\ncolour = "red"\n[[box]]\nserial = 5\nwhere = true\n'
    )
    said = _refused(tmp_path, text)
    for part in (
        "box 1: A character of the serial is wrong",
        "box 2: ftp://b is no way to a box",
        "box 3: it needs serial and where",
        "box 4: bitrate is one of 125000, 250000",
        "box 4: iccid is the 18 to 22 digits",
        "box 5: nobody knows colour",
        "box 6: serial is not text; box 6: where is not text",
    ):
        assert part in said


def test_two_boxes_with_one_serial_board_or_token_are_refused_and_the_token_is_not_repeated(
    tmp_path: Path,
) -> None:
    text = "".join(
        f'[[box]]\nserial = "{ONE}"\nwhere = "/mnt/{name}"\nboard = "/dev/x"\ntoken = "tboxe_secret"\n'
        for name in "ab"
    )
    said = _refused(tmp_path, text)
    assert f"serial {ONE} stands twice" in said
    assert "board /dev/x stands twice" in said
    assert "token stands twice" in said
    assert "tboxe_secret" not in said


def test_a_tray_with_tokens_that_others_can_read_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "tray.toml"
    path.write_text(f'[[box]]\nserial = "{ONE}"\nwhere = "/mnt/a"\ntoken = "t"\n')
    path.chmod(0o644)
    with pytest.raises(ToolError, match="chmod 600"):
        read_tray(path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("tray.toml", "box = ["),
        ("tray.toml", "[box]\nserial = 1\n"),
        ("tray.toml", ""),
        ("tray.toml", "\x00"),
        ("tray.toml", "x" * 70_000),
        ("tray.csv", "serial,where\na,b,c\n"),
        ("tray.csv", 'serial,where\n"a,b\n'),
    ],
)
def test_what_is_no_tray_is_refused_in_one_sentence(tmp_path: Path, name: str, text: str) -> None:
    assert _refused(tmp_path, text, name).count("\n") == 0


def test_a_missing_tray_is_said(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as missing:
        read_tray(tmp_path / "none.toml")
    assert missing.value.code is Common.NO_FILE


def test_a_report_is_read_back_and_is_done_only_when_no_step_is_left(tmp_path: Path) -> None:
    report = Report(serial=ONE, device="ab" * 32)
    for step in Step:
        assert not report.is_done
        report = report.with_check(Check(step=step, state=State.PASS, measured="ok"))
    assert report.is_done
    (tmp_path / "report.json").write_bytes(report.encode())
    assert read_report(tmp_path, ONE) == report
    failed = report.with_check(Check(step=Step.KEYS, state=State.FAIL, error="KEYS", sentence="Do it."))
    assert not failed.is_done
    assert [check.step for check in failed.checks] == list(Step)
    assert "KEYS: Do it." in failed.text()


def test_the_hash_that_the_office_keeps_does_not_change_with_what_the_office_said() -> None:
    report = Report(serial=ONE).with_check(Check(step=Step.KEYS, state=State.PASS, measured="x"))
    kept = report.with_check(Check(step=Step.REGISTER, state=State.PASS))
    assert kept.sha256() == report.sha256()
    assert kept.with_check(Check(step=Step.KEYS, state=State.PASS, measured="y")).sha256() != report.sha256()


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"schema": 1, "serial": "TB-000002-A", "checks": []}'])
def test_a_report_of_another_box_or_form_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text)
    with pytest.raises(ToolError, match="is no report of TB-000001"):
        read_report(tmp_path, ONE)
