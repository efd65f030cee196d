"""`tbox agent run` itself: from a home to a running box, and its end in good order.

Rules: everything is read and checked before a port is opened. This module and what it imports is all that a
box in a car keeps in memory for months, so nothing of the other commands is imported here: no command line,
no tables, no enrolment.

Example:
    run_box(Path("/var/lib/tbox"))      # returns after SIGTERM
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING

from device.adapters.system_clock import SystemClock
from device.agent.home import AgentHome
from device.agent.process import fail, supervise
from device.agent.pumps import Agent
from device.agent.wiring import wire
from device.errors import EdgeError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

_log = logging.getLogger("tbox.agent")


def run_box(home: Path) -> None:
    """Run the box until SIGTERM or Ctrl-C.

    Args:
        home: its folder.

    Raises:
        SystemExit: it cannot run, or what ended it was no request; the code is one of `process.Exit`.
    """
    clock = SystemClock()
    place = AgentHome(home)
    try:
        wired = wire(place)
    except EdgeError as error:
        fail(error)
    logging.basicConfig(
        stream=sys.stderr,
        level=wired.settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s %(message)s",
    )

    async def live(stop_by: Callable[[Callable[[], None]], None]) -> None:
        agent = Agent(wired, place, clock=clock)
        stop_by(agent.stop)
        device = wired.config.device
        await agent.run(on_ready=lambda: _log.info("agent started: device=%s home=%s", device, home))
        _log.info("agent stopped: device=%s", device)

    try:
        supervise(live)
    except EdgeError as error:
        fail(error)
