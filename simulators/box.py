"""The box in the simulated car: the real agent as a process, its home and its settings.

Rules: it is enrolled and started by the commands an installer types (`tbox agent …`); the settings file is
written here as an installer would. Its spool is looked at only while the agent is down.

Example:
    box = Box(home=home / "box", logs=home / "logs")
    box.compile_table()
    box.enrol(api_url=cloud.api_url, token=cloud.enrolment_token())
    box.configure(broker_port=broker.port, can=car.can.path, nmea=car.nmea.path)
    box.agent.start()
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from simulators.bus_traffic import BUS_NAME
from simulators.disk import DatabaseImage
from simulators.processes import Process, run_tool, tbox

if TYPE_CHECKING:
    from pathlib import Path

LABEL = "SIM-000001"

SETTINGS = """\
# Written by the simulated world: the demonstration car on two serial lines.
schema = 1

[broker]
host = "127.0.0.1"
port = {broker_port}
keepalive_s = 5

[api]
url = "{api_url}"

[vehicle]
profile = "{profile}"

[[can]]
bus = "{bus}"
interface = "slcan"
channel = "{can}"
bitrate = 500000
table = "tables/{bus}.table"

[gnss]
port = "{nmea}"

[collect]
# Nobody's car: in production exact positions need a signed policy.
precision = "exact"

[batch]
age_s = {batch_age_s}
"""

# Numbers that the spool stores for what the backend is known to have of a batch.
PENDING, RECEIPTED = 0, 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolCounts:
    """How many batches the spool holds, how many wait for a receipt, and how many have one."""

    batches: int
    pending: int
    receipted: int


class Box:
    """One box.

    Args:
        home: the agent's home.
        logs: where its log goes.
        batch_age_s: how old a batch may become, in seconds; short, so that one sees something soon.
    """

    def __init__(self, *, home: Path, logs: Path, batch_age_s: float = 2.0) -> None:
        self.home = home
        self.agent = Process("agent", tbox("agent", "run", "--home", str(home)), log=logs / "agent.log")
        self._batch_age_s = batch_age_s
        self._api_url = ""

    @property
    def is_enrolled(self) -> bool:
        """Whether this home has been enrolled before."""
        return (self.home / "trust.json").exists()

    @property
    def device(self) -> str:
        """The device id."""
        return str(json.loads((self.home / "trust.json").read_text("utf-8"))["device"])

    @property
    def certificate(self) -> Path:
        """Its TLS certificate, for a probe of the broker."""
        return self.home / "tls" / "cert.pem"

    @property
    def tls_key(self) -> Path:
        """The key of its TLS certificate."""
        return self.home / "keys" / "tls.key"

    def enrol(self, *, api_url: str, token: str) -> None:
        """Enrol with a one-time token, over HTTP."""
        where = ("--home", str(self.home), "--api", api_url)
        run_tool(tbox("agent", "enrol", *where, "--label", LABEL), env={"TBOX_ENROL_TOKEN": token})

    def compile_table(self) -> None:
        """Compile the car's DBC into the table that the agent loads; needs no enrolment."""
        table = self.home / "tables" / f"{BUS_NAME}.table"
        table.parent.mkdir(parents=True, exist_ok=True)
        with resources.as_file(resources.files("dbc").joinpath("tbox_demo.dbc")) as dbc:
            run_tool(tbox("agent", "compile", "--dbc", str(dbc), "--out", str(table)))

    def configure(
        self, *, api_url: str, broker_port: int, can: Path, nmea: Path, mcu: Path | None = None
    ) -> None:
        """Write `agent.toml` and the car's profile beside it; the box must be enrolled."""
        profile = self.home / "demo.toml"
        source = resources.files("dbc").joinpath("profiles", "demo.toml")
        profile.write_text(source.read_text("utf-8"), "utf-8")
        settings = SETTINGS.format(
            broker_port=broker_port,
            api_url=api_url,
            profile=profile.name,
            bus=BUS_NAME,
            can=can.absolute(),
            nmea=nmea.absolute(),
            batch_age_s=self._batch_age_s,
        )
        if mcu is not None:
            settings += f'\n[mcu]\nport = "{mcu.absolute()}"\n'
        (self.home / "agent.toml").write_text(settings, "utf-8")

    def wait_until_ready(self) -> None:
        """Wait until the agent says that it runs.

        Raises:
            ProcessDiedError: it ended.
        """
        self.agent.wait_for_line("agent started")

    def write_trust(self, path: Path) -> None:
        """Write what a verifier of this box's evidence trusts: its name, and the keys it enrolled with."""
        pinned = json.loads((self.home / "trust.json").read_text("utf-8"))
        trust = {"devices": [pinned["device"]], "backend_keys": pinned["receipt_keys"]}
        path.write_text(json.dumps(trust, indent=2) + "\n", "utf-8")

    def spool(self) -> SpoolCounts:
        """Count what the spool holds; the agent keeps it locked while it runs, so it must be stopped."""
        assert not self.agent.is_running, "the spool belongs to the agent"
        with contextlib.closing(
            sqlite3.connect(f"file:{self.home / 'spool.sqlite'}?mode=ro", uri=True)
        ) as spool:
            states = dict(spool.execute("SELECT state, count(*) FROM batch GROUP BY state").fetchall())
        return SpoolCounts(
            pending=states.get(PENDING, 0), receipted=states.get(RECEIPTED, 0), batches=sum(states.values())
        )

    def take_image(self) -> DatabaseImage:
        """Copy the spool as it is now; the agent must be stopped."""
        assert not self.agent.is_running, "the spool belongs to the agent"
        return DatabaseImage.take(self.home / "spool.sqlite", self.home / "spool.older")
