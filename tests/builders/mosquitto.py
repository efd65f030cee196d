"""A real mosquitto as a process: started with the configuration that the product writes, crashed, reloaded.

Example:
    with Mosquitto(tmp_path / "broker", port=port, log=tmp_path / "broker.log") as broker:
        broker.kill()
        broker.start()
"""

from __future__ import annotations

import os
import pwd
import random
import shutil
import signal
import socket
from typing import TYPE_CHECKING, Self

from backend.domain.broker_rules import CONFIGURATION, BrokerPlan
from simulators.processes import Process

if TYPE_CHECKING:
    from pathlib import Path

READY = r"mosquitto version \S+ running"
RELOADING = "Reloading config"
# Below the ports that the kernel gives to outgoing connections: a broker that restarts finds its own again.
PORTS = range(20_000, 32_000)


def free_port() -> int:
    """Return a port of loopback that nobody has now, and that no outgoing connection will be given."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def plan_in(folder: Path, *, boxes: int = 100) -> BrokerPlan:
    """Return a plan for a broker of this user on a free port of loopback."""
    user = pwd.getpwuid(os.geteuid()).pw_name
    return BrokerPlan(folder=str(folder), user=user, port=free_port(), address="127.0.0.1", boxes=boxes)


class Mosquitto:
    """The broker; a context manager that starts and stops it.

    Args:
        folder: what `tbox backend broker config` has written.
        port: where it listens.
        log: where its messages go.
    """

    def __init__(self, folder: Path, *, port: int, log: Path) -> None:
        program = shutil.which("mosquitto", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
        assert program is not None, "see `need`"
        self.folder = folder
        self.port = port
        self.process = Process("mosquitto", [program, "-c", str(folder / CONFIGURATION)], log=log)

    def start(self) -> None:
        """Start it, and wait until it listens."""
        self.process.start()
        self.process.wait_for_line(READY)

    def stop(self) -> None:
        """End it in good order: it writes its snapshot."""
        self.process.stop()

    def kill(self) -> None:
        """Crash it."""
        self.process.kill()

    def reload(self) -> None:
        """Tell it that its files changed, and wait until it has read them."""
        before = self.process.output().count(RELOADING)
        os.kill(self.process.pid, signal.SIGHUP)
        self.process.wait_for_line(f"(?s)({RELOADING}.*){{{before + 1}}}")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
