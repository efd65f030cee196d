"""Stored batches are turned into derived tables: dictionary, latest values, minute roll-ups, latest position.

Rules:
- The derived tables are never the truth: all of it can be deleted and derived again from the batches, and
  comes out the same (`rebuild`).
- A batch's place in the queue is its own `decode_state`; a section's, `is_projected`. Both change in the
  transaction that writes what was derived, so each section counts exactly once, whatever crashes, and however
  many bridges commit out of order.
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
from backend.domain.rollup import MinutePart, minute_parts
from backend.store.batch_queue import (
    pending_batches,
    requeue,
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
    from collections.abc import Mapping

    from sqlmodel import Session

    from backend.domain.batch_time import BootAnchor
    from backend.domain.decoding import DecodedGroup
    from backend.store.database import Database
    from protocol.batch import BatchHeader
    from protocol.dictionary import GroupDef

_DERIVED_FROM = (Section.FACTS, Section.SIGNALS, Section.FIXES)
_POSITION_MODE_MIN = 2  # a two-dimensional fix is the least that has a position


def project(database: Database, *, now_us: int, limit: int = PROJECT_BATCHES_MAX) -> int:
    """Project the next batches in one transaction; return how many there were, 0 when none waits.

    Args:
        database: Where.
        now_us: UTC in µs, for events that are found.
        limit: At most this many batches.
    """
    with database.writing() as session, session.begin():
        batches = pending_batches(session, limit=limit)
        if batches:
            _Projection(session, batches, now_us=now_us).run()
    return len(batches)


@dataclass(slots=True, kw_only=True)
class _Task:
    """One batch on its way."""

    batch: StoredBatch
    chain: StoredChain
    header: BatchHeader
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

    def __init__(self, session: Session, batches: list[StoredBatch], *, now_us: int) -> None:
        self._session = session
        self._now_us = now_us
        chains = chains_by_ref(session, chain_refs={batch.chain_ref for batch in batches})
        sections = unprojected_sections(session, [batch.ref for batch in batches], only=_DERIVED_FROM)
        headers = [
            decode_header(read_sign1(batch.header, max_bytes=HEADER_BYTES_MAX).payload) for batch in batches
        ]
        anchors = self._anchors(batches, chains, headers)
        self._tasks = [
            _Task(
                batch=batch,
                chain=chains[batch.chain_ref],
                header=header,
                sections=sections.get(batch.ref, {}),
                time=batch_time(
                    header,
                    received_us=batch.received_us,
                    anchor=anchors.get((chains[batch.chain_ref].device_id, batch.boot)),
                ),
            )
            for batch, header in zip(batches, headers, strict=True)
        ]
        self._events: list[tuple[str, int, IntegrityEvent]] = []
        self._parts: list[tuple[str, int, MinutePart]] = []
        self._latest: dict[tuple[str, int], LatestValue] = {}
        self._refs: dict[tuple[int, int], list[int]] = {}

    def run(self) -> None:
        """Derive everything and note what was derived."""
        self._announce()
        dictionaries = load_groups(self._session, chain_refs={task.chain.chain_ref for task in self._tasks})
        for task in self._tasks:
            self._project(task, dictionaries.get(task.chain.chain_ref, {}))
        add_parts(self._session, self._parts)
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
        for group in decoded.groups:
            self._derive(task, group, self._signal_refs(task.chain, group.definition), offset_us)
        task.projected.append(Section.SIGNALS)

    def _signal_refs(self, chain: StoredChain, definition: GroupDef) -> list[int]:
        """Return a group's series, column by column, looked up once a transaction."""
        name = (chain.chain_ref, definition.gid)
        if name not in self._refs:
            known = register_signals(
                self._session, org_id=chain.org_id, device_id=chain.device_id, groups=[definition]
            )
            self._refs[name] = [known[fingerprint(definition, column)] for column in definition.columns]
        return self._refs[name]

    def _derive(self, task: _Task, group: DecodedGroup, refs: list[int], offset_us: int) -> None:
        """Add one group's roll-ups and latest values."""
        utc_us = group.t_us + offset_us
        latest_us = int(utc_us.max())
        at_latest = utc_us == latest_us
        for signal_ref, column, raw in zip(refs, group.definition.columns, group.raw, strict=True):
            value = LatestValue(
                signal_ref=signal_ref,
                utc_us=latest_us,
                raw=int(raw[at_latest].max()),
                time_source=task.time.source,
            )
            name = (task.chain.org_id, signal_ref)
            self._latest[name] = max(self._latest.get(name, value), value, key=lambda at: (at.utc_us, at.raw))
            if isinstance(column.raw_type, RawType):  # a type of a later version has no value for us
                parts = minute_parts(column, utc_us=utc_us, raw=raw)
                self._parts += [(task.chain.org_id, signal_ref, part) for part in parts]

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
        settle_batches(
            self._session,
            batches=[
                {
                    "at_chain": task.batch.chain_ref,
                    "at_seq": task.batch.seq,
                    "utc_start_us": task.time.start_us,
                    "utc_end_us": task.time.end_us,
                    "time_source": int(task.time.source),
                    "decode_state": int(task.state),
                }
                for task in self._tasks
            ],
            sections=[
                {"at_chain": task.batch.chain_ref, "at_seq": task.batch.seq, "at_section": int(section)}
                for task in self._tasks
                for section in set(task.projected)
            ],
        )
