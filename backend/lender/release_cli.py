"""`tbox lender unlock | cancel | decommission | freeze`: one signature, at any hour."""

import secrets
from pathlib import Path
from typing import Annotated

import typer

from backend.lender.errors import ServerError, WrongUsageError
from backend.lender.files import write_new
from backend.lender.keys import open_key
from backend.lender.officer import Officer, Release, open_officer, with_delegations
from backend.lender.order_cli import Delegations, Device, key_of
from backend.lender.output import (
    AsJson,
    Config,
    Key,
    Module,
    PassphraseFile,
    Yes,
    ask_passphrase,
    confirm,
    say,
    show,
)
from backend.lender.plain import shown
from backend.lender.server import Json, open_gate
from backend.lender.settings import load_settings
from backend.lender.telling import order_lines
from protocol.authority_bundle import DocumentKind, encode_bundle
from protocol.gate_records import GateRecord, RecordType, Scope, sign_gate_record
from protocol.orders import OrderType

Offline = Annotated[bool, typer.Option("--offline", help="Do without the server; needs --out.")]
OutOrder = Annotated[
    Path | None,
    typer.Option(
        "--out", help="Also write the order as a file, to hand over at the car; FILE.authority beside it."
    ),
]


def unlock(
    *,
    device: Device,
    offline: Offline = False,
    out: OutOrder = None,
    key: Key = None,
    delegation: Delegations = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Unlock a car: one signature is enough, it never expires and overtakes everything.

    Without the server, `--offline --out car.order` writes a file that the box takes at the car.
    """
    settings = with_delegations(load_settings(config), delegation)
    officer = open_officer(settings, offline=offline)
    release = officer.prepare_release(OrderType.UNLOCK, device)
    _release(officer, release, key, yes, out, (passphrase_file, module), offline=offline, as_json=as_json)


def cancel(
    *,
    device: Device,
    order: Annotated[str | None, typer.Option(help="Order id; default: whichever is open.")] = None,
    offline: Offline = False,
    out: OutOrder = None,
    key: Key = None,
    delegation: Delegations = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Take back an order that the car has and has not applied: one signature, as for unlock."""
    settings = with_delegations(load_settings(config), delegation)
    officer = open_officer(settings, offline=offline)
    release = officer.prepare_release(OrderType.CANCEL, device, cancels=_id(order))
    _release(officer, release, key, yes, out, (passphrase_file, module), offline=offline, as_json=as_json)


def decommission(
    *,
    device: Device,
    key: Key = None,
    delegation: Delegations = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """End the lender's authority over a car for good, once the loan is paid off, as its maker.

    The gate asks the loan system and signs beside you; then the car erases what it knew of the lender and
    says so by its own signature. It cannot be undone. `status` shows the car's word.
    """
    settings = with_delegations(load_settings(config), delegation)
    officer = open_officer(settings)
    release = officer.prepare_release(OrderType.DECOMMISSION, device)
    _release(officer, release, key, yes, None, (passphrase_file, module), offline=False, as_json=as_json)


def freeze(
    *,
    reason: Annotated[str, typer.Option(help="One sentence; it is logged.")],
    lender: Annotated[str | None, typer.Option(help="Only this lender, 16 hex digits.")] = None,
    contract: Annotated[str | None, typer.Option(help="Only this contract, 64 hex digits.")] = None,
    car: Annotated[str | None, typer.Option(help="Only this car, by its mcu_id, 64 hex digits.")] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write the record instead of sending it.")] = None,
    key: Key = None,
    delegation: Delegations = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Freeze restricting orders at the gate, as safety officer or ombuds: it signs nothing until lifted."""
    settings = with_delegations(load_settings(config), delegation)
    officer = open_officer(settings, offline=True)
    scope, name = _scope(lender, contract, car)
    confirm(f"Freeze {scope.name.lower()} {name.hex() if name else ''}: {reason!r}?", yes=yes)
    with open_key(
        key_of(key, settings), ask_passphrase(passphrase_file), module or settings.pkcs11_module
    ) as by:
        mine, delegated = officer.delegation_of(by, OrderType.UNLOCK, None)
        record = GateRecord(
            type=RecordType.FREEZE,
            record_id=secrets.token_bytes(16),
            written_s=officer.now(),
            delegation=mine.digest,
            body={1: int(scope), 2: name, 3: reason},
        )
        document = sign_gate_record(record, by)
    if out is not None:
        write_new(out, document)
        show({"record": str(out)}, as_json=as_json)
        return
    answer = open_gate(settings).post_record("/freeze", document, delegated)
    show({"record": record.record_id.hex(), "state": shown(answer.get("state"))}, as_json=as_json)


def _release(
    officer: Officer,
    release: Release,
    key: str | None,
    yes: bool,  # noqa: FBT001  # handed through from the option
    out: Path | None,
    secret: tuple[Path | None, Path | None],
    *,
    offline: bool,
    as_json: bool,
) -> None:
    """Show, ask, sign, write the file, hand in: the file is there even if the server is not."""
    settings = officer.settings
    if offline and out is None:
        raise WrongUsageError("--offline needs --out FILE for the order")
    for line in order_lines(release.order, settings.language):
        say(line, as_json=as_json)
    if not release.epoch_is_proved:
        say(
            "  ! the epoch is the server's word; if it is wrong, the car refuses and nothing is lost",
            as_json=as_json,
        )
    kind = OrderType(release.order[3]).name
    confirm(f"Sign this {kind} for the car …{release.car.last4}?", yes=yes)
    with open_key(
        key_of(key, settings), ask_passphrase(secret[0]), secret[1] or settings.pkcs11_module
    ) as by:
        message, document, body = officer.sign_release(release, by)
    record: dict[str, object] = {"order": release.order[2].hex()}
    if out is not None:
        write_new(out, message)
        bundle = encode_bundle([(DocumentKind.DELEGATION, document)])
        write_new(out.with_name(f"{out.name}.authority"), bundle)
        record |= {"file": str(out), "authority": f"{out}.authority"}
    if not offline:
        record |= {"stage": shown(_sent(officer, release, body, out).get("stage"))}
    show(record, as_json=as_json)


def _sent(officer: Officer, release: Release, body: Json, out: Path | None) -> Json:
    try:
        return officer.hand_in_release(release, body)
    except ServerError as failed:
        if out is None:
            raise
        raise ServerError(
            failed.what,
            status=failed.status,
            meaning=f"the server did not take the order; the signed order is in {out}",
            next_step="hand the file over at the car, or call the ombuds",
        ) from failed


def _scope(lender: str | None, contract: str | None, car: str | None) -> tuple[Scope, bytes | None]:
    named = [
        (scope, text, size)
        for scope, text, size in (
            (Scope.LENDER, lender, 8),
            (Scope.CONTRACT, contract, 32),
            (Scope.VEHICLE, car, 32),
        )
        if text is not None
    ]
    if len(named) > 1:
        raise WrongUsageError("name one of --lender, --contract and --car, or none for all")
    if not named:
        return Scope.ALL, None
    scope, text, size = named[0]
    return scope, _hex(text, size)


def _id(text: str | None) -> bytes | None:
    return None if text is None else _hex(text, 16)


def _hex(text: str, size: int) -> bytes:
    try:
        value = bytes.fromhex(text)
    except ValueError:
        value = b""
    if len(value) != size:
        raise WrongUsageError(f"{shown(text)!r} is not {2 * size} hex digits")
    return value
