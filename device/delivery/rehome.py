"""Seal again, in the new chain, what a forked chain can no longer carry.

A spool that was replaced by an older image goes on sealing under numbers that the backend already knows
with other content. The backend must refuse these batches, and their content must not be lost. So each of
them is opened and its sections are sealed again under the new chain: new number, new link, new salts, a new
signature by the same key.

Rules:
- Sealed again is what the backend refused as part of a fork, what it did not confirm after several offers,
  and what of a chain with two ends was never offered under a number that the backend does not name.
- Times, boot, counts, drops and hashes in force stay those of the original. Its gaps and the losses it
  declared are open again in the book and told anew. The `gid`s stay valid, because the dictionary's numbers
  survive a change of chain.
- A fact `chain_rehomed` names the original by chain, seq and digest, so that a reader who has both sees one
  content. Of several moves the first and the last are named.
- The original leaves the spool in the transaction that stores its successor.

It does not verify signatures: the bytes come from our own disk under their checksum.

Example: see `tests/unit/test_engine_fork.py`.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from device.delivery.draft import Draft
from protocol.batch import Section, decode_header, disassemble
from protocol.envelope import read_sign1
from protocol.facts import Event, Facts, decode_facts
from protocol.limits import HEADER_BYTES_MAX, SALT_BYTES
from protocol.signals import decode_signals

if TYPE_CHECKING:
    from device.delivery.index import SpoolEntry
    from device.state import BatchKey


def draft_of(payload: bytes, entry: SpoolEntry) -> Draft:
    """Return the content of a stored batch, ready to be sealed again.

    Args:
        payload: The stored bytes.
        entry: The same batch in the index.
    """
    signed, sections = disassemble(payload)
    header = decode_header(read_sign1(signed, max_bytes=HEADER_BYTES_MAX).payload)
    data = {section: stored[SALT_BYTES:] for section, stored in sections.items()}
    facts = decode_facts(data.pop(Section.FACTS)) if Section.FACTS in data else Facts()
    moved = Event(
        t_us=header.mono_end_us,
        name="chain_rehomed",
        fields={"chain": entry.key.chain.hex(), "seq": entry.key.seq, "digest": entry.digest.hex()},
    )
    signals = data.get(Section.SIGNALS)
    return Draft(
        boot=header.boot,
        mono_start_us=header.mono_start_us,
        mono_end_us=header.mono_end_us,
        utc_start_us=header.utc_start_us,
        utc_end_us=header.utc_end_us,
        clock=header.clock,
        clock_error_us=header.clock_error_us,
        counts=header.counts,
        drops=header.drops,
        sections=data,
        facts=Facts(dictionary=(), events=_with_move(facts.events, moved), health=facts.health),
        gids=frozenset() if signals is None else frozenset(group.gid for group in decode_signals(signals)),
        rank=entry.rank,
        policy=header.policy,
        profile=header.profile,
        replaces=entry.key,
    )


def _with_move(events: tuple[Event, ...], moved: Event) -> tuple[Event, ...]:
    """Return the facts with this move, the first one, and no other: a batch may be moved very often."""
    moves = [event for event in events if event.name == moved.name]
    rest = tuple(event for event in events if event.name != moved.name)
    return (*rest, *moves[:1], moved)


class RehomeQueue:
    """Batches of forked chains that wait to be read and sealed again, one at a time."""

    def __init__(self) -> None:
        self._waiting: deque[SpoolEntry] = deque()
        self._reading: BatchKey | None = None

    def __len__(self) -> int:
        return len(self._waiting)

    def add(self, entry: SpoolEntry) -> bool:
        """Take a batch, which is not sent under its old name any more; False when it is moving already."""
        if entry.is_moving:
            return False
        entry.is_moving = True
        self._waiting.append(entry)
        return True

    def next_to_read(self) -> BatchKey | None:
        """Return the batch to read now, None when one is being read or none waits."""
        if self._reading is not None or not self._waiting:
            return None
        self._reading = self._waiting[0].key
        return self._reading

    def postpone(self, key: BatchKey) -> None:
        """The batch was read at a bad moment: read it again later."""
        if self._reading == key:
            self._reading = None

    def finish(self, key: BatchKey) -> None:
        """The batch was read, or cannot be, or is gone."""
        if self._reading == key:
            self._reading = None
        if self._waiting and self._waiting[0].key == key:  # nearly always: one at a time is read
            self._waiting.popleft()
        else:
            self._waiting = deque(entry for entry in self._waiting if entry.key != key)
