"""`tbox agent mcu`: ask the microcontroller on its line who it is, before any agent runs.

Rules: it says HELLO and waits for a STATUS; nothing that could change anything is sent. What STATUS says is
unsigned: it names the board for the label, it proves nothing. The line must be free: an agent that runs owns
it.

Example:
    $ tbox agent mcu --port /dev/ttyS1 --json
"""

from __future__ import annotations

import sys
from typing import Annotated

import serial
import typer

from device.adapters.system_clock import SystemClock
from device.agent.process import fail, print_json
from device.config import SECOND_US
from device.errors import EdgeError
from device.orders.link import LinkKind, Status, read_status, write_map
from protocol import mcu_link
from protocol.errors import ProtocolError
from protocol.limits import MCU_ANSWER_S_MAX

_READ_BYTES = 512
_WAIT_S = 0.1


def mcu(
    *,
    port: Annotated[str, typer.Option(help="Serial line to the microcontroller.")],
    baudrate: Annotated[int, typer.Option(help="bit/s, as its image has it compiled in.")] = 115_200,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Say which microcontroller is on a line, what it accepts, and which image it runs."""
    try:
        status = ask_status(port, baudrate)
    except EdgeError as error:
        fail(error)
    found: dict[str, object] = {
        "mcu_id": status.mcu_id.hex(),
        "epoch": status.epoch.hex(),
        "mode": status.mode.name,
        "firmware": status.firmware.hex(),
        "is_demo": status.is_demo,
    }
    if as_json:
        print_json(found)
    else:
        sys.stdout.write("".join(f"{name}: {value}\n" for name, value in found.items()))


def ask_status(port: str, baudrate: int) -> Status:
    """Return what the microcontroller says of itself.

    Raises:
        EdgeError: the line cannot be opened, or nobody answers on it.
    """
    decoder = mcu_link.Decoder()
    clock = SystemClock()
    until_us = clock.now().mono_us + MCU_ANSWER_S_MAX * SECOND_US
    try:
        with serial.Serial(port, baudrate, timeout=_WAIT_S, exclusive=True) as line:
            line.write(b"\0" + mcu_link.encode_frame(LinkKind.HELLO, write_map({1: 1})))
            while clock.now().mono_us < until_us:
                for kind, body in decoder.feed(line.read(_READ_BYTES)):
                    if kind == LinkKind.STATUS:
                        return read_status(body)
    except (serial.SerialException, OSError) as failure:
        raise EdgeError(
            f"line not usable: {port}: {failure}",
            is_transient=False,
            meaning="the microcontroller cannot be asked",
            next_step="is the agent stopped, the port right, and this user in the group dialout?",
        ) from failure
    except ProtocolError as wrong:
        raise EdgeError(
            f"what answers on {port} is no microcontroller of ours: {wrong.detail}",
            is_transient=False,
            next_step="put a release on it: tbox install flash",
        ) from wrong
    raise EdgeError(
        f"nobody answers on {port} within {MCU_ANSWER_S_MAX} s",
        is_transient=True,
        meaning="the board has no firmware, no power, or is on another line",
        next_step="check power and wires; put a release on it: tbox install flash",
    )
