"""`tbox backend witness`: set up and run a witness. It needs no home of the server and no database of it.

Example:
    $ tbox backend witness init --home /srv/witness --name witness.example/w1 --log "$(cat log.vkey)"
    $ tbox backend witness run --home /srv/witness --host 0.0.0.0 --port 8090
"""

import json
import logging
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from backend.witness.home import WitnessHomeError, make_home, open_home
from backend.witness.server import WitnessServer
from backend.witness.store import WitnessStore
from backend.witness.witness import Witness
from protocol.checkpoint import NoteError, NoteKey, read_checkpoint

app = typer.Typer(
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_show_locals=False,  # a local may be a key
    help="A witness: cosigns a log's checkpoints, and refuses a fork.",
    epilog="Example: tbox backend witness run --home /srv/witness --port 8090",
)

LOG_FORMAT = "%(asctime)s %(levelname)s %(name)s %(message)s"
Folder = Annotated[Path, typer.Option("--home", help="Folder of the witness: its key and its memory.")]


@app.command(epilog='Example: tbox backend witness init --home w --name witness.example/w1 --log "log…+…+…"')
def init(
    *,
    home: Folder,
    name: Annotated[str, typer.Option(help="Name of the witness: an address without schema, yours.")],
    log: Annotated[list[str], typer.Option(help="Key of a log to watch, name+id+base64; repeat for more.")],
) -> None:
    """Make a key and print its public half: what the log's operator and each verifier enter."""
    try:
        made = make_home(home, name=name, logs=[NoteKey.from_text(text) for text in log])
    except (WitnessHomeError, NoteError) as error:
        _end(error)
    typer.echo(made.signer.key.to_text())


@app.command(epilog="Example: tbox backend witness run --home /srv/witness --port 8090")
def run(
    *,
    home: Folder,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port; 0 picks a free one.")] = 8090,
) -> None:
    """Answer `POST /add-checkpoint` until Ctrl-C or SIGTERM."""
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    try:
        found = open_home(home)
        witness = Witness(
            store=WitnessStore(found.database),
            signer=found.signer,
            logs=found.logs,
            clock=lambda: int(time.time()),
        )
        server = WitnessServer(witness, host=host, port=port)
    except (WitnessHomeError, OSError) as error:
        _end(error)

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        threading.Thread(target=server.shutdown, name="witness-end").start()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    typer.echo(f"witness {found.signer.key.name} on http://{host}:{server.server_port}", err=True)
    server.serve_forever()
    server.server_close()


@app.command(epilog="Example: tbox backend witness show --home /srv/witness --json")
def show(
    *,
    home: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object instead of text.")] = False,
) -> None:
    """Print the key, the latest checkpoint of each log, and the forks it was shown; exit 1 with a fork."""
    try:
        found = open_home(home)
        store = WitnessStore(found.database)
    except (WitnessHomeError, OSError) as error:
        _end(error)
    logs = []
    for log in found.logs:
        with store.writing(log.name) as kept:
            size = None if kept.note is None else read_checkpoint(kept.note).size
        logs.append({"log": log.to_text(), "size": size, "forks": len(store.forks(log.name))})
    if as_json:
        typer.echo(json.dumps({"key": found.signer.key.to_text(), "logs": logs}))
    else:
        typer.echo(found.signer.key.to_text())
        for entry in logs:
            typer.echo(f"{entry['log']}: size {entry['size']}, forks {entry['forks']}")
    if any(entry["forks"] for entry in logs):
        raise typer.Exit(1)


def _end(error: Exception) -> None:
    typer.echo(f"error: {error}", err=True)
    raise typer.Exit(1) from error
