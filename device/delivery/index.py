"""What is in the spool, without its bytes: found by key, by state, and in the order of sending and evicting.

Rules:
- Everything is kept in order of chain (oldest first) and seq; pending ones of a chain can be walked from
  the front.
- Sizes are counted as the disk counts them, in whole pages, so that the quota means the disk.
- The digests of retained batches are here too: a receipt is believed only when it names our own digest.

It decides nothing (`spool_policy`, `uplink`, `receipt_rules` do).

Example:
    >>> index = SpoolIndex()
    >>> key = BatchKey(chain=ChainId(bytes(16)), seq=1)
    >>> pending = (SpoolClass.BULK, EntryState.PENDING)
    >>> _ = index.add(IndexEntry(key=key, digest=b"", size=10, rank=pending[0], state=pending[1]))
    >>> (key in index, index.bytes_held)
    (True, 4608)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from device.state import BatchKey, ChainId, EntryState, IndexEntry, SpoolClass

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

__all__ = ["ChainId", "SpoolEntry", "SpoolIndex", "disk_bytes"]

PAGE_BYTES = 4_096  # a body occupies whole SQLite pages
ROW_BYTES = 512  # its row, its two index rows and their share of inner pages


def disk_bytes(size: int) -> int:
    """Return what a payload of `size` bytes takes on disk, rounded up."""
    return -(-size // PAGE_BYTES) * PAGE_BYTES + ROW_BYTES


@dataclass(slots=True, kw_only=True)
class SpoolEntry:
    """One stored batch, and how its sending goes.

    Attributes:
        key: Chain and seq.
        digest: SHA-256 of its signed header.
        size: Bytes of its payload.
        rank: Its class.
        state: What the backend is known to have.
        tries: How often it was handed to the broker since it was last pending.
        doubts: Receipts of its forked chain that came after a try and did not confirm it.
        due_us: Not to be sent before this monotonic time.
        is_moving: Its content is being sealed again in another chain.
        has_successor: It was sealed again, and leaves with the transaction that stores the successor.
        is_gone: No longer in the spool.
    """

    key: BatchKey
    digest: bytes
    size: int
    rank: SpoolClass
    state: EntryState
    tries: int = 0
    doubts: int = 0
    due_us: int = 0
    is_moving: bool = False
    has_successor: bool = False
    is_gone: bool = False

    @property
    def is_sendable(self) -> bool:
        """It is stored, has no receipt, and keeps its name."""
        return self.state == EntryState.PENDING and not self.is_gone and not self.is_moving


class SpoolIndex:
    """All entries of one spool.

    Args:
        entries: As loaded, ordered by chain (oldest first) and seq.
    """

    def __init__(self, entries: Iterable[IndexEntry] = ()) -> None:
        self._chains: dict[ChainId, dict[int, SpoolEntry]] = {}
        self._pending: dict[ChainId, dict[int, SpoolEntry]] = {}
        self._shelves: dict[tuple[EntryState, SpoolClass], dict[BatchKey, SpoolEntry]] = {
            (state, rank): {} for state in EntryState for rank in SpoolClass
        }
        self.bytes_held = 0
        for entry in entries:
            self.add(entry)

    def __contains__(self, key: BatchKey) -> bool:
        return key.seq in self._chains.get(key.chain, {})

    def __len__(self) -> int:
        return sum(len(chain) for chain in self._chains.values())

    def add(self, entry: IndexEntry) -> SpoolEntry:
        """Note a stored batch, the newest of its chain, and return its entry."""
        held = SpoolEntry(
            key=entry.key, digest=entry.digest, size=entry.size, rank=entry.rank, state=entry.state
        )
        self._chains.setdefault(entry.key.chain, {})[entry.key.seq] = held
        self._pending.setdefault(entry.key.chain, {})
        self._shelve(held)
        self.bytes_held += disk_bytes(entry.size)
        return held

    def find(self, key: BatchKey) -> SpoolEntry | None:
        """Return the entry, None when the batch is not (or no longer) here."""
        return self._chains.get(key.chain, {}).get(key.seq)

    def of_chain(self, chain: ChainId) -> Iterator[SpoolEntry]:
        """Walk all batches of a chain by seq."""
        return iter(self._chains.get(chain, {}).values())

    def pending(self, chain: ChainId) -> Iterator[SpoolEntry]:
        """Walk the pending batches of a chain by seq. Do not change the index meanwhile."""
        return iter(self._pending.get(chain, {}).values())

    def pending_within(self, chain: ChainId, first: int, last: int) -> list[SpoolEntry]:
        """Return the pending batches `first…last` of a chain, by seq."""
        shelf = self._pending.get(chain, {})
        if last - first < len(shelf):
            return [shelf[seq] for seq in range(first, last + 1) if seq in shelf]
        return [entry for seq, entry in shelf.items() if first <= seq <= last]

    def all_pending(self) -> list[SpoolEntry]:
        """Return every pending batch, oldest chain first, then by seq."""
        return [entry for shelf in self._pending.values() for entry in shelf.values()]

    @property
    def pending_count(self) -> int:
        """How many batches have no receipt."""
        return sum(len(shelf) for shelf in self._pending.values())

    def shelf(self, state: EntryState, rank: SpoolClass) -> Iterator[SpoolEntry]:
        """Walk the batches of one state and class, oldest first."""
        return iter(self._shelves[state, rank].values())

    def set_state(self, entry: SpoolEntry, state: EntryState) -> None:
        """Move a batch to a state in which it is not sent again by itself."""
        assert state != EntryState.PENDING, "only `reopen` makes a batch pending again"
        self._move(entry, state)

    def reopen(self, entries: Iterable[SpoolEntry]) -> None:
        """Make batches pending again; the walks still go by chain and seq afterwards."""
        shelves = set()
        for entry in entries:
            self._move(entry, EntryState.PENDING)
            entry.tries = entry.doubts = entry.due_us = 0
            shelves.add(entry.rank)
        order = {name: number for number, name in enumerate(self._chains)}
        for rank in shelves:
            place = (EntryState.PENDING, rank)
            self._shelves[place] = dict(
                sorted(self._shelves[place].items(), key=lambda item: (order[item[0].chain], item[0].seq))
            )
        self._pending = {chain: dict(sorted(shelf.items())) for chain, shelf in self._pending.items()}

    def remove(self, entry: SpoolEntry) -> None:
        """Forget a batch that is no longer stored."""
        entry.is_gone = True
        self._unshelve(entry)
        chain = self._chains[entry.key.chain]
        del chain[entry.key.seq]
        if not chain:
            del self._chains[entry.key.chain]
            del self._pending[entry.key.chain]
        self.bytes_held -= disk_bytes(entry.size)

    def _move(self, entry: SpoolEntry, state: EntryState) -> None:
        self._unshelve(entry)
        entry.state = state
        self._shelve(entry)

    def _shelve(self, entry: SpoolEntry) -> None:
        self._shelves[entry.state, entry.rank][entry.key] = entry
        if entry.state == EntryState.PENDING:
            self._pending[entry.key.chain][entry.key.seq] = entry

    def _unshelve(self, entry: SpoolEntry) -> None:
        del self._shelves[entry.state, entry.rank][entry.key]
        self._pending[entry.key.chain].pop(entry.key.seq, None)
