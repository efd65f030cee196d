"""The collection policy: one signed document that says what a box records, how often and how exactly.

Rules: signed by the backend's policy key, never by a device; it is about collection only and never gives
authority. A box names the hash of the policy in force in each batch header, so a trace says under which rules
it was made. A document whose hash equals the one in force changes nothing: no socket, store or counter is
touched. Precision follows the loan stage and is NONE where the document says nothing. Revisions only rise: an
older document is not put in force again.

This module says what a policy is, `policy_codec` how it travels; `device` follows it and `backend` decides
who may issue one.

Example:
    >>> quotas = Quotas(spool_bytes=1 << 30, bulk_bytes=1 << 29, windows_per_day=10)
    >>> rule = SampleRule(select="Vehicle.Speed", period_us=1_000_000, dead_bands={"Speed": 0.5})
    >>> plan = StatePlan(batch_age_us=10_000_000, fix_period_us=1_000_000, rules=(rule,), raw_frames=())
    >>> VehicleState.DRIVING in {VehicleState.DRIVING: plan}
    True
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import IntEnum

from protocol.fixes import Precision
from protocol.ids import DeviceId

VERSION = 1


class VehicleState(IntEnum):
    """What the car is doing, as the agent sees it; wire values."""

    PARKED = 1
    IGNITION_ON = 2
    DRIVING = 3
    CHARGING = 4


class LoanStage(IntEnum):
    """Where the loan stands, as the lender's system says; wire values."""

    PERFORMING = 1
    GRACE = 2
    LATE = 3
    DEFAULT = 4
    RECOVERY = 5
    PAID_OFF = 6


class Comparison(IntEnum):
    """How a trigger looks at its signal; wire values."""

    ABOVE = 1
    BELOW = 2
    EQUAL = 3
    CHANGED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRule:
    """When a row of the groups it selects is recorded; any member's trigger records the row.

    Attributes:
        select: catalogue path, or bus.Message, or bus.Message.Signal.
        keep_all: record every row.
        period_us: record the first row of each such slot of time, or None.
        max_interval_us: record at least so often while rows arrive, or None.
        on_change: signals of which any change records the row.
        dead_bands: by signal, how far its physical value may wander from the last recorded one.
    """

    select: str
    keep_all: bool = False
    period_us: int | None = None
    max_interval_us: int | None = None
    on_change: tuple[str, ...] = ()
    dead_bands: Mapping[str, int | float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class StatePlan:
    """What is collected in one vehicle state.

    Attributes:
        batch_age_us: cadence: an open batch is sealed at this age, 1 s … BATCH_AGE_US_MAX.
        fix_period_us: least time between recorded fixes; None records none.
        rules: first match wins; a group that no rule selects is not recorded.
        raw_frames: messages (bus.Message) whose frames are kept raw behind decisive signals.
    """

    batch_age_us: int
    fix_period_us: int | None
    rules: tuple[SampleRule, ...]
    raw_frames: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trigger:
    """Records more around an event, from before it happened.

    Attributes:
        name: snake_case, becomes the event's name.
        signal: catalogue path or bus.Message.Signal that is watched.
        comparison: a Comparison, or an int this reader does not know (such a trigger never fires).
        threshold: physical value compared with; ignored by CHANGED.
        hold_us: the condition must hold so long.
        before_us: history recorded from before the event.
        after_us: recorded after the event.
        min_interval_us: least time between two firings.
        select: what is recorded in full: catalogue paths or bus.Message.
    """

    name: str
    signal: str
    comparison: int
    threshold: int | float
    hold_us: int
    before_us: int
    after_us: int
    min_interval_us: int
    select: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Quotas:
    """What may pile up in the box.

    Attributes:
        spool_bytes: bytes of all sealed batches on disk.
        bulk_bytes: bytes of the bulk class (raw frames and windows) within it.
        windows_per_day: trigger windows recorded a day; more are counted, not kept.
    """

    spool_bytes: int
    bulk_bytes: int
    windows_per_day: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A declared circle for precision IN_OUT: centre in 1e-7 degrees (WGS 84), radius in m, and its name."""

    name: str
    lat_e7: int
    lon_e7: int
    radius_m: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """One document, whole: what it does not name is not collected.

    Attributes:
        revision: rises by each document issued for a device.
        device: for whom; None for any box of the organisation.
        issued_us: UTC µs at the backend.
        loan_stage: a LoanStage, or an int this reader does not know (its precision is then NONE).
        states: plan by vehicle state; a state without one collects nothing but facts.
        triggers: at most POLICY_RULES_MAX.
        quotas: what may pile up.
        precision: by loan stage; a stage without one is NONE.
        areas: for precision IN_OUT.
        cell_m: edge of a cell in m for precision CELL, ≥ 100.
        month_bytes: byte budget of a calendar month; above it bulk waits for the next.
        version: of this form; 1.
    """

    revision: int
    device: DeviceId | None
    issued_us: int
    loan_stage: int
    states: Mapping[int, StatePlan]
    triggers: tuple[Trigger, ...]
    quotas: Quotas
    precision: Mapping[int, int]
    areas: tuple[Area, ...]
    cell_m: int
    month_bytes: int
    version: int = VERSION

    @property
    def precision_now(self) -> Precision:
        """How exact positions may be at the loan's present stage; what this reader does not know is NONE."""
        allowed = self.precision.get(self.loan_stage, Precision.NONE)
        return allowed if isinstance(allowed, Precision) else Precision.NONE
