"""`tbox install record`: show a commissioning record, verify it offline, print it.

Rules: nothing needs a network or a server. `verify` believes only keys of the trust file; `show` and `pdf`
say whether the signatures were looked at. Exit codes: 0 done or verified, 1 refused with a sentence, 2 wrong
usage.

Example:
    $ tbox install record verify record.json --trust trust.json
    $ tbox install record pdf record.json --trust trust.json --out record.pdf
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from firmware_tools.cli_errors import EXITS, told
from firmware_tools.record_pdf import record_pdf
from firmware_tools.record_reading import RecordFile, Verified, read_record, read_trust, verify_record
from protocol.install_record import readable_record
from protocol.install_vocabulary import StepState

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    help="The signed record of an installation.",
    epilog=EXITS,
)

File = Annotated[Path, typer.Argument(help="The record's JSON file.")]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]
TrustFile = Annotated[Path, typer.Option(help="JSON with keys and policy_keys, COSE_Keys in hex.")]
MaybeTrust = Annotated[Path | None, typer.Option(help="Verify first, by this trust file.")]

NOT_LOOKED_AT = "not verified: no trust file was named"
COLOURS = {StepState.PASS: "green", StepState.FAIL: "bold red", StepState.LATER: "yellow"}


@app.command(epilog=f"Example: tbox install record show record.json   |   {EXITS}")
def show(file: File, *, trust: MaybeTrust = None, as_json: Json = False) -> None:
    """Show what a record says, step by step with expected and measured."""
    with told(as_json=as_json):
        found = read_record(file)
        verified = None if trust is None else verify_record(found, read_trust(trust))
        if as_json:
            typer.echo(json.dumps(_object(found, verified)))
            return
        console = Console()
        console.print(_table(found))
        console.print(_signatures(verified), highlight=False, markup=False)


@app.command(epilog=f"Example: tbox install record verify record.json --trust trust.json   |   {EXITS}")
def verify(file: File, *, trust: TrustFile, as_json: Json = False) -> None:
    """Verify box, microcontroller, installer and work ticket, without any server."""
    with told(as_json=as_json):
        verified = verify_record(read_record(file), read_trust(trust))
        if as_json:
            typer.echo(json.dumps(_object(verified.file, verified)))
            return
        content = verified.file.content
        typer.echo(f"VERIFIED  {verified.file.sha256.hex()}")
        typer.echo(f"{content.act} of {content.vin or 'a car without a VIN'}: {content.verdict}")
        typer.echo(_signatures(verified))


@app.command(epilog=f"Example: tbox install record pdf record.json --out record.pdf   |   {EXITS}")
def pdf(
    file: File,
    *,
    out: Annotated[Path, typer.Option(help="Where the PDF goes; an older one is replaced.")],
    trust: MaybeTrust = None,
    as_json: Json = False,
) -> None:
    """Write a record as PDF, from the bytes that were signed."""
    with told(as_json=as_json):
        write_pdf(file, out, trust=trust)
        if as_json:
            typer.echo(json.dumps({"pdf": str(out)}))
        else:
            typer.echo(f"{out}")


def write_pdf(file: Path, out: Path, *, trust: Path | None) -> None:
    """Write a record's PDF.

    Raises:
        ToolError: the record cannot be read, or does not verify.
    """
    found = read_record(file)
    signers = (NOT_LOOKED_AT, NOT_LOOKED_AT)
    if trust is not None:
        verify_record(found, read_trust(trust))
        signers = (f"{found.content.box_kid.hex()}, verified", f"{found.content.installer.hex()}, verified")
    out.write_bytes(record_pdf(found.content, sha256=found.sha256, signers=signers))


def _object(found: RecordFile, verified: Verified | None) -> dict[str, Any]:
    return {
        "sha256": found.sha256.hex(),
        "verified": verified is not None,
        "is_demo_firmware": None if verified is None else verified.microcontroller.is_demo,
        "record": readable_record(found.content),
    }


def _signatures(verified: Verified | None) -> str:
    if verified is None:
        return f"signatures {NOT_LOOKED_AT} (--trust FILE)"
    content, said = verified.file.content, verified.microcontroller
    demo = ", demonstration firmware" if said.is_demo else ""
    return (
        f"box {content.box_kid.hex()}\ninstaller {content.installer.hex()}\n"
        f"microcontroller {said.mcu_id.hex()}{demo}, {len(said.benches)} bench tests seen"
    )


def _table(found: RecordFile) -> Table:
    content = found.content
    table = Table(
        title=f"{content.act} of {content.vin or 'unknown VIN'}: {content.verdict}", title_justify="left"
    )
    for name in ("step", "result", "expected", "measured", "unit", "s", "finding"):
        table.add_column(name, justify="right" if name == "s" else "left")
    for row in content.steps:
        state = f"[{COLOURS.get(row.state, 'dim')}]{row.state}[/]"
        took = f"{row.took_ms / 1_000:.1f}"
        table.add_row(str(row.step), state, row.expected, row.measured, row.unit, took, row.code)
    return table
