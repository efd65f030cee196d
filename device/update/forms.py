"""What an update is about, as values: the car, its health, the record of the transaction, why things ended.

Rules: everything unknown is None or False and stands for "not shown", never for "fine". The record is the
one durable thing: what it says at start is what happens. A record that cannot be read is refused as a whole.

It decides nothing (`transaction`) and writes nothing (`slots`).

Example:
    >>> read_record(write_record(Record(confirmed=3))) == Record(confirmed=3)
    True
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from typing import TYPE_CHECKING, Final

from protocol.errors import ProtocolError, Reject
from protocol.limits import UPDATE_FAILED_MAX, UPDATE_IDS_MAX, UPDATE_NUMBER_MAX

if TYPE_CHECKING:
    from collections.abc import Mapping


class Stage(StrEnum):
    """Where the transaction stands; each is written before what it names is done."""

    IDLE = "idle"
    STAGED = "staged"  # the release lies here whole
    MCU_NEW = "mcu-new"  # its image is being written
    TRIAL = "trial"  # it runs, and has yet to show that the car is as before
    MCU_OLD = "mcu-old"  # back: the old image is being written


class Outcome(StrEnum):
    """How a release ended on this box; the same words in the backend."""

    CONFIRMED = "confirmed"
    NOT_HEALTHY = "not_healthy"
    NOT_STARTING = "not_starting"
    MCU_NOT_WRITTEN = "mcu_not_written"
    DRAINS = "drains"


class Wait(StrEnum):
    """Why an update does not begin yet."""

    UNKNOWN = "UNKNOWN"
    IGNITION_ON = "IGNITION_ON"
    MOVING = "MOVING"
    SUPPLY_LOW = "SUPPLY_LOW"
    ORDER_OPEN = "ORDER_OPEN"
    MCU_SILENT = "MCU_SILENT"


class Lack(StrEnum):
    """What worked before and does not now."""

    MCU_SILENT = "MCU_SILENT"
    MCU_OTHER_IMAGE = "MCU_OTHER_IMAGE"
    NO_READ_BACK = "NO_READ_BACK"
    NO_FIX = "NO_FIX"
    NO_RECEIPT = "NO_RECEIPT"
    FRAMES_MISSING = "FRAMES_MISSING"
    DRAIN = "DRAIN"


class McuResult(StrEnum):
    """What came of writing an image."""

    DONE = "done"
    FAILED = "failed"  # may have written some of it
    LOCKED = "locked"  # the board holds a lock or an order, and nothing was written


@dataclass(frozen=True, slots=True, kw_only=True)
class Car:
    """The car at a moment; None is unknown.

    Attributes:
        is_ignition_on: terminal 15.
        is_moving: by accelerometer or speed.
        supply_mv: of the battery, mV.
        is_order_open: an order is open, arming, or the car is locked; or one waits to be handed on.
        is_mcu_up: the microcontroller's status is fresh.
    """

    is_ignition_on: bool | None = None
    is_moving: bool | None = None
    supply_mv: int | None = None
    is_order_open: bool | None = None
    is_mcu_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """What works at a moment.

    Attributes:
        firmware: measurement that the microcontroller says, hex; None without a fresh status.
        is_read_back: the relay's feedback agrees with the coil.
        has_fix: the receiver has a position.
        is_receipted: the backend has receipted a batch lately.
        ids: `bus:id` of frames seen lately, or in the last drive.
        awake_s: since when the bus is awake, s; 0 asleep.
        drain_mv_h: fall of the supply at rest, mV/h; None not measured yet.
    """

    firmware: str | None = None
    is_read_back: bool = False
    has_fix: bool = False
    is_receipted: bool = False
    ids: frozenset[str] = frozenset()
    awake_s: int = 0
    drain_mv_h: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Slot:
    """One release that lies here whole.

    Attributes:
        release: its number.
        mcu: version of its image.
        measurement: of its image, hex.
        floor: what it asks for once confirmed.
    """

    release: int
    mcu: int = 0
    measurement: str = ""
    floor: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The transaction as it stands on disk.

    Attributes:
        confirmed: the release to which everything goes back; 0 before the first.
        stage: where it stands.
        new: the release in question, None while idle.
        mcu: version of the confirmed release's image.
        measurement: of the confirmed release's image, hex, empty when nobody has said it.
        floor: no release below it.
        tries: attempts to write an image in this stage.
        boots: starts of the release on trial since it was healthy at rest.
        is_rested: it has been healthy at rest.
        doomed: why it goes back as soon as the car lets it, None when it does not.
        baseline: the same car before.
        failed: releases that ended badly, with why; newest last.
        untold: outcomes that the backend has not taken yet.
    """

    confirmed: int = 0
    stage: Stage = Stage.IDLE
    new: Slot | None = None
    mcu: int = 0
    measurement: str = ""
    floor: int = 0
    tries: int = 0
    boots: int = 0
    is_rested: bool = False
    doomed: Outcome | None = None
    baseline: Health | None = None
    failed: tuple[tuple[int, Outcome], ...] = ()
    untold: tuple[tuple[int, Outcome], ...] = ()

    @property
    def running(self) -> int:
        """The release that runs, or is to run, with this record."""
        is_new = self.stage is Stage.TRIAL and self.new is not None
        return self.new.release if is_new and self.new is not None else self.confirmed

    def ended(self, release: int, outcome: Outcome) -> Record:
        """Return the record with an outcome noted, to be told."""
        note = (release, outcome)
        failed = self.failed if outcome is Outcome.CONFIRMED else (*self.failed, note)
        return replace(
            self,
            failed=failed[-UPDATE_FAILED_MAX:],
            untold=(*self.untold, note)[-UPDATE_FAILED_MAX:],
        )


