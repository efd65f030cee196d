"""`tbox backend`: everything the operator of the server types.

Each command opens the instance in `--home` (or `TBOX_HOME`), does one thing, prints text or one JSON object,
and ends with an exit code that `backend.cli.output` lists.

Example:
    $ tbox backend init --home /srv/tbox --org "Example Leasing"
    $ tbox backend serve --home /srv/tbox
"""

from importlib import import_module
from importlib.util import find_spec

import typer

from backend.bridge.cli import app as bridge_app
from backend.cli.authority import ca_app, service_key_app
from backend.cli.broker import broker_app
from backend.cli.ledger import ledger_app
from backend.cli.orders import orders_app
from backend.cli.output import ReportingGroup
from backend.cli.registry import device_app, key_app, org_app, token_app
from backend.cli.rollouts import rollout_app
from backend.cli.server import init, migrate, partitions, serve
from backend.gate.cli import app as gate_app
from backend.witness.cli import app as witness_app

__all__ = ["app"]

app = typer.Typer(
    cls=ReportingGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a key
    help="The server: set up, serve, bridge, keys, devices, traces.",
    epilog="Exit codes: 0 done, 1 failed, 2 usage, 3 settings, 4 database, 5 keys, 6 not found, 7 refused.",
)
app.command(epilog='Example: tbox backend init --home /srv/tbox --org "Example Leasing"')(init)
app.command(epilog="Example: tbox backend migrate --check")(migrate)
app.command(epilog="Example: tbox backend partitions --home /srv/tbox")(partitions)
app.command(epilog="Example: tbox backend serve --port 0")(serve)
app.add_typer(org_app, name="org")
app.add_typer(key_app, name="key")
app.add_typer(token_app, name="token")
app.add_typer(device_app, name="device")
app.add_typer(ca_app, name="ca")
app.add_typer(broker_app, name="broker")
app.add_typer(service_key_app, name="service-key")
app.add_typer(bridge_app, name="bridge")
app.add_typer(gate_app, name="gate")
app.add_typer(ledger_app, name="ledger")
app.add_typer(orders_app, name="orders")
app.add_typer(rollout_app, name="rollout")
app.add_typer(witness_app, name="witness")
if find_spec("backend.trace_cli") is not None:  # `trace` and `rebuild`: commands of their own module
    app.add_typer(import_module("backend.trace_cli").app)
