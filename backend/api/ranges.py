"""A time range in a query: half-open, aware, the right way round and not too long.

Example:
    @router.get("/devices/{device_id}/trace")
    def read_trace(range_: TimeRange) -> ...: ...
"""

from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final

from fastapi import Query
from pydantic import AwareDatetime

from backend.api.problems import RANGE_REVERSED, RANGE_TOO_LONG, ProblemError
from backend.api.schemas import EXAMPLE_TIME
from backend.clock import from_datetime

_FORMS: Final = "RFC 3339 with an offset, e.g. `Z`"

FromTime = Annotated[
    AwareDatetime,
    Query(alias="from", description=f"Start, included; {_FORMS}.", examples=[EXAMPLE_TIME]),
]
ToTime = Annotated[
    AwareDatetime,
    Query(alias="to", description=f"End, excluded; {_FORMS}.", examples=["2026-11-24T09:00:00Z"]),
]
OptionalFromTime = Annotated[
    AwareDatetime | None,
    Query(alias="from", description=f"Start, included; {_FORMS}.", examples=[EXAMPLE_TIME]),
]
OptionalToTime = Annotated[
    AwareDatetime | None,
    Query(alias="to", description=f"End, excluded; {_FORMS}.", examples=["2026-11-24T09:00:00Z"]),
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """[from_us, to_us) in µs UTC."""

    from_us: int
    to_us: int


def checked_range(begin: AwareDatetime, end: AwareDatetime, *, longest_us: int) -> Range:
    """Return a range in µs.

    Raises:
        ProblemError: RANGE_REVERSED, or RANGE_TOO_LONG for more than `longest_us`.
    """
    from_us, to_us = from_datetime(begin), from_datetime(end)
    if to_us < from_us:
        raise ProblemError(RANGE_REVERSED, "`to` is before `from`")
    if to_us - from_us > longest_us:
        days = timedelta(microseconds=longest_us).days
        raise ProblemError(RANGE_TOO_LONG, f"at most {days} days at once; ask for the rest in parts")
    return Range(from_us=from_us, to_us=to_us)
