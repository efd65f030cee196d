"""The batch header: what one signature commits to. Field meanings, and its encoding with integer keys.

Rules: every field is always present, null while there is nothing to say. `seq` counts from 1 without gaps
within a chain; the first batch has no `prev` and states its origin, every other has `prev` and no origin.
Keys 1 to 4 (version, device, chain, seq) keep their meaning in every version, so that even a batch of an
unknown version can be named in a receipt. Unknown keys are ignored; unknown clock classes, causes, origins
and sections are kept as plain ints.

This module does not sign, hash or judge: see `batch` for the wire form and `backend` for the chain rules.

Example:
    >>> origin = Origin(kind=OriginKind.FIRST, last_head=None)
    >>> Gap(boot=BootId(bytes(16)), start_us=0, end_us=None, cause=GapCause.POWER).end_us is None
    True
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum

from protocol.ids import BootId, ChainId, DeviceId

VERSION = 1
HASH_BYTES = 32
ENUM_MAX = 255
"""Highest wire value of an enum and of a section id: one byte is room for decades."""


class Section(IntEnum):
    """Parts of a batch that can be kept, withheld or erased apart."""

    FACTS = 1  # dictionary, events, health
    SIGNALS = 2  # decoded rows by group
    FRAMES = 3  # raw CAN frames behind decisive signals
    FIXES = 4  # positions, with their precision
    WINDOW = 5  # high-rate windows around an event


class GapCause(IntEnum):
    """Why nothing was recorded for a time."""

    POWER = 1
    JAM = 2
    STORAGE = 3
    PRIVACY = 4
    FAULT = 5


class LossCause(IntEnum):
    """Why sealed batches can never be sent again."""

    QUOTA = 1
    STORAGE = 2
    REFUSED = 3
    DAMAGED = 4
    RESEALED = 5  # of an ended chain only: the content was sealed again in a later chain


class DropCause(IntEnum):
    """Why a frame, sentence or row is not in the batch."""

    KERNEL = 1  # the socket's buffer overran, before we received it
    QUEUE = 2  # our own bounded queue overran, before the engine received it
    UNKNOWN_ID = 3  # received, but no message of the DBC has this id
    SHORT = 4  # received, but shorter than its message
    ERROR_FRAME = 5
    REMOTE_FRAME = 6
    POLICY = 7  # decoded, but sampling did not choose the row
    GNSS_GARBLED = 8  # a sentence with a bad checksum or form
    IMPLAUSIBLE = 9  # a fix or value that cannot be
    OUT_OF_ORDER = 10  # older than what the batch already holds
    BACKPRESSURE = 11  # received, but the spool could not take more


FRAME_DROPS = frozenset(
    {
        DropCause.UNKNOWN_ID,
        DropCause.SHORT,
        DropCause.ERROR_FRAME,
        DropCause.REMOTE_FRAME,
        DropCause.OUT_OF_ORDER,
        DropCause.BACKPRESSURE,
    }
)
"""Causes that count received frames which were not decoded; KERNEL and QUEUE count frames that were never
received."""


class OriginKind(IntEnum):
    """Why a chain begins."""

    FIRST = 1
    STORAGE_LOST = 2
    CONFLICT = 3
    REKEYED = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainHead:
    """A point of a chain: the hash of the Sign1 of batch `seq`."""

    chain: ChainId
    seq: int
    hash: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """How a chain began, with the last head known of the one before, if any."""

    kind: int
    last_head: ChainHead | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Gap:
    """A time of which nothing is recorded, said out loud.

    Attributes:
        boot: the boot in which it began.
        start_us: monotonic µs of that boot: the last moment known to be recorded.
        end_us: monotonic µs of the same boot, or None when that boot ended in the gap.
        cause: a GapCause, or an int this reader does not know.
    """

    boot: BootId
    start_us: int
    end_us: int | None
    cause: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss:
    """Batches first … last of this chain, sealed once, that will never come; cause is a LossCause."""

    first: int
    last: int
    cause: int


@dataclass(frozen=True, slots=True, kw_only=True)
class EndedLoss:
    """Batches first … last of a chain that the box has ended, which will never come under these numbers."""

    chain: ChainId
    first: int
    last: int
    cause: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the batch was made of.

    Attributes:
        frames_received: CAN frames the engine received.
        frames_decoded: frames that became rows or were left out by sampling.
        samples: values in `signals`, rows times columns.
        fixes: positions in `fixes`.
        rows: rows in `signals`.
    """

    frames_received: int = 0
    frames_decoded: int = 0
    samples: int = 0
    fixes: int = 0
    rows: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class SectionRef:
    """Commitment to a section: SHA-256 over salt16 ‖ data, and the length of both together in bytes."""

    digest: bytes
    size: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The last log checkpoint the device saw: origin line, tree size, root hash."""

    origin: str
    size: int
    root: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchHeader:
    """What a batch says about itself, under one signature.

    Attributes:
        device: permanent name of the box.
        chain: which chain.
        seq: place in the chain, 1 … SEQ_MAX.
        prev: SHA-256 of the Sign1 of batch seq - 1; None exactly when seq is 1.
        boot: the agent process whose monotonic time this is.
        mono_start_us: monotonic µs, earliest sample or opening.
        mono_end_us: monotonic µs, sealing; ≥ start.
        utc_start_us: UTC in µs at `mono_start_us`, None when unknown.
        utc_end_us: UTC in µs at `mono_end_us`, None when unknown.
        clock: a ClockClass, or an int this reader does not know.
        clock_error_us: UTC is right within ± this many µs; None when no bound is known.
        counts: what it was made of.
        gaps: times not recorded, at most GAPS_MAX.
        losses: seqs that never come, at most LOSSES_MAX.
        drops: how many frames, sentences or rows were left out, by DropCause.
        policy: hash of the policy document in force, 32 bytes, or None.
        profile: hash of the vehicle profile and decode table, 32 bytes, or None.
        order_head: hash of the last order accepted, 32 bytes, or None.
        disposition_head: hash of the last disposition, 32 bytes, or None.
        checkpoint: last log checkpoint seen, or None.
        sections: commitments by section id, at most SECTIONS_MAX.
        origin: how the chain began; not None exactly when seq is 1.
        ended_losses: seqs of ended chains that never come, at most ENDED_LOSSES_MAX.
        version: of this form; 1.
    """

    device: DeviceId
    chain: ChainId
    seq: int
    prev: bytes | None
    boot: BootId
    mono_start_us: int
    mono_end_us: int
    utc_start_us: int | None
    utc_end_us: int | None
    clock: int
    clock_error_us: int | None
    counts: Counts
    gaps: tuple[Gap, ...]
    losses: tuple[Loss, ...]
    drops: Mapping[int, int]
    policy: bytes | None
    profile: bytes | None
    order_head: bytes | None
    disposition_head: bytes | None
    checkpoint: Checkpoint | None
    sections: Mapping[int, SectionRef]
    origin: Origin | None
    ended_losses: tuple[EndedLoss, ...] = ()
    version: int = VERSION

    @property
    def are_frames_accounted(self) -> bool:
        """Whether received = decoded + dropped after receipt; if not, frames were lost without a word."""
        dropped = sum(count for cause, count in self.drops.items() if cause in FRAME_DROPS)
        return self.counts.frames_received == self.counts.frames_decoded + dropped
