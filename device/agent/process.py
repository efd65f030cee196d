"""What the agent's commands share as processes: exit codes, how an error is said, and the supervisor.

Rules: an operator's error is what, meaning and next step on standard error. SIGTERM and SIGINT ask for an
orderly end. Whatever nobody expected ends the process with its traceback in the log; whoever started it
starts it again.

Example:
    code = supervise(lambda: agent.run(), stop=agent.stop)
"""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
from enum import IntEnum
from typing import TYPE_CHECKING, NoReturn, TypeVar

from device.adapters.https_json import HttpError
from device.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_log = logging.getLogger("tbox.agent")


class Exit(IntEnum):
    """Exit codes of `tbox agent`."""

    DONE = 0
    UNUSABLE = 2  # a file, a setting or an argument
    NOTHING_KNOWN = 3  # the DBC knows no frame of the log
    NOT_NOW = 4  # server, broker or disk away, or not all receipted
    REFUSED = 5  # by the server
    OUR_MISTAKE = 70  # EX_SOFTWARE of sysexits.h
    INTERRUPTED = 130  # as shells count SIGINT


EXITS = (
    "Exit: 0 done, 2 file, setting or argument not usable, 3 DBC knows no frame of the log, "
    "4 not now (server, broker or disk away, not all receipted), 5 refused, 70 a mistake of ours, "
    "130 interrupted."
)


def fail(error: EdgeError) -> NoReturn:
    """Say what is wrong, what it means and what to do, and exit."""
    sys.stderr.write(error.diagnostics() + "\n")
    if error.is_transient:
        raise SystemExit(int(Exit.NOT_NOW))
    is_refused = isinstance(error, HttpError) and error.status is not None
    raise SystemExit(int(Exit.REFUSED if is_refused else Exit.UNUSABLE))


def print_json(value: dict[str, object]) -> None:
    """Print one JSON object on a line of its own."""
    sys.stdout.write(json.dumps(value) + "\n")


def supervise(life: Callable[[Callable[[Callable[[], None]], None]], Awaitable[T]]) -> T:
    """Run one life in an event loop of its own.

    Args:
        life: makes and runs it; it is given a function to which it says how to stop it.

    Returns:
        What the life returned.

    Raises:
        EdgeError: the world failed in a way that a person can mend.
        SystemExit: with `OUR_MISTAKE`, for everything else; the log has the traceback.
    """

    async def live() -> T:
        loop = asyncio.get_running_loop()

        def stop_by(stop: Callable[[], None]) -> None:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.add_signal_handler(number, stop)

        return await life(stop_by)

    try:
        return asyncio.run(live())
    except EdgeError:
        raise
    except Exception:  # noqa: BLE001 - the supervisor, the one place of the process that catches everything
        _log.exception("agent failed")
        raise SystemExit(int(Exit.OUR_MISTAKE)) from None
