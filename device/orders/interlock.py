"""Why an order waits, as the agent sees it: the microcontroller's word, and every fact of its own against it.

Rules (README §1.2, §1.15; S-03 … S-07): total; whatever is not listed as allowing is a reason, and a value of
a wrong kind is one too. It restricts nothing and permits nothing: the microcontroller judges by its own
wires, and this only tells a person what to wait for. Limits are those of the production floors; a demo image
waits for less, and then the microcontroller's word is right.

Example:
    >>> why_waiting(None, {}, is_uplink_up=False)
    ()
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from device.orders.zones import Place
from protocol.orders import State

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from device.orders.link import Status

WAITING = frozenset({State.ACCEPTED_PENDING, State.WARNING, State.ARMED})

SPEED_MM_S_MAX = 833  # README §1.2: GNSS at most 3 km/h
FACT_AGE_S_MAX = 5  # a wheel speed or a fix older than this is gone, unless the bus sleeps
OPENS_MIN, CLOSES_MIN = 8 * 60, 18 * 60  # README §1.15
AMBIENT_AGE_S_MAX = 1_800
COLDEST_C10, HOTTEST_C10 = -100, 380


def why_waiting(status: Status | None, facts: Mapping[int, object], *, is_uplink_up: bool) -> tuple[str, ...]:
    """Return why the open order does not act yet: names of codes, the microcontroller's first.

    Args:
        status: its last word, None before the first.
        facts: FACTS as they were last sent, by key.
        is_uplink_up: without it no go token comes.
    """
    if status is None or status.open_cmd_id is None or status.state not in WAITING:
        return ()
    found = [] if status.wait == "OK" else [status.wait]
    found += [code for code, allows in ROWS if not allows(facts)]
    if not is_uplink_up:
        found.append("NO_GO")
    return tuple(dict.fromkeys(found))


def _stands(facts: Mapping[int, object]) -> bool:
    speed = _aged(facts.get(1))
    if speed is not None and speed[1] <= FACT_AGE_S_MAX:
        return speed[0] == 0
    return True  # told by no bus: the row of sources


def _has_source(facts: Mapping[int, object]) -> bool:
    speed, gnss = _aged(facts.get(1)), _aged(facts.get(2))
    by_wheel = speed is not None and (speed[1] <= FACT_AGE_S_MAX or facts.get(7) is True)
    by_gnss = gnss is not None and gnss[1] <= FACT_AGE_S_MAX and _gnss_state(facts) == 0
    return by_wheel or by_gnss


def _is_undisputed(facts: Mapping[int, object]) -> bool:
    gnss = _aged(facts.get(2))
    state = _gnss_state(facts)
    if gnss is None or state in (1, 3):
        return True
    return state == 0 and (gnss[1] > FACT_AGE_S_MAX or 0 <= gnss[0] <= SPEED_MM_S_MAX)


def _place(facts: Mapping[int, object]) -> object:
    zone = facts.get(3)
    return zone[0] if isinstance(zone, list | tuple) and zone else None


def _is_open_hour(facts: Mapping[int, object]) -> bool:
    minute = facts.get(5)
    is_minute = isinstance(minute, int) and not isinstance(minute, bool)
    return is_minute and isinstance(minute, int) and OPENS_MIN <= minute < CLOSES_MIN and facts.get(6) is True


def _is_mild(facts: Mapping[int, object]) -> bool:
    """The car's own outside sensor; where it says nothing, the forecast of the go token decides."""
    ambient = _aged(facts.get(4))
    if ambient is None or ambient[1] > AMBIENT_AGE_S_MAX:
        return True
    return COLDEST_C10 <= ambient[0] <= HOTTEST_C10


ROWS: tuple[tuple[str, Callable[[Mapping[int, object]], bool]], ...] = (
    ("CRASH_HOLD", lambda facts: facts.get(9) is False),
    ("ENGINE_RUNNING", lambda facts: facts.get(11) in (False, None)),
    ("IGN_ON", lambda facts: facts.get(10) in (False, None)),
    ("IN_MOTION", _stands),
    ("MOTION_DISAGREE", _is_undisputed),
    ("SOURCES_INSUFFICIENT", _has_source),
    ("HAZARD_LIGHTS", lambda facts: facts.get(8) in (False, None)),
    ("NO_LOCK_ZONE", lambda facts: _place(facts) != Place.INSIDE),
    ("ZONE_UNKNOWN", lambda facts: _place(facts) in (Place.CLEAR, Place.INSIDE)),
    ("QUIET_HOURS", _is_open_hour),
    ("TEMP_RANGE", _is_mild),
)


def _aged(value: object) -> tuple[int, int] | None:
    """Return value and age of a fact, None when there is none or it is of a wrong kind."""
    if not isinstance(value, list | tuple) or len(value) < 2:  # noqa: PLR2004 - value and age
        return None
    first, age = value[0], value[1]
    if (
        isinstance(first, bool)
        or not isinstance(first, int)
        or isinstance(age, bool)
        or not isinstance(age, int)
    ):
        return None
    return first, age


def _gnss_state(facts: Mapping[int, object]) -> object:
    gnss = facts.get(2)
    return gnss[2] if isinstance(gnss, list | tuple) and len(gnss) > 2 else None  # noqa: PLR2004 - its third item
