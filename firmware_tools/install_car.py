"""`tbox install car`: fit a box at the car, in a terminal, from the work ticket to the signed record.

Rules: run it on the box itself or wherever its socket is. It can be closed and run again at any time: the box
goes on where it stands. With `--answers` nobody is asked. The record is on disk as JSON and PDF before this
says that it is done. Exit codes: 0 signed record, 1 a step failed or was refused, 2 wrong usage, 3 cut short.

Example:
    $ tbox install car --home /var/lib/tbox --key me.pem --api https://fleet.example --job 5f0c… --out job
    $ tbox install car --home build/bench/box --key me.pem --ticket ticket.qr --answers answers.toml --json
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Self

import typer
from rich.console import Console

from firmware_tools.cli_errors import EXITS, Common, ToolError, told
from firmware_tools.install_box import BoxLine
from firmware_tools.install_dialogue import Dialogue, Installed
from firmware_tools.install_hands import AnswersHands, PersonHands, read_answers, said
from firmware_tools.install_office import BackendOffice, NoOffice
from firmware_tools.install_seal import Seal, SealCode, read_key, read_ticket
from firmware_tools.record_cli import write_pdf
from firmware_tools.record_pdf import with_unit
from protocol.errors import ProtocolError
from protocol.ids import DeviceId, public_key_from_cose, thumbprint
from protocol.install_record import record_payload, write_record_file
from protocol.install_vocabulary import Stage, Step, StepState

if TYPE_CHECKING:
    from protocol.envelope import KeyLookup
    from protocol.install_report import StepRow

app = typer.Typer(
    add_completion=False, rich_markup_mode=None, pretty_exceptions_show_locals=False, epilog=EXITS
)

SOCKET = "run/install.sock"
MARKS = {
    StepState.PASS: "[green]PASS[/]",
    StepState.FAIL: "[bold red]FAIL[/]",
    StepState.LATER: "[yellow]LATER[/]",
    StepState.SKIPPED: "[dim]SKIPPED[/]",
}


@app.command(
    epilog="Example: tbox install car --home /var/lib/tbox --key me.pem --api https://fleet.example "
    f"--job 5f0c… --out job   |   {EXITS}"
)
def car(
    *,
    home: Annotated[Path, typer.Option(help="The box's home; its socket is below.")],
    key: Annotated[Path, typer.Option(help="Your own key, PEM, mode 0600.")],
    out: Annotated[Path, typer.Option(help="Folder for record.json and record.pdf.")] = Path("install"),
    ticket: Annotated[Path | None, typer.Option(help="Work ticket: its QR text or the message.")] = None,
    api: Annotated[str | None, typer.Option(help="The office's address, for permissions.")] = None,
    api_key: Annotated[Path | None, typer.Option(help="File with your API key.")] = None,
    job: Annotated[str | None, typer.Option(help="The job's id, hex.")] = None,
    ca: Annotated[Path | None, typer.Option(help="The office's own CA, PEM.")] = None,
    delegation: Annotated[
        Path | None, typer.Option(help="Your own delegation, for the relay test and the binding.")
    ] = None,
    box_key: Annotated[
        str | None, typer.Option(help="The box's COSE_Key in hex; else the office is asked.")
    ] = None,
    device: Annotated[
        str | None, typer.Option(help="The box's id; else that of the home's trust.json.")
    ] = None,
    answers: Annotated[Path | None, typer.Option(help="TOML file that answers instead of a person.")] = None,
    redo: Annotated[Step | None, typer.Option(help="Set this step back first, and what rests on it.")] = None,
    abort: Annotated[bool, typer.Option("--abort", help="Give the job up; the car stays as found.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object at the end.")] = False,
) -> None:
    """Fit a box at the car, one step at a time, with what to do and what was measured."""
    console = Console(stderr=as_json)
    with told(as_json=as_json):
        signer = read_key(key)
        office = _office(api, api_key, job, ca)
        seal = Seal(signer, _ticket(ticket, office), None if delegation is None else _read(delegation))
        hands = PersonHands(console) if answers is None else AnswersHands(read_answers(answers))
        named = DeviceId(device or _device(home))
        keys = _keys(box_key, office, named)
        with BoxLine(home / SOCKET, keys) as box, RichShow(console) as show:
            dialogue = Dialogue(box=box, hands=hands, office=office or NoOffice(), seal=seal, show=show)
            report = dialogue.begin(named)
            if abort:
                report = dialogue.abort(report)
                _say_aborted(report.stage, console, as_json=as_json)
                return
            if redo is not None:
                report = dialogue.redo(report, redo)
            done = dialogue.run(report)
        found = _write(out, done, seal.ticket)
        if as_json:
            typer.echo(json.dumps(found))
        else:
            console.print(
                f"\n[bold green]signed[/]  {found['record']}\n        {found['pdf']}", highlight=False
            )
            console.print(f"waited {found['waited_s']} s, people {found['people_s']} s", style="dim")


class RichShow:
    """The steps on a terminal, and a spinner for what is waited for."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._status = console.status("the box works")

    def row(self, row: StepRow) -> None:
        """Show how a step ended."""
        measured = f"measured {with_unit(row.measured, row.unit)}" if row.measured else ""
        expected = f"expected {with_unit(row.expected, row.unit)}" if row.expected else ""
        seen = ", ".join(part for part in (measured, expected) if part)
        mark = MARKS[row.state]
        self._console.print(f"{mark:<8} {row.step:<14} {row.took_ms / 1_000:5.1f} s  {seen}", highlight=False)
        if row.code:
            self._console.print(f"         [yellow]{said(row.code)}[/]", highlight=False)

    def working(self, text: str) -> None:
        """Show what is waited for; with nothing, leave the line to a question."""
        if not text:
            self._status.stop()
            return
        self._status.update(text)
        self._status.start()

    def __enter__(self) -> Self:
        """Begin to spin, on a terminal."""
        self._status.start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self._status.stop()


