"""Stored batches are turned into derived tables: dictionary, latest values, minute roll-ups, latest position.

Rules:
- The derived tables are never the truth: all of it can be deleted and derived again from the batches, and
  comes out the same (`rebuild`).
- What waits stands in the queue: which batch, and which of its sections. It changes in the transaction that
  writes what was derived, so each section counts exactly once, whatever crashes, and however many bridges
  commit out of order.
- A transaction has the devices it derives from to itself; those another one has are left to it.
- A batch waits without blocking others: UNDECODABLE until its dictionary comes, UNTIMED until a batch of
  its boot has a clock, then it is queued again.
- What is authentic but cannot be read becomes an integrity event.

Example:
    >>> while project(database, now_us=utc_us()):
    ...     pass
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from backend.domain.batch_time import BatchTime, TimeSource, anchor_of, batch_time
from backend.domain.decoding import check_times, decode_groups
from backend.domain.integrity import IntegrityEvent, IntegrityKind
from backend.domain.rollup import group_parts
from backend.store.batch_queue import (
    own_devices,
    pending_batches,
    put_times,
    requeue,
    sections_mask,
    settle_batches,
    unprojected_sections,
)
from backend.store.batches import DecodeState, StoredBatch
from backend.store.chains import (
    StoredChain,
    chains_by_ref,
    refs_of_devices,
    widen_span,
)
from backend.store.contention import in_transaction
from backend.store.dictionaries import (
    announce_groups,
    fingerprint,
    load_groups,
    register_signals,
)
from backend.store.integrity_events import add_events
from backend.store.latest import (
    LatestFix,
    LatestValue,
    load_anchors,
    put_anchor,
    put_fix,
    put_latest,
)
from backend.store.rollups import add_parts
from protocol.batch import Section, decode_header
from protocol.dictionary import RawType
from protocol.envelope import read_sign1
from protocol.errors import ProtocolError
from protocol.facts import decode_facts
from protocol.fixes import Precision, decode_fixes
from protocol.limits import HEADER_BYTES_MAX, PROJECT_BATCHES_MAX, SALT_BYTES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sqlmodel import Session

    from backend.domain.batch_time import BootAnchor
    from backend.domain.decoding import DecodedGroup
    from backend.domain.rollup import MinutePart
    from backend.store.database import Database
    from protocol.batch import BatchHeader
    from protocol.dictionary import ColumnDef, GroupDef

_POSITION_MODE_MIN = 2  # a two-dimensional fix is the least that has a position


def project(database: Database, *, now_us: int, limit: int = PROJECT_BATCHES_MAX) -> int:
    """Project the next batches in one transaction; return how many, 0 when none waits that is free to take.

    Args:
        database: Where.
        now_us: UTC in µs, for events that are found.
        limit: At most this many batches.
    """
    with database.writing() as session:
        return in_transaction(session, lambda: _project_next(session, now_us=now_us, limit=limit))


def _project_next(session: Session, *, now_us: int, limit: int) -> int:
    pending = pending_batches(session, limit=limit)
    if not pending:
        return 0
    chains = chains_by_ref(session, chain_refs={batch.chain_ref for batch in pending})
    owned = own_devices(session, {chain.device_id for chain in chains.values()})
    batches = [batch for batch in pending if chains[batch.chain_ref].device_id in owned]
    if batches:
        _Projection(session, batches, chains, now_us=now_us).run()
    return len(batches)


@dataclass(slots=True, kw_only=True)
class _Task:
    """One batch on its way."""

    batch: StoredBatch
    chain: StoredChain
    header: BatchHeader
    waiting: int
    sections: dict[int, bytes]
    time: BatchTime
    state: DecodeState = DecodeState.DONE
    projected: list[int] = field(default_factory=list)

    def data(self, section: Section) -> bytes | None:
        """Return a section's data without its salt, if it is there and not projected yet."""
        body = self.sections.get(section)
        return None if body is None else body[SALT_BYTES:]


