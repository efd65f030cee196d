"""Seal a draft: number it, link it, hash its salted sections, sign its header.

From here on its bytes never change.

Rules:
- `seq` grows by one with every seal and `prev` is the digest of the seal before, whatever became of that
  batch later.
- A salt is derived from the chain's secret, the boot, the seq and the section, so sealing needs no
  randomness and a spool that was replaced by an older image never uses a salt twice: the boot differs.
- The dictionary that the content needs stands in the same batch or before it in the same chain.

It does not store or send.

Example: see `tests/unit/test_seal.py`.
"""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import replace
from typing import TYPE_CHECKING

from device.effects import SealedBatch
from device.state import BatchKey, SpoolClass
from protocol.batch import (
    BatchHeader,
    LossCause,
    Section,
    assemble,
    encode_header,
    head_hash,
    salted,
    section_ref,
)
from protocol.envelope import Kind, sign1
from protocol.facts import encode_facts
from protocol.limits import SALT_BYTES

if TYPE_CHECKING:
    from device.delivery.announce import Dictionary
    from device.delivery.draft import Draft
    from device.delivery.statements import StatementBook
    from device.state import ChainRecord, Statement
    from protocol.envelope import Signer
    from protocol.ids import DeviceId

_SEQ_BYTES = 8


def derive_salt(secret: bytes, boot: bytes, seq: int, section: int) -> bytes:
    """Return the 16-byte salt of one section.

    Args:
        secret: 32 bytes, the chain's; never leaves the box.
        boot: 16 bytes, the boot that seals.
        seq: Place in the chain.
        section: Section id, 1…255.
    """
    message = boot + seq.to_bytes(_SEQ_BYTES) + bytes([section])
    return hmac.new(secret, message, hashlib.sha256).digest()[:SALT_BYTES]


class Sealer:
    """The growing end of one chain.

    Attributes:
        heads: cmd_hash of the newest order and hash of the newest disposition, for the next header.

    Args:
        device: Permanent name of the box.
        signer: Holds the agent's key.
        boot: This boot, for the salts.
        chain: The chain, as the spool holds it.
    """

    def __init__(self, *, device: DeviceId, signer: Signer, boot: bytes, chain: ChainRecord) -> None:
        self._device = device
        self._signer = signer
        self._boot = boot
        self._chain = chain
        self._seq = chain.last_seq
        self._prev = chain.last_digest
        self.heads: tuple[bytes | None, bytes | None] = (None, None)
        assert (self._seq == 0) == (self._prev is None), "a chain with batches has a head"

    @property
    def next_key(self) -> BatchKey:
        """The name that the next sealed batch will have."""
        return BatchKey(self._chain.chain, self._seq + 1)

    def seal(
        self,
        draft: Draft,
        *,
        book: StatementBook,
        dictionary: Dictionary,
    ) -> SealedBatch:
        """Return the batch, and note in `book` and `dictionary` what it declares and announces.

        Args:
            draft: The content.
            book: Open gaps and losses; what fits is declared here.
            dictionary: Groups to announce.
        """
        key = self.next_key
        declared = book.draw(key.chain, first=_resealed(draft.replaces, book))
        groups = dictionary.draw(required=draft.gids, room_bytes=draft.room_bytes)
        facts = replace(draft.facts, dictionary=groups)
        data = dict(draft.sections)
        if facts.dictionary or facts.events or facts.health:
            data[Section.FACTS] = encode_facts(facts)
        sections = {
            section: salted(content, derive_salt(self._chain.salt_secret, self._boot, key.seq, section))
            for section, content in sorted(data.items())
        }
        header = BatchHeader(
            device=self._device,
            chain=key.chain,
            seq=key.seq,
            prev=self._prev,
            boot=draft.boot,
            mono_start_us=draft.mono_start_us,
            mono_end_us=draft.mono_end_us,
            utc_start_us=draft.utc_start_us,
            utc_end_us=draft.utc_end_us,
            clock=draft.clock,
            clock_error_us=draft.clock_error_us,
            counts=draft.counts,
            gaps=declared.gaps,
            losses=declared.losses,
            drops=draft.drops,
            policy=draft.policy,
            profile=draft.profile,
            order_head=self.heads[0],
            disposition_head=self.heads[1],
            checkpoint=None,
            sections={section: section_ref(content) for section, content in sections.items()},
            origin=self._chain.origin if key.seq == 1 else None,
            ended_losses=declared.ended,
        )
        assert header.are_frames_accounted, "every frame is decoded or dropped by a named cause"
        signed = sign1(Kind.BATCH, encode_header(header), self._signer)
        prev, self._prev, self._seq = self._prev, head_hash(signed), key.seq
        speaks = bool(facts.dictionary or facts.events or declared.statements)
        return SealedBatch(
            key=key,
            prev=prev,
            digest=self._prev,
            payload=assemble(signed, sections),
            rank=max(draft.rank, SpoolClass.FACTS) if speaks else draft.rank,
            boot=draft.boot,
            mono_end_us=draft.mono_end_us,
            groups=dictionary.mark_announced(groups),
            declares=book.mark_declared(declared.statements, key),
            closes_boots=tuple({gap.boot for gap in declared.gaps if gap.boot != self._boot}),
            replaces=draft.replaces,
        )


def _resealed(replaces: BatchKey | None, book: StatementBook) -> tuple[Statement, ...]:
    """Say that a number of an ended chain stays empty, in the batch that has its content."""
    if replaces is None:
        return ()
    return book.add_losses(replaces.chain, [(replaces.seq, replaces.seq)], LossCause.RESEALED)
