"""What the engine wants done: every effect that `TBox.handle` may return.

Rules:
- The shell carries effects out in the order they stand in the list; those for the spool keep their order to
  the disk.
- An effect is a wish until an event says it happened: a batch is published only after `BatchStored`.
- Effects hold the very bytes to write or send; nobody encodes them again.

It does not say how (adapters) nor why (`device.delivery`).

Example:
    >>> Report(level=ReportLevel.WARNING, phrase="spool full", fields={"batches": 3}).phrase
    'spool full'
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping

    from device.at_car import AtCar
    from device.car_questions import Question
    from device.order_state import JournalChange
    from device.state import BatchKey, BootId, BootMark, ChainId, SpoolClass, Statement
    from protocol.batch import ChainHead, Origin
    from protocol.receipts import RefusalCode
    from protocol.signals import GroupDef
    from protocol.topics import Up


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedBatch:
    """A signed batch, ready for the spool and the wire.

    Attributes:
        key: Chain and seq.
        prev: Digest of the header before it, None for seq 1.
        digest: SHA-256 of its signed header.
        payload: The wire batch, verbatim.
        rank: Its class.
        boot: The boot its content comes from.
        mono_end_us: Monotonic end of its content within `boot`.
        groups: Dictionary rows that must be known from this batch on (new `gid`s).
        declares: Statements that this header makes; the spool marks them as declared here.
        closes_boots: Marks of earlier boots whose gap this header declares; the spool forgets them.
        replaces: Batch of an ended chain whose sections were sealed anew in this one; the spool retires it.
    """

    key: BatchKey
    prev: bytes | None
    digest: bytes
    payload: bytes = field(repr=False)
    rank: SpoolClass
    boot: BootId
    mono_end_us: int
    groups: tuple[GroupDef, ...] = ()
    declares: tuple[Statement, ...] = ()
    closes_boots: tuple[BootId, ...] = ()
    replaces: BatchKey | None = None


# --- for the spool ---


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreBatch:
    """Write a batch and what belongs to it as one transaction; answered by BatchStored or StoreFailed."""

    batch: SealedBatch


@dataclass(frozen=True, slots=True, kw_only=True)
class FreeBatches:
    """A receipt covers these ranges (first, last): they are evictable from now on, not deleted."""

    chain: ChainId
    ranges: tuple[tuple[int, int], ...]
    head: ChainHead | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReopenBatches:
    """The backend was restored: `head` is what it confirms now, and these ranges are pending again."""

    chain: ChainId
    ranges: tuple[tuple[int, int], ...]
    head: ChainHead | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Quarantine:
    """Set a batch aside for good and record it as lost. `code` is None for a damaged one."""

    key: BatchKey
    code: RefusalCode | int | None
    losses: tuple[Statement, ...]
    reopens: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class EvictBatches:
    """Delete batches to make room, and record which of them the backend never confirmed.

    `losses` are new statements; `reopens` are statements whose declaring batch goes and that must be made
    again.
    """

    keys: tuple[BatchKey, ...]
    losses: tuple[Statement, ...]
    reopens: tuple[Statement, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordLosses:
    """Record statements that come with no batch of ours (the backend wants what we no longer have)."""

    losses: tuple[Statement, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class PersistTick:
    """Write how far this boot got; only the newest mark of a boot matters."""

    mark: BootMark


@dataclass(frozen=True, slots=True, kw_only=True)
class StartChain:
    """Begin a new chain (random id and secret are the spool's to draw). Answer: ChainStarted."""

    origin: Origin


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadBatch:
    """Read a stored batch for the engine. Answer: BatchRead or BatchDamaged."""

    key: BatchKey


# --- for the uplink ---


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishBatch:
    """Read this batch and publish it; answered by BatchPublished, PublishFailed or BatchDamaged."""

    key: BatchKey


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishMessage:
    """Publish a message that needs no spool (a time request)."""

    kind: Up
    payload: bytes


# --- for orders ---


@dataclass(frozen=True, slots=True, kw_only=True)
class WriteJournal:
    """Make one change of the order journal durable; answered by JournalWritten or JournalFailed."""

    change: JournalChange


@dataclass(frozen=True, slots=True, kw_only=True)
class SendMcu:
    """Send a message to the microcontroller; an urgent one goes ahead of everything that waits.

    What is lost on the line is not reported: the engine sends again until it is answered.
    """

    kind: int
    body: bytes = field(repr=False)
    is_urgent: bool = False


# --- for an installation ---


@dataclass(frozen=True, slots=True, kw_only=True)
class HearBus:
    """Listen at each known bit rate, sending nothing at all; answered by BusHeard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AskCar:
    """Ask the car at a proved bit rate, then be silent again; answered by CarAnswered."""

    questions: tuple[Question, ...]
    bitrate: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LetCarGo:
    """Ask and try nothing more, and listen only: the job was aborted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepProgress:
    """Make this the progress that the next start finds."""

    data: bytes = field(repr=False)


# --- for a person at the car ---


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerAtCar:
    """The one answer to `CodeTyped` or `OrderHandedOver`.

    Attributes:
        number: the question's.
        word: how it ended.
        wait_s: seconds until the next code may be tried, None when at once.
        state, code: of the disposition, or the link code alone; empty without one.
        disposition: the microcontroller's signed answer.
    """

    number: int
    word: AtCar
    wait_s: int | None = None
    state: str = ""
    code: str = ""
    disposition: bytes = field(default=b"", repr=False)


# --- for the shell ---


class ReportLevel(StrEnum):
    """Names of the standard library's logging levels."""

    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """One line for the log: a stable phrase, then fields. Said on changes, not on conditions."""

    level: ReportLevel
    phrase: str
    fields: Mapping[str, int | float | str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class SetClock:
    """Signed time arrived: at `mono_us` it was `utc_us` ± `error_us`. The shell may set its clock."""

    mono_us: int
    utc_us: int
    error_us: int


SpoolEffect: TypeAlias = (
    StoreBatch
    | FreeBatches
    | ReopenBatches
    | Quarantine
    | EvictBatches
    | RecordLosses
    | PersistTick
    | StartChain
    | ReadBatch
)
OrderEffect: TypeAlias = WriteJournal | SendMcu
InstallEffect: TypeAlias = HearBus | AskCar | LetCarGo | KeepProgress
Effect: TypeAlias = (
    SpoolEffect
    | PublishBatch
    | PublishMessage
    | OrderEffect
    | InstallEffect
    | AnswerAtCar
    | Report
    | SetClock
)
