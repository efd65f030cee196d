"""Stored sections come out of the database in order of time and are decoded many at once.

Rules:
- Batches come in pages by their start; each page says before which time no later one starts.
- What the derived tables have has been read strictly before, and is decoded in bulk; what waits for them, or
  could not be read, takes the strict way, and gives no rows where it fails.
- Where a bulk fails after all, since bytes changed on the disk, its batches are read one by one: one damaged
  batch hides no other.
- A page is bounded by its number of batches and, once decoded, by bytes.

It is a part of reading a trace (`query_trace`), not a use-case of its own.

Example:
    >>> decoder = BodyDecoder(dictionaries, wanted={"Vehicle.Speed"}, from_us=start, to_us=end)
    >>> for bodies, until_us in bodies_in_time(session, chains, section=Section.SIGNALS, from_us=…, to_us=…):
    ...     merger.add(decoder.chunks(bodies))
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Final, Protocol

import numpy as np

from backend.domain.bulk_decoding import decode_columns, frames_of
from backend.domain.decoding import decode_groups
from backend.domain.trace import Chunk, chunks_of, wanted_columns
from backend.store.batch_ranges import bodies_starting, next_start_us
from protocol.errors import ProtocolError
from protocol.limits import BATCH_AGE_US_MAX, SALT_BYTES, SIGNALS_BYTES_MAX, TRACE_BATCHES_MAX

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from numpy.typing import NDArray
    from sqlmodel import Session

    from backend.domain.batch_time import TimeSource
    from backend.domain.bulk_decoding import Frame
    from backend.store.batch_ranges import Place, TimedBody
    from backend.store.chains import StoredChain
    from protocol.dictionary import GroupDef

# Rows may lie this far outside the interval of their batch; see `backend.domain.decoding`.
SLACK_US: Final = BATCH_AGE_US_MAX

_WINDOW_US: Final = 90_000_000_000  # sorted at once: a day of a batch a minute, and an hour for its edges
_GROWTH: Final = 4
FEW: Final = 16
"""Batches in a first page that may be all that is wanted: a page of the API needs one or two."""

Dictionaries = dict[int, dict[int, "GroupDef"]]
"""{chain_ref: {gid: definition}}."""


def bodies_in_time(
    session: Session,
    chains: Sequence[StoredChain],
    *,
    section: int,
    from_us: int,
    to_us: int,
    first_page: int = FEW,
) -> Iterator[tuple[list[TimedBody], int]]:
    """Yield one section of the batches that may have rows in [from_us, to_us), in order of their start.

    Args:
        session: Any session.
        chains: Of one box.
        section: Which section.
        from_us: UTC in µs, included.
        to_us: UTC in µs, excluded.
        first_page: Batches in the first page; later ones grow to TRACE_BATCHES_MAX.

    Yields:
        (bodies, a UTC in µs before which none of the later ones starts).
    """
    if not chains:
        return
    refs = [chain.chain_ref for chain in chains]
    start_us: int | None = from_us - max(chain.span_us_max for chain in chains) - SLACK_US
    end_us = to_us + SLACK_US
    limit = first_page
    while start_us is not None:
        at_us = min(start_us + _WINDOW_US, end_us)
        after: Place | None = None
        while True:
            page = bodies_starting(
                session,
                chain_refs=refs,
                section=section,
                from_us=start_us,
                to_us=at_us,
                after=after,
                limit=limit,
            )
            is_last = len(page) < limit
            until_us = at_us if is_last else page[-1].utc_start_us
            yield [body for body in page if body.utc_end_us >= from_us - SLACK_US], until_us
            limit = min(limit * _GROWTH, TRACE_BATCHES_MAX)
            if is_last:
                break
            after = (page[-1].utc_start_us, page[-1].chain_ref, page[-1].seq)
        if at_us == end_us:
            return
        start_us = next_start_us(session, chain_refs=refs, from_us=at_us, to_us=end_us)


class HasTime(Protocol):
    """A stored batch, as far as its rows' times are concerned."""

    @property
    def chain_ref(self) -> int:
        """Which chain."""

    @property
    def mono_start_us(self) -> int:
        """Monotonic µs at its start."""

    @property
    def mono_end_us(self) -> int:
        """Monotonic µs at its end."""

    @property
    def utc_start_us(self) -> int | None:
        """UTC in µs at its start, None when unknown."""

    @property
    def time_source(self) -> TimeSource:
        """Where that comes from."""


