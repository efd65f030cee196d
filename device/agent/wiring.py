"""The composition root: from a home to everything the engine needs, or to every reason why not.

Rules: reads each file once; all problems of settings, tables and profile are reported together. It opens no
port and starts no thread.

Example:
    wired = wire(AgentHome(Path("/var/lib/tbox")))
    box = TBox(wired.config, plans=wired.plans, signer=wired.signer, image=image, now=clock.now())
"""

from __future__ import annotations

import hashlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from device.acquisition.plausibility import PlausibilityCheck
from device.acquisition.sample import Sampler, SampleRule
from device.acquisition.table import DecodeTable
from device.adapters.key_store import KeyName
from device.adapters.mqtt_events import UplinkSettings
from device.agent.settings import AgentSettings, read_settings
from device.commissioning.desk import InstallConfig
from device.config import SECOND_US, BatchLimits, EngineConfig, OrdersConfig, SpoolLimits, UplinkLimits
from device.errors import ConfigError, EdgeError
from device.intake import BusPlan
from device.profile import rules_for
from device.profile_reader import read_profile
from protocol.errors import ProtocolError
from protocol.ids import BootId
from protocol.limits import DECODE_TABLE_BYTES_MAX

if TYPE_CHECKING:
    from collections.abc import Callable

    from device.agent.home import AgentHome, Trust
    from device.profile import Profile
    from protocol.envelope import Signer
    from protocol.fixes import Precision

BOOT_ID_BYTES = 16
HOST_BOOT = Path("/proc/sys/kernel/random/boot_id")

