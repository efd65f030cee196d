"""`tbox backend ca | service-key`: what the CA issues to others than boxes, and the signing keys."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from sqlmodel import Session

from backend.cli.opening import Instance, open_instance, shown_time
from backend.cli.output import AsJson, Home, Record, refuse, show, show_list
from backend.clock import utc_us
from backend.domain.certificates import Issuer, check_host_names, check_service_name
from backend.settings import Settings
from backend.store.key_files import load_private_key, make_private_key, replace_public
from backend.store.service_keys import list_service_keys
from backend.usecases.issue_certificates import (
    issue_client_certificate,
    issue_server_certificate,
    publish_crl,
)
from backend.usecases.register_service_keys import ServicePurpose
from backend.usecases.service_identity import load_identity, load_trusted_key
from backend.usecases.succeed_service_key import succeed_service_key
from backend.usecases.tell_broker import tell_broker
from protocol.envelope import SoftwareSigner

ca_app = typer.Typer(no_args_is_help=True, help="The own CA: revocation list, certificates for servers.")
service_key_app = typer.Typer(no_args_is_help=True, help="Keys that sign receipts and policies.")

OutFolder = Annotated[
    Path | None,
    typer.Option("--out", help="Folder for NAME.pem and NAME.key. Default: <home>/tls.", show_default=False),
]
Issue = Callable[[Session, Issuer, str, EllipticCurvePublicKey], str]
"""Issues within a session, for an organisation's key, and returns the chain."""


@ca_app.command("crl", epilog="Example: tbox backend ca crl --out /etc/mosquitto/tbox.crl")
def ca_crl(
    *,
    out: Annotated[Path | None, typer.Option(help="File to write; without it the list is printed.")] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a fresh revocation list for a broker, good for a month; make one daily."""
    with open_instance(home) as instance, instance.database.reading() as session:
        pem = publish_crl(session, issuer=load_identity(instance.settings).issuer, now_us=utc_us())
    if out is not None:
        replace_public(out, pem.encode())
        show({"crl": str(out)}, as_json=as_json)
    elif as_json:
        show({"crl_pem": pem}, as_json=True)
    else:
        typer.echo(pem, nl=False)


@ca_app.command("server-cert", epilog="Example: tbox backend ca server-cert broker.example.com 192.0.2.7")
def ca_server_cert(
    *,
    names: Annotated[list[str], typer.Argument(help="Host names and addresses, the first one as CN.")],
    out: OutFolder = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Issue a certificate for the broker or the API; its key is made here, or kept if it exists."""

    def issue(session: Session, issuer: Issuer, org_id: str, key: EllipticCurvePublicKey) -> str:
        return issue_server_certificate(
            session, issuer=issuer, org_id=org_id, public_key=key, names=names, now_us=utc_us()
        )

    _accept(lambda: check_host_names(names))
    with open_instance(home) as instance:
        _issue(instance, names[0], issue, out=out, as_json=as_json)


@ca_app.command("client-cert", epilog="Example: tbox backend ca client-cert bridge")
def ca_client_cert(
    *,
    name: Annotated[str, typer.Argument(help="Name of the process: a-z, 0-9 and -, at most 40.")],
    out: OutFolder = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Issue a certificate with which a process of the server shows itself to the broker.

    One named `bridge-2`, or `bridge-` and anything, is let in as a bridge after the broker's next SIGHUP.
    """

    def issue(session: Session, issuer: Issuer, org_id: str, key: EllipticCurvePublicKey) -> str:
        return issue_client_certificate(
            session, issuer=issuer, org_id=org_id, public_key=key, name=name, now_us=utc_us()
        )

    _accept(lambda: check_service_name(name))
    with open_instance(home) as instance:
        _issue(instance, name, issue, out=out, as_json=as_json)
        tell_broker(
            instance.database,
            folder=instance.settings.broker_path,
            issuer=load_identity(instance.settings).issuer,
            now_us=utc_us(),
        )


@service_key_app.command("list", epilog="Example: tbox backend service-key list --json")
def service_key_list(*, home: Home = None, as_json: AsJson = False) -> None:
    """List the public keys that sign receipts and policies: what a verifier puts in his trust file."""
    with open_instance(home) as instance, instance.database.reading() as session:
        records: list[Record] = [
            {
                "purpose": row.purpose,
                "kid": row.kid,
                "cose_key": row.cose_key.hex(),
                "since": shown_time(row.created_us),
                "retired": shown_time(row.retired_us),
            }
            for purpose in ServicePurpose
            for row in list_service_keys(session, purpose=purpose)
        ]
    show_list(records, as_json=as_json, empty="no keys: run `tbox backend init`")


@service_key_app.command("succeed", epilog="Example: tbox backend service-key succeed receipt --yes")
def service_key_succeed(
    *,
    purpose: Annotated[ServicePurpose, typer.Argument(help="Which key.")],
    yes: Annotated[bool, typer.Option("--yes", help="Do it without asking.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Replace a signing key; the old one signs its successor. Restart API and bridge afterwards."""
    with open_instance(home) as instance:
        path = _key_path(instance.settings, purpose)
        old = SoftwareSigner(load_trusted_key(path, demo=instance.settings.demo))
        if not yes:
            typer.confirm(
                f"Replace the {purpose} key {old.kid.hex()}? Its private half is destroyed.", abort=True
            )
        org_id = instance.org_id(None)
        with instance.database.writing() as session:
            new = succeed_service_key(
                session, path=path, signer=old, purpose=purpose, org_id=org_id, now_us=utc_us()
            )
    show({"purpose": purpose.value, "retired": old.kid.hex(), "now": new.kid.hex()}, as_json=as_json)


def _accept(check: Callable[[], None]) -> None:
    """Refuse a name before anything is made; a name that is accepted can also be a file's."""
    try:
        check()
    except ValueError as wrong:
        raise refuse(str(wrong)) from wrong


def _issue(instance: Instance, name: str, issue: Issue, *, out: Path | None, as_json: bool) -> None:
    """Make or keep the key `NAME.key`, have `NAME.pem` issued, and say where they are."""
    folder = out if out is not None else instance.settings.home / "tls"
    key_path, chain_path = folder / f"{name}.key", folder / f"{name}.pem"
    issuer = load_identity(instance.settings).issuer
    key = load_private_key(key_path) if key_path.exists() else make_private_key(key_path)
    with instance.database.writing() as session:
        chain = issue(session, issuer, instance.org_id(None), key.public_key())
    replace_public(chain_path, chain.encode())
    ca = instance.settings.ca_certificate_path
    show({"certificate": str(chain_path), "key": str(key_path), "ca": str(ca)}, as_json=as_json)


def _key_path(settings: Settings, purpose: ServicePurpose) -> Path:
    match purpose:
        case ServicePurpose.RECEIPT:
            return settings.receipt_key_path
        case ServicePurpose.POLICY:
            return settings.policy_key_path
