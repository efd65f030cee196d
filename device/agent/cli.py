"""`tbox agent`: a box's keys, enrol it, run it, look at it, renew its certificate, replay a recorded drive.

Rules: readiness is checked before anything changes. Errors are what, meaning and next step on standard error;
the exit codes stand in `process.Exit`.

It only translates between words and the modules of this package.

Example:
    $ tbox agent run --home /var/lib/tbox
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from device.adapters.enrolment_http import EnrolmentClient
from device.adapters.key_store import KeyName
from device.adapters.key_store_record import kind_of
from device.adapters.system_clock import SystemClock
from device.agent import enrolling
from device.agent import key_options as options
from device.agent.at_car_cli import code, hand_over
from device.agent.compiling import MATCHING_HELP, MATCHINGS, compile_table
from device.agent.home import AgentHome
from device.agent.mcu_cli import mcu
from device.agent.process import EXITS, Exit, fail, print_json
from device.agent.profile_cli import app as profile_app
from device.agent.replay_cli import replay
from device.agent.running import run_box
from device.agent.settings import read_settings
from device.agent.status import Status, read_status
from device.errors import EdgeError
from protocol.ids import cose_key_bytes, device_id

app = typer.Typer(
    add_completion=False,
    rich_markup_mode=None,
    no_args_is_help=True,
    help="The box in the car: enrol, run, replay a recording.",
    epilog=EXITS,
)

Home = Annotated[Path, typer.Option(help="Folder of this box: keys, certificate, settings, spool.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command(epilog="Example: tbox agent keys --home /var/lib/tbox --key-store tpm")
def keys(
    *,
    home: Home,
    key_store: options.Store = None,
    tpm: options.Tpm = None,
    tpm_handle: options.TpmHandle = None,
    pkcs11_module: options.Module = None,
    pkcs11_token: options.Token = None,
    pkcs11_label: options.KeyLabel = None,
    pkcs11_pin_file: options.PinFile = None,
    as_json: AsJson = False,
) -> None:
    """Make the keys of this home, or show whose they are. A signing key in a chip stays there."""
    place = AgentHome(home)
    try:
        where = options.place_of(
            place,
            key_store,
            tpm=(tpm, tpm_handle),
            token=(pkcs11_module, pkcs11_token, pkcs11_label, pkcs11_pin_file),
        )
        place.make()
        signer = place.keys.make_signer(where)
        place.keys.load_or_create(KeyName.TLS)
    except EdgeError as error:
        fail(error)
    device, store = device_id(signer.public_key), kind_of(where)
    if as_json:
        public_key = cose_key_bytes(signer.public_key).hex()
        print_json({"device": device, "key_store": store, "public_key": public_key, "home": str(home)})
    else:
        sys.stdout.write(f"device:    {device}\nkey store: {store}\n")


@app.command(
    epilog="Example: tbox agent enrol --api https://fleet.example --token tboxe_… --home /var/lib/tbox"
)
def enrol(
    *,
    api: Annotated[str, typer.Option(help="Address of the server, https://host[:port].")],
    token: Annotated[
        str, typer.Option(help="One-time token from the work order.", envvar="TBOX_ENROL_TOKEN")
    ],
    home: Home,
    ca: Annotated[Path | None, typer.Option(help="PEM of the server's own authority.")] = None,
    label: Annotated[str | None, typer.Option(help="What is printed on the box.")] = None,
    key_store: options.Store = None,
    tpm: options.Tpm = None,
    tpm_handle: options.TpmHandle = None,
    pkcs11_module: options.Module = None,
    pkcs11_token: options.Token = None,
    pkcs11_label: options.KeyLabel = None,
    pkcs11_pin_file: options.PinFile = None,
    as_json: AsJson = False,
) -> None:
    """Make this home a box: keys, certificate, whom to believe. Asking again after a failure does no harm."""
    place = AgentHome(home)
    try:
        where = options.place_of(
            place,
            key_store,
            tpm=(tpm, tpm_handle),
            token=(pkcs11_module, pkcs11_token, pkcs11_label, pkcs11_pin_file),
        )
        client = EnrolmentClient(api, ca_file=ca)
        enrolled = enrolling.enrol(place, client, token=token, label=label, api=api, ca_file=ca, place=where)
    except EdgeError as error:
        fail(error)
    broker = f"{enrolled.broker_host}:{enrolled.broker_port}"
    if as_json:
        print_json({"device": enrolled.device, "home": str(home), "broker": broker})
    else:
        sys.stdout.write(f"enrolled: {enrolled.device}\nbroker:   {broker}\n")
        sys.stdout.write(
            f"next:     name the car's buses in {place.settings}, then tbox agent run --home {home}\n"
        )


@app.command(epilog="Example: tbox agent renew --home /var/lib/tbox")
def renew(
    *,
    home: Home,
    api: Annotated[
        str | None, typer.Option(help="Address of the server, if not the one of agent.toml.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Get a new certificate by proof of the box's key; also when the old one has expired."""
    place = AgentHome(home)
    try:
        place.require_enrolled()
        settings = read_settings(place.settings)
        address = _address(api or settings.api_url)
        check_dates = SystemClock().is_trusted()
        client = EnrolmentClient(address, ca_file=settings.api_ca_file, check_dates=check_dates)
        enrolling.renew(place, client)
    except EdgeError as error:
        fail(error)
    until = read_status(place).certificate_until
    if as_json:
        print_json({"home": str(home), "certificate_until": until})
    else:
        sys.stdout.write(f"renewed: certificate until {until}\n")


