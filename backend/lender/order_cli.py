"""`tbox lender list | request | resend | approve | withdraw | status`: what maker and checker type."""

from pathlib import Path
from typing import Annotated

import typer

from backend.lender.cars import Car
from backend.lender.checking import Checked
from backend.lender.errors import NotThereError, RefusesError, WrongUsageError
from backend.lender.files import read_file
from backend.lender.keys import open_key
from backend.lender.log_word import look_at_log, place_of, read_pins, told
from backend.lender.making import Ask
from backend.lender.officer import Officer, open_officer, with_delegations
from backend.lender.order_text import lines
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
    show_rows,
)
from backend.lender.plain import member, shown
from backend.lender.server import Json
from backend.lender.settings import Settings, load_settings
from backend.lender.telling import Reported, basis_text, order_lines, reported, status_lines, waits_for
from backend.lender.words import REASON_CODES
from protocol.limits import BASIS_BYTES_MAX
from protocol.orders import OrderType

Device = Annotated[str, typer.Argument(help="Device id of the car's box, 64 hex digits.")]
OrderId = Annotated[str, typer.Argument(help="Order id, 32 hex digits.")]
Delegations = Annotated[
    list[Path] | None, typer.Option("--delegation", help="Your delegation. Default: those of lender.toml.")
]
_REQUESTABLE = {"lock": OrderType.LOCK, "warn": OrderType.WARN, "renew": OrderType.RENEW}


