"""One group of verified batches on its way into the store: judged in order, then written together.

Rules:
- Batches of a group see each other: the second of a pair in one group is judged as if the first were stored.
- A chain is opened only within the limit per box; a batch of a chain too many is counted and not receipted,
  so the box keeps it.
- Receipts are built from the state that is being written, and signed by the caller after the commit.
- A box that asks where its chains stand gets a receipt for each, also for one that was never heard of.

It lives for one transaction and is used by `backend.usecases.ingest` alone.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from backend.domain.batch_time import batch_time
from backend.domain.ingest import ChainState, Verdict
from backend.domain.integrity import (
    event_of_refusal,
    event_of_release,
    events_of_ended,
    events_of_stored,
    filled_holes,
)
from backend.domain.receipting import Question, build_receipt, hash_points
from backend.store.batch_queue import sections_mask, set_pending
from backend.store.batches import DecodeState, Retention, add_batches, load_held, load_links
from backend.store.chains import count_chains, known_chains, load_chains, opened_chains, save_chains
from backend.store.integrity_events import add_events, reported_holes
from backend.store.quarantine import QuarantinedBatch, Turned, count_turned, keep_refused
from backend.usecases.take_answers import AnswerGroup
from backend.usecases.take_reports import ReportGroup
from protocol.batch import Section
from protocol.ids import ChainId, DeviceId
from protocol.limits import CHAINS_MAX

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlmodel import Session

    from backend.domain.integrity import IntegrityEvent
    from backend.store.batch_signers import Signers
    from backend.store.chains import StoredChain
    from protocol.batch import BatchHeader, OpenedBatch
    from protocol.receipts import Receipt, RefusalCode
    from protocol.standing import StandingRequest

TOO_MANY_CHAINS = "TOO_MANY_CHAINS"
TOO_MANY_RANGES = "TOO_MANY_RANGES"
QUARANTINE_FULL = "QUARANTINE_FULL"

ChainName = tuple[str, bytes]
"""(device id, chain id)."""


class IngestGroup:
    """What a group has gathered so far."""

    def __init__(self, *, now_us: int, signers: Mapping[str, Signers]) -> None:
        self.now_us = now_us
        self.outcomes: Counter[str] = Counter()
        self.commands = AnswerGroup(now_us=now_us, turn_away=self.turn_away, outcomes=self.outcomes)
        self.installs = ReportGroup(now_us=now_us, turn_away=self.turn_away, outcomes=self.outcomes)
        self._signers = signers
        self._opened: list[tuple[OpenedBatch, bytes]] = []
        self._chains: dict[ChainName, StoredChain] = {}
        self._had_holes: set[ChainName] = set()
        self._opened_before: dict[str, list[bytes]] = {}
        self._turned: Counter[tuple[str, str, str]] = Counter()
        self._samples: dict[tuple[str, str, str], bytes] = {}
        self._quarantine: list[QuarantinedBatch] = []
        self._refusals: defaultdict[ChainName, dict[int, RefusalCode]] = defaultdict(dict)
        self._touched: defaultdict[ChainName, set[int]] = defaultdict(set)
        self._questions: dict[ChainName, Question] = {}
        self._events: list[tuple[str, int, IntegrityEvent]] = []
        self._keys: list[dict[str, object]] = []
        self._batches: list[dict[str, object]] = []
        self._sections: list[dict[str, object]] = []
        self._queue: list[dict[str, object]] = []
        self._released: list[dict[str, object]] = []

    def add(self, batch: OpenedBatch, payload: bytes) -> None:
        """Take a verified batch into the group."""
        self._opened.append((batch, payload))

    def turn_away(self, cause: str, payload: bytes, *, device: str = "") -> None:
        """Count a message that is not stored; `device` is empty when no known box is named."""
        box = self._signers.get(device)
        name = (box.org_id, device, str(cause)) if box is not None else ("", "", str(cause))
        self._turned[name] += 1
        self._samples[name] = hashlib.sha256(payload).digest()
        self.outcomes[str(cause)] += 1

    def refuse(self, item: QuarantinedBatch, *, code: RefusalCode) -> None:
        """Quarantine a batch that the box signed, and name it in the receipt."""
        assert item.chain is not None
        assert item.seq is not None
        self.outcomes[Verdict.REFUSE.value] += 1
        self._quarantine.append(item)
        self._refusals[item.device_id, item.chain][item.seq] = code

    def ask(self, request: StandingRequest) -> None:
        """Note a question for the standing of chains: each is answered by a receipt."""
        self.outcomes["standing"] += 1
        for chain, seq in request.chains:
            name = (request.device, bytes(chain))
            self._questions[name] = Question(nonce=request.nonce, seq=seq)

    def judge(self, session: Session) -> None:
        """Decide on every batch, in the order they came."""
        self._load(session)
        for batch, payload in self._opened:
            name = (batch.header.device, bytes(batch.header.chain))
            chain = self._chains.get(name)
            if chain is None:
                self.turn_away(TOO_MANY_CHAINS, payload, device=batch.header.device)
            else:
                self._judge(name, chain, batch, payload)

    def _load(self, session: Session) -> None:
        """Load the chains of the group and, around each batch, what is stored."""
        named = dict.fromkeys(  # not a set: chains are numbered in the order in which they are heard of
            (batch.header.device, bytes(chain))
            for batch, _ in self._opened
            for chain in (*(loss.chain for loss in batch.header.ended_losses), batch.header.chain)
        )
        org_of: dict[ChainName, str] = {name: self._signers[name[0]].org_id for name in named}
        known = known_chains(session, names=org_of)
        room = count_chains(session, device_ids={device for device, _ in org_of.keys() - known})
        for name in sorted(org_of.keys() - known):
            room[name[0]] = room.get(name[0], 0) + 1
            if room[name[0]] > CHAINS_MAX:
                del org_of[name]
        asked = known_chains(session, names=self._questions.keys() - org_of.keys())
        org_of |= {name: self._signers[name[0]].org_id for name in asked}
        self._chains = load_chains(session, org_of=org_of, received_us=self.now_us)
        self._had_holes = {name for name, chain in self._chains.items() if chain.state.holes}
        beside: set[tuple[int, int]] = set()
        at: set[tuple[int, int]] = set()
        for batch, _ in self._opened:
            chain = self._chains.get((batch.header.device, bytes(batch.header.chain)))
            if chain is not None:
                seq = batch.header.seq
                at.add((chain.chain_ref, seq))
                beside |= {(chain.chain_ref, seq - 1), (chain.chain_ref, seq), (chain.chain_ref, seq + 1)}
            if batch.header.seq == 1 and batch.header.device not in self._opened_before:
                self._opened_before[batch.header.device] = opened_chains(
                    session, device_id=batch.header.device
                )
        by_ref = {chain.chain_ref: chain for chain in self._chains.values()}
        links = load_links(session, beside)
        for (chain_ref, seq), link in links.items():
            by_ref[chain_ref].state.links[seq] = link
        for (chain_ref, seq), held in load_held(session, at & links.keys()).items():
            by_ref[chain_ref].state.held[seq] = held

    def _judge(self, name: ChainName, chain: StoredChain, batch: OpenedBatch, payload: bytes) -> None:
        header = batch.header
        decision = chain.state.take(batch, ended=self._ended(header))
        self.outcomes[decision.verdict.value] += 1
        self._touched[name].add(header.seq)
        match decision.verdict:
            case Verdict.STORE:
                self._store(name, chain, batch)
            case Verdict.RELEASE:
                self._add_sections(chain, batch, decision.sections)
                self._released.append(self._waiting(chain, batch, decision.sections))
                event = event_of_release(batch, sections=decision.sections)
                self._events.append((chain.org_id, chain.chain_ref, event))
            case Verdict.REFUSE:
                assert decision.refusal is not None
                self._refusals[name][header.seq] = decision.refusal
                event = event_of_refusal(batch, code=decision.refusal, detail=decision.detail)
                self._events.append((chain.org_id, chain.chain_ref, event))
                self._quarantine.append(
                    QuarantinedBatch(
                        device_id=chain.device_id,
                        org_id=chain.org_id,
                        chain=chain.chain,
                        seq=header.seq,
                        code=decision.refusal.name,
                        detail=decision.detail,
                        sha256=hashlib.sha256(payload).digest(),
                        payload=payload,
                    )
                )
            case Verdict.DEFER:
                self.turn_away(TOO_MANY_RANGES, payload, device=header.device)
            case Verdict.DUPLICATE:
                pass

    def _store(self, name: ChainName, chain: StoredChain, batch: OpenedBatch) -> None:
        header = batch.header
        time = batch_time(header, received_us=self.now_us, anchor=None)
        place = {"chain_ref": chain.chain_ref, "seq": header.seq, "org_id": chain.org_id}
        self._keys.append(place | {"hash": batch.head_hash, "prev": header.prev, "received_us": self.now_us})
        self._batches.append(
            place
            | {
                "received_us": self.now_us,
                "boot": header.boot,
                "mono_start_us": header.mono_start_us,
                "mono_end_us": header.mono_end_us,
                "utc_start_us": time.start_us,
                "utc_end_us": time.end_us,
                "time_source": int(time.source),
                "header": batch.sign1.raw,
            }
        )
        self._add_sections(chain, batch, batch.sections)
        self._queue.append(self._waiting(chain, batch, batch.sections))
        known = self._opened_before.get(header.device, [])
        events = events_of_stored(header, received_us=self.now_us, known_chains=known)
        self._events += [(chain.org_id, chain.chain_ref, event) for event in events]
        for ended_name, event in events_of_ended(header):
            ended = self._chains.get((header.device, ended_name))
            if ended is not None:
                self._events.append((ended.org_id, ended.chain_ref, event))
        chain.last_received_us = self.now_us
        if time.start_us is not None and time.end_us is not None:
            chain.span_us_max = max(chain.span_us_max, time.end_us - time.start_us)
        if header.seq == 1:
            chain.opened_us = self.now_us
            known.append(name[1])

    def _ended(self, header: BatchHeader) -> dict[bytes, ChainState]:
        """Return the chains that a batch declares lost numbers of, by chain id.

        One chain too many is not among them: the batch itself says what it lost.
        """
        names = {bytes(loss.chain) for loss in header.ended_losses}
        chains = {name: self._chains.get((header.device, name)) for name in names}
        return {name: chain.state for name, chain in chains.items() if chain is not None}

    def _waiting(self, chain: StoredChain, batch: OpenedBatch, sections: Iterable[int]) -> dict[str, object]:
        """Return the row that queues sections of a batch for the derived tables."""
        return {
            "chain_ref": chain.chain_ref,
            "seq": batch.header.seq,
            "org_id": chain.org_id,
            "received_us": self.now_us,
            "boot": batch.header.boot,
            "state": int(DecodeState.PENDING),
            "sections": sections_mask(sections),
        }

    def _add_sections(self, chain: StoredChain, batch: OpenedBatch, sections: Iterable[int]) -> None:
        for section in sections:
            body = batch.sections[section]
            self._sections.append(
                {
                    "chain_ref": chain.chain_ref,
                    "seq": batch.header.seq,
                    "section": int(section),
                    "org_id": chain.org_id,
                    "received_us": self.now_us,
                    "retention": int(Retention.FACTS if section == Section.FACTS else Retention.FINE),
                    "erased_us": None,
                    "body": body,
                }
            )

    def receipts(self, session: Session) -> list[Receipt]:
        """Return a receipt for each chain that a message of the group was about, unsigned."""
        names = sorted(self._touched.keys() | self._refusals.keys() | self._questions.keys())
        missing = {
            (chain.chain_ref, seq)
            for name in names
            if (chain := self._chains.get(name)) is not None
            for seq in hash_points(chain.state, touched=self._touched[name])
            if seq not in chain.state.links
        }
        found: defaultdict[int, dict[int, bytes]] = defaultdict(dict)
        for (ref, seq), link in load_links(session, missing).items():
            found[ref][seq] = link.head_hash
        receipts: list[Receipt] = []
        for name in names:
            chain = self._chains.get(name)
            state = chain.state if chain is not None else ChainState()
            hashes = {seq: link.head_hash for seq, link in state.links.items()}
            if chain is not None:
                hashes |= found[chain.chain_ref]
            receipts.append(
                build_receipt(
                    state,
                    device=DeviceId(name[0]),
                    chain=ChainId(name[1]),
                    hashes=hashes,
                    touched=self._touched[name],
                    refused_now=self._refusals[name],
                    question=self._questions.get(name),
                    issued_us=self.now_us,
                )
            )
        return receipts

    def write(self, session: Session) -> None:
        """Write everything; the caller commits."""
        add_batches(
            session, keys=self._keys, batches=self._batches, sections=self._sections, queue=self._queue
        )
        set_pending(session, self._released)
        for name in self._had_holes:
            chain = self._chains[name]
            if chain.state.is_changed:
                reported = reported_holes(session, chain_ref=chain.chain_ref)
                closed = filled_holes(reported, filled=chain.state.filled)
                self._events += [(chain.org_id, chain.chain_ref, event) for event in closed]
        save_chains(session, self._chains.values())
        left_out = keep_refused(session, self._quarantine, received_us=self.now_us)
        for item in left_out:
            self.turn_away(QUARANTINE_FULL, item.payload, device=item.device_id)
        add_events(session, self._events, at_us=self.now_us)
        turned = [
            Turned(
                org_id=org_id, device_id=device, cause=cause, count=count, sample_sha256=self._samples[name]
            )
            for name, count in self._turned.items()
            for org_id, device, cause in [name]
        ]
        count_turned(session, turned, now_us=self.now_us)
