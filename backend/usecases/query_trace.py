"""A caller reads the trace of a box: values by time, or by place in a chain where no time is known.

Rules:
- Only what was stored is read; batches whose section cannot be read, and groups without a dictionary, give
  no rows. They are named by their integrity events and their state, never guessed.
- Rows come in order and in pieces, so that a month does not have to fit into memory. `read_series` gives the
  same values signal by signal, as arrays: for a plot or a calculation, at a fraction of the time.
- A trace never lags behind the receipts: what a batch announced is known here once it is stored, whether
  or not the derived tables have caught up.
- One signal does not decompress the others: groups without a wanted signal are skipped by the offset table.

Example:
    >>> for rows in read_trace(session, org_id=org, device_id=device, from_us=start, to_us=end, signals=None):
    ...     print(len(rows))
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from backend.domain.trace import RowMerger, Series, TraceRows, series_of, unknown_names
from backend.store.batch_queue import pending_in_chains
from backend.store.batch_ranges import batches_in_chain
from backend.store.batches import StoredBatch, load_sections
from backend.store.chains import find_chain, list_chains
from backend.store.dictionaries import load_groups
from backend.usecases.decode_bodies import SLACK_US, BodyDecoder, bodies_in_time
from protocol.batch import Section, decode_header
from protocol.envelope import read_sign1
from protocol.errors import ProtocolError
from protocol.facts import decode_facts
from protocol.fixes import decode_fixes
from protocol.limits import HEADER_BYTES_MAX, PROJECT_BATCHES_MAX, SALT_BYTES, TRACE_BATCHES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    from sqlmodel import Session

    from backend.domain.batch_time import TimeSource
    from protocol.batch import BatchHeader
    from protocol.dictionary import GroupDef
    from protocol.fixes import Fix


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
    chains = list_chains(session, org_id=org_id, device_id=device_id)
    decoder = BodyDecoder(
        _dictionaries(session, [chain.chain_ref for chain in chains]),
        wanted=signals,
        from_us=from_us,
        to_us=to_us,
    )
    merger = RowMerger()
    bodies = bodies_in_time(session, chains, section=Section.SIGNALS, from_us=from_us, to_us=to_us)
    for some, until_us in bodies:
        merger.add(decoder.chunks(some))
        if rows := merger.release(before_us=until_us - SLACK_US):
            yield rows
    if rows := merger.release(before_us=None):
        yield rows


def read_series(
    session: Session,
    *,
    org_id: str,
    device_id: str,
    from_us: int,
    to_us: int,
    signals: Collection[str] | None,
) -> list[Series]:
    """Return the values of [from_us, to_us) signal by signal, by name, each in order of time.

    Args:
        session: Any session.
        org_id: Whose box it must be.
        device_id: Which box.
        from_us: UTC in µs, included.
        to_us: UTC in µs, excluded. All values are held in memory, 16 bytes each: a day rather than a month.
        signals: Names wanted, paths or `bus.Message.Signal`; None for all.
    """
    chains = list_chains(session, org_id=org_id, device_id=device_id)
    decoder = BodyDecoder(
        _dictionaries(session, [chain.chain_ref for chain in chains]),
        wanted=signals,
        from_us=from_us,
        to_us=to_us,
    )
    bodies = bodies_in_time(
        session,
        chains,
        section=Section.SIGNALS,
        from_us=from_us,
        to_us=to_us,
        first_page=TRACE_BATCHES_MAX,
    )
    return series_of(chunk for some, _ in bodies for chunk in decoder.chunks(some))


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
    decoder = BodyDecoder(_dictionaries(session, [found.chain_ref]), wanted=signals)
    at = first
    while batches := batches_in_chain(
        session, chain_ref=found.chain_ref, first=at, last=last, limit=TRACE_BATCHES_MAX
    ):
        bodies = load_sections(session, [batch.ref for batch in batches], only=[Section.SIGNALS])
        for batch in batches:
            body = bodies.get(batch.ref, {}).get(Section.SIGNALS)
            if body is not None:
                merger = RowMerger()
                merger.add(decoder.chunks_of_one(batch, body))
                yield batch, merger.release(before_us=None)
        at = batches[-1].seq + 1


def read_fixes(
    session: Session, *, org_id: str, device_id: str, from_us: int, to_us: int
) -> Iterator[tuple[int, Fix, int, TimeSource]]:
    """Yield (UTC in µs, fix, precision, source of the time) of [from_us, to_us) in order."""
    chains = list_chains(session, org_id=org_id, device_id=device_id)
    held: list[tuple[int, Fix, int, TimeSource]] = []
    bodies = bodies_in_time(session, chains, section=Section.FIXES, from_us=from_us, to_us=to_us)
    for some, until_us in bodies:
        for body in some:
            offset_us = body.utc_start_us - body.mono_start_us
            try:
                precision, fixes = decode_fixes(body.body[SALT_BYTES:])
            except ProtocolError:
                continue  # named by an integrity event when it was projected
            held += [
                (fix.t_us + offset_us, fix, precision, body.time_source)
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


def header_of(batch: StoredBatch) -> BatchHeader:
    """Return the header of a stored batch."""
    return decode_header(read_sign1(batch.header, max_bytes=HEADER_BYTES_MAX).payload)
