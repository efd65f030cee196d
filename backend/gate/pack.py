"""A jurisdiction's rules as data: read from TOML by people, signed as CBOR, checked against the floors.

Rules (P-08 … P-14, README §1.12, §1.13, §1.15): a pack has exactly the fields below. A production pack may
only be stricter than the floors: 72 hours, two channels, ten minutes, 08:00-18:00, 24 hours of emergency
start; its LOCK is "counsel" (off until counsel's signed opinion about this very pack is loaded) or "never",
and "on" exists in a demonstration's pack alone, which a gate outside a demonstration refuses. A pack expires.

This module applies no rule to a loan: see `eligibility`, `hours`.

Example:
    >>> pack = load_toml(Path("backend/gate/packs/us-nj.toml").read_text())
    >>> pack.jur, pack.lock, pack.days(Interval.WEEKLY), pack.override_s
    ('US-NJ', <Action.COUNSEL: 'counsel'>, 5, 172800)
"""

import hashlib
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any

from protocol import strict_cbor
from protocol.envelope import KeyLookup, Kind, Signer, open_sign1, sign1
from protocol.errors import ProtocolError
from protocol.limits import PACK_BYTES_MAX
from protocol.loan_facts import Channel, Delivery, Interval, Paper

DAY_S = 86_400
DEFAULT = "*"
"""The name of the pack for places that have none of their own."""

NOTICE_S_MIN = 259_200  # README §1.13
CHANNELS_MIN = 2  # README §1.13
GAP_S_MIN = 600  # command authority §4.4 step 3
OVERRIDE_S_MIN = 86_400  # README §1.12
HOLD_S_MAX = 604_800  # README §1.10
EPISODE_S_MAX = 2_592_000  # README §1.10: 30 days
LOCK_HOURS = (480, 1_080)  # README §1.15: 08:00-18:00
WARN_HOURS = (420, 1_320)  # README §1.13: never 22:00-07:00
_DAY_MIN = 1_440
LIFE_DAYS_MAX = 400  # a pack lives a year and a month: long enough to be renewed every year


class PackError(ValueError):
    """A pack is not one; all that is wrong with it, a line each."""


class Action(StrEnum):
    """Whether an action is allowed in a place."""

    ON = "on"
    COUNSEL = "counsel"
    NEVER = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Zone:
    """Local time: minutes east of UTC in winter, and whose summer time; None leaves it to the loan facts."""

    offset_min: int | None
    summer: str  # "us", "eu" or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Pack:
    """The rules of a place.

    Attributes:
        jur: ISO 3166-2 or DEFAULT.
        version: rises with each edition.
        issued_s, expires_s: POSIX seconds; outside them there is no pack.
        is_demo: with demonstration numbers.
        lock, warn: whether; RENEW follows LOCK.
        days_weekly, days_other: days past due before a LOCK, by how often the borrower pays.
        warn_days: days past due before a WARN.
        first_weekly_days, first_other_days: days between the first notice and the LOCK; 0 asks for none.
        final_s: seconds between the final notice and the LOCK.
        channels_min: on how many channels the final notice must count.
        channels: what counts on each channel; a channel not named never counts.
        papers: what the contract's file must hold.
        codes_in_notice: whether the final notice carries codes and telephone.
        lead_s: warning in the car before it locks.
        override_s: emergency window at least.
        hold_s_max: longest lease.
        due_min_minor: what must be due at least, minor units.
        pending_s: how long a payment may be on its way before it no longer stops an order by itself.
        gap_s: between maker's and checker's signatures.
        zone: local time.
        lock_hours: minutes of the local day, from and to.
        warn_hours: the same for warnings, never wider than the car's own floor; only that floor is enforced
            (in the car), narrower hours of a place are not.
        weekend: days of the week, Monday 0.
        holidays: dates on which nothing is locked.
        calendar_until: the last day whose holidays are known; nothing is locked after it.
        sources: what the numbers stand on.
        digest: SHA-256 of the pack's bytes.
    """

    jur: str
    version: int
    issued_s: int
    expires_s: int
    is_demo: bool
    lock: Action
    warn: Action
    days_weekly: int
    days_other: int
    warn_days: int
    first_weekly_days: int
    first_other_days: int
    final_s: int
    channels_min: int
    channels: Mapping[Channel, frozenset[Delivery]]
    papers: frozenset[Paper]
    codes_in_notice: bool
    lead_s: int
    override_s: int
    hold_s_max: int
    due_min_minor: int
    pending_s: int
    gap_s: int
    zone: Zone
    lock_hours: tuple[int, int]
    warn_hours: tuple[int, int]
    weekend: frozenset[int]
    holidays: frozenset[date]
    calendar_until: date
    sources: tuple[str, ...]
    digest: bytes

    def days(self, interval: Interval) -> int:
        """Return the days past due that a LOCK needs here."""
        return self.days_weekly if interval is Interval.WEEKLY else self.days_other

    def first_days(self, interval: Interval) -> int:
        """Return the days that the first notice must be old."""
        return self.first_weekly_days if interval is Interval.WEEKLY else self.first_other_days

    def is_in_force(self, now_s: int) -> bool:
        """Return whether it is neither early nor over."""
        return self.issued_s <= now_s < self.expires_s


