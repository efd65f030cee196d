"""The breaker: how many orders of a lender, and of a maker, may be signed within an hour and a day (C-20).

Rules (README §1.16): LOCK, RENEW and WARN are counted apart, when the gate signs them, over the last 3,600
and 86,400 seconds. A lender's daily LOCK limit is set at least 7 days ahead by the safety officer; without
one it is max(2, 0.1 % of the fleet). No limit is above max(2, 0.25 % of the fleet): below 800 cars a quarter
of a percent is less than two, and the default of two stands. A quarter of it an hour, at least one; 10 LOCKs
a day and maker, and the maker's own delegation; a maker is a person, whatever keys he has. RENEW: no more
a day than cars now locked. WARN: five times the LOCK limit.

This module stores nothing: it is given what was signed.

Example:
    >>> limits = limits_for(fleet=10_000, asked=None)
    >>> limits.day, limits.hour, limits.warn_day, limits_for(fleet=10_000, asked=1_000).day
    (10, 2, 50, 25)
"""

from collections.abc import Sequence
from dataclasses import dataclass

from backend.gate.rules import No, Rule
from protocol.orders import OrderType

HOUR_S, DAY_S = 3_600, 86_400
AHEAD_S = 604_800  # README §1.16: a limit is set at least 7 days ahead
AHEAD_DEMO_S = 1  # at a gate of a demonstration, whose whole life is minutes
LEASE_S_MAX = 604_800  # README §1.10: after it a car that got a go token is not locked any more
DEFAULT_LEAST = 2
MAKER_DAY_MAX = 10
WARN_PER_LOCK = 5
_PER_MILLE_DEFAULT, _PER_MILLE_CAP = 1.0, 2.5


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a lender may have signed."""

    day: int
    hour: int
    warn_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A limit that the safety officer has set.

    Attributes:
        fleet: cars of the lender, as the safety officer has it.
        day: LOCKs a day; None for the default.
        received_s: when the gate took the record.
        from_s: from when it is meant to hold.
    """

    fleet: int
    day: int | None
    received_s: int
    from_s: int

    def holds_from(self, ahead_s: int = AHEAD_S) -> int:
        """Return from when it holds: as asked, and not before seven days after it came."""
        return max(self.from_s, self.received_s + ahead_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed:
    """An order that the gate signed.

    Attributes:
        maker: the person of the maker's delegation; empty where it is not known any more.
    """

    at_s: int
    type: OrderType
    mcu_id: bytes
    maker: str


def limits_for(*, fleet: int, asked: int | None) -> Limits:
    """Return the limits of a fleet.

    Args:
        fleet: cars.
        asked: LOCKs a day that the safety officer set; None for the default.
    """
    cap = max(DEFAULT_LEAST, int(fleet * _PER_MILLE_CAP / 1_000))
    default = max(DEFAULT_LEAST, int(fleet * _PER_MILLE_DEFAULT / 1_000))
    day = min(cap, default if asked is None else asked)
    return Limits(day=day, hour=max(1, day // 4), warn_day=WARN_PER_LOCK * day)


def limits_at(records: Sequence[Asked], now_s: int, ahead_s: int = AHEAD_S) -> Limits:
    """Return the limits in force: of the record that holds last; without one, those of an unknown fleet."""
    holding = [record for record in records if record.holds_from(ahead_s) <= now_s]
    if not holding:
        return limits_for(fleet=0, asked=None)
    last = max(holding, key=lambda record: (record.holds_from(ahead_s), record.received_s))
    return limits_for(fleet=last.fleet, asked=last.day)


def judge(
    order_type: OrderType,
    signed: Sequence[Signed],
    limits: Limits,
    *,
    now_s: int,
    maker: str,
    maker_day: int,
    locked: int,
) -> list[No]:
    """Return what speaks against signing one more.

    Args:
        order_type: LOCK, RENEW or WARN.
        signed: what the gate signed for this lender within the last day.
        limits: in force.
        now_s: POSIX seconds.
        maker: person of the order's maker.
        maker_day: orders a day by the maker's delegation.
        locked: cars of this lender now locked, as the gate knows.
    """
    same = [at for at in signed if at.type is order_type]
    day, hour = within(same, now_s, DAY_S), within(same, now_s, HOUR_S)
    by_maker = [at for at in within(signed, now_s, DAY_S) if at.maker == maker]
    match order_type:
        case OrderType.LOCK:
            own = [at for at in by_maker if at.type is OrderType.LOCK]
            counts = [
                (day, limits.day, DAY_S, "a day"),
                (hour, limits.hour, HOUR_S, "an hour"),
                (own, MAKER_DAY_MAX, DAY_S, "a day and maker"),
            ]
        case OrderType.RENEW:
            counts = [(day, locked, DAY_S, "a day, as many as cars are locked")]
        case _:
            counts = [(day, limits.warn_day, DAY_S, "a day")]
    nos = [
        No(
            rule=Rule.BREAKER,
            detail=f"{len(found)} {order_type.name} signed, {limit} {what}",
            earliest_s=_frees_at(found, limit, span),
        )
        for found, limit, span, what in counts
        if len(found) >= limit
    ]
    if len(by_maker) >= maker_day:
        nos.append(
            No(
                rule=Rule.MAKER_DAY,
                detail=f"{len(by_maker)} orders of this maker signed, its delegation says {maker_day} a day",
                earliest_s=_frees_at(by_maker, maker_day, DAY_S),
            )
        )
    return nos


def within(signed: Sequence[Signed], now_s: int, span_s: int) -> list[Signed]:
    """Return what was signed in the last seconds; what lies ahead of the clock counts too: it was signed."""
    return [at for at in signed if at.at_s > now_s - span_s]


def _frees_at(found: Sequence[Signed], limit: int, span_s: int) -> int | None:
    """Return when so many will have left the window that one more fits; None when none ever does."""
    if limit < 1:
        return None
    times = sorted(at.at_s for at in found)
    return times[len(times) - limit] + span_s
