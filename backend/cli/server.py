"""`tbox backend init`, `migrate`, `partitions`, `serve`: set up, keep the tables current, answer requests."""

import json
import socket
from pathlib import Path
from typing import Annotated

import typer
import uvicorn

from backend.api.app import create_app
from backend.cli.opening import open_instance
from backend.cli.output import AsJson, Home, log_to_stderr, show, show_list
from backend.clock import utc_us
from backend.errors import RefusedError, SettingsError
from backend.settings import Settings, load_settings
from backend.store.database import open_database
from backend.store.key_files import read_private
from backend.store.migrate import downgrade, require_current, status, upgrade
from backend.usecases.keep_partitions import keep_partitions, read_partitions
from backend.usecases.set_up_home import set_up_home

_BACKLOG = 128


def init(
    *,
    home: Home = None,
    org: Annotated[
        str, typer.Option(help="Name of the first organisation, which runs this server.")
    ] = "T-Box",
    as_json: AsJson = False,
) -> None:
    """Set up an instance: folders, keys, CA, database, first organisation and its administrator's key.

    Running it again keeps what is there and makes what is missing. The key is printed by the run that makes
    it.
    """
    settings = load_settings(home=home)
    done = set_up_home(settings, organisation=org, now_us=utc_us())
    key = done.admin_key.text if done.admin_key is not None else None
    if as_json:
        report = {
            "home": str(settings.home.absolute()),
            "made": [str(path) for path in done.made],
            "migrated": done.migrated,
            "org_id": done.org_id,
            "admin_key": key,
            "ca_sha256": done.ca_sha256,
            "receipt_kid": done.receipt_kid,
        }
        typer.echo(json.dumps(report))
        return
    made = "set up" if done.made or done.migrated else "was set up before; nothing changed"
    typer.echo(f"{settings.home.absolute()} {made}")
    typer.echo(f"CA fingerprint   {done.ca_sha256}")
    typer.echo(f"receipt key      {done.receipt_kid}")
    if key is not None:
        typer.echo(f"administrator    {key}")
        typer.echo("Keep this key: it is not shown again. `tbox backend key create` makes others.")
    typer.echo("Next: tbox backend serve")


def migrate(
    *,
    home: Home = None,
    down_to: Annotated[
        str | None,
        typer.Option(help="Go back to this migration (`base` for none). Its tables' data is gone."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 4 when outdated.")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Go back without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Bring the database's tables to this program's, or back."""
    database = open_database(load_settings(home=home).database_url)
    try:
        before = status(database)
        if check:
            require_current(database)
        elif down_to is not None:
            if not yes:
                typer.confirm(f"Go back from {before.current} to {down_to} and lose their data?", abort=True)
            downgrade(database, revision=down_to)
        else:
            upgrade(database)
            keep_partitions(database, now_us=utc_us())
        after = status(database)
    finally:
        database.close()
    show({"before": before.current, "now": after.current, "wanted": after.head}, as_json=as_json)


def partitions(*, home: Home = None, as_json: AsJson = False) -> None:
    """Make the months of the large tables that are missing, and show all; PostgreSQL only.

    The bridge does it by itself. Rows in a `default` partition are of a month that was not made when they
    came; they are as good as all others and are moved when their month is made.
    """
    with open_instance(home) as instance:
        if not instance.database.is_postgresql:
            raise RefusedError(
                what="this instance keeps its data in SQLite, which has one table for all months",
                next_step="nothing to do; docs/guides/operator.md says when PostgreSQL is the better choice",
            )
        made = set(keep_partitions(instance.database, now_us=utc_us()))
        found = read_partitions(instance.database)
    show_list(
        [
            {
                "partition": at.name,
                "rows": at.rows,
                "bytes": at.size,
                "made_now": at.name in made,
            }
            for at in found
        ],
        as_json=as_json,
        empty="no partitions",
    )


def serve(
    *,
    home: Home = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port; 0 picks a free one and prints it.")] = None,
    tls_cert: Annotated[Path | None, typer.Option(help="PEM certificate chain.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM private key, mode 0600.")] = None,
    behind_proxy: Annotated[
        bool, typer.Option("--behind-proxy", help="A proxy on this machine ends TLS; believe its headers.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Answer requests until Ctrl-C. Beyond this machine only with TLS, its own or a proxy's."""
    settings = load_settings(
        home=home, api_host=host, api_port=port, api_tls_cert=tls_cert, api_tls_key=tls_key
    )
    _check_exposure(settings, behind_proxy=behind_proxy)
    database = open_database(settings.database_url)
    try:
        require_current(database)
        listener = _listen(settings)
        with listener:
            app = create_app(settings, database=database)
            url = _url(settings, listener)
            if as_json:
                typer.echo(json.dumps({"url": url, "docs": f"{url}/docs"}))
            else:
                typer.echo(f"API   {url}/v1\ndocs  {url}/docs\nstop  Ctrl-C")
            log_to_stderr()
            config = uvicorn.Config(
                app,
                log_config=None,
                access_log=False,
                server_header=False,
                proxy_headers=behind_proxy,
                ssl_certfile=settings.api_tls_cert,
                ssl_keyfile=settings.api_tls_key,
            )
            uvicorn.Server(config).run(sockets=[listener])
    finally:
        database.close()


def _check_exposure(settings: Settings, *, behind_proxy: bool) -> None:
    """Refuse to send keys and positions in the clear to anyone but this machine.

    Raises:
        SettingsError: Beyond loopback without TLS, or half a TLS configuration.
        SecretError: The TLS key is missing or open to others.
    """
    if (settings.api_tls_cert is None) != (settings.api_tls_key is None):
        raise SettingsError(
            what="TLS needs both a certificate and a key", next_step="give --tls-cert and --tls-key"
        )
    if settings.api_tls_key is not None and settings.api_tls_cert is not None:
        read_private(settings.api_tls_key)
        if not settings.api_tls_cert.is_file():
            raise SettingsError(what=f"{settings.api_tls_cert} does not exist")
    elif settings.listens_beyond_loopback and not behind_proxy:
        raise SettingsError(
            what=f"{settings.api_host} can be reached from outside, and there is no TLS",
            meaning="keys and positions would travel in the clear",
            next_step="give --tls-cert and --tls-key, or --behind-proxy when a proxy ends TLS",
        )


def _listen(settings: Settings) -> socket.socket:
    """Open the listening socket here, so that a port that is taken is one clear line, and port 0 is known."""
    family = socket.AF_INET6 if ":" in settings.api_host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.api_host, settings.api_port))
        listener.listen(_BACKLOG)
    except OSError as failed:
        listener.close()
        raise SettingsError(
            what=f"cannot listen on {settings.api_host}:{settings.api_port}: {failed.strerror}",
            meaning="another process has the port, or the address is not this machine's",
            next_step="choose another with --port; 0 picks a free one",
        ) from failed
    return listener


def _url(settings: Settings, listener: socket.socket) -> str:
    scheme = "http" if settings.api_tls_cert is None else "https"
    host = f"[{settings.api_host}]" if ":" in settings.api_host else settings.api_host
    return f"{scheme}://{host}:{listener.getsockname()[1]}"
