"""`tbox backend org | key | token | device`: what is in the registry, for the operator at the server."""

import json
from typing import Annotated

import typer

from backend.cli.opening import Instance, open_instance, shown_time
from backend.cli.output import AsJson, Home, Org, Record, refuse, show, show_list
from backend.clock import utc_us
from backend.domain.access import Role
from backend.domain.refusal import Refusal
from backend.errors import NotFoundError
from backend.store.api_keys import list_api_keys
from backend.store.certificates import list_certificates
from backend.store.devices import Device, find_device, list_device_keys, list_devices
from backend.store.enrolment_tokens import list_tokens
from backend.store.organisations import list_organisations
from backend.usecases.create_api_key import create_api_key, revoke_api_key
from backend.usecases.create_organisation import create_organisation
from backend.usecases.issue_enrolment_tokens import issue_enrolment_tokens
from backend.usecases.revoke_device import revoke_device
from backend.usecases.service_identity import load_identity
from backend.usecases.tell_broker import tell_broker
from protocol.limits import (
    API_KEY_LIFE_DAYS_DEFAULT,
    ENROLMENT_TOKEN_LIFE_S_DEFAULT,
    PAGE_ITEMS_DEFAULT,
)

_ISSUED_BY = "cli"

org_app = typer.Typer(no_args_is_help=True, help="Organisations: who owns boxes and keys.")
key_app = typer.Typer(no_args_is_help=True, help="API keys: who may ask the API what.")
token_app = typer.Typer(no_args_is_help=True, help="One-time enrolment tokens: one enrols one box.")
device_app = typer.Typer(no_args_is_help=True, help="Boxes in the registry.")

After = Annotated[str | None, typer.Option("--after", help="Start after this id.", show_default=False)]
Limit = Annotated[int, typer.Option("--limit", min=1, help="Rows at most.")]


@org_app.command("list", epilog="Example: tbox backend org list")
def org_list(*, home: Home = None, as_json: AsJson = False) -> None:
    """List all organisations."""
    with open_instance(home) as instance, instance.database.reading() as session:
        records: list[Record] = [
            {"name": row.name, "org_id": row.org_id, "platform": row.is_platform}
            for row in list_organisations(session)
        ]
    show_list(records, as_json=as_json, empty="no organisation yet: run `tbox backend init`")