_UINTS = (
    *(
        "version",
        "days_weekly",
        "days_other",
        "warn_days",
        "first_weekly_days",
        "first_other_days",
        "final_s",
    ),
    *("channels_min", "lead_s", "override_s", "hold_s_max", "due_min_minor", "pending_s", "gap_s"),
)
_FIELDS = {
    *_UINTS,
    *("jur", "issued", "expires", "demo", "lock", "warn", "channels", "papers", "codes_in_notice", "zone"),
    *("lock_hours", "warn_hours", "weekend", "holidays", "calendar_until", "sources"),
}


def load_toml(text: str) -> Pack:
    """Read a pack as people write it.

    Raises:
        PackError: not TOML, not a pack, or looser than the floors.
    """
    try:
        value = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PackError(f"not TOML: {error}") from error
    return read_pack(bytes(strict_cbor.dumps(_plain(value))))


def read_pack(data: bytes) -> Pack:
    """Read a pack's bytes.

    Raises:
        PackError: not strict CBOR, not a pack, or looser than the floors.
    """
    try:
        value = strict_cbor.loads(data, PACK_BYTES_MAX)
    except ValueError as error:
        raise PackError(f"not strict CBOR: {error}") from error
    if not isinstance(value, dict):
        raise PackError("not a table")
    if set(value) != _FIELDS:
        raise PackError(
            "\n".join(f"{name}: missing or unknown" for name in sorted(set(value) ^ _FIELDS, key=str))
        )
    pack = _build(value, hashlib.sha256(data).digest())
    if wrong := problems(pack):
        raise PackError("\n".join(wrong))
    return pack


def encode_toml(text: str) -> bytes:
    """Return the bytes of a pack, which were read back.

    Raises:
        PackError: see `load_toml`.
    """
    load_toml(text)
    return bytes(strict_cbor.dumps(_plain(tomllib.loads(text))))


def sign_pack(text: str, signer: Signer) -> bytes:
    """Return a pack as the gate takes it: COSE_Sign1, kind `pack`.

    Raises:
        PackError: see `load_toml`.
    """
    return sign1(Kind.PACK, encode_toml(text), signer)


def open_pack(data: bytes, keys: KeyLookup) -> Pack:
    """Read and verify a signed pack.

    Raises:
        PackError: not signed by a key that may, or not a pack.
    """
    try:
        message = open_sign1(data, Kind.PACK, keys, max_bytes=PACK_BYTES_MAX)
    except ProtocolError as error:
        raise PackError(str(error)) from error
    return read_pack(message.payload)


def problems(pack: Pack) -> list[str]:
    """Return where a pack contradicts itself or is looser than the floors, a line each."""
    wrong = [
        f"{name}: from must be before to, within the day"
        for name, (start, end) in (("lock_hours", pack.lock_hours), ("warn_hours", pack.warn_hours))
        if not 0 <= start < end <= _DAY_MIN
    ]
    if not pack.issued_s < pack.expires_s <= pack.issued_s + LIFE_DAYS_MAX * DAY_S:
        wrong.append(f"expires: after issued, at most {LIFE_DAYS_MAX} days")
    if pack.hold_s_max > HOLD_S_MAX:
        wrong.append(f"hold_s_max: at most {HOLD_S_MAX}")
    if not pack.is_demo:
        wrong += _below_floors(pack)
    return wrong


