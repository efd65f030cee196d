"""`tbox install doctor`: is the box well, on site or from afar, and what to do where it is not.

Rules: it reads and changes nothing. One line a check: OK, WARN, FAIL or UNKNOWN, measured, expected, and what
to do. Exit codes: 0 nothing FAILs; 1 something does; 2 wrong usage; 3 cut short.

Example:
    $ tbox install doctor --home /var/lib/tbox
    $ tbox install doctor --api https://fleet.example --api-key key.txt --device 9f3c… --json
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path  # noqa: TC003 - typer reads the annotations
from typing import Annotated

import typer
from rich.console import Console

from firmware_tools.cli_errors import EXITS, Common, Exit, ToolError, told
from firmware_tools.doctor_checks import Check, Health, judge, worst
from firmware_tools.doctor_remote import find_in_office
from firmware_tools.doctor_site import find_on_site
from firmware_tools.install_office import BackendOffice

app = typer.Typer(add_completion=False, rich_markup_mode=None, pretty_exceptions_show_locals=False)

COLOURS = {Health.OK: "green", Health.WARN: "yellow", Health.FAIL: "bold red", Health.UNKNOWN: "dim"}
WAIT_S = 12.0  # the agent writes its readings every few seconds; two of them give a rate


@app.command(epilog=f"Example: tbox install doctor --home /var/lib/tbox   |   {EXITS}")
def doctor(
    *,
    home: Annotated[Path | None, typer.Option(help="The agent's home: look on site.")] = None,
    api: Annotated[str | None, typer.Option(help="The office's address: look from afar.")] = None,
    api_key: Annotated[Path | None, typer.Option(help="File with your API key.")] = None,
    device: Annotated[str | None, typer.Option(help="The box's id.")] = None,
    ca: Annotated[Path | None, typer.Option(help="The office's own CA, PEM.")] = None,
    wait: Annotated[float, typer.Option(min=0, max=60, help="Seconds to wait for a rate.")] = WAIT_S,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Look at a box and say for each part whether it is well, and what to do where it is not."""
    with told(as_json=as_json):
        if (home is None) == (api is None):
            raise typer.BadParameter("name the home on site, or the office from afar", param_hint="--home")
        console = Console(stderr=as_json)
        with console.status("looking at the box"):
            found = find_on_site(home, wait_s=wait) if home is not None else _remote(api, api_key, device, ca)
        checks = judge(found)
        if as_json:
            rows = [asdict(check) for check in checks]
            typer.echo(json.dumps({"health": str(worst(checks)), "checks": rows}))
        else:
            _print(console, checks)
    if worst(checks) is Health.FAIL:
        raise typer.Exit(int(Exit.REFUSED))


def _remote(
    api: str | None, api_key: Path | None, device: str | None, authority: Path | None
) -> dict[str, float | str | bool | None]:
    if api is None or api_key is None or device is None:
        raise typer.BadParameter("from afar needs --api-key FILE and --device ID", param_hint="--api")
    try:
        secret = api_key.read_text("utf-8").strip()
    except OSError as error:
        raise ToolError(Common.NO_FILE, f"{api_key} cannot be read ({error.strerror}).") from error
    office = BackendOffice(url=api.rstrip("/"), api_key=secret, job_id="", authority=authority)
    return find_in_office(office, device)


def _print(console: Console, checks: tuple[Check, ...]) -> None:
    """Print a line a check, and below it what to do where it is not well."""
    for check in checks:
        seen = f"{check.measured:<16} expected {check.expected}"
        state = f"[{COLOURS[check.state]}]{check.state:<7}[/]"
        console.print(f"{state} {check.name:<22} {seen}", highlight=False, soft_wrap=True)
        if check.state is not Health.OK:
            console.print(f"        → {check.todo}", style="bold", highlight=False, soft_wrap=True)
    console.print(f"the box: {worst(checks)}", style=COLOURS[worst(checks)])