class BodyDecoder:
    """Decodes signals sections of one box's chains into chunks of the columns wanted.

    Args:
        dictionaries: Definitions by chain and gid.
        wanted: Names of signals; None for all.
        from_us: UTC in µs, included; None for no lower end.
        to_us: UTC in µs, excluded; None for no upper end.
    """

    def __init__(
        self,
        dictionaries: Dictionaries,
        *,
        wanted: Collection[str] | None,
        from_us: int | None = None,
        to_us: int | None = None,
    ) -> None:
        self._dictionaries = dictionaries
        self._from_us, self._to_us = from_us, to_us
        self._columns: dict[int, dict[int, list[int]]] = {
            chain_ref: {
                gid: places for gid, group in groups.items() if (places := wanted_columns(group, wanted))
            }
            for chain_ref, groups in dictionaries.items()
        }

    def chunks(self, bodies: Sequence[TimedBody]) -> Iterator[Chunk]:
        """Yield the wanted columns of timed batches, the batches of a chain in the order given."""
        by_chain = sorted(bodies, key=lambda at: at.chain_ref)
        for (chain_ref, is_derived), some in groupby(by_chain, key=lambda at: (at.chain_ref, at.is_derived)):
            if chain_ref not in self._columns:
                continue
            if is_derived:
                yield from self._in_bulk(chain_ref, list(some))
            else:
                for body in some:
                    yield from self.chunks_of_one(body, body.body)

    def chunks_of_one(self, batch: HasTime, body: bytes) -> list[Chunk]:
        """Return one batch's wanted columns, read strictly; UTC of an untimed one is its monotonic time."""
        dictionary = self._dictionaries.get(batch.chain_ref, {})
        columns = self._columns.get(batch.chain_ref, {})
        try:
            decoded = decode_groups(batch, body[SALT_BYTES:], dictionary=dictionary, only=columns)
        except ProtocolError:
            return []  # named by an integrity event when it was projected
        offset_us = 0 if batch.utc_start_us is None else batch.utc_start_us - batch.mono_start_us
        return [
            chunk
            for group in decoded.groups
            for chunk in chunks_of(
                group.definition,
                columns=columns[group.definition.gid],
                utc_us=group.t_us + offset_us,
                mono_us=group.t_us,
                raw=group.raw[columns[group.definition.gid]],
                source=batch.time_source,
                chain_ref=batch.chain_ref,
                from_us=self._from_us,
                to_us=self._to_us,
            )
        ]

    def _in_bulk(self, chain_ref: int, bodies: Sequence[TimedBody]) -> Iterator[Chunk]:
        """Yield the chunks of one chain's batches, as many batches at once as decode into bounded memory."""
        waiting: list[tuple[TimedBody, list[Frame]]] = []
        total = 0
        for body in bodies:
            try:
                frames = list(frames_of(body.body[SALT_BYTES:], only=self._columns[chain_ref]))
            except ProtocolError:
                continue  # it was read once, so its bytes have changed since: verifying it will say so
            total += sum(frame.decoded_bytes for frame in frames)
            if total > SIGNALS_BYTES_MAX and waiting:
                yield from self._decoded(chain_ref, waiting)
                waiting, total = [], 0
            waiting.append((body, frames))
        if waiting:
            yield from self._decoded(chain_ref, waiting)

    def _decoded(self, chain_ref: int, batches: Sequence[tuple[TimedBody, list[Frame]]]) -> list[Chunk]:
        by_group: dict[int, list[tuple[TimedBody, Frame]]] = {}
        for body, frames in batches:
            for frame in frames:
                by_group.setdefault(frame.gid, []).append((body, frame))
        try:
            return [
                chunk
                for gid, found in by_group.items()
                for chunk in self._group(self._dictionaries[chain_ref][gid], found, chain_ref)
            ]
        except ProtocolError:
            return [chunk for body, _ in batches for chunk in self.chunks_of_one(body, body.body)]

    def _group(
        self, group: GroupDef, found: Sequence[tuple[TimedBody, Frame]], chain_ref: int
    ) -> Iterator[Chunk]:
        """Yield the chunks of one group, one for each column and source of the time."""
        columns = self._columns[chain_ref][group.gid]
        decoded = decode_columns([frame for _, frame in found], wanted=columns, columns=len(group.columns))
        rows = [frame.rows for _, frame in found]
        offsets = np.repeat([body.utc_start_us - body.mono_start_us for body, _ in found], rows)
        utc_us = decoded.t_us + offsets
        for source, mask in _sources([body.time_source for body, _ in found], rows):
            yield from chunks_of(
                group,
                columns=columns,
                utc_us=utc_us[mask],
                mono_us=decoded.t_us[mask],
                raw=decoded.raw[:, mask],
                source=source,
                chain_ref=chain_ref,
                from_us=self._from_us,
                to_us=self._to_us,
            )


def _sources(
    sources: Sequence[TimeSource], rows: Sequence[int]
) -> Iterator[tuple[TimeSource, slice | NDArray[np.bool_]]]:
    """Yield each source of a time with the rows it is of; nearly always there is one, for all."""
    kinds = sorted(set(sources))
    if len(kinds) == 1:
        yield kinds[0], slice(None)
        return
    of_rows = np.repeat(sources, rows)
    for kind in kinds:
        yield kind, of_rows == kind
