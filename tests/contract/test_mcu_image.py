"""An image has exactly what it needs, says the same of the same files, and type-checks against the board."""

import json
import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from firmware_tools import image
from firmware_tools.image import Floors, ImageError
from tests.builders.micropython import ROOT

HARDWARE = ("accelerometer", "board_rp2", "coin_cell_clock", "fram", "image_info", "main", "pins")
# Code without annotations: what pyright infers of a None that is filled later is not meant here.
INFERRED = {
    "reportArgumentType", "reportAttributeAccessIssue", "reportCallIssue", "reportIndexIssue",
    "reportOptionalMemberAccess", "reportOptionalSubscript",
}  # fmt: skip


def test_the_same_files_give_the_same_measurement_wherever_they_lie(tmp_path: Path) -> None:
    first = image.build(tmp_path / "one", Floors.PRODUCTION)
    again = image.build(tmp_path / "elsewhere" / "two", Floors.PRODUCTION)
    assert first.measurement == again.measurement
    for name in first.sizes:
        assert (first.folder / name).read_bytes() == (again.folder / name).read_bytes()


def test_the_demo_differs_from_production_in_its_floors_and_its_measurement(tmp_path: Path) -> None:
    real = image.build(tmp_path / "real", Floors.PRODUCTION)
    demo = image.build(tmp_path / "demo", Floors.DEMO)
    different = {
        name for name in real.sizes if (real.folder / name).read_bytes() != (demo.folder / name).read_bytes()
    }
    assert different == {"device/mcu/floors.mpy", "device/mcu/image_info.mpy"}
    assert set(real.sizes) == set(demo.sizes)
    assert real.measurement != demo.measurement


def test_every_module_of_the_microcontroller_is_in_the_image_but_the_other_floors() -> None:
    there = {str(path.relative_to(ROOT)) for path in (ROOT / "device" / "mcu").glob("*.py")}
    left_out = {"device/mcu/__init__.py", "device/mcu/floors_demo.py"}
    assert {name for name in image.sources() if name.startswith("device/")} == there - left_out


def test_the_manifest_lists_each_file_with_its_hash(tmp_path: Path) -> None:
    built = image.build(tmp_path / "image", Floors.DEMO)
    manifest = json.loads((built.folder / "image.json").read_text(encoding="utf-8"))
    assert manifest["measurement"] == built.measurement.hex()
    assert {file["path"]: file["bytes"] for file in manifest["files"]} == built.sizes
    assert sum(built.sizes.values()) < 128 * 1024, "it must fit the flash of the smallest board with room"


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("import threading", "threading"),
        ("from device.mcu import nothing_such", "no file"),
        ("def (", "syntax"),
    ],
)
def test_what_a_board_cannot_run_ends_the_build(tmp_path: Path, line: str, said: str) -> None:
    for name in image.sources():
        target = tmp_path / "root" / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    lease = tmp_path / "root" / "device" / "mcu" / "lease.py"
    lease.write_text(f"{line}\n", encoding="utf-8")
    with pytest.raises((ImageError, SyntaxError), match=said):
        image.build(tmp_path / "image", Floors.PRODUCTION, root=tmp_path / "root")


def test_the_command_builds_and_says_what_it_built(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert image.main(["--floors", "demo", "--json", str(tmp_path / "image")]) == 0
    assert json.loads(capsys.readouterr().out)["floors"] == "demo"


def complaints(folder: Path) -> list[str]:
    """Return what pyright says of a copy of the firmware, by the stubs of the RP2040."""
    stubs = sysconfig.get_path("purelib")
    config = {
        "include": ["device/mcu"], "pythonVersion": "3.11", "typeCheckingMode": "basic",
        "typeshedPath": stubs, "stubPath": stubs, "reportMissingModuleSource": "none",
    }  # fmt: skip
    (folder / "pyrightconfig.json").write_text(json.dumps(config), encoding="utf-8")
    command = [str(Path(sys.executable).parent / "pyright"), "-p", str(folder), "--outputjson"]
    env = {**os.environ, "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] > 30, report
    return [
        f"{Path(item['file']).stem}: {item['message']}"
        for item in report["generalDiagnostics"]
        if Path(item["file"]).stem in HARDWARE
        or item.get("rule") not in INFERRED
        or "attribute of module" in item["message"]
    ]


@pytest.fixture
def firmware_copy(tmp_path: Path) -> Path:
    for name in image.sources():
        target = tmp_path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes((ROOT / name).read_bytes())
    return tmp_path


@pytest.mark.slow
def test_the_firmware_agrees_with_the_stubs_of_the_board(firmware_copy: Path) -> None:
    assert complaints(firmware_copy) == []


@pytest.mark.slow
def test_a_call_that_the_board_does_not_have_is_found(firmware_copy: Path) -> None:
    path = firmware_copy / "device" / "mcu" / "board_rp2.py"
    text = path.read_text(encoding="utf-8")
    planted = text.replace("read_u16()", "read_u17()").replace("self._wdt.feed()", "self._wdt.feeds()")
    path.write_text(planted.replace("time.sleep_ms(span_ms)", "time.sleep_msec(span_ms)"), encoding="utf-8")
    found = complaints(firmware_copy)
    for name in ("read_u17", "feeds", "sleep_msec"):
        assert any(name in line for line in found), (name, found)
