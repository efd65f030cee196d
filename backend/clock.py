"""The server's clock: the one place in the backend that asks for the time, handed down as an argument.

Example:
    >>> clock: Clock = utc_us
    >>> app = create_app(settings, clock=lambda: 1_700_000_000_000_000)   # a test's clock stands still
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

Clock = Callable[[], int]
"""Returns microseconds since the Unix epoch, UTC."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def utc_us() -> int:
    """Return the time now in microseconds since the Unix epoch."""
    return time.time_ns() // 1_000


def to_datetime(instant_us: int) -> datetime:
    """Return an instant as an aware UTC datetime, exact to the microsecond (no float in between)."""
    return _EPOCH + timedelta(microseconds=instant_us)


def from_datetime(moment: datetime) -> int:
    """Return an aware datetime in microseconds since the Unix epoch."""
    assert moment.tzinfo is not None, "a naive datetime has no instant"
    return (moment - _EPOCH) // timedelta(microseconds=1)
