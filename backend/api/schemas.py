"""Shapes that several routes share: times, and the examples' values.

Example:
    class DeviceOut(BaseModel):
        created_at: UtcTime
"""

from datetime import datetime
from typing import Annotated

from pydantic import Field

from backend.clock import to_datetime

UtcTime = Annotated[datetime, Field(description="RFC 3339, UTC, to the microsecond.")]

EXAMPLE_DEVICE = "9f" * 32
EXAMPLE_TIME = "2026-11-24T08:00:00.000000Z"


def optional_time(instant_us: int | None) -> datetime | None:
    """Return an instant for an answer, or None when there is none."""
    return None if instant_us is None else to_datetime(instant_us)
