"""What may happen to the engine: every event of `TBox.handle(event, now)`.

Rules:
- An event states a fact that has already happened; the engine may not refuse it, only answer with effects.
- Events carry values, never handles: a recorded list of events replays to the same effects.
- Every time in an event is `mono_us`, microseconds since this boot of the agent began.

It does not say what follows from an event (`device.tbox`) nor where it came from (the agent's pumps, the
simulator).

Example:
    >>> UplinkLost() == UplinkLost()
    True
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

from device.acquisition.gnss import GnssForm

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.acquisition.lot import FrameLot
    from device.car_questions import Heard, Question
    from device.state import BatchKey, ChainRecord
    from protocol.batch import DropCause
    from protocol.facts import Event as Fact
    from protocol.topics import Down


# --- what the car says ---


@dataclass(frozen=True, slots=True, kw_only=True)
class FramesReceived:
    """A bus handed over a lot of frames."""

    lot: FrameLot


@dataclass(frozen=True, slots=True, kw_only=True)
class GnssReceived:
    """The receiver sent bytes of this form, torn anywhere; `t_us` is when the first of them was read."""

    t_us: int
    data: bytes
    form: GnssForm = GnssForm.NMEA


@dataclass(frozen=True, slots=True, kw_only=True)
class RadioReported:
    """How the receiver hears, each None where it does not tell: C/N0 tells a roof, the gain tells jamming.

    Attributes:
        cn0_dbhz: of the strongest satellite.
        gain_db: of the receiver's amplifier, against its value in the open.
        is_jammed: what the receiver says itself.
        t_us: when.
    """

    cn0_dbhz: int | None
    gain_db: int | None
    is_jammed: bool | None
    t_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DropsReported:
    """Frames that never reached the engine: `cause` is KERNEL (socket buffer) or QUEUE (our own hand-over).

    `count` is the number since the last report, at least 1.
    """

    cause: DropCause
    count: int
    bus: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BusChanged:
    """A bus came up or went down; said once for each change."""

    bus: str
    is_up: bool
    detail: str = ""


# --- what the shell says ---


@dataclass(frozen=True, slots=True, kw_only=True)
class Tick:
    """Time passed. The shell sends one about every second; all timers of the engine run on it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Urgent:
    """Something cannot wait: the open batch is sealed at once, as an alarm, with this fact."""

    reason: str
    fields: Mapping[str, int | float | str | bool | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class FactObserved:
    """A fact for the open batch (ignition on, configuration changed, …)."""

    fact: Fact


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthReported:
    """Readings of the box itself; the latest of each name goes into the batch that is sealed next."""

    values: Mapping[str, int | float | str | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """The agent is going down in order: seal what is open. Stored and ticked, it leaves no gap."""


# --- what the uplink says ---


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkConnected:
    """The broker accepted us and our subscription."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UplinkLost:
    """The connection ended, whoever noticed it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MessageArrived:
    """A message came down; `kind` is the last part of its topic, `payload` is untrusted."""

    kind: Down
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchPublished:
    """The broker answered PUBACK. It frees a slot of the window and means nothing more."""

    key: BatchKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishFailed:
    """The batch could not be handed to the broker (no connection, refused); it stays pending."""

    key: BatchKey


# --- what the spool says ---


class StoreFailure(StrEnum):
    """Why the spool could not store; all of them may pass, so the engine keeps the batch and tries again."""

    FULL = "full"
    IO = "io"
    BUSY = "busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchStored:
    """The batch is on stable storage."""

    key: BatchKey


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreFailed:
    """The batch is not on stable storage, nothing of its transaction is."""

    key: BatchKey
    reason: StoreFailure
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchRead:
    """The answer to `ReadBatch`: the stored bytes, checked against their checksum."""

    key: BatchKey
    payload: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchDamaged:
    """A stored batch does not read back as it was written (or is not there): it can never be sent."""

    key: BatchKey
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainStarted:
    """The answer to `StartChain`: the new chain is on stable storage, with its own secret."""

    record: ChainRecord


# --- what the microcontroller and the order journal say ---


@dataclass(frozen=True, slots=True, kw_only=True)
class McuChanged:
    """The line to the microcontroller came up or went down; said once for each change."""

    is_up: bool
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class McuReceived:
    """The microcontroller said something; `body` is whole (its checksum held) and otherwise untrusted."""

    kind: int
    body: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalWritten:
    """The change of this number is on stable storage."""

    number: int


@dataclass(frozen=True, slots=True, kw_only=True)
class JournalFailed:
    """The change of this number is not on stable storage, nothing of it is."""

    number: int
    detail: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BusHeard:
    """What each bit rate gave; empty when the bus could not be opened."""

    heard: tuple[Heard, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CarAnswered:
    """Whole answers of the car by question; None where it did not answer, or refused."""

    answers: tuple[tuple[Question, bytes | None], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class InstallTick:
    """A quarter of a second passed while an installation is open."""


# --- what a person at the car says ---


@dataclass(frozen=True, slots=True, kw_only=True)
class CodeTyped:
    """Somebody typed an emergency code; answered by one `AnswerAtCar` of this number."""

    number: int
    digits: str = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class OrderHandedOver:
    """Somebody brought an order in a file, and the documents that go with it; answered by `AnswerAtCar`."""

    number: int
    message: bytes = field(repr=False)
    authority: bytes = field(default=b"", repr=False)


EngineEvent: TypeAlias = (
    FramesReceived
    | GnssReceived
    | RadioReported
    | DropsReported
    | BusChanged
    | Tick
    | Urgent
    | FactObserved
    | HealthReported
    | Stop
    | UplinkConnected
    | UplinkLost
    | MessageArrived
    | BatchPublished
    | PublishFailed
    | BatchStored
    | StoreFailed
    | BatchRead
    | BatchDamaged
    | ChainStarted
    | McuChanged
    | McuReceived
    | JournalWritten
    | JournalFailed
    | BusHeard
    | CarAnswered
    | InstallTick
    | CodeTyped
    | OrderHandedOver
)
JournalEvent: TypeAlias = JournalWritten | JournalFailed
SpoolEvent: TypeAlias = BatchStored | StoreFailed | BatchRead | BatchDamaged | ChainStarted
