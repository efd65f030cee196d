"""`tbox backend ledger`: keep the log, publish it now, stop it and let it go on.

Example:
    $ tbox backend ledger run --home /srv/tbox
    $ tbox backend ledger show --json
"""

import signal
import threading
from types import FrameType
from typing import Annotated

import typer

from backend import ledger
from backend.cli.opening import Instance, open_instance, shown_time
from backend.cli.output import AsJson, Home, Record, log_to_stderr, show
from backend.clock import utc_us
from backend.store.ledger import read_head
from backend.store.log_keys import load_log_signer, load_witnesses
from backend.usecases.keep_ledger import CHECKPOINT_EVERY_S, LedgerKeeper, halt, publish, resume

ledger_app = typer.Typer(no_args_is_help=True, help="The append-only log: checkpoints, witnesses, stop.")


@ledger_app.command(epilog="Example: tbox backend ledger run --home /srv/tbox")
def run(*, home: Home = None) -> None:
    """Keep the log until Ctrl-C or SIGTERM: late entries, chain heads, checkpoints, witnesses."""
    log_to_stderr()
    stop = threading.Event()

    def end(number: int, frame: FrameType | None) -> None:
        del number, frame
        stop.set()

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    with open_instance(home) as instance:
        keeper = LedgerKeeper(
            database=instance.database,
            signer=load_log_signer(instance.settings.log_key_path, origin=instance.settings.log_origin),
            witnesses=load_witnesses(instance.settings.witnesses_path),
            clock=utc_us,
        )
        while True:
            keeper.turn()
            if stop.wait(CHECKPOINT_EVERY_S):
                return


@ledger_app.command("publish", epilog="Example: tbox backend ledger publish --json")
def publish_now(*, home: Home = None, as_json: AsJson = False) -> None:
    """Sign a checkpoint of everything entered, and ask the witnesses, now."""
    with open_instance(home) as instance:
        publish(
            instance.database,
            signer=load_log_signer(instance.settings.log_key_path, origin=instance.settings.log_origin),
            witnesses=load_witnesses(instance.settings.witnesses_path),
            now_us=utc_us(),
        )
        show(_state(instance), as_json=as_json)


@ledger_app.command("show", epilog="Example: tbox backend ledger show --json")
def show_state(*, home: Home = None, as_json: AsJson = False) -> None:
    """Print the log's key, its size, its last checkpoint and what waits."""
    with open_instance(home) as instance:
        show(_state(instance), as_json=as_json)


@ledger_app.command("halt", epilog='Example: tbox backend ledger halt --reason "witness w1 reports a fork"')
def halt_now(
    *, reason: Annotated[str, typer.Option(help="Why; shown to whoever meets it.")], home: Home = None
) -> None:
    """Let nothing be entered: every restrictive order fails, every release goes out and waits here."""
    with open_instance(home) as instance, instance.database.writing() as session:
        halt(session, reason=reason)


@ledger_app.command("resume", epilog="Example: tbox backend ledger resume")
def resume_now(*, home: Home = None) -> None:
    """Let the ledger go on after a halt whose cause is understood."""
    with open_instance(home) as instance, instance.database.writing() as session:
        resume(session)


def _state(instance: Instance) -> Record:
    settings = instance.settings
    signer = load_log_signer(settings.log_key_path, origin=settings.log_origin)
    with instance.database.reading() as session:
        head = read_head(session)
        signed = ledger.latest_checkpoint(session)
        return {
            "key": signer.key.to_text(),
            "size": head.size,
            "halted": head.halted,
            "checkpoint_size": None if signed is None else signed.size,
            "checkpoint_at": None if signed is None else shown_time(signed.at_us),
            "witnessed": None if signed is None else signed.witnessed,
            "witnesses": len(load_witnesses(settings.witnesses_path)),
            "waiting": ledger.waiting(session),
        }
