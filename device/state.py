"""What the device remembers: the values that live in the spool and that the engine starts from.

Rules:
- A sealed batch is named by its `BatchKey`; `seq` alone says nothing, since a device may have begun several
  chains.
- A statement (a gap or lost batches) stays until a batch that declares it has a receipt. When that batch
  itself is evicted, the statement is undeclared again: no loss is forgotten because its declaration was lost.
- A boot is one life of the agent process. Each boot leaves a mark; a mark that is not clean becomes a
  declared gap.

It does not decide anything and does no input or output: `device.delivery` decides,
`device.adapters.sqlite_spool` stores.

Example:
    >>> key = BatchKey(chain=ChainId(bytes(16)), seq=7)
    >>> str(key)
    '00000000/7'
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, NamedTuple, Protocol, TypeAlias

from protocol.ids import BootId, ChainId

if TYPE_CHECKING:
    from device.seqs import Ranges
    from protocol.batch import ChainHead, Gap, LossCause, Origin
    from protocol.signals import GroupDef

__all__ = [
    "BatchKey",
    "BootId",
    "BootMark",
    "ChainId",
    "ChainRecord",
    "EntryState",
    "IndexEntry",
    "LostRange",
    "SpoolClass",
    "SpoolImage",
    "StateTest",
    "Statement",
    "StatementBody",
]


class BatchKey(NamedTuple):
    """Names one sealed batch of this device."""

    chain: ChainId
    seq: int

    def __str__(self) -> str:
        """Short form for logs: eight hex digits are enough to tell a device's chains apart."""
        return f"{self.chain[:4].hex()}/{self.seq}"


class SpoolClass(IntEnum):
    """How dear a batch is: eviction takes the lowest class first, sending after a reconnect the highest."""

    BULK = 0  # signal rows, raw frames, windows
    STATE = 1  # fixes and health only
    FACTS = 2  # carries a dictionary or events, without which others cannot be read
    ALARM = 3  # sealed because something was urgent


class EntryState(IntEnum):
    """What the backend is known to have of a batch; stored as these numbers, so they only grow at the end."""

    PENDING = 0  # no receipt yet
    RECEIPTED = 1  # the backend has it; evictable, kept while the quota lasts
    QUARANTINED = (
        2  # refused or damaged, declared lost, never sent again; kept for the workshop while the quota lasts
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexEntry:
    """What the engine knows of a stored batch without reading it.

    Attributes:
        key: Chain and seq.
        digest: SHA-256 of the signed header: what the next header's `prev` and the receipts name.
        size: Bytes of the stored payload.
        rank: Its class.
        state: What the backend is known to have.
    """

    key: BatchKey
    digest: bytes
    size: int
    rank: SpoolClass
    state: EntryState


@dataclass(frozen=True, slots=True, kw_only=True)
class LostRange:
    """Sealed batches `first…last` of `chain` that can never be sent again."""

    chain: ChainId
    first: int
    last: int
    cause: LossCause


StatementBody: TypeAlias = "Gap | LostRange"


@dataclass(frozen=True, slots=True, kw_only=True)
class Statement:
    """A gap or a loss, and the batch whose header says so (None: not yet); `number` is unique."""

    number: int
    body: StatementBody
    declared_in: BatchKey | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BootMark:
    """How far one boot of the agent got.

    Attributes:
        boot: 16 random bytes, one life of the agent process.
        host_boot: Identity of the machine's own boot (Linux boot_id), None when there is none: tells a
            power cut from a fault.
        tick_us: Monotonic time of the last persisted tick.
        covered_us: Monotonic end of the last stored batch of this boot; 0 when it stored none.
        is_clean: The agent stopped in order, with everything sealed and stored.
    """

    boot: BootId
    host_boot: str | None
    tick_us: int
    covered_us: int
    is_clean: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainRecord:
    """One chain of this device, as the spool holds it.

    Attributes:
        chain: 16 random bytes.
        salt_secret: 32 random bytes; the salts of its sections are derived from it.
        origin: What its first header says.
        last_seq: Highest stored seq, 0 when none.
        last_digest: SHA-256 of the header at `last_seq`.
        receipted: Highest `upto` that a receipt was believed for.
        moved: Ranges (first, last) of seqs whose content was sealed again in a later chain, ascending.
    """

    chain: ChainId
    salt_secret: bytes
    origin: Origin
    last_seq: int = 0
    last_digest: bytes | None = None
    receipted: ChainHead | None = None
    moved: Ranges = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class SpoolImage:
    """Everything the engine needs from the spool at start.

    Attributes:
        chain: The chain that grows now.
        ended: Older chains, oldest first, also those of which no batch is left here.
        index: Every stored batch, ordered by chain (oldest first) and seq.
        statements: Those not yet under a receipt, declared or not.
        boots: Marks of earlier boots whose end no batch has declared yet.
        dictionary: Known groups, as `gid` numbers them; the numbers survive a change of chain.
        is_fresh: The chain that grows was begun at this very start: nobody can know anything of it.
        notes: What the spool had to do to open, as phrases for a fact and the log ("moved aside …").
    """

    chain: ChainRecord
    ended: tuple[ChainRecord, ...] = ()
    index: tuple[IndexEntry, ...] = ()
    statements: tuple[Statement, ...] = ()
    boots: tuple[BootMark, ...] = ()
    dictionary: tuple[GroupDef, ...] = ()
    is_fresh: bool = False
    notes: tuple[str, ...] = ()


class StateTest(Protocol):
    """Which signal says that a state of the car holds, and for which values."""

    @property
    def bus(self) -> str:
        """Name of the bus."""

    @property
    def signal(self) -> str:
        """`Message.Signal`."""

    def holds(self, value: float, /) -> bool:
        """Say whether a physical value means that the state holds."""
