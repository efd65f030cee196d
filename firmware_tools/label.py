"""`tbox install label`: make serials, draw labels and sheets, read a label's code.

Rules: a label is drawn from serial, device id and the microcontroller's id, as `tbox agent keys` and
`tbox agent mcu` print them; it says which box is meant and proves nothing. Nothing is sent anywhere.

Example:
    $ tbox install label draw TB-000123-Y --device 9f…e1 --mcu 07…c2 --out TB-000123-Y.svg
"""

import json
from pathlib import Path
from typing import Annotated

import typer

from firmware_tools.cli_errors import EXITS, Common, ToolError, told
from firmware_tools.depot_codes import DepotCode
from firmware_tools.label_drawing import code_png, label_svg, sheet_svg
from protocol.errors import ProtocolError
from protocol.ids import parse_device_id
from protocol.label import BoxLabel, make_serial, read_label, read_serial
from protocol.limits import LABELS_A_SHEET_MAX

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, no_args_is_help=True, help="Serials and labels of boxes."
)

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(epilog=f"Example: tbox install label serials TB 123 --count 12   |   {EXITS}")
def serials(
    letters: Annotated[str, typer.Argument(help="Two letters, none of I, L, O, Q and U.")],
    first: Annotated[int, typer.Argument(help="First number, 0 to 999999.")],
    *,
    count: Annotated[int, typer.Option(min=1, max=LABELS_A_SHEET_MAX, help="How many.")] = 1,
    as_json: AsJson = False,
) -> None:
    """Print serials with their check characters."""
    with told(as_json=as_json):
        try:
            made = [make_serial(letters, number) for number in range(first, first + count)]
        except ProtocolError as wrong:
            raise ToolError(DepotCode.LABEL, wrong.detail) from wrong
    typer.echo(json.dumps({"serials": made}) if as_json else "\n".join(made))


@app.command(
    epilog="Example: tbox install label draw TB-000123-Y --device 9f…e1 --mcu 07…c2 --out l.svg   |   "
    + EXITS
)
def draw(
    serial: Annotated[str, typer.Argument(help="As printed on the box, TB-000123-Y.")],
    *,
    device: Annotated[str, typer.Option(help="Device id, 64 hex digits.")],
    mcu: Annotated[str | None, typer.Option(help="The microcontroller's id, 64 hex digits.")] = None,
    out: Annotated[Path | None, typer.Option(help="File to write, .svg or .png (the code alone).")] = None,
    as_json: AsJson = False,
) -> None:
    """Draw one label, or print the text of its code when no file is named."""
    with told(as_json=as_json):
        label = label_of(serial, device=device, mcu_id=mcu)
        if out is not None:
            _write(out, label)
    if as_json:
        typer.echo(json.dumps({"serial": label.serial, "text": label.text(), "file": out and str(out)}))
    else:
        typer.echo(label.text() if out is None else f"{label.serial}: {out}")


@app.command(epilog=f"Example: tbox install label sheet labels.txt --out sheet.svg   |   {EXITS}")
def sheet(
    texts: Annotated[Path, typer.Argument(help="File of codes' texts, one a line, as `draw` prints them.")],
    *,
    out: Annotated[Path, typer.Option(help="SVG of an A4 page to write; print it at 100 %.")],
) -> None:
    """Draw a page of labels."""
    with told():
        try:
            lines = texts.read_text(encoding="utf-8").split()
        except (OSError, UnicodeDecodeError) as failure:
            raise ToolError(Common.UNREADABLE, f"{texts} cannot be read: name a file of texts.") from failure
        if not 0 < len(lines) <= LABELS_A_SHEET_MAX:
            raise ToolError(
                DepotCode.LABEL, f"{texts} has {len(lines)} labels: a page takes 1 to {LABELS_A_SHEET_MAX}."
            )
        save(out, sheet_svg([_read(line) for line in lines]).encode())
    typer.echo(f"{len(lines)} labels: {out}")


@app.command(epilog=f"Example: tbox install label read TBOX-L1:TB-000123-Y:…   |   {EXITS}")
def read(
    text: Annotated[str, typer.Argument(help="Text of a code, or a serial as somebody typed it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Say what a label's code or a typed serial names."""
    with told(as_json=as_json):
        if ":" in text:
            label = _read(text)
            found = {"serial": label.serial, "device": label.device, "mcu": label.mcu}
        else:
            found = {"serial": _serial(text), "device": None, "mcu": None}
    if as_json:
        typer.echo(json.dumps(found))
    else:
        typer.echo("\n".join(f"{name}: {value or 'not said'}" for name, value in found.items()))


def label_of(serial: str, *, device: str, mcu_id: str | None) -> BoxLabel:
    """Return the label of a box.

    Raises:
        ToolError: LABEL for a serial or an id that is none.
    """
    try:
        for name in (device, *([mcu_id] if mcu_id else [])):
            parse_device_id(name)
        return BoxLabel.of(serial, device=device, mcu_id=mcu_id)
    except ProtocolError as wrong:
        raise ToolError(DepotCode.LABEL, wrong.detail) from wrong


def save(path: Path, data: bytes) -> None:
    """Write a file.

    Raises:
        ToolError: it cannot be written.
    """
    try:
        path.write_bytes(data)
    except OSError as failure:
        sentence = f"{path} is not written ({failure.strerror}): check the folder's rights and room."
        raise ToolError(DepotCode.NOT_WRITTEN, sentence) from failure


def _write(path: Path, label: BoxLabel) -> None:
    match path.suffix.lower():
        case ".svg":
            save(path, label_svg(label).encode())
        case ".png":
            save(path, code_png(label))
        case other:
            raise ToolError(DepotCode.LABEL, f"A label is written as .svg or .png, not as {other or 'that'}.")


def _read(text: str) -> BoxLabel:
    try:
        return read_label(text)
    except ProtocolError as wrong:
        raise ToolError(DepotCode.LABEL, wrong.detail) from wrong


def _serial(text: str) -> str:
    try:
        return read_serial(text)
    except ProtocolError as wrong:
        raise ToolError(DepotCode.LABEL, wrong.detail) from wrong
