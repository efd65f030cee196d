"""`tbox backend orders`: the worker that brings orders through log and gate.

Example:
    $ tbox backend orders run --gate-url http://127.0.0.1:8090 --gate-token /srv/gate/token
"""

import logging
import signal
import threading
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer
from sqlalchemy.exc import DBAPIError

from backend.cli.opening import open_instance
from backend.cli.output import Home, log_to_stderr
from backend.clock import utc_us
from backend.store.key_files import read_private
from backend.store.log_keys import load_log_signer, load_witnesses
from backend.usecases.drive_orders import OrderDriver
from backend.usecases.http_gate import HttpGate
from backend.usecases.keep_ledger import publish

LOG = logging.getLogger(__name__)

ROUND_EVERY_S = 1.0
"""Seconds between rounds: a payment has 60 from posting to the released car."""

orders_app = typer.Typer(no_args_is_help=True, help="Orders: the worker between people, log and gate.")


@orders_app.callback()
def _orders() -> None:
    """Keep `run` a command of its own, since others will stand beside it."""


@orders_app.command(
    epilog="Example: tbox backend orders run --gate-url http://127.0.0.1:8090 --gate-token /srv/gate/token"
)
def run(
    *,
    gate_url: Annotated[str, typer.Option(help="Address of the gate.")],
    gate_token: Annotated[Path, typer.Option(help="File with the gate's token, mode 0600.")],
    gate_ca: Annotated[Path | None, typer.Option(help="PEM of the gate's authority.")] = None,
    gate_cert: Annotated[
        Path | None,
        typer.Option(
            help="PEM of our certificate for a gate beyond this machine; see `backend ca client-cert`."
        ),
    ] = None,
    gate_key: Annotated[Path | None, typer.Option(help="PEM of its private key, mode 0600.")] = None,
    home: Home = None,
) -> None:
    """Move orders on until Ctrl-C or SIGTERM. Whatever it was at, the next run goes on with."""
    log_to_stderr()
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    certificate = None
    if gate_cert is not None and gate_key is not None:
        certificate = str(gate_cert), str(gate_key)
    elif gate_cert is not None or gate_key is not None:
        raise typer.BadParameter("--gate-cert and --gate-key belong together")
    gate = HttpGate(
        gate_url,
        token=read_private(gate_token).decode().strip(),
        ca=None if gate_ca is None else str(gate_ca),
        certificate=certificate,
    )
    with open_instance(home) as instance:
        signer = load_log_signer(instance.settings.log_key_path, origin=instance.settings.log_origin)
        witnesses = load_witnesses(instance.settings.witnesses_path)
        driver = OrderDriver(
            database=instance.database,
            gate=gate,
            publish=lambda now_us: publish(
                instance.database, signer=signer, witnesses=witnesses, now_us=now_us
            ),
            witnessed_min=min(1, len(witnesses)),
        )
        counts: Counter[str] = Counter()
        while not stop.wait(ROUND_EVERY_S):
            try:
                done = driver.round(now_us=utc_us())
            except DBAPIError as down:
                LOG.warning("database does not answer cause=%s", down.orig)
                continue
            if done:
                counts.update(done)
                said = " ".join(f"{name}={count}" for name, count in sorted(counts.items()))
                LOG.info("orders health %s", said)
