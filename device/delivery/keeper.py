"""Keep the books of the spool: what is stored, what is lost, what the backend has, and what must go.

Rules:
- Memory changes and the effect that makes the disk follow are made together, here and nowhere else.
- A batch leaves without a receipt only together with a loss statement; what it had declared is open again.
- After a loss the dictionary is announced again, because the loss may have taken an announcement along.
- A full disk and its recovery are reported once each.

It does not judge receipts, choose what to send, or seal.

Example: see `tests/unit/test_engine_delivery.py`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from device.delivery import spool_policy
from device.delivery.index import SpoolIndex, disk_bytes
from device.delivery.statements import StatementBook
from device.delivery.store_queue import StoreQueue
from device.effects import (
    Effect,
    EvictBatches,
    FreeBatches,
    Quarantine,
    RecordLosses,
    ReopenBatches,
    Report,
    ReportLevel,
    StoreBatch,
)
from device.seqs import of_seqs, overlap, with_seq, without
from device.state import BatchKey, ChainId, ChainRecord, EntryState, IndexEntry
from protocol.batch import ChainHead, LossCause, OriginKind

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device.config import SpoolLimits
    from device.delivery.announce import Dictionary
    from device.delivery.index import SpoolEntry
    from device.delivery.uplink import Uplink
    from device.effects import SealedBatch
    from device.state import SpoolImage, Statement

__all__ = ["ChainHead", "ChainId", "SpoolKeeper"]


class SpoolKeeper:
    """The engine's view of the spool.

    Args:
        limits: Quota and room in memory.
        image: What the spool held at start.
        uplink: Told about every batch that needs no more sending; who offers batches is `outbox`.
        dictionary: Told about every loss.
    """

    def __init__(
        self, limits: SpoolLimits, image: SpoolImage, *, uplink: Uplink, dictionary: Dictionary
    ) -> None:
        self._limits = limits
        self._uplink = uplink
        self._dictionary = dictionary
        self._is_refused = False
        self.queue = StoreQueue(limits)
        self.index = SpoolIndex(image.index)
        self.book = StatementBook(_heard_out(image.statements, self.index))
        self.current = image.chain.chain
        self.chains: dict[ChainId, ChainRecord] = {
            chain.chain: chain for chain in (*image.ended, image.chain)
        }
        self.counts: Counter[str] = Counter()

    @property
    def chain(self) -> ChainRecord:
        """The chain that grows."""
        return self.chains[self.current]

    def is_disputed(self, chain: ChainId) -> bool:
        """Whether a chain ended because our storage was lost or exchanged: it may have another end."""
        names = list(self.chains)  # oldest first
        at = names.index(chain) + 1
        kinds = (OriginKind.CONFLICT, OriginKind.STORAGE_LOST)
        return at < len(names) and self.chains[names[at]].origin.kind in kinds

    def begin_chain(self, record: ChainRecord) -> None:
        """A new chain grows from now on; batches of the old ones stay."""
        self.chains[record.chain] = record
        self.current = record.chain

    def store_next(self, now_us: int) -> list[Effect]:
        """Hand the next sealed batch to the spool, if it is its turn."""
        batch = self.queue.next_to_store(now_us)
        return [] if batch is None else [StoreBatch(batch=batch)]

    def note_stored(self, key: BatchKey) -> tuple[SpoolEntry | None, list[Effect]]:
        """A batch is on the disk: returns its entry, and what must go because of it."""
        batch = self.queue.note_stored(key)
        if batch is None:
            return None, []
        entry = self.index.add(
            IndexEntry(
                key=key,
                digest=batch.digest,
                size=len(batch.payload),
                rank=batch.rank,
                state=EntryState.PENDING,
            )
        )
        self.chains[key.chain] = replace(self.chains[key.chain], last_seq=key.seq, last_digest=batch.digest)
        self._retire(batch)
        effects: list[Effect] = []
        if self._is_refused:
            self._is_refused = False
            effects.append(Report(level=ReportLevel.INFO, phrase="spool stores again"))
        chosen = spool_policy.choose(self.index, quota_bytes=self._limits.quota_bytes, newest=key)
        return entry, [*effects, *self._evict(chosen)]

    def note_failed(self, key: BatchKey, reason: str, detail: str, now_us: int) -> list[Effect]:
        """The disk refused: confirmed batches make room, the batch itself waits here."""
        batch = self.queue.note_failed(key, now_us)
        if batch is None:
            return []
        self.counts["store_failed"] += 1
        effects: list[Effect] = []
        if not self._is_refused:
            self._is_refused = True
            effects.append(
                Report(
                    level=ReportLevel.ERROR,
                    phrase="spool refuses to store",
                    fields={"reason": reason, "detail": detail, "seq": key.seq},
                )
            )
        room = spool_policy.choose_confirmed(self.index, need_bytes=2 * disk_bytes(len(batch.payload)))
        return [*effects, *self._evict(room)]

    def free(self, chain: ChainId, entries: Iterable[SpoolEntry], head: ChainHead | None) -> list[Effect]:
        """The backend has these batches."""
        keys = [entry.key for entry in entries]
        for entry in map(self.index.find, keys):
            if entry is not None:
                self.index.set_state(entry, EntryState.RECEIPTED)
                self._uplink.settle(entry)
        self.book.forget(keys)
        before = self.chains[chain].receipted
        is_ahead = head is not None and (before is None or head.seq > before.seq)
        if is_ahead:
            self.chains[chain] = replace(self.chains[chain], receipted=head)
        if not keys and not is_ahead:
            return []
        self.counts["batches_receipted"] += len(keys)
        ranges = of_seqs(key.seq for key in keys)
        return [FreeBatches(chain=chain, ranges=ranges, head=head if is_ahead else None)]

    def reopen(self, chain: ChainId, entries: list[SpoolEntry], head: ChainHead | None) -> list[Effect]:
        """The backend was restored and no longer has these batches: they are sent again.

        Args:
            chain: Whose they are.
            entries: Confirmed before, not any more.
            head: What is confirmed now, None unless our own digest there agrees.
        """
        self.index.reopen(entries)
        self.chains[chain] = replace(self.chains[chain], receipted=head)
        self.counts["batches_reopened"] += len(entries)
        ranges = of_seqs(entry.key.seq for entry in entries)
        return [
            ReopenBatches(chain=chain, ranges=ranges, head=head),
            Report(
                level=ReportLevel.WARNING,
                phrase="backend lost batches it had confirmed",
                fields={"batches": len(entries), "chain": chain.hex()},
            ),
        ]

    def set_aside(self, entry: SpoolEntry, code: int | None, cause: LossCause) -> list[Effect]:
        """This batch can never be sent again: it is lost to the backend, kept here while there is room."""
        self._uplink.settle(entry)
        reopens = self.book.reopen([entry.key])
        losses = self.book.add_losses(entry.key.chain, [(entry.key.seq, entry.key.seq)], cause)
        self.index.set_state(entry, EntryState.QUARANTINED)
        self._dictionary.announce_again()
        self.counts["batches_quarantined"] += 1
        report = Report(
            level=ReportLevel.ERROR,
            phrase="batch quarantined",
            fields={"chain": entry.key.chain.hex(), "seq": entry.key.seq, "code": code},
        )
        return [Quarantine(key=entry.key, code=code, losses=losses, reopens=reopens), report]

    def note_damaged(self, key: BatchKey, detail: str) -> list[Effect]:
        """A stored batch cannot be read back."""
        entry = self.index.find(key)
        if entry is None or entry.state == EntryState.QUARANTINED:
            return []
        self.counts["batches_damaged"] += 1
        report = Report(
            level=ReportLevel.ERROR,
            phrase="stored batch is damaged",
            fields={"chain": key.chain.hex(), "seq": key.seq, "detail": detail},
        )
        if entry.state == EntryState.RECEIPTED:  # the backend has it whole; ours is no use to anybody
            return [report, *self._evict([entry])]
        return [report, *self.set_aside(entry, None, LossCause.DAMAGED)]

    def has_unsaid(self, chain: ChainId, ranges: Iterable[tuple[int, int]]) -> bool:
        """Whether some of these batches, which are no longer here, were not declared lost yet."""
        return bool(self.book.unsaid(chain, ranges))

    def lose_wanted(self, chain: ChainId, ranges: Iterable[tuple[int, int]]) -> list[Effect]:
        """The backend wants batches that are no longer here: say that they are lost, once."""
        unsaid = self.book.unsaid(chain, ranges)
        if not unsaid:
            return []
        moved = self.chains[chain].moved
        losses = (
            *self.book.add_losses(chain, overlap(unsaid, moved), LossCause.RESEALED),
            *self.book.add_losses(chain, without(unsaid, moved), LossCause.QUOTA),
        )
        self._dictionary.announce_again()
        return [RecordLosses(losses=losses)]

    def _retire(self, batch: SealedBatch) -> None:
        """An ended chain's batch is stored under a new name; the old one left in that transaction."""
        old = None if batch.replaces is None else self.index.find(batch.replaces)
        if old is not None:
            self._uplink.settle(old)
            self.index.remove(old)
            record = self.chains[old.key.chain]
            self.chains[old.key.chain] = replace(record, moved=with_seq(record.moved, old.key.seq))
            self.counts["batches_rehomed"] += 1

    def _evict(self, chosen: list[SpoolEntry]) -> list[Effect]:
        """Let batches go; those without a receipt become losses."""
        if not chosen:
            return []
        lost: dict[ChainId, list[int]] = defaultdict(list)
        for entry in chosen:
            if entry.state == EntryState.PENDING:
                lost[entry.key.chain].append(entry.key.seq)
            self._uplink.settle(entry)
            self.index.remove(entry)
        reopens = self.book.reopen([BatchKey(chain, seq) for chain, seqs in lost.items() for seq in seqs])
        losses = tuple(
            statement
            for chain, seqs in lost.items()
            for statement in self.book.add_losses(chain, of_seqs(seqs), LossCause.QUOTA)
        )
        effects: list[Effect] = [
            EvictBatches(keys=tuple(entry.key for entry in chosen), losses=losses, reopens=reopens)
        ]
        self.counts["batches_evicted"] += len(chosen)
        if lost:
            self._dictionary.announce_again()
            count = sum(map(len, lost.values()))
            self.counts["batches_lost_to_quota"] += count
            effects.append(
                Report(
                    level=ReportLevel.WARNING,
                    phrase="spool evicted batches without a receipt",
                    fields={"batches": count},
                )
            )
        return effects


def _heard_out(statements: Iterable[Statement], index: SpoolIndex) -> list[Statement]:
    """Return statements as they stand: one whose declaring batch is gone without a receipt is open again.

    A receipt deletes what its batches declare, so a batch that is gone left its statements behind unheard: it
    was sealed again, and its successor had no room for all of them.
    """
    return [
        replace(item, declared_in=None)
        if item.declared_in is not None and item.declared_in not in index
        else item
        for item in statements
    ]
