"""The tray file: which boxes lie on the table, how each is reached, and what they get.

Rules:
- TOML with `[[box]]` tables, or CSV with the same names as columns; what all boxes share stands at the top of
  a TOML file. Every mistake of the file is reported at once.
- A serial carries its check character, so a slip of the hand is found here. No serial, board or way to a box
  stands twice.
- A file that holds enrolment tokens must be readable by its owner only.

It reaches no box.

Example:
    [[box]]
    serial = "TB-000123-Y"
    where = "ssh://root@192.168.7.2"
    board = "/dev/ttyACM0"
    mcu_port = "/dev/ttyS1"
    key_store = "tpm"
"""

from __future__ import annotations

import csv
import io
import re
import tomllib
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

from firmware_tools.cli_errors import Common, ToolError
from firmware_tools.depot_codes import DepotCode
from firmware_tools.linux_side import BITRATES, KEY_STORES
from firmware_tools.linux_side_ssh import parse_where
from protocol.errors import ProtocolError
from protocol.label import read_serial
from protocol.limits import DEPOT_BOXES_MAX, TRAY_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

_FOREIGN_BITS: Final = 0o077
_ICCID = re.compile("[0-9]{18,22}")  # ITU-T E.118, as the office takes it


@dataclass(frozen=True, slots=True, kw_only=True)
class TrayBox:
    """One box of a tray.

    Attributes:
        serial: of its label, in its one spelling.
        where: folder of a mounted image, or `ssh://user@host[:port]`.
        board: serial port of its microcontroller here in the depot, for flashing; empty for none.
        mcu_port: serial line to the microcontroller on the box, for asking its id; empty for none.
        bitrate: of its CAN buses, bit/s.
        key_store: `file` or `tpm`.
        iccid: of its SIM, as printed on it; empty for unknown.
        token: one-time enrolment token; empty for none.
    """

    serial: str
    where: str
    board: str = ""
    mcu_port: str = ""
    bitrate: int = 500_000
    key_store: str = "file"
    iccid: str = ""
    token: str = ""


_TYPES: Final[dict[str, type]] = {"bitrate": int}
_NAMES: Final = tuple(field.name for field in fields(TrayBox))


def read_tray(path: Path) -> list[TrayBox]:
    """Return the boxes of a tray file, in its order.

    Raises:
        ToolError: the file cannot be read, or with every mistake in it.
    """
    try:
        with path.open("rb") as file:
            data = file.read(TRAY_BYTES_MAX + 1)
        if len(data) > TRAY_BYTES_MAX:
            raise ValueError(f"it has more than {TRAY_BYTES_MAX} bytes")  # noqa: TRY301 - one sentence for all
        rows = _csv(data.decode()) if path.suffix.lower() == ".csv" else _toml(data.decode())
    except FileNotFoundError as missing:
        raise ToolError(Common.NO_FILE, f"There is no tray file {path}: write one, see --help.") from missing
    except (OSError, ValueError, TypeError, csv.Error) as failure:
        raise ToolError(DepotCode.TRAY, f"{path} cannot be read ({failure}): correct it.") from failure
    problems: list[str] = []
    boxes = [box for number, row in enumerate(rows, start=1) if (box := _box(number, row, problems))]
    problems += _twice(boxes)
    if not rows or len(rows) > DEPOT_BOXES_MAX:
        problems.append(f"it has {len(rows)} boxes, a tray takes 1 to {DEPOT_BOXES_MAX}")
    if any(box.token for box in boxes) and path.stat().st_mode & _FOREIGN_BITS:
        problems.append(f"it holds tokens and others can read it: chmod 600 {path}")
    if problems:
        raise ToolError(DepotCode.TRAY, f"{path}: {'; '.join(problems)}.")
    return boxes


def _toml(text: str) -> list[dict[str, Any]]:
    content = tomllib.loads(text)
    rows = content.pop("box", [])
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ValueError("boxes are [[box]] tables")
    return [content | row for row in rows]


def _csv(text: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for row in csv.DictReader(io.StringIO(text), strict=True):
        if None in row:
            raise ValueError("a row has more cells than the head line")
        filled = {name: value.strip() for name, value in row.items() if value and value.strip()}
        rows.append({name: _typed(name, value) for name, value in filled.items()})
    return rows


def _typed(name: str, value: str) -> object:
    return int(value) if _TYPES.get(name) is int and value.isdigit() else value


def _box(number: int, row: dict[str, Any], problems: list[str]) -> TrayBox | None:
    """Return a box, having added what is wrong with it to the problems."""
    name = f"box {number}"
    before = len(problems)
    if unknown := sorted(set(row) - set(_NAMES)):
        problems.append(f"{name}: nobody knows {', '.join(unknown)}")
    for key in _NAMES:
        wanted = _TYPES.get(key, str)
        if key in row and (not isinstance(row[key], wanted) or isinstance(row[key], bool)):
            problems.append(f"{name}: {key} is not {'a number' if wanted is int else 'text'}")
    if "serial" not in row or "where" not in row:
        problems.append(f"{name}: it needs serial and where")
    if len(problems) > before:
        return None
    problems += [f"{name}: {problem}" for problem in _values(row)]
    return None if len(problems) > before else TrayBox(**row)


def _values(row: dict[str, Any]) -> list[str]:
    """Return what is wrong with the values of a box; its serial is brought into its one spelling."""
    problems = []
    if row.get("bitrate", BITRATES[0]) not in BITRATES:
        problems.append(f"bitrate is one of {', '.join(map(str, BITRATES))}")
    if row.get("key_store", "file") not in KEY_STORES:
        problems.append(f"key_store is one of {', '.join(KEY_STORES)}")
    if row.get("iccid") and not _ICCID.fullmatch(row["iccid"]):
        problems.append("iccid is the 18 to 22 digits that are printed on the SIM")
    try:
        row["serial"] = read_serial(row["serial"])
        parse_where(row["where"])
    except ProtocolError as wrong:
        problems.append(wrong.detail.removesuffix("."))
    except ToolError as wrong:
        problems.append(wrong.sentence.removesuffix("."))
    return problems


def _twice(boxes: list[TrayBox]) -> list[str]:
    found = []
    for key in ("serial", "where", "board", "token"):
        values = [value for box in boxes if (value := getattr(box, key))]
        repeated = sorted({value for value in values if values.count(value) > 1})
        found += [f"{key} {'' if key == 'token' else value + ' '}stands twice" for value in repeated]
    return found
