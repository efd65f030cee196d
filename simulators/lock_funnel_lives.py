"""The world of the lock funnel: late borrowers, where their cars stand and when they drive, the weather.

Rules: one seed gives one life, the same at every run. Every share and time below was chosen before anything
was measured, with its reason beside it; none follows from a wish for the result. Times are POSIX seconds.

It orders nothing and knows no gate.

Example:
    >>> life = life_of(7, Calendar.of(START_S, days=60))
    >>> life.kind in Kind, life.drives[0].start_s < life.drives[0].end_s
    (True, True)
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

import backend.gate
from backend.gate import hours
from backend.gate.pack import Pack, load_toml

if TYPE_CHECKING:
    from collections.abc import Callable

MINUTE_S, HOUR_S, DAY_S = 60, 3_600, 86_400
START_S = int(datetime(2027, 6, 7, 7, tzinfo=UTC).timestamp())  # a Monday, midnight in California
MARGIN_DAYS = 16  # before and after the span: notices begin earlier, leases end later
PACK = "us-ca"

# --- Borrowers ----------------------------------------------------------------------------------------------
# Commuters are most of the workforce; about one in six works evenings or nights (BLS, shift work supplement,
# 2019: 16 %); people behind with a car loan drive more for hire than others, which nobody counts well.
KINDS = {"office": 0.52, "night": 0.16, "seldom": 0.16, "ride_hail": 0.16}
CURES_BEFORE = 0.30  # pays between first notice and lock: most loans 10 days late cure (lenders' own reports)
KEEPS_PROMISE = 0.5
PROMISES, DISPUTES, STAYS = 0.08, 0.03, 0.01  # of the others; a stay is a bankruptcy or active duty
FOILS = 0.02  # unplugs the antenna, or wraps it, some time after the final notice
PENDING, NIGHTLY = 0.35, 0.15  # by bank transfer, two days on its way; by cheque, known from the night's file
PAYS_WHEN_LOCKED = 0.75  # within 60 hours; the others wait for the end of the lease

# --- Cars ---------------------------------------------------------------------------------------------------
STARTS = {"turn-key": 0.70, "one-touch": 0.26, "ready": 0.04}  # subprime cars are five to ten years old
HAS_WHEEL_SPEED, HAS_AMBIENT = 0.92, 0.75  # on the buses a box can read
WEAK_BATTERY = 0.03  # below the supply limit after two days of standing

# --- Days: share of days on which somebody does so; a car that is seldom driven goes out every fourth ------
GOES_TO_WORK, LUNCHES_OUT, SHOPS, GOES_OUT = 0.92, 0.25, 0.30, 0.65
NIGHT_ERRAND, SELDOM_DRIVES, STAYS_OUT = 0.35, 0.25, 0.30

# --- Places -------------------------------------------------------------------------------------------------
# (share under a roof, of them without signal, of open ones without signal, within a protected zone)
HOME, WORK, ERRAND = (0.26, 0.20, 0.015, 0.02), (0.25, 0.25, 0.01, 0.04), (0.15, 0.15, 0.01, 0.05)
FLICKERS = 0.03  # open places between tall buildings, where the fix comes and goes

# --- Weather: climate → (share, (summer mean, swing, spread), (winter mean, swing, spread), place) ----------
# Share of the hot valley: 6.5 of 39 million Californians; means from NOAA's normals of Los Angeles, Fresno
# and Truckee, rounded. A day's high is mean + swing.
Season = tuple[float, float, float]
CLIMATES: dict[str, tuple[float, Season, Season, tuple[int, int]]] = {
    "coast": (0.80, (21.0, 6.0, 2.5), (13.0, 6.0, 2.5), (341, -1_183)),
    "valley": (0.17, (28.5, 8.0, 2.8), (9.0, 6.0, 2.8), (367, -1_198)),
    "mountain": (0.03, (15.0, 10.0, 3.0), (-2.0, 7.0, 4.5), (393, -1_202)),
}


class Kind(StrEnum):
    """How somebody uses the car."""

    OFFICE = "office"
    NIGHT = "night"
    SELDOM = "seldom"
    RIDE_HAIL = "ride_hail"


class Place(NamedTuple):
    """Where a car stands.

    Attributes:
        is_roofed: no fix, and a receiver that says so.
        has_signal: of the mobile network.
        is_zone: within or touching a protected place.
        flickers: the fix is lost now and then without a reason the receiver could tell.
    """

    is_roofed: bool
    has_signal: bool
    is_zone: bool
    flickers: bool


class Drive(NamedTuple):
    """From ignition-on to the key drawn, and where the car stands then."""

    start_s: int
    end_s: int
    place: Place


class PaidBy(StrEnum):
    """How a payment comes."""

    CARD = "card"  # posted at once
    TRANSFER = "transfer"  # on its way for one to three nights
    CHEQUE = "cheque"  # the loan system learns of it from the night's file


class Payment(NamedTuple):
    """All that is due, paid."""

    at_s: int
    by: PaidBy
    nights: int


class Block(NamedTuple):
    """What stops an order: its kind, from when, until when (None: for good)."""

    kind: str
    from_s: int
    until_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calendar:
    """Local days of a place by its pack.

    Attributes:
        pack: the jurisdiction's rules.
        start_s: local midnight of the first day.
        days: of the span.
    """

    pack: Pack
    start_s: int
    days: int
    _offsets: dict[int, int] = field(default_factory=dict, repr=False)
    _business: dict[int, bool] = field(default_factory=dict, repr=False)

    @classmethod
    def of(cls, start_s: int, *, days: int, pack: str = PACK) -> Self:
        """Return the calendar of a pack that ships with the gate."""
        path = Path(backend.gate.__file__).parent / "packs" / f"{pack}.toml"
        return cls(pack=load_toml(path.read_text(encoding="utf-8")), start_s=start_s, days=days)

    def offset_s(self, at_s: float) -> int:
        """Return seconds east of UTC; it changes at full hours only."""
        hour = int(at_s // HOUR_S)
        if hour not in self._offsets:
            self._offsets[hour] = self._offset_s(hour * HOUR_S)
        return self._offsets[hour]

    def _offset_s(self, at_s: int) -> int:
        minutes = hours.utc_offset_min(self.pack.zone, at_s, facts_offset_min=None)
        assert minutes is not None, "the pack names its zone"
        return minutes * MINUTE_S

    def midnight_s(self, day: int) -> int:
        """Return local midnight of a day; 0 is the first of the span."""
        guess = self.start_s + day * DAY_S
        return guess + self.offset_s(self.start_s) - self.offset_s(guess + 12 * HOUR_S)

    def day_of(self, at_s: float) -> int:
        """Return the number of the local day."""
        return int((at_s + self.offset_s(at_s) - self.start_s - self.offset_s(self.start_s)) // DAY_S)

    def minute_of(self, at_s: float) -> int:
        """Return the minute of the local day."""
        return int((at_s + self.offset_s(at_s)) % DAY_S) // MINUTE_S

    def is_business(self, day: int) -> bool:
        """Return whether a day is a business day."""
        if day not in self._business:
            self._business[day] = self._is_business(day)
        return self._business[day]

    def _is_business(self, day: int) -> bool:
        return hours.may_lock(self.pack, self.midnight_s(day) + 12 * HOUR_S, facts_offset_min=None)

    def weekday(self, day: int) -> int:
        """Return the day of the week, Monday 0."""
        return (
            datetime.fromtimestamp(self.midnight_s(day) + 12 * HOUR_S, tz=UTC) + timedelta(hours=-8)
        ).weekday()

    def later(self, at_s: float, business_days: int) -> int:
        """Return the same time of day so many business days later."""
        day, left = self.day_of(at_s), business_days
        while left:
            day += 1
            left -= self.is_business(day)
        return self.midnight_s(day) + int(at_s - self.midnight_s(self.day_of(at_s)))


@dataclass(slots=True, kw_only=True)
class Life:
    """A borrower and a car.

    Attributes:
        number: also the seed's part.
        kind: how the car is used.
        climate: of CLIMATES.
        due_since_s: since when the loan is behind.
        drives: in order, not overlapping, over the whole span with its margins.
        home: where the car stands before the first drive.
        start_type, has_wheel_speed, has_ambient, is_weak: of the car and its battery.
        payment: before any lock, or None.
        after_lock_s: seconds from lock to payment, or None.
        paid_by, nights: how a payment after the lock comes.
        blocks: promises, disputes, stays.
        foil_s: from when nothing is heard of the box, or None.
        bounced: of the final notice's channels, those that never arrive.
        phase_s: of the box's own count against the world's, within its six hours.
    """

    number: int
    kind: Kind
    climate: str
    due_since_s: int
    drives: list[Drive]
    home: Place
    start_type: str
    has_wheel_speed: bool
    has_ambient: bool
    is_weak: bool
    payment: Payment | None
    after_lock_s: int | None
    paid_by: PaidBy
    nights: int
    blocks: list[Block]
    foil_s: int | None
    bounced: frozenset[str]
    phase_s: int


def life_of(number: int, calendar: Calendar, *, seed: int = 1) -> Life:
    """Return the life of a number: who it is, how the loan goes, every drive."""
    rng = random.Random(f"life {seed} {number}")
    kind = Kind(_pick(rng, KINDS))
    home, work = _place(rng, HOME), _place(rng, WORK)
    # The day on which ten days are past due lies within the span, so late that its end can be seen.
    reached = calendar.midnight_s(0) + rng.uniform(-2, max(1, calendar.days - 20)) * DAY_S
    due_since_s = int(reached - 10 * DAY_S)
    payment, blocks, foil_s = _fate(rng, due_since_s)
    return Life(
        number=number,
        kind=kind,
        climate=_pick(rng, {name: row[0] for name, row in CLIMATES.items()}),
        due_since_s=due_since_s,
        drives=_drives(rng, kind, calendar, home, work),
        home=home,
        start_type=_pick(rng, STARTS),
        has_wheel_speed=rng.random() < HAS_WHEEL_SPEED,
        has_ambient=rng.random() < HAS_AMBIENT,
        is_weak=rng.random() < WEAK_BATTERY,
        payment=payment,
        after_lock_s=int(rng.uniform(1, 60) * HOUR_S) if rng.random() < PAYS_WHEN_LOCKED else None,
        paid_by=_by(rng),
        nights=rng.randint(1, 3),
        blocks=blocks,
        foil_s=foil_s,
        bounced=frozenset(name for name, share in (("email", 0.07), ("sms", 0.08)) if rng.random() < share),
        phase_s=rng.randrange(6 * HOUR_S),
    )


def _fate(rng: random.Random, due_since_s: int) -> tuple[Payment | None, list[Block], int | None]:
    """Return whether and when somebody pays, promises, disputes or wraps the antenna."""
    payment, blocks = None, []
    if rng.random() < CURES_BEFORE:
        payment = Payment(int(due_since_s + rng.uniform(2, 16) * DAY_S), _by(rng), rng.randint(1, 3))
    drawn = rng.random()
    from_s = int(due_since_s + rng.uniform(3, 18) * DAY_S)
    if drawn < PROMISES:
        until_s = from_s + rng.randint(3, 7) * DAY_S
        blocks.append(Block("promise", from_s, until_s))
        if payment is None and rng.random() < KEEPS_PROMISE:
            payment = Payment(until_s - 6 * HOUR_S, _by(rng), 1)
    elif drawn < PROMISES + DISPUTES:
        blocks.append(Block("dispute", from_s, from_s + rng.randint(5, 15) * DAY_S))
    elif drawn < PROMISES + DISPUTES + STAYS:
        blocks.append(Block("stay", from_s, None))
    foil_s = int(due_since_s + rng.uniform(9, 20) * DAY_S) if rng.random() < FOILS else None
    return payment, blocks, foil_s


def _by(rng: random.Random) -> PaidBy:
    shares = {"transfer": PENDING, "cheque": NIGHTLY, "card": 1 - PENDING - NIGHTLY}
    return PaidBy(_pick(rng, shares))


def _pick(rng: random.Random, shares: dict[str, float]) -> str:
    return rng.choices(list(shares), list(shares.values()))[0]


def _place(rng: random.Random, shares: tuple[float, float, float, float]) -> Place:
    roof, deaf_roof, deaf_open, zone = shares
    is_roofed = rng.random() < roof
    has_signal = rng.random() >= (deaf_roof if is_roofed else deaf_open)
    return Place(is_roofed, has_signal, rng.random() < zone, not is_roofed and rng.random() < FLICKERS)


# --- Driving ------------------------------------------------------------------------------------------------


class _Diary:
    """Drives of one car, in minutes of a local day; what would overlap is left out."""

    def __init__(self, rng: random.Random, calendar: Calendar, home: Place) -> None:
        self.rng, self.calendar, self.home = rng, calendar, home
        self.drives: list[Drive] = []
        self.day = 0

    def drive(self, at_min: float, minutes: float, place: Place) -> float:
        """Drive; return the minute of arrival."""
        start_s = self.calendar.midnight_s(self.day) + int(at_min * MINUTE_S)
        end_s = start_s + max(3 * MINUTE_S, int(minutes * MINUTE_S))
        if not self.drives or start_s > self.drives[-1].end_s + 2 * MINUTE_S:
            self.drives.append(Drive(start_s, end_s, place))
        return at_min + minutes

    def outing(self, from_min: float, to_min: float, stops: int) -> None:
        """Go out, stop here and there, come home."""
        rng = self.rng
        at = rng.uniform(from_min, to_min)
        for _ in range(stops):
            at = self.drive(at, rng.uniform(6, 30), _place(rng, ERRAND)) + rng.uniform(15, 90)
        self.drive(at, rng.uniform(6, 30), self.home)


def _drives(rng: random.Random, kind: Kind, calendar: Calendar, home: Place, work: Place) -> list[Drive]:
    diary = _Diary(rng, calendar, home)
    shifts = rng.sample(range(7), 5)
    days_off = rng.randrange(7)
    stays_out = rng.random() < STAYS_OUT
    day_of: dict[Kind, Callable[[], None]] = {
        Kind.OFFICE: lambda: _office_day(diary, work),
        Kind.NIGHT: lambda: _night_day(diary, work, on=calendar.weekday(diary.day) in shifts),
        Kind.SELDOM: lambda: diary.outing(600, 900, 1) if rng.random() < SELDOM_DRIVES else None,
        Kind.RIDE_HAIL: lambda: _hire_day(
            diary, off=calendar.weekday(diary.day) == days_off, stays_out=stays_out
        ),
    }
    for day in range(-MARGIN_DAYS, calendar.days + MARGIN_DAYS):
        diary.day = day
        day_of[kind]()
    return diary.drives


def _office_day(diary: _Diary, work: Place) -> None:
    """To work and back, sometimes out for lunch, sometimes shopping on the way home."""
    rng = diary.rng
    if not diary.calendar.is_business(diary.day) or rng.random() > GOES_TO_WORK:
        if rng.random() < GOES_OUT:
            diary.outing(600, 900, rng.randint(1, 2))
        return
    way = rng.uniform(15, 50)
    diary.drive(rng.gauss(460, 25), way, work)
    if rng.random() < LUNCHES_OUT:
        back = diary.drive(735, 8, _place(rng, ERRAND)) + rng.uniform(25, 45)
        diary.drive(back, 8, work)
    leaves = rng.gauss(1_035, 35)
    if rng.random() < SHOPS:
        leaves = diary.drive(leaves, way / 2, _place(rng, ERRAND)) + rng.uniform(20, 60)
    diary.drive(leaves, way, diary.home)


def _night_day(diary: _Diary, work: Place, *, on: bool) -> None:
    """Home in the morning, asleep by day, to work in the evening."""
    rng = diary.rng
    if rng.random() < NIGHT_ERRAND:
        diary.outing(880, 980, rng.randint(1, 2))
    if on:
        way = rng.uniform(20, 40)
        diary.drive(rng.gauss(1_275, 20), way, work)
        diary.drive(rng.gauss(1_440 + 375, 20), way, diary.home)


def _hire_day(diary: _Diary, *, off: bool, stays_out: bool) -> None:
    """Passengers in the morning and in the evening, or all day with short stops; one day off a week."""
    rng = diary.rng
    if off:
        if rng.random() < GOES_OUT:
            diary.outing(600, 1_000, 1)
        return
    blocks = (
        [(rng.gauss(540, 30), 1_140.0)]
        if stays_out
        else [(rng.gauss(390, 20), 690), (rng.gauss(930, 20), 1_290)]
    )
    for begins, ends in blocks:
        at = begins
        while at < ends:
            at = diary.drive(at, rng.uniform(25, 80), _place(rng, ERRAND)) + rng.choice((6, 8, 12, 20, 35))
        diary.drive(at, rng.uniform(10, 30), diary.home)


# --- Weather ------------------------------------------------------------------------------------------------


class Weather:
    """Outside air by climate and day; also the gate's forecasts, which are right within a degree."""

    def __init__(self, calendar: Calendar, *, seed: int = 1) -> None:
        self._calendar, self._seed = calendar, seed
        self._climates = {row[3]: name for name, row in CLIMATES.items()}
        self._days: dict[tuple[str, int], float] = {}

    def air(self, climate: str, at_s: float) -> float:
        """Return °C."""
        day, minute = self._calendar.day_of(at_s), self._calendar.minute_of(at_s)
        is_summer = 5 <= datetime.fromtimestamp(at_s, tz=UTC).month <= 9  # noqa: PLR2004 - May to September
        _, summer, winter, _ = CLIMATES[climate]
        mean, swing, spread = summer if is_summer else winter
        odd = self._days.get((climate, day))
        if odd is None:
            odd = random.Random(f"weather {self._seed} {climate} {day}").gauss(0, spread)
            self._days[climate, day] = odd
        return mean + odd + swing * math.cos((minute / 60 - 15) / 24 * 2 * math.pi)

    def next_12_h(self, place: tuple[int, int], now_s: int) -> tuple[int, int] | None:
        """Return the lowest and highest °C of the next 12 hours, as `backend.gate.ports.Forecasts` asks."""
        climate = self._climates.get((place[0], place[1]))
        if climate is None:
            return None
        air = [self.air(climate, now_s + hour * HOUR_S) for hour in range(13)]
        return math.floor(min(air)), math.ceil(max(air))
