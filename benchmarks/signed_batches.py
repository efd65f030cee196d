"""Chains of signed batches of many boxes, as a broker would deliver them, and the values inside.

Rules: each box has its own key, chain and drive; batches are built by the protocol's own writers, so they are
what a box sends: the first of a chain announces its dictionary, each is signed and linked to the one before.
A batch holds a minute of the simulated drive's groups, sampled; a box's own values and salts are drawn from a
seed.

It knows no database.

Example:
    fleet = Fleet.of(boxes=10, batches=6, content=drive)
    fleet.in_order_of_arrival()[0].payload
"""

from __future__ import annotations

import hashlib
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.asymmetric import ec

from protocol.batch import (
    BatchHeader,
    Counts,
    Origin,
    OriginKind,
    Section,
    assemble,
    encode_header,
    head_hash,
    salted,
    section_ref,
)
from protocol.clock import ClockClass
from protocol.envelope import Kind, SoftwareSigner, sign1
from protocol.facts import Facts, encode_facts
from protocol.ids import BootId, ChainId, DeviceId, device_id
from protocol.signals import GroupRows, encode_signals

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.batch_inputs import BatchInput
    from protocol.signals import GroupDef

BATCH_US = 60_000_000
START_US = 1_795_500_000_000_000  # UTC of the first batch: 2026-11-24
FIRST_KEY = 1_000  # private scalars of the boxes' keys; known to everyone, for benchmarks only
NOISE = 64  # raw counts by which a box's values differ from another's


@dataclass(frozen=True, slots=True, kw_only=True)
class MadeBatch:
    """One batch: whose (by name and by number), as it travels, its header's Sign1, and the rows inside."""

    device: DeviceId
    box: int
    payload: bytes
    sign1: bytes
    groups: tuple[GroupRows, ...]
    start_us: int

    @property
    def samples(self) -> int:
        """Values without their times."""
        return sum(group.raw.size for group in self.groups)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fleet:
    """Boxes' signers and their chains.

    Attributes:
        signers: One key a box.
        chains: Each box's batches in order.
        definitions: The dictionary all boxes share, by gid.
    """

    signers: tuple[SoftwareSigner, ...]
    chains: tuple[tuple[MadeBatch, ...], ...]
    definitions: dict[int, GroupDef]

    @classmethod
    def of(cls, *, boxes: int, batches: int, content: BatchInput, batch_us: int = BATCH_US) -> Fleet:
        """Build everything.

        Args:
            boxes: How many.
            batches: In each chain.
            content: What a batch holds.
            batch_us: From one batch's start to the next one's.
        """
        signers = tuple(
            SoftwareSigner(ec.derive_private_key(FIRST_KEY + number, ec.SECP256R1()))
            for number in range(boxes)
        )
        chains = tuple(
            _chain(signer, number, batches, content, batch_us) for number, signer in enumerate(signers)
        )
        return cls(signers=signers, chains=chains, definitions=dict(content.definitions))

    def in_order_of_arrival(self) -> list[MadeBatch]:
        """Return all batches, boxes taking turns."""
        return [batch for turn in zip(*self.chains, strict=True) for batch in turn]


def _chain(
    signer: SoftwareSigner, number: int, batches: int, content: BatchInput, batch_us: int
) -> tuple[MadeBatch, ...]:
    rng = random.Random(number)  # noqa: S311 - the same bytes in every run
    made: list[MadeBatch] = []
    prev: bytes | None = None
    for seq in range(1, batches + 1):
        start_us = (seq - 1) * batch_us
        groups = tuple(_moved(group, start_us, rng) for group in content.groups)
        told = tuple(content.definitions.values()) if seq == 1 else ()
        sections = {
            int(Section.FACTS): salted(encode_facts(Facts(dictionary=told)), rng.randbytes(16)),
            int(Section.SIGNALS): salted(encode_signals(groups), rng.randbytes(16)),
        }
        header = _header(signer, number, seq, prev, start_us, batch_us, groups, sections)
        signed = sign1(Kind.BATCH, encode_header(header), signer)
        prev = head_hash(signed)
        made.append(
            MadeBatch(
                device=header.device,
                box=number,
                payload=assemble(signed, sections),
                sign1=signed,
                groups=groups,
                start_us=START_US + start_us,
            )
        )
    return tuple(made)


def _moved(group: GroupRows, start_us: int, rng: random.Random) -> GroupRows:
    """Return a group's rows at another time, with values a little different and within their bits."""
    raw = group.raw
    step = np.int64(rng.randrange(NOISE))
    changed = np.where((raw > NOISE) & (raw < 2**14), raw - step, raw)  # small and huge numbers are states
    return GroupRows(gid=group.gid, t_us=group.t_us + start_us, raw=changed)


def _header(
    signer: SoftwareSigner,
    number: int,
    seq: int,
    prev: bytes | None,
    start_us: int,
    batch_us: int,
    groups: Sequence[GroupRows],
    sections: dict[int, bytes],
) -> BatchHeader:
    name = hashlib.sha256(number.to_bytes(8, "big")).digest()
    rows = sum(len(group.t_us) for group in groups)
    return BatchHeader(
        device=device_id(signer.public_key),
        chain=ChainId(name[:16]),
        seq=seq,
        prev=prev,
        boot=BootId(name[16:]),
        mono_start_us=start_us,
        mono_end_us=start_us + batch_us,
        utc_start_us=START_US + start_us,
        utc_end_us=START_US + start_us + batch_us,
        clock=ClockClass.GNSS,
        clock_error_us=1_000,
        counts=Counts(rows=rows, samples=sum(group.raw.size for group in groups)),
        gaps=(),
        losses=(),
        drops={},
        policy=None,
        profile=hashlib.sha256(b"profile").digest(),
        order_head=None,
        disposition_head=None,
        checkpoint=None,
        sections={section: section_ref(body) for section, body in sections.items()},
        origin=Origin(kind=OriginKind.FIRST, last_head=None) if seq == 1 else None,
    )
