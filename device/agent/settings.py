"""`agent.toml`: what this box is connected to and how it behaves, in one frozen object.

Rules: all problems are reported together. Unknown keys are problems, since a misspelt limit is a limit that
does not hold. Relative paths are relative to the home. Secrets are not here: keys are files of the home. What
is left out has the default written beside its field.

Example (a whole file):
    schema = 1
    [broker]
    host = "broker.example"
    port = 8883
    keepalive_s = 30
    [api]
    url = "https://fleet.example"
    ca_file = "tls/api-ca.pem"
    [vehicle]
    profile = "car.toml"
    [[can]]
    bus = "can0"
    interface = "slcan"
    channel = "/dev/ttyACM0"
    bitrate = 500000
    table = "tables/can0.table"
    [gnss]
    port = "/dev/ttyUSB1"
    baudrate = 9600
    # or, instead of the two: source = "gpsd://127.0.0.1:2947/dev/ttyUSB1"
    [collect]
    precision = "exact"
    [batch]
    age_s = 60.0
    [uplink]
    window = 20
    receipt_wait_s = 10.0
    resend_first_s = 5.0
    resend_longest_s = 600.0
    [spool]
    quota_mb = 256
    [mcu]
    port = "/dev/ttyS1"
    baudrate = 115200
    [log]
    level = "info"
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from device.adapters.can_bus import CanSettings
from device.adapters.gnss import GnssSettings
from device.adapters.gpsd_client import GpsdSettings
from device.adapters.mcu_serial import McuSettings
from device.agent.toml_section import Section
from device.config import BatchLimits, SpoolLimits, UplinkLimits
from device.errors import ConfigError
from protocol.fixes import Precision
from protocol.limits import BUSES_MAX, PUBLISH_WINDOW, SETTINGS_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

SCHEMA = 1
PORT_MAX = 65_535
MEGABYTE = 1_000_000
SECOND_US = 1_000_000
RESEND_S_MIN = 0.1  # a tenth of a second: below it a box would hammer a broker that answers slowly
RESEND_S_MAX = 3_600.0  # an hour: a longer pause would leave a backend that is back without its batches
RECEIPT_WAIT_S_MAX = 600.0
LEVELS = ("debug", "info", "warning", "error")

PRECISIONS = {
    "none": Precision.NONE,
    "in_out": Precision.IN_OUT,
    "cell": Precision.CELL,
    "exact": Precision.EXACT,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class BusSettings:
    """A bus, and the decode table of its DBC."""

    can: CanSettings
    table: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class AgentSettings:
    """All of `agent.toml`.

    Attributes:
        broker_host: as it stands in the broker's certificate.
        broker_port: MQTT over TLS.
        keepalive_s: silence after which the link is tested, seconds.
        api_url: where certificates are renewed; None when unknown.
        api_ca_file: authority of the API, None for the system's.
        profile: vehicle profile, None without one.
        buses: what is read.
        gnss: the receiver, on a serial line or behind gpsd; None without one.
        precision: how exact positions leave the box while no policy says more.
        batch: when a batch closes.
        uplink: how batches are sent, and sent again while no receipt comes.
        spool: how much is kept.
        log_level: name of the standard library's level.
        mcu: the line to the microcontroller; None without one: then no order is taken.
    """

    broker_host: str
    broker_port: int
    keepalive_s: int = 30
    api_url: str | None = None
    api_ca_file: Path | None = None
    profile: Path | None = None
    buses: tuple[BusSettings, ...] = ()
    gnss: GnssSettings | GpsdSettings | None = None
    precision: Precision = Precision.NONE
    batch: BatchLimits = field(default_factory=BatchLimits)
    uplink: UplinkLimits = field(default_factory=UplinkLimits)
    spool: SpoolLimits = field(default_factory=SpoolLimits)
    log_level: str = "info"
    mcu: McuSettings | None = None


def read_settings(path: Path) -> AgentSettings:
    """Read `agent.toml`.

    Raises:
        ConfigError: with every problem of the file.
    """
    try:
        with path.open("rb") as file:
            content = file.read(SETTINGS_BYTES_MAX + 1)
        if len(content) > SETTINGS_BYTES_MAX:
            raise ConfigError((f"{path} is longer than {SETTINGS_BYTES_MAX} bytes",))
        document = tomllib.loads(content.decode())
    except OSError as failure:
        raise ConfigError((f"{path}: {failure.strerror or failure}",)) from failure
    except ValueError as failure:  # TOMLDecodeError and UnicodeDecodeError are ValueErrors
        raise ConfigError((f"{path} is not TOML: {failure}",)) from failure
    return parse_settings(document, home=path.parent)


def parse_settings(document: dict[str, object], *, home: Path) -> AgentSettings:
    """Turn a TOML document into settings.

    Args:
        document: as `tomllib` returns it.
        home: what relative paths are relative to.

    Raises:
        ConfigError: with every problem.
    """
    problems: list[str] = []
    top = Section("", document, problems)
    if top.integer("schema", SCHEMA, low=1, high=1_000) != SCHEMA:
        problems.append(f"schema: this agent knows {SCHEMA} only")
    broker, api, vehicle = top.section("broker"), top.section("api"), top.section("vehicle")
    collect, batch, spool = top.section("collect"), top.section("batch"), top.section("spool")
    uplink, log = top.section("uplink"), top.section("log")
    settings = AgentSettings(
        broker_host=broker.text("host", None) or "",
        broker_port=broker.integer("port", 8883, low=1, high=PORT_MAX),
        keepalive_s=broker.integer("keepalive_s", 30, low=1, high=3_600),
        api_url=api.text("url", ""),
        api_ca_file=_path(home, api.text("ca_file", "")),
        profile=_path(home, vehicle.text("profile", "")),
        buses=_buses(top, home),
        gnss=_gnss(top, problems),
        precision=PRECISIONS[collect.choice("precision", "none", tuple(PRECISIONS))],
        uplink=_uplink(uplink, problems),
        batch=BatchLimits(age_us=round(batch.number("age_s", 60.0, low=0.1, high=60.0) * SECOND_US)),
        spool=SpoolLimits(quota_bytes=spool.integer("quota_mb", 256, low=1, high=1_000_000) * MEGABYTE),
        log_level=log.choice("level", "info", LEVELS),
        mcu=_mcu(top),
    )
    for section in (top, broker, api, vehicle, collect, batch, uplink, spool, log):
        section.finish()
    problems += _clashes(settings)
    if problems:
        raise ConfigError(tuple(problems))
    return settings


def _buses(top: Section, home: Path) -> tuple[BusSettings, ...]:
    found = []
    for section in top.sections("can", most=BUSES_MAX):
        options = section.section("options")
        can = CanSettings(
            bus=section.text("bus", None) or "",
            interface=section.text("interface", None) or "",
            channel=section.text("channel", None) or "",
            bitrate=section.integer("bitrate", 0, low=0, high=8_000_000) or None,
            listen_only=section.boolean("listen_only", default=True),
            options=options.scalars(),
        )
        table = section.text("table", None) or ""
        section.finish()
        found.append(BusSettings(can=can, table=home / table))
    return tuple(found)


def _gnss(top: Section, problems: list[str]) -> GnssSettings | GpsdSettings | None:
    if not top.has("gnss"):
        return None
    section = top.section("gnss")
    if section.has("source"):
        source = section.text("source", None)
        for key in ("port", "baudrate"):
            section.refuse(key, "not beside source, for gpsd has the receiver: keep one of the two")
        section.finish()
        if source is None:
            return None
        try:
            return GpsdSettings.from_url(source)
        except ValueError as failure:
            problems.append(f"gnss.source: {failure}")
            return None
    port = section.text("port", None) or ""
    if port.lower().startswith("gpsd:"):
        problems.append("gnss.port: a serial device is expected; write the address of gpsd as source instead")
    settings = GnssSettings(
        port=port,
        baudrate=section.integer("baudrate", 9_600, low=300, high=4_000_000),
    )
    section.finish()
    return settings


def _mcu(top: Section) -> McuSettings | None:
    if not top.has("mcu"):
        return None
    section = top.section("mcu")
    settings = McuSettings(
        port=section.text("port", None) or "",
        baudrate=section.integer("baudrate", 115_200, low=9_600, high=4_000_000),
    )
    section.finish()
    return settings


def _uplink(section: Section, problems: list[str]) -> UplinkLimits:
    """Read how batches are sent again; a modem that pays by the byte waits longer, a test shorter."""
    first_s = section.number("resend_first_s", 5.0, low=RESEND_S_MIN, high=RESEND_S_MAX)
    longest_s = section.number("resend_longest_s", 600.0, low=RESEND_S_MIN, high=RESEND_S_MAX)
    if first_s > longest_s:
        problems.append(f"uplink.resend_first_s: at most resend_longest_s, {longest_s:g}, is expected")
    return UplinkLimits(
        window=section.integer("window", PUBLISH_WINDOW, low=1, high=PUBLISH_WINDOW),
        receipt_wait_us=round(
            section.number("receipt_wait_s", 10.0, low=RESEND_S_MIN, high=RECEIPT_WAIT_S_MAX) * SECOND_US
        ),
        backoff_first_us=round(first_s * SECOND_US),
        backoff_max_us=round(longest_s * SECOND_US),
    )


def _clashes(settings: AgentSettings) -> list[str]:
    names = [bus.can.bus for bus in settings.buses]
    twice = {name for name in names if names.count(name) > 1}
    return [f"[[can]]: bus {name} is there twice" for name in sorted(twice)]


def _path(home: Path, text: str | None) -> Path | None:
    return home / text if text else None