class _Projection:
    """One transaction's worth of batches."""

    def __init__(
        self,
        session: Session,
        batches: list[StoredBatch],
        chains: Mapping[int, StoredChain],
        *,
        now_us: int,
    ) -> None:
        self._session = session
        self._now_us = now_us
        waiting = unprojected_sections(session, [batch.ref for batch in batches])
        headers = [
            decode_header(read_sign1(batch.header, max_bytes=HEADER_BYTES_MAX).payload) for batch in batches
        ]
        anchors = self._anchors(batches, chains, headers)
        self._tasks = [
            _Task(
                batch=batch,
                chain=chains[batch.chain_ref],
                header=header,
                waiting=waiting[batch.ref][0],
                sections=waiting[batch.ref][1],
                time=batch_time(
                    header,
                    received_us=batch.received_us,
                    anchor=anchors.get((chains[batch.chain_ref].device_id, batch.boot)),
                ),
            )
            for batch, header in zip(batches, headers, strict=True)
        ]
        self._events: list[tuple[str, int, IntegrityEvent]] = []
        self._parts: dict[int, list[MinutePart]] = {}
        self._columns: dict[int, tuple[str, ColumnDef]] = {}
        self._latest: dict[tuple[str, int], LatestValue] = {}
        self._refs: dict[tuple[int, int], list[int]] = {}

    def run(self) -> None:
        """Derive everything and note what was derived."""
        self._announce()
        dictionaries = load_groups(self._session, chain_refs={task.chain.chain_ref for task in self._tasks})
        for task in self._tasks:
            self._project(task, dictionaries.get(task.chain.chain_ref, {}))
        add_parts(self._session, self._parts, columns=self._columns)
        put_latest(self._session, [(org_id, value) for (org_id, _), value in self._latest.items()])
        add_events(self._session, self._events, at_us=self._now_us)
        self._settle()

    def _anchors(
        self, batches: list[StoredBatch], chains: Mapping[int, StoredChain], headers: list[BatchHeader]
    ) -> Mapping[tuple[str, bytes], BootAnchor]:
        """Anchor boots by their first believable batch; wake those of their batches that waited for it."""
        boots = {(chains[batch.chain_ref].device_id, batch.boot) for batch in batches}
        anchored = set(load_anchors(self._session, boots))
        for batch, header in zip(batches, headers, strict=True):
            chain = chains[batch.chain_ref]
            anchor = anchor_of(header, received_us=batch.received_us)
            if anchor is None or (chain.device_id, batch.boot) in anchored:
                continue
            anchored.add((chain.device_id, batch.boot))
            is_first = put_anchor(
                self._session, anchor, org_id=chain.org_id, device_id=chain.device_id, boot=batch.boot
            )
            if is_first:
                refs = refs_of_devices(self._session, device_ids=[chain.device_id])[chain.device_id]
                requeue(self._session, chain_refs=refs, state=DecodeState.UNTIMED, boot=batch.boot)
        return load_anchors(self._session, boots)

    def _announce(self) -> None:
        """Take definitions from facts, and wake batches that waited for them."""
        woken: set[int] = set()
        for task in self._tasks:
            data = task.data(Section.FACTS)
            if data is None:
                continue
            task.projected.append(Section.FACTS)
            try:
                groups = decode_facts(data).dictionary
            except ProtocolError as error:
                self._unreadable(task, Section.FACTS, error)
                continue
            if not groups:
                continue
            conflicts = announce_groups(
                self._session,
                org_id=task.chain.org_id,
                chain_ref=task.chain.chain_ref,
                seq=task.batch.seq,
                groups=groups,
            )
            for gid in conflicts:
                self._find(task, IntegrityKind.DICTIONARY_CONFLICT, key=f"{task.batch.seq}:{gid}", gid=gid)
            woken.add(task.chain.chain_ref)
        if woken:
            requeue(self._session, chain_refs=woken, state=DecodeState.UNDECODABLE)

    def _project(self, task: _Task, dictionary: Mapping[int, GroupDef]) -> None:
        if task.time.source is TimeSource.UNKNOWN:
            task.state = DecodeState.UNTIMED
            return
        try:
            self._project_signals(task, dictionary)
        except ProtocolError as error:
            task.projected.append(Section.SIGNALS)
            self._unreadable(task, Section.SIGNALS, error)
        try:
            self._project_fixes(task)
        except ProtocolError as error:
            task.projected.append(Section.FIXES)
            self._unreadable(task, Section.FIXES, error)

    def _project_signals(self, task: _Task, dictionary: Mapping[int, GroupDef]) -> None:
        data = task.data(Section.SIGNALS)
        if data is None:
            return
        decoded = decode_groups(task.header, data, dictionary=dictionary)
        if decoded.missing:
            task.state = DecodeState.UNDECODABLE
            return
        offset_us = task.time.offset_us(task.header.mono_start_us)
        assert offset_us is not None, "untimed batches do not come here"
        self._look_up_series(task.chain, [group.definition for group in decoded.groups])
        for group in decoded.groups:
            self._derive(task, group, self._refs[task.chain.chain_ref, group.definition.gid], offset_us)
        task.projected.append(Section.SIGNALS)

    def _look_up_series(self, chain: StoredChain, definitions: Iterable[GroupDef]) -> None:
        """Learn the series of groups that have rows, those of a batch together and once a transaction."""
        new = [group for group in definitions if (chain.chain_ref, group.gid) not in self._refs]
        if new:
            known = register_signals(
                self._session, org_id=chain.org_id, device_id=chain.device_id, groups=new
            )
            for group in new:
                refs = [known[fingerprint(group, column)] for column in group.columns]
                self._refs[chain.chain_ref, group.gid] = refs

    def _derive(self, task: _Task, group: DecodedGroup, refs: list[int], offset_us: int) -> None:
        """Add one group's roll-ups and latest values."""
        org_id, columns = task.chain.org_id, group.definition.columns
        utc_us = group.t_us + offset_us
        latest_us = int(utc_us.max())
        latest = group.raw[:, utc_us == latest_us].max(axis=1).tolist()
        for signal_ref, raw in zip(refs, latest, strict=True):
            known = self._latest.get((org_id, signal_ref))
            if known is None or (known.utc_us, known.raw) < (latest_us, raw):
                self._latest[org_id, signal_ref] = LatestValue(
                    signal_ref=signal_ref, utc_us=latest_us, raw=raw, time_source=task.time.source
                )
        # A type of a later version has no value for us.
        known_types = [at for at, column in enumerate(columns) if isinstance(column.raw_type, RawType)]
        found = group_parts([columns[at] for at in known_types], utc_us=utc_us, raw=group.raw[known_types])
        for at, parts in zip(known_types, found, strict=True):
            self._parts.setdefault(refs[at], []).extend(parts)
            self._columns[refs[at]] = (org_id, columns[at])

    def _project_fixes(self, task: _Task) -> None:
        data = task.data(Section.FIXES)
        if data is None:
            return
        precision, fixes = decode_fixes(data)
        task.projected.append(Section.FIXES)
        placed = [fix for fix in fixes if fix.mode >= _POSITION_MODE_MIN and fix.lat_e7 is not None]
        if not placed or not isinstance(precision, Precision):
            return
        last = max(placed, key=lambda fix: fix.t_us)
        check_times(task.header, least_us=last.t_us, most_us=last.t_us)
        offset_us = task.time.offset_us(task.header.mono_start_us)
        assert offset_us is not None, "untimed batches do not come here"
        latest = LatestFix(
            fix=last, utc_us=last.t_us + offset_us, precision=precision, time_source=task.time.source
        )
        put_fix(self._session, latest, org_id=task.chain.org_id, device_id=task.chain.device_id)

    def _unreadable(self, task: _Task, section: Section, error: ProtocolError) -> None:
        task.state = DecodeState.UNREADABLE
        self._find(
            task,
            IntegrityKind.SECTION_UNREADABLE,
            key=f"{task.batch.seq}:{section.value}",
            section=section.value,
            code=error.code.value,
        )

    def _find(self, task: _Task, kind: IntegrityKind, *, key: str, **detail: int | str) -> None:
        event = IntegrityEvent(kind=kind, seq=task.batch.seq, key=key, detail=detail)
        self._events.append((task.chain.org_id, task.chain.chain_ref, event))

    def _settle(self) -> None:
        """Write back where each batch stands."""
        for task in self._tasks:
            start_us, end_us = task.time.start_us, task.time.end_us
            if task.time.source is TimeSource.INFERRED and start_us is not None and end_us is not None:
                widen_span(self._session, chain_ref=task.chain.chain_ref, span_us=end_us - start_us)
        put_times(
            self._session,
            [
                {
                    "at_chain": task.batch.chain_ref,
                    "at_seq": task.batch.seq,
                    "utc_start_us": task.time.start_us,
                    "utc_end_us": task.time.end_us,
                    "time_source": int(task.time.source),
                }
                for task in self._tasks
                if task.time.source is not task.batch.time_source
            ],
        )
        settle_batches(
            self._session,
            [
                {
                    "at_chain": task.batch.chain_ref,
                    "at_seq": task.batch.seq,
                    "state": int(task.state),
                    "sections": task.waiting & ~sections_mask(task.projected),
                }
                for task in self._tasks
            ],
        )
