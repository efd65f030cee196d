"""Make facts fit what every reader accepts: no odd text from outside may keep a batch from being sealed.

Rules: texts are cut at the wire's limit, numbers that are not finite or beyond 64 bits become null, fields
    beyond the wire's
number are left out, times before the boot become its start.

It adds nothing and judges nothing.

Example:
    >>> clipped(Event(t_us=-5, name="x", fields={"value": float("nan")}))
    Event(t_us=0, name='x', fields={'value': None})
"""

from __future__ import annotations

import math

from protocol.facts import Event
from protocol.limits import EVENT_FIELDS_MAX, TEXT_BYTES_MAX, TIME_US_MAX

Scalar = int | float | str | bool | None

_INT_MAX = 2**63 - 1


def clipped_text(text: str) -> str:
    """Return the text, cut to the wire's limit at a character's end; what is no Unicode is replaced."""
    return text.encode(errors="replace")[:TEXT_BYTES_MAX].decode(errors="ignore")


def clipped_scalar(value: Scalar) -> Scalar:
    """Return the value as the wire can carry it."""
    match value:
        case str():
            return clipped_text(value)
        case float() if not math.isfinite(value):
            return None
        case int() if not isinstance(value, bool) and abs(value) > _INT_MAX:
            return None
        case _:
            return value


def clipped(event: Event) -> Event:
    """Return the fact as the wire can carry it."""
    fields = list(event.fields.items())[:EVENT_FIELDS_MAX]
    return Event(
        t_us=min(max(0, event.t_us), TIME_US_MAX),
        name=clipped_text(event.name),
        fields={clipped_text(name): clipped_scalar(value) for name, value in fields},
    )
