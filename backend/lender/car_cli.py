"""`tbox lender car | authority`: pin a car from its installation record; publish what the roots signed."""

from pathlib import Path
from typing import Annotated, Any

import typer

from backend.lender.cars import Car, Cars, bind_vin, read_cars, write_cars
from backend.lender.errors import LenderError, WrongUsageError
from backend.lender.files import read_file
from backend.lender.officer import open_officer
from backend.lender.output import AsJson, Config, ReportingGroup, show, show_rows
from backend.lender.plain import shown
from backend.lender.settings import load_settings
from protocol import orders_authority, orders_payload
from protocol.cose_sign import read_sign, read_sign1
from protocol.errors import ProtocolError
from protocol.ids import parse_device_id, public_key_from_cose
from protocol.orders import check_signature

_FORMS = {"delegation": "delegation", "snapshot": "authority", "revocation": "revocation"}
"""What the server calls a document, and the protocol its form."""

car_app = typer.Typer(cls=ReportingGroup, no_args_is_help=True, help="Cars pinned on this machine.")
authority_app = typer.Typer(
    cls=ReportingGroup, no_args_is_help=True, help="Delegations, snapshots, revocations: publish them."
)


@car_app.command(
    "pin",
    epilog="Example: tbox lender car pin 9f86…0a08 --mcu-key a401…9c --vin LSVAA4182E2123456 "
    "--vin-salt 00…ff --contract-ref 54f6…16 --jur US-CA",
)
def car_pin(
    *,
    device: Annotated[str, typer.Argument(help="Device id of the car's box, 64 hex digits.")],
    mcu_key: Annotated[str, typer.Option(help="COSE_Key of the controller (D1), 150 hex digits.")],
    contract_ref: Annotated[str, typer.Option(help="Commitment of the contract, 64 hex digits.")],
    jur: Annotated[str, typer.Option(help="Jurisdiction, e.g. US-CA.")],
    vin: Annotated[str | None, typer.Option(help="VIN, with --vin-salt.")] = None,
    vin_salt: Annotated[str | None, typer.Option(help="Salt of the installation record, hex.")] = None,
    vin_bind: Annotated[
        str | None, typer.Option(help="SHA-256(salt ‖ VIN), when the VIN is not known.")
    ] = None,
    epoch: Annotated[
        str | None, typer.Option(help="Epoch of the installation record, 32 hex digits.")
    ] = None,
    replace: Annotated[bool, typer.Option("--replace", help="Pin again what is pinned already.")] = False,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Pin a car from its installation record. Never take these values from the server."""
    path = load_settings(config).cars
    cars = read_cars(path)
    salt = None if vin_salt is None else _hex(vin_salt, "--vin-salt", None)
    if (vin is None) == (vin_bind is None) or (vin is None) != (salt is None):
        raise WrongUsageError("give --vin with --vin-salt, or --vin-bind alone")
    try:
        car = Car(
            device=parse_device_id(device),
            mcu_key=_hex(mcu_key, "--mcu-key", 75),
            vin_bind=bind_vin(vin, salt or b"") if vin else _hex(vin_bind or "", "--vin-bind", 32),
            contract_ref=_hex(contract_ref, "--contract-ref", 32),
            jur=jur,
            vin=vin,
            vin_salt=salt,
            epoch=None if epoch is None else _hex(epoch, "--epoch", 16),
        )
        public_key_from_cose(car.mcu_key)
    except ProtocolError as wrong:
        raise WrongUsageError(f"this is no car: {wrong}") from wrong
    if car.device in cars.by_device and not replace:
        raise LenderError("this car is pinned already", next_step="compare with `car list`, then --replace")
    write_cars(path, Cars(by_device=cars.by_device | {car.device: car}))
    show({"device": car.device, "mcu_id": car.mcu_id.hex(), "car": car.ref}, as_json=as_json)


@car_app.command("list", epilog="Example: tbox lender car list --json")
def car_list(*, config: Config = None, as_json: AsJson = False) -> None:
    """List the cars pinned on this machine."""
    cars = read_cars(load_settings(config).cars).by_device.values()
    rows = [
        {"car": car.ref, "jur": car.jur, "device": car.device, "mcu_id": car.mcu_id.hex()} for car in cars
    ]
    show_rows(rows, as_json=as_json, empty="no cars are pinned: see `tbox lender car pin --help`")


@authority_app.command(
    "publish", epilog="Example: tbox lender authority publish maker.delegation snapshot-1.cose"
)
def authority_publish(
    *,
    files: Annotated[list[Path], typer.Argument(help="Assembled documents.")],
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Hand documents of the roots to the server; each is read and verified here first."""
    officer = open_officer(load_settings(config))
    officer.trust.learn(officer.server)
    rows = []
    for path in files:
        data = read_file(path)
        kind = _kind(data, path)
        _verify(kind, data, officer.trust.roots)
        answer = officer.server.publish(kind, data)
        rows.append({"file": str(path), "kind": kind, "state": shown(answer.get("digest", "taken"))})
    show_rows(rows, as_json=as_json, empty="nothing")


def _kind(data: bytes, path: Path) -> str:
    for kind, read in (
        ("delegation", _sign_payload),
        ("snapshot", _sign_payload),
        ("revocation", _sign1_payload),
    ):
        try:
            orders_payload.read_document(_FORMS[kind], read(data))
        except ValueError:
            continue
        return kind
    raise LenderError(f"{path} is no delegation, snapshot or revocation")


def _sign_payload(data: bytes) -> bytes:
    return bytes(read_sign(data)[0])


def _sign1_payload(data: bytes) -> bytes:
    return bytes(read_sign1(data)[2])


def _verify(kind: str, data: bytes, roots: dict[str, object]) -> None:
    """Raise unless a pinned root believes the document; an addition is tried on the roots known."""
    readers: dict[str, Any] = {
        "snapshot": orders_authority.read_snapshot,
        "revocation": orders_authority.read_revocation,
    }
    try:
        if kind == "delegation":
            orders_authority.read_delegation(data, roots, check_signature)
            return
        payload = _sign1_payload(data) if kind == "revocation" else _sign_payload(data)
        issuer = orders_payload.read_document(_FORMS[kind], payload)[2]
        if issuer not in roots:
            raise LenderError(f"the document is of {shown(issuer)}, which is not pinned here")
        readers[kind](data, roots[issuer], check_signature)
    except orders_authority.AuthorityError as refused:
        raise LenderError(f"the car would refuse this {kind}: {refused}") from refused


def _hex(text: str, name: str, size: int | None) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if not value or (size is not None and len(value) != size):
        raise WrongUsageError(f"{name} is not {'' if size is None else f'{2 * size} '}hex digits")
    return value
