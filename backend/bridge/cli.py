"""`tbox backend bridge`: the process between broker and database.

Example:
    $ tbox backend bridge --home /srv/tbox --broker-host broker.example --broker-port 8883
"""

import logging
import signal
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from backend.bridge.link import BrokerLink, LinkSettings
from backend.bridge.pump import Pump
from backend.clock import utc_us
from backend.domain.certificates import common_name, is_bridge_name
from backend.errors import SettingsError
from backend.settings import Settings, load_settings
from backend.store.database import open_database
from backend.store.key_files import load_certificate, read_private
from backend.store.migrate import require_current
from backend.usecases.service_identity import load_receipt_signer

app = typer.Typer(
    invoke_without_command=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a key
    help="Take in what the boxes send, and answer with signed receipts.",
    epilog="Example: tbox backend bridge --broker-host broker.example --broker-port 8883",
)

LOG = logging.getLogger(__name__)
LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"


@app.callback(invoke_without_command=True)
def bridge(
    *,
    home: Annotated[
        Path | None,
        typer.Option(
            help="Folder of this instance. Default: $TBOX_HOME, else ./tbox-home.", show_default=False
        ),
    ] = None,
    broker_host: Annotated[
        str | None, typer.Option(help="Broker, as it is named in its certificate.", show_default=False)
    ] = None,
    broker_port: Annotated[
        int | None, typer.Option(min=1, max=65_535, help="Its mTLS port.", show_default=False)
    ] = None,
    ca: Annotated[
        Path | None, typer.Option(help="PEM of the broker's authority. Default: this instance's own CA.")
    ] = None,
    cert: Annotated[
        Path | None, typer.Option(help="PEM of our certificate. Default: tls/bridge.pem.")
    ] = None,
    key: Annotated[Path | None, typer.Option(help="PEM of its key. Default: tls/bridge.key.")] = None,
    client_id: Annotated[
        str | None,
        typer.Option(help="MQTT client id. Default: the name in the certificate; each bridge has its own."),
    ] = None,
    project: Annotated[
        bool, typer.Option("--project/--no-project", help="Keep the derived tables up to date as well.")
    ] = True,
) -> None:
    """Run until Ctrl-C or SIGTERM. What is not committed stays with the broker and comes again."""
    settings = load_settings(home=home, broker_host=broker_host, broker_port=broker_port)
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    database = open_database(settings.database_url)
    try:
        require_current(database)
        pump = Pump(
            database=database,
            signer=load_receipt_signer(settings),
            link=_link(settings, ca=ca, cert=cert, key=key, client_id=client_id),
            clock=utc_us,
            is_projecting=project,
        )

        def end(number: int, frame: FrameType | None) -> None:
            del number, frame
            pump.stop()

        signal.signal(signal.SIGTERM, end)
        signal.signal(signal.SIGINT, end)
        pump.run()
    finally:
        database.close()


def _link(
    settings: Settings, *, ca: Path | None, cert: Path | None, key: Path | None, client_id: str | None
) -> BrokerLink:
    """Return the line to the broker, not started.

    Raises:
        SecretError: The key is missing or open to others, or there is no certificate.
        SettingsError: A certificate does not load.
    """
    key_file = key or settings.bridge_key_path
    read_private(key_file)
    cert_file = cert or settings.bridge_certificate_path
    name = common_name(load_certificate(cert_file))
    if not is_bridge_name(name):
        LOG.warning("certificate of no bridge name=%s: our access list lets it hear nothing", name)
    try:
        return BrokerLink(
            LinkSettings(
                host=settings.broker_host,
                port=settings.broker_port,
                ca_file=ca or settings.ca_certificate_path,
                cert_file=cert_file,
                key_file=key_file,
                client_id=client_id or name,
            )
        )
    except OSError as failed:
        raise SettingsError(
            what=f"the TLS files do not load: {failed}",
            next_step="run `tbox backend init`, or give --ca, --cert and --key",
        ) from failed