@app.command(epilog="Example: tbox agent compile --dbc car.dbc --out /var/lib/tbox/tables/can0.table")
def compile(  # noqa: A001 - the word an installer types
    *,
    dbc: Annotated[Path, typer.Option(help="DBC file of the bus (.kcd and .sym are read too).")],
    out: Annotated[Path, typer.Option(help="Decode table to write.")],
    matching: Annotated[str, typer.Option(help=MATCHING_HELP)] = MATCHINGS[0],
    as_json: AsJson = False,
) -> None:
    """Compile a DBC into the table that the running agent loads."""
    try:
        warnings = compile_table(dbc, out, matching)
    except EdgeError as error:
        fail(error)
    if as_json:
        print_json({"table": str(out), "warnings": list(warnings)})
    else:
        for warning in warnings:
            sys.stderr.write(f"warning: {warning}\n")
        sys.stdout.write(f"compiled: {out}\n")


@app.command(epilog="Example: tbox agent status --home /var/lib/tbox --json")
def status(*, home: Home, as_json: AsJson = False) -> None:
    """Say what this home is, what is wrong with it, and what the running agent last said about itself."""
    found = read_status(AgentHome(home))
    if as_json:
        print_json(found.summary())
    else:
        sys.stdout.write(_status_text(found))
    if found.problems:
        raise typer.Exit(Exit.UNUSABLE)


@app.command(epilog="Example: tbox agent run --home /var/lib/tbox")
def run(*, home: Home) -> None:
    """Run the box until SIGTERM or Ctrl-C: read the car, sign, store, send. A stop seals and stores first."""
    run_box(home)


app.command(epilog="Example: tbox agent mcu --port /dev/ttyS1 --json")(mcu)
app.command(epilog="Example: tbox agent code 705-177-246 --home /var/lib/tbox   |   " + EXITS)(code)
app.command(
    "hand-over", epilog="Example: tbox agent hand-over car.order --home /var/lib/tbox   |   " + EXITS
)(hand_over)
app.add_typer(profile_app, name="profile")
app.command(
    epilog="Example: tbox agent replay --home box --can drive.log --dbc car.dbc --nmea drive.nmea   |   "
    + EXITS
)(replay)


def _address(api: str | None) -> str:
    """Return the server's address.

    Raises:
        EdgeError: nobody named one.
    """
    if api is None:
        next_step = "give --api, or [api] url in agent.toml"
        raise EdgeError("no server named", is_transient=False, next_step=next_step)
    return api


def _status_text(found: Status) -> str:
    lines = [
        f"{name}: {value}" for name, value in found.summary().items() if name not in ("problems", "readings")
    ]
    lines += [f"  {name}: {value}" for name, value in found.readings.items()]
    lines += [f"problem: {problem}" for problem in found.problems]
    return "\n".join(lines) + "\n"
