"""The box's own readings: counters of engine and adapters, and what the machine says about this process.

Rules: every name here has a line in `docs/metrics.md`. Counters count since the start of the agent; nothing
is logged here, since a condition is not a change. No position, key or token is a reading.

Example:
    driver.feed(HealthReported(values=readings(box.metrics(), adapters)))
"""

from __future__ import annotations

import os
import resource
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

STATM = Path("/proc/self/statm")
KILOBYTE = 1_024

Readings = dict[str, int | float | str | None]


def readings(*counters: Mapping[str, int]) -> Readings:
    """Return all readings: the given counters, and memory and processor time of this process."""
    values: Readings = {}
    for part in counters:
        values |= part
    return values | process_readings()


def process_readings() -> Readings:
    """Return resident memory in kB and processor time in ms; None where the machine does not say."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return {
        "process_rss_kb": _resident_kb(),
        "process_cpu_ms": round((used.ru_utime + used.ru_stime) * 1_000),
    }


def _resident_kb() -> int | None:
    try:
        pages = int(STATM.read_text().split()[1])
    except (OSError, ValueError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") // KILOBYTE
