"""A caller reads the trace of a box: values by time, or by place in a chain where no time is known.

Rules:
- Only what was stored is read; batches whose section cannot be read, and groups without a dictionary, give
  no rows. They are named by their integrity events and their state, never guessed.
- Rows come in order and in pieces, so that a month does not have to fit into memory.
- A trace never lags behind the receipts: what a batch announced is known here once it is stored, whether
  or not the derived tables have caught up.
- One signal does not decompress the others: groups without a wanted signal are skipped by the offset table.

Example:
    >>> for rows in read_trace(session, org_id=org, device_id=device, from_us=start, to_us=end, signals=None):
    ...     print(len(rows))
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from backend.domain.decoding import decode_groups
from backend.domain.trace import (
    Chunk,
    RowMerger,
    TraceRows,
    chunks_of,
    unknown_names,
    wanted_groups,
)
from backend.store.batch_queue import pending_in_chains
from backend.store.batch_ranges import batches_in_chain, batches_starting, next_start_us
from backend.store.batches import StoredBatch, load_sections
from backend.store.chains import find_chain, list_chains
from backend.store.dictionaries import load_groups
from protocol.batch import Section, decode_header
from protocol.envelope import read_sign1
from protocol.errors import ProtocolError
from protocol.facts import decode_facts
from protocol.fixes import decode_fixes
from protocol.limits import BATCH_AGE_US_MAX, HEADER_BYTES_MAX, PROJECT_BATCHES_MAX, SALT_BYTES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sqlmodel import Session

    from backend.domain.batch_time import TimeSource
    from backend.store.chains import StoredChain
    from protocol.batch import BatchHeader
    from protocol.dictionary import GroupDef
    from protocol.fixes import Fix

WINDOW_US: Final = 120_000_000  # two minutes of three full buses, decoded, take about 50 MB
BATCHES_AT_ONCE: Final = 50

# Rows may lie this far outside the interval of their batch; see `backend.domain.decoding`.
SLACK_US: Final = BATCH_AGE_US_MAX


def read_trace(
    session: Session,
    *,
    org_id: str,
    device_id: str,
    from_us: int,
    to_us: int,
    signals: Collection[str] | None,
) -> Iterator[TraceRows]:
    """Yield the rows of [from_us, to_us) in order, in blocks.

    Args:
        session: Any session; used until the iterator ends.
        org_id: Whose box it must be.
        device_id: Which box.
        from_us: UTC in µs, included.
        to_us: UTC in µs, excluded.
        signals: Names wanted, paths or `bus.Message.Signal`; None for all.
    """
    chains = {chain.chain_ref: chain for chain in list_chains(session, org_id=org_id, device_id=device_id)}
    dictionaries = _dictionaries(session, chains)
    merger = RowMerger()
    for batches, until_us in _windows(session, chains, from_us=from_us, to_us=to_us):
        for batch, section in _with_section(session, batches, Section.SIGNALS):
            dictionary = dictionaries.get(batch.chain_ref, {})
            merger.add(_chunks(batch, section, dictionary, signals=signals, from_us=from_us, to_us=to_us))
        if rows := merger.release(before_us=until_us - SLACK_US):
            yield rows
    if rows := merger.release(before_us=None):
        yield rows


def find_unknown_signals(
    session: Session, *, org_id: str, device_id: str, names: Collection[str] | None
) -> list[str]:
    """Return the names that no signal of the box has: an empty trace for a misspelt one would be a lie.

    A box that has announced nothing yet has no wrong names either.
    """
    if not names:
        return []
    chain_refs = [chain.chain_ref for chain in list_chains(session, org_id=org_id, device_id=device_id)]
    return unknown_names(_dictionaries(session, chain_refs).values(), names)


def read_chain(
    session: Session,
    *,
    org_id: str,
    device_id: str,
    chain: bytes,
    first: int,
    last: int,
    signals: Collection[str] | None,
) -> Iterator[tuple[StoredBatch, TraceRows]]:
    """Yield (batch, rows in order) for the batches first … last of one chain, timed or not.

    The UTC of rows of an untimed batch is its monotonic time and means nothing; see the batch's
    `time_source`.
    """
    found = find_chain(session, org_id=org_id, device_id=device_id, chain=chain)
    if found is None:
        return
    dictionary = _dictionaries(session, [found.chain_ref]).get(found.chain_ref, {})
    at = first
    while batches := batches_in_chain(
        session, chain_ref=found.chain_ref, first=at, last=last, limit=BATCHES_AT_ONCE
    ):
        for batch, section in _with_section(session, batches, Section.SIGNALS):
            merger = RowMerger()
            merger.add(_chunks(batch, section, dictionary, signals=signals, from_us=None, to_us=None))
            yield batch, merger.release(before_us=None)
        at = batches[-1].seq + 1


def read_fixes(
    session: Session, *, org_id: str, device_id: str, from_us: int, to_us: int
) -> Iterator[tuple[int, Fix, int, TimeSource]]:
    """Yield (UTC in µs, fix, precision, source of the time) of [from_us, to_us) in order."""
    chains = {chain.chain_ref: chain for chain in list_chains(session, org_id=org_id, device_id=device_id)}
    held: list[tuple[int, Fix, int, TimeSource]] = []
    for batches, until_us in _windows(session, chains, from_us=from_us, to_us=to_us):
        for batch, section in _with_section(session, batches, Section.FIXES):
            assert batch.utc_start_us is not None, "windows hold timed batches only"
            offset_us = batch.utc_start_us - batch.mono_start_us
            try:
                precision, fixes = decode_fixes(section[SALT_BYTES:])
            except ProtocolError:
                continue  # named by an integrity event when it was projected
            held += [
                (fix.t_us + offset_us, fix, precision, batch.time_source)
                for fix in fixes
                if from_us <= fix.t_us + offset_us < to_us
            ]
        held.sort(key=lambda item: item[0])
        ready = [item for item in held if item[0] < until_us - SLACK_US]
        held = held[len(ready) :]
        yield from ready
    yield from held


def _dictionaries(session: Session, chain_refs: Collection[int]) -> dict[int, dict[int, GroupDef]]:
    """Return {chain_ref: {gid: definition}}, also what batches announced that wait to be projected."""
    found = load_groups(session, chain_refs=chain_refs)
    waiting = pending_in_chains(session, chain_refs=chain_refs, limit=PROJECT_BATCHES_MAX)
    bodies = load_sections(session, waiting, only=[Section.FACTS])
    for ref in waiting:
        body = bodies.get(ref, {}).get(Section.FACTS)
        if body is None:
            continue
        try:
            announced = decode_facts(body[SALT_BYTES:]).dictionary
        except ProtocolError:
            continue  # will be named by an integrity event when it is projected
        chain_ref, _ = ref
        for group in announced:
            found.setdefault(chain_ref, {}).setdefault(group.gid, group)  # the first one received stays
    return found


def _windows(
    session: Session, chains: Mapping[int, StoredChain], *, from_us: int, to_us: int
) -> Iterator[tuple[list[StoredBatch], int]]:
    """Yield lists of batches in order of start, each with a time before which no later batch starts."""
    if not chains:
        return
    span_us = max(chain.span_us_max for chain in chains.values())
    at_us = from_us - span_us - SLACK_US
    while True:
        start_us = next_start_us(session, chain_refs=chains, from_us=at_us, to_us=to_us + SLACK_US)
        if start_us is None:
            return
        at_us = min(start_us + WINDOW_US, to_us + SLACK_US)
        batches = batches_starting(session, chain_refs=chains, from_us=start_us, to_us=at_us)
        yield (
            [at for at in batches if at.utc_end_us is not None and at.utc_end_us >= from_us - SLACK_US],
            at_us,
        )


def _with_section(
    session: Session, batches: list[StoredBatch], section: Section
) -> Iterator[tuple[StoredBatch, bytes]]:
    """Yield the batches that have the section, with its bytes, loading some at a time."""
    for start in range(0, len(batches), BATCHES_AT_ONCE):
        some = batches[start : start + BATCHES_AT_ONCE]
        bodies = load_sections(session, [batch.ref for batch in some], only=[section])
        for batch in some:
            body = bodies.get(batch.ref, {}).get(section)
            if body is not None:
                yield batch, body


def _chunks(
    batch: StoredBatch,
    section: bytes,
    dictionary: Mapping[int, GroupDef],
    *,
    signals: Collection[str] | None,
    from_us: int | None,
    to_us: int | None,
) -> list[Chunk]:
    try:
        decoded = decode_groups(
            header_of(batch),
            section[SALT_BYTES:],
            dictionary=dictionary,
            only=wanted_groups(dictionary, signals),
        )
    except ProtocolError:
        return []  # named by an integrity event when it was projected
    offset_us = 0 if batch.utc_start_us is None else batch.utc_start_us - batch.mono_start_us
    return chunks_of(
        decoded.groups,
        offset_us=offset_us,
        source=batch.time_source,
        wanted=signals,
        from_us=from_us,
        to_us=to_us,
    )


def header_of(batch: StoredBatch) -> BatchHeader:
    """Return the header of a stored batch."""
    return decode_header(read_sign1(batch.header, max_bytes=HEADER_BYTES_MAX).payload)
