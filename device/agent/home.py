"""The agent's home: one folder with everything that makes this box this box.

Rules: keys in `keys/` (0600), certificates in `tls/`, decode tables in `tables/`, whom to believe in
`trust.json`, what to do in `agent.toml`, what was sealed in `spool.sqlite`. Files are replaced whole and
durably. Keys are made first and kept when an enrolment fails, so that asking again is the same question.

It does not talk to servers (`enrolling`) and does not read the settings (`settings`).

Example:
    home = AgentHome(Path("/var/lib/tbox"))
    trust = home.read_trust()
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.adapters.durable_file import write_durably
from device.adapters.key_store import KeyName, KeyStore
from device.errors import EdgeError
from protocol.errors import ProtocolError
from protocol.ids import device_id, parse_device_id, public_key_from_cose
from protocol.limits import SETTINGS_BYTES_MAX

if TYPE_CHECKING:
    from pathlib import Path

    from protocol.ids import DeviceId


class HomeError(EdgeError):
    """The home is missing, not enrolled, or a file in it is not what it should be."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Trust:
    """Who we are, and whom we believe.

    Attributes:
        device: our permanent id.
        receipt_keys: COSE_Key bytes of keys that sign receipts and time.
        policy_keys: COSE_Key bytes of keys that sign policies.
    """

    device: DeviceId
    receipt_keys: tuple[bytes, ...]
    policy_keys: tuple[bytes, ...] = ()


class AgentHome:
    """Paths and small files of one box.

    Args:
        root: the folder; need not exist yet.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.keys = KeyStore(root / "keys")
        self.settings = root / "agent.toml"
        self.trust = root / "trust.json"
        self.spool = root / "spool.sqlite"
        self.orders = root / "orders.sqlite"
        self.status = root / "status.json"
        self.tables = root / "tables"
        self.certificate = root / "tls" / "cert.pem"
        self.authority = root / "tls" / "ca.pem"

    @property
    def is_enrolled(self) -> bool:
        """Whether an enrolment has been completed here: its last step writes the settings."""
        return self.trust.exists() and self.settings.exists() and self.certificate.exists()

    def require_enrolled(self) -> None:
        """Do nothing in an enrolled home.

        Raises:
            HomeError: there is none here.
        """
        if not self.is_enrolled:
            what = "not enrolled" if self.root.is_dir() else "no such folder"
            raise HomeError(
                f"{what}: {self.root}",
                is_transient=False,
                meaning="there is no identity here to act with",
                next_step="tbox agent enrol --api URL --token TOKEN --home DIR",
            )

    def make(self) -> None:
        """Make the folders that are missing.

        Raises:
            HomeError: the disk or its rights do not allow it.
        """
        try:
            self.root.mkdir(mode=0o700, parents=True, exist_ok=True)
            for folder in (self.tables, self.certificate.parent):
                folder.mkdir(mode=0o755, exist_ok=True)
        except OSError as failure:
            raise _not_writable(self.root, failure) from failure

    def write(self, path: Path, content: str | bytes, *, mode: int = 0o644) -> None:
        """Replace a file of the home durably.

        Raises:
            HomeError: the disk refused; the old content stands.
        """
        try:
            write_durably(path, content.encode() if isinstance(content, str) else content, mode=mode)
        except OSError as failure:
            raise _not_writable(path, failure) from failure

    def write_trust(self, trust: Trust) -> None:
        """Keep whom to believe.

        Raises:
            HomeError: the disk refused.
        """
        content = {
            "device": trust.device,
            "receipt_keys": [key.hex() for key in trust.receipt_keys],
            "policy_keys": [key.hex() for key in trust.policy_keys],
        }
        self.write(self.trust, json.dumps(content, indent=2) + "\n")

    def read_trust(self) -> Trust:
        """Return whom to believe.

        Raises:
            HomeError: the file is missing, or not ours, or names another device than our first key does.
        """
        self.require_enrolled()
        try:
            with self.trust.open("rb") as file:
                content = json.loads(file.read(SETTINGS_BYTES_MAX))
            trust = Trust(
                device=parse_device_id(content["device"]),
                receipt_keys=_keys(content["receipt_keys"]),
                policy_keys=_keys(content["policy_keys"]),
            )
        except (OSError, ValueError, KeyError, TypeError, ProtocolError) as failure:
            raise HomeError(
                f"not readable: {self.trust}: {failure}",
                is_transient=False,
                meaning="the agent does not know whose receipts to believe",
                next_step="run `tbox agent enrol` again with a fresh token",
            ) from failure
        if device_id(self.keys.signer(KeyName.D2).public_key) != trust.device:
            raise HomeError(
                f"key and name differ: {self.trust} is of {trust.device}",
                is_transient=False,
                meaning="files of two boxes were mixed in this home",
                next_step="restore the home from its backup, or enrol a new one",
            )
        return trust


def _keys(listed: list[str]) -> tuple[bytes, ...]:
    """Return keys, each proved to be one."""
    keys = tuple(bytes.fromhex(item) for item in listed)
    for key in keys:
        public_key_from_cose(key)
    return keys


def _not_writable(path: Path, failure: OSError) -> HomeError:
    return HomeError(
        f"not writable: {path}: {failure.strerror or failure}",
        is_transient=True,
        meaning="nothing was changed",
        next_step="check space and rights of the folder",
    )