@org_app.command("create", epilog='Example: tbox backend org create "Example Leasing"')
def org_create(
    *,
    name: Annotated[str, typer.Argument(help="What people call it; unique.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make an organisation."""
    with open_instance(home) as instance, instance.database.writing() as session:
        made = create_organisation(session, name=name, is_platform=False, now_us=utc_us())
    if isinstance(made, Refusal):
        raise refuse(made.detail)
    show({"name": made.name, "org_id": made.org_id}, as_json=as_json)


@key_app.command("list", epilog='Example: tbox backend key list --org "Example Leasing"')
def key_list(
    *,
    org: Org = None,
    after: After = None,
    limit: Limit = PAGE_ITEMS_DEFAULT,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List an organisation's API keys, without their secrets."""
    with open_instance(home) as instance, instance.database.reading() as session:
        rows = list_api_keys(session, org_id=instance.org_id(org), after=after, limit=limit)
    records: list[Record] = [
        {
            "key_id": row.key_id,
            "role": row.role,
            "name": row.name,
            "expires": shown_time(row.expires_us),
            "revoked": shown_time(row.revoked_us),
        }
        for row in rows
    ]
    show_list(records, as_json=as_json, empty="no keys")


@key_app.command("create", epilog='Example: tbox backend key create --role operator --name "loan system"')
def key_create(
    *,
    role: Annotated[Role, typer.Option(help="What its holder may be.")],
    name: Annotated[str, typer.Option(help="What it is for.")],
    days: Annotated[int, typer.Option(help="Days until it ends.")] = API_KEY_LIFE_DAYS_DEFAULT,
    org: Org = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make an API key and print it this once."""
    with open_instance(home) as instance:
        org_id = instance.org_id(org)
        with instance.database.writing() as session:
            made = create_api_key(
                session,
                org_id=org_id,
                name=name,
                role=role,
                life_days=days,
                roles=frozenset(Role),
                now_us=utc_us(),
            )
    if isinstance(made, Refusal):
        raise refuse(made.detail)
    show({"key": made.text, "role": role.value, "expires": shown_time(made.row.expires_us)}, as_json=as_json)


@key_app.command("revoke", epilog="Example: tbox backend key revoke 0123456789ab")
def key_revoke(
    *,
    key_id: Annotated[str, typer.Argument(help="Public part of the key: its second word.")],
    org: Org = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """End an API key now."""
    with open_instance(home) as instance:
        org_id = instance.org_id(org)
        with instance.database.writing() as session:
            ended = revoke_api_key(session, org_id=org_id, key_id=key_id, now_us=utc_us())
    if isinstance(ended, Refusal):
        raise NotFoundError(what=ended.detail, next_step="`tbox backend key list` shows all")
    show({"key_id": ended.key_id, "revoked": shown_time(ended.revoked_us)}, as_json=as_json)


@token_app.command("create", epilog="Example: tbox backend token create --count 5 --life-s 3600")
def token_create(
    *,
    count: Annotated[int, typer.Option(help="How many.")] = 1,
    life_s: Annotated[int, typer.Option(help="Seconds until they expire.")] = ENROLMENT_TOKEN_LIFE_S_DEFAULT,
    org: Org = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make one-time tokens and print them this once."""
    with open_instance(home) as instance:
        org_id = instance.org_id(org)
        with instance.database.writing() as session:
            made = issue_enrolment_tokens(
                session, org_id=org_id, issued_by=_ISSUED_BY, count=count, life_s=life_s, now_us=utc_us()
            )
    if isinstance(made, Refusal):
        raise refuse(made.detail)
    records: list[Record] = [
        {"token": issued.text, "expires": shown_time(issued.row.expires_us)} for issued in made
    ]
    show_list(records, as_json=as_json, empty="none")


@token_app.command("list", epilog="Example: tbox backend token list")
def token_list(
    *,
    org: Org = None,
    after: After = None,
    limit: Limit = PAGE_ITEMS_DEFAULT,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List an organisation's tokens, without their text."""
    with open_instance(home) as instance, instance.database.reading() as session:
        rows = list_tokens(session, org_id=instance.org_id(org), after=after, limit=limit)
    records: list[Record] = [
        {
            "token_id": row.token_id,
            "expires": shown_time(row.expires_us),
            "used": shown_time(row.used_us),
            "used_by": row.used_by,
        }
        for row in rows
    ]
    show_list(records, as_json=as_json, empty="no tokens")


@device_app.command("list", epilog="Example: tbox backend device list --json")
def device_list(
    *,
    org: Org = None,
    after: After = None,
    limit: Limit = PAGE_ITEMS_DEFAULT,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List an organisation's boxes."""
    with open_instance(home) as instance, instance.database.reading() as session:
        rows = list_devices(session, org_id=instance.org_id(org), after=after, limit=limit)
    show_list([_device(row) for row in rows], as_json=as_json, empty="no boxes")


@device_app.command("show", epilog="Example: tbox backend device show 9f86d081...")
def device_show(
    *,
    device_id: Annotated[str, typer.Argument(help="Device id, 64 hex digits.")],
    org: Org = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show a box with its keys and certificates."""
    with open_instance(home) as instance:
        org_id = instance.org_id(org)
        with instance.database.reading() as session:
            device = find_device(session, org_id=org_id, device_id=device_id)
            if device is None:
                raise NotFoundError(what="no such box in this organisation")
            record = _device(device)
            keys, certificates = _belongings(instance, org_id=org_id, device_id=device_id)
    if as_json:
        typer.echo(json.dumps(record | {"keys": keys, "certificates": certificates}))
        return
    show(record, as_json=False)
    typer.echo("")
    show_list(keys, as_json=False, empty="no keys")
    typer.echo("")
    show_list(certificates, as_json=False, empty="no certificates")


@device_app.command("revoke", epilog="Example: tbox backend device revoke 9f86d081... --yes")
def device_revoke(
    *,
    device_id: Annotated[str, typer.Argument(help="Device id, 64 hex digits.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    org: Org = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """End a box's life in the registry: keys, certificates, renewal. There is no way back.

    The broker's lists are written afresh, where `tbox backend broker config` has put them; it reads them on
    SIGHUP.
    """
    with open_instance(home) as instance:
        org_id = instance.org_id(org)
        if not yes:
            typer.confirm(f"Revoke {device_id}? It can never connect again with these keys.", abort=True)
        with instance.database.writing() as session:
            ended = revoke_device(session, org_id=org_id, device_id=device_id, now_us=utc_us())
        if isinstance(ended, Refusal):
            raise NotFoundError(what=ended.detail)
        tell_broker(
            instance.database,
            folder=instance.settings.broker_path,
            issuer=load_identity(instance.settings).issuer,
            now_us=utc_us(),
        )
    show(_device(ended), as_json=as_json)


def _device(row: Device) -> Record:
    return {
        "device": row.device_id,
        "label": row.label,
        "status": row.status,
        "created": shown_time(row.created_us),
        "revoked": shown_time(row.revoked_us),
    }


def _belongings(instance: Instance, *, org_id: str, device_id: str) -> tuple[list[Record], list[Record]]:
    """Return a box's keys and certificates as records."""
    with instance.database.reading() as session:
        keys: list[Record] = [
            {
                "kid": row.kid,
                "role": row.role,
                "cose_key": row.cose_key.hex(),
                "valid_from": shown_time(row.valid_from_us),
                "valid_to": shown_time(row.valid_to_us),
            }
            for row in list_device_keys(session, org_id=org_id, device_id=device_id)
        ]
        certificates: list[Record] = [
            {
                "serial": row.serial,
                "not_after": shown_time(row.not_after_us),
                "revoked": shown_time(row.revoked_us),
            }
            for row in list_certificates(session, org_id=org_id, device_id=device_id)
        ]
    return keys, certificates
