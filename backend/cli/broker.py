"""`tbox backend broker`: the files of a mosquitto that serves this instance."""

import os
import pwd
from pathlib import Path
from typing import Annotated

import typer

from backend.cli.opening import open_instance
from backend.cli.output import AsJson, Home, Record, refuse, show
from backend.clock import utc_us
from backend.domain.broker_rules import CONFIGURATION, BrokerPlan
from backend.domain.certificates import check_host_names
from backend.errors import NotFoundError
from backend.usecases.service_identity import load_identity
from backend.usecases.set_up_broker import set_up_broker
from backend.usecases.tell_broker import tell_broker
from protocol.limits import BROKER_BOXES_DEFAULT, BROKER_BOXES_MAX

broker_app = typer.Typer(no_args_is_help=True, help="The files of the broker: mosquitto with mutual TLS.")

PACKAGED_USER = "mosquitto"


@broker_app.command(
    "config",
    epilog="Example: tbox backend broker config --out /var/lib/tbox-broker --name broker.example --boxes 500",
)
def broker_config(
    *,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder to write. Default: broker_folder of the settings, else <home>/broker."),
    ] = None,
    name: Annotated[
        list[str] | None,
        typer.Option(help="Host name or address, repeatable. Default: broker_host of the settings."),
    ] = None,
    port: Annotated[
        int | None,
        typer.Option(min=1, max=65_535, help="mTLS port. Default: broker_port.", show_default=False),
    ] = None,
    address: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: all of this machine's.")
    ] = None,
    boxes: Annotated[
        int, typer.Option(min=1, max=BROKER_BOXES_MAX, help="How many boxes its queues are sized for.")
    ] = BROKER_BOXES_DEFAULT,
    user: Annotated[
        str | None, typer.Option(help="User it runs as. Default: mosquitto for root, else yourself.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write all that mosquitto needs: configuration, certificate, access list, revocation list.

    Running it again keeps the key and renews the certificate. Start it with `mosquitto -c`; SIGHUP makes it
    read certificate and lists again.
    """
    with open_instance(home) as instance:
        settings = instance.settings
        names = name or [settings.broker_host]
        try:
            check_host_names(names)
        except ValueError as wrong:
            raise refuse(str(wrong)) from wrong
        plan = BrokerPlan(
            folder=str(out.absolute() if out is not None else settings.broker_path),
            user=user or (PACKAGED_USER if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name),
            port=port or settings.broker_port,
            address=address,
            boxes=boxes,
        )
        set_up_broker(
            instance.database,
            plan=plan,
            names=names,
            home=settings.home,
            issuer=load_identity(settings).issuer,
            org_id=instance.org_id(None),
            now_us=utc_us(),
        )
    record: Record = {
        "folder": plan.folder,
        "start": f"mosquitto -c {plan.folder}/{CONFIGURATION}",
        "reload": "SIGHUP, after each `broker refresh` and each revocation",
    }
    if plan.folder != str(settings.broker_path):
        record["setting"] = f'broker_folder = "{plan.folder}"  in {settings.home}/settings.toml'
    show(record, as_json=as_json)


@broker_app.command("refresh", epilog="Example: tbox backend broker refresh --home /srv/tbox")
def broker_refresh(*, home: Home = None, as_json: AsJson = False) -> None:
    """Write the broker's revocation list and access list afresh; run it daily, since the list runs out.

    A broker whose list has run out refuses every box.
    """
    with open_instance(home) as instance:
        folder = instance.settings.broker_path
        issuer = load_identity(instance.settings).issuer
        is_there = tell_broker(instance.database, folder=folder, issuer=issuer, now_us=utc_us())
    if not is_there:
        raise NotFoundError(
            what=f"{folder} holds no broker's files",
            next_step="run `tbox backend broker config`, or set broker_folder in settings.toml",
        )
    show({"folder": str(folder), "next": "send mosquitto a SIGHUP"}, as_json=as_json)
