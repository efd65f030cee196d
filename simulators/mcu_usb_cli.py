"""`tbox sim usb`: boards on simulated USB ports, to flash as in a depot.

Rules: each board has a folder for its flash and a name for its port; Ctrl-C unplugs them all. Exit code 0.

Example:
    $ tbox sim usb --folder build/tray --boards 2
    $ tbox install flash --release build/release --demo --port build/tray/0.tty --port build/tray/1.tty
"""

import contextlib
import json
import signal
from pathlib import Path
from typing import Annotated

import typer

from protocol.limits import BOARDS_AT_ONCE_MAX
from simulators.mcu_usb import McuUsb, UsbBoard

ENDINGS = {signal.SIGTERM, signal.SIGINT}
CHECK_S = 1.0


def usb(
    folder: Annotated[
        Path, typer.Option(help="Where the boards' flash and the names of their ports are kept.")
    ],
    *,
    boards: Annotated[int, typer.Option(min=1, max=BOARDS_AT_ONCE_MAX, help="How many.")] = 1,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Plug in simulated boards: the real MicroPython on pseudo-terminals, to flash as in a depot."""
    signal.pthread_sigmask(signal.SIG_BLOCK, ENDINGS)
    made = [
        UsbBoard(folder / str(number), link=folder / f"{number}.tty", unique_id=f"{number:016x}")
        for number in range(boards)
    ]
    with contextlib.ExitStack() as plugged:
        lives = [plugged.enter_context(McuUsb(board)) for board in made]
        if as_json:
            typer.echo(json.dumps({"ports": [str(board.link) for board in made]}))
        else:
            for board in made:
                typer.echo(f"{board.link}  flash in {board.state}")
        while signal.sigtimedwait(ENDINGS, CHECK_S) is None:
            for life in lives:
                life.check()