def _below_floors(pack: Pack) -> list[str]:
    floors = (
        ("final_s", pack.final_s, NOTICE_S_MIN),
        ("channels_min", pack.channels_min, CHANNELS_MIN),
        ("gap_s", pack.gap_s, GAP_S_MIN),
        ("override_s", pack.override_s, OVERRIDE_S_MIN),
    )
    wrong = [f"{name}: {value} is below the floor {floor}" for name, value, floor in floors if value < floor]
    for name, hours, floor_hours in (
        ("lock_hours", pack.lock_hours, LOCK_HOURS),
        ("warn_hours", pack.warn_hours, WARN_HOURS),
    ):
        if hours[0] < floor_hours[0] or hours[1] > floor_hours[1]:
            wrong.append(f"{name}: wider than {floor_hours}")
    if pack.lock is Action.ON:
        wrong.append('lock: "on" exists in a demonstration only; "counsel" needs a signed opinion')
    for channel, states in pack.channels.items():
        if not all(Delivery.counts(state) for state in states):
            wrong.append(f"channels.{channel.name.lower()}: only delivered and served can count")
    return wrong


def _build(value: Mapping[str, Any], digest: bytes) -> Pack:
    for name in _UINTS:
        if not isinstance(value[name], int) or isinstance(value[name], bool) or value[name] < 0:
            raise PackError(f"{name}: a whole number from 0")
    try:
        return Pack(
            **{name: value[name] for name in _UINTS},
            jur=str(value["jur"]),
            issued_s=_instant(value["issued"]),
            expires_s=_instant(value["expires"]),
            is_demo=value["demo"] is True,
            lock=Action(value["lock"]),
            warn=Action(value["warn"]),
            channels={
                Channel[name.upper()]: frozenset(Delivery[state.upper()] for state in states)
                for name, states in value["channels"].items()
            },
            papers=frozenset(Paper[name.upper()] for name in value["papers"]),
            codes_in_notice=value["codes_in_notice"] is True,
            zone=_zone(value["zone"]),
            lock_hours=_minutes(value["lock_hours"]),
            warn_hours=_minutes(value["warn_hours"]),
            weekend=frozenset(_WEEK.index(day) for day in value["weekend"]),
            holidays=frozenset(map(date.fromisoformat, value["holidays"])),
            calendar_until=date.fromisoformat(value["calendar_until"]),
            sources=tuple(map(str, value["sources"])),
            digest=digest,
        )
    except (KeyError, ValueError, TypeError, AttributeError) as error:
        raise PackError(f"not a pack: {error}") from error


def _zone(value: Mapping[str, Any]) -> Zone:
    """Return {offset_min = -480 or "facts", summer = "us", "eu" or "none"}."""
    offset, summer = value["offset_min"], value["summer"]
    is_known = isinstance(offset, int) and not isinstance(offset, bool)
    if len(value) != len(("offset_min", "summer")) or summer not in ("us", "eu", "none"):
        raise ValueError('zone: offset_min and summer ("us", "eu", "none")')
    if not is_known and (offset != "facts" or summer != "none"):
        raise ValueError('zone: offset_min in minutes, or "facts" without summer time')
    return Zone(offset_min=offset if is_known else None, summer=summer)


_WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _plain(value: object) -> object:
    """Return TOML's values as CBOR has them: dates as text."""
    if isinstance(value, dict):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.isoformat() if isinstance(value, date) else value


def _instant(text: str) -> int:
    day = date.fromisoformat(text)
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp())


def _minutes(pair: list[str]) -> tuple[int, int]:
    """Return ["08:00", "18:00"] in minutes of the day."""
    start, end = ([int(part) for part in text.split(":")] for text in pair)
    return start[0] * 60 + start[1], end[0] * 60 + end[1]