# Without a profile nobody has said what matters: a row a second of each message is little, and shows the car
# alive.
UNPROFILED = SampleRule(period_us=1_000_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wired:
    """Everything the engine is made of, but the spool and the clock.

    Attributes:
        settings: what the home says.
        config: checked.
        plans: by bus.
        signer: D2.
        uplink: where to connect, and as whom.
        install: what the box knows before an installation.
    """

    settings: AgentSettings
    config: EngineConfig
    plans: dict[str, BusPlan]
    signer: Signer
    uplink: UplinkSettings
    install: InstallConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """What differs between a drive and its replay.

    Attributes:
        keep_all: keep every row.
        precision: of positions, instead of the settings' when given.
        batch: instead of the settings' when given.
        spool: instead of the settings' when given.
        uplink: instead of the settings' when given.
        tick_us: how often the engine persists how far it got.
        asks_time: ask the backend for signed time while nobody vouches for the clock.
        has_mcu: speak to the microcontroller that the settings name.
    """

    keep_all: bool = False
    precision: Precision | None = None
    batch: BatchLimits | None = None
    spool: SpoolLimits | None = None
    uplink: UplinkLimits | None = None
    tick_us: int = 5 * SECOND_US
    asks_time: bool = True
    has_mcu: bool = True


def wire(home: AgentHome, *, entropy: Callable[[int], bytes] = os.urandom) -> Wired:
    """Read a home for a drive.

    Raises:
        HomeError: it is not enrolled.
        KeyStoreError: a key is missing or open to others.
        ConfigError: with every problem of settings, tables and profile.
    """
    trust = home.read_trust()
    settings = read_settings(home.settings)
    problems: list[str] = []
    profile = _read_profile(settings.profile, problems)
    plans: dict[str, BusPlan] = {}
    for bus in settings.buses:
        table = _read_table(bus.table, bus.can.bus, problems)
        if table is not None:
            _plan(bus.can.bus, table, profile, plans, problems)
    if problems:
        raise ConfigError(tuple(problems))
    return wired(home, trust, settings, plans=plans, profile=profile, tuning=Tuning(), entropy=entropy)


def wired(
    home: AgentHome,
    trust: Trust,
    settings: AgentSettings,
    *,
    plans: dict[str, BusPlan],
    profile: Profile | None,
    tuning: Tuning,
    entropy: Callable[[int], bytes] = os.urandom,
) -> Wired:
    """Put together what `wire` or a replay has read.

    Raises:
        KeyStoreError: a key is missing or open to others.
        ConfigError: the limits do not hold.
    """
    boot = BootId(entropy(BOOT_ID_BYTES))
    config = EngineConfig(
        device=trust.device,
        boot=boot,
        host_boot=_host_boot(),
        backend_keys=trust.receipt_keys,
        batch=tuning.batch or settings.batch,
        spool=tuning.spool or settings.spool,
        uplink=tuning.uplink or settings.uplink,
        keep_all=tuning.keep_all,
        precision=settings.precision if tuning.precision is None else tuning.precision,
        tick_us=tuning.tick_us,
        asks_time=tuning.asks_time,
        profile_hash=None if profile is None else profile.profile_hash,
        orders=_orders(settings, profile, tuning),
        jitter_seed=hashlib.sha256(trust.device.encode() + boot).digest(),
    ).checked()
    home.keys.load(KeyName.TLS)  # refused now rather than at the first connect
    return Wired(
        settings=settings,
        config=config,
        plans=plans,
        signer=home.keys.signer(KeyName.D2),
        uplink=UplinkSettings(
            device=trust.device,
            host=settings.broker_host,
            port=settings.broker_port,
            ca_file=home.authority,
            cert_file=home.certificate,
            key_file=home.keys.path(KeyName.TLS),
            keepalive_s=settings.keepalive_s,
        ),
        install=InstallConfig(
            device=trust.device,
            policy_keys=trust.policy_keys,
            known_ids=_known_ids(plans),
            profile=None if profile is None else profile.name,
        ),
    )


def _known_ids(plans: dict[str, BusPlan]) -> frozenset[int]:
    """Return every identifier that a table has; bit 31 marks an extended one."""
    return frozenset(message.can_id for plan in plans.values() for message in plan.decoder.table.messages)


def _orders(settings: AgentSettings, profile: Profile | None, tuning: Tuning) -> OrdersConfig | None:
    """Return the agent's side of orders; a replay has no microcontroller."""
    if settings.mcu is None or not tuning.has_mcu:
        return None
    return OrdersConfig(states={} if profile is None else profile.states)


def plan_bus(bus: str, table: DecodeTable, profile: Profile | None) -> BusPlan:
    """Return how one bus's frames become rows.

    Raises:
        ConfigError: the profile names what the table does not have.
    """
    bus_profile = None if profile is None else profile.buses.get(bus)
    if bus_profile is None:
        return BusPlan.of(bus, table, sampler=Sampler({}, UNPROFILED))
    rules = rules_for(bus_profile, table)
    return BusPlan.of(
        bus,
        table,
        sampler=Sampler(rules.sample, rules.default),
        paths=rules.paths,
        check=PlausibilityCheck(rules.limits) if rules.limits else None,
        raw_ids=rules.decisive,
    )


def read_table(path: Path) -> DecodeTable:
    """Read a compiled table.

    Raises:
        ConfigError: missing, too large, damaged, or of another version.
    """
    problems: list[str] = []
    table = _read_table(path, path.name, problems)
    if table is None:
        raise ConfigError(tuple(problems))
    return table


def _read_table(path: Path, bus: str, problems: list[str]) -> DecodeTable | None:
    try:
        with path.open("rb") as file:
            return DecodeTable.from_bytes(file.read(DECODE_TABLE_BYTES_MAX + 1))
    except OSError as failure:
        reason = failure.strerror or str(failure)
        problems.append(f"{bus}: {path}: {reason}; make it with `tbox agent compile --dbc DBC --out {path}`")
    except ProtocolError as damage:
        problems.append(f"{bus}: {path}: {damage}; make it again with `tbox agent compile`")
    return None


def _read_profile(path: Path | None, problems: list[str]) -> Profile | None:
    if path is None:
        return None
    try:
        return read_profile(path)
    except ConfigError as error:
        problems += error.problems
    except EdgeError as error:
        problems.append(error.what)
    return None


def _plan(
    bus: str, table: DecodeTable, profile: Profile | None, plans: dict[str, BusPlan], problems: list[str]
) -> None:
    try:
        plans[bus] = plan_bus(bus, table, profile)
    except ConfigError as error:
        problems += error.problems


def _host_boot() -> str | None:
    """Return the machine's own boot id; None where there is none."""
    try:
        return HOST_BOOT.read_text().strip()
    except OSError:
        return None
