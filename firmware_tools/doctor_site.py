"""What the doctor finds on the box itself: its home, its machine, its lines.

Rules: it reads and touches nothing; the one thing it opens is a TCP connection to the broker, closed at once.
What the agent knows it says in `status.json`, which it writes every few seconds: counters are taken as they
are, rates from two of them. A finding that cannot be had is None.

Example:
    >>> from pathlib import Path
    >>> find_on_site(Path("/does/not/exist"), wait_s=0)["is_enrolled"]
    False
"""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import os
import shutil
import socket
import stat
import time
import tomllib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from cryptography import x509

if TYPE_CHECKING:
    from firmware_tools.doctor_checks import Found

CONNECT_S_MAX: Final = 10.0
TIMESYNC: Final = Path("/run/systemd/timesync/synchronized")
CLOCKS: Final = {0: "none", 1: "RTC", 2: "network", 3: "GNSS"}  # `clock_class` of docs/metrics.md
COUNTERS: Final = (
    "clock_contradictions",
    "can_malformed",
    "mcu_frames_garbled",
    "mcu_storage_failed",
    "store_failed",
    "batches_lost_to_quota",
    "receipts_rejected",
)
LOOK_S: Final = 0.25
MEGABYTE: Final = 1_000_000.0
IMAGES: Final = {"demo": "demonstration"}


def find_on_site(home: Path, *, wait_s: float) -> Found:
    """Return everything that can be found on a box.

    Args:
        home: the agent's home.
        wait_s: how long to wait for a second set of readings, for rates; 0 takes none.
    """
    settings = _toml(home / "agent.toml")
    first, first_at = _status(home)
    second, second_at = _second(home, first_at, wait_s)
    readings: dict[str, Any] = second.get("readings") or first.get("readings") or {}
    found: Found = {
        "disk_free_mb": _disk_free_mb(home),
        "is_enrolled": (home / "trust.json").exists() and (home / "tls" / "cert.pem").exists(),
        "keys_private": _keys_private(home / "keys"),
        "settings_read": settings is not None,
        "is_running": _lives(first.get("pid")),
        "certificate_days": _certificate_days(home / "tls" / "cert.pem"),
        "clock_synchronised": TIMESYNC.exists() if TIMESYNC.parent.exists() else None,
        "clock_source": CLOCKS.get(readings.get("clock_class", -1)),
        "broker_ms": _broker_ms(settings),
        "uplink_connected": _yes(readings.get("uplink_connected")),
        "unreceipted_batches": readings.get("spool_pending"),
        "version_known": _version() is not None,
        "can_frames_per_s": _rate(first, second, second_at - first_at),
    }
    found |= {name: readings.get(name, 0 if readings else None) for name in COUNTERS}
    if (settings or {}).get("mcu"):
        image = readings.get("lock_image")
        found["mcu_up"] = _yes(readings.get("mcu_up"))
        found["mcu_image"] = IMAGES.get(str(image), str(image)) if image else None
    return found


def _status(home: Path) -> tuple[dict[str, Any], float]:
    path = home / "status.json"
    try:
        content: dict[str, Any] = json.loads(path.read_bytes())
        return content, path.stat().st_mtime
    except (OSError, ValueError):
        return {}, 0.0


def _second(home: Path, first_at: float, wait_s: float) -> tuple[dict[str, Any], float]:
    """Return the next readings, waiting a while for them."""
    until = time.monotonic() + wait_s
    while time.monotonic() < until and first_at:
        content, written_at = _status(home)
        if written_at > first_at:
            return content, written_at
        time.sleep(LOOK_S)
    return {}, first_at


def _rate(first: dict[str, Any], second: dict[str, Any], seconds: float) -> float | None:
    before, after = (part.get("readings", {}).get("can_frames") for part in (first, second))
    if before is None or after is None or seconds <= 0:
        return None
    return round(max(0.0, float(after - before) / seconds), 1)


def _toml(path: Path) -> dict[str, Any] | None:
    try:
        return tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return None


def _disk_free_mb(home: Path) -> float | None:
    try:
        return round(shutil.disk_usage(home).free / MEGABYTE)
    except OSError:
        return None


def _keys_private(folder: Path) -> bool | None:
    try:
        modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, *folder.iterdir())]
    except OSError:
        return None
    return not any(mode & 0o077 for mode in modes)


def _certificate_days(path: Path) -> float | None:
    try:
        certificate = x509.load_pem_x509_certificate(path.read_bytes())
    except (OSError, ValueError):
        return None
    left = certificate.not_valid_after_utc - dt.datetime.now(dt.UTC)
    return round(left.total_seconds() / 86_400, 1)


def _broker_ms(settings: dict[str, Any] | None) -> float | None:
    """Return how long a connection takes; above every limit when none comes."""
    broker = (settings or {}).get("broker", {})
    host, port = broker.get("host"), broker.get("port")
    if not isinstance(host, str) or not isinstance(port, int):
        return None
    began = time.monotonic()
    with contextlib.suppress(OSError), socket.create_connection((host, port), CONNECT_S_MAX):
        return round((time.monotonic() - began) * 1_000)
    return CONNECT_S_MAX * 1_000


def _lives(pid: object) -> bool:
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _version() -> str | None:
    try:
        return version("tbox")
    except PackageNotFoundError:
        return None


def _yes(value: object) -> bool | None:
    return None if value is None else bool(value)