def _office(
    api: str | None, api_key: Path | None, job: str | None, authority: Path | None
) -> BackendOffice | None:
    if api is None:
        return None
    if api_key is None or job is None:
        raise typer.BadParameter("an office needs --api-key FILE and --job ID too", param_hint="--api")
    try:
        secret = api_key.read_text("utf-8").strip()
    except OSError as error:
        raise ToolError(Common.NO_FILE, f"{api_key} cannot be read ({error.strerror}).") from error
    return BackendOffice(url=api.rstrip("/"), api_key=secret, job_id=job, authority=authority)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ToolError(Common.NO_FILE, f"{path} cannot be read ({error.strerror}).") from error


def _ticket(path: Path | None, office: BackendOffice | None) -> bytes:
    if path is not None:
        return read_ticket(path)
    if office is None:
        raise typer.BadParameter("name the work ticket, or the office and the job", param_hint="--ticket")
    return office.ticket()


def _device(home: Path) -> str:
    try:
        return str(json.loads((home / "trust.json").read_text("utf-8"))["device"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        sentence = f"{home} is no enrolled box's home: name the right one, or --device."
        raise ToolError(Common.NO_FILE, sentence) from error


def _keys(box_key: str | None, office: BackendOffice | None, device: str) -> KeyLookup:
    """Return the lookup of the box's keys; the first of them is what its id is made of."""
    if box_key is None and office is None:
        raise typer.BadParameter("name the box's key, or an office that knows it", param_hint="--box-key")
    try:
        found = [bytes.fromhex(box_key)] if box_key is not None else []
        found = found or (office.device_keys(device) if office is not None else [])
        keys = {thumbprint(key): key for key in map(public_key_from_cose, found)}
    except (ValueError, ProtocolError) as error:
        raise ToolError(
            SealCode.BAD_KEY, "The box's key does not read: copy it from its label record."
        ) from error
    return keys.get


def _write(folder: Path, done: Installed, ticket: bytes) -> dict[str, Any]:
    """Write the record's two files and say where they are."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        path, pdf = folder / "record.json", folder / "record.pdf"
        text = write_record_file(record=done.record, attestation=done.commissioning, ticket=ticket)
        beside = path.with_suffix(".new")
        with beside.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
        write_pdf(path, pdf, trust=None)
    except OSError as error:
        sentence = f"{folder} cannot be written ({error.strerror}): name another --out and run this again."
        raise ToolError(Common.UNREADABLE, sentence) from error
    return {
        "record": str(path),
        "pdf": str(pdf),
        "sha256": hashlib.sha256(record_payload(done.record)).hexdigest(),
        "verdict": json.loads(text)["readable"]["verdict"],
        "waited_s": round(done.waited_s, 1),
        "people_s": round(done.people_s, 1),
    }


def _say_aborted(stage: Stage, console: Console, *, as_json: bool) -> None:
    if as_json:
        typer.echo(json.dumps({"stage": str(stage)}))
    else:
        console.print("aborted: the relay is free, nothing is bound, the car is as it was found")