def request(
    *,
    kind: Annotated[str, typer.Argument(help="lock, warn or renew.")],
    device: Device,
    basis: Annotated[Path, typer.Option(help="Basis bundle, as the loan system made it.")],
    order_hours: Annotated[int, typer.Option(min=1, max=24, help="Hours until the order ends.")] = 24,
    lease_hours: Annotated[int, typer.Option(min=1, max=168, help="Hours a lock may hold.")] = 72,
    warn_lead_s: Annotated[int, typer.Option(min=0, help="Seconds of warning in the car.")] = 259_200,
    override_hours: Annotated[int, typer.Option(min=24, max=168, help="Hours of an emergency window.")] = 48,
    key: Key = None,
    delegation: Delegations = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Ask for a lock, a warning or a renewal as its maker: shown decoded, signed here, handed in.

    It does nothing before a checker and the gate have signed too.
    """
    if kind not in _REQUESTABLE:
        raise WrongUsageError(f"{kind!r} cannot be requested; lock, warn and renew can")
    settings = with_delegations(load_settings(config), delegation)
    officer = open_officer(settings)
    asked = officer.prepare(
        device,
        read_file(basis, max_bytes=BASIS_BYTES_MAX),
        lambda opened: Ask(
            type=_REQUESTABLE[kind],
            basis=read_file(basis, max_bytes=BASIS_BYTES_MAX),
            episode=opened.episode,
            order_hours=order_hours,
            lease_hours=lease_hours,
            warn_lead_s=warn_lead_s,
            override_hours=override_hours,
        ),
    )
    _say_car(asked.car, as_json=as_json)
    for line in order_lines(asked.order, settings.language):
        say(line, as_json=as_json)
    for line in basis_text(asked.basis, now_s=officer.now(), language=settings.language):
        say(line, as_json=as_json)
    confirm(f"Sign this {kind} for the car …{asked.car.last4} as its maker?", yes=yes)
    with open_key(
        key_of(key, settings), ask_passphrase(passphrase_file), module or settings.pkcs11_module
    ) as by:
        answer = officer.hand_in(asked, by)
    show(
        {"order": asked.order[2].hex(), "stage": shown(answer.get("stage")), "next": "a checker approves it"},
        as_json=as_json,
    )


def resend(*, order: OrderId, config: Config = None, as_json: AsJson = False) -> None:
    """Hand in again what was signed and of which no answer came. It is the same order, not a second one."""
    answer = open_officer(load_settings(config)).resend(order)
    show({"order": order, "stage": shown(answer.get("stage"))}, as_json=as_json)


def approve(
    *,
    order: OrderId,
    reason_code: Annotated[
        str | None, typer.Option(help="What you checked yourself: ACCOUNT, NOTICES, BORROWER or FILE.")
    ] = None,
    key: Key = None,
    delegation: Delegations = None,
    yes: Yes = False,
    passphrase_file: PassphraseFile = None,
    module: Module = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """Check another person's order and sign it: everything is decoded and verified on this machine.

    You confirm by typing the last four characters of the car's VIN, or of its reference.
    """
    settings = with_delegations(load_settings(config), delegation)
    officer = open_officer(settings)
    checked = officer.fetch(order)
    tell_checked(checked, officer, as_json=as_json)
    code = _reason(reason_code, settings.language)
    _confirm_car(checked, yes=yes)
    with open_key(
        key_of(key, settings), ask_passphrase(passphrase_file), module or settings.pkcs11_module
    ) as by:
        answer = officer.approve(checked, by, reason_code=code)
    show({"order": checked.cmd_id.hex(), "stage": shown(answer.get("stage"))}, as_json=as_json)


def show_order(*, order: OrderId, config: Config = None, as_json: AsJson = False) -> None:
    """Show an order that waits for a checker, decoded and verified, without signing it."""
    officer = open_officer(load_settings(config))
    checked = officer.fetch(order)
    if not as_json:
        tell_checked(checked, officer, as_json=False)
        return
    fields = {str(line.key): {"name": line.name, "value": line.value} for line in lines(checked.order, "en")}
    record = {"order": checked.cmd_id.hex(), "car": checked.car.ref, "maker": shown(checked.maker.person)}
    show(record | {"fields": fields}, as_json=True)


def withdraw(*, order: OrderId, yes: Yes = False, config: Config = None, as_json: AsJson = False) -> None:
    """Take an order back that was not sent yet. One that the car has is taken back by `cancel`."""
    confirm(f"Withdraw the order {order}?", yes=yes)
    answer = open_officer(load_settings(config)).server.withdraw(order, key=f"withdraw-{order}")
    show({"order": order, "stage": shown(answer.get("stage"))}, as_json=as_json)


def list_orders(
    *,
    stage: Annotated[str | None, typer.Option(help="Only this stage, e.g. AWAITING_CHECKER.")] = None,
    device: Annotated[str | None, typer.Option(help="Only this car.")] = None,
    config: Config = None,
    as_json: AsJson = False,
) -> None:
    """List orders as the server has them; `show` and `status` verify one."""
    officer = open_officer(load_settings(config))
    items = member(officer.server.orders(device=device, stage=stage), "items", list)
    names = ("cmd_id", "type", "stage", "device")
    rows = [{name: shown(one.get(name)) for name in names} for one in items if isinstance(one, dict)]
    waiting = [
        {"cmd_id": name, "type": "-", "stage": "NOT_SENT", "device": "-"}
        for name in officer.notebook.outbox()
    ]
    show_rows([*waiting, *rows], as_json=as_json, empty="no orders")


def status(*, device: Device, config: Config = None, as_json: AsJson = False) -> None:
    """Show what was asked of a car beside what the car itself has proved. Without its signature: UNKNOWN."""
    settings = load_settings(config)
    officer = open_officer(settings)
    car = officer.cars.of(device)
    newest = officer.server.newest_order(car.device)
    word = officer.word_of(car)
    what = reported(word, cmd_id=None, now_s=officer.now(), language=settings.language)
    logged = _logged(officer, newest)
    waits = waits_for(word.last_of_lock(), settings.language)
    if as_json:
        show(_status_record(car, newest, what, waits) | {"log": logged}, as_json=True)
        return
    desired = (
        f"{shown(newest['type'])} {shown(newest.get('stage'))} (server)" if newest.get("type") else "no order"
    )
    show(dict(_numbered([*status_lines(car, desired, what, waits), ("log", logged)])), as_json=False)


def _logged(officer: Officer, newest: Json) -> str:
    """Return what the log proves of the newest order, by the pinned key."""
    try:
        head = look_at_log(officer.server, officer.notebook, read_pins(officer.settings))
    except NotThereError:
        return "no checkpoint was signed yet"
    if head is None or not newest.get("cmd_id"):
        return told(head, None)
    return told(head, place_of(officer.server, head, officer.server.order(str(newest["cmd_id"]))))


def key_of(key: str | None, settings: Settings) -> str:
    """Return the key that was named, else the settings'.

    Raises:
        WrongUsageError: neither names one.
    """
    found = key or settings.key
    if found is None:
        raise WrongUsageError("no key is named", next_step="give --key, or set key in lender.toml")
    return found


def tell_checked(checked: Checked, officer: Officer, *, as_json: bool) -> None:
    """Show a verified order with its basis and maker."""
    language = officer.settings.language
    _say_car(checked.car, as_json=as_json)
    for line in order_lines(checked.order, language):
        say(line, as_json=as_json)
    say(f"  maker  {shown(checked.maker.person)}, signature and delegation verified", as_json=as_json)
    for line in basis_text(checked.basis, now_s=officer.now(), language=language):
        say(line, as_json=as_json)


def _say_car(car: Car, *, as_json: bool) -> None:
    say(f"car …{car.last4}  {car.ref}  ({car.jur})", as_json=as_json)


def _reason(name: str | None, language: str) -> str:
    """Return the checker's own reason, asked for when it was not given."""
    if name is None:
        for word, texts in REASON_CODES.items():
            typer.echo(f"  {word:<9} {texts[language]}", err=True)
        name = typer.prompt("What did you check yourself", err=True)
    if name.upper() not in REASON_CODES:
        raise WrongUsageError(f"{shown(name)!r} is no reason code; there are {', '.join(REASON_CODES)}")
    return name.upper()


def _confirm_car(checked: Checked, *, yes: bool) -> None:
    if yes:
        return
    typed = typer.prompt("Type the last 4 characters of the car's VIN or reference to sign", err=True)
    if typed.strip().upper() != checked.car.last4.upper():
        raise RefusesError(
            f"the order is for the car …{checked.car.last4}, you typed {shown(typed)}",
            next_step="look again which car you mean; nothing was signed",
        )


def _status_record(
    car: Car, newest: dict[str, object], what: Reported, waits: str | None
) -> dict[str, object]:
    return {
        "device": car.device,
        "desired": {name: shown(newest[name]) for name in ("cmd_id", "type", "stage") if name in newest},
        "reported": {
            "state": what.state,
            "code": what.code,
            "since": what.since,
            "age_s": what.age_s,
            "relay": what.relay,
            "proof": what.proof,
        },
        "waits_for": waits,
        "doubts": list(what.doubts),
    }


def _numbered(pairs: list[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return lines whose names are unlike: a second doubt is `doubt 2`."""
    counts: dict[str, int] = {}
    named = []
    for name, value in pairs:
        counts[name] = counts.get(name, 0) + 1
        named.append((name if counts[name] == 1 else f"{name} {counts[name]}", value))
    return named
