"""What `tbox agent status` says: what stands in the home, and what the running agent last wrote about itself.

Rules: the agent writes `status.json` every few seconds, whole and without fsync, since it is worth nothing
after a power cut. The spool itself is never opened here: it belongs to the one process that runs. Nothing
secret is shown.

Example:
    >>> from pathlib import Path
    >>> from device.agent.home import AgentHome
    >>> read_status(AgentHome(Path("/does/not/exist"))).is_enrolled
    False
"""

from __future__ import annotations

import datetime as dt
import json
import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cryptography import x509

from device.agent.settings import AgentSettings, read_settings
from device.errors import ConfigError, EdgeError
from protocol.limits import SETTINGS_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from device.agent.health import Readings
    from device.agent.home import AgentHome


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A home at a moment.

    Attributes:
        is_enrolled: it has an identity.
        is_running: the process that wrote the readings lives.
        device: the box's id, None when not enrolled.
        certificate_until: end of the TLS certificate, ISO 8601, None when it cannot be read.
        settings: what `agent.toml` says, None when it does not hold.
        problems: everything that is wrong, one sentence each.
        readings: what the agent last wrote, by name.
    """

    is_enrolled: bool
    is_running: bool = False
    device: str | None = None
    certificate_until: str | None = None
    settings: AgentSettings | None = None
    problems: tuple[str, ...] = ()
    readings: Mapping[str, int | float | str | None] = field(default_factory=dict)

    def lock(self) -> dict[str, str]:
        """Return what the microcontroller last said of the lock; UNKNOWN unless the agent runs and heard it.

        It is a display: only a signed disposition says that a car was locked.
        """
        said = self.readings if self.is_running else {}
        return {
            "state": str(said.get("lock_state") or "UNKNOWN"),
            "waits_for": str(said.get("lock_waits_for") or ""),
        }

    def summary(self) -> dict[str, object]:
        """Return all of it as JSON takes it."""
        settings = self.settings
        return {
            "enrolled": self.is_enrolled,
            "running": self.is_running,
            "device": self.device,
            "certificate_until": self.certificate_until,
            "broker": None if settings is None else f"{settings.broker_host}:{settings.broker_port}",
            "buses": [] if settings is None else [bus.can.bus for bus in settings.buses],
            "lock": self.lock(),
            "problems": list(self.problems),
            "readings": dict(self.readings),
        }


def write_status(home: AgentHome, values: Readings) -> None:
    """Write what the agent knows about itself; a disk that refuses costs the status and nothing else."""
    beside = home.status.with_suffix(".new")
    try:
        beside.write_text(json.dumps({"pid": os.getpid(), "readings": values}))
        beside.replace(home.status)
    except OSError:
        beside.unlink(missing_ok=True)


def read_status(home: AgentHome) -> Status:
    """Look at a home, whatever state it is in."""
    if not home.is_enrolled:
        return Status(is_enrolled=False, problems=(f"{home.root}: not enrolled",))
    problems: list[str] = []
    device: str | None = None
    settings: AgentSettings | None = None
    try:
        device = home.read_trust().device
    except EdgeError as error:
        problems.append(error.what)
    try:
        settings = read_settings(home.settings)
    except ConfigError as error:
        problems += error.problems
    pid, values = _read_written(home)
    return Status(
        is_enrolled=True,
        is_running=pid is not None and _lives(pid),
        device=device,
        certificate_until=_until(home.certificate, problems),
        settings=settings,
        problems=tuple(problems),
        readings=values,
    )


def _read_written(home: AgentHome) -> tuple[int | None, dict[str, int | float | str | None]]:
    try:
        with home.status.open("rb") as file:
            content = json.loads(file.read(SETTINGS_BYTES_MAX))
        return int(content["pid"]), dict(content["readings"])
    except (OSError, ValueError, KeyError, TypeError):
        return None, {}


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _until(path: Path, problems: list[str]) -> str | None:
    try:
        end = x509.load_pem_x509_certificates(path.read_bytes())[0].not_valid_after_utc
    except (OSError, ValueError) as failure:
        problems.append(f"{path}: {failure}")
        return None
    return end.astimezone(dt.UTC).isoformat().replace("+00:00", "Z")