EMPTY: Final = Record()


def write_record(record: Record) -> bytes:
    """Return a record's bytes."""
    content = asdict(record)
    if record.baseline is not None:
        content["baseline"]["ids"] = sorted(record.baseline.ids)
    return json.dumps(content, sort_keys=True).encode()


def read_record(data: bytes) -> Record:
    """Read a record.

    Raises:
        ProtocolError: BAD_ENCODING when it is not what `write_record` writes.
    """
    try:
        content = json.loads(data)
        new, baseline, doomed = content["new"], content["baseline"], content["doomed"]
        record = Record(
            **{
                name: content[name] for name in ("confirmed", "mcu", "measurement", "floor", "tries", "boots")
            },
            is_rested=content["is_rested"] is True,
            stage=Stage(content["stage"]),
            new=None if new is None else Slot(**new),
            doomed=None if doomed is None else Outcome(doomed),
            baseline=None if baseline is None else read_health(baseline),
            failed=tuple((int(number), Outcome(word)) for number, word in content["failed"]),
            untold=tuple((int(number), Outcome(word)) for number, word in content["untold"]),
        )
    except (ValueError, KeyError, TypeError, RecursionError) as failure:
        raise ProtocolError(Reject.BAD_ENCODING, "the update's record") from failure
    numbers = (record.confirmed, record.mcu, record.floor, record.tries, record.boots)
    is_number = all(type(number) is int and 0 <= number <= UPDATE_NUMBER_MAX for number in numbers)
    if not is_number or (record.stage is Stage.IDLE) != (record.new is None):
        raise ProtocolError(Reject.BAD_ENCODING, "the update's record")
    return record


def read_health(content: Mapping[str, object]) -> Health:
    """Read a health from JSON; raises ValueError or TypeError for what is none."""
    names = {field.name for field in fields(Health)}
    values = {name: content[name] for name in names if name in content}
    ids = values.pop("ids", [])
    if not isinstance(ids, list) or len(ids) > UPDATE_IDS_MAX:
        raise ValueError("identifiers")
    return Health(**values, ids=frozenset(str(item) for item in ids))  # type: ignore[arg-type]
