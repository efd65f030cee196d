"""What the server shows of a device, read over its API and turned into plain values for checkers.

Rules: only documented routes, with an ordinary key; nothing is rounded or left out. Times are microseconds of
UTC.

Example:
    stored = Stored(api=cloud.api, device=box.device)
    speeds = stored.values("can0.VehicleMotion.VehicleSpeed", start_us, end_us)
"""

from __future__ import annotations

import csv
import datetime as dt
import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from simulators.checkers import Sample, StoredBatch

if TYPE_CHECKING:
    from simulators.api_client import ApiClient

EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
PAGE = 200
# Causes that say where a received frame went instead of being decoded. The others tell of rows and fixes, or
# of frames that were lost before they were received.
FRAME_DROPS = ("unknown_id", "short", "error_frame", "remote_frame", "backpressure")
PURPOSE = {"Access-Purpose": "commissioning"}


def iso(instant_us: int) -> str:
    """Return an instant as the API takes it."""
    return (EPOCH + dt.timedelta(microseconds=instant_us)).isoformat()


def from_iso(text: str) -> int:
    """Return the microseconds of UTC that an ISO 8601 text says."""
    return round((dt.datetime.fromisoformat(text) - EPOCH) / dt.timedelta(microseconds=1))


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFix:
    """A stored fix with a position."""

    t_us: int
    latitude_deg: float
    longitude_deg: float
    speed_mps: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One device as the API shows it."""

    api: ApiClient
    device: str

    def detail(self) -> Any:  # noqa: ANN401 - JSON, typed by its reader
        """Return the registry's entry."""
        return self.api.get(f"/v1/devices/{self.device}")

    def state(self) -> Any:  # noqa: ANN401 - as above
        """Return the latest state."""
        return self.api.get(f"/v1/devices/{self.device}/state")

    def values(self, signal: str, from_us: int, to_us: int) -> list[Sample]:
        """Return a signal's values in the order of time."""
        return [
            Sample(t_us=from_iso(row["time"]), value=float(row["value"]))
            for row in self._csv("signals", from_us, to_us, signals=signal)
            if row["value"]
        ]

    def fixes(self, from_us: int, to_us: int) -> list[StoredFix]:
        """Return the fixes that have a position, in the order of time."""
        return [
            StoredFix(
                t_us=from_iso(row["time"]),
                latitude_deg=float(row["lat_deg"]),
                longitude_deg=float(row["lon_deg"]),
                speed_mps=float(row["speed_m_s"]) if row["speed_m_s"] else None,
            )
            for row in self._csv("fixes", from_us, to_us)
            if row["lat_deg"]
        ]

    def batches(self) -> list[StoredBatch]:
        """Return every stored batch of every chain, each with the verdict of a fresh verification."""
        return [_batch(item) for item in self.api.all(f"/v1/devices/{self.device}/batches", limit=PAGE)]

    def heads(self) -> Counter[tuple[str, int, str]]:
        """Return what is stored now: how often each (chain, number, hash)."""
        return Counter((batch.chain, batch.seq, batch.head) for batch in self.batches())

    def chains(self) -> list[Any]:
        """Return the device's chains, oldest first."""
        return list(self.api.all(f"/v1/devices/{self.device}/chains"))

    def integrity_events(self) -> list[str]:
        """Return the kinds of the device's integrity events, oldest first."""
        return [str(item["kind"]) for item in self.api.all(f"/v1/devices/{self.device}/integrity-events")]

    def rollups(self, signal: str, from_us: int, to_us: int) -> Any:  # noqa: ANN401 - as above
        """Return a signal's minute roll-ups."""
        query = {"from": iso(from_us), "to": iso(to_us), "signals": signal}
        return list(self.api.all(f"/v1/devices/{self.device}/rollups", **query))

    def _csv(self, kind: str, from_us: int, to_us: int, **more: str) -> list[dict[str, str]]:
        query = {"kind": kind, "format": "csv", "from": iso(from_us), "to": iso(to_us), **more}
        text = self.api.raw("GET", f"/v1/devices/{self.device}/trace", query=query, headers=PURPOSE)
        return list(csv.DictReader(io.StringIO(text.decode("utf-8"), newline="")))


def _batch(item: Any) -> StoredBatch:  # noqa: ANN401 - one item of the API's JSON
    """Return what a checker wants to know of one batch."""
    counts = item["counts"]
    return StoredBatch(
        chain=item["chain"],
        seq=item["seq"],
        boot=item["boot"],
        result=item["verification"]["result"],
        received=counts["frames_received"],
        decoded=counts["frames_decoded"],
        fixes=counts["fixes"],
        dropped={cause: item["drops"].get(cause, 0) for cause in FRAME_DROPS},
        lost_before=sum(item["drops"].get(cause, 0) for cause in ("queue", "kernel")),
        gaps=tuple((gap["boot"], gap["cause"]) for gap in item["gaps"]),
        losses=tuple((loss["first"], loss["last"]) for loss in item["losses"]),
        bytes_stored=sum(section["size"] for section in item["sections"]),
        head=item["hash"],
    )
