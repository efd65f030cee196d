"""From the open batch to the backend's receipt: where delivery's parts meet.

Rules:
- What is sealed is stored, in order, before anything else happens to it; published only after BatchStored;
  freed only by a receipt that names our own digest.
- While a new chain is being started nothing is sealed; the open batch grows until it is full.
- A chain of an earlier boot is *cleared* for sending by the backend's word where it stands (`standing`). What
  a chain with two ends still holds under a number that the backend does not name is sealed again, not sent.
- After a reconnect the open batch is sealed and sent first; without a clock, signed time is fetched even
  before.
- Whether a batch is due, and every pause, is monotonic time.

It decides nothing that `uplink`, `receipt_rules`, `rehome` or `spool_policy` decide; it carries their
answers out, as effects in the order in which they must happen.

Example: see `tests/unit/test_engine_delivery.py`.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from device.delivery.announce import Dictionary
from device.delivery.batch_builder import BatchBuilder
from device.delivery.clock import UtcKeeper
from device.delivery.keeper import SpoolKeeper
from device.delivery.receipt_rules import FORK_CODES, Verdict, is_named, judge
from device.delivery.rehome import RehomeQueue, draft_of
from device.delivery.seal import Sealer
from device.delivery.standing import StandingQuestions
from device.delivery.uplink import Uplink
from device.effects import Effect, PublishBatch, ReadBatch, Report, ReportLevel, StartChain
from device.state import EntryState
from protocol.batch import ChainHead, LossCause, Origin, OriginKind
from protocol.facts import Event
from protocol.receipts import Stream

if TYPE_CHECKING:
    from collections.abc import Iterable

    from device.config import EngineConfig
    from device.delivery.draft import Draft
    from device.delivery.index import SpoolEntry
    from device.state import BatchKey, ChainRecord, SpoolImage
    from protocol.clock import Instant
    from protocol.envelope import Signer
    from protocol.ids import ChainId
    from protocol.receipts import Receipt


class Outbox:
    """Everything between the rows of the car and the receipts of the backend.

    Args:
        config: Limits, names and hashes.
        signer: Holds the agent's key.
        image: What the spool held at start.
        opened_us: Monotonic time of the start.
    """

    def __init__(self, config: EngineConfig, *, signer: Signer, image: SpoolImage, opened_us: int) -> None:
        self._config = config
        self._signer = signer
        self._sealer = self._sealer_of(image.chain)
        self._rehome = RehomeQueue()
        self._issued_us: dict[ChainId, int] = {}
        self._is_starting_chain = False
        self._conflict_us: int | None = None
        self._hold_until_us = 0
        self._is_greeting_due = False
        self._first: BatchKey | None = None
        self._is_last_due = False
        self.dictionary = Dictionary(image.dictionary)
        self.uplink = Uplink(config.uplink, seed=config.jitter_seed)
        self.keeper = SpoolKeeper(config.spool, image, uplink=self.uplink, dictionary=self.dictionary)
        self.builder = BatchBuilder(config.batch, opened_us=opened_us)
        self.clock = UtcKeeper(floor_us=config.utc_floor_us)
        self.counts: Counter[str] = Counter()
        self.order_heads: tuple[bytes | None, bytes | None] = (None, None)
        self._standing = StandingQuestions(
            config.uplink,
            device=config.device,
            signer=signer,
            secret=image.chain.salt_secret,
            boot=config.boot,
        )
        self._cleared: set[ChainId] = set()
        self._heard_since: set[ChainId] = set()  # chains with a receipt since the newest question
        for chain in (*image.ended, image.chain):
            is_unknown_yet = image.is_fresh and chain is image.chain
            if is_unknown_yet or not config.backend_keys:  # nothing to ask about, or nobody
                self._clear(chain.chain)

    @property
    def can_seal(self) -> bool:
        """The open batch may be closed now."""
        return not self._is_starting_chain and not self.keeper.queue.is_full

    @property
    def is_greeting_due(self) -> bool:
        """The link is up and the open batch still waits for signed time before it is sealed."""
        return self._is_greeting_due

    @property
    def is_drained(self) -> bool:
        """Everything sealed is stored, and nothing waits for its last seal."""
        return len(self.keeper.queue) == 0 and not self._is_last_due

    # --- sealing ---

    def seal_open(self, now: Instant) -> bool:
        """Close and seal the open batch; False when that is not possible now and it stays open."""
        if not self.can_seal:
            return False
        draft = self.builder.close(self.clock.at(now), self._config)
        self.builder = BatchBuilder(self._config.batch, opened_us=draft.mono_end_us)
        self._seal(draft)
        self._is_last_due = False
        return True

    def seal_last(self, now: Instant) -> None:
        """No more content comes: close the open batch now, or as soon as queue and chain let us."""
        self._is_last_due = True
        self.seal_open(now)

    def _seal(self, draft: Draft) -> BatchKey:
        self._sealer.heads = self.order_heads
        batch = self._sealer.seal(draft, book=self.keeper.book, dictionary=self.dictionary)
        self.keeper.queue.push(batch)
        self.counts["batches_sealed"] += 1
        self.counts["bytes_sealed"] += len(batch.payload)
        return batch.key

    def _sealer_of(self, chain: ChainRecord) -> Sealer:
        return Sealer(device=self._config.device, signer=self._signer, boot=self._config.boot, chain=chain)

    # --- what the spool says ---

    def note_stored(self, key: BatchKey) -> list[Effect]:
        """A batch is on the disk: it may be sent."""
        entry, effects = self.keeper.note_stored(key)
        if key == self._first:
            self._hold_until_us = 0
        if entry is not None and self._is_left(key.chain):
            self._rehome.add(entry)
        elif entry is not None:
            self._offer([entry])
        return effects

    def _offer(self, entries: Iterable[SpoolEntry]) -> None:
        """Let pending batches be sent, once their chain is cleared for it."""
        for entry in entries:
            if entry.key.chain in self._cleared:
                is_first = entry.key == self._first
                self._first = None if is_first else self._first
                self.uplink.offer([entry], is_first=is_first)

    def _clear(self, chain: ChainId) -> None:
        """What this chain holds may be sent under its own numbers."""
        self._cleared.add(chain)
        self._offer(list(self.keeper.index.pending(chain)))

    def _is_left(self, chain: ChainId) -> bool:
        """Whether a chain has, or may have, two ends: nothing new may be sent under its numbers."""
        if chain == self.keeper.current:
            return self._is_starting_chain
        return self.keeper.is_disputed(chain)

    def note_read(self, key: BatchKey, payload: bytes) -> None:
        """A batch of a forked chain was read: seal its content again in this chain."""
        if not self.can_seal:
            self._rehome.postpone(key)
            return
        self._rehome.finish(key)
        entry = self.keeper.index.find(key)
        if entry is None:
            return
        if entry.state != EntryState.PENDING:  # a receipt came after all
            entry.is_moving = False
            return
        self.keeper.book.reopen([key])
        self._seal(draft_of(payload, entry))
        entry.has_successor = True

    def note_damaged(self, key: BatchKey, detail: str) -> list[Effect]:
        """A batch cannot be read back."""
        self._rehome.finish(key)
        return self.keeper.note_damaged(key, detail)

    def note_chain(self, record: ChainRecord, now: Instant) -> None:
        """A new chain begins: its first batch says so, before anything is sealed again in it."""
        self.keeper.begin_chain(record)
        self._sealer = self._sealer_of(record)
        self.dictionary.announce_again()
        self._is_starting_chain = False
        self._clear(record.chain)
        self.builder.add_event(
            Event(
                t_us=now.mono_us, name="chain_started", fields={"origin": OriginKind(record.origin.kind).name}
            )
        )
        self.seal_open(now)

    # --- what the uplink says ---

    def connect(self, now: Instant, *, waits_for_time: bool) -> None:
        """The link is up: greet, or wait a moment for signed time first."""
        self.uplink.connect()
        self._standing.connect(now.mono_us)
        if waits_for_time:
            self._is_greeting_due = True
            self._hold_until_us = now.mono_us + self._config.uplink.time_wait_us
        else:
            self.greet(now)

    def lose_link(self, now: Instant) -> None:
        """The link is down."""
        self.uplink.lose_link()
        self._standing.lose_link(now.mono_us)

    def greet(self, now: Instant) -> None:
        """Seal the open batch and let it be the first that is sent."""
        self._is_greeting_due = False
        self._hold_until_us = 0
        key = self._sealer.next_key
        if not self.builder.is_empty and self.seal_open(now):
            self._first = key
            self._hold_until_us = now.mono_us + self._config.uplink.time_wait_us

    def take_receipt(self, receipt: Receipt, now: Instant) -> list[Effect]:
        """Act on a verified receipt."""
        chain = self.keeper.chains.get(receipt.chain)
        if receipt.device != self._config.device or receipt.stream != Stream.BATCH or chain is None:
            self.counts["receipts_foreign"] += 1
            return []
        is_newest = self._note_issued(receipt)
        self.counts["receipts_taken" if is_newest else "receipts_late"] += 1
        self.uplink.note_receipt()
        verdict = judge(receipt, chain, self.keeper.index, is_newest=is_newest)
        went_back = is_newest and chain.receipted is not None and receipt.upto < chain.receipted.seq
        effects = self.keeper.free(receipt.chain, verdict.freed, verdict.head)
        effects += self._take_refusals(verdict, chain, receipt, now)
        if verdict.reopened or (went_back and not verdict.is_forked):
            effects += self.keeper.reopen(receipt.chain, list(verdict.reopened), verdict.head)
        self._settle_standing(receipt, verdict)
        self._offer(verdict.reopened)
        self.uplink.hurry(verdict.wanted, now.mono_us)
        if self._standing.is_answer(receipt.answers):
            effects += self.keeper.lose_wanted(receipt.chain, verdict.missing)
        elif self.keeper.has_unsaid(receipt.chain, verdict.missing):
            self._standing.hurry(now.mono_us)  # an older receipt may want what was stored since
        if receipt.chain != self.keeper.current:
            self._doubt(receipt.chain)
        return effects

    def _note_issued(self, receipt: Receipt) -> bool:
        """Return whether no receipt of this chain was issued later, as far as that can be known.

        The answer to the newest question was made after it, whatever the clock of the backend showed before.
        """
        chain, last_us = receipt.chain, self._issued_us.get(receipt.chain, 0)
        is_next = self._standing.is_answer_to_newest(receipt.answers) and chain not in self._heard_since
        self._heard_since.add(chain)
        self._issued_us[chain] = receipt.issued_us if is_next else max(receipt.issued_us, last_us)
        return is_next or receipt.issued_us >= last_us

    def _settle_standing(self, receipt: Receipt, verdict: Verdict) -> None:
        """See whether a chain is cleared by this receipt, and what must be sealed again instead."""
        chain = receipt.chain
        is_answer = self._standing.is_answer(receipt.answers)
        is_news = is_answer and chain not in self._cleared
        if is_answer:
            self.counts["standing_answers"] += 1
        if self._is_left(chain) and (is_news or verdict.is_forked):
            reopened = verdict.reopened_keys
            for entry in list(self.keeper.index.pending(chain)):
                is_unsent = entry.tries == 0 and entry.key not in reopened
                if is_unsent and not is_named(receipt, entry.key.seq):
                    self._rehome.add(entry)
        if is_news:
            self._clear(chain)

    def _take_refusals(
        self, verdict: Verdict, chain: ChainRecord, receipt: Receipt, now: Instant
    ) -> list[Effect]:
        effects: list[Effect] = []
        if verdict.is_forked and chain.chain == self.keeper.current:
            effects += self._leave_chain(verdict.fork or _head(receipt) or _own_head(chain), now)
        has_ended = self._is_starting_chain or chain.chain != self.keeper.current
        for entry, code in verdict.refused:
            if code not in FORK_CODES:
                effects += self.keeper.set_aside(entry, code, LossCause.REFUSED)
            elif has_ended and self._rehome.add(entry):
                self.uplink.settle(entry)
        return effects

    def _leave_chain(self, head: ChainHead | None, now: Instant) -> list[Effect]:
        """Our storage was replaced by an older image: go on in a new chain, unless one has just begun."""
        rest_us = self._config.uplink.chain_rest_us
        has_rested = self._conflict_us is None or now.mono_us - self._conflict_us >= rest_us
        if self._is_starting_chain or not has_rested:
            return []
        self._is_starting_chain = True
        self._conflict_us = now.mono_us
        self.counts["chains_forked"] += 1
        old = self.keeper.current
        return [
            StartChain(origin=Origin(kind=OriginKind.CONFLICT, last_head=head)),
            Report(level=ReportLevel.ERROR, phrase="chain forked", fields={"chain": old.hex()}),
        ]

    def _doubt(self, chain: ChainId) -> None:
        """A receipt of an ended chain left offers unconfirmed: after a few, seal them again here."""
        for entry in list(self.keeper.index.pending(chain)):
            if entry.tries > entry.doubts:
                entry.doubts += 1
                if entry.doubts >= self._config.uplink.disputed_tries and self._rehome.add(entry):
                    self.uplink.settle(entry)

    # --- moving on ---

    def advance(self, now: Instant) -> list[Effect]:
        """Do what is due: seal, store, seal again, send."""
        limits = self._config.batch
        is_silent = now.mono_us - self.builder.opened_us >= limits.heartbeat_us
        if self.builder.is_due(now.mono_us) or self.builder.is_full or is_silent or self._is_last_due:
            self.seal_open(now)
        if self._is_greeting_due and now.mono_us >= self._hold_until_us:
            self.greet(now)
        effects = self._ask_standing(now)
        effects += self.keeper.store_next(now.mono_us)
        effects += self._read_next()
        if now.mono_us >= self._hold_until_us:
            effects += [PublishBatch(key=entry.key) for entry in self.uplink.next_batches(now.mono_us)]
        return effects

    def _ask_standing(self, now: Instant) -> list[Effect]:
        """Ask where the chains stand when it is time to, and end a wait that was in vain."""
        effects: list[Effect] = []
        if self._standing.has_waited(now.mono_us):
            for chain in self.keeper.chains:
                if chain not in self._cleared:
                    effects += self._go_on(chain)
        if self._config.backend_keys:
            question = self._standing.ask(self.keeper.chains.values(), self._cleared, now.mono_us)
            if question is not None:
                self.counts["standing_questions"] += 1
                self._heard_since.clear()
                effects.append(question)
        return effects

    def _go_on(self, chain: ChainId) -> list[Effect]:
        """Nobody says where a chain stands: send it as it is, or seal it again where that could do harm."""
        pending = list(self.keeper.index.pending(chain))
        if self._is_left(chain):
            for entry in pending:
                self._rehome.add(entry)
        self._clear(chain)
        if not pending and chain != self.keeper.current:  # nothing of it was waiting
            return []
        self.counts["standing_unanswered"] += 1
        return [
            Report(
                level=ReportLevel.WARNING,
                phrase="backend does not say where the chain stands",
                fields={"chain": chain.hex()},
            )
        ]

    def _read_next(self) -> list[Effect]:
        key = self._rehome.next_to_read() if self.can_seal else None
        return [] if key is None else [ReadBatch(key=key)]


def _head(receipt: Receipt) -> ChainHead | None:
    if receipt.hash is None:
        return None
    return ChainHead(chain=receipt.chain, seq=receipt.upto, hash=receipt.hash)


def _own_head(chain: ChainRecord) -> ChainHead | None:
    if chain.last_digest is None:
        return None
    return ChainHead(chain=chain.chain, seq=chain.last_seq, hash=chain.last_digest)
